// SPDX-License-Identifier: Apache-2.0
#include "encfs/core/legacy_format.h"

#include <algorithm>
#include <bit>

#include "encfs/core/legacy_move.h"
#include "encfs/volume/format.h"

namespace extencfs::core {

namespace {

using legacy::NameScheme;

DirContext context_of(std::uint64_t chain) {
    DirContext context{.id = {}, .generation = kBelowRoot};
    const auto bytes = std::bit_cast<ByteArray<8>>(chain);
    std::ranges::copy(bytes, context.id.begin());
    return context;
}

std::uint64_t chain_of(const DirContext& dir) {
    ByteArray<8> bytes;
    std::copy_n(dir.id.begin(), bytes.size(), bytes.begin());
    return std::bit_cast<std::uint64_t>(bytes);
}

}  // namespace

LegacyFormat::LegacyFormat(LegacyVolume volume, const FormatHost& host)
    : key_(volume.key),
      names_(volume.key, volume.parameters.names),
      context_{legacy::ContentCodec(volume.key, volume.parameters.contents, volume.macs),
               host.on_damage, std::make_unique<LegacyTail>(volume.key, host.sink)},
      v7_(volume.parameters.v7) {
    if (volume.seal) sealed_.emplace(volume.key, volume.seal, volume.parameters.contents);
    const auto& coding = names_.coding();
    binding_.names = coding.chained && coding.scheme != NameScheme::kNull;
    binding_.files = volume.parameters.path_in_header && binding_.names;
    const auto fits = [this](std::size_t size) {
        const auto name = names_.encode(std::string(size, 'n'), 0);
        return name && name->text.size() <= kMostNameBytes;
    };
    while (longest_name_ > 1 && !fits(longest_name_)) --longest_name_;
}

FormatMaker legacy_format(LegacyVolume volume) {
    return [volume = std::move(volume)](const FormatHost& host) mutable {
        return std::make_unique<LegacyFormat>(std::move(volume), host);
    };
}

// ---- names ----

DirContext LegacyFormat::root() const {
    return {};
}

bool LegacyFormat::is_reserved(std::string_view entry) const {
    return entry == kMoveJournal || entry == kTailJournal || entry.starts_with(volume::kTempPrefix);
}

Result<CipherName> LegacyFormat::encode_name(const DirContext& dir, std::string_view plain) const {
    auto name = names_.encode(plain, chain_of(dir));
    if (!name) return fail(name.error());
    if (name->text.size() > kMostNameBytes) return fail(ErrorKind::kNameTooLong);
    if (is_reserved(name->text) || is_config(dir, name->text)) return fail(ErrorKind::kPermission);
    return CipherName{.entry = std::move(name->text), .side_name = {}, .side_bytes = {}};
}

Result<legacy::ChainedName> LegacyFormat::decode(const DirContext& dir,
                                                 std::string_view entry) const {
    if (is_reserved(entry) || is_config(dir, entry)) return fail(ErrorKind::kInvalid);
    auto name = names_.decode(entry, chain_of(dir));
    if (name) return std::move(*name);
    if (name.error().kind == volume::ErrorKind::kNotVolumeName) return fail(ErrorKind::kInvalid);
    return fail(name.error());
}

Result<std::string> LegacyFormat::decode_name(lower::LowerFs&, int, const DirContext& dir,
                                              std::string_view entry) const {
    auto name = decode(dir, entry);
    if (!name) return std::unexpected(name.error());
    return std::move(name->text);
}

// ---- directories ----

Result<DirContext> LegacyFormat::open_directory(lower::LowerFs&, int, const DirContext& parent,
                                                std::string_view entry,
                                                std::vector<std::string>&) const {
    auto name = decode(parent, entry);
    if (!name) return std::unexpected(name.error());
    return context_of(name->chain);
}

Result<void> LegacyFormat::clear_directory(lower::LowerFs& lower, int dirfd) const {
    // What is not a name of the volume keeps its directory, as it does with EncFS: nothing of
    // somebody else's is removed.
    std::vector<std::string> own;
    bool empty = true;
    auto listed = lower.list(dirfd, [&](const lower::DirEntry& entry) {
        empty = is_reserved(entry.name);
        if (empty) own.emplace_back(entry.name);
        return empty;
    });
    if (!listed) return fail(listed.error());
    if (!empty) return fail(ErrorKind::kNotEmpty);
    for (const std::string& name : own) {
        if (auto r = lower.unlink(dirfd, name); !r && r.error().value != ENOENT)
            return fail(r.error());
    }
    return {};
}

Result<std::unique_ptr<PathMove>> LegacyFormat::begin_move(lower::LowerFs& lower,
                                                           const Moving& moving,
                                                           PathWatch& watch) const {
    return LegacyMove::begin({.lower = lower,
                              .key = *key_,
                              .names = names_,
                              .contents = context_.codec,
                              .files = binding_.files,
                              .context_of = &context_of},
                             moving, chain_of(moving.dir), chain_of(moving.new_dir), watch);
}

Result<void> LegacyFormat::recover(lower::LowerFs& lower, int rootfd) const {
    auto done = recover_move(lower, rootfd, *key_);
    if (!done) return std::unexpected(done.error());
    context_.tail->set_root(rootfd);
    return context_.tail->recover(lower, rootfd);
}

void LegacyFormat::end(lower::LowerFs& lower) const {
    context_.tail->end(lower);
}

// ---- regular files ----

std::optional<std::uint64_t> LegacyFormat::size_from_stat(const struct stat& lower_stat) const {
    return legacy::plain_size(context_.codec.layout(),
                              static_cast<std::uint64_t>(lower_stat.st_size));
}

Result<std::uint64_t> LegacyFormat::path_iv(const FilePlace* place) const {
    if (!binding_.files) return 0;
    if (place == nullptr) return fail(ErrorKind::kUnsupported);
    auto name = decode(place->dir, place->entry);
    if (!name) return std::unexpected(name.error());
    return name->chain;
}

Result<std::shared_ptr<ContentFile>> LegacyFormat::create_content(lower::LowerFs& lower,
                                                                  lower::Fd fd,
                                                                  const FilePlace* place) const {
    if (v7_) return fail(ErrorKind::kReadOnly);
    auto iv = path_iv(place);
    if (!iv) return std::unexpected(iv.error());
    return LegacyFile::create(context_, lower, std::move(fd), *iv);
}

Result<std::shared_ptr<ContentFile>> LegacyFormat::open_content(lower::LowerFs& lower, lower::Fd fd,
                                                                const struct stat& lower_stat,
                                                                const FilePlace* place) const {
    auto iv = path_iv(place);
    if (!iv) return std::unexpected(iv.error());
    if (sealed_) {
        return SealedFile::open(*sealed_, context_.on_damage, lower, std::move(fd),
                                static_cast<std::uint64_t>(lower_stat.st_size), *iv);
    }
    return LegacyFile::open(context_, lower, std::move(fd),
                            static_cast<std::uint64_t>(lower_stat.st_size), *iv);
}

// ---- symlinks ----

Result<std::string> LegacyFormat::encode_symlink(lower::LowerFs&, int,
                                                 std::string_view target) const {
    if (v7_) return fail(ErrorKind::kReadOnly);
    auto coded = names_.encode_target(target);
    if (!coded) return fail(coded.error());
    return std::move(*coded);
}

Result<std::string> LegacyFormat::decode_symlink(lower::LowerFs&, int,
                                                 std::string_view lower_target) const {
    auto target = names_.decode_target(lower_target);
    if (!target) return fail(target.error());
    return std::move(*target);
}

Result<std::string> LegacyFormat::read_symlink(lower::LowerFs& lower, int rootfd,
                                               const FilePlace& place,
                                               std::string_view lower_target) const {
    if (!v7_) return decode_symlink(lower, rootfd, lower_target);
    auto link = decode(place.dir, place.entry);
    if (!link) return std::unexpected(link.error());
    auto target = names_.decode_target(lower_target, link->chain);
    if (!target) return fail(target.error());
    return std::move(*target);
}

std::uint64_t LegacyFormat::symlink_size_at(const FilePlace& place,
                                            std::string_view lower_target) const {
    if (!v7_) return symlink_size(lower_target);
    auto link = decode(place.dir, place.entry);
    auto target = link ? names_.decode_target(lower_target, link->chain)
                       : volume::Result<std::string>(std::string());
    return target ? target->size() : 0;
}

std::uint64_t LegacyFormat::symlink_size(std::string_view lower_target) const {
    auto target = names_.decode_target(lower_target);
    return target ? target->size() : 0;
}

}  // namespace extencfs::core
