// SPDX-License-Identifier: Apache-2.0
// The volume's configuration file (FORMAT.md "Configuration"): one JSON text, authenticated under
// the volume key. Pure: text to structure and back; the caller reads and writes files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/aead.h"
#include "crypto/password_kdf.h"
#include "crypto/secret.h"
#include "encfs/volume/error.h"
#include "encfs/volume/format.h"
#include "encfs/volume/name_codec.h"
#include "encfs/volume/token_box.h"

namespace extencfs::volume {

// What opens a slot (FORMAT.md "Key slots"). The list on the disk is open: a slot of a kind that
// this program does not know is kForeign, shown and kept as it is, and never tried.
enum class SlotKind : std::uint8_t {
    kPassword,
    kKeyfile,
    kRecovery,
    kSystemd,  // this and the next two: a device or service holds the secret
    kTpm2,
    kFido2,
    kForeign
};
// Whether a device or service holds what opens slots of this kind.
constexpr bool is_token(SlotKind kind) {
    return kind == SlotKind::kSystemd || kind == SlotKind::kTpm2 || kind == SlotKind::kFido2;
}

struct KeySlot {
    std::uint32_t id = 0;  // never reused in a volume
    SlotKind kind = SlotKind::kPassword;
    std::string kind_name = "password";  // as it is on the disk
    std::string label;
    std::string created;  // RFC 3339, UTC
    std::string changed;
    crypto::Argon2Cost cost{};  // this and `salt`: not of kForeign, nor of tokens
    ByteArray<32> salt{};
    TokenBox token;       // of tokens only
    ByteVector wrapped;   // nonce 24 || wrapped volume key 32 || tag 16; not of kForeign
    std::string foreign;  // of kForeign only: the whole slot in canonical form
};

// A content key generation, wrapped under the volume key.
struct WrappedGeneration {
    std::uint32_t number = 0;
    ByteVector wrapped;  // nonce 24 || 32 || tag 16
};

struct Config {
    std::uint32_t version = kFormatVersion;
    std::vector<std::string> features;  // see features.h; unknown = refuse
    ByteArray<16> volume_id{};
    std::uint64_t revision = 1;  // grows by one with each change
    std::string creator;         // "extencfs 0.1.0"
    crypto::AeadKind content_cipher = crypto::AeadKind::kAes256Gcm;
    NameEncoding name_encoding = NameEncoding::kBase64Url;
    DirId root_id{};
    std::vector<WrappedGeneration> generations;  // ascending; the last seals new files
    std::vector<KeySlot> slots;                  // ascending ids
    std::uint32_t next_slot_id = 1;
    ByteArray<32> auth{};  // MAC; set by serialize()
};

// Strict: every member known, every value in range, sizes bounded (1 MiB of text at most).
// Does not authenticate: nothing but slots may be used before unlock() succeeded.
// ERRORS: kDamaged (not JSON, missing or mistyped member: named), kUnsupported (named).
Result<Config> parse_config(std::string_view text);

// JSON text with `auth` computed.
std::string serialize_config(const Config& config, BytesN<32> volume_key);

// Makes a new configuration with one password slot and one generation; fills `volume_key`, and the
// key of the slot's box if it is asked for.
struct NewVolume {
    crypto::AeadKind content_cipher = crypto::AeadKind::kAes256Gcm;
    NameEncoding name_encoding = NameEncoding::kBase64Url;
    crypto::Argon2Cost cost = crypto::kArgon2Moderate;
    std::string label;
};
Result<Config> new_config(const NewVolume& choice, Bytes password, crypto::Key256& volume_key,
                          crypto::Key256* box_key = nullptr);

// What somebody has to open a volume with. A password alone converts.
struct OpeningSecret {
    // NOLINTNEXTLINE(google-explicit-constructor)
    OpeningSecret(Bytes password) : bytes(password) {}
    OpeningSecret(SlotKind of_kind, Bytes secret, std::optional<std::uint32_t> only = {})
        : kind(of_kind), bytes(secret), slot(only) {}

    SlotKind kind = SlotKind::kPassword;
    Bytes bytes;                        // key file and recovery key: as slots.h makes them
    std::optional<std::uint32_t> slot;  // only this one is tried
    // `bytes` is the key of the slot's box, which was kept since the slot was opened.
    bool is_box_key = false;
};

struct OpenedSlot {
    crypto::Key256 volume_key;
    std::uint32_t slot = 0;
    crypto::Key256 box_key;  // opens this slot again, and nothing once that was changed
};

// Tries every slot of the secret's kind (or the one that is named), in order; then checks `auth`.
// ERRORS: kWrongPassword (no such slot opens), kDamaged (a slot opened but `auth` does not match:
// the configuration was changed by somebody without the key), kNoMemory (Argon2).
Result<OpenedSlot> open_slot(const Config& config, const OpeningSecret& secret);
// Whether the holder of that key wrote the configuration.
bool is_authentic(const Config& config, BytesN<32> volume_key);
// The key alone.
Result<crypto::Key256> unlock(const Config& config, const OpeningSecret& secret);

}  // namespace extencfs::volume
