// SPDX-License-Identifier: Apache-2.0
#include "encfs/token/program.h"

#include "tests/unit/token/needs.h"

using namespace extencfs;
using namespace extencfs::test;
using namespace std::chrono_literals;

namespace {

auto shell(const std::string& script, Bytes input = {}, std::chrono::milliseconds patience = 10s) {
    return token::run_program("/bin/sh", {"-c", script}, input, 100, patience);
}
std::chrono::milliseconds since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                                 start);
}

}  // namespace

TEST_CASE("a program gets its input and gives its output", "[program]") {
    const std::string zeros("a\0b\n", 4);
    const auto ran =
        shell("cat; echo 'first' >&2; printf 'the\\tlast.\\n' >&2; exit 3", bytes_of(zeros));
    REQUIRE(ran);
    CHECK(text_of(ran->output.bytes()) == zeros);
    CHECK(ran->status == 3);
    CHECK(ran->last_words == "the?last");
    CHECK(shell("kill -9 $$")->status == -1);
    CHECK(shell("printf %0100d 1")->output.size() == 100);
}

TEST_CASE("a program that hangs is ended with what it started", "[program]") {
    for (const char* script :
         {"sleep 60", "cat >/dev/null; sleep 60", "exec >&- 2>&-; sleep 60", "sleep 60 & sleep 60",
          "trap '' TERM INT; while :; do sleep 1; done"}) {
        const auto start = std::chrono::steady_clock::now();
        const auto ran = shell(script, bytes_of("x"), 200ms);
        CHECK(kind_of(ran) == "timeout");
        CHECK(is_sentence(ran.error().sentence));
        CHECK(since(start) < 5s);
    }
}

TEST_CASE("a program that never reads, or says too much, is no trouble", "[program]") {
    const ByteVector input(3000, std::byte{'x'});
    CHECK(shell("exec <&-; exit 0", input)->status == 0);
    CHECK(shell("exit 7", input)->status == 7);
    CHECK(kind_of(shell("printf %0101d 1")) == "failed");
    CHECK(kind_of(shell("while :; do echo yes; done")) == "failed");
    CHECK(shell("printf %0100000d 1 >&2")->status == 0);
    CHECK(kind_of(token::run_program("/no/such/program", {}, {}, 10, 1s)) == "absent");
}
