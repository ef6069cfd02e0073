# SPDX-License-Identifier: GPL-2.0
# OBJECT as an array in SOURCE, given out by extencfs::meta::NAME().
file(READ ${OBJECT} hex HEX)
string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
file(WRITE ${SOURCE} "// Generated from a BPF object by embed.cmake.
#include <cstddef>
#include <span>

namespace extencfs::meta {
namespace {
alignas(16) constexpr unsigned char kObject[] = {
${bytes}};
}  // namespace
std::span<const std::byte> ${NAME}();
std::span<const std::byte> ${NAME}() { return std::as_bytes(std::span(kObject)); }
}  // namespace extencfs::meta
")
