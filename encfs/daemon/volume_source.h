// SPDX-License-Identifier: Apache-2.0
// A volume of any format on its way to being mounted: what the mount asks of it, in this order.
#pragma once

#include <memory>
#include <string>

#include "crypto/bytes.h"
#include "encfs/core/volume_format.h"
#include "encfs/daemon/failure.h"
#include "encfs/lower/lower_fs.h"

namespace extencfs::core {
struct LegacyVolume;
}

namespace extencfs::daemon {

class Log;

// Of EncFS volumes; empty for others.
struct LegacyChoices {
    std::string config_file;    // instead of the one in the volume's directory
    bool any_key = false;       // a key whose checksum is wrong is taken all the same
    bool ignore_macs = false;   // blocks that do not match their checksum are shown
    bool require_macs = false;  // a volume without checksums is refused
    bool reverse = false;       // the encrypted view of a plain directory
};

// THREADS: one at a time.
class VolumeSource {
  public:
    virtual ~VolumeSource() = default;

    virtual int root_fd() const = 0;
    // Whether it is one of EncFS, and what of it unlock() opened.
    virtual bool is_encfs() const { return false; }
    virtual const core::LegacyVolume* encfs() const { return nullptr; }
    // Why nothing may be written in it; empty: it may.
    virtual std::string why_read_only() const { return {}; }
    // Tells this volume from others, also before unlock(). Not authenticated.
    virtual ByteVector identity() const = 0;
    // Takes what keeps a second writer out. Sets `shared` where a writer is at work beside a
    // read-only mount. ERRORS: kLocked, kCipherDir.
    virtual Outcome<void> reserve(bool read_only, bool& shared) = 0;
    // ERRORS: kWrongPassword, kDamage, kKeyDerivation, kUnsupported.
    virtual Outcome<void> unlock(Bytes password) = 0;
    // What is to be told, and put right, once it is unlocked.
    virtual void mend(Log& log) = 0;
    // Whether the last writer ended in order.
    virtual bool was_clean() const = 0;
    // Before the first change. ERRORS: kCipherDir.
    virtual Outcome<void> begin_writing() = 0;
    // REQUIRES: unlock(); once. ERRORS: kDamage.
    virtual Outcome<core::FormatMaker> format() = 0;
    // After the last change, all of which is durable. ERRORS: kCipherDir.
    virtual Outcome<void> end_clean() = 0;
};

// Finds out what lies at `path`, without asking for a password. ERRORS: kCipherDir, kConfigRead,
// kDamage, kUnsupported.
Outcome<std::unique_ptr<VolumeSource>> open_volume(lower::LowerFs& fs, const std::string& path,
                                                   const LegacyChoices& legacy);

}  // namespace extencfs::daemon
