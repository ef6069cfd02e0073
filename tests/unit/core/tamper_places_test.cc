// SPDX-License-Identifier: Apache-2.0
// Rows of FORMAT.md "Threats" about names, directories, symlinks and attributes, as a file system
// answers them.
#include "encfs/volume/dir_file.h"
#include "tests/unit/core/tampered_volume.h"

using namespace extencfs;
using namespace extencfs::core;

namespace {

constexpr const char* kId = "/extencfs.dir";

// Everything in `path` is out of reach, and the report names the lower directory.
void check_refused(TamperedVolume& v, const std::string& path, const std::string& lower) {
    const NodeId dir = v.node(path);
    CHECK(is_damaged(v.list(dir)));
    CHECK(is_damaged(v.fs().lookup(dir, "inner")));
    CHECK(is_damaged(v.fs().create(dir, "new", 0644, {})));
    CHECK(is_damaged(v.fs().list_xattr(dir)));
    CHECK(v.damage().text().find(name_below(lower)) != std::string::npos);
}

}  // namespace

TEST_CASE("T11: a directory whose id file is changed, cut or gone is refused") {
    TamperedVolume v;
    const bool empty = GENERATE(false, true);
    v.make_directory("d");
    if (!empty) v.make_file("d/inner", "x");
    const std::string lower = v.lower_of("d");
    const std::string id = lower_bytes(lower + kId);
    REQUIRE(v.unmount());
    SECTION("a bit") {
        flip(lower + kId, 20);
    }
    SECTION("cut") {
        cut(lower + kId, 50);
    }
    SECTION("zeroed") {
        if (empty) return;  // as if it were gone
        put_lower_bytes(lower + kId, std::string(id.size(), '\0'));
    }
    SECTION("gone") {
        if (empty) return;
        std::filesystem::remove(lower + kId);
    }
    SECTION("nothing in it") {
        if (empty) return;
        cut(lower + kId, 0);
    }
    const bool gone = !std::filesystem::exists(lower + kId);
    const std::string left = gone ? "" : lower_bytes(lower + kId);
    v.mount();
    check_refused(v, "d", lower);
    CHECK(is_damaged(v.fs().rename(kRootNode, "d", kRootNode, "e", lower::RenameMode::kReplace)));
    // Nothing was made good.
    CHECK(std::filesystem::exists(lower + kId) != gone);
    if (!gone) CHECK(lower_bytes(lower + kId) == left);
    v.session().forget_all();
}

TEST_CASE("T11: an id file that goes while the directory is in use does not let it move") {
    TamperedVolume v;
    v.make_directory("d");
    v.make_file("d/inner", "x");
    const std::string lower = v.lower_of("d");
    std::filesystem::remove(lower + kId);
    CHECK(is_damaged(v.fs().rename(kRootNode, "d", kRootNode, "e", lower::RenameMode::kReplace)));
    CHECK(std::filesystem::exists(lower));
}

TEST_CASE("T11: directories are refused where they do not belong") {
    TamperedVolume v;
    v.make_directory("a");
    v.make_file("a/inner", "of a");
    v.make_directory("b");
    v.make_file("b/inner", "of b");
    v.make_directory("a/sub");
    const std::string a = v.lower_of("a"), b = v.lower_of("b"), sub = v.lower_of("a/sub");
    REQUIRE(v.unmount());
    SECTION("exchanged") {
        exchange_below(a, b);
        v.mount();
        check_refused(v, "a", a);
        check_refused(v, "b", b);
    }
    SECTION("their id files exchanged") {
        exchange_below(a + kId, b + kId);
        v.mount();
        check_refused(v, "a", a);
        check_refused(v, "b", b);
    }
    SECTION("the id file of another copied") {
        put_lower_bytes(a + kId, lower_bytes(b + kId));
        v.mount();
        check_refused(v, "a", a);
        CHECK(v.read(v.node("b/inner")) == "of b");
    }
    SECTION("copied into another one") {
        std::filesystem::remove_all(b);
        std::filesystem::copy(a, b, std::filesystem::copy_options::recursive);
        v.mount();
        check_refused(v, "b", b);
        CHECK(v.read(v.node("a/inner")) == "of a");
    }
    SECTION("moved below another one: not even a name") {
        std::filesystem::rename(sub, b + "/" + name_below(sub));
        v.mount();
        CHECK(v.names_in(v.node("b")) == std::set<std::string>{"inner"});
        CHECK(v.names_in(v.node("a")) == std::set<std::string>{"inner"});
        CHECK(v.damage().text().find(name_below(sub)) != std::string::npos);
    }
    v.session().forget_all();
}

