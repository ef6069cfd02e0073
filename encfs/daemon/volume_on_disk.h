// SPDX-License-Identifier: Apache-2.0
// A volume's directory and its configuration files: finding, reading, unlocking, replacing them.
// Owns the two copies (extencfs.conf and extencfs.conf.bak); knows nothing of the files in the
// tree.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/secret.h"
#include "encfs/daemon/failure.h"
#include "encfs/lower/lower_fs.h"
#include "encfs/volume/config.h"

namespace extencfs::daemon {

// One readable copy of the configuration. Not authenticated.
struct ConfigCopy {
    std::string_view name;  // kConfigName or kConfigBackupName
    std::string text;
    volume::Config config;
};

struct ConfigCopies {
    std::vector<ConfigCopy> usable;    // best first, at least one
    std::vector<std::string> notices;  // sentences on what is wrong with the rest
};

// A configuration whose authenticity was checked.
struct UnlockedVolume {
    volume::Config config;
    std::string text;
    crypto::Key256 volume_key;
    std::uint32_t slot;      // that opened
    crypto::Key256 box_key;  // of that slot
    std::vector<std::string> notices;
};

// Whether a volume whose keys are being rotated is opened: only by who goes on with that.
enum class InRotation : std::uint8_t { kRefused, kAllowed };

// The failure of whoever may not. ERRORS: kKeySlot.
Outcome<void> refuse_rotation(const volume::Config& config, const std::string& path);

// THREADS: one at a time.
class VolumeOnDisk {
  public:
    // `fs` must outlive this. ERRORS: kCipherDir (no directory, no permission).
    static Outcome<VolumeOnDisk> open(lower::LowerFs& fs, const std::string& path);

    const std::string& path() const { return path_; }
    int root_fd() const { return root_.get(); }
    lower::LowerFs& fs() const { return *fs_; }

    // Reads both copies. A main copy that this version does not support is never passed over.
    // Order: the higher revision first, the main copy first where they agree. Copies of two volumes
    // are told apart by nothing but a person: a revision says nothing then.
    // ERRORS: kCipherDir (no volume here), kConfigRead (I/O, permission), kDamage (no copy is
    // readable, or they are of two volumes), kUnsupported.
    Outcome<ConfigCopies> read_config() const;
    // One of the two by itself, of whatever volume it is. ERRORS: as above, kCipherDir where it is
    // not there.
    Outcome<ConfigCopy> read_copy(const char* name) const;

    // Opens the first copy that `secret` opens and authenticates. A second copy is tried only
    // where it can not bring a removed password back: after damage, or where it has the same
    // revision. ERRORS: kWrongPassword, kDamage, kKeyDerivation, kUnsupported, kKeySlot (the slot
    // that it names is missing, or of another kind; the keys are being rotated).
    static Outcome<UnlockedVolume> unlock(const ConfigCopies& copies,
                                          const volume::OpeningSecret& secret,
                                          InRotation rotation = InRotation::kRefused);

    // Makes both copies say `text`, one after the other, each by a temporary file, fsync, rename
    // and fsync of the directory, and reads them back. At every moment one whole copy is there.
    // REQUIRES: the writer lock. ERRORS: kConfigWrite.
    Outcome<void> write_config(const std::string& text) const;
    // The same for one of the two copies; after an error, has_text() tells which of both is there.
    // ERRORS: kConfigWrite.
    Outcome<void> write_copy(const char* name, const std::string& text) const;
    bool has_text(const char* name, const std::string& text) const;
    // As write_config, for a new volume: refuses to replace an extencfs.conf. ERRORS: kCipherDir
    // too.
    Outcome<void> write_first_config(const std::string& text) const;
    // Refuses to put `text` in place where a copy is of another volume, or needs a newer program:
    // it may be the last of what it opens. ERRORS: kDamage, kUnsupported.
    Outcome<void> check_replaceable(const std::string& text) const;
    // Rewrites copies that differ from `text` and removes temporary files of an interrupted change;
    // overwrites the bytes of both once they have no name. Returns the names that were rewritten.
    // REQUIRES: the writer lock. ERRORS: those of check_replaceable(), kConfigWrite.
    Outcome<std::vector<std::string>> repair_config(const std::string& text) const;

    // Refuses what a migration in place has left half done. ERRORS: kMigrating.
    Outcome<void> check_not_migrating() const;

    // Refuses a lower directory that folds case where the volume's names need it not to.
    // ERRORS: kCipherDir.
    Outcome<void> check_names_survive(const volume::Config& config) const;

    // Whether `name` and its other-case spelling are one entry.
    bool folds_case(const std::string& name) const;

    // Names of temporary files that an interrupted init or configuration change left.
    std::vector<std::string> leftovers() const;
    // Removes temporary files that an interrupted init or configuration change left.
    // REQUIRES: the writer lock.
    void remove_leftovers() const;

  private:
    VolumeOnDisk(lower::LowerFs& fs, std::string path, lower::Fd root)
        : fs_(&fs), path_(std::move(path)), root_(std::move(root)) {}
    lower::Result<std::string> read_text(const char* name) const;
    Outcome<void> replace(const char* name, const std::string& text, lower::RenameMode mode) const;

    lower::LowerFs* fs_;  // not owned
    std::string path_;
    lower::Fd root_;
};

}  // namespace extencfs::daemon
