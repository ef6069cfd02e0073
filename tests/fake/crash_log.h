// SPDX-License-Identifier: Apache-2.0
// What a power loss could take from a backing directory: everything since the last sync, kept in a
// way that lets any legal part of it be undone.
//
// Content and size of a file: page_log.h; on the disk from fdatasync or fsync of it, or syncfs.
//
// Names (create, mkdir, mknod, symlink, link, unlink, rmdir, rename) and attributes (mode, owner,
// xattrs) are one journal, in the order of the calls, for the whole directory tree. A crash leaves
// a prefix of it. fsync (for directories also fdatasync) of a file puts the journal on the disk as
// far as the last change of that file: for names that is the directory (both, of a rename), for
// attributes the file itself. So fsync of a file does not keep its name: more than ext4 loses, and
// what fsync(2) warns of. syncfs keeps everything. Journal and contents are independent of each
// other: a name can be there without its content, a synced file without its name.
//
// Not undone: time stamps. Lost in a test though not in truth: the inode number of a file that is
// put back after its last name was removed; files put back are copies.
// REQUIRES: nobody else changes the tree; every file in it may be opened read-write (root).
// THREADS: one at a time.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "encfs/lower/lower_fs.h"
#include "tests/fake/pinned_file.h"

namespace extencfs::fake {

class CrashLog {
  public:
    using File = std::shared_ptr<PinnedFile>;

    // Raises the process's limit of open files as far as it may: each file that was touched since
    // the last sync takes one.
    CrashLog();

    // The file behind a descriptor or name; the same object for the same file.
    File file(int fd);
    File file(int dirfd, const std::string& name);  // null when there is none

    // ---- after a call succeeded ----
    void created(int dirfd, const std::string& name);
    void removed(int dirfd, const std::string& name, const File& what);
    // `replaced`: what `to` was before, null for nothing.
    void renamed(int from_dirfd, const std::string& from, int to_dirfd, const std::string& to,
                 const File& replaced);
    void exchanged(int from_dirfd, const std::string& from, int to_dirfd, const std::string& to);
    void attributes_changed(const File& what, const struct stat& was);
    void xattr_changed(const File& what, const std::string& attr, std::optional<ByteVector> was);

    void synced(int fd, bool with_attributes);
    void synced_all();
    // What was to be synced is in the cache alone from now on (PageLog::lost).
    void lost(int fd);
    void lost_all();
    void forget_cached(int fd);

    // Turns the tree into one of the states that a crash can leave now, and takes it as synced.
    // Chances: any length of the journal alike; contents as PageLog::crash. The same seed chooses
    // the same after the same calls. Returns what was chosen, for a failing test's message.
    // REQUIRES: no open descriptor in the tree is used afterwards, save of directories that were
    // there at the last sync.
    std::string crash(std::uint64_t seed);

  private:
    struct Change {
        std::string what;
        std::vector<File> of;  // whose fsync puts it on the disk
        std::function<void()> undo;
    };

    File known(File pinned);
    void keep(Change change) { journal_.push_back(std::move(change)); }
    // Lets go of the files that no crash can change any more.
    void forget_settled();

    std::map<PinnedFile::Id, File> files_;
    std::vector<Change> journal_;  // oldest first; what is on the disk is taken off
    std::uint64_t serial_ = 0;
};

}  // namespace extencfs::fake
