// SPDX-License-Identifier: Apache-2.0
// The command line of `encfs`, as getopt_long reads it: abbreviations, options among the other
// words, and "--" before options for FUSE.
#pragma once

#include <expected>
#include <string>
#include <vector>

#include "encfs/daemon/mount_session.h"
#include "tools/mount_options.h"

namespace extencfs::tools {

struct EncfsOptions {
    std::string root_dir;
    std::string mountpoint;
    std::string config_file;
    std::string program;  // of --extpass
    bool from_stdin = false;
    bool foreground = false;
    bool debug = false;
    bool unmount = false;
    bool version = false;
    bool fuse_help = false;
    bool annotate = false;
    bool standard = false;
    bool paranoia = false;
    bool reverse = false;
    bool reverse_write = false;
    bool on_demand = false;
    bool delay_mount = false;
    bool is_public = false;
    bool any_key = false;
    bool force_decode = false;
    bool require_macs = false;
    bool no_attr_cache = false;
    bool no_data_cache = false;
    bool verbose = false;
    bool insecure = false;
    std::string syslog_tag = "encfs";
    unsigned idle_minutes = 0;
    MountFlags flags;     // of -o
    std::string subtype;  // of -o
};

// What is wrong is the error: a sentence that the usage follows. An unknown option is told on
// stderr and passed over, as EncFS does; an unknown word after -o is an error.
std::expected<EncfsOptions, std::string> parse_encfs_options(int argc, char** argv);

// Of a volume that is there or was made just now.
daemon::MountRequest encfs_request(const EncfsOptions& options);

}  // namespace extencfs::tools
