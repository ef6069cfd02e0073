// SPDX-License-Identifier: Apache-2.0
#include "tools/volume_choice.h"

#include "tools/command.h"

namespace extencfs::tools {
namespace {

crypto::AeadKind chosen_cipher(const std::string& name) {
    if (name == cipher_name(crypto::AeadKind::kAes256Gcm)) return crypto::AeadKind::kAes256Gcm;
    if (name == cipher_name(crypto::AeadKind::kXChaCha20Poly1305)) {
        return crypto::AeadKind::kXChaCha20Poly1305;
    }
    return has_aes_hardware() ? crypto::AeadKind::kAes256Gcm : crypto::AeadKind::kXChaCha20Poly1305;
}

}  // namespace

void add_volume_options(CLI::App& command, VolumeChoice& choice) {
    command
        .add_option("--cipher", choice.cipher,
                    "Cipher of file contents: auto, aes-256-gcm or xchacha20-poly1305; auto is "
                    "the first where the processor computes AES")
        ->check(CLI::IsMember({"auto", "aes-256-gcm", "xchacha20-poly1305"}, CLI::ignore_case))
        ->type_name("NAME")
        ->capture_default_str();
    add_kdf_option(command, choice.kdf);
}

volume::NewVolume new_volume(const VolumeChoice& choice) {
    volume::NewVolume made;
    made.content_cipher = chosen_cipher(choice.cipher);
    made.cost = chosen_cost(choice.kdf);
    made.label = "password";
    return made;
}

}  // namespace extencfs::tools
