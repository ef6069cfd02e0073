// SPDX-License-Identifier: Apache-2.0
// Lower names, short and long with their side files. Whatever decodes is the one encoding of what
// it decodes to, and a name that an upper directory may hold.
#include "encfs/core/format1.h"
#include "tests/fake/scratch_dir.h"
#include "tests/fuzz/target.h"

#include <fcntl.h>

namespace {

using namespace extencfs;
using namespace extencfs::volume;

const NameCodec& codec(NameEncoding encoding) {
    const auto make = [](NameEncoding which) {
        auto made = NameCodec::create(fuzz::hex_array<64>(fuzz::vectors()["keys"]["names"]), which);
        fuzz::promise(made.has_value(), "a name codec can be made");
        return std::move(*made);
    };
    static const NameCodec base64 = make(NameEncoding::kBase64Url);
    static const NameCodec base32 = make(NameEncoding::kBase32Hex);
    return encoding == NameEncoding::kBase64Url ? base64 : base32;
}

void good_name(std::string_view name) {
    fuzz::promise(!name.empty() && name.size() <= kMaxPlainName && name != "." && name != ".." &&
                      name.find('/') == std::string_view::npos &&
                      name.find('\0') == std::string_view::npos,
                  "a decoded name is a name");
}

// What is in the vectors is all that was ever encoded.
bool is_original(std::string_view entry) {
    for (const auto& row : fuzz::vectors()["names"]) {
        if (row["entry"].get_ref<const std::string&>() == entry) return true;
    }
    return false;
}

// Through a directory that holds the side file, as a listing does it.
void through_directory(const DirId& dir, const std::string& entry, Bytes side) {
    static const fake::ScratchDir place = fake::ScratchDir::in_memory();
    static const auto lower = lower::make_posix_lower_fs();
    static const core::Format1 format = [] {
        auto keys = VolumeKeys::derive(fuzz::vector_config(), fuzz::vector_volume_key());
        fuzz::promise(keys.has_value(), "the vectors' keys can be derived");
        return core::Format1(std::move(*keys), {.clean = true});
    }();
    const std::string name =
        NameCodec::is_long_entry(entry) ? NameCodec::side_name_of(entry) : "none";
    auto file = lower->open(place.fd(), name, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    if (file) fuzz::promise(lower->pwrite(file->get(), side, 0).has_value(), "a side file fits");
    const auto got = format.decode_name(
        *lower, place.fd(), {.id = dir, .generation = fuzz::vector_keys().current().number}, entry);
    if (file) (void)lower->unlink(place.fd(), name);
    if (!got) return;
    good_name(*got);
    fuzz::promise(is_original(entry), "an entry that nobody wrote is refused");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const DirId dir = fuzz::hex_array<16>(fuzz::vectors()["names"][0]["dir_id"]);
    fuzz::Input input(data, size);
    const std::uint8_t flags = input.byte();
    const NameCodec& names =
        codec((flags & 1) != 0 ? NameEncoding::kBase32Hex : NameEncoding::kBase64Url);
    const std::size_t entry_size = input.byte();
    const std::string entry(text_of(input.take(entry_size)));
    const Bytes side = input.rest();
    if ((flags & 2) != 0) {
        through_directory(dir, entry, side);
        return 0;
    }
    if ((flags & 4) != 0) {  // a plaintext name, there and back
        const auto made = names.encode(dir, entry);
        if (!made) return 0;
        const auto back = made->side_name.empty()
                              ? names.decode(dir, made->entry)
                              : names.decode_long(dir, made->entry, made->side_bytes);
        fuzz::promise(back && *back == entry, "a name comes back");
        return 0;
    }
    const bool is_long = NameCodec::is_long_entry(entry);
    const auto name = is_long ? names.decode_long(dir, entry, side) : names.decode(dir, entry);
    if (!name) return 0;
    good_name(*name);
    fuzz::promise(is_original(entry), "an entry that nobody wrote is refused");
    const auto again = names.encode(dir, *name);
    fuzz::promise(again && again->entry == entry, "one name has one entry");
    fuzz::promise(!is_long || fuzz::equal(again->side_bytes, side), "and one side file");
    return 0;
}
