// SPDX-License-Identifier: Apache-2.0
// The journal of a migration: a file of its own in the new volume's lower root, which says what
// was copied and is durable. JOURNAL.md is its specification.
#pragma once

#include <sys/stat.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>

#include "encfs/daemon/failure.h"
#include "encfs/lower/fd.h"
#include "encfs/lower/lower_fs.h"
#include "encfs/migrate/journal_wire.h"

namespace extencfs::migrate {

using daemon::Outcome;

// What a record says of something that was copied.
Record done_record(const struct stat& old_attr);
// Of form kInPlace: a directory as it is, in two records.
std::array<Record, 2> directory_records(const struct stat& old_attr);

// A directory as it was before anything was removed from it.
struct SavedDirectory {
    mode_t mode = 0;
    struct timespec atime {};
    struct timespec mtime {};
    // `attr` with these in place of its own.
    struct stat onto(struct stat attr) const;
};

// The end of a migration in place has begun.
struct Moving {
    std::uint64_t missing = 0;
    bool keep_root_attributes = false;
};

// REQUIRES: the new volume's writer lock, but for open() alone.
// THREADS: one at a time; is_done() any, while nothing is appended.
class Journal {
  public:
    // Appears whole and durable, or not at all. `root_fd`: where it lies, see JOURNAL.md.
    // ERRORS: kOther.
    static Outcome<Journal> create(lower::LowerFs& fs, int root_fd, std::uint64_t old_volume,
                                   Form form = Form::kNewPlace);
    // Nothing where there is none. `fs` must outlive it, and `root_fd` stay open. One in place that
    // holds nothing is none. ERRORS: kDamage (its header), kUnsupported, kOther.
    static Outcome<std::optional<Journal>> open(lower::LowerFs& fs, int root_fd,
                                                Form form = Form::kNewPlace);

    std::uint64_t old_volume() const { return header_.old_volume; }
    // Whether everything was copied when the journal was last written.
    bool is_complete() const { return complete_.has_value(); }
    // What could not be read or kept then. REQUIRES: is_complete().
    std::uint64_t missing() const { return *complete_; }
    std::size_t done_count() const { return done_.size(); }
    // False also where the old file has another size or modification time by now.
    bool is_done(const struct stat& old_attr) const;

    // ---- of form kInPlace ----
    // Allocates room for so many more records, so that a full disk does not keep them from being
    // written. ERRORS: kOther (there is not so much).
    Outcome<void> make_room(std::uint64_t records);
    // By inode in the old volume.
    std::optional<SavedDirectory> directory(std::uint64_t ino) const;
    // Whether files of the old volume may be gone.
    bool is_removing() const { return removing_; }
    const std::optional<Moving>& moving() const { return moving_; }

    // Durable on return. What is told as done must be durable before. ERRORS: kOther.
    Outcome<void> append(std::span<const Record> records);
    Outcome<void> complete(std::uint64_t missing);
    // The migration is over: the new volume is a volume like any other. ERRORS: kOther.
    Outcome<void> remove();

  private:
    Journal(lower::LowerFs& fs, int root_fd, lower::Fd file, const Header& header)
        : fs_(&fs), root_fd_(root_fd), file_(std::move(file)), header_(header) {}
    void take(const Record& record);
    lower::Result<void> read_records(std::uint64_t size);
    // Whether something that is not zero follows the good records.
    lower::Result<bool> has_tail();
    lower::Result<void> write_zeros(std::uint64_t from, std::uint64_t to);
    // Nothing of an older, torn writing is to follow what is written now.
    lower::Result<void> clear_tail();

    lower::LowerFs* fs_;  // not owned
    int root_fd_;         // not owned
    lower::Fd file_;
    Header header_;
    std::uint64_t end_ = kHeaderSize;  // of the good records
    std::unordered_map<std::uint64_t, Record> done_;
    std::optional<std::uint64_t> complete_;
    std::uint64_t size_ = kHeaderSize;  // of the file, of form kInPlace
    bool tail_ = false;                 // something may follow the good records
    std::unordered_map<std::uint64_t, SavedDirectory> directories_;
    SavedDirectory half_directory_;
    std::uint64_t half_directory_ino_ = 0;
    bool removing_ = false;
    std::optional<Moving> moving_;
};

}  // namespace extencfs::migrate
