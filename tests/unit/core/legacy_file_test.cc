// SPDX-License-Identifier: Apache-2.0
// The contents of one file of an EncFS volume against a plain string: random histories in every
// kind of volume, seen again by another mount, and failures in between.
#include <linux/falloc.h>
#include <unistd.h>
#include <catch2/catch.hpp>

#include <algorithm>
#include <cerrno>
#include <random>

#include "tests/fake/fault_lower_fs.h"
#include "tests/unit/core/legacy_volume_for_tests.h"
#include "tests/unit/core/upper_tree.h"
#include "tests/unit/core/volume_for_tests.h"

using namespace extencfs;
using namespace extencfs::core;

namespace {

constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

class LegacyOneFile {
  public:
    explicit LegacyOneFile(const LegacyVolume& volume)
        : volume_(volume), dir_(fake::ScratchDir::in_memory()) {
        open_again();
        REQUIRE(fs_->create(kRootNode, "f", 0600, {}));
        open_again();
    }

    fake::FaultLowerFs& lower() { return lower_; }
    std::string damage() { return damage_.text(); }
    void open_again() {
        if (fs_) REQUIRE(fs_->finish());
        fs_ = open_fs(lower_, dir_, {.clean = true, .damage = &damage_, .legacy = &volume_});
        auto found = fs_->lookup(kRootNode, "f");
        if (found) node_ = found->node;
    }

    Result<void> write(std::uint64_t off, std::string_view data) {
        return fs_->write(node_, off, bytes_of(data), WriteSource::kCaller, {});
    }
    Result<void> resize(std::uint64_t size) {
        AttrChange change;
        change.size_set = true;
        change.size = size;
        auto done = fs_->setattr(node_, change);
        if (!done) return std::unexpected(done.error());
        return {};
    }
    Result<void> allocate(int mode, std::uint64_t off, std::uint64_t size) {
        return fs_->fallocate(node_, mode, off, size, {});
    }
    Result<std::string> content(std::uint64_t off = 0, std::size_t size = 1 << 20) {
        IoBuffer buffer;
        auto got = fs_->read(node_, off, size, buffer);
        if (!got) return std::unexpected(got.error());
        return std::string(text_of(*got));
    }
    std::uint64_t size() {
        auto is = fs_->getattr(node_);
        REQUIRE(is);
        return static_cast<std::uint64_t>(is->st_size);
    }
    Result<std::uint64_t> seek(std::uint64_t off, int whence) {
        return fs_->seek(node_, off, whence);
    }

  private:
    LegacyVolume volume_;
    fake::ScratchDir dir_;
    fake::FaultLowerFs lower_;
    Damage damage_;
    std::unique_ptr<Filesystem> fs_;
    NodeId node_ = 0;
};

// One random change of both; what it was.
std::string change_at_random(std::mt19937& random, LegacyOneFile& file, std::string& model,
                             unsigned stamp, std::size_t unit) {
    // Often at a block's edge.
    const auto some = [&](std::size_t most) {
        const std::size_t near = random() % (most / unit + 1) * unit;
        const std::size_t at =
            random() % 3 == 0 ? random() % (most + 1) : near + random() % 3 - (near > 0 ? 1 : 0);
        return std::min(at, most);
    };
    const std::size_t off = some(model.size() + 3 * unit), size = some(5 * unit);
    switch (random() % 8) {
        case 0:
        case 1:
        case 2: {
            const std::string data = stamped(stamp, off, size);
            REQUIRE(file.write(off, data));
            if (size > 0 && model.size() < off + size) model.resize(off + size, '\0');
            if (size > 0) model.replace(off, size, data);
            return "write " + std::to_string(off) + " " + std::to_string(size);
        }
        case 3: {
            const std::string data = stamped(stamp, model.size(), size);
            REQUIRE(file.write(model.size(), data));
            model += data;
            return "append " + std::to_string(size);
        }
        case 4:
        case 5:
            REQUIRE(file.resize(off));
            model.resize(off, '\0');
            return "resize " + std::to_string(off);
        case 6: {
            if (size == 0) return "nothing";
            REQUIRE(file.allocate(kPunch, off, size));
            for (std::size_t i = off; i < std::min(off + size, model.size()); ++i) model[i] = '\0';
            return "punch " + std::to_string(off) + " " + std::to_string(size);
        }
        default:
            if (size == 0) return "nothing";
            REQUIRE(file.allocate(FALLOC_FL_ZERO_RANGE, off, size));
            model.resize(std::max(model.size(), off + size), '\0');
            std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(off), size, '\0');
            return "zero " + std::to_string(off) + " " + std::to_string(size);
    }
}

