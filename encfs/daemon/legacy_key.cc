// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/legacy_key.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <span>

#include "crypto/random.h"
#include "encfs/legacy/alphabet.h"

namespace extencfs::daemon {
namespace {

constexpr std::size_t kSaltBytes = 20;
constexpr std::uint32_t kLeastIterations = 1000;
constexpr std::uint32_t kMostIterations = 1U << 30;

Failure key_failure(const volume::Error& error, const std::string& name) {
    switch (error.kind) {
        case volume::ErrorKind::kWrongPassword:
            return {FailureKind::kWrongPassword, "the password is wrong; try again"};
        case volume::ErrorKind::kDamaged:
            return {FailureKind::kDamage, name + " is damaged (" + error.detail +
                                              "); restore it from a backup of the volume"};
        default:
            return {FailureKind::kKeyDerivation,
                    "the key cannot be derived (" + error.detail + "); try again"};
    }
}

std::unexpected<Failure> no_random() {
    return fail(FailureKind::kOther, "the kernel gives no random bytes; try again");
}

double thread_ms() {
    struct timespec now {};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

// PBKDF2 is linear in its iterations. By the processor's time, so that a busy machine does not make
// a weak volume.
std::uint32_t measure_iterations(std::uint32_t target_ms, Bytes salt) {
    constexpr std::uint32_t kSample = 50'000;
    const ByteArray<8> password{};
    ByteArray<48> out;
    const double start = thread_ms();
    if (!crypto::legacy_pbkdf2(password, salt, kSample, out)) return kLeastIterations;
    const double wanted = kSample * (target_ms / std::max(thread_ms() - start, 0.01));
    return static_cast<std::uint32_t>(
        std::clamp(wanted, double{kLeastIterations}, double{kMostIterations}));
}

}  // namespace

Outcome<crypto::SecretBytes> open_legacy_key(const LegacyConfig& config, Bytes password) {
    auto secret =
        legacy::unwrap_key(config.config, config.parameters, password, legacy::KeyCheck::kChecked);
    if (!secret) return std::unexpected(key_failure(secret.error(), config.name));
    return std::move(*secret);
}

Outcome<void> set_legacy_password(LegacyConfig& config, Bytes secret, Bytes password) {
    if (config.config.format == legacy::ConfigFormat::kV7) {
        return fail(FailureKind::kUnsupported, "the password of ", config.name,
                    " cannot be changed here; change it with EncFS 2, or migrate the volume");
    }
    legacy::Config changed = config.config;
    if (changed.format == legacy::ConfigFormat::kV6) {
        changed.salt.resize(kSaltBytes);
        if (!crypto::fill_random(changed.salt)) return no_random();
        if (changed.kdf_ms == 0) changed.kdf_ms = kLegacyKdf_ms;
        changed.kdf_ms = std::min(changed.kdf_ms, 10 * kLegacyParanoiaKdf_ms);
        changed.iterations = measure_iterations(changed.kdf_ms, changed.salt);
    }
    auto wrapped = legacy::wrap_key(changed, config.parameters, password, secret);
    if (!wrapped) return std::unexpected(key_failure(wrapped.error(), config.name));
    changed.wrapped_key = std::move(*wrapped);
    config.config = std::move(changed);
    return {};
}

Outcome<NewLegacyVolume> new_legacy_volume(legacy::Config config, Bytes password) {
    auto parameters = legacy::parameters_of(config);
    if (!parameters) {
        return fail(FailureKind::kUnsupported, "this configuration cannot be had (",
                    parameters.error().detail, "); choose other values");
    }
    crypto::SecretBytes secret(parameters->cipher.secret_size());
    if (!crypto::fill_random(secret.mutable_bytes())) return no_random();
    LegacyConfig made{".encfs6.xml", {}, std::move(config), *parameters};
    if (auto set = set_legacy_password(made, secret.bytes(), password); !set)
        return std::unexpected(set.error());
    return NewLegacyVolume{std::move(made), std::move(secret)};
}

Outcome<std::string> legacy_key_text(const LegacyConfig& config, Bytes secret) {
    const auto unusable = [] {
        return fail(FailureKind::kOther, "the volume's cipher cannot be used; try again");
    };
    const auto key = crypto::LegacyKey::create(config.parameters.cipher, secret);
    if (!key) return unusable();
    const auto mac = key->mac64(secret);
    if (!mac) return unusable();
    const std::uint32_t checksum = crypto::fold32(*mac);
    crypto::SecretBytes wrapped(sizeof checksum + secret.size());
    const MutBytes bytes = wrapped.mutable_bytes();
    for (std::size_t i = 0; i < sizeof checksum; ++i)
        bytes[i] = static_cast<std::byte>(checksum >> (8 * (sizeof checksum - 1 - i)));
    std::ranges::copy(secret, bytes.subspan(sizeof checksum).begin());
    if (!key->encode_stream(bytes.subspan(sizeof checksum), checksum)) return unusable();
    return legacy::to_digits(wrapped.bytes(), legacy::Alphabet::kBase64);
}

}  // namespace extencfs::daemon
