// SPDX-License-Identifier: Apache-2.0
// Small values that the operations take and give.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "crypto/bytes.h"

namespace extencfs::core {

// Names an inode towards the kernel: generation (high 32 bits) || slot (low 32 bits). The root
// is 1. Never reused while the file system is mounted.
using NodeId = std::uint64_t;
constexpr NodeId kRootNode = 1;

// Who asks. `umask` only where the request carries it.
struct Caller {
    uid_t uid = 0;
    gid_t gid = 0;
    mode_t umask = 0;
};

// A node and its attributes as the upper file system shows them (st_size is plaintext).
struct Entry {
    NodeId node = 0;
    struct stat attr {};
};

// Whether a change by a stranger takes set-user-ID or set-group-ID from a file.
struct KillPrivilege {
    bool wanted = false;
    std::function<bool(gid_t)> caller_is_in;  // set when wanted
};

// What SETATTR changes.
struct AttrChange {
    bool mode_set = false, uid_set = false, gid_set = false, size_set = false;
    bool atime_set = false, mtime_set = false;
    KillPrivilege kill;
    mode_t mode = 0;
    uid_t uid = 0;
    gid_t gid = 0;
    std::uint64_t size = 0;
    struct timespec atime {};  // tv_nsec may be UTIME_NOW
    struct timespec mtime {};
};

enum class OpenIntent { kRead, kWrite };

// One entry of a listing as the caller is given it. `cookie` continues after this entry.
struct ListedEntry {
    std::string_view name;
    std::uint64_t ino;
    unsigned char type;  // DT_*
    std::uint64_t cookie;
    const Entry* entry;  // with attributes and a counted node, where asked for; else nullptr
};
enum class ListMode { kNames, kWithAttributes };

// A damaged or foreign thing below, for the log. `lower_name` is a name in the lower directory;
// never a plaintext name.
struct DamageReport {
    std::string what;        // "block 3 of a file does not authenticate"
    std::string lower_name;  // path below the lower root, as far as it is known
    std::string plain_name;  // the same in plain, only if Options ask for it
};

class MetadataSink;

struct Options {
    bool read_only = false;
    // The volume was unmounted cleanly: st_size hints are believed until a file is first read.
    bool trust_hints = false;
    // Somebody else may change the lower directory: look at it again each time.
    bool shared = false;
    // Lower descriptors kept open at most (directories and files together); from RLIMIT_NOFILE.
    std::size_t max_descriptors = 512;
    // Where metadata is published; none: nowhere. Not for `shared`, where nobody tells of changes.
    std::shared_ptr<MetadataSink> sink;
    std::function<void(const DamageReport&)> on_damage;
    // A listing of `directory` leaves out this lower name: it is none of the volume's (kForeign),
    // or should be one and cannot be read. Called within list().
    enum class LeftOut { kForeign, kUnreadable };
    std::function<void(NodeId directory, std::string_view lower_name, LeftOut why)>
        on_name_left_out;
    // Damage reports carry plaintext names too (the user asked for it).
    bool plain_names_in_reports = false;
};

}  // namespace extencfs::core
