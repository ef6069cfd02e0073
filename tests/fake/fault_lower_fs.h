// SPDX-License-Identifier: Apache-2.0
// A LowerFs for tests: forwards to another one on a real directory (best on tmpfs) and, when told,
// fails calls, tears writes, dies, or loses power.
//
//   FaultLowerFs* fs = ...;              // handed to the file system under test
//   fs->track_power_loss();              // what is there now counts as synced
//   fs->die_at(7);                       // the 7th mutating call from now finds a dead machine
//   ... work, destroy the file system under test ...
//   INFO(fs->power_cut(seed));           // or revive(): only the process was killed
//   ... mount again over the same fs, compare ...
//
// Numbers count from the call that plants the fault: 1 is the next such call. Mutating are all
// calls that change something or sync it, also when they then fail: open with O_CREAT or O_TRUNC,
// open_tmpfile, link_tmpfile, mkdir, mknod, symlink, unlink, rmdir, rename, link, chown(_at),
// chmod(_at), utimens(_at), pwrite, pwritev, truncate, fallocate, set_xattr, remove_xattr,
// fdatasync, fsync, syncfs.
// THREADS: any, in parallel; while power loss is tracked, mutating calls run one at a time.
// track_power_loss() and power_cut(): with no other call under way.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "encfs/lower/lower_fs.h"
#include "tests/fake/crash_log.h"
#include "tests/fake/fault_plan.h"

namespace extencfs::fake {

class FaultLowerFs final : public lower::LowerFs {
  public:
    explicit FaultLowerFs(std::unique_ptr<LowerFs> under = lower::make_posix_lower_fs())
        : under_(std::move(under)) {}

    // ---- counting ----
    // Since construction or forget_calls(). Failed and dead calls count.
    std::uint64_t count(const Calls& which = Calls::any()) const { return plan_.count(which); }
    // Their names, those of the member functions, in the order in which they began.
    std::vector<std::string> calls() const { return plan_.calls(); }
    void forget_calls() { plan_.forget_calls(); }

    // ---- faults; several may be planted ----
    // The n-th such call fails once, without effect.
    void fail_at(std::uint64_t n, int error, Calls which = Calls::mutating()) {
        plan_.fail_at(n, error, std::move(which));
    }
    // The n-th pwrite or pwritev writes only its first `bytes`, then fails with ENOSPC or dies
    // (EIO, as everything after it).
    void tear_at(std::uint64_t n, std::uint64_t bytes, Tear::Then then = Tear::Then::kNoSpace) {
        plan_.tear_at(n, {bytes, then});
    }
    // The n-th mutating call and all calls after it have no effect and return EIO.
    void die_at(std::uint64_t n) { plan_.die_at(n); }
    void die() { plan_.die(); }
    bool dead() const { return plan_.dead(); }
    // Works again, on what the calls before the death left: the process was killed, the machine
    // runs on. Planted faults are taken away.
    void revive() { plan_.reset(); }

    // Once, before the next fdatasync of a file of that size below or more, runs `act` on its
    // thread.
    void before_sync(std::uint64_t bytes, std::function<void()> act) {
        sync_of_bytes_ = bytes;
        before_sync_ = std::move(act);
    }

    // ---- power loss ----
    // From now on keeps what a power loss could take; what is there now counts as synced.
    void track_power_loss() { log_ = std::make_unique<CrashLog>(); }
    // As the kernel does when a disk fails: the n-th fdatasync, fsync or syncfs from now returns
    // EIO, and what it should have written is in the cache alone, where no later sync writes it.
    // forget_cached() and power_cut() bring back what the disk has. Of a syncfs the error is told
    // once to each descriptor that open() had given before. REQUIRES: track_power_loss().
    void lose_writes_at(std::uint64_t n);
    // How often that happened.
    std::uint64_t losses() const { return losses_; }
    // Turns the directory into one of the states a power loss can leave (crash_log.h and page_log.h
    // say which), counts that as synced, and revives. Says what was chosen.
    // REQUIRES: track_power_loss(); the file system under test is gone, with all its descriptors. A
    // descriptor of the root directory stays good.
    std::string power_cut(std::uint64_t seed);

    // ---- LowerFs ----
    lower::Result<lower::Fd> open(int dirfd, const std::string& name, int flags,
                                  mode_t mode) override;
    lower::Result<lower::Fd> open_tmpfile(int dirfd, mode_t mode) override;
    lower::Result<void> link_tmpfile(int fd, int dirfd, const std::string& name) override;
    lower::Result<struct stat> stat_at(int dirfd, const std::string& name) override;
    lower::Result<void> mkdir(int dirfd, const std::string& name, mode_t mode) override;
    lower::Result<void> mknod(int dirfd, const std::string& name, mode_t mode, dev_t rdev) override;
    lower::Result<void> symlink(const std::string& target, int dirfd,
                                const std::string& name) override;
    lower::Result<std::string> readlink(int dirfd, const std::string& name) override;
    lower::Result<void> unlink(int dirfd, const std::string& name) override;
    lower::Result<void> rmdir(int dirfd, const std::string& name) override;
    lower::Result<void> rename(int from_dirfd, const std::string& from, int to_dirfd,
                               const std::string& to, lower::RenameMode mode) override;
    lower::Result<void> link(int from_dirfd, const std::string& from, int to_dirfd,
                             const std::string& to) override;
    lower::Result<void> chown_at(int dirfd, const std::string& name, uid_t uid, gid_t gid) override;
    lower::Result<void> chmod_at(int dirfd, const std::string& name, mode_t mode) override;
    lower::Result<void> utimens_at(int dirfd, const std::string& name,
                                   const struct timespec times[2]) override;
    lower::Result<void> list_from(int dirfd, std::uint64_t cookie,
                                  const std::function<bool(const lower::DirEntry&)>& each) override;

