// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/mount_table.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <set>

namespace extencfs::daemon {
namespace {

std::vector<std::string_view> split(std::string_view text, char by) {
    std::vector<std::string_view> parts;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(by), text.size());
        if (end != 0) parts.push_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return parts;
}

// The kernel writes space, tab, newline and backslash as \ooo.
std::string unescape(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        unsigned value = 0;
        if (text[i] == '\\' && i + 3 < text.size() &&
            std::from_chars(text.data() + i + 1, text.data() + i + 4, value, 8).ptr ==
                text.data() + i + 4) {
            out.push_back(static_cast<char>(value));
            i += 3;
        } else {
            out.push_back(text[i]);
        }
    }
    return out;
}

std::optional<uid_t> user_id_of(std::string_view options) {
    for (const std::string_view option : split(options, ',')) {
        constexpr std::string_view kKey = "user_id=";
        if (!option.starts_with(kKey)) continue;
        uid_t uid = 0;
        const auto digits = option.substr(kKey.size());
        if (std::from_chars(digits.data(), digits.data() + digits.size(), uid).ec == std::errc{}) {
            return uid;
        }
    }
    return std::nullopt;
}

using FreePath = std::unique_ptr<char, decltype(&std::free)>;
std::optional<std::string> real_path(const std::string& path) {
    const FreePath real(::realpath(path.c_str(), nullptr), &std::free);
    if (!real) return std::nullopt;
    return std::string(real.get());
}

std::vector<MountEntry> mounts_seen_by(const std::string& process) {
    std::ifstream file("/proc/" + process + "/mountinfo");
    return parse_mountinfo(std::string{std::istreambuf_iterator<char>(file), {}});
}

// Of the same superblock; the number of one that is gone may be another's soon.
std::optional<std::string> place_of(const MountEntry& entry, const std::string& process) {
    for (MountEntry& each : mounts_seen_by(process)) {
        if (each.device == entry.device && each.type == entry.type && each.source == entry.source) {
            return std::move(each.mountpoint);
        }
    }
    return std::nullopt;
}

// fusermount3's own words go nowhere: the outcome is told in one sentence here.
Outcome<void> run_fusermount(const std::string& mountpoint, Detach how) {
    std::vector<std::string> words{"fusermount3", "-u"};
    if (how == Detach::kLazily) words.emplace_back("-z");
    words.insert(words.end(), {"--", mountpoint});
    std::vector<char*> argv;
    argv.reserve(words.size() + 1);
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    pid_t child = -1;
    const int error = posix_spawnp(&child, "fusermount3", &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) {
        return fail(FailureKind::kFuse, "fusermount3 cannot be run (", errno_text(error),
                    "); install the package fuse3");
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) return fail(FailureKind::kFuse, "fusermount3 was lost; try again");
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
    return fail(FailureKind::kBusy, "files are still open on ", mountpoint,
                "; close them or use --lazy");
}

}  // namespace

std::vector<MountEntry> parse_mountinfo(std::string_view text) {
    std::vector<MountEntry> entries;
    for (const std::string_view line : split(text, '\n')) {
        const auto fields = split(line, ' ');
        // 36 35 98:0 /root /mountpoint options [optional fields] - type source superoptions
        std::size_t dash = 6;
        while (dash < fields.size() && fields[dash] != "-") ++dash;
        if (dash + 3 >= fields.size()) continue;
        entries.push_back({unescape(fields[4]), std::string(fields[dash + 1]),
                           unescape(fields[dash + 2]), user_id_of(fields[dash + 3]),
                           std::string(fields[2])});
    }
    return entries;
}

std::vector<MountEntry> all_mounts() {
    return mounts_seen_by("self");
}

std::optional<MountEntry> find_mount(const std::string& mountpoint) {
    std::optional<MountEntry> found;
    for (MountEntry& entry : all_mounts()) {
        if (entry.mountpoint == mountpoint) found = std::move(entry);
    }
    return found;
}

bool is_extencfs(const MountEntry& entry) {
    return entry.type == "fuse.extencfs" || entry.type == "fuse.encfs";
}

std::optional<OtherMount> find_other_mount(const MountEntry& entry) {
    if (auto place = place_of(entry, "self")) return OtherMount{std::move(*place), 0};
    std::set<std::string> looked_at;
    std::error_code error;
    for (const auto& process : std::filesystem::directory_iterator("/proc", error)) {
        const std::string name = process.path().filename();
        pid_t pid = 0;
        if (std::from_chars(name.data(), name.data() + name.size(), pid).ec != std::errc{})
            continue;
        const auto its = std::filesystem::read_symlink(process.path() / "ns/mnt", error);
        if (error || !looked_at.insert(its).second) continue;
        if (auto place = place_of(entry, name)) return OtherMount{std::move(*place), pid};
    }
    return std::nullopt;
}

Outcome<std::string> resolve_mountpoint(const std::string& path) {
    if (auto whole = real_path(path)) return *whole;
    const int error = errno;
    std::string trimmed = path;
    while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
    const std::size_t slash = trimmed.rfind('/');
    const std::string parent = slash == std::string::npos ? "."
                               : slash == 0               ? "/"
                                                          : trimmed.substr(0, slash);
    // A mount whose daemon died gives an error itself, but its parent still resolves.
    if (const auto above = real_path(parent)) {
        std::string inside = (*above == "/" ? "" : *above) + "/" + trimmed.substr(slash + 1);
        if (find_mount(inside)) return inside;
    }
    return fail(FailureKind::kMountpoint, path, " cannot be used as a mountpoint (",
                errno_text(error), "); give an existing directory");
}

Outcome<MountEntry> find_own_mount(const std::string& path) {
    const auto mountpoint = resolve_mountpoint(path);
    if (!mountpoint) return std::unexpected(mountpoint.error());
    auto entry = find_mount(*mountpoint);
    if (!entry || !is_extencfs(*entry)) {
        return fail(FailureKind::kNotMounted, *mountpoint,
                    " is not a mount of extencfs; check the path");
    }
    return std::move(*entry);
}

Outcome<void> unmount_path(const std::string& mountpoint, Detach how) {
    if (geteuid() != 0) return run_fusermount(mountpoint, how);
    const int flags = UMOUNT_NOFOLLOW | (how == Detach::kLazily ? MNT_DETACH : 0);
    if (umount2(mountpoint.c_str(), flags) == 0) return {};
    switch (errno) {
        case EBUSY:
            return fail(FailureKind::kBusy, "files are still open on ", mountpoint,
                        "; close them or use --lazy");
        case EINVAL:
        case ENOENT:
            return fail(FailureKind::kNotMounted, "nothing is mounted on ", mountpoint,
                        "; check the path");
        default:
            return fail(FailureKind::kFuse, mountpoint, " cannot be unmounted (", errno_text(errno),
                        "); try --lazy");
    }
}

}  // namespace extencfs::daemon
