// SPDX-License-Identifier: Apache-2.0
// Tries a set of keys on everything in a lower directory, with every id that is known there.
#include <sys/xattr.h>

#include <cstring>

#include "encfs/volume/geometry.h"
#include "tests/unit/rotate/rotate_place.h"

namespace extencfs::test {
namespace {

namespace stdfs = std::filesystem;
using volume::GenerationKeys;

using Id = ByteArray<16>;

Id id_at(const std::string& bytes, std::size_t at) {
    Id id{};
    std::memcpy(id.data(), bytes.data() + at, id.size());
    return id;
}

// Ids lie in the open, in headers and id files, whoever sealed those.
std::vector<Id> all_ids(const std::string& path, const volume::DirId& root) {
    std::vector<Id> ids{root};
    for (const auto& entry : stdfs::recursive_directory_iterator(path)) {
        if (!entry.is_regular_file() || entry.is_symlink()) continue;
        const std::string bytes = read_file(entry.path());
        if (bytes.starts_with("EXTD") && bytes.size() >= 32) ids.push_back(id_at(bytes, 16));
        if (bytes.starts_with("EXTF") && bytes.size() >= 40) ids.push_back(id_at(bytes, 24));
    }
    return ids;
}

std::size_t opened_fragments(const std::string& bytes, const GenerationKeys& keys) {
    std::size_t opened = 0;
    std::uint64_t size = 0;
    std::memcpy(&size, bytes.data() + 16, sizeof(size));
    std::uint32_t cut = 0;
    std::memcpy(&cut, bytes.data() + 40, sizeof(cut));
    const auto cipher = static_cast<crypto::AeadKind>(bytes[5]);
    const auto codec =
        volume::ContentCodec::make(keys.content_root.bytes(), cipher, id_at(bytes, 24), cut);
    for (std::uint64_t i = 0; i < volume::fragment_count(size); ++i) {
        const auto piece = volume::fragment(i);
        if (piece.cipher_off + piece.cipher_size > bytes.size()) break;
        ByteVector plain(piece.plain_size);
        volume::OpenedFragment state{};
        const auto lower = bytes_of(bytes).subspan(piece.cipher_off, piece.cipher_size);
        REQUIRE(codec.open(i, 1, lower, volume::kMaxEpoch - 1, true, plain, {&state, 1}));
        opened += state.state == volume::FragmentState::kGood ? 1 : 0;
    }
    return opened;
}

std::size_t opened_attributes(const std::string& path, const GenerationKeys& keys,
                              const std::vector<Id>& ids) {
    std::string names(65536, '\0');
    const auto size = ::llistxattr(path.c_str(), names.data(), names.size());
    if (size <= 0) return 0;
    names.resize(static_cast<std::size_t>(size));
    std::size_t opened = 0;
    for (std::size_t at = 0; at < names.size(); at = names.find('\0', at) + 1) {
        const std::string name = names.c_str() + at;
        for (const Id& id : ids) opened += keys.xattrs.decode_name(id, name) ? 1 : 0;
    }
    return opened;
}

std::size_t opened_entry(const stdfs::directory_entry& entry, const GenerationKeys& keys,
                         const std::vector<Id>& ids) {
    const std::string name = entry.path().filename();
    std::size_t opened = 0;
    for (const Id& id : ids) opened += keys.names.decode(id, name) ? 1 : 0;
    if (entry.is_symlink()) {
        return opened + (keys.symlinks.open_inline(stdfs::read_symlink(entry).string()) ? 1 : 0);
    }
    opened += opened_attributes(entry.path(), keys, ids);
    if (!entry.is_regular_file()) return opened;
    const std::string bytes = read_file(entry.path());
    if (name.starts_with(volume::kLongSidePrefix)) {
        const std::string whole =
            volume::kLongEntryPrefix + name.substr(std::string(volume::kLongSidePrefix).size());
        for (const Id& id : ids) {
            opened += keys.names.decode_long(id, whole, bytes_of(bytes)) ? 1 : 0;
        }
    }
    if (bytes.size() == volume::kDirFileSize) {
        const BytesN<volume::kDirFileSize> file(bytes_of(bytes).data(), volume::kDirFileSize);
        opened += volume::decode_dir_file(file, keys.dir_mac.bytes()) ? 1 : 0;
    }
    if (bytes.starts_with("EXTF") && bytes.size() >= volume::kFileHeaderSize) {
        const BytesN<volume::kFileHeaderSize> header(bytes_of(bytes).data(),
                                                     volume::kFileHeaderSize);
        opened += volume::decode_header(header, keys.header.bytes()) ? 1 : 0;
        opened += opened_fragments(bytes, keys);
    }
    if (entry.path().parent_path().filename() == volume::kLongSymlinkDir && bytes.size() > 40) {
        const volume::LongTargetRef ref{name, bytes.size() - 40};
        opened += keys.symlinks.open_long(ref, bytes_of(bytes)) ? 1 : 0;
    }
    return opened;
}

}  // namespace

std::size_t opened_by(const std::string& path, const volume::VolumeKeys& keys) {
    const auto ids = all_ids(path, keys.root_id());
    std::size_t opened = 0;
    for (const auto& generation : keys.generations()) {
        for (const auto& entry : stdfs::recursive_directory_iterator(path)) {
            opened += opened_entry(entry, *generation, ids);
        }
    }
    return opened;
}

}  // namespace extencfs::test
