// SPDX-License-Identifier: Apache-2.0
// The file system: nodes, names and contents of one mounted volume, as operations on Result<T>.
// Knows nothing of FUSE and nothing of a volume's bytes.
//
// Lock order (LOCKING.md): paths -> namespace stripes -> tree -> open stripe -> file range -> file
// state -> caches, table. Nothing is held over a reply.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "encfs/core/error.h"
#include "encfs/core/handle_cache.h"
#include "encfs/core/inode_table.h"
#include "encfs/core/metadata_sink.h"
#include "encfs/core/operation_gate.h"
#include "encfs/core/renamed_directories.h"
#include "encfs/core/rotation_state.h"
#include "encfs/core/types.h"
#include "encfs/core/volume_format.h"
#include "encfs/core/writer_first_mutex.h"
#include "encfs/lower/lower_fs.h"

namespace extencfs::core {

// THREADS: every operation from any thread, in parallel.
// ERRORS: each gives a core::Error; errno_of() makes the reply's errno of it.
// References: every Entry handed out counts one kernel reference to its node, given back by forget.
class Filesystem {
  public:
    // Takes over the lower directory `root`. Starts the recovery scan after an unclean end. Without
    // `make_format` it begins without keys, as after forget_keys().
    static Result<std::unique_ptr<Filesystem>> open(std::unique_ptr<lower::LowerFs> lower,
                                                    lower::Fd root, FormatMaker make_format,
                                                    Options options);
    // Closes everything. Call finish() first.
    ~Filesystem();
    Filesystem(const Filesystem&) = delete;
    Filesystem& operator=(const Filesystem&) = delete;

    // After the last request: settles and syncs everything below. True when the volume may be
    // marked clean (all was written, and after an unclean end the recovery scan was complete).
    bool finish();

    // ---- without keys: nothing may be asked for but forget(), flush(), statfs() and finish() ----
    // Closes all that the format made, and the format itself with its keys; the nodes stay. False,
    // and the keys stay: contents are in use, or could not be written. REQUIRES: no operation runs
    // but forget(); an EncFS volume.
    bool forget_keys();
    // With a format of the same volume. REQUIRES: no operation runs but forget(). ERRORS: as
    // open().
    Result<void> take_keys(FormatMaker make_format);

    // Called, on the thread of a request, when what the kernel knows proved wrong, of a name or of
    // attributes that were true for a moment: it should be told to ask again, but not on that
    // thread. Call before the first request.
    using OnStaleEntry = std::function<void(NodeId, const std::string&)>;
    void set_on_stale(OnStaleEntry entry, std::function<void(NodeId)> attributes = {}) {
        on_entry_stale_ = std::move(entry);
        on_attributes_stale_ = std::move(attributes);
    }

    // ---- names ----
    Result<Entry> lookup(NodeId parent, std::string_view name);
    void forget(NodeId node, std::uint64_t count);
    // Regular file, fifo, socket or device.
    Result<Entry> mknod(NodeId parent, std::string_view name, mode_t mode, dev_t rdev,
                        const Caller& caller);
    // As mknod of a regular file; an existing one is kExists.
    Result<Entry> create(NodeId parent, std::string_view name, mode_t mode, const Caller& caller);
    Result<Entry> tmpfile(NodeId parent, mode_t mode, const Caller& caller);
    Result<Entry> mkdir(NodeId parent, std::string_view name, mode_t mode, const Caller& caller);
    Result<Entry> symlink(NodeId parent, std::string_view name, std::string_view target,
                          const Caller& caller);
    Result<Entry> link(NodeId node, NodeId parent, std::string_view name);
    Result<void> unlink(NodeId parent, std::string_view name);
    Result<void> rmdir(NodeId parent, std::string_view name);
    Result<void> rename(NodeId from_parent, std::string_view from, NodeId to_parent,
                        std::string_view to, lower::RenameMode mode);
    Result<std::string> readlink(NodeId node);

    // ---- attributes ----
    Result<struct stat> getattr(NodeId node);
    Result<struct stat> setattr(NodeId node, const AttrChange& change);
    Result<struct statvfs> statfs();

