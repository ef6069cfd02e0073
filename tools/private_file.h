// SPDX-License-Identifier: Apache-2.0
// Small files outside a volume: secrets and configurations that commands read and make.
#pragma once

#include <string>

#include "crypto/secret.h"
#include "encfs/daemon/failure.h"

namespace extencfs::tools {

// All of it, `most` bytes at most. ERRORS: `kind` (cannot be read, longer).
daemon::Outcome<crypto::SecretBytes> read_small_file(const std::string& path, std::size_t most,
                                                     daemon::FailureKind kind);

// Makes a file for its owner only, durable with its name; never replaces one, and leaves nothing
// behind when it fails. ERRORS: kOther.
daemon::Outcome<void> write_private_file(const std::string& path, Bytes contents);

// What write_private_file() would refuse to replace. ERRORS: kOther.
daemon::Outcome<void> check_is_absent(const std::string& path);

// Whether the file at `path`, which need not be there, lies in `directory` or below it, whatever
// the links on the way. False where that cannot be told.
bool lies_within(const std::string& path, const std::string& directory);

}  // namespace extencfs::tools
