// SPDX-License-Identifier: Apache-2.0
// Directories that EncFS left half renamed: found, and put right whenever that is cut short; what
// is of neither place stays as it is.
#include <catch2/catch.hpp>

#include <fstream>
#include <sstream>

#include "encfs/core/legacy_mend.h"
#include "encfs/core/legacy_move.h"
#include "tests/fake/fault_lower_fs.h"
#include "tests/unit/core/encfs_rename.h"
#include "tests/unit/core/legacy_volume_for_tests.h"
#include "tests/unit/core/seen.h"
#include "tests/unit/core/volume_for_tests.h"

using namespace extencfs;
using namespace extencfs::core;

namespace {

std::vector<LegacyKind> chained_kinds() {
    auto kinds = legacy_kinds();
    std::erase_if(kinds,
                  [](const LegacyKind& kind) { return !kind.volume.parameters.names.chained; });
    return kinds;
}

// A volume with a tree in "a", and other directories.
class Tree {
  public:
    explicit Tree(const LegacyVolume& volume)
        : volume_(volume), dir_(fake::ScratchDir::in_memory()) {
        auto fs = open();
        const auto directory = [&](NodeId parent, const std::string& name) {
            auto made = fs->mkdir(parent, name, 0755, {});
            REQUIRE(made);
            return made->node;
        };
        const auto file = [&](NodeId parent, const std::string& name, const std::string& content) {
            auto made = fs->create(parent, name, 0644, {});
            REQUIRE(made);
            if (!content.empty())
                REQUIRE(fs->write(made->node, 0, bytes_of(content), WriteSource::kCaller, {}));
        };
        const NodeId a = directory(kRootNode, "a");
        const NodeId b = directory(a, "letters");
        const NodeId c = directory(b, "of old friends");
        directory(a, "empty");
        directory(kRootNode, "other");
        file(a, "one.txt", "first");
        file(b, "two.txt", std::string(5000, 'x'));
        file(c, "three.txt", "");
        file(c, "four.txt", "the fourth");
        file(kRootNode, "top", "top");
        REQUIRE(fs->symlink(b, "link", "../one.txt", {}));
    }

    std::unique_ptr<Filesystem> open() {
        return open_fs(lower_, dir_, {.clean = true, .damage = &damage, .legacy = &volume_});
    }
    Seen seen() {
        Seen all = read_all(*open());
        for (auto& [path, node] : all.nodes) node.ino = 0;
        return all;
    }
    // All but the rename of the directory itself, at most.
    void half_rename(const std::string& to, std::size_t acts) {
        const EncfsRename rename(volume_, dir_.path(), "a", to);
        rename.run(std::min(acts, rename.size() - 1));
    }
    LegacyMend mender() { return LegacyMend(lower_, dir_.fd(), volume_); }
    // As `extencfs check --repair` does.
    Result<void> repair(const std::vector<std::string>& hints) {
        if (auto done = recover_move(lower_, dir_.fd(), *volume_.key); !done)
            return std::unexpected(done.error());
        auto mend = mender();
        auto half = mend.find(hints);
        if (!half) return std::unexpected(half.error());
        for (const auto& one : *half)
            if (auto done = mend.mend(one); !done) return done;
        return {};
    }
    bool journal() { return std::filesystem::exists(dir_.path(kMoveJournal)); }

    fake::FaultLowerFs& lower() { return lower_; }
    const fake::ScratchDir& dir() const { return dir_; }
    Damage damage;

  private:
    LegacyVolume volume_;
    fake::ScratchDir dir_;
    fake::FaultLowerFs lower_;
};

std::string differences(const Seen& is, const Seen& expected) {
    std::string all;
    for (const auto& error : is.errors) all += error + "\n";
    for (const auto& [path, node] : expected.nodes)
        if (!is.nodes.contains(path)) all += path + " is missing\n";
    for (const auto& [path, node] : is.nodes) {
        const auto it = expected.nodes.find(path);
        if (it == expected.nodes.end())
            all += path + " is too much\n";
        else if (node.content != it->second.content || node.damaged || !node.listed)
            all += path + " differs\n";
    }
    return all;
}

// Every entry below, with its bytes.
std::map<std::string, std::string> image(const fake::ScratchDir& dir) {
    std::map<std::string, std::string> all;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(dir.path())) {
        std::ostringstream bytes;
        if (entry.is_regular_file() && !entry.is_symlink())
            bytes << std::ifstream(entry.path(), std::ios::binary).rdbuf();
        all[entry.path().string().substr(dir.path().size())] = bytes.str();
    }
    return all;
}

std::size_t acts_of(const LegacyVolume& volume, const std::string& to) {
    Tree tree(volume);
    return EncfsRename(volume, tree.dir().path(), "a", to).size();
}

}  // namespace

