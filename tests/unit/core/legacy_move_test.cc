// SPDX-License-Identifier: Apache-2.0
// Renames that change what lies below, in EncFS volumes: the whole tree moves, open files stay
// open, and whenever it is cut short or fails, all of it is at the old place or at the new one.
#include <catch2/catch.hpp>

#include <algorithm>
#include <cerrno>

#include "encfs/core/legacy_move.h"
#include "tests/fake/fault_lower_fs.h"
#include "tests/unit/core/legacy_volume_for_tests.h"
#include "tests/unit/core/recording_sink.h"
#include "tests/unit/core/seen.h"
#include "tests/unit/core/volume_for_tests.h"

using namespace extencfs;
using namespace extencfs::core;

namespace {

std::vector<LegacyKind> binding_kinds() {
    auto kinds = legacy_kinds();
    std::erase_if(kinds,
                  [](const LegacyKind& kind) { return !kind.volume.parameters.names.chained; });
    return kinds;
}

class Tree {
  public:
    explicit Tree(const LegacyVolume& volume)
        : volume_(volume), dir_(fake::ScratchDir::in_memory()) {
        open();
        const NodeId a = directory(kRootNode, "a");
        const NodeId b = directory(a, "b");
        const NodeId c = directory(b, "c");
        directory(a, "empty");
        directory(kRootNode, "other");
        file(a, "one", "first");
        file(b, "two", std::string(5000, 'x'));
        file(c, "three", "");
        file(c, std::string(120, 'l'), "long");
        file(kRootNode, "top", "top");
        REQUIRE(fs_->symlink(b, "link", "../one", {}));
    }

    fake::FaultLowerFs& lower() { return lower_; }
    Filesystem& fs() { return *fs_; }
    const fake::ScratchDir& dir() const { return dir_; }
    Damage damage;

    void open(const std::shared_ptr<RecordingSink>& sink = nullptr) {
        close();
        checked_.reset();
        if (sink) checked_ = std::make_unique<CheckedLower>(lower_, *sink);
        lower::LowerFs& lower = checked_ ? static_cast<lower::LowerFs&>(*checked_) : lower_;
        fs_ = open_fs(lower, dir_,
                      {.clean = true, .damage = &damage, .sink = sink, .legacy = &volume_});
    }
    void close() { fs_.reset(); }
    Seen seen() {
        Seen all = read_all(*fs_);
        // By name and content alone.
        for (auto& [path, node] : all.nodes) node.ino = 0;
        return all;
    }
    NodeId node(const std::string& path) {
        NodeId at = kRootNode;
        for (std::size_t begin = 0; begin < path.size();) {
            const std::size_t end = std::min(path.find('/', begin), path.size());
            auto found = fs_->lookup(at, path.substr(begin, end - begin));
            if (!found) return 0;
            at = found->node;
            begin = end + 1;
        }
        return at;
    }
    Result<void> rename(const std::string& from, const std::string& to) {
        return fs_->rename(node(parent_of(from)), name_of(from), node(parent_of(to)), name_of(to),
                           lower::RenameMode::kReplace);
    }

  private:
    NodeId directory(NodeId parent, const std::string& name) {
        auto made = fs_->mkdir(parent, name, 0755, {});
        REQUIRE(made);
        return made->node;
    }
    void file(NodeId parent, const std::string& name, const std::string& content) {
        auto made = fs_->create(parent, name, 0644, {});
        REQUIRE(made);
        if (content.empty()) return;
        REQUIRE(fs_->write(made->node, 0, bytes_of(content), WriteSource::kCaller, {}));
    }

