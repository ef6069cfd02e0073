// SPDX-License-Identifier: Apache-2.0
#include "encfs/token/tpm2_session.h"

#include <tss2/tss2_rc.h>
#include <tss2/tss2_tctildr.h>

#include <algorithm>
#include <cstdlib>

#include "encfs/token/tpm2_templates.h"

namespace extencfs::token {
namespace {

std::unexpected<Error> fail(ErrorKind kind, std::string sentence) {
    return std::unexpected(Error{kind, std::move(sentence)});
}

// A duration as people say it.
std::string in_words(std::uint32_t seconds) {
    constexpr std::uint32_t kMinute = 60;
    return seconds < 2 * kMinute ? std::to_string(seconds) + " seconds"
                                 : std::to_string(seconds / kMinute) + " minutes";
}

}  // namespace

TSS2_RC bare_code(TSS2_RC code) {
    // TPM 2.0 Part 2, 6.6.2: of format one the number is in six bits.
    constexpr TSS2_RC kFormatOne = 0x80;
    if ((code & TSS2_RC_LAYER_MASK) != 0 || (code & kFormatOne) == 0) return code;
    return code & (kFormatOne | 0x3F);
}

Result<std::unique_ptr<Tpm>> Tpm::open(const std::string& tcti) {
    // The library would write to standard error by itself.
    (void)setenv("TSS2_LOG", "all+NONE", 0);
    std::unique_ptr<Tpm> tpm(new Tpm);
    const std::string absent = "no TPM answers at " + tcti +
                               "; check that there is one and who may use it (group tss), or give "
                               "another key";
    if (Tss2_TctiLdr_Initialize(tcti.c_str(), &tpm->tcti_) != TSS2_RC_SUCCESS ||
        Esys_Initialize(&tpm->context_, tpm->tcti_, nullptr) != TSS2_RC_SUCCESS) {
        return fail(ErrorKind::kAbsent, absent);
    }
    // The system's part at start; a chip that was started already says so.
    const TSS2_RC started = Esys_Startup(tpm->context_, TPM2_SU_CLEAR);
    if (started != TSS2_RC_SUCCESS && started != TPM2_RC_INITIALIZE) {
        return fail(ErrorKind::kAbsent, absent);
    }
    if (auto made = tpm->make_primary(); !made) return std::unexpected(made.error());
    return tpm;
}

Tpm::~Tpm() {
    flush(primary_);
    Esys_Finalize(&context_);
    Tss2_TctiLdr_Finalize(&tcti_);
}

void Tpm::flush(ESYS_TR& handle) {
    if (handle != ESYS_TR_NONE) (void)Esys_FlushContext(context_, handle);
    handle = ESYS_TR_NONE;
}

Result<void> Tpm::make_primary() {
    const TPM2B_SENSITIVE_CREATE sensitive{};
    const TPM2B_PUBLIC key = primary_template();
    const TPM2B_DATA outside{};
    const TPML_PCR_SELECTION none{};
    const TSS2_RC made = Esys_CreatePrimary(context_, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD,
                                            ESYS_TR_NONE, ESYS_TR_NONE, &sensitive, &key, &outside,
                                            &none, &primary_, nullptr, nullptr, nullptr, nullptr);
    if (made == TSS2_RC_SUCCESS) return {};
    primary_ = ESYS_TR_NONE;
    if (bare_code(made) == TPM2_RC_BAD_AUTH || bare_code(made) == TPM2_RC_AUTH_FAIL) {
        return fail(ErrorKind::kRefused,
                    "the TPM's owner hierarchy has a password, with which extencfs cannot use it; "
                    "give another key");
    }
    return from_code(made, "make its storage key");
}

TSS2_RC Tpm::start_session(TPM2_SE type, ESYS_TR& session) {
    const TPMT_SYM_DEF symmetric = aes_128_cfb();
    TSS2_RC code =
        Esys_StartAuthSession(context_, primary_, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                              ESYS_TR_NONE, nullptr, type, &symmetric, TPM2_ALG_SHA256, &session);
    if (code != TSS2_RC_SUCCESS) {
        session = ESYS_TR_NONE;
        return code;
    }
    constexpr TPMA_SESSION kFlags =
        TPMA_SESSION_DECRYPT | TPMA_SESSION_ENCRYPT | TPMA_SESSION_CONTINUESESSION;
    return Esys_TRSess_SetAttributes(context_, session, kFlags, 0xff);
}

TSS2_RC Tpm::apply_policy(ESYS_TR session, const Conditions& conditions) {
    TSS2_RC code = Esys_PolicyCommandCode(context_, session, ESYS_TR_NONE, ESYS_TR_NONE,
                                          ESYS_TR_NONE, TPM2_CC_Unseal);
    if (code == TSS2_RC_SUCCESS && conditions.pcrs != 0) {
        const TPM2B_DIGEST present{};  // empty: the registers as they are
        const TPML_PCR_SELECTION selection = sha256_bank(conditions.pcrs);
        code = Esys_PolicyPCR(context_, session, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &present,
                              &selection);
    }
    if (code == TSS2_RC_SUCCESS && conditions.pin) {
        code = Esys_PolicyAuthValue(context_, session, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE);
    }
    return code;
}

Result<SealedObject> Tpm::seal(Bytes secret, const Conditions& conditions,
                               const TPM2B_AUTH& authorization) {
    ESYS_TR trial = ESYS_TR_NONE;
    TPM2B_DIGEST* digest = nullptr;
    TSS2_RC code = start_session(TPM2_SE_TRIAL, trial);
    if (code == TSS2_RC_SUCCESS) code = apply_policy(trial, conditions);
    if (code == TSS2_RC_SUCCESS) {
        code = Esys_PolicyGetDigest(context_, trial, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                    &digest);
    }
    const EsysPtr<TPM2B_DIGEST> policy(digest);
    flush(trial);
    if (code != TSS2_RC_SUCCESS) return from_code(code, "make a policy");

    Locked<TPM2B_SENSITIVE_CREATE> sensitive;
    sensitive->sensitive.userAuth = authorization;
    sensitive->sensitive.data.size = static_cast<UINT16>(secret.size());
    std::ranges::copy(secret,
                      std::as_writable_bytes(std::span(sensitive->sensitive.data.buffer)).begin());
    const TPM2B_PUBLIC like = sealed_template(*policy, conditions.pin);
    const TPM2B_DATA outside{};
    const TPML_PCR_SELECTION none{};
    ESYS_TR session = ESYS_TR_NONE;
    TPM2B_PRIVATE* made_private = nullptr;
    TPM2B_PUBLIC* made_public = nullptr;
    code = start_session(TPM2_SE_HMAC, session);
    if (code == TSS2_RC_SUCCESS) {
        code =
            Esys_Create(context_, primary_, session, ESYS_TR_NONE, ESYS_TR_NONE, &*sensitive, &like,
                        &outside, &none, &made_private, &made_public, nullptr, nullptr, nullptr);
    }
    const EsysPtr<TPM2B_PRIVATE> private_area(made_private);
    const EsysPtr<TPM2B_PUBLIC> public_area(made_public);
    flush(session);
    if (code != TSS2_RC_SUCCESS) return from_code(code, "seal the key");
    return SealedObject{*public_area, *private_area};
}

Result<crypto::SecretBytes> Tpm::unseal(const SealedObject& object, const Conditions& conditions,
                                        const TPM2B_AUTH& authorization) {
    ESYS_TR loaded = ESYS_TR_NONE;
    ESYS_TR session = ESYS_TR_NONE;
    TSS2_RC code = start_session(TPM2_SE_HMAC, session);
    if (code == TSS2_RC_SUCCESS) {
        code = Esys_Load(context_, primary_, session, ESYS_TR_NONE, ESYS_TR_NONE,
                         &object.private_area, &object.public_area, &loaded);
        if (code != TSS2_RC_SUCCESS) loaded = ESYS_TR_NONE;
    }
    flush(session);
    if (code != TSS2_RC_SUCCESS) return from_code(code, "load the sealed key");
    TPM2B_SENSITIVE_DATA* data = nullptr;
    if (conditions.pin) code = Esys_TR_SetAuth(context_, loaded, &authorization);
    if (code == TSS2_RC_SUCCESS) code = start_session(TPM2_SE_POLICY, session);
    if (code == TSS2_RC_SUCCESS) code = apply_policy(session, conditions);
    if (code == TSS2_RC_SUCCESS) {
        code = Esys_Unseal(context_, loaded, session, ESYS_TR_NONE, ESYS_TR_NONE, &data);
    }
    const EsysPtr<TPM2B_SENSITIVE_DATA> unsealed(data);
    flush(session);
    const TPM2B_AUTH no_authorization{};
    (void)Esys_TR_SetAuth(context_, loaded, &no_authorization);
    flush(loaded);
    if (code != TSS2_RC_SUCCESS) return from_code(code, "open the sealed key");
    const MutBytes buffer = std::as_writable_bytes(std::span(unsealed->buffer));
    crypto::SecretBytes secret(
        Bytes(buffer.first(std::min<std::size_t>(unsealed->size, buffer.size()))));
    crypto::wipe(buffer);
    return secret;
}

std::string Tpm::counted() {
    TPMS_CAPABILITY_DATA* data = nullptr;
    TPMI_YES_NO more = 0;
    // Three in a row: the count, its limit, the seconds after which it falls by one.
    const TSS2_RC code =
        Esys_GetCapability(context_, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                           TPM2_CAP_TPM_PROPERTIES, TPM2_PT_LOCKOUT_COUNTER, 3, &more, &data);
    const EsysPtr<TPMS_CAPABILITY_DATA> properties(data);
    if (code != TSS2_RC_SUCCESS || properties->data.tpmProperties.count < 3) return "";
    const auto& found = properties->data.tpmProperties.tpmProperty;
    return "it has counted " + std::to_string(found[0].value) + " of " +
           std::to_string(found[1].value) + " and takes one back every " + in_words(found[2].value);
}

std::unexpected<Error> Tpm::from_code(TSS2_RC code, const char* to_do) {
    switch (bare_code(code)) {
        case TPM2_RC_AUTH_FAIL:
        case TPM2_RC_BAD_AUTH:
            return fail(ErrorKind::kWrongPin,
                        "the PIN is wrong, and the TPM counts that: " + counted() +
                            ", at the limit it locks for everybody; try again");
        case TPM2_RC_LOCKOUT:
            return fail(ErrorKind::kLocked,
                        "the TPM is locked after too many wrong PINs: " + counted() +
                            "; wait that long, or give another key");
        case TPM2_RC_POLICY_FAIL:
        case TPM2_RC_PCR_CHANGED:
            return fail(ErrorKind::kRefused,
                        "the TPM does not give the key to this machine in its present state (its "
                        "PCRs have changed); give another key, then add a new one for the TPM");
        case TPM2_RC_INTEGRITY:
        case TPM2_RC_BINDING:
            return fail(ErrorKind::kElsewhere,
                        "another TPM sealed this key, or the TPM was cleared since; give another "
                        "key, then add a new one for the TPM");
        default:
            return fail(ErrorKind::kFailed, "the TPM cannot " + std::string(to_do) + " (" +
                                                Tss2_RC_Decode(code) + "); give another key");
    }
}

}  // namespace extencfs::token
