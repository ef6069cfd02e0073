// SPDX-License-Identifier: Apache-2.0
// The key of an EncFS volume and the file that keeps it: a new password, a new volume, and the key
// as EncFS shows it. Knows nothing of the files in the tree.
#pragma once

#include <string>

#include "crypto/secret.h"
#include "encfs/daemon/config_change.h"
#include "encfs/daemon/legacy_on_disk.h"

namespace extencfs::daemon {

// How long the derivation of a key from a password should take on this machine.
constexpr std::uint32_t kLegacyKdf_ms = 500;
constexpr std::uint32_t kLegacyParanoiaKdf_ms = 3000;

// The key of the volume with its IV. ERRORS: kWrongPassword, kDamage, kKeyDerivation.
Outcome<crypto::SecretBytes> open_legacy_key(const LegacyConfig& config, Bytes password);

// Wraps `secret` with another password: with a new salt, and iterations measured for the duration
// that the configuration names, in the forms that keep a salt. ERRORS: kKeyDerivation, kOther.
Outcome<void> set_legacy_password(LegacyConfig& config, Bytes secret, Bytes password);

// A new volume's configuration, and the key that it keeps.
struct NewLegacyVolume {
    LegacyConfig config;
    crypto::SecretBytes secret;
};
// Gives a new volume its key, under `password`. `config`: all but salt, iterations and key.
// ERRORS: as above, kUnsupported.
Outcome<NewLegacyVolume> new_legacy_volume(legacy::Config config, Bytes password);

// Writes the configuration where it was read, in place of what is there, whose mode it keeps; a new
// one is for its owner only, and takes nobody's place. Durable on return, and read back; then the
// bytes of what was there are overwritten, and `left` tells what could not be.
// LOCKS: flock on the file while it is replaced, so that one of several changes at once is in
// force. Not on the directory, which a mount locks: a change beside that does no harm.
// ERRORS: kLocked (somebody else changes or has changed the file since it was read), kCipherDir (a
// new one, where there is one), kMigrating, kConfigWrite (whose sentence says so where the new one
// is in force all the same).
Outcome<void> write_legacy_config(lower::LowerFs& fs, int root_fd, const LegacyConfig& config,
                                  Notices* left = nullptr);

// The volume's key, wrapped with itself, in EncFS's digits: as `encfsctl showKey` tells it. Whoever
// knows it can read everything. ERRORS: kOther.
Outcome<std::string> legacy_key_text(const LegacyConfig& config, Bytes secret);

}  // namespace extencfs::daemon
