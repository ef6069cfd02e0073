// SPDX-License-Identifier: Apache-2.0
#include "tools/encfs_expert.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>

#include "tools/encfs_password.h"

namespace extencfs::tools {
namespace {

struct CipherChoice {
    const char* shown;
    const char* name;
    unsigned block;     // bytes
    unsigned key_step;  // bits
    const char* keys;
};
constexpr std::array kCiphers{
    CipherChoice{"AES", "ssl/aes", 16, 64, "128, 192, 256"},
    CipherChoice{"Blowfish", "ssl/blowfish", 8, 32, "128, 160, 192, 224, 256"},
    CipherChoice{"CAMELLIA", "ssl/camellia", 16, 64, "128, 192, 256"},
};

struct NameChoice {
    const char* shown;
    const char* what;
    legacy::Interface interface;
};
const std::array kNames{
    NameChoice{"Block", "Block encoding, hides file name size somewhat", {"nameio/block", 4, 0, 2}},
    NameChoice{"Block32",
               "Block encoding with base32 output for case-insensitive systems",
               {"nameio/block32", 4, 0, 2}},
    NameChoice{"Null", "No encryption of filenames", {"nameio/null", 1, 0, 0}},
    NameChoice{"Stream",
               "Stream encoding, keeps filenames as short as possible",
               {"nameio/stream", 2, 1, 2}},
};

constexpr unsigned kLeastKeyBits = 128, kMostKeyBits = 256;
constexpr unsigned kLeastBlock = 64, kMostBlock = 4096, kDefaultBlock = 1024;
constexpr unsigned kMacBytes = 8;

// Remembers that stdin has ended: every later answer is the default, and none is asked for again.
class Answers {
  public:
    bool ended() const { return ended_; }
    std::string line() {
        std::fflush(stdout);
        std::string text;
        if (!ended_) ended_ = !read_stdin_line(text);
        std::printf("\n");
        return text;
    }
    unsigned number() {
        const std::string text = line();
        return static_cast<unsigned>(
            std::clamp(std::strtol(text.c_str(), nullptr, 10), 0L, 1'000'000L));
    }
    bool yes(const char* question, bool by_default) {
        for (;;) {
            std::printf("%s\n%s", question, by_default ? "[y]/n: " : "y/[n]: ");
            const std::string text = line();
            if (text.empty() || ended_) return by_default;
            if (text == "y" || text == "n") return text == "y";
        }
    }