    // ---- contents ----
    // Opens the lower file now, so that damage shows at open (where the kernel sends OPEN).
    Result<void> open_file(NodeId node);
    Result<Bytes> read(NodeId node, std::uint64_t off, std::size_t size, IoBuffer& buffer);
    Result<void> write(NodeId node, std::uint64_t off, Bytes in, WriteSource source,
                       const KillPrivilege& kill);
    Result<void> flush(NodeId node);
    Result<void> fsync(NodeId node, bool data_only);
    Result<void> fallocate(NodeId node, int mode, std::uint64_t off, std::uint64_t size,
                           const KillPrivilege& kill);
    Result<std::uint64_t> seek(NodeId node, std::uint64_t off, int whence);
    Result<std::size_t> copy_range(NodeId from, std::uint64_t from_off, NodeId to,
                                   std::uint64_t to_off, std::size_t size);

    // ---- directories ----
    // Entries after `cookie` (0: from the start), "." and ".." among them, until `each` returns
    // false: that entry was not taken (with attributes, its reference is given back).
    Result<void> list(NodeId directory, std::uint64_t cookie, ListMode mode,
                      const std::function<bool(const ListedEntry&)>& each);
    Result<void> fsync_directory(NodeId directory);

    // ---- extended attributes: full names ("user.x") ----
    Result<ByteVector> get_xattr(NodeId node, const std::string& name);
    // `kill`: an access ACL set by somebody outside the file's group takes set-group-ID away.
    Result<void> set_xattr(NodeId node, const std::string& name, Bytes value, int flags,
                           const KillPrivilege& kill = {});
    Result<void> remove_xattr(NodeId node, const std::string& name);
    Result<std::vector<std::string>> list_xattr(NodeId node);

    // Whether the kernel may keep for long what it is told of a node's attributes. It counts a link
    // down by itself once an unlink is answered, from whatever it was told last, which can be the
    // count that the unlink left: what has, or ever had, several links has to be asked for again.
    bool is_link_count_steady(NodeId node, const struct stat& told) {
        return S_ISDIR(told.st_mode) || !table_->had_links(node, told.st_nlink > 1);
    }
    std::size_t node_count() const { return table_->size(); }

  private:
    struct DirHandle {
        lower::Fd fd;
        std::uint64_t ino = 0;
        bool by_path_only = false;  // O_PATH: may be searched but not read
        DirContext context;
        // Whether new entries inherit an ACL, so that the caller's umask does not count.
        enum class DefaultAcl { kUnknown, kNo, kYes };
        std::atomic<DefaultAcl> default_acl{DefaultAcl::kUnknown};
    };
    using Change = MetadataSink::Change;
    using Token = MetadataSink::Token;
    using Dir = std::shared_ptr<DirHandle>;
    using File = std::shared_ptr<ContentFile>;
    // A name in an open directory: where every name operation starts.
    struct Place {
        Dir dir;
        Location location;
        CipherName name;
        const std::string& entry() const { return name.entry; }
    };

    Filesystem(std::unique_ptr<lower::LowerFs> lower, lower::Fd root, Options options);
    Result<void> start_format(FormatMaker make_format);

    // Every operation that reaches the lower directory by a path holds this: no rename changes
    // lower names elsewhere meanwhile, where the format binds paths; and no step of a rotation of
    // keys is under way, where there can be one.
    std::shared_lock<WriterFirstMutex> still_paths() {
        if (binding_.any()) return std::shared_lock(paths_);
        return rotation_.possible ? gate_.enter() : OperationGate::Entered();
    }
    // forget() within an operation.
    void give_back(NodeId node, std::uint64_t count);

    // ---- resolver.cc: from nodes to descriptors ----
    Result<NodeView> view(NodeId node) const;
    // Whether the caller holds the tree lock, so that no directory is being renamed.
    enum class Tree { kFree, kHeld };
    Result<Dir> directory(NodeId node, Tree tree = Tree::kFree);
    Result<Dir> open_directory(const NodeView& node, Tree tree);
    Result<Dir> open_child(const NodeView& node, Tree tree);
    // Likewise, while no directory changes its place. LOCKS: the tree lock is free.
    Result<Dir> open_still(const NodeView& node);
    Result<File> file(NodeId node, OpenIntent intent);
    Result<File> open_file_of(const NodeView& node, OpenIntent intent);
    Result<lower::Fd> open_lower_file(const NodeView& node, OpenIntent intent);
    // A file that was opened for reading only is opened for writing too, in place.
    Result<void> make_writable(const NodeView& node, ContentFile& file);
    Result<lower::Fd> open_with_mode_lifted(const Dir& dir, const std::string& entry, int flags);
    // LOCKS: RotationState::steady_mode().
    Result<lower::Fd> open_with_mode_lifted_locked(const Dir& dir, const std::string& entry,
                                                   int flags);
    Result<Place> place(NodeId parent, std::string_view name);
    // The directory and entry that a located node lies at. kNotFound/kStale where it has none.
    Result<Place> place_of(const NodeView& node);
    // The kernel believes in a size that the header denies: the node is given up, its name is to be
    // looked up anew, and the lower inode's header is asked from then on.
    void distrust(const NodeView& node);
    bool is_suspect(std::uint64_t ino);
    void report_damage(int fd, const std::string& what);
    // The plaintext of a lower path, as far as it decodes; "?" for what does not.
    std::string plain_path(const std::string& lower_path);
    void drop(const std::vector<NodeId>& freed);

