// SPDX-License-Identifier: Apache-2.0
// Extended attributes: lower names and sealed values, of their owner or of another one.
#include "tests/fuzz/target.h"

using namespace extencfs;
using namespace extencfs::volume;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const XattrCodec& codec = fuzz::vector_keys().current().xattrs;
    static const auto& original = fuzz::vectors()["xattr"];
    static const auto its_owner = fuzz::hex_array<16>(original["owner"]);
    static const std::string its_name = original["plain"];
    static const std::string its_lower = original["lower"];
    static const ByteVector its_sealed = fuzz::hex(original["sealed"]);
    static const ByteVector its_value = fuzz::hex(original["value"]);
    fuzz::Input input(data, size);
    const std::uint8_t flags = input.byte();
    const auto owner = (flags & 4) != 0 ? input.array<16>() : its_owner;
    if ((flags & 3) == 0) {
        const std::string lower(text_of(input.rest()));
        const auto name = codec.decode_name(owner, lower);
        if (!name) return 0;
        fuzz::promise(owner == its_owner && lower == its_lower && *name == its_name,
                      "an attribute that nobody wrote is refused");
    } else if ((flags & 3) == 1) {
        const std::string name =
            (flags & 8) != 0 ? std::string(text_of(input.take(input.byte()))) : its_name;
        ByteVector sealed = its_sealed;
        if ((flags & 16) != 0) {
            const Bytes with = input.rest();
            sealed.assign(with.begin(), with.end());
        } else {
            fuzz::edit(input, sealed);
        }
        const auto value = codec.open_value(owner, name, sealed);
        if (!value) return 0;
        fuzz::promise(
            owner == its_owner && name == its_name && sealed == its_sealed && *value == its_value,
            "a value that nobody wrote is refused");
    } else {
        const std::string name(text_of(input.take(input.byte())));
        const Bytes value = input.rest();
        const auto lower = codec.encode_name(owner, name);
        if (lower) {
            const auto back = codec.decode_name(owner, *lower);
            fuzz::promise(lower->size() <= kMaxLowerName, "an attribute's name fits");
            fuzz::promise(back && *back == name, "an attribute's name comes back");
        }
        const auto sealed = codec.seal_value(owner, name, value);
        if (!sealed) return 0;
        const auto back = codec.open_value(owner, name, *sealed);
        fuzz::promise(back && fuzz::equal(*back, value), "a value comes back");
    }
    return 0;
}
