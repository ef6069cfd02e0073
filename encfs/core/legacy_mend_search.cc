// SPDX-License-Identifier: Apache-2.0
// Which place names were encoded for that do not decode where they lie. A name's MAC has 16 bits
// only: what is believed must be many times less likely to be chance than there were trials.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>

#include "encfs/core/legacy_mend_parts.h"

namespace extencfs::core {

namespace {

constexpr std::size_t kSample = 4;           // names of a directory that places are tried on
constexpr std::size_t kMostBroken = 2;       // files likewise
constexpr std::size_t kMostPlaces = 20'000;  // of one directory
constexpr unsigned kMostSearched = 16;       // directories, for places that nobody told
constexpr double kMacBits = 16, kPadBits = 8;
constexpr double kMarginKnown = 20, kMarginHint = 12;

}  // namespace

bool is_plausible_name(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
        const auto lead = static_cast<unsigned char>(text[i++]);
        if (lead < 0x20 || lead == 0x7f) return false;
        if (lead < 0x80) continue;
        const int more = lead >= 0xc2 && lead < 0xe0   ? 1
                         : lead >= 0xe0 && lead < 0xf0 ? 2
                         : lead >= 0xf0 && lead < 0xf5 ? 3
                                                       : 0;
        if (more == 0) return false;
        for (int j = 0; j < more; ++j) {
            if (i == text.size() || (static_cast<unsigned char>(text[i]) & 0xc0) != 0x80)
                return false;
            ++i;
        }
    }
    return !text.empty();
}

// ---- what is there ----

Result<void> LegacyMend::Search::survey() {
    dirs_.clear();
    known_.clear();
    dirs_.push_back({});
    return survey(mend_.rootfd_, 0);
}

Result<void> LegacyMend::Search::survey(int fd, std::uint32_t index) {
    struct Below {
        std::string entry;
        legacy::ChainedName name;
    };
    std::vector<Below> below;
    std::vector<std::string> names;
    const std::uint64_t chain = dirs_[index].chain;
    auto listed = mend_.lower_.list(fd, [&](const lower::DirEntry& entry) {
        names.emplace_back(entry.name);
        return true;
    });
    if (!listed) return fail(listed.error());
    std::ranges::sort(names);
    for (const std::string& entry : names) {
        auto name = mend_.names_.decode(entry, chain);
        if (name) {
            const auto is = mend_.lower_.stat_at(fd, entry);
            if (is && S_ISREG(is->st_mode) && mend_.proves()) look_into(fd, index, entry, *name);
            if (is && S_ISDIR(is->st_mode)) below.push_back({entry, std::move(*name)});
        } else if (name.error().kind != volume::ErrorKind::kNotVolumeName) {
            return fail(name.error());
        } else if (mend_.names_.is_spelled(entry)) {
            dirs_[index].suspects.push_back(entry);
        }
    }
    for (Below& one : below) {
        auto opened = mend_.lower_.open(fd, one.entry, O_RDONLY | O_DIRECTORY, 0);
        if (!opened) continue;  // the check tells of it
        const auto child = static_cast<std::uint32_t>(dirs_.size());
        dirs_.push_back({.parent = index,
                         .end = 0,
                         .entry = one.entry,
                         .plain = one.name.text,
                         .chain = one.name.chain,
                         .suspects = {}});
        if (auto r = survey(opened->get(), child); !r && r.error().kind != ErrorKind::kLower)
            return r;
    }
    dirs_[index].end = static_cast<std::uint32_t>(dirs_.size());
    return {};
}

// A file that was just to be renamed has its header already.
void LegacyMend::Search::look_into(int fd, std::uint32_t index, const std::string& entry,
                                   const legacy::ChainedName& name) {
    if (dirs_[index].broken.size() >= kMostBroken) return;
    ByteVector start = mend_.start_of(fd, entry);
    auto proof = mend_.prove(start, name.chain);
    if (proof && *proof == Proof::kWrong)
        dirs_[index].broken.push_back({entry, name.text, std::move(start)});
}

std::vector<std::string> LegacyMend::Search::path(std::uint32_t index) const {
    std::vector<std::string> parts;
    for (; index != 0; index = dirs_[index].parent) parts.push_back(dirs_[index].entry);
    std::ranges::reverse(parts);
    return parts;
}

std::string LegacyMend::Search::plain_path(std::uint32_t index) const {
    std::string text;
    for (; index != 0; index = dirs_[index].parent)
        text = text.empty() ? dirs_[index].plain : dirs_[index].plain + "/" + text;
    return text;
}

// ---- places ----

std::vector<std::uint64_t> LegacyMend::Search::hinted(const std::vector<std::string>& hints) const {
    std::vector<std::uint64_t> chains;
    for (std::string_view rest : hints) {
        std::uint64_t chain = 0;
        bool good = true;
        while (!rest.empty() && good) {
            const std::size_t end = std::min(rest.find('/'), rest.size());
            if (end > 0) {
                auto name = mend_.names_.encode(rest.substr(0, end), chain);
                good = name.has_value();
                if (good) chain = name->chain;
            }
            rest.remove_prefix(std::min(end + 1, rest.size()));
        }
        if (good && chain != 0) chains.push_back(chain);
    }
    return chains;
}

