// SPDX-License-Identifier: Apache-2.0
#include "crypto/self_test.h"

#include <catch2/catch.hpp>

namespace extencfs::crypto {

TEST_CASE("the self test passes with the libraries of this machine", "[crypto][self_test]") {
    const auto result = self_test();
    INFO((result ? std::string() : result.error()));
    CHECK(result.has_value());
}

}  // namespace extencfs::crypto
