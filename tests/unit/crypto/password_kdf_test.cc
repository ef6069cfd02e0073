// SPDX-License-Identifier: Apache-2.0
#include "crypto/password_kdf.h"

#include <argon2.h>
#include <sys/sysinfo.h>

#include <chrono>

#include "tests/unit/crypto/support.h"

namespace extencfs::crypto {

namespace {

constexpr Argon2Cost kCheap{8 * 1024, 1, 1};

std::string key_of(std::string_view password, std::string_view salt, const Argon2Cost& cost) {
    ByteArray<32> out{};
    REQUIRE(argon2id(bytes_of(password), bytes_of(salt), cost, out).has_value());
    return hex_encode(out);
}

}  // namespace

TEST_CASE("the library's Argon2id matches RFC 9106 section 5.3", "[crypto][argon2]") {
    // The vector has a secret and associated data, which argon2id() does not take.
    unsigned char password[32], salt[16], secret[8], data[12], out[32];
    std::fill(std::begin(password), std::end(password), 1);
    std::fill(std::begin(salt), std::end(salt), 2);
    std::fill(std::begin(secret), std::end(secret), 3);
    std::fill(std::begin(data), std::end(data), 4);
    argon2_context context{};
    context.out = out;
    context.outlen = sizeof out;
    context.pwd = password;
    context.pwdlen = sizeof password;
    context.salt = salt;
    context.saltlen = sizeof salt;
    context.secret = secret;
    context.secretlen = sizeof secret;
    context.ad = data;
    context.adlen = sizeof data;
    context.t_cost = 3;
    context.m_cost = 32;
    context.lanes = 4;
    context.threads = 4;
    context.version = ARGON2_VERSION_13;
    REQUIRE(argon2id_ctx(&context) == ARGON2_OK);
    CHECK(hex_encode(std::as_bytes(std::span(out))) ==
          "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659");
}

TEST_CASE("Argon2id matches the reference program", "[crypto][argon2]") {
    // echo -n PASSWORD | argon2 SALT -id -v 13 -k KIB -t PASSES -p LANES -r
    CHECK(key_of("123", "ABCDEFGHIJKLMNOP", {8 * 1024, 2, 1}) ==
          "3ee950488d26ce691657b1d753f562139857b61a58f234d6cb0ce84c4cc27328");
    // The same through OpenSSL 4.0's own Argon2id, by way of Python's cryptography.
    CHECK(
        key_of("correct horse battery staple", "0123456789abcdef0123456789abcdef", {8192, 1, 4}) ==
        "e08061377c215acf1fbf4ae2c345c1b3f48e8913624b0f6b3a587a46d3105807");
    CHECK(key_of("", "ABCDEFGHIJKLMNOP", {9000, 3, 2}) ==
          "4f4d1997fd5ab566848ec2b73418bf7564b6ba0218d713787a1f973da5789e0a");
}

TEST_CASE("the key depends on every input", "[crypto][argon2]") {
    const std::string reference = key_of("password", "sixteen byte sal", kCheap);
    CHECK(reference == key_of("password", "sixteen byte sal", kCheap));
    CHECK(reference != key_of("Password", "sixteen byte sal", kCheap));
    CHECK(reference != key_of("password", "sixteen byte saL", kCheap));
    CHECK(reference != key_of("password", "sixteen byte salt", kCheap));
    CHECK(reference != key_of("", "sixteen byte sal", kCheap));
    CHECK(reference != key_of("password", "sixteen byte sal", {8 * 1024, 2, 1}));
    CHECK(reference != key_of("password", "sixteen byte sal", {8 * 1024 + 4, 1, 1}));
    CHECK(reference != key_of("password", "sixteen byte sal", {8 * 1024, 1, 2}));
}

TEST_CASE("costs out of range are refused before they cost anything", "[crypto][argon2]") {
    const Argon2Cost bad[] = {
        {0, 1, 1},
        {kArgon2Least.memory_kib - 1, 1, 1},
        {kArgon2Most.memory_kib + 1, 1, 1},
        {UINT32_MAX, 1, 1},
        {8 * 1024, 0, 1},
        {8 * 1024, kArgon2Most.passes + 1, 1},
        {8 * 1024, UINT32_MAX, 1},
        {8 * 1024, 1, 0},
        {8 * 1024, 1, kArgon2Most.lanes + 1},
        {8 * 1024, 1, UINT32_MAX},
    };
    const auto start = std::chrono::steady_clock::now();
    for (const Argon2Cost& cost : bad) {
        CHECK_FALSE(argon2_cost_is_acceptable(cost));
        ByteArray<32> out{};
        const auto made = argon2id(bytes_of("x"), bytes_of("sixteen byte sal"), cost, out);
        REQUIRE_FALSE(made.has_value());
        CHECK(made.error() == Error::kBadParameter);
        CHECK(all_zero(out));
    }
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(1));
    for (const Argon2Cost& cost :
         {kArgon2Least, kArgon2Most, kArgon2Interactive, kArgon2Moderate, kArgon2Sensitive}) {
        CHECK(argon2_cost_is_acceptable(cost));
    }
}

TEST_CASE("salts out of range are refused", "[crypto][argon2]") {
    ByteArray<32> out{};
    for (const std::size_t size : {0U, 8U, 15U, 65U, 4096U}) {
        const auto made = argon2id(bytes_of("x"), random_bytes(size), kCheap, out);
        REQUIRE_FALSE(made.has_value());
        CHECK(made.error() == Error::kBadParameter);
    }
    for (const std::size_t size : {16U, 64U}) {
        CHECK(argon2id(bytes_of("x"), random_bytes(size), kCheap, out).has_value());
    }
}

TEST_CASE("calibration stays inside its limits and aims at the target", "[crypto][argon2]") {
    struct sysinfo info {};
    REQUIRE(::sysinfo(&info) == 0);
    const auto quarter_kib = info.totalram * info.mem_unit / 4 / 1024;
    const Argon2Cost quick = calibrate_argon2(1);
    const Argon2Cost slow = calibrate_argon2(400);
    for (const Argon2Cost& cost : {quick, slow}) {
        CHECK(argon2_cost_is_acceptable(cost));
        CHECK(cost.memory_kib <= kArgon2Sensitive.memory_kib);
        CHECK(cost.memory_kib <= std::max<std::uint64_t>(quarter_kib, kArgon2Least.memory_kib));
        CHECK(cost.passes >= kArgon2Interactive.passes);
        CHECK(cost.lanes == kArgon2Interactive.lanes);
        if (quarter_kib >= kArgon2Interactive.memory_kib) {
            CHECK(cost.memory_kib >= kArgon2Interactive.memory_kib);
        }
    }
    // Nothing can be had in 1 ms, so that is the floor; more time never buys less.
    CHECK(std::uint64_t{slow.memory_kib} * slow.passes >=
          std::uint64_t{quick.memory_kib} * quick.passes);
    if (quarter_kib >= kArgon2Interactive.memory_kib) {
        CHECK(quick.memory_kib == kArgon2Interactive.memory_kib);
        CHECK(quick.passes == kArgon2Interactive.passes);
    }
}

}  // namespace extencfs::crypto
