// SPDX-License-Identifier: Apache-2.0
#include "crypto/kdf.h"

#include <cstdlib>
#include <string_view>

#include "crypto/sodium_ready.h"

namespace extencfs::crypto {

namespace {

constexpr std::string_view label_text(KeyPurpose purpose) {
    switch (purpose) {
        case KeyPurpose::kConfigMac:
            return "x1.config-mac";
        case KeyPurpose::kGenerationWrap:
            return "x1.gen-wrap";
        case KeyPurpose::kContent:
            return "x1.content";
        case KeyPurpose::kHeader:
            return "x1.header";
        case KeyPurpose::kNames:
            return "x1.names";
        case KeyPurpose::kDirectoryMac:
            return "x1.dir-mac";
        case KeyPurpose::kDirectoryBind:
            return "x1.dir-bind";
        case KeyPurpose::kXattr:
            return "x1.xattr";
        case KeyPurpose::kXattrName:
            return "x1.xattr-name";
        case KeyPurpose::kSymlink:
            return "x1.symlink";
        case KeyPurpose::kFile:
            return "x1.file";
        case KeyPurpose::kBlockGroup:
            return "x1.group";
        case KeyPurpose::kTokenWrap:
            return "x1.token";
    }
    return {};
}

// libsodium refuses only lengths, and every length here is fixed by a type: a refusal means that
// memory is corrupt, and a key that was not written must never be used.
void must_succeed(int status) {
    if (status != 0) std::abort();
}

void derive(BytesN<32> parent, KeyPurpose purpose, Bytes context, MutBytes out) {
    sodium_ready();
    const ByteArray<16> label = purpose_label(purpose);
    must_succeed(crypto_generichash_blake2b_salt_personal(
        raw(out), out.size(), raw(context), context.size(), raw(Bytes(parent)), parent.size(),
        nullptr, raw(Bytes(label))));
}

void hash(Bytes key, Bytes message, MutBytes out) {
    sodium_ready();
    must_succeed(crypto_generichash_blake2b(raw(out), out.size(), raw(message), message.size(),
                                            raw(key), key.size()));
}

}  // namespace

ByteArray<16> purpose_label(KeyPurpose purpose) {
    const std::string_view text = label_text(purpose);
    // A number outside the enumeration must not yield the key of the empty label.
    must_succeed(text.empty() ? -1 : 0);
    ByteArray<16> label{};
    for (std::size_t i = 0; i < text.size(); ++i) label[i] = static_cast<std::byte>(text[i]);
    return label;
}

void derive_key(BytesN<32> parent, KeyPurpose purpose, Bytes context, MutBytesN<32> out) {
    derive(parent, purpose, context, out);
}

void derive_key(BytesN<32> parent, KeyPurpose purpose, Bytes context, MutBytesN<64> out) {
    derive(parent, purpose, context, out);
}

void mac128(BytesN<32> key, Bytes message, MutBytesN<16> out) {
    hash(key, message, out);
}

void mac256(BytesN<32> key, Bytes message, MutBytesN<32> out) {
    hash(key, message, out);
}

void hash256(Bytes message, MutBytesN<32> out) {
    hash({}, message, out);
}

}  // namespace extencfs::crypto