TEST_CASE("T25: when a rename is finished its old place is none, before that either is") {
    TamperedVolume v;
    v.make_directory("a");
    v.make_file("a/inner", "of a");
    const std::string was = v.lower_of("a");
    REQUIRE(v.fs().rename(kRootNode, "a", kRootNode, "b", lower::RenameMode::kReplace));
    const std::string is = v.lower_of("b");
    const bool in_order = GENERATE(true, false);
    if (in_order)
        REQUIRE(v.unmount());
    else
        v.kill();
    const std::string id = lower_bytes(is + kId);
    const auto written = volume::decode_dir_file(bytes_of(id).first<volume::kDirFileSize>(),
                                                 keys_for_tests()->current().dir_mac.bytes());
    REQUIRE(written);
    CHECK((written->next == volume::Binding{}) == in_order);
    std::filesystem::rename(is, was);
    v.mount();
    if (in_order)
        check_refused(v, "a", was);
    else
        CHECK(v.read(v.node("a/inner")) == "of a");
    v.session().forget_all();
}

TEST_CASE("a directory that is renamed again forgets its oldest place") {
    TamperedVolume v;
    v.make_directory("a");
    v.make_file("a/inner", "of a");
    const std::string was = v.lower_of("a");
    REQUIRE(v.fs().rename(kRootNode, "a", kRootNode, "b", lower::RenameMode::kReplace));
    REQUIRE(v.fs().rename(kRootNode, "b", kRootNode, "c", lower::RenameMode::kReplace));
    const std::string is = v.lower_of("c");
    v.kill();
    std::filesystem::rename(is, was);
    v.mount();
    check_refused(v, "a", was);
    v.session().forget_all();
}

TEST_CASE("T12: a name that does not authenticate is not shown but reported") {
    TamperedVolume v;
    const std::string long_name(200, 'n');
    v.make_file("f", "x");
    v.make_file("g", "y");
    v.make_file(long_name, "z");
    const std::string lower = v.lower_of("f"), long_lower = v.lower_of(long_name);
    REQUIRE(name_below(long_lower).starts_with(volume::kLongEntryPrefix));
    const std::string side =
        place_below(long_lower) + "/" + volume::kLongSidePrefix +
        name_below(long_lower).substr(std::string(volume::kLongEntryPrefix).size());
    REQUIRE(v.unmount());
    std::string changed;
    SECTION("a letter") {
        changed = name_below(lower);
        changed[0] = changed[0] == 'A' ? 'B' : 'A';
        std::filesystem::rename(lower, place_below(lower) + "/" + changed);
        v.mount();
        CHECK(v.names_in(kRootNode) == std::set<std::string>{"g", long_name});
        const auto found = v.fs().lookup(kRootNode, "f");
        REQUIRE_FALSE(found);
        CHECK(found.error().kind == ErrorKind::kNotFound);
    }
    SECTION("a side file's bit, end or all") {
        changed = name_below(long_lower);
        SECTION("bit") {
            flip(side, 5);
        }
        SECTION("end") {
            cut(side, std::filesystem::file_size(side) - 1);
        }
        SECTION("grown") {
            put_lower_bytes(side, lower_bytes(side) + std::string(5000, 'x'));
        }
        SECTION("all") {
            std::filesystem::remove(side);
        }
        v.mount();
        CHECK(v.names_in(kRootNode) == std::set<std::string>{"f", "g"});
        // Who knows the name needs no side file.
        CHECK(v.read(v.node(long_name)) == "z");
    }
    CHECK(v.damage().text().find(changed) != std::string::npos);
}

TEST_CASE("foreign entries are hidden, left alone and not reported") {
    TamperedVolume v;
    v.make_file("f", "x");
    for (const char* name : {"README.txt", "a (copy)", "extencfs.x", "extencfs.state"})
        put_lower_bytes(v.dir().path(name), "foreign");
    CHECK(v.names_in(kRootNode) == std::set<std::string>{"f"});
    CHECK(v.damage().text() == "");
    v.remount();
    CHECK(std::filesystem::exists(v.dir().path("README.txt")));
}

