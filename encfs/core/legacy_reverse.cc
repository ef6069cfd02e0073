// SPDX-License-Identifier: Apache-2.0
#include "encfs/core/legacy_reverse.h"

#include <unistd.h>

#include <algorithm>

namespace extencfs::core {

namespace {

bool is_shown_config(const DirContext& dir, std::string_view name) {
    return dir.generation != kBelowRoot && name == kShownConfig;
}

std::uint64_t shown_size(const legacy::ContentLayout& layout, std::uint64_t size) {
    return size == 0 ? 0 : legacy::lower_size(layout, size);
}

// Encodes what is read. `file_iv` 0: no header.
class ReverseFile final : public ContentFile {
  public:
    ReverseFile(const legacy::ContentCodec* codec, lower::LowerFs& lower, lower::Fd fd,
                std::uint64_t file_iv, std::uint64_t size)
        : codec_(codec), lower_(lower), fd_(std::move(fd)), file_iv_(file_iv), size_(size) {}

    int fd() const override { return fd_.get(); }
    std::uint64_t size() const override { return size_; }
    Result<Bytes> read(std::uint64_t off, std::size_t size, IoBuffer& buffer) override;
    Result<void> write(std::uint64_t, Bytes, WriteSource) override { return refused(); }
    Result<void> truncate(std::uint64_t) override { return refused(); }
    Result<void> allocate(int, std::uint64_t, std::uint64_t) override { return refused(); }
    Result<std::uint64_t> seek(std::uint64_t off, int whence) override {
        if (off >= size_) return fail(ErrorKind::kPastEnd);
        return whence == SEEK_DATA ? off : size_;
    }
    Result<void> sync(bool) override { return {}; }
    Result<void> settle() override { return {}; }
    Result<void> before_close() override { return {}; }
    Result<bool> mend() override { return false; }

  private:
    static Result<void> refused() { return fail(ErrorKind::kReadOnly); }
    // Shown blocks [first, ...] of a file of `plain_size` bytes, in place of `out`.
    Result<void> encode(std::uint64_t first, MutBytes out);

    const legacy::ContentCodec* codec_;  // nullptr: shown as it is
    lower::LowerFs& lower_;
    lower::Fd fd_;
    std::uint64_t file_iv_;
    std::uint64_t size_;
};

Result<void> ReverseFile::encode(std::uint64_t first, MutBytes out) {
    const std::size_t block_size = codec_->layout().block_size;
    auto got = lower_.pread(fd(), out, first * block_size);
    if (!got) return fail(got.error());
    // It became shorter just now: the next look will see a new size.
    if (*got < out.size()) return fail(ErrorKind::kStale);
    for (std::uint64_t block = first; !out.empty(); ++block) {
        const MutBytes here = out.first(std::min(out.size(), block_size));
        if (auto r = codec_->encode_block(block, file_iv_, here, here); !r) return fail(r.error());
        out = out.subspan(here.size());
    }
    return {};
}

Result<Bytes> ReverseFile::read(std::uint64_t off, std::size_t size, IoBuffer& buffer) {
    auto is = lower_.stat(fd());
    if (!is) return fail(is.error());
    const auto plain_size = static_cast<std::uint64_t>(is->st_size);
    const std::uint64_t shown =
        codec_ == nullptr ? plain_size : shown_size(codec_->layout(), plain_size);
    if (off >= shown) return Bytes{};
    const std::uint64_t end = std::min<std::uint64_t>(shown, off + size);
    if (codec_ == nullptr || codec_->layout().plain) {
        const MutBytes bytes = buffer.take(end - off);
        auto got = lower_.pread(fd(), bytes, off);
        if (!got) return fail(got.error());
        return Bytes(bytes).first(*got);
    }
    const std::size_t header = codec_->layout().header_size();
    const std::size_t block_size = codec_->layout().block_size;
    // Whole blocks, the header before them if it is wanted.
    const std::uint64_t first = off < header ? 0 : (off - header) / block_size;
    const std::uint64_t until = end <= header ? 0 : (end - header - 1) / block_size + 1;
    const std::uint64_t blocks_end = std::min(until * block_size, plain_size);
    const std::size_t lead = off < header ? header : 0;
    const MutBytes bytes =
        buffer.take(lead + (blocks_end - std::min(first * block_size, blocks_end)));
    if (lead > 0) {
        auto coded = codec_->encode_header(file_iv_, 0);
        if (!coded) return fail(coded.error());
        std::ranges::copy(*coded, bytes.begin());
    }
    if (bytes.size() > lead) {
        if (auto r = encode(first, bytes.subspan(lead)); !r) return std::unexpected(r.error());
    }
    const std::uint64_t begin = lead > 0 ? 0 : header + first * block_size;
    return Bytes(bytes).subspan(off - begin, end - off);
}

}  // namespace

bool can_reverse(const legacy::Parameters& parameters) {
    return !parameters.names.chained && !parameters.path_in_header &&
           parameters.contents.overhead() == 0;
}

LegacyReverse::LegacyReverse(LegacyVolume volume, std::uint64_t config_ino)
    : names_(volume.key, volume.parameters.names),
      codec_(volume.key, volume.parameters.contents),
      config_ino_(config_ino) {}

FormatMaker legacy_reverse(LegacyVolume volume, std::uint64_t config_ino) {
    return [volume = std::move(volume), config_ino](const FormatHost&) mutable {
        return std::make_unique<LegacyReverse>(std::move(volume), config_ino);
    };
}

// ---- names: what is shown is the coded one ----

DirContext LegacyReverse::root() const {
    return {};
}

Result<CipherName> LegacyReverse::encode_name(const DirContext& dir, std::string_view shown) const {
    if (is_shown_config(dir, shown)) return CipherName{std::string(shown), {}, {}};
    auto plain = names_.decode(shown, 0);
    // Nothing below has such a name.
    if (!plain) return fail(ErrorKind::kNotFound);
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
    return fail(ErrorKind::kReadOnly);
}

// ---- regular files ----

std::optional<std::uint64_t> LegacyReverse::size_from_stat(const struct stat& lower_stat) const {
    const auto size = static_cast<std::uint64_t>(lower_stat.st_size);
    return lower_stat.st_ino == config_ino_ ? size : shown_size(codec_.layout(), size);
}

Result<std::shared_ptr<ContentFile>> LegacyReverse::create_content(lower::LowerFs&, lower::Fd,
                                                                   const FilePlace*) const {
    return fail(ErrorKind::kReadOnly);
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
    return std::make_shared<ReverseFile>(config ? nullptr : &codec_, lower, std::move(fd), file_iv,
                                         *size_from_stat(lower_stat));
}

// ---- symlinks ----

Result<std::string> LegacyReverse::encode_symlink(lower::LowerFs&, int, std::string_view) const {
    return fail(ErrorKind::kReadOnly);
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
