// SPDX-License-Identifier: Apache-2.0
// Attributes: what is told of a file whose header must be read for its size, and cannot be.
#include <endian.h>
#include <sys/stat.h>
#include <unistd.h>
#include <catch2/catch.hpp>

#include <cerrno>

#include "tests/fake/fault_lower_fs.h"
#include "tests/unit/core/volume_for_tests.h"

using namespace extencfs;
using namespace extencfs::core;
using fake::Calls;

namespace {

// A volume with empty files "f" and "g", whose size is never believed from below.
struct EmptyFiles {
    fake::ScratchDir dir = fake::ScratchDir::in_memory();
    fake::FaultLowerFs lower;
    Damage damage;
    std::unique_ptr<Filesystem> fs;

    EmptyFiles() {
        open();
        for (const char* name : {"f", "g"}) {
            auto made = fs->create(kRootNode, name, 0644, {});
            REQUIRE(made);
            fs->forget(made->node, 1);
        }
        REQUIRE(fs->finish());
    }
    void open(std::size_t max_descriptors = 512, bool shared = false) {
        fs.reset();
        fs = open_fs(lower, dir,
                     {.clean = true,
                      .damage = &damage,
                      .max_descriptors = max_descriptors,
                      .shared = shared});
    }
    // With so few descriptors that one file stays open: another one.
    void put_out_f() {
        auto other = fs->lookup(kRootNode, "g");
        REQUIRE(other);
        REQUIRE(fs->getattr(other->node));
        fs->forget(other->node, 1);
    }
};

}  // namespace

TEST_CASE("a lookup that cannot read the header fails, and the next one is right") {
    EmptyFiles volume;
    for (const int error : {EIO, EMFILE, ENFILE, ENOMEM}) {
        for (const char* call : {"pread", "open"}) {
            INFO(call << " fails with errno " << error);
            volume.open();
            volume.lower.fail_at(1, error, Calls::named(call));
            const auto failed = volume.fs->lookup(kRootNode, "f");
            REQUIRE_FALSE(failed);
            CHECK(errno_of(failed.error()) == error);
            CHECK(volume.fs->node_count() == 1);
            const auto found = volume.fs->lookup(kRootNode, "f");
            REQUIRE(found);
            CHECK(found->attr.st_size == 0);
            volume.fs->forget(found->node, 1);
        }
    }
    CHECK(volume.damage.text() == "");
}

TEST_CASE("attributes that need the header fail with the error that its reading has") {
    EmptyFiles volume;
    volume.open(1);
    const auto found = volume.fs->lookup(kRootNode, "f");
    REQUIRE(found);
    volume.put_out_f();
    volume.lower.fail_at(1, EIO, Calls::named("pread"));
    const auto failed = volume.fs->getattr(found->node);
    REQUIRE_FALSE(failed);
    CHECK(errno_of(failed.error()) == EIO);
    const auto attr = volume.fs->getattr(found->node);
    REQUIRE(attr);
    CHECK(attr->st_size == 0);
    // The same when it has no name any more.
    volume.put_out_f();
    REQUIRE(volume.fs->unlink(kRootNode, "f"));
    volume.lower.fail_at(1, EIO, Calls::named("pread"));
    CHECK_FALSE(volume.fs->getattr(found->node));
    const auto nameless = volume.fs->getattr(found->node);
    REQUIRE(nameless);
    CHECK(nameless->st_size == 0);
    CHECK(nameless->st_nlink == 0);
    volume.fs->forget(found->node, 1);
}

TEST_CASE("a file that cannot be opened for writing can be synced") {
    EmptyFiles volume;
    volume.open(1);
    const auto found = volume.fs->lookup(kRootNode, "f");
    REQUIRE(found);
    for (const int error : {EPERM, EROFS, EACCES}) {
        volume.put_out_f();
        volume.lower.fail_at(1, error, Calls::named("open"));  // the first try, O_RDWR
        CHECK(volume.fs->fsync(found->node, false));
    }
    volume.fs->forget(found->node, 1);
}

TEST_CASE("a name is found although another one of its file went behind a shared mount") {
    EmptyFiles volume;
    volume.open(1, true);
    const auto found = volume.fs->lookup(kRootNode, "f");
    REQUIRE(found);
    std::string entry;
    REQUIRE(volume.lower.list(volume.dir.fd(), [&](const lower::DirEntry& e) {
        if (e.ino == found->attr.st_ino) entry = e.name;
        return true;
    }));
    REQUIRE(volume.fs->link(found->node, kRootNode, "h"));
    volume.put_out_f();
    REQUIRE(::unlink(volume.dir.path(entry).c_str()) == 0);
    CHECK(volume.fs->lookup(kRootNode, "h"));
}

