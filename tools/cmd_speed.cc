// SPDX-License-Identifier: Apache-2.0
// Measures what a volume costs on this machine, with the code that volumes use.
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "crypto/name_cipher.h"
#include "crypto/password_kdf.h"
#include "crypto/random.h"
#include "encfs/daemon/hardening.h"
#include "encfs/volume/content_codec.h"
#include "encfs/volume/geometry.h"
#include "tools/command.h"
#include "tools/kdf_choice.h"
#include "tools/progress.h"

namespace extencfs::tools {
namespace {

using Json = nlohmann::ordered_json;
using SteadyClock = std::chrono::steady_clock;

// Long enough to even out the clock speed, short enough for a person to wait for all of them.
constexpr std::chrono::milliseconds kRunFor{300};
constexpr std::uint64_t kBlocks = 32;  // 128 KiB at a time, as large requests come
constexpr std::uint64_t kPlainBytes = kBlocks * volume::kBlockSize;

struct Rate {
    double per_second;  // calls
};

// Calls `work` until kRunFor is over; nothing when a call fails.
std::optional<Rate> measure(const std::function<bool()>& work) {
    if (!work()) return std::nullopt;
    const auto start = SteadyClock::now();
    std::uint64_t calls = 0;
    SteadyClock::duration spent{};
    do {
        if (!work()) return std::nullopt;
        ++calls;
        spent = SteadyClock::now() - start;
    } while (spent < kRunFor);
    return Rate{static_cast<double>(calls) / std::chrono::duration<double>(spent).count()};
}

std::optional<Json> content_speed(crypto::AeadKind kind, crypto::AeadKind standard) {
    crypto::Key256 root;
    volume::FileId id{};
    ByteVector plain(kPlainBytes);
    if (!crypto::fill_random(root.mutable_bytes()) || !crypto::fill_random(id) ||
        !crypto::fill_random(plain)) {
        return std::nullopt;
    }
    const std::uint64_t fragments = volume::fragment_count(kPlainBytes);
    ByteVector cipher(volume::data_end(kPlainBytes) - volume::kFileHeaderSize);
    std::vector<volume::OpenedFragment> states(fragments);
    const auto codec = volume::ContentCodec::make(root.bytes(), kind, id, 0);
    const auto seal = measure(
        [&] { return codec.seal(0, fragments, plain, kPlainBytes, 1, cipher).has_value(); });
    const auto open = measure([&] {
        return codec.open(0, fragments, cipher, 1, false, plain, states).has_value() &&
               states.back().state == volume::FragmentState::kGood;
    });
    if (!seal || !open) return std::nullopt;
    const auto megabytes = [](const Rate& rate) {
        return rate.per_second * static_cast<double>(kPlainBytes) / 1e6;
    };
    return Json{{"name", cipher_name(kind)},
                {"seal_mb_per_s", megabytes(*seal)},
                {"open_mb_per_s", megabytes(*open)},
                {"default", kind == standard}};
}

std::optional<Json> name_speed() {
    crypto::SivKey key;
    if (!crypto::fill_random(key.mutable_bytes())) return std::nullopt;
    const auto cipher = crypto::NameCipher::create(key.bytes());
    if (!cipher) return std::nullopt;
    const volume::DirId directory{};
    const ByteArray<32> plain{};
    ByteArray<32 + crypto::kSivTagSize> sealed{};
    ByteArray<32> opened{};
    const auto seal = measure([&] { return cipher->seal(directory, plain, sealed).has_value(); });
    const auto open = measure([&] { return cipher->open(directory, sealed, opened).has_value(); });
    if (!seal || !open) return std::nullopt;
    return Json{{"name", "aes-256-siv"},
                {"seal_per_s", seal->per_second},
                {"open_per_s", open->per_second},
                {"default", true}};
}

Json kdf_speed(const char* name, const crypto::Argon2Cost& cost, bool standard) {
    Json row{{"name", name},          {"memory_kib", cost.memory_kib},
             {"passes", cost.passes}, {"lanes", cost.lanes},
             {"seconds", nullptr},    {"default", standard}};
    const ByteArray<32> salt{};
    crypto::Key256 out;
    const auto start = SteadyClock::now();
    if (crypto::argon2id(bytes_of("correct horse"), salt, cost, out.mutable_bytes())) {
        row["seconds"] = std::chrono::duration<double>(SteadyClock::now() - start).count();
    }
    return row;
}

daemon::Outcome<Json> measure_all() {
    if (auto hard = daemon::harden_process(); !hard) return std::unexpected(hard.error());
    const Progress progress("Measuring");
    const bool hardware = has_aes_hardware();
    const auto standard =
        hardware ? crypto::AeadKind::kAes256Gcm : crypto::AeadKind::kXChaCha20Poly1305;
    Json result{{"aes_hardware", hardware},
                {"contents", Json::array()},
                {"names", Json::array()},
                {"kdf", Json::array()}};
    for (const auto kind : {crypto::AeadKind::kAes256Gcm, crypto::AeadKind::kXChaCha20Poly1305}) {
        auto row = content_speed(kind, standard);
        if (!row) {
            return daemon::fail(daemon::FailureKind::kSelfTest, cipher_name(kind),
                                " failed while it was measured; check the installed OpenSSL");
        }
        result["contents"].push_back(std::move(*row));
    }
    auto names = name_speed();
    if (!names) {
        return daemon::fail(
            daemon::FailureKind::kSelfTest,
            "aes-256-siv failed while it was measured; check the installed OpenSSL");
    }
    result["names"].push_back(std::move(*names));
    for (const char* name : {kDefaultKdf, "interactive", "moderate", "sensitive"}) {
        result["kdf"].push_back(kdf_speed(name, chosen_cost(name), name == kDefaultKdf));
    }
    return result;
}

void print_text(const Json& result) {
    const auto mark = [](const Json& row) { return row.at("default") ? "  (default)" : ""; };
    std::printf("AES in hardware: %s\n\n", result.at("aes_hardware") ? "yes" : "no");
    std::printf("File contents, one core     seal MB/s   open MB/s\n");
    for (const auto& row : result.at("contents")) {
        std::printf("  %-22s %12.0f %11.0f%s\n", row.at("name").get<std::string>().c_str(),
                    row.at("seal_mb_per_s").get<double>(), row.at("open_mb_per_s").get<double>(),
                    mark(row));
    }
    std::printf("\nNames, one core             seal/s      open/s\n");
    for (const auto& row : result.at("names")) {
        std::printf("  %-22s %12.0f %11.0f%s\n", row.at("name").get<std::string>().c_str(),
                    row.at("seal_per_s").get<double>(), row.at("open_per_s").get<double>(),
                    mark(row));
    }
    std::printf("\nPassword to key (argon2id)  memory MiB   seconds\n");
    for (const auto& row : result.at("kdf")) {
        const unsigned mib = row.at("memory_kib").get<unsigned>() / 1024;
        const std::string name = row.at("name").get<std::string>();
        if (row.at("seconds").is_null()) {
            std::printf("  %-22s %12u   not enough memory\n", name.c_str(), mib);
        } else {
            std::printf("  %-22s %12u %11.2f%s\n", name.c_str(), mib,
                        row.at("seconds").get<double>(), mark(row));
        }
    }
}

}  // namespace

void add_speed(CLI::App& root, int& exit_code) {
    auto json = std::make_shared<bool>(false);
    auto* command = root.add_subcommand(
        "speed", "Measure ciphers and key derivations on this machine, with the default marked");
    command->add_flag("--json", *json, "Print JSON (keys: see CLI_ABI.md)");
    command->footer("Example:\n  extencfs speed");
    command->callback([json, &exit_code] {
        const auto result = measure_all();
        if (!result) {
            exit_code = tell(result.error());
        } else if (*json) {
            std::printf("%s\n", result->dump(2).c_str());
        } else {
            print_text(*result);
        }
    });
}

}  // namespace extencfs::tools
