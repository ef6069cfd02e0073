// SPDX-License-Identifier: Apache-2.0
// What a mount still holds once it runs: not the volume key, nor what wraps the generation keys.
// Whoever reads the daemon's memory then gets what is mounted, and no way to change its keys.
#include <catch2/catch.hpp>

#include <cstdint>
#include <cstdio>
#include <fstream>

#include "crypto/kdf.h"
#include "encfs/daemon/format1_source.h"
#include "encfs/daemon/legacy_key.h"
#include "encfs/daemon/legacy_source.h"
#include "encfs/daemon/log.h"
#include "tests/unit/daemon/key_place.h"

// Their shadow memory is larger than what can be looked through.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

using namespace extencfs;
using namespace extencfs::daemon;
using extencfs::test::KeyPlace;
using extencfs::test::kPassword;
using extencfs::test::read_file;

namespace {

constexpr auto kMask = std::byte{0x5a};

// A key as it may lie in memory without being found.
struct Masked {
    ByteArray<32> bytes{};
    explicit Masked(BytesN<32> key) {
        for (std::size_t i = 0; i < key.size(); ++i) bytes[i] = key[i] ^ kMask;
    }
    bool is_at(const std::byte* place) const {
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            if ((place[i] ^ kMask) != bytes[i]) return false;
        }
        return true;
    }
};

// How often it lies in memory that can be written, the stack's unused part left out.
int copies_of(const Masked& key) {
    int copies = 0;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        std::uintptr_t from = 0, to = 0;
        char rights[5] = "";
        if (std::sscanf(line.c_str(), "%lx-%lx %4s", &from, &to, rights) != 3) continue;
        if (rights[0] != 'r' || rights[1] != 'w') continue;
        if (line.find("[stack]") != std::string::npos) continue;
        for (std::uintptr_t at = from; at + 32 <= to; ++at) {
            copies += key.is_at(reinterpret_cast<const std::byte*>(at)) ? 1 : 0;
        }
    }
    return copies;
}

struct Keys {
    Masked volume_key;
    Masked gen_wrap;
};

Keys keys_of(const std::string& text) {
    const auto config = volume::parse_config(text);
    REQUIRE(config);
    const auto key = volume::unlock(*config, kPassword);
    REQUIRE(key);
    crypto::Key256 wrap;
    crypto::derive_key(key->bytes(), crypto::KeyPurpose::kGenerationWrap, {}, wrap.mutable_bytes());
    return {Masked(key->bytes()), Masked(wrap.bytes())};
}

}  // namespace

TEST_CASE("a mount does not keep the volume key nor the key that wraps others") {
    const KeyPlace place;
    const Keys keys = keys_of(read_file(place.main));
    REQUIRE(copies_of(keys.volume_key) == 0);
    const auto fs = lower::make_posix_lower_fs();
    auto disk = VolumeOnDisk::open(*fs, place.path());
    REQUIRE(disk);
    auto source = Format1Source::open(std::move(*disk));
    REQUIRE(source);
    bool shared = false;
    REQUIRE((*source)->reserve(false, shared));
    REQUIRE((*source)->unlock(kPassword));
    CHECK(copies_of(keys.volume_key) > 0);  // so that it is looked for in the right place
    Log log;
    (*source)->mend(log);
    auto format = (*source)->format();
    REQUIRE(format);
    CHECK(copies_of(keys.volume_key) == 0);
    CHECK(copies_of(keys.gen_wrap) == 0);
}

// In EncFS's format the volume's key is what a mount works with; the one from the password is not.
TEST_CASE("a mount of an EncFS volume does not keep the key that the password gives") {
    const extencfs::test::TempDir dir;
    const auto fs = lower::make_posix_lower_fs();
    auto disk = VolumeOnDisk::open(*fs, dir.path());
    REQUIRE(disk);
    legacy::Config choice = extencfs::test::cheap_encfs(192);
    choice.unique_iv = true;
    auto made = new_legacy_volume(choice, kPassword);
    REQUIRE(made);
    made->secret = {};
    LegacyConfig* const config = &made->config;
    const auto masked_key = [&] {
        crypto::SecretBytes derived(config->parameters.cipher.secret_size());
        REQUIRE(crypto::legacy_pbkdf2(kPassword, config->config.salt, config->config.iterations,
                                      derived.mutable_bytes()));
        return Masked(derived.bytes().first<32>());
    };
    const auto masked_secret = [&] {
        const auto secret = open_legacy_key(*config, kPassword);
        REQUIRE(secret);
        return Masked(secret->bytes().first<32>());
    };
    const Masked key = masked_key();
    const Masked secret = masked_secret();
    {
        auto source = LegacySource::open(std::move(*disk), *config, {});
        REQUIRE(source);
        REQUIRE((*source)->unlock(kPassword));
        auto format = (*source)->format();
        REQUIRE(format);
        CHECK(copies_of(secret) > 0);
        CHECK(copies_of(key) == 0);
    }
    // A change of the password keeps neither.
    const auto change = [&] {
        const auto opened = open_legacy_key(*config, kPassword);
        REQUIRE(opened);
        REQUIRE(set_legacy_password(*config, opened->bytes(), bytes_of("another")));
    };
    change();
    CHECK(copies_of(secret) == 0);
    CHECK(copies_of(key) == 0);
}

#endif
