// SPDX-License-Identifier: Apache-2.0
// A volume of any format on its way to being mounted: what the mount asks of it, in this order.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "crypto/bytes.h"
#include "encfs/core/volume_format.h"
#include "encfs/daemon/failure.h"
#include "encfs/lower/lower_fs.h"
#include "encfs/volume/config.h"

namespace extencfs::core {
struct LegacyVolume;
}

namespace extencfs::daemon {

class Log;
class VolumeOnDisk;

// Of EncFS volumes; empty for others.
struct LegacyChoices {
    std::string config_file;     // instead of the one in the volume's directory
    bool any_key = false;        // a key whose checksum is wrong is taken all the same
    bool ignore_macs = false;    // blocks that do not match their checksum are shown
    bool require_macs = false;   // a volume without checksums is refused
    bool reverse = false;        // the encrypted view of a plain directory
    bool reverse_write = false;  // with that: it may be written, where its settings allow it
    bool migrating = false;      // by a migration in place, which alone opens what is half migrated
};

// What a volume was opened by, for who wants to open it again without it. Valid until format().
struct OpenedBy {
    ByteArray<16> volume_id;
    std::uint64_t revision;  // of the configuration
    std::uint32_t slot;
    BytesN<32> box_key;  // of that slot
};

// THREADS: one at a time.
class VolumeSource {
  public:
    virtual ~VolumeSource() = default;

    virtual int root_fd() const = 0;
    // Whether it is one of EncFS, and what of it unlock() opened, until format() takes it.
    virtual bool is_encfs() const { return false; }
    virtual const core::LegacyVolume* encfs() const { return nullptr; }
    // Why nothing may be written in it; empty: it may.
    virtual std::string why_read_only() const { return {}; }
    // Tells this volume from others, also before unlock(). Not authenticated.
    virtual ByteVector identity() const = 0;
    // Takes what keeps a second writer out. Sets `shared` where a writer is at work beside a
    // read-only mount. ERRORS: kLocked, kCipherDir; those of open_volume().
    virtual Outcome<void> reserve(bool read_only, bool& shared) = 0;
    // ERRORS: kWrongPassword, kDamage, kKeyDerivation, kUnsupported, kKeySlot.
    virtual Outcome<void> unlock(const volume::OpeningSecret& secret) = 0;
    // Instead: by the key of a volume of EncFS that was made just now. ERRORS: kUnsupported.
    virtual Outcome<void> unlock_by_key(Bytes key);
    // Whether a mount of it may forget its keys and take them again.
    virtual bool can_forget_keys() const { return false; }
    // Tells the volume's key from others without giving it away. REQUIRES: unlock(), and not yet
    // format(). ERRORS: kOther.
    virtual Outcome<ByteVector> key_mark() const;
    // The key slots and what is beside them, not authenticated before unlock(); nullptr where the
    // volume's format has none.
    virtual const volume::Config* config() const { return nullptr; }
    // Nothing before unlock(), and where the format has no key slots.
    virtual std::optional<OpenedBy> opened_by() const { return std::nullopt; }
    // The volume on the disk, of a format whose keys can be rotated in a mount; else nullptr.
    virtual const VolumeOnDisk* rotatable() const { return nullptr; }
    // What is to be told, and put right, once it is unlocked.
    virtual void mend(Log& log) = 0;
    // Whether the last writer ended in order.
    virtual bool was_clean() const = 0;
    // Before the first change. ERRORS: kCipherDir.
    virtual Outcome<void> begin_writing() = 0;
    // Drops the volume's key, which is needed for nothing else. REQUIRES: unlock(); once.
    // ERRORS: kDamage.
    virtual Outcome<core::FormatMaker> format() = 0;
    // After the last change, all of which is durable. ERRORS: kCipherDir.
    virtual Outcome<void> end_clean() = 0;
};

// Finds out what lies at `path`, without asking for a password. ERRORS: kCipherDir, kConfigRead,
// kDamage, kUnsupported, kMigrating.
Outcome<std::unique_ptr<VolumeSource>> open_volume(lower::LowerFs& fs, const std::string& path,
                                                   const LegacyChoices& legacy);

}  // namespace extencfs::daemon
