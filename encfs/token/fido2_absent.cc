// SPDX-License-Identifier: Apache-2.0
// What a build without libfido2 says.
#include "encfs/token/fido2_device.h"

namespace extencfs::token {
namespace {

constexpr const char* kAbsent =
    "this build of extencfs knows no security keys (FIDO2); use one that does, or another key";

class NoFido2Devices final : public Fido2Devices {
  public:
    std::string missing() const override { return kAbsent; }
    Result<std::vector<Fido2Device>> list() override { return absent(); }
    Result<ByteVector> make_credential(const std::string&, Bytes) override { return absent(); }
    bool holds(const std::string&, Bytes) override { return false; }
    Result<crypto::SecretBytes> hmac_secret(const std::string&, Bytes, BytesN<32>, Bytes) override {
        return absent();
    }

  private:
    static std::unexpected<Error> absent() {
        return std::unexpected(Error{ErrorKind::kAbsent, kAbsent});
    }
};

}  // namespace

std::unique_ptr<Fido2Devices> fido2_devices() {
    return std::make_unique<NoFido2Devices>();
}

}  // namespace extencfs::token
