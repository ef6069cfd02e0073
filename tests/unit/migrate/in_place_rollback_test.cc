// SPDX-License-Identifier: Apache-2.0
// A migration in place is taken back while no file was removed, and says so when it cannot be.
#include "tests/unit/migrate/in_place_for_tests.h"

using namespace extencfs;
using namespace extencfs::migrate;
using daemon::FailureKind;

namespace {

// Begun, with the directories recorded, and nothing removed.
void begin(Converted& volume) {
    InPlace place(volume.lower(), volume.dir().fd());
    REQUIRE(place.begin(kOldIdentity, 100, [](const std::string&) { return Outcome<void>{}; }));
    REQUIRE(place.resume(kOldIdentity));
}

Outcome<void> take_back(Converted& volume) {
    return InPlace(volume.lower(), volume.dir().fd()).roll_back();
}

// What was there before: nothing of the migration, both configurations.
void check_untouched(Converted& volume, const struct stat& before) {
    for (const char* name : {volume::kMigrationName, kWorkUnmade, kWorkRoot, kWorkDone,
                             volume::kConfigName, volume::kStateName})
        CHECK_FALSE(volume.exists(name));
    CHECK(text_at(volume.dir().path(".encfs6.xml")) == kOldConfig);
    CHECK(text_at(volume.dir().path(".encfs5")) == "an older one");
    struct stat is {};
    REQUIRE(::fstat(volume.dir().fd(), &is) == 0);
    CHECK(is.st_mtim.tv_sec == before.st_mtim.tv_sec);
    CHECK(is.st_mtim.tv_nsec == before.st_mtim.tv_nsec);
}

struct stat add_second_config(Converted& volume) {
    struct stat is {};
    REQUIRE(::fstat(volume.dir().fd(), &is) == 0);
    put_text(volume.dir().path(".encfs5"), "an older one");
    const struct timespec times[2] = {is.st_atim, is.st_mtim};
    REQUIRE(::futimens(volume.dir().fd(), times) == 0);
    return is;
}

}  // namespace

TEST_CASE("a migration in place is taken back, killed at any call of that, and begun again") {
    FilledVolume same(ordinary_volume());
    for (std::uint64_t n = 1;; ++n) {
        INFO("died at call " << n);
        Converted volume;
        const auto before = add_second_config(volume);
        begin(volume);
        CHECK_FALSE(text_at(volume.dir().path(".encfs6.xml")) == kOldConfig);
        volume.lower().die_at(n);
        const bool done = take_back(volume).has_value();
        const bool died = volume.lower().dead();
        volume.lower().revive();
        if (!died) {
            REQUIRE(done);
            check_untouched(volume, before);
            break;
        }
        // Neither configuration is lost, whichever way it goes on.
        CHECK(text_at(volume.dir().path(".encfs5")) == "an older one");
        InPlace place(volume.lower(), volume.dir().fd());
        CHECK(text_at(volume.dir().path(place.config_path())) == kOldConfig);
        const bool nothing_left = !volume.exists(kWorkRoot);
        if (n % 2 == 0) {
            const auto again = take_back(volume);
            if (volume.exists(volume::kMigrationName)) CHECK(again);
            // Otherwise nothing has begun by now; the next run removes what is left.
        }
        const Run run = volume.run();
        INFO((run.outcome ? "" : run.outcome.error().sentence));
        REQUIRE(run.outcome);
        // Between the removal of the last name and the setting of the times nothing can help.
        CHECK((differences(same, volume.dir()) == "" ||
               (nothing_left &&
                differences(same, volume.dir()) == ": its modification time differs\n")));
        CHECK(text_at(volume.dir().path(std::string(kWorkDone) + "/old/.encfs5")) ==
              "an older one");
    }
}

