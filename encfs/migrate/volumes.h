// SPDX-License-Identifier: Apache-2.0
// The two volumes of a migration on the disk: opening the old one for reading, making or opening
// the new one, and what becomes of it at the end.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "encfs/core/filesystem.h"
#include "encfs/daemon/volume_source.h"
#include "encfs/migrate/journal.h"
#include "encfs/migrate/report.h"
#include "encfs/volume/config.h"

namespace extencfs::migrate {

// What lies where the new volume is to be.
enum class Target : std::uint8_t {
    kFree,        // nothing, or an empty directory
    kVolume,      // a volume of format 1 without a journal: good if it is empty
    kIncomplete,  // a migration that was begun
    kComplete,    // one that was completed, and waits for its end
};

struct TargetView {
    Target target = Target::kFree;
    std::uint64_t old_volume = 0;  // of the journal
    std::uint64_t missing = 0;     // of one that is complete
};

// Changes nothing. ERRORS: kCipherDir, and those of Journal::open().
Outcome<TargetView> look_at_target(lower::LowerFs& fs, const std::string& path);

// The old volume, which nobody may write meanwhile. THREADS: one at a time.
class OldVolume {
  public:
    // ERRORS: those of daemon::open_volume(), kLocked (it is being written).
    static Outcome<OldVolume> open(lower::LowerFs& fs, const std::string& path);
    // To be converted in place: nobody else has it open. `config_file`: its configuration, below
    // `path`. `dry`: nothing will be changed. ERRORS: likewise.
    static Outcome<OldVolume> open_in_place(lower::LowerFs& fs, const std::string& path,
                                            const std::string& config_file, bool dry);
    // What keeps others out of that directory while the result is open, whatever lies in it.
    // ERRORS: kCipherDir, kLocked.
    static Outcome<lower::Fd> lock_in_place(lower::LowerFs& fs, const std::string& path);
    std::uint64_t identity() const;
    int root_fd() const { return source_->root_fd(); }
    // ERRORS: kWrongPassword, kDamage, kKeyDerivation, kUnsupported, kOther.
    Outcome<void> unlock(const volume::OpeningSecret& secret, std::size_t max_descriptors);
    // REQUIRES: unlock().
    core::Filesystem& filesystem() { return *filesystem_; }
    LeftOutNames& left_out() { return *left_out_; }

  private:
    explicit OldVolume(std::unique_ptr<daemon::VolumeSource> source, bool read_only = true)
        : source_(std::move(source)),
          read_only_(read_only),
          left_out_(std::make_unique<LeftOutNames>()) {}

    std::unique_ptr<daemon::VolumeSource> source_;
    bool read_only_;
    std::unique_ptr<LeftOutNames> left_out_;
    std::unique_ptr<core::Filesystem> filesystem_;
};

// The new volume, open for writing. THREADS: one at a time.
class NewVolume {
  public:
    // Makes one in an empty directory. Returns what opens it without deriving the key again, see
    // made_secret(). ERRORS: those of daemon::VolumeCreation.
    static Outcome<crypto::Key256> make(lower::LowerFs& fs, const std::string& path,
                                        volume::NewVolume choice, Bytes password);
    // With a journal: that which is there, or a new one where the volume is empty.
    // ERRORS: kCipherDir (not empty, or of another old volume), kLocked, kWrongPassword and others.
    static Outcome<NewVolume> open(lower::LowerFs& fs, const std::string& path,
                                   const volume::OpeningSecret& secret, std::uint64_t old_volume,
                                   std::size_t max_descriptors);
    // One whose journal lies elsewhere: journal() and is_fresh() are not to be called.
    static Outcome<NewVolume> open_in_place(lower::LowerFs& fs, const std::string& path,
                                            const volume::OpeningSecret& secret,
                                            std::size_t max_descriptors);
    // The key that make() returned, or the password where nothing was made.
    static volume::OpeningSecret made_secret(const std::optional<crypto::Key256>& made,
                                             Bytes password);

    core::Filesystem& filesystem() { return *filesystem_; }
    int root_fd() const { return source_->root_fd(); }
    Journal& journal() { return *journal_; }
    // Whether nothing was in it.
    bool is_fresh() const { return fresh_; }
    // Everything is durable, and the volume marked clean. ERRORS: kOther, kCipherDir.
    Outcome<void> close();

  private:
    NewVolume() = default;
    Outcome<void> open_journal(std::uint64_t old_volume, const std::string& path);

    lower::LowerFs* fs_ = nullptr;  // not owned
    std::unique_ptr<daemon::VolumeSource> source_;
    std::unique_ptr<core::Filesystem> filesystem_;
    std::optional<Journal> journal_;
    bool fresh_ = false;
};

// Ends a complete migration: takes its journal away. Needs no password.
// ERRORS: kCipherDir (no migration, or not complete), kLocked, kOther.
Outcome<void> finish(lower::LowerFs& fs, const std::string& path);
// Removes a new volume that has a journal, with everything in it. Can be cut short, and run again.
// ERRORS: kCipherDir (no migration), kLocked, kOther.
Outcome<void> roll_back(lower::LowerFs& fs, const std::string& path);

}  // namespace extencfs::migrate
