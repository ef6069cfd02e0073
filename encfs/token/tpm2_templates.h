// SPDX-License-Identifier: Apache-2.0
// What is made in a TPM: the storage primary key, which the same TPM makes again of the same
// template until it is cleared, and sealed objects below it. Part of the format: a slot that was
// sealed under one template opens under no other.
#pragma once

#include <tss2/tss2_tpm2_types.h>

#include <cstdint>

namespace extencfs::token {

inline TPMT_SYM_DEF aes_128_cfb() {
    TPMT_SYM_DEF symmetric{};
    symmetric.algorithm = TPM2_ALG_AES;
    symmetric.keyBits.aes = 128;
    symmetric.mode.aes = TPM2_ALG_CFB;
    return symmetric;
}

// P-256 storage key (TCG TPM 2.0 Provisioning Guidance, the SRK's template).
inline TPM2B_PUBLIC primary_template() {
    TPM2B_PUBLIC key{};
    TPMT_PUBLIC& area = key.publicArea;
    area.type = TPM2_ALG_ECC;
    area.nameAlg = TPM2_ALG_SHA256;
    area.objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                            TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH |
                            TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT | TPMA_OBJECT_NODA;
    area.parameters.eccDetail.symmetric.algorithm = TPM2_ALG_AES;
    area.parameters.eccDetail.symmetric.keyBits.aes = 128;
    area.parameters.eccDetail.symmetric.mode.aes = TPM2_ALG_CFB;
    area.parameters.eccDetail.scheme.scheme = TPM2_ALG_NULL;
    area.parameters.eccDetail.curveID = TPM2_ECC_NIST_P256;
    area.parameters.eccDetail.kdf.scheme = TPM2_ALG_NULL;
    return key;
}

// Data that its policy alone gives back. With a PIN wrong ones are counted.
inline TPM2B_PUBLIC sealed_template(const TPM2B_DIGEST& policy, bool counts_wrong_pins) {
    TPM2B_PUBLIC object{};
    TPMT_PUBLIC& area = object.publicArea;
    area.type = TPM2_ALG_KEYEDHASH;
    area.nameAlg = TPM2_ALG_SHA256;
    area.objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT;
    if (!counts_wrong_pins) area.objectAttributes |= TPMA_OBJECT_NODA;
    area.authPolicy = policy;
    area.parameters.keyedHashDetail.scheme.scheme = TPM2_ALG_NULL;
    return object;
}

inline TPML_PCR_SELECTION sha256_bank(std::uint32_t pcrs) {
    TPML_PCR_SELECTION selection{};
    selection.count = 1;
    selection.pcrSelections[0].hash = TPM2_ALG_SHA256;
    selection.pcrSelections[0].sizeofSelect = 3;
    for (unsigned byte = 0; byte < 3; ++byte) {
        selection.pcrSelections[0].pcrSelect[byte] = static_cast<BYTE>(pcrs >> (8 * byte));
    }
    return selection;
}

}  // namespace extencfs::token