    // ---- ops_attr.cc ----
    // `token`: from before `lower_stat` was looked at; `within` as in MetadataSink.
    Result<Entry> entry_of(const Place& place, const struct stat& lower_stat, Token token,
                           const Change* within = nullptr);
    Result<void> complete(NodeId node, const Place& place, struct stat& attr);
    Result<struct stat> attr_of(const NodeView& node);
    // What a change made of its node or directory is published at its end, so that nobody need ask.
    // REQUIRES: the change makes no lower call any more.
    void publish_change(NodeId node, const Change* within);
    void publish_directory(const Place& place, const Change* within);
    Result<void> change_size(const NodeView& node, std::uint64_t size);
    Result<void> change_owner_mode_times(const NodeView& node, const AttrChange& change);
    Result<void> clear_suid(int fd, const KillPrivilege& kill);

    // ---- ops_create.cc ----
    // What all that make a name have in common: `make(place)` makes it, with the namespace locked,
    // the sink told and the side file written.
    // `also`: one more inode that changes, or 0.
    template <typename Make>
    Result<Entry> make_name(NodeId parent, std::string_view name, std::uint64_t also,
                            const Make& make);
    Result<void> write_side_file(const Place& place);
    // For a name that a synced file gets: without its side file it would not be listed.
    Result<void> write_durable_side_file(const Place& place);
    void remove_side_file(const Place& place);
    // Where the entry that it was written for could not be made. LOCKS: namespace, exclusive.
    void remove_unused_side_file(const Place& place);
    mode_t mode_for(const Dir& dir, mode_t mode, const Caller& caller);
    // Owner ids for a new entry; nullopt where the lower file system gives the right ones itself.
    struct Owner {
        uid_t uid;
        gid_t gid;
    };
    std::optional<Owner> owner_for(const Dir& dir, const Caller& caller);
    // Owner and attributes of what was made by name just now; the caller takes it back on failure.
    Result<Entry> entry_made(const Place& place, const Caller& caller);
    Result<Entry> create_file(const Place& place, mode_t mode, const Caller& caller);
    Result<Entry> make_directory(const Place& place, mode_t mode, const Caller& caller);
    Result<Entry> link_locked(const NodeView& source, const Place& place, const Change* within);
    Result<lower::Fd> open_unnamed(const Dir& dir, mode_t mode, std::string& temp_name);
    // `entry`: the lower name that it will get, or empty for none.
    Result<std::pair<File, struct stat>> make_file(const Dir& dir, std::string_view entry,
                                                   mode_t mode, const Caller& caller,
                                                   std::string& temp_name);
    void note_unsynced(NodeId directory, std::vector<std::string> names);

    // ---- ops_remove.cc ----
    // Keeps the lower file of a node reachable whose last known name is about to go.
    // True when there is something to take back if the name stays.
    Result<bool> pin(NodeId node, const Place& place, const struct stat& lower_stat);
    void unpin(NodeId node, bool pinned);
    // Opens a directory that is about to be changed by us, whatever its mode says.
    Result<lower::Fd> open_for_change(const Place& place);
    Result<void> rename_locked(const Place& from, const Place& to, lower::RenameMode mode);
    // In a format that binds paths: what the move of `from` changes beside its name. LOCKS: paths,
    // exclusive.
    class PathChanges;
    Result<std::unique_ptr<PathMove>> begin_move(const Place& from, const Place& to,
                                                 const struct stat& lower_stat,
                                                 PathChanges& changes);
    // The lower names on the way to a directory. LOCKS: none of its names changes.
    Result<std::vector<std::string>> lower_path(NodeId directory) const;
    // What lies at a place now, after a change of names `within` which it was.
    void publish_place(const Place& place, std::string_view name, const Change* within);
    // Takes the format's own files out of a directory that is about to go. `was`: the id that it
    // had, unless that is damaged. LOCKS: its id_lock() is held until it is gone or restored.
    Result<void> clear_directory(const Place& place, NodeId node, std::optional<DirContext>& was);
    // A directory that was cleared but stays gets its id again. LOCKS: likewise.
    void restore_directory(const Place& place, NodeId node, const std::optional<DirContext>& was);
    Result<void> prepare_directory_move(const Place& from, const Place& to, NodeId node);
    std::string long_symlink_target(const Place& place, const struct stat& lower_stat);