TEST_CASE("a rename that EncFS left half done is put right, wherever it stopped", "[legacy]") {
    for (const auto& kind : chained_kinds()) {
        // The name of a directory elsewhere is found; another must be told.
        for (const std::string to : {"other/a", "a new name"}) {
            // The last act is the rename of the directory itself: then nothing is amiss.
            const std::size_t acts = acts_of(kind.volume, to) - 1;
            REQUIRE(acts >= 8);
            for (std::size_t stop = 0; stop <= acts; ++stop) {
                INFO(kind.name << ", a to " << to << ", stopped after " << stop);
                Tree tree(kind.volume);
                const Seen before = tree.seen();
                tree.half_rename(to, stop);
                if (stop > 1) CHECK(differences(tree.seen(), before) != "");
                if (to == "other/a" && stop == acts) {
                    REQUIRE(tree.repair({}));
                    CHECK(differences(tree.seen(), before) == "");
                } else if (to != "other/a") {
                    const auto changed = image(tree.dir());
                    REQUIRE(tree.repair({}));
                    CHECK(image(tree.dir()) == changed);
                }
                tree.damage.seen.clear();  // of what was half renamed
                REQUIRE(tree.repair({"elsewhere", to}));
                CHECK(differences(tree.seen(), before) == "");
                CHECK_FALSE(tree.journal());
                CHECK(tree.damage.text() == "");
                const auto left = tree.mender().find({to});
                REQUIRE(left);
                CHECK(left->empty());
            }
        }
    }
}

TEST_CASE("looking for half renamed directories changes nothing", "[legacy]") {
    for (const auto& kind : chained_kinds()) {
        INFO(kind.name);
        Tree tree(kind.volume);
        REQUIRE(tree.mender().find({"z"}));
        CHECK(tree.mender().find({"z"})->empty());
        tree.half_rename("z", 5);
        const auto before = image(tree.dir());
        tree.lower().forget_calls();
        const auto found = tree.mender().find({"z"});
        REQUIRE(found);
        REQUIRE(found->size() == 1);
        CHECK(found->front().plain == "a");
        CHECK_FALSE(found->front().wrong.empty());
        CHECK(tree.lower().count(fake::Calls::mutating()) == 0);
        CHECK(image(tree.dir()) == before);
    }
}

TEST_CASE("a repair that is killed at any call goes on", "[legacy]") {
    for (const auto& kind : chained_kinds()) {
        for (const std::size_t stop : {4U, 9U}) {
            for (std::uint64_t call = 1;; ++call) {
                INFO(kind.name << ", stopped after " << stop << ", killed at call " << call);
                Tree tree(kind.volume);
                const Seen before = tree.seen();
                tree.half_rename("z", stop);
                tree.lower().die_at(call);
                (void)tree.repair({"z"});
                const bool died = tree.lower().dead();
                tree.lower().revive();
                // By itself, or by a mount first.
                if (call % 2 == 0) (void)tree.open();
                REQUIRE(tree.repair({"z"}));
                CHECK(differences(tree.seen(), before) == "");
                CHECK_FALSE(tree.journal());
                CHECK(tree.damage.text() == "");
                if (!died) break;
                REQUIRE(call < 300);
            }
        }
    }
}

TEST_CASE("a repair that fails at any call goes on", "[legacy]") {
    for (const auto& kind : chained_kinds()) {
        for (std::uint64_t call = 1;; ++call) {
            INFO(kind.name << ", call " << call << " fails");
            Tree tree(kind.volume);
            const Seen before = tree.seen();
            tree.half_rename("z", 9);
            tree.lower().forget_calls();
            tree.lower().fail_at(call, EIO, fake::Calls::any());
            (void)tree.repair({"z"});
            const bool reached = tree.lower().count(fake::Calls::any()) >= call;
            tree.lower().revive();
            REQUIRE(tree.repair({"z"}));
            CHECK(differences(tree.seen(), before) == "");
            CHECK_FALSE(tree.journal());
            if (!reached) break;
            REQUIRE(call < 500);
        }
    }
}

TEST_CASE("a repair survives the power at any call", "[legacy]") {
    for (const auto& kind : chained_kinds()) {
        for (std::uint64_t call = 1;; ++call) {
            bool died = false;
            for (std::uint64_t seed = 1; seed <= 2; ++seed) {
                Tree tree(kind.volume);
                const Seen before = tree.seen();
                tree.half_rename("z", 9);
                tree.lower().track_power_loss();
                tree.lower().die_at(call);
                (void)tree.repair({"z"});
                died = tree.lower().dead();
                INFO(kind.name << ", power lost at call " << call << ", "
                               << tree.lower().power_cut(seed));
                REQUIRE(tree.repair({"z"}));
                CHECK(differences(tree.seen(), before) == "");
                CHECK_FALSE(tree.journal());
            }
            if (!died) break;
            REQUIRE(call < 300);
        }
    }
}

