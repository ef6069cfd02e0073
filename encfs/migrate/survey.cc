// SPDX-License-Identifier: Apache-2.0
#include "encfs/migrate/survey.h"

#include <algorithm>
#include <chrono>

#include "encfs/migrate/listing.h"
#include "encfs/migrate/work_pool.h"
#include "encfs/volume/format.h"

namespace extencfs::migrate {
namespace {

constexpr std::uint64_t kSampleBytes = 16 * 1024 * 1024;
constexpr std::size_t kChunk = 1024 * 1024;
constexpr std::uint64_t kStatBlock = 512;
constexpr std::uint64_t kLowerUnit = 4096;
// What a new file or directory costs beside its contents, about.
constexpr double kSecondsEach = 0.0003;

std::uint64_t round_up(std::uint64_t number, std::uint64_t unit) {
    return (number + unit - 1) / unit * unit;
}

// Reads up to `most` bytes; returns how many there were.
core::Result<std::uint64_t> read_through(core::Filesystem& fs, core::NodeId node,
                                         std::uint64_t size, std::uint64_t most) {
    static thread_local core::IoBuffer buffer;
    std::uint64_t done = 0;
    const std::uint64_t end = std::min(size, most);
    while (done < end) {
        auto chunk = fs.read(node, done, std::min<std::uint64_t>(kChunk, end - done), buffer);
        if (!chunk) return std::unexpected(chunk.error());
        if (chunk->empty()) break;
        done += chunk->size();
    }
    return done;
}

class Surveyor {
  public:
    Surveyor(core::Filesystem& fs, LeftOutNames& left_out, Depth depth, unsigned jobs,
             Problems& problems, Progress& progress)
        : fs_(fs),
          left_out_(left_out),
          depth_(depth),
          problems_(problems),
          progress_(progress),
          pool_(depth == Depth::kWhole ? jobs : 1) {}

    daemon::Outcome<Survey> run() {
        progress_.begin(Phase::kSurvey);
        waiting_.push_back({root_of(fs_), ""});
        bool root = true;
        while (!waiting_.empty()) {
            Waiting directory = std::move(waiting_.back());
            waiting_.pop_back();
            auto looked = look(directory);
            if (looked) {
                root = false;
                continue;
            }
            if (root) {
                return daemon::fail(daemon::FailureKind::kOther,
                                    "the old volume's root directory cannot be listed (",
                                    words_of(looked.error()), "); check its permissions");
            }
            problems_.add(ProblemKind::kContents, directory.path, words_of(looked.error()));
        }
        pool_.drain();
        found_.links.settle();
        if (sample_seconds_ > 0)
            found_.read_bytes_per_s = static_cast<double>(sampled_) / sample_seconds_;
        return std::move(found_);
    }

  private:
    struct Waiting {
        SharedNode node;
        std::string path;
    };

    core::Result<void> look(const Waiting& directory) {
        Listing listing(fs_, directory.node->id(), directory.path, &problems_, &left_out_);
        for (;;) {
            auto some = listing.next();
            if (!some) return std::unexpected(some.error());
            if (some->empty()) return {};
            for (Listed& one : *some) {
                std::string path = join(directory.path, one.name);
                if (S_ISDIR(one.attr.st_mode)) {
                    ++found_.directories;
                    found_.needed_bytes += 2 * kLowerUnit;
                    waiting_.push_back(
                        {std::make_shared<const NodeRef>(std::move(one.node)), std::move(path)});
                    continue;
                }
                count(std::move(one), std::move(path));
            }
        }
    }

    void count(Listed one, std::string path) {
        ++found_.files;
        ++progress_.files;
        if (one.attr.st_nlink > 1) {
            const bool seen = found_.links.groups().contains(one.attr.st_ino);
            found_.links.add(one.attr.st_ino, path);
            if (seen) return;
        }
        if (!S_ISREG(one.attr.st_mode)) return;
        const auto size = static_cast<std::uint64_t>(one.attr.st_size);
        const std::uint64_t data = std::min(
            size, round_up(static_cast<std::uint64_t>(one.attr.st_blocks) * kStatBlock, 1));
        found_.bytes += size;
        found_.data_bytes += data;
        const std::uint64_t blocks = round_up(data, volume::kBlockSize) / volume::kBlockSize;
        const std::uint64_t needed =
            round_up(volume::kFileHeaderSize + blocks * volume::kCipherBlockSize, kLowerUnit);
        found_.needed_bytes += needed;
        found_.largest_bytes = std::max(found_.largest_bytes, needed);
        if (depth_ == Depth::kWhole) {
            pool_.put([this, node = std::move(one.node), path = std::move(path), size] {
                auto read = read_through(fs_, node.id(), size, size);
                if (!read) problems_.add(ProblemKind::kContents, path, words_of(read.error()));
                progress_.bytes += size;
            });
            return;
        }
        if (auto opened = fs_.open_file(one.node.id()); !opened) {
            problems_.add(ProblemKind::kContents, std::move(path), words_of(opened.error()));
        } else if (sampled_ < kSampleBytes) {
            sample(one.node.id(), size);
        }
    }

    void sample(core::NodeId node, std::uint64_t size) {
        const auto began = std::chrono::steady_clock::now();
        auto read = read_through(fs_, node, size, kSampleBytes - sampled_);
        // Damage is told when it is copied, with all there is.
        if (!read) return;
        sampled_ += *read;
        sample_seconds_ +=
            std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    }

    core::Filesystem& fs_;
    LeftOutNames& left_out_;
    Depth depth_;
    Problems& problems_;
    Progress& progress_;
    Survey found_;
    std::vector<Waiting> waiting_;
    std::uint64_t sampled_ = 0;
    double sample_seconds_ = 0;
    WorkPool pool_;
};

}  // namespace

void HardLinks::settle() {
    std::erase_if(groups_, [](const auto& group) { return group.second.size() < 2; });
    for (auto& [ino, paths] : groups_) std::ranges::sort(paths);
}

bool HardLinks::is_later_name(std::uint64_t ino, const std::string& path) const {
    const auto it = groups_.find(ino);
    return it != groups_.end() && it->second.front() != path &&
           std::ranges::binary_search(it->second, path);
}

daemon::Outcome<Survey> survey(core::Filesystem& fs, LeftOutNames& left_out, Depth depth,
                               unsigned jobs, Problems& problems, Progress& progress) {
    return Surveyor(fs, left_out, depth, jobs, problems, progress).run();
}

double estimate_seconds(const Survey& survey, unsigned jobs) {
    const double each = kSecondsEach * static_cast<double>(survey.files + survey.directories);
    // Sealing and writing cost about what reading does.
    const double contents =
        survey.read_bytes_per_s > 0
            ? 2 * static_cast<double>(survey.data_bytes) / survey.read_bytes_per_s
            : 0;
    return (each + contents) / jobs;
}

}  // namespace extencfs::migrate
