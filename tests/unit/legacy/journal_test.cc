// SPDX-License-Identifier: Apache-2.0
// The journals of renames and cuts: what was written comes back, anything else is refused.
#include <catch2/catch.hpp>

#include "encfs/legacy/journal_wire.h"
#include "encfs/legacy/move_plan.h"
#include "encfs/legacy/tail_record.h"
#include "tests/unit/legacy/keys.h"

namespace extencfs::legacy {

namespace {

MovePlan plan_for_tests() {
    MovePlan plan;
    plan.path = {"one", "two"};
    plan.new_path = {};
    plan.entry = "before";
    plan.new_entry = "after";
    plan.dirs.push_back({});
    plan.dirs.push_back({.parent = 0,
                         .entry = "before",
                         .new_entry = "after",
                         .atime = {.seconds = -5, .nanoseconds = 999'999'999},
                         .mtime = {.seconds = 1, .nanoseconds = 2}});
    plan.dirs.push_back({.parent = 1, .entry = "x", .new_entry = "y", .atime = {}, .mtime = {}});
    plan.steps.push_back({.dir = 2,
                          .entry = "a",
                          .new_entry = std::string(255, 'b'),
                          .header = counted(8),
                          .new_header = counted(8, 9)});
    plan.steps.push_back(
        {.dir = 1, .entry = "x", .new_entry = "y", .header = {}, .new_header = {}});
    return plan;
}

template <typename Decode>
void check_each_change_is_seen(const ByteVector& bytes, const Decode& decode) {
    REQUIRE(decode(bytes).has_value());
    for (std::size_t at = 0; at < bytes.size(); ++at) {
        ByteVector changed = bytes;
        changed[at] ^= std::byte{1};
        CHECK_FALSE(decode(changed).has_value());
        CHECK_FALSE(decode(Bytes(bytes).first(at)).has_value());
    }
    ByteVector longer = bytes;
    longer.push_back({});
    CHECK_FALSE(decode(longer).has_value());
}

}  // namespace

TEST_CASE("the journal of a rename comes back, or is refused") {
    const auto key = aes_key();
    const auto decode = [&](Bytes bytes) { return decode_move(bytes, *key); };
    const MovePlan plan = plan_for_tests();
    const auto bytes = encode_move(plan, *key);
    REQUIRE(bytes);
    check_each_change_is_seen(*bytes, decode);
    const auto back = decode(*bytes);
    REQUIRE(back);
    CHECK(back->path == plan.path);
    CHECK(back->new_path == plan.new_path);
    CHECK(back->entry == plan.entry);
    CHECK(back->new_entry == plan.new_entry);
    REQUIRE(back->dirs.size() == 3);
    CHECK(back->dirs[1].atime.seconds == -5);
    CHECK(back->dirs[1].mtime.nanoseconds == 2);
    CHECK(back->dirs[2].parent == 1);
    REQUIRE(back->steps.size() == 2);
    CHECK(back->steps[0].new_entry == std::string(255, 'b'));
    CHECK(back->steps[0].new_header == counted(8, 9));
    CHECK(back->steps[1].header.empty());
    // Of another volume.
    CHECK_FALSE(decode_move(*bytes, *blowfish_key()).has_value());
}

TEST_CASE("a journal of a rename that makes no sense is refused, whoever wrote it") {
    const auto key = aes_key();
    const auto refused = [&](const MovePlan& plan) {
        const auto bytes = encode_move(plan, *key);
        REQUIRE(bytes);
        return !decode_move(*bytes, *key).has_value();
    };
    CHECK_FALSE(refused(plan_for_tests()));
    MovePlan plan = plan_for_tests();
    plan.dirs[2].parent = 2;
    CHECK(refused(plan));
    plan = plan_for_tests();
    plan.dirs[2].parent = 0;
    CHECK(refused(plan));
    plan = plan_for_tests();
    plan.steps[0].dir = 3;
    CHECK(refused(plan));
    plan = plan_for_tests();
    plan.steps[0].header.pop_back();
    CHECK(refused(plan));
    plan = plan_for_tests();
    plan.steps[0].header = plan.steps[0].new_header = counted(7);
    CHECK(refused(plan));
    plan = plan_for_tests();
    plan.dirs.clear();
    CHECK(refused(plan));
    plan = plan_for_tests();
    plan.entry = std::string(256, 'x');
    CHECK(refused(plan));
    // A number of members that there is no room for.
    JournalWriter out;
    out.raw(bytes_of("extencfs move 1\n"));
    out.number(std::uint32_t{0xffffffff});
    const auto cut = close_journal(out.take(), *key);
    REQUIRE(cut);
    CHECK_FALSE(decode_move(*cut, *key).has_value());
}

TEST_CASE("the journal of a cut comes back, or is refused") {
    const auto key = aes_key();
    const auto decode = [&](Bytes bytes) { return decode_tail(bytes, *key); };
    TailRecord record{.path = {"a", "b"}, .offset = 123456789, .block = counted(100)};
    const auto bytes = encode_tail(record, *key);
    REQUIRE(bytes);
    check_each_change_is_seen(*bytes, decode);
    const auto back = decode(*bytes);
    REQUIRE(back);
    CHECK(back->path == record.path);
    CHECK(back->offset == record.offset);
    CHECK(back->block == record.block);
    record.path.clear();
    CHECK_FALSE(decode(encode_tail(record, *key).value()).has_value());
    record.path = {"a"};
    record.offset = std::uint64_t{1} << 63;
    CHECK_FALSE(decode(encode_tail(record, *key).value()).has_value());
    CHECK_FALSE(decode(Bytes()).has_value());
}

}  // namespace extencfs::legacy
