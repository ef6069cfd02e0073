// SPDX-License-Identifier: Apache-2.0
// Rows of FORMAT.md "Threats" about regular files, as a file system answers them: the codecs tell
// what is wrong with bytes (unit/volume), here nothing of that may be lost on the way up.
#include "encfs/volume/file_header.h"
#include "encfs/volume/geometry.h"
#include "tests/unit/core/tampered_volume.h"

using namespace extencfs;
using namespace extencfs::core;

namespace {

constexpr std::size_t kSize = 20'000;
// So far that holes are made, and what lies below is not written over.
constexpr std::size_t kGrown = 100'000;

// Where fragment `number` lies below, as bytes of a lower file.
std::string fragment_of_bytes(const std::string& lower, std::uint64_t number) {
    const auto where = volume::fragment(number);
    return lower.substr(where.cipher_off, where.cipher_size);
}
void put_fragment(const std::string& path, std::uint64_t number, const std::string& bytes) {
    patch(path, volume::fragment(number).cipher_off, bytes);
}

// Each fragment is EIO if it is among `bad`, and as in `data` if not.
void check_fragments(TamperedVolume& v, NodeId node, const std::string& data,
                     const std::set<std::uint64_t>& bad) {
    for (std::uint64_t n = 0; n < volume::fragment_count(data.size()); ++n) {
        INFO("fragment " << n);
        const auto where = volume::fragment(n);
        const auto got = v.read(node, where.plain_off, where.plain_size);
        if (bad.contains(n)) {
            CHECK(is_damaged(got));
        } else {
            REQUIRE(got);
            CHECK(*got == data.substr(where.plain_off, where.plain_size));
        }
    }
}

// A header of `path` with something changed, by somebody who has the key.
template <typename Change>
void change_header(const std::string& path, Change change) {
    const auto keys = keys_for_tests();
    const std::string was = lower_bytes(path).substr(0, volume::kFileHeaderSize);
    const auto header_key = keys->current().header.bytes();
    auto header = volume::decode_header(bytes_of(was).first<volume::kFileHeaderSize>(), header_key);
    REQUIRE(header);
    change(*header);
    ByteArray<volume::kFileHeaderSize> bytes;
    volume::encode_header(*header, header_key, bytes);
    patch(path, 0, std::string(text_of(bytes)));
}

}  // namespace

TEST_CASE("T1, T3: a changed or zeroed fragment is EIO, named in the report, and no other") {
    TamperedVolume v;
    const std::string data = stamped(1, 0, kSize);
    v.make_file("f", data);
    const std::string lower = v.lower_of("f");
    REQUIRE(v.unmount());
    flip(lower, volume::fragment(2).cipher_off + 16);
    put_fragment(lower, 5, std::string(volume::fragment(5).cipher_size, '\0'));
    v.mount();
    const NodeId f = v.node("f");
    check_fragments(v, f, data, {2, 5});
    CHECK(is_damaged(v.read(f)));
    CHECK(v.damage().text().find("block 1 does not authenticate: " + name_below(lower)) !=
          std::string::npos);
    CHECK(v.damage().text().find("block 2 is zeroed: " + name_below(lower)) != std::string::npos);
    // Nor can it be changed in part, which would seal anew what nobody can read.
    const std::uint64_t inside = volume::fragment(2).plain_off + 10;
    CHECK(is_damaged(v.fs().write(f, inside, bytes_of("x"), WriteSource::kCaller, {})));
}

