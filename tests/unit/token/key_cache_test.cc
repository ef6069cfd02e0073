// SPDX-License-Identifier: Apache-2.0
#include "encfs/token/key_cache.h"

#include <linux/keyctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "crypto/encoding.h"
#include "crypto/random.h"
#include "encfs/token/pcrs.h"
#include "tests/unit/token/needs.h"

using namespace extencfs;
using namespace extencfs::test;
using namespace std::chrono_literals;
using token::CachedKey;

namespace {

// Of a volume that nobody else has.
ByteArray<16> new_id() {
    ByteArray<16> id{};
    REQUIRE(crypto::fill_random(id));
    return id;
}
CachedKey key_of(std::uint32_t slot, std::uint64_t revision, char fill) {
    CachedKey key;
    key.slot = slot;
    key.revision = revision;
    std::ranges::fill(key.box_key.mutable_bytes(), static_cast<std::byte>(fill));
    return key;
}
bool has_keyrings() {
    const auto id = new_id();
    const bool works = token::cache_key(id, key_of(1, 1, 'x'), 5s).has_value();
    (void)token::forget_key(id);
    // Containers refuse them: nothing that a package could bring.
    if (!works) WARN("not tested: no keyrings of the kernel here");
    return works;
}
long serial_of(BytesN<16> id) {
    const std::string name = "extencfs:" + crypto::hex_encode(id);
    return ::syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_USER_KEYRING, "user", name.c_str(), 0);
}

}  // namespace

TEST_CASE("a key is kept, replaced and forgotten", "[cache]") {
    if (!has_keyrings()) return;
    const auto id = new_id();
    CHECK_FALSE(token::cached_key(id));
    CHECK_FALSE(*token::forget_key(id));
    REQUIRE(token::cache_key(id, key_of(0x01020304, 0x0102030405060708, 'a'), 20s));
    const auto kept = token::cached_key(id);
    REQUIRE(kept);
    CHECK(kept->slot == 0x01020304);
    CHECK(kept->revision == 0x0102030405060708);
    CHECK(equal(kept->box_key.bytes(), key_of(1, 1, 'a').box_key.bytes()));
    CHECK_FALSE(token::cached_key(new_id()));
    REQUIRE(token::cache_key(id, key_of(2, 3, 'b'), 20s));
    CHECK(token::cached_key(id)->slot == 2);
    CHECK(*token::forget_key(id));
    CHECK_FALSE(token::cached_key(id));
    CHECK_FALSE(*token::forget_key(id));
}

TEST_CASE("a kept key ends by itself", "[cache]") {
    if (!has_keyrings()) return;
    const auto id = new_id();
    REQUIRE(token::cache_key(id, key_of(1, 1, 'a'), 1s));
    CHECK(token::cached_key(id));
    std::this_thread::sleep_for(2100ms);
    CHECK_FALSE(token::cached_key(id));
}

TEST_CASE("nobody else reads a kept key", "[cache]") {
    if (!has_keyrings()) return;
    const auto id = new_id();
    REQUIRE(token::cache_key(id, key_of(1, 1, 'a'), 20s));
    const long serial = serial_of(id);
    REQUIRE(serial > 0);
    char words[256] = {};
    REQUIRE(::syscall(SYS_keyctl, KEYCTL_DESCRIBE, serial, words, sizeof words - 1) > 0);
    CHECK(std::string(words).find(";3f3f0000;") != std::string::npos);
    if (::geteuid() == 0) {
        const pid_t child = ::fork();
        if (child == 0) {
            char byte[64];
            const bool dropped =
                ::setresgid(65534, 65534, 65534) == 0 && ::setresuid(65534, 65534, 65534) == 0;
            // The session's keyring still leads to root's; a new one, as every login makes, does
            // not.
            const long joined = ::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr);
            const long got = ::syscall(SYS_keyctl, KEYCTL_READ, serial, byte, sizeof byte);
            ::_exit(dropped && joined >= 0 && got < 0 ? 0 : 1);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        CHECK(status == 0);
    }
    CHECK(*token::forget_key(id));
    // Revoked: who knows its number reads nothing either.
    char byte[64];
    CHECK(::syscall(SYS_keyctl, KEYCTL_READ, serial, byte, sizeof byte) < 0);
}

TEST_CASE("what is not a key of ours is not taken for one", "[cache]") {
    if (!has_keyrings()) return;
    const auto id = new_id();
    const std::string name = "extencfs:" + crypto::hex_encode(id);
    for (const std::string& payload :
         {std::string(48, 'x'), std::string("x1k1"), "x1k1" + std::string(45, 'x')}) {
        REQUIRE(::syscall(SYS_add_key, "user", name.c_str(), payload.data(), payload.size(),
                          KEY_SPEC_USER_KEYRING) > 0);
        CHECK_FALSE(token::cached_key(id));
    }
    CHECK(*token::forget_key(id));
}

TEST_CASE("registers are written and read", "[pcrs]") {
    using token::parse_pcrs;
    CHECK(parse_pcrs("7") == 1U << 7);
    CHECK(parse_pcrs("0+7,23") == (1U | 1U << 7 | 1U << 23));
    CHECK(token::pcr_text(1U | 1U << 7 | 1U << 23) == "0+7+23");
    CHECK(token::pcr_text(0).empty());
    for (const char* wrong : {"", "24", "-1", "7+", "+7", "7++8", "7 8", "x", "007"}) {
        INFO(wrong);
        CHECK_FALSE(parse_pcrs(wrong));
    }
}
