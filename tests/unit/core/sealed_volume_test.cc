// SPDX-License-Identifier: Apache-2.0
// A volume of EncFS 2 is read, damage in it is noticed, and nothing in it is ever changed.
#include <catch2/catch.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "encfs/core/volume_check.h"
#include "encfs/legacy/sealed_contents.h"
#include "tests/fake/fault_lower_fs.h"
#include "tests/unit/core/legacy_volume_for_tests.h"
#include "tests/unit/core/volume_for_tests.h"

using namespace extencfs;
using namespace extencfs::core;

namespace {

LegacyVolume sealed_volume(legacy::Seal seal, bool unique_iv, legacy::NameScheme names) {
    LegacyVolume volume =
        legacy_volume({.block_size = 256, .unique_iv = unique_iv, .holes = true, .seal = seal},
                      names, true, true);
    volume.parameters.names.v7 = volume.parameters.v7 = true;
    auto key = crypto::GcmSivKey::create(legacy::counted(32));
    REQUIRE(key);
    volume.seal = std::make_shared<crypto::GcmSivKey>(std::move(*key));
    return volume;
}

// Written as EncFS 2 would, by the codecs.
class Made {
  public:
    explicit Made(const LegacyVolume& volume)
        : volume_(volume),
          names_(volume.key, volume.parameters.names),
          codec_(volume.key, volume.seal, volume.parameters.contents),
          dir_(fake::ScratchDir::in_memory()) {
        const auto folder = *names_.encode("folder", 0);
        std::filesystem::create_directory(dir_.path(folder.text));
        file(folder.text + "/", folder.chain, "file", content_);
        file("", 0, "empty", "");
        const auto link = *names_.encode("link", 0);
        REQUIRE(::symlink(names_.encode_target("folder/file", link.chain)->c_str(),
                          dir_.path(link.text).c_str()) == 0);
        path_ = folder.text + "/" + names_.encode("file", folder.chain)->text;
    }

    const std::string& content() const { return content_; }
    std::string lower_file() const { return dir_.path(path_); }
    const fake::ScratchDir& dir() const { return dir_; }
    const LegacyVolume& volume() const { return volume_; }

  private:
    void file(const std::string& folder, std::uint64_t chain, const std::string& name,
              const std::string& content) {
        const auto coded = *names_.encode(name, chain);
        std::ofstream out(dir_.path(folder + coded.text), std::ios::binary);
        if (content.empty()) return;
        const auto& layout = codec_.layout();
        legacy::FileIv iv{0x1122334455667788, 0x99aabbcc};
        if (layout.header_size() == 0)
            iv = {coded.chain, 0};
        else if (layout.seal == legacy::Seal::kIv64)
            iv.high = 0;
        const auto put = [&](Bytes bytes) {
            out.write(reinterpret_cast<const char*>(bytes.data()),
                      static_cast<std::streamsize>(bytes.size()));
        };
        put(*codec_.encode_header(iv, layout.header_size() == 0 ? 0 : coded.chain));
        std::uint64_t block = 0;
        for (Bytes rest = bytes_of(content); !rest.empty(); ++block) {
            const Bytes here = rest.first(std::min(rest.size(), layout.data_size()));
            rest = rest.subspan(here.size());
            ByteVector sealed(here.size() + layout.overhead());
            REQUIRE(codec_.encode_block(block, iv, here, sealed));
            // The second block is a hole.
            if (block == 1) sealed.assign(sealed.size(), std::byte{0});
            put(sealed);
        }
    }

    std::string content_ = [] {
        std::string text(1000, 'x');
        for (std::size_t i = 240; i < 480; ++i) text[i] = '\0';
        text[700] = 'y';
        return text;
    }();
    LegacyVolume volume_;
    legacy::NameCodec names_;
    legacy::SealedCodec codec_;
    fake::ScratchDir dir_;
    std::string path_;
};

std::vector<LegacyVolume> sealed_volumes() {
    using enum legacy::NameScheme;
    return {sealed_volume(legacy::Seal::kIv96, true, kStream),
            sealed_volume(legacy::Seal::kIv64, true, kBlock),
            sealed_volume(legacy::Seal::kIv64, false, kStream)};
}

}  // namespace

