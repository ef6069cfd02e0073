// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/control.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>

#include "encfs/daemon/mount_table.h"
#include "tests/unit/daemon/temp_dir.h"

using namespace extencfs;
using namespace extencfs::daemon;
using extencfs::test::TempDir;

namespace {

ControlReply echo(std::string_view request) {
    return {"{\"got\":\"" + std::string(request) + "\"}"};
}

lower::Fd raw_client(const std::string& path) {
    lower::Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    REQUIRE(connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    return fd;
}

}  // namespace

TEST_CASE("a request is answered, and the socket is private and goes away") {
    TempDir dir;
    std::string path;
    {
        const auto server = ControlServer::start(dir.path(), echo);
        REQUIRE(server);
        path = (*server)->socket_path();
        struct stat st {};
        REQUIRE(stat(path.c_str(), &st) == 0);
        CHECK((st.st_mode & 07777) == 0600);
        for (int i = 0; i < 3; ++i) {
            const auto reply = control_request(dir.path(), geteuid(), "status");
            REQUIRE(reply);
            CHECK(*reply == "{\"got\":\"status\"}");
        }
        const auto second = ControlServer::start(dir.path(), echo);
        REQUIRE_FALSE(second);
        CHECK(second.error().kind == FailureKind::kMountpoint);
        CHECK(control_request(dir.path(), geteuid(), "status"));
    }
    CHECK(access(path.c_str(), F_OK) != 0);
    CHECK(control_request(dir.path(), geteuid(), "status").error().kind ==
          FailureKind::kNotMounted);
}

TEST_CASE("clients that say nothing, too much, or go away do not stop the others") {
    TempDir dir;
    const auto server = ControlServer::start(dir.path(), echo);
    REQUIRE(server);
    {
        const auto silent = raw_client((*server)->socket_path());
        const auto start = std::chrono::steady_clock::now();
        CHECK(control_request(dir.path(), geteuid(), "a"));
        CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
    }
    {
        const auto loud = raw_client((*server)->socket_path());
        const std::string noise(100'000, 'x');
        (void)!send(loud.get(), noise.data(), noise.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        CHECK(control_request(dir.path(), geteuid(), "b"));
    }
    { const auto gone = raw_client((*server)->socket_path()); }
    CHECK(control_request(dir.path(), geteuid(), "c"));
}

TEST_CASE("a socket that a killed daemon left is taken over") {
    TempDir dir;
    const pid_t child = fork();
    if (child == 0) {
        const auto server = ControlServer::start(dir.path(), echo);
        _exit(server ? 0 : 1);  // no destructor: the socket stays
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE(status == 0);
    CHECK(control_request(dir.path(), geteuid(), "x").error().kind == FailureKind::kNotMounted);
    const auto server = ControlServer::start(dir.path(), echo);
    REQUIRE(server);
    CHECK(control_request(dir.path(), geteuid(), "x"));
}

TEST_CASE("waiting for the end ends when the process does") {
    TempDir dir;
    int ready[2];
    REQUIRE(pipe(ready) == 0);
    const pid_t child = fork();
    if (child == 0) {
        std::atomic<bool> asked{false};
        auto server = ControlServer::start(dir.path(), [&](std::string_view) {
            asked = true;
            return ControlReply{"{\"ok\":true}", true};
        });
        (void)!write(ready[1], "y", 1);
        while (!asked) usleep(1000);
        if (server) server->reset();
        usleep(300'000);
        _exit(0);
    }
    char byte = 0;
    REQUIRE(read(ready[0], &byte, 1) == 1);
    const auto start = std::chrono::steady_clock::now();
    CHECK(control_request(dir.path(), geteuid(), "unmount", Wait::kUntilExit, 30));
    CHECK(std::chrono::steady_clock::now() - start >= std::chrono::milliseconds(250));
    waitpid(child, nullptr, 0);
    close(ready[0]);
    close(ready[1]);
}

TEST_CASE("mountinfo: escapes, optional fields, users") {
    const auto entries = parse_mountinfo(
        "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
        "90 22 0:55 / /a\\040b\\134c rw,nosuid,nodev shared:3 master:1 - fuse.extencfs /v\\011w "
        "rw,user_id=1000,group_id=100,default_permissions\n"
        "nonsense\n");
    REQUIRE(entries.size() == 2);
    CHECK(entries[0].mountpoint == "/");
    CHECK_FALSE(entries[0].user_id);
    CHECK_FALSE(is_extencfs(entries[0]));
    CHECK(entries[1].mountpoint == "/a b\\c");
    CHECK(entries[1].source == "/v\tw");
    CHECK(entries[1].user_id == 1000);
    CHECK(entries[1].device == "0:55");
    CHECK(is_extencfs(entries[1]));
}
