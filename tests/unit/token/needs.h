// SPDX-License-Identifier: Apache-2.0
// What a test needs of the machine: without it the test says why it did nothing, and fails where
// CI=true says that the machine is complete.
#pragma once

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <string>
#include <string_view>

#include "encfs/token/token.h"

namespace extencfs::test {

inline bool is_there(const std::string& what, bool there) {
    if (there) return true;
    const char* ci = std::getenv("CI");
    if (ci != nullptr && std::string_view(ci) == "true") FAIL("missing here: " << what);
    WARN("not tested, missing here: " << what);
    return false;
}
inline bool has_program(const std::string& path) {
    return is_there(path, ::access(path.c_str(), X_OK) == 0);
}

template <typename T>
std::string kind_of(const token::Result<T>& result) {
    if (result) return "good";
    using enum token::ErrorKind;
    switch (result.error().kind) {
        case kAbsent:
            return "absent";
        case kElsewhere:
            return "elsewhere";
        case kRefused:
            return "refused";
        case kWrongPin:
            return "wrong-pin";
        case kLocked:
            return "locked";
        case kTimeout:
            return "timeout";
        case kFailed:
            return "failed";
    }
    return "?";
}

// "<what>; <what to do>", in one line.
inline bool is_sentence(const std::string& text) {
    return text.find("; ") != std::string::npos && text.find('\n') == std::string::npos &&
           text.back() != '.';
}

inline const ByteArray<16> kVolumeId{std::byte{1}, std::byte{2}};
inline const ByteArray<16> kOtherId{std::byte{3}, std::byte{4}};

inline bool equal(Bytes a, Bytes b) {
    return crypto::equal_constant_time(a, b);
}

}  // namespace extencfs::test
