// SPDX-License-Identifier: Apache-2.0
#include "encfs/migrate/journal.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "crypto/random.h"

namespace extencfs::migrate {
namespace {

using daemon::errno_text;
using daemon::fail;
using daemon::FailureKind;

std::unexpected<daemon::Failure> unwritable(int error) {
    return fail(FailureKind::kOther, "the journal of the migration cannot be written (",
                errno_text(error), "); make room, or check the disk, and run the same again");
}

lower::Result<void> sync_names(lower::LowerFs& fs, int root_fd) {
    auto synced = fs.fsync(root_fd);
    // EINVAL: this lower file system does not sync directories at all.
    if (!synced && synced.error().value != EINVAL) return synced;
    return {};
}

}  // namespace

Record done_record(const struct stat& old_attr) {
    return {.type = static_cast<std::uint32_t>(RecordType::kDone),
            .mtime_nsec = static_cast<std::uint32_t>(old_attr.st_mtim.tv_nsec),
            .ino = old_attr.st_ino,
            .size = static_cast<std::uint64_t>(old_attr.st_size),
            .mtime_sec = old_attr.st_mtim.tv_sec};
}

Outcome<Journal> Journal::create(lower::LowerFs& fs, int root_fd, std::uint64_t old_volume) {
    ByteArray<8> salt{};
    if (!crypto::fill_random(salt)) return unwritable(EIO);
    Header header{.old_volume = old_volume};
    std::memcpy(&header.salt, salt.data(), salt.size());
    (void)fs.unlink(root_fd, kJournalTempName);
    auto file = fs.open(root_fd, kJournalTempName, O_RDWR | O_CREAT | O_EXCL | O_NOCTTY, 0600);
    if (!file) return unwritable(file.error().value);
    const auto wrote = [&]() -> lower::Result<void> {
        if (auto r = fs.pwrite(file->get(), encode_header(header), 0); !r) return r;
        if (auto r = fs.fsync(file->get()); !r) return r;
        // Only one migration is here: the writer lock stands in for RENAME_NOREPLACE.
        auto r = fs.rename(root_fd, kJournalTempName, root_fd, kJournalName,
                           lower::RenameMode::kReplace);
        return r ? sync_names(fs, root_fd) : r;
    }();
    if (!wrote) {
        (void)fs.unlink(root_fd, kJournalTempName);
        return unwritable(wrote.error().value);
    }
    return Journal(fs, root_fd, std::move(*file), header);
}

Outcome<std::optional<Journal>> Journal::open(lower::LowerFs& fs, int root_fd) {
    auto file = fs.open(root_fd, kJournalName, O_RDWR | O_NONBLOCK | O_NOCTTY, 0);
    if (!file && (file.error().value == EACCES || file.error().value == EROFS))
        file = fs.open(root_fd, kJournalName, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (!file && file.error().value == ENOENT) return std::optional<Journal>();
    const auto unreadable = [](int error) {
        return fail(FailureKind::kOther, "the journal of a migration cannot be read (",
                    errno_text(error), "); check its permissions and the disk");
    };
    if (!file) return unreadable(file.error().value);
    const auto is = fs.stat(file->get());
    if (!is) return unreadable(is.error().value);
    ByteArray<kHeaderSize> bytes{};
    const auto got = S_ISREG(is->st_mode) ? fs.pread(file->get(), bytes, 0)
                                          : std::unexpected(lower::Errno{EINVAL});
    if (!got) return unreadable(got.error().value);
    const auto header = decode_header(Bytes(bytes).first(*got));
    if (!header) {
        return fail(FailureKind::kDamage,
                    "the journal of the migration (extencfs.migration) is damaged; take the "
                    "migration back with --rollback, and begin again");
    }
    if (header->version != kJournalVersion ||
        header->form != static_cast<std::uint32_t>(Form::kNewPlace)) {
        return fail(FailureKind::kUnsupported,
                    "the migration was begun by a newer version of extencfs; continue it with "
                    "that one");
    }
    Journal journal(fs, root_fd, std::move(*file), *header);
    if (auto r = journal.read_records(static_cast<std::uint64_t>(is->st_size)); !r)
        return unreadable(r.error().value);
    return std::optional<Journal>(std::move(journal));
}

lower::Result<void> Journal::read_records(std::uint64_t size) {
    constexpr std::size_t kAtOnce = 4096;
    ByteVector bytes(kAtOnce * kRecordSize);
    while (end_ + kRecordSize <= size) {
        const auto got = fs_->pread(file_.get(), bytes, end_);
        if (!got) return std::unexpected(got.error());
        std::size_t at = 0;
        for (; at + kRecordSize <= *got; at += kRecordSize) {
            const auto record =
                decode_record(Bytes(bytes).subspan(at).first<kRecordSize>(), header_.salt);
            // Torn here; what may lie behind it was never told to anybody.
            if (!record) break;
            take(*record);
            end_ += kRecordSize;
        }
        if (at + kRecordSize <= *got || at == 0) break;
    }
    return {};
}

void Journal::take(const Record& record) {
    complete_.reset();
    if (record.type == static_cast<std::uint32_t>(RecordType::kDone)) done_[record.ino] = record;
    if (record.type == static_cast<std::uint32_t>(RecordType::kComplete)) complete_ = record.size;
}

bool Journal::is_done(const struct stat& old_attr) const {
    const auto it = done_.find(old_attr.st_ino);
    return it != done_.end() && it->second == done_record(old_attr);
}

Outcome<void> Journal::append(std::span<const Record> records) {
    if (records.empty()) return {};
    ByteVector bytes;
    bytes.reserve(records.size() * kRecordSize);
    for (const Record& record : records) {
        const auto encoded = encode_record(record, header_.salt);
        bytes.insert(bytes.end(), encoded.begin(), encoded.end());
    }
    // Nothing of an older, torn writing is to follow what is written now.
    if (auto r = fs_->truncate(file_.get(), end_); !r) return unwritable(r.error().value);
    if (auto r = fs_->pwrite(file_.get(), bytes, end_); !r) return unwritable(r.error().value);
    if (auto r = fs_->fdatasync(file_.get()); !r) return unwritable(r.error().value);
    end_ += bytes.size();
    for (const Record& record : records) take(record);
    return {};
}

Outcome<void> Journal::complete(std::uint64_t missing) {
    const Record record{.type = static_cast<std::uint32_t>(RecordType::kComplete), .size = missing};
    return append(std::span(&record, 1));
}

Outcome<void> Journal::remove() {
    // The root directory shows the old one's times.
    const auto root = fs_->stat(root_fd_);
    if (auto r = fs_->unlink(root_fd_, kJournalName); !r && r.error().value != ENOENT)
        return unwritable(r.error().value);
    if (root) {
        const struct timespec times[2] = {root->st_atim, root->st_mtim};
        (void)fs_->utimens(root_fd_, times);
    }
    if (auto r = sync_names(*fs_, root_fd_); !r) return unwritable(r.error().value);
    return {};
}

}  // namespace extencfs::migrate
