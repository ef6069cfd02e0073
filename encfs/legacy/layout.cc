// SPDX-License-Identifier: Apache-2.0
#include "encfs/legacy/layout.h"

namespace extencfs::legacy {

std::optional<std::uint64_t> plain_size(const ContentLayout& layout, std::uint64_t lower_size) {
    if (layout.plain || lower_size == 0) return lower_size;
    if (lower_size < layout.header_size()) return std::nullopt;
    const std::uint64_t stored = lower_size - layout.header_size();
    const std::uint64_t whole = stored / layout.block_size;
    const std::uint64_t rest = stored % layout.block_size;
    // A last block that ends within its overhead holds nothing.
    const std::uint64_t tail = rest > layout.overhead() ? rest - layout.overhead() : 0;
    return whole * layout.data_size() + tail;
}

std::uint64_t lower_size(const ContentLayout& layout, std::uint64_t plain_size) {
    if (layout.plain) return plain_size;
    const std::uint64_t blocks =
        plain_size / layout.data_size() + (plain_size % layout.data_size() != 0 ? 1 : 0);
    return layout.header_size() + plain_size + blocks * layout.overhead();
}

}  // namespace extencfs::legacy
