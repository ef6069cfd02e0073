// SPDX-License-Identifier: Apache-2.0
// lint-allow(length): one model of a file and all its walks
// The contents of one file against a plain string: random histories, every fragment's edges, two
// writers, failures, and kills in between.
#include <linux/falloc.h>
#include <unistd.h>
#include <catch2/catch.hpp>

#include <algorithm>
#include <cerrno>
#include <random>
#include <thread>

#include "encfs/volume/geometry.h"
#include "tests/fake/fault_lower_fs.h"
#include "tests/unit/core/upper_tree.h"
#include "tests/unit/core/volume_for_tests.h"

using namespace extencfs;
using namespace extencfs::core;

namespace {

constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

class OneFile {
  public:
    OneFile() : dir_(fake::ScratchDir::in_memory()) {
        mount(true);
        auto made = fs_->create(kRootNode, "f", 0600, {});
        REQUIRE(made);
        node_ = made->node;
    }

    fake::FaultLowerFs& lower() { return lower_; }
    Filesystem& fs() { return *fs_; }
    NodeId node() const { return node_; }
    std::string damage() { return damage_.text(); }

    Result<void> write(std::uint64_t off, std::string_view data, WriteSource source) {
        return fs_->write(node_, off, bytes_of(data), source, {});
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
    std::string read(std::uint64_t off, std::size_t size) {
        IoBuffer buffer;
        auto got = fs_->read(node_, off, size, buffer);
        INFO("errno " << (got ? 0 : errno_of(got.error())) << " " << damage_.text());
        REQUIRE(got);
        return std::string(text_of(*got));
    }
    std::uint64_t size() {
        auto attr = fs_->getattr(node_);
        REQUIRE(attr);
        return static_cast<std::uint64_t>(attr->st_size);
    }
    // For the recovery scan.
    void wait() { wait_for_scan(threads_); }
    // The kernel forgets the file and finds it again.
    void close_and_open() {
        wait_for_scan(threads_);
        fs_->forget(node_, 1);
        REQUIRE(fs_->node_count() == 1);
        look_up();
    }
    void remount() {
        fs_->forget(node_, 1);
        wait_for_scan(threads_);
        REQUIRE(fs_->finish());
        mount(true);
        look_up();
    }
    void kill_and_mount() {
        lower_.die();
        fs_.reset();
        lower_.revive();
        mount(false);
        look_up();
    }

  private:
    void mount(bool clean) {
        fs_.reset();
        threads_ = threads_now();
        fs_ = open_fs(lower_, dir_, {.clean = clean, .damage = &damage_});
    }
    void look_up() {
        auto found = fs_->lookup(kRootNode, "f");
        REQUIRE(found);
        node_ = found->node;
    }

    fake::ScratchDir dir_;
    fake::FaultLowerFs lower_;
    Damage damage_;
    std::unique_ptr<Filesystem> fs_;
    NodeId node_ = 0;
    std::size_t threads_ = 0;  // before it was opened
};

// A file and the string that it should be.
class Walk {
  public:
    Walk(std::uint64_t seed, std::size_t most, bool failing)
        : random_(seed), most_(most), failing_(failing) {}

    void run(int steps) {
        for (int i = 0; i < steps; ++i) {
            step();
            INFO(trace());
            if (i % 8 == 0 || log_.back().starts_with("kill")) check();
            REQUIRE(file_.damage() == "");
        }
        file_.remount();
        INFO(trace());
        check();
    }

  private:
    std::uint64_t below(std::uint64_t n) { return random_() % n; }
    std::string trace() const {
        std::string text;
        for (const auto& line : log_) text += line + "\n";
        return text;
    }
    void say(std::string what) { log_.push_back(std::move(what)); }

    // Half of all offsets lie at or beside an edge: of a fragment, a block, or the end.
    std::uint64_t offset() {
        const std::uint64_t any = below(most_);
        switch (below(6)) {
            case 0:
                return volume::fragment(volume::fragment_of(any)).plain_off;
            case 1:
                return volume::fragment(volume::fragment_of(any)).plain_off + below(3);
            case 2:
                return any / 4096 * 4096;
            case 3:
                return std::min<std::uint64_t>(most_, expected_.size());
            default:
                return any;
        }
    }

