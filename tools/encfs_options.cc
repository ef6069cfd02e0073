// SPDX-License-Identifier: Apache-2.0
#include "tools/encfs_options.h"

#include <getopt.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

namespace extencfs::tools {
namespace {

enum Long : int {
    kAnnotate = 1000,
    kStandard,
    kParanoia,
    kInsecure,
    kReverse,
    kReverseWrite,
    kExtpass,
    kAnyKey,
    kForceDecode,
    kRequireMacs,
    kDelayMount,
    kPublic,
    kNoCache,
    kNoAttrCache,
    kNoDataCache,
    kNoDefaultFlags,
};

constexpr option kLong[] = {
    {"annotate", no_argument, nullptr, kAnnotate},
    {"anykey", no_argument, nullptr, kAnyKey},
    {"config", required_argument, nullptr, 'c'},
    {"delaymount", no_argument, nullptr, kDelayMount},
    {"extpass", required_argument, nullptr, kExtpass},
    {"forcedecode", no_argument, nullptr, kForceDecode},
    {"foreground", no_argument, nullptr, 'f'},
    {"fuse-debug", no_argument, nullptr, 'd'},
    {"fuse-help", no_argument, nullptr, 'H'},
    {"idle", required_argument, nullptr, 'i'},
    {"insecure", no_argument, nullptr, kInsecure},
    {"no-default-flags", no_argument, nullptr, kNoDefaultFlags},
    {"noattrcache", no_argument, nullptr, kNoAttrCache},
    {"nocache", no_argument, nullptr, kNoCache},
    {"nodatacache", no_argument, nullptr, kNoDataCache},
    {"ondemand", no_argument, nullptr, 'm'},
    {"paranoia", no_argument, nullptr, kParanoia},
    {"public", no_argument, nullptr, kPublic},
    {"require-macs", no_argument, nullptr, kRequireMacs},
    {"reverse", no_argument, nullptr, kReverse},
    {"reversewrite", no_argument, nullptr, kReverseWrite},
    {"standard", no_argument, nullptr, kStandard},
    {"stdinpass", no_argument, nullptr, 'S'},
    {"syslogtag", required_argument, nullptr, 't'},
    {"unmount", no_argument, nullptr, 'u'},
    {"verbose", no_argument, nullptr, 'v'},
    {"version", no_argument, nullptr, 'V'},
    {nullptr, 0, nullptr, 0},
};

struct Flag {
    int letter;
    bool EncfsOptions::*member;
};
constexpr std::array kFlags{
    Flag{'S', &EncfsOptions::from_stdin},
    Flag{'f', &EncfsOptions::foreground},
    Flag{'d', &EncfsOptions::debug},
    Flag{'u', &EncfsOptions::unmount},
    Flag{'V', &EncfsOptions::version},
    Flag{'H', &EncfsOptions::fuse_help},
    Flag{'m', &EncfsOptions::on_demand},
    Flag{'v', &EncfsOptions::verbose},
    Flag{kInsecure, &EncfsOptions::insecure},
    Flag{kAnnotate, &EncfsOptions::annotate},
    Flag{kStandard, &EncfsOptions::standard},
    Flag{kParanoia, &EncfsOptions::paranoia},
    Flag{kReverse, &EncfsOptions::reverse},
    Flag{kReverseWrite, &EncfsOptions::reverse_write},
    Flag{kAnyKey, &EncfsOptions::any_key},
    Flag{kForceDecode, &EncfsOptions::force_decode},
    Flag{kRequireMacs, &EncfsOptions::require_macs},
    Flag{kDelayMount, &EncfsOptions::delay_mount},
    Flag{kPublic, &EncfsOptions::is_public},
    Flag{kNoAttrCache, &EncfsOptions::no_attr_cache},
    Flag{kNoDataCache, &EncfsOptions::no_data_cache},
};

// Options of libfuse 2 that ask for what is always so here, or tune what is tuned by itself.
constexpr std::array<std::string_view, 36> kOfFuse2{"use_ino",
                                                    "readdir_ino",
                                                    "big_writes",
                                                    "kernel_cache",
                                                    "auto_cache",
                                                    "noauto_cache",
                                                    "async_read",
                                                    "sync_read",
                                                    "atomic_o_trunc",
                                                    "hard_remove",
                                                    "intr",
                                                    "nopath",
                                                    "noforget",
                                                    "large_read",
                                                    "no_remote_lock",
                                                    "no_remote_flock",
                                                    "no_remote_posix_lock",
                                                    "splice_write",
                                                    "splice_move",
                                                    "splice_read",
                                                    "no_splice_write",
                                                    "no_splice_move",
                                                    "no_splice_read",
                                                    "auto_unmount",
                                                    "intr_signal=",
                                                    "remember=",
                                                    "max_read=",
                                                    "max_write=",
                                                    "max_readahead=",
                                                    "max_background=",
                                                    "entry_timeout=",
                                                    "attr_timeout=",
                                                    "negative_timeout=",
                                                    "ac_attr_timeout=",
                                                    "congestion_threshold=",
                                                    "user="};

// Of `extencfs mount`; EncFS has options of its own for some of them, and none for others.
constexpr std::array<std::string_view, 8> kNotOfEncfs{
    "idle=",      "mode=",      "transport=", "map_mb=",
    "allow_uid=", "allow_gid=", "deny_root",  "guard_lower"};

bool is_passed_over(std::string_view word) {
    return std::ranges::any_of(kOfFuse2, [word](std::string_view known) {
        return known.ends_with('=') ? word.starts_with(known) : word == known;
    });
}

std::expected<void, std::string> take_list(std::string_view list, EncfsOptions& options) {
    constexpr std::string_view kSubtype = "subtype=";
    while (!list.empty()) {
        const std::size_t end = std::min(list.find(','), list.size());
        const std::string_view word = list.substr(0, end);
        list.remove_prefix(std::min(end + 1, list.size()));
        if (is_passed_over(word)) continue;
        if (word.starts_with(kSubtype)) {
            options.subtype = word.substr(kSubtype.size());
            continue;
        }
        if (word == "direct_io") {
            options.no_data_cache = true;
            continue;
        }
        if (word == "debug") {
            options.debug = true;
            continue;
        }
        const bool foreign = std::ranges::any_of(
            kNotOfEncfs, [word](std::string_view other) { return word.starts_with(other); });
        if (foreign) return std::unexpected("fuse: unknown option `" + std::string(word) + "'");
        auto known = parse_mount_options(word, options.flags);
        if (!known) return std::unexpected("fuse: unknown option `" + known.error() + "'");
    }
    return {};
}

// What stands after the two directories, meant for FUSE.
std::expected<void, std::string> take_fuse_words(int argc, char** argv, int at,
                                                 EncfsOptions& options) {
    for (; at < argc; ++at) {
        const std::string_view word = argv[at];
        if (word == "-f") {
            options.foreground = true;
        } else if (word == "-d") {
            options.debug = true;
        } else if (word == "-o" && at + 1 < argc) {
            if (auto taken = take_list(argv[++at], options); !taken) return taken;
        } else if (word.starts_with("-o") && word.size() > 2) {
            if (auto taken = take_list(word.substr(2), options); !taken) return taken;
        } else if (word != "-s") {
            return std::unexpected("fuse: unknown option `" + std::string(word) + "'");
        }
    }
    return {};
}

std::expected<void, std::string> take(int letter, EncfsOptions& options) {
    for (const Flag& flag : kFlags) {
        if (flag.letter == letter) options.*flag.member = true;
    }
    switch (letter) {
        case 'c':
            options.config_file = optarg;
            break;
        case 'i':
            // What is no number is 0: never.
            options.idle_minutes =
                static_cast<unsigned>(std::clamp(std::strtol(optarg, nullptr, 10), 0L, 525'600L));
            break;
        case 'o':
            return take_list(optarg, options);
        case 't':
            options.syslog_tag = optarg;
            break;
        case kExtpass:
            options.program = optarg;
            break;
        case kNoCache:
            options.no_attr_cache = options.no_data_cache = true;
            break;
        default:  // -s, --no-default-flags change nothing here
            break;
    }
    return {};
}

std::expected<void, std::string> check(const EncfsOptions& options) {
    if (options.delay_mount && !options.on_demand)
        return std::unexpected("You must use mount-on-demand with delay-mount");
    if (options.on_demand && options.program.empty())
        return std::unexpected("Must set password program when using mount-on-demand");
    return {};
}

}  // namespace

std::expected<EncfsOptions, std::string> parse_encfs_options(int argc, char** argv) {
    EncfsOptions options;
    optind = 0;
    int letter = 0;
    while ((letter = getopt_long(argc, argv, "HsSfvdmi:o:t:uc:V", kLong, nullptr)) != -1) {
        if (auto taken = take(letter, options); !taken) return std::unexpected(taken.error());
    }
    options.reverse = options.reverse || options.reverse_write;
    if (options.version || options.fuse_help) return options;
    const int left = argc - optind;
    if (options.unmount && left >= 1) {
        options.mountpoint = argv[argc - 1];
        return options;
    }
    if (left < 2) return std::unexpected("Missing one or more arguments, aborting.");
    options.root_dir = argv[optind];
    options.mountpoint = argv[optind + 1];
    if (auto taken = take_fuse_words(argc, argv, optind + 2, options); !taken)
        return std::unexpected(taken.error());
    if (auto fits = check(options); !fits) return std::unexpected(fits.error());
    return options;
}

daemon::MountRequest encfs_request(const EncfsOptions& options) {
    const MountFlags& flags = options.flags;
    daemon::MountRequest request;
    request.cipher_dir = options.root_dir;
    request.mountpoint = options.mountpoint;
    request.occupied = flags.nonempty ? daemon::Occupied::kAccept : daemon::Occupied::kRefuse;
    request.idle_limit = std::chrono::minutes(options.idle_minutes);
    request.on_demand = options.on_demand;
    request.delay_password = options.delay_mount;
    request.legacy.config_file = options.config_file;
    request.legacy.any_key = options.any_key;
    request.legacy.ignore_macs = options.force_decode;
    request.legacy.require_macs = options.require_macs;
    request.legacy.reverse = options.reverse;
    request.legacy.reverse_write = options.reverse_write;
    fuse::MountOptions& mount = request.mount;
    mount.fsname = flags.fsname.empty() ? "encfs" : flags.fsname;
    mount.subtype = options.subtype.empty() ? "encfs" : options.subtype;
    mount.read_only = flags.read_only;
    mount.allow_other = flags.allow_other || options.is_public;
    mount.suid = flags.suid;
    mount.dev = flags.dev;
    mount.noexec = flags.noexec;
    // Who wants no caches looks for changes that others make below, at once.
    const bool no_cache = options.no_attr_cache || options.no_data_cache;
    mount.shared = flags.shared || no_cache;
    mount.no_xattr = flags.no_xattr;
    mount.debug = options.debug;
    mount.extra_kernel_options = flags.kernel;
    if (no_cache) mount.mode = fuse::Mode::kRegular;
    request.syslog_tag = options.syslog_tag;
    request.verbose = options.verbose;
    const bool foreground = options.foreground || options.debug;
    request.log = foreground ? daemon::LogTarget::kStderr : daemon::LogTarget::kSyslog;
    return request;
}

}  // namespace extencfs::tools
