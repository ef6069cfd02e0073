// SPDX-License-Identifier: Apache-2.0
// The transcript of one conformance case. A case makes system calls in its working directory and
// writes down what it saw; the runner runs it once on the mount and once on the lower file system
// and compares the two transcripts line by line. So a case states no expected result: the lower
// file system does. Only what may rightly differ (inode numbers, absolute times, order of entries,
// sizes of directories) is left out or reduced to a check.
// THREADS: one; a case that forks lets one process at a time write.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

namespace extencfs::conformance {

// "ENOENT" for 2.
std::string errno_name(int value);
// "-rw-r--r--" style type letter and octal permission bits.
std::string mode_text(mode_t mode);

class Trace {
  public:
    explicit Trace(int out_fd) : out_fd_(out_fd) {}

    void line(std::string_view text) const;
    template <typename... A>
    void print(fmt::format_string<A...> format, A&&... args) const {
        line(fmt::format(format, std::forward<A>(args)...));
    }

    // A call's result: "what = 12" or "what = ENOENT". Returns it, errno kept.
    long ret(std::string_view what, long result) const;
    // The same where a success has no comparable value (a descriptor): "what = ok".
    int ok(std::string_view what, int result) const;
    // Something that has to hold on any file system.
    bool check(std::string_view what, bool holds) const;

    // lstat: type, mode, links, size (not of directories), owner, device. Times: stat_times.
    void stat(std::string_view what, const std::string& path) const;
    void fstat(std::string_view what, int fd) const;
    // Seconds and nanoseconds of atime and mtime.
    void stat_times(std::string_view what, const std::string& path) const;
    // Runs `act`, then says which times of `path` it moved: "atime= mtime+ ctime+".
    void times(std::string_view what, const std::string& path,
               const std::function<void()>& act) const;
    // Size and hash of a whole file.
    void content(std::string_view what, const std::string& path) const;
    void fd_content(std::string_view what, int fd) const;
    void bytes(std::string_view what, std::string_view data) const;
    // Sorted names and types.
    void list(std::string_view what, const std::string& path) const;

    // Runs `act` in a child with these ids (all capabilities gone unless uid is 0), and waits.
    // The child's lines go to the same transcript. Needs root.
    void as(uid_t uid, gid_t gid, const std::vector<gid_t>& groups,
            const std::function<void()>& act) const;
    // Runs `act` in a child with the same ids; returns its wait status.
    int child(const std::function<void()>& act) const;

  private:
    void stat_line(std::string_view what, int result, const struct stat& st) const;
    int out_fd_;
};

// ---- small things that cases share; each fails the case (a line "setup failed") on error ----
void put(const Trace& t, const std::string& path, std::string_view data, mode_t mode = 0644);
std::string get(const std::string& path);              // "" when it cannot be read
std::string pattern(std::size_t size, unsigned seed);  // the same bytes for the same seed
std::uint64_t hash_of(std::string_view data);
void pause_ms(int ms);

// ---- registration ----
enum class Needs { kNothing, kRoot, kTmpfile };
struct Case {
    std::string name;
    Needs needs;
    void (*run)(const Trace&);
};
std::vector<Case>& all_cases();
struct Register {
    Register(const char* name, void (*run)(const Trace&), Needs needs = Needs::kNothing) {
        all_cases().push_back({name, needs, run});
    }
};

}  // namespace extencfs::conformance