TEST_CASE("T1, T2: a file whose header is changed, cut or gone is EIO and does not look empty") {
    for (std::size_t kept = 0; kept <= volume::kFileHeaderSize; ++kept) {
        INFO("cut to " << kept);
        TamperedVolume v;
        v.make_file("f", stamped(1, 0, kSize));
        const std::string lower = v.lower_of("f");
        REQUIRE(v.unmount());
        if (kept == volume::kFileHeaderSize)
            flip(lower, 20);
        else
            cut(lower, kept);
        v.mount();
        const NodeId f = v.node("f");
        CHECK(v.size(f) >= 1);
        CHECK(is_damaged(v.read(f)));
        CHECK(v.damage().text().find(name_below(lower)) != std::string::npos);
        CHECK(is_damaged(v.fs().write(f, 0, bytes_of("x"), WriteSource::kCaller, {})));
        CHECK(is_damaged(v.resize(f, 5)));
    }
}

TEST_CASE("T2: what a short read did not bring is no header") {
    // Leaves in the buffer what was there, as memory that was used before may hold it.
    class Cut final : public BorrowedLower {
      public:
        using BorrowedLower::BorrowedLower;
        lower::Result<std::size_t> pread(int fd, MutBytes out, std::uint64_t off) override {
            auto got = BorrowedLower::pread(fd, out, off);
            if (got && off == 0) *got = std::min<std::size_t>(*got, 40);
            return got;
        }
    };
    TamperedVolume v;
    v.make_file("f", "x");
    REQUIRE(v.unmount());
    Cut lower(v.lower());
    const auto fs = open_fs(lower, v.dir(), {.clean = true});
    auto f = fs->lookup(kRootNode, "f");
    REQUIRE(f);
    IoBuffer buffer;
    CHECK(is_damaged(fs->read(f->node, 0, 1, buffer)));
    fs->forget(f->node, 1);
    v.mount();
}

TEST_CASE("a file damaged as a whole is made whole by truncating it to nothing, and only so") {
    TamperedVolume v;
    v.make_file("f", stamped(1, 0, kSize));
    const std::string lower = v.lower_of("f");
    REQUIRE(v.unmount());
    flip(lower, 20);
    v.mount();
    const NodeId f = v.node("f");
    REQUIRE(v.resize(f, 0));
    // Nothing of the old file is left below, to come back when it grows.
    CHECK(std::filesystem::file_size(lower) == volume::kFileHeaderSize);
    REQUIRE(v.resize(f, kSize));
    CHECK(v.read(f) == std::string(kSize, '\0'));
    v.remount();
    CHECK(v.read(v.node("f")) == std::string(kSize, '\0'));
}

TEST_CASE("T4: fragments of one file are none of another's") {
    TamperedVolume v;
    const std::string data = stamped(1, 0, kSize), other = stamped(2, 0, kSize);
    v.make_file("f", data);
    v.make_file("g", other);
    const std::string lower = v.lower_of("f"), beside = v.lower_of("g");
    REQUIRE(v.unmount());
    const std::string mine = lower_bytes(lower), theirs = lower_bytes(beside);
    put_fragment(lower, 1, fragment_of_bytes(theirs, 1));
    put_fragment(beside, 1, fragment_of_bytes(mine, 1));
    v.mount();
    check_fragments(v, v.node("f"), data, {1});
    check_fragments(v, v.node("g"), other, {1});
}

TEST_CASE("T5: under the header of another file nothing can be read") {
    TamperedVolume v;
    v.make_file("f", stamped(1, 0, kSize));
    v.make_file("g", stamped(2, 0, kSize));
    const std::string lower = v.lower_of("f"), beside = v.lower_of("g");
    REQUIRE(v.unmount());
    patch(lower, 0, lower_bytes(beside).substr(0, volume::kFileHeaderSize));
    v.mount();
    check_fragments(v, v.node("f"), stamped(1, 0, kSize), {0, 1, 2, 3, 4, 5, 6, 7, 8});
}