    LegacyVolume volume_;
    fake::ScratchDir dir_;
    fake::FaultLowerFs lower_;
    std::unique_ptr<CheckedLower> checked_;
    std::unique_ptr<Filesystem> fs_;
};

std::string differences(const Seen& is, const Seen& expected) {
    std::string all;
    for (const auto& error : is.errors) all += error + "\n";
    for (const auto& [path, node] : expected.nodes)
        if (!is.nodes.contains(path)) all += path + " is missing\n";
    for (const auto& [path, node] : is.nodes) {
        const auto it = expected.nodes.find(path);
        if (it == expected.nodes.end()) {
            all += path + " is too much\n";
        } else if (node.content != it->second.content || node.damaged || !node.listed) {
            all += path + " differs\n";
        }
    }
    return all;
}

const std::vector<std::pair<std::string, std::string>> kMoves{
    {"a", "z"},           {"a", "other/a"},     {"a/b", "b"},          {"a", "other"},
    {"top", "other/top"}, {"a/one", "a/b/two"}, {"a/empty", "a/void"},
};

// Everything before and after each move, by a volume without faults.
struct Expected {
    Seen before, after;
};
Expected expected(const LegacyVolume& volume, const std::pair<std::string, std::string>& move) {
    Tree tree(volume);
    Expected seen{.before = tree.seen(), .after = {}};
    REQUIRE(tree.rename(move.first, move.second));
    seen.after = tree.seen();
    tree.open();
    REQUIRE(differences(tree.seen(), seen.after) == "");
    REQUIRE(differences(seen.before, seen.after) != "");
    return seen;
}

bool journal_is_there(const fake::ScratchDir& dir) {
    const auto real = lower::make_posix_lower_fs();
    return real->stat_at(dir.fd(), kMoveJournal).has_value();
}

// In this mount and in the next. `known`: what moves has been looked up before.
void check_failed_move(const LegacyVolume& volume, const std::pair<std::string, std::string>& move,
                       bool known) {
    const Expected seen = expected(volume, move);
    for (std::uint64_t call = 1;; ++call) {
        INFO("call " << call << " fails");
        Tree tree(volume);
        if (!known) tree.open();
        tree.lower().forget_calls();
        tree.lower().fail_at(call, ENOSPC);
        const bool renamed = tree.rename(move.first, move.second).has_value();
        const bool reached = tree.lower().count(fake::Calls::mutating()) >= call;
        tree.lower().revive();
        CHECK(differences(tree.seen(), renamed ? seen.after : seen.before) == "");
        tree.open();
        CHECK(differences(tree.seen(), renamed ? seen.after : seen.before) == "");
        CHECK_FALSE(journal_is_there(tree.dir()));
        CHECK(tree.damage.text() == "");
        if (!reached) break;
        REQUIRE(call < 500);
    }
}

}  // namespace

TEST_CASE("a renamed directory in an EncFS volume takes what lies below it along") {
    for (const auto& kind : binding_kinds()) {
        INFO(kind.name);
        for (const auto& move : kMoves) {
            INFO(move.first << " to " << move.second);
            Tree tree(kind.volume);
            const Seen before = tree.seen();
            auto sink = std::make_shared<RecordingSink>();
            tree.open(sink);
            // Known and open while it moves.
            const NodeId two = tree.node("a/b/two"), c = tree.node("a/b/c");
            const NodeId three = tree.node("a/b/c/three");
            IoBuffer buffer;
            REQUIRE(tree.fs().read(two, 0, 10, buffer));
            REQUIRE(tree.fs().open_file(three));
            REQUIRE(tree.rename(move.first, move.second));
            CHECK_FALSE(journal_is_there(tree.dir()));
            CHECK(sink->faults() == "");
            CHECK(sink->all_open());
            if (move.first == "a/one") continue;
            CHECK(tree.fs().read(two, 0, 10, buffer));
            CHECK(tree.fs().getattr(two));
            CHECK(tree.fs().write(three, 0, bytes_of("new"), WriteSource::kCaller, {}));
            CHECK(tree.fs().create(c, "later", 0600, {}));
            CHECK(tree.fs().lookup(c, "three"));
            tree.open();
            const Seen after = tree.seen();
            CHECK(after.errors.empty());
            CHECK(after.nodes.size() >= before.nodes.size());
            for (const auto& [path, node] : after.nodes) {
                INFO(path);
                CHECK_FALSE(node.damaged);
                if (name_of(path) == "three") CHECK(node.content == "new");
                if (name_of(path) == "link") CHECK(node.content == "../one");
                if (name_of(path) == "two") CHECK(node.content.size() == 5000);
            }
            CHECK(tree.damage.text() == "");
        }
    }
}

