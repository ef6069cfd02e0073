// SPDX-License-Identifier: Apache-2.0
// Deterministic mutations of good bytes: whatever an attacker writes, a decoder answers with an
// error of its closed set, in bounded time, and under the sanitizers without a report. With the
// bytes authenticated, nothing but the original may be accepted.
#include <chrono>

#include "encfs/volume/volume_keys.h"
#include "tests/unit/volume/bytes_for_tests.h"

namespace extencfs::volume {
namespace {

// Changes 1 to 4 places: a flipped bit, an overwritten, removed, inserted or doubled run.
class Mutator {
  public:
    explicit Mutator(std::uint32_t seed) : random_(seed) {}

    std::string operator()(std::string text) {
        for (std::size_t n = 1 + at_most(3); n > 0; --n) change(text);
        return text;
    }

  private:
    std::size_t at_most(std::size_t most) { return random_() % (most + 1); }

    void change(std::string& text) {
        const std::size_t at = at_most(text.size());
        const std::size_t size = std::min(at_most(16), text.size() - at);
        switch (at_most(5)) {
            case 0:
                if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << at_most(7)));
                break;
            case 1:
                for (std::size_t i = 0; i < size; ++i) text[at + i] = static_cast<char>(random_());
                break;
            case 2:
                text.erase(at, size);
                break;
            case 3:
                text.insert(at, std::string(at_most(16), "\0 {}[]\",:09-\\\xff"[at_most(13)]));
                break;
            case 4:
                text.insert(at, text.substr(at, size));
                break;
            default:
                text.replace(at, size, std::string(size, '\0'));
        }
    }

    std::minstd_rand random_;
};

template <std::size_t N>
ByteArray<N> resized(const std::string& text) {
    ByteArray<N> out{};
    const Bytes bytes = bytes_of(text);
    std::copy_n(bytes.begin(), std::min(N, bytes.size()), out.begin());
    return out;
}

std::string as_text(Bytes bytes) {
    return std::string(text_of(bytes));
}

}  // namespace

TEST_CASE("mutated configurations never authenticate and never crash", "[mutation][threat]") {
    crypto::Key256 key;
    NewVolume choice;
    choice.cost = crypto::kArgon2Least;
    const auto config = new_config(choice, bytes_of("p"), key);
    REQUIRE(config);
    const std::string good = serialize_config(*config, key.bytes());
    const auto parsed_good = parse_config(good);
    REQUIRE(parsed_good);
    std::size_t parsed = 0;
    std::size_t accepted = 0;
    for (std::uint32_t seed = 1; seed <= 20'000; ++seed) {
        const auto mutated = parse_config(Mutator(seed)(good));
        if (!mutated) {
            const std::string kind = kind_of(mutated);
            if (kind != "damaged" && kind != "unsupported") CHECK(kind == "damaged");
            continue;
        }
        ++parsed;
        // With the key at hand, so that Argon2 does not limit the number of tries: what still
        // parses is either the same configuration in other white space or fails its MAC.
        const bool same_mac = mutated->auth == parsed_good->auth;
        const std::string again = serialize_config(*mutated, key.bytes());
        const auto remade = parse_config(again);
        REQUIRE(remade);
        if (same_mac && remade->auth == mutated->auth) {
            ++accepted;
            if (again != good) CHECK(again == good);
        }
    }
    CHECK(parsed > accepted);
    CHECK(accepted > 0);
}

