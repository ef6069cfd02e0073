// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/padded_siv.h"

#include "encfs/volume/crypto_errors.h"
#include "encfs/volume/wire.h"

namespace extencfs::volume {
namespace {

using PaddedText = ByteArray<padded_siv_size(kMaxPlainName) - crypto::kSivTagSize>;

}  // namespace

Result<ByteVector> seal_padded(const crypto::NameCipher& cipher, BytesN<16> owner,
                               std::string_view plain) {
    PaddedText padded{};
    if (plain.empty() || plain.size() > kMaxPlainName) {
        return fail(ErrorKind::kInternal, "name: length out of range");
    }
    put_bytes(padded, 0, bytes_of(plain));
    ByteVector sealed(padded_siv_size(plain.size()));
    const Bytes used = Bytes(padded).first(sealed.size() - crypto::kSivTagSize);
    // Deterministic: equal names in one directory must meet, and SIV needs no nonce.
    if (auto done = cipher.seal(owner, used, sealed); !done) {
        return from_crypto(done.error(), "name");
    }
    return sealed;
}

Result<std::string> open_padded(const crypto::NameCipher& cipher, BytesN<16> owner, Bytes sealed) {
    PaddedText padded;
    if (sealed.size() <= crypto::kSivTagSize || sealed.size() % kNamePadding != 0 ||
        sealed.size() - crypto::kSivTagSize > padded.size()) {
        return fail(ErrorKind::kDamaged, "name: wrong length");
    }
    const MutBytes plain = MutBytes(padded).first(sealed.size() - crypto::kSivTagSize);
    if (auto done = cipher.open(owner, sealed, plain); !done) {
        return from_crypto(done.error(), "name");
    }
    const std::string_view text = text_of(plain);
    const std::string_view name = text.substr(0, text.find_last_not_of('\0') + 1);
    if (name.empty() || name.size() > kMaxPlainName ||
        padded_siv_size(name.size()) != sealed.size() ||
        name.find('\0') != std::string_view::npos) {
        return fail(ErrorKind::kDamaged, "name: wrong padding");
    }
    return std::string(name);
}

}  // namespace extencfs::volume
