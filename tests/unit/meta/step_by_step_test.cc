// SPDX-License-Identifier: Apache-2.0
// A reader's turn after each single instruction of the writer (the processor's trap flag): whatever
// order the records are written in, no moment shows what is not so. Deterministic, unlike threads.
#include <catch2/catch.hpp>

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)

#include <ucontext.h>
#include <csignal>
#include <functional>
#include <string>

#include "tests/unit/meta/bpf_reader.h"

using namespace extencfs;
using namespace extencfs::meta;

namespace {

constexpr greg_t kTrapFlag = 0x100;

// Of the one test that runs; the handler is given nothing else.
struct Stepping {
    std::function<void()> turn;
    std::size_t steps = 0;
    std::size_t last = 0;  // 0: all; else no more turns after that one
} stepping;

void on_trap(int, siginfo_t*, void* context) {
    ++stepping.steps;
    stepping.turn();
    if (stepping.steps == stepping.last)
        static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] &= ~kTrapFlag;
}

// Runs act(); turn() after each of its instructions, up to the `last`. How many there were.
template <typename Act>
std::size_t step_through(const Act& act, std::function<void()> turn, std::size_t last = 0) {
    stepping = {.turn = std::move(turn), .steps = 0, .last = last};
    struct sigaction trap {
    }, before{};
    trap.sa_sigaction = on_trap;
    trap.sa_flags = SA_SIGINFO;
    REQUIRE(::sigaction(SIGTRAP, &trap, &before) == 0);
    // Below what the compiler may keep there without moving the stack pointer.
    asm volatile(
        "leaq -128(%%rsp), %%rsp; pushfq; orq $0x100, (%%rsp); popfq; leaq 128(%%rsp), %%rsp" ::
            : "memory", "cc");
    act();
    asm volatile(
        "leaq -128(%%rsp), %%rsp; pushfq; andq $~0x100, (%%rsp); popfq; leaq 128(%%rsp), %%rsp" ::
            : "memory", "cc");
    REQUIRE(::sigaction(SIGTRAP, &before, nullptr) == 0);
    stepping.turn = nullptr;
    return stepping.steps;
}

constexpr std::uint64_t kRootIno = 100;
constexpr NodeId kFile = 2, kOther = 3;
constexpr NodeId kNext = (NodeId{1} << 32) | kFile;  // of the same slot

struct Fixture {
    explicit Fixture(std::size_t buckets = 1)
        : mapped(8, buckets), records(mapped.nodes, mapped.buckets, mapped.settings) {
        records.adopt(core::kRootNode, kRootIno);
        records.adopt(kFile, ino(kFile));
        records.adopt(kOther, ino(kOther));
        publish(kFile, 1);
        publish(kOther, 1);
    }
    static std::uint64_t ino(NodeId node) { return 10 + xf_generation(node) * 100 + node % 10; }
    void publish(NodeId node, off_t version) {
        struct stat is {};
        is.st_ino = ino(node);
        is.st_mode = S_IFREG | 0644;
        is.st_nlink = 1;
        is.st_size = is.st_blocks = is.st_mtim.tv_sec = is.st_ctim.tv_sec = version;
        records.publish_attr(node, is, records.token(), nullptr);
    }
    void name(std::string_view text, NodeId child) {
        (void)records.publish_entry({core::kRootNode, text}, child, records.token(), nullptr);
    }
    void complete_root() {
        const auto token = records.token();
        records.publish_complete(core::kRootNode, kRootIno,
                                 records.directory_version(core::kRootNode), token, nullptr);
    }
    Looked look(std::string_view text) { return reader.lookup(core::kRootNode, text); }
    __u64& word(std::size_t offset) { return words_of(mapped.nodes[slot])[offset / 8]; }

