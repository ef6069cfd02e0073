// SPDX-License-Identifier: Apache-2.0
#include "encfs/rotate/file_contents.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "encfs/volume/geometry.h"

namespace extencfs::rotate {
namespace {

using volume::Fragment;
using volume::FragmentState;

constexpr std::uint64_t kFragmentsAtOnce = 512;  // 1 MiB

lower::Errno errno_of(const volume::Error& error) {
    return {error.kind == volume::ErrorKind::kNoMemory ? ENOMEM : EIO};
}

// What is to be done with a fragment.
// kSealShort: at the length that it was sealed at, which is less than it should be.
enum class Fate : std::uint8_t { kSeal, kSealShort, kKeep };

class Sealing {
  public:
    Sealing(const Tools& tools, int fd, const OpenedHeader& opened)
        : fs_(tools.fs),
          fd_(fd),
          header_(opened.header),
          new_keys_(tools.now()),
          old_(volume::ContentCodec::make(opened.keys->content_root.bytes(), header_.cipher,
                                          header_.id, header_.cut)),
          new_(volume::ContentCodec::make(new_keys_.content_root.bytes(), header_.cipher,
                                          header_.id, header_.cut)) {}
    ~Sealing() { crypto::wipe(plain_); }
    Sealing(const Sealing&) = delete;
    Sealing& operator=(const Sealing&) = delete;

    lower::Result<SealedContents> run(std::atomic<std::uint64_t>& bytes_done) {
        const auto is = fs_.stat(fd_);
        if (!is) return std::unexpected(is.error());
        lower_end_ = static_cast<std::uint64_t>(is->st_size);
        result_.bytes = header_.size;
        auto done = volume::data_end(header_.size) <= volume::kLowerPageSize
                        ? page()
                        : fragments(bytes_done);
        if (!done) return std::unexpected(done.error());
        return result_;
    }

  private:
    // A file within the first lower page: its fragment and its header are one write.
    lower::Result<void> page() {
        std::uint64_t end = volume::kFileHeaderSize;
        if (volume::fragment_count(header_.size) > 0) {
            if (auto opened = open_run(0, 1); !opened) return opened;
            if (fates_[0] != Fate::kKeep) {
                if (auto sealed = seal_run(0, 0, 1); !sealed) return sealed;
                end = volume::data_end(header_.size);
            }
        }
        if (auto cut = cut_tail(); !cut) return cut;
        ByteVector page(end);
        put_header(MutBytes(page).first<volume::kFileHeaderSize>());
        if (end > volume::kFileHeaderSize) {
            std::copy_n(sealed_.begin(), end - volume::kFileHeaderSize,
                        page.begin() + volume::kFileHeaderSize);
        }
        return fs_.pwrite(fd_, page, 0);
    }

    lower::Result<void> fragments(std::atomic<std::uint64_t>& bytes_done) {
        const std::uint64_t count = volume::fragment_count(header_.size);
        std::uint64_t told = 0;
        for (std::uint64_t first = 0; first < count;) {
            first = skip_hole(first, count);
            if (first >= count) break;
            if (volume::fragment(first).cipher_off >= lower_end_) {
                // Holes of a sparse file; in another one it is cut off.
                if (!header_.sparse) result_.damaged += count - first;
                break;
            }
            const std::uint64_t n = std::min(kFragmentsAtOnce, count - first);
            if (auto opened = open_run(first, n); !opened) return opened;
            if (auto written = write_runs(first, n); !written) return written;
            first += n;
            const std::uint64_t at = volume::fragment(first - 1).plain_off;
            bytes_done += at - told;
            told = at;
        }
        bytes_done += header_.size - std::min(told, header_.size);
        if (auto cut = cut_tail(); !cut) return cut;
        // The header says that all of them are of the new generation.
        if (auto synced = fs_.fdatasync(fd_); !synced) return synced;
        ByteArray<volume::kFileHeaderSize> bytes;
        put_header(bytes);
        return fs_.pwrite(fd_, bytes, 0);
    }

    void put_header(MutBytesN<volume::kFileHeaderSize> out) const {
        volume::FileHeader header = header_;
        header.key_generation = new_keys_.number;
        volume::encode_header(header, new_keys_.header.bytes(), out);
    }

    // The first fragment from `first` on that is not wholly in a lower hole of a sparse file.
    std::uint64_t skip_hole(std::uint64_t first, std::uint64_t count) const {
        if (!header_.sparse) return first;
        const std::uint64_t from = volume::fragment(first).cipher_off;
        const auto data = fs_.seek(fd_, from, SEEK_DATA);
        if (!data) return data.error().value == ENXIO ? count : first;
        if (*data <= volume::kFileHeaderSize) return first;
        const std::uint64_t block = (*data - volume::kFileHeaderSize) / volume::kCipherBlockSize;
        return std::max(first, 2 * block);
    }

    // Reads and opens fragments [first, first + n), and decides what is to be done with each.
    lower::Result<void> open_run(std::uint64_t first, std::uint64_t n) {
        const Fragment head = volume::fragment(first);
        const Fragment last = volume::fragment(first + n - 1);
        cipher_.resize(last.cipher_off + last.cipher_size - head.cipher_off);
        plain_.resize(last.plain_off + last.plain_size - head.plain_off);
        const auto got = fs_.pread(fd_, cipher_, head.cipher_off);
        if (!got) return std::unexpected(got.error());
        const Bytes there = Bytes(cipher_).first(*got);
        states_.resize(n);
        fates_.assign(n, Fate::kKeep);
        auto opened = old_.open(first, n, there, header_.epoch, header_.sparse, plain_, states_);
        if (!opened) return std::unexpected(errno_of(opened.error()));
        for (std::uint64_t i = 0; i < n; ++i) {
            const Fragment piece = volume::fragment(first + i);
            const auto lower_at = piece.cipher_off - head.cipher_off;
            const Bytes lower = lower_at < there.size() ? there.subspan(lower_at) : Bytes{};
            const MutBytes text =
                MutBytes(plain_).subspan(piece.plain_off - head.plain_off, piece.plain_size);
            if (auto decided = decide(i, piece, lower, text); !decided) return decided;
        }
        return {};
    }

