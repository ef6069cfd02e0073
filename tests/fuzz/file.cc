// SPDX-License-Identifier: Apache-2.0
// A whole lower file through core::Format1File: a good one, edited, or any bytes at all, its header
// perhaps with other values and the right MAC; then a script of reads and changes. Whatever is read
// was written or authenticates, or it is an error; and what nobody touched has no errors.
//
// Input: shape, flags, number of operations; the header's values; the operations; edits or bytes.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include "encfs/core/format1_file.h"
#include "tests/fuzz/file_model.h"
#include "tests/fuzz/target.h"

namespace {

using namespace extencfs;
using namespace extencfs::volume;
using core::ContentFile;
using core::Format1File;
using core::WriteSource;
using fuzz::FileModel;
using fuzz::Input;
using fuzz::promise;

enum Flags : unsigned {
    kReplaced = 1,    // the lower file is the rest of the input
    kNewHeader = 2,   // the header has other values
    kCleanMark = 4,   // the volume says that it was unmounted cleanly
    kResealed = 8,    // one fragment is sealed anew
    kSparseFlag = 16  // of the new header
};

constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
constexpr std::size_t kMostRead = 64 * 1024;
constexpr std::size_t kMostWritten = 20'000;

std::byte first_value(std::uint64_t off) {
    return static_cast<std::byte>(1 + (off * 7 + off / 251) % 255);
}
ByteVector first_bytes(std::uint64_t off, std::size_t size) {
    ByteVector out(size);
    for (std::size_t i = 0; i < size; ++i) out[i] = first_value(off + i);
    return out;
}

// A lower file in memory: the real system calls on a file without a name.
class Place {
  public:
    Place() : fd_(::memfd_create("fuzz", MFD_CLOEXEC)), lower_(lower::make_posix_lower_fs()) {
        promise(static_cast<bool>(fd_), "a file in memory can be made");
    }
    lower::LowerFs& lower() { return *lower_; }
    lower::Fd again() { return lower::Fd(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0)); }
    std::uint64_t size() { return static_cast<std::uint64_t>(lower_->stat(fd_.get())->st_size); }
    ByteVector contents() {
        ByteVector bytes(size());
        promise(lower_->pread(fd_.get(), bytes, 0) == bytes.size(), "it can be read");
        return bytes;
    }
    // Zeroed pages become holes below.
    void fill(Bytes bytes) {
        bool good = lower_->truncate(fd_.get(), 0) && lower_->truncate(fd_.get(), bytes.size());
        for (std::size_t at = 0; at < bytes.size(); at += kLowerPageSize) {
            const Bytes page = bytes.subspan(at, std::min(kLowerPageSize, bytes.size() - at));
            good = good && (fuzz::all_zero(page) || lower_->pwrite(fd_.get(), page, at));
        }
        promise(good, "it can be filled");
    }

  private:
    lower::Fd fd_;
    std::unique_ptr<lower::LowerFs> lower_;
};

Place& place() {
    static Place one;
    return one;
}

const core::Format1Context& context(bool clean) {
    static const auto make = [](bool is_clean) {
        auto keys = VolumeKeys::derive(fuzz::vector_config(), fuzz::vector_volume_key());
        promise(keys.has_value(), "the vectors' keys can be derived");
        return core::Format1Context{std::move(*keys), is_clean, {}};
    };
    static const core::Format1Context clean_one = make(true);
    static const core::Format1Context unclean_one = make(false);
    return clean ? clean_one : unclean_one;
}

struct Shape {
    FileHeader header;
    ByteVector lower, plain;
};

// Good files: `size` bytes, grown to `end`, a hole from `punched` on.
Shape make_shape(std::size_t size, std::uint64_t end, std::uint64_t punched) {
    place().fill({});
    auto file = Format1File::create(context(true), place().lower(), place().again());
    promise(file.has_value(), "a file can be made");
    constexpr std::uint64_t kHole = 3 * kBlockSize;
    bool good = (*file)->write(0, first_bytes(0, size), WriteSource::kCaller).has_value();
    if (end > size) good = good && (*file)->truncate(end);
    if (punched != 0) good = good && (*file)->allocate(kPunch, punched, kHole);
    promise(good && (*file)->sync(true) && (*file)->before_close(), "a file can be written");
    Shape shape;
    shape.header = *Format1File::read_header(context(true), place().lower(), (*file)->fd());
    shape.lower = place().contents();
    shape.plain = first_bytes(0, size);
    shape.plain.resize(end);
    if (punched != 0) {
        std::fill_n(shape.plain.begin() + static_cast<std::ptrdiff_t>(punched), kHole,
                    std::byte{0});
    }
    return shape;
}

