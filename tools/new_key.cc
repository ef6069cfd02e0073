// SPDX-License-Identifier: Apache-2.0
#include "tools/new_key.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <string_view>

#include "crypto/random.h"
#include "encfs/lower/fd.h"
#include "encfs/volume/recovery_key.h"
#include "tools/key_source.h"
#include "tools/option_checks.h"
#include "tools/private_file.h"
#include "tools/prompt.h"

namespace extencfs::tools {
namespace {

using daemon::fail;
using daemon::FailureKind;
using daemon::Outcome;
using volume::SlotKind;

constexpr std::size_t kKeyfileBytes = 64;
constexpr int kTries = 5;

Outcome<NewKey> new_password(const NewKeyOptions& options, const std::string& what) {
    PasswordOptions source;
    source.passfile = options.passfile;
    source.passfile_option = "--new-passfile";
    auto password = read_password(source, Purpose::kCreate, what);
    if (!password) return std::unexpected(password.error());
    return NewKey{std::move(*password)};
}

Outcome<NewKey> new_keyfile(const std::string& path) {
    struct stat is {};
    NewKey key;
    if (::stat(path.c_str(), &is) != 0 && errno == ENOENT) {
        crypto::SecretBytes random(kKeyfileBytes);
        if (!crypto::fill_random(random.mutable_bytes())) {
            return fail(FailureKind::kOther, "the kernel gives no random bytes; try again");
        }
        if (auto made = write_private_file(path, random.bytes()); !made) {
            return std::unexpected(made.error());
        }
        key.needs_no_stretching = true;
        key.made = path;
    }
    // As it will be read: what is on the disk is what counts.
    auto secret = read_keyfile(path);
    if (!secret) return std::unexpected(secret.error());
    key.secret = std::move(*secret);
    return key;
}

bool show(int terminal, Bytes text) {
    while (!text.empty()) {
        const ssize_t put = ::write(terminal, text.data(), text.size());
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return false;
        text = text.subspan(static_cast<std::size_t>(put));
    }
    return true;
}

Outcome<void> show_and_ask_back(Bytes key, Bytes text, const std::string& what) {
    const lower::Fd terminal(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY));
    if (!terminal) {
        return fail(FailureKind::kPasswordRead,
                    "there is no terminal to show the recovery key on; give --recovery-out FILE");
    }
    const std::string before = "The recovery key of " + what +
                               ". Write it down: it opens the volume without a password, and is "
                               "not shown again.\n\n    ";
    if (!show(terminal.get(), bytes_of(before)) || !show(terminal.get(), text) ||
        !show(terminal.get(), bytes_of("\n\n"))) {
        return fail(FailureKind::kPasswordRead,
                    "the recovery key cannot be shown; give --recovery-out FILE");
    }
    for (int attempt = 1; attempt <= kTries; ++attempt) {
        const auto typed = prompt_password("Type it back: ");
        if (!typed) return std::unexpected(typed.error());
        const auto read = volume::parse_recovery_key(typed->bytes());
        if (read && crypto::equal_constant_time(read->bytes(), key)) return {};
        const std::string wrong = read ? "that is another key" : read.error().detail;
        (void)show(terminal.get(), bytes_of("Not yet: " + wrong + ".\n"));
    }
    return fail(FailureKind::kPasswordRead,
                "the recovery key was not typed back; nothing was changed, start again");
}

Outcome<NewKey> new_recovery(const std::string& path, const std::string& what) {
    auto drawn = volume::new_recovery_key();
    if (!drawn) return fail(FailureKind::kOther, "the kernel gives no random bytes; try again");
    const crypto::SecretBytes text = volume::recovery_text(drawn->bytes());
    if (path.empty()) {
        if (auto told = show_and_ask_back(drawn->bytes(), text.bytes(), what); !told) {
            return std::unexpected(told.error());
        }
        return NewKey{std::move(*drawn), true, ""};
    }
    crypto::SecretBytes line(text.size() + 1);
    std::ranges::copy(text.bytes(), line.mutable_bytes().begin());
    line.mutable_bytes().back() = std::byte{'\n'};
    if (auto made = write_private_file(path, line.bytes()); !made) {
        return std::unexpected(made.error());
    }
    return NewKey{std::move(*drawn), true, path};
}

}  // namespace

daemon::Outcome<void> check_can_change(SlotKind kind) {
    if (volume::is_token(kind)) {
        return fail(FailureKind::kKeySlot,
                    "a key that a device holds is not changed; remove it and add another");
    }
    if (kind != SlotKind::kForeign) return {};
    return fail(FailureKind::kKeySlot,
                "keys of that type are unknown to this version; use a newer extencfs");
}

Outcome<void> check_new_key(SlotKind kind, const NewKeyOptions& options, const std::string& what) {
    // An option that would be passed over in silence.
    const auto unfit = [&](const char* option, const char* type) {
        return fail(FailureKind::kKeySlot, option, " is for keys of type ", type, "; leave it out",
                    options.otherwise.empty() ? "" : ", or " + options.otherwise);
    };
    if (kind != SlotKind::kPassword && !options.passfile.empty()) {
        return unfit("--new-passfile", "password");
    }
    if (kind != SlotKind::kKeyfile && !options.keyfile.empty()) {
        return unfit("--new-keyfile", "keyfile");
    }
    if (kind != SlotKind::kRecovery && !options.recovery_out.empty()) {
        return unfit("--recovery-out", "recovery");
    }
    if (kind == SlotKind::kKeyfile && options.keyfile.empty()) {
        return fail(FailureKind::kPasswordRead,
                    "no key file is named; give --new-keyfile FILE, which is made if it is "
                    "missing");
    }
    for (const std::string& path : {options.keyfile, options.recovery_out}) {
        if (path.empty() || !lies_within(path, what)) continue;
        return fail(FailureKind::kOther, path,
                    " would lie in the volume's own directory, where it opens the volume for "
                    "everybody who has that; name a file elsewhere");
    }
    return options.recovery_out.empty() ? Outcome<void>() : check_is_absent(options.recovery_out);
}

void add_new_key_options(CLI::App& command, NewKeyOptions& options, const char* otherwise) {
    options.otherwise = otherwise;
    const auto add = [&](const char* name, std::string& value, const char* text) {
        return command.add_option(name, value, text)
            ->check(not_empty)
            ->type_name("FILE")
            ->group("New key");
    };
    add("--new-passfile", options.passfile, "The new password: the first line of FILE");
    add("--new-keyfile", options.keyfile, "The new key file; made, of 64 random bytes, if missing")
        ->check(no_hyphen);
    add("--recovery-out", options.recovery_out,
        "Write the new recovery key to FILE, which must not be there yet")
        ->check(no_hyphen);
    add_kdf_option(command, options.kdf);
}

Outcome<NewKey> make_new_key(SlotKind kind, const NewKeyOptions& options, const std::string& what) {
    if (auto can = check_can_change(kind); !can) return std::unexpected(can.error());
    if (auto fit = check_new_key(kind, options, what); !fit) return std::unexpected(fit.error());
    switch (kind) {
        case SlotKind::kPassword:
            return new_password(options, what);
        case SlotKind::kKeyfile:
            return new_keyfile(options.keyfile);
        case SlotKind::kRecovery:
            return new_recovery(options.recovery_out, what);
        case SlotKind::kSystemd:
        case SlotKind::kTpm2:
        case SlotKind::kFido2:
        case SlotKind::kForeign:
            break;
    }
    return fail(FailureKind::kKeySlot, "nobody types such a key; choose another type");
}

}  // namespace extencfs::tools