    void step() {
        switch (below(16)) {
            case 0:
            case 1:
            case 2:
            case 3:
            case 4:
                return write();
            case 5:
            case 6:
                return write_pages();
            case 7:
            case 8:
                return resize();
            case 9:
                return zero(kPunch);
            case 10:
                return zero(FALLOC_FL_ZERO_RANGE);
            case 11:
                return reserve();
            case 12:
                return seek();
            case 13:
                say("flush, fsync");
                REQUIRE(file_.fs().flush(file_.node()));
                if (below(2)) REQUIRE(file_.fs().fsync(file_.node(), below(2)));
                return;
            case 14:
                say("close and open");
                return file_.close_and_open();
            default:
                if (below(2)) {
                    say("remount");
                    return file_.remount();
                }
                say("kill");
                REQUIRE(file_.fs().flush(file_.node()));  // what waits for it is not acknowledged
                file_.kill_and_mount();
                // So that failures come to the same calls in each run.
                if (failing_) file_.wait();
        }
    }

    // Runs `call`, now and then with a failing lower call; `fresh` is what it should make.
    template <typename Call>
    void change(const std::string& what, std::string fresh, Call call) {
        say(what);
        const bool fail = failing_ && below(4) == 0;
        if (fail) {
            const std::uint64_t n = 1 + below(4);
            log_.back() += " with failure of " + std::to_string(n);
            file_.lower().fail_at(n, ENOSPC);
        }
        auto r = call();
        file_.lower().revive();  // takes away the failure if it did not come
        INFO(trace() << (r ? 0 : errno_of(r.error())) << "\n" << file_.damage());
        if (!fail) REQUIRE(r);
        if (r) {
            expected_ = std::move(fresh);
            return;
        }
        log_.back() += " failed";
        adopt(fresh);
    }

    // After a failure each byte is old or new, and the size is one of those in between.
    void adopt(const std::string& fresh) {
        const std::string now = file_.read(0, most_ * 2 + 100'000);
        const std::size_t least = std::min(expected_.size(), fresh.size());
        const std::size_t most = std::max(expected_.size(), fresh.size());
        REQUIRE(now.size() >= least);
        REQUIRE(now.size() <= most);
        for (std::size_t i = 0; i < now.size(); ++i) {
            const bool old = i < expected_.size() && now[i] == expected_[i];
            const bool made = i < fresh.size() && now[i] == fresh[i];
            if (!old && !made) FAIL("foreign byte at " << i << "\n" << trace());
        }
        expected_ = now;
        check();
    }

    void write() {
        const std::uint64_t off = offset();
        const std::size_t size = 1 + (below(4) ? below(300) : below(most_ / 2));
        const std::string data = stamped(++stamp_, off, size);
        std::string fresh = expected_;
        if (fresh.size() < off + size) fresh.resize(off + size, '\0');
        fresh.replace(off, size, data);
        change("write " + std::to_string(off) + "+" + std::to_string(size), std::move(fresh),
               [&] { return file_.write(off, data, WriteSource::kCaller); });
    }

    // Some pages in any order, as the kernel writes back.
    void write_pages() {
        const std::uint64_t first = below(most_ / 4096);
        std::vector<std::uint64_t> pages(1 + below(6));
        for (std::size_t i = 0; i < pages.size(); ++i) pages[i] = first + i;
        std::shuffle(pages.begin(), pages.end(), random_);
        const std::uint64_t last = first + pages.size() - 1;
        // The last page of the file is handed over as far as the file goes.
        const std::uint64_t tail = last * 4096 + 4096 > expected_.size() ? 1 + below(4096) : 4096;
        for (const std::uint64_t page : pages) {
            const std::size_t size = page == last ? tail : 4096;
            const std::string data = stamped(++stamp_, page * 4096, size);
            std::string fresh = expected_;
            if (fresh.size() < page * 4096 + size) fresh.resize(page * 4096 + size, '\0');
            fresh.replace(page * 4096, size, data);
            change("page " + std::to_string(page) + "+" + std::to_string(size), std::move(fresh),
                   [&] { return file_.write(page * 4096, data, WriteSource::kPageCache); });
        }
    }

    void resize() {
        const std::uint64_t size = below(5) == 0   ? 0
                                   : below(5) == 0 ? most_ + 70'000 + below(100)
                                                   : offset();
        std::string fresh = expected_;
        fresh.resize(size, '\0');
        change("resize " + std::to_string(size), std::move(fresh),
               [&] { return file_.resize(size); });
    }

    void zero(int mode) {
        const std::uint64_t off = offset();
        const std::uint64_t size = 1 + below(below(2) ? 5000 : most_);
        std::string fresh = expected_;
        if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && fresh.size() < off + size)
            fresh.resize(off + size, '\0');
        if (off < fresh.size()) {
            const std::size_t n = std::min<std::size_t>(size, fresh.size() - off);
            fresh.replace(off, n, n, '\0');
        }
        change(
            "zero " + std::to_string(mode) + " " + std::to_string(off) + "+" + std::to_string(size),
            std::move(fresh), [&] { return file_.allocate(mode, off, size); });
    }