TEST_CASE("a beginning that fails, or is killed, bars nothing and changes nothing") {
    for (std::uint64_t n = 1;; ++n) {
        INFO("died at call " << n);
        Converted volume;
        const auto before = add_second_config(volume);
        volume.lower().die_at(n);
        {
            InPlace place(volume.lower(), volume.dir().fd());
            (void)place.begin(kOldIdentity, 100,
                              [](const std::string&) { return Outcome<void>{}; });
        }
        const bool died = volume.lower().dead();
        volume.lower().revive();
        if (!died) break;
        CHECK(text_at(volume.dir().path(".encfs6.xml")) == kOldConfig);
        InPlace place(volume.lower(), volume.dir().fd());
        const auto view = place.look();
        REQUIRE(view);
        if (view->stage == InPlaceStage::kNone)
            REQUIRE(
                place.begin(kOldIdentity, 100, [](const std::string&) { return Outcome<void>{}; }));
        REQUIRE(take_back(volume));
        check_untouched(volume, before);
    }
    // Nor does a disk that is full, at any call that can tell.
    std::uint64_t failed = 0;
    for (const char* call : {"open_tmpfile", "link_tmpfile", "mkdir", "open", "pwrite", "fallocate",
                             "fsync", "syncfs"}) {
        for (std::uint64_t n = 1; n < 12; ++n) {
            INFO(call << " " << n);
            Converted volume;
            const auto before = add_second_config(volume);
            volume.lower().fail_at(n, ENOSPC, fake::Calls::named(call));
            InPlace place(volume.lower(), volume.dir().fd());
            if (place.begin(kOldIdentity, 100, [](const std::string&) { return Outcome<void>{}; }))
                continue;
            ++failed;
            volume.lower().revive();
            if (volume.exists(volume::kMigrationName)) REQUIRE(take_back(volume));
            check_untouched(volume, before);
        }
    }
    CHECK(failed > 15);
}

TEST_CASE("a journal that is empty bars nothing") {
    FilledVolume same(ordinary_volume());
    Converted volume;
    volume.lower().die_at(150);
    (void)volume.run();
    REQUIRE(volume.lower().dead());
    volume.lower().revive();
    const auto journal =
        volume.dir().path(std::string(volume::kMigrationName) + "/" + kJournalName);
    REQUIRE(::truncate(journal.c_str(), 0) == 0);
    REQUIRE(volume.run().outcome);
    CHECK(volume.exists(kWorkDone));
    // Times of directories are what they were by then.
    for (const char* line : {"large", "small", "sparse", "d/set-uid"})
        CHECK(differences(same, volume.dir()).find(std::string("\n") + line) == std::string::npos);
}

TEST_CASE("what cannot be taken back says so, and changes nothing") {
    Converted volume;
    CHECK(take_back(volume).error().kind == FailureKind::kCipherDir);
    CHECK(InPlace(volume.lower(), volume.dir().fd()).finish().error().kind ==
          FailureKind::kCipherDir);
    // Until the first file was removed.
    for (std::uint64_t n = 100;; n += 20) {
        volume.lower().die_at(n);
        (void)volume.run();
        volume.lower().revive();
        const auto view = InPlace(volume.lower(), volume.dir().fd()).look();
        REQUIRE(view);
        if (view->removing) break;
    }
    volume.lower().forget_calls();
    const auto refused = take_back(volume);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind == FailureKind::kCipherDir);
    CHECK(refused.error().sentence.find("cannot be taken back") != std::string::npos);
    CHECK(volume.lower().count(fake::Calls::mutating()) == 0);
    REQUIRE(volume.run().outcome);
    CHECK_FALSE(take_back(volume));
}

TEST_CASE("the end of a migration in place can be cut short, and keeps the root's times") {
    for (std::uint64_t n = 1;; ++n) {
        INFO("died at call " << n);
        Converted volume;
        struct stat before {};
        REQUIRE(::fstat(volume.dir().fd(), &before) == 0);
        REQUIRE(volume.run().outcome);
        volume.lower().die_at(n);
        (void)InPlace(volume.lower(), volume.dir().fd()).finish();
        const bool died = volume.lower().dead();
        volume.lower().revive();
        const bool there = volume.exists(kWorkDone);
        if (there) REQUIRE(InPlace(volume.lower(), volume.dir().fd()).finish());
        CHECK_FALSE(volume.exists(kWorkDone));
        struct stat after {};
        REQUIRE(::fstat(volume.dir().fd(), &after) == 0);
        // Between the removal of the last name and the setting of the times nothing can help.
        if (there || !died) CHECK(after.st_mtim.tv_nsec == before.st_mtim.tv_nsec);
        if (!died) break;
    }
}
