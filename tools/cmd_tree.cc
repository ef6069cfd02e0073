// SPDX-License-Identifier: Apache-2.0
// What can be had of a volume without mounting it: ls, cat, encode, decode, export.
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <functional>
#include <memory>

#include "encfs/daemon/log.h"
#include "tools/advice.h"
#include "tools/command.h"
#include "tools/key_source.h"
#include "tools/option_checks.h"
#include "tools/token_source.h"
#include "tools/tree_export.h"
#include "tools/volume_tree.h"

namespace extencfs::tools {
namespace {

struct TreeOptions {
    UnlockOptions unlock;
    daemon::LegacyChoices legacy;
    std::string directory;
    std::vector<std::string> paths;
};
using TreeVerb = std::function<ExitCode(VolumeTree& tree, const TreeOptions& options)>;

ExitCode tell_path(const std::string& path, const core::Error& error) {
    return tell({daemon::FailureKind::kOther, path + " cannot be had from the volume (" +
                                                  daemon::errno_text(core::errno_of(error)) +
                                                  "); check the path"});
}

void show(const struct stat& attr, const std::string& name) {
    struct tm local {};
    char text[32] = "";
    ::localtime_r(&attr.st_mtim.tv_sec, &local);
    (void)std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &local);
    std::printf("%11lld %s %s\n", static_cast<long long>(attr.st_size), text, name.c_str());
}

ExitCode list(VolumeTree& tree, const TreeOptions& options) {
    const std::string path = options.paths.empty() ? "" : options.paths.front();
    const auto at = tree.find(path);
    if (!at) return tell_path(path, at.error());
    if (!S_ISDIR(at->attr.st_mode)) {
        show(at->attr, path);
        return kExitOk;
    }
    const auto entries = tree.list(at->node);
    if (!entries) return tell_path(path.empty() ? "the root" : path, entries.error());
    for (const TreeEntry& entry : *entries) show(entry.attr, entry.name);
    return kExitOk;
}

ExitCode cat(VolumeTree& tree, const TreeOptions& options) {
    for (const std::string& path : options.paths) {
        const auto file = tree.find(path);
        if (!file) return tell_path(path, file.error());
        bool written = true;
        const auto read = tree.read(file->node, [&written](Bytes bytes) {
            written = write_all(STDOUT_FILENO, bytes);
            return written;
        });
        if (!read) return tell_path(path, read.error());
        if (!written) {
            return tell({daemon::FailureKind::kOther, "the output cannot be written (" +
                                                          daemon::errno_text(errno) +
                                                          "); check where it goes"});
        }
    }
    return kExitOk;
}

using Translation = core::Result<std::string> (VolumeTree::*)(std::string_view) const;

TreeVerb translation(Translation way) {
    return [way](VolumeTree& tree, const TreeOptions& options) {
        for (const std::string& path : options.paths) {
            const auto made = (tree.*way)(path);
            if (!made) return tell_path(path, made.error());
            std::printf("%s\n", made->c_str());
        }
        return kExitOk;
    };
}

ExitCode export_all(VolumeTree& tree, const TreeOptions& options) {
    const std::string& target = options.paths.front();
    if (::mkdir(target.c_str(), 0700) != 0 && errno != EEXIST) {
        return tell(
            {daemon::FailureKind::kOther,
             target + " cannot be made (" + daemon::errno_text(errno) + "); check the path"});
    }
    return export_tree(tree, target) ? kExitOk : kExitDamage;
}

struct Paths {
    const char* name;
    const char* what;
    int least, most;
    const char* example;  // what follows the verb
};

void add(CLI::App& root, int& exit_code, const char* name, const char* what, const Paths& paths,
         const TreeVerb& verb) {
    auto options = std::make_shared<TreeOptions>();
    auto* command = root.add_subcommand(name, what);
    add_unlock_options(*command, options->unlock);
    add_slot_option(*command, options->unlock);
    add_token_option(*command, options->unlock);
    command
        ->add_option("-c,--config", options->legacy.config_file,
                     "Of an EncFS volume: its configuration, where it is not in CIPHERDIR")
        ->check(not_empty)
        ->type_name("FILE");
    command->add_option("CIPHERDIR", options->directory, "The volume")->required();
    command->add_option(paths.name, options->paths, paths.what)
        ->expected(paths.least, paths.most)
        ->required(paths.least > 0);
    command->footer(std::string("Example:\n  extencfs ") + name + " " + paths.example);
    command->callback([options, verb, &exit_code] {
        const auto tree = VolumeTree::open(
            options->directory, options->legacy, [&options](const volume::Config* config) {
                return find_credential(options->unlock, config, options->directory);
            });
        exit_code = tree ? verb(**tree, *options)
                         : tell_unopened(tree.error(), options->unlock, options->directory,
                                         Takes::kBothKinds);
    });
}

constexpr int kMany = 1 << 20;

}  // namespace

void add_tree_commands(CLI::App& root, int& exit_code) {
    add(root, exit_code, "ls", "List a directory of a volume without mounting it",
        {"PATH", "The directory, from the volume's root (the root itself)", 0, 1,
         "~/.vault letters"},
        list);
    add(root, exit_code, "cat", "Write a file's contents to standard output, without mounting",
        {"PATH", "The file, from the volume's root", 1, kMany, "~/.vault letters/one.txt"}, cat);
    add(root, exit_code, "encode", "Tell what a path of the volume is called below",
        {"PATH", "A path in the volume", 1, kMany, "~/.vault letters/one.txt"},
        translation(&VolumeTree::encode));
    add(root, exit_code, "decode", "Tell what a path below is called in the volume",
        {"PATH", "A path below CIPHERDIR", 1, kMany, "~/.vault FhTr2wqPlBe0"},
        translation(&VolumeTree::decode));
    add(root, exit_code, "export", "Copy everything in a volume, decrypted, to a directory",
        {"TARGET", "The directory; made if it is missing", 1, 1, "~/.vault ~/plain"}, export_all);
}

}  // namespace extencfs::tools
