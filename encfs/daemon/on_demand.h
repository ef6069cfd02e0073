// SPDX-License-Identifier: Apache-2.0
// The keys of a mount that forgets them when nobody uses it, and asks for them again when somebody
// does. Requests that come meanwhile wait at its gate.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

#include "encfs/core/filesystem.h"
#include "encfs/core/writer_first_mutex.h"
#include "encfs/daemon/credential.h"
#include "encfs/daemon/failure.h"
#include "encfs/daemon/log.h"
#include "encfs/daemon/volume_source.h"
#include "encfs/fuse/gate.h"

namespace extencfs::daemon {

// Opens a volume again and again. THREADS: one at a time.
class KeyRing {
  public:
    using ReadPassword = std::function<Outcome<Credential>()>;
    // `path` and what `legacy` names are absolute. `umask`: what the program that is asked for the
    // password gets.
    KeyRing(lower::LowerFs& lower, std::string path, LegacyChoices legacy,
            ReadPassword read_password, mode_t umask)
        : lower_(lower),
          path_(std::move(path)),
          legacy_(std::move(legacy)),
          read_password_(std::move(read_password)),
          umask_(umask) {}
    // The volume that is mounted: no other, and no other key, is taken later. ERRORS: kOther.
    Outcome<void> remember(const VolumeSource& unlocked);
    // `root_fd`: of the mounted volume, whose configuration is read anew. ERRORS: those of a mount;
    // kCipherDir, kDamage: it is another volume by now, or another key.
    Outcome<core::FormatMaker> open(int root_fd);

  private:
    Outcome<Credential> ask();

    lower::LowerFs& lower_;
    std::string path_;
    LegacyChoices legacy_;
    ReadPassword read_password_;
    mode_t umask_;
    ByteVector mark_;  // empty: not known yet
};

// THREADS: any, in parallel.
class OnDemand final : public fuse::Gate {
  public:
    // Both must outlive this.
    OnDemand(KeyRing& keys, Log& log) : keys_(keys), log_(log) {}
    // Before the first request. `has_keys`: the file system does.
    void serve(core::Filesystem& fs, int root_fd, bool has_keys);

    // Waits for the program that knows the password; EACCES when it gives none, or a wrong one.
    int enter(Needs needs) override;
    void leave() override;
    void opened() override { ++files_; }
    void released() override { --files_; }

    bool has_keys() const { return has_keys_; }
    // Requests that needed the keys, so far.
    std::uint64_t uses() const { return uses_; }
    // False: files are open, or the keys are forgotten already.
    bool forget();

  private:
    int ask();

    KeyRing& keys_;
    Log& log_;
    core::Filesystem* fs_ = nullptr;
    int root_fd_ = -1;
    // Shared by requests while they are worked on, exclusive while keys come and go. Before all
    // locks of the file system.
    core::WriterFirstMutex passage_;
    std::atomic<bool> has_keys_{false};
    std::atomic<std::uint64_t> uses_{0};
    std::atomic<std::uint64_t> files_{0};
    std::mutex asking_;                       // before passage_; held over the program
    std::atomic<std::uint64_t> failures_{0};  // changes under asking_
};

}  // namespace extencfs::daemon
