// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/mount_session.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <optional>

#include "encfs/core/filesystem.h"
#include "encfs/core/online_rotation.h"
#include "encfs/daemon/control.h"
#include "encfs/daemon/hardening.h"
#include "encfs/daemon/log.h"
#include "encfs/daemon/mount_table.h"
#include "encfs/daemon/on_demand.h"
#include "encfs/daemon/supervisor.h"
#include "encfs/daemon/volume_source.h"

namespace extencfs::daemon {
namespace {

using Json = nlohmann::ordered_json;

Outcome<std::unique_ptr<VolumeSource>> prepare(lower::LowerFs& fs, MountRequest& request) {
    auto volume = open_volume(fs, request.cipher_dir, request.legacy);
    if (!volume) return volume;
    if (!(*volume)->why_read_only().empty()) request.mount.read_only = true;
    if (request.on_demand && !(*volume)->can_forget_keys()) {
        return fail(FailureKind::kUnsupported, request.cipher_dir,
                    " is no EncFS volume, and cannot be mounted on demand; leave that out, --idle "
                    "then unmounts it");
    }
    if (request.on_demand) {
        // What the kernel keeps could be had without the password.
        request.mount.mode = fuse::Mode::kRegular;
        request.mount.transport = fuse::Transport::kClassic;
    }
    auto mountpoint = check_mountpoint(request.mountpoint, (*volume)->root_fd(), request.occupied);
    if (!mountpoint) return std::unexpected(mountpoint.error());
    request.mount.mountpoint = *mountpoint;
    auto reserved = (*volume)->reserve(request.mount.read_only, request.mount.shared);
    if (!reserved) return std::unexpected(reserved.error());
    return volume;
}

mode_t current_umask() {
    const mode_t now = umask(0);
    umask(now);
    return now;
}

Outcome<void> unlock(VolumeSource& volume, const MountDialogue& dialogue) {
    if (dialogue.made_key) {
        if (const auto key = dialogue.made_key()) return volume.unlock_by_key(key->bytes());
    }
    const auto given = dialogue.read_password(volume.config());
    if (!given) return std::unexpected(given.error());
    {
        const auto shown = dialogue.waiting("Deriving the key");
        if (auto opened = volume.unlock(given->view()); !opened) return opened;
    }
    if (const auto by = volume.opened_by(); by && dialogue.opened) dialogue.opened(*by);
    return {};
}

// The rest is for the kernel's device, sockets, logs and one descriptor of each request at work.
std::size_t descriptors_for_core(std::uint64_t limit) {
    constexpr std::uint64_t kReserve = 256;
    constexpr std::uint64_t kMost = 8192;
    return limit <= 2 * kReserve ? std::max<std::uint64_t>(limit / 2, 64)
                                 : std::min(limit - kReserve, kMost);
}

Outcome<std::unique_ptr<core::Filesystem>> open_filesystem(VolumeSource& volume,
                                                           const MountRequest& request,
                                                           const HardeningReport& limits,
                                                           const FastPath* fast_path, Log& log) {
    auto format =
        request.delay_password ? Outcome<core::FormatMaker>(core::FormatMaker()) : volume.format();
    if (!format) return std::unexpected(format.error());
    lower::Fd root(fcntl(volume.root_fd(), F_DUPFD_CLOEXEC, 3));
    if (!root) return fail(FailureKind::kOther, errno_text(errno), "; try again");
    core::Options options;
    options.read_only = request.mount.read_only;
    options.trust_hints = volume.was_clean();
    options.shared = request.mount.shared;
    options.plain_names_in_reports = request.plain_names_in_log;
    options.max_descriptors = descriptors_for_core(limits.descriptors);
    if (fast_path != nullptr) options.sink = fast_path->sink();
    options.on_damage = [&log](const core::DamageReport& report) {
        if (report.plain_name.empty()) {
            log.write(LogLevel::kError, "damage", "{}: {}", report.lower_name, report.what);
        } else {
            log.write(LogLevel::kError, "damage", "{} ({}): {}", report.lower_name,
                      report.plain_name, report.what);
        }
    };
    auto fs = core::Filesystem::open(lower::make_posix_lower_fs(), std::move(root),
                                     std::move(*format), std::move(options));
    if (!fs) {
        return fail(FailureKind::kOther, "the volume's root directory cannot be used (",
                    errno_text(core::errno_of(fs.error())), "); check its permissions");
    }
    return std::move(*fs);
}

FailureKind kind_of_hint(int exit_code_hint) {
    return exit_code_hint == 10 ? FailureKind::kMountpoint : FailureKind::kFuse;
}

// What is served, and the kernel's part in it.
struct Serving {
    const MountRequest& request;
    fuse::Session& session;
    FastPath* fast_path;                    // may be null
    const std::vector<std::string>& notes;  // of the fast path
    LiveRotation* rotation;                 // may be null

