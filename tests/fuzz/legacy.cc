// SPDX-License-Identifier: Apache-2.0
// Bytes of EncFS volumes: configurations in each form, names and targets in each coding, headers
// and blocks in each framing. What decodes is what would be written; what is parsed survives a
// writing.
#include <cstdlib>

#include "encfs/legacy/config.h"
#include "encfs/legacy/contents.h"
#include "encfs/legacy/names.h"
#include "encfs/legacy/sealed_contents.h"
#include "tests/fuzz/target.h"

namespace {

using namespace extencfs;
using namespace extencfs::legacy;

std::shared_ptr<const crypto::LegacyKey> key_of(std::uint8_t choice) {
    using enum crypto::LegacyCipher;
    static const auto make = [](crypto::LegacyCipher cipher, int major) {
        const crypto::LegacyCipherSpec spec{cipher, major, 16};
        auto made = crypto::LegacyKey::create(spec, ByteVector(spec.secret_size(), std::byte{7}));
        fuzz::promise(made.has_value(), "a key can be made");
        return std::make_shared<const crypto::LegacyKey>(std::move(*made));
    };
    static const std::shared_ptr<const crypto::LegacyKey> keys[] = {
        make(kAes, 3), make(kBlowfish, 3), make(kCamellia, 2), make(kBlowfish, 1)};
    return keys[choice % std::size(keys)];
}

void config(ConfigFormat format, Bytes text) {
    const auto parsed = parse_config(format, text);
    if (!parsed) return;
    const auto parameters = parameters_of(*parsed);
    if (!parameters) return;
    const auto again = parse_config(format, bytes_of(serialize_config(*parsed)));
    fuzz::promise(again && again->wrapped_key == parsed->wrapped_key &&
                      again->salt == parsed->salt &&
                      parameters_of(*again)->contents.block_size == parameters->contents.block_size,
                  "a configuration survives being written");
}

NameCodec codec_of(std::uint8_t choice) {
    static constexpr NameCoding kCodings[] = {
        {NameScheme::kStream, 0, true}, {NameScheme::kStream, 1, true},
        {NameScheme::kStream, 2, true}, {NameScheme::kBlock, 2, true},
        {NameScheme::kBlock, 4, false}, {NameScheme::kBlock32, 4, true},
        {NameScheme::kNull, 1, false}};
    return {key_of(choice >> 4), kCodings[(choice & 15) % std::size(kCodings)]};
}

void names(fuzz::Input& input) {
    const NameCodec codec = codec_of(input.byte());
    const std::uint8_t kind = input.byte();
    const std::uint64_t chain = input.number(8);
    const std::string text(text_of(input.rest()));
    if (kind % 4 == 0) {
        const auto plain = codec.decode(text, chain);
        if (!plain) return;
        const auto again = codec.encode(plain->text, chain);
        fuzz::promise(again && again->text == text && again->chain == plain->chain,
                      "one entry for each name");
    } else if (kind % 4 == 1) {
        const auto entry = codec.encode(text, chain);
        if (!entry) return;
        const auto back = codec.decode(entry->text, chain);
        fuzz::promise(back && back->text == text && back->chain == entry->chain,
                      "a name comes back");
    } else if (kind % 4 == 2) {
        const auto plain = codec.decode_target(text);
        if (plain) fuzz::promise(plain->find('\0') == std::string::npos, "a target is a string");
    } else {
        const auto lower = codec.encode_target(text);
        if (lower) fuzz::promise(codec.decode_target(*lower) == text, "a target comes back");
    }
}

void blocks(fuzz::Input& input) {
    const std::uint8_t flags = input.byte();
    const ContentLayout layout{64u << (flags & 3),
                               static_cast<std::uint8_t>(input.byte() % 9),
                               static_cast<std::uint8_t>(input.byte() % 9),
                               (flags & 4) != 0,
                               (flags & 8) != 0,
                               false};
    const ContentCodec codec(key_of(flags >> 4), layout);
    const std::uint64_t no = input.number(8), file_iv = input.number(8);
    const Bytes lower = input.rest();
    const auto size = plain_size(layout, lower.size());
    if (size && *size > 0)
        fuzz::promise(*size <= lower.size(), "plaintext is no longer than what is below");
    const Bytes block = lower.first(std::min<std::size_t>(lower.size(), layout.block_size));
    if (block.size() <= layout.overhead()) return;
    ByteVector opened(block.begin(), block.end());
    const auto state = codec.decode_block(no, file_iv, opened);
    const Bytes plain = Bytes(opened).subspan(layout.overhead());
    fuzz::promise(state.has_value(), "a block has a state");
    fuzz::promise(*state == BlockState::kGood || volume::all_zero(plain),
                  "no bytes of what is damaged");
    ByteVector again(block.size());
    fuzz::promise(codec.encode_block(no, file_iv, plain, again).has_value(),
                  "a block can be written");
    const auto reread = codec.decode_block(no, file_iv, again);
    fuzz::promise(reread && *reread != BlockState::kDamaged &&
                      std::ranges::equal(Bytes(again).subspan(layout.overhead()), plain),
                  "a block comes back");
}

void sealed_blocks(fuzz::Input& input) {
    static const auto seal = [] {
        auto made = crypto::GcmSivKey::create(ByteVector(16, std::byte{7}));
        fuzz::promise(made.has_value(), "a key can be made");
        return std::make_shared<const crypto::GcmSivKey>(std::move(*made));
    }();
    const std::uint8_t flags = input.byte();
    ContentLayout layout;
    layout.block_size = 64u << (flags & 3);
    layout.unique_iv = (flags & 4) != 0;
    layout.holes = (flags & 8) != 0;
    layout.seal = (flags & 16) != 0 ? Seal::kIv96 : Seal::kIv64;
    const SealedCodec codec(key_of(0), seal, layout);
    const std::uint64_t no = input.number(8), path_iv = input.number(8);
    const Bytes header = input.take(layout.header_size());
    const auto iv = codec.decode_header(header, path_iv);
    if (!iv) return;
    const auto back = codec.encode_header(*iv, path_iv);
    fuzz::promise(back && fuzz::equal(*back, header), "a header comes back");
    const Bytes lower = input.rest();
    const Bytes block = lower.first(std::min<std::size_t>(lower.size(), layout.block_size));
    if (block.size() <= layout.overhead()) return;
    ByteVector opened(block.begin(), block.end());
    const auto state = codec.decode_block(no, *iv, opened);
    fuzz::promise(state.has_value(), "a block has a state");
    fuzz::promise(*state == BlockState::kGood || volume::all_zero(opened),
                  "no bytes of what is damaged");
    const Bytes plain = block.subspan(layout.overhead());
    ByteVector again(block.size());
    fuzz::promise(codec.encode_block(no, *iv, plain, again).has_value(), "a block can be written");
    const auto reread = codec.decode_block(no, *iv, again);
    fuzz::promise(reread && *reread == BlockState::kGood &&
                      fuzz::equal(Bytes(again).subspan(layout.overhead()), plain),
                  "a block comes back");
}

// tests/fuzz/run --kind: one parser alone, whatever an input's first byte says.
int kind_asked_for() {
    const char* kind = std::getenv("EXTENCFS_FUZZ_KIND");
    return kind != nullptr ? std::atoi(kind) : -1;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const int only = kind_asked_for();
    fuzz::Input input(data, size);
    const int kind = input.byte() % 7;
    switch (only >= 0 ? only : kind) {
        case 0:
            config(ConfigFormat::kV6, input.rest());
            break;
        case 1:
            config(ConfigFormat::kV5, input.rest());
            break;
        case 2:
            config(ConfigFormat::kV4, input.rest());
            break;
        case 3:
            names(input);
            break;
        case 4:
            blocks(input);
            break;
        case 5:
            config(ConfigFormat::kV7, input.rest());
            break;
        default:
            sealed_blocks(input);
    }
    return 0;
}
