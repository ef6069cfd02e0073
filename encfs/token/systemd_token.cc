// SPDX-License-Identifier: Apache-2.0
// A secret in a credential of systemd-creds, which the machine's key or its TPM seals. Only
// credentials that some key sealed are ever handed to the program: it opens the others too.
#include <unistd.h>

#include <algorithm>

#include "crypto/encoding.h"
#include "encfs/token/pcrs.h"
#include "encfs/token/program.h"

namespace extencfs::token {
namespace {

// Base64 of the largest credential, with its line ends.
constexpr std::size_t kMostText = volume::kMostSealed * 3 / 2;

class SystemdToken final : public Token {
  public:
    SystemdToken(std::string program, std::chrono::milliseconds patience)
        : program_(std::move(program)), patience_(patience) {}

    std::string missing() const override {
        if (::access(program_.c_str(), X_OK) == 0) return "";
        return program_ + " is not there; install systemd 250 or later, or use another key";
    }
    std::string missing_for(const volume::TokenBox& box) const override {
        if (std::string why = missing(); !why.empty()) return why;
        const auto may = check_user(volume::sealing_keys(box.sealed));
        return may ? "" : may.error().sentence;
    }
    Result<bool> wants_pin(const Choices&) const override { return false; }

    Result<Made> make(BytesN<16> volume_id, const Choices& choices, Bytes) override {
        if (auto may = check_user(choices.keys); !may) return std::unexpected(may.error());
        auto secret = new_secret();
        if (!secret) return std::unexpected(secret.error());
        std::vector<std::string> words{"encrypt", name_word(volume_id),
                                       "--with-key=" + choices.keys};
        if (choices.pcrs != 0) words.push_back("--tpm2-pcrs=" + pcr_text(choices.pcrs));
        words.insert(words.end(), {"-", "-"});
        auto text = run(words, secret->bytes(), "seal the key");
        if (!text) return std::unexpected(text.error());
        auto sealed = crypto::base64_decode(text_of(text->bytes()));
        // What it was asked for is not always what it does: without a TPM, some do without.
        if (!sealed || volume::sealing_keys(*sealed) != choices.keys) {
            return fail(ErrorKind::kFailed, program_ + " did not seal with '" + choices.keys +
                                                "'; choose another key with --with-key");
        }
        Made made;
        made.box.sealed = std::move(*sealed);
        made.secret = std::move(*secret);
        return made;
    }

    Result<crypto::SecretBytes> open(BytesN<16> volume_id, const volume::TokenBox& box,
                                     Bytes) override {
        const std::string_view keys = volume::sealing_keys(box.sealed);
        if (keys.empty()) {
            return fail(ErrorKind::kRefused,
                        "no key of a machine sealed this credential, anybody could have made it; "
                        "give another key, and remove that slot");
        }
        if (auto may = check_user(keys); !may) return std::unexpected(may.error());
        const std::string text = crypto::base64_encode(box.sealed);
        auto secret =
            run({"decrypt", name_word(volume_id), "-", "-"}, bytes_of(text), "open the credential");
        if (secret && secret->size() != kSecretSize) {
            return fail(ErrorKind::kElsewhere,
                        "the credential does not hold a key of a volume; give another key");
        }
        return secret;
    }

  private:
    static std::unexpected<Error> fail(ErrorKind kind, std::string sentence) {
        return std::unexpected(Error{kind, std::move(sentence)});
    }
    // The program checks it, so that a credential of another volume does not open this one's slot.
    static std::string name_word(BytesN<16> volume_id) {
        return "--name=extencfs." + crypto::hex_encode(volume_id);
    }
    static Result<void> check_user(std::string_view keys) {
        if (keys == "tpm2" || ::geteuid() == 0) return {};
        return fail(ErrorKind::kRefused,
                    "the machine's key is root's; mount as root, or use another key");
    }
    Result<crypto::SecretBytes> run(const std::vector<std::string>& words, Bytes input,
                                    const char* to_do) const {
        auto ran = run_program(program_, words, input, kMostText, patience_);
        if (!ran) return std::unexpected(ran.error());
        if (ran->status == 0) return std::move(ran->output);
        return fail(ErrorKind::kElsewhere, "systemd-creds could not " + std::string(to_do) + " (" +
                                               ran->last_words +
                                               "); use it on the machine that sealed it, or give "
                                               "another key");
    }

    std::string program_;
    std::chrono::milliseconds patience_;
};

}  // namespace

std::unique_ptr<Token> systemd_token(std::string program, std::chrono::milliseconds patience) {
    return std::make_unique<SystemdToken>(std::move(program), patience);
}

}  // namespace extencfs::token
