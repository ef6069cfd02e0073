// SPDX-License-Identifier: Apache-2.0
// Threads that change, read and list a toy directory through the node table and the records, beside
// readers that do what BPF does. What a reader is told must have been true at some instant of its
// read; at the end every reference came back. Runs under ThreadSanitizer as well.
#include <catch2/catch.hpp>

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <random>
#include <shared_mutex>
#include <string>
#include <thread>

#include "encfs/core/inode_table.h"
#include "encfs/meta/bpf_sink.h"
#include "tests/unit/meta/bpf_reader.h"

using namespace extencfs;
using namespace extencfs::core;
using namespace extencfs::meta;

namespace {

constexpr std::uint64_t kRootIno = 1;
constexpr std::size_t kNames = 6;
constexpr std::size_t kInos = 12;          // 2 .. kInos + 1
constexpr std::size_t kKept = 6;           // fewer: some nodes go when they are idle
constexpr std::size_t kHistory = 200'000;  // changes of one entry

// One rule left out: the readers must notice.
enum class Flaw { kNone, kStaleToken, kOpenVictim, kUnchecked };

// The lower directory: what is true. Inode numbers are used again; their versions only grow.
class Lower {
  public:
    std::uint64_t version(std::uint64_t ino) const { return versions_[ino].load(); }
    void change(std::uint64_t ino) { ++versions_[ino]; }
    std::uint64_t at(std::size_t name) const { return entries_[name].ino.load(); }
    std::size_t changes(std::size_t name) const { return entries_[name].changes.load(); }
    // LOCKS: the directory's.
    void set(std::size_t name, std::uint64_t ino) {
        Entry& entry = entries_[name];
        const std::size_t next = entry.changes.load() + 1;
        if (next >= kHistory) return;
        entry.history[next] = ino;
        entry.ino = ino;
        entry.changes = next;
    }
    // Whether the entry was `ino` (0: absent) between its changes `from` and `to`.
    bool was(std::size_t name, std::uint64_t ino, std::size_t from, std::size_t to) const {
        for (std::size_t i = from; i <= to && i < kHistory; ++i)
            if (entries_[name].history[i] == ino) return true;
        return false;
    }
    bool full(std::size_t name) const { return changes(name) + 2 >= kHistory; }

  private:
    struct Entry {
        std::atomic<std::uint64_t> ino{0};
        std::atomic<std::size_t> changes{0};
        std::unique_ptr<std::atomic<std::uint64_t>[]> history =
            std::make_unique<std::atomic<std::uint64_t>[]>(kHistory);
    };
    std::array<std::atomic<std::uint64_t>, kInos + 2> versions_{};
    std::array<Entry, kNames> entries_;
};

struct stat attr_of(std::uint64_t ino, std::uint64_t version) {
    struct stat is {};
    is.st_ino = ino;
    is.st_mode = S_IFREG | 0644;
    is.st_nlink = 1;
    // A checksum: words of two publications do not fit together.
    is.st_size = static_cast<off_t>(version);
    is.st_blocks = static_cast<blkcnt_t>(version * 3 + ino);
    is.st_uid = static_cast<uid_t>(version ^ 0x5a5a);
    return is;
}

bool is_whole(const xf_attr& attr) {
    return attr.blocks == attr.size * 3 + attr.ino &&
           attr.uid == (static_cast<std::uint32_t>(attr.size) ^ 0x5a5a);
}

class Toy {
  public:
    Toy(std::size_t buckets, Flaw wrong) : mapped(64, buckets), flaw(wrong) {}

