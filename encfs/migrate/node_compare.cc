// SPDX-License-Identifier: Apache-2.0
#include "encfs/migrate/node_compare.h"

#include <algorithm>

#include "encfs/migrate/report.h"

namespace extencfs::migrate {
namespace {

constexpr std::size_t kChunk = 1024 * 1024;

}  // namespace

std::vector<std::string> NodeCompare::differences(core::NodeId old, const struct stat& attr,
                                                  core::NodeId made, const struct stat& is) const {
    std::vector<std::string> found;
    const auto check = [&found](bool same, std::string what) {
        if (!same) found.push_back(std::move(what));
    };
    if ((attr.st_mode & S_IFMT) != (is.st_mode & S_IFMT)) return {"it is of another kind"};
    check(attr.st_mode == is.st_mode, "its mode differs");
    check(attr.st_uid == is.st_uid && attr.st_gid == is.st_gid, "its owner differs");
    check(attr.st_mtim.tv_sec == is.st_mtim.tv_sec && attr.st_mtim.tv_nsec == is.st_mtim.tv_nsec,
          "its modification time differs");
    if (S_ISBLK(attr.st_mode) || S_ISCHR(attr.st_mode))
        check(attr.st_rdev == is.st_rdev, "its device number differs");
    std::string what;
    if (S_ISREG(attr.st_mode)) {
        if (attr.st_size != is.st_size) {
            check(false, "its size differs");
        } else {
            what = contents(old, made, static_cast<std::uint64_t>(attr.st_size));
        }
    } else if (S_ISLNK(attr.st_mode)) {
        what = targets(old, made);
    }
    check(what.empty(), what);
    if (!S_ISLNK(attr.st_mode)) {
        what = xattrs(old, made);
        check(what.empty(), what);
    }
    return found;
}

std::string NodeCompare::contents(core::NodeId old, core::NodeId made, std::uint64_t size) const {
    static thread_local core::IoBuffer first;
    static thread_local core::IoBuffer second;
    for (std::uint64_t off = 0; off < size;) {
        const auto a = from_.read(old, off, kChunk, first);
        if (!a) return "its old contents: " + words_of(a.error());
        const auto b = to_.read(made, off, kChunk, second);
        if (!b) return "its new contents: " + words_of(b.error());
        if (a->empty() || !std::ranges::equal(*a, *b))
            return "its contents differ after byte " + std::to_string(off);
        off += a->size();
        bytes_ += a->size();
    }
    return {};
}

std::string NodeCompare::targets(core::NodeId old, core::NodeId made) const {
    const auto a = from_.readlink(old);
    if (!a) return "its old target: " + words_of(a.error());
    const auto b = to_.readlink(made);
    if (!b) return "its new target: " + words_of(b.error());
    return *a == *b ? "" : "its target differs";
}

std::string NodeCompare::xattrs(core::NodeId old, core::NodeId made) const {
    auto a = from_.list_xattr(old);
    if (!a) return "its old attributes: " + words_of(a.error());
    auto b = to_.list_xattr(made);
    if (!b) return "its new attributes: " + words_of(b.error());
    std::ranges::sort(*a);
    std::ranges::sort(*b);
    if (*a != *b) return "its attributes differ";
    for (const std::string& name : *a) {
        const auto old_value = from_.get_xattr(old, name);
        const auto new_value = to_.get_xattr(made, name);
        if (!old_value || !new_value || *old_value != *new_value)
            return "its attribute " + name + " differs";
    }
    return {};
}

}  // namespace extencfs::migrate
