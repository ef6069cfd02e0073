// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/core/script.h"

#include <linux/falloc.h>

#include <algorithm>

namespace extencfs::core {

Result<NodeId> Session::node(const std::string& path) {
    NodeId at = kRootNode;
    for (std::size_t begin = 0; begin < path.size();) {
        const std::size_t end = std::min(path.find('/', begin), path.size());
        auto found = fs_.lookup(at, path.substr(begin, end - begin));
        if (!found) return std::unexpected(found.error());
        ++references_[found->node];
        at = found->node;
        begin = end + 1;
    }
    return at;
}

Result<void> Session::keep(const Result<Entry>& made) {
    if (!made) return std::unexpected(made.error());
    ++references_[made->node];
    return {};
}

void Session::forget_all() {
    for (const auto& [node, count] : references_) fs_.forget(node, count);
    references_.clear();
}

std::set<std::string> Script::paths() const {
    std::set<std::string> all;
    for (const UpperTree& tree : history_)
        for (const auto& [path, id] : tree.names) all.insert(path);
    return all;
}

std::size_t Script::last_change_of_names(int directory, std::size_t now) const {
    for (std::size_t i = now; i-- > 0;)
        if (steps_[i].changes_names_of.contains(directory)) return i + 1;
    return 0;
}

Step& Script::add(std::string what, std::function<Result<void>(Session&)> act) {
    steps_.push_back({.what = std::move(what), .act = std::move(act), .changes_names_of = {}});
    return steps_.back();
}

void Script::done() {
    history_.push_back(tree_);
    pending_.push_back(std::any_of(pages_.begin(), pages_.end(),
                                   [](const auto& entry) { return !entry.second.empty(); }));
}

int Script::directory_of(const std::string& path) const {
    const std::string parent = parent_of(path);
    return parent.empty() ? 0 : tree_.names.at(parent);
}

int Script::new_node(const std::string& path, mode_t type, std::string content) {
    auto node = std::make_shared<UpperNode>();
    node->type = type;
    node->content = std::move(content);
    tree_.names[path] = ++last_id_;
    tree_.nodes[last_id_] = std::move(node);
    return last_id_;
}

namespace {
// Runs `call` with the node of a path.
template <typename Call>
auto with(const std::string& path, Call call) {
    return [path, call](Session& s) -> Result<void> {
        auto node = s.node(path);
        if (!node) return std::unexpected(node.error());
        return call(s, *node);
    };
}
}  // namespace

void Script::create(const std::string& path) {
    add("create " + path, with(parent_of(path),
                               [path](Session& s, NodeId dir) {
                                   return s.keep(s.fs().create(dir, name_of(path), 0644, {}));
                               }))
        .changes_names_of = {directory_of(path)};
    new_node(path, S_IFREG);
    done();
}

void Script::mkdir(const std::string& path) {
    auto& step = add("mkdir " + path, with(parent_of(path), [path](Session& s, NodeId dir) {
                         return s.keep(s.fs().mkdir(dir, name_of(path), 0755, {}));
                     }));
    step.changes_names_of = {directory_of(path), new_node(path, S_IFDIR)};
    done();
}

void Script::symlink(const std::string& path, const std::string& target) {
    add("symlink " + path, with(parent_of(path),
                                [path, target](Session& s, NodeId dir) {
                                    return s.keep(s.fs().symlink(dir, name_of(path), target, {}));
                                }))
        .changes_names_of = {directory_of(path)};
    new_node(path, S_IFLNK, target);
    done();
}

void Script::link(const std::string& from, const std::string& to) {
    add("link " + from + " " + to, with(from,
                                        [to](Session& s, NodeId node) -> Result<void> {
                                            auto dir = s.node(parent_of(to));
                                            if (!dir) return std::unexpected(dir.error());
                                            return s.keep(s.fs().link(node, *dir, name_of(to)));
                                        }))
        .changes_names_of = {directory_of(to)};
    tree_.names[to] = tree_.names.at(from);
    done();
}

void Script::unlink(const std::string& path) {
    add("unlink " + path,
        with(parent_of(path),
             [path](Session& s, NodeId dir) { return s.fs().unlink(dir, name_of(path)); }))
        .changes_names_of = {directory_of(path)};
    tree_.names.erase(path);
    done();
}

void Script::rmdir(const std::string& path) {
    add("rmdir " + path,
        with(parent_of(path),
             [path](Session& s, NodeId dir) { return s.fs().rmdir(dir, name_of(path)); }))
        .changes_names_of = {directory_of(path), tree_.names.at(path)};
    tree_.names.erase(path);
    done();
}

namespace {
auto rename_act(const std::string& from, const std::string& to, lower::RenameMode mode) {
    return with(parent_of(from), [=](Session& s, NodeId dir) -> Result<void> {
        auto to_dir = s.node(parent_of(to));
        if (!to_dir) return std::unexpected(to_dir.error());
        return s.fs().rename(dir, name_of(from), *to_dir, name_of(to), mode);
    });
}

// `path` and what lies below it, with `to` in its place.
std::map<std::string, int> moved(const UpperTree& tree, const std::string& path,
                                 const std::string& to) {
    std::map<std::string, int> out;
    for (const auto& [name, id] : tree.names)
        if (name == path || name.starts_with(path + "/")) out[to + name.substr(path.size())] = id;
    return out;
}

void take_out(UpperTree& tree, const std::string& path) {
    std::erase_if(tree.names, [&](const auto& entry) {
        return entry.first == path || entry.first.starts_with(path + "/");
    });
}
}  // namespace

void Script::rename(const std::string& from, const std::string& to) {
    add("rename " + from + " " + to, rename_act(from, to, lower::RenameMode::kReplace))
        .changes_names_of = {directory_of(from), directory_of(to)};
    auto names = moved(tree_, from, to);
    take_out(tree_, from);
    take_out(tree_, to);
    tree_.names.merge(names);
    done();
}

void Script::exchange(const std::string& a, const std::string& b) {
    add("exchange " + a + " " + b, rename_act(a, b, lower::RenameMode::kExchange))
        .changes_names_of = {directory_of(a), directory_of(b)};
    auto to_b = moved(tree_, a, b);
    auto to_a = moved(tree_, b, a);
    take_out(tree_, a);
    take_out(tree_, b);
    tree_.names.merge(to_a);
    tree_.names.merge(to_b);
    done();
}

void Script::write(const std::string& path, std::uint64_t off, std::size_t size) {
    const std::string data = stamped(++stamp_, off, size);
    auto& step = add("write " + path + " " + std::to_string(off) + "+" + std::to_string(size),
                     with(path, [=](Session& s, NodeId node) {
                         return s.fs().write(node, off, bytes_of(data), WriteSource::kCaller, {});
                     }));
    auto& content = tree_.change(path).content;
    // The gap is made first, as a growth of its own.
    if (off > content.size()) step.between = tree_.names.at(path);
    if (off + size > content.size()) content.resize(off + size, '\0');
    content.replace(off, size, data);
    done();
}

void Script::page_write(const std::string& path, std::uint64_t off, std::size_t size) {
    const std::string data = stamped(++stamp_, off, size);
    add("page write " + path + " " + std::to_string(off) + "+" + std::to_string(size),
        with(path, [=](Session& s, NodeId node) {
            return s.fs().write(node, off, bytes_of(data), WriteSource::kPageCache, {});
        }));
    auto& islands = pages_[tree_.names.at(path)];
    islands[off] = data;
    auto& content = tree_.change(path).content;
    while (!islands.empty() && islands.begin()->first <= content.size()) {
        const auto& [at, bytes] = *islands.begin();
        content.resize(std::max(content.size(), at + bytes.size()));
        content.replace(at, bytes.size(), bytes);
        islands.erase(islands.begin());
    }
    done();
}

void Script::flush(const std::string& path) {
    auto& step = add("flush " + path,
                     with(path, [](Session& s, NodeId node) { return s.fs().flush(node); }));
    const int id = tree_.names.at(path);
    if (auto islands = pages_.extract(id)) {
        auto& content = tree_.change(path).content;
        for (const auto& [at, bytes] : islands.mapped()) {
            content.resize(std::max(content.size(), at + bytes.size()));
            content.replace(at, bytes.size(), bytes);
        }
        step.between = id;
    }
    done();
}

void Script::truncate(const std::string& path, std::uint64_t size) {
    add("truncate " + path + " " + std::to_string(size),
        with(path, [size](Session& s, NodeId node) -> Result<void> {
            AttrChange change;
            change.size_set = true;
            change.size = size;
            auto done = s.fs().setattr(node, change);
            if (!done) return std::unexpected(done.error());
            return {};
        }));
    tree_.change(path).content.resize(size, '\0');
    done();
}

void Script::zero(const std::string& path, int mode, std::uint64_t off, std::uint64_t size) {
    add("zero " + path + " " + std::to_string(off) + "+" + std::to_string(size),
        with(path,
             [=](Session& s, NodeId node) { return s.fs().fallocate(node, mode, off, size, {}); }));
    auto& content = tree_.change(path).content;
    if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && off + size > content.size())
        content.resize(off + size, '\0');
    const std::uint64_t end = std::min<std::uint64_t>(content.size(), off + size);
    if (mode != 0 && off < end) content.replace(off, end - off, end - off, '\0');
    done();
}

