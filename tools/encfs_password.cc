// SPDX-License-Identifier: Apache-2.0
#include "tools/encfs_password.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "encfs/lower/fd.h"
#include "tools/password_source.h"
#include "tools/prompt.h"

namespace extencfs::tools {
namespace {

using daemon::FailureKind;
using daemon::Outcome;
using Password = Outcome<crypto::SecretBytes>;

Password in_words_of_encfs(Password password) {
    if (password && !password->empty()) return password;
    const bool empty = password || password.error().kind == FailureKind::kPasswordEmpty;
    return empty ? daemon::fail(FailureKind::kPasswordEmpty,
                                "fatal: zero-length passwords are not allowed")
                 : daemon::fail(FailureKind::kPasswordRead, "fatal: error reading password");
}

bool has_terminal() {
    const lower::Fd terminal(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY));
    return terminal || isatty(STDIN_FILENO) != 0;
}

Password ask(const std::string& question) {
    if (has_terminal()) return prompt_password(question);
    std::fprintf(stderr, "%s\n", question.c_str());
    PasswordOptions options;
    options.from_stdin = true;
    return read_password(options, Purpose::kOpen, "");
}

}  // namespace

bool read_stdin_line(std::string& line) {
    line.clear();
    for (;;) {
        char c = 0;
        const ssize_t got = ::read(STDIN_FILENO, &c, 1);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return !line.empty();
        if (c == '\n') return true;
        line.push_back(c);
    }
}

Password encfs_stdin_password() {
    PasswordOptions options;
    options.from_stdin = true;
    return in_words_of_encfs(read_password(options, Purpose::kOpen, ""));
}

Password encfs_program_password(const std::string& program, const std::string& root_dir) {
    ::setenv("RootDir", root_dir.c_str(), 1);
    PasswordOptions options;
    options.program = program;
    return in_words_of_encfs(read_password(options, Purpose::kOpen, ""));
}

Password encfs_prompt_password() {
    return in_words_of_encfs(ask("EncFS Password: "));
}

Password encfs_prompt_new_password() {
    for (;;) {
        auto first = in_words_of_encfs(ask("New Encfs Password: "));
        if (!first) return first;
        const auto second = ask("Verify Encfs Password: ");
        if (!second && second.error().kind != FailureKind::kPasswordEmpty)
            return in_words_of_encfs(std::unexpected(second.error()));
        if (second && crypto::equal_constant_time(first->bytes(), second->bytes())) return first;
        std::fprintf(stderr, "Passwords did not match, please try again\n");
    }
}

}  // namespace extencfs::tools
