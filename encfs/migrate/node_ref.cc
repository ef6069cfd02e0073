// SPDX-License-Identifier: Apache-2.0
#include "encfs/migrate/node_ref.h"

namespace extencfs::migrate {

core::Result<Found> find(core::Filesystem& fs, core::NodeId parent, std::string_view name) {
    auto entry = fs.lookup(parent, name);
    if (!entry) return std::unexpected(entry.error());
    return Found{NodeRef(fs, entry->node), entry->attr};
}

core::Result<Found> find_path(core::Filesystem& fs, std::string_view path) {
    if (path.empty()) {
        auto attr = fs.getattr(core::kRootNode);
        if (!attr) return std::unexpected(attr.error());
        return Found{NodeRef(fs, core::kRootNode), *attr};
    }
    const auto [directory, name] = split(path);
    auto up = find_path(fs, directory);
    if (!up) return up;
    return find(fs, up->node.id(), name);
}

std::string join(std::string_view directory, std::string_view name) {
    std::string path(directory);
    if (!path.empty()) path += '/';
    path += name;
    return path;
}

std::pair<std::string_view, std::string_view> split(std::string_view path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string_view::npos) return {{}, path};
    return {path.substr(0, slash), path.substr(slash + 1)};
}

}  // namespace extencfs::migrate
