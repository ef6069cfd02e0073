// SPDX-License-Identifier: Apache-2.0
#include "encfs/token/key_cache.h"

#include <linux/keyctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "crypto/encoding.h"

namespace extencfs::token {
namespace {

constexpr const char* kType = "user";
constexpr std::string_view kMagic = "x1k1";
constexpr std::size_t kSlotAt = 4;
constexpr std::size_t kRevisionAt = 8;
constexpr std::size_t kKeyAt = 16;
constexpr std::size_t kPayloadSize = kKeyAt + 32;

// The kernel's KEY_POS_* and KEY_USR_*, which no header of it gives. Whoever has found it in his
// keyring, and its user: all; group and others: nothing, not even that it is there.
constexpr unsigned kOwnersOnly = 0x3f3f0000;

long keyctl(int operation, unsigned long a = 0, unsigned long b = 0, unsigned long c = 0,
            unsigned long d = 0) {
    return ::syscall(SYS_keyctl, operation, a, b, c, d);
}
unsigned long ring(int special) {
    return static_cast<unsigned long>(static_cast<long>(special));
}
unsigned long pointer(const void* to) {
    return reinterpret_cast<unsigned long>(to);
}

std::string name_of(BytesN<16> volume_id) {
    return "extencfs:" + crypto::hex_encode(volume_id);
}

// Negative with errno when there is none, or none that counts any more.
long find(BytesN<16> volume_id) {
    const std::string name = name_of(volume_id);
    return keyctl(KEYCTL_SEARCH, ring(KEY_SPEC_USER_KEYRING), pointer(kType),
                  pointer(name.c_str()));
}

void put_number(MutBytes out, std::size_t at, std::size_t size, std::uint64_t value) {
    for (std::size_t i = 0; i < size; ++i) out[at + i] = static_cast<std::byte>(value >> (8 * i));
}
std::uint64_t number(Bytes in, std::size_t at, std::size_t size) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < size; ++i) {
        value |= std::to_integer<std::uint64_t>(in[at + i]) << (8 * i);
    }
    return value;
}

}  // namespace

std::optional<CachedKey> cached_key(BytesN<16> volume_id) {
    const long id = find(volume_id);
    if (id < 0) return std::nullopt;
    crypto::SecretBytes payload(kPayloadSize);
    const long size = keyctl(KEYCTL_READ, static_cast<unsigned long>(id),
                             pointer(payload.mutable_bytes().data()), payload.size());
    if (size != static_cast<long>(kPayloadSize) ||
        text_of(payload.bytes().first(kMagic.size())) != kMagic) {
        return std::nullopt;
    }
    CachedKey key;
    key.slot = static_cast<std::uint32_t>(number(payload.bytes(), kSlotAt, 4));
    key.revision = number(payload.bytes(), kRevisionAt, 8);
    std::ranges::copy(payload.bytes().subspan(kKeyAt), key.box_key.mutable_bytes().begin());
    return key;
}

Result<void> cache_key(BytesN<16> volume_id, const CachedKey& key, std::chrono::seconds time) {
    crypto::SecretBytes payload(kPayloadSize);
    std::ranges::copy(bytes_of(kMagic), payload.mutable_bytes().begin());
    put_number(payload.mutable_bytes(), kSlotAt, 4, key.slot);
    put_number(payload.mutable_bytes(), kRevisionAt, 8, key.revision);
    std::ranges::copy(key.box_key.bytes(), payload.mutable_bytes().begin() + kKeyAt);
    const std::string name = name_of(volume_id);
    // First in a keyring that ends with this thread: whatever kills us, no key stays that has no
    // end of its own.
    const long id = ::syscall(SYS_add_key, kType, name.c_str(), payload.bytes().data(),
                              payload.size(), KEY_SPEC_THREAD_KEYRING);
    const auto serial = static_cast<unsigned long>(id);
    const bool kept =
        id >= 0 && keyctl(KEYCTL_SETPERM, serial, kOwnersOnly) == 0 &&
        keyctl(KEYCTL_SET_TIMEOUT, serial, static_cast<unsigned long>(time.count())) == 0 &&
        keyctl(KEYCTL_LINK, serial, ring(KEY_SPEC_USER_KEYRING)) == 0;
    const int error = errno;
    if (id >= 0) (void)keyctl(KEYCTL_UNLINK, serial, ring(KEY_SPEC_THREAD_KEYRING));
    if (kept) return {};
    return std::unexpected(
        Error{error == ENOSYS || error == EPERM ? ErrorKind::kAbsent : ErrorKind::kFailed,
              "the kernel's keyring does not keep the key (" + std::string(strerrordesc_np(error)) +
                  "); mount without --cache-key, or see keyrings(7)"});
}

Result<bool> forget_key(BytesN<16> volume_id) {
    const long id = find(volume_id);
    if (id < 0) return false;
    const auto serial = static_cast<unsigned long>(id);
    // Revoked before it is unlinked: who found it already reads nothing more.
    const bool revoked = keyctl(KEYCTL_REVOKE, serial) == 0;
    const int error = errno;
    (void)keyctl(KEYCTL_UNLINK, serial, ring(KEY_SPEC_USER_KEYRING));
    if (revoked) return true;
    return std::unexpected(Error{ErrorKind::kFailed, "the kept key cannot be taken away (" +
                                                         std::string(strerrordesc_np(error)) +
                                                         "); 'keyctl show @u' shows it"});
}

}  // namespace extencfs::token
