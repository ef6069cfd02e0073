// SPDX-License-Identifier: Apache-2.0
// The table of commands, the names that the program has, and nothing else.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <iostream>
#include <string>

#include "tools/command.h"
#include "tools/encfs_cli.h"
#include "tools/standard_streams.h"

namespace {

// The command that was being parsed when the error came, for the hint.
std::string chosen(const CLI::App& root) {
    std::string words;
    for (const CLI::App* app = &root; !app->get_subcommands().empty();) {
        app = app->get_subcommands().front();
        words += app->get_name() + " ";
    }
    return words;
}

// Commands that are there for what they print. The others have done what they were asked for,
// whatever became of the words about it.
bool is_for_output(const std::string& command) {
    constexpr std::array kFirst{"info ",   "stats ",  "speed ", "ls ",       "cat ",
                                "encode ", "decode ", "check ", "key list ", "key test "};
    return std::ranges::find(kFirst, command) != kFirst.end();
}

// `code`, unless what was printed did not get where it should.
int with_output(int code, const std::string& command) {
    const std::string why = extencfs::tools::flush_output();
    if (why.empty()) return code;
    if (code != extencfs::tools::kExitOk || !is_for_output(command)) {
        extencfs::tools::tell_notice(why);
        return code;
    }
    return extencfs::tools::tell({extencfs::daemon::FailureKind::kOther, why});
}

std::string first_line(const std::string& text) {
    return text.substr(0, text.find('\n'));
}

int run(int argc, char** argv) {
    int exit_code = extencfs::tools::kExitOk;
    CLI::App root("extencfs: an encrypted file system in user space", "extencfs");
    root.set_version_flag("--version", std::string("extencfs ") + EXTENCFS_VERSION);
    root.require_subcommand(1);
    root.footer(
        "Example:\n  extencfs init ~/.vault\n  extencfs mount ~/.vault ~/vault\n"
        "  extencfs unmount ~/vault");
    extencfs::tools::add_init(root, exit_code);
    extencfs::tools::add_mount(root, exit_code);
    extencfs::tools::add_unmount(root, exit_code);
    extencfs::tools::add_lock(root, exit_code);
    extencfs::tools::add_migrate(root, exit_code);
    extencfs::tools::add_key_commands(root, exit_code);
    extencfs::tools::add_check(root, exit_code);
    extencfs::tools::add_info(root, exit_code);
    extencfs::tools::add_tree_commands(root, exit_code);
    extencfs::tools::add_stats(root, exit_code);
    extencfs::tools::add_speed(root, exit_code);
    extencfs::tools::add_fastpath_service(root, exit_code);
    try {
        root.parse(argc, argv);
    } catch (const CLI::Success& success) {
        const int code = root.exit(success);
        std::cout.flush();
        return std::cout ? with_output(code, "") : extencfs::tools::kExitOther;
    } catch (const CLI::ParseError& error) {
        std::fprintf(stderr, "extencfs: %s; see 'extencfs %s--help'\n",
                     first_line(error.what()).c_str(), chosen(root).c_str());
        return extencfs::tools::kExitUsage;
    }
    return with_output(exit_code, chosen(root));
}

}  // namespace

int main(int argc, char** argv) {
    if (!extencfs::tools::open_standard_streams()) {
        // Nowhere, if that is what could not be opened.
        std::fputs(
            "extencfs: /dev/null cannot be opened in place of a closed standard stream; "
            "check /dev/null, or leave input, output and errors open\n",
            stderr);
        return extencfs::tools::kExitOther;
    }
    try {
        const std::string path = argc > 0 ? argv[0] : "";
        const std::string name = path.substr(path.rfind('/') + 1);
        if (name == "encfs") return extencfs::tools::run_encfs(argc, argv);
        if (name == "encfsctl") return extencfs::tools::run_encfsctl(argc, argv);
        return run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "extencfs: %s; please report it\n", error.what());
        return extencfs::tools::kExitOther;
    }
}
