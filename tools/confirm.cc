// SPDX-License-Identifier: Apache-2.0
#include "tools/confirm.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "encfs/lower/fd.h"

namespace extencfs::tools {
namespace {

// `without`: what to do where nobody can be asked.
daemon::Outcome<std::string> ask(const std::string& text, const char* without) {
    const lower::Fd terminal(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY));
    if (!terminal) {
        return daemon::fail(daemon::FailureKind::kOther, "there is no terminal to ask on; ",
                            without);
    }
    (void)!::write(terminal.get(), text.data(), text.size());
    std::string answer;
    constexpr std::size_t kMost = 64;
    for (char letter = 0; answer.size() < kMost;) {
        const ssize_t got = ::read(terminal.get(), &letter, 1);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0 || letter == '\n') break;
        answer += letter;
    }
    return answer;
}

}  // namespace

daemon::Outcome<bool> confirm(const std::string& question) {
    const auto answer = ask(question + " [y/N] ", "give --yes to go on without");
    if (!answer) return std::unexpected(answer.error());
    return *answer == "y" || *answer == "Y" || *answer == "yes";
}

daemon::Outcome<bool> confirm_word(const std::string& statement, const std::string& word) {
    const auto answer = ask(statement + "\nType the word \"" + word + "\" to go on: ",
                            "do this where somebody can confirm it");
    if (!answer) return std::unexpected(answer.error());
    return *answer == word;
}

}  // namespace extencfs::tools