TEST_CASE("T6: a file cut below is EIO from there on, never shorter") {
    const std::string data = stamped(1, 0, kSize);
    for (const std::uint64_t size :
         {64ul, 65ul, 3000ul, 4096ul, 4097ul, 8192ul, 8193ul, 20'480ul}) {
        INFO("cut to " << size);
        TamperedVolume v;
        v.make_file("f", data);
        const std::string lower = v.lower_of("f");
        REQUIRE(v.unmount());
        cut(lower, size);
        v.mount();
        // The use that finds a wrong st_size may be EIO once; from then on the header's word holds.
        NodeId f = v.node("f");
        // Nothing, and what no length has, are not believed to begin with.
        if (size == 64 || volume::size_of_hint(size) == volume::kNoSize) CHECK(v.size(f) == kSize);
        if (v.size(f) != kSize) {
            CHECK(is_damaged(v.read(f)));
            CHECK(is_damaged(v.read(f)));
            f = v.node("f");
        }
        CHECK(v.size(f) == kSize);
        std::set<std::uint64_t> bad;
        for (std::uint64_t n = 0; n < volume::fragment_count(kSize); ++n) {
            const auto where = volume::fragment(n);
            if (where.cipher_off + where.cipher_size > size) bad.insert(n);
        }
        check_fragments(v, f, data, bad);
        CHECK(v.damage().count() > 0);
    }
}

TEST_CASE("T7: what is appended below is no part of the file, and does not come when it grows") {
    TamperedVolume v;
    const std::string data = stamped(1, 0, kSize);
    v.make_file("f", data);
    const std::string lower = v.lower_of("f");
    // An old tail that the key holder cut off, within the same cut.
    const std::string old = lower_bytes(lower);
    REQUIRE(v.resize(v.node("f"), 9000));
    REQUIRE(v.unmount());
    put_lower_bytes(lower, lower_bytes(lower).substr(0, volume::data_end(9000)) +
                               old.substr(volume::data_end(9000)));
    REQUIRE(std::filesystem::file_size(lower) == old.size());
    v.mount();
    NodeId f = v.node("f");
    CHECK(v.size(f) == kSize);  // the forged hint, until it is used
    CHECK(is_damaged(v.read(f)));
    f = v.node("f");
    CHECK(v.size(f) == 9000);
    CHECK(v.read(f) == data.substr(0, 9000));
    SECTION("by truncation") {
        REQUIRE(v.resize(f, kGrown));
    }
    SECTION("by a write") {
        REQUIRE(v.fs().write(f, kGrown - 1, Bytes(ByteArray<1>{}), WriteSource::kCaller, {}));
    }
    SECTION("by fallocate") {
        REQUIRE(v.fs().fallocate(f, 0, 0, kGrown, {}));
    }
    CHECK(v.read(f) == data.substr(0, 9000) + std::string(kGrown - 9000, '\0'));
}

TEST_CASE("T7: what lies behind a sound hint does not come when the file grows") {
    TamperedVolume v;
    const std::string data = stamped(1, 0, kSize);
    v.make_file("f", data);
    const std::string lower = v.lower_of("f");
    const std::string old = lower_bytes(lower);
    REQUIRE(v.resize(v.node("f"), 9000));
    REQUIRE(v.unmount());
    const std::uint64_t end = volume::data_end(9000), hint = volume::hint_of_size(9000);
    REQUIRE(std::filesystem::file_size(lower) == hint);
    REQUIRE(hint > end);
    patch(lower, end, old.substr(end, hint - end));
    v.mount(false);
    NodeId f = v.node("f");
    CHECK(v.read(f) == data.substr(0, 9000));
    REQUIRE(v.resize(f, kGrown));
    CHECK(v.read(f) == data.substr(0, 9000) + std::string(kGrown - 9000, '\0'));
    CHECK(v.damage().text() == "");
}

TEST_CASE("T7: fragments from before the file was truncated to nothing are EIO") {
    TamperedVolume v;
    v.make_file("f", stamped(1, 0, kSize));
    const std::string lower = v.lower_of("f");
    const std::string old = lower_bytes(lower);
    REQUIRE(v.resize(v.node("f"), 0));
    const std::string data = stamped(2, 0, kSize);
    REQUIRE(v.fs().write(v.node("f"), 0, bytes_of(data), WriteSource::kCaller, {}));
    REQUIRE(v.unmount());
    put_fragment(lower, 3, fragment_of_bytes(old, 3));
    v.mount();
    check_fragments(v, v.node("f"), data, {3});
}

TEST_CASE("a file truncated to nothing is dense again") {
    TamperedVolume v;
    NodeId f = v.make_file("f", "x");
    REQUIRE(v.resize(f, 200'000));
    REQUIRE(v.resize(f, 0));
    const std::string data = stamped(1, 0, kSize);
    REQUIRE(v.fs().write(f, 0, bytes_of(data), WriteSource::kCaller, {}));
    const std::string lower = v.lower_of("f");
    REQUIRE(v.unmount());
    put_fragment(lower, 4, std::string(volume::fragment(4).cipher_size, '\0'));
    v.mount();
    check_fragments(v, v.node("f"), data, {4});
}

TEST_CASE("T8: an older header under fragments two epochs newer is EIO") {
    TamperedVolume v;
    const std::string data = stamped(1, 0, kSize);
    v.make_file("f", data);
    const std::string lower = v.lower_of("f");
    const std::string old = lower_bytes(lower);
    std::string fresh = data;
    // A header that is known to be durable lets the epoch advance, at once in a new mount.
    for (unsigned epoch = 1; epoch <= 2; ++epoch) {
        v.remount();
        const NodeId f = v.node("f");
        REQUIRE(v.fs().fsync(f, false));
        const auto where = volume::fragment(4);
        const std::string more = stamped(1 + epoch, where.plain_off, where.plain_size);
        REQUIRE(v.fs().write(f, where.plain_off, bytes_of(more), WriteSource::kCaller, {}));
        fresh.replace(where.plain_off, where.plain_size, more);
        CHECK(v.read(f) == fresh);
    }
    REQUIRE(v.unmount());
    const std::string now = lower_bytes(lower).substr(0, volume::kFileHeaderSize);
    patch(lower, 0, old.substr(0, volume::kFileHeaderSize));
    v.mount();
    check_fragments(v, v.node("f"), fresh, {4});
    CHECK(v.damage().text().find("is newer than the file's header") != std::string::npos);
    REQUIRE(v.unmount());
    patch(lower, 0, now);
    v.mount();
    check_fragments(v, v.node("f"), fresh, {});
}

TEST_CASE("the largest epoch stays") {
    TamperedVolume v;
    v.make_file("f", "");
    const std::string lower = v.lower_of("f");
    REQUIRE(v.unmount());
    change_header(lower, [](volume::FileHeader& header) { header.epoch = volume::kMaxEpoch; });
    v.mount();
    const std::string data = stamped(1, 0, kSize);
    REQUIRE(v.fs().fsync(v.node("f"), false));
    REQUIRE(v.fs().write(v.node("f"), 0, bytes_of(data), WriteSource::kCaller, {}));
    CHECK(v.read(v.node("f")) == data);
    v.remount();
    CHECK(v.read(v.node("f")) == data);
}

TEST_CASE("at the largest cut a file cannot be truncated to nothing") {
    TamperedVolume v;
    v.make_file("f", "");
    const std::string lower = v.lower_of("f");
    REQUIRE(v.unmount());
    change_header(lower, [](volume::FileHeader& header) { header.cut = ~std::uint32_t{0}; });
    v.mount();
    const NodeId f = v.node("f");
    REQUIRE(v.fs().write(f, 0, bytes_of("kept"), WriteSource::kCaller, {}));
    const auto emptied = v.resize(f, 0);
    REQUIRE_FALSE(emptied);
    CHECK(emptied.error().kind == ErrorKind::kTooBig);
    v.remount();
    CHECK(v.read(v.node("f")) == "kept");
}

TEST_CASE("T16: a fragment's own older version is never shorter than the header says") {
    TamperedVolume v;
    const NodeId f = v.make_file("f", stamped(1, 0, 5000));
    const std::string lower = v.lower_of("f");
    const std::string old = lower_bytes(lower);
    const std::string more = stamped(1, 5000, 1000);
    REQUIRE(v.fs().write(f, 5000, bytes_of(more), WriteSource::kCaller, {}));
    REQUIRE(v.unmount());
    const std::uint64_t tail = volume::fragment_of(5000);
    REQUIRE(tail == volume::fragment_of(4999));
    put_fragment(lower, tail, fragment_of_bytes(old, tail));
    v.mount();
    const NodeId again = v.node("f");
    CHECK(v.read(again, 0, 5000) == stamped(1, 0, 5000));
    CHECK(is_damaged(v.read(again, 0, 5001)));
    CHECK(is_damaged(v.read(again, 5000, 1000)));
}

TEST_CASE("T21: a forged size is EIO at the first use and then gone") {
    TamperedVolume v;
    const std::string data = stamped(1, 0, kSize);
    v.make_file("f", data);
    REQUIRE(v.fs().set_xattr(v.node("f"), "user.x", bytes_of("kept"), 0));
    const std::string lower = v.lower_of("f");
    REQUIRE(v.unmount());
    cut(lower, volume::hint_of_size(kSize + 7));
    v.mount();
    std::string told;
    v.fs().set_on_stale([&](NodeId parent, const std::string& name) {
        if (parent == kRootNode) told += name;
    });
    const NodeId f = v.node("f");
    CHECK(v.size(f) == kSize + 7);
    SECTION("reading") {
        CHECK(is_damaged(v.read(f)));
    }
    SECTION("truncating to nothing does not make another file of it") {
        const auto r = v.resize(f, 0);
        REQUIRE_FALSE(r);
        CHECK(r.error().kind == ErrorKind::kStale);
    }
    CHECK(told == "f");
    CHECK(v.damage().text().find("disagrees with its header") != std::string::npos);
    // The kernel's node stays wrong; the name leads to another one.
    CHECK(is_damaged(v.read(f)));
    const NodeId again = v.node("f");
    CHECK(again != f);
    CHECK(v.size(again) == kSize);
    CHECK(v.read(again) == data);
    const auto value = v.fs().get_xattr(again, "user.x");
    REQUIRE(value);
    CHECK(text_of(*value) == "kept");
    // From now on it is the header that is asked.
    v.session().forget_all();
    CHECK(v.size(v.node("f")) == kSize);
    CHECK(v.read(v.node("f")) == data);
}

TEST_CASE("T22: after an unclean end no hint is believed") {
    TamperedVolume v;
    v.make_file("f", stamped(1, 0, kSize));
    const std::string lower = v.lower_of("f");
    REQUIRE(v.unmount());
    cut(lower, volume::hint_of_size(kSize + 7));
    v.mount(false);
    const NodeId f = v.node("f");
    CHECK(v.size(f) == kSize);
    CHECK(v.read(f) == stamped(1, 0, kSize));
    CHECK(v.unmount());
    CHECK(std::filesystem::file_size(lower) == volume::hint_of_size(kSize));
}

TEST_CASE("T24: zeroed data of a sparse file reads as zeros, as declared") {
    TamperedVolume v;
    const NodeId f = v.make_file("f", stamped(1, 0, kSize));
    REQUIRE(v.resize(f, 200'000));
    const std::string lower = v.lower_of("f");
    REQUIRE(v.unmount());
    put_fragment(lower, 4, std::string(volume::fragment(4).cipher_size, '\0'));
    v.mount();
    const auto where = volume::fragment(4);
    CHECK(v.read(v.node("f"), where.plain_off, where.plain_size) ==
          std::string(where.plain_size, '\0'));
    CHECK(v.read(v.node("f"), 0, where.plain_off) == stamped(1, 0, where.plain_off));
}
