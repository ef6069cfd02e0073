// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "crypto/encoding.h"
#include "encfs/daemon/legacy_on_disk.h"
#include "encfs/daemon/log.h"
#include "encfs/daemon/volume_on_disk.h"
#include "encfs/daemon/volume_state.h"
#include "encfs/lower/lower_fs.h"
#include "encfs/volume/format.h"
#include "tools/advice.h"
#include "tools/command.h"
#include "tools/encfs_info.h"
#include "tools/token_words.h"

namespace extencfs::tools {
namespace {

using Json = nlohmann::ordered_json;

struct InfoOptions {
    std::string directory;
    bool json = false;
};

Json kdf_json(const volume::KeySlot& slot) {
    if (slot.kind == volume::SlotKind::kForeign || volume::is_token(slot.kind)) return nullptr;
    return {{"name", "argon2id"},
            {"memory_kib", slot.cost.memory_kib},
            {"passes", slot.cost.passes},
            {"lanes", slot.cost.lanes}};
}

Json slot_json(const volume::KeySlot& slot) {
    return {{"id", slot.id},
            {"kind", slot.kind_name},
            {"label", slot.label},
            {"created", slot.created},
            {"changed", slot.changed},
            {"kdf", kdf_json(slot)},
            {"token", token_json(slot)}};
}

Json info_json(const std::string& path, const daemon::ConfigCopies& copies,
               const daemon::StateView& state) {
    const volume::Config& config = copies.usable.front().config;
    Json slots = Json::array();
    for (const volume::KeySlot& slot : config.slots) slots.push_back(slot_json(slot));
    return {{"path", path},
            {"format", config.version},
            {"volume_id", crypto::hex_encode(config.volume_id)},
            {"creator", config.creator},
            {"revision", config.revision},
            {"features", config.features},
            {"content_cipher", cipher_name(config.content_cipher)},
            {"name_encoding",
             config.name_encoding == volume::NameEncoding::kBase64Url ? "base64url" : "base32hex"},
            {"key_generations", config.generations.size()},
            {"slots", std::move(slots)},
            {"mounted", state.writer_present},
            {"state", state.writer_present ? "in use"
                      : state.clean        ? "clean"
                                           : "dirty"},
            {"notices", copies.notices}};
}

void print_text(const Json& info) {
    const auto text = [&info](const char* key) { return info.at(key).get<std::string>(); };
    std::string features;
    for (const auto& feature : info.at("features")) {
        features += (features.empty() ? "" : ", ") + feature.get<std::string>();
    }
    std::printf("Volume        %s\n", text("path").c_str());
    std::printf("Format        %u, made by %s\n", info.at("format").get<unsigned>(),
                daemon::printable(text("creator")).c_str());
    std::printf("Volume id     %s\n", text("volume_id").c_str());
    std::printf("Revision      %llu\n", info.at("revision").get<unsigned long long>());
    std::printf("Contents      %s\n", text("content_cipher").c_str());
    std::printf("Names         aes-256-siv, %s\n", text("name_encoding").c_str());
    std::printf("Features      %s\n", features.empty() ? "none" : features.c_str());
    std::printf("Key slots     %zu\n", info.at("slots").size());
    for (const auto& slot : info.at("slots")) {
        const auto& kdf = slot.at("kdf");
        std::printf("  %-3u %s \"%s\", ", slot.at("id").get<unsigned>(),
                    slot.at("kind").get<std::string>().c_str(),
                    daemon::printable(slot.at("label").get<std::string>()).c_str());
        if (!slot.at("token").is_null()) {
            std::printf("held by a device or service ('extencfs key list')\n");
            continue;
        }
        if (kdf.is_null()) {
            std::printf("of a kind that this version does not know\n");
            continue;
        }
        std::printf("argon2id %u MiB, %u passes, %u lanes, changed %s\n",
                    kdf.at("memory_kib").get<unsigned>() / 1024, kdf.at("passes").get<unsigned>(),
                    kdf.at("lanes").get<unsigned>(),
                    daemon::printable(slot.at("changed").get<std::string>()).c_str());
    }
    const std::string state = text("state");
    std::printf("State         %s\n",
                state == "in use" ? "mounted for writing"
                : state == "clean"
                    ? "clean"
                    : "dirty (the last mount did not end in order; mounting is safe)");
}

Json encfs_json(const std::string& path, const legacy::Config& config) {
    const bool salted = !config.salt.empty();
    const bool v7 = config.format == legacy::ConfigFormat::kV7;
    return {{"path", path},
            {"encfs_format", config.format == legacy::ConfigFormat::kV4   ? 4
                             : config.format == legacy::ConfigFormat::kV5 ? 5
                             : config.format == legacy::ConfigFormat::kV7 ? 7
                                                                          : 6},
            {"creator", config.creator},
            {"content_cipher", config.plain_data                       ? "none"
                               : config.v7.seal != legacy::Seal::kNone ? "aes-gcm-siv"
                                                                       : config.cipher.name},
            {"name_encoding", config.naming.name},
            {"key_bits", config.key_bits},
            {"block_size", config.block_size},
            {"mac_bytes", config.mac_bytes},
            {"random_bytes", config.random_bytes},
            {"unique_iv", config.unique_iv},
            {"chained_names", config.chained_names},
            {"external_iv", config.external_iv},
            {"holes", config.holes},
            {"kdf", v7       ? "argon2id"
                    : salted ? "pbkdf2"
                             : "sha1"},
            {"iterations", v7       ? config.v7.passes
                           : salted ? config.iterations
                                    : 16}};
}

ExitCode show_encfs(const InfoOptions& options, const legacy::Config& config) {
    if (options.json) {
        std::printf("%s\n", encfs_json(options.directory, config)
                                .dump(2, ' ', false, Json::error_handler_t::replace)
                                .c_str());
        return kExitOk;
    }
    std::printf("Volume of EncFS: %s\n%s\n%s", daemon::printable(options.directory).c_str(),
                daemon::printable(encfs_version_line(config)).c_str(),
                encfs_properties(config).c_str());
    return kExitOk;
}

ExitCode run(const InfoOptions& options) {
    const auto fs = lower::make_posix_lower_fs();
    const auto disk = daemon::VolumeOnDisk::open(*fs, options.directory);
    if (!disk) return tell(advised(disk.error(), options.directory, Takes::kBothKinds));
    if (auto whole = disk->check_not_migrating(); !whole) return tell(whole.error());
    if (!fs->stat_at(disk->root_fd(), volume::kConfigName) &&
        !fs->stat_at(disk->root_fd(), volume::kConfigBackupName)) {
        const auto encfs = daemon::read_legacy_config(*fs, disk->root_fd(), "");
        if (!encfs) return tell(encfs.error());
        if (*encfs) return show_encfs(options, (*encfs)->config);
    }
    const auto copies = disk->read_config();
    if (!copies) return tell(advised(copies.error(), options.directory, Takes::kBothKinds));
    const auto state = daemon::view_state(*fs, disk->root_fd());
    if (!state) return tell(state.error());
    const Json info = info_json(options.directory, *copies, *state);
    if (options.json) {
        // Labels and paths may hold any bytes.
        std::printf("%s\n", info.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
        return kExitOk;
    }
    print_text(info);
    for (const std::string& notice : copies->notices) tell_notice(notice);
    return kExitOk;
}

}  // namespace

void add_info(CLI::App& root, int& exit_code) {
    auto options = std::make_shared<InfoOptions>();
    auto* command = root.add_subcommand(
        "info",
        "Show what a volume says of itself; needs no password, so nothing is authenticated");
    command->add_flag("--json", options->json, "Print JSON (keys: see CLI_ABI.md)");
    command->add_option("CIPHERDIR", options->directory, "The volume")->required();
    command->footer("Example:\n  extencfs info --json ~/.vault");
    command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace extencfs::tools
