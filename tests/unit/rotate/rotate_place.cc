// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/rotate/rotate_place.h"

#include <sys/xattr.h>

#include <set>

#include "encfs/core/online_rotation.h"
#include "encfs/rotate/beside_mount.h"
#include "encfs/volume/geometry.h"

namespace extencfs::test {
namespace {

using core::Filesystem;
using core::NodeId;

std::string text_for(std::size_t size, unsigned seed) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) {
        text[i] = static_cast<char>('a' + (i * 7 + i / 97 + seed) % 26);
    }
    return text;
}

class Builder {
  public:
    explicit Builder(Filesystem& fs) : fs_(fs) {}
    ~Builder() {
        for (const auto& [node, count] : held_) fs_.forget(node, count);
    }

    NodeId dir(NodeId parent, const std::string& name, mode_t mode) {
        return keep(fs_.mkdir(parent, name, mode, {}));
    }
    NodeId file(NodeId parent, const std::string& name, const std::string& text,
                std::uint64_t at = 0, mode_t mode = 0640) {
        const NodeId node = keep(fs_.create(parent, name, mode, {}));
        put(node, text, at);
        return node;
    }
    void put(NodeId node, const std::string& text, std::uint64_t at) {
        if (text.empty()) return;
        REQUIRE(fs_.write(node, at, bytes_of(text), core::WriteSource::kCaller, {}));
    }
    NodeId link(NodeId node, NodeId parent, const std::string& name) {
        return keep(fs_.link(node, parent, name));
    }
    NodeId symlink(NodeId parent, const std::string& name, const std::string& target) {
        return keep(fs_.symlink(parent, name, target, {}));
    }
    void attribute(NodeId node, const std::string& name, const std::string& value) {
        REQUIRE(fs_.set_xattr(node, name, bytes_of(value), 0));
    }
    void times(NodeId node, time_t seconds) {
        core::AttrChange change;
        change.atime_set = change.mtime_set = true;
        change.atime = {seconds + 1, 123'456'789};
        change.mtime = {seconds, 987'654'321};
        REQUIRE(fs_.setattr(node, change));
    }
    Filesystem& fs() { return fs_; }

  private:
    NodeId keep(const core::Result<core::Entry>& made) {
        REQUIRE(made);
        ++held_[made->node];
        return made->node;
    }
    Filesystem& fs_;
    std::map<NodeId, std::uint64_t> held_;
};

