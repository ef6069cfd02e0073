// SPDX-License-Identifier: Apache-2.0
#include "crypto/random.h"

#include <sys/wait.h>
#include <unistd.h>

#include <bit>
#include <set>
#include <string>

#include "tests/unit/crypto/support.h"

namespace extencfs::crypto {

TEST_CASE("random draws differ and fill the whole span", "[crypto][random]") {
    CHECK(fill_random({}).has_value());
    std::set<std::string> seen;
    for (int i = 0; i < 10000; ++i) seen.insert(hex_encode(random_bytes(12)));
    CHECK(seen.size() == 10000);
    // Above 256 bytes the kernel may give less than was asked for.
    const ByteVector large = random_bytes(3 << 20);
    std::size_t ones = 0;
    for (const std::byte b : large) {
        ones += static_cast<std::size_t>(std::popcount(std::to_integer<unsigned>(b)));
    }
    // 2^24.6 fair bits: 40 standard deviations either side.
    const double share = static_cast<double>(ones) / static_cast<double>(large.size() * 8);
    CHECK(share > 0.496);
    CHECK(share < 0.504);
    CHECK_FALSE(all_zero(Bytes(large).last(32)));
}

TEST_CASE("a forked child draws other bytes", "[crypto][random]") {
    const ByteVector warm_up = random_bytes(12);
    int pipe_ends[2];
    REQUIRE(::pipe(pipe_ends) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    ByteArray<32> own{};
    const bool drawn = fill_random(own).has_value();
    if (child == 0) {
        const bool sent = ::write(pipe_ends[1], own.data(), own.size()) == 32;
        ::_exit(drawn && sent ? 0 : 1);
    }
    ByteArray<32> theirs{};
    CHECK(::read(pipe_ends[0], theirs.data(), theirs.size()) == 32);
    int status = -1;
    CHECK(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    CHECK(drawn);
    CHECK(own != theirs);
    ::close(pipe_ends[0]);
    ::close(pipe_ends[1]);
}

}  // namespace extencfs::crypto
