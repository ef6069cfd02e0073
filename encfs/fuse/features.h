// SPDX-License-Identifier: Apache-2.0
// Which features of the kernel's FUSE a mount uses: the table of docs for each is in features.cc.
#pragma once

#include <fuse_lowlevel.h>

#include <string>
#include <vector>

#include "encfs/fuse/session.h"

namespace extencfs::fuse {

// What was agreed with the kernel at INIT, and the policy that follows from the mode.
struct Features {
    double entry_timeout_s = 0;
    double negative_timeout_s = 0;
    double attr_timeout_s = 0;
    bool no_open = false;  // OPEN answered ENOSYS once: neither OPEN nor RELEASE are sent again
    bool no_opendir = false;
    bool no_flush = false;  // FLUSH answered ENOSYS: the page cache was written before anyway
    bool keep_cache = false;
    bool writeback = false;
    bool uring = false;              // asked for and offered
    std::vector<std::string> on;     // names, for stats
    std::vector<std::string> notes;  // what is missing, and why
};

// Negotiates on `conn` and returns what came of it.
Features negotiate(struct fuse_conn_info* conn, const MountOptions& options);

}  // namespace extencfs::fuse
