// SPDX-License-Identifier: Apache-2.0
// The seam between the file system (nodes, requests, locks) and a volume format (format 1, EncFS):
// what a format must be able to do with names, directories, contents, symlinks and xattrs.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "encfs/core/error.h"
#include "encfs/core/types.h"
#include "encfs/lower/lower_fs.h"

namespace extencfs::core {

// What a format must know of a directory to translate the names in it. Format 1: the directory id.
// EncFS: the chained IV. Opaque to core.
struct DirContext {
    ByteArray<16> id{};
    std::uint32_t generation = 0;
};

// An entry's lower name, and the side file that a long one needs beside it.
struct CipherName {
    std::string entry;
    std::string side_name;  // empty: none
    ByteVector side_bytes;
};

// Where a file lies, for formats whose lower files depend on it.
struct FilePlace {
    DirContext dir;
    std::string_view entry;
};

// What of a format depends on where things lie.
struct PathBinding {
    // What lies below a directory: its lower names change when the directory is renamed.
    bool names = false;
    // A file's bytes: they change when it is renamed. It can have one name only, and no fewer.
    bool files = false;
    bool any() const { return names || files; }
};

// Grows as needed, never shrinks: one for each thread, so that contents need no allocation.
class IoBuffer {
  public:
    // Memory of somebody else's to be used first, until the next lend(); may be empty.
    void lend(MutBytes memory) { lent_ = memory; }
    MutBytes take(std::size_t size) {
        if (size <= lent_.size()) return lent_.first(size);
        if (size > capacity_) {
            bytes_ = std::make_unique_for_overwrite<std::byte[]>(size);
            capacity_ = size;
        }
        return {bytes_.get(), size};
    }

  private:
    std::unique_ptr<std::byte[]> bytes_;
    std::size_t capacity_ = 0;
    MutBytes lent_;
};

// Who waits for a write: the kernel's page cache may hand pages over in any order.
enum class WriteSource { kCaller, kPageCache };

// How far one file is sealed anew. Begins as it is made.
struct ResealProgress {
    std::uint64_t next = 0;     // fragment
    std::uint64_t end = 0;      // of what may be older, once `begun`
    std::uint64_t damaged = 0;  // fragments that open under no key
    bool begun = false;
    bool sealed = false;       // all but the header: what was written should be durable before it
    bool lost_writes = false;  // a sync failed: what is cached may never come to the disk
    bool done = false;
};

// Told when a file's bytes do not check. `fd`: the file's lower descriptor.
using FileDamage = std::function<void(int fd, const std::string& what)>;

// What a format is given by the file system that opens a volume. `sink` outlives the format.
struct FormatHost {
    bool clean = false;  // unmounted cleanly: hints are right, no file needs recovery
    bool read_only = false;
    FileDamage on_damage;
    MetadataSink* sink = nullptr;  // told of what the format changes by itself; may be nullptr
};

// The contents of one regular file, open. Owns the lower descriptor.
// THREADS: any, in parallel; each call is atomic towards the others where ranges overlap.
// ERRORS: kLower, kDamaged (EIO for that range; the rest stays readable).
class ContentFile {
  public:
    virtual ~ContentFile() = default;
    virtual int fd() const = 0;
    // Plaintext size.
    virtual std::uint64_t size() const = 0;
    // Bytes [off, off + size) up to the end of file; the result lies in `buffer` until its next
    // use.
    virtual Result<Bytes> read(std::uint64_t off, std::size_t size, IoBuffer& buffer) = 0;
    // All or an error; what a failed write changed is old or new, fragment by fragment.
    virtual Result<void> write(std::uint64_t off, Bytes in, WriteSource source) = 0;
    virtual Result<void> truncate(std::uint64_t size) = 0;
    // mode: FALLOC_FL_* of fallocate(2).
    virtual Result<void> allocate(int mode, std::uint64_t off, std::uint64_t size) = 0;
    // SEEK_DATA, SEEK_HOLE.
    virtual Result<std::uint64_t> seek(std::uint64_t off, int whence) = 0;
    virtual Result<void> sync(bool data_only) = 0;
    // Brings the lower file up to date with what is only in memory, as far as a killed daemon would
    // lose it. Called when the kernel has handed over all pages.
    virtual Result<void> settle() = 0;
    // Called before the object goes while its lower file stays.
    virtual Result<void> before_close() = 0;
    // After an unclean end: brings the lower file to the form that a clean one has, where it is
    // not. True when something was changed.
    virtual Result<bool> mend() = 0;
    // The file lies elsewhere now, in a format that binds files to their places. LOCKS: nobody
    // uses the file.
    virtual void moved(std::uint64_t) {}

