// SPDX-License-Identifier: Apache-2.0
// Cutting a file of an EncFS volume within a block: the last block is coded otherwise than a whole
// one, so that writing it and cutting what follows must both happen or neither. A journal in the
// root says what is to be done while it is; it is empty otherwise, and goes at unmount.
//
// Where names are not chained a rename may run beside it: a crash within these few calls then finds
// no file to finish, and costs its last block.
#pragma once

#include <memory>
#include <mutex>

#include "crypto/legacy_encfs.h"
#include "encfs/core/error.h"
#include "encfs/core/metadata_sink.h"
#include "encfs/lower/lower_fs.h"

namespace extencfs::core {

inline constexpr const char* kTailJournal = "extencfs.tail";

// THREADS: any; one cut at a time. LOCKS: a mutex of its own, held over the calls; whoever calls
// holds the file's whole range.
class LegacyTail {
  public:
    // `sink` may be nullptr, and outlives this.
    LegacyTail(std::shared_ptr<const crypto::LegacyKey> key, MetadataSink* sink)
        : key_(std::move(key)), sink_(sink) {}

    // What the root is. REQUIRES: before the first cut.
    void set_root(int rootfd) { rootfd_ = rootfd; }
    // The file ends with `block`, at `offset`, afterwards. ERRORS: kLower; the file is then as it
    // was, or will be finished by recover().
    Result<void> cut(lower::LowerFs& lower, int fd, std::uint64_t offset, Bytes block);
    // Finishes what a killed cut left. ERRORS: kLower.
    Result<void> recover(lower::LowerFs& lower, int rootfd) const;
    // The journal goes, if there is one.
    void end(lower::LowerFs& lower);

  private:
    Result<void> open_journal(lower::LowerFs& lower);
    Result<bool> note(lower::LowerFs& lower, int fd, std::uint64_t offset, Bytes block);

    std::shared_ptr<const crypto::LegacyKey> key_;
    MetadataSink* sink_;
    int rootfd_ = -1;
    std::mutex mutex_;
    lower::Fd journal_;
};

}  // namespace extencfs::core
