// SPDX-License-Identifier: Apache-2.0
#include "encfs/migrate/tree_copy.h"

#include <cerrno>
#include <ranges>

#include "encfs/migrate/directory_copy.h"

namespace extencfs::migrate {
namespace {

using daemon::fail;
using daemon::FailureKind;

constexpr const char* kDefaultAcl = "system.posix_acl_default";

std::unexpected<daemon::Failure> cannot_write(const std::string& path, const core::Error& error) {
    const int number = core::errno_of(error);
    if (number == ENOSPC || number == EDQUOT) {
        return fail(FailureKind::kOther, "the new volume is full (", daemon::errno_text(number),
                    "); nothing is lost: make room, and run the same again to go on");
    }
    return fail(FailureKind::kOther, path.empty() ? "the root" : path,
                " cannot be written in the new volume (", words_of(error),
                "); nothing is lost: run the same again to go on");
}

}  // namespace

TreeCopy::TreeCopy(const Volumes& volumes, Journal& journal, const HardLinks& links, Fresh fresh,
                   const CopyOptions& options, Problems& problems, Progress& progress)
    : volumes_(volumes),
      journal_(journal),
      links_(links),
      fresh_(fresh),
      options_(options),
      problems_(problems),
      progress_(progress),
      copier_(volumes.from, volumes.to, progress, stop_),
      pool_(options.jobs) {}

Outcome<void> TreeCopy::run() {
    progress_.begin(Phase::kCopy);
    auto root = find_path(volumes_.from, "");
    if (!root) {
        return fail(FailureKind::kOther, "the old volume's root cannot be read (",
                    words_of(root.error()), "); check the disk");
    }
    // What is made must not inherit what only the end may set.
    (void)volumes_.to.remove_xattr(core::kRootNode, kDefaultAcl);
    waiting_.push_back({root_of(volumes_.from), root_of(volumes_.to), root->attr, ""});
    std::size_t durable_depth = 0;
    while (!waiting_.empty() && !stop_.stopped()) {
        Directory directory = std::move(waiting_.front());
        waiting_.pop_front();
        // Nothing is made in one that a power cut could take the id from, or the long name.
        if (directory.depth > durable_depth) {
            durable_depth = directory.depth;
            if (auto synced = sync(); !synced) {
                stop_.because(std::move(synced.error()));
                break;
            }
        }
        if (auto done = copy_directory(directory); !done)
            problems_.add(ProblemKind::kContents, directory.path, words_of(done.error()));
        seen_.push_back(std::move(directory));
    }
    pool_.drain([this] { commit_if_due(); });
    if (!stop_.stopped()) copy_links();
    // Also after a failure: what is done need not be done again.
    commit();
    if (!stop_.stopped()) finish_directories();
    if (stop_.stopped()) return stop_.outcome();
    if (auto synced = sync(); !synced) return synced;
    return journal_.complete(problems_.count());
}

core::Result<void> TreeCopy::copy_directory(const Directory& directory) {
    Listing listing(volumes_.from, directory.old->id(), directory.path, &problems_,
                    &volumes_.left_out);
    while (!stop_.stopped()) {
        auto some = listing.next();
        if (!some) return std::unexpected(some.error());
        if (some->empty()) break;
        for (Listed& one : *some) {
            if (stop_.stopped()) break;
            std::string path = join(directory.path, one.name);
            if (S_ISDIR(one.attr.st_mode)) {
                take_directory(directory, std::move(one), std::move(path));
                continue;
            }
            if (one.attr.st_nlink > 1 && links_.is_later_name(one.attr.st_ino, path)) continue;
            if (fresh_ == Fresh::kNo && is_there(directory.made->id(), one)) {
                ++progress_.files;
                ++progress_.skipped;
                progress_.bytes += static_cast<std::uint64_t>(one.attr.st_size);
                continue;
            }
            File file{std::move(one.node), one.attr, directory.made, std::move(one.name),
                      std::move(path)};
            pool_.put([this, held = std::move(file)] { copy_file(held); },
                      [this] { commit_if_due(); });
        }
    }
    return {};
}

void TreeCopy::take_directory(const Directory& parent, Listed one, std::string path) {
    auto made = fresh_ == Fresh::kNo
                    ? make_directory_again(volumes_.to, parent.made->id(), one.name)
                    : make_directory(volumes_.to, parent.made->id(), one.name);
    if (!made) {
        auto failure = cannot_write(path, made.error());
        stop_.because(std::move(failure.error()));
        return;
    }
    waiting_.push_back({std::make_shared<const NodeRef>(std::move(one.node)),
                        std::make_shared<const NodeRef>(std::move(made->node)), one.attr,
                        std::move(path), parent.depth + 1});
}

bool TreeCopy::is_there(core::NodeId directory, const Listed& one) {
    if (!journal_.is_done(one.attr)) return false;
    const auto there = find(volumes_.to, directory, one.name);
    return there && (there->attr.st_mode & S_IFMT) == (one.attr.st_mode & S_IFMT) &&
           (!S_ISREG(one.attr.st_mode) || there->attr.st_size == one.attr.st_size);
}

core::Result<void> TreeCopy::clear(core::NodeId directory, std::string_view name) {
    auto r = volumes_.to.unlink(directory, name);
    if (!r && (r.error().kind == core::ErrorKind::kNotFound || core::is_errno(r.error(), ENOENT)))
        return {};
    return r;
}

void TreeCopy::copy_file(const File& file) {
    if (stop_.stopped()) return;
    if (fresh_ == Fresh::kNo) {
        if (auto r = clear(file.directory->id(), file.name); !r) {
            stop_.because(cannot_write(file.path, r.error()).error());
            return;
        }
    }
    Problems own;
    const auto done = copier_.copy(file.old.id(), file.attr, file.directory->id(), file.name,
                                   fresh_, {own, file.path});
    ++progress_.files;
    problems_.add_all(own);
    if (!done) {
        tell(done.error(), file.path);
        return;
    }
    // What was told of is made again, and told again, by the next run.
    if (own.count() > 0) return;
    const std::lock_guard lock(mutex_);
    done_.push_back(done_record(file.attr));
}

void TreeCopy::tell(const CopyError& error, const std::string& path) {
    switch (error.side) {
        case CopyError::Side::kOld:
            problems_.add(ProblemKind::kContents, path, words_of(error.error));
            break;
        case CopyError::Side::kKind:
            problems_.add(ProblemKind::kAttribute, path,
                          "this kind of file cannot be made here: " + words_of(error.error));
            break;
        case CopyError::Side::kNew:
            stop_.because(cannot_write(path, error.error).error());
            break;
    }
}

void TreeCopy::copy_links() {
    progress_.phase = Phase::kLinks;
    for (const auto& [ino, paths] : links_.groups()) {
        if (stop_.stopped()) return;
        const auto first = find_path(volumes_.to, paths.front());
        for (const std::string& path : paths | std::views::drop(1)) {
            ++progress_.files;
            if (first) {
                copy_link(first->node.id(), path);
            } else {
                // Its first name was told with the reason.
                problems_.add(ProblemKind::kContents, path,
                              "it is the same file as " + paths.front());
            }
        }
    }
}

void TreeCopy::copy_link(core::NodeId first, const std::string& path) {
    core::Filesystem& to = volumes_.to;
    const auto [directory, name] = split(path);
    auto up = find_path(to, directory);
    if (!up) {
        stop_.because(cannot_write(path, up.error()).error());
        return;
    }
    if (fresh_ == Fresh::kNo) {
        const auto there = find(to, up->node.id(), name);
        if (there && there->node.id() == first) return;
        if (auto r = clear(up->node.id(), name); !r) {
            stop_.because(cannot_write(path, r.error()).error());
            return;
        }
    }
    auto made = to.link(first, up->node.id(), name);
    if (!made) {
        stop_.because(cannot_write(path, made.error()).error());
        return;
    }
    const NodeRef given_back(to, made->node);
}

void TreeCopy::finish_directories() {
    progress_.phase = Phase::kDirectories;
    // From below, as nothing may change in one whose times are set.
    for (; !seen_.empty(); seen_.pop_back()) {
        const Directory& directory = seen_.back();
        const auto is = volumes_.to.getattr(directory.made->id());
        if (!is) {
            stop_.because(cannot_write(directory.path, is.error()).error());
            return;
        }
        const auto done =
            copier_.copy_attributes(directory.old->id(), directory.attr, directory.made->id(), *is,
                                    Fresh::kNo, {problems_, directory.path});
        if (!done) {
            tell(done.error(), directory.path);
            if (stop_.stopped()) return;
        }
    }
}

void TreeCopy::commit_if_due() {
    {
        const std::lock_guard lock(mutex_);
        if (done_.empty()) return;
        const auto since = std::chrono::steady_clock::now() - committed_;
        if (done_.size() < options_.commit_files && since < options_.commit_every) return;
    }
    commit();
}

void TreeCopy::commit() {
    std::vector<Record> records;
    {
        const std::lock_guard lock(mutex_);
        records.swap(done_);
    }
    committed_ = std::chrono::steady_clock::now();
    if (records.empty()) return;
    auto done = sync();
    if (done) done = journal_.append(records);
    if (!done) stop_.because(std::move(done.error()));
    committed_ = std::chrono::steady_clock::now();
}

Outcome<void> TreeCopy::sync() {
    const auto synced = volumes_.to_lower.syncfs(volumes_.to_root);
    if (synced) return {};
    return fail(FailureKind::kOther, "the new volume cannot be synced (",
                daemon::errno_text(synced.error().value),
                "); nothing is lost: check the disk, and run the same again to go on");
}

}  // namespace extencfs::migrate
