// SPDX-License-Identifier: Apache-2.0
// Lower symlinks: sealed targets, references to long ones with the files they name.
#include "tests/fuzz/target.h"

using namespace extencfs;
using namespace extencfs::volume;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const SymlinkCodec& links = fuzz::vector_keys().current().symlinks;
    static const auto& small = fuzz::vectors()["symlinks"]["inline"];
    static const auto& big = fuzz::vectors()["symlinks"]["long"];
    fuzz::Input input(data, size);
    const std::uint8_t mode = input.byte() % 4;
    if (mode == 0) {
        const auto lower = text_of(input.rest());
        const auto target = links.open_inline(lower);
        if (!target) return 0;
        fuzz::promise(lower == small["lower"].get_ref<const std::string&>() &&
                          *target == small["plain"].get_ref<const std::string&>(),
                      "a target that nobody wrote is refused");
        fuzz::promise(SymlinkCodec::inline_size(lower.size()) == target->size(),
                      "st_size tells the length");
    } else if (mode == 1) {
        const std::string lower(text_of(input.take(input.byte())));
        const auto ref = SymlinkCodec::parse_ref(lower);
        if (!ref) return 0;
        fuzz::promise(ref->id.size() == 22 && ref->id.find('/') == std::string::npos &&
                          ref->size > kMaxInlineTarget && ref->size <= kMaxTarget,
                      "a reference names a file and a length");
        ByteVector file = fuzz::hex(big["file"]);
        fuzz::edit(input, file);
        const auto target = links.open_long(*ref, file);
        if (!target) return 0;
        fuzz::promise(lower == big["lower"].get_ref<const std::string&>() &&
                          file == fuzz::hex(big["file"]) &&
                          *target == big["plain"].get_ref<const std::string&>(),
                      "a long target that nobody wrote is refused");
    } else if (mode == 2) {
        const std::size_t length = SymlinkCodec::inline_size(input.number(8));
        fuzz::promise(length <= kMaxInlineTarget, "no length that cannot be");
    } else {
        const std::string target(text_of(input.rest()));
        const auto sealed = links.seal_inline(target);
        if (!sealed) return 0;
        const auto back = links.open_inline(*sealed);
        fuzz::promise(back && *back == target, "a target comes back");
    }
    return 0;
}
