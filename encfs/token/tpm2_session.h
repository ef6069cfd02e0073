// SPDX-License-Identifier: Apache-2.0
// A TPM by tpm2-tss (ESAPI): its connection, its storage primary key, and what this program asks
// of it. Inside encfs/token only.
#pragma once

#include <tss2/tss2_esys.h>

#include <memory>
#include <string>
#include <type_traits>

#include "encfs/token/token.h"

namespace extencfs::token {

// A code of the TPM without what says in which parameter or session it arose.
TSS2_RC bare_code(TSS2_RC code);

struct EsysFreed {
    void operator()(void* pointer) const { Esys_Free(pointer); }
};
template <typename T>
using EsysPtr = std::unique_ptr<T, EsysFreed>;

// One of tpm2-tss's plain structures, zero filled, in locked memory, and wiped.
template <typename T>
class Locked {
    static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= 16);

  public:
    Locked() : bytes_(sizeof(T)) {}
    T& operator*() { return *at(); }
    const T& operator*() const { return *at(); }
    T* operator->() { return at(); }

  private:
    T* at() const { return reinterpret_cast<T*>(const_cast<std::byte*>(bytes_.bytes().data())); }
    crypto::SecretBytes bytes_;
};

// What a policy asks for.
struct Conditions {
    std::uint32_t pcrs = 0;
    bool pin = false;
};

struct SealedObject {
    TPM2B_PUBLIC public_area{};
    TPM2B_PRIVATE private_area{};
};

// Everything it made in the TPM goes with it. THREADS: one at a time.
class Tpm {
  public:
    // ERRORS: kAbsent (no TPM answers), kRefused (the owner's hierarchy has a password).
    static Result<std::unique_ptr<Tpm>> open(const std::string& tcti);
    ~Tpm();
    Tpm(const Tpm&) = delete;
    Tpm& operator=(const Tpm&) = delete;

    // ERRORS: kFailed, kRefused.
    Result<SealedObject> seal(Bytes secret, const Conditions& conditions,
                              const TPM2B_AUTH& authorization);
    // ERRORS: kElsewhere, kRefused (PCRs), kWrongPin, kLocked, kFailed.
    Result<crypto::SecretBytes> unseal(const SealedObject& object, const Conditions& conditions,
                                       const TPM2B_AUTH& authorization);

  private:
    Tpm() = default;
    Result<void> make_primary();
    // Encrypts what crosses the bus.
    TSS2_RC start_session(TPM2_SE type, ESYS_TR& session);
    TSS2_RC apply_policy(ESYS_TR session, const Conditions& conditions);
    std::unexpected<Error> from_code(TSS2_RC code, const char* to_do);
    // How many wrong PINs were counted, and what comes of it.
    std::string counted();
    void flush(ESYS_TR& handle);

    TSS2_TCTI_CONTEXT* tcti_ = nullptr;  // owned
    ESYS_CONTEXT* context_ = nullptr;    // owned
    ESYS_TR primary_ = ESYS_TR_NONE;
};

}  // namespace extencfs::token