    std::vector<std::string> all_notes() const {
        auto all = session.feature_notes();
        all.insert(all.end(), notes.begin(), notes.end());
        if (fast_path != nullptr)
            for (std::string& note : fast_path->notes()) all.push_back(std::move(note));
        return all;
    }
};

Json status_json(const Serving& serving) {
    const MountRequest& request = serving.request;
    return {{"ok", true},
            {"version", EXTENCFS_VERSION},
            {"pid", getpid()},
            {"cipher_dir", request.cipher_dir},
            {"mountpoint", request.mount.mountpoint},
            {"read_only", request.mount.read_only},
            {"notes", serving.all_notes()}};
}

// Of the session, with what the kernel did by itself.
Json stats_json(const Serving& serving) {
    // One line on the socket, whatever its writer did.
    Json stats = Json::parse(serving.session.stats_json(), nullptr, false);
    if (!stats.is_object()) return stats;
    stats["notes"] = serving.all_notes();
    // The keys are there whether or not the kernel does anything by itself.
    for (const char* key : {"served_in_kernel", "denied_in_kernel"}) stats[key] = Json::object();
    for (const char* key : {"map_bytes", "map_entries"}) stats[key] = 0;
    if (serving.fast_path != nullptr) serving.fast_path->add_to(stats);
    return stats;
}

ControlReply answer(std::string_view asked, const Serving& serving) {
    fuse::Session& session = serving.session;
    const auto text = [](const Json& json) {
        return json.dump(-1, ' ', false, Json::error_handler_t::replace);
    };
    if (asked == "status") return {text(status_json(serving))};
    if (asked == "stats" || asked == "stats reset") {
        const Json stats = stats_json(serving);
        if (asked == "stats reset") session.reset_stats();
        return {text(stats)};
    }
    if (asked == kRotateRequest) {
        if (serving.rotation == nullptr) return {R"({"ok":false,"error":"unsupported"})"};
        if (serving.rotation->is_busy()) return {R"({"ok":false,"error":"busy"})"};
        return {.json = R"({"ok":true})", .take_over = [&serving](lower::Fd client) {
                    serving.rotation->talk(std::move(client));
                }};
    }
    if (asked == "unmount") {
        if (serving.rotation != nullptr && !serving.rotation->hold_back())
            return {R"({"ok":false,"error":"rotating"})"};
        if (serving.rotation != nullptr &&
            serving.rotation->state() == LiveRotation::State::kHalfWay) {
            serving.rotation->let_begin();
            return {R"({"ok":false,"error":"rotated half"})"};
        }
        if (session.unmount()) return {R"({"ok":true})", true};
        if (serving.rotation != nullptr) serving.rotation->let_begin();
        return {R"({"ok":false,"error":"busy"})"};
    }
    return {R"({"ok":false,"error":"unknown request"})"};
}

void switch_log(const MountRequest& request, Log& log) {
    switch (request.log) {
        case LogTarget::kStderr:
            break;
        case LogTarget::kSyslog:
            log.use_syslog(request.syslog_tag);
            break;
        case LogTarget::kFile:
            log.resume_file();
            break;
    }
}

// Serves until unmounted.
Outcome<void> serve(const MountRequest& request, const VolumeSource& volume, core::Filesystem& fs,
                    FastPath* fast_path, const std::vector<std::string>& notes, OnDemand* on_demand,
                    Log& log, const Ready& ready) {
    auto session = fuse::Session::mount(fs, request.mount);
    if (!session) {
        return std::unexpected(Failure{kind_of_hint(session.error().exit_code_hint),
                                       std::move(session.error().sentence)});
    }
    if (fast_path != nullptr) {
        auto enforced = fast_path->enforce(request.mount.mountpoint, volume.root_fd(), log);
        if (!enforced) return enforced;
    }
    std::unique_ptr<LiveRotation> rotation;
    if (request.rotation && volume.rotatable() != nullptr && core::OnlineRotation(fs).is_possible())
        rotation = request.rotation(*volume.rotatable(), fs, log);
    const Serving serving{request, **session, fast_path, notes, rotation.get()};
    const auto control = ControlServer::start(
        request.mount.mountpoint, [&](std::string_view asked) { return answer(asked, serving); });
    if (!control) return std::unexpected(control.error());
    const auto supervisor = Supervisor::start(**session, log, request.mount.mountpoint,
                                              request.idle_limit, on_demand, rotation.get());
    if (!supervisor) return std::unexpected(supervisor.error());
    // Modes of new files come whole from the kernel.
    umask(0);
    Outcome<void> attached;
    const int error = (*session)->run([&] {
        if (fast_path != nullptr) attached = fast_path->attach(request.mount.mountpoint);
        if (!attached) {
            (void)(*session)->unmount(true);
            (*session)->request_exit();
            return;
        }
        for (const std::string& note : serving.all_notes()) {
            log.write(LogLevel::kInfo, "features", "{}", note);
        }
        switch_log(request, log);
        ready();
    });
    if (fast_path != nullptr) fast_path->detach();
    if (!attached) return attached;
    if (error == 0) return {};
    return fail(FailureKind::kFuse, "the mount ended (", errno_text(error),
                "); mount it again, data that was synced is safe");
}

// `fs` may be null: it could not be opened, and nothing was changed.
Outcome<void> end_in_order(lower::LowerFs& lower, VolumeSource& volume, bool read_only,
                           std::unique_ptr<core::Filesystem> fs) {
    const bool in_order = fs ? fs->finish() : volume.was_clean();
    fs.reset();
    if (read_only || !in_order) return {};
    const auto synced = lower.syncfs(volume.root_fd());
    if (!synced) {
        return fail(FailureKind::kOther, "the volume could not be synced (",
                    errno_text(synced.error().value), "); check the disk below");
    }
    return volume.end_clean();
}

// From the unlocked volume to the end of its mount.
Outcome<void> mount_unlocked(const MountRequest& request, lower::LowerFs& lower,
                             VolumeSource& volume, const HardeningReport& limits,
                             OnDemand* on_demand, Log& log, const Ready& ready) {
    std::vector<std::string> notes;
    const auto fast_path = FastPath::make(request.mount, request.access, request.map_mb, notes);
    if (!fast_path) return std::unexpected(fast_path.error());
    if (auto marked = volume.begin_writing(); !marked) return marked;
    auto fs = open_filesystem(volume, request, limits, fast_path->get(), log);
    if (fs && on_demand != nullptr)
        on_demand->serve(**fs, volume.root_fd(), !request.delay_password);
    const auto served =
        fs ? serve(request, volume, **fs, fast_path->get(), notes, on_demand, log, ready)
           : Outcome<void>(std::unexpected(fs.error()));
    const auto ended =
        end_in_order(lower, volume, request.mount.read_only, fs ? std::move(*fs) : nullptr);
    return served ? ended : served;
}

}  // namespace

Outcome<void> serve_mount(MountRequest request, const MountDialogue& dialogue, const Ready& ready) {
    const auto limits = harden_process();
    if (!limits) return std::unexpected(limits.error());
    Log log;
    if (request.verbose) log.set_level(LogLevel::kInfo);
    if (request.log == LogTarget::kFile) {
        // Now, while a failure can still be told, and before "/" becomes the directory.
        if (auto opened = log.use_file(request.log_file); !opened) return opened;
        log.use_stderr();
    }
    const auto lower = lower::make_posix_lower_fs();
    const auto volume = prepare(*lower, request);
    if (!volume) return std::unexpected(volume.error());
    if (!request.delay_password) {
        if (auto opened = unlock(**volume, dialogue); !opened) return opened;
    }
    std::optional<KeyRing> keys;
    std::optional<OnDemand> on_demand;
    if (request.on_demand) {
        keys.emplace(
            *lower, request.cipher_dir, request.legacy,
            [&dialogue] { return dialogue.read_password(nullptr); }, current_umask());
        if (!request.delay_password) {
            if (auto known = keys->remember(**volume); !known) return known;
        }
        request.mount.gate = &on_demand.emplace(*keys, log);
    }
    block_ending_signals();
    (*volume)->mend(log);
    request.mount.lower_dir = request.cipher_dir;
    if (request.mount.fsname.empty()) request.mount.fsname = request.cipher_dir;
    bool was_ready = false;
    const auto done = mount_unlocked(request, *lower, **volume, *limits,
                                     on_demand ? &*on_demand : nullptr, log, [&] {
                                         was_ready = true;
                                         ready();
                                     });
    // After the command that started us has gone, the log is the only one to tell.
    if (!done && was_ready && request.log != LogTarget::kStderr) {
        log.write(LogLevel::kError, "end", "{}", done.error().sentence);
    }
    return done;
}

}  // namespace extencfs::daemon
