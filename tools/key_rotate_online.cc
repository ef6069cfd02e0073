// SPDX-License-Identifier: Apache-2.0
#include "tools/key_rotate_online.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "encfs/daemon/control.h"
#include "encfs/daemon/json_fields.h"
#include "encfs/daemon/live_rotation.h"
#include "encfs/daemon/talk.h"
#include "tools/command.h"
#include "tools/confirm.h"
#include "tools/progress.h"
#include "tools/rotate_report.h"

namespace extencfs::tools {
namespace {

using daemon::fail;
using daemon::FailureKind;
using daemon::flag_of;
using daemon::MountEntry;
using daemon::number_of;
using daemon::Outcome;
using daemon::words_of;
using Json = nlohmann::ordered_json;

void tell_notices(const Json& event) {
    const auto found = event.find("notices");
    if (found == event.end() || !found->is_array()) return;
    for (const Json& notice : *found) {
        if (notice.is_string()) tell_notice(notice.get<std::string>());
    }
}

class Conversation {
  public:
    Conversation(const RotateOptions& options, lower::Fd socket)
        : options_(options), talk_(std::move(socket)) {}

    Outcome<ExitCode> run(const daemon::Credential& given) {
        const Json asked = {{"kind", static_cast<unsigned>(given.kind)},
                            {"slot", given.slot.value_or(0)},
                            {"is_box_key", given.is_box_key},
                            {"leave_damaged", options_.leave_damaged},
                            {"adds", !options_.add.empty()}};
        if (!talk_.give(bytes_of(asked.dump())) || !talk_.give(given.secret.bytes())) return lost();
        {
            const Progress progress("Deriving the key");
            if (auto opened = hear("opened"); !opened) return std::unexpected(opened.error());
        }
        if (flag_of(event_, "resumed")) {
            tell_notice("a rotation of keys was begun, and goes on");
        } else {
            const auto agreed = agree(given.view());
            if (!agreed) return std::unexpected(agreed.error());
            if (!*agreed) return kExitOther;
        }
        if (auto begun = hear("begun"); !begun) return std::unexpected(begun.error());
        tell_notices(event_);
        return follow();
    }

  private:
    static std::unexpected<daemon::Failure> lost() {
        return fail(FailureKind::kDaemonDied,
                    "the daemon ended before the rotation did; run 'extencfs key rotate' on the "
                    "volume to go on");
    }

    // Until an event of that name came; what else comes is dealt with.
    Outcome<void> hear(const char* wanted) {
        for (;;) {
            const auto line = talk_.hear();
            if (!line) return lost();
            event_ = Json::parse(*line, nullptr, false);
            if (!event_.is_object()) return lost();
            const std::string name = words_of(event_, "event");
            if (name == wanted) return {};
            if (name == "failed") return failed();
            if (name == "damaged") {
                const rotate::Damaged damage{words_of(event_, "path"), words_of(event_, "what")};
                show_damages(options_.style(), {damage});
            }
            if (name == "progress") {
                progress_.phase = flag_of(event_, "cleaning") ? rotate::Phase::kCleaning
                                                              : rotate::Phase::kContents;
                progress_.things = number_of(event_, "things");
                progress_.bytes = number_of(event_, "bytes");
            }
        }
    }

    std::unexpected<daemon::Failure> failed() const {
        const auto kind = number_of(event_, "kind");
        const bool known = kind < static_cast<unsigned>(FailureKind::kCount);
        return std::unexpected(
            daemon::Failure{known ? static_cast<FailureKind>(kind) : FailureKind::kOther,
                            words_of(event_, "sentence")});
    }

    // False where the person does not want it.
    Outcome<bool> agree(const volume::OpeningSecret& given) {
        std::vector<volume::KeySlot> ending;
        if (const auto slots = event_.find("ending"); slots != event_.end() && slots->is_array()) {
            for (const Json& slot : *slots) {
                volume::KeySlot& one = ending.emplace_back();
                one.id = static_cast<std::uint32_t>(number_of(slot, "id"));
                one.kind_name = words_of(slot, "type");
                one.label = words_of(slot, "label");
            }
        }
        tell_notices(event_);
        if (auto seen = hear("survey"); !seen) return std::unexpected(seen.error());
        amount_ = {number_of(event_, "things"), number_of(event_, "bytes")};
        show_rotation(options_.style(), amount_, ending);
        if (!options_.yes) {
            const auto agreed = confirm("Give " + options_.directory + " a new key?");
            if (!agreed || !*agreed) return agreed;
        }
        Json go = {{"go", true}};
        std::optional<AddedKey> added;
        if (!options_.add.empty()) {
            auto made = make_more_slot(options_, given);
            if (!made) return std::unexpected(made.error());
            added = std::move(*made);
            const volume::NewSlot& slot = added->slot.slot;
            go["more"] = {{"kind", static_cast<unsigned>(slot.kind)},
                          {"label", slot.label},
                          {"memory_kib", slot.cost.memory_kib},
                          {"passes", slot.cost.passes},
                          {"lanes", slot.cost.lanes}};
        }
        // Where that fails the daemon has said why, and is heard next.
        if (talk_.give(bytes_of(go.dump())) && added) (void)talk_.give(added->slot.secret.bytes());
        return true;
    }

