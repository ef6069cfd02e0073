// SPDX-License-Identifier: Apache-2.0
#include "tools/mount_options.h"

#include <algorithm>
#include <array>

namespace extencfs::tools {
namespace {

struct Switch {
    std::string_view word;
    bool MountFlags::*member;
    bool value;
};
constexpr std::array kSwitches{
    Switch{"ro", &MountFlags::read_only, true},
    Switch{"rw", &MountFlags::read_only, false},
    Switch{"allow_other", &MountFlags::allow_other, true},
    Switch{"suid", &MountFlags::suid, true},
    Switch{"nosuid", &MountFlags::suid, false},
    Switch{"dev", &MountFlags::dev, true},
    Switch{"nodev", &MountFlags::dev, false},
    Switch{"noexec", &MountFlags::noexec, true},
    Switch{"exec", &MountFlags::noexec, false},
    Switch{"nonempty", &MountFlags::nonempty, true},
    Switch{"shared", &MountFlags::shared, true},
    Switch{"noxattr", &MountFlags::no_xattr, true},
    Switch{"deny_root", &MountFlags::deny_root, true},
    Switch{"guard_lower", &MountFlags::guard_lower, true},
};

struct Value {
    std::string_view key;  // with its '='
    std::string MountFlags::*member;
};
constexpr std::array kValues{
    Value{"fsname=", &MountFlags::fsname}, Value{"idle=", &MountFlags::idle},
    Value{"mode=", &MountFlags::mode},     Value{"transport=", &MountFlags::transport},
    Value{"map_mb=", &MountFlags::map_mb},
};

// May be given several times.
struct Repeated {
    std::string_view key;  // with its '='
    std::vector<std::string> MountFlags::*member;
};
constexpr std::array kRepeated{
    Repeated{"allow_uid=", &MountFlags::allow_uids},
    Repeated{"allow_gid=", &MountFlags::allow_gids},
};

constexpr std::array<std::string_view, 4> kKernel{"noatime", "nodiratime", "sync", "dirsync"};
// Already so, or meant for mount(8) and the boot, not for us.
constexpr std::array<std::string_view, 16> kPassedOver{"default_permissions",
                                                       "defaults",
                                                       "async",
                                                       "atime",
                                                       "diratime",
                                                       "relatime",
                                                       "auto",
                                                       "noauto",
                                                       "user",
                                                       "users",
                                                       "nouser",
                                                       "owner",
                                                       "group",
                                                       "nofail",
                                                       "_netdev",
                                                       "nostrictatime"};

template <typename List>
bool contains(const List& list, std::string_view word) {
    return std::ranges::find(list, word) != list.end();
}

std::expected<void, std::string> apply(std::string_view word, MountFlags& flags) {
    for (const Switch& entry : kSwitches) {
        if (word == entry.word) {
            flags.*entry.member = entry.value;
            return {};
        }
    }
    for (const Value& entry : kValues) {
        if (word.starts_with(entry.key)) {
            flags.*entry.member = word.substr(entry.key.size());
            return {};
        }
    }
    for (const Repeated& entry : kRepeated) {
        if (word.starts_with(entry.key)) {
            (flags.*entry.member).emplace_back(word.substr(entry.key.size()));
            return {};
        }
    }
    if (contains(kKernel, word)) {
        if (!contains(flags.kernel, word)) flags.kernel.emplace_back(word);
        return {};
    }
    if (contains(kPassedOver, word) || word.starts_with("x-")) return {};
    return std::unexpected(std::string(word));
}

}  // namespace

std::expected<void, std::string> parse_mount_options(std::string_view list, MountFlags& flags) {
    while (!list.empty()) {
        const std::size_t end = std::min(list.find(','), list.size());
        if (end != 0) {
            if (auto known = apply(list.substr(0, end), flags); !known) return known;
        }
        list.remove_prefix(std::min(end + 1, list.size()));
    }
    return {};
}

}  // namespace extencfs::tools
