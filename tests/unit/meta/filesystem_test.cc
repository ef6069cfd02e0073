// SPDX-License-Identifier: Apache-2.0
// The file system with the records behind it: readers that do what BPF does are told what the lower
// directory holds, whatever is done meanwhile, and every reference that they take comes back.
#include <catch2/catch.hpp>

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>

#include "encfs/meta/bpf_sink.h"
#include "tests/unit/core/checked_lower.h"
#include "tests/unit/core/volume_for_tests.h"
#include "tests/unit/core/worker.h"
#include "tests/unit/meta/bpf_reader.h"

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

// Acts between a look and what follows it.
class Interposed final : public BorrowedLower {
  public:
    explicit Interposed(LowerFs& to) : BorrowedLower(to) {}
    std::function<void()> after_stat;
    std::function<void()> before_change;

    lower::Result<struct stat> stat_at(int d, const std::string& n) override {
        auto is = BorrowedLower::stat_at(d, n);
        act(after_stat);
        return is;
    }
    lower::Result<struct stat> stat(int fd) override {
        auto is = BorrowedLower::stat(fd);
        act(after_stat);
        return is;
    }
    lower::Result<ByteVector> get_xattr(int fd, const std::string& name) override {
        auto value = BorrowedLower::get_xattr(fd, name);
        act(after_stat);
        return value;
    }
    lower::Result<void> unlink(int d, const std::string& n) override {
        act(before_change);
        return BorrowedLower::unlink(d, n);
    }
    lower::Result<void> rename(int d, const std::string& n, int e, const std::string& m,
                               lower::RenameMode mode) override {
        act(before_change);
        return BorrowedLower::rename(d, n, e, m, mode);
    }

  private:
    static void act(std::function<void()>& what) {
        if (!what) return;
        auto once = std::move(what);
        what = nullptr;
        once();
    }
};

struct World {
    explicit World(lower::LowerFs& lower_fs, std::size_t buckets = 256, std::size_t nodes = 1024)
        : mapped(nodes, buckets),
          records(mapped.nodes, mapped.buckets, mapped.settings),
          fs(open_fs(lower_fs, dir, {.clean = true, .sink = std::make_shared<BpfSink>(records)})) {}

    Verdict verdict(std::string_view name, NodeId parent = kRootNode) {
        const Looked got = reader.lookup(parent, name);
        if (got.verdict == Verdict::kFound) fs->forget(got.node, 1);
        return got.verdict;
    }
    bool knows(NodeId node) {
        xf_attr attr{};
        return reader.getattr(node, attr);
    }
    xf_attr attr(NodeId node) {
        xf_attr out{};
        REQUIRE(reader.getattr(node, out));
        return out;
    }

    fake::ScratchDir dir = fake::ScratchDir::in_memory();
    Mapped mapped;
    Records records;
    BpfReader reader{mapped};
    std::unique_ptr<Filesystem> fs;
};

bool same(const xf_attr& told, const struct stat& is) {
    return told.ino == is.st_ino && told.size == static_cast<std::uint64_t>(is.st_size) &&
           told.blocks == static_cast<std::uint64_t>(is.st_blocks) && told.mode == is.st_mode &&
           told.nlink == is.st_nlink && told.uid == is.st_uid && told.gid == is.st_gid &&
           told.mtime == static_cast<std::uint64_t>(is.st_mtim.tv_sec) &&
           told.mtimensec == is.st_mtim.tv_nsec &&
           told.ctime == static_cast<std::uint64_t>(is.st_ctim.tv_sec) &&
           told.ctimensec == is.st_ctim.tv_nsec;
}

AttrChange to_mode(mode_t mode) {
    AttrChange change;
    change.mode_set = true;
    change.mode = mode;
    return change;
}

}  // namespace

