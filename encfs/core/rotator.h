// SPDX-License-Identifier: Apache-2.0
// Internal to core: the walk that seals everything anew beside the operations of a mount (FORMAT.md
// "Rotation of keys", ADR 0014). Each step has the file system to itself.
//
// Invariant: outside a step every directory that the table knows has names of one generation, that
// in its context.
// Invariant: while it walks, whatever is old lies below a directory that waits, or waits itself:
// what is made is new, and what moves is noted.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "encfs/core/filesystem.h"
#include "encfs/core/format1.h"

namespace extencfs::core {

// THREADS: one.
class Filesystem::Rotator {
  public:
    Rotator(Filesystem& fs, RotationRun& run)
        : fs_(fs), notes_(fs.rotation_.notes), run_(run), format_(*fs.rotation_.format) {}
    ~Rotator();
    Rotator(const Rotator&) = delete;
    Rotator& operator=(const Rotator&) = delete;

    Result<void> survey();
    Result<void> renew();
    Result<void> clean();
    // What was done is durable, and old places of directories are no longer valid.
    Result<void> settle();

    class Inside;

  private:
    using Moved = RotationNotes::Moved;
    enum class Pass { kSurvey, kRenew, kClean };
    struct Item;

    // Runs `act` with the file system to itself, and lets the others work as long afterwards.
    template <typename Act>
    auto alone(const Act& act) {
        rest();
        const std::unique_lock held(fs_.gate_);
        const auto began = std::chrono::steady_clock::now();
        auto done = act();
        owed_ += std::chrono::steady_clock::now() - began;
        return done;
    }
    // Likewise in a directory; nothing where it is gone or damaged.
    template <typename Act>
    Result<void> alone_in(NodeId node, const Act& act);
    void rest();
    // Now and then, with others at work: so few things of theirs wait for the disk.
    Result<void> settle_sometimes();
    // A sync that failed: nothing writes again what is in the cache.
    std::unexpected<Error> lost_writes(const std::string& path, const Error& error);
    Result<void> stopped() const;
    // An error, with where it was.
    std::unexpected<Error> failed(const std::string& path, Error error);
    Result<void> damaged(const std::string& path, const std::string& what);
    std::string path_of(const Inside& in, const std::string& entry) const;

    Result<void> walk(Pass pass);
    // Until nothing waits.
    Result<void> go_on(Pass pass);
    // Whether there is nothing to do about it, by a look that costs little.
    bool is_done(const Moved& moved);
    Result<void> visit(NodeId node, Pass pass);
    Result<void> visit_moved(const Moved& moved, Pass pass);
    // False: it is gone, or damaged.
    Result<bool> enter(NodeId node, Inside& in);
    // Whether its id file says that it is there, which the table may know from before. If not, what
    // is in it would be lost with the older keys: only with leave_damaged that is no error.
    Result<bool> is_in_its_place(const Inside& in, Pass pass);
    Result<std::vector<std::string>> entries_of(NodeId node, Pass pass);
    Result<void> visit_entry(NodeId node, const std::string& entry, Pass pass);
    struct Next {
        NodeId file = 0;      // a regular one that is to be looked at next, with a reference
        bool settle = false;  // and then the entry once more
    };
    Result<void> look_at_entry(Inside& in, const std::string& entry, Pass pass, Next& next);
    Result<void> wait_for(NodeId directory);

    // ---- rotator_files.cc ----
    Result<void> visit_file(NodeId& node, Pass pass);
    Result<File> open_to_seal(NodeId& node);
    Result<void> seal_file(NodeId node, ContentFile& file, const std::string& path);
    Result<void> seal_attributes(int fd, NodeId node, const ByteArray<16>& owner,
                                 const std::string& path, Pass pass);
    Result<void> seal_attributes_of(NodeId node, const ContentFile& file, const std::string& path,
                                    Pass pass);
    Result<void> seal_nameless(bool& any);
    bool anything_left();
    // Where it has several names. True: settle() before it is sealed.
    Result<bool> prepare_symlink(Inside& in, const std::string& entry, const struct stat& is);
    Result<void> seal_symlink(Inside& in, const std::string& entry, const struct stat& is,
                              const std::string& plain, Pass pass);

    // ---- rotator_names.cc ----
    Result<void> prepare_directory(Inside& in, const std::string& entry, const std::string& fresh);
    Result<void> prepare_side_file(Inside& in, const std::string& entry, const CipherName& fresh);
    Result<void> renew_names(NodeId node);
    Result<std::vector<Item>> items_of(Inside& in);
    Result<void> prepare(Inside& in, Item& item);
    lower::Result<void> rename_in(Inside& in, const std::string& from, const std::string& to);
    Result<void> rename_all(Inside& in, const std::vector<Item>& items);
    Result<void> take_back(Inside& in, const std::vector<Item>& items, std::size_t count);
    Result<void> renew_id_file(Inside& in);
    Result<void> sweep_side_files(NodeId node);

    Filesystem& fs_;
    RotationNotes& notes_;
    RotationRun& run_;
    const Format1& format_;
    std::unordered_set<std::uint64_t> told_;  // lower inodes of directories that are damaged
    Pass pass_ = Pass::kSurvey;               // of the walk that began last
    std::vector<NodeId> waiting_;             // directories, each with a reference
    // Side files that are durable, of the directory that was at work last.
    std::unordered_set<std::string> sided_;
    NodeId sided_in_ = 0;
    std::chrono::steady_clock::duration owed_{};
    std::chrono::steady_clock::time_point settled_{};
    bool moved_last_ = false;  // what was visited last had been noted
};

// A directory within a step: its descriptor, which can be listed and synced, and what it was.
class Filesystem::Rotator::Inside {
  public:
    explicit Inside(Filesystem& fs) : fs_(fs) {}
    // Gives times, and a mode that was lifted, back.
    ~Inside();
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;

    Result<void> open(NodeId node);
    NodeId node() const { return node_; }
    const Dir& dir() const { return dir_; }
    int fd() const { return own_ ? own_.get() : dir_->fd.get(); }

  private:
    Result<void> lift(const struct stat& is);

    Filesystem& fs_;
    NodeId node_ = 0;
    Dir dir_;
    lower::Fd own_;  // where the directory's own cannot be listed
    struct stat before_ {};
    bool lifted_ = false;
    std::optional<ChangeScope> scope_;
};

template <typename Act>
Result<void> Filesystem::Rotator::alone_in(NodeId node, const Act& act) {
    return alone([&]() -> Result<void> {
        Inside in(fs_);
        const auto there = enter(node, in);
        if (!there) return std::unexpected(there.error());
        return *there ? act(in) : Result<void>{};
    });
}

}  // namespace extencfs::core