    lower::Result<void> decide(std::uint64_t i, const Fragment& piece, Bytes lower, MutBytes text) {
        const std::uint64_t want = std::min<std::uint64_t>(
            piece.plain_size, header_.size - std::min(header_.size, piece.plain_off));
        const volume::OpenedFragment& state = states_[i];
        if (state.state == FragmentState::kHole) return {};
        if (state.state == FragmentState::kGood) {
            // Sealed at less than its length in a dense file: it stays as much damage as it is.
            const bool is_short = !header_.sparse && state.used < want;
            if (is_short) ++result_.damaged;
            fates_[i] = is_short ? Fate::kSealShort : Fate::kSeal;
            // What was never acknowledged beyond the end, as a recovery cuts it.
            std::ranges::fill(text.subspan(want), std::byte{0});
            return {};
        }
        // An earlier run may have sealed it.
        volume::OpenedFragment again{};
        ByteVector scratch(piece.plain_size);
        auto opened = new_.open(piece.number, 1,
                                lower.first(std::min<std::size_t>(lower.size(), piece.cipher_size)),
                                header_.epoch, header_.sparse, scratch, {&again, 1});
        crypto::wipe(scratch);
        if (!opened) return std::unexpected(errno_of(opened.error()));
        const bool is_whole =
            again.state == FragmentState::kGood && (header_.sparse || again.used >= want);
        if (!is_whole) ++result_.damaged;
        return {};
    }

    // Seals fragments [first + from, first + to) of the run that was opened, into sealed_: one, or
    // none of them kSealShort.
    lower::Result<void> seal_run(std::uint64_t first, std::uint64_t from, std::uint64_t to) {
        const Fragment base = volume::fragment(first);
        const Fragment head = volume::fragment(first + from);
        const Fragment last = volume::fragment(first + to - 1);
        sealed_.resize(last.cipher_off + last.cipher_size - head.cipher_off);
        const Bytes plain = Bytes(plain_).subspan(
            head.plain_off - base.plain_off, last.plain_off + last.plain_size - head.plain_off);
        const bool is_short = fates_[from] == Fate::kSealShort;
        const std::uint64_t size = is_short ? head.plain_off + states_[from].used : header_.size;
        // Nonces: fresh ones for every fragment, under keys that a new generation begins.
        auto sealed = new_.seal(first + from, to - from, plain, size, header_.epoch, sealed_);
        if (!sealed) return std::unexpected(errno_of(sealed.error()));
        return {};
    }

    // Each stretch of fragments that are to be sealed is one write; what lies between is left.
    lower::Result<void> write_runs(std::uint64_t first, std::uint64_t n) {
        for (std::uint64_t from = 0; from < n;) {
            if (fates_[from] == Fate::kKeep) {
                ++from;
                continue;
            }
            std::uint64_t to = from + 1;
            if (fates_[from] == Fate::kSeal) {
                while (to < n && fates_[to] == Fate::kSeal) ++to;
            }
            if (auto sealed = seal_run(first, from, to); !sealed) return sealed;
            auto put = fs_.pwrite(fd_, sealed_, volume::fragment(first + from).cipher_off);
            if (!put) return put;
            from = to;
        }
        return {};
    }

    // What lies beyond the length goes, as after an unclean end; the hint says the length again.
    lower::Result<void> cut_tail() {
        const std::uint64_t end = volume::data_end(header_.size);
        const std::uint64_t hint = volume::hint_of_size(header_.size);
        if (lower_end_ <= end || lower_end_ == hint) return {};
        if (auto cut = fs_.truncate(fd_, end); !cut) return cut;
        return fs_.truncate(fd_, hint);
    }

    lower::LowerFs& fs_;
    int fd_;
    const volume::FileHeader header_;
    const volume::GenerationKeys& new_keys_;
    volume::ContentCodec old_;
    volume::ContentCodec new_;
    std::uint64_t lower_end_ = 0;
    SealedContents result_;
    ByteVector cipher_, plain_, sealed_;
    std::vector<volume::OpenedFragment> states_;
    std::vector<Fate> fates_;
};

}  // namespace

lower::Result<std::optional<OpenedHeader>> read_header(const Tools& tools, int fd) {
    ByteArray<volume::kFileHeaderSize> bytes;
    const auto got = tools.fs.pread(fd, bytes, 0);
    if (!got) return std::unexpected(got.error());
    if (*got < bytes.size()) return std::nullopt;
    const auto number = volume::peek_generation(bytes);
    const auto* keys = number ? tools.keys.generation(*number) : nullptr;
    if (keys == nullptr) return std::nullopt;
    const auto header = volume::decode_header(bytes, keys->header.bytes());
    if (!header) return std::nullopt;
    return OpenedHeader{*header, keys};
}

lower::Result<SealedContents> seal_contents(const Tools& tools, int fd, const OpenedHeader& opened,
                                            std::atomic<std::uint64_t>& bytes_done) {
    return Sealing(tools, fd, opened).run(bytes_done);
}

}  // namespace extencfs::rotate
