// SPDX-License-Identifier: Apache-2.0
#include "encfs/core/legacy_mend.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "encfs/core/legacy_mend_parts.h"
#include "encfs/core/legacy_move.h"
#include "encfs/volume/format.h"

namespace extencfs::core {

namespace {

// In no alphabet of names, so that nothing lies there.
constexpr const char* kNowhere = "extencfs.nowhere";
// Fewer bits of a MAC say too little of which header is right.
constexpr std::size_t kLeastMac = 4;
constexpr std::uint64_t kBlocksTried = 4;

legacy::MoveTimes times_of(const struct timespec& time) {
    return {.seconds = time.tv_sec, .nanoseconds = time.tv_nsec};
}

}  // namespace

// ---- the plan ----

Result<void> LegacyMend::Planner::directory(int fd, std::uint32_t index, std::uint64_t chain,
                                            std::uint64_t other, const std::string& lower_path) {
    std::vector<std::string> names;
    auto listed = mend_.lower_.list(fd, [&](const lower::DirEntry& entry) {
        names.emplace_back(entry.name);
        return true;
    });
    if (!listed) return fail(listed.error());
    std::ranges::sort(names);
    for (const std::string& name : names)
        if (auto r = entry(fd, index, name, chain, other, lower_path); !r) return r;
    return {};
}

Result<void> LegacyMend::Planner::entry(int fd, std::uint32_t index, const std::string& entry,
                                        std::uint64_t chain, std::uint64_t other,
                                        const std::string& lower_path) {
    Named name;
    auto here = mend_.names_.decode(entry, chain);
    auto there = here ? mend_.names_.encode(here->text, other) : mend_.names_.decode(entry, other);
    if (here && there) {
        name = {.here = {entry, here->chain}, .there = *there, .wrong = false};
    } else if (!here && there && is_plausible_name(there->text)) {
        auto right = mend_.names_.encode(there->text, chain);
        if (!right) return fail(right.error());
        name = {.here = *right, .there = {entry, there->chain}, .wrong = true};
        // A file that was made since has the name: neither is touched.
        if (right->text.size() > kMostNameBytes || mend_.lower_.stat_at(fd, right->text)) {
            out_.left.push_back(lower_path + entry);
            return {};
        }
    } else {
        return {};  // somebody else's
    }
    return named(fd, index, entry, name, lower_path);
}

Result<void> LegacyMend::Planner::named(int fd, std::uint32_t index, const std::string& entry,
                                        const Named& name, const std::string& lower_path) {
    const auto is = mend_.lower_.stat_at(fd, entry);
    if (!is) return is.error().value == ENOENT ? Result<void>{} : fail(is.error());
    legacy::MoveStep step{
        .dir = index, .entry = name.here.text, .new_entry = entry, .header = {}, .new_header = {}};
    if (S_ISREG(is->st_mode) && mend_.headers_) {
        auto ours = add_header(fd, entry, name, step);
        if (!ours) return std::unexpected(ours.error());
        if (!*ours) {
            if (name.wrong) out_.left.push_back(lower_path + entry);
            return {};
        }
    }
    if (S_ISDIR(is->st_mode)) {
        auto below = mend_.lower_.open(fd, entry, O_RDONLY | O_DIRECTORY, 0);
        if (!below) {
            out_.left.push_back(lower_path + entry);
            return {};
        }
        auto& dirs = out_.plan.dirs;
        const auto child = static_cast<std::uint32_t>(dirs.size());
        const std::size_t steps = out_.plan.steps.size();
        dirs.push_back({.parent = index,
                        .entry = name.here.text,
                        .new_entry = entry,
                        .atime = times_of(is->st_atim),
                        .mtime = times_of(is->st_mtim)});
        auto planned = directory(below->get(), child, name.here.chain, name.there.chain,
                                 lower_path + entry + "/");
        if (!planned) return planned;
        if (steps == out_.plan.steps.size()) dirs.resize(child);
    }
    if (!name.wrong && step.header.empty()) return {};
    (name.wrong ? out_.wrong : out_.recoded).push_back(lower_path + entry);
    if (!step.header.empty()) ++out_.headers;
    out_.plan.steps.push_back(std::move(step));
    return {};
}

// False: the file is of neither place.
Result<bool> LegacyMend::Planner::add_header(int fd, const std::string& entry, const Named& name,
                                             legacy::MoveStep& step) {
    const auto is = mend_.lower_.stat_at(fd, entry);
    if (!is) return fail(is.error());
    if (is->st_size == 0) return true;
    const ByteVector start = mend_.start_of(fd, entry);
    if (start.size() < legacy::kFileHeaderSize) return false;
    auto here = mend_.prove(start, name.here.chain);
    auto there = mend_.prove(start, name.there.chain);
    if (!here) return std::unexpected(here.error());
    if (!there) return std::unexpected(there.error());
    if (*here == Proof::kRight) return true;
    if (*there == Proof::kWrong) return false;
    // EncFS writes the header first: where the name is of the other place, so is that.
    if (*there == Proof::kNone && !name.wrong) return true;
    const auto header = Bytes(start).first<legacy::kFileHeaderSize>();
    auto file_iv = mend_.contents_.decode_header(header, name.there.chain);
    if (!file_iv) return fail(file_iv.error());
    auto right = mend_.contents_.encode_header(*file_iv, name.here.chain);
    if (!right) return fail(right.error());
    step.header.assign(right->begin(), right->end());
    step.new_header.assign(header.begin(), header.end());
    return true;
}

// ---- what files tell ----

bool LegacyMend::proves() const {
    return headers_ && contents_.layout().mac_size >= kLeastMac;
}

ByteVector LegacyMend::start_of(int dirfd, const std::string& entry) const {
    const auto& layout = contents_.layout();
    auto file = lower_.open(dirfd, entry, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (!file) return {};
    ByteVector start(layout.header_size() + kBlocksTried * layout.block_size);
    auto got = lower_.pread(file->get(), start, 0);
    start.resize(got ? *got : 0);
    return start;
}

// Holes have no checksum.
Result<LegacyMend::Proof> LegacyMend::prove(Bytes start, std::uint64_t path_iv) const {
    const auto& layout = contents_.layout();
    if (!proves() || start.size() < legacy::kFileHeaderSize) return Proof::kNone;
    const auto file_iv = contents_.decode_header(start.first<legacy::kFileHeaderSize>(), path_iv);
    if (!file_iv) return fail(file_iv.error());
    Proof proof = Proof::kNone;
    Bytes rest = start.subspan(legacy::kFileHeaderSize);
    for (std::uint64_t block = 0; rest.size() > layout.overhead(); ++block) {
        const Bytes here = rest.first(std::min<std::size_t>(rest.size(), layout.block_size));
        rest = rest.subspan(here.size());
        ByteVector bytes(here.begin(), here.end());
        auto state = contents_.decode_block(block, *file_iv, bytes);
        if (!state) return fail(state.error());
        if (*state == legacy::BlockState::kGood) return Proof::kRight;
        if (*state == legacy::BlockState::kDamaged) proof = Proof::kWrong;
    }
    return proof;
}

// ---- finding and mending ----

Result<std::vector<HalfRenamed>> LegacyMend::find(const std::vector<std::string>& hints) {
    std::vector<HalfRenamed> all;
    if (!chained_) return all;
    Search search(*this);
    if (auto r = search.survey(); !r) return std::unexpected(r.error());
    Search::Match match;
    while (search.next(hints, match)) {
        HalfRenamed found;
        auto path = search.path(match.dir);
        for (const std::string& part : path) found.lower += (found.lower.empty() ? "" : "/") + part;
        found.plain = search.plain_path(match.dir);
        lower::Fd held;
        int dirfd = rootfd_;
        for (const std::string& part : path) {
            auto fd = lower_.open(dirfd, part, O_RDONLY | O_DIRECTORY, 0);
            if (!fd) return fail(fd.error());
            held = std::move(*fd);
            dirfd = held.get();
        }
        const auto is = lower_.stat(dirfd);
        if (!is) return fail(is.error());
        found.plan.entry = path.back();
        found.plan.new_entry = kNowhere;
        path.pop_back();
        found.plan.path = found.plan.new_path = path;
        found.plan.dirs = {{},
                           {.parent = 0,
                            .entry = found.plan.entry,
                            .new_entry = kNowhere,
                            .atime = times_of(is->st_atim),
                            .mtime = times_of(is->st_mtim)}};
        Planner planner(*this, found);
        auto planned = planner.directory(dirfd, 1, search.dir(match.dir).chain, match.chain,
                                         found.lower + "/");
        if (!planned) return std::unexpected(planned.error());
        std::vector<std::string> settled = found.wrong;
        for (const auto* more : {&found.recoded, &found.left})
            settled.insert(settled.end(), more->begin(), more->end());
        all.push_back(std::move(found));
        // The tree changes under us.
        if (!search.settle(settled)) break;
    }
    return all;
}

Result<void> LegacyMend::mend(const HalfRenamed& directory) {
    if (directory.plan.steps.empty()) return {};
    const auto root = lower_.stat(rootfd_);
    if (!root) return fail(root.error());
    if (auto r = write_move_journal(lower_, rootfd_, directory.plan, *key_); !r) return r;
    auto done = recover_move(lower_, rootfd_, *key_);
    if (!done) return std::unexpected(done.error());
    // Nobody above changed the root.
    const struct timespec times[2] = {root->st_atim, root->st_mtim};
    if (auto r = lower_.utimens(rootfd_, times); !r) return fail(r.error());
    return {};
}

}  // namespace extencfs::core