    // ---- ops_dir_rotating.cc ----
    Result<ListingSnapshot> snapshot_of(const DirHandle& dir);
    // By what a listing goes on at `cookie` (0: it begins); nullopt: by the lower directory.
    std::optional<Result<ListingSnapshots::Place>> steady_listing(NodeId node, const Dir& dir,
                                                                  std::uint64_t cookie);
    Result<void> list_steadily(NodeId node, const Dir& dir, const ListingSnapshots::Place& place,
                               ListMode mode, const std::function<bool(const ListedEntry&)>& each);

    // ---- online_rotation.cc, rotator*.cc ----
    friend class OnlineRotation;
    class Rotator;
    bool is_rotating() const { return rotation_.resealing != nullptr; }
    bool is_renewed(const DirContext& context) const;
    // That lower inode is new, and so is all in it.
    void note_made(std::uint64_t ino) {
        if (rotation_.notes_moves) rotation_.notes.note_walked(ino);
    }
    // Something came to lie there by a rename or link, where the rotation may have been before: it
    // is looked at for its own sake. LOCKS: the namespace of that place.
    void note_moved(const Place& place);

    // ---- ops_file.cc ----
    // Opens the file for writing, tells the sink, and takes set-user-ID away before `change(file)`.
    template <typename Act>
    auto change_contents(NodeId node, const KillPrivilege& kill, const Act& change)
        -> std::invoke_result_t<Act, ContentFile&>;
    Result<void> write_back(NodeId node, ContentFile& file, std::uint64_t off, Bytes in);

    // ---- ops_sync.cc ----
    Result<void> sync_directory(const DirHandle& directory);
    Result<void> sync_ancestors(NodeId node);
    Result<void> sync_names_in(NodeId directory);
    // Before something that may be synced is moved or linked into `directory`: the id files on the
    // way, without which it could not be reached. LOCKS: none held.
    Result<void> sync_way_to(NodeId directory);
    // After a syncfs, the old places of renamed directories are no longer valid. REQUIRES: nobody
    // else is there.
    void finish_renames();
    // The same beside operations, with the syncfs by that descriptor. LOCKS: tree, for moments.
    Result<void> settle_renames(int syncable);
    Result<void> settle_renames_alone(int syncable);  // LOCKS: renamed_.settling()
    void forget_old_places(const std::vector<RenamedDirectories::Place>& renamed);
    void bound_renames();
    Result<void> sync_if_lost();

    // ---- ops_xattr.cc ----
    enum class XattrClass { kEncrypted, kAcl, kRefused, kInvalid, kUnknown };
    struct XattrTarget {
        Dir dir;  // name-based access ...
        std::string entry;
        int fd = -1;  // ... or by descriptor where there is no name
        File file;    // keeps fd open
        ByteArray<16> owner{};
        NodeId node = 0;
        std::uint64_t ino = 0;
        XattrClass kind = XattrClass::kUnknown;  // of one attribute ...
        std::string lower_name;                  // ... and its name below
    };
    // While keys are rotated: its attributes have the form of the newest generation alone.
    Result<void> renew_xattrs(const XattrTarget& target);
    static XattrClass classify(const std::string& name);
    // Whether these are no attributes that would be seen above.
    bool seen_bare(const lower::Result<std::vector<std::string>>& lower_names) const;
    void publish_if_bare(NodeId node, const XattrTarget& target);
    void publish_if_bare(const Entry& entry, const Place& at, Token token);
    // Why an attribute of that class cannot be had; `refused` for the refused ones.
    static std::optional<ErrorKind> refusal(XattrClass kind, ErrorKind refused);
    Result<XattrTarget> xattr_target(NodeId node, bool need_owner);
    // The target with one attribute of it.
    Result<XattrTarget> xattr_named(NodeId node, const std::string& name, ErrorKind refused);
    // What setting and removing one have in common: `change(target)` with the sink told.
    template <typename Act>
    Result<void> change_xattr(NodeId node, const std::string& name, ErrorKind refused,
                              const Act& change);
    Result<void> remove_lower_xattr(const XattrTarget& target);
    lower::Result<std::vector<std::string>> lower_names(const XattrTarget& target);
    Result<void> clear_set_group_id(const XattrTarget& target, const KillPrivilege& kill);
    Result<void> set_lower_xattr(const XattrTarget& target, const std::string& name, Bytes value,
                                 int flags);

