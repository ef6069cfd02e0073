// SPDX-License-Identifier: Apache-2.0
#include "crypto/error.h"

#include <catch2/catch.hpp>
#include <set>
#include <string>

namespace extencfs::crypto {

TEST_CASE("every error has a description of its own", "[crypto][error]") {
    std::set<std::string> texts;
    for (const Error error : {Error::kAuthentication, Error::kBadParameter, Error::kUnavailable,
                              Error::kNoMemory, Error::kInternal}) {
        texts.insert(describe(error));
    }
    CHECK(texts.size() == 5);
    CHECK(texts.count("") == 0);
}

}  // namespace extencfs::crypto
