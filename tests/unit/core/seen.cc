// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/core/seen.h"

#include <algorithm>
#include <span>

namespace extencfs::core {
namespace {

constexpr std::size_t kChunk = 64 * 1024;
constexpr std::uint64_t kMostBytes = 64 * 1024 * 1024;  // no test's file is larger

std::string say(const Error& error) {
    return "kind " + std::to_string(static_cast<int>(error.kind)) + " errno " +
           std::to_string(error.lower_errno);
}

class Reader {
  public:
    Reader(Filesystem& fs, const std::set<std::string>& also) : fs_(fs), also_(also) {}

    Seen run() {
        directory(kRootNode, "");
        return std::move(seen_);
    }

  private:
    void directory(NodeId node, const std::string& path) {
        std::map<std::string, bool> names;  // to whether they were listed
        auto listed = fs_.list(node, 0, ListMode::kNames, [&](const ListedEntry& entry) {
            if (entry.name != "." && entry.name != "..") {
                if (!names.emplace(entry.name, true).second)
                    seen_.errors.push_back(path + ": listed twice: " + std::string(entry.name));
            }
            return true;
        });
        if (!listed) {
            failed(path, "list", listed.error());
            return;
        }
        for (const std::string& one : also_)
            if (parent_of(one) == path) names.emplace(name_of(one), false);
        for (const auto& [name, was_listed] : names)
            entry(node, name, path.empty() ? name : path + "/" + name, was_listed);
    }

    void entry(NodeId parent, const std::string& name, const std::string& path, bool listed) {
        auto found = fs_.lookup(parent, name);
        if (!found) {
            if (!listed && found.error().kind == ErrorKind::kNotFound) return;
            seen_.errors.push_back(path + ": lookup " + say(found.error()));
            return;
        }
        SeenNode& node = seen_.nodes[path];
        node.listed = listed;
        node.type = found->attr.st_mode & S_IFMT;
        node.ino = found->attr.st_ino;
        node.links = found->attr.st_nlink;
        if (S_ISDIR(node.type)) directory(found->node, path);
        if (S_ISREG(node.type)) contents(found->node, path, node, found->attr);
        if (S_ISLNK(node.type)) target(found->node, path, node, found->attr);
        if (!S_ISLNK(node.type)) attributes(found->node, path, node);
        fs_.forget(found->node, 1);
    }

    void target(NodeId id, const std::string& path, SeenNode& node, const struct stat& attr) {
        auto text = fs_.readlink(id);
        if (!text) return failed(path, "readlink", text.error());
        node.content = *text;
        if (static_cast<std::uint64_t>(attr.st_size) != text->size())
            seen_.errors.push_back(path + ": st_size is not the target's length");
    }

    void contents(NodeId id, const std::string& path, SeenNode& node, const struct stat& attr) {
        const auto size = static_cast<std::uint64_t>(attr.st_size);
        if (size > kMostBytes) {
            seen_.errors.push_back(path + ": size " + std::to_string(size));
            return;
        }
        node.content.assign(size, '\0');
        node.readable.assign(size, true);
        for (std::uint64_t off = 0; off < size; off += kChunk)
            range(id, path, node, off, std::min<std::uint64_t>(kChunk, size - off));
        auto beyond = fs_.read(id, size, 10, buffer_);
        if (beyond && !beyond->empty())
            seen_.errors.push_back(path + ": there are bytes beyond its end");
    }

    // Down to the single bytes that cannot be read.
    void range(NodeId id, const std::string& path, SeenNode& node, std::uint64_t off,
               std::uint64_t size) {
        auto got = fs_.read(id, off, size, buffer_);
        if (got && got->size() == size) {
            const auto text = text_of(*got);
            std::copy(text.begin(), text.end(),
                      node.content.begin() + static_cast<std::ptrdiff_t>(off));
            return;
        }
        if (got) {
            seen_.errors.push_back(path + ": short read at " + std::to_string(off));
            return;
        }
        if (got.error().kind != ErrorKind::kDamaged) {
            failed(path, "read", got.error());
            return;
        }
        if (size == 1) {
            node.readable[off] = false;
            return;
        }
        range(id, path, node, off, size / 2);
        range(id, path, node, off + size / 2, size - size / 2);
    }

    void attributes(NodeId id, const std::string& path, SeenNode& node) {
        auto names = fs_.list_xattr(id);
        if (!names) return failed(path, "list_xattr", names.error());
        for (const std::string& name : *names) {
            if (name.starts_with("system.")) continue;
            auto value = fs_.get_xattr(id, name);
            if (!value) return failed(path, "get_xattr", value.error());
            node.xattrs[name] = std::string(text_of(*value));
        }
    }

    void failed(const std::string& path, const std::string& what, const Error& error) {
        if (error.kind != ErrorKind::kDamaged)
            seen_.errors.push_back(path + ": " + what + " " + say(error));
        else
            seen_.nodes[path].damaged = true;
    }

