// SPDX-License-Identifier: Apache-2.0
#include "encfs/core/legacy_move.h"

#include <dirent.h>
#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace extencfs::core {

namespace {

legacy::MoveTimes times_of(const struct timespec& time) {
    return {.seconds = time.tv_sec, .nanoseconds = time.tv_nsec};
}

// Nobody looks: the volume is not mounted yet.
class NoObserver final : public MoveObserver {
  public:
    lower::Result<void> name(std::size_t, MoveDirection, const Act& act) override {
        auto done = act();
        // Somebody has used that name since: both files stay, 'extencfs check' tells of it.
        if (!done && done.error().value == EEXIST) return {};
        return done;
    }
    lower::Result<void> header(std::size_t, const Act& act) override { return act(); }
    lower::Result<void> times(std::size_t, const Act& act) override { return act(); }
};

// Whether the renamed thing was not renamed. An error says neither.
lower::Result<bool> lies_at(lower::LowerFs& lower, int rootfd, const std::vector<std::string>& path,
                            const std::string& entry) {
    const auto missing = [](const lower::Errno& error) -> lower::Result<bool> {
        if (error.value == ENOENT || error.value == ENOTDIR) return false;
        return std::unexpected(error);
    };
    lower::Fd held;
    int dirfd = rootfd;
    for (const std::string& component : path) {
        auto fd = lower.open(dirfd, component, O_RDONLY | O_DIRECTORY, 0);
        if (!fd) return missing(fd.error());
        held = std::move(*fd);
        dirfd = held.get();
    }
    auto is = lower.stat_at(dirfd, entry);
    return is ? true : missing(is.error());
}

Result<void> remove_journal(lower::LowerFs& lower, int rootfd) {
    auto gone = lower.unlink(rootfd, kMoveJournal);
    if (!gone && gone.error().value != ENOENT) return fail(gone.error());
    return {};
}

}  // namespace

Result<void> write_move_journal(lower::LowerFs& lower, int rootfd, const legacy::MovePlan& plan,
                                const crypto::LegacyKey& key) {
    auto bytes = legacy::encode_move(plan, key);
    if (!bytes) return fail(bytes.error());
    auto file = lower.open(rootfd, kMoveJournal, O_CREAT | O_EXCL | O_WRONLY, 0600);
    if (!file) return fail(file.error());
    auto done = lower.pwrite(file->get(), *bytes, 0);
    if (done) done = lower.fsync(file->get());
    if (done) done = lower.fsync(rootfd);
    // EINVAL: this lower file system does not sync directories.
    if (done || done.error().value == EINVAL) return {};
    (void)remove_journal(lower, rootfd);
    return fail(done.error());
}

struct LegacyMove::Known {
    struct Dir {
        std::uint64_t ino = 0;
        std::uint64_t chain = 0, new_chain = 0;
    };
    struct Step {
        std::uint64_t ino = 0;
        std::string plain;
        bool file = false;  // whose header depends on its path
        std::uint64_t chain = 0, new_chain = 0;
    };
    std::vector<Dir> dirs;
    std::vector<Step> steps;
};

namespace {

// Tells the file system of each change, with what only this session knows.
template <typename Known>
class Watched final : public MoveObserver {
  public:
    Watched(const legacy::MovePlan& plan, const Known& known, PathWatch& watch)
        : plan_(plan), known_(known), watch_(watch) {}
    lower::Result<void> name(std::size_t step, MoveDirection direction, const Act& act) override {
        const auto& names = plan_.steps[step];
        const bool forward = direction == MoveDirection::kForward;
        return watch_.step({.dir_ino = known_.dirs[names.dir].ino,
                            .ino = known_.steps[step].ino,
                            .plain = known_.steps[step].plain,
                            .from = forward ? names.entry : names.new_entry,
                            .to = forward ? names.new_entry : names.entry},
                           act);
    }
    lower::Result<void> header(std::size_t step, const Act& act) override {
        return watch_.step({.dir_ino = known_.dirs[plan_.steps[step].dir].ino,
                            .ino = known_.steps[step].ino,
                            .plain = known_.steps[step].plain,
                            .from = {},
                            .to = {}},
                           act);
    }
    lower::Result<void> times(std::size_t dir, const Act& act) override {
        return watch_.step(
            {.dir_ino = known_.dirs[dir].ino, .ino = 0, .plain = {}, .from = {}, .to = {}}, act);
    }

