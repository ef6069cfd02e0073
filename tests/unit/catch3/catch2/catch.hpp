// SPDX-License-Identifier: Apache-2.0
// Catch2 3 under the name of Catch2 2, whose one header the tests include.
#pragma once
#include <catch2/catch_all.hpp>
