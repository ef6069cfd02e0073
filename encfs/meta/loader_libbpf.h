// SPDX-License-Identifier: Apache-2.0
// libbpf in RAII, and its messages as strings. For loader*.cc only.
#pragma once

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "encfs/meta/loader.h"

namespace extencfs::meta {

struct CloseObject {
    void operator()(bpf_object* object) const { bpf_object__close(object); }
};
struct DestroyLink {
    void operator()(bpf_link* link) const { bpf_link__destroy(link); }
};
struct FreeBtf {
    void operator()(btf* types) const { btf__free(types); }
};
struct FreeRing {
    void operator()(ring_buffer* ring) const { ring_buffer__free(ring); }
};
using ObjectPtr = std::unique_ptr<bpf_object, CloseObject>;
using LinkPtr = std::unique_ptr<bpf_link, DestroyLink>;
using BtfPtr = std::unique_ptr<btf, FreeBtf>;
using RingPtr = std::unique_ptr<ring_buffer, FreeRing>;

// What libbpf says on this thread while it lives; printed nowhere.
class MessageCapture {
  public:
    MessageCapture();
    ~MessageCapture();
    MessageCapture(const MessageCapture&) = delete;
    MessageCapture& operator=(const MessageCapture&) = delete;

    // "`what`: error text: libbpf's words". `error` is an errno, positive or negative.
    std::string failure(std::string_view what, int error) const;

  private:
    std::string messages_;
    std::string* outer_;
};

// "`what`: text of errno".
std::string refusal(std::string_view what);

FastPathResult<ObjectPtr> open_object(std::span<const std::byte> file, const char* name);
FastPathResult<void> load_object(bpf_object* object, std::string_view what);
// Runs a program of type "syscall" here and now.
FastPathResult<void> run(bpf_object* object, const char* name);

// The words of a map's value, those of all processors added up. `sum`: as long as a value.
FastPathResult<void> add_processors(int map, std::span<std::uint64_t> sum);

template <typename Value>
FastPathResult<Value> sum_of_processors(int map) {
    static_assert(sizeof(Value) % sizeof(std::uint64_t) == 0);
    std::array<std::uint64_t, sizeof(Value) / sizeof(std::uint64_t)> sum{};
    if (auto added = add_processors(map, sum); !added) return std::unexpected(added.error());
    return std::bit_cast<Value>(sum);
}

// The object files, embedded (bpf/CMakeLists.txt).
std::span<const std::byte> metadata_object();
std::span<const std::byte> access_object();

// Members of struct extfuse_ops that the loaded module does not know.
std::vector<std::string> unknown_members(std::span<const char* const> members);

}  // namespace extencfs::meta