void fill_with_everything(Filesystem& fs) {
    Builder in(fs);
    const std::string long_name(200, 'n');
    const NodeId docs = in.dir(core::kRootNode, "docs", 0750);
    in.attribute(docs, "user.colour", "blue");
    const NodeId deep = in.dir(docs, long_name, 0700);
    in.dir(core::kRootNode, "nothing in it", 0711);
    const NodeId inner = in.file(deep, "inner", text_for(100, 1));
    in.file(core::kRootNode, "empty", "");
    in.file(docs, long_name + "f", text_for(4000, 2), 0, 0400);
    in.file(docs, "a page and a byte", text_for(4001, 3));
    const NodeId shared = in.file(docs, "shared", text_for(10'000, 4));
    in.link(shared, deep, "shared too");
    in.attribute(shared, "user.one", "first");
    in.attribute(shared, "user.two", std::string(300, 'x'));
    const NodeId sparse = in.file(core::kRootNode, "sparse", text_for(5000, 5));
    in.put(sparse, text_for(5000, 6), std::uint64_t{3} << 20);
    const NodeId link = in.symlink(docs, "link", "../sparse");
    in.link(link, core::kRootNode, "same link");
    const NodeId far = in.symlink(deep, "far", text_for(3500, 7));
    REQUIRE(fs.mknod(docs, "fifo", S_IFIFO | 0600, 0, {}));
    in.times(inner, 1'000'000'000);
    in.times(shared, 1'100'000'000);
    in.times(sparse, 1'150'000'000);
    in.times(link, 1'200'000'000);
    in.times(far, 1'250'000'000);
    in.times(deep, 1'300'000'000);
    in.times(docs, 1'400'000'000);
    in.times(core::kRootNode, 1'500'000'000);
}

class Seer {
  public:
    Seer(Filesystem& fs, Compare compare) : fs_(fs), compare_(compare) {}

    Upper run() {
        const auto root = fs_.getattr(core::kRootNode);
        REQUIRE(root);
        add("/", *root, "");
        directory(core::kRootNode, "");
        return std::move(seen_);
    }

  private:
    void directory(NodeId node, const std::string& path) {
        std::set<std::string> names;
        auto listed =
            fs_.list(node, 0, core::ListMode::kNames, [&](const core::ListedEntry& entry) {
                if (entry.name != "." && entry.name != "..") names.emplace(entry.name);
                return true;
            });
        if (!listed) {
            seen_[path] += " UNLISTED";
            return;
        }
        for (const std::string& name : names) {
            const std::string where = path.empty() ? name : path + "/" + name;
            const auto found = fs_.lookup(node, name);
            if (!found) {
                seen_[where] = "UNREADABLE";
                continue;
            }
            const mode_t mode = found->attr.st_mode;
            std::string more;
            if (S_ISREG(mode)) more = contents(found->node, found->attr.st_size);
            if (S_ISLNK(mode)) {
                const auto target = fs_.readlink(found->node);
                more = target ? *target : "UNREADABLE";
            } else {
                more += attributes(found->node);
            }
            add(where, found->attr, more);
            if (S_ISDIR(mode)) directory(found->node, where);
            fs_.forget(found->node, 1);
        }
    }

    void add(const std::string& path, const struct stat& is, const std::string& more) {
        const auto first = first_of_.emplace(is.st_ino, path).first->second;
        std::string text = std::to_string(is.st_mode) + " " + std::to_string(is.st_uid) + " " +
                           std::to_string(S_ISDIR(is.st_mode) ? 0 : is.st_nlink) + " as " + first;
        if (compare_ != Compare::kNoTimes) {
            text += " " + of(is.st_mtim);
            // Reading a symlink moves its access time.
            if (compare_ == Compare::kAccessTimesToo && !S_ISLNK(is.st_mode))
                text += " " + of(is.st_atim);
            if (S_ISREG(is.st_mode)) text += " " + std::to_string(is.st_blocks) + " blocks";
        }
        seen_[path] = text + " " + more;
    }

    static std::string of(const struct timespec& time) {
        return std::to_string(time.tv_sec) + "." + std::to_string(time.tv_nsec);
    }

    std::string contents(NodeId node, off_t size) {
        std::string text;
        core::IoBuffer buffer;
        for (std::uint64_t at = 0; at < static_cast<std::uint64_t>(size);) {
            const auto n = std::min<std::uint64_t>(65536, static_cast<std::uint64_t>(size) - at);
            const auto got = fs_.read(node, at, n, buffer);
            if (!got || got->size() != n) return "UNREADABLE at " + std::to_string(at);
            text += text_of(*got);
            at += n;
        }
        // Long ones by a hash: they are compared, not shown.
        const auto hash = std::hash<std::string>{}(text);
        return std::to_string(size) + " bytes " + std::to_string(hash);
    }

    std::string attributes(NodeId node) {
        std::string text;
        const auto names = fs_.list_xattr(node);
        if (!names) return " NO ATTRIBUTES";
        for (const std::string& name : std::set(names->begin(), names->end())) {
            const auto value = fs_.get_xattr(node, name);
            text += " " + name + "=" + (value ? std::string(text_of(*value)) : "UNREADABLE");
        }
        return text;
    }

    Filesystem& fs_;
    Compare compare_;
    Upper seen_;
    std::map<std::uint64_t, std::string> first_of_;
};

}  // namespace

std::string difference(const Upper& now, const Upper& before) {
    std::string all;
    for (const auto& [path, what] : before) {
        const auto found = now.find(path);
        if (found == now.end()) {
            all += path + " is gone\n";
        } else if (found->second != what) {
            all += path + "\n  was " + what + "\n  is  " + found->second + "\n";
        }
    }
    for (const auto& [path, what] : now) {
        if (!before.contains(path)) all += path + " is new: " + what + "\n";
    }
    return all;
}

daemon::Outcome<std::unique_ptr<volume::VolumeKeys>> RotatePlace::derived(
    std::string_view password, daemon::InRotation rotation) const {
    const auto fs = lower::make_posix_lower_fs();
    const auto disk = daemon::VolumeOnDisk::open(*fs, path());
    if (!disk) return std::unexpected(disk.error());
    const auto copies = disk->read_config();
    if (!copies) return std::unexpected(copies.error());
    const auto unlocked = daemon::VolumeOnDisk::unlock(*copies, bytes_of(password), rotation);
    if (!unlocked) return std::unexpected(unlocked.error());
    auto keys = volume::VolumeKeys::derive(unlocked->config, unlocked->volume_key.bytes());
    REQUIRE(keys);
    return std::move(*keys);
}

std::unique_ptr<Filesystem> RotatePlace::open(lower::LowerFs& lower,
                                              std::shared_ptr<core::MetadataSink> sink,
                                              std::string_view password) const {
    auto keys = derived(password);
    REQUIRE(keys);
    lower::Fd root(::open(path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    REQUIRE(root);
    core::Options options;
    options.trust_hints = true;
    options.sink = std::move(sink);
    auto fs = Filesystem::open(std::make_unique<core::BorrowedLower>(lower), std::move(root),
                               core::format1(std::move(*keys)), std::move(options));
    REQUIRE(fs);
    return std::move(*fs);
}

void RotatePlace::with(const std::function<void(Filesystem&)>& act,
                       std::string_view password) const {
    const auto lower = lower::make_posix_lower_fs();
    const auto fs = open(*lower, nullptr, password);
    act(*fs);
    CHECK(fs->finish());
}

void RotatePlace::fill() const {
    with(fill_with_everything);
    write_file(path(volume::kStateName), "clean\n");
    // What the file system's end and that file did to the root.
    const struct timespec times[2] = {{1'500'000'001, 5}, {1'500'000'000, 7}};
    REQUIRE(::utimensat(AT_FDCWD, path().c_str(), times, 0) == 0);
}

Upper RotatePlace::look(Compare compare, std::string_view password) const {
    Upper seen;
    with([&](Filesystem& fs) { seen = seen_in(fs, compare); }, password);
    return seen;
}

Upper seen_in(Filesystem& fs, Compare compare) {
    return Seer(fs, compare).run();
}

std::optional<daemon::Failure> rotate_keys(lower::LowerFs& fs, const std::string& path,
                                           rotate::Damages* damages, std::string_view password,
                                           unsigned jobs) {
    rotate::Damages found;
    rotate::Damages& told = damages != nullptr ? *damages : found;
    rotate::Progress progress;
    auto rotation = rotate::Rotation::open(fs, path);
    if (!rotation) return rotation.error();
    const volume::OpeningSecret secret(bytes_of(password));
    if (auto opened = rotation->unlock(secret); !opened) return opened.error();
    if (rotation->was_begun()) {
        if (auto resumed = rotation->resume(told, progress); !resumed) return resumed.error();
    } else {
        rotate::Damages before;
        if (auto seen = rotation->survey(before, progress); !seen) return seen.error();
        if (auto begun = rotation->begin(secret, std::nullopt); !begun) return begun.error();
    }
    auto done = rotation->run(jobs, told, progress);
    if (!done) return done.error();
    return std::nullopt;
}

Rotated rotate_beside(lower::LowerFs& lower, const std::string& path, Filesystem& fs,
                      const std::function<void()>& between, bool leave_damaged) {
    const auto disk = daemon::VolumeOnDisk::open(lower, path);
    REQUIRE(disk);
    rotate::BesideMount rotation(*disk, fs);
    const volume::OpeningSecret secret(bytes_of("right"));
    if (auto opened = rotation.unlock(secret); !opened) return {opened.error()};
    core::RotationRun run;
    run.leave_damaged = leave_damaged;
    if (rotation.was_begun()) {
        if (auto resumed = rotation.resume(); !resumed) return {resumed.error()};
    } else {
        if (auto seen = rotation.survey(run); !seen) return {seen.error()};
        if (run.damaged != 0 && !leave_damaged)
            return {daemon::Failure{daemon::FailureKind::kDamage, "damaged"}, run.damaged};
        run.damaged = 0;
        if (auto begun = rotation.begin(secret, std::nullopt); !begun) return {begun.error()};
    }
    if (between) between();
    if (auto done = rotation.run(run); !done) return {done.error(), run.damaged};
    return {std::nullopt, run.damaged};
}

bool end_rotation(const RotatePlace& place, const volume::VolumeKeys& old_keys) {
    const auto keys = place.derived("right", daemon::InRotation::kAllowed);
    INFO((keys ? "opens" : keys.error().sentence));
    REQUIRE(keys);
    // Not begun, under way, or over.
    const bool one = (*keys)->generations().size() == 1;
    if (!one || (*keys)->current().number == old_keys.current().number) {
        const auto real = lower::make_posix_lower_fs();
        rotate::Damages damages;
        const auto failed = rotate_keys(*real, place.path(), &damages);
        INFO((failed ? failed->sentence : "done"));
        REQUIRE(!failed);
        CHECK(damages.count() == 0);
    }
    return one;
}

}  // namespace extencfs::test
