// SPDX-License-Identifier: Apache-2.0
#include "encfs/migrate/verify.h"

#include <algorithm>
#include <unordered_set>

#include "encfs/migrate/node_compare.h"

namespace extencfs::migrate {
namespace {

class Verification {
  public:
    Verification(const Volumes& volumes, const HardLinks& links, unsigned jobs,
                 const std::vector<Problem>& known, Problems& problems, Progress& progress)
        : volumes_(volumes), links_(links), problems_(problems), progress_(progress), pool_(jobs) {
        for (const Problem& problem : known) known_.insert(problem.path);
    }

    Verified run() {
        progress_.begin(Phase::kVerify);
        auto from = find_path(volumes_.from, "");
        auto to = find_path(volumes_.to, "");
        if (!from || !to) {
            differ("", "the root cannot be read");
        } else {
            compare({std::move(from->node), from->attr, std::move(to->node), to->attr, ""});
            waiting_.push_back({root_of(volumes_.from), root_of(volumes_.to), ""});
        }
        while (!waiting_.empty()) {
            const Directory directory = std::move(waiting_.back());
            waiting_.pop_back();
            compare_names(directory);
        }
        pool_.drain();
        verified_.bytes = bytes_;
        verified_.differences = differences_;
        return verified_;
    }

  private:
    struct Names {
        std::unordered_set<std::string> old;
        std::unordered_set<std::string> found;  // of these, by a lookup in the new volume
    };
    struct Directory {
        SharedNode old;
        SharedNode made;
        std::string path;
    };
    struct Pair {
        NodeRef old;
        struct stat attr;
        NodeRef made;
        struct stat made_attr;
        std::string path;
    };

    void differ(const std::string& path, std::string what) {
        if (known_.contains(path)) return;
        ++differences_;
        problems_.add(ProblemKind::kDifferent, path, std::move(what));
    }

    void compare(const Pair& pair) {
        const NodeCompare both(volumes_.from, volumes_.to, bytes_);
        for (std::string& what :
             both.differences(pair.old.id(), pair.attr, pair.made.id(), pair.made_attr))
            differ(pair.path, std::move(what));
    }

    void compare_names(const Directory& directory) {
        Names names;
        // What it leaves out was told by the survey.
        Listing listing(volumes_.from, directory.old->id(), directory.path, nullptr, nullptr);
        for (;;) {
            auto some = listing.next();
            (void)volumes_.left_out.take();
            if (!some) {
                differ(directory.path, "the old directory: " + words_of(some.error()));
                return;
            }
            if (some->empty()) break;
            for (Listed& one : *some) {
                std::string path = join(directory.path, one.name);
                take(directory, std::move(one), std::move(path), names);
            }
        }
        find_others(directory, names);
    }

    void take(const Directory& directory, Listed one, std::string path, Names& names) {
        names.old.insert(one.name);
        auto made = find(volumes_.to, directory.made->id(), one.name);
        const bool is_directory = S_ISDIR(one.attr.st_mode);
        ++(is_directory ? verified_.directories : verified_.files);
        if (!is_directory) ++progress_.files;
        if (!made) {
            differ(path, "it is not in the new volume: " + words_of(made.error()));
            return;
        }
        names.found.insert(one.name);
        const auto group = links_.groups().find(one.attr.st_ino);
        if (!is_directory && group != links_.groups().end()) {
            const auto first = find_path(volumes_.to, group->second.front());
            if (!first || first->node.id() != made->node.id())
                differ(path, "it is not the same file as " + group->second.front());
            if (links_.is_later_name(one.attr.st_ino, path)) return;
        }
        Pair pair{std::move(one.node), one.attr, std::move(made->node), made->attr, path};
        if (!is_directory) {
            pool_.put([this, held = std::move(pair)] {
                compare(held);
                progress_.bytes = bytes_.load();
            });
            return;
        }
        compare(pair);
        if (!S_ISDIR(pair.made_attr.st_mode)) return;
        waiting_.push_back({std::make_shared<const NodeRef>(std::move(pair.old)),
                            std::make_shared<const NodeRef>(std::move(pair.made)),
                            std::move(path)});
    }

    // A lookup finds what a listing does not show where a long name lost what it is kept in.
    void find_others(const Directory& directory, Names& names) {
        Listing listing(volumes_.to, directory.made->id(), directory.path, &problems_, nullptr);
        for (;;) {
            auto some = listing.next();
            if (!some) {
                differ(directory.path, "the new directory: " + words_of(some.error()));
                return;
            }
            if (some->empty()) break;
            for (const Listed& one : *some) {
                names.found.erase(one.name);
                if (!names.old.contains(one.name))
                    differ(join(directory.path, one.name), "it is in the new volume only");
            }
        }
        for (const std::string& name : names.found)
            differ(join(directory.path, name), "it is not listed in the new volume");
    }

    const Volumes& volumes_;
    const HardLinks& links_;
    Problems& problems_;
    Progress& progress_;
    std::unordered_set<std::string> known_;
    Verified verified_;
    std::atomic<std::uint64_t> bytes_{0};
    std::atomic<std::uint64_t> differences_{0};
    std::vector<Directory> waiting_;
    WorkPool pool_;
};

}  // namespace

Verified verify(const Volumes& volumes, const HardLinks& links, unsigned jobs,
                const std::vector<Problem>& known, Problems& problems, Progress& progress) {
    return Verification(volumes, links, jobs, known, problems, progress).run();
}

}  // namespace extencfs::migrate
