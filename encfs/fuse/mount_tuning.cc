// SPDX-License-Identifier: Apache-2.0
#include "encfs/fuse/mount_tuning.h"

#include <mntent.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

namespace extencfs::fuse {

namespace {

// In mountinfo(5) blanks of a path are written as octal escapes.
std::string unescape(const std::string& text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\' && i + 3 < text.size()) {
            out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                     (text[i + 3] - '0'));
            i += 3;
        } else {
            out += text[i];
        }
    }
    return out;
}

// "0:45" of the newest mount there.
std::string device_of(const std::string& mountpoint) {
    std::ifstream mounts("/proc/self/mountinfo");
    std::string line, found;
    while (std::getline(mounts, line)) {
        std::istringstream fields(line);
        std::string id, parent, device, root, where;
        fields >> id >> parent >> device >> root >> where;
        if (unescape(where) == mountpoint) found = device;
    }
    return found;
}

bool set(const std::string& device, const char* name, const char* value) {
    std::ofstream file("/sys/class/bdi/" + device + "/" + name);
    file << value;
    file.flush();
    return file.good();
}

}  // namespace

std::string tune_page_cache(const std::string& mountpoint) {
    if (::geteuid() != 0)
        return "page cache limits: only root can raise them (large writes wait more)";
    const std::string device = device_of(mountpoint);
    if (device.empty()) return "page cache limits: the mount was not found";
    // strict_limit is missing before 6.2.
    const bool strict = set(device, "strict_limit", "0");
    const bool ratio = set(device, "max_ratio", "50");
    (void)set(device, "read_ahead_kb", "512");
    if (strict && ratio) return {};
    return "page cache limits: this kernel does not let them be raised";
}

}  // namespace extencfs::fuse
