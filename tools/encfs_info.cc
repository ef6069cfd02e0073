// SPDX-License-Identifier: Apache-2.0
#include "tools/encfs_info.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

namespace extencfs::tools {
namespace {

// What EncFS 1.9.5 has of each algorithm: major:minor:age.
struct Newest {
    std::string_view name;
    int major, age;
};
constexpr std::array kNewest{
    Newest{"ssl/aes", 3, 2},      Newest{"ssl/blowfish", 3, 2},   Newest{"ssl/camellia", 3, 2},
    Newest{"nameio/block", 4, 2}, Newest{"nameio/block32", 4, 2}, Newest{"nameio/stream", 2, 2},
    Newest{"nameio/null", 1, 0},
};
// nameio/stream has a minor version of 1.
int newest_minor(std::string_view name) {
    return name == "nameio/stream" ? 1 : 0;
}

std::string version_of(const legacy::Interface& interface) {
    std::string text = fmt::format("\"{}\", version {}:{}:{}", interface.name, interface.major,
                                   interface.minor, interface.age);
    for (const Newest& newest : kNewest) {
        const int minor = newest_minor(newest.name);
        if (newest.name != interface.name) continue;
        if (interface.major == newest.major && interface.minor == minor &&
            interface.age == newest.age)
            return text;
        return text + fmt::format(" (using {}:{}:{})", newest.major, minor, newest.age);
    }
    return text + " (NOT supported)";
}

int format_number(legacy::ConfigFormat format) {
    switch (format) {
        case legacy::ConfigFormat::kV4:
            return 4;
        case legacy::ConfigFormat::kV5:
            return 5;
        case legacy::ConfigFormat::kV7:
            return 7;
        case legacy::ConfigFormat::kV6:
            break;
    }
    return 6;
}

}  // namespace

std::string encfs_version_line(const legacy::Config& config) {
    const int number = format_number(config.format);
    if (number == 7) return "Version 7 configuration; created by EncFS 2";
    if (number == 4) return "Version 4 configuration; created by EncFS 1.0.x";
    return fmt::format("Version {} configuration; created by {} (revision {})", number,
                       config.creator, config.sub_version);
}

std::string encfs_properties(const legacy::Config& config) {
    std::string text = "Filesystem cipher: " + version_of(config.cipher) +
                       "\nFilename encoding: " + version_of(config.naming) +
                       fmt::format("\nKey Size: {} bits\n", config.key_bits);
    if (config.format == legacy::ConfigFormat::kV7) {
        text += fmt::format("Using Argon2id, with {} KiB, {} passes and {} lanes\n",
                            config.v7.memory_kib, config.v7.passes, config.v7.lanes);
        if (config.v7.seal != legacy::Seal::kNone)
            text += fmt::format("Blocks are sealed with AES-GCM-SIV, file IVs have {} bits.\n",
                                config.v7.seal == legacy::Seal::kIv96 ? 96 : 64);
    }
    if (!config.salt.empty() && config.iterations > 0) {
        text += fmt::format("Using PBKDF2, with {} iterations\nSalt Size: {} bits\n",
                            config.iterations, 8 * config.salt.size());
    }
    text += fmt::format("Block Size: {} bytes", config.block_size);
    if (config.mac_bytes + config.random_bytes > 0)
        text +=
            fmt::format(", including {} byte MAC header", config.mac_bytes + config.random_bytes);
    text += '\n';
    if (config.plain_data) text += "File contents are not encrypted.\n";
    const bool wide = config.v7.seal == legacy::Seal::kIv96;
    if (config.unique_iv && wide)
        text += "Each file contains 12 byte header with unique IV data.\n";
    if (config.unique_iv && !wide)
        text += "Each file contains 8 byte header with unique IV data.\n";
    if (config.chained_names) text += "Filenames encoded using IV chaining mode.\n";
    if (config.external_iv) text += "File data IV is chained to filename IV.\n";
    if (config.holes) text += "File holes passed through to ciphertext.\n";
    return text;
}

}  // namespace extencfs::tools
