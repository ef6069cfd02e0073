// SPDX-License-Identifier: Apache-2.0
#include "encfs/core/legacy_reverse.h"

#include <cerrno>

namespace extencfs::core {

namespace {

bool is_shown_config(const DirContext& dir, std::string_view name) {
    return dir.generation != kBelowRoot && name == kShownConfig;
}

// As EncFS has it where names do not decode.
std::unexpected<Error> no_name() {
    return fail(lower::Errno{EIO});
}

}  // namespace

bool can_reverse(const legacy::Parameters& parameters) {
    return !parameters.names.chained && !parameters.path_in_header &&
           parameters.contents.overhead() == 0;
}

bool can_reverse_write(const legacy::Parameters& parameters) {
    return can_reverse(parameters) && parameters.contents.header_size() == 0;
}

LegacyReverse::LegacyReverse(LegacyVolume volume, std::uint64_t config_ino,
                             ReverseFile::Access access)
    : names_(volume.key, volume.parameters.names),
      codec_(volume.key, volume.parameters.contents),
      config_ino_(config_ino),
      access_(access) {}

FormatMaker legacy_reverse(LegacyVolume volume, std::uint64_t config_ino,
                           ReverseFile::Access access) {
    return [volume = std::move(volume), config_ino, access](const FormatHost&) mutable {
        return std::make_unique<LegacyReverse>(std::move(volume), config_ino, access);
    };
}

// ---- names: what is shown is the coded one ----

DirContext LegacyReverse::root() const {
    return {};
}

Result<CipherName> LegacyReverse::encode_name(const DirContext& dir, std::string_view shown) const {
    const bool writable = access_ == ReverseFile::Access::kWrite;
    // What a name can be made or removed by: the settings are not to go that way.
    if (is_shown_config(dir, shown))
        return writable ? Result<CipherName>(no_name()) : CipherName{std::string(shown), {}, {}};
    auto plain = names_.decode(shown, 0);
    // Nothing below has such a name.
    if (!plain) return writable ? Result<CipherName>(no_name()) : fail(ErrorKind::kNotFound);
    if (writable && is_shown_config(dir, plain->text)) return no_name();
    return CipherName{.entry = std::move(plain->text), .side_name = {}, .side_bytes = {}};
}

Result<std::string> LegacyReverse::decode_name(lower::LowerFs&, int, const DirContext& dir,
                                               std::string_view entry) const {
    if (is_shown_config(dir, entry)) return fail(ErrorKind::kInvalid);
    auto coded = names_.encode(entry, 0);
    if (!coded) return fail(coded.error());
    return std::move(coded->text);
}

Result<DirContext> LegacyReverse::open_directory(lower::LowerFs&, int, const DirContext&,
                                                 std::string_view,
                                                 std::vector<std::string>&) const {
    return DirContext{.id = {}, .generation = kBelowRoot};
}

Result<void> LegacyReverse::clear_directory(lower::LowerFs&, int) const {
    return {};  // nothing in it is the format's
}

// ---- regular files ----

std::optional<std::uint64_t> LegacyReverse::size_from_stat(const struct stat& lower_stat) const {
    const auto size = static_cast<std::uint64_t>(lower_stat.st_size);
    return lower_stat.st_ino == config_ino_ ? size : shown_size(codec_.layout(), size);
}

Result<std::shared_ptr<ContentFile>> LegacyReverse::create_content(lower::LowerFs& lower,
                                                                   lower::Fd fd,
                                                                   const FilePlace*) const {
    if (access_ == ReverseFile::Access::kRead) return fail(ErrorKind::kReadOnly);
    return std::make_shared<ReverseFile>(&codec_, access_, lower, std::move(fd), 0, 0);
}

Result<std::shared_ptr<ContentFile>> LegacyReverse::open_content(lower::LowerFs& lower,
                                                                 lower::Fd fd,
                                                                 const struct stat& lower_stat,
                                                                 const FilePlace*) const {
    const bool config = lower_stat.st_ino == config_ino_;
    std::uint64_t file_iv = 0;
    if (codec_.layout().header_size() > 0) {
        auto iv = crypto::legacy_number_hash(lower_stat.st_ino);
        if (!iv) return fail(ErrorKind::kInternal);
        file_iv = *iv;
    }
    return std::make_shared<ReverseFile>(config ? nullptr : &codec_, access_, lower, std::move(fd),
                                         file_iv, *size_from_stat(lower_stat));
}

// ---- symlinks ----

Result<std::string> LegacyReverse::encode_symlink(lower::LowerFs&, int,
                                                  std::string_view target) const {
    auto plain = names_.decode_target(target);
    if (!plain) return no_name();
    return std::move(*plain);
}

Result<std::string> LegacyReverse::decode_symlink(lower::LowerFs&, int,
                                                  std::string_view lower_target) const {
    auto coded = names_.encode_target(lower_target);
    if (!coded) return fail(coded.error());
    return std::move(*coded);
}

std::uint64_t LegacyReverse::symlink_size(std::string_view lower_target) const {
    auto coded = names_.encode_target(lower_target);
    return coded ? coded->size() : 0;
}

}  // namespace extencfs::core
