// SPDX-License-Identifier: Apache-2.0
// What the commands that change key slots share: their options, and a volume that is held and open.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "encfs/daemon/key_editor.h"
#include "encfs/lower/lower_fs.h"
#include "tools/key_source.h"
#include "tools/new_key.h"
#include "tools/new_token.h"

namespace extencfs::tools {

struct ChangeOptions {
    UnlockOptions unlock;
    NewKeyOptions fresh;
    NewTokenOptions token;
    std::string type = "password";
    std::string label;
    std::string directory;
    std::uint32_t slot = 0;  // that is changed or removed; 0: the one that opened
    bool force = false;
};

// What the bytes on the disk are told to be still; ends in a newline.
inline constexpr const char* kCopiesElsewhere =
    "exports, backups, snapshots, what an SSD has not erased yet.\n";

// A volume that is held, and its lower file system.
struct OpenedForChange {
    std::unique_ptr<lower::LowerFs> fs;
    daemon::KeyEditor editor;
    daemon::Credential given;
    std::uint32_t slot;  // that it opened
};

// Fails what cannot be done before a password is asked for; the configuration is not authenticated
// yet.
using SlotCheck = std::function<daemon::Outcome<void>(const volume::Config&)>;

// Holds the volume and opens it. Slot `options.slot`, if one is named, is there afterwards.
// ERRORS: those of KeyEditor, of `check`, of find_credential(); kKeySlot (no such slot).
daemon::Outcome<OpenedForChange> open_for_change(const ChangeOptions& options,
                                                 const SlotCheck& check);

// Which slot is changed where none is named.
enum class Target : std::uint8_t { kWhatOpened, kThePassword };

// key change, and passwd of a volume of this program's own.
daemon::Outcome<void> change_key(const ChangeOptions& options, Target target);
// passwd, of a volume of either kind.
daemon::Outcome<void> change_password(const ChangeOptions& options);

}  // namespace extencfs::tools
