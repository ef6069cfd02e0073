// SPDX-License-Identifier: Apache-2.0
// A small EncFS volume that is converted in its own directory, and the same volume beside it to
// compare with.
#pragma once

#include <fcntl.h>

#include <array>
#include <string>

#include "encfs/migrate/in_place.h"
#include "encfs/migrate/in_place_copy.h"
#include "encfs/migrate/node_compare.h"
#include "encfs/volume/format.h"
#include "tests/unit/migrate/two_volumes.h"

namespace extencfs::migrate {

inline core::LegacyVolume ordinary_volume() {
    return core::legacy_volume({1024, 8, 0, true, true, false}, legacy::NameScheme::kBlock, true,
                               false);
}

constexpr const char* kOldConfig = "<configuration of EncFS>";
constexpr std::uint64_t kOldIdentity = 77;

inline std::string text_at(const std::string& path) {
    const lower::Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    std::array<char, 4096> text{};
    const auto got = file ? ::read(file.get(), text.data(), text.size()) : -1;
    return got < 0 ? "(none)" : std::string(text.data(), static_cast<std::size_t>(got));
}

inline void put_text(const std::string& path, const std::string& text) {
    const lower::Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    REQUIRE(file);
    REQUIRE(::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}

// A file system on an open directory over `lower`, which stays the caller's.
inline core::Result<std::unique_ptr<Filesystem>> open_at(lower::LowerFs& lower, lower::Fd root,
                                                         core::FormatMaker format,
                                                         LeftOutNames* left_out, bool read_only) {
    core::Options options;
    options.trust_hints = true;
    options.read_only = read_only;
    if (left_out != nullptr)
        options.on_name_left_out = [left_out](NodeId directory, std::string_view name,
                                              LeftOutNames::Why why) {
            left_out->add(directory, name, why);
        };
    return Filesystem::open(std::make_unique<core::BorrowedLower>(lower), std::move(root),
                            std::move(format), std::move(options));
}

class Converted {
  public:
    explicit Converted(core::LegacyVolume volume = ordinary_volume())
        : volume_(volume), filled_(std::move(volume)) {
        struct stat is {};
        REQUIRE(::fstat(dir().fd(), &is) == 0);
        put_text(dir().path(".encfs6.xml"), kOldConfig);
        const struct timespec times[2] = {is.st_atim, is.st_mtim};
        REQUIRE(::futimens(dir().fd(), times) == 0);
    }
    fake::FaultLowerFs& lower() { return filled_.lower(); }
    const fake::ScratchDir& dir() const { return filled_.dir(); }
    bool exists(const std::string& name) const {
        return ::access(dir().path(name).c_str(), F_OK) == 0;
    }
    lower::Fd directory(const std::string& name) const {
        return lower::Fd(::open(dir().path(name).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }

    Run run(const InPlaceOptions& options = {.compare = Compare::kNo, .commit_files = 3}) {
        Run run;
        run.outcome = go(options, run);
        return run;
    }
    const InPlaceCounts& counts() const { return counts_; }

    // Without faults. In words, empty where each file can be read, whole, in one of the formats.
    std::string unreadable(FilledVolume& same) {
        const auto real = lower::make_posix_lower_fs();
        const auto work = std::string(volume::kMigrationName) + "/" + kWorkVolume;
        const auto view = InPlace(*real, dir().fd()).look();
        REQUIRE(view);
        if (view->stage == InPlaceStage::kMovingUp) return "";  // some here, some there
        const bool moved = view->stage == InPlaceStage::kComplete;
        LeftOutNames left_out;
        auto old = open_at(*real, directory("."), core::legacy_format(volume_), nullptr, true);
        REQUIRE(old);
        core::Result<std::unique_ptr<Filesystem>> made;
        const bool any = moved || exists(work);
        if (any) {
            made = open_at(*real, directory(moved ? "." : work),
                           core::format1(core::keys_for_tests()), nullptr, true);
            REQUIRE(made);
        }
        auto wanted = same.open(left_out);
        Problems problems;
        Progress progress;
        std::string text;
        std::atomic<std::uint64_t> bytes{0};
        for (const char* path : kPaths) {
            const auto a = find_path(*wanted, path);
            REQUIRE(a);
            const auto is_in = [&](Filesystem& fs) {
                const auto b = find_path(fs, path);
                if (!b) return false;
                const NodeCompare both(*wanted, fs, bytes);
                return both.differences(a->node.id(), a->attr, b->node.id(), b->attr).empty();
            };
            if (!is_in(**old) && !(any && is_in(**made))) text += std::string(path) + " ";
        }
        return text;
    }

  private:
    static constexpr std::array kPaths{"empty",       "small",     "large",
                                       "sparse",      "d/set-uid", "d/up",
                                       "broken",      "pipe",      "d/another name of it",
                                       "a third name"};

    Outcome<void> go(const InPlaceOptions& options, Run& run) {
        InPlace place(lower(), dir().fd());
        auto view = place.look();
        if (!view) return std::unexpected(view.error());
        if (view->stage == InPlaceStage::kComplete) return place.settle();
        if (view->stage == InPlaceStage::kNone) {
            auto begun = place.begin(kOldIdentity, 300,
                                     [this](const std::string& name) { return make_volume(name); });
            if (!begun) return begun;
        }
        auto journal = place.resume(kOldIdentity);
        if (!journal) return std::unexpected(journal.error());
        if (!(*journal)->moving()) {
            auto moving = convert(**journal, options, run);
            if (!moving) return std::unexpected(moving.error());
            if (auto r = place.record_moving(*moving); !r) return r;
        }
        return place.move_up();
    }

    Outcome<Moving> convert(Journal& journal, const InPlaceOptions& options, Run& run) {
        LeftOutNames left_out;
        Problems before;
        Progress progress;
        const auto broken = [](const char* what) {
            return daemon::fail(daemon::FailureKind::kOther, what);
        };
        auto from =
            open_at(lower(), directory("."), core::legacy_format(volume_), &left_out, false);
        if (!from) return broken("the old volume cannot be opened");
        auto to =
            open_at(lower(), directory(std::string(volume::kMigrationName) + "/" + kWorkVolume),
                    core::format1(core::keys_for_tests()), nullptr, false);
        if (!to) return broken("the new volume cannot be opened");
        auto seen = survey(**from, left_out, Depth::kSample, 1, before, progress);
        if (!seen) return std::unexpected(seen.error());
        if (auto room = journal.make_room(100); !room) return std::unexpected(room.error());
        Problems told;
        const InPlaceVolumes volumes{**from, **to, lower(), dir().fd(), left_out};
        auto counts = InPlaceCopy(volumes, journal, seen->links, options, told, progress).run();
        run.problems = told.all();
        CHECK((*from)->node_count() == 1);
        CHECK((*to)->node_count() == 1);
        (void)(*from)->finish();
        const bool whole = (*to)->finish();
        if (!counts) return std::unexpected(counts.error());
        if (!whole || !lower().syncfs(dir().fd())) return broken("the new volume was not closed");
        counts_ = *counts;
        run.skipped = counts->skipped_files;
        return Moving{told.count(), counts->keep_root_attributes};
    }

    // Its keys are always the same; the files stand for its configuration.
    Outcome<void> make_volume(const std::string& name) {
        const auto made = directory(name);
        for (const char* file :
             {volume::kStateName, volume::kConfigName, volume::kConfigBackupName}) {
            auto opened = lower().open(made.get(), file, O_RDWR | O_CREAT | O_EXCL, 0600);
            if (!opened || !lower().pwrite(opened->get(), bytes_of("clean\n"), 0))
                return daemon::fail(daemon::FailureKind::kOther, "no room");
        }
        return {};
    }

    core::LegacyVolume volume_;
    FilledVolume filled_;
    InPlaceCounts counts_;
};

// In words, empty where the directory holds a volume of format 1 with all of `same`, with the
// root's times, and nothing of the old one.
inline std::string left_over(const Converted& volume) {
    std::string text;
    const auto fs = lower::make_posix_lower_fs();
    REQUIRE(fs->list(volume.dir().fd(), [&](const lower::DirEntry& entry) {
        const std::string name(entry.name);
        // base64url of at least 32 bytes.
        const bool coded = name.size() >= 43 && name.find_first_of(",.") == std::string::npos;
        if (!coded && !name.starts_with(volume::kReservedPrefix)) text += name + " ";
        return true;
    }));
    return text;
}

}  // namespace extencfs::migrate
