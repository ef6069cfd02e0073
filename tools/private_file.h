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

}  // namespace extencfs::tools