    Outcome<ExitCode> follow() {
        using Clock = std::chrono::steady_clock;
        const auto began = Clock::now();
        const auto done = [&] {
            const RotateProgress shown(options_.style(), progress_, amount_);
            return hear("done");
        }();
        if (!done) return std::unexpected(done.error());
        tell_notices(event_);
        const std::uint64_t damaged = number_of(event_, "damaged");
        const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
        show_rotated(options_.style(), amount_, seconds, damaged);
        return damaged == 0 ? kExitOk : kExitDamage;
    }

    const RotateOptions& options_;
    daemon::Talk talk_;
    Json event_;
    rotate::Progress progress_;
    rotate::Amount amount_;
};

}  // namespace

Outcome<AddedKey> make_more_slot(const RotateOptions& options, const volume::OpeningSecret& given) {
    const volume::SlotKind kind = options.kind_to_add();
    auto key = make_new_key(kind, options.fresh, options.directory);
    if (!key) return std::unexpected(key.error());
    if (given.kind == kind && !given.is_box_key &&
        crypto::equal_constant_time(given.bytes, key->secret.bytes())) {
        tell_notice("the key that is added is the one that was given, which stays: both are one");
    }
    AddedKey added;
    added.slot.slot.kind = kind;
    added.slot.slot.label = options.label.empty() ? options.add : options.label;
    added.slot.slot.cost =
        key->needs_no_stretching ? crypto::kArgon2Least : chosen_cost(options.fresh.kdf);
    added.slot.secret = std::move(key->secret);
    added.made = std::move(key->made);
    return added;
}

namespace {

struct Served {
    struct stat volume {};
    bool for_writing = false;
};

// What the daemon of `entry` says it serves. ERRORS: kControl, kNotMounted, kCipherDir.
Outcome<Served> ask_what_is_served(const MountEntry& entry) {
    const auto answer = daemon::control_request(entry.mountpoint, entry.user_id.value_or(geteuid()),
                                                "status", daemon::Wait::kForAnswer, 10);
    if (!answer) return std::unexpected(answer.error());
    const Json status = Json::parse(*answer, nullptr, false);
    Served served;
    if (!status.is_object() ||
        ::stat(words_of(status, "cipher_dir").c_str(), &served.volume) != 0) {
        return fail(FailureKind::kCipherDir, "the volume at ", entry.mountpoint,
                    " cannot be found; give the volume's directory");
    }
    served.for_writing = !flag_of(status, "read_only");
    return served;
}

// A daemon is given a secret, so that one of another user is not believed: root believes the owner
// of a volume, of that volume.
bool is_of_this_user(const MountEntry& entry) {
    return entry.user_id && *entry.user_id == geteuid();
}
bool is_trusted(const MountEntry& entry, const Served& served) {
    return is_of_this_user(entry) ||
           (geteuid() == 0 && entry.user_id && *entry.user_id == served.volume.st_uid);
}

}  // namespace

Outcome<std::optional<MountEntry>> find_mount_to_rotate(const std::string& path) {
    if (auto mount = daemon::find_own_mount(path)) {
        if (is_of_this_user(*mount)) return std::move(*mount);
        auto served = geteuid() == 0 ? ask_what_is_served(*mount) : Outcome<Served>(Served{});
        if (!served) return std::unexpected(served.error());
        if (is_trusted(*mount, *served)) return std::move(*mount);
        return fail(FailureKind::kMountpoint, path,
                    " is another user's mount, whose daemon is not given a password of yours; "
                    "let that user rotate the keys");
    }
    struct stat wanted {};
    if (::stat(path.c_str(), &wanted) != 0) return std::nullopt;  // the rest is told as without
    for (MountEntry& entry : daemon::all_mounts()) {
        if (!daemon::is_extencfs(entry) || (!is_of_this_user(entry) && geteuid() != 0)) continue;
        const auto served = ask_what_is_served(entry);
        if (served && served->for_writing && is_trusted(entry, *served) &&
            served->volume.st_dev == wanted.st_dev && served->volume.st_ino == wanted.st_ino)
            return entry;
    }
    return std::nullopt;
}

Outcome<ExitCode> rotate_in_mount(const RotateOptions& options, const MountEntry& mount) {
    const auto given = read_credential(options.unlock, options.directory);
    if (!given) return std::unexpected(given.error());
    auto talk = daemon::control_talk(mount.mountpoint, mount.user_id.value_or(geteuid()),
                                     daemon::kRotateRequest);
    if (!talk) return std::unexpected(talk.error());
    const Json answer = Json::parse(talk->answer, nullptr, false);
    if (!answer.is_object() || !flag_of(answer, "ok")) {
        const std::string why = answer.is_object() ? words_of(answer, "error") : std::string();
        if (why == "busy") {
            return fail(FailureKind::kKeySlot, "the keys of ", options.directory,
                        " are being rotated by another command; wait for its end");
        }
        if (why == "unsupported") {
            return fail(FailureKind::kUnsupported, mount.mountpoint,
                        " is read-only, or no volume of extencfs's own; unmount it and run it "
                        "without --online");
        }
        return fail(FailureKind::kUnsupported, "the daemon of ", mount.mountpoint,
                    " cannot rotate keys, it is of another version; mount it again");
    }
    return Conversation(options, std::move(talk->socket)).run(*given);
}

}  // namespace extencfs::tools