const std::vector<Shape>& shapes() {
    static const std::vector<Shape> all = {
        make_shape(0, 0, 0),
        make_shape(10, 10, 0),
        make_shape(3 * kBlockSize + 100, 3 * kBlockSize + 100, 0),
        make_shape(6 * kBlockSize, 6 * kBlockSize, kBlockSize),
        make_shape(5000, 80'000, 0),
    };
    return all;
}

// One opened file and its model.
class Run {
  public:
    Run(std::shared_ptr<ContentFile> file, FileModel model, bool clean, bool untouched)
        : file_(std::move(file)), model_(std::move(model)), clean_(clean), untouched_(untouched) {
        see_holes();
    }

    void step(Input& input) {
        const unsigned kind = input.byte();
        const std::uint64_t where = input.number(3);
        const std::size_t length = input.number(2);
        const unsigned value = input.byte();
        const std::uint64_t off = offset(kind, where);
        switch (kind % 8) {
            case 0:
                return read(off, length);
            case 1:
                return write(off, length, value, WriteSource::kCaller);
            case 2:
                return write(off / kBlockSize * kBlockSize, length, value, WriteSource::kPageCache);
            case 3:
                return resize(off);
            case 4:
                return allocate(off, 1 + length, value);
            case 5:
                return seek(off, (value & 1) != 0 ? SEEK_DATA : SEEK_HOLE);
            case 6:
                return bring_up_to_date(value);
            default:
                return reopen((value & 1) != 0 && clean_);
        }
    }

    void read_all() {
        const std::uint64_t end = std::min(model_.size(), FileModel::kBytes);
        for (std::uint64_t off = 0; off < end; off += kBlockSize) read(off, kBlockSize);
        read(model_.size() - std::min<std::uint64_t>(model_.size(), 100), 200);
    }

    void reopen(bool clean) {
        const bool closed = file_->before_close().has_value();
        must(closed, "an untouched file can be closed");
        file_.reset();
        auto opened =
            Format1File::open(context(clean), place().lower(), place().again(), place().size());
        promise(opened.has_value(), "a file that was open can be opened");
        file_ = std::move(*opened);
        // A damaged file may not take in what was written behind its end: close says so.
        if (!closed) model_.zero(file_->size(), FileModel::kBytes, false);
        check_size(closed);
    }

  private:
    std::uint64_t offset(unsigned kind, std::uint64_t where) const {
        constexpr unsigned kHuge = 0x80, kAtEnd = 0x40, kAtEdge = 0x20;
        if ((kind & kHuge) != 0) return where << 39;
        if ((kind & kAtEnd) != 0) return model_.size() + 32 - std::min(model_.size(), where % 64);
        const std::uint64_t off = where % (FileModel::kBytes * 2);
        if ((kind & kAtEdge) == 0) return off;
        return fragment(fragment_of(off)).plain_off;
    }

    void must(bool done, const char* what) const { promise(done || !untouched_, what); }

    void see_holes() {
        const auto header = Format1File::read_header(context(false), place().lower(), file_->fd());
        promise(header.has_value(), "an open file has a good header");
        if (header->sparse && !untouched_) model_.allow_holes();
    }

    void check_size(bool done) {
        if (!done) model_.set_size(file_->size());
        promise(file_->size() == model_.size(), "the size is as it was made");
        see_holes();
    }

    void read(std::uint64_t off, std::size_t most) {
        core::IoBuffer buffer;
        most = std::min(most, kMostRead);
        const auto got = file_->read(off, most, buffer);
        must(got.has_value(), "an untouched file can be read");
        if (!got) return;
        const std::uint64_t left = off < model_.size() ? model_.size() - off : 0;
        promise(got->size() == std::min<std::uint64_t>(left, most), "no read is short");
        promise(model_.may_be(off, *got), "what is read was written");
    }

    void write(std::uint64_t off, std::size_t size, unsigned value, WriteSource source) {
        size %= kMostWritten;
        ByteVector bytes(size);
        for (std::size_t i = 0; i < size; ++i) {
            bytes[i] = static_cast<std::byte>((value + i * 3 + i / 256) & 0xff);
        }
        const bool done = file_->write(off, bytes, source).has_value();
        must(done || off + size > kMaxFileSize, "an untouched file can be written");
        if (size == 0) return;
        if (!done && off >= kMaxFileSize) return;
        model_.write(off, bytes, done);
        if (done) model_.set_size(std::max(model_.size(), off + size));
        check_size(done);
    }

    void resize(std::uint64_t size) {
        const bool done = file_->truncate(size).has_value();
        must(done || size > kMaxFileSize / 2, "an untouched file can be truncated");
        if (size > kMaxFileSize) return promise(!done, "no file is longer than the longest");
        model_.zero(std::min(size, model_.size()), FileModel::kBytes, done);
        if (done) model_.set_size(size);
        check_size(done);
    }

    void allocate(std::uint64_t off, std::uint64_t size, unsigned value) {
        constexpr std::array kModes = {0,
                                       FALLOC_FL_KEEP_SIZE,
                                       kPunch,
                                       FALLOC_FL_ZERO_RANGE,
                                       FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                       FALLOC_FL_COLLAPSE_RANGE};
        const int mode = kModes[value % kModes.size()];
        const bool zeroes = (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0;
        if (zeroes && (value & 0x80) != 0) size <<= value & 0x1f;
        const bool done = file_->allocate(mode, off, size).has_value();
        if (zeroes) model_.zero(off, std::min(off + size, model_.size()), done);
        if (done && (mode & FALLOC_FL_KEEP_SIZE) == 0) {
            model_.set_size(std::max(model_.size(), off + size));
        }
        check_size(done);
    }

    void seek(std::uint64_t off, int whence) {
        const auto found = file_->seek(off, whence);
        if (!found) return check_size(false);
        promise(off < model_.size() && *found >= off && *found <= model_.size(),
                "it is in the file");
        check_size(true);
        if (whence == SEEK_HOLE) {
            promise(*found == model_.size() || model_.may_be_zero(*found, *found + 1),
                    "no data is a hole");
            return;
        }
        promise(model_.may_be_zero(off, *found), "no data is passed over");
    }

    void bring_up_to_date(unsigned how) {
        bool done = false;
        switch (how % 4) {
            case 0:
                done = file_->sync(false).has_value();
                break;
            case 1:
                done = file_->sync(true).has_value();
                break;
            case 2:
                done = file_->settle().has_value();
                break;
            default:
                done = file_->mend().has_value();
        }
        must(done, "an untouched file can be synced");
        check_size(true);
    }

    std::shared_ptr<ContentFile> file_;
    FileModel model_;
    bool clean_, untouched_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    constexpr std::size_t kOperationSize = 7;
    Input input(data, size);
    const Shape& shape = shapes()[input.byte() % shapes().size()];
    const unsigned flags = input.byte();
    const std::size_t operations = input.byte() % 24;
    FileHeader header = shape.header;
    const std::uint64_t new_size = input.number(8);
    const auto new_epoch = static_cast<std::uint32_t>(input.number(3)) & kMaxEpoch;
    const auto new_cut = static_cast<std::uint32_t>(input.byte());
    if ((flags & kNewHeader) != 0) {
        header.size = new_size % (kMaxFileSize + 1);
        header.epoch = new_epoch;
        header.cut += new_cut;
        header.sparse = (flags & kSparseFlag) != 0;
    }
    const std::uint64_t resealed = input.byte() % 24;
    const std::uint64_t resealed_size = input.number(3);
    const auto resealed_epoch = input.byte();
    const Bytes script = input.take(operations * kOperationSize);

    ByteVector lower = shape.lower;
    if ((flags & kReplaced) != 0) {
        const Bytes with = input.rest();
        lower.assign(with.begin(), with.end());
    } else {
        fuzz::edit(input, lower);
    }
    const auto& keys = context(true).keys->current();
    if ((flags & kNewHeader) != 0) {
        lower.resize(std::max(lower.size(), kFileHeaderSize));
        encode_header(header, keys.header.bytes(), MutBytes(lower).first<kFileHeaderSize>());
    }
    FileModel model(shape.plain, header.size);
    if ((flags & kResealed) != 0) {
        const Fragment piece = fragment(resealed);
        ByteVector text = first_bytes(piece.plain_off + 1, piece.plain_size);
        for (std::size_t i = 0; i < text.size(); ++i) {
            if (piece.plain_off + i >= resealed_size) text[i] = std::byte{0};
        }
        lower.resize(std::max<std::size_t>(lower.size(), piece.cipher_off + piece.cipher_size));
        const auto codec =
            ContentCodec::make(keys.content_root.bytes(), header.cipher, header.id, header.cut);
        const auto out = MutBytes(lower).subspan(piece.cipher_off, piece.cipher_size);
        promise(codec.seal(resealed, 1, text, resealed_size, resealed_epoch, out).has_value(),
                "a fragment can be sealed");
        if (header.size > piece.plain_off) {
            model.also(piece.plain_off, Bytes(text).first(std::min<std::size_t>(
                                            text.size(), header.size - piece.plain_off)));
        }
    }
    const bool untouched = lower == shape.lower;
    place().fill(lower);

    const bool clean = (flags & kCleanMark) != 0;
    auto file = Format1File::open(context(clean), place().lower(), place().again(), lower.size());
    promise(file || !untouched, "an untouched file opens");
    if (!file) return 0;
    promise((flags & kNewHeader) != 0 || fuzz::equal(Bytes(lower).first(kFileHeaderSize),
                                                     Bytes(shape.lower).first(kFileHeaderSize)),
            "a header that nobody wrote is refused");
    promise((*file)->size() == header.size, "the size is the header's");

    Run run(std::move(*file), std::move(model), clean, untouched);
    Input steps(reinterpret_cast<const std::uint8_t*>(script.data()), script.size());
    while (!steps.empty()) run.step(steps);
    run.read_all();
    run.reopen(false);
    run.read_all();
    return 0;
}
