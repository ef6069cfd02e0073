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

constexpr std::size_t kZerosAtOnce = 65536;

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

std::array<Record, 2> directory_records(const struct stat& old_attr) {
    const auto record = [&](RecordType type, const struct timespec& time, std::uint64_t size) {
        return Record{.type = static_cast<std::uint32_t>(type),
                      .mtime_nsec = static_cast<std::uint32_t>(time.tv_nsec),
                      .ino = old_attr.st_ino,
                      .size = size,
                      .mtime_sec = time.tv_sec};
    };
    return {record(RecordType::kDirectory, old_attr.st_mtim, old_attr.st_mode),
            record(RecordType::kDirectoryAccess, old_attr.st_atim, 0)};
}

struct stat SavedDirectory::onto(struct stat attr) const {
    attr.st_mode = (attr.st_mode & S_IFMT) | (mode & 07777);
    attr.st_atim = atime;
    attr.st_mtim = mtime;
    return attr;
}

Outcome<Journal> Journal::create(lower::LowerFs& fs, int root_fd, std::uint64_t old_volume,
                                 Form form) {
    ByteArray<8> salt{};
    if (!crypto::fill_random(salt)) return unwritable(EIO);
    Header header{.form = static_cast<std::uint32_t>(form), .old_volume = old_volume};
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

Outcome<std::optional<Journal>> Journal::open(lower::LowerFs& fs, int root_fd, Form form) {
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
    if (!header && form == Form::kInPlace) {
        if (std::ranges::all_of(Bytes(bytes).first(*got), [](auto b) { return b == std::byte{}; }))
            return std::optional<Journal>();
        return fail(FailureKind::kDamage,
                    "the journal of the migration (.extencfs-migration/extencfs.migration) is "
                    "damaged; move it away, and run the same again: no file is lost by that, but "
                    "times of directories are");
    }
    if (!header) {
        return fail(FailureKind::kDamage,
                    "the journal of the migration (extencfs.migration) is damaged; take the "
                    "migration back with --rollback, and begin again");
    }
    if (header->version != kJournalVersion || header->form != static_cast<std::uint32_t>(form)) {
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
    size_ = std::max(size, end_);
    if (header_.form != static_cast<std::uint32_t>(Form::kInPlace)) return {};
    const auto tail = has_tail();
    if (!tail) return std::unexpected(tail.error());
    tail_ = *tail;
    return {};
}

lower::Result<bool> Journal::has_tail() {
    ByteVector bytes(kZerosAtOnce);
    for (std::uint64_t at = end_; at < size_; at += bytes.size()) {
        const auto got = fs_->pread(file_.get(), bytes, at);
        if (!got) return std::unexpected(got.error());
        const auto seen = Bytes(bytes).first(*got);
        if (std::ranges::any_of(seen, [](std::byte b) { return b != std::byte{}; })) return true;
        if (*got < bytes.size()) break;
    }
    return false;
}

lower::Result<void> Journal::write_zeros(std::uint64_t from, std::uint64_t to) {
    const ByteVector zeros(kZerosAtOnce);
    while (from < to) {
        const auto some = std::min<std::uint64_t>(zeros.size(), to - from);
        if (auto r = fs_->pwrite(file_.get(), Bytes(zeros).first(some), from); !r) return r;
        from += some;
    }
    return {};
}

lower::Result<void> Journal::clear_tail() {
    if (header_.form != static_cast<std::uint32_t>(Form::kInPlace))
        return fs_->truncate(file_.get(), end_);
    if (!tail_) return {};
    if (auto r = write_zeros(end_, size_); !r) return r;
    if (auto r = fs_->fdatasync(file_.get()); !r) return r;
    tail_ = false;
    return {};
}

Outcome<void> Journal::make_room(std::uint64_t records) {
    const std::uint64_t wanted = end_ + records * kRecordSize;
    if (wanted <= size_) return {};
    auto made = fs_->fallocate(file_.get(), 0, size_, wanted - size_);
    if (!made && (made.error().value == EOPNOTSUPP || made.error().value == EINVAL))
        made = write_zeros(size_, wanted);
    if (made) made = fs_->fsync(file_.get());
    if (!made) return unwritable(made.error().value);
    size_ = wanted;
    return {};
}

std::optional<SavedDirectory> Journal::directory(std::uint64_t ino) const {
    const auto it = directories_.find(ino);
    if (it == directories_.end()) return std::nullopt;
    return it->second;
}

void Journal::take(const Record& record) {
    complete_.reset();
    if (record.type == static_cast<std::uint32_t>(RecordType::kDone)) done_[record.ino] = record;
    if (record.type == static_cast<std::uint32_t>(RecordType::kComplete)) complete_ = record.size;
    if (header_.form != static_cast<std::uint32_t>(Form::kInPlace)) return;
    const struct timespec time = {record.mtime_sec, static_cast<long>(record.mtime_nsec)};
    switch (static_cast<RecordType>(record.type)) {
        case RecordType::kDirectory:
            // Whole with the next record.
            half_directory_ = {
                .mode = static_cast<mode_t>(record.size), .atime = {}, .mtime = time};
            half_directory_ino_ = record.ino;
            break;
        case RecordType::kDirectoryAccess:
            if (half_directory_ino_ != record.ino) break;
            half_directory_.atime = time;
            // The first one: later ones may be of what was changed already.
            directories_.try_emplace(record.ino, half_directory_);
            break;
        case RecordType::kRemoving:
            removing_ = true;
            break;
        case RecordType::kMoving:
            moving_ = {record.size, record.mtime_nsec == 1};
            break;
        default:
            break;
    }
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
    if (auto r = clear_tail(); !r) return unwritable(r.error().value);
    tail_ = true;
    if (auto r = fs_->pwrite(file_.get(), bytes, end_); !r) return unwritable(r.error().value);
    if (auto r = fs_->fdatasync(file_.get()); !r) return unwritable(r.error().value);
    tail_ = false;
    end_ += bytes.size();
    size_ = std::max(size_, end_);
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
