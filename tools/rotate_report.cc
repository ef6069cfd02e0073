// SPDX-License-Identifier: Apache-2.0
#include "tools/rotate_report.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "encfs/daemon/log.h"
#include "tools/cmd_key.h"

namespace extencfs::tools {
namespace {

using Json = nlohmann::ordered_json;
using rotate::Phase;

constexpr std::chrono::milliseconds kTurn{200};
constexpr std::chrono::milliseconds kEvent{1000};
constexpr std::chrono::milliseconds kLine{10'000};

void print_event(const Json& event) {
    // Lower names may be any bytes.
    std::printf("%s\n", event.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
    std::fflush(stdout);
}

const char* name_of(Phase phase) {
    switch (phase) {
        case Phase::kSurvey:
            return "survey";
        case Phase::kContents:
            return "contents";
        case Phase::kNames:
            return "names";
        case Phase::kCleaning:
            return "cleaning";
    }
    return "unknown";
}

std::string words_of_names(std::uint64_t count) {
    return fmt::format("{} {}", count, count == 1 ? "name" : "names");
}

}  // namespace

RotateProgress::RotateProgress(Style style, const rotate::Progress& progress, rotate::Amount all)
    : style_(style), terminal_(isatty(STDERR_FILENO) != 0), progress_(progress), all_(all) {
    // Signals are the main thread's business.
    sigset_t every;
    sigset_t before;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);
    thread_ = std::thread([this] { watch(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

RotateProgress::~RotateProgress() {
    {
        const std::lock_guard lock(mutex_);
        done_ = true;
    }
    ended_.notify_one();
    thread_.join();
}

void RotateProgress::watch() {
    const auto pause = style_ == Style::kJson ? kEvent : terminal_ ? kTurn : kLine;
    std::unique_lock lock(mutex_);
    while (!ended_.wait_for(lock, pause, [this] { return done_; })) show();
    if (style_ == Style::kText && terminal_) std::fprintf(stderr, "\r\x1b[K");
}

void RotateProgress::show() {
    const char* phase = name_of(progress_.phase);
    const std::uint64_t things = progress_.things;
    const std::uint64_t bytes = progress_.bytes;
    if (style_ == Style::kJson) {
        print_event({{"event", "progress"},
                     {"phase", phase},
                     {"things", things},
                     {"all_things", all_.things},
                     {"bytes", bytes},
                     {"all_bytes", all_.bytes}});
        return;
    }
    std::string words = fmt::format("{}: {}", phase, things);
    if (all_.things != 0) words += " of " + words_of_names(all_.things);
    if (progress_.phase == Phase::kContents) {
        words += ", " + words_of_bytes(static_cast<double>(bytes));
        if (all_.bytes != 0) words += " of " + words_of_bytes(static_cast<double>(all_.bytes));
    }
    std::fprintf(stderr, terminal_ ? "\r\x1b[K%s" : "%s\n", words.c_str());
}

void show_rotation(Style style, const rotate::Amount& amount,
                   const std::vector<volume::KeySlot>& ending) {
    if (style == Style::kJson) {
        Json slots = Json::array();
        for (const volume::KeySlot& slot : ending) {
            slots.push_back({{"id", slot.id}, {"type", slot.kind_name}, {"label", slot.label}});
        }
        print_event({{"event", "survey"},
                     {"things", amount.things},
                     {"bytes", amount.bytes},
                     {"slots_ending", std::move(slots)}});
        return;
    }
    std::printf("%s and %s of contents get a new key.\n", words_of_names(amount.things).c_str(),
                words_of_bytes(static_cast<double>(amount.bytes)).c_str());
    if (ending.empty()) return;
    std::printf(
        "These keys open the volume no more from the beginning on: without their secrets they\n"
        "cannot be given the new key.\n");
    for (const volume::KeySlot& slot : ending) std::printf("  %s\n", slot_words(slot).c_str());
}

void show_damages(Style style, const std::vector<rotate::Damaged>& damages) {
    for (const rotate::Damaged& damage : damages) {
        if (style == Style::kJson) {
            print_event({{"event", "damaged"}, {"path", damage.path}, {"what", damage.what}});
        } else {
            std::fprintf(stderr, "extencfs: damaged: %s: %s\n",
                         daemon::printable(damage.path).c_str(), damage.what.c_str());
        }
    }
}

void show_rotated(Style style, const rotate::Amount& amount, double seconds, std::size_t damaged) {
    if (style == Style::kJson) {
        print_event({{"event", "done"},
                     {"things", amount.things},
                     {"bytes", amount.bytes},
                     {"seconds", seconds},
                     {"damaged", damaged}});
        return;
    }
    std::printf("The volume has a new key: %s, %s, in %s.\n", words_of_names(amount.things).c_str(),
                words_of_bytes(static_cast<double>(amount.bytes)).c_str(),
                words_of_seconds(seconds).c_str());
    std::printf(
        "Nothing in it opens under the old one. Copies of the volume from before still do:\n"
        "backups, snapshots, what an SSD has not erased yet.\n");
}

}  // namespace extencfs::tools
