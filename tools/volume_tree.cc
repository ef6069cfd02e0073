// SPDX-License-Identifier: Apache-2.0
#include "tools/volume_tree.h"

#include <dirent.h>
#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "encfs/daemon/hardening.h"
#include "tools/migration_check.h"

namespace extencfs::tools {
namespace {

using daemon::FailureKind;
using daemon::Outcome;

constexpr std::size_t kPiece = 1 << 17;

std::vector<std::string> components(std::string_view path) {
    std::vector<std::string> parts;
    while (!path.empty()) {
        const std::size_t end = std::min(path.find('/'), path.size());
        if (end != 0) parts.emplace_back(path.substr(0, end));
        path.remove_prefix(std::min(end + 1, path.size()));
    }
    return parts;
}

bool is_dots(std::string_view name) {
    return name == "." || name == "..";
}

// EncFS's own, and what is no name in any volume.
bool is_configuration(std::string_view entry) {
    return entry == ".encfs6.xml" || entry == ".encfs5" || entry == ".encfs4" || entry == ".encfs7";
}

}  // namespace

Outcome<std::unique_ptr<VolumeTree>> VolumeTree::open(
    const std::string& directory, const daemon::LegacyChoices& legacy,
    const std::function<Outcome<daemon::Credential>(const volume::Config*)>& read_password) {
    if (auto hardened = daemon::harden_process(); !hardened)
        return std::unexpected(hardened.error());
    if (auto usable = check_migration(directory, legacy, Use::kRead); !usable)
        return std::unexpected(usable.error());
    std::unique_ptr<VolumeTree> tree(new VolumeTree);
    tree->lower_ = lower::make_posix_lower_fs();
    auto source = daemon::open_volume(*tree->lower_, directory, legacy);
    if (!source) return std::unexpected(source.error());
    tree->source_ = std::move(*source);
    bool shared = false;
    if (auto held = tree->source_->reserve(true, shared); !held)
        return std::unexpected(held.error());
    const auto given = read_password(tree->source_->config());
    if (!given) return std::unexpected(given.error());
    if (auto opened = tree->source_->unlock(given->view()); !opened)
        return std::unexpected(opened.error());
    auto maker = tree->source_->format();
    if (!maker) return std::unexpected(maker.error());
    lower::Fd root(fcntl(tree->source_->root_fd(), F_DUPFD_CLOEXEC, 3));
    if (!root) return daemon::fail(FailureKind::kOther, daemon::errno_text(errno), "; try again");
    core::Options options;
    options.read_only = true;
    options.shared = true;
    const core::VolumeFormat*& format = tree->format_;
    auto fs = core::Filesystem::open(
        lower::make_posix_lower_fs(), std::move(root),
        [&format, made = std::move(*maker)](const core::FormatHost& host) mutable {
            auto result = made(host);
            format = result.get();
            return result;
        },
        std::move(options));
    if (!fs) {
        return daemon::fail(FailureKind::kOther, "the volume's root directory cannot be used (",
                            daemon::errno_text(core::errno_of(fs.error())),
                            "); check its permissions");
    }
    tree->fs_ = std::move(*fs);
    return tree;
}

VolumeTree::~VolumeTree() {
    if (fs_) (void)fs_->finish();
}

core::Result<std::string> VolumeTree::translate(std::string_view path, Way way) const {
    std::string translated;
    core::DirContext context = format_->root();
    lower::Fd held;
    int dirfd = source_->root_fd();
    const auto parts = components(path);
    for (std::size_t i = 0; i < parts.size(); ++i) {
        if (!translated.empty()) translated += '/';
        if (is_dots(parts[i])) {
            translated += parts[i];
            continue;
        }
        std::string entry = parts[i];
        if (way == Way::kEncode) {
            auto name = format_->encode_name(context, parts[i]);
            if (!name) return std::unexpected(name.error());
            entry = name->entry;
            translated += entry;
        } else {
            auto name = format_->decode_name(*lower_, dirfd, context, entry);
            if (!name) return std::unexpected(name.error());
            translated += *name;
        }
        if (i + 1 == parts.size()) break;
        auto below = lower_->open(dirfd, entry, O_RDONLY | O_DIRECTORY, 0);
        std::vector<std::string> unsynced;
        // A format whose names hang on names alone needs no directory.
        auto next =
            format_->open_directory(*lower_, below ? below->get() : -1, context, entry, unsynced);
        if (!next) return std::unexpected(next.error());
        context = *next;
        held = below ? std::move(*below) : lower::Fd();
        dirfd = held.get();
    }
    return translated;
}

core::Result<std::string> VolumeTree::encode(std::string_view path) const {
    return translate(path, Way::kEncode);
}

core::Result<std::string> VolumeTree::decode(std::string_view lower_path) const {
    return translate(lower_path, Way::kDecode);
}

core::Result<core::Entry> VolumeTree::find(std::string_view path) {
    core::Entry at{.node = core::kRootNode};
    auto attr = fs_->getattr(core::kRootNode);
    if (!attr) return std::unexpected(attr.error());
    at.attr = *attr;
    for (const std::string& part : components(path)) {
        if (part == ".") continue;
        auto next = fs_->lookup(at.node, part);
        if (!next) return next;
        at = *next;
    }
    return at;
}

core::Result<std::vector<TreeEntry>> VolumeTree::list(core::NodeId directory) {
    std::vector<TreeEntry> entries;
    auto listed =
        fs_->list(directory, 0, core::ListMode::kNames, [&](const core::ListedEntry& entry) {
            if (!is_dots(entry.name)) entries.push_back({std::string(entry.name), {}});
            return true;
        });
    if (!listed) return std::unexpected(listed.error());
    for (TreeEntry& entry : entries) {
        auto found = fs_->lookup(directory, entry.name);
        if (!found) return std::unexpected(found.error());
        entry.attr = found->attr;
        fs_->forget(found->node, 1);
    }
    std::ranges::sort(entries, {}, &TreeEntry::name);
    return entries;
}

core::Result<void> VolumeTree::read(core::NodeId file, const std::function<bool(Bytes)>& take) {
    core::IoBuffer buffer;
    for (std::uint64_t offset = 0;;) {
        auto piece = fs_->read(file, offset, kPiece, buffer);
        if (!piece) return std::unexpected(piece.error());
        if (piece->empty() || !take(*piece)) return {};
        offset += piece->size();
    }
}

core::Result<void> VolumeTree::undecodable(const Found& found) {
    return search(found, source_->root_fd(), format_->root(), "/", "");
}

core::Result<void> VolumeTree::search(const Found& found, int dirfd,
                                      const core::DirContext& context, const std::string& plain,
                                      const std::string& lower_path) {
    struct Below {
        std::string entry;
        std::string plain;
    };
    std::vector<Below> below;
    std::vector<std::string> names;
    auto listed = lower_->list(dirfd, [&](const lower::DirEntry& entry) {
        const bool own = format_->is_reserved(entry.name) ||
                         (lower_path.empty() && is_configuration(entry.name));
        if (!own) names.emplace_back(entry.name);
        return true;
    });
    if (!listed) return core::fail(listed.error());
    std::ranges::sort(names);
    for (const std::string& entry : names) {
        auto name = format_->decode_name(*lower_, dirfd, context, entry);
        if (name) {
            below.push_back({entry, std::move(*name)});
        } else {
            found(plain, lower_path + entry);
        }
    }
    for (const Below& name : below) {
        const auto is = lower_->stat_at(dirfd, name.entry);
        if (!is || !S_ISDIR(is->st_mode)) continue;
        auto directory = lower_->open(dirfd, name.entry, O_RDONLY | O_DIRECTORY, 0);
        if (!directory) return core::fail(directory.error());
        std::vector<std::string> unsynced;
        auto next =
            format_->open_directory(*lower_, directory->get(), context, name.entry, unsynced);
        if (!next) return std::unexpected(next.error());
        auto searched = search(found, directory->get(), *next, plain + name.plain + "/",
                               lower_path + name.entry + "/");
        if (!searched) return searched;
    }
    return {};
}

}  // namespace extencfs::tools