TEST_CASE("a move in an EncFS volume that is killed at any call is whole") {
    for (const auto& kind : binding_kinds()) {
        for (const auto& move : kMoves) {
            const Expected seen = expected(kind.volume, move);
            int undone = 0, finished = 0;
            for (std::uint64_t call = 1;; ++call) {
                INFO(kind.name << ", " << move.first << " to " << move.second << ", killed at call "
                               << call);
                Tree tree(kind.volume);
                tree.lower().die_at(call);
                const bool renamed = tree.rename(move.first, move.second).has_value();
                const bool died = tree.lower().dead();
                tree.lower().revive();
                tree.open();
                CHECK_FALSE(journal_is_there(tree.dir()));
                const Seen now = tree.seen();
                const bool old = differences(now, seen.before).empty();
                CHECK((old || differences(now, seen.after).empty()));
                if (renamed) CHECK_FALSE(old);
                old ? ++undone : ++finished;
                CHECK(tree.damage.text() == "");
                if (!died) break;
                REQUIRE(call < 500);
            }
            CHECK(undone > 0);
            CHECK(finished > 0);
        }
    }
}

TEST_CASE("a move in an EncFS volume that fails at any call did nothing") {
    for (const auto& kind : binding_kinds()) {
        for (const auto& move : kMoves) {
            for (const bool known : {true, false}) {
                INFO(kind.name << ", " << move.first << " to " << move.second
                               << (known ? ", known" : ""));
                check_failed_move(kind.volume, move, known);
            }
        }
    }
}

TEST_CASE("a move in an EncFS volume survives the power at any call") {
    for (const auto& kind : binding_kinds()) {
        for (const auto& move : kMoves) {
            const Expected seen = expected(kind.volume, move);
            for (std::uint64_t call = 1;; ++call) {
                bool died = false, renamed = false;
                // Once it has its new name, the one state that counts is that with all names and
                // an old header.
                for (std::uint64_t seed = 1; seed <= (died && renamed ? 10 : 3); ++seed) {
                    Tree tree(kind.volume);
                    tree.lower().track_power_loss();
                    tree.lower().die_at(call);
                    renamed = tree.rename(move.first, move.second).has_value();
                    died = tree.lower().dead();
                    tree.close();
                    INFO(kind.name << ", " << move.first << " to " << move.second
                                   << ", power lost at call " << call << ", "
                                   << tree.lower().power_cut(seed));
                    tree.open();
                    const Seen now = tree.seen();
                    const std::string old = differences(now, seen.before);
                    const std::string fresh = differences(now, seen.after);
                    CHECK((old.empty() || fresh.empty()));
                    if (!old.empty() && !fresh.empty()) UNSCOPED_INFO(old << fresh);
                    CHECK_FALSE(journal_is_there(tree.dir()));
                }
                if (!died) break;
                REQUIRE(call < 500);
            }
        }
    }
}

TEST_CASE("the longest name of an EncFS volume is told, and fits") {
    for (const auto& kind : legacy_kinds()) {
        INFO(kind.name);
        Tree tree(kind.volume);
        const auto is = tree.fs().statfs();
        REQUIRE(is);
        CHECK(tree.fs().create(kRootNode, std::string(is->f_namemax, 'n'), 0600, {}));
        const auto longer =
            tree.fs().create(kRootNode, std::string(is->f_namemax + 1, 'n'), 0600, {});
        REQUIRE_FALSE(longer);
        CHECK(errno_of(longer.error()) == ENAMETOOLONG);
    }
}

TEST_CASE("where files are bound to their paths in an EncFS volume, they have one name") {
    const auto volume =
        legacy_volume({1024, 8, 0, true, true, false}, legacy::NameScheme::kBlock, true, true);
    Tree tree(volume);
    const auto linked = tree.fs().link(tree.node("top"), kRootNode, "second");
    REQUIRE_FALSE(linked);
    CHECK(errno_of(linked.error()) == EPERM);
    CHECK_FALSE(tree.fs().tmpfile(kRootNode, 0600, {}));
    const auto swapped =
        tree.fs().rename(kRootNode, "top", tree.node("a"), "one", lower::RenameMode::kExchange);
    REQUIRE_FALSE(swapped);
    CHECK(errno_of(swapped.error()) == EINVAL);
}
