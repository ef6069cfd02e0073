// SPDX-License-Identifier: Apache-2.0
#include "tools/standard_streams.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "encfs/daemon/failure.h"

namespace extencfs::tools {

bool open_standard_streams() {
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        if (::fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
        // The wrong way round: reading and writing fail as they would have.
        const int way = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;
        // Programs that are started get it too. The lowest free number is this one.
        const int opened = ::open("/dev/null", way | O_NOCTTY);
        if (opened != fd) return false;
    }
    return true;
}

std::string flush_output() {
    errno = 0;
    const bool whole = std::fflush(stdout) == 0;
    const int error = errno;
    if (whole && std::ferror(stdout) == 0) return "";
    return "the output cannot be written (" + daemon::errno_text(error != 0 ? error : EIO) +
           "); check where it goes";
}

}  // namespace extencfs::tools
