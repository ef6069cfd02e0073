// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "encfs/daemon/control.h"
#include "encfs/daemon/mount_table.h"
#include "tools/command.h"
#include "tools/progress.h"

namespace extencfs::tools {
namespace {

using daemon::FailureKind;
using daemon::Outcome;

constexpr int kPatience_s = 600;

struct UnmountOptions {
    std::string mountpoint;
    bool lazy = false;
};

// The daemon's own answer to "unmount".
Outcome<void> understood(const std::string& mountpoint, const std::string& answer) {
    const auto reply = nlohmann::json::parse(answer, nullptr, false);
    if (reply.is_object() && reply.value("ok", false)) return {};
    const std::string error = reply.is_object() ? reply.value("error", "") : std::string();
    if (error == "rotating") {
        return daemon::fail(FailureKind::kBusy, "the keys of the volume at ", mountpoint,
                            " are being rotated; wait for the end, or cut it short with --lazy: "
                            "then 'extencfs key rotate' must go on before the next mount");
    }
    if (error == "rotated half") {
        return daemon::fail(FailureKind::kBusy, "a rotation of the keys of the volume at ",
                            mountpoint,
                            " stopped half way; run 'extencfs key rotate --online' to go on, or "
                            "unmount with --lazy: then 'extencfs key rotate' must go on before the "
                            "next mount");
    }
    if (error == "busy") {
        return daemon::fail(FailureKind::kBusy, "files are still open on ", mountpoint,
                            "; close them or use --lazy");
    }
    return daemon::fail(FailureKind::kControl, "the daemon of ", mountpoint,
                        " could not unmount; try --lazy");
}

// A daemon serves until the last mount of its file system is gone.
Outcome<void> mounted_nowhere_else(const daemon::MountEntry& entry) {
    const auto other = daemon::find_other_mount(entry);
    if (!other) return {};
    if (other->pid == 0) {
        return daemon::fail(FailureKind::kBusy, entry.mountpoint, " is unmounted, but ",
                            other->mountpoint,
                            " shows the same volume and its daemon goes on; unmount that, too");
    }
    return daemon::fail(FailureKind::kBusy, entry.mountpoint, " is unmounted, but process ",
                        std::to_string(other->pid),
                        " has it in a mount namespace of its own and the daemon goes on; end that "
                        "container or service, too");
}

Outcome<void> unmount(const UnmountOptions& options) {
    const auto entry = daemon::find_own_mount(options.mountpoint);
    if (!entry) return std::unexpected(entry.error());
    const std::string& mountpoint = entry->mountpoint;
    if (options.lazy) return daemon::unmount_path(mountpoint, daemon::Detach::kLazily);
    const Progress progress("Unmounting");
    const auto answer = daemon::control_request(mountpoint, entry->user_id.value_or(geteuid()),
                                                "unmount", daemon::Wait::kUntilExit, kPatience_s,
                                                [&] { return mounted_nowhere_else(*entry); });
    if (answer) return understood(mountpoint, *answer);
    // A daemon that was killed leaves its mount behind.
    if (answer.error().kind == FailureKind::kNotMounted) {
        return daemon::unmount_path(mountpoint, daemon::Detach::kNow);
    }
    return std::unexpected(answer.error());
}

}  // namespace

void add_unmount(CLI::App& root, int& exit_code) {
    auto options = std::make_shared<UnmountOptions>();
    auto* command = root.add_subcommand(
        "unmount", "Unmount; returns when everything is written and the daemon has ended");
    command->alias("umount");
    command->add_flag("--lazy", options->lazy,
                      "Detach now, also while files are open; the daemon ends when the last is "
                      "closed, and the command does not wait for it");
    command->add_option("MOUNTPOINT", options->mountpoint, "Where the volume is mounted")
        ->required();
    command->footer("Example:\n  extencfs unmount ~/vault");
    command->callback([options, &exit_code] {
        const auto done = unmount(*options);
        exit_code = done ? kExitOk : tell(done.error());
    });
}

}  // namespace extencfs::tools
