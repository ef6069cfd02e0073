// SPDX-License-Identifier: Apache-2.0
// The file system at work with the records behind it: readers that do what BPF does are told what
// the lower directory holds, whatever is done meanwhile, and every reference that they take comes
// back. Runs under ThreadSanitizer as well.
#include <array>
#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/core/checked_lower.h"
#include "tests/unit/core/worker.h"
#include "tests/unit/meta/world.h"

using namespace extencfs;
using namespace extencfs::core;
using namespace extencfs::meta;

namespace {

// Counts changing lower calls of each inode: one that is under way shows, and so does one that was.
class Ghost final : public LowerWatch {
  public:
    struct Look {
        std::uint64_t started, finished;
        bool operator==(const Look&) const = default;
        bool is_still() const { return started == finished; }
    };
    Look look(std::uint64_t ino) const {
        const auto& of = counts_[ino % counts_.size()];
        // In this order: a change that starts in between shows as one that is under way.
        const std::uint64_t finished = of.finished.load();
        return {of.started.load(), finished};
    }

    void looks_at(std::uint64_t) override {}
    void looks_into(std::uint64_t) override {}
    void looks_at_xattrs(std::uint64_t) override {}
    void changes(const char*, std::uint64_t ino) override {
        ++counts_[ino % counts_.size()].started;
    }
    void changed(std::uint64_t ino) override { ++counts_[ino % counts_.size()].finished; }
    void changes_name(const char*, std::uint64_t) override {}
    void changes_xattrs(const char*, std::uint64_t) override {}

  private:
    struct Count {
        std::atomic<std::uint64_t> started{0}, finished{0};
    };
    std::array<Count, 4096> counts_;
};

// The kernel's readers: what the records say must be what the file system says, wherever nothing
// was changed below from before the one until after the other.
class Judge {
  public:
    Judge(World& world, const Ghost& ghost, std::uint64_t root_ino, unsigned seed)
        : w_(world), reader_(world.mapped), ghost_(ghost), root_ino_(root_ino), random_(seed) {}

    void run(const std::atomic<bool>& done) {
        while (!done) {
            look_up();
            look_at();
            if (held_.size() > 6) give_back();
        }
        while (!held_.empty()) give_back();
    }
    const std::string& fault() const { return fault_; }
    std::uint64_t judged = 0, told = 0;

  private:
    void look_up() {
        const auto n = random_() % 7;
        const std::string name =
            n == 6 ? std::string(190, 'l') : std::string(1, static_cast<char>('a' + n));
        const auto before = ghost_.look(root_ino_);
        const Looked got = reader_.lookup(kRootNode, name);
        if (got.verdict == Verdict::kFound) keep(got.node, got.attr.ino);
        if (got.verdict != Verdict::kPass) ++told;
        auto truth = w_.fs->lookup(kRootNode, name);
        const bool absent = !truth && truth.error().kind == ErrorKind::kNotFound;
        if (truth) keep(truth->node, truth->attr.st_ino);
        if (!before.is_still() || ghost_.look(root_ino_) != before) return;
        if (got.verdict == Verdict::kPass || (!truth && !absent)) return;
        ++judged;
        if ((got.verdict == Verdict::kAbsent) != absent)
            return fail(absent ? "found what is absent" : "an absent name is there");
        if (!absent && truth->node != got.node) fail("another node than the file system's");
    }
    void look_at() {
        if (held_.empty()) return;
        const auto [node, ino] = held_[random_() % held_.size()];
        const auto before = ghost_.look(ino);
        xf_attr attr{};
        if (!reader_.getattr(node, attr)) return;
        ++told;
        auto truth = w_.fs->getattr(node);
        if (!truth)
            return fail("a node that is held is not known: kind " +
                        std::to_string(static_cast<int>(truth.error().kind)) + " errno " +
                        std::to_string(truth.error().lower_errno) + " mode " +
                        std::to_string(attr.mode));
        if (!before.is_still() || ghost_.look(ino) != before) return;
        ++judged;
        if (!same(attr, *truth))
            fail("attributes differ: size " + std::to_string(attr.size) + " for " +
                 std::to_string(truth->st_size) + ", links " + std::to_string(attr.nlink) +
                 " for " + std::to_string(truth->st_nlink) + ", mode " + std::to_string(attr.mode) +
                 " for " + std::to_string(truth->st_mode));
    }
    void keep(NodeId node, std::uint64_t ino) { held_.emplace_back(node, ino); }
    void give_back() {
        std::swap(held_[random_() % held_.size()], held_.back());
        w_.fs->forget(held_.back().first, 1);
        held_.pop_back();
    }
    void fail(const std::string& what) {
        if (fault_.empty()) fault_ = what;
    }

    World& w_;
    BpfReader reader_;
    const Ghost& ghost_;
    const std::uint64_t root_ino_;
    std::mt19937_64 random_;
    std::vector<std::pair<NodeId, std::uint64_t>> held_;
    std::string fault_;
};

}  // namespace

TEST_CASE("threads of everything, beside readers that are told the truth") {
    // Few buckets: evictions. Few slots: nodes that have no record.
    struct Size {
        std::size_t buckets, nodes;
    };
    for (const Size size : {Size{256, 1024}, Size{2, 1024}, Size{64, 8}}) {
        INFO(size.buckets << " buckets, " << size.nodes << " nodes");
        const auto real = lower::make_posix_lower_fs();
        Ghost ghost;
        CheckedLower lower(*real, ghost);
        World w(lower, size.buckets, size.nodes, size.nodes / 4 * 3);
        const std::uint64_t root_ino = w.fs->getattr(kRootNode)->st_ino;
        std::vector<Worker> workers;
        std::vector<Judge> judges;
        for (unsigned i = 0; i < 2; ++i) {
            workers.emplace_back(*w.fs, 10 + i);
            judges.emplace_back(w, ghost, root_ino, 20 + i);
        }
        std::atomic<bool> done{false};
        std::vector<std::thread> working, judging;
        for (Worker& worker : workers) working.emplace_back([&worker] { worker.run(4000); });
        for (Judge& judge : judges) judging.emplace_back([&] { judge.run(done); });
        for (auto& thread : working) thread.join();
        done = true;
        for (auto& thread : judging) thread.join();
        std::uint64_t judged = 0, told = 0;
        for (const Judge& judge : judges) {
            CHECK(judge.fault() == "");
            judged += judge.judged;
            told += judge.told;
        }
        for (const Worker& worker : workers)
            for (const auto& fault : worker.faults()) FAIL_CHECK(fault);
        CHECK(w.fs->node_count() == 1);
        CHECK(judged > 100);
        CAPTURE(judged, told);
        CHECK(w.fs->finish());
    }
}
