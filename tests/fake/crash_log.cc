// SPDX-License-Identifier: Apache-2.0
#include "tests/fake/crash_log.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <random>

namespace extencfs::fake {
namespace {

void remove_name(const PinnedFile& dir, const std::string& name) {
    struct stat is;
    if (::fstatat(dir.fd(), name.c_str(), &is, AT_SYMLINK_NOFOLLOW) == -1)
        stop("looking for a name to undo");
    if (::unlinkat(dir.fd(), name.c_str(), S_ISDIR(is.st_mode) ? AT_REMOVEDIR : 0) == -1)
        stop("undoing a new name");
}

}  // namespace

CrashLog::CrashLog() {
    struct rlimit limit;
    if (::getrlimit(RLIMIT_NOFILE, &limit) == -1) stop("getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (::setrlimit(RLIMIT_NOFILE, &limit) == -1) stop("setrlimit");
}

CrashLog::File CrashLog::known(File pinned) {
    auto& slot = files_[PinnedFile::id_of(pinned->stat())];
    if (!slot) {
        slot = std::move(pinned);
        slot->serial = ++serial_;
    }
    return slot;
}

CrashLog::File CrashLog::file(int fd) {
    struct stat is;
    if (::fstat(fd, &is) == -1) return nullptr;
    const auto it = files_.find(PinnedFile::id_of(is));
    return it != files_.end() ? it->second : known(PinnedFile::of(fd));
}

CrashLog::File CrashLog::file(int dirfd, const std::string& name) {
    struct stat is;
    if (::fstatat(dirfd, name.c_str(), &is, AT_SYMLINK_NOFOLLOW) == -1) return nullptr;
    const auto it = files_.find(PinnedFile::id_of(is));
    if (it != files_.end()) return it->second;
    File pinned = PinnedFile::of(dirfd, name);
    return pinned ? known(std::move(pinned)) : nullptr;
}

void CrashLog::created(int dirfd, const std::string& name) {
    const File dir = file(dirfd);
    if (const File made = file(dirfd, name)) made->may_be_linked = false;
    keep({"+" + name, {dir}, [dir, name] { remove_name(*dir, name); }});
}

void CrashLog::removed(int dirfd, const std::string& name, const File& what) {
    const File dir = file(dirfd);
    keep({"-" + name, {dir}, [dir, name, what] { what->put_back(*dir, name); }});
}

void CrashLog::renamed(int from_dirfd, const std::string& from, int to_dirfd, const std::string& to,
                       const File& replaced) {
    const File from_dir = file(from_dirfd);
    const File to_dir = file(to_dirfd);
    keep({from + ">" + to, {from_dir, to_dir}, [=] {
              if (::renameat(to_dir->fd(), to.c_str(), from_dir->fd(), from.c_str()) == -1)
                  stop("undoing a rename");
              if (replaced) replaced->put_back(*to_dir, to);
          }});
}

void CrashLog::exchanged(int from_dirfd, const std::string& from, int to_dirfd,
                         const std::string& to) {
    const File from_dir = file(from_dirfd);
    const File to_dir = file(to_dirfd);
    keep({from + "<>" + to, {from_dir, to_dir}, [=] {
              if (::renameat2(to_dir->fd(), to.c_str(), from_dir->fd(), from.c_str(),
                              RENAME_EXCHANGE) == -1)
                  stop("undoing an exchange");
          }});
}

void CrashLog::attributes_changed(const File& what, const struct stat& was) {
    keep({"attributes", {what}, [what, was] { what->restore_attributes(was); }});
}

void CrashLog::xattr_changed(const File& what, const std::string& attr,
                             std::optional<ByteVector> was) {
    keep({"xattr " + attr, {what}, [what, attr, was = std::move(was)] {
              what->restore_xattr(attr, was);
          }});
}

void CrashLog::synced(int fd, bool with_attributes) {
    const File what = file(fd);
    if (!what) return;
    what->pages().synced();
    if (with_attributes || !what->is_regular()) {
        const auto last = std::find_if(journal_.rbegin(), journal_.rend(), [&](const Change& c) {
            return std::ranges::find(c.of, what) != c.of.end();
        });
        journal_.erase(journal_.begin(), last.base());
    }
    forget_settled();
}

void CrashLog::synced_all() {
    journal_.clear();
    for (const auto& [id, what] : files_) what->pages().synced();
    forget_settled();
}

void CrashLog::lost(int fd) {
    if (const File what = file(fd)) what->pages().lost();
}

void CrashLog::lost_all() {
    for (const auto& [id, what] : files_) what->pages().lost();
}

void CrashLog::forget_cached(int fd) {
    const File what = file(fd);
    if (what && what->is_regular()) what->pages().forget_cached(what->fd());
    forget_settled();
}

void CrashLog::forget_settled() {
    std::erase_if(files_, [](const auto& entry) {
        const File& what = entry.second;
        if (what.use_count() > 1 || what->may_be_linked) return false;
        return what->pages().clean() || what->stat().st_nlink == 0;
    });
}

std::string CrashLog::crash(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    const std::size_t all = journal_.size();
    const std::size_t kept = random() % (all + 1);
    std::string said = "journal: " + std::to_string(kept) + " of " + std::to_string(all);
    // Contents first: a file that is put back later is then copied as the crash left it.
    std::vector<File> dirty;
    for (const auto& [id, what] : files_)
        if (!what->pages().clean()) dirty.push_back(what);
    std::ranges::sort(dirty, {}, [](const File& f) { return f->serial; });
    for (const File& what : dirty)
        said += "; file " + std::to_string(what->serial) + ": " +
                what->pages().crash(what->fd(), random);
    for (; journal_.size() > kept; journal_.pop_back()) {
        said += "; undone " + journal_.back().what;
        journal_.back().undo();
    }
    journal_.clear();
    files_.clear();
    return said;
}

}  // namespace extencfs::fake
