// SPDX-License-Identifier: Apache-2.0
// As much of protobuf's wire format as a configuration of EncFS 2 needs: numbers and byte strings,
// each field once. Internal to encfs/legacy.
#pragma once

#include <cstdint>
#include <map>
#include <variant>

#include "crypto/bytes.h"
#include "encfs/volume/error.h"

namespace extencfs::legacy {

using volume::Result;

// A number, or bytes (a nested message too).
using ProtoValue = std::variant<std::uint64_t, ByteVector>;
// By field number.
using ProtoMessage = std::map<std::uint32_t, ProtoValue>;

constexpr std::uint32_t kMostProtoField = 1000;

// ERRORS: kDamaged (cut off, a number too long, a field twice), kUnsupported (another wire type,
// a field number above kMostProtoField).
Result<ProtoMessage> parse_proto(Bytes bytes);
// In ascending order of the fields; numbers that are 0 are left out.
ByteVector write_proto(const ProtoMessage& message);
// One field, in any case.
void write_field(ByteVector& out, std::uint32_t number, const ProtoValue& value);

}  // namespace extencfs::legacy
