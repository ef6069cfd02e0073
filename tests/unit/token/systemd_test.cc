// SPDX-License-Identifier: Apache-2.0
// Credentials of systemd-creds: the real one where the machine has it, and programs that behave
// badly in its place.
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "crypto/encoding.h"
#include "tests/unit/token/swtpm.h"

using namespace extencfs;
using namespace extencfs::test;
using namespace std::chrono_literals;
using token::Choices;

namespace {

constexpr const char* kReal = "/usr/bin/systemd-creds";

bool can_run() {
    if (::geteuid() == 0) return has_program(kReal);
    WARN("not tested: the machine's key is root's");
    return false;
}
auto real() {
    return token::systemd_token(kReal, 30s);
}

// A script in place of systemd-creds.
class Script {
  public:
    explicit Script(const std::string& text) {
        std::string name = std::filesystem::temp_directory_path() / "extencfs-script-XXXXXX";
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        dir_ = name;
        std::ofstream(path()) << "#!/bin/sh\n" << text << "\n";
        REQUIRE(::chmod(path().c_str(), 0755) == 0);
    }
    ~Script() {
        std::error_code error;
        std::filesystem::remove_all(dir_, error);
    }
    Script(const Script&) = delete;
    Script& operator=(const Script&) = delete;
    std::string path() const { return dir_ + "/systemd-creds"; }
    std::string beside(const std::string& name) const { return dir_ + "/" + name; }
    std::unique_ptr<token::Token> token(std::chrono::milliseconds patience = 5s) const {
        return token::systemd_token(path(), patience);
    }

  private:
    std::string dir_;
};

volume::TokenBox box_of(const char* type) {
    volume::TokenBox box;
    box.sealed = crypto::hex_decode(type).value();
    box.sealed.resize(100);
    return box;
}
const char* const kTpmType = "0c7cc07b117645919c4b0bea08bc20fe";
const char* const kNullType = "058469daf6f54324800549da0f8ea2fb";

}  // namespace

TEST_CASE("the machine's key seals and opens, for one volume", "[systemd]") {
    if (!can_run()) return;
    const auto made = real()->make(kVolumeId, {}, {});
    REQUIRE(made);
    CHECK(made->secret.size() == 32);
    CHECK(volume::sealing_keys(made->box.sealed) == "host");
    const auto again = real()->open(kVolumeId, made->box, {});
    REQUIRE(again);
    CHECK(equal(again->bytes(), made->secret.bytes()));
    const auto elsewhere = real()->open(kOtherId, made->box, {});
    CHECK(kind_of(elsewhere) == "elsewhere");
    CHECK(is_sentence(elsewhere.error().sentence));
    auto changed = made->box;
    changed.sealed.back() ^= std::byte{1};
    CHECK(kind_of(real()->open(kVolumeId, changed, {})) == "elsewhere");
}

TEST_CASE("credentials of the TPM, and of both", "[systemd]") {
    if (!can_run() || !has_program(Swtpm::kProgram)) return;
    const Swtpm chip;
    REQUIRE(::setenv("SYSTEMD_TPM2_DEVICE", chip.tcti().c_str(), 1) == 0);
    for (const char* keys : {"tpm2", "host+tpm2"}) {
        const auto made = real()->make(kVolumeId, {.keys = keys, .pcrs = 1U << 7}, {});
        REQUIRE(made);
        CHECK(volume::sealing_keys(made->box.sealed) == keys);
        const auto again = real()->open(kVolumeId, made->box, {});
        REQUIRE(again);
        CHECK(equal(again->bytes(), made->secret.bytes()));
    }
    ::unsetenv("SYSTEMD_TPM2_DEVICE");
    if (!std::filesystem::exists("/dev/tpmrm0")) {
        const auto none = real()->make(kVolumeId, {.keys = "tpm2"}, {});
        REQUIRE_FALSE(none);
        CHECK(is_sentence(none.error().sentence));
    }
}

