// SPDX-License-Identifier: Apache-2.0
// Extended attributes. user.* and trusted.* are encrypted; POSIX ACLs are the lower file system's
// (the kernel reads them); security.* is refused, so that no write has to ask for it.
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "encfs/core/filesystem.h"

namespace extencfs::core {

namespace {
constexpr const char* kAccessAcl = "system.posix_acl_access";
}  // namespace

Filesystem::XattrClass Filesystem::classify(const std::string& name) {
    for (const std::string_view space : {"user.", "trusted."}) {
        if (name.starts_with(space))
            return name.size() > space.size() ? XattrClass::kEncrypted : XattrClass::kInvalid;
    }
    if (name == kAccessAcl || name == "system.posix_acl_default") return XattrClass::kAcl;
    if (name.starts_with("security.")) return XattrClass::kRefused;
    return XattrClass::kUnknown;
}

std::optional<ErrorKind> Filesystem::refusal(XattrClass kind, ErrorKind refused) {
    switch (kind) {
        case XattrClass::kInvalid:
            return ErrorKind::kInvalid;
        case XattrClass::kUnknown:
            return ErrorKind::kUnsupported;
        case XattrClass::kRefused:
            return refused;
        case XattrClass::kEncrypted:
        case XattrClass::kAcl:
            break;
    }
    return std::nullopt;
}

Result<Filesystem::XattrTarget> Filesystem::xattr_target(NodeId node, bool need_owner) {
    auto is = view(node);
    if (!is) return std::unexpected(is.error());
    XattrTarget target;
    target.node = node;
    target.ino = is->ino;
    if (S_ISDIR(is->type)) {
        auto dir = directory(node);
        if (!dir) return std::unexpected(dir.error());
        target.owner = (*dir)->context.id;
        if ((*dir)->by_path_only) {  // O_PATH has none: by name
            auto at = place_of(*is);
            if (!at) return std::unexpected(at.error());
            target.dir = at->dir;
            target.entry = at->entry();
            return target;
        }
        target.dir = *dir;
        target.fd = (*dir)->fd.get();
        return target;
    }
    if (S_ISREG(is->type)) {
        auto opened = file(node, OpenIntent::kRead);
        if (!opened) return std::unexpected(opened.error());
        target.file = *opened;
        target.fd = (*opened)->fd();
        if (need_owner) {
            auto owner = format_->content_id(*lower_, target.fd);
            if (!owner) return std::unexpected(owner.error());
            target.owner = *owner;
        }
        return target;
    }
    // Symlinks and special files have no user.* (xattr(7)); ACLs of special files are by name.
    if (need_owner) return fail(ErrorKind::kPermission);
    auto at = place_of(*is);
    if (!at) return std::unexpected(at.error());
    target.dir = at->dir;
    target.entry = at->entry();
    return target;
}

Result<Filesystem::XattrTarget> Filesystem::xattr_named(NodeId node, const std::string& name,
                                                        ErrorKind refused) {
    const auto kind = classify(name);
    if (auto no = refusal(kind, refused)) return fail(*no);
    auto target = xattr_target(node, kind == XattrClass::kEncrypted);
    if (!target) return target;
    target->kind = kind;
    target->lower_name = name;
    if (kind == XattrClass::kEncrypted) {
        if (auto r = renew_xattrs(*target); !r) return std::unexpected(r.error());
    }
    if (kind == XattrClass::kEncrypted) {
        auto encoded = format_->encode_xattr_name(target->owner, name);
        if (!encoded) return std::unexpected(encoded.error());
        target->lower_name = std::move(*encoded);
    }
    return target;
}

template <typename Act>
Result<void> Filesystem::change_xattr(NodeId node, const std::string& name, ErrorKind refused,
                                      const Act& change) {
    if (options_.read_only) return fail(ErrorKind::kReadOnly);
    auto target = xattr_named(node, name, refused);
    if (!target) return std::unexpected(target.error());
    {
        Change changed{.inodes = {target->ino}};
        changed.xattrs = true;
        ChangeScope scope(*sink_, changed);
        if (auto r = change(*target); !r) return r;
        if (target->dir && target->fd >= 0)
            target->dir->default_acl = DirHandle::DefaultAcl::kUnknown;
    }
    // An ACL that says what the mode says is none.
    publish_if_bare(node, *target);
    return {};
}

bool Filesystem::seen_bare(const lower::Result<std::vector<std::string>>& lower_names) const {
    if (!lower_names) return lower_names.error().value == EOPNOTSUPP;
    return std::ranges::none_of(*lower_names, [this](const std::string& name) {
        return classify(name) == XattrClass::kAcl || format_->owns_xattr(name);
    });
}

// LOCKS: whoever calls holds the name, so that it stays this inode's.
void Filesystem::publish_if_bare(const Entry& entry, const Place& at, Token token) {
    if (!sink_->listens() || (!S_ISREG(entry.attr.st_mode) && !S_ISDIR(entry.attr.st_mode))) return;
    if (seen_bare(lower_->list_xattr(at.dir->fd.get(), at.entry())))
        sink_->publish_xattr(entry.node, entry.attr.st_ino, MetadataSink::XattrFact::kNone, {},
                             token);
}

void Filesystem::publish_if_bare(NodeId node, const XattrTarget& target) {
    if (!sink_->listens() || target.fd < 0) return;
    const auto token = sink_->token();
    if (seen_bare(lower_->list_xattr(target.fd)))
        sink_->publish_xattr(node, target.ino, MetadataSink::XattrFact::kNone, {}, token);
}

Result<ByteVector> Filesystem::get_xattr(NodeId node, const std::string& name) {
    const auto still = still_paths();
    const auto token = sink_->token();
    auto target = xattr_named(node, name, ErrorKind::kNoAttribute);
    if (!target) {
        if (target.error().kind == ErrorKind::kPermission) return fail(ErrorKind::kNoAttribute);
        return std::unexpected(target.error());
    }
    auto value = target->fd >= 0
                     ? lower_->get_xattr(target->fd, target->lower_name)
                     : lower_->get_xattr(target->dir->fd.get(), target->entry, target->lower_name);
    if (!value) {
        if (value.error().value == ENODATA)
            sink_->publish_xattr(node, target->ino, MetadataSink::XattrFact::kAbsent, name, token);
        return fail(value.error());
    }
    if (target->kind == XattrClass::kAcl) return std::move(*value);
    auto opened = format_->open_xattr(target->owner, name, *value);
    if (!opened && opened.error().kind == ErrorKind::kDamaged && target->fd >= 0)
        report_damage(target->fd, "an extended attribute does not authenticate");
    return opened;
}

Result<void> Filesystem::set_xattr(NodeId node, const std::string& name, Bytes value, int flags,
                                   const KillPrivilege& kill) {
    const auto still = still_paths();
    return change_xattr(node, name, ErrorKind::kUnsupported,
                        [&](const XattrTarget& target) -> Result<void> {
                            if (auto r = set_lower_xattr(target, name, value, flags); !r) return r;
                            if (!kill.wanted || name != kAccessAcl) return {};
                            return clear_set_group_id(target, kill);
                        });
}

// The kernel below sees us set the ACL, who may keep the bit: what it would do for the caller.
Result<void> Filesystem::clear_set_group_id(const XattrTarget& target, const KillPrivilege& kill) {
    const bool by_fd = target.fd >= 0;
    const int fd = by_fd ? target.fd : target.dir->fd.get();
    const auto steady = rotation_.steady_mode();
    auto is = by_fd ? lower_->stat(fd) : lower_->stat_at(fd, target.entry);
    if (!is) return fail(is.error());
    if (!(is->st_mode & S_ISGID) || kill.caller_is_in(is->st_gid)) return {};
    const mode_t mode = is->st_mode & 07777 & ~static_cast<mode_t>(S_ISGID);
    auto r = by_fd ? lower_->chmod(fd, mode) : lower_->chmod_at(fd, target.entry, mode);
    if (!r) return fail(r.error());
    return {};
}

Result<void> Filesystem::set_lower_xattr(const XattrTarget& target, const std::string& name,
                                         Bytes value, int flags) {
    ByteVector sealed;
    if (target.kind == XattrClass::kEncrypted) {
        auto bytes = format_->seal_xattr(target.owner, name, value);
        if (!bytes) return std::unexpected(bytes.error());
        sealed = std::move(*bytes);
        value = sealed;
    }
    // An ACL changes the mode.
    auto steady = target.kind == XattrClass::kEncrypted ? std::unique_lock<std::mutex>()
                                                        : rotation_.steady_mode();
    auto r = target.fd >= 0 ? lower_->set_xattr(target.fd, target.lower_name, value, flags)
                            : lower_->set_xattr(target.dir->fd.get(), target.entry,
                                                target.lower_name, value, flags);
    if (steady) steady.unlock();
    if (!r) return fail(r.error());
    // Lower names are longer: the list must stay one that can be read (XATTR_LIST_MAX).
    if (target.kind == XattrClass::kEncrypted) {
        auto all = lower_names(target);
        if (!all && all.error().value == E2BIG) {
            (void)remove_lower_xattr(target);
            return fail(lower::Errno{ENOSPC});
        }
    }
    return {};
}

Result<void> Filesystem::remove_xattr(NodeId node, const std::string& name) {
    const auto still = still_paths();
    return change_xattr(node, name, ErrorKind::kNoAttribute,
                        [&](const XattrTarget& target) { return remove_lower_xattr(target); });
}

Result<void> Filesystem::remove_lower_xattr(const XattrTarget& target) {
    auto r = target.fd >= 0
                 ? lower_->remove_xattr(target.fd, target.lower_name)
                 : lower_->remove_xattr(target.dir->fd.get(), target.entry, target.lower_name);
    if (!r) return fail(r.error());
    return {};
}

lower::Result<std::vector<std::string>> Filesystem::lower_names(const XattrTarget& target) {
    return target.fd >= 0 ? lower_->list_xattr(target.fd)
                          : lower_->list_xattr(target.dir->fd.get(), target.entry);
}

Result<std::vector<std::string>> Filesystem::list_xattr(NodeId node) {
    const auto still = still_paths();
    const auto token = sink_->token();
    auto is = view(node);
    if (!is) return std::unexpected(is.error());
    const bool encrypted = S_ISREG(is->type) || S_ISDIR(is->type);
    auto target = xattr_target(node, false);
    if (!target) return std::unexpected(target.error());
    if (encrypted && is_rotating()) {
        if (auto r = renew_xattrs(*target); !r) return std::unexpected(r.error());
    }
    auto names = lower_names(*target);
    if (!names) {
        if (names.error().value == EOPNOTSUPP) return std::vector<std::string>{};
        return fail(names.error());
    }
    std::vector<std::string> out;
    bool any = false;
    bool owner_known = S_ISDIR(is->type);
    for (auto& name : *names) {
        const bool acl = classify(name) == XattrClass::kAcl;
        const bool ours = !acl && format_->owns_xattr(name);
        any = any || acl || ours;
        if (acl) {
            out.push_back(std::move(name));
            continue;
        }
        if (!encrypted || !ours) continue;
        if (!owner_known) {
            auto owner = format_->content_id(*lower_, target->fd);
            if (!owner) return std::unexpected(owner.error());
            target->owner = *owner;
            owner_known = true;
        }
        auto plain = format_->decode_xattr_name(target->owner, name);
        if (plain) {
            out.push_back(std::move(*plain));
        } else {
            report_damage(target->fd, "the extended attribute " + name + " does not authenticate");
        }
    }
    // Special files and symlinks refuse what regular files merely do not have.
    if (!any && encrypted)
        sink_->publish_xattr(node, target->ino, MetadataSink::XattrFact::kNone, {}, token);
    return out;
}

}  // namespace extencfs::core
