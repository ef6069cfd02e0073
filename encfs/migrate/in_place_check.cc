// SPDX-License-Identifier: Apache-2.0
#include "encfs/migrate/in_place_check.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>
#include <vector>

#include "encfs/core/legacy_move.h"
#include "encfs/core/legacy_tail.h"
#include "encfs/daemon/log.h"
#include "encfs/daemon/mount_table.h"
#include "encfs/volume/format.h"

namespace extencfs::migrate {
namespace {

using daemon::fail;
using daemon::FailureKind;
using daemon::Outcome;
namespace files = std::filesystem;

class LowerCheck {
  public:
    LowerCheck(lower::LowerFs& fs, int root_fd, const std::string& path)
        : fs_(fs), root_fd_(root_fd), path_(path), user_(::geteuid()) {
        int count = ::getgroups(0, nullptr);
        groups_.resize(static_cast<std::size_t>(std::max(count, 0)));
        count = ::getgroups(count, groups_.data());
        groups_.resize(static_cast<std::size_t>(std::max(count, 0)));
        groups_.push_back(::getegid());
    }

    Outcome<void> run() {
        const auto is = fs_.stat(root_fd_);
        if (!is) return refuse(path_, "cannot be looked at", "check its permissions");
        device_ = is->st_dev;
        const auto space = fs_.statvfs(root_fd_);
        if (space && (space->f_flag & ST_RDONLY) != 0)
            return refuse(path_, "is on a file system that is mounted read-only",
                          "mount that for writing");
        if (auto fit = own(*is, path_); !fit) return fit;
        return directory(root_fd_, path_, true);
    }

  private:
    static Outcome<void> refuse(const std::string& path, const char* what, const char* advice) {
        return fail(FailureKind::kCipherDir, daemon::printable(path), " ", what,
                    "; nothing is changed: ", advice, ", or migrate into a new directory");
    }

    Outcome<void> own(const struct stat& is, const std::string& path) const {
        if (user_ == 0) return {};
        if (is.st_uid != user_) return refuse(path, "belongs to another user", "do it as root");
        if (std::ranges::find(groups_, is.st_gid) == groups_.end())
            return refuse(path, "belongs to a group that is not this user's", "do it as root");
        return {};
    }

    static bool is_reserved(std::string_view name) {
        return name.starts_with(volume::kReservedPrefix) && name != core::kMoveJournal &&
               name != core::kTailJournal && !name.starts_with(volume::kTempPrefix);
    }

    Outcome<void> directory(int fd, const std::string& path, bool root) {
        std::vector<std::string> names;
        const auto listed = fs_.list(fd, [&names](const lower::DirEntry& entry) {
            names.emplace_back(entry.name);
            return true;
        });
        if (!listed) return refuse(path, "cannot be listed", "check its permissions");
        for (const std::string& name : names) {
            if (root && (name.starts_with(volume::kMigrationPrefix) || name == "lost+found"))
                continue;
            if (root && is_reserved(name))
                return refuse(path + "/" + name, "has a name that the new volume needs",
                              "rename it");
            if (auto fit = entry(fd, name, path + "/" + name); !fit) return fit;
        }
        return {};
    }

    Outcome<void> entry(int fd, const std::string& name, const std::string& path) {
        struct statx more {};
        if (::statx(fd, name.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS,
                    &more) != 0)
            return errno == ENOENT ? Outcome<void>{}
                                   : refuse(path, "cannot be looked at", "check its permissions");
        if ((more.stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND)) != 0)
            return refuse(path, "cannot be removed, by its attributes", "take them away (chattr)");
        const auto is = fs_.stat_at(fd, name);
        if (!is) return refuse(path, "cannot be looked at", "check its permissions");
        if (is->st_dev != device_) return refuse(path, "is on another file system", "unmount that");
        if (auto fit = own(*is, path); !fit) return fit;
        if (!S_ISDIR(is->st_mode)) return {};
        // One that its owner may not write is opened to him by the migration.
        if (user_ != 0 && (is->st_mode & (S_IRUSR | S_IXUSR)) != (S_IRUSR | S_IXUSR))
            return refuse(path, "is closed to its owner", "do it as root, or open it (chmod u+rx)");
        const auto below = fs_.open(fd, name, O_RDONLY | O_DIRECTORY, 0);
        if (!below) return refuse(path, "cannot be opened", "check its permissions");
        return directory(below->get(), path, false);
    }

    lower::LowerFs& fs_;
    int root_fd_;
    const std::string& path_;
    uid_t user_;
    std::vector<gid_t> groups_;
    dev_t device_ = 0;
};

bool is_same(const std::string& path, const struct stat& root) {
    struct stat is {};
    return ::stat(path.c_str(), &is) == 0 && is.st_dev == root.st_dev && is.st_ino == root.st_ino;
}

// Its root shows the directory's own attributes, but for the device and inode numbers.
bool shows(const std::string& mountpoint, const struct stat& root) {
    struct stat is {};
    const auto same = [](const struct timespec& a, const struct timespec& b) {
        return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
    };
    return ::stat(mountpoint.c_str(), &is) == 0 && same(is.st_ctim, root.st_ctim) &&
           same(is.st_mtim, root.st_mtim) && is.st_mode == root.st_mode && is.st_uid == root.st_uid;
}

std::string read_all(const files::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// Whether an argument of an EncFS that runs names the directory; it is given absolute ones.
bool encfs_runs_on(const struct stat& root) {
    std::error_code error;
    for (const auto& entry : files::directory_iterator("/proc", error)) {
        const std::string pid = entry.path().filename();
        if (pid.empty() || pid.find_first_not_of("0123456789") != std::string::npos) continue;
        const std::string name = read_all(entry.path() / "comm");
        if (name != "encfs\n") continue;
        const std::string line = read_all(entry.path() / "cmdline");
        for (std::size_t at = 0; at < line.size();) {
            const std::string word = line.c_str() + at;
            at += word.size() + 1;
            if (word.starts_with('/') && is_same(word, root)) return true;
        }
    }
    return false;
}

std::vector<daemon::MountEntry> encfs_mounts() {
    auto mounts = daemon::parse_mountinfo(read_all("/proc/self/mountinfo"));
    std::erase_if(mounts, [](const auto& mount) { return mount.type != "fuse.encfs"; });
    return mounts;
}

}  // namespace

Outcome<void> check_lower_tree(lower::LowerFs& fs, int root_fd, const std::string& path) {
    return LowerCheck(fs, root_fd, path).run();
}

Outcome<void> check_no_encfs(int root_fd, const std::string& path) {
    struct stat root {};
    if (::fstat(root_fd, &root) != 0) return {};
    const auto used = [&path](const std::string& where) {
        return fail(FailureKind::kLocked, path, " is mounted by EncFS", where,
                    "; unmount it, and run the same again");
    };
    for (const daemon::MountEntry& mount : encfs_mounts()) {
        if (is_same(mount.source, root) || shows(mount.mountpoint, root))
            return used(" at " + daemon::printable(mount.mountpoint));
    }
    if (encfs_runs_on(root)) return used("");
    return {};
}

}  // namespace extencfs::migrate