TEST_CASE("mutated headers, id files, names, symlinks and xattrs are refused",
          "[mutation][threat]") {
    const auto key = fixed<32>(1);
    ByteArray<kFileHeaderSize> header;
    encode_header({.cipher = crypto::AeadKind::kAes256Gcm, .size = 5, .id = fixed<16>(2)}, key,
                  header);
    ByteArray<kDirFileSize> dir_file;
    encode_dir_file({.key_generation = 1, .next_generation = 1, .id = fixed<16>(3)}, key, dir_file);
    const auto names = NameCodec::create(fixed<64>(4), NameEncoding::kBase64Url);
    const auto xattrs = XattrCodec::create(fixed<64>(5), key);
    const SymlinkCodec links(key);
    REQUIRE((names && xattrs));
    const DirId dir = fixed<16>(6);
    const std::string entry = names->encode(dir, "name")->entry;
    const LowerName longer = *names->encode(dir, std::string(200, 'n'));
    const std::string link = *links.seal_inline("target");
    const auto long_link = *links.seal_long(std::string(4000, 't'));
    const std::string xattr = *xattrs->encode_name(dir, "user.x");
    const std::string value = as_text(*xattrs->seal_value(dir, "user.x", bytes_of("value")));

    std::size_t changed = 0;
    for (std::uint32_t seed = 1; seed <= 20'000; ++seed) {
        Mutator mutate(seed);
        const auto refused = [&](const std::string& good, auto&& decode) {
            const std::string bad = mutate(good);
            if (bad == good) return;
            ++changed;
            if (decode(bad)) CHECK_FALSE(decode(bad));
        };
        refused(as_text(header), [&](const std::string& bad) {
            const auto bytes = resized<kFileHeaderSize>(bad);
            return bytes != header && decode_header(bytes, key);
        });
        refused(as_text(dir_file), [&](const std::string& bad) {
            const auto bytes = resized<kDirFileSize>(bad);
            return bytes != dir_file && decode_dir_file(bytes, key);
        });
        refused(entry, [&](const std::string& bad) { return names->decode(dir, bad).has_value(); });
        refused(as_text(longer.side_bytes), [&](const std::string& bad) {
            return names->decode_long(dir, longer.entry, bytes_of(bad)).has_value();
        });
        refused(link, [&](const std::string& bad) { return links.open_inline(bad).has_value(); });
        refused(long_link.lower_target, [&](const std::string& bad) {
            const auto ref = SymlinkCodec::parse_ref(bad);
            return ref && links.open_long(*ref, long_link.file_bytes);
        });
        refused(xattr,
                [&](const std::string& bad) { return xattrs->decode_name(dir, bad).has_value(); });
        refused(value, [&](const std::string& bad) {
            return xattrs->open_value(dir, "user.x", bytes_of(bad)).has_value();
        });
    }
    CHECK(changed > 100'000);
}

TEST_CASE("mutated contents never show a byte that was not written", "[mutation][threat]") {
    const auto codec =
        ContentCodec::make(fixed<32>(1), crypto::AeadKind::kAes256Gcm, fixed<16>(2), 0);
    constexpr std::uint64_t kFirst = 124;
    constexpr std::uint64_t kCount = 5;
    const std::size_t plain_size = fragment(kFirst + kCount).plain_off - fragment(kFirst).plain_off;
    const ByteVector plain = pattern(plain_size, 1);
    ByteVector lower(fragment(kFirst + kCount).cipher_off - fragment(kFirst).cipher_off);
    REQUIRE(codec.seal(kFirst, kCount, plain, fragment(kFirst + kCount).plain_off, 0, lower));
    const std::string good = as_text(lower);
    for (std::uint32_t seed = 1; seed <= 5'000; ++seed) {
        const std::string bad = Mutator(seed)(good);
        ByteVector out(plain_size, std::byte{0x5a});
        std::array<OpenedFragment, kCount> states;
        const bool sparse = seed % 2 == 0;
        REQUIRE(codec.open(kFirst, kCount, bytes_of(bad).first(std::min(bad.size(), good.size())),
                           0, sparse, out, states));
        for (std::uint64_t i = 0; i < kCount; ++i) {
            const Fragment piece = fragment(kFirst + i);
            const auto off = piece.plain_off - fragment(kFirst).plain_off;
            const Bytes got = Bytes(out).subspan(off, piece.plain_size);
            const bool right =
                states[i].state == FragmentState::kGood
                    ? std::ranges::equal(got, Bytes(plain).subspan(off, piece.plain_size))
                    : std::ranges::all_of(got, [](std::byte b) { return b == std::byte{0}; });
            if (!right) {
                CAPTURE(seed, i);
                CHECK(right);
            }
        }
    }
}

}  // namespace extencfs::volume