    // ---- while the volume's keys are rotated (FORMAT.md "Rotation of keys") ----
    // The format has other keys from now on. LOCKS: no operation is under way, but for a sync.
    virtual void keys_changed() {}
    // Whether anything of it is still sealed under an older generation.
    virtual bool is_of_older_keys() const { return false; }
    // One step, of 256 KiB at most, towards a file that is not. LOCKS: as keys_changed().
    virtual Result<void> reseal(ResealProgress& progress) {
        progress.done = true;
        return {};
    }
};

// Core's part in each step of a PathMove, so that what is known of a name stays true.
class PathWatch {
  public:
    // One lower name (`from` to `to` in the directory of that lower inode), or one file's bytes,
    // then `from` and `to` are the same.
    struct Step {
        std::uint64_t dir_ino = 0;
        std::uint64_t ino = 0;
        std::string_view plain;
        std::string_view from;
        std::string_view to;
    };
    virtual ~PathWatch() = default;
    // Does the step by `act`, and notes it.
    virtual lower::Result<void> step(const Step& step,
                                     const std::function<lower::Result<void>()>& act) = 0;
    // Names in the directory of lower inode `ino` are from now on encoded with `context`.
    virtual void context_changed(std::uint64_t ino, const DirContext& context) = 0;
    // The file of that lower inode is from now on bound to a place that the format tells by
    // `binding`, see ContentFile::moved.
    virtual void file_moved(std::uint64_t ino, std::uint64_t binding) = 0;
};

// What a rename changes beside the name itself, in a format that binds paths: done by now, noted in
// a journal, and taken back unless finish() is called.
class PathMove {
  public:
    virtual ~PathMove() = default;
    // The name itself was renamed: nothing is taken back any more.
    virtual void finish() = 0;
};

// A name on its way to another place. REQUIRES: nobody else uses any name of the volume.
struct Moving {
    int rootfd;
    int dirfd;                          // of the directory that it leaves ...
    std::vector<std::string> dir_path;  // ... its lower path from the root ...
    DirContext dir;                     // ... and how names in it are encoded
    std::string entry;                  // its lower name there
    struct stat lower_stat;             // of the name
    std::vector<std::string> new_dir_path;
    DirContext new_dir;
    std::string new_entry;
};

class VolumeFormat {
  public:
    virtual ~VolumeFormat() = default;

    virtual PathBinding path_binding() const { return {}; }
    // Before the lower rename of a directory or file in a format that binds paths.
    virtual Result<std::unique_ptr<PathMove>> begin_move(lower::LowerFs&, const Moving&,
                                                         PathWatch&) const {
        return std::unique_ptr<PathMove>();
    }

    // Finishes or takes back what a killed mount left half done. Before everything else, not in a
    // read-only mount.
    virtual Result<void> recover(lower::LowerFs&, int /*rootfd*/) const { return {}; }
    // The last lower call of a mount that ends in order.
    virtual void end(lower::LowerFs&) const {}

    virtual DirContext root() const = 0;

    // ---- names ----
    // Bytes of plaintext that a name may have.
    virtual std::size_t longest_name() const { return 255; }
    virtual Result<CipherName> encode_name(const DirContext& dir, std::string_view plain) const = 0;
    // The plaintext name of a lower entry. `dirfd` is read for side files.
    // kInvalid: not a name of this volume (reserved, foreign): to be hidden. kDamaged: it should be
    // one, and does not authenticate.
    virtual Result<std::string> decode_name(lower::LowerFs& lower, int dirfd, const DirContext& dir,
                                            std::string_view entry) const = 0;
    // True for lower names that are the format's own and never shown.
    virtual bool is_reserved(std::string_view entry) const = 0;
    // The entry that this side file belongs to; empty where it is none.
    virtual std::string entry_of_side_file(std::string_view reserved) const = 0;

