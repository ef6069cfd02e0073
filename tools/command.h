// SPDX-License-Identifier: Apache-2.0
// What the commands share: how one is added to the table, and how a failure is told.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "crypto/aead.h"
#include "encfs/daemon/failure.h"
#include "tools/exit_codes.h"

namespace extencfs::tools {

// Each adds its subcommand to `root`; when that is chosen, it runs and leaves its exit code in
// `exit_code`. Both outlive the parsing.
void add_init(CLI::App& root, int& exit_code);
void add_mount(CLI::App& root, int& exit_code);
void add_unmount(CLI::App& root, int& exit_code);
// cmd_lock.cc.
void add_lock(CLI::App& root, int& exit_code);
void add_migrate(CLI::App& root, int& exit_code);
// cmd_key.cc: key list, add, change, remove, rotate, test, export-header, import-header; passwd.
void add_key_commands(CLI::App& root, int& exit_code);
void add_check(CLI::App& root, int& exit_code);
void add_info(CLI::App& root, int& exit_code);
void add_stats(CLI::App& root, int& exit_code);
void add_speed(CLI::App& root, int& exit_code);
void add_fastpath_service(CLI::App& root, int& exit_code);
// cmd_tree.cc: ls, cat, encode, decode, export.
void add_tree_commands(CLI::App& root, int& exit_code);

// Prints "extencfs: <sentence>" on stderr; returns the exit code.
ExitCode tell(const daemon::Failure& failure);
// Prints "extencfs: notice: <sentence>" on stderr.
void tell_notice(const std::string& sentence);

// "aes-256-gcm", "xchacha20-poly1305": the names in options and in JSON.
const char* cipher_name(crypto::AeadKind kind);
// Whether this processor computes AES itself.
bool has_aes_hardware();

}  // namespace extencfs::tools
