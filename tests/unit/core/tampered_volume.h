// SPDX-License-Identifier: Apache-2.0
// A volume by upper paths and, beside it, its lower files by name: an attacker's view of what core
// has written.
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

#include "tests/fake/fault_lower_fs.h"
#include "tests/unit/core/script.h"
#include "tests/unit/core/volume_for_tests.h"

namespace extencfs::core {

class TamperedVolume {
  public:
    TamperedVolume() : dir_(fake::ScratchDir::in_memory()) { mount(); }
    TamperedVolume(const TamperedVolume&) = delete;
    TamperedVolume& operator=(const TamperedVolume&) = delete;
    ~TamperedVolume() {
        if (session_) session_->forget_all();
    }

    Filesystem& fs() { return *fs_; }
    Session& session() { return *session_; }
    fake::FaultLowerFs& lower() { return lower_; }
    const fake::ScratchDir& dir() const { return dir_; }
    Damage& damage() { return damage_; }

    void mount(bool clean = true) {
        threads_ = threads_now();
        fs_ = open_fs(lower_, dir_, {.clean = clean, .damage = &damage_});
        session_ = std::make_unique<Session>(*fs_);
    }
    // True if it earned the clean mark.
    bool unmount() {
        wait_for_scan(threads_);
        session_->forget_all();
        CHECK(fs_->node_count() == 1);
        const bool clean = fs_->finish();
        session_.reset();
        fs_.reset();
        return clean;
    }
    void kill() {
        wait_for_scan(threads_);
        lower_.die();
        session_.reset();
        fs_.reset();
        lower_.revive();
    }
    void remount(bool clean = true) {
        CHECK(unmount());
        mount(clean);
    }
    void wait_for_the_scan() { wait_for_scan(threads_); }

    // ---- upper ----
    NodeId node(const std::string& path) {
        auto found = session_->node(path);
        INFO(path << ": errno " << (found ? 0 : errno_of(found.error())));
        REQUIRE(found);
        return *found;
    }
    NodeId make_directory(const std::string& path) {
        REQUIRE(session_->keep(fs_->mkdir(node(parent_of(path)), name_of(path), 0755, {})));
        return node(path);
    }
    NodeId make_file(const std::string& path, std::string_view data) {
        REQUIRE(session_->keep(fs_->create(node(parent_of(path)), name_of(path), 0644, {})));
        const NodeId made = node(path);
        if (!data.empty()) REQUIRE(fs_->write(made, 0, bytes_of(data), WriteSource::kCaller, {}));
        return made;
    }
    Result<std::string> read(NodeId node, std::uint64_t off = 0, std::size_t size = 1 << 20) {
        IoBuffer buffer;
        auto got = fs_->read(node, off, size, buffer);
        if (!got) return std::unexpected(got.error());
        return std::string(text_of(*got));
    }
    Result<void> resize(NodeId node, std::uint64_t size) {
        AttrChange change;
        change.size_set = true;
        change.size = size;
        auto done = fs_->setattr(node, change);
        if (!done) return std::unexpected(done.error());
        return {};
    }
    std::uint64_t size(NodeId node) {
        auto attr = fs_->getattr(node);
        REQUIRE(attr);
        return static_cast<std::uint64_t>(attr->st_size);
    }
    std::set<std::string> names_in(NodeId node) {
        std::set<std::string> names;
        auto listed = fs_->list(node, 0, ListMode::kNames, [&](const ListedEntry& entry) {
            if (entry.name != "." && entry.name != "..") names.emplace(entry.name);
            return true;
        });
        CHECK(listed);
        return names;
    }
    Result<void> list(NodeId node) {
        return fs_->list(node, 0, ListMode::kNames, [](const ListedEntry&) { return true; });
    }

    // ---- lower ----
    // The whole path of what lies behind an upper path. REQUIRES: mounted.
    std::string lower_of(const std::string& path) {
        auto attr = fs_->getattr(node(path));
        REQUIRE(attr);
        for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_.path())) {
            struct stat is {};
            if (::lstat(entry.path().c_str(), &is) == 0 && is.st_ino == attr->st_ino)
                return entry.path();
        }
        FAIL(path << " is not below");
        return {};
    }

  private:
    fake::ScratchDir dir_;
    fake::FaultLowerFs lower_;
    Damage damage_;
    std::unique_ptr<Filesystem> fs_;
    std::unique_ptr<Session> session_;
    std::size_t threads_ = 0;  // before it was opened
};

// ---- an attacker's hands ----

inline std::string lower_bytes(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    REQUIRE(file);
    return {std::istreambuf_iterator<char>(file), {}};
}
// In place: the inode stays.
inline void put_lower_bytes(const std::string& path, const std::string& bytes) {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    REQUIRE(file.write(bytes.data(), static_cast<std::streamsize>(bytes.size())));
}
inline void patch(const std::string& path, std::uint64_t off, const std::string& bytes) {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    REQUIRE(file.seekp(static_cast<std::streamoff>(off)));
    REQUIRE(file.write(bytes.data(), static_cast<std::streamsize>(bytes.size())));
}
inline void flip(const std::string& path, std::uint64_t off) {
    const char was = lower_bytes(path).at(off);
    patch(path, off, std::string(1, static_cast<char>(was ^ 1)));
}
inline void cut(const std::string& path, std::uint64_t size) {
    std::filesystem::resize_file(path, size);
}
inline std::string name_below(const std::string& path) {
    return std::filesystem::path(path).filename();
}
inline std::string place_below(const std::string& path) {
    return std::filesystem::path(path).parent_path();
}
inline void exchange_below(const std::string& a, const std::string& b) {
    std::filesystem::rename(a, a + ".spare");
    std::filesystem::rename(b, a);
    std::filesystem::rename(a + ".spare", b);
}

template <typename T>
bool is_damaged(const Result<T>& r) {
    return !r && r.error().kind == ErrorKind::kDamaged;
}

}  // namespace extencfs::core
