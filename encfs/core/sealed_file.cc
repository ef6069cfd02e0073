// SPDX-License-Identifier: Apache-2.0
#include "encfs/core/sealed_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

namespace extencfs::core {

namespace {
// Ciphertext of the operation in progress.
thread_local IoBuffer cipher_buffer;
}  // namespace

Error SealedFile::damaged(std::uint64_t block, const char* how) const {
    if (on_damage_) on_damage_(fd(), fmt::format("block {} {}", block, how));
    return Error{ErrorKind::kDamaged};
}

Result<std::shared_ptr<SealedFile>> SealedFile::open(const legacy::SealedCodec& codec,
                                                     const FileDamage& on_damage,
                                                     lower::LowerFs& lower, lower::Fd fd,
                                                     std::uint64_t lower_size,
                                                     std::uint64_t path_iv) {
    const auto size = legacy::plain_size(codec.layout(), lower_size);
    if (!size) {
        if (on_damage) on_damage(fd.get(), "the file's header is cut off");
        return fail(ErrorKind::kDamaged);
    }
    std::shared_ptr<SealedFile> file(new SealedFile(codec, on_damage, lower, std::move(fd)));
    file->size_ = *size;
    if (lower_size == 0) return file;
    ByteVector header(codec.layout().header_size());
    auto got = lower.pread(file->fd(), header, 0);
    if (!got) return fail(got.error());
    if (*got < header.size()) return std::unexpected(file->damaged(0, "is cut off"));
    auto file_iv = codec.decode_header(header, path_iv);
    if (!file_iv) return fail(file_iv.error());
    file->file_iv_ = *file_iv;
    return file;
}

Result<Bytes> SealedFile::read(std::uint64_t off, std::size_t size, IoBuffer& buffer) {
    if (size == 0 || off >= size_) return Bytes{};
    const auto& layout = codec_.layout();
    const std::uint64_t data = layout.data_size();
    const std::uint64_t end = std::min<std::uint64_t>(size_, off + size);
    const std::uint64_t first = off / data, last = (end - 1) / data;
    const std::uint64_t begin = first * data;
    const MutBytes plain = buffer.take(std::min((last + 1) * data, size_) - begin);
    const MutBytes lower =
        cipher_buffer.take(plain.size() + (last - first + 1) * layout.overhead());
    auto got = lower_.pread(fd(), lower, layout.block_offset(first));
    if (!got) return fail(got.error());
    if (*got < lower.size())
        return std::unexpected(damaged(first + *got / layout.block_size, "is cut off"));
    MutBytes in = lower, out = plain;
    for (std::uint64_t block = first; !in.empty(); ++block) {
        const MutBytes here = in.first(std::min<std::size_t>(in.size(), layout.block_size));
        auto state = codec_.decode_block(block, file_iv_, here);
        if (!state) return fail(state.error());
        if (*state == legacy::BlockState::kDamaged)
            return std::unexpected(damaged(block, "does not authenticate"));
        const Bytes opened = here.subspan(layout.overhead());
        std::copy(opened.begin(), opened.end(), out.begin());
        out = out.subspan(opened.size());
        in = in.subspan(here.size());
    }
    return Bytes(plain).subspan(off - begin, end - off);
}

Result<std::uint64_t> SealedFile::seek(std::uint64_t off, int whence) {
    if (whence != SEEK_DATA && whence != SEEK_HOLE) return fail(ErrorKind::kInvalid);
    if (off >= size_) return fail(ErrorKind::kPastEnd);
    return whence == SEEK_DATA ? off : size_;
}

}  // namespace extencfs::core
