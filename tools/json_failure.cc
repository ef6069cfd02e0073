// SPDX-License-Identifier: Apache-2.0
#include "tools/json_failure.h"

#include <cstdio>
#include <nlohmann/json.hpp>

namespace extencfs::tools {

const char* failure_word(ExitCode code) {
    switch (code) {
        case kExitOk:
            return "none";
        case kExitOther:
            return "other";
        case kExitUsage:
            return "usage";
        case kExitCipherDir:
            return "cipher-dir";
        case kExitLocked:
            return "locked";
        case kExitUnsupported:
            return "unsupported";
        case kExitPasswordRead:
            return "password-not-read";
        case kExitMountpoint:
            return "mountpoint";
        case kExitNotMounted:
            return "not-mounted";
        case kExitWrongPassword:
            return "wrong-password";
        case kExitKeyDerivation:
            return "key-derivation";
        case kExitBusy:
            return "busy";
        case kExitDaemonDied:
            return "daemon-died";
        case kExitSelfTest:
            return "self-test";
        case kExitFuse:
            return "fuse";
        case kExitControl:
            return "control";
        case kExitPasswordEmpty:
            return "password-empty";
        case kExitConfigRead:
            return "config-read";
        case kExitConfigWrite:
            return "config-write";
        case kExitDamage:
            return "damage";
        case kExitFastPath:
            return "fast-path";
        case kExitKeySlot:
            return "key-slot";
        case kExitMigrating:
            return "migrating";
        case kExitToken:
            return "token";
    }
    return "other";
}

ExitCode tell_json(const daemon::Failure& failure) {
    const ExitCode code = exit_code_of(failure.kind);
    const std::size_t split = failure.sentence.rfind("; ");
    const bool whole = split == std::string::npos;
    const nlohmann::ordered_json out{
        {"ok", false},
        {"exit_code", static_cast<int>(code)},
        {"error", failure_word(code)},
        {"what", failure.sentence.substr(0, split)},
        {"to_do", whole ? std::string() : failure.sentence.substr(split + 2)}};
    std::printf("%s\n",
                out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
    return code;
}

}  // namespace extencfs::tools
