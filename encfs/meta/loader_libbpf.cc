// SPDX-License-Identifier: Apache-2.0
#include "encfs/meta/loader_libbpf.h"

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

namespace extencfs::meta {

namespace {

constexpr std::size_t kMessagesKept = 4096;

thread_local std::string* tl_messages = nullptr;

int take_message(libbpf_print_level level, const char* format, va_list args) {
    if (!tl_messages || level == LIBBPF_DEBUG) return 0;
    va_list again;
    va_copy(again, args);
    const int length = std::vsnprintf(nullptr, 0, format, again);
    va_end(again);
    if (length <= 0) return 0;
    std::string text(length + 1, '\0');  // a verifier's log is one message
    std::vsnprintf(text.data(), text.size(), format, args);
    text.pop_back();
    tl_messages->append(text);
    // The end of a verifier's log says what is wrong.
    if (tl_messages->size() > 2 * kMessagesKept)
        tl_messages->erase(0, tl_messages->size() - kMessagesKept);
    return length;
}

}  // namespace

MessageCapture::MessageCapture() : outer_(std::exchange(tl_messages, &messages_)) {
    static std::once_flag once;
    std::call_once(once, [] { libbpf_set_print(take_message); });
}

MessageCapture::~MessageCapture() {
    tl_messages = outer_;
}

std::string MessageCapture::failure(std::string_view what, int error) const {
    std::string text(what);
    text += ": ";
    text += std::strerror(std::abs(error));
    std::string_view said = messages_;
    if (said.size() > kMessagesKept) said.remove_prefix(said.size() - kMessagesKept);
    while (said.ends_with('\n')) said.remove_suffix(1);
    if (!said.empty()) {
        text += ": ";
        text += said;
    }
    return text;
}

std::string refusal(std::string_view what) {
    return std::string(what) + ": " + std::strerror(errno);
}

FastPathResult<ObjectPtr> open_object(std::span<const std::byte> file, const char* name) {
    MessageCapture messages;
    bpf_object_open_opts options{};
    options.sz = sizeof(options);
    options.object_name = name;
    ObjectPtr object(bpf_object__open_mem(file.data(), file.size(), &options));
    if (!object)
        return std::unexpected(messages.failure("cannot open the embedded BPF programs", errno));
    return object;
}

FastPathResult<void> load_object(bpf_object* object, std::string_view what) {
    MessageCapture messages;
    if (const int error = bpf_object__load(object))
        return std::unexpected(messages.failure(what, error));
    return {};
}

// REQUIRES: a program of type "syscall".
FastPathResult<void> run(bpf_object* object, const char* name) {
    MessageCapture messages;
    const bpf_program* program = bpf_object__find_program_by_name(object, name);
    if (!program) return std::unexpected(std::string("no program ") + name);
    bpf_test_run_opts options{};
    options.sz = sizeof(options);
    if (const int error = bpf_prog_test_run_opts(bpf_program__fd(program), &options))
        return std::unexpected(messages.failure(std::string("cannot run ") + name, error));
    if (options.retval != 0)
        return std::unexpected(std::string(name) + " refused: too many processes serve the mount");
    return {};
}

FastPathResult<void> add_processors(int map, std::span<std::uint64_t> sum) {
    const int processors = libbpf_num_possible_cpus();
    if (processors < 0) return std::unexpected(std::string("cannot count the processors"));
    std::vector<std::uint64_t> values(sum.size() * processors);
    const std::uint32_t zero = 0;
    if (bpf_map_lookup_elem(map, &zero, values.data()) != 0)
        return std::unexpected(refusal("cannot read the counters"));
    for (std::size_t i = 0; i < values.size(); ++i) sum[i % sum.size()] += values[i];
    return {};
}

FastPathResult<FastPathCounters> counters_of(int counters_map) {
    const auto sum = sum_of_processors<xf_counters>(counters_map);
    if (!sum) return std::unexpected(sum.error());
    FastPathCounters result;
    std::ranges::copy(sum->served, result.served.begin());
    std::ranges::copy(sum->missed, result.missed.begin());
    std::ranges::copy(sum->denied, result.denied.begin());
    return result;
}

bool map_exists(std::uint32_t id) {
    return Descriptor(bpf_map_get_fd_by_id(id)).get() >= 0 || errno != ENOENT;
}

}  // namespace extencfs::meta
