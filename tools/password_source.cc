// SPDX-License-Identifier: Apache-2.0
#include "tools/password_source.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "encfs/lower/fd.h"
#include "tools/command.h"
#include "tools/option_checks.h"
#include "tools/prompt.h"

namespace extencfs::tools {
namespace {

using daemon::errno_text;
using daemon::fail;
using daemon::FailureKind;
using daemon::Outcome;

// Reads to the first newline or the end, and no further: what follows on stdin is not ours.
// (From a regular file or pipe of our own too; a password is short.)
Outcome<crypto::SecretBytes> first_line(int fd, std::string_view from) {
    crypto::SecretBytes line(kMostPasswordBytes);
    std::size_t size = 0;
    for (;;) {
        std::byte byte{};
        const ssize_t got = ::read(fd, &byte, 1);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            return fail(FailureKind::kPasswordRead, "the password cannot be read from ", from, " (",
                        errno_text(errno), "); check that it is readable");
        }
        if (got == 0 || byte == std::byte{'\n'}) break;
        if (size == line.size()) {
            return fail(FailureKind::kPasswordRead, "the first line of ", from,
                        " is longer than 4096 bytes; give a shorter password");
        }
        line.mutable_bytes()[size++] = byte;
    }
    line.shrink(size);
    return line;
}

Outcome<crypto::SecretBytes> from_file(const std::string& path, const char* option) {
    const lower::Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (!file) {
        return fail(FailureKind::kPasswordRead, "the password file ", path, " cannot be opened (",
                    errno_text(errno), "); check ", option);
    }
    return first_line(file.get(), path);
}

// Takes what the program still says, so that it does not die of a closed pipe. Bounded by the
// program itself.
void drain(int fd) {
    std::array<std::byte, 4096> rest;
    for (;;) {
        const ssize_t got = ::read(fd, rest.data(), rest.size());
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
    }
    crypto::wipe(rest);
}

Outcome<crypto::SecretBytes> from_program(const std::string& program) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return fail(FailureKind::kPasswordRead, "no pipe can be made (", errno_text(errno),
                    "); close other programs and try again");
    }
    const lower::Fd output(ends[0]);
    lower::Fd input(ends[1]);
    std::string shell = "sh";
    std::string flag = "-c";
    std::string text = program;
    char* argv[] = {shell.data(), flag.data(), text.data(), nullptr};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input.get(), STDOUT_FILENO);
    pid_t child = -1;
    const int error = posix_spawn(&child, "/bin/sh", &actions, nullptr, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    input.reset();
    if (error != 0) {
        return fail(FailureKind::kPasswordRead, "/bin/sh cannot be run (", errno_text(error),
                    "); it is needed for --extpass");
    }
    auto line = first_line(output.get(), "the program of --extpass");
    drain(output.get());
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        return fail(FailureKind::kPasswordRead,
                    "the program of --extpass failed; run it by itself to see why");
    }
    return line;
}

Outcome<crypto::SecretBytes> from_person(Purpose purpose, const std::string& what) {
    if (purpose == Purpose::kCreate) return prompt_new_password("New password for " + what);
    return prompt_password("Password for " + what + ": ");
}

}  // namespace

void add_password_options(CLI::App& command, PasswordOptions& options) {
    auto* file = command
                     .add_option("--passfile", options.passfile,
                                 "Read the password from the first line of FILE")
                     ->check(not_empty)
                     ->type_name("FILE");
    auto* in = command.add_flag("--stdinpass", options.from_stdin,
                                "Read the password from the first line of standard input");
    auto* program = command
                        .add_option("--extpass", options.program,
                                    "Run CMD by sh -c and take the first line of its output")
                        ->check(not_empty)
                        ->type_name("CMD");
    file->excludes(in)->excludes(program);
    in->excludes(program);
    file->group("Password");
    in->group("Password");
    program->group("Password");
}

Outcome<crypto::SecretBytes> read_password(const PasswordOptions& options, Purpose purpose,
                                           const std::string& what) {
    auto password = !options.passfile.empty() ? from_file(options.passfile, options.passfile_option)
                    : options.from_stdin      ? first_line(STDIN_FILENO, "standard input")
                    : !options.program.empty() ? from_program(options.program)
                                               : from_person(purpose, what);
    if (password && password->empty()) {
        return fail(FailureKind::kPasswordEmpty,
                    "the password is empty; check where it comes from");
    }
    if (password && purpose == Purpose::kCreate && !options.passfile.empty()) {
        const std::string odd = oddness_of(password->bytes());
        if (!odd.empty()) {
            tell_notice("the new password, the first line of " + options.passfile + ", " + odd +
                        ": without that it will be wrong");
        }
    }
    return password;
}

std::string oddness_of(Bytes password) {
    const std::string_view text = text_of(password);
    if (text.starts_with("\xef\xbb\xbf")) return "begins with a byte order mark";
    return text.ends_with('\r') ? "ends in a carriage return" : "";
}

}  // namespace extencfs::tools
