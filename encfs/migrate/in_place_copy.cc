// SPDX-License-Identifier: Apache-2.0
#include "encfs/migrate/in_place_copy.h"

#include <algorithm>
#include <cerrno>
#include <ranges>

#include "encfs/migrate/node_compare.h"

namespace extencfs::migrate {
namespace {

using daemon::fail;
using daemon::FailureKind;

bool is_full(const core::Error& error) {
    return core::is_errno(error, ENOSPC) || core::is_errno(error, EDQUOT);
}

bool is_missing(const core::Error& error) {
    return error.kind == core::ErrorKind::kNotFound || core::is_errno(error, ENOENT);
}

// What a person can change, and the rest of the volume need not wait for.
bool is_refusal(const core::Error& error) {
    for (const int value : {EPERM, EACCES, EBUSY, EROFS})
        if (core::errno_of(error) == value) return true;
    return false;
}

}  // namespace

InPlaceCopy::InPlaceCopy(const InPlaceVolumes& volumes, Journal& journal, const HardLinks& links,
                         const InPlaceOptions& options, Problems& problems, Progress& progress)
    : volumes_(volumes),
      journal_(journal),
      links_(links),
      options_(options),
      problems_(problems),
      progress_(progress),
      copier_(volumes.from, volumes.to, progress, stop_) {}

Outcome<InPlaceCounts> InPlaceCopy::run() {
    progress_.begin(Phase::kCopy);
    make_directories();
    if (!stop_.stopped()) record_directories();
    for (const Problem& problem : problems_.all()) told_.insert(problem.path);
    for (const Directory& directory : directories_) {
        if (stop_.stopped()) break;
        convert_files(directory);
    }
    if (!stop_.stopped()) commit();
    if (!stop_.stopped()) finish_directories();
    if (!stop_.stopped()) remove_directories();
    if (!stop_.stopped()) (void)sync();
    counts_.verified_bytes = compared_bytes_;
    if (stop_.stopped()) return std::unexpected(stop_.outcome().error());
    return counts_;
}

void InPlaceCopy::stop(const std::string& path, const core::Error& error) {
    const std::string what = path.empty() ? "the root" : path;
    if (is_full(error)) {
        stop_.because({FailureKind::kOther,
                       "the disk is full (at " + what +
                           "); nothing is lost: make room, and run the same again to go on"});
        return;
    }
    stop_.because({FailureKind::kOther, what + " cannot be converted (" + words_of(error) +
                                            "); nothing is lost: run the same again to go on"});
}

bool InPlaceCopy::sync() {
    const auto synced = volumes_.lower.syncfs(volumes_.root);
    if (!synced) stop("", {core::ErrorKind::kLower, synced.error().value});
    return synced.has_value();
}

// ---- files ----

void InPlaceCopy::convert_files(const Directory& directory) {
    // All names first: removing some while they are listed could hide others.
    std::vector<std::string> names;
    const auto listed = volumes_.from.list(directory.old->id(), 0, core::ListMode::kNames,
                                           [&names](const core::ListedEntry& entry) {
                                               if (entry.name != "." && entry.name != "..")
                                                   names.emplace_back(entry.name);
                                               return true;
                                           });
    (void)volumes_.left_out.take();  // told before
    if (!listed) {
        if (!told_.contains(directory.path))
            problems_.add(ProblemKind::kContents, directory.path, words_of(listed.error()));
        return;
    }
    for (const std::string& name : names) {
        if (stop_.stopped()) return;
        const std::string path = join(directory.path, name);
        auto found = find(volumes_.from, directory.old->id(), name);
        if (!found) {
            if (!is_missing(found.error()) && !told_.contains(path))
                problems_.add(ProblemKind::kContents, path, words_of(found.error()));
            continue;
        }
        if (S_ISDIR(found->attr.st_mode)) continue;
        std::vector<std::string> paths{path};
        if (found->attr.st_nlink > 1) {
            if (links_.is_later_name(found->attr.st_ino, path)) continue;
            const auto group = links_.groups().find(found->attr.st_ino);
            if (group != links_.groups().end() && group->second.front() == path)
                paths = group->second;
        }
        convert({directory, std::move(found->node), found->attr, std::move(paths)});
    }
}

void InPlaceCopy::convert(const Item& item) {
    progress_.files += item.paths.size();
    if (is_there(item)) {
        if (options_.compare != Compare::kNo && !compare(item)) return;
        counts_.skipped_files += item.paths.size();
        progress_.skipped += item.paths.size();
        progress_.bytes += static_cast<std::uint64_t>(item.attr.st_size);
    } else {
        Made made = make(item);
        if (made == Made::kFull && !going_.empty()) {
            // What waits to be removed may be all the room that is wanted.
            commit();
            if (stop_.stopped() || !sync()) return;
            made = make(item);
        }
        if (made == Made::kFull) stop(item.paths.front(), {core::ErrorKind::kLower, ENOSPC});
        if (made != Made::kYes) return;
        counts_.copied_files += item.paths.size();
        done_.push_back(done_record(item.attr));
    }
    going_.insert(going_.end(), item.paths.begin(), item.paths.end());
    if (S_ISREG(item.attr.st_mode))
        going_bytes_ +=
            std::min<std::uint64_t>(static_cast<std::uint64_t>(item.attr.st_size),
                                    static_cast<std::uint64_t>(item.attr.st_blocks) * 512);
    if (going_.size() >= options_.commit_files || going_bytes_ >= options_.commit_bytes) commit();
}

bool InPlaceCopy::is_there(const Item& item) {
    const bool recorded = journal_.is_done(item.attr);
    const auto same_time = [&item](const struct stat& made) {
        return made.st_mtim.tv_sec == item.attr.st_mtim.tv_sec &&
               made.st_mtim.tv_nsec == item.attr.st_mtim.tv_nsec;
    };
    ino_t ino = 0;  // a node's number is given back with it
    for (const std::string& path : item.paths) {
        const auto there = find_path(volumes_.to, path);
        if (!there || (there->attr.st_mode & S_IFMT) != (item.attr.st_mode & S_IFMT)) return false;
        if (S_ISREG(item.attr.st_mode) && there->attr.st_size != item.attr.st_size) return false;
        // It has more names than the old one: some of those are removed, so that it was recorded,
        // under another inode number (not all lower file systems keep them).
        const bool outlived = there->attr.st_nlink > item.paths.size() && same_time(there->attr);
        if (!recorded && !outlived) return false;
        if (ino != 0 && there->attr.st_ino != ino) return false;
        ino = there->attr.st_ino;
    }
    return true;
}

InPlaceCopy::Made InPlaceCopy::make(const Item& item) {
    if (auto r = clear(item.paths); !r) {
        stop(item.paths.front(), r.error());
        return Made::kFailed;
    }
    Problems own;
    const std::string& path = item.paths.front();
    const std::string name(split(path).second);
    const auto copied = copier_.copy(item.old.id(), item.attr, item.directory.made->id(), name,
                                     Fresh::kNo, {own, path});
    if (!copied) return tell(copied.error(), item);
    if (own.count() > 0) {
        leave(item, own.all());
        return Made::kLeft;
    }
    if (auto linked = link_others(item); !linked) {
        if (auto r = clear(item.paths); !r) stop(path, r.error());
        if (is_full(linked.error())) return Made::kFull;
        stop(path, linked.error());
        return Made::kFailed;
    }
    if (options_.compare != Compare::kNo && !compare(item)) return Made::kLeft;
    return Made::kYes;
}

InPlaceCopy::Made InPlaceCopy::tell(const CopyError& error, const Item& item) {
    const std::string& path = item.paths.front();
    switch (error.side) {
        case CopyError::Side::kOld:
            leave(item, {{ProblemKind::kContents, path, words_of(error.error)}});
            return Made::kLeft;
        case CopyError::Side::kKind:
            leave(item, {{ProblemKind::kAttribute, path,
                          "this kind of file cannot be made here: " + words_of(error.error)}});
            return Made::kLeft;
        case CopyError::Side::kNew:
            if (is_full(error.error)) return Made::kFull;
            stop(path, error.error);
            return Made::kFailed;
    }
    return Made::kFailed;
}

core::Result<void> InPlaceCopy::link_others(const Item& item) {
    if (item.paths.size() == 1) return {};
    const auto first = find_path(volumes_.to, item.paths.front());
    if (!first) return std::unexpected(first.error());
    for (const std::string& path : item.paths | std::views::drop(1)) {
        const auto [directory, name] = split(path);
        const auto up = find_path(volumes_.to, directory);
        if (!up) return std::unexpected(up.error());
        const auto made = volumes_.to.link(first->node.id(), up->node.id(), name);
        if (!made) return std::unexpected(made.error());
        const NodeRef given_back(volumes_.to, made->node);
    }
    return {};
}

// False: it differs, was told, and stays in the old format.
bool InPlaceCopy::compare(const Item& item) {
    const auto made = find_path(volumes_.to, item.paths.front());
    std::vector<std::string> found;
    if (!made) {
        found.push_back("it is not in the new volume: " + words_of(made.error()));
    } else {
        const NodeCompare both(volumes_.from, volumes_.to, compared_bytes_);
        found = both.differences(item.old.id(), item.attr, made->node.id(), made->attr);
    }
    if (found.empty()) {
        counts_.verified_files += item.paths.size();
        return true;
    }
    std::vector<Problem> why;
    for (std::string& what : found) {
        ++counts_.differences;
        why.push_back({ProblemKind::kDifferent, item.paths.front(), std::move(what)});
    }
    leave(item, why);
    return false;
}

// It stays where it is, in the old format only.
void InPlaceCopy::leave(const Item& item, const std::vector<Problem>& why) {
    for (const Problem& problem : why) problems_.add(problem.kind, problem.path, problem.what);
    for (const std::string& path : item.paths | std::views::drop(1))
        problems_.add(why.front().kind, path, "it is the same file as " + item.paths.front());
    if (auto r = clear(item.paths); !r) stop(item.paths.front(), r.error());
}

core::Result<void> InPlaceCopy::clear(const std::vector<std::string>& paths) {
    for (const std::string& path : paths) {
        const auto [directory, name] = split(path);
        const auto up = find_path(volumes_.to, directory);
        if (!up) return std::unexpected(up.error());
        auto gone = volumes_.to.unlink(up->node.id(), name);
        if (!gone && !is_missing(gone.error())) return gone;
    }
    return {};
}

void InPlaceCopy::commit() {
    if (going_.empty() && done_.empty()) return;
    if (!sync()) return;
    std::vector<Record> records;
    records.swap(done_);
    if (!journal_.is_removing())
        records.push_back({.type = static_cast<std::uint32_t>(RecordType::kRemoving)});
    if (auto written = journal_.append(records); !written) {
        stop_.because(std::move(written.error()));
        return;
    }
    std::vector<std::string> names;
    names.swap(going_);
    going_bytes_ = 0;
    for (const std::string& path : names) {
        if (stop_.stopped()) return;
        remove_old(path);
    }
}

void InPlaceCopy::remove_old(const std::string& path) {
    core::Filesystem& from = volumes_.from;
    const auto [directory, name] = split(path);
    const auto up = find_path(from, directory);
    core::Result<void> gone;
    if (!up) {
        gone = std::unexpected(up.error());
    } else {
        gone = from.unlink(up->node.id(), name);
        if (!gone && core::is_errno(gone.error(), EACCES)) {
            // The owner's, but closed to him; what it was is recorded.
            core::AttrChange change;
            change.mode_set = true;
            change.mode = (up->attr.st_mode & 07777) | S_IRWXU;
            if (from.setattr(up->node.id(), change)) gone = from.unlink(up->node.id(), name);
        }
    }
    if (gone || is_missing(gone.error())) {
        ++counts_.removed_files;
    } else if (is_refusal(gone.error())) {
        problems_.add(
            ProblemKind::kContents, path,
            "it was converted, but its old file cannot be removed: " + words_of(gone.error()));
    } else {
        stop(path, gone.error());
    }
}

}  // namespace extencfs::migrate
