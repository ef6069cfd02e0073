// SPDX-License-Identifier: Apache-2.0
// Replacing a volume's configuration by one with other keys: the new copies first, then the bytes
// of the old ones (FORMAT.md "Key slots"). Knows nothing of what is in them.
#pragma once

#include <string>
#include <vector>

#include "encfs/daemon/failure.h"
#include "encfs/daemon/volume_on_disk.h"

namespace extencfs::daemon {

using Notices = std::vector<std::string>;  // sentences for the user

// A file with its name, from before it was replaced.
struct HeldFile {
    std::string name;
    lower::Fd file;  // for writing
};

// Makes the names in that directory durable, and only then overwrites the bytes of those files that
// have lost theirs. Returns what was left as it is, and why.
Notices overwrite_nameless(lower::LowerFs& fs, int dirfd, const std::vector<HeldFile>& files);

// The files that hold the configuration before a change, kept open over it, so that their bytes can
// be overwritten when they have no name any more. THREADS: one at a time.
class ReplacedFiles {
  public:
    // Both copies, and temporary files of an interrupted change, as far as they are there.
    static ReplacedFiles hold(const VolumeOnDisk& disk);

    // Makes the names durable, and only then overwrites the bytes of those files that have lost
    // theirs. A power cut before that would bring back a name, and needs the bytes. Returns what
    // was left as it is, and why; an empty list is the best that can be done from here.
    Notices overwrite(const VolumeOnDisk& disk);

  private:
    std::vector<HeldFile> files_;
    Notices not_held_;
};

// Puts `text` in place of both copies. After any interruption the old or the new configuration
// opens. REQUIRES: the writer lock. ERRORS: those of VolumeOnDisk::check_replaceable();
// kConfigWrite; its sentence says so where the new configuration is in force all the same.
Outcome<Notices> change_config(const VolumeOnDisk& disk, const std::string& text);

// What to tell of configurations that were put aside (extencfs.conf.old.*), but for those of other
// volumes: what opened them still does, also where that was changed or removed since. They are left
// where they are, as one may be the last of what it opens.
Notices tell_put_aside(const VolumeOnDisk& disk, const ByteArray<16>& volume_id);

}  // namespace extencfs::daemon
