// SPDX-License-Identifier: Apache-2.0
// Changes of keys that are killed, fail, or lose power at every lower call: the volume opens with
// the old or with the new keys, and what the command said of that is true.
#include <functional>
#include <optional>

#include "tests/fake/fault_lower_fs.h"
#include "tests/unit/daemon/key_place.h"

using namespace extencfs;
using namespace extencfs::daemon;
using extencfs::test::KeyPlace;
using extencfs::test::kOther;
using extencfs::test::read_file;
using extencfs::test::write_file;

namespace {

const auto kQuick = crypto::kArgon2Least;
constexpr std::uint64_t kMostCalls = 80;

// One command, and which passwords tell that it is in force.
struct Command {
    const char* name;
    std::function<void(const KeyPlace&)> prepare;
    // Its failure, if it failed.
    std::function<std::optional<Failure>(lower::LowerFs&, const std::string& path)> run;
    const char* opens_before;  // and not after; nullptr: none does
    const char* opens_after;   // and not before
    const char* opens_always;
    bool damages_one = false;  // of the copies, before it runs
};

std::optional<Failure> failure_of(const Outcome<ChangedSlot>& outcome) {
    if (outcome) return std::nullopt;
    return outcome.error();
}

std::optional<Failure> edit(lower::LowerFs& fs, const std::string& path,
                            const std::function<Outcome<ChangedSlot>(KeyEditor& editor)>& change) {
    auto editor = KeyEditor::open(fs, path);
    if (!editor) return editor.error();
    if (auto opened = editor->unlock(test::kPassword); !opened) return opened.error();
    return failure_of(change(*editor));
}

std::optional<Failure> import(lower::LowerFs& fs, const std::string& path) {
    auto import = HeaderImport::prepare(fs, path, "exported", read_file(path + "/kept"));
    if (!import) return import.error();
    auto done = import->finish(test::kPassword);
    if (!done) return done.error();
    return std::nullopt;
}

// The present keys are others than those of the file "kept".
void export_and_change(const KeyPlace& place) {
    write_file(place.path("kept"), read_file(place.main));
    const auto fs = lower::make_posix_lower_fs();
    auto editor = place.open(*fs);
    REQUIRE(editor.add({.cost = kQuick}, bytes_of("present")));
    REQUIRE(editor.remove(1));
    REQUIRE(editor.remove(2));
    REQUIRE(editor.add({.cost = kQuick}, bytes_of("always")));
}

std::vector<Command> commands() {
    return {
        {"add",
         {},
         [](lower::LowerFs& fs, const std::string& path) {
             return edit(fs, path, [](KeyEditor& editor) {
                 return editor.add({.cost = kQuick}, bytes_of("new"));
             });
         },
         nullptr,
         "new",
         kOther},
        {"change",
         {},
         [](lower::LowerFs& fs, const std::string& path) {
             return edit(fs, path, [](KeyEditor& editor) {
                 return editor.change(1, kQuick, bytes_of("new"));
             });
         },
         "right",
         "new",
         kOther},
        {"remove",
         {},
         [](lower::LowerFs& fs, const std::string& path) {
             return edit(fs, path, [](KeyEditor& editor) { return editor.remove(1); });
         },
         "right",
         nullptr,
         kOther},
        {"import-header", export_and_change, import, "present", "right", nullptr},
        {"import-header of a volume with one copy left",
         [](const KeyPlace& place) {
             export_and_change(place);
             write_file(place.main, "{ it was once more than this");
         },
         import, "present", "right", nullptr, true},
    };
}

// How many of the two can be read at all.
int whole_copies(const KeyPlace& place) {
    return static_cast<int>(volume::parse_config(read_file(place.main)).has_value()) +
           static_cast<int>(volume::parse_config(read_file(place.backup)).has_value());
}

enum class State { kOld, kNew };

// Fails where it is neither.
State state_of(const KeyPlace& place, const Command& command) {
    if (command.opens_always != nullptr) CHECK(place.opens(command.opens_always));
    const bool before = command.opens_before != nullptr && place.opens(command.opens_before);
    const bool after = command.opens_after != nullptr && place.opens(command.opens_after);
    if (command.opens_before != nullptr && command.opens_after != nullptr) CHECK(before != after);
    return command.opens_after != nullptr ? (after ? State::kNew : State::kOld)
                                          : (before ? State::kOld : State::kNew);
}

bool says_in_force(const Failure& failure) {
    return failure.sentence.find("in force") != std::string::npos;
}

// The next writer's mount.
void mend(const KeyPlace& place, const char* password) {
    const auto fs = lower::make_posix_lower_fs();
    const auto disk = VolumeOnDisk::open(*fs, place.path());
    REQUIRE(disk);
    const auto copies = disk->read_config();
    REQUIRE(copies);
    const auto open = VolumeOnDisk::unlock(*copies, bytes_of(password));
    REQUIRE(open);
    REQUIRE(disk->repair_config(open->text));
    CHECK(read_file(place.main) == read_file(place.backup));
}

// Calls `round` with a fresh place and n = 1, 2, ... until it says that the command got through.
void each_call(const Command& command,
               const std::function<bool(const KeyPlace& place, std::uint64_t n)>& round) {
    for (std::uint64_t n = 1;; ++n) {
        INFO(command.name << ", call " << n);
        REQUIRE(n < kMostCalls);
        const KeyPlace place;
        if (command.prepare) command.prepare(place);
        if (round(place, n)) {
            CHECK(n > 8);  // it made the calls that a change takes
            return;
        }
    }
}

}  // namespace

