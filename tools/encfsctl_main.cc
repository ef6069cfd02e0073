// SPDX-License-Identifier: Apache-2.0
// `encfsctl`: the table of its verbs.
#include <array>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "tools/encfs_cli.h"
#include "tools/encfsctl.h"

namespace extencfs::tools {
namespace {

struct Verb {
    std::string_view name;
    std::size_t least_words, most_words;
    int (*run)(Words words);
    const char* words;
    const char* what;
};

int show_version(Words) {
    std::fprintf(stderr, "encfsctl version 1.9.5\n(extencfs %s)\n", EXTENCFS_VERSION);
    return 0;
}

constexpr std::array kVerbs{
    Verb{"info", 1, 1, encfsctl_info, "(root dir)", "show information (Default command)"},
    Verb{"showKey", 1, 1, encfsctl_show_key, "(root dir)", "show key"},
    Verb{"passwd", 1, 1, encfsctl_passwd, "(root dir)", "change password for volume"},
    Verb{"autopasswd", 1, 1, encfsctl_auto_passwd, "(root dir)",
         "change password for volume, both from standard input"},
    Verb{"autocheckpasswd", 1, 1, encfsctl_auto_check_passwd, "(root dir)",
         "check password for volume, from standard input"},
    Verb{"ls", 1, 2, encfsctl_ls, "(root dir) [path]", "list a directory"},
    Verb{"showcruft", 1, 1, encfsctl_show_cruft, "(root dir)",
         "show undecodable filenames in the volume"},
    Verb{"cat", 2, 4, encfsctl_cat, "[--extpass=prog] [--reverse] (root dir) path",
         "decodes the file and cats it to standard out"},
    Verb{"decode", 1, 100, encfsctl_decode, "[--extpass=prog] (root dir) [encoded-name ...]",
         "decodes name and prints plaintext version"},
    Verb{"encode", 1, 100, encfsctl_encode, "[--extpass=prog] (root dir) [plaintext-name ...]",
         "encodes a filename and print result"},
    Verb{"export", 2, 2, encfsctl_export, "(root dir) path",
         "decrypts a volume and writes results to path"},
    Verb{"--version", 0, 0, show_version, "", "print version number and exit"},
};

int usage() {
    std::fprintf(stderr,
                 "encfsctl version 1.9.5 (extencfs %s)\nUsage:\nencfsctl (root dir)\n"
                 "  -- displays information about the filesystem, or \n",
                 EXTENCFS_VERSION);
    for (const Verb& verb : kVerbs)
        std::fprintf(stderr, "encfsctl %.*s %s\n  -- %s\n", static_cast<int>(verb.name.size()),
                     verb.name.data(), verb.words, verb.what);
    std::fprintf(stderr, "\nExample: \nencfsctl info ~/.crypt\n\n");
    return 1;
}

}  // namespace

int run_encfsctl(int argc, char** argv) {
    const Words all(argv, static_cast<std::size_t>(argc));
    if (argc < 2) return usage();
    const std::string_view first = all[1];
    if (argc == 2 && !first.starts_with("--")) return encfsctl_info(all.subspan(1));
    for (const Verb& verb : kVerbs) {
        if (verb.name != first) continue;
        const Words words = all.subspan(2);
        if (words.size() >= verb.least_words && words.size() <= verb.most_words)
            return verb.run(words);
        std::fprintf(stderr, "Incorrect number of arguments for command \"%s\"\n", all[1]);
        return 1;
    }
    std::fprintf(stderr, "invalid command: \"%s\"\n", all[1]);
    return 1;
}

}  // namespace extencfs::tools