TEST_CASE("what replies told is answered without the daemon, and is right") {
    const auto real = lower::make_posix_lower_fs();
    World w(*real);
    CHECK(w.verdict("f") == Verdict::kPass);
    REQUIRE_FALSE(w.fs->lookup(kRootNode, "f"));
    CHECK(w.verdict("f") == Verdict::kAbsent);
    auto f = w.fs->create(kRootNode, "f", 0640, {});
    REQUIRE(f);
    CHECK(w.verdict("f") == Verdict::kFound);
    CHECK(same(w.attr(f->node), *w.fs->getattr(f->node)));
    CHECK(same(w.attr(kRootNode), *w.fs->getattr(kRootNode)));
    REQUIRE(w.fs->write(f->node, 0, bytes_of("abc"), WriteSource::kCaller, {}));
    CHECK(w.attr(f->node).size == 3);
    REQUIRE(w.fs->setattr(f->node, to_mode(0600)));
    CHECK(w.attr(f->node).mode == (S_IFREG | 0600));
    auto d = w.fs->mkdir(kRootNode, "d", 0755, {});
    REQUIRE(d);
    CHECK(w.verdict("anything", d->node) == Verdict::kAbsent);
    REQUIRE(w.fs->rename(kRootNode, "f", d->node, "g", lower::RenameMode::kReplace));
    CHECK(w.verdict("f") == Verdict::kAbsent);
    CHECK(w.verdict("g", d->node) == Verdict::kFound);
    CHECK(same(w.attr(f->node), *w.fs->getattr(f->node)));
    CHECK(same(w.attr(d->node), *w.fs->getattr(d->node)));
    REQUIRE(w.fs->unlink(d->node, "g"));
    CHECK(w.verdict("g", d->node) == Verdict::kAbsent);
    w.fs->forget(f->node, 1);
    w.fs->forget(d->node, 1);
    CHECK(w.fs->node_count() == 1);
    CHECK(w.fs->finish());
    CHECK(w.records.names_known() == 0);
}

TEST_CASE("a node lives until the references that readers took are given back") {
    const auto real = lower::make_posix_lower_fs();
    World w(*real);
    auto f = w.fs->create(kRootNode, "f", 0600, {});
    REQUIRE(f);
    REQUIRE(w.reader.lookup(kRootNode, "f").verdict == Verdict::kFound);
    REQUIRE(w.reader.lookup(kRootNode, "f").verdict == Verdict::kFound);
    // FORGETs come in any portions: of one from the daemon and two of the readers.
    w.fs->forget(f->node, 2);
    CHECK(w.fs->node_count() == 2);
    CHECK(w.fs->getattr(f->node));
    w.fs->forget(f->node, 1);
    CHECK(w.fs->node_count() == 1);
    CHECK_FALSE(w.fs->getattr(f->node));
    CHECK(w.verdict("f") == Verdict::kPass);
    // A new node has another id, and the entry is right again.
    auto again = w.fs->lookup(kRootNode, "f");
    REQUIRE(again);
    CHECK(again->node != f->node);
    CHECK(xf_slot(again->node) == xf_slot(f->node));
    CHECK(w.verdict("f") == Verdict::kFound);
    w.fs->forget(again->node, 1);
    CHECK(w.fs->node_count() == 1);
}

TEST_CASE("a directory is whole after its listing, until something is evicted") {
    const auto real = lower::make_posix_lower_fs();
    World w(*real);
    for (const char* name : {"a", "b", "c"}) {
        auto made = w.fs->create(kRootNode, name, 0600, {});
        REQUIRE(made);
        w.fs->forget(made->node, 1);
    }
    CHECK(w.verdict("missing") == Verdict::kPass);
    auto list = [&](ListMode mode) {
        REQUIRE(w.fs->list(kRootNode, 0, mode, [&](const ListedEntry& entry) {
            if (entry.entry != nullptr) w.fs->forget(entry.entry->node, 1);
            return true;
        }));
    };
    SECTION("of names") {
        list(ListMode::kNames);
    }
    SECTION("with attributes") {
        list(ListMode::kWithAttributes);
    }
    CHECK(w.verdict("missing") == Verdict::kAbsent);
    CHECK(w.verdict("a") == Verdict::kPass);  // its node is gone
    auto made = w.fs->create(kRootNode, "new", 0600, {});
    REQUIRE(made);
    CHECK(w.verdict("missing") == Verdict::kAbsent);
    CHECK(w.verdict("new") == Verdict::kFound);
    w.fs->forget(made->node, 1);
}

