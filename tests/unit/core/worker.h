// SPDX-License-Identifier: Apache-2.0
// One of several threads that do everything at once on one file system, as a kernel would: it keeps
// the references that it is given, and names only what it has. THREADS: each its own.
#pragma once

#include <linux/falloc.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "encfs/core/filesystem.h"

namespace extencfs::core {

// Contents tell whose they are: every byte of a file is the same, or zero.
inline std::string filled(char c, std::size_t size) {
    return std::string(size, c);
}

class Worker {
  public:
    Worker(Filesystem& fs, unsigned seed, std::size_t longest_target = 3500)
        : fs_(fs), random_(seed), longest_target_(longest_target) {}

    void run(int steps) {
        for (int i = 0; i < steps; ++i) step();
        for (const auto& [node, count] : held_) fs_.forget(node, count);
    }
    const std::vector<std::string>& faults() const { return faults_; }

  private:
    // Names are few, so that the threads meet; one of them is long.
    std::string name() {
        const auto n = random_() % 7;
        return n == 6 ? std::string(190, 'l') : std::string(1, static_cast<char>('a' + n));
    }
    NodeId any(mode_t type) {
        std::vector<NodeId> nodes;
        for (const auto& [node, of] : types_)
            if (of == type) nodes.push_back(node);
        if (nodes.empty() || (type == S_IFDIR && random_() % 3 == 0)) return kRootNode;
        return nodes[random_() % nodes.size()];
    }
    void keep(const Entry& entry) {
        ++held_[entry.node];
        types_[entry.node] = entry.attr.st_mode & S_IFMT;
    }
    void give_back() {
        if (held_.empty()) return;
        auto it = held_.begin();
        std::advance(it, static_cast<long>(random_() % held_.size()));
        fs_.forget(it->first, it->second);
        types_.erase(it->first);
        held_.erase(it);
    }

    // Whether `r` may fail here: for reasons that other threads give, never for damage.
    template <typename T>
    bool fine(const char* what, const Result<T>& r) {
        if (r) return true;
        switch (r.error().kind) {
            case ErrorKind::kDamaged:
            case ErrorKind::kInternal:
            case ErrorKind::kNoMemory:
            case ErrorKind::kCrossesMount:
                faults_.push_back(std::string(what) + ": kind " +
                                  std::to_string(static_cast<int>(r.error().kind)));
                break;
            case ErrorKind::kLower: {
                static constexpr int kOfOthers[] = {ENOENT,  EEXIST, ENOTEMPTY, EINVAL,
                                                    ENODATA, EISDIR, ENOTDIR,   ELOOP};
                const int e = r.error().lower_errno;
                if (std::ranges::find(kOfOthers, e) == std::end(kOfOthers))
                    faults_.push_back(std::string(what) + ": errno " + std::to_string(e));
                break;
            }
            default:
                break;
        }
        return false;
    }

    void step() {
        switch (random_() % 16) {
            case 0:
            case 1:
            case 2:
                return make();
            case 3:
                fine("unlink", fs_.unlink(any(S_IFDIR), name()));
                return;
            case 4:
                fine("rmdir", fs_.rmdir(any(S_IFDIR), name()));
                return;
            case 5:
            case 6: {
                constexpr lower::RenameMode kModes[] = {lower::RenameMode::kReplace,
                                                        lower::RenameMode::kNoReplace,
                                                        lower::RenameMode::kExchange};
                fine("rename",
                     fs_.rename(any(S_IFDIR), name(), any(S_IFDIR), name(), kModes[random_() % 3]));
                return;
            }
            case 7:
                return list();
            case 8:
            case 9: {
                auto found = fs_.lookup(any(S_IFDIR), name());
                if (fine("lookup", found)) keep(*found);
                return;
            }
            case 10:
                return give_back();
            case 11:
                return attributes();
            default:
                return contents();
        }
    }

    void make() {
        const NodeId dir = any(S_IFDIR);
        Result<Entry> made = fail(ErrorKind::kInvalid);
        switch (random_() % 5) {
            case 0:
                made = fs_.mkdir(dir, name(), 0755, {});
                break;
            case 1:
                made = fs_.symlink(dir, name(),
                                   std::string(random_() % 2 ? 20 : longest_target_, 't'), {});
                break;
            case 2:
                made = fs_.link(any(S_IFREG), dir, name());
                break;
            case 3:
                made = fs_.tmpfile(dir, 0600, {});
                break;
            default:
                made = fs_.create(dir, name(), 0644, {});
        }
        if (fine("make", made)) keep(*made);
    }

    void list() {
        std::vector<NodeId> counted;
        const bool with = random_() % 2 == 0;
        auto listed = fs_.list(any(S_IFDIR), 0, with ? ListMode::kWithAttributes : ListMode::kNames,
                               [&](const ListedEntry& entry) {
                                   if (counted.size() >= 5) return false;
                                   if (entry.entry != nullptr) counted.push_back(entry.entry->node);
                                   return true;
                               });
        fine("list", listed);
        for (NodeId node : counted) fs_.forget(node, 1);
    }

    void attributes() {
        const NodeId node = any(random_() % 2 ? S_IFREG : S_IFDIR);
        fine("getattr", fs_.getattr(node));
        fine("set_xattr", fs_.set_xattr(node, "user.x", bytes_of("value"), 0));
        auto value = fs_.get_xattr(node, "user.x");
        if (fine("get_xattr", value) && text_of(*value) != "value")
            faults_.push_back("a wrong attribute value");
        fine("list_xattr", fs_.list_xattr(node));
        fine("readlink", fs_.readlink(any(S_IFLNK)));
    }

    void contents() {
        const NodeId node = any(S_IFREG);
        if (node == kRootNode) return;
        const std::uint64_t off = random_() % 20'000;
        const char c = 'z';
        switch (random_() % 7) {
            case 0:
            case 1:
                fine("write", fs_.write(node, off, bytes_of(filled(c, 1 + random_() % 9000)),
                                        WriteSource::kCaller, {}));
                return;
            case 2:
                fine("page write", fs_.write(node, off / 4096 * 4096, bytes_of(filled(c, 4096)),
                                             WriteSource::kPageCache, {}));
                return;
            case 3: {
                AttrChange change;
                change.size_set = true;
                change.size = random_() % 4 ? off : 0;
                fine("truncate", fs_.setattr(node, change));
                return;
            }
            case 4:
                fine("punch", fs_.fallocate(node, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off,
                                            5000, {}));
                return;
            case 5:
                fine("flush", fs_.flush(node));
                fine("fsync", fs_.fsync(node, true));
                if (random_() % 4 == 0) fine("fsyncdir", fs_.fsync_directory(any(S_IFDIR)));
                return;
            default: {
                auto got = fs_.read(node, off, 10'000, buffer_);
                if (!fine("read", got)) return;
                for (const char byte : text_of(*got))
                    if (byte != c && byte != '\0') return faults_.push_back("a foreign byte");
            }
        }
    }

    Filesystem& fs_;
    std::mt19937_64 random_;
    std::size_t longest_target_;
    IoBuffer buffer_;
    std::map<NodeId, std::uint64_t> held_;
    std::map<NodeId, mode_t> types_;
    std::vector<std::string> faults_;
};

}  // namespace extencfs::core