    // ---- the daemon ----
    NodeId lookup(std::size_t name) {
        const std::string text = name_of(name);
        auto token = sink.token();
        const std::shared_lock names(directory);
        const std::uint64_t ino = lower.at(name);
        if (ino == 0) {
            sink.publish_entry({kRootNode, text}, 0, token, nullptr);
            return 0;
        }
        const std::uint64_t version = lower.version(ino);
        if (flaw == Flaw::kStaleToken) {
            std::this_thread::yield();
            token = sink.token();
        }
        const NodeId node = table.acquire({kRootNode, text}, ino, S_IFREG);
        sink.publish_attr(node, attr_of(ino, version), token, nullptr);
        sink.publish_entry({kRootNode, text}, node, token, nullptr);
        return node;
    }
    // An inode that has no directory lock to keep others off.
    void write(std::uint64_t ino) {
        ChangeScope scope(sink, {.inodes = {ino}});
        lower.change(ino);
        publish(ino, scope.change());
    }
    void getattr(std::uint64_t ino) {
        const auto token = flaw == Flaw::kUnchecked ? ~std::uint64_t{0} : sink.token();
        const NodeId node = table.find(ino);
        const std::uint64_t version = lower.version(ino);
        if (flaw == Flaw::kUnchecked) std::this_thread::yield();
        if (node != 0) sink.publish_attr(node, attr_of(ino, version), token, nullptr);
    }
    void make_or_remove(std::size_t name) {
        const std::string text = name_of(name);
        const std::unique_lock names(directory);
        if (lower.full(name)) return;
        const std::uint64_t victim = lower.at(name);
        const std::uint64_t ino = victim != 0 ? victim : unused();
        ChangeScope scope(sink, {.inodes = {kRootIno, flaw == Flaw::kOpenVictim ? 0 : ino},
                                 .names = {{{kRootNode, text}}}});
        NodeId node = 0;
        lower.change(ino);
        lower.set(name, victim != 0 ? 0 : ino);
        if (victim != 0) {
            if (const NodeId gone = table.find(ino))
                table.remove_location(gone, {kRootNode, text}, true);
        } else {
            node = table.acquire({kRootNode, text}, ino, S_IFREG);
            publish(ino, scope.change());
        }
        sink.publish_entry({kRootNode, text}, node, sink.token(), scope.change());
        if (node != 0) (void)table.forget(node, 1);
    }
    // Exchanges two names, one of which may be absent.
    void rename(std::size_t a, std::size_t b) {
        if (a == b) return;
        const std::string from = name_of(a), to = name_of(b);
        const std::unique_lock names(directory);
        if (lower.full(a) || lower.full(b)) return;
        const std::uint64_t first = lower.at(a), second = lower.at(b);
        ChangeScope scope(sink, {.inodes = {first, second, kRootIno},
                                 .names = {{{kRootNode, from}, {kRootNode, to}}}});
        for (const std::uint64_t ino : {first, second})
            if (ino != 0) lower.change(ino);
        lower.set(a, second);
        lower.set(b, first);
        if (const NodeId node = first == 0 ? 0 : table.find(first))
            table.move(node, {kRootNode, from}, {kRootNode, to});
        if (const NodeId node = second == 0 ? 0 : table.find(second))
            table.move(node, {kRootNode, to}, {kRootNode, from});
        // One is published, the other is left to a lookup.
        const NodeId node = second == 0 ? 0 : table.find(second);
        if (second == 0 || node != 0)
            sink.publish_entry({kRootNode, from}, node, sink.token(), scope.change());
    }
    void list() {
        const auto pass = sink.token();
        auto listing = sink.listing_begins(kRootNode, 0, pass);
        for (std::size_t name = 0; name < kNames; ++name) {
            if (name == kNames / 2) {  // in two requests
                sink.listing_ends(listing, kRootNode, kRootIno, name, false);
                listing = sink.listing_begins(kRootNode, name, sink.token());
            }
            const std::shared_lock names(directory);
            const auto token = sink.token();
            if (lower.at(name) == 0) continue;
            const std::string text = name_of(name);
            sink.entry_listed(listing, {kRootNode, text}, MetadataSink::kUnknownNode, token);
        }
        sink.listing_ends(listing, kRootNode, kRootIno, kNames, true);
    }
    void forget(NodeId node, std::uint64_t count) { (void)table.forget(node, count); }

    static std::string name_of(std::size_t name) { return "name" + std::to_string(name); }

    Lower lower;
    Mapped mapped;
    Records records{mapped.nodes, mapped.buckets, mapped.settings};
    BpfSink sink{records, kKept};
    InodeTable table{kRootIno, {}, sink};
    std::shared_mutex directory;
    const Flaw flaw;

  private:
    std::uint64_t unused() {
        for (std::uint64_t ino = 2; ino < kInos + 2; ++ino) {
            bool used = false;
            for (std::size_t name = 0; name < kNames; ++name) used |= lower.at(name) == ino;
            if (!used) return ino;
        }
        return 0;
    }
    void publish(std::uint64_t ino, const MetadataSink::Change* within) {
        const auto token = sink.token();
        const std::uint64_t version = lower.version(ino);
        if (const NodeId node = table.find(ino))
            sink.publish_attr(node, attr_of(ino, version), token, within);
    }
};

struct Outcome {
    std::atomic<std::uint64_t> found{0}, absent{0}, passed{0}, attrs{0};
    std::mutex mutex;
    std::string fault;
    std::atomic<bool> failed{false};
    void fail(const std::string& what) {
        const std::lock_guard lock(mutex);
        if (fault.empty()) fault = what;
        failed = true;
    }
};

void daemon(Toy& toy, unsigned seed, int steps, const Outcome& outcome) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < steps && !outcome.failed; ++i) {
        const std::size_t name = random() % kNames;
        const std::uint64_t ino = toy.lower.at(name);
        switch (random() % 8) {
            case 0:
                toy.make_or_remove(name);
                break;
            case 1:
                toy.rename(name, random() % kNames);
                break;
            case 2:
                toy.list();
                break;
            case 3:
                if (ino != 0) toy.getattr(ino);
                break;
            case 4:
                if (ino != 0) toy.write(ino);
                break;
            default:
                if (const NodeId node = toy.lookup(name)) toy.forget(node, 1);
        }
    }
}

