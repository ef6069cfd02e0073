// SPDX-License-Identifier: Apache-2.0
// The header of a file, 64 bytes: as they come, or with the right MAC put behind them.
#include "crypto/kdf.h"
#include "tests/fuzz/target.h"

namespace {

using namespace extencfs;
using namespace extencfs::volume;
using Header = ByteArray<kFileHeaderSize>;

bool is_original(const Header& bytes) {
    for (const auto& row : fuzz::vectors()["headers"]) {
        if (fuzz::hex_array<kFileHeaderSize>(row["bytes"]) == bytes) return true;
    }
    return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const auto& key = fuzz::vector_keys().current().header;
    fuzz::Input input(data, size);
    const bool with_mac = (input.byte() & 1) != 0;
    auto bytes = input.array<kFileHeaderSize>();
    if (with_mac) {
        crypto::mac128(key.bytes(), Bytes(bytes).first(48), MutBytes(bytes).last<16>());
    }
    const auto generation = peek_generation(bytes);
    const auto header = decode_header(bytes, key.bytes());
    if (!header) return 0;
    fuzz::promise(with_mac || is_original(bytes), "a header that nobody wrote is refused");
    fuzz::promise(generation && *generation == header->key_generation, "both read one generation");
    fuzz::promise(header->epoch <= kMaxEpoch && header->size <= kMaxFileSize, "values in range");
    Header again;
    encode_header(*header, key.bytes(), again);
    fuzz::promise(again == bytes, "one header has one form");
    return 0;
}
