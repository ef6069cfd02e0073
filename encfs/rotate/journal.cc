// SPDX-License-Identifier: Apache-2.0
#include "encfs/rotate/journal.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "crypto/kdf.h"
#include "encfs/volume/format.h"
#include "encfs/volume/wire.h"

namespace extencfs::rotate {
namespace {

using volume::get_le;
using volume::put_le;

constexpr std::string_view kMagic = "XCFSROTA";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeader = 64;
constexpr std::size_t kRecord = 40;
constexpr std::size_t kHash = 32;

ByteArray<kHash> hash_of(Bytes bytes) {
    ByteArray<kHash> hash;
    crypto::hash256(bytes, hash);
    return hash;
}

bool same_time(const struct timespec& a, const struct timespec& b) {
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

void put_record(MutBytes out, const Before& record) {
    put_le<std::uint64_t>(out, 0, record.ino);
    put_le(out, 8, static_cast<std::uint64_t>(record.times[0].tv_sec));
    put_le(out, 16, static_cast<std::uint64_t>(record.times[1].tv_sec));
    put_le(out, 24, static_cast<std::uint32_t>(record.times[0].tv_nsec));
    put_le(out, 28, static_cast<std::uint32_t>(record.times[1].tv_nsec));
    put_le(out, 32, static_cast<std::uint32_t>(record.mode));
}

Before get_record(Bytes in) {
    Before record;
    record.ino = get_le<std::uint64_t>(in, 0);
    for (std::size_t i = 0; i < 2; ++i) {
        record.times[i].tv_sec = static_cast<time_t>(get_le<std::uint64_t>(in, 8 + 8 * i));
        record.times[i].tv_nsec = static_cast<long>(get_le<std::uint32_t>(in, 24 + 4 * i));
    }
    record.mode = static_cast<mode_t>(get_le<std::uint32_t>(in, 32));
    return record;
}

ByteVector encode(const std::vector<Before>& records, const Amount& amount, std::uint64_t own_ino,
                  std::uint64_t root_ino) {
    ByteVector bytes(kHeader + kRecord * records.size() + kHash);
    volume::put_bytes(bytes, 0, bytes_of(kMagic));
    put_le<std::uint32_t>(bytes, 8, kVersion);
    put_le<std::uint64_t>(bytes, 16, own_ino);
    put_le<std::uint64_t>(bytes, 24, root_ino);
    put_le<std::uint64_t>(bytes, 32, records.size());
    put_le<std::uint64_t>(bytes, 40, amount.things);
    put_le<std::uint64_t>(bytes, 48, amount.bytes);
    std::size_t at = kHeader;
    for (const Before& record : records) {
        put_record(MutBytes(bytes).subspan(at, kRecord), record);
        at += kRecord;
    }
    volume::put_bytes(bytes, at, hash_of(Bytes(bytes).first(at)));
    return bytes;
}

// Whether these are the bytes of a journal with those inodes.
bool is_whole(Bytes bytes, std::uint64_t own_ino, std::uint64_t root_ino) {
    if (bytes.size() < kHeader + kHash || (bytes.size() - kHeader - kHash) % kRecord != 0) {
        return false;
    }
    const Bytes text = bytes.first(bytes.size() - kHash);
    return text_of(text.first(kMagic.size())) == kMagic &&
           get_le<std::uint32_t>(text, 8) == kVersion &&
           get_le<std::uint64_t>(text, 16) == own_ino &&
           get_le<std::uint64_t>(text, 24) == root_ino &&
           get_le<std::uint64_t>(text, 32) == (text.size() - kHeader) / kRecord &&
           std::ranges::equal(hash_of(text), bytes.last(kHash));
}

}  // namespace

Before before_of(const struct stat& is) {
    return {.ino = is.st_ino, .times = {is.st_atim, is.st_mtim}, .mode = is.st_mode & 07777U};
}

lower::Result<Journal> Journal::make(lower::LowerFs& fs, int root_fd, std::vector<Before> records,
                                     Amount amount) {
    std::ranges::sort(records, {}, &Before::ino);
    const auto twice = std::ranges::unique(records, {}, &Before::ino);
    records.erase(twice.begin(), twice.end());
    if (records.size() > kMostRecords) return std::unexpected(lower::Errno{EFBIG});
    const auto root = fs.stat(root_fd);
    if (!root) return std::unexpected(root.error());
    auto file = fs.open(root_fd, volume::kRotationNewName, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (!file) return std::unexpected(file.error());
    const auto own = fs.stat(file->get());
    if (!own) return std::unexpected(own.error());
    const ByteVector bytes = encode(records, amount, own->st_ino, root->st_ino);
    auto done = fs.pwrite(file->get(), bytes, 0);
    if (done) done = fs.fsync(file->get());
    if (done) {
        done = fs.rename(root_fd, volume::kRotationNewName, root_fd, volume::kRotationName,
                         lower::RenameMode::kReplace);
    }
    if (done) done = fs.syncfs(root_fd);
    if (!done) {
        (void)fs.unlink(root_fd, volume::kRotationNewName);
        return std::unexpected(done.error());
    }
    return Journal(std::move(records), amount);
}

lower::Result<std::optional<Journal>> Journal::read(lower::LowerFs& fs, int root_fd) {
    const auto file = fs.open(root_fd, volume::kRotationName, O_RDONLY | O_NONBLOCK, 0);
    if (!file && file.error().value == ENOENT) return std::nullopt;
    if (!file) return std::unexpected(file.error());
    const auto own = fs.stat(file->get());
    const auto root = fs.stat(root_fd);
    if (!own || !root) return std::unexpected(own ? root.error() : own.error());
    constexpr std::size_t kMost = kHeader + kRecord * kMostRecords + kHash;
    const bool possible =
        S_ISREG(own->st_mode) && static_cast<std::uint64_t>(own->st_size) <= kMost;
    if (!possible) return std::nullopt;
    ByteVector bytes(static_cast<std::size_t>(own->st_size));
    const auto got = fs.pread(file->get(), bytes, 0);
    if (!got) return std::unexpected(got.error());
    bytes.resize(*got);
    if (!is_whole(bytes, own->st_ino, root->st_ino)) return std::nullopt;
    std::vector<Before> records((bytes.size() - kHeader - kHash) / kRecord);
    for (std::size_t i = 0; i < records.size(); ++i) {
        records[i] = get_record(Bytes(bytes).subspan(kHeader + kRecord * i, kRecord));
    }
    return Journal(std::move(records), {.things = get_le<std::uint64_t>(bytes, 40),
                                        .bytes = get_le<std::uint64_t>(bytes, 48)});
}

lower::Result<void> Journal::remove(lower::LowerFs& fs, int root_fd) {
    for (const char* name : {volume::kRotationNewName, volume::kRotationName}) {
        const auto gone = fs.unlink(root_fd, name);
        if (!gone && gone.error().value != ENOENT) return gone;
    }
    return {};
}

const Before* Journal::find(std::uint64_t ino) const {
    const auto found = std::ranges::lower_bound(records_, ino, {}, &Before::ino);
    return found != records_.end() && found->ino == ino ? &*found : nullptr;
}

lower::Result<void> restore(lower::LowerFs& fs, int fd, const Before& before) {
    const auto is = fs.stat(fd);
    if (!is) return std::unexpected(is.error());
    if ((is->st_mode & 07777U) != before.mode) {
        if (auto done = fs.chmod(fd, before.mode); !done) return done;
    }
    if (same_time(is->st_atim, before.times[0]) && same_time(is->st_mtim, before.times[1])) {
        return {};
    }
    return fs.utimens(fd, before.times);
}

}  // namespace extencfs::rotate
