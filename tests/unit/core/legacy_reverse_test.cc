// SPDX-License-Identifier: Apache-2.0
// The encrypted view of a plain directory, put into another directory as it is shown, is an EncFS
// volume that holds the same.
#include <catch2/catch.hpp>

#include <cerrno>
#include <functional>

#include "encfs/core/legacy_reverse.h"
#include "tests/unit/core/legacy_volume_for_tests.h"
#include "tests/unit/core/seen.h"
#include "tests/unit/core/upper_tree.h"
#include "tests/unit/core/volume_for_tests.h"

using namespace extencfs;
using namespace extencfs::core;

namespace {

void make_file(lower::LowerFs& lower, int dirfd, const std::string& name, std::string_view text) {
    auto fd = lower.open(dirfd, name, O_CREAT | O_WRONLY, 0644);
    REQUIRE(fd);
    REQUIRE(lower.pwrite(fd->get(), bytes_of(text), 0));
}

lower::Fd make_directory(lower::LowerFs& lower, int dirfd, const std::string& name) {
    REQUIRE(lower.mkdir(dirfd, name, 0755));
    auto fd = lower.open(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
    REQUIRE(fd);
    return std::move(*fd);
}

// Everything in `node`, to `dirfd`.
void copy_view(Filesystem& fs, NodeId node, lower::LowerFs& lower, int dirfd) {
    std::vector<std::pair<std::string, Entry>> entries;
    REQUIRE(fs.list(node, 0, ListMode::kWithAttributes, [&](const ListedEntry& entry) {
        if (entry.entry != nullptr && entry.name != "." && entry.name != "..")
            entries.emplace_back(entry.name, *entry.entry);
        return true;
    }));
    for (const auto& [name, entry] : entries) {
        if (S_ISDIR(entry.attr.st_mode)) {
            const auto fd = make_directory(lower, dirfd, name);
            copy_view(fs, entry.node, lower, fd.get());
        } else if (S_ISLNK(entry.attr.st_mode)) {
            const auto target = fs.readlink(entry.node);
            REQUIRE(target);
            CHECK(static_cast<std::size_t>(entry.attr.st_size) == target->size());
            REQUIRE(lower.symlink(*target, dirfd, name));
        } else {
            const auto size = static_cast<std::size_t>(entry.attr.st_size);
            // In odd pieces: the view has no memory.
            std::string text;
            IoBuffer buffer;
            for (std::size_t piece = 5; text.size() < size; piece = piece * 3 % 4001 + 1) {
                auto got = fs.read(entry.node, text.size(), piece, buffer);
                REQUIRE(got);
                REQUIRE_FALSE(got->empty());
                text += text_of(*got);
            }
            REQUIRE(text.size() == size);
            auto whole = fs.read(entry.node, 0, size + 10, buffer);
            REQUIRE(whole);
            CHECK((text_of(*whole) == text));
            make_file(lower, dirfd, name, text);
        }
        fs.forget(entry.node, 1);
    }
}

}  // namespace

TEST_CASE("the reverse view of a directory is an EncFS volume") {
    for (const bool unique_iv : {false, true}) {
        const auto volume = legacy_volume({1024, 0, 0, unique_iv, true, false},
                                          legacy::NameScheme::kBlock, false, false);
        REQUIRE(can_reverse(volume.parameters));
        const auto real = lower::make_posix_lower_fs();
        const auto plain = fake::ScratchDir::in_memory(), view = fake::ScratchDir::in_memory();
        make_file(*real, plain.fd(), "empty", "");
        make_file(*real, plain.fd(), ".encfs6.xml", "<settings>");
        make_file(*real, plain.fd(), ".encfs5", "settings that no view passes through");
        for (const std::size_t size : {1, 1023, 1024, 1025, 5000, 8192})
            make_file(*real, plain.fd(), std::to_string(size), stamped(1, 0, size));
        make_file(*real, plain.fd(), "zeros", std::string(3000, '\0'));
        const auto below = make_directory(*real, plain.fd(), "below");
        make_file(*real, below.get(), ".encfs6.xml", "a file like any other");
        REQUIRE(real->symlink("below/x", plain.fd(), "relative"));
        REQUIRE(real->symlink("/absolute/x", plain.fd(), "absolute"));
        const auto config = real->stat_at(plain.fd(), ".encfs6.xml");
        REQUIRE(config);

        lower::Fd root(::fcntl(plain.fd(), F_DUPFD_CLOEXEC, 0));
        Options options;
        options.read_only = options.trust_hints = options.shared = true;
        auto fs = Filesystem::open(std::make_unique<BorrowedLower>(*real, nullptr, nullptr),
                                   std::move(root), legacy_reverse(volume, config->st_ino),
                                   std::move(options));
        REQUIRE(fs);
        copy_view(**fs, kRootNode, *real, view.fd());
        // By its own name, and as it is.
        auto shown = (*fs)->lookup(kRootNode, ".encfs6.xml");
        REQUIRE(shown);
        CHECK(shown->attr.st_size == 10);
        IoBuffer buffer;
        const auto settings = (*fs)->read(shown->node, 0, 100, buffer);
        REQUIRE(settings);
        CHECK(text_of(*settings) == "<settings>");
        // As EncFS 1.9.5 shows it: without a header.
        const legacy::NameCodec names(volume.key, volume.parameters.names);
        const auto empty = (*fs)->lookup(kRootNode, names.encode("empty", 0)->text);
        REQUIRE(empty);
        CHECK(empty->attr.st_size == 0);
        const auto missing = (*fs)->lookup(kRootNode, "empty");
        REQUIRE_FALSE(missing);
        CHECK(errno_of(missing.error()) == ENOENT);
        const auto made = (*fs)->create(kRootNode, "x", 0600, {});
        REQUIRE_FALSE(made);
        CHECK(errno_of(made.error()) == EROFS);

        Damage damage;
        auto back = open_fs(*real, view, {.clean = true, .damage = &damage, .legacy = &volume});
        const Seen seen = read_all(*back);
        CHECK(seen.errors.empty());
        CHECK(damage.text() == "");
        CHECK(seen.nodes.size() == 13);
        CHECK(seen.nodes.at(".encfs5").content == "settings that no view passes through");
        CHECK(seen.nodes.at("empty").content.empty());
        CHECK((seen.nodes.at("5000").content == stamped(1, 0, 5000)));
        CHECK((seen.nodes.at("zeros").content == std::string(3000, '\0')));
        CHECK(seen.nodes.at("below/.encfs6.xml").content == "a file like any other");
        CHECK(seen.nodes.at("relative").content == "below/x");
        CHECK(seen.nodes.at("absolute").content == "/absolute/x");
    }
    CHECK_FALSE(can_reverse(legacy_volume({1024, 8, 0, true, true, false}).parameters));
    CHECK_FALSE(can_reverse(legacy_volume({1024, 0, 0, true, true, false}).parameters));
}