TEST_CASE("what was read before a change that overlaps is dropped") {
    const auto real = lower::make_posix_lower_fs();
    Interposed lower(*real);
    World w(lower);
    auto f = w.fs->create(kRootNode, "f", 0644, {});
    REQUIRE(f);
    const NodeId node = f->node;
    bool acted = false;
    auto chmod = [&] {
        acted = true;
        REQUIRE(w.fs->setattr(node, to_mode(0600)));
        // What the change made known is closed again by nobody: it is the truth.
        CHECK(w.attr(node).mode == (S_IFREG | 0600));
    };
    SECTION("by GETATTR") {
        lower.after_stat = chmod;
        REQUIRE(w.fs->getattr(node));
    }
    SECTION("by LOOKUP") {
        lower.after_stat = chmod;
        auto found = w.fs->lookup(kRootNode, "f");
        REQUIRE(found);
        w.fs->forget(node, 1);
    }
    SECTION("by LOOKUP under another name, whose node is not known yet") {
        REQUIRE(w.fs->link(node, kRootNode, "g"));
        w.fs->forget(node, 2);
        CHECK(w.fs->node_count() == 1);
        NodeId late = 0;
        lower.after_stat = [&] {
            acted = true;
            auto other = w.fs->lookup(kRootNode, "g");
            REQUIRE(other);
            late = other->node;
            REQUIRE(w.fs->setattr(late, to_mode(0600)));
        };
        auto found = w.fs->lookup(kRootNode, "f");
        REQUIRE(found);
        CHECK(found->node == late);
        CHECK(w.attr(late).mode == (S_IFREG | 0600));
        w.fs->forget(late, 1);
        f = found;
    }
    SECTION("by a listing") {
        lower.after_stat = chmod;
        REQUIRE(w.fs->list(kRootNode, 0, ListMode::kWithAttributes, [&](const ListedEntry& entry) {
            if (entry.entry != nullptr) w.fs->forget(entry.entry->node, 1);
            return true;
        }));
    }
    SECTION("by WRITE") {
        REQUIRE(w.fs->write(node, 0, bytes_of("1"), WriteSource::kCaller, {}));
        lower.after_stat = [&] {
            acted = true;
            REQUIRE(w.fs->setattr(node, to_mode(0600)));
        };
        REQUIRE(w.fs->write(node, 0, bytes_of("2"), WriteSource::kPageCache, {}));
        // Two changes overlapped: neither may publish what it saw.
        CHECK_FALSE((w.knows(node) && w.attr(node).mode != (S_IFREG | 0600)));
    }
    CHECK(acted);
    if (w.knows(f->node)) CHECK(same(w.attr(f->node), *w.fs->getattr(f->node)));
    w.fs->forget(f->node, 1);
    CHECK(w.fs->node_count() == 1);
}

TEST_CASE("what is absent is not said of an attribute that is set meanwhile") {
    const auto real = lower::make_posix_lower_fs();
    Interposed lower(*real);
    World w(lower);
    auto f = w.fs->create(kRootNode, "f", 0644, {});
    REQUIRE(f);
    constexpr const char* kAcl = "system.posix_acl_access";
    CHECK_FALSE(w.fs->get_xattr(f->node, kAcl));
    // Where the lower file system has none at all, nothing is said.
    const bool has_acls = w.reader.absent_xattrs(f->node) == XF_XATTR_ACL_ACCESS;
    if (has_acls) {
        REQUIRE(w.fs->set_xattr(f->node, "user.other", bytes_of("x"), 0));
        CHECK(w.reader.absent_xattrs(f->node) == 0);
        lower.after_stat = [&] {
            REQUIRE(w.fs->set_xattr(f->node, "user.another", bytes_of("x"), 0));
        };
        CHECK_FALSE(w.fs->get_xattr(f->node, kAcl));
        CHECK(w.reader.absent_xattrs(f->node) == 0);
    }
    w.fs->forget(f->node, 1);
}

TEST_CASE("nothing is answered of what is being changed") {
    const auto real = lower::make_posix_lower_fs();
    Interposed lower(*real);
    World w(lower);
    auto f = w.fs->create(kRootNode, "f", 0644, {});
    auto g = w.fs->create(kRootNode, "g", 0644, {});
    REQUIRE((f && g));
    bool acted = false;
    auto check = [&](std::initializer_list<NodeId> closed) {
        acted = true;
        for (const NodeId node : closed) CHECK_FALSE(w.knows(node));
        CHECK(w.verdict("f") == Verdict::kPass);
    };
    SECTION("unlink") {
        lower.before_change = [&] { check({f->node, kRootNode}); };
        REQUIRE(w.fs->unlink(kRootNode, "f"));
        CHECK(w.verdict("f") == Verdict::kAbsent);
    }
    SECTION("rename") {
        lower.before_change = [&] {
            check({f->node, g->node, kRootNode});
            CHECK(w.verdict("g") == Verdict::kPass);
        };
        REQUIRE(w.fs->rename(kRootNode, "f", kRootNode, "g", lower::RenameMode::kExchange));
        CHECK(w.verdict("f") == Verdict::kFound);
    }
    CHECK(acted);
    w.fs->forget(f->node, 1);
    w.fs->forget(g->node, 1);
}

namespace {

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
        World w(lower, size.buckets, size.nodes);
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
