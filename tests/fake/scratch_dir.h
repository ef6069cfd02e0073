// SPDX-License-Identifier: Apache-2.0
// An empty directory for one test, gone with everything in it at the end.
#pragma once

#include <string>
#include <utility>

#include "encfs/lower/fd.h"

namespace extencfs::fake {

class ScratchDir {
  public:
    // On tmpfs (/dev/shm) where there is one: fast, and inode numbers are not used again.
    static ScratchDir in_memory();
    // Where the temporary files of this machine are: $TMPDIR or /tmp.
    static ScratchDir on_disk();
    ~ScratchDir();
    ScratchDir(ScratchDir&& other) noexcept
        : path_(std::exchange(other.path_, {})), fd_(std::move(other.fd_)) {}
    ScratchDir& operator=(ScratchDir&&) = delete;

    const std::string& path() const { return path_; }
    std::string path(const std::string& name) const { return path_ + "/" + name; }
    int fd() const { return fd_.get(); }

  private:
    explicit ScratchDir(const std::string& parent);

    std::string path_;  // empty in a moved-from object
    lower::Fd fd_;
};

}  // namespace extencfs::fake
