// SPDX-License-Identifier: Apache-2.0
// What `extencfs key rotate` is asked for, and its --online: the daemon of a mount does the work,
// and this tells how it goes.
#pragma once

#include <optional>
#include <string>

#include "encfs/daemon/failure.h"
#include "encfs/daemon/mount_table.h"
#include "encfs/rotate/rotation.h"
#include "tools/exit_codes.h"
#include "tools/key_source.h"
#include "tools/migrate_report.h"
#include "tools/new_key.h"

namespace extencfs::tools {

struct RotateOptions {
    UnlockOptions unlock;
    NewKeyOptions fresh;
    std::string add;    // the type of a key to be added; empty: none
    std::string label;  // of that
    std::string directory;
    unsigned jobs = 0;
    bool yes = false;
    bool json = false;
    bool leave_damaged = false;
    bool online = false;

    volume::SlotKind kind_to_add() const {
        if (add == "keyfile") return volume::SlotKind::kKeyfile;
        return add == "recovery" ? volume::SlotKind::kRecovery : volume::SlotKind::kPassword;
    }
    Style style() const { return json ? Style::kJson : Style::kText; }
};

// The key that --add names, made or read; a notice tells if it is the one that was `given` to open
// the volume, which stays. ERRORS: those of make_new_key().
struct AddedKey {
    rotate::MoreSlot slot;
    std::string made;  // the file that was made for it, if one was
};
daemon::Outcome<AddedKey> make_more_slot(const RotateOptions& options,
                                         const volume::OpeningSecret& given);

// The mount of the volume at `path`, or at that mountpoint; nullopt: it is not mounted for writing.
// Only a daemon of this user, or for root of the volume's owner, is trusted with a secret.
// ERRORS: kMountpoint (another user's).
daemon::Outcome<std::optional<daemon::MountEntry>> find_mount_to_rotate(const std::string& path);

// ERRORS: those of a rotation; kControl and
// kDaemonDied (the daemon is gone), kUnsupported (it cannot), kKeySlot (another one is under way).
daemon::Outcome<ExitCode> rotate_in_mount(const RotateOptions& options,
                                          const daemon::MountEntry& mount);

}  // namespace extencfs::tools
