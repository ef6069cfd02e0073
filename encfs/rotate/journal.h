// SPDX-License-Identifier: Apache-2.0
// What a rotation must know of each inode from before its first change: times and mode
// (FORMAT.md "Rotation of keys"). Owns the file extencfs.rotation.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "encfs/lower/lower_fs.h"

namespace extencfs::rotate {

struct Before {
    std::uint64_t ino = 0;
    struct timespec times[2] = {};  // access, modification
    mode_t mode = 0;
};
Before before_of(const struct stat& is);

// More inodes than this are refused: what is read into memory must have an end.
constexpr std::size_t kMostRecords = std::size_t{1} << 25;

// How much there is to do.
struct Amount {
    std::uint64_t things = 0;  // names
    std::uint64_t bytes = 0;   // of contents
};

// THREADS: const, any.
class Journal {
  public:
    // Written, synced, and in place of an older one. ERRORS: the errno; EFBIG above kMostRecords.
    static lower::Result<Journal> make(lower::LowerFs& fs, int root_fd, std::vector<Before> records,
                                       Amount amount);
    // nullopt: there is none, or it is not of this directory, or not whole.
    static lower::Result<std::optional<Journal>> read(lower::LowerFs& fs, int root_fd);
    // Takes both names away. ERRORS: the errno.
    static lower::Result<void> remove(lower::LowerFs& fs, int root_fd);

    // nullptr: it was not there.
    const Before* find(std::uint64_t ino) const;
    const Amount& amount() const { return amount_; }

  private:
    Journal(std::vector<Before> records, Amount amount)
        : records_(std::move(records)), amount_(amount) {}
    std::vector<Before> records_;  // ascending
    Amount amount_;
};

// Gives times and mode back where they differ. `fd`: not O_PATH.
lower::Result<void> restore(lower::LowerFs& fs, int fd, const Before& before);

}  // namespace extencfs::rotate
