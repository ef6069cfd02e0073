// SPDX-License-Identifier: Apache-2.0
// One file of the backing directory, held open by the crash log, so that what happened to it can be
// undone: its inode number is not given away again and its content outlives its last name.
// Calls the kernel directly and not a LowerFs: its calls are no part of what is under test.
// ERRORS: a failing call prints itself and aborts; the log would be wrong from there on.
// THREADS: one at a time.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "crypto/bytes.h"
#include "encfs/lower/fd.h"
#include "tests/fake/page_log.h"

namespace extencfs::fake {

// Prints `what` with the current errno and aborts.
[[noreturn]] void stop(const char* what);

class PinnedFile {
  public:
    // Of an open descriptor.
    static std::shared_ptr<PinnedFile> of(int fd);
    // Of a name, never following a symlink. Null when there is none.
    static std::shared_ptr<PinnedFile> of(int dirfd, const std::string& name);

    // Device and inode number.
    using Id = std::pair<dev_t, ino_t>;
    static Id id_of(const struct stat& is) { return {is.st_dev, is.st_ino}; }

    // Read-write for regular files, O_PATH for the others.
    int fd() const { return fd_.get(); }
    struct stat stat() const;
    bool is_regular() const { return S_ISREG(type_); }

    // Gives it back a name that it had. A further name while it still has one, else a copy
    // (content, mode, owner, times, xattrs; a new inode number), which this object stands for from
    // then on.
    void put_back(const PinnedFile& dir, const std::string& name);

    // Mode and owner as in `was`.
    void restore_attributes(const struct stat& was);
    // nullopt: it has none, or the file system knows no such attributes.
    std::optional<ByteVector> xattr(const std::string& attr) const;
    void restore_xattr(const std::string& attr, const std::optional<ByteVector>& value);

    // What of its content is not on the disk yet. Regular files only.
    PageLog& pages() { return pages_; }

    // Order in which the log met them; the same in every run, unlike inode numbers.
    std::uint64_t serial = 0;
    // Made with O_TMPFILE: may get its first name although it has none.
    bool may_be_linked = false;

  private:
    explicit PinnedFile(lower::Fd path);

    void make_copy(const PinnedFile& dir, const std::string& name, const struct stat& is);

    lower::Fd fd_;
    mode_t type_;
    PageLog pages_;
};

}  // namespace extencfs::fake
