// SPDX-License-Identifier: Apache-2.0
// Known answers for every primitive, run at the daemon's start: a library that computes wrong
// results must never write a volume.
#pragma once

#include <expected>
#include <string>

namespace extencfs::crypto {

// Takes a few milliseconds the first time, most of it loading ciphers (Argon2id at its least cost
// is left out). The error names the primitive.
std::expected<void, std::string> self_test();

}  // namespace extencfs::crypto
