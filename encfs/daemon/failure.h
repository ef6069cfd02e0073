// SPDX-License-Identifier: Apache-2.0
// The closed set of ways in which a command can fail, each with the one sentence that the user
// sees. tools/exit_codes.h gives every kind its exit code.
#pragma once

#include <cstdint>
#include <expected>
#include <string>

namespace extencfs::daemon {

// The order is part of the report that the daemon sends to the command that started it: append
// only.
enum class FailureKind : std::uint8_t {
    kOther,
    kCipherDir,     // not a directory, not a volume, or not empty at init
    kLocked,        // another daemon has the volume mounted read-write
    kUnsupported,   // the volume needs a feature that this version lacks
    kPasswordRead,  // the password could not be read
    kMountpoint,    // missing, not a directory, in use
    kNotMounted,    // no extencfs mount there
    kWrongPassword,
    kKeyDerivation,  // Argon2 could not run (memory)
    kBusy,           // files are open on the mount
    kDaemonDied,     // the daemon ended without saying why
    kSelfTest,       // a cipher computes wrong results on this machine
    kFuse,           // the kernel or fusermount3 refused the mount
    kControl,        // the daemon does not answer, or its socket cannot be made
    kPasswordEmpty,
    kConfigRead,
    kConfigWrite,
    kDamage,     // authentication failed, or bytes are not what FORMAT.md says
    kFastPath,   // the kernel fast path was demanded and cannot be had
    kKeySlot,    // no such key slot, or none that this may be done to
    kMigrating,  // a migration in place is half done: the volume is in two formats
    kToken,      // a device or service that holds a key is absent, or refuses
    kCount,      // not a kind: how many there are
};

// `sentence`: "<what>; <what to do>", without a full stop, never with a secret in it.
struct Failure {
    FailureKind kind;
    std::string sentence;
};

template <typename T>
using Outcome = std::expected<T, Failure>;

// The text of an errno value. THREADS: any.
std::string errno_text(int error);

// std::unexpected of a formatted failure.
template <typename... Text>
std::unexpected<Failure> fail(FailureKind kind, Text&&... parts) {
    std::string sentence;
    ((sentence += parts), ...);
    return std::unexpected(Failure{kind, std::move(sentence)});
}

}  // namespace extencfs::daemon
