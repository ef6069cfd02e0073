// SPDX-License-Identifier: Apache-2.0
// What is written to the encrypted view of a plain directory is read back from it, and is what an
// EncFS volume with these bytes holds.
#include <catch2/catch.hpp>

#include <algorithm>
#include <cerrno>
#include <random>

#include "encfs/core/legacy_reverse.h"
#include "tests/unit/core/legacy_volume_for_tests.h"
#include "tests/unit/core/seen.h"
#include "tests/unit/core/upper_tree.h"
#include "tests/unit/core/volume_for_tests.h"

using namespace extencfs;
using namespace extencfs::core;

namespace {

LegacyVolume view_volume(bool holes) {
    return legacy_volume({256, 0, 0, false, holes, false}, legacy::NameScheme::kBlock, false,
                         false);
}

struct View {
    explicit View(bool holes)
        : volume(view_volume(holes)), names(volume.key, volume.parameters.names) {
        REQUIRE(can_reverse_write(volume.parameters));
        auto config = lower->open(plain.fd(), kShownConfig, O_CREAT | O_WRONLY, 0600);
        REQUIRE(config);
        REQUIRE(lower->pwrite(config->get(), bytes_of("<settings>"), 0));
        const auto is = lower->stat(config->get());
        lower::Fd root(::fcntl(plain.fd(), F_DUPFD_CLOEXEC, 0));
        Options options;
        options.trust_hints = options.shared = true;
        auto opened = Filesystem::open(
            std::make_unique<BorrowedLower>(*lower), std::move(root),
            legacy_reverse(volume, is->st_ino, ReverseFile::Access::kWrite), std::move(options));
        REQUIRE(opened);
        fs = std::move(*opened);
    }
    std::string coded(const std::string& name) const { return names.encode(name, 0)->text; }
    NodeId make(const std::string& name) {
        const auto made = fs->create(kRootNode, coded(name), 0600, {});
        REQUIRE(made);
        return made->node;
    }
    std::string read(NodeId node, std::size_t size) {
        IoBuffer buffer;
        const auto got = fs->read(node, 0, size + 10, buffer);
        REQUIRE(got);
        return std::string(text_of(*got));
    }
    // What the shown bytes are in an EncFS volume of the same key.
    std::string decoded(const std::string& shown) const {
        const auto dir = fake::ScratchDir::in_memory();
        auto fd = lower->open(dir.fd(), coded("x"), O_CREAT | O_WRONLY, 0600);
        REQUIRE(lower->pwrite(fd->get(), bytes_of(shown), 0));
        auto forward = open_fs(*lower, dir, {.clean = true, .legacy = &volume});
        return read_all(*forward).nodes.at("x").content;
    }
    std::string lower_content(const std::string& name) {
        auto fd = lower->open(plain.fd(), name, O_RDONLY, 0);
        if (!fd) return "none";
        std::string text(static_cast<std::size_t>(lower->stat(fd->get())->st_size), '\0');
        REQUIRE(lower->pread(fd->get(), std::as_writable_bytes(std::span(text)), 0));
        return text;
    }

    LegacyVolume volume;
    legacy::NameCodec names;
    std::unique_ptr<lower::LowerFs> lower = lower::make_posix_lower_fs();
    fake::ScratchDir plain = fake::ScratchDir::in_memory();
    std::unique_ptr<Filesystem> fs;
};

int error_of(const auto& result) {
    return result ? 0 : errno_of(result.error());
}

}  // namespace

TEST_CASE("a reverse view of EncFS keeps what is written to it") {
    for (const bool holes : {false, true}) {
        View view(holes);
        const NodeId node = view.make("file");
        std::string model;
        std::mt19937 random(7);
        const auto below = [&random](std::size_t limit) { return random() % limit; };
        for (int i = 0; i < 400; ++i) {
            // With holes, what a gap shows is what zeros are encoded to, as with EncFS 1.9.5.
            const std::size_t off = below(holes ? model.size() + 1 : 1500);
            std::string text(1 + below(700), '\0');
            for (char& c : text) c = static_cast<char>(1 + below(255));
            INFO("step " << i << ", at " << off << ", " << text.size() << " bytes");
            if (below(4) == 0) {
                const std::size_t size = below(holes ? model.size() + 1 : 1800);
                REQUIRE(view.fs->setattr(node, {.size_set = true, .size = size}));
                model.resize(size);
            } else {
                REQUIRE(view.fs->write(node, off, bytes_of(text), WriteSource::kCaller, {}));
                model.resize(std::max(model.size(), off + text.size()));
                model.replace(off, text.size(), text);
            }
            REQUIRE((view.read(node, model.size()) == model));
            CHECK(static_cast<std::size_t>(view.fs->getattr(node)->st_size) == model.size());
            if (i % 20 == 0) CHECK((view.lower_content("file") == view.decoded(model)));
        }
    }
}

TEST_CASE("names and symlinks that are made in a reverse view of EncFS are plain below") {
    View view(true);
    const auto real = lower::make_posix_lower_fs();
    const auto made = view.fs->mkdir(kRootNode, view.coded("dir"), 0700, {});
    REQUIRE(made);
    REQUIRE(view.fs->create(made->node, view.coded("in"), 0600, {}));
    REQUIRE(view.fs->symlink(kRootNode, view.coded("link"), view.coded("dir"), {}));
    CHECK(real->readlink(view.plain.fd(), "link") == "dir");
    CHECK(error_of(view.fs->rmdir(kRootNode, view.coded("dir"))) == ENOTEMPTY);
    REQUIRE(view.fs->rename(made->node, view.coded("in"), kRootNode, view.coded("out"),
                            lower::RenameMode::kReplace));
    CHECK(view.lower_content("out").empty());
    REQUIRE(view.fs->rmdir(kRootNode, view.coded("dir")));
    REQUIRE(view.fs->unlink(kRootNode, view.coded("link")));
    CHECK(error_of(view.fs->create(kRootNode, "no coded name", 0600, {})) == EIO);
    CHECK(error_of(view.fs->symlink(kRootNode, view.coded("l"), "no coded target", {})) == EIO);
}

TEST_CASE("nothing replaces the settings of a reverse view of EncFS") {
    View view(true);
    const NodeId node = view.make("file");
    REQUIRE(view.fs->write(node, 0, bytes_of("x"), WriteSource::kCaller, {}));
    for (const std::string& name : {std::string(kShownConfig), view.coded(kShownConfig)}) {
        INFO(name);
        CHECK(error_of(view.fs->lookup(kRootNode, name)) == EIO);
        CHECK(error_of(view.fs->unlink(kRootNode, name)) == EIO);
        CHECK(error_of(view.fs->create(kRootNode, name, 0600, {})) == EIO);
        CHECK(error_of(view.fs->rename(kRootNode, view.coded("file"), kRootNode, name,
                                       lower::RenameMode::kReplace)) == EIO);
        CHECK(error_of(view.fs->link(node, kRootNode, name)) == EIO);
    }
    CHECK(view.lower_content(kShownConfig) == "<settings>");
    CHECK_FALSE(can_reverse_write(
        legacy_volume({256, 0, 0, true, true, false}, legacy::NameScheme::kBlock, false, false)
            .parameters));
}
