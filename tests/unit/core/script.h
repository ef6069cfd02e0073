// SPDX-License-Identifier: Apache-2.0
// A fixed sequence of operations on a Filesystem, and what each must lead to. Built once; run many
// times with a fault at another call each time.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "encfs/core/filesystem.h"
#include "tests/unit/core/upper_tree.h"

namespace extencfs::core {

// A Filesystem by paths. Keeps the references that it is given, as the kernel does, until
// forget_all().
class Session {
  public:
    explicit Session(Filesystem& fs) : fs_(fs) {}

    Filesystem& fs() { return fs_; }
    Result<NodeId> node(const std::string& path);
    // Counts one reference of an entry that was made.
    Result<void> keep(const Result<Entry>& made);
    void forget_all();

  private:
    Filesystem& fs_;
    std::map<NodeId, std::uint64_t> references_;
};

struct Step {
    std::string what;
    std::function<Result<void>(Session&)> act;
    std::set<int> changes_names_of;  // directories; 0 is the root
    int syncs_content_of = -1;       // a node
    int syncs_names_of = -1;         // a directory; 0 is the root
    int between = -1;                // a node that may be left with a size in between
};

class Script {
  public:
    const std::vector<Step>& steps() const { return steps_; }
    // [i]: after i steps.
    const std::vector<UpperTree>& history() const { return history_; }
    // [i]: after i steps pages are waiting for what comes before them.
    const std::vector<bool>& pending() const { return pending_; }
    // All paths that there ever are.
    std::set<std::string> paths() const;

    // From after `from` steps: history index from which the names of `directory` must be kept once
    // it is synced after `now` steps.
    std::size_t last_change_of_names(int directory, std::size_t now) const;

    // ---- building ----
    void create(const std::string& path);
    void mkdir(const std::string& path);
    void symlink(const std::string& path, const std::string& target);
    void link(const std::string& from, const std::string& to);
    void unlink(const std::string& path);
    void rmdir(const std::string& path);
    void rename(const std::string& from, const std::string& to);
    void exchange(const std::string& a, const std::string& b);
    void write(const std::string& path, std::uint64_t off, std::size_t size);
    // Of the page cache: what leaves a gap is not shown before flush().
    void page_write(const std::string& path, std::uint64_t off, std::size_t size);
    void truncate(const std::string& path, std::uint64_t size);
    void zero(const std::string& path, int mode, std::uint64_t off, std::uint64_t size);
    void set_xattr(const std::string& path, const std::string& name, const std::string& value);
    void remove_xattr(const std::string& path, const std::string& name);
    void flush(const std::string& path);
    void fsync(const std::string& path);
    void fsync_directory(const std::string& path);  // "": the root
    void forget_all();

  private:
    Step& add(std::string what, std::function<Result<void>(Session&)> act);
    int new_node(const std::string& path, mode_t type, std::string content = {});
    int directory_of(const std::string& path) const;
    void done();

    std::vector<Step> steps_;
    UpperTree tree_;
    std::vector<UpperTree> history_{UpperTree{}};
    std::vector<bool> pending_{false};
    int last_id_ = 0;
    unsigned stamp_ = 0;
    std::map<int, std::map<std::uint64_t, std::string>> pages_;  // islands of the page cache
};

// Every kind of change that a file system knows, with syncs in between.
Script whole_script();

}  // namespace extencfs::core
