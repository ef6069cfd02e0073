// SPDX-License-Identifier: Apache-2.0
// The order of lower calls that durability rests on (FORMAT.md "Writer rules" and "Directories"),
// each rule by itself: the tests of power loss try many states, these try the one that matters.
#include <linux/falloc.h>

#include "encfs/volume/geometry.h"
#include "tests/unit/core/recorded_lower.h"
#include "tests/unit/core/tampered_volume.h"

using namespace extencfs;
using namespace extencfs::core;

namespace {

constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

}  // namespace

TEST_CASE("rule 2: the header follows the data") {
    Watched w;
    const NodeId f = w.file("f", 5000);
    const std::string name = w.called("f");
    w.forget_calls();
    w.write(f, 5000, 20'000);
    INFO(w.lower.text());
    const std::size_t header = w.lower.find("pwrite " + name + " 0+64");
    CHECK(header == 1);
    CHECK(w.lower.calls[0].starts_with("pwrite " + name + " "));
    CHECK_FALSE(w.lower.has("pwrite " + name, header + 1));
}

TEST_CASE("rules 4 and 5: cut in order, and durable before the file grows again") {
    Watched w;
    const NodeId f = w.file("f", 50'000);
    const std::string name = w.called("f");
    REQUIRE(w.fs->fsync(f, false));
    w.forget_calls();
    w.resize(f, 30'001);
    {
        INFO(w.lower.text());
        const std::size_t header = w.lower.find("pwrite " + name + " 0+64");
        CHECK(header == 0);
        CHECK(w.lower.has("pwrite " + name, 1));  // the tail
        CHECK(w.lower.find("truncate " + name + " " + std::to_string(volume::data_end(30'001))) ==
              2);
    }
    std::string first = "pwrite " + name;
    SECTION("by a write") {
        w.forget_calls();
        w.write(f, 30'001, 10);
    }
    SECTION("by a write far beyond") {
        w.forget_calls();
        w.write(f, 300'000, 10);
    }
    SECTION("by a write after the object was closed and opened") {
        w.session.forget_all();
        const NodeId again = w.node("f");
        w.write(again, 30'001, 10);
    }
    SECTION("by a little truncation") {
        w.forget_calls();
        w.resize(f, 31'000);
    }
    SECTION("by a large one") {
        w.forget_calls();
        w.resize(f, 300'000);
    }
    SECTION("by fallocate") {
        w.forget_calls();
        REQUIRE(w.fs->fallocate(f, 0, 0, 31'000, {}));
        first = "pwrite " + name;
    }
    INFO(w.lower.text());
    const std::size_t sync = w.lower.find("fdatasync " + name);
    REQUIRE(sync < w.lower.calls.size());
    // Nothing that grows the file before that; what it closes with may be.
    const std::size_t shrunk = w.lower.find("truncate " + name);
    CHECK(w.lower.find(first, shrunk < sync ? shrunk : 0) > sync);
}

TEST_CASE("rule 5: what was truncated and synced grows without another sync") {
    Watched w;
    const NodeId f = w.file("f", 50'000);
    w.resize(f, 30'001);
    REQUIRE(w.fs->fsync(f, true));
    w.forget_calls();
    w.write(f, 30'001, 10);
    INFO(w.lower.text());
    CHECK_FALSE(w.lower.has("fdatasync"));
}

TEST_CASE("rule 5: a file that leaves while its truncation is not durable is synced first") {
    Watched w;
    const NodeId f = w.file("f", 50'000);
    const std::string name = w.called("f");
    w.resize(f, 30'001);
    w.forget_calls();
    w.session.forget_all();
    INFO(w.lower.text());
    CHECK(w.lower.has("fdatasync " + name));
}

TEST_CASE("rule 7: no hole before the flag that allows it is durable") {
    Watched w;
    const NodeId f = w.file("f", 200'000);
    const std::string name = w.called("f");
    REQUIRE(w.fs->fsync(f, false));
    const auto check = [&] {
        INFO(w.lower.text());
        const std::size_t hole = w.lower.find("fallocate " + name);
        REQUIRE(hole < w.lower.calls.size());
        const std::size_t sync = w.lower.find("fdatasync " + name);
        CHECK(sync < hole);
        return w.lower.find("pwrite " + name + " 0+64") < sync;
    };
    w.forget_calls();
    SECTION("a dense file") {
        REQUIRE(w.fs->fallocate(f, kPunch, 20'000, 50'000, {}));
        CHECK(check());
        // Once for each file.
        w.forget_calls();
        REQUIRE(w.fs->fallocate(f, kPunch, 100'000, 50'000, {}));
        CHECK_FALSE(w.lower.has("fdatasync"));
    }
    SECTION("zeroing") {
        REQUIRE(w.fs->fallocate(f, FALLOC_FL_ZERO_RANGE, 20'000, 50'000, {}));
        CHECK(check());
    }
    SECTION("a file whose flag is set but not synced") {
        w.resize(f, 400'000);
        w.forget_calls();
        REQUIRE(w.fs->fallocate(f, kPunch, 20'000, 50'000, {}));
        (void)check();
    }
    SECTION("a file that was sparse and synced, and begins anew") {
        w.resize(f, 400'000);
        REQUIRE(w.fs->fsync(f, false));
        w.resize(f, 0);
        w.write(f, 0, 100'000);
        w.resize(f, 400'000);
        w.forget_calls();
        REQUIRE(w.fs->fallocate(f, kPunch, 20'000, 50'000, {}));
        (void)check();
    }
}

TEST_CASE("rule 8: what headers say when a volume is opened is durable") {
    Watched w;
    CHECK(w.lower.find("syncfs") == 0);
}

TEST_CASE("rule 8: a file that had to be mended is durable before it grows") {
    TamperedVolume v;
    const NodeId f = v.make_file("f", stamped(1, 0, 20'000));
    const std::string lower = v.lower_of("f");
    const std::string old = lower_bytes(lower);
    REQUIRE(v.resize(f, 9000));
    REQUIRE(v.unmount());
    put_lower_bytes(lower, lower_bytes(lower).substr(0, volume::data_end(9000)) +
                               old.substr(volume::data_end(9000)));
    const std::string name = Recorded::called(lower);
    Recorded recorded(v.lower());
    const auto fs = open_fs(recorded, v.dir(), {.clean = true});
    // The forged size is EIO once; this is about the mending.
    auto found = fs->lookup(kRootNode, "f");
    REQUIRE(found);
    IoBuffer buffer;
    CHECK_FALSE(fs->read(found->node, 0, 10, buffer));
    fs->forget(found->node, 1);
    found = fs->lookup(kRootNode, "f");
    REQUIRE(found);
    recorded.calls.clear();
    const std::string more = stamped(2, 9000, 10);
    REQUIRE(fs->write(found->node, 9000, bytes_of(more), WriteSource::kCaller, {}));
    INFO(recorded.text());
    const std::size_t cut_off =
        recorded.find("truncate " + name + " " + std::to_string(volume::data_end(9000)));
    const std::size_t sync = recorded.find("fdatasync " + name);
    CHECK(cut_off < sync);
    CHECK(sync < recorded.calls.size());
    CHECK(recorded.find("pwrite " + name) > sync);
    fs->forget(found->node, 1);
}

TEST_CASE("a directory's next place is durable before it is moved there") {
    Watched w;
    w.directory("a");
    w.forget_calls();
    REQUIRE(w.fs->rename(kRootNode, "a", kRootNode, "b", lower::RenameMode::kReplace));
    {
        INFO(w.lower.text());
        const std::size_t binding = w.lower.find("pwrite extencfs.dir 0+96");
        const std::size_t sync = w.lower.find("fdatasync extencfs.dir", binding);
        CHECK(sync < w.lower.find("rename"));
        CHECK(w.lower.has("rename"));
    }
    // A second rename forgets the oldest place when the first one is durable, not before.
    w.forget_calls();
    REQUIRE(w.fs->rename(kRootNode, "b", kRootNode, "c", lower::RenameMode::kReplace));
    INFO(w.lower.text());
    CHECK(w.lower.find("syncfs") < w.lower.find("pwrite extencfs.dir 0+96"));
    CHECK(w.lower.has("pwrite extencfs.dir 0+96"));
}

TEST_CASE("at the end a rename is durable before its old place is forgotten") {
    Watched w;
    w.directory("a");
    REQUIRE(w.fs->rename(kRootNode, "a", kRootNode, "b", lower::RenameMode::kReplace));
    w.session.forget_all();
    w.forget_calls();
    REQUIRE(w.fs->finish());
    INFO(w.lower.text());
    CHECK(w.lower.find("syncfs") < w.lower.find("pwrite extencfs.dir 0+96"));
    CHECK(w.lower.has("pwrite extencfs.dir 0+96"));
}

TEST_CASE("many renames are made durable before their old places are forgotten") {
    Watched w;
    w.directory("a");
    const auto rename = [&](int i) {
        const std::string from = i % 2 == 0 ? "a" : "b", to = i % 2 == 0 ? "b" : "a";
        REQUIRE(w.fs->rename(kRootNode, from, kRootNode, to, lower::RenameMode::kReplace));
    };
    bool finished = false;
    for (int i = 0; i < 1100 && !finished; ++i) {
        w.forget_calls();
        rename(i);
        const std::size_t moved = w.lower.find("rename");
        REQUIRE(moved < w.lower.calls.size());
        finished = w.lower.has("pwrite extencfs.dir", moved);
        if (finished)
            CHECK(w.lower.find("syncfs", moved) < w.lower.find("pwrite extencfs.dir", moved));
    }
    CHECK(finished);
}

TEST_CASE("fsync of a file makes the way to it durable") {
    Watched w;
    const std::string long_name(200, 'n');
    w.directory("a");
    w.directory("a/b");
    const NodeId f = w.file("a/b/" + long_name, 10);
    const std::string side =
        volume::kLongSidePrefix +
        w.below("a/b/" + long_name).substr(std::string(volume::kLongEntryPrefix).size());
    const std::string a = w.called("a"), b = w.called("a/b");
    w.forget_calls();
    SECTION("fsync") {
        REQUIRE(w.fs->fsync(f, false));
    }
    SECTION("of its directory") {
        REQUIRE(w.fs->fsync_directory(w.node("a/b")));
    }
    INFO(w.lower.text());
    // Both id files and the side file, each before the directory that it lies in.
    const std::size_t in_b = w.lower.find("fdatasync extencfs.dir");
    const std::size_t in_a = w.lower.find("fdatasync extencfs.dir", in_b + 1);
    CHECK(w.lower.has("fdatasync extencfs.dir", in_b + 1));
    CHECK(w.lower.find("fdatasync " + side) < w.lower.find("fsync " + b));
    CHECK(in_b < w.lower.find("fsync " + b));
    CHECK(in_a < w.lower.find("fsync " + a));
    CHECK(w.lower.has("fsync " + a));
    // And once.
    w.forget_calls();
    REQUIRE(w.fs->fsync(f, false));
    REQUIRE(w.fs->fsync_directory(w.node("a/b")));
    CHECK_FALSE(w.lower.has("fdatasync extencfs.dir"));
    CHECK(w.lower.has("fsync " + b));
}

TEST_CASE("id files that are no longer remembered are still owed to the next fsync") {
    Watched w;
    w.directory("a");
    const NodeId f = w.file("a/f", 10);
    const auto owed = [&] {
        w.forget_calls();
        REQUIRE(w.fs->fsync(w.node("a/f"), false));
        return w.lower.has("syncfs");
    };
    SECTION("the node was forgotten") {
        w.session.forget_all();
        CHECK(owed());
        CHECK_FALSE(owed());
    }
    SECTION("there are too many, and syncing them fails") {
        fake::FaultLowerFs failing;
        Recorded recorded(failing);
        const auto fs = open_fs(recorded, w.dir, {.clean = true});
        Session session(*fs);
        auto a = session.node("a");
        REQUIRE(a);
        failing.fail_at(1, EIO, fake::Calls::named("syncfs"));
        for (int i = 0; i < 4100; ++i)
            REQUIRE(session.keep(fs->mkdir(*a, "d" + std::to_string(i), 0755, {})));
        CHECK(recorded.find("syncfs", 1) < recorded.calls.size());
        recorded.calls.clear();
        auto file = session.node("a/f");
        REQUIRE(file);
        REQUIRE(fs->fsync(*file, false));
        CHECK(recorded.has("syncfs"));
        session.forget_all();
    }
    (void)f;
}

TEST_CASE("what is moved or linked into a new directory finds the way to it durable") {
    Watched w;
    const std::string long_name(200, 'n');
    w.file("f", 10);
    w.directory("new");
    w.directory("new/er");
    const auto check = [&](const char* call) {
        INFO(w.lower.text());
        const std::size_t moved = w.lower.find(call);
        REQUIRE(moved < w.lower.calls.size());
        const std::size_t one = w.lower.find("fdatasync extencfs.dir");
        CHECK(one < moved);
        CHECK(w.lower.find("fdatasync extencfs.dir", one + 1) < moved);
        CHECK(w.lower.find(std::string("fdatasync ") + volume::kLongSidePrefix) < moved);
    };
    w.forget_calls();
    SECTION("moved") {
        REQUIRE(
            w.fs->rename(kRootNode, "f", w.node("new/er"), long_name, lower::RenameMode::kReplace));
        check("rename");
    }
    SECTION("linked") {
        REQUIRE(w.session.keep(w.fs->link(w.node("f"), w.node("new/er"), long_name)));
        check("link");
    }
    SECTION("exchanged, either way") {
        w.file("new/er/" + long_name, 10);
        w.file(long_name, 10);
        const bool there = GENERATE(true, false);
        w.forget_calls();
        if (there)
            REQUIRE(w.fs->rename(kRootNode, "f", w.node("new/er"), long_name,
                                 lower::RenameMode::kExchange));
        else
            REQUIRE(w.fs->rename(w.node("new/er"), long_name, kRootNode, "f",
                                 lower::RenameMode::kExchange));
        check("rename");
    }
}

TEST_CASE("a long name is durable before something that was there gets it") {
    Watched w;
    const std::string long_name(200, 'n');
    w.file("f", 10);
    w.file(long_name, 10);
    w.forget_calls();
    SECTION("replacing") {
        REQUIRE(w.fs->rename(kRootNode, "f", kRootNode, long_name, lower::RenameMode::kReplace));
    }
    SECTION("exchanged") {
        REQUIRE(w.fs->rename(kRootNode, "f", kRootNode, long_name, lower::RenameMode::kExchange));
    }
    SECTION("exchanged, the other way") {
        REQUIRE(w.fs->rename(kRootNode, long_name, kRootNode, "f", lower::RenameMode::kExchange));
    }
    INFO(w.lower.text());
    CHECK(w.lower.find(std::string("fdatasync ") + volume::kLongSidePrefix) <
          w.lower.find("rename"));
    CHECK(w.lower.has("rename"));
}

TEST_CASE("a long symlink's text is durable before the symlink is there") {
    Watched w;
    w.forget_calls();
    REQUIRE(w.session.keep(w.fs->symlink(kRootNode, "l", std::string(3500, 't'), {})));
    INFO(w.lower.text());
    const std::size_t text = w.lower.find("pwrite ");
    CHECK(text < w.lower.find("fdatasync "));
    CHECK(w.lower.find("fdatasync ") < w.lower.find("symlink"));
    CHECK(w.lower.has("symlink"));
}

TEST_CASE("an id file is the last to go from a directory that is removed") {
    Watched w;
    const NodeId d = w.directory("d");
    const std::string long_name(200, 'n');
    // A side file that a kill left without its entry.
    w.file("d/" + long_name, 0);
    const std::string entry = w.below("d/" + long_name);
    const std::string path = w.dir.path(w.below("d")) + "/";
    std::filesystem::remove(path + entry);
    put_lower_bytes(path + "extencfs.t.left", "");
    w.forget_calls();
    REQUIRE(w.fs->rmdir(kRootNode, "d"));
    INFO(w.lower.text());
    std::vector<std::string> gone;
    for (const auto& call : w.lower.calls)
        if (call.starts_with("unlink ")) gone.push_back(call);
    REQUIRE(gone.size() == 3);
    CHECK(gone.back() == "unlink extencfs.dir");
    (void)d;
}

TEST_CASE("nothing goes from a directory that is not empty") {
    Watched w;
    w.directory("d");
    w.file("d/f", 0);
    const std::string id = w.dir.path(w.below("d")) + "/extencfs.dir";
    const std::string bytes = lower_bytes(id);
    // Listed first or last: the newest entry comes first on some file systems.
    const bool newest = GENERATE(false, true);
    if (newest) {
        std::filesystem::remove(id);
        put_lower_bytes(id, bytes);
    }
    w.forget_calls();
    CHECK_FALSE(w.fs->rmdir(kRootNode, "d"));
    CHECK_FALSE(w.lower.has("unlink"));
}
