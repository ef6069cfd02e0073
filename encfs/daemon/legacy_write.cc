// SPDX-License-Identifier: Apache-2.0
// The configuration of an EncFS volume on its way to the disk.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>

#include "crypto/encoding.h"
#include "crypto/random.h"
#include "encfs/daemon/legacy_key.h"
#include "encfs/volume/format.h"

namespace extencfs::daemon {
namespace {

constexpr std::size_t kTempDigits = 16;

// The directory that holds the file, and the file's name in it.
struct Target {
    lower::Fd own_directory;  // where it is not the volume's
    int directory = -1;
    std::string name;
};

Outcome<Target> target_of(int root_fd, const LegacyConfig& config) {
    if (config.path.empty()) return Target{{}, root_fd, config.name};
    // Of a symlink the file is replaced, as it is what was read.
    const std::unique_ptr<char, decltype(&std::free)> real(::realpath(config.path.c_str(), nullptr),
                                                           &std::free);
    const std::string path = real ? real.get() : config.path;
    const std::size_t slash = path.rfind('/');
    const std::string above = slash == std::string::npos ? "."
                              : slash == 0               ? "/"
                                                         : path.substr(0, slash);
    lower::Fd directory(::open(above.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory) {
        return fail(FailureKind::kConfigWrite, above, " cannot be opened (", errno_text(errno),
                    "); check the path");
    }
    const int number = directory.get();
    return Target{std::move(directory), number,
                  path.substr(slash == std::string::npos ? 0 : slash + 1)};
}

std::unexpected<Failure> cannot_write(const Target& target, int error) {
    return fail(FailureKind::kConfigWrite, target.name, " cannot be written (", errno_text(error),
                "); check free space and permissions");
}

std::unexpected<Failure> changed_meanwhile(const Target& target) {
    return fail(FailureKind::kLocked, target.name,
                " was changed by another command meanwhile; nothing was changed here, run the same "
                "again");
}

bool reads(lower::LowerFs& fs, int fd, const std::string& text) {
    std::string present(text.size() + 1, '\0');
    const auto size = fs.pread(fd, std::as_writable_bytes(std::span(present)), 0);
    return size && *size == text.size() && present.starts_with(text);
}

bool has_text(lower::LowerFs& fs, int directory, const std::string& name, const std::string& text) {
    const auto file = fs.open(directory, name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    return file && reads(fs, file->get(), text);
}

// The file that is to be replaced, locked, and as it was when it was read.
struct Held {
    lower::Fd file;
    bool locked = false;  // false: the file system has no locks
    int unwritable = 0;   // errno: it can be replaced, its bytes cannot
};

Outcome<Held> hold(lower::LowerFs& fs, const Target& target, const std::string& text) {
    constexpr int kFlags = O_NONBLOCK | O_NOCTTY;
    Held held;
    auto file = fs.open(target.directory, target.name, O_RDWR | kFlags, 0);
    if (!file && (file.error().value == EACCES || file.error().value == EPERM)) {
        held.unwritable = file.error().value;
        file = fs.open(target.directory, target.name, O_RDONLY | kFlags, 0);
    }
    if (!file && file.error().value == ENOENT) return changed_meanwhile(target);
    if (!file) return cannot_write(target, file.error().value);
    held.file = std::move(*file);
    held.locked = ::flock(held.file.get(), LOCK_EX | LOCK_NB) == 0;
    if (!held.locked && errno == EWOULDBLOCK) return changed_meanwhile(target);
    // Whoever held the lock may have replaced it before we had it.
    const auto here = fs.stat(held.file.get());
    const auto named = fs.stat_at(target.directory, target.name);
    if (!here) return cannot_write(target, here.error().value);
    if (!named) return cannot_write(target, named.error().value);
    const bool same = here->st_ino == named->st_ino && here->st_dev == named->st_dev;
    if (!same || !S_ISREG(here->st_mode) || !reads(fs, held.file.get(), text))
        return changed_meanwhile(target);
    return held;
}

std::string temp_prefix(const Target& target) {
    return std::string(volume::kTempPrefix) + target.name + ".";
}

// Takes the names from what killed changes of this file left. REQUIRES: the lock.
std::vector<HeldFile> take_leftovers(lower::LowerFs& fs, const Target& target) {
    const std::string prefix = temp_prefix(target);
    std::vector<HeldFile> files;
    std::vector<std::string> names;
    (void)fs.list(target.directory, [&](const lower::DirEntry& entry) {
        const bool is_one = entry.name.starts_with(prefix) &&
                            entry.name.size() == prefix.size() + kTempDigits &&
                            entry.name.find('.', prefix.size()) == std::string_view::npos;
        if (is_one) names.emplace_back(entry.name);
        return true;
    });
    for (std::string& name : names) {
        auto file = fs.open(target.directory, name, O_WRONLY | O_NONBLOCK | O_NOCTTY, 0);
        (void)fs.unlink(target.directory, name);
        if (file) files.push_back({std::move(name), std::move(*file)});
    }
    return files;
}

lower::Result<void> rename_new(lower::LowerFs& fs, const Target& target, const std::string& temp) {
    auto named = fs.rename(target.directory, temp, target.directory, target.name,
                           lower::RenameMode::kNoReplace);
    if (named || named.error().value != EINVAL) return named;
    // A file system that cannot: as good as it gets.
    if (fs.stat_at(target.directory, target.name)) return std::unexpected(lower::Errno{EEXIST});
    return fs.rename(target.directory, temp, target.directory, target.name,
                     lower::RenameMode::kReplace);
}

lower::Result<void> replace(lower::LowerFs& fs, const Target& target, const std::string& temp,
                            const std::string& text, bool is_new) {
    const auto old = fs.stat_at(target.directory, target.name);
    const mode_t mode = old ? old->st_mode & 07777U : 0600U;
    auto file = fs.open(target.directory, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOCTTY, 0600);
    if (!file) return std::unexpected(file.error());
    // Before the secret is in it, and whatever the umask is.
    if (old) (void)fs.chown(file->get(), old->st_uid, old->st_gid);
    if (auto set = fs.chmod(file->get(), mode); !set) return set;
    if (auto put = fs.pwrite(file->get(), std::as_bytes(std::span(text)), 0); !put) return put;
    if (auto synced = fs.fsync(file->get()); !synced) return synced;
    if (!has_text(fs, target.directory, temp, text)) return std::unexpected(lower::Errno{EIO});
    auto named = is_new ? rename_new(fs, target, temp)
                        : fs.rename(target.directory, temp, target.directory, target.name,
                                    lower::RenameMode::kReplace);
    if (!named) return named;
    return fs.fsync(target.directory);
}

Failure not_written(lower::LowerFs& fs, const Target& target, const std::string& text, int error) {
    if (has_text(fs, target.directory, target.name, text)) {
        return {FailureKind::kConfigWrite,
                target.name + " is written and in force, but may not outlast a power cut (" +
                    errno_text(error) + "); check the disk below"};
    }
    if (error == EEXIST) {
        return {FailureKind::kCipherDir, target.name +
                                             " is there already, from another command; mount that "
                                             "volume, or give another directory"};
    }
    return cannot_write(target, error).error();
}

}  // namespace

Outcome<void> write_legacy_config(lower::LowerFs& fs, int root_fd, const LegacyConfig& config,
                                  Notices* left) {
    const auto target = target_of(root_fd, config);
    if (!target) return std::unexpected(target.error());
    // It moves configurations away and back.
    if (fs.stat_at(root_fd, volume::kMigrationName)) {
        return fail(FailureKind::kMigrating, target->name,
                    " is not changed in the middle of a migration; go on with 'extencfs migrate "
                    "--in-place' first");
    }
    std::array<std::byte, kTempDigits / 2> random{};
    if (!crypto::fill_random(random)) return cannot_write(*target, EIO);
    const std::string temp = temp_prefix(*target) + crypto::hex_encode(random);
    const std::string text = legacy::serialize_config(config.config);
    Notices notices;
    std::vector<HeldFile> old;
    // Holds the lock to the end.
    std::optional<lower::Fd> lock;
    if (config.text) {
        auto held = hold(fs, *target, *config.text);
        if (!held) return std::unexpected(held.error());
        if (held->locked) old = take_leftovers(fs, *target);
        if (held->unwritable == 0) {
            old.push_back({target->name, std::move(held->file)});
        } else {
            notices.push_back("the old bytes of " + target->name + " stay on the disk (" +
                              errno_text(held->unwritable) + ")");
            lock = std::move(held->file);
        }
    }
    const auto done = replace(fs, *target, temp, text, !config.text);
    if (!done) {
        (void)fs.unlink(target->directory, temp);
        return std::unexpected(not_written(fs, *target, text, done.error().value));
    }
    // What was there is the last that opens the volume, if this does not.
    if (!has_text(fs, target->directory, target->name, text)) {
        return fail(FailureKind::kConfigWrite, target->name,
                    " was put in force, but reads back differently from what was written; check "
                    "the disk below");
    }
    for (std::string& notice : overwrite_nameless(fs, target->directory, old))
        notices.push_back(std::move(notice));
    if (left != nullptr) *left = std::move(notices);
    return {};
}

}  // namespace extencfs::daemon
