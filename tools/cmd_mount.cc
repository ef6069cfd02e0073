// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <map>
#include <memory>
#include <optional>

#include "encfs/daemon/mount_session.h"
#include "encfs/rotate/live_service.h"
#include "encfs/token/key_cache.h"
#include "tools/advice.h"
#include "tools/command.h"
#include "tools/json_failure.h"
#include "tools/key_source.h"
#include "tools/migration_check.h"
#include "tools/mount_options.h"
#include "tools/numbers.h"
#include "tools/option_checks.h"
#include "tools/progress.h"
#include "tools/token_source.h"

namespace extencfs::tools {
namespace {

using daemon::Outcome;

struct MountCommand {
    UnlockOptions unlock;
    std::string cipher_dir;
    std::string mountpoint;
    std::vector<std::string> lists;  // of -o
    std::string mode;
    std::string transport;
    std::string idle;
    std::string log_file;
    bool foreground = false;
    bool read_only = false;
    bool shared = false;
    bool syslog = false;
    bool plain_names_in_log = false;
    bool debug = false;
    std::string map_mb;
    std::vector<std::string> allow_uids;  // numbers or names
    std::vector<std::string> allow_gids;
    bool deny_root = false;
    bool guard_lower = false;
    bool on_demand = false;
    bool delay_password = false;
    unsigned cache_minutes = 0;  // 0: nothing is kept
    bool json = false;
    daemon::LegacyChoices legacy;
};

constexpr unsigned kMostCacheMinutes = 7 * 24 * 60;
constexpr double kMostIdleMinutes = 525'600;  // a year

// The kernel and the log know the volume by its absolute path.
std::string absolute(const std::string& path) {
    const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr),
                                                           &std::free);
    return real ? std::string(real.get()) : path;
}

