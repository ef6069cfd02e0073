// SPDX-License-Identifier: GPL-2.0
// What is answered from records, and what must not be.
#include "bpf/tests/guest.h"

namespace guest {

namespace {

void check_served(Records& r) {
    std::puts("--- answered from records");
    constexpr int kTimes = 1000;
    auto before = demo::requests.total();
    const auto count_before = must(r.path.counters(), "counters");
    const int bad = as(kRoot, [] {
        for (int i = 0; i < kTimes; ++i)
            if (size_of(kHelloPath) != kServedSize) return 1;
        return 0;
    });
    check_equal(bad, 0, "1000 stats give the record's size");
    check_equal(demo::requests.total() - before, 0, "and no request reaches the daemon");
    const auto counted = must(r.path.counters(), "counters");
    check_equal(counted.served[FUSE_LOOKUP] - count_before.served[FUSE_LOOKUP], kTimes,
                "LOOKUPs counted as served");
    std::printf("     GETATTRs served: %llu\n",
                static_cast<unsigned long long>(counted.served[FUSE_GETATTR] -
                                                count_before.served[FUSE_GETATTR]));
    check_equal(xf_ref_count(r.node(demo::kHello).ref), counted.served[FUSE_LOOKUP],
                "the reference word counts the served LOOKUPs");

    before = demo::requests.total();
    check_equal(as(kRoot, [] { return result(size_of(kMnt + "/missing") < 0 ? -1 : 0); }), ENOENT,
                "a missing name in a complete directory");
    check_equal(
        as(kRoot, [] { return result(size_of(kMnt + "/" + std::string(255, 'x')) < 0 ? -1 : 0); }),
        ENOENT, "a missing name of 255 bytes");
    check_equal(as(kRoot, [] { return size_of(kMnt + "/" + demo::long_name()) == kServedSize; }), 1,
                "an existing name of 255 bytes");
    check_equal(demo::requests.total() - before, 0, "no request for these");
    before = reached(FUSE_LOOKUP);
    check_equal(as(kRoot, [] { return size_of(kMnt + "/" + std::string(256, 'x')) < 0; }), 1,
                "a name of 256 bytes, which no tag is made of");
    check_equal(reached(FUSE_LOOKUP) - before, 1, "is the daemon's to answer");
}

// STATX is sent for the birth time, until the daemon (whose libfuse does not know it) refuses it.
void check_statx(Records& r) {
    xf_node& n = r.node(demo::kHello);
    n.btime = 1234567;
    n.btime_nsec = 89;
    n.attr_flags = XF_ATTR_BTIME;
    n.attr.rdev = 0;
    const auto served = [&] { return must(r.path.counters(), "counters").served[kStatx]; };
    const auto before = served();
    const int rc = as(kRoot, [] {
        struct statx st {};
        if (::statx(AT_FDCWD, kHelloPath.c_str(), 0, STATX_BASIC_STATS | STATX_BTIME, &st))
            return 1;
        if (!(st.stx_mask & STATX_BTIME)) return 2;
        if (st.stx_btime.tv_sec != 1234567 || st.stx_btime.tv_nsec != 89) return 3;
        return st.stx_size == kServedSize && st.stx_mode == (S_IFREG | 0666) ? 0 : 4;
    });
    check_equal(rc, 0, "statx gives the birth time");
    check_equal(served() - before, 1, "STATX served");
    n.attr_flags = 0;
    check_equal(as(kRoot,
                   [] {
                       struct statx st {};
                       return ::statx(AT_FDCWD, kHelloPath.c_str(), 0, STATX_ALL, &st) ? 1 : 0;
                   }),
                0, "statx without a birth time in the record");
    check_equal(served() - before, 1, "is not served");
}

// A writer that changes all fields at once, by the protocol, while clients compare them.
void check_torn(Records& r) {
    std::puts("--- no torn answers");
    xf_node& n = r.node(demo::kHello);
    const xf_attr attr = n.attr;
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> published{0};
    std::thread writer([&] {
        for (std::uint64_t value = 1; !stop; ++value, ++published) {
            __atomic_store_n(&n.attr_ver, n.attr_ver + 1, __ATOMIC_RELEASE);
            __atomic_thread_fence(__ATOMIC_SEQ_CST);
            n.attr.size = n.attr.blocks = n.attr.mtime = n.attr.ctime = n.attr.atime = value;
            n.attr.uid = n.attr.gid = value % 1000;
            __atomic_store_n(&n.attr_ver, n.attr_ver + 1, __ATOMIC_RELEASE);
        }
    });
    while (published == 0) ::usleep(1000);  // until then the record is not as it is compared
    const auto served = [&] { return must(r.path.counters(), "counters").served[FUSE_GETATTR]; };
    const auto before = served();
    const int bad = as(kRoot, [] {
        std::int64_t last = 0;
        for (int i = 0; i < 20000; ++i) {
            struct stat st;
            if (::stat(kHelloPath.c_str(), &st)) return 1;
            if (st.st_size == demo::kDaemonSize && st.st_mtime == 0) continue;  // it was closed
            if (st.st_mtime != st.st_size || st.st_blocks != st.st_size ||
                st.st_ctime != st.st_size || st.st_atime != st.st_size ||
                st.st_uid != st.st_size % 1000 || st.st_gid != st.st_uid) {
                std::printf(
                    "     size %lld blocks %lld mtime %lld ctime %lld atime %lld uid %u\n",
                    static_cast<long long>(st.st_size), static_cast<long long>(st.st_blocks),
                    static_cast<long long>(st.st_mtime), static_cast<long long>(st.st_ctime),
                    static_cast<long long>(st.st_atime), st.st_uid);
                std::fflush(stdout);
                return 2;
            }
            if (st.st_size < last) return 3;
            last = st.st_size;
        }
        return 0;
    });
    stop = true;
    writer.join();
    check_equal(bad, 0, "20000 stats beside a writer are whole, and none is older than the last");
    std::printf("     published %llu, GETATTRs served %llu\n",
                static_cast<unsigned long long>(published.load()),
                static_cast<unsigned long long>(served() - before));
    n.attr = attr;
}

void check_fstat(Records& r) {
    const auto before = reached(FUSE_GETATTR);
    check_equal(as(kRoot,
                   [] {
                       struct stat st {};
                       const int fd = ::open(kHelloPath.c_str(), O_RDONLY);
                       for (int i = 0; i < 100; ++i)
                           if (::fstat(fd, &st) || st.st_size != kServedSize) return 1;
                       return 0;
                   }),
                0, "fstat (GETATTR with a handle)");
    check_equal(reached(FUSE_GETATTR) - before, 0, "and no GETATTR reaches the daemon");
    (void)r;
}

void check_xattrs(Records& r) {
    std::puts("--- extended attributes");
    char value[64];
    const auto get = [&](const char* name, std::size_t size) {
        return as(kRoot, [&] { return result(::getxattr(kHelloPath.c_str(), name, value, size)); });
    };
    const auto list = [&](std::size_t size) {
        return as(kRoot,
                  [&] { return static_cast<int>(::listxattr(kHelloPath.c_str(), value, size)); });
    };
    xf_node& n = r.node(demo::kHello);
    auto before = reached(FUSE_GETXATTR);
    check_equal(get("user.a", 64), 0, "nothing known: the daemon's value");
    check_equal(reached(FUSE_GETXATTR) - before, 1, "one GETXATTR");
    n.xattr_absent = XF_XATTR_CAPABILITY | XF_XATTR_ACL_ACCESS;
    before = reached(FUSE_GETXATTR);
    check_equal(get("security.capability", 64), ENODATA, "known absent");
    check_equal(get("security.capability", 0), ENODATA, "known absent, size asked");
    check_equal(reached(FUSE_GETXATTR) - before, 0, "no GETXATTR");
    check_equal(get("security.capabilitx", 64), 0, "another name of that length");
    check_equal(get("security.capability2", 64), 0, "a longer name");
    check_equal(get("security.capability.that.is.longer.than.32", 64), 0, "a much longer name");
    check_equal(get("user.a", 64), 0, "another namespace");
    check_equal(reached(FUSE_GETXATTR) - before, 4, "four GETXATTRs");
    before = reached(FUSE_LISTXATTR);
    check_equal(list(64), 7, "the daemon's list");
    check_equal(reached(FUSE_LISTXATTR) - before, 1, "one LISTXATTR");

    n.xattr_absent = XF_XATTR_NONE | kAllKnown;
    before = demo::requests.total();
    check_equal(get("user.a", 64), ENODATA, "none at all: user.a");
    check_equal(get("trusted.a", 0), ENODATA, "none at all: trusted.a");
    check_equal(get("security.anything", 64), ENODATA, "none at all: security.anything");
    check_equal(list(64), 0, "none at all: the list is empty");
    check_equal(list(0), 0, "none at all: and of size 0");
    check_equal(demo::requests.total() - before, 0, "no request for these");
    before = reached(FUSE_GETXATTR);
    check_equal(get("strange.a", 64), 0, "a namespace for which the daemon has another error");
    check_equal(get("user.", 64), 0, "a namespace without a name");
    check_equal(reached(FUSE_GETXATTR) - before, 2, "two GETXATTRs");
    before = reached(FUSE_GETXATTR);
    n.xattr_ver |= 1;
    check_equal(get("user.a", 64), 0, "closed: the daemon's value");
    check_equal(reached(FUSE_GETXATTR) - before, 1, "one GETXATTR");
    ++n.xattr_ver;
}

// Each way in which a record must not be used; `spoil` and then `mend`.
void check_passed(const std::string& what, const std::function<void()>& spoil,
                  const std::function<void()>& mend, int opcode) {
    const auto before = reached(opcode);
    spoil();
    const int rc = as(kRoot, [] { return size_of(kHelloPath) == demo::kDaemonSize ? 0 : 1; });
    mend();
    check(reached(opcode) - before >= 1, what + ": goes to the daemon");
    if (opcode == FUSE_GETATTR) check_equal(rc, 0, what + ": the daemon's size");
    check_equal(as(kRoot, [] { return size_of(kHelloPath) == kServedSize ? 0 : 1; }), 0,
                what + ": served again afterwards");
}

void check_closed(Records& r) {
    std::puts("--- records that must not be used");
    xf_node& n = r.node(demo::kHello);
    xf_bucket* b = nullptr;
    xf_way& w = r.way(demo::kRoot, "hello", &b);
    const std::uint64_t ref = n.ref;
    check_passed(
        "attributes closed", [&] { ++n.attr_ver; }, [&] { ++n.attr_ver; }, FUSE_GETATTR);
    check_passed(
        "another node in the slot", [&] { n.nodeid += 1ULL << 32; },
        [&] { n.nodeid -= 1ULL << 32; }, FUSE_GETATTR);
    check_passed(
        "bucket closed", [&] { ++b->ver; }, [&] { ++b->ver; }, FUSE_LOOKUP);
    check_passed(
        "name being changed", [&] { w.child = XF_CHILD_BUSY; }, [&] { w.child = demo::kHello; },
        FUSE_LOOKUP);
    check_passed(
        "node dead", [&] { n.ref = ref & ~XF_REF_ALIVE; }, [&] { n.ref = ref; }, FUSE_LOOKUP);
    check_passed(
        "count full", [&] { n.ref = ref | XF_REF_COUNT_MASK; }, [&] { n.ref = ref; }, FUSE_LOOKUP);
    check_passed(
        "reference of another generation", [&] { n.ref = ref + (1ULL << 32); },
        [&] { n.ref = ref; }, FUSE_LOOKUP);
    check_passed(
        "child beyond the array", [&] { w.child = (5ULL << 32) | r.path.config().node_count; },
        [&] { w.child = demo::kHello; }, FUSE_LOOKUP);
    check_passed(
        "name unknown, directory not complete",
        [&] {
            ++r.node(demo::kRoot).dir_ver;
            w.parent = 0;
        },
        [&] {
            ++r.node(demo::kRoot).dir_ver;
            w.parent = demo::kRoot;
        },
        FUSE_LOOKUP);
    w.child = XF_CHILD_ABSENT;
    const auto before = demo::requests.total();
    check_equal(as(kRoot, [] { return size_of(kHelloPath) == -ENOENT; }), 1, "known not to exist");
    check_equal(demo::requests.total() - before, 0, "no request for it");
    w.child = demo::kHello;
}

}  // namespace

void check_answers(Records& r) {
    check_served(r);
    check_fstat(r);
    check_statx(r);
    check_torn(r);
    check_xattrs(r);
    check_closed(r);
}

void check_forget(Records& r, std::uint64_t daemon_lookups) {
    std::puts("--- references");
    const auto served = xf_ref_count(r.node(demo::kHello).ref);
    const int drop = ::open("/proc/sys/vm/drop_caches", O_WRONLY);
    check_equal(::write(drop, "2", 1), 1, "caches dropped");
    ::close(drop);
    ::usleep(300000);
    std::printf("     daemon's LOOKUP replies and served ones: %llu + %u, forgotten: %llu\n",
                static_cast<unsigned long long>(daemon_lookups), served,
                static_cast<unsigned long long>(demo::requests.forgotten_hello));
    check_equal(demo::requests.forgotten_hello, daemon_lookups + served,
                "FORGETs are of the daemon's LOOKUPs and the served ones");
}

}  // namespace guest
