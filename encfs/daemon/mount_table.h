// SPDX-License-Identifier: Apache-2.0
// What the kernel says is mounted where (/proc/self/mountinfo), and taking a mount away without its
// daemon's help.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "encfs/daemon/failure.h"

namespace extencfs::daemon {

struct MountEntry {
    std::string mountpoint;
    std::string type;  // "fuse.extencfs"
    std::string source;
    std::optional<uid_t> user_id;  // who mounted it, for FUSE
    std::string device;            // "0:57", of the superblock: the same in every mount of it
};

// Parses the text of /proc/self/mountinfo; lines that make no sense are left out.
std::vector<MountEntry> parse_mountinfo(std::string_view text);

// All that this process sees, in the order of mounting.
std::vector<MountEntry> all_mounts();

// The topmost mount on exactly that absolute path.
std::optional<MountEntry> find_mount(const std::string& mountpoint);

// True for file systems of this project's daemon, also for those that it mounts under the type of
// EncFS, which programs look for; EncFS's own have that type, too.
bool is_extencfs(const MountEntry& entry);

struct OtherMount {
    std::string mountpoint;
    pid_t pid = 0;  // a process that sees it in its mount namespace; 0: it is in this one
};
// Where else the file system of `entry` is mounted: bound to another place, or in the mount
// namespace of a container or service that this user may look at.
std::optional<OtherMount> find_other_mount(const MountEntry& entry);

// The mount of this project's at a path as a user gives it: with its resolved mountpoint.
// ERRORS: kMountpoint, kNotMounted.
Outcome<MountEntry> find_own_mount(const std::string& path);

// The absolute path of a mountpoint, symlinks resolved; works where the mount itself is dead.
// ERRORS: kMountpoint.
Outcome<std::string> resolve_mountpoint(const std::string& path);

enum class Detach : bool { kNow = false, kLazily = true };

// umount2(2) as root, fusermount3 otherwise. ERRORS: kBusy, kNotMounted, kFuse.
Outcome<void> unmount_path(const std::string& mountpoint, Detach how);

}  // namespace extencfs::daemon
