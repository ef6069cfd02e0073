// SPDX-License-Identifier: Apache-2.0
#include "tools/confirm.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "encfs/lower/fd.h"

namespace extencfs::tools {

daemon::Outcome<bool> confirm(const std::string& question) {
    const lower::Fd terminal(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY));
    if (!terminal) {
        return daemon::fail(daemon::FailureKind::kOther,
                            "there is no terminal to ask on; give --yes to go on without");
    }
    const std::string text = question + " [y/N] ";
    (void)!::write(terminal.get(), text.data(), text.size());
    std::string answer;
    constexpr std::size_t kMost = 64;
    for (char letter = 0; answer.size() < kMost;) {
        const ssize_t got = ::read(terminal.get(), &letter, 1);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0 || letter == '\n') break;
        answer += letter;
    }
    return answer == "y" || answer == "Y" || answer == "yes";
}

}  // namespace extencfs::tools
