// SPDX-License-Identifier: Apache-2.0
// Random histories of names and of content: what a power loss leaves is a state that the history
// allows, by a check that knows nothing of how the fake keeps its log.
#include <fcntl.h>
#include <catch2/catch.hpp>

#include <algorithm>
#include <map>
#include <random>

#include "tests/fake/fault_lower_fs.h"
#include "tests/fake/scratch_dir.h"
#include "tests/unit/lower/tree_of.h"

using namespace extencfs;
using namespace extencfs::lower;
using fake::FaultLowerFs;
using fake::kPage;
using fake::ScratchDir;

namespace {

// Changes names in a tree of two levels; most of them fail as names are few, which is as well.
class NameWorker {
  public:
    NameWorker(FaultLowerFs& fs, int root, std::uint64_t seed)
        : fs_(fs), root_(root), random_(seed) {}

    // True when everything before is on the disk now.
    bool step() {
        const Fd a = dir();
        const Fd b = dir();
        const int d = a ? a.get() : root_;
        const int e = b ? b.get() : root_;
        switch (random_() % 12) {
            case 0:
            case 1:
            case 2:
                create(d);
                break;
            case 3:
                (void)fs_.unlink(d, name());
                break;
            case 4:
                (void)fs_.link(d, name(), e, name());
                break;
            case 5:
                (void)fs_.symlink(std::to_string(++made_), d, name());
                break;
            case 6:
                (void)fs_.mkdir(root_, name(), 0700 + made_++ % 8);
                break;
            case 7:
                (void)fs_.rmdir(root_, name());
                break;
            case 8:
                (void)fs_.rename(d, name(), e, name(), RenameMode::kExchange);
                break;
            case 9:
            case 10:
                (void)fs_.rename(d, name(), e, name(), RenameMode::kReplace);
                break;
            default:
                if (random_() % 8 == 0) return fs_.syncfs(root_).has_value();
                (void)fs_.chmod_at(d, name(), 0600 + made_++ % 64);
        }
        return false;
    }

  private:
    std::string name() { return std::string(1, static_cast<char>('a' + random_() % 4)); }

    Fd dir() {
        auto dir = fs_.open(root_, name(), O_RDONLY | O_DIRECTORY, 0);
        return dir ? std::move(*dir) : Fd();
    }
    void create(int d) {
        const auto file = fs_.open(d, name(), O_CREAT | O_EXCL | O_RDWR, 0600);
        if (!file) return;
        REQUIRE(fs_.pwrite(file->get(), bytes_of("content " + std::to_string(++made_)), 0));
        REQUIRE(fs_.fdatasync(file->get()));
    }

    FaultLowerFs& fs_;
    int root_;
    std::mt19937_64 random_;
    unsigned made_ = 0;
};

std::string text_of_file(LowerFs& fs, int fd) {
    std::string text(16 * kPage, '?');
    const auto size = fs.pread(fd, std::as_writable_bytes(std::span(text)), 0);
    REQUIRE(size);
    text.resize(*size);
    return text;
}

void change_content(FaultLowerFs& fs, int fd, std::mt19937_64& random) {
    const std::uint64_t at = random() % (6 * kPage);
    switch (random() % 6) {
        case 0:
            REQUIRE(fs.truncate(fd, at));
            break;
        case 1:
            REQUIRE(fs.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at,
                                 1 + random() % (2 * kPage)));
            break;
        default: {
            const std::string text(1 + random() % (2 * kPage),
                                   static_cast<char>('A' + random() % 26));
            REQUIRE(fs.pwrite(fd, bytes_of(text), at));
        }
    }
}

std::string page_at(const std::string& text, std::size_t page) {
    std::string content = page * kPage < text.size() ? text.substr(page * kPage, kPage) : "";
    content.resize(kPage, '\0');
    return content;
}

// Whether `left` is `was`, or its beginning with zeros behind.
bool is_cut_of(const std::string& left, const std::string& was) {
    const auto differs = std::ranges::mismatch(left, was).in1;
    return std::all_of(differs, left.end(), [](char c) { return c == '\0'; });
}

}  // namespace

TEST_CASE("random changes of names leave a state that was there", "[fake]") {
    int lost = 0;
    for (std::uint64_t seed = 1; seed <= 150; ++seed) {
        INFO("seed " << seed);
        const auto dir = ScratchDir::in_memory();
        FaultLowerFs fs;
        NameWorker worker(fs, dir.fd(), seed);
        for (int i = 0; i < 20; ++i) worker.step();
        fs.track_power_loss();
        std::vector possible = {tree_of(dir.path())};
        for (int i = 0; i < 60; ++i) {
            const bool synced = worker.step();
            if (synced) possible.clear();
            possible.push_back(tree_of(dir.path()));
        }
        INFO(fs.power_cut(seed));
        const auto left = tree_of(dir.path());
        CHECK(std::ranges::find(possible, left) != possible.end());
        lost += left == possible.back() ? 0 : 1;
    }
    CHECK(lost > 50);
}

TEST_CASE("random changes of content leave pages and sizes that were there", "[fake]") {
    int lost = 0;
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        INFO("seed " << seed);
        const auto dir = ScratchDir::in_memory();
        FaultLowerFs fs;
        std::mt19937_64 random(seed);
        const auto file = fs.open(dir.fd(), "f", O_CREAT | O_RDWR, 0600);
        for (int i = 0; i < 3; ++i) change_content(fs, file->get(), random);
        fs.track_power_loss();
        std::vector possible = {text_of_file(fs, file->get())};
        for (int i = 0; i < 8; ++i) {
            change_content(fs, file->get(), random);
            if (random() % 6 == 0) {
                REQUIRE(fs.fdatasync(file->get()));
                possible.clear();
            }
            possible.push_back(text_of_file(fs, file->get()));
        }
        INFO(fs.power_cut(seed));
        // A descriptor from before goes on working.
        const auto left = text_of_file(fs, file->get());
        CHECK(std::ranges::any_of(possible, [&](auto& p) { return p.size() == left.size(); }));
        for (std::size_t page = 0; page * kPage < left.size(); ++page)
            CHECK(std::ranges::any_of(possible, [&](const std::string& was) {
                return is_cut_of(page_at(left, page), page_at(was, page));
            }));
        lost += left == possible.back() ? 0 : 1;
    }
    CHECK(lost > 100);
}
