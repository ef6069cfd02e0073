// SPDX-License-Identifier: Apache-2.0
// The contents of one regular file, sealed under the newest generation in place (FORMAT.md
// "Rotation of keys", step 2). Knows nothing of names.
#pragma once

#include <optional>

#include "encfs/rotate/tools.h"

namespace extencfs::rotate {

struct OpenedHeader {
    volume::FileHeader header;
    const volume::GenerationKeys* keys;  // under which it opened
};
// nullopt: no header, or it opens under no key. ERRORS: the errno of reading it.
lower::Result<std::optional<OpenedHeader>> read_header(const Tools& tools, int fd);

struct SealedContents {
    std::uint64_t bytes = 0;    // the file's length
    std::uint64_t damaged = 0;  // fragments that open under no key, and stay as they are
};
// Whatever cuts it short, the next call goes on. When it returns, the fragments are durable and the
// header is written. `fd`: open for reading and writing. THREADS: any; one for a file.
// ERRORS: the errno.
lower::Result<SealedContents> seal_contents(const Tools& tools, int fd, const OpenedHeader& opened,
                                            std::atomic<std::uint64_t>& bytes_done);

}  // namespace extencfs::rotate
