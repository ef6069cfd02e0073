// SPDX-License-Identifier: Apache-2.0
#include <getopt.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <functional>
#include <memory>
#include <vector>

#include "tools/encfs_password.h"
#include "tools/encfsctl.h"
#include "tools/tree_export.h"
#include "tools/volume_tree.h"

namespace extencfs::tools {
namespace {

constexpr const char* kNoVolume = "Unable to initialize encrypted filesystem - check path.\n";

// The words of a verb that takes options.
struct Request {
    std::string program;  // of --extpass
    bool reverse = false;
    std::string directory;
    std::vector<std::string> rest;
};

int no_volume() {
    std::fprintf(stderr, "%s", kNoVolume);
    return 1;
}

// `words`: after the verb.
Request parse(Words words) {
    static constexpr option kOptions[] = {{"extpass", required_argument, nullptr, 'p'},
                                          {"reverse", no_argument, nullptr, 'r'},
                                          {nullptr, 0, nullptr, 0}};
    std::string name = "encfsctl";
    std::vector<char*> argv{name.data()};
    argv.insert(argv.end(), words.begin(), words.end());
    argv.push_back(nullptr);
    const int argc = static_cast<int>(argv.size()) - 1;
    Request request;
    optind = 0;
    int letter = 0;
    while ((letter = getopt_long(argc, argv.data(), "", kOptions, nullptr)) != -1) {
        if (letter == 'p') request.program = optarg;
        if (letter == 'r') request.reverse = true;
    }
    if (optind < argc) request.directory = argv[static_cast<std::size_t>(optind)];
    for (int at = optind + 1; at < argc; ++at)
        request.rest.emplace_back(argv[static_cast<std::size_t>(at)]);
    return request;
}

std::unique_ptr<VolumeTree> open_tree(const Request& request) {
    if (!encfsctl_has_directory(request.directory)) {
        no_volume();
        return nullptr;
    }
    daemon::LegacyChoices choices;
    choices.reverse = request.reverse;
    auto tree = VolumeTree::open(request.directory, choices, [&request](const volume::Config*) {
        return request.program.empty() ? encfs_prompt_password()
                                       : encfs_program_password(request.program, request.directory);
    });
    if (tree) return std::move(*tree);
    encfsctl_tell(tree.error());
    no_volume();
    return nullptr;
}

// Each of the words, or of the lines of stdin where there are none.
int translate(Words words, core::Result<std::string> (VolumeTree::*way)(std::string_view) const,
              const char* verb) {
    Request request = parse(words);
    const auto tree = open_tree(request);
    if (!tree) return 1;
    const auto one = [&](const std::string& name) {
        const auto made = (*tree.*way)(name);
        if (!made) std::fprintf(stderr, "%s err: %s is no such name\n", verb, name.c_str());
        std::printf("%s\n", made ? made->c_str() : "");
    };
    for (const std::string& name : request.rest) one(name);
    std::string line;
    while (request.rest.empty() && read_stdin_line(line)) {
        one(line);
        std::fflush(stdout);
    }
    return 0;
}

bool have_target(const std::string& path) {
    struct stat is {};
    if (::stat(path.c_str(), &is) == 0 && S_ISDIR(is.st_mode)) return true;
    std::fprintf(stderr,
                 "directory %s does not exist.\n"
                 "The directory \"%s\" does not exist. Should it be created? (y,N) ",
                 path.c_str(), path.c_str());
    std::string line;
    (void)read_stdin_line(line);
    if ((line.starts_with('y') || line.starts_with('Y')) && ::mkdir(path.c_str(), 0700) == 0)
        return true;
    std::fprintf(stderr, "Directory not created.\n");
    return false;
}

// The exit code of EncFS: the negative errno, of which a byte is left.
int exit_of(const core::Error& error) {
    return -core::errno_of(error) & 0xff;
}

}  // namespace

int encfsctl_ls(Words words) {
    Request request;
    request.directory = words[0];
    const auto tree = open_tree(request);
    if (!tree) return 1;
    const auto at = tree->find(words.size() > 1 ? words[1] : "");
    const auto entries = at ? tree->list(at->node)
                            : core::Result<std::vector<TreeEntry>>(std::unexpected(at.error()));
    if (!entries) {
        std::fprintf(stderr, "encfsctl: the directory cannot be listed (%s); check the path\n",
                     daemon::errno_text(core::errno_of(entries.error())).c_str());
        return 1;
    }
    for (const TreeEntry& entry : *entries) {
        struct tm local {};
        char text[32] = "";
        ::localtime_r(&entry.attr.st_mtim.tv_sec, &local);
        (void)std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &local);
        std::printf("%11lld %s %s\n", static_cast<long long>(entry.attr.st_size), text,
                    entry.name.c_str());
    }
    return 0;
}

int encfsctl_show_cruft(Words words) {
    Request request;
    request.directory = words[0];
    const auto tree = open_tree(request);
    if (!tree) return 1;
    unsigned count = 0;
    std::string told;
    const auto searched =
        tree->undecodable([&](const std::string& directory, const std::string& lower) {
            if (told != directory) std::printf("In directory %s: \n", directory.c_str());
            told = directory;
            std::printf("%s//%s\n", words[0], lower.c_str());
            ++count;
        });
    std::fflush(stdout);
    std::fprintf(stderr, "Found %u invalid file%s.\n", count, count == 1 ? "" : "s");
    return searched ? 0 : 1;
}

int encfsctl_cat(Words words) {
    const Request request = parse(words);
    if (request.rest.empty()) {
        std::fprintf(stderr, "Incorrect number of arguments for command \"cat\"\n");
        return 1;
    }
    const auto tree = open_tree(request);
    if (!tree) return 1;
    const std::string& path = request.rest.front();
    auto file = tree->find(path);
    if (!file) {
        // Or is it a name as it lies below?
        if (const auto plain = tree->decode(path)) file = tree->find(*plain);
    }
    if (!file) {
        std::fprintf(stderr, "unable to open %s\n", path.c_str());
        return exit_of(file.error());
    }
    bool written = true;
    const auto read = tree->read(file->node, [&written](Bytes bytes) {
        written = write_all(STDOUT_FILENO, bytes);
        return written;
    });
    if (read && written) return 0;
    if (!read) std::fprintf(stderr, "unable to read %s\n", path.c_str());
    return read ? 1 : exit_of(read.error());
}

int encfsctl_decode(Words words) {
    return translate(words, &VolumeTree::decode, "decode");
}

int encfsctl_encode(Words words) {
    return translate(words, &VolumeTree::encode, "encode");
}

int encfsctl_export(Words words) {
    Request request;
    request.directory = words[0];
    const auto tree = open_tree(request);
    if (!tree || !have_target(words[1])) return 1;
    return export_tree(*tree, words[1]) ? 0 : 1;
}

}  // namespace extencfs::tools