// Its own name in every other directory, and every other name in its own.
const std::vector<std::uint64_t>& LegacyMend::Search::known(std::uint32_t index) {
    const auto it = known_.find(index);
    if (it != known_.end()) return it->second;
    std::vector<std::uint64_t>& chains = known_[index];
    const auto add = [&](std::string_view plain, std::uint64_t above) {
        auto name = mend_.names_.encode(plain, above);
        if (name && name->chain != dirs_[index].chain && chains.size() < kMostPlaces)
            chains.push_back(name->chain);
    };
    const std::uint32_t parent = dirs_[index].parent;
    for (const Dir& dir : dirs_) add(dirs_[index].plain, dir.chain);
    std::set<std::string_view> names;
    for (const Dir& dir : dirs_)
        if (!dir.plain.empty() && names.insert(dir.plain).second)
            add(dir.plain, dirs_[parent].chain);
    return chains;
}

double LegacyMend::Search::bits_of(const std::string& entry, std::uint64_t chain) const {
    const auto name = mend_.names_.decode(entry, chain);
    if (!name || !is_plausible_name(name->text)) return 0;
    const bool padded = mend_.names_.coding().scheme != legacy::NameScheme::kStream;
    // Of random bytes, fewer than half can be in a plausible name.
    return kMacBits + (padded ? kPadBits : 0) + std::min<double>(16, name->text.size());
}

double LegacyMend::Search::bits_of(const Dir::Broken& file, std::uint64_t chain) const {
    const auto name = mend_.names_.encode(file.plain, chain);
    if (!name) return 0;
    const auto proof = mend_.prove(file.start, name->chain);
    const bool right = proof && *proof == Proof::kRight;
    return right ? 8.0 * mend_.contents_.layout().mac_size : 0;
}

double LegacyMend::Search::bits_of(const Dir& dir, std::uint64_t chain, std::size_t most) const {
    double bits = 0;
    for (std::size_t i = 0; i < std::min(most, dir.suspects.size()); ++i)
        bits += bits_of(dir.suspects[i], chain);
    for (const auto& file : dir.broken) bits += bits_of(file, chain);
    return bits;
}

double LegacyMend::Search::evidence(std::uint32_t top, std::uint64_t chain) const {
    std::map<std::uint32_t, std::uint64_t> there{{top, chain}};
    double bits = 0;
    for (std::uint32_t i = top; i < dirs_[top].end; ++i) {
        if (i != top) {
            auto name = mend_.names_.encode(dirs_[i].plain, there[dirs_[i].parent]);
            if (!name) return 0;
            there[i] = name->chain;
        }
        bits += bits_of(dirs_[i], there[i], dirs_[i].suspects.size());
    }
    return bits;
}

// `suspect` lies in `top`, or is it.
void LegacyMend::Search::best_of(std::uint32_t suspect, std::uint32_t top,
                                 const std::vector<std::uint64_t>& chains, Files files,
                                 Match& best) const {
    std::vector<std::uint32_t> way;
    for (std::uint32_t at = suspect; at != top; at = dirs_[at].parent) way.push_back(at);
    std::ranges::reverse(way);
    for (const std::uint64_t candidate : chains) {
        std::uint64_t chain = candidate;
        bool good = true;
        for (const std::uint32_t at : way) {
            auto name = mend_.names_.encode(dirs_[at].plain, chain);
            good = good && name.has_value();
            if (good) chain = name->chain;
        }
        double bits = 0;
        for (std::size_t i = 0; good && i < std::min(kSample, dirs_[suspect].suspects.size()); ++i)
            bits += bits_of(dirs_[suspect].suspects[i], chain);
        // Files take longer: only where few places are tried.
        if (good && bits == 0 && files == Files::kToo) bits = bits_of(dirs_[suspect], chain, 0);
        // Whatever decodes by chance is weighed with all that it would have to explain.
        if (bits > 0) bits = evidence(top, candidate);
        if (bits > best.bits) best = {.dir = top, .chain = candidate, .bits = bits};
    }
}

bool LegacyMend::Search::next(const std::vector<std::string>& hints, Match& match) {
    const auto told = hinted(hints);
    for (std::uint32_t i = 1; i < dirs_.size(); ++i) {
        if (!dirs_[i].is_suspicious()) continue;
        const bool search = searched_ < kMostSearched && !dirs_[i].suspects.empty();
        Match by_hint, by_search;
        double tries = 0;
        double depth = 0;
        for (std::uint32_t top = i; top != 0; top = dirs_[top].parent) {
            ++depth;
            best_of(i, top, told, Files::kToo, by_hint);
            if (!search) continue;
            const auto& places = known(top);
            tries += static_cast<double>(places.size());
            best_of(i, top, places, Files::kNot, by_search);
        }
        if (search) ++searched_;
        const double many =
            static_cast<double>(dirs_[i].suspects.size() + dirs_[i].broken.size()) * depth;
        const double hint_needs = std::log2(many * static_cast<double>(told.size()) + 1);
        if (by_hint.bits >= hint_needs + kMarginHint) {
            match = by_hint;
            return true;
        }
        if (by_search.bits >= std::log2(many * tries + 1) + kMarginKnown) {
            match = by_search;
            return true;
        }
    }
    return false;
}

bool LegacyMend::Search::settle(const std::vector<std::string>& lower_paths) {
    const std::set<std::string> gone(lower_paths.begin(), lower_paths.end());
    std::size_t erased = 0;
    for (std::uint32_t i = 1; i < dirs_.size(); ++i) {
        if (!dirs_[i].is_suspicious()) continue;
        std::string prefix;
        for (const std::string& part : path(i)) prefix += part + "/";
        erased += std::erase_if(dirs_[i].suspects, [&](const std::string& entry) {
            return gone.contains(prefix + entry);
        });
        erased += std::erase_if(dirs_[i].broken, [&](const Dir::Broken& file) {
            return gone.contains(prefix + file.entry);
        });
    }
    return erased > 0;
}

}  // namespace extencfs::core