    lower::Result<struct stat> stat(int fd) override;
    lower::Result<void> may_change_names(int dirfd) override;
    lower::Result<std::size_t> pread(int fd, MutBytes out, std::uint64_t offset) override;
    lower::Result<void> pwrite(int fd, Bytes in, std::uint64_t offset) override;
    lower::Result<void> pwritev(int fd, std::span<const iovec> in, std::uint64_t offset) override;
    lower::Result<void> truncate(int fd, std::uint64_t size) override;
    // While power loss is tracked, EOPNOTSUPP for modes that move data (collapse, insert).
    lower::Result<void> fallocate(int fd, int mode, std::uint64_t offset,
                                  std::uint64_t size) override;
    lower::Result<std::uint64_t> seek(int fd, std::uint64_t offset, int whence) override;
    lower::Result<void> chown(int fd, uid_t uid, gid_t gid) override;
    lower::Result<void> chmod(int fd, mode_t mode) override;
    lower::Result<void> utimens(int fd, const struct timespec times[2]) override;
    lower::Result<void> fdatasync(int fd) override;
    lower::Result<void> fsync(int fd) override;
    lower::Result<void> syncfs(int fd) override;
    void forget_cached(int fd) override;
    lower::Result<struct statvfs> statvfs(int fd) override;

    lower::Result<ByteVector> get_xattr(int dirfd, const std::string& name,
                                        const std::string& attr) override;
    lower::Result<void> set_xattr(int dirfd, const std::string& name, const std::string& attr,
                                  Bytes value, int flags) override;
    lower::Result<void> remove_xattr(int dirfd, const std::string& name,
                                     const std::string& attr) override;
    lower::Result<std::vector<std::string>> list_xattr(int dirfd, const std::string& name) override;
    lower::Result<ByteVector> get_xattr(int fd, const std::string& attr) override;
    lower::Result<void> set_xattr(int fd, const std::string& attr, Bytes value, int flags) override;
    lower::Result<void> remove_xattr(int fd, const std::string& attr) override;
    lower::Result<std::vector<std::string>> list_xattr(int fd) override;

  private:
    // Makes `call` unless it is planned to fail.
    template <typename Call>
    auto reading(std::string_view name, Call call) -> decltype(call()) {
        const auto verdict = plan_.enter(name, false);
        if (verdict.error != 0) return std::unexpected(lower::Errno{verdict.error});
        return call();
    }
    // Likewise; while power loss is tracked, `call` holds `changing_`, with its log entries.
    template <typename Call>
    auto changing(std::string_view name, Call call) -> decltype(call()) {
        const auto lock = lock_if_tracked();
        const auto verdict = plan_.enter(name, true);
        if (verdict.error != 0) return std::unexpected(lower::Errno{verdict.error});
        return call();
    }
    // A pwrite or pwritev: `write(limit)` writes at most its first `limit` bytes.
    template <typename Write>
    lower::Result<void> writing(std::string_view name, int fd, std::uint64_t size,
                                std::uint64_t offset, Write write);
    // `call` with the changes it makes to [from, to) and the size of `fd` logged.
    template <typename Call>
    lower::Result<void> content(int fd, std::uint64_t from, std::uint64_t to, Call call);
    // `call` with the change it makes to mode and owner of `what` logged.
    template <typename Call>
    lower::Result<void> attributes(const CrashLog::File& what, Call call);
    template <typename Call>
    lower::Result<void> xattr(const CrashLog::File& what, const std::string& attr, Call call);
    // A sync: `done` or `lost` logs it.
    template <typename Call, typename Done, typename Lost>
    lower::Result<void> syncing(std::string_view name, Call call, Done done, Lost lost);

    void note_opened(int fd);

    std::unique_lock<std::mutex> lock_if_tracked() {
        return log_ ? std::unique_lock(changing_) : std::unique_lock<std::mutex>();
    }
    // Null when power loss is not tracked or there is no such file.
    CrashLog::File logged(int fd) { return log_ ? log_->file(fd) : nullptr; }
    CrashLog::File logged(int dirfd, const std::string& name) {
        return log_ ? log_->file(dirfd, name) : nullptr;
    }

    std::uint64_t sync_of_bytes_ = 0;
    std::uint64_t syncs_until_loss_ = 0;  // 0: none is planned; under changing_
    std::mutex told_mutex_;
    std::uint64_t losses_ = 0;                  // under told_mutex_
    std::map<int, std::uint64_t> losses_told_;  // to the descriptors of open(); likewise
    std::function<void()> before_sync_;
    std::unique_ptr<LowerFs> under_;
    FaultPlan plan_;
    std::mutex changing_;
    std::unique_ptr<CrashLog> log_;  // null while power loss is not tracked; under changing_
};

}  // namespace extencfs::fake
