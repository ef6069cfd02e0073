// SPDX-License-Identifier: Apache-2.0
// Internal to legacy_mend*.cc: the search for the place that names were encoded for, and the plan
// of what is to be done about them.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "encfs/core/legacy_mend.h"

namespace extencfs::core {

// UTF-8 without control characters. What a wrong key or chain decodes to hardly ever is.
bool is_plausible_name(std::string_view text);

class LegacyMend::Search {
  public:
    // A directory that can be reached by names.
    struct Dir {
        std::uint32_t parent = 0;
        std::uint32_t end = 0;  // behind the last one below it, in the list
        std::string entry, plain;
        std::uint64_t chain = 0;
        std::vector<std::string> suspects;  // spelled like names, and of no name here
        // Whose header is not that of where they lie.
        struct Broken {
            std::string entry, plain;
            ByteVector start;
        };
        std::vector<Broken> broken;
        bool is_suspicious() const { return !suspects.empty() || !broken.empty(); }
    };
    // Where the contents of a directory were to lie.
    struct Match {
        std::uint32_t dir = 0;
        std::uint64_t chain = 0;
        double bits = 0;  // of evidence
    };

    explicit Search(const LegacyMend& mend) : mend_(mend) {}
    Result<void> survey();
    // The first directory that has suspects which belong to another place.
    bool next(const std::vector<std::string>& hints, Match& match);
    // These are accounted for. False: none of them was a suspect.
    bool settle(const std::vector<std::string>& lower_paths);

    const Dir& dir(std::uint32_t index) const { return dirs_[index]; }
    std::vector<std::string> path(std::uint32_t index) const;
    std::string plain_path(std::uint32_t index) const;

  private:
    Result<void> survey(int fd, std::uint32_t index);
    void look_into(int fd, std::uint32_t index, const std::string& entry,
                   const legacy::ChainedName& name);
    std::vector<std::uint64_t> hinted(const std::vector<std::string>& hints) const;
    const std::vector<std::uint64_t>& known(std::uint32_t index);
    double bits_of(const std::string& entry, std::uint64_t chain) const;
    double bits_of(const Dir::Broken& file, std::uint64_t chain) const;
    // Of what is in a directory itself, `most` of each.
    double bits_of(const Dir& dir, std::uint64_t chain, std::size_t most) const;
    double evidence(std::uint32_t dir, std::uint64_t chain) const;
    enum class Files : bool { kNot, kToo };
    void best_of(std::uint32_t suspect, std::uint32_t top, const std::vector<std::uint64_t>& chains,
                 Files files, Match& best) const;

    const LegacyMend& mend_;
    std::vector<Dir> dirs_;
    std::map<std::uint32_t, std::vector<std::uint64_t>> known_;
    unsigned searched_ = 0;
};

class LegacyMend::Planner {
  public:
    Planner(const LegacyMend& mend, HalfRenamed& out) : mend_(mend), out_(out) {}
    // What lies in `fd` belongs to `chain`, and some of it was encoded for `other`.
    Result<void> directory(int fd, std::uint32_t index, std::uint64_t chain, std::uint64_t other,
                           const std::string& lower_path);

  private:
    struct Named {
        legacy::ChainedName here;   // as it belongs
        legacy::ChainedName there;  // as it was encoded for the other place
        bool wrong = false;         // it is called as there
    };
    Result<void> entry(int fd, std::uint32_t index, const std::string& entry, std::uint64_t chain,
                       std::uint64_t other, const std::string& lower_path);
    Result<void> named(int fd, std::uint32_t index, const std::string& entry, const Named& name,
                       const std::string& lower_path);
    Result<bool> add_header(int fd, const std::string& entry, const Named& name,
                            legacy::MoveStep& step);

    const LegacyMend& mend_;
    HalfRenamed& out_;
};

}  // namespace extencfs::core
