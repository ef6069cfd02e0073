// SPDX-License-Identifier: GPL-2.0
// A file system with a few fixed files that counts what it is asked. Timeouts are 0, so that the
// kernel asks every time.
#pragma once

#define FUSE_USE_VERSION 31
#include <fuse_lowlevel.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <thread>

namespace demo {

// Node ids as bpf/abi.h has them.
constexpr std::uint64_t kRoot = 1;
constexpr std::uint64_t kHello = (5ULL << 32) | 2;
constexpr std::uint64_t kDir = (6ULL << 32) | 3;
constexpr std::uint64_t kLink = (7ULL << 32) | 4;
constexpr std::uint64_t kLong = (8ULL << 32) | 5;  // its name has 255 bytes
std::string long_name();

constexpr std::int64_t kDaemonSize = 6;  // what the daemon says of each file

struct Requests {
    std::array<std::atomic<std::uint64_t>, 64> by_opcode{};
    std::atomic<std::uint64_t> forgotten_hello{0};
    std::uint64_t total() const;
};
extern Requests requests;

// The attributes that the daemon gives; false if there is no such node.
bool attributes(std::uint64_t node, struct stat* st);

// Mounted and served by a thread of this process.
class Mount {
  public:
    explicit Mount(const std::string& path);
    ~Mount();
    bool ok() const { return session_ != nullptr; }

  private:
    fuse_session* session_ = nullptr;
    std::thread loop_;
};

}  // namespace demo