TEST_CASE("T13: an attribute is that of its owner and name only") {
    TamperedVolume v;
    const bool directories = GENERATE(false, true);
    for (const char* path : {"a", "b"}) {
        if (directories)
            v.make_directory(path);
        else
            v.make_file(path, "x");
        REQUIRE(v.fs().set_xattr(v.node(path), "user.one", bytes_of(path), 0));
        REQUIRE(v.fs().set_xattr(v.node(path), "user.two", bytes_of("2"), 0));
    }
    const std::string a = v.lower_of("a"), b = v.lower_of("b");
    REQUIRE(v.unmount());
    const auto real = lower::make_posix_lower_fs();
    const auto open = [&](const std::string& path) {
        auto fd = real->open(v.dir().fd(), name_below(path), O_RDONLY, 0);
        REQUIRE(fd);
        return std::move(*fd);
    };
    const lower::Fd fd_a = open(a), fd_b = open(b);
    auto names_of = [&](const lower::Fd& fd) {
        auto names = real->list_xattr(fd.get());
        REQUIRE(names);
        REQUIRE(names->size() == 2);
        std::sort(names->begin(), names->end());
        return *names;
    };
    const auto names_a = names_of(fd_a), names_b = names_of(fd_b);
    SECTION("moved to another owner") {
        for (const auto& name : names_b) REQUIRE(real->remove_xattr(fd_b.get(), name));
        for (const auto& name : names_a) {
            auto value = real->get_xattr(fd_a.get(), name);
            REQUIRE(value);
            REQUIRE(real->set_xattr(fd_b.get(), name, *value, 0));
        }
        v.mount();
        const NodeId node = v.node("b");
        const auto listed = v.fs().list_xattr(node);
        REQUIRE(listed);
        CHECK(listed->empty());
        CHECK_FALSE(v.fs().get_xattr(node, "user.one"));
        CHECK(v.damage().text().find(names_a[0] + " does not authenticate: " + name_below(b)) !=
              std::string::npos);
    }
    SECTION("another's value under its own name") {
        for (std::size_t i = 0; i < 2; ++i) {
            for (const auto& theirs : names_a) {
                auto value = real->get_xattr(fd_a.get(), theirs);
                REQUIRE(value);
                REQUIRE(real->set_xattr(fd_b.get(), names_b[i], *value, 0));
                v.mount();
                const NodeId node = v.node("b");
                const auto one = v.fs().get_xattr(node, "user.one");
                const auto two = v.fs().get_xattr(node, "user.two");
                CHECK((is_damaged(one) || is_damaged(two)));
                CHECK(v.damage().text().find("an extended attribute does not authenticate: " +
                                             name_below(b)) != std::string::npos);
                REQUIRE(v.unmount());
            }
        }
        v.mount();
    }
}

TEST_CASE("T14: a symlink's changed target is EIO") {
    TamperedVolume v;
    const std::string long_target(3500, 't'), other_target(3500, 'o');
    REQUIRE(v.session().keep(v.fs().symlink(kRootNode, "short", "some/target", {})));
    REQUIRE(v.session().keep(v.fs().symlink(kRootNode, "long", long_target, {})));
    REQUIRE(v.session().keep(v.fs().symlink(kRootNode, "other", other_target, {})));
    CHECK(v.fs().readlink(v.node("long")) == long_target);
    const std::string lower = v.lower_of("short"), long_lower = v.lower_of("long");
    const auto text_of_link = [&](const std::string& path) {
        const std::string ref = std::filesystem::read_symlink(v.lower_of(path));
        const std::string id = ref.substr(std::string("extencfs.s.").size(), 22);
        return v.dir().path(std::string(volume::kLongSymlinkDir)) + "/" + id;
    };
    const std::string text = text_of_link("long"), other = text_of_link("other");
    REQUIRE(v.unmount());
    std::string victim = "long";
    SECTION("a letter") {
        victim = "short";
        std::string target = std::filesystem::read_symlink(lower);
        target[30] = target[30] == 'A' ? 'B' : 'A';
        std::filesystem::remove(lower);
        std::filesystem::create_symlink(target, lower);
    }
    SECTION("foreign") {
        victim = "short";
        std::filesystem::remove(lower);
        std::filesystem::create_symlink("/etc/passwd", lower);
    }
    SECTION("a long one's file changed") {
        flip(text, 100);
    }
    SECTION("a long one's file cut") {
        cut(text, 1000);
    }
    SECTION("a long one's file gone") {
        std::filesystem::remove(text);
    }
    SECTION("all of them gone") {
        std::filesystem::remove_all(v.dir().path(std::string(volume::kLongSymlinkDir)));
    }
    SECTION("two long ones' files exchanged") {
        exchange_below(text, other);
    }
    v.mount();
    CHECK(is_damaged(v.fs().readlink(v.node(victim))));
    CHECK(v.damage().text().find("symlink ") != std::string::npos);
}

