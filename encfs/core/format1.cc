// SPDX-License-Identifier: Apache-2.0
#include "encfs/core/format1.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "crypto/random.h"
#include "crypto/secret.h"
#include "encfs/core/own_change.h"
#include "encfs/volume/wire.h"

namespace extencfs::core {

namespace {

constexpr std::size_t kMaxSideFile = 512;

bool has_prefix(std::string_view text, std::string_view prefix) {
    return text.starts_with(prefix);
}

// Whether a directory holds nothing but names that `reserved` accepts.
template <typename Reserved>
Result<bool> shows_nothing(lower::LowerFs& lower, int dirfd, const Reserved& reserved) {
    bool empty = true;
    auto listed = lower.list(dirfd, [&](const lower::DirEntry& entry) {
        empty = reserved(entry.name);
        return empty;
    });
    if (!listed) return fail(listed.error());
    return empty;
}

}  // namespace

Format1::Format1(std::unique_ptr<volume::VolumeKeys> keys, const FormatHost& host)
    : context_{.keys = std::move(keys),
               .clean = host.clean,
               .on_damage = host.on_damage,
               .sink = host.sink},
      read_only_(host.read_only) {}

FormatMaker format1(std::unique_ptr<volume::VolumeKeys> keys) {
    return [keys = std::move(keys)](const FormatHost& host) mutable {
        return std::make_unique<Format1>(std::move(keys), host);
    };
}

void Format1::take_keys(std::shared_ptr<const volume::VolumeKeys> keys, bool rotating) {
    context_.keys = std::move(keys);
    context_.rotating = rotating;
}

Error Format1::damaged(int fd, const std::string& what) const {
    if (context_.on_damage) context_.on_damage(fd, what);
    return Error{ErrorKind::kDamaged};
}

DirContext Format1::root() const {
    return {context_.keys->root_id(), context_.keys->current().number};
}

const volume::GenerationKeys& Format1::keys_of(const DirContext& dir) const {
    const auto* keys = context_.keys->generation(dir.generation);
    return keys != nullptr ? *keys : context_.keys->current();
}

// ---- names ----

Result<CipherName> Format1::encode_name(const DirContext& dir, std::string_view plain) const {
    auto name = keys_of(dir).names.encode(dir.id, plain);
    if (!name) return fail(name.error());
    return CipherName{std::move(name->entry), std::move(name->side_name),
                      std::move(name->side_bytes)};
}

Result<std::string> Format1::decode_name(lower::LowerFs& lower, int dirfd, const DirContext& dir,
                                         std::string_view entry) const {
    const auto& names = keys_of(dir).names;
    auto told = [](volume::Result<std::string> name) -> Result<std::string> {
        if (name) return std::move(*name);
        if (name.error().kind == volume::ErrorKind::kNotVolumeName)
            return fail(ErrorKind::kInvalid);
        return fail(name.error());
    };
    if (!volume::NameCodec::is_long_entry(entry)) {
        if (is_reserved(entry)) return fail(ErrorKind::kInvalid);
        return told(names.decode(dir.id, entry));
    }
    auto side = lower.open(dirfd, volume::NameCodec::side_name_of(entry), O_RDONLY, 0);
    if (!side) {
        if (side.error().value == ENOENT) return fail(ErrorKind::kDamaged);
        return fail(side.error());
    }
    ByteArray<kMaxSideFile> bytes;
    auto got = lower.pread(side->get(), bytes, 0);
    if (!got) return fail(got.error());
    return told(names.decode_long(dir.id, entry, Bytes(bytes).first(*got)));
}

bool Format1::is_reserved(std::string_view entry) const {
    return has_prefix(entry, volume::kReservedPrefix) && !volume::NameCodec::is_long_entry(entry);
}

std::string Format1::entry_of_side_file(std::string_view reserved) const {
    const std::string_view prefix = volume::kLongSidePrefix;
    if (!has_prefix(reserved, prefix)) return {};
    return volume::kLongEntryPrefix + std::string(reserved.substr(prefix.size()));
}

// ---- directories ----

Result<std::optional<Format1::IdFile>> Format1::read_id_file(lower::LowerFs& lower, int dirfd,
                                                             int flags) const {
    auto fd = lower.open(dirfd, volume::kDirFileName, flags, 0);
    if (!fd) {
        if (fd.error().value == ENOENT) return std::nullopt;
        return fail(fd.error());
    }
    ByteArray<volume::kDirFileSize> bytes;
    auto got = lower.pread(fd->get(), bytes, 0);
    if (!got) return fail(got.error());
    // Never written as far as the disk knows: power loss may keep a size without its bytes.
    if (volume::all_zero(Bytes(bytes).first(*got))) return std::nullopt;
    if (*got < bytes.size())
        return std::unexpected(damaged(dirfd, "the directory's id file is cut off"));
    // The newest generation first: during a rotation both occur.
    for (std::uint32_t number = context_.keys->current().number + 1; number-- > 0;) {
        const auto* keys = context_.keys->generation(number);
        if (keys == nullptr) continue;
        auto dir = volume::decode_dir_file(bytes, keys->dir_mac.bytes());
        if (dir) return IdFile{std::move(*fd), *dir, keys};
    }
    return std::unexpected(damaged(dirfd, "the directory's id file does not authenticate"));
}

Result<void> Format1::write_id_file(lower::LowerFs& lower, const IdFile& file) const {
    ByteArray<volume::kDirFileSize> bytes;
    volume::encode_dir_file(file.dir, file.keys->dir_mac.bytes(), bytes);
    if (auto r = lower.pwrite(file.fd.get(), bytes, 0); !r) return fail(r.error());
    return {};
}

bool Format1::is_valid_at(const IdFile& file, const DirContext& parent, std::string_view entry) {
    const auto place = volume::bind_place(file.keys->dir_bind.bytes(), parent.id, entry);
    return crypto::equal_constant_time(place, file.dir.here) ||
           (!volume::all_zero(file.dir.next) && crypto::equal_constant_time(place, file.dir.next));
}

Result<DirContext> Format1::open_directory(lower::LowerFs& lower, int dirfd,
                                           const DirContext& parent, std::string_view entry,
                                           std::vector<std::string>& unsynced) const {
    auto file = read_id_file(lower, dirfd, O_RDONLY);
    if (!file) return std::unexpected(file.error());
    if (!*file) {
        // A mkdir or rmdir that was cut short (FORMAT.md "Directories"): an empty directory.
        auto empty = shows_nothing(lower, dirfd, [this](auto name) { return is_reserved(name); });
        if (!empty) return std::unexpected(empty.error());
        if (!*empty) return std::unexpected(damaged(dirfd, "the directory's id file is missing"));
        if (read_only_) return DirContext{};
        return create_directory(lower, dirfd, parent, entry, unsynced);
    }
    if (!is_valid_at(**file, parent, entry))
        return std::unexpected(damaged(dirfd, "the directory is not where it belongs"));
    const auto& dir = (*file)->dir;
    return DirContext{dir.id, dir.key_generation};
}

Result<DirContext> Format1::create_directory(lower::LowerFs& lower, int dirfd,
                                             const DirContext& parent, std::string_view entry,
                                             std::vector<std::string>& unsynced) const {
    DirContext fresh{.id = {}, .generation = context_.keys->current().number};
    if (!crypto::fill_random(fresh.id)) return fail(ErrorKind::kInternal);
    if (auto r = make_id_file(lower, dirfd, parent, entry, fresh, unsynced); !r)
        return std::unexpected(r.error());
    return fresh;
}

Result<void> Format1::restore_directory(lower::LowerFs& lower, int dirfd, const DirContext& parent,
                                        std::string_view entry, const DirContext& was,
                                        std::vector<std::string>& unsynced) const {
    auto file = read_id_file(lower, dirfd, O_RDONLY);
    if (!file) return std::unexpected(file.error());
    if (*file) return {};
    return make_id_file(lower, dirfd, parent, entry, was, unsynced);
}

Result<void> Format1::make_id_file(lower::LowerFs& lower, int dirfd, const DirContext& parent,
                                   std::string_view entry, const DirContext& id,
                                   std::vector<std::string>& unsynced) const {
    const auto& keys = keys_of(id);
    IdFile file{.fd = {}, .dir = {}, .keys = &keys};
    file.dir.key_generation = file.dir.next_generation = keys.number;
    file.dir.id = id.id;
    file.dir.here = volume::bind_place(keys.dir_bind.bytes(), parent.id, entry);
    auto change = OwnChange::begin(context_.sink, lower, dirfd);
    if (!change) return std::unexpected(change.error());
    auto fd = lower.open(dirfd, volume::kDirFileName, O_CREAT | O_WRONLY, 0644);
    if (!fd) return fail(fd.error());
    file.fd = std::move(*fd);
    if (auto r = write_id_file(lower, file); !r) return std::unexpected(r.error());
    unsynced.emplace_back(volume::kDirFileName);
    return {};
}

Result<void> Format1::clear_directory(lower::LowerFs& lower, int dirfd) const {
    std::vector<std::string> own;
    bool empty = true;
    auto listed = lower.list(dirfd, [&](const lower::DirEntry& entry) {
        empty = is_reserved(entry.name);
        if (empty) own.emplace_back(entry.name);
        return empty;
    });
    if (!listed) return fail(listed.error());
    if (!empty) return fail(ErrorKind::kNotEmpty);
    // The id last: until then nothing is lost.
    std::partition(own.begin(), own.end(),
                   [](const std::string& name) { return name != volume::kDirFileName; });
    for (const auto& name : own) {
        if (auto r = lower.unlink(dirfd, name); !r && r.error().value != ENOENT)
            return fail(r.error());
    }
    return {};
}

Result<void> Format1::before_directory_rename(lower::LowerFs& lower, int dirfd,
                                              const DirContext& old_parent,
                                              std::string_view old_entry,
                                              const DirContext& new_parent,
                                              std::string_view new_entry) const {
    auto file = read_id_file(lower, dirfd, O_RDWR);
    if (!file) return std::unexpected(file.error());
    if (!*file) return std::unexpected(damaged(dirfd, "the directory's id file is missing"));
    auto& dir = (*file)->dir;
    const auto bind_key = (*file)->keys->dir_bind.bytes();
    const auto now = volume::bind_place(bind_key, old_parent.id, old_entry);
    if (!volume::all_zero(dir.next) && dir.next == now && dir.here != now) {
        // The earlier rename must be durable before its old place is forgotten.
        if (auto r = lower.syncfs(dirfd); !r) return fail(r.error());
        dir.here = now;
    }
    dir.next = volume::bind_place(bind_key, new_parent.id, new_entry);
    if (auto r = write_id_file(lower, **file); !r) return r;
    if (auto r = lower.fdatasync((*file)->fd.get()); !r) return fail(r.error());
    return {};
}

Result<void> Format1::after_directory_rename(lower::LowerFs& lower, int dirfd,
                                             const DirContext& parent,
                                             std::string_view entry) const {
    auto file = read_id_file(lower, dirfd, O_RDWR);
    if (!file) return std::unexpected(file.error());
    if (!*file || volume::all_zero((*file)->dir.next)) return {};
    // A rename that failed left its binding as well.
    const auto now = volume::bind_place((*file)->keys->dir_bind.bytes(), parent.id, entry);
    if ((*file)->dir.next != now) return {};
    (*file)->dir.here = (*file)->dir.next;
    (*file)->dir.next = {};
    return write_id_file(lower, **file);
}

// ---- regular files ----

std::optional<std::uint64_t> Format1::size_from_stat(const struct stat& lower_stat) const {
    if (!context_.clean) return std::nullopt;
    const auto size = volume::size_of_hint(static_cast<std::uint64_t>(lower_stat.st_size));
    // Nothing would ever ask for the contents of an empty file, so emptiness is not believed.
    if (size == volume::kNoSize || size == 0) return std::nullopt;
    return size;
}

Result<std::shared_ptr<ContentFile>> Format1::create_content(lower::LowerFs& lower, lower::Fd fd,
                                                             const FilePlace*) const {
    return Format1File::create(context_, lower, std::move(fd));
}

Result<std::shared_ptr<ContentFile>> Format1::open_content(lower::LowerFs& lower, lower::Fd fd,
                                                           const struct stat& lower_stat,
                                                           const FilePlace*) const {
    return Format1File::open(context_, lower, std::move(fd),
                             static_cast<std::uint64_t>(lower_stat.st_size));
}

Result<ByteArray<16>> Format1::content_id(lower::LowerFs& lower, int fd) const {
    auto header = Format1File::read_header(context_, lower, fd);
    if (!header) return std::unexpected(header.error());
    return header->id;
}

// ---- symlinks ----

Result<std::string> Format1::encode_symlink(lower::LowerFs& lower, int rootfd,
                                            std::string_view target) const {
    const auto& codec = context_.keys->current().symlinks;
    if (target.size() <= volume::kMaxInlineTarget) {
        auto sealed = codec.seal_inline(target);
        if (!sealed) return fail(sealed.error());
        return std::move(*sealed);
    }
    if (target.size() > volume::kMaxTarget) return fail(ErrorKind::kNameTooLong);
    auto sealed = codec.seal_long(target);
    if (!sealed) return fail(sealed.error());
    if (auto r = lower.mkdir(rootfd, volume::kLongSymlinkDir, 0700);
        !r && r.error().value != EEXIST)
        return fail(r.error());
    auto dir = lower.open(rootfd, volume::kLongSymlinkDir, O_RDONLY | O_DIRECTORY, 0);
    if (!dir) return fail(dir.error());
    auto file = lower.open(dir->get(), sealed->ref.id, O_CREAT | O_EXCL | O_WRONLY, 0600);
    if (!file) return fail(file.error());
    auto written = lower.pwrite(file->get(), sealed->file_bytes, 0);
    // Nothing fsyncs a symlink: its text must be durable before its name can be.
    if (written) written = lower.fdatasync(file->get());
    if (!written) {
        (void)lower.unlink(dir->get(), sealed->ref.id);
        return fail(written.error());
    }
    return std::move(sealed->lower_target);
}

Result<std::string> Format1::decode_symlink(lower::LowerFs& lower, int rootfd,
                                            std::string_view lower_target) const {
    // The newest generation first: during a rotation others occur.
    const auto under_any = [this](const auto& open) -> Result<std::string> {
        const auto all = context_.keys->generations();
        auto target = open(all.back()->symlinks);
        for (std::size_t i = all.size() - 1; !target && i-- > 0;) {
            if (auto older = open(all[i]->symlinks)) return std::move(*older);
        }
        if (!target) return fail(target.error());
        return std::move(*target);
    };
    if (!has_prefix(lower_target, volume::kReservedPrefix)) {
        return under_any([&](const auto& codec) { return codec.open_inline(lower_target); });
    }
    auto ref = volume::SymlinkCodec::parse_ref(lower_target);
    if (!ref) return fail(ref.error());
    auto dir = lower.open(rootfd, volume::kLongSymlinkDir, O_RDONLY | O_DIRECTORY, 0);
    if (!dir) return fail(ErrorKind::kDamaged);
    auto file = lower.open(dir->get(), ref->id, O_RDONLY, 0);
    if (!file) return fail(ErrorKind::kDamaged);
    ByteVector bytes(volume::kMaxTarget + 128);
    auto got = lower.pread(file->get(), bytes, 0);
    if (!got) return fail(got.error());
    return under_any(
        [&](const auto& codec) { return codec.open_long(*ref, Bytes(bytes).first(*got)); });
}

std::optional<std::uint64_t> Format1::symlink_size(std::uint64_t lower_size) const {
    const auto size = volume::SymlinkCodec::inline_size(lower_size);
    if (size == 0) return std::nullopt;
    return size;
}

std::uint64_t Format1::symlink_size(std::string_view lower_target) const {
    auto ref = volume::SymlinkCodec::parse_ref(lower_target);
    return ref ? ref->size : volume::SymlinkCodec::inline_size(lower_target.size());
}

void Format1::drop_symlink(lower::LowerFs& lower, int rootfd, std::string_view lower_target) const {
    auto ref = volume::SymlinkCodec::parse_ref(lower_target);
    if (!ref) return;
    auto dir = lower.open(rootfd, volume::kLongSymlinkDir, O_RDONLY | O_DIRECTORY, 0);
    // A left-over text is found again by a check; the symlink itself is gone already.
    if (dir) (void)lower.unlink(dir->get(), ref->id);
}

// ---- extended attributes ----

bool Format1::owns_xattr(std::string_view lower_name) const {
    return has_prefix(lower_name, volume::kXattrPrefix);
}

Result<std::string> Format1::encode_xattr_name(const ByteArray<16>& owner,
                                               std::string_view name) const {
    auto encoded = context_.keys->current().xattrs.encode_name(owner, name);
    if (encoded) return std::move(*encoded);
    if (encoded.error().kind == volume::ErrorKind::kTooLong) return fail(ErrorKind::kRange);
    return fail(encoded.error());
}

Result<std::string> Format1::decode_xattr_name(const ByteArray<16>& owner,
                                               std::string_view lower_name) const {
    auto decoded = context_.keys->current().xattrs.decode_name(owner, lower_name);
    if (!decoded) return fail(decoded.error());
    return std::move(*decoded);
}

Result<ByteVector> Format1::seal_xattr(const ByteArray<16>& owner, std::string_view name,
                                       Bytes value) const {
    auto sealed = context_.keys->current().xattrs.seal_value(owner, name, value);
    if (!sealed) return fail(sealed.error());
    return std::move(*sealed);
}

Result<ByteVector> Format1::open_xattr(const ByteArray<16>& owner, std::string_view name,
                                       Bytes sealed) const {
    auto value = context_.keys->current().xattrs.open_value(owner, name, sealed);
    if (!value) return fail(value.error());
    return std::move(*value);
}

}  // namespace extencfs::core
