// SPDX-License-Identifier: Apache-2.0
// A migration in place on the disk: its beginning, what is known of it without a password, and its
// ends. JOURNAL.md "In place" is the specification; in_place_copy.h converts the files.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "encfs/lower/fd.h"
#include "encfs/lower/lower_fs.h"
#include "encfs/migrate/journal.h"

namespace extencfs::migrate {

// Lower names in the root; volume::kMigrationName is the work directory.
inline constexpr const char* kWorkUnmade = ".extencfs-migration.new";
inline constexpr const char* kWorkRoot = ".extencfs-migration.root";
inline constexpr const char* kWorkDone = ".extencfs-migrated";
// In the work directory, beside the journal.
inline constexpr const char* kWorkVolume = "new";
inline constexpr const char* kWorkConfigs = "old";

enum class InPlaceStage : std::uint8_t {
    kNone,      // nothing has begun
    kBegun,     // files are copied, and removed
    kMovingUp,  // all are; needs no password
    kComplete,  // waits for its end
};

struct InPlaceView {
    InPlaceStage stage = InPlaceStage::kNone;
    bool removing = false;         // files may be in the new format only
    std::uint64_t old_volume = 0;  // identity_of() its configuration's key; 0: not known
    std::uint64_t missing = 0;     // from kMovingUp: what is left in the old format
};

// A migration in place in the directory `root_fd`, which stays open. THREADS: one at a time.
// REQUIRES: the old volume's lock, but for look() and config_path().
class InPlace {
  public:
    InPlace(lower::LowerFs& fs, int root_fd) : fs_(&fs), root_fd_(root_fd) {}

    // Changes nothing. ERRORS: those of Journal::open().
    Outcome<InPlaceView> look() const;
    // The configuration of the old volume, below the root; empty where there is none.
    std::string config_path() const;

    // Makes the work directory: `make_volume` makes the new volume in a directory below the root
    // that it is told. Appears whole and durable, or not at all. `records`: the journal's room.
    // ERRORS: kCipherDir (no configuration here), kOther, those of `make_volume`.
    Outcome<void> begin(std::uint64_t old_volume, std::uint64_t records,
                        const std::function<Outcome<void>(const std::string&)>& make_volume);
    // Opens the journal, and keeps EncFS from opening what is half migrated. REQUIRES: begun.
    // ERRORS: those of Journal::open(), kOther.
    Outcome<Journal*> resume(std::uint64_t old_volume);
    // REQUIRES: resume(). Everything is converted that can be, the new volume is closed and all of
    // it durable. From here on no password is needed. ERRORS: kOther.
    Outcome<void> record_moving(const Moving& moving);
    // REQUIRES: resume(), and recorded. ERRORS: kCipherDir (a name is in the way), kOther: run
    // again to go on.
    Outcome<void> move_up();

    // What a kill at the very end left. REQUIRES: complete. ERRORS: those of Journal::open().
    Outcome<void> settle();
    // ERRORS: kCipherDir (no migration, or not at that point), kOther.
    Outcome<void> finish();
    Outcome<void> roll_back();
    // The root's times as they were, once nothing else is to be changed in it. `otherwise`: what
    // they are where the journal does not know them.
    void restore_root_times(const struct stat* otherwise = nullptr);

    int work_fd() const { return work_.get(); }

  private:
    // in_place.cc
    lower::Result<void> sync(int dirfd) const;
    lower::Result<lower::Fd> open_directory(int dirfd, const std::string& name) const;
    bool exists(int dirfd, const std::string& name) const {
        return fs_->stat_at(dirfd, name).has_value();
    }
    Outcome<void> open_work(const char* name);
    // in_place_begin.cc
    Outcome<void> save_root(std::uint64_t old_volume);
    std::optional<std::array<Record, 2>> saved_root() const;
    Outcome<void> make_work(std::uint64_t old_volume, std::uint64_t records,
                            const std::function<Outcome<void>(const std::string&)>& make_volume);
    lower::Result<void> keep_configs(int configs_fd) const;
    lower::Result<void> keep_encfs_out();
    // in_place_end.cc
    lower::Result<void> move_attributes(int made_fd);
    lower::Result<void> move_name(int made_fd, const std::string& name);
    lower::Result<void> move_entries();
    lower::Result<void> put_configs_back();
    lower::Result<void> remove_configs();

    lower::LowerFs* fs_;  // not owned
    int root_fd_;         // not owned
    lower::Fd work_;
    std::optional<Journal> journal_;
    std::string blocked_;  // what could not be moved up
};

// in_place_config.cc: EncFS's configuration files.
inline constexpr std::array<const char*, 3> kEncfsConfigs{".encfs6.xml", ".encfs5", ".encfs4"};
// Whether that file in the root is the text that keeps EncFS from opening it.
bool is_placeholder(lower::LowerFs& fs, int dirfd, const std::string& name);
// ERRORS: EEXIST and others. Durable but for its name.
lower::Result<void> write_placeholder(lower::LowerFs& fs, int dirfd, const std::string& name);
lower::Result<void> copy_config(lower::LowerFs& fs, int from_fd, const std::string& name,
                                int to_fd);

}  // namespace extencfs::migrate
