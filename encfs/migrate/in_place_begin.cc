// SPDX-License-Identifier: Apache-2.0
// How a migration in place begins, goes on, and is taken back while it can be.
#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "encfs/migrate/in_place.h"
#include "encfs/migrate/remove_tree.h"
#include "encfs/volume/format.h"

namespace extencfs::migrate {

using daemon::errno_text;
using daemon::fail;
using daemon::FailureKind;

namespace {

constexpr const char* kPlaceholderTemp = "placeholder";

std::unexpected<daemon::Failure> cannot_begin(int error) {
    return fail(FailureKind::kOther, "the migration cannot be begun (", errno_text(error),
                "); nothing is changed: check permissions and room, and run the same again");
}

lower::Result<void> write_root(lower::LowerFs& fs, int fd, std::uint64_t old_volume,
                               const struct stat& root) {
    const Header header{.form = static_cast<std::uint32_t>(Form::kInPlace),
                        .old_volume = old_volume};
    ByteVector bytes;
    const auto encoded = encode_header(header);
    bytes.insert(bytes.end(), encoded.begin(), encoded.end());
    for (const Record& record : directory_records(root)) {
        const auto one = encode_record(record, header.salt);
        bytes.insert(bytes.end(), one.begin(), one.end());
    }
    if (auto r = fs.pwrite(fd, bytes, 0); !r) return r;
    return fs.fsync(fd);
}

}  // namespace

// Before anything is made in the root, which would change its times.
Outcome<void> InPlace::save_root(std::uint64_t old_volume) {
    if (saved_root()) return {};
    const auto saved = [&]() -> lower::Result<void> {
        const auto is = fs_->stat(root_fd_);
        if (!is) return std::unexpected(is.error());
        (void)fs_->unlink(root_fd_, kWorkRoot);
        const auto unnamed = fs_->open_tmpfile(root_fd_, 0600);
        if (unnamed) {
            if (auto r = write_root(*fs_, unnamed->get(), old_volume, *is); !r) return r;
            return fs_->link_tmpfile(unnamed->get(), root_fd_, kWorkRoot);
        }
        const auto file =
            fs_->open(root_fd_, kWorkRoot, O_WRONLY | O_CREAT | O_EXCL | O_NOCTTY, 0600);
        if (!file) return std::unexpected(file.error());
        return write_root(*fs_, file->get(), old_volume, *is);
    }();
    if (!saved) return cannot_begin(saved.error().value);
    return {};
}

std::optional<std::array<Record, 2>> InPlace::saved_root() const {
    const auto file = fs_->open(root_fd_, kWorkRoot, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (!file) return std::nullopt;
    ByteArray<kHeaderSize + 2 * kRecordSize> bytes{};
    const auto got = fs_->pread(file->get(), bytes, 0);
    if (!got || *got != bytes.size()) return std::nullopt;
    const auto header = decode_header(bytes);
    if (!header) return std::nullopt;
    const auto records = Bytes(bytes).subspan(kHeaderSize);
    const auto first = decode_record(records.first<kRecordSize>(), header->salt);
    const auto second = decode_record(records.last<kRecordSize>(), header->salt);
    if (!first || !second) return std::nullopt;
    return std::array<Record, 2>{*first, *second};
}

Outcome<void> InPlace::begin(std::uint64_t old_volume, std::uint64_t records,
                             const std::function<Outcome<void>(const std::string&)>& make_volume) {
    if (exists(root_fd_, kWorkDone)) {
        return fail(
            FailureKind::kCipherDir,
            "an earlier migration waits for its end here; give 'extencfs migrate --finish'");
    }
    if (config_path().empty()) {
        return fail(FailureKind::kCipherDir,
                    "the directory has no .encfs6.xml, .encfs5 or .encfs4; put the configuration "
                    "of the volume there");
    }
    if (auto saved = save_root(old_volume); !saved) return saved;
    auto made = make_work(old_volume, records, make_volume);
    if (made) return {};
    // As it was, as far as that goes: the next run removes what is left.
    const auto root = saved_root();
    (void)remove_entry(*fs_, root_fd_, kWorkUnmade);
    if (!exists(root_fd_, kWorkUnmade) && root && fs_->unlink(root_fd_, kWorkRoot)) {
        const auto time = [](const Record& record) {
            return timespec{record.mtime_sec, static_cast<long>(record.mtime_nsec)};
        };
        const struct timespec times[2] = {time((*root)[1]), time((*root)[0])};
        (void)fs_->utimens(root_fd_, times);
    }
    return made;
}

Outcome<void> InPlace::make_work(
    std::uint64_t old_volume, std::uint64_t records,
    const std::function<Outcome<void>(const std::string&)>& make_volume) {
    lower::Fd work;
    const auto prepared = [&]() -> lower::Result<void> {
        auto gone = remove_entry(*fs_, root_fd_, kWorkUnmade);
        if (!gone && gone.error().value != ENOENT) return gone;
        if (auto r = fs_->mkdir(root_fd_, kWorkUnmade, 0700); !r) return r;
        auto opened = open_directory(root_fd_, kWorkUnmade);
        if (!opened) return std::unexpected(opened.error());
        work = std::move(*opened);
        for (const char* name : {kWorkVolume, kWorkConfigs}) {
            if (auto r = fs_->mkdir(work.get(), name, 0700); !r) return r;
        }
        const auto configs = open_directory(work.get(), kWorkConfigs);
        if (!configs) return std::unexpected(configs.error());
        return keep_configs(configs->get());
    }();
    if (!prepared) return cannot_begin(prepared.error().value);
    auto made = make_volume(std::string(kWorkUnmade) + "/" + kWorkVolume);
    if (!made) return made;
    auto journal = Journal::create(*fs_, work.get(), old_volume, Form::kInPlace);
    if (!journal) return std::unexpected(journal.error());
    if (auto room = journal->make_room(records); !room) return room;
    if (const auto root = saved_root()) {
        if (auto r = journal->append(*root); !r) return r;
    }
    const auto named = [&]() -> lower::Result<void> {
        if (auto r = fs_->syncfs(root_fd_); !r) return r;
        auto r = fs_->rename(root_fd_, kWorkUnmade, root_fd_, volume::kMigrationName,
                             lower::RenameMode::kReplace);
        return r ? sync(root_fd_) : r;
    }();
    if (!named) return cannot_begin(named.error().value);
    return {};
}

lower::Result<void> InPlace::keep_configs(int configs_fd) const {
    for (const char* name : kEncfsConfigs) {
        if (!exists(root_fd_, name) || exists(configs_fd, name) ||
            is_placeholder(*fs_, root_fd_, name))
            continue;
        if (auto r = copy_config(*fs_, root_fd_, name, configs_fd); !r) return r;
    }
    return sync(configs_fd);
}

Outcome<Journal*> InPlace::resume(std::uint64_t old_volume) {
    if (auto opened = open_work(volume::kMigrationName); !opened)
        return std::unexpected(opened.error());
    if (!journal_) {
        auto fresh = Journal::create(*fs_, work_.get(), old_volume, Form::kInPlace);
        if (!fresh) return std::unexpected(fresh.error());
        journal_ = std::move(*fresh);
    }
    if (journal_->old_volume() != old_volume) {
        return fail(FailureKind::kCipherDir,
                    "the configuration is not that of the volume whose migration was begun here; "
                    "put that one back");
    }
    if (!journal_->moving()) {
        if (auto kept = keep_encfs_out(); !kept) {
            return fail(FailureKind::kOther, "the old configuration cannot be set aside (",
                        errno_text(kept.error().value),
                        "); nothing is lost: check permissions and room, and run the same again");
        }
    }
    return &*journal_;
}

// EncFS knows of no lock and no migration: it would show, and change, what is left.
lower::Result<void> InPlace::keep_encfs_out() {
    const char* name = kEncfsConfigs.front();
    if (is_placeholder(*fs_, root_fd_, name)) return {};
    const auto configs = open_directory(work_.get(), kWorkConfigs);
    if (!configs) return std::unexpected(configs.error());
    // A migration that was half taken back has put it there again.
    if (auto r = keep_configs(configs->get()); !r) return r;
    auto gone = fs_->unlink(work_.get(), kPlaceholderTemp);
    if (!gone && gone.error().value != ENOENT) return gone;
    if (auto r = write_placeholder(*fs_, work_.get(), kPlaceholderTemp); !r) return r;
    if (auto r = fs_->syncfs(root_fd_); !r) return r;
    auto r =
        fs_->rename(work_.get(), kPlaceholderTemp, root_fd_, name, lower::RenameMode::kReplace);
    return r ? sync(root_fd_) : r;
}

Outcome<void> InPlace::roll_back() {
    const auto view = look();
    if (!view) return std::unexpected(view.error());
    if (view->stage == InPlaceStage::kNone) {
        return fail(FailureKind::kCipherDir, "there is no migration in place here; check the path");
    }
    if (view->removing || view->stage != InPlaceStage::kBegun) {
        return fail(FailureKind::kCipherDir,
                    "files are in the new format only by now, so that it cannot be taken back; go "
                    "on with 'extencfs migrate --in-place', or restore a backup");
    }
    if (auto opened = open_work(volume::kMigrationName); !opened) return opened;
    const auto done = [&]() -> lower::Result<void> {
        if (auto r = put_configs_back(); !r) return r;
        if (auto r = sync(root_fd_); !r) return r;
        // From here on nothing has begun.
        auto r = fs_->rename(root_fd_, volume::kMigrationName, root_fd_, kWorkUnmade,
                             lower::RenameMode::kReplace);
        if (!r) return r;
        if (r = sync(root_fd_); !r) return r;
        if (r = remove_entry(*fs_, root_fd_, kWorkUnmade); !r) return r;
        restore_root_times();
        (void)fs_->unlink(root_fd_, kWorkRoot);
        return {};
    }();
    restore_root_times();
    if (done) return {};
    return fail(FailureKind::kOther, "the migration cannot be taken back (",
                errno_text(done.error().value),
                "); no file is lost: check permissions, and run the same again");
}

}  // namespace extencfs::migrate
