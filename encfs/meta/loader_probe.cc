// SPDX-License-Identifier: Apache-2.0
// Which part of the kernel fast path is missing.
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <sstream>

#include "encfs/meta/loader_libbpf.h"

namespace extencfs::meta {

namespace {

bool exists(const char* path) {
    return ::access(path, F_OK) == 0;
}

// CAP_BPF and CAP_PERFMON are not enough: the kernel asks for CAP_SYS_ADMIN where a program calls
// a module's functions (6.12: BPF_BTF_GET_FD_BY_ID), and so does extfuse.ko when one is attached.
bool may_load() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3]{};
    if (::syscall(SYS_capget, &header, data) != 0) return false;
    return data[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective & CAP_TO_MASK(CAP_SYS_ADMIN);
}

bool knows_struct(const btf* types, const char* name) {
    return types && btf__find_by_name_kind(types, name, BTF_KIND_STRUCT) > 0;
}

// "" if BPF is among the active security modules.
std::string lsm_missing() {
    std::ifstream file("/sys/kernel/security/lsm");
    if (!file) return "securityfs is not mounted, so that BPF LSM cannot be told to be active";
    std::string name;
    while (std::getline(file, name, ',')) {
        std::erase(name, '\n');
        if (name == "bpf") return {};
    }
    return "BPF LSM is not active (add bpf to the kernel parameter lsm=)";
}

}  // namespace

std::vector<std::string> unknown_members(std::span<const char* const> members) {
    MessageCapture quiet;
    std::vector<std::string> unknown;
    BtfPtr kernel(btf__load_vmlinux_btf());
    if (!kernel) return unknown;
    BtfPtr module(btf__load_module_btf("extfuse", kernel.get()));
    if (!module) return unknown;
    const int id = btf__find_by_name_kind(module.get(), "extfuse_ops", BTF_KIND_STRUCT);
    const btf_type* ops = id > 0 ? btf__type_by_id(module.get(), id) : nullptr;
    if (!ops) return unknown;
    for (const char* member : members) {
        const std::span known(btf_members(ops), btf_vlen(ops));
        if (std::ranges::none_of(known, [&](const btf_member& m) {
                return !std::strcmp(btf__name_by_offset(module.get(), m.name_off), member);
            }))
            unknown.emplace_back(member);
    }
    return unknown;
}

FastPathProbe KernelFastPath::probe() {
    FastPathProbe probe;
    const auto both = [&](const char* sentence) {
        probe.metadata.emplace_back(sentence);
        probe.access.emplace_back(sentence);
    };
    MessageCapture quiet;
    BtfPtr kernel;
    if (!exists("/sys/kernel/btf/vmlinux")) {
        both("the kernel has no type information (CONFIG_DEBUG_INFO_BTF)");
    } else {
        kernel.reset(btf__load_vmlinux_btf());
        if (!kernel) {
            both("the kernel's type information cannot be read");
        } else if (!knows_struct(kernel.get(), "bpf_struct_ops_common_value")) {
            // The struct came with struct_ops in modules (6.9).
            probe.metadata.emplace_back(
                "the kernel has no BPF struct_ops for modules (before 6.9)");
        }
    }
    if (!exists("/sys/module/extfuse")) {
        probe.metadata.emplace_back("the kernel module extfuse is not loaded");
    } else if (kernel) {
        BtfPtr module(btf__load_module_btf("extfuse", kernel.get()));
        if (!knows_struct(module.get(), "extfuse_ops"))
            probe.metadata.emplace_back(
                "the loaded module extfuse has no type information (it was built without BTF)");
    }
    if (auto missing = lsm_missing(); !missing.empty()) probe.access.push_back(std::move(missing));
    probe.privileged = may_load();
    if (!probe.privileged)
        both("the daemon lacks CAP_SYS_ADMIN, which loading the BPF programs takes");
    return probe;
}

}  // namespace extencfs::meta