TEST_CASE("a long symlink's text goes with its last name only") {
    TamperedVolume v;
    const std::string target(3500, 't');
    REQUIRE(v.session().keep(v.fs().symlink(kRootNode, "one", target, {})));
    const NodeId node = v.node("one");
    REQUIRE(v.session().keep(v.fs().link(node, kRootNode, "two")));
    const auto texts = [&] {
        const std::filesystem::directory_iterator all(
            v.dir().path(std::string(volume::kLongSymlinkDir)));
        return std::distance(begin(all), end(all));
    };
    CHECK(texts() == 1);
    REQUIRE(v.fs().unlink(kRootNode, "one"));
    CHECK(v.fs().readlink(v.node("two")) == target);
    v.make_file("three", "");
    REQUIRE(v.fs().rename(kRootNode, "three", kRootNode, "two", lower::RenameMode::kReplace));
    CHECK(texts() == 0);
}

TEST_CASE("a read-only mount makes nothing good") {
    TamperedVolume v;
    v.make_directory("d");
    const std::string lower = v.lower_of("d");
    REQUIRE(v.unmount());
    std::filesystem::remove(lower + kId);
    {
        const auto fs = open_fs(v.lower(), v.dir(), {.clean = true, .read_only = true});
        auto d = fs->lookup(kRootNode, "d");
        REQUIRE(d);
        CHECK(fs->list(d->node, 0, ListMode::kNames, [](const ListedEntry&) { return true; }));
        fs->forget(d->node, 1);
    }
    CHECK_FALSE(std::filesystem::exists(lower + kId));
    v.mount();
    CHECK(v.names_in(v.node("d")).empty());
    CHECK(std::filesystem::exists(lower + kId));
}

TEST_CASE("what is put in the place of something in use is not taken for it") {
    TamperedVolume v;
    const std::string spare = v.dir().path("spare");
    SECTION("a file") {
        v.make_file("f", "mine");
        const std::string lower = v.lower_of("f");
        v.remount();
        const NodeId f = v.node("f");
        put_lower_bytes(spare, lower_bytes(lower));
        std::filesystem::rename(spare, lower);
        const auto got = v.read(f);
        REQUIRE_FALSE(got);
        CHECK(got.error().kind == ErrorKind::kStale);
        const auto attr = v.fs().getattr(f);
        REQUIRE_FALSE(attr);
        CHECK(attr.error().kind == ErrorKind::kStale);
        CHECK(v.read(v.node("f")) == "mine");
    }
    SECTION("a directory") {
        v.make_directory("d");
        v.make_file("d/inner", "mine");
        const std::string lower = v.lower_of("d");
        v.remount();
        const NodeId d = v.node("d");
        std::filesystem::rename(lower, spare);
        std::filesystem::copy(spare, lower, std::filesystem::copy_options::recursive);
        const auto listed = v.list(d);
        REQUIRE_FALSE(listed);
        CHECK(listed.error().kind == ErrorKind::kStale);
        CHECK(v.read(v.node("d/inner")) == "mine");
    }
    v.session().forget_all();
}

TEST_CASE("a number that was given to something of another type does not make it a file") {
    class OtherType final : public BorrowedLower {
      public:
        using BorrowedLower::BorrowedLower;
        lower::Result<struct stat> stat(int fd) override {
            auto is = BorrowedLower::stat(fd);
            if (is && S_ISREG(is->st_mode)) is->st_mode = S_IFCHR | 0644;
            return is;
        }
    };
    TamperedVolume v;
    v.make_file("f", "mine");
    REQUIRE(v.unmount());
    OtherType lower(v.lower());
    const auto fs = open_fs(lower, v.dir(), {.clean = true});
    auto f = fs->lookup(kRootNode, "f");
    REQUIRE(f);
    IoBuffer buffer;
    CHECK(is_damaged(fs->read(f->node, 0, 4, buffer)));
    fs->forget(f->node, 1);
    v.mount();
}
