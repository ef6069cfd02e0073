// SPDX-License-Identifier: Apache-2.0
// The id file of a directory, 96 bytes: as they come, or with the right MAC put behind them.
#include "crypto/kdf.h"
#include "tests/fuzz/target.h"

using namespace extencfs;
using namespace extencfs::volume;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const auto& key = fuzz::vector_keys().current().dir_mac;
    static const auto original =
        fuzz::hex_array<kDirFileSize>(fuzz::vectors()["directory"]["bytes"]);
    fuzz::Input input(data, size);
    const bool with_mac = (input.byte() & 1) != 0;
    auto bytes = input.array<kDirFileSize>();
    if (with_mac) crypto::mac128(key.bytes(), Bytes(bytes).first(80), MutBytes(bytes).last<16>());
    const auto generation = peek_dir_generation(bytes);
    const auto dir = decode_dir_file(bytes, key.bytes());
    if (!dir) return 0;
    fuzz::promise(with_mac || bytes == original, "an id file that nobody wrote is refused");
    fuzz::promise(generation && *generation == dir->key_generation, "both read one generation");
    ByteArray<kDirFileSize> again;
    encode_dir_file(*dir, key.bytes(), again);
    fuzz::promise(again == bytes, "one id file has one form");
    return 0;
}
