// SPDX-License-Identifier: Apache-2.0
#include "crypto/secret.h"

#include <type_traits>

#include "crypto/locked_heap.h"
#include "tests/unit/crypto/support.h"

namespace extencfs::crypto {

static_assert(!std::is_copy_constructible_v<SecretBytes> &&
              !std::is_copy_assignable_v<SecretBytes>);
static_assert(!std::is_copy_constructible_v<Key256> && !std::is_copy_assignable_v<Key256>);
static_assert(std::is_nothrow_move_constructible_v<Key256> &&
              std::is_nothrow_move_assignable_v<Key256>);

TEST_CASE("wipe clears, whatever the size", "[crypto][secret]") {
    for (const std::size_t size : {0U, 1U, 31U, 32U, 4096U}) {
        ByteVector bytes(size, std::byte{0x5A});
        wipe(bytes);
        CHECK(all_zero(bytes));
    }
    wipe({});
}

TEST_CASE("the constant-time comparison compares", "[crypto][secret]") {
    const ByteVector a = random_bytes(48);
    ByteVector b = a;
    CHECK(equal_constant_time(a, b));
    CHECK(equal_constant_time({}, {}));
    CHECK_FALSE(equal_constant_time(a, {}));
    CHECK_FALSE(equal_constant_time(a, Bytes(b).first(47)));
    for (std::size_t bit = 0; bit < b.size() * 8; ++bit) {
        b[bit / 8] ^= std::byte{1} << (bit % 8);
        CHECK_FALSE(equal_constant_time(a, b));
        b[bit / 8] ^= std::byte{1} << (bit % 8);
    }
}

TEST_CASE("secret bytes are zero at first, or a copy", "[crypto][secret]") {
    CHECK(SecretBytes().empty());
    CHECK(SecretBytes(std::size_t{0}).empty());
    CHECK(SecretBytes(Bytes()).empty());
    const SecretBytes zeros(100);
    CHECK(zeros.size() == 100);
    CHECK(all_zero(zeros.bytes()));
    const ByteVector source = random_bytes(70);
    const SecretBytes copy{Bytes(source)};
    CHECK(equal_constant_time(copy.bytes(), source));
    CHECK(copy.bytes().data() != source.data());
}

TEST_CASE("moving a secret empties where it came from", "[crypto][secret]") {
    const ByteVector source = random_bytes(33);
    SecretBytes first{Bytes(source)};
    const std::byte* place = first.bytes().data();
    SecretBytes second = std::move(first);
    CHECK(first.empty());  // NOLINT(bugprone-use-after-move): what is tested
    CHECK(first.bytes().data() == nullptr);
    CHECK(second.bytes().data() == place);

    SecretBytes third(std::size_t{500});
    third = std::move(second);
    CHECK(second.empty());  // NOLINT(bugprone-use-after-move)
    CHECK(equal_constant_time(third.bytes(), source));

    SecretBytes& same = third;
    third = std::move(same);
    CHECK(equal_constant_time(third.bytes(), source));

    first = SecretBytes(std::size_t{8});
    CHECK(first.size() == 8);

    Key256 key{random_array<32>()};
    const ByteVector key_copy(key.bytes().begin(), key.bytes().end());
    const Key256 moved = std::move(key);
    CHECK(equal_constant_time(moved.bytes(), key_copy));
    key = Key256();
    CHECK(all_zero(key.bytes()));
}

TEST_CASE("shrinking wipes what is cut off", "[crypto][secret]") {
    const ByteVector source = random_bytes(64);
    SecretBytes secret{Bytes(source)};
    const std::byte* place = secret.bytes().data();
    secret.shrink(64);
    CHECK(secret.size() == 64);
    secret.shrink(20);
    CHECK(secret.size() == 20);
    CHECK(equal_constant_time(secret.bytes(), Bytes(source).first(20)));
    // The block is still ours: what was cut off can be looked at.
    CHECK(all_zero({place + 20, 44}));
    secret.shrink(0);
    CHECK(secret.empty());
}

TEST_CASE("a dead secret is wiped and its memory given back", "[crypto][secret]") {
    const std::size_t used_before = locked_heap_status().used_bytes;
    const std::byte* place = nullptr;
    {
        const SecretBytes secret{Bytes(ByteVector(3000, std::byte{0x77}))};
        place = secret.bytes().data();
        CHECK(locked_heap_status().used_bytes >= used_before + 3000);
    }
    CHECK(locked_heap_status().used_bytes == used_before);
    // The heap is never unmapped, so the place can be read; its first word links free blocks.
    CHECK(all_zero({place + sizeof(void*), 3000 - sizeof(void*)}));
}

}  // namespace extencfs::crypto
