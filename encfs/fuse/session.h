// SPDX-License-Identifier: Apache-2.0
// A mounted FUSE session over a core::Filesystem: decodes requests, calls, replies. The only part
// that knows libfuse.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "encfs/core/filesystem.h"
#include "encfs/fuse/gate.h"

namespace extencfs::fuse {

// Which requests are avoided. kRegular: none, nothing cached (for measurements). kOptimized: every
// feature that library and kernel have, long timeouts: the daemon is the only writer. kExtfuse
// and kAuto: the same here; what the kernel answers from maps is for whoever mounts to add.
enum class Mode { kRegular, kOptimized, kAuto, kExtfuse };
// How requests reach the daemon. kUring demands FUSE over io_uring; kAuto takes it where it works.
enum class Transport { kAuto, kUring, kClassic };

struct MountOptions {
    std::string mountpoint;
    std::string fsname;                // the first field of /proc/mounts
    std::string subtype = "extencfs";  // the third one, after "fuse."
    std::string lower_dir;
    bool read_only = false;
    bool allow_other = false;
    bool suid = false;
    bool dev = false;
    bool noexec = false;
    Mode mode = Mode::kAuto;
    Transport transport = Transport::kAuto;
    bool no_xattr = false;  // no extended attributes and ACLs: fewer requests with each write
    bool shared = false;    // others change the lower directory: short timeouts, look again
    bool debug = false;
    // Passed by every request; not owned; may be null. With it the mode is kRegular, so that the
    // kernel asks for everything, and the transport kClassic, whose threads may wait.
    Gate* gate = nullptr;
    std::vector<std::string> extra_kernel_options;
};

// How long the kernel may keep what it is told, in seconds.
struct CacheTimes {
    double entry_s;
    double attr_s;
    double negative_s;
};
CacheTimes cache_times(const MountOptions& options);

struct SessionError {
    int exit_code_hint;    // 0: none
    std::string sentence;  // what went wrong and what to do
};

// THREADS: run() on one thread; the rest from any.
class Session {
  public:
    static std::expected<std::unique_ptr<Session>, SessionError> mount(core::Filesystem& fs,
                                                                       const MountOptions& options);
    // Unmounts if that has not happened.
    ~Session();

    // Serves requests until the file system is unmounted or request_exit(). `ready` is called once
    // the kernel's INIT is answered, from then on the mount is usable. Returns 0 or an errno.
    int run(std::function<void()> ready);
    // Ends run() once the requests at work are finished.
    void request_exit();
    // Detaches the mountpoint; `lazy`: also while files are open. False when the kernel refuses
    // (busy).
    bool unmount(bool lazy = false);

    // Stable JSON of what is in force here:
    // {"mode","transport","requests":{"LOOKUP":n,...},"bytes_read",...}.
    std::string stats_json() const;
    void reset_stats();
    // All requests since the mount, whatever reset_stats() did.
    std::uint64_t requests_total() const;
    // One line for each feature that is off although the mode wants it, and why.
    std::vector<std::string> feature_notes() const;

    struct State;
    explicit Session(std::unique_ptr<State> state);

  private:
    std::unique_ptr<State> state_;
};

}  // namespace extencfs::fuse