    Filesystem& fs_;
    const std::set<std::string>& also_;
    IoBuffer buffer_;
    Seen seen_;
};

using Versions = std::vector<const UpperNode*>;

// The states that a node went through from where it was last kept for certain.
Versions versions_of(int id, const Allowed& allowed) {
    Versions versions;
    const auto since = allowed.content_since.find(id);
    const std::size_t from = since == allowed.content_since.end() ? 0 : since->second;
    for (std::size_t i = from; i <= allowed.last; ++i) {
        const auto& nodes = (*allowed.history)[i].nodes;
        const auto it = nodes.find(id);
        if (it == nodes.end()) continue;
        if (versions.empty() || versions.back() != it->second.get())
            versions.push_back(it->second.get());
    }
    return versions;
}

std::string fault_in_content(const SeenNode& seen, int id, const Allowed& allowed) {
    const Versions versions = versions_of(id, allowed);
    if (versions.empty()) return "is of nowhere";
    const bool never_synced = !allowed.content_since.contains(id);
    if (S_ISLNK(seen.type)) {
        if (!seen.damaged && seen.content == versions.back()->content) return {};
        return "symlink with another target";
    }
    std::size_t least = ~std::size_t{0}, most = 0;
    bool right_size = false;
    for (const UpperNode* v : versions) {
        least = std::min(least, v->content.size());
        most = std::max(most, v->content.size());
        right_size = right_size || v->content.size() == seen.content.size();
    }
    if (allowed.between.contains(id))
        right_size = right_size || (seen.content.size() >= least && seen.content.size() <= most);
    const bool nothing =
        std::none_of(seen.readable.begin(), seen.readable.end(), [](bool b) { return b; });
    if (!right_size && !(allowed.losses && never_synced && nothing))
        return "size " + std::to_string(seen.content.size());
    for (std::size_t i = 0; i < seen.content.size(); ++i) {
        // What no version since the last sync is without was there to be kept.
        const bool may_be_lost = allowed.losses && (never_synced || i >= least);
        if (!seen.readable[i]) {
            if (may_be_lost) continue;
            return "cannot be read at " + std::to_string(i);
        }
        const bool known = std::any_of(versions.begin(), versions.end(), [&](const UpperNode* v) {
            return i < v->content.size() && v->content[i] == seen.content[i];
        });
        if (!known && !(may_be_lost && seen.content[i] == '\0'))
            return "a byte that was never written, at " + std::to_string(i);
    }
    return {};
}

std::string fault_in_xattrs(const SeenNode& seen, int id, const Allowed& allowed) {
    const Versions versions = versions_of(id, allowed);
    for (const UpperNode* v : versions)
        if (v->xattrs == seen.xattrs) return {};
    return "extended attributes of no version";
}

// Whether nothing that must be safe lies at `path` or below.
bool may_be_hidden(const std::string& path, const UpperTree& tree, const Allowed& allowed) {
    if (!allowed.losses) return false;
    for (const auto& [name, id] : tree.names) {
        if (name != path && !name.starts_with(path + "/")) continue;
        if (allowed.safe.contains(id)) return false;
    }
    return true;
}

// Names as in `tree`, but for what may be hidden behind a lost id file or side file.
std::string fault_in_names(const Seen& seen, const UpperTree& tree, const Allowed& allowed) {
    for (const auto& [path, node] : seen.nodes) {
        const auto it = tree.names.find(path);
        if (it == tree.names.end()) return "there should be no " + path;
        if (tree.nodes.at(it->second)->type != node.type) return path + " is of another type";
        const bool hidden = !node.listed || (S_ISDIR(node.type) && node.damaged);
        if (hidden && !may_be_hidden(path, tree, allowed)) return path + " cannot be listed";
    }
    for (const auto& [path, id] : tree.names) {
        if (seen.nodes.contains(path)) continue;
        const auto up = seen.nodes.find(parent_of(path));
        const bool hidden = up == seen.nodes.end() ? parent_of(path) != "" : up->second.damaged;
        if (!hidden) return path + " is missing";
        if (!may_be_hidden(path, tree, allowed)) return path + " is hidden";
    }
    return {};
}

std::string fault_below(const Seen& seen, const UpperTree& tree, const Allowed& allowed) {
    std::map<int, std::uint64_t> inodes;
    for (const auto& [path, node] : seen.nodes) {
        const int id = tree.names.at(path);
        if (!inodes.emplace(id, node.ino).second && inodes[id] != node.ino)
            return path + " is no link any more";
        std::string fault;
        if (!S_ISDIR(node.type)) fault = fault_in_content(node, id, allowed);
        if (fault.empty() && !node.damaged) fault = fault_in_xattrs(node, id, allowed);
        if (!fault.empty()) return path + ": " + fault;
    }
    return {};
}

}  // namespace

Seen read_all(Filesystem& fs, const std::set<std::string>& also) {
    return Reader(fs, also).run();
}

std::string fault_in(const Seen& seen, const Allowed& allowed) {
    std::string fault;
    for (const std::string& error : seen.errors) fault += error + "\n";
    if (!fault.empty()) return fault;
    for (std::size_t i = allowed.last + 1; i-- > allowed.first;) {
        std::string here = fault_in_names(seen, (*allowed.history)[i], allowed);
        if (here.empty()) here = fault_below(seen, (*allowed.history)[i], allowed);
        if (here.empty()) return {};
        fault += "not as after step " + std::to_string(i) + ": " + here + "\n";
    }
    return fault;
}

}  // namespace extencfs::core