  private:
    const legacy::MovePlan& plan_;
    const Known& known_;
    PathWatch& watch_;
};

}  // namespace

// ---- what there is to do ----

class LegacyMove::Planner {
  public:
    Planner(const MoveTools& tools, legacy::MovePlan& plan, Known& known)
        : tools_(tools), plan_(plan), known_(known) {}

    Result<void> directory(int fd, std::uint32_t index) {
        struct Listed {
            std::string name;
            std::uint64_t ino;
            unsigned char type;
        };
        std::vector<Listed> entries;
        auto listed = tools_.lower.list(fd, [&](const lower::DirEntry& entry) {
            entries.push_back({std::string(entry.name), entry.ino, entry.type});
            return true;
        });
        if (!listed) return fail(listed.error());
        for (const Listed& entry : entries) {
            auto type = entry.type;
            if (type == DT_UNKNOWN) {
                auto is = tools_.lower.stat_at(fd, entry.name);
                if (!is) return fail(is.error());
                type = IFTODT(is->st_mode);
            }
            if (auto r = this->entry(fd, index, entry.name, entry.ino, type); !r) return r;
        }
        return {};
    }

    // The header of a file, as it is and as it will be.
    Result<void> file(int fd, std::uint32_t index, const std::string& entry, std::uint64_t ino,
                      const legacy::ChainedName& name, const legacy::ChainedName& fresh) {
        legacy::MoveStep step{
            .dir = index, .entry = entry, .new_entry = fresh.text, .header = {}, .new_header = {}};
        auto opened = open_own_file(tools_.lower, fd, entry, O_RDONLY);
        if (!opened) return fail(opened.error());
        ByteArray<legacy::kFileHeaderSize> header;
        auto got = tools_.lower.pread(opened->get(), header, 0);
        if (!got) return fail(got.error());
        if (*got == header.size()) {
            auto file_iv = tools_.contents.decode_header(header, name.chain);
            if (!file_iv) return fail(file_iv.error());
            auto coded = tools_.contents.encode_header(*file_iv, fresh.chain);
            if (!coded) return fail(coded.error());
            step.header.assign(header.begin(), header.end());
            step.new_header.assign(coded->begin(), coded->end());
        }
        add(std::move(step), {.ino = ino,
                              .plain = name.text,
                              .file = true,
                              .chain = name.chain,
                              .new_chain = fresh.chain});
        return {};
    }

  private:
    void add(legacy::MoveStep step, Known::Step known) {
        plan_.steps.push_back(std::move(step));
        known_.steps.push_back(std::move(known));
    }

    Result<void> entry(int fd, std::uint32_t index, const std::string& entry, std::uint64_t ino,
                       unsigned char type) {
        auto name = tools_.names.decode(entry, known_.dirs[index].chain);
        // Somebody else's: it stays as it is.
        if (!name && name.error().kind == volume::ErrorKind::kNotVolumeName) return {};
        if (!name) return fail(name.error());
        auto fresh = tools_.names.encode(name->text, known_.dirs[index].new_chain);
        if (!fresh) return fail(fresh.error());
        if (type == DT_REG && tools_.files) return file(fd, index, entry, ino, *name, *fresh);
        if (type == DT_DIR) {
            auto below = tools_.lower.open(fd, entry, O_RDONLY | O_DIRECTORY, 0);
            if (!below) return fail(below.error());
            auto is = tools_.lower.stat(below->get());
            if (!is) return fail(is.error());
            const auto child = static_cast<std::uint32_t>(plan_.dirs.size());
            plan_.dirs.push_back({.parent = index,
                                  .entry = entry,
                                  .new_entry = fresh->text,
                                  .atime = times_of(is->st_atim),
                                  .mtime = times_of(is->st_mtim)});
            known_.dirs.push_back({ino, name->chain, fresh->chain});
            if (auto r = directory(below->get(), child); !r) return r;
        }
        add({.dir = index,
             .entry = entry,
             .new_entry = fresh->text,
             .header = {},
             .new_header = {}},
            {.ino = ino, .plain = name->text});
        return {};
    }