  private:
    bool ended_ = false;
};

unsigned nearest(unsigned wanted, unsigned least, unsigned most, unsigned step) {
    const unsigned bounded = std::clamp(wanted, least, most);
    return least + (bounded - least + step / 2) / step * step;
}

std::optional<CipherChoice> ask_cipher(Answers& answers) {
    for (;;) {
        std::printf("The following cipher algorithms are available:\n");
        for (std::size_t i = 0; i < kCiphers.size(); ++i) {
            std::printf(
                "%zu. %s : %u byte block cipher\n"
                " -- Supports key lengths of %u to %u bits\n"
                " -- Supports block sizes of %u to %u bytes\n",
                i + 1, kCiphers[i].shown, kCiphers[i].block, kLeastKeyBits, kMostKeyBits,
                kLeastBlock, kMostBlock);
        }
        std::printf("\nEnter the number corresponding to your choice: ");
        const unsigned chosen = answers.number();
        if (chosen >= 1 && chosen <= kCiphers.size()) {
            std::printf("Selected algorithm \"%s\"\n\n", kCiphers[chosen - 1].shown);
            return kCiphers[chosen - 1];
        }
        if (answers.ended()) return std::nullopt;
    }
}

void ask_sizes(Answers& answers, const CipherChoice& cipher, legacy::Config& config) {
    std::printf(
        "Please select a key size in bits.  The cipher you have chosen\n"
        "supports sizes from %u to %u bits in increments of %u bits.\n"
        "For example: \n%s\nSelected key size: ",
        kLeastKeyBits, kMostKeyBits, cipher.key_step, cipher.keys);
    config.key_bits = nearest(answers.number(), kLeastKeyBits, kMostKeyBits, cipher.key_step);
    std::printf("Using key size of %u bits\n\n", config.key_bits);
    std::printf(
        "Select a block size in bytes.  The cipher you have chosen\n"
        "supports sizes from %u to %u bytes in increments of %u.\n"
        "Or just hit enter for the default (%u bytes)\n\nfilesystem block size: ",
        kLeastBlock, kMostBlock, cipher.block, kDefaultBlock);
    const unsigned wanted = answers.number();
    config.block_size =
        wanted == 0 ? kDefaultBlock : nearest(wanted, kLeastBlock, kMostBlock, cipher.block);
    std::printf("Using filesystem block size of %u bytes\n\n", config.block_size);
}

bool ask_names(Answers& answers, legacy::Config& config) {
    for (;;) {
        std::printf("The following filename encoding algorithms are available:\n");
        for (std::size_t i = 0; i < kNames.size(); ++i)
            std::printf("%zu. %s : %s\n", i + 1, kNames[i].shown, kNames[i].what);
        std::printf("\nEnter the number corresponding to your choice: ");
        const unsigned chosen = answers.number();
        if (chosen >= 1 && chosen <= kNames.size()) {
            std::printf("Selected algorithm \"%s\"\"\n\n", kNames[chosen - 1].shown);
            config.naming = kNames[chosen - 1].interface;
            return true;
        }
        if (answers.ended()) return false;
    }
}

bool ask_unique_iv(Answers& answers, bool by_default) {
    return answers.yes(
        "Enable per-file initialization vectors?\n"
        "This adds about 8 bytes per file to the storage requirements.\n"
        "It should not affect performance except possibly with applications\n"
        "which rely on block-aligned file io for performance.",
        by_default);
}

void ask_ivs(Answers& answers, legacy::Config& config) {
    config.chained_names = answers.yes(
        "Enable filename initialization vector chaining?\n"
        "This makes filename encoding dependent on the complete path, \n"
        "rather then encoding each path element individually.",
        true);
    config.unique_iv = ask_unique_iv(answers, true);
    config.external_iv = false;
    if (config.chained_names && config.unique_iv) {
        config.external_iv = answers.yes(
            "Enable filename to IV header chaining?\n"
            "This makes file data encoding dependent on the complete file path.\n"
            "If a file is renamed, it will not decode sucessfully unless it\n"
            "was renamed by encfs with the proper key.\n"
            "If this option is enabled, then hard links will not be supported\n"
            "in the filesystem.",
            false);
    } else {
        std::printf(
            "External chained IV disabled, as both 'IV chaining'\n"
            "and 'unique IV' features are required for this option.\n");
    }
}

void ask_macs(Answers& answers, bool required, legacy::Config& config) {
    config.mac_bytes = kMacBytes;
    const bool wanted =
        required || answers.yes(
                        "Enable block authentication code headers\n"
                        "on every block in a file?  This adds about 8 bytes per block\n"
                        "to the storage requirements for a file, and significantly affects\n"
                        "performance but it also means [almost] any modifications or errors\n"
                        "within a block will be caught and will cause a read error.",
                        false);
    if (!wanted) config.mac_bytes = 0;
    std::printf(
        "Add random bytes to each block header?\n"
        "This adds a performance penalty, but ensures that blocks\n"
        "have different authentication codes.  Note that you can\n"
        "have the same benefits by enabling per-file initialization\n"
        "vectors, which does not come with as great of performance\n"
        "penalty. \nSelect a number of bytes, from 0 (no random bytes) to 8: ");
    config.random_bytes = std::min(answers.number(), 8U);
}

}  // namespace

daemon::Outcome<void> ask_expert(legacy::Config& config, const ExpertLimits& limits) {
    std::printf("Manual configuration mode selected.\n");
    Answers answers;
    const auto cipher = ask_cipher(answers);
    bool complete = cipher.has_value();
    if (complete) {
        config.cipher.name = cipher->name;
        ask_sizes(answers, *cipher, config);
        complete = ask_names(answers, config);
    }
    if (complete && limits.reverse) {
        std::printf("reverse encryption - chained IV and MAC disabled\n");
        config.unique_iv = ask_unique_iv(answers, false);
    } else if (complete) {
        ask_ivs(answers, config);
        ask_macs(answers, limits.require_macs, config);
        config.holes = answers.yes(
            "Enable file-hole pass-through?\n"
            "This avoids writing encrypted blocks when file holes are created.",
            true);
    }
    if (complete && !answers.ended()) return {};
    return daemon::fail(daemon::FailureKind::kOther,
                        "the input ended before every question was answered; nothing was made");
}

}  // namespace extencfs::tools
