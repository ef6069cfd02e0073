// SPDX-License-Identifier: Apache-2.0
// A TPM in software (swtpm) for a test, with a state of its own; it ends with this.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "encfs/lower/fd.h"
#include "encfs/token/program.h"
#include "tests/unit/token/needs.h"

namespace extencfs::test {

class Swtpm {
  public:
    static constexpr const char* kProgram = "/usr/bin/swtpm";

    Swtpm() {
        std::string name = (std::filesystem::temp_directory_path() / "extencfs-tpm-XXXXXX");
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        dir_ = name;
        start();
    }
    ~Swtpm() {
        stop();
        std::error_code error;
        std::filesystem::remove_all(dir_, error);
    }
    Swtpm(const Swtpm&) = delete;
    Swtpm& operator=(const Swtpm&) = delete;

    std::string tcti() const { return "swtpm:path=" + dir_ + "/socket"; }
    // A machine that starts anew: registers from the beginning, the same chip.
    void restart() {
        stop();
        start();
    }
    // tpm2-tools on this TPM.
    void tool(const std::string& name, std::vector<std::string> words) const {
        words.insert(words.begin(), {"-T", tcti()});
        const auto ran =
            token::run_program("/usr/bin/" + name, words, {}, 65536, std::chrono::seconds(20));
        REQUIRE(ran);
        INFO(ran->last_words);
        REQUIRE(ran->status == 0);
    }

  private:
    void start() {
        std::vector<std::string> words{kProgram,
                                       "socket",
                                       "--tpm2",
                                       "--server",
                                       "type=unixio,path=" + dir_ + "/socket",
                                       "--ctrl",
                                       "type=unixio,path=" + dir_ + "/socket.ctrl",
                                       "--tpmstate",
                                       "dir=" + dir_,
                                       "--flags",
                                       "not-need-init,startup-clear"};
        std::vector<char*> argv;
        for (std::string& word : words) argv.push_back(word.data());
        argv.push_back(nullptr);
        std::filesystem::remove(dir_ + "/socket");
        posix_spawn_file_actions_t quiet;
        ::posix_spawn_file_actions_init(&quiet);
        ::posix_spawn_file_actions_addopen(&quiet, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
        REQUIRE(::posix_spawn(&pid_, kProgram, &quiet, nullptr, argv.data(), environ) == 0);
        ::posix_spawn_file_actions_destroy(&quiet);
        bool listens = false;
        for (int waited = 0; waited < 10'000 && !listens; ++waited) {
            listens = is_listening();
            if (!listens) ::usleep(1000);
        }
        REQUIRE(listens);
    }
    // The socket's file is there a moment before anybody listens.
    bool is_listening() const {
        struct sockaddr_un address {};
        address.sun_family = AF_UNIX;
        (dir_ + "/socket").copy(address.sun_path, sizeof address.sun_path - 1);
        const lower::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        return ::connect(fd.get(), reinterpret_cast<const struct sockaddr*>(&address),
                         sizeof address) == 0;
    }
    void stop() {
        if (pid_ <= 0) return;
        ::kill(pid_, SIGTERM);
        int status = 0;
        ::waitpid(pid_, &status, 0);
        pid_ = -1;
    }

    std::string dir_;
    pid_t pid_ = -1;
};

}  // namespace extencfs::test
