// SPDX-License-Identifier: Apache-2.0
#include "encfs/fuse/stats.h"

namespace extencfs::fuse {

namespace {
constexpr std::array<std::string_view, static_cast<unsigned>(Opcode::kCount)> kNames = {
    "LOOKUP",  "FORGET",   "BATCH_FORGET", "GETATTR",     "SETATTR",         "READLINK",
    "MKNOD",   "MKDIR",    "UNLINK",       "RMDIR",       "SYMLINK",         "RENAME2",
    "LINK",    "OPEN",     "READ",         "WRITE",       "FLUSH",           "RELEASE",
    "FSYNC",   "OPENDIR",  "READDIR",      "READDIRPLUS", "RELEASEDIR",      "FSYNCDIR",
    "STATFS",  "SETXATTR", "GETXATTR",     "LISTXATTR",   "REMOVEXATTR",     "CREATE",
    "TMPFILE", "IOCTL",    "FALLOCATE",    "LSEEK",       "COPY_FILE_RANGE", "INIT",
    "DESTROY"};
static_assert(!kNames.back().empty());
}  // namespace

std::string_view name_of(Opcode opcode) {
    return kNames[static_cast<unsigned>(opcode)];
}

std::vector<std::pair<std::string_view, std::uint64_t>> Stats::requests() const {
    std::vector<std::pair<std::string_view, std::uint64_t>> out;
    for (unsigned i = 0; i < requests_.size(); ++i) {
        if (auto n = requests_[i].load(std::memory_order_relaxed)) out.emplace_back(kNames[i], n);
    }
    return out;
}

void Stats::reset() {
    for (auto& counter : requests_) counter = 0;
    bytes_read_ = 0;
    bytes_written_ = 0;
}

}  // namespace extencfs::fuse