    const MoveTools& tools_;
    legacy::MovePlan& plan_;
    Known& known_;
};

// ---- the move ----

LegacyMove::LegacyMove(const MoveTools& tools, const Moving& moving, PathWatch& watch)
    : tools_(tools), rootfd_(moving.rootfd), watch_(watch), known_(std::make_unique<Known>()) {
    plan_.path = moving.dir_path;
    plan_.new_path = moving.new_dir_path;
    plan_.entry = moving.entry;
    plan_.new_entry = moving.new_entry;
}

Result<void> LegacyMove::plan(const Moving& moving, std::uint64_t chain, std::uint64_t new_chain) {
    auto name = tools_.names.decode(moving.entry, chain);
    if (!name) return fail(name.error());
    auto fresh = tools_.names.decode(moving.new_entry, new_chain);
    if (!fresh) return fail(fresh.error());
    auto is = tools_.lower.stat(moving.dirfd);
    if (!is) return fail(is.error());
    plan_.dirs.push_back({});
    known_->dirs.push_back({is->st_ino, chain, new_chain});
    Planner planner(tools_, plan_, *known_);
    if (!S_ISDIR(moving.lower_stat.st_mode)) {
        const legacy::ChainedName there{moving.new_entry, fresh->chain};
        if (!S_ISREG(moving.lower_stat.st_mode)) return {};
        return planner.file(moving.dirfd, 0, moving.entry, moving.lower_stat.st_ino, *name, there);
    }
    plan_.dirs.push_back({.parent = 0,
                          .entry = moving.entry,
                          .new_entry = moving.new_entry,
                          .atime = times_of(moving.lower_stat.st_atim),
                          .mtime = times_of(moving.lower_stat.st_mtim)});
    known_->dirs.push_back({moving.lower_stat.st_ino, name->chain, fresh->chain});
    auto fd = tools_.lower.open(moving.dirfd, moving.entry, O_RDONLY | O_DIRECTORY, 0);
    if (!fd) return fail(fd.error());
    return planner.directory(fd->get(), 1);
}

lower::Result<void> LegacyMove::run(MoveDirection direction) {
    Watched observer(plan_, *known_, watch_);
    // While a move is made or taken back, the thing itself is at its old place.
    const auto done =
        MoveRunner(tools_.lower, rootfd_, plan_, MoveTop::kOld, observer).run(direction);
    const bool forward = direction == MoveDirection::kForward;
    for (std::size_t i = 1; i < known_->dirs.size(); ++i) {
        const auto& dir = known_->dirs[i];
        watch_.context_changed(dir.ino, tools_.context_of(forward ? dir.new_chain : dir.chain));
    }
    for (const auto& step : known_->steps) {
        if (step.file) watch_.file_moved(step.ino, forward ? step.new_chain : step.chain);
    }
    return done;
}

Result<void> LegacyMove::make_journal() {
    auto is = tools_.lower.stat(rootfd_);
    if (!is) return fail(is.error());
    root_ = *is;
    auto made = Result<void>{};
    (void)watch_.step({.dir_ino = root_.st_ino, .ino = root_.st_ino}, [&] {
        made = write_move_journal(tools_.lower, rootfd_, plan_, tools_.key);
        return lower::Result<void>{};
    });
    return made;
}

