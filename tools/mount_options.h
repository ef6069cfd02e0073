// SPDX-License-Identifier: Apache-2.0
// The comma-separated list after -o, as mount(8) and fstab write it. Pure.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace extencfs::tools {

struct MountFlags {
    bool read_only = false;
    bool allow_other = false;
    bool suid = false;
    bool dev = false;
    bool noexec = false;
    bool nonempty = false;
    bool shared = false;
    bool no_xattr = false;
    std::string fsname;
    std::string idle;       // minutes; empty: not given
    std::string mode;       // empty: not given
    std::string transport;  // empty: not given
    std::string map_mb;     // empty: not given
    std::vector<std::string> allow_uids;
    std::vector<std::string> allow_gids;
    bool deny_root = false;
    bool guard_lower = false;
    std::vector<std::string> kernel;  // handed to the kernel as they are: "noatime"
};

// Adds what `list` says to `flags`; the last of two contrary words wins. An unknown word is the
// error. Words that only mount(8) itself uses (defaults, nofail, x-*, ...) are passed over.
std::expected<void, std::string> parse_mount_options(std::string_view list, MountFlags& flags);

}  // namespace extencfs::tools
