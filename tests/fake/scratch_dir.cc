// SPDX-License-Identifier: Apache-2.0
#include "tests/fake/scratch_dir.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/vfs.h>

#include <filesystem>
#include <system_error>

#include "tests/fake/pinned_file.h"

namespace extencfs::fake {

ScratchDir::ScratchDir(const std::string& parent) : path_(parent + "/extencfs-test-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) stop("mkdtemp");
    fd_ = lower::Fd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd_) stop("opening a scratch directory");
}

ScratchDir ScratchDir::on_disk() {
    const char* const place = ::getenv("TMPDIR");
    return ScratchDir(place != nullptr && *place != '\0' ? place : "/tmp");
}

ScratchDir ScratchDir::in_memory() {
    struct statfs is;
    if (::statfs("/dev/shm", &is) == 0 && is.f_type == TMPFS_MAGIC) return ScratchDir("/dev/shm");
    return on_disk();
}

ScratchDir::~ScratchDir() {
    if (path_.empty()) return;
    std::error_code error;
    std::filesystem::remove_all(path_, error);
    if (!error) return;
    // A test left directories that their owner may not write in. Descended into after the change.
    namespace fs = std::filesystem;
    for (auto it = fs::recursive_directory_iterator(path_, error); !error && it != fs::end(it);
         it.increment(error)) {
        std::error_code ignored;
        if (it->symlink_status(ignored).type() != fs::file_type::directory) continue;
        fs::permissions(it->path(), fs::perms::owner_all, fs::perm_options::add, ignored);
    }
    fs::remove_all(path_, error);
}

}  // namespace extencfs::fake
