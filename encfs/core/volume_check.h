// SPDX-License-Identifier: Apache-2.0
// Looks at everything in a volume of any format, without mounting it and without a change: each
// name, block, header, symlink target and attribute. Knows no mend.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "encfs/core/volume_format.h"

namespace extencfs::core {

enum class FindingKind : std::uint8_t {
    kName,         // should be a name of the volume, and does not decode
    kHalfRenamed,  // a name that was encoded for another place, which is known
    kContents,     // a file's header or a block does not check
    kDirectory,    // a directory's own file does not check
    kSymlink,
    kAttribute,
    kUnreadable,  // the lower file system refuses
    kJournal,     // a change was cut short
    kConflict,    // what a sync program made of a name
    kForeign,     // no name of any volume: somebody else's
};
// Whether something of the volume's owner is amiss; otherwise it is only worth telling.
constexpr bool is_damage(FindingKind kind) {
    return kind != FindingKind::kConflict && kind != FindingKind::kForeign;
}

struct Finding {
    FindingKind kind;
    std::string lower;  // path below the volume's root
    std::string plain;  // the same in plain; what does not decode in it: as it is below
    std::string what;
};

// What was looked at.
struct CheckCounts {
    std::uint64_t directories = 0;  // the root too
    std::uint64_t files = 0;
    std::uint64_t symlinks = 0;
    std::uint64_t others = 0;  // sockets, pipes, devices
    std::uint64_t bytes = 0;   // of plaintext, read and checked
};

// The last thing that a format said of a damaged file: a format is given note() as its
// FormatHost::on_damage.
class DamageNotes {
  public:
    void note(int, const std::string& what) { last_ = what; }
    std::string take() { return std::exchange(last_, {}); }

  private:
    std::string last_;
};

struct CheckHooks {
    std::function<void(const Finding&)> found;
    // What a name is that does not decode. `lower`: its path.
    std::function<FindingKind(const std::string& lower, std::string_view entry)> kind_of_name;
};

// What a name looks like that is no name of the volume: kConflict or kForeign.
FindingKind kind_of_foreign(std::string_view entry);

// All of `rootfd`. `notes`: what `format` tells of damage to. ERRORS: the root cannot be listed.
// Everything else is a finding.
Result<CheckCounts> check_volume(lower::LowerFs& lower, int rootfd, const VolumeFormat& format,
                                 DamageNotes& notes, const CheckHooks& hooks);

// How many names do not decode; looks at directories until `most_names` were seen or `give_up` says
// so. Names of `format`'s own and the configuration do not count.
struct NameCount {
    std::uint64_t undecodable = 0;
    bool all = true;  // nothing was left out
};
NameCount count_undecodable(lower::LowerFs& lower, int rootfd, const VolumeFormat& format,
                            std::uint64_t most_names, const std::function<bool()>& give_up);

}  // namespace extencfs::core
