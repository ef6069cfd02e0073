// SPDX-License-Identifier: Apache-2.0
// Directories whose own files below are not as they should be (FORMAT.md "Directories", "Names").
#include <fcntl.h>
#include <sys/stat.h>
#include <catch2/catch.hpp>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "encfs/volume/format.h"
#include "tests/fake/fault_lower_fs.h"
#include "tests/unit/core/script.h"
#include "tests/unit/core/seen.h"
#include "tests/unit/core/volume_for_tests.h"

using namespace extencfs;
using namespace extencfs::core;

namespace {

namespace files = std::filesystem;

// A volume with one directory "d", closed again.
class OneDirectory {
  public:
    explicit OneDirectory(const std::vector<std::string>& inside = {})
        : dir_(fake::ScratchDir::in_memory()) {
        auto fs = open(true);
        auto made = fs->mkdir(kRootNode, "d", 0755, {});
        REQUIRE(made);
        for (const auto& name : inside) {
            auto file = fs->create(made->node, name, 0644, {});
            REQUIRE(file);
            fs->forget(file->node, 1);
        }
        fs->forget(made->node, 1);
        REQUIRE(fs->finish());
    }

    std::unique_ptr<Filesystem> open(bool clean) {
        return open_fs(lower_, dir_, {.clean = clean, .damage = &damage_});
    }
    // Opens it, waits for the scan, and marks it clean.
    void mend() {
        const std::size_t before = threads_now();
        auto fs = open(false);
        wait_for_scan(before);
        CHECK(fs->finish());
    }
    // The lower directory of "d".
    files::path lower_path() const {
        for (const auto& entry : files::directory_iterator(dir_.path()))
            if (entry.is_directory()) return entry.path();
        FAIL("no directory below");
        return {};
    }
    files::path id_file() const { return lower_path() / volume::kDirFileName; }
    std::size_t with_prefix(const std::string& prefix) const {
        std::size_t count = 0;
        for (const auto& entry : files::directory_iterator(lower_path()))
            count += entry.path().filename().string().starts_with(prefix);
        return count;
    }
    std::string damage() { return damage_.text(); }

  private:
    fake::ScratchDir dir_;
    fake::FaultLowerFs lower_;
    Damage damage_;
};

void overwrite(const files::path& path, const std::string& with) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << with;
}

}  // namespace

TEST_CASE("an id file of zeros in an empty directory is made good") {
    for (const std::size_t size : {0, 1, 40, 95, 96, 97, 4096}) {
        INFO(size << " zeros");
        OneDirectory volume;
        overwrite(volume.id_file(), std::string(size, '\0'));
        {
            auto fs = volume.open(true);
            Session session(*fs);
            CHECK(session.node("d"));
            REQUIRE(session.keep(fs->create(*session.node("d"), "inner", 0644, {})));
            session.forget_all();
            CHECK(fs->finish());
        }
        auto fs = volume.open(true);
        const Seen seen = read_all(*fs);
        CHECK(seen.errors.empty());
        CHECK(seen.nodes.contains("d/inner"));
        CHECK(volume.damage() == "");
    }
}

TEST_CASE("an id file of zeros in a directory that holds something is damage") {
    OneDirectory volume({"inner"});
    overwrite(volume.id_file(), std::string(96, '\0'));
    auto fs = volume.open(true);
    const Seen seen = read_all(*fs);
    REQUIRE(seen.nodes.contains("d"));
    CHECK(seen.nodes.at("d").damaged);
    CHECK(volume.damage() != "");
}

TEST_CASE("an id file that is not only zeros and does not authenticate is damage when empty too") {
    for (const std::size_t size : {1, 40, 96}) {
        OneDirectory volume;
        std::string bytes(size, '\0');
        bytes.back() = 1;
        overwrite(volume.id_file(), bytes);
        auto fs = volume.open(true);
        const Seen seen = read_all(*fs);
        REQUIRE(seen.nodes.contains("d"));
        CHECK(seen.nodes.at("d").damaged);
    }
}

TEST_CASE("the scan removes side files without an entry, and no others") {
    const std::string gone(200, 'g'), kept(200, 'k');
    OneDirectory volume({gone, kept});
    const std::string side = volume::kLongSidePrefix, entry = volume::kLongEntryPrefix;
    REQUIRE(volume.with_prefix(side) == 2);
    // As a kill between the two removals leaves it.
    {
        auto fs = volume.open(true);
        Session session(*fs);
        const auto dir = session.node("d");
        REQUIRE(dir);
        files::path sides = volume.lower_path();
        std::set<std::string> before;
        for (const auto& one : files::directory_iterator(sides))
            before.insert(one.path().filename().string());
        REQUIRE(fs->unlink(*dir, gone));
        for (const auto& name : before) {
            if (!name.starts_with(side) || files::exists(sides / name)) continue;
            overwrite(sides / name, "left behind");
        }
        session.forget_all();
        REQUIRE(fs->finish());
    }
    REQUIRE(volume.with_prefix(entry) == 1);
    REQUIRE(volume.with_prefix(side) == 2);
    volume.mend();
    CHECK(volume.with_prefix(side) == 1);
    auto fs = volume.open(true);
    const Seen seen = read_all(*fs);
    CHECK(seen.errors.empty());
    CHECK(seen.nodes.contains("d/" + kept));
    CHECK(volume.damage() == "");
}
