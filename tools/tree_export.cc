// SPDX-License-Identifier: Apache-2.0
#include "tools/tree_export.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "encfs/daemon/log.h"

namespace extencfs::tools {
namespace {

// One export at work. Descriptors, not paths, so that nobody can put a symlink in its way.
class Export {
  public:
    explicit Export(VolumeTree& tree) : tree_(tree) {}
    bool whole() const { return whole_; }

    void directory(core::NodeId node, int target, const std::string& path) {
        const auto entries = tree_.list(node);
        if (!entries) return refuse(path, core::errno_of(entries.error()));
        for (const TreeEntry& entry : *entries) {
            const auto found = tree_.fs().lookup(node, entry.name);
            const std::string below = path + "/" + entry.name;
            if (!found) {
                refuse(below, core::errno_of(found.error()));
                continue;
            }
            one(*found, target, entry.name, below);
            tree_.fs().forget(found->node, 1);
        }
    }

  private:
    void refuse(const std::string& path, int error) {
        whole_ = false;
        std::fprintf(stderr, "extencfs: %s was left out (%s); see whether it is damaged\n",
                     daemon::printable(path).c_str(), daemon::errno_text(error).c_str());
    }

    void one(const core::Entry& entry, int target, const std::string& name,
             const std::string& path) {
        const mode_t mode = entry.attr.st_mode & 0777U;
        const struct timespec times[2]{entry.attr.st_atim, entry.attr.st_mtim};
        if (S_ISDIR(entry.attr.st_mode)) {
            if (mkdirat(target, name.c_str(), 0700) != 0 && errno != EEXIST)
                return refuse(path, errno);
            const lower::Fd below(
                openat(target, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
            if (!below) return refuse(path, errno);
            directory(entry.node, below.get(), path);
            (void)fchmod(below.get(), mode);
            (void)futimens(below.get(), times);
        } else if (S_ISREG(entry.attr.st_mode)) {
            file(entry, target, name, path);
        } else if (S_ISLNK(entry.attr.st_mode)) {
            const auto to = tree_.fs().readlink(entry.node);
            if (!to) return refuse(path, core::errno_of(to.error()));
            (void)unlinkat(target, name.c_str(), 0);
            if (symlinkat(to->c_str(), target, name.c_str()) != 0) return refuse(path, errno);
            (void)utimensat(target, name.c_str(), times, AT_SYMLINK_NOFOLLOW);
        }
    }

    void file(const core::Entry& entry, int target, const std::string& name,
              const std::string& path) {
        (void)unlinkat(target, name.c_str(), 0);
        const lower::Fd out(openat(target, name.c_str(),
                                   O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
        if (!out) return refuse(path, errno);
        int error = 0;
        const auto read = tree_.read(entry.node, [&](Bytes bytes) {
            const bool written = write_all(out.get(), bytes);
            if (!written) error = errno;
            return written;
        });
        if (error != 0 || !read) refuse(path, error != 0 ? error : core::errno_of(read.error()));
        const struct timespec times[2]{entry.attr.st_atim, entry.attr.st_mtim};
        (void)fchmod(out.get(), entry.attr.st_mode & 0777U);
        (void)futimens(out.get(), times);
    }

    VolumeTree& tree_;
    bool whole_ = true;
};

}  // namespace

bool write_all(int fd, Bytes bytes) {
    while (!bytes.empty()) {
        const ssize_t done = ::write(fd, bytes.data(), bytes.size());
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return false;
        bytes = bytes.subspan(static_cast<std::size_t>(done));
    }
    return true;
}

bool export_tree(VolumeTree& tree, const std::string& target) {
    const lower::Fd directory(::open(target.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory) {
        std::fprintf(stderr, "extencfs: %s cannot be opened (%s); give a directory\n",
                     target.c_str(), daemon::errno_text(errno).c_str());
        return false;
    }
    Export at_work(tree);
    at_work.directory(core::kRootNode, directory.get(), "");
    return at_work.whole();
}

}  // namespace extencfs::tools
