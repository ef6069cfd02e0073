// SPDX-License-Identifier: Apache-2.0
#include "crypto/password_kdf.h"

#include <argon2.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <chrono>

namespace extencfs::crypto {

namespace {

constexpr std::size_t kSaltLeast = 16;
constexpr std::size_t kSaltMost = 64;

bool within(std::uint32_t value, std::uint32_t least, std::uint32_t most) {
    return least <= value && value <= most;
}

Error error_from(int status) {
    switch (status) {
        case ARGON2_MEMORY_ALLOCATION_ERROR:
            return Error::kNoMemory;
        case ARGON2_THREAD_FAIL:
        case ARGON2_MISSING_ARGS:
            return Error::kInternal;
        default:
            return Error::kBadParameter;
    }
}

// Microseconds that one run takes; nothing when it fails.
Result<double> time_of(const Argon2Cost& cost) {
    const Bytes text = bytes_of("calibration text");
    Key256 out;
    const auto start = std::chrono::steady_clock::now();
    if (auto run = argon2id(text, text, cost, out.mutable_bytes()); !run) {
        return std::unexpected(run.error());
    }
    const std::chrono::duration<double, std::micro> taken =
        std::chrono::steady_clock::now() - start;
    return taken.count();
}

// A quarter of the machine's memory, in KiB, inside what is acceptable at all.
std::uint32_t memory_limit_kib() {
    struct sysinfo info {};
    if (::sysinfo(&info) != 0) return kArgon2Interactive.memory_kib;
    const std::uint64_t quarter = std::uint64_t{info.totalram} * info.mem_unit / 4 / 1024;
    return static_cast<std::uint32_t>(
        std::clamp<std::uint64_t>(quarter, kArgon2Least.memory_kib, kArgon2Sensitive.memory_kib));
}

// The cost nearest to `budget` KiB-passes: memory first, since it is what makes guessing dear, and
// more passes only once memory is at its limit.
Argon2Cost cost_for(double budget, std::uint32_t limit_kib) {
    Argon2Cost cost = kArgon2Interactive;
    const std::uint32_t least_kib = std::min(cost.memory_kib, limit_kib);
    const double wanted_kib = budget / cost.passes;
    cost.memory_kib =
        static_cast<std::uint32_t>(std::clamp<double>(wanted_kib, least_kib, limit_kib));
    // Whole MiB, rounded down, so that a listing shows a round number.
    cost.memory_kib -= cost.memory_kib % 1024;
    const double passes = budget / cost.memory_kib;
    cost.passes =
        static_cast<std::uint32_t>(std::clamp<double>(passes, cost.passes, kArgon2Most.passes));
    return cost;
}

}  // namespace

bool argon2_cost_is_acceptable(const Argon2Cost& cost) {
    return within(cost.memory_kib, kArgon2Least.memory_kib, kArgon2Most.memory_kib) &&
           within(cost.passes, kArgon2Least.passes, kArgon2Most.passes) &&
           within(cost.lanes, kArgon2Least.lanes, kArgon2Most.lanes) &&
           cost.memory_kib >= 8 * cost.lanes;
}

Result<void> argon2id(Bytes password, Bytes salt, const Argon2Cost& cost, MutBytesN<32> out) {
    if (!argon2_cost_is_acceptable(cost) || salt.size() < kSaltLeast || salt.size() > kSaltMost) {
        return std::unexpected(Error::kBadParameter);
    }
    const int status =
        argon2id_hash_raw(cost.passes, cost.memory_kib, cost.lanes, password.data(),
                          password.size(), salt.data(), salt.size(), out.data(), out.size());
    if (status == ARGON2_OK) return {};
    wipe(out);
    return std::unexpected(error_from(status));
}

Argon2Cost calibrate_argon2(std::uint32_t target_ms) {
    const double target_us = target_ms * 1000.0;
    const std::uint32_t limit_kib = memory_limit_kib();
    // A small run gives the scale; it flatters the machine, because its memory fits in the caches.
    Argon2Cost probe{std::min<std::uint32_t>(16 * 1024, limit_kib), 1, kArgon2Interactive.lanes};
    const Result<double> small_us = time_of(probe);
    if (!small_us) return cost_for(0, limit_kib);
    Argon2Cost cost = cost_for(target_us / *small_us * probe.memory_kib, limit_kib);
    // One pass over the memory that was picked corrects it.
    probe.memory_kib = cost.memory_kib;
    const Result<double> large_us = time_of(probe);
    if (!large_us) return cost_for(0, limit_kib);
    return cost_for(target_us / *large_us * probe.memory_kib, limit_kib);
}

}  // namespace extencfs::crypto
