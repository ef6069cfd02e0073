// SPDX-License-Identifier: Apache-2.0
#include "encfs/legacy/protobuf.h"

#include <fmt/format.h>

#include "encfs/volume/crypto_errors.h"

namespace extencfs::legacy {

namespace {

using volume::ErrorKind;
using volume::fail;

enum WireType : std::uint32_t { kNumber = 0, kBytes = 2 };

// Base 128, the lowest digit first; false: cut off, or above 64 bits.
bool take_number(Bytes& in, std::uint64_t& value) {
    value = 0;
    for (unsigned shift = 0; shift < 64 && !in.empty(); shift += 7) {
        const auto digit = static_cast<std::uint64_t>(in.front());
        in = in.subspan(1);
        // The tenth has one bit.
        if (shift == 63 && digit > 1) return false;
        value |= (digit & 0x7f) << shift;
        if (digit < 0x80) return true;
    }
    return false;
}

void put_number(ByteVector& out, std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) out.push_back(static_cast<std::byte>(value | 0x80));
    out.push_back(static_cast<std::byte>(value));
}

}  // namespace

Result<ProtoMessage> parse_proto(Bytes bytes) {
    ProtoMessage message;
    const auto cut_off = [] { return fail(ErrorKind::kDamaged, "it is cut off"); };
    while (!bytes.empty()) {
        std::uint64_t key = 0, value = 0;
        if (!take_number(bytes, key)) return cut_off();
        const std::uint64_t field = key >> 3;
        if (field == 0) return fail(ErrorKind::kDamaged, "a field has no number");
        if (field > kMostProtoField)
            return fail(ErrorKind::kUnsupported, fmt::format("the field {} is not known", field));
        const auto type = static_cast<std::uint32_t>(key & 7);
        if (type != kNumber && type != kBytes) {
            return fail(ErrorKind::kUnsupported,
                        fmt::format("the field {} is of the unknown type {}", field, type));
        }
        if (!take_number(bytes, value)) return cut_off();
        ProtoValue taken = value;
        if (type == kBytes) {
            if (value > bytes.size()) return cut_off();
            const Bytes text = bytes.first(value);
            bytes = bytes.subspan(value);
            taken = ByteVector(text.begin(), text.end());
        }
        if (!message.emplace(static_cast<std::uint32_t>(field), std::move(taken)).second)
            return fail(ErrorKind::kDamaged, fmt::format("the field {} is there twice", field));
    }
    return message;
}

void write_field(ByteVector& out, std::uint32_t number, const ProtoValue& value) {
    const auto* text = std::get_if<ByteVector>(&value);
    put_number(out, std::uint64_t{number} << 3 | (text != nullptr ? kBytes : kNumber));
    if (text == nullptr) {
        put_number(out, std::get<std::uint64_t>(value));
        return;
    }
    put_number(out, text->size());
    out.insert(out.end(), text->begin(), text->end());
}

ByteVector write_proto(const ProtoMessage& message) {
    ByteVector out;
    for (const auto& [number, value] : message) {
        const auto* plain = std::get_if<std::uint64_t>(&value);
        if (plain == nullptr || *plain != 0) write_field(out, number, value);
    }
    return out;
}

}  // namespace extencfs::legacy