    // Notes the first thing that is not so.
    void expect(bool so, const char* what) {
        if (!so && fault == nullptr) fault = what;
    }
    void expect_whole(NodeId node, std::uint64_t from, std::uint64_t to) {
        xf_attr got{};
        if (!reader.getattr(node, got)) return;
        ++told;
        expect(got.size >= from && got.size <= to, "a version that is not there");
        expect(got.blocks == got.size && got.mtime == got.size && got.ctime == got.size &&
                   got.ino == ino(node),
               "a torn record");
    }
    // abi.h: the id changes only while all versions are odd.
    void expect_closed_where_the_id_changes() {
        const bool closed = is_closed(word(offsetof(xf_node, attr_ver))) &&
                            is_closed(word(offsetof(xf_node, xattr_ver))) &&
                            is_closed(word(offsetof(xf_node, dir_ver)));
        const __u64 id = word(offsetof(xf_node, nodeid));
        expect(closed || id == last_id, "the id changes where something is open");
        last_id = id;
    }

    Mapped mapped;
    Records records;
    BpfReader reader{mapped};
    const char* fault = nullptr;
    int told = 0;
    std::size_t slot = kFile;  // that word() is of
    __u64 last_id = kFile;
};

std::string fault_of(const Fixture& f) {
    return f.fault == nullptr ? "" : f.fault;
}

}  // namespace

TEST_CASE("step by step: attributes are whole at each moment") {
    Fixture f;
    const auto steps =
        step_through([&] { f.publish(kFile, 2); }, [&] { f.expect_whole(kFile, 1, 2); });
    CHECK(fault_of(f) == "");
    CHECK(steps > 50);
    CHECK(f.told > 10);
    f.expect_whole(kFile, 2, 2);
    CHECK(fault_of(f) == "");
}

TEST_CASE("step by step: absences are of one publication") {
    Fixture f;
    f.records.publish_xattrs(kFile, Fixture::ino(kFile), XF_XATTR_IMA, f.records.token());
    auto is = [&](std::uint64_t before, std::uint64_t after) {
        const auto bits = f.reader.absent_xattrs(kFile);
        f.expect(bits == 0 || bits == before || bits == after, "absences that were never so");
    };
    const __u64 version = f.word(offsetof(xf_node, xattr_ver));
    step_through(
        [&] {
            f.records.publish_xattrs(kFile, Fixture::ino(kFile), XF_XATTR_EVM, f.records.token());
        },
        [&] {
            is(XF_XATTR_IMA, XF_XATTR_IMA | XF_XATTR_EVM);
            // What changes does so under another version.
            f.expect(f.word(offsetof(xf_node, xattr_ver)) != version ||
                         f.word(offsetof(xf_node, xattr_absent)) == XF_XATTR_IMA,
                     "absences change under their version");
        });
    CHECK(fault_of(f) == "");
    CHECK(f.reader.absent_xattrs(kFile) == (XF_XATTR_IMA | XF_XATTR_EVM));
}

TEST_CASE("step by step: no name is missing while its way is taken") {
    Fixture f;
    for (const char* name : {"a", "b", "c", "d"}) f.name(name, kFile);
    f.complete_root();
    REQUIRE(f.look("nowhere").verdict == Verdict::kAbsent);
    auto check = [&] {
        for (const char* name : {"a", "b", "c", "d"}) {
            const Looked got = f.look(name);
            f.expect(got.verdict != Verdict::kAbsent, "a name that exists is missing");
            if (got.verdict == Verdict::kFound)
                f.expect(got.node == kFile, "a way of two publications");
        }
        const Looked got = f.look("e");
        if (got.verdict == Verdict::kFound)
            f.expect(got.node == kOther, "a way of two publications");
        f.told += got.verdict == Verdict::kFound;
    };
    step_through([&] { f.name("e", kOther); }, check);
    CHECK(fault_of(f) == "");
    CHECK(f.told > 0);
    SECTION("nor by a change") {
        Fixture g;
        for (const char* name : {"a", "b", "c", "d"}) g.name(name, kFile);
        g.complete_root();
        Records::Change change{.inodes = {kRootIno}, .names = {{{core::kRootNode, "e"}}}};
        step_through([&] { g.records.begin_change(change); },
                     [&] {
                         for (const char* name : {"a", "b", "c", "d"})
                             g.expect(g.look(name).verdict != Verdict::kAbsent,
                                      "a name that exists is missing");
                     });
        CHECK(fault_of(g) == "");
        CHECK(g.look("e").verdict == Verdict::kPass);
        g.records.end_change(change);
    }
}

