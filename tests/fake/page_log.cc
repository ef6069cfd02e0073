// SPDX-License-Identifier: Apache-2.0
#include "tests/fake/page_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>

#include "tests/fake/pinned_file.h"

namespace extencfs::fake {
namespace {

std::uint64_t size_of(int fd) {
    struct stat is;
    if (::fstat(fd, &is) == -1) stop("fstat of a pinned file");
    return static_cast<std::uint64_t>(is.st_size);
}

bool all_zero(Bytes bytes) {
    return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

// Padded with zeros behind the file's end; empty when there is nothing else in it.
ByteVector read_page(int fd, std::uint64_t page) {
    ByteVector content(kPage);
    std::size_t done = 0;
    while (done < kPage) {
        const ssize_t size = ::pread(fd, content.data() + done, kPage - done,
                                     static_cast<off_t>(page * kPage + done));
        if (size == -1 && errno == EINTR) continue;
        if (size == -1) stop("pread of a pinned file");
        if (size == 0) break;
        done += static_cast<std::size_t>(size);
    }
    if (all_zero(content)) content.clear();
    return content;
}

// Calls `each` for the pages of [from, to) that are not in a hole.
template <typename Each>
void each_data_page(int fd, std::uint64_t from, std::uint64_t to, Each each) {
    auto at = static_cast<off_t>(from);
    for (;;) {
        const off_t data = ::lseek(fd, at, SEEK_DATA);
        if (data == -1 && errno == ENXIO) return;
        if (data == -1) stop("SEEK_DATA of a pinned file");
        if (static_cast<std::uint64_t>(data) >= to) return;
        const off_t hole = ::lseek(fd, data, SEEK_HOLE);
        if (hole == -1) stop("SEEK_HOLE of a pinned file");
        const std::uint64_t end = std::min<std::uint64_t>(static_cast<std::uint64_t>(hole), to);
        for (auto page = static_cast<std::uint64_t>(data) / kPage; page * kPage < end; ++page)
            each(page);
        at = hole;
    }
}

}  // namespace

void PageLog::before(int fd, std::uint64_t from, std::uint64_t to) {
    size_before_ = size_of(fd);
    touched_.clear();
    from -= from % kPage;
    each_data_page(fd, from, to, [&](std::uint64_t page) { touched_.insert(page); });
    // A page in a hole is remembered when the change has put something there: see after().
    for (auto it = versions_.lower_bound(from / kPage);
         it != versions_.end() && it->first * kPage < to; ++it)
        touched_.insert(it->first);
    for (const std::uint64_t page : touched_)
        if (!versions_.contains(page)) versions_[page].push_back({0, read_page(fd, page)});
    from_ = from;
    to_ = to;
}

void PageLog::after(int fd) {
    const std::uint64_t size = size_of(fd);
    // A cut comes before the contents it leaves, a growth behind the contents that made it.
    const auto log_size = [&] {
        if (sizes_.empty()) old_size_ = size_before_;
        sizes_.push_back({++change_, size});
    };
    if (size < size_before_) log_size();
    each_data_page(fd, from_, to_, [&](std::uint64_t page) { touched_.insert(page); });
    ++change_;
    for (const std::uint64_t page : touched_) {
        auto& versions = versions_[page];
        if (versions.empty()) versions.push_back({0, {}});
        auto content = read_page(fd, page);
        // Written again, whatever it is: it waits for the disk again.
        const bool was_lost = lost_.erase(page) != 0;
        if (was_lost || content != versions.back().content)
            versions.push_back({change_, std::move(content)});
        if (versions.size() == 1) versions_.erase(page);
    }
    if (size > size_before_) log_size();
}

void PageLog::synced() {
    std::erase_if(versions_, [&](const auto& entry) { return !lost_.contains(entry.first); });
    sizes_.clear();
}

void PageLog::lost() {
    for (const auto& [page, versions] : versions_) lost_.insert(page);
    sizes_.clear();
}

void PageLog::forget_cached(int fd) {
    const std::uint64_t size = size_of(fd);
    for (const std::uint64_t page : lost_) {
        write_page(fd, page, versions_[page].front(), 0, size);
        versions_.erase(page);
    }
    lost_.clear();
}

void PageLog::write_page(int fd, std::uint64_t page, const Version& version, std::size_t sizes_kept,
                         std::uint64_t size) {
    const std::uint64_t start = page * kPage;
    if (start >= size) return;
    std::uint64_t end = std::min(size, start + kPage);
    // What a size change that is left cut off does not come back from older content.
    std::uint64_t cut = end;
    for (const Size& s : std::span(sizes_).first(sizes_kept))
        if (s.change > version.change) cut = std::min(cut, std::max(s.size, start));
    ByteVector content = version.content;
    content.resize(kPage);
    std::fill(content.begin() + static_cast<std::ptrdiff_t>(cut - start), content.end(),
              std::byte{0});
    const auto at = static_cast<off_t>(start);
    if (all_zero(content)) {
        if (::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, kPage) == -1)
            stop("punching a page that the crash lost");
        return;
    }
    const auto count = static_cast<ssize_t>(end - start);
    if (::pwrite(fd, content.data(), static_cast<std::size_t>(count), at) != count)
        stop("writing a page that the crash left");
}

std::string PageLog::crash(int fd, std::mt19937_64& random) {
    const std::size_t sizes_kept = random() % (sizes_.size() + 1);
    const std::uint64_t size = sizes_kept > 0    ? sizes_[sizes_kept - 1].size
                               : !sizes_.empty() ? old_size_
                                                 : size_of(fd);
    if (::ftruncate(fd, static_cast<off_t>(size)) == -1) stop("the size that the crash left");
    const auto choice = static_cast<Choice>(random() % 3);
    std::string said = "size " + std::to_string(size) + " (" + std::to_string(sizes_kept) + " of " +
                       std::to_string(sizes_.size()) + " changes)";
    for (const auto& [page, versions] : versions_) {
        const std::size_t any = random() % versions.size();
        const bool is_old = choice == Choice::kOld || lost_.contains(page);
        const std::size_t chosen = is_old ? 0 : choice == Choice::kNew ? versions.size() - 1 : any;
        write_page(fd, page, versions[chosen], sizes_kept, size);
        said += ", page " + std::to_string(page) + ": " + std::to_string(chosen) + " of " +
                std::to_string(versions.size() - 1);
    }
    lost_.clear();
    synced();
    return said;
}

}  // namespace extencfs::fake