    // ---- recovery_scan.cc ----
    void start_recovery_scan();
    void recovery_scan();
    bool scan_directory(NodeId directory, std::vector<NodeId>& subdirectories);
    // Removes what no running operation of ours can be making: unfinished files, and side files of
    // entries that are still missing once the directory is locked.
    void sweep(int dirfd, NodeId directory, const std::vector<std::string>& leftovers,
               const std::vector<std::string>& side_files);

    OperationGate gate_;
    WriterFirstMutex paths_;
    std::array<std::shared_mutex, 256> namespace_locks_;
    std::shared_mutex& namespace_lock(NodeId directory) {
        return namespace_locks_[directory % namespace_locks_.size()];
    }
    // Held, last of all locks of the tree, while an id file is taken away or first asked for: who
    // finds none in between would make another id. By inode number.
    std::array<std::mutex, 64> id_locks_;
    std::mutex& id_lock(std::uint64_t ino) { return id_locks_[ino % id_locks_.size()]; }
    // Holds the namespace stripes of several directories exclusively, in one order.
    class NamespaceGuard;

    std::unique_ptr<lower::LowerFs> lower_;
    Options options_;
    bool privileged_;                       // we are root: owners and modes are ours to set
    std::atomic<bool> no_tmpfiles_{false};  // the lower file system has no O_TMPFILE
    OnStaleEntry on_entry_stale_;
    std::function<void(NodeId)> on_attributes_stale_;
    std::shared_ptr<MetadataSink> sink_;    // never null
    std::unique_ptr<VolumeFormat> format_;  // nullptr: without keys
    PathBinding binding_;                   // the format's
    std::size_t longest_name_ = 255;        // the last format's
    std::uint64_t root_ino_ = 0;
    dev_t lower_dev_ = 0;
    Dir root_;
    std::unique_ptr<InodeTable> table_;
    std::unique_ptr<HandleCache<DirHandle>> dirs_;
    std::unique_ptr<HandleCache<ContentFile>> files_;

    // Orders what SETATTR says of times against writes that must not move them.
    struct TimeStripe {
        std::mutex mutex;
        std::uint64_t changes = 0;
    };
    std::array<TimeStripe, 64> time_stripes_;
    TimeStripe& time_stripe(NodeId node) { return time_stripes_[node % time_stripes_.size()]; }

    std::shared_mutex tree_lock_;            // exclusive while a directory changes its place
    std::array<std::mutex, 64> open_locks_;  // one opener for each node

    // What is left of nodes without a name.
    struct Nameless {
        lower::Fd fd;         // of a regular file, until its contents are opened
        struct stat attr {};  // as it was, with one link fewer
        File file;            // its contents, kept from leaving the cache
    };
    std::mutex nameless_mutex_;
    std::unordered_map<NodeId, Nameless> nameless_;

    // Names of small files of ours that must be durable before anything below them counts as
    // durable, by directory.
    std::mutex unsynced_mutex_;
    struct Unsynced {
        std::string name;
        std::uint64_t number;  // in the order of writing: a name may be written again
    };
    std::unordered_map<NodeId, std::vector<Unsynced>> unsynced_;
    std::size_t unsynced_count_ = 0;
    std::uint64_t unsynced_number_ = 0;
    // How often some of them were forgotten, and how many of those times a syncfs came after.
    std::uint64_t lost_count_ = 0;
    std::uint64_t lost_synced_ = 0;
    std::mutex lost_sync_mutex_;  // before unsynced_mutex_; held over the syncfs
    RenamedDirectories renamed_;
    std::atomic<bool> write_lost_{false};  // something acknowledged could not be written

    // Lower inodes whose st_size was found wrong.
    std::mutex suspects_mutex_;
    std::unordered_set<std::uint64_t> suspects_;
    std::atomic<bool> any_suspect_{false};
    // Nodes whose open file is O_RDONLY although the volume is writable; guarded by open_locks_ for
    // each node, by this for the set.
    std::mutex read_only_mutex_;
    std::unordered_set<NodeId> read_only_files_;
    std::atomic<bool> any_read_only_file_{false};

    RotationState rotation_;

    std::atomic<bool> stopping_{false};
    std::atomic<bool> scanning_{false};
    std::atomic<bool> scan_complete_{true};
    std::thread scan_;
};

}  // namespace extencfs::core
