// SPDX-License-Identifier: Apache-2.0
// Directories whose own files below are not as they should be (FORMAT.md "Directories", "Names").
#include <fcntl.h>
#include <sys/stat.h>
#include <catch2/catch.hpp>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <thread>

#include "encfs/volume/dir_file.h"
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

    std::unique_ptr<Filesystem> open(bool clean, std::size_t max_descriptors = 512) {
        return open_fs(lower_, dir_,
                       {.clean = clean, .damage = &damage_, .max_descriptors = max_descriptors});
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
    fake::FaultLowerFs& lower() { return lower_; }

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

TEST_CASE("a directory renamed while others' renames are finished keeps its old place") {
    const auto dir = fake::ScratchDir::in_memory();
    const auto real = lower::make_posix_lower_fs();
    std::atomic<bool> armed{false};
    std::unique_ptr<Filesystem> fs;
    std::thread other;
    std::atomic<bool> renamed{false};
    // Between the sync that makes a thousand renames durable and the end of their old places.
    const auto between = [&] {
        if (!armed.exchange(false)) return;
        other = std::thread([&] {
            renamed = fs->rename(kRootNode, "x", kRootNode, "x2", lower::RenameMode::kReplace)
                          .has_value();
        });
        for (int i = 0; i < 300 && !renamed; ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
    };
    fs = open_fs(*real, dir, {.clean = true, .after_sync = between});
    Session session(*fs);
    for (const char* name : {"d0", "x", "y"})
        REQUIRE(session.keep(fs->mkdir(kRootNode, name, 0755, {})));
    const auto ino = fs->getattr(*session.node("x"))->st_ino;
    for (int i = 0; i < 1023; ++i) {
        const std::string from = "d" + std::to_string(i), to = "d" + std::to_string(i + 1);
        REQUIRE(fs->rename(kRootNode, from, kRootNode, to, lower::RenameMode::kReplace));
    }
    armed = true;
    REQUIRE(fs->rename(kRootNode, "y", kRootNode, "y2", lower::RenameMode::kReplace));
    REQUIRE(other.joinable());
    other.join();
    CHECK(renamed);
    // Nothing was synced since: power loss may bring it back to where it was.
    for (const auto& entry : files::directory_iterator(dir.path())) {
        struct stat is {};
        REQUIRE(::stat(entry.path().c_str(), &is) == 0);
        if (is.st_ino != ino) continue;
        ByteArray<volume::kDirFileSize> bytes;
        std::ifstream file(entry.path() / volume::kDirFileName, std::ios::binary);
        file.read(reinterpret_cast<char*>(bytes.data()), bytes.size());
        const auto id = volume::decode_dir_file(bytes, keys_for_tests()->current().dir_mac.bytes());
        REQUIRE(id);
        CHECK(id->next != volume::Binding{});
    }
    session.forget_all();
    CHECK(fs->finish());
}

TEST_CASE("what lies in a directory that may not be read can be synced") {
    OneDirectory volume;
    auto fs = volume.open(true, 1);
    Session session(*fs);
    REQUIRE(session.keep(fs->mkdir(kRootNode, "closed", 0755, {})));
    const auto closed = session.node("closed");
    REQUIRE(session.keep(fs->create(*closed, "f", 0644, {})));
    const auto node = session.node("closed/f");
    REQUIRE(node);
    // Puts its handle out; then it can be opened by path only, as one of mode 0311 is.
    REQUIRE(session.node("d"));
    REQUIRE(fs->list(*session.node("d"), 0, ListMode::kNames, [](auto&) { return true; }));
    volume.lower().fail_at(1, EACCES, fake::Calls::named("open"));
    REQUIRE(fs->lookup(*closed, "none").error().kind == ErrorKind::kNotFound);
    CHECK(fs->fsync(*node, false));
    CHECK(fs->fsync_directory(*closed));
    const auto none = fs->get_xattr(*closed, "user.none");
    REQUIRE_FALSE(none);
    CHECK(errno_of(none.error()) == ENODATA);
    CHECK(fs->set_xattr(*closed, "user.x", bytes_of("v"), 0));
    session.forget_all();
}

TEST_CASE("a side file written anew while its directory is synced is synced by the next one") {
    const std::string name(200, 'n');
    const auto dir = fake::ScratchDir::in_memory();
    fake::FaultLowerFs lower;
    std::unique_ptr<Filesystem> fs;
    NodeId second = 0;
    bool armed = false;
    const auto again = [&] {
        if (!armed) return;
        armed = false;
        REQUIRE(fs->unlink(kRootNode, name));
        auto made = fs->create(kRootNode, name, 0644, {});
        REQUIRE(made);
        second = made->node;
    };
    fs = open_fs(lower, dir, {.clean = true, .after_sync = again});
    auto first = fs->create(kRootNode, name, 0644, {});
    REQUIRE(first);
    armed = true;
    REQUIRE(fs->fsync_directory(kRootNode));
    REQUIRE(second != 0);
    lower.forget_calls();
    REQUIRE(fs->fsync(second, true));
    CHECK(lower.count(fake::Calls::named("fdatasync")) == 2);  // contents and side file
    fs->forget(first->node, 1);
    fs->forget(second, 1);
}

TEST_CASE("directories removed beside the scan do not leave it incomplete") {
    OneDirectory volume;
    constexpr int kDirectories = 600;
    {
        auto fs = volume.open(true);
        Session session(*fs);
        for (int i = 0; i < kDirectories; ++i)
            REQUIRE(session.keep(fs->mkdir(kRootNode, std::to_string(i), 0755, {})));
        session.forget_all();
    }
    const std::size_t before = threads_now();
    auto fs = volume.open(false);
    for (int i = 0; i < kDirectories; ++i) {
        const auto name = std::to_string(i);
        const auto found = fs->lookup(kRootNode, name);  // as the kernel does
        REQUIRE(found);
        REQUIRE(fs->rmdir(kRootNode, name));
        fs->forget(found->node, 1);
    }
    wait_for_scan(before);
    CHECK(fs->finish());
}
