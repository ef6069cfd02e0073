// SPDX-License-Identifier: Apache-2.0
// An owning file descriptor.
#pragma once

#include <utility>

namespace extencfs::lower {

class Fd {
  public:
    Fd() = default;
    explicit Fd(int fd) : fd_(fd) {}
    ~Fd() { reset(); }
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&& other) noexcept {
        if (this != &other) {
            reset();
            fd_ = std::exchange(other.fd_, -1);
        }
        return *this;
    }
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;

    int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }
    int release() { return std::exchange(fd_, -1); }
    // Closes. Errors of close(2) are not reported: whoever needs to know syncs first.
    void reset();

  private:
    int fd_ = -1;
};

}  // namespace extencfs::lower
