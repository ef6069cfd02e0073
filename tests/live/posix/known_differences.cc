// SPDX-License-Identifier: Apache-2.0
#include "tests/live/posix/known_differences.h"

namespace extencfs::conformance {
namespace {

struct Difference {
    std::string_view case_prefix;
    std::string_view line_start;  // of both lines
    std::string_view upper_end;   // what the mount answers; anything else is still a failure
    const char* reason;
};

constexpr Difference kDifferences[] = {
    {"rename.whiteout", "renameat2 whiteout", "= EINVAL",
     "whiteouts are a device node's plain name below; the kernel's FUSE refuses the flag"},
    {"times.read", "times read", "atime= mtime= ctime=",
     "reads leave atime alone (as noatime): a read must not become a write below"},
    {"times.read", "times readdir", "atime= mtime= ctime=",
     "reads leave atime alone (as noatime): a read must not become a write below"},
    {"times.read", "times readlink", "atime= mtime= ctime=",
     "reads leave atime alone (as noatime): a read must not become a write below"},
    {"xattr.kinds", "l trusted", "= EPERM",
     "trusted.* is kept for files and directories: symlinks have no id to bind it to"},
    {"xattr.kinds", "p trusted", "= EPERM",
     "trusted.* is kept for files and directories: special files have no id to bind it to"},
    {"xattr.kinds", "value", "= ENODATA", "the trusted.* refused just before"},
    {"xattr.kinds", "list", "= 0 bytes []", "the trusted.* refused just before"},
    {"xattr.kinds", "size of the list", "= 0", "the trusted.* refused just before"},
    {"times.changes", "times truncate to the same", "atime= mtime= ctime=",
     "the kernel keeps the times of files it writes back itself, and leaves these as they are"},
    {"times.changes", "times chown of nothing",
     "atime= mtime= ctime=", "the kernel sends FUSE no request for a change of nothing"},
    {"sparse.huge", "check SEEK_DATA crosses half a TiB", "FAILS",
     "with the write-back cache holes are not told: the whole file counts as data"},
    {"sparse.seek", "check the hole is found", "FAILS",
     "with the write-back cache holes are not told: the whole file counts as data"},
    {"sparse.seek", "check and its end", "FAILS",
     "with the write-back cache holes are not told: the whole file counts as data"},
    {"attr.getattr_after_each_change", "check st_blocks of 300,000 written bytes", "FAILS",
     "blocks are counted when the kernel writes the pages back, as with delayed allocation"},
    {"xattr.security", "security", "= EOPNOTSUPP",
     "security.* attributes are off unless asked for: one request for each write (FORMAT.md)"},
};

bool starts(std::string_view text, std::string_view with) {
    return text.substr(0, with.size()) == with;
}
bool ends(std::string_view text, std::string_view with) {
    return text.size() >= with.size() && text.substr(text.size() - with.size()) == with;
}

}  // namespace

const char* known_difference(std::string_view case_name, std::string_view upper,
                             std::string_view lower) {
    for (const Difference& known : kDifferences) {
        if (starts(case_name, known.case_prefix) && starts(upper, known.line_start) &&
            starts(lower, known.line_start) && ends(upper, known.upper_end)) {
            return known.reason;
        }
    }
    return nullptr;
}

}  // namespace extencfs::conformance
