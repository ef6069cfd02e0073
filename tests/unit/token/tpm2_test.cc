// SPDX-License-Identifier: Apache-2.0
// Secrets in a TPM, on one in software.
#include "tests/unit/token/swtpm.h"

using namespace extencfs;
using namespace extencfs::test;
using token::Choices;

namespace {

bool can_run() {
    if (!token::tpm2_token("swtpm:")->missing().empty()) {
        return is_there("tpm2-tss in this build", false);
    }
    return has_program(Swtpm::kProgram) && has_program("/usr/bin/tpm2_clear");
}

Bytes pin(std::string_view text) {
    return bytes_of(text);
}

}  // namespace

TEST_CASE("a TPM gives back what it sealed, and another one does not", "[tpm2]") {
    if (!can_run()) return;
    const Swtpm one;
    const Swtpm other;
    const auto chip = token::tpm2_token(one.tcti());
    const auto made = chip->make(kVolumeId, {}, {});
    REQUIRE(made);
    CHECK(made->secret.size() == 32);
    CHECK_FALSE(made->box.pin);
    CHECK(made->box.sealed.size() <= 512);
    // The secret is not in what is kept.
    CHECK(text_of(made->box.sealed).find(text_of(made->secret.bytes())) == std::string::npos);
    const auto again = chip->open(kVolumeId, made->box, {});
    REQUIRE(again);
    CHECK(equal(again->bytes(), made->secret.bytes()));
    const auto second = chip->make(kVolumeId, {}, {});
    REQUIRE(second);
    CHECK_FALSE(equal(second->secret.bytes(), made->secret.bytes()));

    const auto stranger = token::tpm2_token(other.tcti())->open(kVolumeId, made->box, {});
    CHECK(kind_of(stranger) == "elsewhere");
    CHECK(is_sentence(stranger.error().sentence));
}

TEST_CASE("a TPM that was started anew still opens, one that was cleared does not", "[tpm2]") {
    if (!can_run()) return;
    Swtpm machine;
    const auto chip = token::tpm2_token(machine.tcti());
    const auto made = chip->make(kVolumeId, {}, {});
    REQUIRE(made);
    machine.restart();
    CHECK(chip->open(kVolumeId, made->box, {}));
    machine.tool("tpm2_clear", {});
    const auto cleared = chip->open(kVolumeId, made->box, {});
    CHECK(kind_of(cleared) == "elsewhere");
    CHECK(cleared.error().sentence.find("cleared") != std::string::npos);
}

TEST_CASE("registers decide, and what they decide counts as no wrong PIN", "[tpm2]") {
    if (!can_run()) return;
    Swtpm machine;
    const auto chip = token::tpm2_token(machine.tcti());
    const auto made = chip->make(kVolumeId, {.pcrs = 1U << 7 | 1U << 14, .pin = true}, pin("12"));
    REQUIRE(made);
    CHECK(made->box.pcrs == (1U << 7 | 1U << 14));
    CHECK(chip->open(kVolumeId, made->box, pin("12")));
    machine.tool("tpm2_pcrextend", {"15:sha256=" + std::string(64, 'a')});
    CHECK(chip->open(kVolumeId, made->box, pin("12")));
    machine.tool("tpm2_pcrextend", {"14:sha256=" + std::string(64, 'a')});
    for (int i = 0; i < 5; ++i) {
        CHECK(kind_of(chip->open(kVolumeId, made->box, pin("12"))) == "refused");
    }
    machine.restart();
    CHECK(chip->open(kVolumeId, made->box, pin("12")));
    // The numbers are part of what was sealed: others do not help.
    auto without = made->box;
    without.pcrs = 0;
    CHECK(kind_of(chip->open(kVolumeId, without, pin("12"))) == "refused");
}

TEST_CASE("a wrong PIN is counted, told, and ends in a lock", "[tpm2]") {
    if (!can_run()) return;
    const Swtpm machine;
    const auto chip = token::tpm2_token(machine.tcti());
    // Three wrong ones, then a lock for an hour.
    machine.tool("tpm2_dictionarylockout",
                 {"--setup-parameters", "--max-tries=3", "--recovery-time=3600",
                  "--lockout-recovery-time=3600"});
    const std::string longer(200, 'p');
    const auto made = chip->make(kVolumeId, {.pin = true}, pin(longer));
    REQUIRE(made);
    CHECK(made->box.pin);
    CHECK(chip->open(kVolumeId, made->box, pin(longer)));
    // None, or no need of one: refused here, without a try.
    CHECK(kind_of(chip->open(kVolumeId, made->box, {})) == "refused");
    auto without = made->box;
    without.pin = false;
    CHECK(kind_of(chip->open(kVolumeId, without, {})) == "refused");

    for (int wrong = 1; wrong <= 3; ++wrong) {
        const auto refused = chip->open(kVolumeId, made->box, pin(longer + "x"));
        CHECK(kind_of(refused) == "wrong-pin");
        CHECK(is_sentence(refused.error().sentence));
        INFO(refused.error().sentence);
        CHECK(refused.error().sentence.find("counted " + std::to_string(wrong) + " of 3") !=
              std::string::npos);
        CHECK(refused.error().sentence.find("60 minutes") != std::string::npos);
        CHECK(refused.error().sentence.find(longer) == std::string::npos);
    }
    const auto locked = chip->open(kVolumeId, made->box, pin(longer));
    CHECK(kind_of(locked) == "locked");
    CHECK(is_sentence(locked.error().sentence));
    // What needs no PIN is not locked.
    const auto open = chip->make(kVolumeId, {}, {});
    REQUIRE(open);
    CHECK(chip->open(kVolumeId, open->box, {}));
}

TEST_CASE("bytes that no TPM sealed are refused", "[tpm2]") {
    if (!can_run()) return;
    const Swtpm machine;
    const auto chip = token::tpm2_token(machine.tcti());
    const auto made = chip->make(kVolumeId, {}, {});
    REQUIRE(made);
    for (std::size_t at = 0; at < made->box.sealed.size(); at += 3) {
        auto box = made->box;
        box.sealed[at] ^= std::byte{0x10};
        CHECK_FALSE(chip->open(kVolumeId, box, {}));
    }
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, made->box.sealed.size() - 1}) {
        auto box = made->box;
        box.sealed.resize(size);
        CHECK(kind_of(chip->open(kVolumeId, box, {})) == "elsewhere");
    }
    auto longer = made->box;
    longer.sealed.push_back(std::byte{0});
    CHECK(kind_of(chip->open(kVolumeId, longer, {})) == "elsewhere");
    CHECK(chip->open(kVolumeId, made->box, {}));
}

TEST_CASE("a machine without a TPM says so", "[tpm2]") {
    const auto none = token::tpm2_token("device:/dev/no-such-tpm");
    CHECK(is_sentence(none->missing()));
    const auto made = none->make(kVolumeId, {}, {});
    CHECK(kind_of(made) == "absent");
    CHECK(is_sentence(made.error().sentence));
    CHECK(kind_of(none->open(kVolumeId, {}, {})) != "good");
}