TEST_CASE("a change of keys that is killed at any call leaves the old or the new keys") {
    for (const Command& command : commands()) {
        int old_states = 0, new_states = 0;
        each_call(command, [&](const KeyPlace& place, std::uint64_t n) {
            fake::FaultLowerFs fs;
            fs.die_at(n);
            const auto failed = command.run(fs, place.path());
            const bool through = !fs.dead();
            const State state = state_of(place, command);
            (state == State::kOld ? old_states : new_states) += 1;
            if (!failed) CHECK(state == State::kNew);
            const char* by = state == State::kOld ? command.opens_before : command.opens_after;
            mend(place, by != nullptr ? by : command.opens_always);
            CHECK(state_of(place, command) == state);
            return through;
        });
        // Deaths did happen on both sides of the moment that counts.
        CHECK(old_states > 3);
        CHECK(new_states > 3);
    }
}

TEST_CASE("a change of keys that fails at any call says truly which keys are in force") {
    for (const Command& command : commands()) {
        each_call(command, [&](const KeyPlace& place, std::uint64_t n) {
            fake::FaultLowerFs fs;
            fs.fail_at(n, n % 2 == 0 ? ENOSPC : EIO, fake::Calls::any());
            const auto failed = command.run(fs, place.path());
            const bool through = fs.count() < n;
            const bool in_force = !failed || says_in_force(*failed);
            INFO((failed ? failed->sentence : "done"));
            CHECK((state_of(place, command) == State::kNew) == in_force);
            return through;
        });
    }
}

TEST_CASE("a change of keys that loses power at any call leaves the old or the new keys") {
    for (const Command& command : commands()) {
        for (std::uint64_t seed = 1; seed <= 2; ++seed) {
            each_call(command, [&](const KeyPlace& place, std::uint64_t n) {
                fake::FaultLowerFs fs;
                fs.track_power_loss();
                fs.die_at(n);
                const auto failed = command.run(fs, place.path());
                const bool through = !fs.dead();
                const std::string said = fs.power_cut(seed * 1000 + n);
                INFO("seed " << seed << "\n" << said);
                const State state = state_of(place, command);
                CHECK(whole_copies(place) >= (command.damages_one ? 1 : 2));
                // What was told is durable.
                if (!failed) CHECK(state == State::kNew);
                return through;
            });
        }
    }
}

TEST_CASE("old bytes are overwritten once both new names are durable, and not before") {
    const KeyPlace place;
    fake::FaultLowerFs fs;
    auto editor = place.open(fs);
    fs.forget_calls();
    REQUIRE(editor.remove(2));
    std::vector<std::string> calls = fs.calls();
    std::erase_if(calls, [](const std::string& call) {
        return call != "pwrite" && call != "fsync" && call != "rename";
    });
    const std::vector<std::string> copy{"pwrite", "fsync", "rename", "fsync"};
    std::vector<std::string> wanted = copy;
    wanted.insert(wanted.end(), copy.begin(), copy.end());
    // Of the directory once more, whatever the copies' writer did; then the two old files.
    wanted.insert(wanted.end(), {"fsync", "pwrite", "fsync", "pwrite", "fsync"});
    CHECK(calls == wanted);
}