    // ---- directories ----
    // Reads and checks the directory `dirfd`, found in `parent` as `entry`. `unsynced` as for
    // create_directory: one that was left half made is made good.
    virtual Result<DirContext> open_directory(lower::LowerFs& lower, int dirfd,
                                              const DirContext& parent, std::string_view entry,
                                              std::vector<std::string>& unsynced) const = 0;
    // Makes a directory usable that was just made empty at that place. Appends to `unsynced` the
    // names of files in it that must be durable before anything below counts as durable.
    virtual Result<DirContext> create_directory(lower::LowerFs& lower, int dirfd,
                                                const DirContext& parent, std::string_view entry,
                                                std::vector<std::string>& unsynced) const = 0;
    // Removes the format's own files from a directory that shows no entries, so that rmdir or a
    // replacing rename succeeds. kNotEmpty when it holds anything else.
    virtual Result<void> clear_directory(lower::LowerFs& lower, int dirfd) const = 0;
    // Gives a directory back the id that clear_directory() took; nothing where it has one.
    virtual Result<void> restore_directory(lower::LowerFs& lower, int dirfd,
                                           const DirContext& parent, std::string_view entry,
                                           const DirContext& was,
                                           std::vector<std::string>& unsynced) const = 0;
    // Before the lower rename of a directory: afterwards it is valid at both places.
    virtual Result<void> before_directory_rename(lower::LowerFs& lower, int dirfd,
                                                 const DirContext& old_parent,
                                                 std::string_view old_entry,
                                                 const DirContext& new_parent,
                                                 std::string_view new_entry) const = 0;
    // Once that rename is durable: only the place where it is now stays valid. Nothing happens
    // where the rename did not take place.
    virtual Result<void> after_directory_rename(lower::LowerFs& lower, int dirfd,
                                                const DirContext& parent,
                                                std::string_view entry) const = 0;

    // ---- regular files ----
    // Plaintext size from the lower stat alone; nullopt where the contents must be looked at.
    virtual std::optional<std::uint64_t> size_from_stat(const struct stat& lower_stat) const = 0;
    // Writes what an empty file holds to a descriptor of a new, empty lower file, and opens it.
    // `place`: where it will lie; nullptr for one without a name, also below.
    virtual Result<std::shared_ptr<ContentFile>> create_content(lower::LowerFs& lower, lower::Fd fd,
                                                                const FilePlace* place) const = 0;
    // `lower_stat`: of `fd`. kDamaged when the file cannot be trusted as a whole.
    virtual Result<std::shared_ptr<ContentFile>> open_content(lower::LowerFs& lower, lower::Fd fd,
                                                              const struct stat& lower_stat,
                                                              const FilePlace* place) const = 0;
    // The owner id that xattrs of this file or directory are bound to.
    virtual Result<ByteArray<16>> content_id(lower::LowerFs& lower, int fd) const = 0;

    // ---- symlinks ----
    // The lower target for a plaintext target; writes what does not fit into it below `rootfd`.
    virtual Result<std::string> encode_symlink(lower::LowerFs& lower, int rootfd,
                                               std::string_view target) const = 0;
    virtual Result<std::string> decode_symlink(lower::LowerFs& lower, int rootfd,
                                               std::string_view lower_target) const = 0;
    // Of the link at `place`, for formats whose targets depend on that.
    virtual Result<std::string> read_symlink(lower::LowerFs& lower, int rootfd,
                                             const FilePlace& /*place*/,
                                             std::string_view lower_target) const {
        return decode_symlink(lower, rootfd, lower_target);
    }
    virtual std::uint64_t symlink_size_at(const FilePlace& /*place*/,
                                          std::string_view lower_target) const {
        return symlink_size(lower_target);
    }
    // Plaintext length from the lower length; nullopt where the target must be read.
    virtual std::optional<std::uint64_t> symlink_size(std::uint64_t lower_size) const = 0;
    // What is known of the length once the target was read.
    virtual std::uint64_t symlink_size(std::string_view lower_target) const = 0;
    // Removes what encode_symlink wrote below `rootfd` (no error if nothing).
    virtual void drop_symlink(lower::LowerFs& lower, int rootfd,
                              std::string_view lower_target) const = 0;

    // ---- extended attributes: names with their namespace prefix ("user.x") ----
    // Whether a lower attribute is one that decode_xattr_name knows.
    virtual bool owns_xattr(std::string_view lower_name) const = 0;
    virtual Result<std::string> encode_xattr_name(const ByteArray<16>& owner,
                                                  std::string_view name) const = 0;
    virtual Result<std::string> decode_xattr_name(const ByteArray<16>& owner,
                                                  std::string_view lower_name) const = 0;
    virtual Result<ByteVector> seal_xattr(const ByteArray<16>& owner, std::string_view name,
                                          Bytes value) const = 0;
    virtual Result<ByteVector> open_xattr(const ByteArray<16>& owner, std::string_view name,
                                          Bytes sealed) const = 0;
};

// Makes the format of an unlocked volume; called once.
using FormatMaker = std::move_only_function<std::unique_ptr<VolumeFormat>(const FormatHost&)>;

}  // namespace extencfs::core
