// SPDX-License-Identifier: Apache-2.0
// A rotation of the volume's keys beside the operations of a mount (FORMAT.md "Rotation of keys",
// ADR 0014): what the file system is given for it, and what it tells meanwhile.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "encfs/core/error.h"
#include "encfs/core/volume_format.h"

namespace extencfs::core {

// Seals anew, below, what is no file's contents. THREADS: one at a time. ERRORS: the errno.
class Resealing {
  public:
    virtual ~Resealing() = default;
    struct Sealed {
        std::uint64_t damaged = 0;  // open under no key, and stay as they are
        bool changed_mode = false;  // lifted for a moment
    };
    // All attributes of that open file or directory; the older forms are gone when it returns.
    virtual lower::Result<Sealed> attributes(int fd, const ByteArray<16>& owner) = 0;
    // Makes, where that symlink has several names, the one that all of them will become. True: it
    // is to be durable before symlink() is called for one of them.
    virtual lower::Result<bool> prepare_symlink(int dirfd, const std::string& entry,
                                                const struct stat& is) = 0;
    enum class Link : std::uint8_t { kNew, kReplaced, kDamaged };
    // A symlink cannot be changed: kReplaced is another inode under the same name.
    virtual lower::Result<Link> symlink(int dirfd, const std::string& entry,
                                        const struct stat& is) = 0;
    // What symlink() kept, and what nothing refers to any more. REQUIRES: all else is durable.
    virtual lower::Result<void> clean() = 0;
};

// THREADS: `stop` and the counts any; the rest is set before.
struct RotationRun {
    std::atomic<bool> stop{false};
    std::atomic<bool> cleaning{false};
    std::atomic<std::uint64_t> things{0};  // names
    std::atomic<std::uint64_t> bytes{0};   // of contents
    std::atomic<std::uint64_t> damaged{0};
    // Goes on past a directory that is not where it belongs, and gives up what is in it.
    bool leave_damaged = false;
    // `path`: lower, below the volume's directory.
    std::function<void(const std::string& path, const std::string& what)> on_damage;
    std::string failed_at;  // after an error: what it was, a lower path

    void begin() {
        things = 0;
        bytes = 0;
    }
};

}  // namespace extencfs::core
