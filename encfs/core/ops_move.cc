// SPDX-License-Identifier: Apache-2.0
// Renames in a format that binds paths: what is known of the names that change with them.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "encfs/core/path_changes.h"

namespace extencfs::core {

lower::Result<void> Filesystem::PathChanges::step(const Step& step,
                                                  const std::function<lower::Result<void>()>& act) {
    const NodeId directory = fs_.table_->find(step.dir_ino);
    // Its name above stays, and so does what was told of it; the lower times move.
    ChangeScope scope(*fs_.sink_,
                      {.inodes = {step.ino, step.dir_ino}, .names = {{{directory, step.plain}}}});
    if (auto r = act(); !r) return r;
    if (directory == 0 || step.from == step.to) return {};
    const NodeId node = fs_.table_->find(step.ino);
    if (node != 0)
        fs_.table_->move(node, {directory, std::string(step.from)},
                         {directory, std::string(step.to)});
    return {};
}

void Filesystem::PathChanges::context_changed(std::uint64_t ino, const DirContext& context) {
    const NodeId node = fs_.table_->find(ino);
    if (node == 0) return;
    fs_.table_->set_context(node, context);
    // Opened again with the new one.
    fs_.dirs_->remove(node);
}

void Filesystem::PathChanges::file_moved(std::uint64_t ino, std::uint64_t binding) {
    const NodeId node = fs_.table_->find(ino);
    if (node == 0) return;
    if (auto open = fs_.files_->find(node)) open->moved(binding);
}

Result<std::vector<std::string>> Filesystem::lower_path(NodeId directory) const {
    std::vector<std::string> path;
    while (directory != kRootNode) {
        auto is = view(directory);
        if (!is) return std::unexpected(is.error());
        if (!is->location) return fail(ErrorKind::kStale);
        path.push_back(is->location->entry);
        directory = is->location->parent;
    }
    std::ranges::reverse(path);
    return path;
}

Result<std::unique_ptr<PathMove>> Filesystem::begin_move(const Place& from, const Place& to,
                                                         const struct stat& lower_stat,
                                                         PathChanges& changes) {
    auto from_path = lower_path(from.location.parent);
    if (!from_path) return std::unexpected(from_path.error());
    auto to_path = lower_path(to.location.parent);
    if (!to_path) return std::unexpected(to_path.error());
    return format_->begin_move(*lower_,
                               {.rootfd = root_->fd.get(),
                                .dirfd = from.dir->fd.get(),
                                .dir_path = std::move(*from_path),
                                .dir = from.dir->context,
                                .entry = from.entry(),
                                .lower_stat = lower_stat,
                                .new_dir_path = std::move(*to_path),
                                .new_dir = to.dir->context,
                                .new_entry = to.entry()},
                               changes);
}

}  // namespace extencfs::core
