// SPDX-License-Identifier: Apache-2.0
// The loader of a build without the kernel fast path: says so, does nothing.
#include "encfs/meta/loader.h"

namespace extencfs::meta {

namespace {
constexpr const char* kNotBuilt = "this build has no kernel fast path (it needs libbpf and clang)";
}  // namespace

struct KernelFastPath::State {
    xf_config config{};
};

KernelFastPath::KernelFastPath(std::unique_ptr<State> state) : state_(std::move(state)) {}
KernelFastPath::KernelFastPath(KernelFastPath&&) noexcept = default;
KernelFastPath& KernelFastPath::operator=(KernelFastPath&&) noexcept = default;
KernelFastPath::~KernelFastPath() = default;

FastPathProbe KernelFastPath::probe() {
    return {{kNotBuilt}, {kNotBuilt}};
}

FastPathResult<KernelFastPath> KernelFastPath::load(const FastPathConfig&) {
    return std::unexpected(std::string(kNotBuilt));
}

std::span<xf_node> KernelFastPath::nodes() const {
    return {};
}
std::span<xf_bucket> KernelFastPath::buckets() const {
    return {};
}
const xf_config& KernelFastPath::config() const {
    return state_->config;
}
FastPathResult<void> KernelFastPath::enrol() {
    return std::unexpected(std::string(kNotBuilt));
}
FastPathResult<void> KernelFastPath::set_policy(int, const AccessPolicy&) {
    return std::unexpected(std::string(kNotBuilt));
}
FastPathResult<void> KernelFastPath::attach(int) {
    return std::unexpected(std::string(kNotBuilt));
}
bool KernelFastPath::attached() const {
    return false;
}
void KernelFastPath::detach() {}
void KernelFastPath::wipe() {}
FastPathResult<FastPathCounters> KernelFastPath::counters() const {
    return FastPathCounters{};
}
void KernelFastPath::drain_denials(const std::function<void(const xf_denial&)>&) {}
std::size_t KernelFastPath::map_bytes() const {
    return 0;
}
FastPathResult<SharedMaps> KernelFastPath::share() const {
    return std::unexpected(std::string(kNotBuilt));
}
FastPathResult<FastPathCounters> counters_of(int) {
    return std::unexpected(std::string(kNotBuilt));
}
bool map_exists(std::uint32_t) {
    return false;
}

}  // namespace extencfs::meta
