// SPDX-License-Identifier: Apache-2.0
#include "encfs/rotate/live_service.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <vector>

#include "encfs/daemon/json_fields.h"
#include "encfs/daemon/log.h"
#include "encfs/daemon/talk.h"
#include "encfs/rotate/beside_mount.h"

namespace extencfs::rotate {
namespace {

using daemon::Failure;
using daemon::flag_of;
using daemon::LogLevel;
using daemon::number_of;
using daemon::Outcome;
using daemon::words_of;
using Json = nlohmann::ordered_json;

constexpr std::size_t kMostFrame = 64 << 10;
constexpr std::size_t kMostSecret = 2 << 20;
constexpr std::chrono::seconds kTurn{1};
// So long a listing that began during a rotation may rest and go on.
constexpr std::chrono::minutes kListings{5};

constexpr const char* kAddsTooLate =
    "a rotation of this volume's keys was begun already; go on with it without --add, and then run "
    "'extencfs key add'";

std::string text_of_json(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::uint32_t small_number_of(const Json& frame, const char* name) {
    const std::uint64_t number = number_of(frame, name);
    return number <= std::numeric_limits<std::uint32_t>::max() ? static_cast<std::uint32_t>(number)
                                                               : 0;
}

volume::SlotKind kind_of(const Json& frame) {
    const auto number = number_of(frame, "kind");
    return number <= 0xff ? static_cast<volume::SlotKind>(number) : volume::SlotKind::kForeign;
}

class LiveService final : public daemon::LiveRotation {
  public:
    LiveService(const daemon::VolumeOnDisk& disk, core::Filesystem& fs, daemon::Log& log)
        : disk_(disk), fs_(fs), log_(log) {}

    ~LiveService() override {
        {
            const std::lock_guard lock(mutex_);
            ending_ = true;
            if (run_ != nullptr) run_->stop = true;
            if (talk_) talk_->stop_listening();
        }
        changed_.notify_all();
        if (thread_.joinable()) thread_.join();
    }
    LiveService(const LiveService&) = delete;
    LiveService& operator=(const LiveService&) = delete;

    bool is_busy() const override { return busy_; }
    State state() const override { return state_; }

    bool hold_back() override {
        const std::lock_guard lock(mutex_);
        held_back_ = state_ != State::kUnderWay;
        return held_back_;
    }
    void stop() override {
        const std::lock_guard lock(mutex_);
        if (run_ != nullptr) run_->stop = true;
    }
    void let_begin() override {
        const std::lock_guard lock(mutex_);
        held_back_ = false;
    }

    void talk(lower::Fd client) override {
        {
            const std::lock_guard lock(mutex_);
            if (ending_) return;
            busy_ = true;
        }
        changed_.notify_all();  // the thread of an earlier one only waits
        if (thread_.joinable()) thread_.join();
        {
            const std::lock_guard lock(mutex_);
            talk_.emplace(std::move(client));
        }
        thread_ = std::thread([this] { work(); });
    }

  private:
    void work() {
        const auto done = converse();
        // Before the command hears of it: what comes next, an unmount perhaps, is not in the way.
        if (state_ == State::kUnderWay) state_ = State::kNone;
        busy_ = false;
        (void)say(done ? *done
                       : Json{{"event", "failed"},
                              {"kind", static_cast<unsigned>(done.error().kind)},
                              {"sentence", done.error().sentence}});
        std::unique_lock lock(mutex_);
        talk_.reset();
        const bool another =
            changed_.wait_for(lock, kListings, [this] { return ending_ || busy_.load(); });
        lock.unlock();
        if (!another) core::OnlineRotation(fs_).forget_listings();
    }

    // False: nobody listens any more.
    bool say(const Json& event) {
        const std::lock_guard lock(saying_);
        if (listens_ && talk_) listens_ = talk_->say(text_of_json(event));
        return listens_;
    }

    std::optional<Json> take_frame() {
        const auto frame = talk_->take(kMostFrame);
        if (!frame) return std::nullopt;
        Json json = Json::parse(text_of(frame->bytes()), nullptr, false);
        if (!json.is_object()) return std::nullopt;
        return json;
    }

    static std::unexpected<Failure> gone() {
        return daemon::fail(daemon::FailureKind::kControl,
                            "the command or the mount went away; nothing was changed");
    }

    // From here on the volume changes.
    bool may_begin() {
        const std::lock_guard lock(mutex_);
        if (ending_ || held_back_) return false;
        state_ = State::kUnderWay;
        return true;
    }

    // Said later: whoever found it may have the file system to itself, and a command that reads
    // nothing would hold it up.
    void note_damage(const std::string& path, const std::string& what) {
        log_.write(LogLevel::kError, "damage", "{}: {}", path, what);
        const std::lock_guard lock(damaged_mutex_);
        damaged_.push_back({{"event", "damaged"}, {"path", path}, {"what", what}});
    }
    void tell_damages() {
        std::vector<Json> events;
        {
            const std::lock_guard lock(damaged_mutex_);
            events.swap(damaged_);
        }
        for (const Json& event : events) (void)say(event);
    }

    // The last event.
    Outcome<Json> converse() {
        listens_ = true;
        const auto asked = take_frame();
        auto secret = asked ? talk_->take(kMostSecret) : std::nullopt;
        if (!secret) return gone();
        std::optional<std::uint32_t> slot;
        if (small_number_of(*asked, "slot") != 0) slot = small_number_of(*asked, "slot");
        volume::OpeningSecret given(kind_of(*asked), secret->bytes(), slot);
        given.is_box_key = flag_of(*asked, "is_box_key");

        BesideMount rotation(disk_, fs_);
        const auto opened = rotation.unlock(given);
        if (!opened) return std::unexpected(opened.error());
        tell_opened(rotation, *opened);
        core::RotationRun run;
        run.on_damage = [this](const std::string& path, const std::string& what) {
            note_damage(path, what);
        };
        run.leave_damaged = flag_of(*asked, "leave_damaged");
        {
            const std::lock_guard lock(mutex_);
            run_ = &run;
            if (ending_) run.stop = true;
        }
        const auto begun = rotation.was_begun() ? resume(rotation, flag_of(*asked, "adds"))
                                                : begin(rotation, given, run);
        secret.reset();  // it may take hours from here on
        const auto done = begun ? rotate(rotation, run)
                                : Outcome<daemon::Notices>(std::unexpected(begun.error()));
        if (!done && rotation.is_half_way()) {
            state_ = rotation.is_for_others() ? State::kForOthers : State::kHalfWay;
        }
        tell_damages();
        const std::lock_guard lock(mutex_);
        run_ = nullptr;
        if (!done) return std::unexpected(done.error());
        return Json{{"event", "done"}, {"damaged", run.damaged.load()}, {"notices", *done}};
    }

    void tell_opened(const BesideMount& rotation, std::uint32_t opened) {
        Json ending = Json::array();
        for (const volume::KeySlot& slot : rotation.config().slots) {
            if (slot.id == opened || rotation.was_begun()) continue;
            ending.push_back({{"id", slot.id}, {"type", slot.kind_name}, {"label", slot.label}});
        }
        (void)say({{"event", "opened"},
                   {"slot", opened},
                   {"resumed", rotation.was_begun()},
                   {"notices", rotation.notices()},
                   {"ending", std::move(ending)}});
    }

    Outcome<void> resume(BesideMount& rotation, bool adds) {
        if (adds) return daemon::fail(daemon::FailureKind::kKeySlot, kAddsTooLate);
        if (!may_begin()) return gone();
        if (auto resumed = rotation.resume(); !resumed) return resumed;
        (void)say({{"event", "begun"}, {"notices", Json::array()}});
        return {};
    }

    Outcome<daemon::Notices> rotate(BesideMount& rotation, core::RotationRun& run) {
        log_.write(LogLevel::kNotice, "keys", "a rotation of the volume's keys is under way");
        run.damaged = 0;
        auto done = [&] {
            const Teller teller(*this, run, Teller::OnHangUp::kGoOn);
            return rotation.run(run);
        }();
        if (done) {
            log_.write(LogLevel::kNotice, "keys", "the volume's keys are rotated");
        } else {
            log_.write(LogLevel::kError, "keys", "the rotation of keys stopped: {}",
                       done.error().sentence);
        }
        return done;
    }

    Outcome<void> begin(BesideMount& rotation, const volume::OpeningSecret& given,
                        core::RotationRun& run) {
        const auto amount = [&] {
            const Teller teller(*this, run, Teller::OnHangUp::kStop);
            return rotation.survey(run);
        }();
        tell_damages();
        if (!amount) return std::unexpected(amount.error());
        (void)say({{"event", "survey"}, {"things", amount->things}, {"bytes", amount->bytes}});
        if (run.damaged != 0 && !run.leave_damaged) {
            return daemon::fail(daemon::FailureKind::kDamage, std::to_string(run.damaged.load()),
                                " things open under no key, and nothing was changed; bring them "
                                "back from a backup, "
                                "or give --leave-damaged to give them up");
        }
        const auto go = take_frame();
        if (!go || !flag_of(*go, "go")) return gone();
        std::optional<MoreSlot> more;
        if (go->contains("more") && go->at("more").is_object()) {
            const Json& wanted = go->at("more");
            auto secret = talk_->take(kMostSecret);
            if (!secret) return gone();
            more.emplace();
            more->slot.kind = kind_of(wanted);
            more->slot.label = words_of(wanted, "label");
            more->slot.cost = {small_number_of(wanted, "memory_kib"),
                               small_number_of(wanted, "passes"), small_number_of(wanted, "lanes")};
            more->secret = std::move(*secret);
        }
        if (!may_begin()) return gone();
        const auto begun = rotation.begin(given, more);
        if (!begun) return std::unexpected(begun.error());
        (void)say({{"event", "begun"}, {"notices", *begun}});
        return {};
    }

    // Says how far it is, while it lives.
    class Teller {
      public:
        // What becomes of the run when its command is gone.
        enum class OnHangUp : std::uint8_t { kGoOn, kStop };
        Teller(LiveService& service, core::RotationRun& run, OnHangUp on_hang_up)
            : service_(service), run_(run), on_hang_up_(on_hang_up), thread_([this] { tell(); }) {}
        ~Teller() {
            {
                const std::lock_guard lock(mutex_);
                done_ = true;
            }
            ended_.notify_one();
            thread_.join();
        }
        Teller(const Teller&) = delete;
        Teller& operator=(const Teller&) = delete;

      private:
        void tell() {
            std::unique_lock lock(mutex_);
            while (!ended_.wait_for(lock, kTurn, [this] { return done_; })) {
                service_.tell_damages();
                const char* event = on_hang_up_ == OnHangUp::kStop ? "looking" : "progress";
                const bool heard = service_.say({{"event", event},
                                                 {"cleaning", run_.cleaning.load()},
                                                 {"things", run_.things.load()},
                                                 {"bytes", run_.bytes.load()}});
                if (!heard && on_hang_up_ == OnHangUp::kStop) run_.stop = true;
            }
        }
        LiveService& service_;
        core::RotationRun& run_;
        const OnHangUp on_hang_up_;
        std::mutex mutex_;
        std::condition_variable ended_;
        bool done_ = false;
        std::thread thread_;
    };

    const daemon::VolumeOnDisk& disk_;
    core::Filesystem& fs_;
    daemon::Log& log_;
    std::atomic<bool> busy_{false};
    std::atomic<State> state_{State::kNone};
    std::mutex mutex_;
    std::condition_variable changed_;
    bool ending_ = false;               // guarded by mutex_
    bool held_back_ = false;            // likewise
    core::RotationRun* run_ = nullptr;  // likewise
    std::optional<daemon::Talk> talk_;  // made and reset under it, by the one who uses it
    std::mutex damaged_mutex_;
    std::vector<Json> damaged_;  // not said yet
    std::mutex saying_;
    bool listens_ = true;  // guarded by saying_
    std::thread thread_;   // the control thread's
};

}  // namespace

std::unique_ptr<daemon::LiveRotation> make_live_rotation(const daemon::VolumeOnDisk& disk,
                                                         core::Filesystem& fs, daemon::Log& log) {
    return std::make_unique<LiveService>(disk, fs, log);
}

}  // namespace extencfs::rotate
