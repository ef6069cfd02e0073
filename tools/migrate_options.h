// SPDX-License-Identifier: Apache-2.0
// What `extencfs migrate` is told.
#pragma once

#include <string>

#include "tools/key_source.h"
#include "tools/migrate_report.h"
#include "tools/password_source.h"
#include "tools/volume_choice.h"

namespace extencfs::tools {

struct MigrateOptions {
    UnlockOptions unlock;
    PasswordOptions new_password;
    VolumeChoice volume;
    std::string first;   // OLD; NEW where that is alone
    std::string second;  // NEW
    std::string in_place;
    unsigned jobs = 0;
    bool dry_run = false;
    bool verify = false;
    bool json = false;
    bool yes = false;
    bool finish = false;
    bool roll_back = false;

    Style style() const { return json ? Style::kJson : Style::kText; }
    const std::string& old_place() const { return first; }
    const std::string& new_place() const { return second.empty() ? first : second; }
};

}  // namespace extencfs::tools
