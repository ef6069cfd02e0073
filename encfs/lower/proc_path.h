// SPDX-License-Identifier: Apache-2.0
// The path by which /proc reaches a descriptor of this process, or a name in a directory that is
// open: for the system calls that take neither a directory descriptor nor AT_EMPTY_PATH.
#pragma once

#include <algorithm>
#include <charconv>
#include <climits>
#include <iterator>
#include <string_view>

namespace extencfs::lower {

class ProcPath {
  public:
    // /proc/self/fd/N
    explicit ProcPath(int fd) { *put_fd(fd) = '\0'; }
    // /proc/self/fd/N/name. REQUIRES: name.size() <= NAME_MAX.
    ProcPath(int dirfd, std::string_view name) {
        char* at = put_fd(dirfd);
        *at++ = '/';
        *std::copy(name.begin(), name.end(), at) = '\0';
    }
    const char* c_str() const { return text_; }

  private:
    char* put_fd(int fd) {
        constexpr std::string_view kPrefix = "/proc/self/fd/";
        char* const at = std::copy(kPrefix.begin(), kPrefix.end(), text_);
        return std::to_chars(at, std::end(text_), fd).ptr;
    }

    char text_[NAME_MAX + 32];
};

}  // namespace extencfs::lower