std::optional<std::chrono::milliseconds> parse_minutes(const std::string& text) {
    const auto minutes = parse_number<double>(text);
    if (!minutes || !(*minutes >= 0 && *minutes <= kMostIdleMinutes)) return std::nullopt;
    return std::chrono::milliseconds(static_cast<std::int64_t>(*minutes * 60'000));
}

std::unexpected<std::string> bad(const std::string& what) {
    return std::unexpected(what);
}

std::expected<void, std::string> choose_ways(const MountFlags& flags, fuse::MountOptions& mount) {
    static const std::map<std::string, fuse::Mode> modes{{"", fuse::Mode::kAuto},
                                                         {"auto", fuse::Mode::kAuto},
                                                         {"regular", fuse::Mode::kRegular},
                                                         {"optimized", fuse::Mode::kOptimized},
                                                         {"extfuse", fuse::Mode::kExtfuse}};
    static const std::map<std::string, fuse::Transport> transports{
        {"", fuse::Transport::kAuto},
        {"auto", fuse::Transport::kAuto},
        {"uring", fuse::Transport::kUring},
        {"classic", fuse::Transport::kClassic}};
    const auto mode = modes.find(flags.mode);
    if (mode == modes.end()) return bad("the mode " + flags.mode + " is unknown");
    const auto transport = transports.find(flags.transport);
    if (transport == transports.end())
        return bad("the transport " + flags.transport + " is unknown");
    mount.mode = mode->second;
    mount.transport = transport->second;
    return {};
}

std::expected<void, std::string> rule_access(const MountFlags& flags,
                                             daemon::MountRequest& request) {
    daemon::AccessRules& rules = request.access;
    rules.deny_root = flags.deny_root;
    rules.guard_lower = flags.guard_lower;
    for (const std::string& text : flags.allow_uids) {
        const auto uid = parse_uid(text);
        if (!uid) return bad("there is no user " + text);
        rules.allow_uids.push_back(*uid);
    }
    for (const std::string& text : flags.allow_gids) {
        const auto gid = parse_gid(text);
        if (!gid) return bad("there is no group " + text);
        rules.allow_gids.push_back(*gid);
    }
    if (rules.deny_root && ::geteuid() == 0 && !rules.admit_others())
        return bad("a mount of root's with --deny-root is nobody's without --allow-uid");
    // FUSE's own check knows only "the owner" and "all": the rules do the rest.
    if (rules.admit_others()) request.mount.allow_other = true;
    return {};
}

std::expected<void, std::string> size_maps(const MountFlags& flags, unsigned& map_mb) {
    if (flags.map_mb.empty()) return {};
    const auto mb = parse_number<unsigned>(flags.map_mb);
    if (!mb || *mb < daemon::kLeastMapMb || *mb > daemon::kMostMapMb)
        return bad("'" + flags.map_mb + "' is no size in MB from " +
                   std::to_string(daemon::kLeastMapMb) + " to " +
                   std::to_string(daemon::kMostMapMb));
    map_mb = *mb;
    return {};
}

std::expected<void, std::string> choose_demand(const MountCommand& command, const MountFlags& flags,
                                               daemon::MountRequest& request) {
    if (command.delay_password && !command.on_demand)
        return bad("--delaymount is for mounts with --ondemand");
    if (!command.on_demand) return {};
    if (command.cache_minutes != 0)
        return bad(
            "--cache-key keeps keys of volumes of extencfs's own, and --ondemand is of EncFS's");
    // A person at a terminal is not there any more when the keys are wanted again.
    if (command.unlock.password.program.empty())
        return bad("--ondemand needs a program that tells the password, --extpass");
    if (flags.mode == "optimized" || flags.mode == "extfuse" || flags.transport == "uring")
        return bad(
            "a mount with --ondemand leaves nothing to the kernel: only --mode regular and "
            "--transport classic go with it");
    request.on_demand = true;
    request.delay_password = command.delay_password;
    if (!request.legacy.config_file.empty())
        request.legacy.config_file = absolute(request.legacy.config_file);
    return {};
}

std::expected<daemon::MountRequest, std::string> to_request(const MountCommand& command) {
    MountFlags flags;
    for (const std::string& list : command.lists) {
        if (auto known = parse_mount_options(list, flags); !known) {
            return bad("the mount option '" + known.error() + "' is unknown");
        }
    }
    // What has an option of its own counts more than the same in a list.
    if (!command.mode.empty()) flags.mode = command.mode;
    if (!command.transport.empty()) flags.transport = command.transport;
    if (!command.idle.empty()) flags.idle = command.idle;
    if (!command.map_mb.empty()) flags.map_mb = command.map_mb;
    flags.deny_root = flags.deny_root || command.deny_root;
    flags.guard_lower = flags.guard_lower || command.guard_lower;
    std::ranges::copy(command.allow_uids, std::back_inserter(flags.allow_uids));
    std::ranges::copy(command.allow_gids, std::back_inserter(flags.allow_gids));
    daemon::MountRequest request;
    if (auto known = choose_ways(flags, request.mount); !known) return bad(known.error());
    const auto idle = parse_minutes(flags.idle.empty() ? "0" : flags.idle);
    if (!idle) return bad("'" + flags.idle + "' is no number of minutes");
    request.idle_limit = *idle;
    request.cipher_dir = absolute(command.cipher_dir);
    request.mountpoint = command.mountpoint;
    request.occupied = flags.nonempty ? daemon::Occupied::kAccept : daemon::Occupied::kRefuse;
    request.mount.fsname = flags.fsname;
    request.mount.read_only = flags.read_only || command.read_only;
    request.mount.allow_other = flags.allow_other;
    if (auto ruled = rule_access(flags, request); !ruled) return bad(ruled.error());
    if (auto sized = size_maps(flags, request.map_mb); !sized) return bad(sized.error());
    request.mount.suid = flags.suid;
    request.mount.dev = flags.dev;
    request.mount.noexec = flags.noexec;
    request.mount.shared = flags.shared || command.shared;
    request.mount.no_xattr = flags.no_xattr;
    request.mount.debug = command.debug;
    request.mount.extra_kernel_options = flags.kernel;
    request.legacy = command.legacy;
    request.legacy.reverse = command.legacy.reverse || command.legacy.reverse_write;
    if (auto chosen = choose_demand(command, flags, request); !chosen) return bad(chosen.error());
    request.log_file = command.log_file;
    request.plain_names_in_log = command.plain_names_in_log;
    request.log = !command.log_file.empty()               ? daemon::LogTarget::kFile
                  : command.syslog || !command.foreground ? daemon::LogTarget::kSyslog
                                                          : daemon::LogTarget::kStderr;
    request.rotation = rotate::make_live_rotation;
    return request;
}

// Keeps what opened the volume, for remounts. That it cannot be kept is no reason not to mount.
void keep_key(const daemon::OpenedBy& by, unsigned minutes) {
    // One that opened by itself keeps its end.
    if (const auto kept = token::cached_key(by.volume_id);
        kept && kept->slot == by.slot && kept->revision == by.revision &&
        crypto::equal_constant_time(kept->box_key.bytes(), by.box_key)) {
        return;
    }
    const token::CachedKey key{by.slot, by.revision, crypto::Key256(by.box_key)};
    const auto done = token::cache_key(by.volume_id, key, std::chrono::minutes(minutes));
    if (!done) tell_notice(done.error().sentence);
}

ExitCode tell_of(const MountCommand& command, const daemon::Failure& failure) {
    hint_at_password(failure, command.unlock);
    const auto told = advised(failure, command.cipher_dir, Takes::kBothKinds);
    return command.json ? tell_json(told) : tell(told);
}

// What opens it; `config`: none of a volume of EncFS.
Outcome<daemon::Credential> find_key(const MountCommand& command, const volume::Config* config) {
    if (config == nullptr && command.cache_minutes != 0) {
        return daemon::fail(daemon::FailureKind::kUnsupported, command.cipher_dir,
                            " is a volume of EncFS, of which no key is kept; leave out "
                            "--cache-key");
    }
    return find_credential(command.unlock, config, command.cipher_dir);
}

ExitCode run(const MountCommand& command) {
    const auto request = to_request(command);
    if (!request) {
        std::fprintf(stderr, "extencfs: %s; see 'extencfs mount --help'\n",
                     request.error().c_str());
        return kExitUsage;
    }
    const Use use = request->mount.read_only ? Use::kRead : Use::kWrite;
    if (auto usable = check_migration(request->cipher_dir, request->legacy, use); !usable)
        return tell_of(command, usable.error());
    daemon::MountDialogue dialogue{
        [&command](const volume::Config* config) { return find_key(command, config); },
        [](const std::string& words) { return std::make_shared<Progress>(words); }};
    if (command.cache_minutes != 0) {
        dialogue.opened = [minutes = command.cache_minutes](const daemon::OpenedBy& by) {
            keep_key(by, minutes);
        };
    }
    const daemon::Service service = [&](const daemon::Ready& ready) {
        return daemon::serve_mount(*request, dialogue, ready);
    };
    const auto done = command.foreground ? service([] {}) : daemon::run_in_background(service);
    if (!done) return tell_of(command, done.error());
    if (command.json && !command.foreground) std::printf("{\"ok\":true}\n");
    return kExitOk;
}

void add_encfs_options(CLI::App& app, MountCommand& command) {
    daemon::LegacyChoices& legacy = command.legacy;
    app.add_option("-c,--config", legacy.config_file,
                   "The configuration, where it is not in CIPHERDIR")
        ->check(not_empty)
        ->type_name("FILE")
        ->group("EncFS volumes");
    app.add_flag("--anykey", legacy.any_key, "Take a key whose checksum is wrong")
        ->group("EncFS volumes");
    app.add_flag("--require-macs", legacy.require_macs, "Refuse a volume without block checksums")
        ->group("EncFS volumes");
    app.add_flag("--forcedecode", legacy.ignore_macs, "Show blocks whose checksum is wrong")
        ->group("EncFS volumes");
    app.add_flag("--ondemand", command.on_demand,
                 "Forget the keys after --idle, and ask --extpass again when it is used")
        ->group("EncFS volumes");
    app.add_flag("--delaymount", command.delay_password,
                 "With --ondemand: ask when it is used for the first time")
        ->group("EncFS volumes");
    app.add_flag("--reverse", legacy.reverse,
                 "Show the encrypted view of the plain directory CIPHERDIR, read-only, with the "
                 "EncFS settings in it")
        ->group("EncFS volumes");
    app.add_flag("--reversewrite", legacy.reverse_write,
                 "Likewise, and decrypt into CIPHERDIR what is written to it")
        ->group("EncFS volumes");
}

void add_mount_options(CLI::App& app, MountCommand& command) {
    app.add_flag("-f,--foreground", command.foreground, "Stay in the foreground; log to stderr");
    app.add_option(
           "-o", command.lists,
           "Mount options, comma-separated: ro, rw, allow_other, suid, dev, noexec, "
           "noatime, nonempty, fsname=NAME, idle=MINUTES, mode=M, transport=T, shared, noxattr, "
           "allow_uid=U, allow_gid=G, deny_root, guard_lower, map_mb=MB")
        ->type_name("OPTS")
        ->allow_extra_args(false);
    app.add_flag("--ro", command.read_only, "Mount read-only; works beside another mount");
    app.add_option("--mode", command.mode,
                   "Requests: regular (nothing cached), optimized (everything cached that can be), "
                   "extfuse (that, and the kernel answers from BPF maps), "
                   "auto (the best that works here; the default)")
        ->check(CLI::IsMember({"regular", "optimized", "auto", "extfuse"}))
        ->type_name("M");
    app.add_option("--transport", command.transport,
                   "How requests come: uring (FUSE over io_uring), classic, or auto (the default)")
        ->check(CLI::IsMember({"auto", "uring", "classic"}))
        ->type_name("T");
    app.add_flag("--shared", command.shared,
                 "Somebody else may change CIPHERDIR while it is mounted: look again each time");
    app.add_option("--cache-key", command.cache_minutes,
                   "Keep the key in the kernel for so many minutes: mounting again needs no "
                   "password ('extencfs lock' forgets it)")
        ->check(CLI::Range(1U, kMostCacheMinutes))
        ->type_name("MINUTES");
    app.add_flag("--json", command.json, "Tell failures as JSON on stdout (keys: see CLI_ABI.md)");
    app.add_option("--idle", command.idle, "Unmount when nobody used it for so many minutes")
        ->type_name("MINUTES");
    auto* file = app.add_option("--log", command.log_file, "Append messages to FILE")
                     ->check(not_empty)
                     ->type_name("FILE");
    app.add_flag("--syslog", command.syslog,
                 "Send messages to the system log (the default in the background)")
        ->excludes(file);
    app.add_flag(
        "--plaintext-names-in-log", command.plain_names_in_log,
        "Tell of damage with plaintext names too; without it the log holds lower names only");
    app.add_option("--allow-uid", command.allow_uids,
                   "Admit this user besides the owner, in the kernel; may be repeated")
        ->type_name("USER")
        ->allow_extra_args(false);
    app.add_option("--allow-gid", command.allow_gids, "Admit the members of this group")
        ->type_name("GROUP")
        ->allow_extra_args(false);
    app.add_flag("--deny-root", command.deny_root, "Refuse root, too");
    app.add_flag("--guard-lower", command.guard_lower,
                 "Only the daemon may write below CIPHERDIR while it is mounted");
    app.add_option("--map-mb", command.map_mb, "Memory for what the kernel answers by itself (25)")
        ->type_name("MB");
    app.add_flag("--debug", command.debug, "Show every request (with -f)")->group("");
}

}  // namespace

void add_mount(CLI::App& root, int& exit_code) {
    auto command = std::make_shared<MountCommand>();
    auto* app = root.add_subcommand("mount", "Mount a volume; returns when it is usable");
    add_unlock_options(*app, command->unlock);
    add_slot_option(*app, command->unlock);
    add_token_option(*app, command->unlock);
    add_mount_options(*app, *command);
    add_encfs_options(*app, *command);
    app->add_option("CIPHERDIR", command->cipher_dir, "The volume")->required();
    app->add_option("MOUNTPOINT", command->mountpoint, "Empty directory to show it in")->required();
    app->footer("Example:\n  extencfs mount --idle 30 ~/.vault ~/vault");
    app->callback([command, &exit_code] { exit_code = run(*command); });
}

}  // namespace extencfs::tools