void Script::set_xattr(const std::string& path, const std::string& name, const std::string& value) {
    add("set_xattr " + path, with(path, [=](Session& s, NodeId node) {
            return s.fs().set_xattr(node, name, bytes_of(value), 0);
        }));
    tree_.change(path).xattrs[name] = value;
    done();
}

void Script::remove_xattr(const std::string& path, const std::string& name) {
    add("remove_xattr " + path,
        with(path, [=](Session& s, NodeId node) { return s.fs().remove_xattr(node, name); }));
    tree_.change(path).xattrs.erase(name);
    done();
}

void Script::fsync(const std::string& path) {
    flush(path);
    add("fsync " + path,
        with(path, [](Session& s, NodeId node) { return s.fs().fsync(node, false); }))
        .syncs_content_of = tree_.names.at(path);
    done();
}

void Script::fsync_directory(const std::string& path) {
    add("fsync_directory " + path,
        with(path, [](Session& s, NodeId node) { return s.fs().fsync_directory(node); }))
        .syncs_names_of = path.empty() ? 0 : tree_.names.at(path);
    done();
}

void Script::forget_all() {
    // What the kernel has not handed over it does not forget: nothing is pending here.
    add("forget all", [](Session& s) -> Result<void> {
        s.forget_all();
        return {};
    });
    done();
}

}  // namespace extencfs::core
