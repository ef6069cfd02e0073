// SPDX-License-Identifier: Apache-2.0
#include "encfs/meta/mapped_array.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

namespace extencfs::meta {

std::expected<MappedArray, std::string> MappedArray::map(int array, std::size_t entries,
                                                         std::size_t entry_bytes) {
    MappedArray result;
    result.entries_ = entries;
    result.size_bytes_ = entries * entry_bytes;
    const std::size_t page = ::sysconf(_SC_PAGESIZE);
    result.mapped_bytes_ = (result.size_bytes_ + page - 1) / page * page;
    void* const data =
        ::mmap(nullptr, result.mapped_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, array, 0);
    if (data == MAP_FAILED)
        return std::unexpected(std::string("cannot map an array: ") + std::strerror(errno));
    result.data_ = data;
    ::madvise(data, result.mapped_bytes_, MADV_DONTDUMP);
    ::madvise(data, result.mapped_bytes_, MADV_DONTFORK);
    return result;
}

void MappedArray::wipe() {
    if (data_) ::explicit_bzero(data_, size_bytes_);
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