void LegacyMove::drop_journal() {
    (void)watch_.step({.dir_ino = root_.st_ino, .ino = root_.st_ino}, [&] {
        (void)remove_journal(tools_.lower, rootfd_);
        // Nobody above changed the root, unless the rename did.
        const struct timespec times[2] = {root_.st_atim, root_.st_mtim};
        const bool changed = plan_.path.empty() || plan_.new_path.empty();
        return changed ? lower::Result<void>{} : tools_.lower.utimens(rootfd_, times);
    });
}

void LegacyMove::take_back() {
    // A failure leaves the journal, for the next mount.
    if (run(MoveDirection::kBack) && journal_) drop_journal();
    finished_ = true;
}

Result<std::unique_ptr<PathMove>> LegacyMove::begin(const MoveTools& tools, const Moving& moving,
                                                    std::uint64_t chain, std::uint64_t new_chain,
                                                    PathWatch& watch) {
    // One that could not be taken back is settled first.
    if (auto settled = recover_move(tools.lower, moving.rootfd, tools.key); !settled)
        return std::unexpected(settled.error());
    std::unique_ptr<LegacyMove> move(new LegacyMove(tools, moving, watch));
    move->finished_ = true;  // nothing to take back yet
    if (auto r = move->plan(moving, chain, new_chain); !r) return std::unexpected(r.error());
    move->journal_ = std::ranges::any_of(move->plan_.steps, [](const legacy::MoveStep& step) {
        return step.dir != 0 || !step.header.empty();
    });
    if (move->journal_) {
        if (auto r = move->make_journal(); !r) return std::unexpected(r.error());
    }
    move->finished_ = false;
    if (auto r = move->run(MoveDirection::kForward); !r) {
        move->take_back();
        return fail(r.error());
    }
    return move;
}

LegacyMove::~LegacyMove() {
    if (!finished_) take_back();
}

void LegacyMove::finish() {
    finished_ = true;
    if (!journal_) return;
    // The steps must be durable before nobody knows of them any more. Nothing can be done about a
    // disk that fails now, and a journal that stays would be wrong later.
    (void)tools_.lower.syncfs(rootfd_);
    drop_journal();
}

// ---- after a crash ----

Result<MoveRecovery> recover_move(lower::LowerFs& lower, int rootfd, const crypto::LegacyKey& key) {
    auto file = lower.open(rootfd, kMoveJournal, O_RDONLY, 0);
    if (!file && file.error().value == ENOENT) return MoveRecovery::kNone;
    if (!file) return fail(file.error());
    auto is = lower.stat(file->get());
    if (!is) return fail(is.error());
    const auto size = static_cast<std::uint64_t>(is->st_size);
    if (!S_ISREG(is->st_mode) || size > legacy::kMostMoveBytes) return fail(ErrorKind::kDamaged);
    ByteVector bytes(size);
    auto got = lower.pread(file->get(), bytes, 0);
    if (!got) return fail(got.error());
    auto plan = legacy::decode_move(Bytes(bytes).first(*got), key);
    if (!plan) {
        // It never became durable, so that no step was taken.
        if (plan.error().kind != volume::ErrorKind::kDamaged) return fail(plan.error());
        if (auto r = remove_journal(lower, rootfd); !r) return std::unexpected(r.error());
        return MoveRecovery::kNone;
    }
    const auto old = lies_at(lower, rootfd, plan->path, plan->entry);
    if (!old) return fail(old.error());
    NoObserver observer;
    const bool renamed = !*old;
    const auto direction = renamed ? MoveDirection::kForward : MoveDirection::kBack;
    auto done = MoveRunner(lower, rootfd, *plan, renamed ? MoveTop::kNew : MoveTop::kOld, observer)
                    .run(direction);
    if (!done) return fail(done.error());
    if (auto r = lower.syncfs(rootfd); !r) return fail(r.error());
    if (auto r = remove_journal(lower, rootfd); !r) return std::unexpected(r.error());
    return renamed ? MoveRecovery::kFinished : MoveRecovery::kUndone;
}

}  // namespace extencfs::core