TEST_CASE("a credential that no key sealed is never given to the program", "[systemd]") {
    const Script script("touch \"$(dirname \"$0\")/ran\"; cat");
    CHECK(kind_of(script.token()->open(kVolumeId, box_of(kNullType), {})) == "refused");
    CHECK(kind_of(script.token()->open(kVolumeId, {}, {})) == "refused");
    CHECK_FALSE(std::filesystem::exists(script.beside("ran")));
    (void)script.token()->open(kVolumeId, box_of(kTpmType), {});
    CHECK(std::filesystem::exists(script.beside("ran")));
    // As systemd 252 makes it, and would open it.
    if (!can_run()) return;
    const auto null =
        token::run_program(kReal,
                           {"encrypt", "--name=extencfs." + crypto::hex_encode(kVolumeId),
                            "--with-key=tpm2-absent", "-", "-"},
                           bytes_of(std::string(32, 's')), 8192, 20s);
    REQUIRE(null);
    if (null->status != 0) return;  // later versions make none
    volume::TokenBox box;
    box.sealed = crypto::base64_decode(text_of(null->output.bytes())).value();
    CHECK(kind_of(real()->open(kVolumeId, box, {})) == "refused");
}

TEST_CASE("what the program seals otherwise than asked is not taken", "[systemd]") {
    for (const char* type : {kNullType, kTpmType}) {
        auto sealed = box_of(type).sealed;
        const Script script("cat >/dev/null; echo " + crypto::base64_encode(sealed));
        if (::geteuid() == 0) {
            CHECK(kind_of(script.token()->make(kVolumeId, {}, {})) == "failed");
        }
        const auto tpm = script.token()->make(kVolumeId, {.keys = "tpm2"}, {});
        CHECK(kind_of(tpm) == (type == kTpmType ? "good" : "failed"));
    }
}

TEST_CASE("the secret is on the pipe and in no argument or variable", "[systemd]") {
    const Script script(
        "d=$(dirname \"$0\"); printf '%s\\n' \"$@\" >$d/argv; env >$d/env; cat >$d/stdin; echo " +
        crypto::base64_encode(box_of(kTpmType).sealed));
    const auto made = script.token()->make(kVolumeId, {.keys = "tpm2"}, {});
    REQUIRE(made);
    const auto text = [&](const char* name) {
        std::ifstream in(script.beside(name));
        return std::string(std::istreambuf_iterator<char>(in), {});
    };
    CHECK(text("stdin") == text_of(made->secret.bytes()));
    for (const auto& form :
         {std::string(text_of(made->secret.bytes())), crypto::hex_encode(made->secret.bytes()),
          crypto::base64_encode(made->secret.bytes())}) {
        CHECK(text("argv").find(form) == std::string::npos);
        CHECK(text("env").find(form) == std::string::npos);
    }
    CHECK(text("argv").find("--name=extencfs.0102") != std::string::npos);
}

TEST_CASE("a program that hangs, fails or lies costs a sentence", "[systemd]") {
    const struct {
        const char* script;
        const char* kind;
    } cases[] = {{"sleep 60", "timeout"},
                 {"cat >/dev/null; echo 'no such key.' >&2; exit 1", "elsewhere"},
                 {"cat >/dev/null; printf short", "elsewhere"},
                 {"cat >/dev/null; printf %033d 0", "elsewhere"},
                 {"cat >/dev/null; printf %032d 0", "good"}};
    for (const auto& one : cases) {
        INFO(one.script);
        const Script script(one.script);
        const auto opened = script.token(500ms)->open(kVolumeId, box_of(kTpmType), {});
        CHECK(kind_of(opened) == one.kind);
        if (!opened) CHECK(is_sentence(opened.error().sentence));
    }
    const auto none = token::systemd_token("/no/such/systemd-creds", 1s);
    CHECK(is_sentence(none->missing()));
    CHECK(kind_of(none->open(kVolumeId, box_of(kTpmType), {})) == "absent");
}
