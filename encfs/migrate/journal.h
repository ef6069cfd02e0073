// SPDX-License-Identifier: Apache-2.0
// The journal of a migration: a file of its own in the new volume's lower root, which says what
// was copied and is durable. JOURNAL.md is its specification.
#pragma once

#include <sys/stat.h>

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

// REQUIRES: the new volume's writer lock, but for open() alone.
// THREADS: one at a time; is_done() any, while nothing is appended.
class Journal {
  public:
    // Appears whole and durable, or not at all. ERRORS: kOther.
    static Outcome<Journal> create(lower::LowerFs& fs, int root_fd, std::uint64_t old_volume);
    // Nothing where there is none. `fs` must outlive it, and `root_fd` stay open.
    // ERRORS: kDamage (its header), kUnsupported, kOther.
    static Outcome<std::optional<Journal>> open(lower::LowerFs& fs, int root_fd);

    std::uint64_t old_volume() const { return header_.old_volume; }
    // Whether everything was copied when the journal was last written.
    bool is_complete() const { return complete_.has_value(); }
    // What could not be read or kept then. REQUIRES: is_complete().
    std::uint64_t missing() const { return *complete_; }
    std::size_t done_count() const { return done_.size(); }
    // False also where the old file has another size or modification time by now.
    bool is_done(const struct stat& old_attr) const;

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

    lower::LowerFs* fs_;  // not owned
    int root_fd_;         // not owned
    lower::Fd file_;
    Header header_;
    std::uint64_t end_ = kHeaderSize;  // of the good records
    std::unordered_map<std::uint64_t, Record> done_;
    std::optional<std::uint64_t> complete_;
};

}  // namespace extencfs::migrate
