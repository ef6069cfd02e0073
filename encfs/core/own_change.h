// SPDX-License-Identifier: Apache-2.0
// A change below that no request asked for: pages put in order, an id file made good. It may come
// at any moment, so whoever makes it tells the sink himself.
#pragma once

#include <memory>

#include "encfs/core/error.h"
#include "encfs/core/metadata_sink.h"
#include "encfs/lower/lower_fs.h"

namespace extencfs::core {

// The inode of an open descriptor is closed towards the sink while this lives.
class OwnChange {
  public:
    // ERRORS: kLower. Makes a lower call only if the sink listens.
    static Result<OwnChange> begin(MetadataSink* sink, lower::LowerFs& lower, int fd) {
        OwnChange change;
        if (sink == nullptr || !sink->listens()) return change;
        auto is = lower.stat(fd);
        if (!is) return fail(is.error());
        change.scope_ = std::make_unique<ChangeScope>(*sink, MetadataSink::Change{{is->st_ino}});
        return change;
    }

  private:
    std::unique_ptr<ChangeScope> scope_;
};

}  // namespace extencfs::core
