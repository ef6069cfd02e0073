// SPDX-License-Identifier: Apache-2.0
// A whole mount, from the volume's directory to the clean mark at its end.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "encfs/daemon/background.h"
#include "encfs/daemon/credential.h"
#include "encfs/daemon/failure.h"
#include "encfs/daemon/fast_path.h"
#include "encfs/daemon/live_rotation.h"
#include "encfs/daemon/mountpoint.h"
#include "encfs/daemon/volume_source.h"
#include "encfs/fuse/session.h"

namespace extencfs::daemon {

enum class LogTarget : std::uint8_t { kStderr, kSyslog, kFile };

struct MountRequest {
    std::string cipher_dir;
    std::string mountpoint;    // as the user gave it
    fuse::MountOptions mount;  // its mountpoint, lower_dir and an empty fsname are filled in
    Occupied occupied = Occupied::kRefuse;
    std::chrono::milliseconds idle_limit{0};  // 0: never
    // Of EncFS volumes: forget the keys after that, instead of unmounting, and ask again; ask for
    // the first time when the mount is used.
    bool on_demand = false;
    bool delay_password = false;  // with on_demand
    LegacyChoices legacy;
    AccessRules access;
    unsigned map_mb = kDefaultMapMb;
    // Where messages go once the mount is usable; before that, to stderr.
    LogTarget log = LogTarget::kStderr;
    std::string log_file;
    std::string syslog_tag = "extencfs";
    bool verbose = false;  // also what is worth to know, not only what is worth to act on
    bool plain_names_in_log = false;  // damage is told with plaintext names too
    LiveRotationMaker rotation = {};  // rotates keys on request; may be empty
};

// What the mount asks of the command that started it; on demand also later, from other threads, one
// at a time.
struct MountDialogue {
    // The configuration is nullptr for volumes without key slots; it is not authenticated.
    std::function<Outcome<Credential>(const volume::Config*)> read_password;
    // Something to look at while the key is derived; gone when the result is.
    std::function<std::shared_ptr<void>(const std::string& words)> waiting;
    // The key of an EncFS volume that was made just now, so that it is not derived once more; then
    // no password is read. May be empty.
    std::function<std::optional<crypto::SecretBytes>()> made_key = {};
    // What opened the volume; may be empty.
    std::function<void(const OpenedBy&)> opened = {};
};

// Opens, unlocks, mounts and serves until unmounted. In this order: what can fail without a
// password fails before one is asked for; the volume is marked as in use just before the mount, and
// as in order once everything is durable. REQUIRES: one thread, in the process that keeps the keys
// (background.h). ERRORS: every kind but kUsage and kNotMounted.
Outcome<void> serve_mount(MountRequest request, const MountDialogue& dialogue, const Ready& ready);

}  // namespace extencfs::daemon
