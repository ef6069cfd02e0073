// SPDX-License-Identifier: Apache-2.0
// Exit codes of every command: part of the contract in CLI_ABI.md. A number keeps its meaning for
// ever; one that falls out of use is never given another.
#pragma once

#include "encfs/daemon/failure.h"

namespace extencfs::tools {

enum ExitCode : int {
    kExitOk = 0,
    kExitOther = 1,
    kExitUsage = 2,
    kExitCipherDir = 6,
    kExitLocked = 7,
    kExitUnsupported = 8,
    kExitPasswordRead = 9,
    kExitMountpoint = 10,
    kExitNotMounted = 11,
    kExitWrongPassword = 12,
    kExitKeyDerivation = 13,
    kExitBusy = 16,
    kExitDaemonDied = 17,
    kExitSelfTest = 18,
    kExitFuse = 19,
    kExitControl = 20,
    kExitPasswordEmpty = 22,
    kExitConfigRead = 23,
    kExitConfigWrite = 24,
    kExitDamage = 26,
    kExitFastPath = 27,
    kExitKeySlot = 28,
    kExitMigrating = 29,
    kExitToken = 30,
};

constexpr ExitCode exit_code_of(daemon::FailureKind kind) {
    using enum daemon::FailureKind;
    switch (kind) {
        case kOther:
        case kCount:
            return kExitOther;
        case kCipherDir:
            return kExitCipherDir;
        case kLocked:
            return kExitLocked;
        case kUnsupported:
            return kExitUnsupported;
        case kPasswordRead:
            return kExitPasswordRead;
        case kMountpoint:
            return kExitMountpoint;
        case kNotMounted:
            return kExitNotMounted;
        case kWrongPassword:
            return kExitWrongPassword;
        case kKeyDerivation:
            return kExitKeyDerivation;
        case kBusy:
            return kExitBusy;
        case kDaemonDied:
            return kExitDaemonDied;
        case kSelfTest:
            return kExitSelfTest;
        case kFuse:
            return kExitFuse;
        case kControl:
            return kExitControl;
        case kPasswordEmpty:
            return kExitPasswordEmpty;
        case kConfigRead:
            return kExitConfigRead;
        case kConfigWrite:
            return kExitConfigWrite;
        case kDamage:
            return kExitDamage;
        case kFastPath:
            return kExitFastPath;
        case kKeySlot:
            return kExitKeySlot;
        case kMigrating:
            return kExitMigrating;
        case kToken:
            return kExitToken;
    }
    return kExitOther;
}

}  // namespace extencfs::tools
