// SPDX-License-Identifier: Apache-2.0
#include "encfs/meta/loader_libbpf.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <utility>

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

FastPathResult<MappedArray> MappedArray::map(const bpf_map* array) {
    MappedArray result;
    result.entries_ = bpf_map__max_entries(array);
    result.size_bytes_ = result.entries_ * bpf_map__value_size(array);
    const std::size_t page = ::sysconf(_SC_PAGESIZE);
    result.mapped_bytes_ = (result.size_bytes_ + page - 1) / page * page;
    void* const data = ::mmap(nullptr, result.mapped_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED,
                              bpf_map__fd(array), 0);
    if (data == MAP_FAILED)
        return std::unexpected(
            refusal(std::string("cannot map the array ") + bpf_map__name(array)));
    result.data_ = data;
    // Neither into a core dump nor into a child.
    ::madvise(data, result.mapped_bytes_, MADV_DONTDUMP);
    ::madvise(data, result.mapped_bytes_, MADV_DONTFORK);
    return result;
}

MappedArray::~MappedArray() {
    if (data_) ::munmap(data_, mapped_bytes_);
}

MappedArray::MappedArray(MappedArray&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      entries_(std::exchange(other.entries_, 0)),
      size_bytes_(std::exchange(other.size_bytes_, 0)),
      mapped_bytes_(std::exchange(other.mapped_bytes_, 0)) {}

MappedArray& MappedArray::operator=(MappedArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(entries_, other.entries_);
    std::swap(size_bytes_, other.size_bytes_);
    std::swap(mapped_bytes_, other.mapped_bytes_);
    return *this;
}

}  // namespace extencfs::meta
