// SPDX-License-Identifier: Apache-2.0
// What the contents of a file may be: a size, and for each of its first bytes the values that were
// written there and not replaced since. A change that failed leaves the old and the new.
#pragma once

#include <algorithm>
#include <vector>

#include "tests/fuzz/target.h"

namespace extencfs::fuzz {

class FileModel {
  public:
    static constexpr std::uint64_t kBytes = 96 * 1024;  // known; all behind is zero

    FileModel(Bytes contents, std::uint64_t size)
        : one_(kBytes), other_(kBytes), any_(kBytes), size_(size) {
        const std::size_t known = std::min({std::uint64_t{contents.size()}, size, kBytes});
        std::copy_n(contents.begin(), known, one_.begin());
        std::copy_n(contents.begin(), known, other_.begin());
    }

    std::uint64_t size() const { return size_; }
    void set_size(std::uint64_t size) { size_ = size; }
    // Holes are allowed from now on: any fragment below may be zeroed, and reads as zeros.
    void allow_holes() { holes_ = true; }

    void write(std::uint64_t off, Bytes values, bool done) {
        beyond_ = beyond_ || off + values.size() > kBytes;
        if (off >= kBytes) return;
        values = values.first(std::min<std::size_t>(values.size(), kBytes - off));
        if (!done) return also(off, values);
        std::copy(values.begin(), values.end(), one_.begin() + static_cast<std::ptrdiff_t>(off));
        std::copy(values.begin(), values.end(), other_.begin() + static_cast<std::ptrdiff_t>(off));
        std::fill_n(any_.begin() + static_cast<std::ptrdiff_t>(off), values.size(),
                    std::uint8_t{0});
    }
    void zero(std::uint64_t off, std::uint64_t end, bool done) {
        static const ByteVector zeros(kBytes);
        end = std::min(end, kBytes);
        if (off < end) write(off, Bytes(zeros).first(end - off), done);
    }
    // Values that are right as well.
    void also(std::uint64_t off, Bytes values) {
        for (std::uint64_t i = 0; i < values.size() && off + i < kBytes; ++i) {
            const std::uint64_t at = off + i;
            if (values[i] == one_[at] || values[i] == other_[at]) continue;
            if (one_[at] != other_[at]) any_[at] = 1;
            other_[at] = values[i];
        }
    }

    bool may_be(std::uint64_t off, Bytes values) const {
        if (off < kBytes && values.size() <= kBytes - off &&
            equal(values, first(off, values.size()))) {
            return true;
        }
        for (std::uint64_t i = 0; i < values.size(); ++i) {
            if (!may_be(off + i, values[i])) return false;
        }
        return true;
    }
    bool may_be_zero(std::uint64_t off, std::uint64_t end) const {
        end = std::min(end, std::max(off + 1, kBytes));
        for (std::uint64_t at = off; at < end; ++at) {
            if (!may_be(at, std::byte{0})) return false;
        }
        return true;
    }

  private:
    Bytes first(std::uint64_t off, std::size_t size) const {
        return Bytes(one_).subspan(off, size);
    }
    bool may_be(std::uint64_t off, std::byte value) const {
        if (value == std::byte{0} && holes_) return true;
        if (off >= kBytes) return value == std::byte{0} || beyond_;
        return any_[off] != 0 || value == one_[off] || value == other_[off];
    }

    ByteVector one_, other_;
    std::vector<std::uint8_t> any_;  // more values than two
    std::uint64_t size_;
    bool holes_ = false;
    bool beyond_ = false;  // something was written behind the known bytes
};

}  // namespace extencfs::fuzz
