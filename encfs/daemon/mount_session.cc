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
#include "encfs/daemon/control.h"
#include "encfs/daemon/hardening.h"
#include "encfs/daemon/log.h"
#include "encfs/daemon/mount_table.h"
#include "encfs/daemon/supervisor.h"
#include "encfs/daemon/volume_on_disk.h"
#include "encfs/daemon/volume_state.h"

namespace extencfs::daemon {
namespace {

using Json = nlohmann::ordered_json;

// What was found before the password is asked for.
struct Prepared {
    VolumeOnDisk disk;
    ConfigCopies copies;
    std::optional<WriterLock> lock;  // none for a read-only mount
    bool was_clean = false;
};

Outcome<Prepared> prepare(lower::LowerFs& fs, MountRequest& request) {
    auto disk = VolumeOnDisk::open(fs, request.cipher_dir);
    if (!disk) return std::unexpected(disk.error());
    auto copies = disk->read_config();
    if (!copies) return std::unexpected(copies.error());
    if (auto fit = disk->check_names_survive(copies->usable.front().config); !fit) {
        return std::unexpected(fit.error());
    }
    auto mountpoint = check_mountpoint(request.mountpoint, disk->root_fd(), request.occupied);
    if (!mountpoint) return std::unexpected(mountpoint.error());
    request.mount.mountpoint = *mountpoint;
    Prepared prepared{std::move(*disk), std::move(*copies), std::nullopt};
    if (request.mount.read_only) {
        const auto state = view_state(fs, prepared.disk.root_fd());
        if (!state) return std::unexpected(state.error());
        prepared.was_clean = state->clean;
        // A writer beside us changes files behind our back.
        if (state->writer_present) request.mount.shared = true;
        return prepared;
    }
    auto lock = WriterLock::acquire(fs, prepared.disk.root_fd());
    if (!lock) return std::unexpected(lock.error());
    prepared.was_clean = lock->was_clean();
    prepared.lock = std::move(*lock);
    return prepared;
}

Outcome<UnlockedVolume> unlock(const Prepared& prepared, const MountDialogue& dialogue) {
    const auto password = dialogue.read_password();
    if (!password) return std::unexpected(password.error());
    const auto shown = dialogue.waiting("Deriving the key");
    return VolumeOnDisk::unlock(prepared.copies, password->bytes());
}

void mend_config(const Prepared& prepared, const UnlockedVolume& volume, Log& log) {
    for (const std::string& notice : volume.notices) {
        log.write(LogLevel::kWarning, "config", "{}", notice);
    }
    if (!prepared.lock) return;
    const auto rewritten = prepared.disk.repair_config(volume.text);
    if (!rewritten) {
        log.write(LogLevel::kWarning, "config", "{}", rewritten.error().sentence);
        return;
    }
    for (const std::string& name : *rewritten) {
        log.write(LogLevel::kNotice, "config", "{} was written again from the good copy", name);
    }
}

// The rest is for the kernel's device, sockets, logs and one descriptor of each request at work.
std::size_t descriptors_for_core(std::uint64_t limit) {
    constexpr std::uint64_t kReserve = 256;
    constexpr std::uint64_t kMost = 8192;
    return limit <= 2 * kReserve ? std::max<std::uint64_t>(limit / 2, 64)
                                 : std::min(limit - kReserve, kMost);
}

Outcome<std::unique_ptr<core::Filesystem>> open_filesystem(const Prepared& prepared,
                                                           const MountRequest& request,
                                                           const UnlockedVolume& volume,
                                                           const HardeningReport& limits,
                                                           const FastPath* fast_path, Log& log) {
    auto keys = volume::VolumeKeys::derive(volume.config, volume.volume_key.bytes());
    if (!keys) {
        return fail(FailureKind::kDamage, "the volume's keys cannot be derived (",
                    keys.error().detail, "); restore extencfs.conf from a backup of the volume");
    }
    lower::Fd root(fcntl(prepared.disk.root_fd(), F_DUPFD_CLOEXEC, 3));
    if (!root) return fail(FailureKind::kOther, errno_text(errno), "; try again");
    core::Options options;
    options.read_only = request.mount.read_only;
    options.trust_hints = prepared.was_clean;
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
                                     std::move(*keys), std::move(options));
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
    if (asked == "unmount") {
        if (session.unmount()) return {R"({"ok":true})", true};
        return {R"({"ok":false,"error":"busy"})"};
    }
    return {R"({"ok":false,"error":"unknown request"})"};
}

void switch_log(const MountRequest& request, Log& log) {
    switch (request.log) {
        case LogTarget::kStderr:
            break;
        case LogTarget::kSyslog:
            log.use_syslog();
            break;
        case LogTarget::kFile:
            log.resume_file();
            break;
    }
}

// Serves until unmounted.
Outcome<void> serve(const MountRequest& request, const Prepared& prepared, core::Filesystem& fs,
                    FastPath* fast_path, const std::vector<std::string>& notes, Log& log,
                    const Ready& ready) {
    auto session = fuse::Session::mount(fs, request.mount);
    if (!session) {
        return std::unexpected(Failure{kind_of_hint(session.error().exit_code_hint),
                                       std::move(session.error().sentence)});
    }
    if (fast_path != nullptr) {
        auto enforced = fast_path->enforce(request.mount.mountpoint, prepared.disk.root_fd(), log);
        if (!enforced) return enforced;
    }
    const Serving serving{request, **session, fast_path, notes};
    const auto control = ControlServer::start(
        request.mount.mountpoint, [&](std::string_view asked) { return answer(asked, serving); });
    if (!control) return std::unexpected(control.error());
    const auto supervisor =
        Supervisor::start(**session, log, request.mount.mountpoint, request.idle_limit);
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
Outcome<void> end_in_order(Prepared& prepared, std::unique_ptr<core::Filesystem> fs) {
    const bool in_order = fs ? fs->finish() : prepared.was_clean;
    fs.reset();
    if (!prepared.lock || !in_order) return {};
    const auto synced = prepared.disk.fs().syncfs(prepared.disk.root_fd());
    if (!synced) {
        return fail(FailureKind::kOther, "the volume could not be synced (",
                    errno_text(synced.error().value), "); check the disk below");
    }
    return prepared.lock->end_clean();
}

// From the unlocked volume to the end of its mount.
Outcome<void> mount_unlocked(const MountRequest& request, Prepared& prepared,
                             const UnlockedVolume& volume, const HardeningReport& limits, Log& log,
                             const Ready& ready) {
    std::vector<std::string> notes;
    const auto fast_path = FastPath::make(request.mount, request.access, request.map_mb, notes);
    if (!fast_path) return std::unexpected(fast_path.error());
    if (prepared.lock) {
        if (auto marked = prepared.lock->begin_writing(); !marked) return marked;
    }
    auto fs = open_filesystem(prepared, request, volume, limits, fast_path->get(), log);
    const auto served = fs ? serve(request, prepared, **fs, fast_path->get(), notes, log, ready)
                           : Outcome<void>(std::unexpected(fs.error()));
    const auto ended = end_in_order(prepared, fs ? std::move(*fs) : nullptr);
    return served ? ended : served;
}

}  // namespace

Outcome<void> serve_mount(MountRequest request, const MountDialogue& dialogue, const Ready& ready) {
    const auto limits = harden_process();
    if (!limits) return std::unexpected(limits.error());
    Log log;
    if (request.log == LogTarget::kFile) {
        // Now, while a failure can still be told, and before "/" becomes the directory.
        if (auto opened = log.use_file(request.log_file); !opened) return opened;
        log.use_stderr();
    }
    const auto lower = lower::make_posix_lower_fs();
    auto prepared = prepare(*lower, request);
    if (!prepared) return std::unexpected(prepared.error());
    const auto volume = unlock(*prepared, dialogue);
    if (!volume) return std::unexpected(volume.error());
    block_ending_signals();
    mend_config(*prepared, *volume, log);
    if (prepared->lock && !prepared->lock->is_enforced()) {
        log.write(LogLevel::kWarning, "lock",
                  "the file system below has no locks: do not mount this volume twice");
    }
    request.mount.lower_dir = request.cipher_dir;
    if (request.mount.fsname.empty()) request.mount.fsname = request.cipher_dir;
    bool was_ready = false;
    const auto done = mount_unlocked(request, *prepared, *volume, *limits, log, [&] {
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