TEST_CASE("a repair leaves alone what is of neither place", "[legacy]") {
    for (const auto& kind : chained_kinds()) {
        INFO(kind.name);
        Tree tree(kind.volume);
        tree.half_rename("z", acts_of(kind.volume, "z") - 1);
        // In the directory, and everywhere below it.
        const EncfsRename paths(kind.volume, tree.dir().path(), "other", "other");
        const std::string a = tree.dir().path() + paths.walk("a").text;
        const std::vector<std::string> strangers{
            "README",
            "Makefile",
            "desktop.ini",
            "abc",
            "tmp,file-1",
            "x (conflicted copy).txt",
            "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP"};
        for (const std::string& name : strangers) std::ofstream(a + "/" + name) << name;
        // A file that was made since, under the name that one of those had.
        const std::string taken = tree.dir().path() + paths.walk("a/one.txt").text;
        std::ofstream(taken) << "made since, and longer than any header";
        const auto before = image(tree.dir());
        const auto found = tree.mender().find({"z"});
        REQUIRE(found);
        REQUIRE(found->size() == 1);
        CHECK(found->front().left.size() == 1);
        REQUIRE(tree.repair({"z"}));
        const auto after = image(tree.dir());
        for (const std::string& name : strangers) {
            const std::string path = paths.walk("a").text + "/" + name;
            INFO(path);
            REQUIRE(after.contains(path));
            CHECK(after.at(path) == name);
        }
        CHECK(after.at(paths.walk("a/one.txt").text) == "made since, and longer than any header");
        // What had to stay is byte for byte as it was.
        const std::string stayed = "/" + found->front().left.front();
        CHECK(after.at(stayed) == before.at(stayed));
        CHECK(after.size() == before.size());
    }
}

TEST_CASE("a repair leaves alone a file whose contents are of neither place", "[legacy]") {
    for (const auto& kind : chained_kinds()) {
        if (kind.volume.parameters.contents.mac_size < 8) continue;
        INFO(kind.name);
        Tree tree(kind.volume);
        tree.half_rename("z", acts_of(kind.volume, "z") - 1);
        const auto found = tree.mender().find({"z"});
        REQUIRE(found);
        REQUIRE(found->size() == 1);
        // Any file with contents.
        std::string path;
        for (const std::string& wrong : found->front().wrong) {
            const std::string at = tree.dir().path(wrong);
            if (std::filesystem::is_regular_file(at) && std::filesystem::file_size(at) > 8)
                path = at;
        }
        REQUIRE_FALSE(path.empty());
        const std::string strange(200, 's');
        std::ofstream(path, std::ios::trunc) << strange;
        const std::string name = std::filesystem::path(path).filename();
        REQUIRE(tree.repair({"z"}));
        bool there = false;
        for (const auto& [at, bytes] : image(tree.dir()))
            there = there || (at.ends_with("/" + name) && bytes == strange);
        CHECK(there);
    }
}

TEST_CASE("a recovery leaves alone what has taken the place of a file since", "[legacy]") {
    const auto volume =
        legacy_volume({1024, 8, 0, true, true, false}, legacy::NameScheme::kBlock, true, true);
    Tree tree(volume);
    tree.half_rename("z", 9);
    auto mend = tree.mender();
    const auto found = mend.find({"z"});
    REQUIRE(found);
    REQUIRE(found->size() == 1);
    REQUIRE(write_move_journal(tree.lower(), tree.dir().fd(), found->front().plan, *volume.key));
    // Everything that is to be renamed finds its name taken.
    const auto& plan = found->front().plan;
    std::vector<std::string> taken;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(tree.dir().path())) {
        for (const auto& step : plan.steps) {
            if (entry.path().filename() == step.new_entry && step.entry != step.new_entry)
                taken.push_back(entry.path().parent_path() / step.entry);
        }
    }
    REQUIRE_FALSE(taken.empty());
    for (const auto& path : taken) std::ofstream(path) << "somebody else's";
    REQUIRE(recover_move(tree.lower(), tree.dir().fd(), *volume.key));
    const auto after = image(tree.dir());
    for (const auto& path : taken)
        CHECK(after.at(path.substr(tree.dir().path().size())) == "somebody else's");
    CHECK_FALSE(tree.journal());
}

TEST_CASE("names that belong to nobody are plausible only as text", "[legacy]") {
    Tree tree(chained_kinds().front().volume);
    std::ofstream(tree.dir().path("abcdefghijklmnopqrstuv")) << "x";
    const auto found = tree.mender().find({"z"});
    REQUIRE(found);
    CHECK(found->empty());
}
