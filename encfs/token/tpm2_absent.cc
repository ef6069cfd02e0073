// SPDX-License-Identifier: Apache-2.0
// What a build without tpm2-tss says.
#include "encfs/token/token.h"

namespace extencfs::token {
namespace {

constexpr const char* kAbsent =
    "this build of extencfs knows no TPMs; use one that does, or another key";

class NoTpm2Token final : public Token {
  public:
    std::string missing() const override { return kAbsent; }
    Result<bool> wants_pin(const Choices&) const override { return absent(); }
    Result<Made> make(BytesN<16>, const Choices&, Bytes) override { return absent(); }
    Result<crypto::SecretBytes> open(BytesN<16>, const volume::TokenBox&, Bytes) override {
        return absent();
    }

  private:
    static std::unexpected<Error> absent() {
        return std::unexpected(Error{ErrorKind::kAbsent, kAbsent});
    }
};

}  // namespace

std::unique_ptr<Token> tpm2_token(std::string) {
    return std::make_unique<NoTpm2Token>();
}

}  // namespace extencfs::token