    void reserve() {
        const std::uint64_t off = offset();
        const std::uint64_t size = 1 + below(9000);
        const int mode = below(2) ? FALLOC_FL_KEEP_SIZE : 0;
        std::string fresh = expected_;
        if (mode == 0 && fresh.size() < off + size) fresh.resize(off + size, '\0');
        change("reserve " + std::to_string(off) + "+" + std::to_string(size), std::move(fresh),
               [&] { return file_.allocate(mode, off, size); });
    }

    void seek() {
        say("seek");
        INFO(trace());
        const std::uint64_t off = offset();
        auto data = file_.fs().seek(file_.node(), off, SEEK_DATA);
        auto hole = file_.fs().seek(file_.node(), off, SEEK_HOLE);
        if (off >= expected_.size()) {
            CHECK(!data);
            CHECK(!hole);
            return;
        }
        const auto is_zero = [&](std::uint64_t from, std::uint64_t to) {
            return std::all_of(expected_.begin() + static_cast<std::ptrdiff_t>(from),
                               expected_.begin() + static_cast<std::ptrdiff_t>(to),
                               [](char c) { return c == '\0'; });
        };
        REQUIRE(hole);
        REQUIRE(*hole >= off);
        REQUIRE(*hole <= expected_.size());
        if (*hole < expected_.size()) CHECK(expected_[*hole] == '\0');
        if (!data) {
            CHECK(data.error().kind == ErrorKind::kPastEnd);
            CHECK(is_zero(off, expected_.size()));
            return;
        }
        REQUIRE(*data >= off);
        REQUIRE(*data < expected_.size());
        CHECK(is_zero(off, *data));
    }

    void check() {
        REQUIRE(file_.size() == expected_.size());
        const std::string now = file_.read(0, expected_.size() + 100);
        REQUIRE(now.size() == expected_.size());
        if (now != expected_) {
            const auto at = std::mismatch(now.begin(), now.end(), expected_.begin()).first;
            FAIL("wrong byte at " << at - now.begin() << "\n" << trace());
        }
        const std::uint64_t off = offset();
        const std::size_t size = 1 + below(5000);
        REQUIRE(file_.read(off, size) ==
                (off < expected_.size() ? expected_.substr(off, size) : std::string()));
    }

