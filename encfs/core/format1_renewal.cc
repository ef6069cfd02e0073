// SPDX-License-Identifier: Apache-2.0
// Directories on their way to the newest generation of keys (FORMAT.md "Rotation of keys").
#include <fcntl.h>

#include <algorithm>

#include "encfs/core/format1.h"
#include "encfs/volume/wire.h"

namespace extencfs::core {

Result<void> Format1::before_renewal(lower::LowerFs& lower, int dirfd, const DirContext& parent,
                                     std::string_view entry, std::string_view new_entry,
                                     bool is_settled) const {
    auto file = read_id_file(lower, dirfd, O_RDWR);
    if (!file) return std::unexpected(file.error());
    if (!*file) return {};
    const auto& keys = context_.keys->current();
    auto& dir = (*file)->dir;
    const auto here = volume::bind_place(keys.dir_bind.bytes(), parent.id, entry);
    const auto next = volume::bind_place(keys.dir_bind.bytes(), parent.id, new_entry);
    const bool is_newest = (*file)->keys == &keys;
    if (!is_valid_at(**file, parent, entry))
        return std::unexpected(damaged(dirfd, "the directory is not where it belongs"));
    if (is_newest && (dir.here == next || dir.next == next) &&
        (dir.here == here || dir.next == here))
        return {};
    // A rename may have brought it here: that must be durable before its old place is forgotten.
    if (!is_settled && !volume::all_zero(dir.next)) {
        if (auto r = lower.syncfs(dirfd); !r) return fail(r.error());
    }
    (*file)->keys = &keys;
    dir.next_generation = keys.number;
    dir.here = here;
    dir.next = here == next ? volume::Binding{} : next;
    if (auto r = write_id_file(lower, **file); !r) return r;
    if (auto r = lower.fdatasync((*file)->fd.get()); !r) return fail(r.error());
    return {};
}

Result<void> Format1::check_place(lower::LowerFs& lower, int dirfd, const DirContext& parent,
                                  std::string_view entry) const {
    const auto file = read_id_file(lower, dirfd, O_RDONLY);
    if (!file) return std::unexpected(file.error());
    if (!*file || is_valid_at(**file, parent, entry)) return {};
    return std::unexpected(damaged(dirfd, "the directory is not where it belongs"));
}

bool Format1::is_older_name(lower::LowerFs& lower, int dirfd, const DirContext& dir,
                            std::string_view entry) const {
    return std::ranges::any_of(context_.keys->generations(), [&](const auto& keys) {
        return keys->number != context_.keys->current().number &&
               decode_name(lower, dirfd, {dir.id, keys->number}, entry);
    });
}

Result<void> Format1::renew_directory(lower::LowerFs& lower, int dirfd, const DirContext& parent,
                                      std::string_view entry) const {
    // Under these keys, and valid where it is.
    if (auto r = before_renewal(lower, dirfd, parent, entry, entry, false); !r) return r;
    auto file = read_id_file(lower, dirfd, O_RDWR);
    if (!file) return std::unexpected(file.error());
    const auto number = context_.keys->current().number;
    if (!*file || (*file)->dir.key_generation == number) return {};
    (*file)->dir.key_generation = (*file)->dir.next_generation = number;
    return write_id_file(lower, **file);
}

}  // namespace extencfs::core
