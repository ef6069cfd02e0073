// SPDX-License-Identifier: Apache-2.0
// An owning descriptor, and an array of the kernel's that is mapped by one.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <expected>
#include <string>
#include <utility>

namespace extencfs::meta {

class Descriptor {
  public:
    explicit Descriptor(int fd = -1) : fd_(fd) {}
    ~Descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    int get() const { return fd_; }

  private:
    int fd_;
};

// Mapped for reading and writing; in no core dump, and in no child.
class MappedArray {
  public:
    MappedArray() = default;
    // `array`: a BPF array made to be mapped. ERRORS: a sentence for the log.
    static std::expected<MappedArray, std::string> map(int array, std::size_t entries,
                                                       std::size_t entry_bytes);
    ~MappedArray();
    MappedArray(MappedArray&& other) noexcept;
    MappedArray& operator=(MappedArray&& other) noexcept;

    void* data() const { return data_; }
    std::size_t entries() const { return entries_; }
    std::size_t size_bytes() const { return size_bytes_; }
    // Zeros everywhere. REQUIRES: no reader or writer.
    void wipe();

  private:
    void* data_ = nullptr;
    std::size_t entries_ = 0;
    std::size_t size_bytes_ = 0;  // of the entries
    std::size_t mapped_bytes_ = 0;
};

}  // namespace extencfs::meta