// The kernel: asks the records first and the daemon where they do not know, and keeps some nodes.
class Kernel {
  public:
    Kernel(Toy& toy, unsigned seed, Outcome& outcome)
        : toy_(toy), reader_(toy.mapped), outcome_(outcome), random_(seed) {}

    void run(const std::atomic<bool>& done) {
        while (!done && !outcome_.failed) {
            look_up(random_() % kNames);
            look_at_held();
            if (held_.size() > 8 || random_() % 4 == 0) give_back();
        }
        while (!held_.empty()) give_back();
    }

  private:
    void look_up(std::size_t name) {
        const std::string text = Toy::name_of(name);
        const std::size_t from = toy_.lower.changes(name);
        std::array<std::uint64_t, kInos + 2> before;
        for (std::size_t i = 0; i < before.size(); ++i) before[i] = toy_.lower.version(i);
        const Looked got = reader_.lookup(kRootNode, text);
        const std::size_t to = toy_.lower.changes(name) + 1;  // set just before it is counted
        switch (got.verdict) {
            case Verdict::kPass:
                ++outcome_.passed;
                if (const NodeId node = toy_.lookup(name)) held_.push_back({node, 0});
                return;
            case Verdict::kAbsent:
                ++outcome_.absent;
                if (!toy_.lower.was(name, 0, from, to)) outcome_.fail("an absent name was there");
                return;
            case Verdict::kFound:
                ++outcome_.found;
                held_.push_back({got.node, got.attr.ino});
                if (!is_whole(got.attr)) outcome_.fail("a torn record");
                if (!toy_.lower.was(name, got.attr.ino, from, to))
                    outcome_.fail("a name was never that inode");
                check(got.attr, before[got.attr.ino], "a lookup");
                if (!toy_.table.view(got.node)) outcome_.fail("a node that is gone was handed out");
        }
    }
    void look_at_held() {
        if (held_.empty()) return;
        const Held& held = held_[random_() % held_.size()];
        if (held.ino == 0) return;
        const std::uint64_t before = toy_.lower.version(held.ino);
        xf_attr attr{};
        if (!reader_.getattr(held.node, attr)) return;
        ++outcome_.attrs;
        if (!is_whole(attr) || attr.ino != held.ino) outcome_.fail("a torn or foreign record");
        check(attr, before, "attributes");
    }
    void check(const xf_attr& attr, std::uint64_t before, const std::string& what) {
        if (attr.size < before || attr.size > toy_.lower.version(attr.ino))
            outcome_.fail(what + " of version " + std::to_string(attr.size) + " after " +
                          std::to_string(before));
    }
    void give_back() {
        if (held_.empty()) return;
        std::swap(held_[random_() % held_.size()], held_.back());
        toy_.forget(held_.back().node, 1);
        held_.pop_back();
    }

    struct Held {
        NodeId node;
        std::uint64_t ino;  // 0: not asked
    };
    Toy& toy_;
    BpfReader reader_;
    Outcome& outcome_;
    std::mt19937_64 random_;
    std::vector<Held> held_;
};

void torture(Toy& toy, int steps, Outcome& outcome) {
    std::atomic<bool> done{false};
    std::vector<std::thread> daemons, kernels;
    for (unsigned i = 0; i < 2; ++i) {
        daemons.emplace_back([&, i] { daemon(toy, i, steps, outcome); });
        kernels.emplace_back([&, i] { Kernel(toy, 100 + i, outcome).run(done); });
    }
    for (auto& thread : daemons) thread.join();
    done = true;
    for (auto& thread : kernels) thread.join();
}

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int kSteps = 20'000;
#else
constexpr int kSteps = 60'000;
#endif

}  // namespace

TEST_CASE("threads: what readers are told was true, and references come back") {
    // One bucket: its four ways are evicted all the time, and directories are seldom complete.
    for (const std::size_t buckets : {64, 2, 1}) {
        INFO(buckets << " buckets");
        Toy toy(buckets, Flaw::kNone);
        Outcome outcome;
        torture(toy, kSteps, outcome);
        CHECK(outcome.fault == "");
        CHECK(toy.table.size() == 1);
        CHECK(outcome.found > 0);
        CHECK(outcome.absent > 0);
        CHECK(outcome.attrs > 0);
        UNSCOPED_INFO(outcome.found << " found, " << outcome.absent << " absent, " << outcome.passed
                                    << " passed");
    }
}

TEST_CASE("threads: a rule left out is noticed") {
    for (const Flaw flaw : {Flaw::kStaleToken, Flaw::kOpenVictim, Flaw::kUnchecked}) {
        INFO("flaw " << static_cast<int>(flaw));
        Toy toy(64, flaw);
        Outcome outcome;
        torture(toy, 20 * kSteps, outcome);
        CHECK(outcome.fault != "");
    }
}