TEST_CASE("a listing leaves out the attributes that it cannot have") {
    EmptyFiles volume;
    volume.open();
    volume.lower.fail_at(1, EIO, Calls::named("pread"));
    int with = 0, without = 0;
    const auto listed =
        volume.fs->list(kRootNode, 0, ListMode::kWithAttributes, [&](const ListedEntry& e) {
            if (e.name != "f" && e.name != "g") return true;
            ++(e.entry != nullptr ? with : without);
            if (e.entry != nullptr) volume.fs->forget(e.entry->node, 1);
            return true;
        });
    REQUIRE(listed);
    CHECK(with == 1);
    CHECK(without == 1);
    CHECK(volume.fs->node_count() == 1);
}

TEST_CASE("a file whose header is damaged can be looked up, and is not empty") {
    EmptyFiles volume;
    volume.open();
    auto found = volume.fs->lookup(kRootNode, "f");
    REQUIRE(found);
    const auto ino = found->attr.st_ino;
    volume.fs->forget(found->node, 1);
    volume.open();
    REQUIRE(volume.lower.list(volume.dir.fd(), [&](const lower::DirEntry& entry) {
        if (entry.ino != ino) return true;
        CHECK(::truncate(volume.dir.path(std::string(entry.name)).c_str(), 0) == 0);
        return false;
    }));
    found = volume.fs->lookup(kRootNode, "f");
    REQUIRE(found);
    CHECK(found->attr.st_size == 1);
    volume.fs->forget(found->node, 1);
    CHECK(volume.damage.count() == 1);
}

namespace {

// acl(5) as an attribute's value: owner rwx, one named user rwx, group and mask r-x, others none.
std::string access_acl() {
    std::string out;
    const auto add = [&](auto value) {
        out.append(reinterpret_cast<const char*>(&value), sizeof value);
    };
    const auto entry = [&](std::uint16_t tag, std::uint16_t permissions, std::uint32_t id) {
        add(htole16(tag));
        add(htole16(permissions));
        add(htole32(id));
    };
    constexpr std::uint32_t kNoId = ~std::uint32_t{0};
    add(htole32(2));
    entry(1, 7, kNoId);
    entry(2, 7, 4711);
    entry(4, 5, kNoId);
    entry(16, 5, kNoId);
    entry(32, 0, kNoId);
    return out;
}

}  // namespace

TEST_CASE("an access ACL set from outside the group takes set-group-ID away") {
    EmptyFiles volume;
    const std::string acl = access_acl();
    const KillPrivilege outside{true, [](gid_t) { return false; }};
    const KillPrivilege inside{true, [](gid_t) { return true; }};
    const auto made = [&](const char* name, mode_t type) {
        auto entry = type == S_IFDIR ? volume.fs->mkdir(kRootNode, name, 0750, {})
                                     : volume.fs->mknod(kRootNode, name, type | 0750, 0, {});
        REQUIRE(entry);
        AttrChange change;
        change.mode_set = true;
        change.mode = 02750;
        REQUIRE(volume.fs->setattr(entry->node, change));
        return entry->node;
    };
    for (const mode_t type : {S_IFREG, S_IFDIR, S_IFIFO}) {
        INFO("type " << type);
        const auto name = std::to_string(type);
        const NodeId node = made(name.c_str(), type);
        const auto mode = [&] {
            auto attr = volume.fs->getattr(node);
            REQUIRE(attr);
            return attr->st_mode & 07777;
        };
        const auto set = [&](const char* which, const KillPrivilege& kill) {
            return volume.fs->set_xattr(node, which, bytes_of(acl), 0, kill);
        };
        auto first = set("system.posix_acl_access", {});
        if (!first && errno_of(first.error()) == EOPNOTSUPP) return;  // none on this file system
        REQUIRE(first);
        CHECK(mode() == 02750);
        REQUIRE(set("system.posix_acl_access", inside));
        CHECK(mode() == 02750);
        if (type == S_IFDIR) {
            REQUIRE(set("system.posix_acl_default", outside));
            CHECK(mode() == 02750);
        }
        REQUIRE(set("system.posix_acl_access", outside));
        CHECK(mode() == 0750);
        auto now = volume.fs->get_xattr(node, "system.posix_acl_access");
        REQUIRE(now);
        CHECK(text_of(*now) == acl);
        volume.fs->forget(node, 1);
    }
}
