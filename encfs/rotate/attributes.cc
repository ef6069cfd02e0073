// SPDX-License-Identifier: Apache-2.0
#include "encfs/rotate/attributes.h"

#include <fcntl.h>
#include <linux/limits.h>

#include <algorithm>
#include <cerrno>

#include "crypto/encoding.h"
#include "encfs/volume/wire.h"

namespace extencfs::rotate {
namespace {

// FORMAT.md "Rotation of keys": of one owner's attributes.
const std::string kKeptPrefix = std::string(volume::kRotationKeepPrefix) + "x";
// More than the attributes of any inode; whoever put more there gets nothing set.
constexpr std::uint64_t kMostKept = std::uint64_t{64} << 20;
constexpr const char* kKeptNew = "extencfs.t.rotation-x";

std::string kept_name(const AttributeOwner& owner) {
    return kKeptPrefix + crypto::hex_encode(owner.id);
}

bool is_no_room(int error) {
    return error == ENOSPC || error == EDQUOT || error == E2BIG || error == ERANGE;
}

bool has_no_attributes(int error) {
    return error == EOPNOTSUPP || error == ENODATA;
}

}  // namespace

lower::Result<Attributes> Attributes::look(const Tools& tools) {
    Attributes attributes(tools);
    auto listed = tools.fs.list(tools.root_fd, [&](const lower::DirEntry& entry) {
        if (entry.name.starts_with(kKeptPrefix)) attributes.kept_->names.emplace(entry.name);
        return true;
    });
    if (!listed) return std::unexpected(listed.error());
    return attributes;
}

lower::Result<std::vector<std::string>> Attributes::own_names(int fd) const {
    auto names = tools_->fs.list_xattr(fd);
    if (!names && has_no_attributes(names.error().value)) return std::vector<std::string>{};
    if (!names) return names;
    std::erase_if(*names,
                  [](const std::string& name) { return !name.starts_with(volume::kXattrPrefix); });
    return names;
}

lower::Result<std::vector<Attributes::Sealed>> Attributes::seal_all(const AttributeOwner& owner,
                                                                    std::uint64_t& damaged) const {
    std::vector<Sealed> all;
    const auto names = own_names(owner.fd);
    if (!names) return std::unexpected(names.error());
    for (const std::string& old_name : *names) {
        const auto [keys, name] =
            open_under_any(tools_->keys, [&](const volume::GenerationKeys& under) {
                return under.xattrs.decode_name(owner.id, old_name);
            });
        if (tools_->is_now(keys)) continue;
        if (keys == nullptr) {
            ++damaged;
            continue;
        }
        const auto box = tools_->fs.get_xattr(owner.fd, old_name);
        if (!box) return std::unexpected(box.error());
        auto value = keys->xattrs.open_value(owner.id, *name, *box);
        if (!value) {
            ++damaged;
            continue;
        }
        auto new_name = tools_->now().xattrs.encode_name(owner.id, *name);
        auto sealed = tools_->now().xattrs.seal_value(owner.id, *name, *value);
        crypto::wipe(*value);
        if (!new_name || !sealed) return std::unexpected(lower::Errno{EIO});
        all.push_back({old_name, std::move(*new_name), std::move(*sealed)});
    }
    return all;
}

lower::Result<bool> Attributes::any_older(const AttributeOwner& owner) const {
    if (is_kept(owner)) return true;
    const auto names = own_names(owner.fd);
    if (!names) return std::unexpected(names.error());
    return std::ranges::any_of(*names, [&](const std::string& name) {
        return !tools_->now().xattrs.decode_name(owner.id, name);
    });
}

lower::Result<std::uint64_t> Attributes::seal(const AttributeOwner& owner) const {
    if (is_kept(owner)) {
        if (auto taken = take_from_root(owner, kept_name(owner)); !taken) {
            return std::unexpected(taken.error());
        }
    }
    std::uint64_t damaged = 0;
    const auto all = seal_all(owner, damaged);
    if (!all) return std::unexpected(all.error());
    const auto fits = fit_beside(owner, *all);
    if (!fits) return std::unexpected(fits.error());
    if (!*fits) {
        if (auto done = by_way_of_root(owner, *all); !done) return std::unexpected(done.error());
        return damaged;
    }
    for (const Sealed& one : *all) {
        const auto there = tools_->fs.get_xattr(owner.fd, one.name);
        if (there) continue;  // by an earlier run
        const auto set = tools_->fs.set_xattr(owner.fd, one.name, one.value, 0);
        if (set) continue;
        if (!is_no_room(set.error().value)) return std::unexpected(set.error());
        if (auto done = by_way_of_root(owner, *all); !done) return std::unexpected(done.error());
        break;
    }
    return damaged;
}

lower::Result<bool> Attributes::fit_beside(const AttributeOwner& owner,
                                           const std::vector<Sealed>& all) const {
    if (all.empty()) return true;
    const auto there = tools_->fs.list_xattr(owner.fd);
    if (!there) return std::unexpected(there.error());
    std::size_t bytes = 0;
    for (const std::string& name : *there) bytes += name.size() + 1;
    for (const Sealed& one : all) {
        if (std::ranges::find(*there, one.name) == there->end()) bytes += one.name.size() + 1;
    }
    return bytes <= XATTR_LIST_MAX;
}

lower::Result<void> Attributes::by_way_of_root(const AttributeOwner& owner,
                                               const std::vector<Sealed>& all) const {
    ByteVector bytes;
    for (const Sealed& one : all) {
        ByteArray<6> sizes;
        volume::put_le<std::uint16_t>(sizes, 0, static_cast<std::uint16_t>(one.name.size()));
        volume::put_le<std::uint32_t>(sizes, 2, static_cast<std::uint32_t>(one.value.size()));
        for (const Bytes part : {Bytes(sizes), bytes_of(one.name), Bytes(one.value)}) {
            bytes.insert(bytes.end(), part.begin(), part.end());
        }
    }
    lower::LowerFs& fs = tools_->fs;
    const std::string hex = crypto::hex_encode(owner.id);
    const std::string fresh = kKeptNew + hex;
    const auto file = fs.open(tools_->root_fd, fresh, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (!file) return std::unexpected(file.error());
    auto done = fs.pwrite(file->get(), bytes, 0);
    if (done) done = fs.fsync(file->get());
    if (done) {
        done = fs.rename(tools_->root_fd, fresh, tools_->root_fd, kKeptPrefix + hex,
                         lower::RenameMode::kReplace);
    }
    if (done) done = fs.syncfs(tools_->root_fd);
    if (!done) {
        (void)fs.unlink(tools_->root_fd, fresh);
        // Nothing was taken away yet, and what is there may change before the next run.
        (void)fs.unlink(tools_->root_fd, kept_name(owner));
        forget_kept(owner);
        return done;
    }
    {
        // Before the old forms go: whatever fails now is taken from there.
        const std::lock_guard lock(kept_->mutex);
        kept_->names.insert(kept_name(owner));
    }
    return put_in_place(owner, all);
}

bool Attributes::is_kept(const AttributeOwner& owner) const {
    const std::lock_guard lock(kept_->mutex);
    return !kept_->names.empty() && kept_->names.contains(kept_name(owner));
}

lower::Result<void> Attributes::drop_kept(const AttributeOwner& owner) const {
    if (!is_kept(owner)) return {};
    const auto gone = tools_->fs.unlink(tools_->root_fd, kept_name(owner));
    if (!gone && gone.error().value != ENOENT) return gone;
    // EINVAL: a lower file system that syncs no directories.
    const auto synced = tools_->fs.fsync(tools_->root_fd);
    if (!synced && synced.error().value != EINVAL) return synced;
    forget_kept(owner);
    return {};
}

void Attributes::forget_kept(const AttributeOwner& owner) const {
    const std::lock_guard lock(kept_->mutex);
    kept_->names.erase(kept_name(owner));
}

lower::Result<void> Attributes::take_from_root(const AttributeOwner& owner,
                                               const std::string& name) const {
    lower::LowerFs& fs = tools_->fs;
    const auto file = fs.open(tools_->root_fd, name, O_RDONLY, 0);
    if (!file && file.error().value == ENOENT) {
        forget_kept(owner);
        return {};
    }
    if (!file) return std::unexpected(file.error());
    const auto is = fs.stat(file->get());
    if (!is) return std::unexpected(is.error());
    ByteVector bytes(std::min<std::uint64_t>(static_cast<std::uint64_t>(is->st_size), kMostKept));
    const auto got = fs.pread(file->get(), bytes, 0);
    if (!got) return std::unexpected(got.error());
    std::vector<Sealed> all;
    for (Bytes rest = Bytes(bytes).first(*got); rest.size() >= 6;) {
        const std::size_t name_size = volume::get_le<std::uint16_t>(rest, 0);
        const std::size_t value_size = volume::get_le<std::uint32_t>(rest, 2);
        if (rest.size() - 6 < name_size + value_size) break;
        const Bytes value = rest.subspan(6 + name_size, value_size);
        all.push_back({{},
                       std::string(text_of(rest.subspan(6, name_size))),
                       ByteVector(value.begin(), value.end())});
        rest = rest.subspan(6 + name_size + value_size);
    }
    // Whatever somebody else put there is not set.
    std::erase_if(all, [&](const Sealed& one) {
        return !tools_->now().xattrs.decode_name(owner.id, one.name);
    });
    return all.empty() ? lower::Result<void>{} : put_in_place(owner, all);
}

// REQUIRES: `all` is durable elsewhere.
lower::Result<void> Attributes::put_in_place(const AttributeOwner& owner,
                                             const std::vector<Sealed>& all) const {
    const auto names = own_names(owner.fd);
    if (!names) return std::unexpected(names.error());
    for (const std::string& name : *names) {
        const auto [keys, plain] =
            open_under_any(tools_->keys, [&](const volume::GenerationKeys& under) {
                return under.xattrs.decode_name(owner.id, name);
            });
        if (keys == nullptr || tools_->is_now(keys)) continue;
        const auto fresh = tools_->now().xattrs.encode_name(owner.id, *plain);
        const bool has_new = fresh && std::ranges::find(all, *fresh, &Sealed::name) != all.end();
        if (!has_new) continue;
        if (auto gone = tools_->fs.remove_xattr(owner.fd, name); !gone) return gone;
    }
    for (const Sealed& one : all) {
        if (auto set = tools_->fs.set_xattr(owner.fd, one.name, one.value, 0); !set) return set;
    }
    return {};
}

lower::Result<std::uint64_t> Attributes::clean(const AttributeOwner& owner) const {
    std::uint64_t left = 0;
    const auto names = own_names(owner.fd);
    if (!names) return std::unexpected(names.error());
    for (const std::string& name : *names) {
        const auto [keys, plain] =
            open_under_any(tools_->keys, [&](const volume::GenerationKeys& under) {
                return under.xattrs.decode_name(owner.id, name);
            });
        if (keys == nullptr || tools_->is_now(keys)) continue;
        const auto fresh = tools_->now().xattrs.encode_name(owner.id, *plain);
        // One whose value opened under no key has no new form, and opens under none later either.
        if (!fresh || !tools_->fs.get_xattr(owner.fd, *fresh)) {
            ++left;
            continue;
        }
        if (auto gone = tools_->fs.remove_xattr(owner.fd, name); !gone) {
            return std::unexpected(gone.error());
        }
    }
    return left;
}

}  // namespace extencfs::rotate
