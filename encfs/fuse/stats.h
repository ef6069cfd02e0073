// SPDX-License-Identifier: Apache-2.0
// Counters of requests by opcode.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace extencfs::fuse {

// The requests that are told apart; the names are the kernel's.
enum class Opcode : unsigned {
    kLookup,
    kForget,
    kBatchForget,
    kGetattr,
    kSetattr,
    kReadlink,
    kMknod,
    kMkdir,
    kUnlink,
    kRmdir,
    kSymlink,
    kRename,
    kLink,
    kOpen,
    kRead,
    kWrite,
    kFlush,
    kRelease,
    kFsync,
    kOpendir,
    kReaddir,
    kReaddirplus,
    kReleasedir,
    kFsyncdir,
    kStatfs,
    kSetxattr,
    kGetxattr,
    kListxattr,
    kRemovexattr,
    kCreate,
    kTmpfile,
    kIoctl,
    kFallocate,
    kLseek,
    kCopyFileRange,
    kInit,
    kDestroy,
    kCount
};
std::string_view name_of(Opcode opcode);

// THREADS: any; each counter is exact, the set is not one moment.
class Stats {
  public:
    void count(Opcode opcode) {
        requests_[static_cast<unsigned>(opcode)].fetch_add(1, std::memory_order_relaxed);
        total_.fetch_add(1, std::memory_order_relaxed);
    }
    void add_read(std::uint64_t bytes) { bytes_read_.fetch_add(bytes, std::memory_order_relaxed); }
    void add_written(std::uint64_t bytes) {
        bytes_written_.fetch_add(bytes, std::memory_order_relaxed);
    }
    std::uint64_t total() const { return total_.load(std::memory_order_relaxed); }
    std::uint64_t bytes_read() const { return bytes_read_.load(std::memory_order_relaxed); }
    std::uint64_t bytes_written() const { return bytes_written_.load(std::memory_order_relaxed); }
    // Those that are not zero, in the order of the enumeration.
    std::vector<std::pair<std::string_view, std::uint64_t>> requests() const;
    void reset();

  private:
    std::array<std::atomic<std::uint64_t>, static_cast<unsigned>(Opcode::kCount)> requests_{};
    std::atomic<std::uint64_t> total_{0};  // never reset
    std::atomic<std::uint64_t> bytes_read_{0};
    std::atomic<std::uint64_t> bytes_written_{0};
};

}  // namespace extencfs::fuse
