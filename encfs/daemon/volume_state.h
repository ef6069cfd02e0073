// SPDX-License-Identifier: Apache-2.0
// extencfs.state: who may write the volume (a lock on the file), and whether the last writer left
// it in order (its text, "clean\n" or "dirty\n"). The text decides only whether size hints are
// trusted, never whether bytes are authentic.
#pragma once

#include "encfs/daemon/failure.h"
#include "encfs/lower/fd.h"
#include "encfs/lower/lower_fs.h"

namespace extencfs::daemon {

// What can be seen without taking anything.
struct StateView {
    bool exists = false;
    bool clean = false;           // the text says so, and nobody has the volume open for writing
    bool writer_present = false;  // somebody holds the lock
};

// ERRORS: kCipherDir (present, but cannot be read or is no regular file).
Outcome<StateView> view_state(lower::LowerFs& fs, int root_fd);

// The right to write a volume, for as long as this lives. An open-file-description lock
// (F_OFD_SETLK): it belongs to this open file, dies with the process, can be asked about without
// being taken, and is not inherited by exec. Read-only mounts take none.
// THREADS: one at a time.
class WriterLock {
  public:
    // ERRORS: kLocked, kCipherDir (the file cannot be made or opened).
    static Outcome<WriterLock> acquire(lower::LowerFs& fs, int root_fd);

    // Whether the last writer ended in order. Fixed when the lock was taken.
    bool was_clean() const { return was_clean_; }
    // Whether taking the lock made extencfs.state, which was not there before.
    bool made_file() const { return made_file_; }
    // False where the lower file system has no locks: a second writer would not be noticed.
    bool is_enforced() const { return enforced_; }

    // Writes "dirty" and makes it durable. Call before the first change. ERRORS: kCipherDir.
    Outcome<void> begin_writing();
    // Writes "clean" and makes it durable. REQUIRES: everything else is durable (syncfs).
    Outcome<void> end_clean();

  private:
    WriterLock(lower::LowerFs& fs, lower::Fd file) : fs_(&fs), file_(std::move(file)) {}
    Outcome<void> write_text(std::string_view text);

    lower::LowerFs* fs_;  // not owned
    lower::Fd file_;
    bool was_clean_ = false;
    bool made_file_ = false;
    bool enforced_ = true;
};

}  // namespace extencfs::daemon