// What SEEK_DATA calls a hole reads as zeros.
void check_holes(LegacyOneFile& file, const std::string& model) {
    for (std::uint64_t at = 0; at < model.size();) {
        const auto data = file.seek(at, SEEK_DATA);
        const std::uint64_t end = data ? *data : model.size();
        REQUIRE(end >= at);
        for (std::uint64_t i = at; i < end; ++i) REQUIRE(model[i] == '\0');
        if (!data) return;
        const auto hole = file.seek(end, SEEK_HOLE);
        REQUIRE(hole);
        REQUIRE(*hole > end);
        at = *hole;
    }
}

}  // namespace

TEST_CASE("a file of an EncFS volume is what was written to it") {
    for (const auto& kind : legacy_kinds()) {
        INFO(kind.name);
        const std::size_t unit = kind.volume.parameters.contents.data_size();
        for (unsigned seed = 1; seed <= 12; ++seed) {
            INFO("seed " << seed);
            LegacyOneFile file(kind.volume);
            std::mt19937 random(seed);
            std::string model, history;
            for (unsigned step = 0; step < 60; ++step) {
                history += change_at_random(random, file, model, step, unit) + "; ";
                INFO(history);
                if (random() % 4 == 0) file.open_again();
                REQUIRE(file.size() == model.size());
                const auto all = file.content();
                REQUIRE(all);
                REQUIRE((*all == model));
                const std::size_t off = random() % (model.size() + 1);
                REQUIRE((file.content(off, 100) == model.substr(off, 100)));
            }
            check_holes(file, model);
            CHECK(file.damage() == "");
        }
    }
}

TEST_CASE("without room, a file of an EncFS volume stays as it was") {
    for (const auto& kind : legacy_kinds()) {
        INFO(kind.name);
        const std::size_t unit = kind.volume.parameters.contents.data_size();
        for (const std::size_t old_size : {std::size_t{0}, unit / 2, unit, 2 * unit + 7}) {
            for (const std::size_t torn : {std::size_t{0}, std::size_t{5}, unit, 2 * unit}) {
                for (unsigned call = 1; call <= 3; ++call) {
                    LegacyOneFile file(kind.volume);
                    const std::string old = stamped(1, 0, old_size);
                    REQUIRE(file.write(0, old));
                    file.lower().tear_at(call, torn);
                    const auto wrote = file.write(old_size + 2 * unit + 3, stamped(2, 0, 3 * unit));
                    file.lower().revive();
                    if (wrote) continue;  // it takes fewer calls
                    INFO(old_size << " bytes, call " << call << " torn after " << torn);
                    CHECK(errno_of(wrote.error()) == ENOSPC);
                    REQUIRE(file.content());
                    CHECK((*file.content() == old));
                    file.open_again();
                    CHECK(file.size() == old_size);
                    REQUIRE(file.content());
                    CHECK((*file.content() == old));
                    CHECK(file.damage() == "");
                }
            }
        }
    }
}

TEST_CASE("a damaged block of an EncFS volume costs that block") {
    const auto volume = legacy_volume({1024, 8, 0, true, true, false});
    const std::size_t unit = volume.parameters.contents.data_size();
    const auto dir = fake::ScratchDir::in_memory();
    const auto real = lower::make_posix_lower_fs();
    Damage damage;
    auto fs = open_fs(*real, dir, {.clean = true, .damage = &damage, .legacy = &volume});
    auto made = fs->create(kRootNode, "f", 0600, {});
    REQUIRE(made);
    const std::string text = stamped(1, 0, 3 * unit);
    REQUIRE(fs->write(made->node, 0, bytes_of(text), WriteSource::kCaller, {}));
    std::string entry;
    REQUIRE(real->list(dir.fd(), [&](const lower::DirEntry& e) {
        entry = e.name;
        return true;
    }));
    auto fd = real->open(dir.fd(), entry, O_RDWR, 0);
    REQUIRE(fd);
    REQUIRE(real->pwrite(fd->get(), bytes_of("xx"), 8 + 1024 + 100));
    IoBuffer buffer;
    CHECK(fs->read(made->node, 0, unit, buffer).has_value());
    const auto bad = fs->read(made->node, unit, unit, buffer);
    REQUIRE_FALSE(bad);
    CHECK(bad.error().kind == ErrorKind::kDamaged);
    CHECK(damage.text().find("block 1 ") != std::string::npos);
    CHECK(fs->read(made->node, 2 * unit, unit, buffer).has_value());
    // Its owner may want what is left.
    auto lenient = volume;
    lenient.macs = legacy::MacPolicy::kIgnore;
    fs = open_fs(*real, dir, {.clean = true, .legacy = &lenient});
    auto again = fs->lookup(kRootNode, "f");
    REQUIRE(again);
    CHECK(fs->read(again->node, unit, unit, buffer).has_value());
    // A header that is cut off.
    REQUIRE(real->truncate(fd->get(), 5));
    fs = open_fs(*real, dir, {.clean = true, .damage = &damage, .legacy = &volume});
    again = fs->lookup(kRootNode, "f");
    REQUIRE(again);
    CHECK_FALSE(fs->read(again->node, 0, unit, buffer).has_value());
    CHECK(damage.text().find("header is cut off") != std::string::npos);
}
