// SPDX-License-Identifier: Apache-2.0
// The rename of a directory as EncFS 1.9.5 does it where names are chained, as far as a test wants:
// from the bottom up, each file's header before its name, the directory itself last.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "encfs/core/legacy_format.h"
#include "encfs/legacy/contents.h"
#include "encfs/legacy/names.h"

namespace extencfs::core {

class EncfsRename {
  public:
    // `from`, `to`: plaintext paths from the root.
    EncfsRename(const LegacyVolume& volume, std::string root, const std::string& from,
                const std::string& to)
        : names_(volume.key, volume.parameters.names),
          contents_(volume.key, volume.parameters.contents),
          headers_(volume.parameters.path_in_header),
          root_(std::move(root)) {
        const auto old = walk(from), fresh = walk(to);
        plan(root_ + old.text, old.chain, fresh.chain);
        acts_.push_back(
            [a = root_ + old.text, b = root_ + fresh.text] { std::filesystem::rename(a, b); });
    }

    std::size_t size() const { return acts_.size(); }
    // The first `count` calls that change something.
    void run(std::size_t count) const {
        for (std::size_t i = 0; i < std::min(count, acts_.size()); ++i) acts_[i]();
    }
    // The lower path of a plaintext path, from "/" on.
    legacy::ChainedName walk(const std::string& path) const {
        legacy::ChainedName at;
        for (std::size_t begin = 0; begin < path.size();) {
            const std::size_t end = std::min(path.find('/', begin), path.size());
            const auto part = names_.encode(path.substr(begin, end - begin), at.chain);
            at = {at.text + "/" + part->text, part->chain};
            begin = end + 1;
        }
        return at;
    }

  private:
    void plan(const std::string& directory, std::uint64_t chain, std::uint64_t to) {
        std::vector<std::filesystem::path> entries;
        for (const auto& entry : std::filesystem::directory_iterator(directory))
            entries.push_back(entry.path());
        std::ranges::sort(entries);
        for (const auto& path : entries) {
            const auto name = names_.decode(path.filename().string(), chain);
            if (!name) continue;
            const auto fresh = *names_.encode(name->text, to);
            const auto status = std::filesystem::symlink_status(path);
            if (std::filesystem::is_directory(status)) {
                plan(path.string(), name->chain, fresh.chain);
            } else if (std::filesystem::is_regular_file(status) && headers_ &&
                       std::filesystem::file_size(path) > 0) {
                acts_.push_back(
                    [this, path, a = name->chain, b = fresh.chain] { recode(path, a, b); });
            }
            acts_.push_back(
                [path, now = directory + "/" + fresh.text] { std::filesystem::rename(path, now); });
        }
    }

    void recode(const std::filesystem::path& path, std::uint64_t from, std::uint64_t to) const {
        ByteArray<legacy::kFileHeaderSize> header;
        std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
        file.read(reinterpret_cast<char*>(header.data()), header.size());
        const auto coded = *contents_.encode_header(*contents_.decode_header(header, from), to);
        file.seekp(0);
        file.write(reinterpret_cast<const char*>(coded.data()), coded.size());
    }

    legacy::NameCodec names_;
    legacy::ContentCodec contents_;
    bool headers_;
    std::string root_;
    std::vector<std::function<void()>> acts_;
};

}  // namespace extencfs::core
