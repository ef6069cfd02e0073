// SPDX-License-Identifier: Apache-2.0
// The directories of a migration in place: made before all files, and finished after them.
#include <cerrno>
#include <ranges>

#include "encfs/migrate/directory_copy.h"
#include "encfs/migrate/in_place_copy.h"
#include "encfs/migrate/node_compare.h"

namespace extencfs::migrate {
namespace {

constexpr const char* kDefaultAcl = "system.posix_acl_default";

}  // namespace

void InPlaceCopy::make_directories() {
    auto root = find_path(volumes_.from, "");
    if (!root) {
        stop("", root.error());
        return;
    }
    // What is made must not inherit what only the end may set.
    (void)volumes_.to.remove_xattr(core::kRootNode, kDefaultAcl);
    std::size_t durable_depth = 0;
    directories_.push_back(
        {root_of(volumes_.from), root_of(volumes_.to), 0, 0, "", "", root->attr});
    for (std::size_t i = 0; i < directories_.size() && !stop_.stopped(); ++i) {
        // Nothing is made in one that a power cut could take the id from, or the long name.
        if (directories_[i].depth > durable_depth) {
            durable_depth = directories_[i].depth;
            if (!sync()) return;
        }
        Listing listing(volumes_.from, directories_[i].old->id(), directories_[i].path, &problems_,
                        &volumes_.left_out);
        for (;;) {
            auto some = listing.next();
            if (!some)
                problems_.add(ProblemKind::kContents, directories_[i].path, words_of(some.error()));
            if (!some || some->empty()) break;
            for (Listed& one : *some) {
                if (S_ISDIR(one.attr.st_mode) && !stop_.stopped())
                    make_directory(i, std::move(one));
            }
        }
    }
}

void InPlaceCopy::make_directory(std::size_t parent, Listed one) {
    std::string path = join(directories_[parent].path, one.name);
    auto made = make_directory_again(volumes_.to, directories_[parent].made->id(), one.name);
    if (!made) {
        stop(path, made.error());
        return;
    }
    directories_.push_back({std::make_shared<const NodeRef>(std::move(one.node)),
                            std::make_shared<const NodeRef>(std::move(made->node)), parent,
                            directories_[parent].depth + 1, std::move(one.name), std::move(path),
                            one.attr});
}

// Before anything is removed, which changes the times of directories.
void InPlaceCopy::record_directories() {
    std::vector<Record> records;
    for (Directory& directory : directories_) {
        if (const auto saved = journal_.directory(directory.attr.st_ino)) {
            directory.attr = saved->onto(directory.attr);
            continue;
        }
        for (const Record& record : directory_records(directory.attr)) records.push_back(record);
    }
    if (auto written = journal_.append(records); !written)
        stop_.because(std::move(written.error()));
}

void InPlaceCopy::finish_directories() {
    progress_.phase = Phase::kDirectories;
    // From below, as nothing may change in one whose times are set.
    for (Directory& directory : directories_ | std::views::reverse) {
        finish_directory(directory);
        if (stop_.stopped()) return;
    }
    counts_.keep_root_attributes = directories_.front().keep;
}

void InPlaceCopy::finish_directory(Directory& directory) {
    core::Filesystem& to = volumes_.to;
    const auto is = to.getattr(directory.made->id());
    if (!is) {
        stop(directory.path, is.error());
        return;
    }
    Problems own;
    const auto done =
        copier_.copy_attributes(directory.old->id(), directory.attr, directory.made->id(), *is,
                                Fresh::kNo, {own, directory.path});
    if (!done && done.error().side == CopyError::Side::kNew) {
        stop(directory.path, done.error().error);
        return;
    }
    if (!done) own.add(ProblemKind::kContents, directory.path, words_of(done.error().error));
    if (own.count() == 0 && options_.compare != Compare::kNo) {
        const auto made = to.getattr(directory.made->id());
        const NodeCompare both(volumes_.from, to, compared_bytes_);
        std::vector<std::string> found;
        if (made) {
            found =
                both.differences(directory.old->id(), directory.attr, directory.made->id(), *made);
        } else {
            found.push_back("it is not in the new volume: " + words_of(made.error()));
        }
        counts_.differences += found.size();
        for (std::string& what : found)
            own.add(ProblemKind::kDifferent, directory.path, std::move(what));
        if (found.empty() && !directory.path.empty()) ++counts_.verified_directories;
    }
    directory.keep = own.count() > 0;
    problems_.add_all(own);
}

void InPlaceCopy::remove_directories() {
    if (!sync()) return;
    if (!journal_.is_removing()) {
        const Record record{.type = static_cast<std::uint32_t>(RecordType::kRemoving)};
        if (auto written = journal_.append(std::span(&record, 1)); !written) {
            stop_.because(std::move(written.error()));
            return;
        }
    }
    for (const Directory& directory : directories_ | std::views::reverse) {
        // The root stays.
        if (directory.path.empty()) continue;
        remove_directory(directory);
        if (stop_.stopped()) return;
    }
}

void InPlaceCopy::remove_directory(const Directory& directory) {
    core::Filesystem& from = volumes_.from;
    core::Result<void> gone;
    if (!directory.keep) {
        const Directory& parent = directories_[directory.parent];
        gone = from.rmdir(parent.old->id(), directory.name);
        if (!gone && core::is_errno(gone.error(), EACCES)) {
            core::AttrChange change;
            change.mode_set = true;
            change.mode = (parent.attr.st_mode & 07777) | S_IRWXU;
            if (from.setattr(parent.old->id(), change))
                gone = from.rmdir(parent.old->id(), directory.name);
        }
        if (gone) return;
    }
    if (!gone && gone.error().kind != core::ErrorKind::kNotEmpty &&
        !core::is_errno(gone.error(), ENOTEMPTY)) {
        const int error = core::errno_of(gone.error());
        if (error != EPERM && error != EACCES && error != EBUSY) {
            stop(directory.path, gone.error());
            return;
        }
        problems_.add(
            ProblemKind::kContents, directory.path,
            "it was converted, but the old one cannot be removed: " + words_of(gone.error()));
    } else if (!gone && problems_.count() == 0) {
        problems_.add(ProblemKind::kName, directory.path,
                      "the old directory holds something that is none of the volume's");
    }
    // What is left in it was told; it shows what it showed.
    core::AttrChange change;
    change.mode_set = change.atime_set = change.mtime_set = true;
    change.mode = directory.attr.st_mode & 07777;
    change.atime = directory.attr.st_atim;
    change.mtime = directory.attr.st_mtim;
    (void)from.setattr(directory.old->id(), change);
}

}  // namespace extencfs::migrate
