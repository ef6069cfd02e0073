// SPDX-License-Identifier: Apache-2.0
// What happened to a regular file's bytes and size since it was last synced.
//
// A crash leaves (the semantics that the on-disk format was checked against):
// - of the size changes, a prefix in order: the file has the size of any one of them, or the old
// one;
// - of each 4 KiB page, independently, the content as last synced or as after any one change of it;
// - cut off: what lies behind the size that is left, and in a page content older than a size change
//   that is left, what lay behind that size.
// This covers more than ext4 does with data=ordered: a size may come back that covers pages which
// do not, and pages may come back without the size change before them.
// THREADS: one at a time.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "crypto/bytes.h"

namespace extencfs::fake {

inline constexpr std::uint64_t kPage = 4096;

class PageLog {
  public:
    // Around every call that changes bytes of [from, to) or the size of `fd` (open for reading and
    // writing): before() keeps what is there, after() what has become of it. `to` may be ~0: end of
    // file. Holes cost nothing. Also right when the call failed half way.
    void before(int fd, std::uint64_t from, std::uint64_t to);
    void after(int fd);

    // All is on the disk but what was lost.
    void synced();
    // The disk failed: what is not on it is in the cache alone, and no sync writes it. A page that
    // is changed again waits to be written again. The size counts as synced.
    void lost();
    // Lost pages become what the disk has.
    void forget_cached(int fd);
    bool clean() const { return versions_.empty() && sizes_.empty(); }

    // Writes one of the crash states to `fd` and is clean then. Chances: of the size changes any
    // number alike; of the pages one time in three all old, one time in three all new, else each
    // any content alike. Says in a few words what was chosen.
    std::string crash(int fd, std::mt19937_64& random);

  private:
    // A page's content after the change with that number; empty: all zero.
    struct Version {
        std::uint64_t change;
        ByteVector content;
    };
    struct Size {
        std::uint64_t change;
        std::uint64_t size;
    };
    enum class Choice { kOld, kNew, kAny };

    void write_page(int fd, std::uint64_t page, const Version& version, std::size_t sizes_kept,
                    std::uint64_t size);

    std::map<std::uint64_t, std::vector<Version>> versions_;  // the first as last synced
    std::set<std::uint64_t> lost_;                            // pages
    std::vector<Size> sizes_;
    std::uint64_t old_size_ = 0;  // as last synced; of no meaning while sizes_ is empty
    std::uint64_t change_ = 0;    // number of the last change

    // Between before() and after().
    std::uint64_t from_ = 0;
    std::uint64_t to_ = 0;
    std::set<std::uint64_t> touched_;
    std::uint64_t size_before_ = 0;
};

}  // namespace extencfs::fake