TEST_CASE("a volume of EncFS 2 is read", "[legacy]") {
    for (const LegacyVolume& volume : sealed_volumes()) {
        Made made(volume);
        fake::FaultLowerFs lower;
        auto fs = open_fs(lower, made.dir(), {.clean = true, .read_only = true, .legacy = &volume});
        auto folder = fs->lookup(kRootNode, "folder");
        REQUIRE(folder);
        auto file = fs->lookup(folder->node, "file");
        REQUIRE(file);
        CHECK(file->attr.st_size == 1000);
        IoBuffer buffer;
        for (const std::uint64_t off : {0, 1, 239, 240, 241, 500, 999, 1000}) {
            for (const std::size_t size : {1U, 240U, 241U, 5000U}) {
                INFO(off << " " << size);
                auto read = fs->read(file->node, off, size, buffer);
                REQUIRE(read);
                CHECK(text_of(*read) == made.content().substr(off, size));
            }
        }
        auto empty = fs->lookup(kRootNode, "empty");
        REQUIRE(empty);
        CHECK(empty->attr.st_size == 0);
        auto link = fs->lookup(kRootNode, "link");
        REQUIRE(link);
        CHECK(link->attr.st_size == 11);
        CHECK(fs->readlink(link->node) == std::string("folder/file"));
        REQUIRE(fs->finish());
        CHECK(lower.count(fake::Calls::mutating()) == 0);
    }
}

TEST_CASE("nothing is written in a volume of EncFS 2, whoever asks", "[legacy]") {
    const LegacyVolume volume = sealed_volumes().front();
    Made made(volume);
    fake::FaultLowerFs lower;
    auto format = legacy_format(volume)({});
    CHECK(format->create_content(lower, {}, nullptr).error().kind == ErrorKind::kReadOnly);
    CHECK(format->encode_symlink(lower, -1, "x").error().kind == ErrorKind::kReadOnly);
    CHECK_FALSE(format->owns_xattr("user.encfs.abc"));
    // Even of one that was not mounted read-only.
    auto fs = open_fs(lower, made.dir(), {.clean = true, .legacy = &volume});
    auto folder = fs->lookup(kRootNode, "folder");
    REQUIRE(folder);
    auto file = fs->lookup(folder->node, "file");
    REQUIRE(file);
    const auto refused = [](const auto& result) {
        return !result && errno_of(result.error()) == EROFS;
    };
    CHECK(refused(fs->write(file->node, 0, bytes_of("x"), WriteSource::kCaller, {})));
    AttrChange shorter;
    shorter.size_set = true;
    shorter.size = 5;
    CHECK_FALSE(fs->setattr(file->node, shorter));
    CHECK_FALSE(fs->create(kRootNode, "new", 0600, {}));
    CHECK_FALSE(fs->symlink(kRootNode, "new", "target", {}));
}

TEST_CASE("damage in a volume of EncFS 2 is noticed", "[legacy]") {
    for (const LegacyVolume& volume : sealed_volumes()) {
        Made made(volume);
        fake::FaultLowerFs lower;
        DamageNotes notes;
        std::vector<Finding> found;
        const auto check = [&] {
            found.clear();
            const auto format =
                legacy_format(volume)({.read_only = true, .on_damage = [&](int fd, auto& what) {
                                           notes.note(fd, what);
                                       }});
            const CheckHooks hooks{
                .found = [&](const Finding& one) { found.push_back(one); },
                .kind_of_name = [](const std::string&,
                                   std::string_view entry) { return kind_of_foreign(entry); }};
            return check_volume(lower, made.dir().fd(), *format, notes, hooks);
        };
        REQUIRE(check());
        CHECK(found.empty());
        std::fstream stream(made.lower_file(), std::ios::in | std::ios::out | std::ios::binary);
        stream.seekp(800);
        stream.put('!');
        stream.close();
        REQUIRE(check());
        REQUIRE(found.size() == 1);
        CHECK(found[0].kind == FindingKind::kContents);
        CHECK(found[0].what == "block 3 does not authenticate");
        CHECK(lower.count(fake::Calls::mutating()) == 0);
    }
}