    std::mt19937_64 random_;
    const std::uint64_t most_;
    const bool failing_;
    OneFile file_;
    std::string expected_;
    unsigned stamp_ = 0;
    std::vector<std::string> log_;
};

std::uint64_t seeds(std::uint64_t usual) {
    const char* wanted = std::getenv("EXTENCFS_WALK_SEEDS");
    return wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : usual;
}

}  // namespace

TEST_CASE("a file is the string that its random history makes") {
    for (std::uint64_t seed = 1; seed <= seeds(60); ++seed) {
        INFO("seed " << seed);
        Walk(seed, seed % 3 == 0 ? 400'000 : seed % 3 == 1 ? 9000 : 40'000, false).run(120);
    }
}

TEST_CASE("a failed change of a file leaves each byte old or new") {
    for (std::uint64_t seed = 1; seed <= seeds(60); ++seed) {
        INFO("seed " << seed);
        Walk(seed, seed % 3 == 0 ? 400'000 : seed % 3 == 1 ? 9000 : 40'000, true).run(120);
    }
}

TEST_CASE("writes at the edges of every fragment") {
    OneFile file;
    std::string expected = stamped(1, 0, 66 * 4096 + 77);
    REQUIRE(file.write(0, expected, WriteSource::kCaller));
    unsigned stamp = 1;
    for (std::uint64_t n = 1; n < volume::fragment_count(expected.size()); ++n) {
        const std::uint64_t edge = volume::fragment(n).plain_off;
        for (const auto& [off, size] : {std::pair{edge - 1, 2ul}, std::pair{edge, 1ul},
                                        std::pair{edge - 1, 1ul}, std::pair{edge - 20, 4100ul}}) {
            const std::size_t n_bytes = std::min<std::size_t>(size, expected.size() - off);
            const std::string data = stamped(++stamp, off, n_bytes);
            REQUIRE(file.write(off, data, WriteSource::kCaller));
            expected.replace(off, n_bytes, data);
            REQUIRE(file.read(off - 10, 5000) == expected.substr(off - 10, 5000));
        }
    }
    REQUIRE(file.read(0, expected.size() + 1) == expected);
    file.remount();
    REQUIRE(file.read(0, expected.size() + 1) == expected);
}

TEST_CASE("every size is found again, by its hint and by its header") {
    OneFile file;
    std::string expected;
    unsigned stamp = 0;
    for (std::size_t size = 1; size < 14'000; size += 1 + size % 331) {
        const std::string more = stamped(++stamp, expected.size(), size - expected.size());
        REQUIRE(file.write(expected.size(), more, WriteSource::kCaller));
        expected += more;
        if (size % 2)
            file.remount();
        else
            file.kill_and_mount();
        REQUIRE(file.size() == size);
        REQUIRE(file.read(0, size + 1) == expected);
    }
}

TEST_CASE("overlapping writes of two threads do not mix") {
    OneFile file;
    const std::size_t size = 20'000;
    REQUIRE(file.write(0, std::string(size, 'A'), WriteSource::kCaller));
    std::atomic<bool> stop{false};
    std::atomic<int> failures{0};
    auto writer = [&](char c) {
        const std::string data(size, c);
        for (int i = 0; i < 150; ++i)
            if (!file.write(0, data, WriteSource::kCaller)) ++failures;
    };
    std::thread reader([&] {
        IoBuffer buffer;
        while (!stop) {
            auto got = file.fs().read(file.node(), 0, size, buffer);
            if (!got || got->size() != size) {
                ++failures;
                continue;
            }
            const auto text = text_of(*got);
            if (text.find_first_not_of(text[0]) != std::string_view::npos) ++failures;
        }
    });
    std::thread a(writer, 'A'), b(writer, 'B');
    a.join();
    b.join();
    stop = true;
    reader.join();
    CHECK(failures == 0);
}

TEST_CASE("threads that write disjoint parts of a growing file lose nothing") {
    for (const WriteSource source : {WriteSource::kCaller, WriteSource::kPageCache}) {
        OneFile file;
        constexpr std::size_t kPiece = 4096, kPieces = 120;
        std::atomic<int> failures{0};
        auto work = [&](std::size_t first) {
            for (std::size_t i = first; i < kPieces; i += 2) {
                const std::string data = stamped(1, i * kPiece, kPiece);
                if (!file.write(i * kPiece, data, source)) ++failures;
                if (i % 16 == 0 && !file.fs().fsync(file.node(), true)) ++failures;
            }
        };
        std::thread a(work, 0), b(work, 1);
        a.join();
        b.join();
        CHECK(failures == 0);
        CHECK(file.read(0, kPiece * kPieces + 1) == stamped(1, 0, kPiece * kPieces));
        file.remount();
        CHECK(file.read(0, kPiece * kPieces + 1) == stamped(1, 0, kPiece * kPieces));
    }
}

TEST_CASE("truncation beside writers of the same file leaves old, new or zero bytes") {
    OneFile file;
    std::atomic<int> failures{0};
    std::thread writer([&] {
        for (int i = 0; i < 300; ++i) {
            const std::uint64_t off = static_cast<std::uint64_t>(i % 20) * 1500;
            if (!file.write(off, stamped(1, off, 3000), WriteSource::kCaller)) ++failures;
        }
    });
    std::thread cutter([&] {
        for (int i = 0; i < 150; ++i)
            if (!file.resize(static_cast<std::uint64_t>(i * 7919 % 40'000))) ++failures;
    });
    writer.join();
    cutter.join();
    CHECK(failures == 0);
    const std::string now = file.read(0, 100'000);
    CHECK(now.size() == file.size());
    const std::string pattern = stamped(1, 0, now.size());
    for (std::size_t i = 0; i < now.size(); ++i)
        if (now[i] != '\0' && now[i] != pattern[i]) FAIL("foreign byte at " << i);
    CHECK(file.damage() == "");
}