TEST_CASE("step by step: a way names one child or the other") {
    Fixture f;
    f.name("a", kFile);
    bool file = false, other = false;
    step_through([&] { f.name("a", kOther); },
                 [&] {
                     const Looked got = f.look("a");
                     f.expect(got.verdict != Verdict::kAbsent, "a name that exists is missing");
                     if (got.verdict != Verdict::kFound) return;
                     f.expect(!other || got.node == kOther, "an entry goes back");
                     (got.node == kFile ? file : other) = true;
                 });
    CHECK(fault_of(f) == "");
    CHECK(file);
    CHECK(other);
}

TEST_CASE("step by step: a slot changes hands while all of it is closed") {
    Fixture f;
    f.records.publish_xattrs(kFile, Fixture::ino(kFile), XF_XATTR_IMA, f.records.token());
    // As of a directory that is complete.
    const auto token = f.records.token();
    f.records.publish_complete(kFile, Fixture::ino(kFile), f.records.directory_version(kFile),
                               token, nullptr);
    REQUIRE(f.reader.lookup(kFile, "x").verdict == Verdict::kAbsent);
    bool good = false;
    step_through([&] { good = f.records.try_retire(kFile, 0); },
                 [&] {
                     f.expect_whole(kFile, 1, 1);
                     f.expect_closed_where_the_id_changes();
                 });
    CHECK(good);
    CHECK(fault_of(f) == "");
    step_through([&] { f.records.adopt(kNext, Fixture::ino(kNext)); },
                 [&] {
                     f.expect_closed_where_the_id_changes();
                     f.expect_whole(kFile, 1, 0);
                     f.expect_whole(kNext, 1, 0);
                     f.expect(f.reader.absent_xattrs(kNext) == 0, "the old node's absences");
                     f.expect(f.reader.lookup(kNext, "x").verdict == Verdict::kPass,
                              "the old directory's names");
                 });
    CHECK(fault_of(f) == "");
    // One that was never used.
    f.slot = 4;
    f.last_id = 0;
    step_through([&] { f.records.adopt(4, Fixture::ino(4)); },
                 [&] { f.expect_closed_where_the_id_changes(); });
    CHECK(fault_of(f) == "");
    CHECK(f.last_id == 4);
}

TEST_CASE("step by step: a node is retired or handed out, not both") {
    std::size_t handed_out = 0, retired = 0;
    // After the word is dead there is less to see.
    for (std::size_t at = 1;; at += retired < 50 ? 3 : 101) {
        Fixture f;
        f.name("a", kFile);
        Looked got;
        bool gone = false;
        const auto steps = step_through([&] { gone = f.records.try_retire(kFile, 0); },
                                        [&] {
                                            if (stepping.steps == at) got = f.look("a");
                                        },
                                        at);
        if (steps < at) break;  // over before
        INFO("after step " << at);
        REQUIRE(gone == (got.verdict != Verdict::kFound));
        REQUIRE(f.records.served(kFile) == (gone ? 0 : 1));
        ++(gone ? retired : handed_out);
    }
    CHECK(handed_out > 10);
    CHECK(retired > 10);
}

TEST_CASE("step by step: what is counted while a count is taken over is not lost") {
    for (std::size_t at = 1;; at += 3) {
        Fixture f;
        f.name("a", kFile);
        constexpr std::uint64_t kMany = 1ULL << 31;
        Word(f.word(offsetof(xf_node, ref))).fetch_add(kMany);
        Looked got;
        std::uint64_t taken = 0;
        const auto steps = step_through([&] { taken = f.records.take_served(kFile); },
                                        [&] {
                                            if (stepping.steps == at) got = f.look("a");
                                        },
                                        at);
        if (steps < at) break;
        INFO("after step " << at);
        REQUIRE(got.verdict == Verdict::kFound);
        REQUIRE(taken >= kMany);
        REQUIRE(taken + f.records.served(kFile) == kMany + 1);
        REQUIRE(f.look("a").verdict == Verdict::kFound);  // alive
    }
}

#endif
