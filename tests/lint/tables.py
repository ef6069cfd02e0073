# SPDX-License-Identifier: Apache-2.0
"""What is checked: the dependency direction, and the bans with their reasons."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """Who may include what. `own` are prefixes of project headers, `system` patterns of <> headers that are refused."""
    own: tuple
    refused_system: str = r"(?!)"
    why: str = ""
    beside: bool = False  # headers go by their names beside the source, as Kbuild has it, some of them generated


FUSE_HEADERS = r"(fuse|fuse_\w+|cuse_\w+|fuse3/.*)\.h"
BPF_HEADERS = r"(bpf/.*|linux/bpf.*)\.h"
FILE_SYSTEM_CALLS = (r"fcntl\.h|fstream|filesystem|dirent\.h|sys/(stat|statvfs|statfs|vfs|file|uio|xattr|mount|socket|un|"
                     r"wait|syscall|ioctl)\.h|unistd\.h")
TOKEN_LIBRARIES = r"(fido|fido/.*|tss2/.*|keyutils|linux/keyctl)\.h"
LOGGING = r"syslog\.h|iostream|cstdio|stdio\.h"

# The longest matching folder counts. encfs/ADR and FORMAT.md argue why; this is the table that is enforced.
LAYERS = {
    "crypto": Layer(("crypto/",), rf"{FUSE_HEADERS}|{BPF_HEADERS}|fcntl\.h|fstream|filesystem|dirent\.h|iostream|syslog\.h|"
                    r"sys/(stat|uio|xattr|mount|socket)\.h",
                    "crypto knows no files, no FUSE, no log"),
    "encfs/volume": Layer(("crypto/", "encfs/volume/"), rf"{FUSE_HEADERS}|{BPF_HEADERS}|{FILE_SYSTEM_CALLS}|{LOGGING}",
                          "the volume format takes and gives bytes: no system calls, no log"),
    "encfs/legacy": Layer(("crypto/", "encfs/volume/", "encfs/legacy/"),
                          rf"{FUSE_HEADERS}|{BPF_HEADERS}|{FILE_SYSTEM_CALLS}|{LOGGING}",
                          "EncFS's formats take and give bytes: no system calls, no log"),
    "encfs/lower": Layer(("crypto/bytes.h", "encfs/lower/"), rf"{FUSE_HEADERS}|{BPF_HEADERS}|sodium\.h|openssl/.*|argon2\.h",
                         "the backing directory knows nothing of encryption"),
    "encfs/token": Layer(("crypto/", "encfs/volume/config.h", "encfs/volume/token_box.h", "encfs/lower/fd.h",
                          "encfs/token/"), rf"{FUSE_HEADERS}|{BPF_HEADERS}|openssl/.*|sodium\.h|{LOGGING}",
                         "a token gives bytes for bytes, and knows no slots, files or terminals"),
    "encfs/core": Layer(("crypto/", "encfs/volume/", "encfs/legacy/", "encfs/lower/", "encfs/core/"),
                        rf"{FUSE_HEADERS}|{BPF_HEADERS}|openssl/.*|sodium\.h",
                        "core is testable with nothing mounted, and leaves primitives to crypto"),
    "encfs/meta": Layer(("encfs/core/metadata_sink.h", "encfs/core/types.h", "encfs/meta/", "bpf/abi.h",
                         "bpf/name_tag.h"),
                        FUSE_HEADERS, "a metadata sink sees the sink's contract and nothing else of the file system"),
    "encfs/fuse": Layer(("crypto/bytes.h", "encfs/core/", "encfs/fuse/", "encfs/lower/errors.h"),
                        rf"{BPF_HEADERS}|openssl/.*|sodium\.h", "decode the request, call core, reply"),
    "encfs/daemon": Layer(("crypto/", "encfs/"), rf"{FUSE_HEADERS}|{BPF_HEADERS}|{TOKEN_LIBRARIES}|openssl/.*|sodium\.h",
                          "only encfs/fuse has fuse_* types"),
    "encfs/migrate": Layer(("crypto/", "encfs/volume/", "encfs/legacy/", "encfs/lower/", "encfs/core/", "encfs/daemon/",
                            "encfs/migrate/"), rf"{FUSE_HEADERS}|{BPF_HEADERS}|openssl/.*|sodium\.h",
                           "a migration opens two volumes and needs no mount"),
    "encfs/rotate": Layer(("crypto/", "encfs/volume/", "encfs/core/", "encfs/lower/", "encfs/daemon/", "encfs/migrate/",
                           "encfs/rotate/"), rf"{FUSE_HEADERS}|{BPF_HEADERS}|openssl/.*|sodium\.h",
                          "a rotation works on the lower directory, or on a file system, and knows of no mount"),
    "tools": Layer(("crypto/", "encfs/volume/", "encfs/legacy/", "encfs/core/", "encfs/lower/", "encfs/daemon/",
                    "encfs/migrate/", "encfs/rotate/", "encfs/token/", "tools/"),
                   rf"{FUSE_HEADERS}|{BPF_HEADERS}|{TOKEN_LIBRARIES}|openssl/.*|sodium\.h", "a command parses, calls and prints"),
    "bpf": Layer(("bpf/", "kernel/uapi/"), FUSE_HEADERS, "BPF programs share bpf/abi.h only"),
    "bpf/tests": Layer(("bpf/", "encfs/meta/", "kernel/uapi/"), r"(?!)", "tests of the programs go through their loader"),
    "kernel": Layer(("uapi/", "extfuse.h", "extfuse_layout.h"), r"(?!)", "the module knows nothing of volumes, keys or policy",
                    beside=True),
    "kernel/selftest": Layer(("extfuse.h", "knobs.h", "vmlinux.h"), r"(?!)", "the selftests know the module only", beside=True),
    "tests": Layer(("crypto/", "encfs/", "tools/", "tests/", "bpf/abi.h", "bpf/name_tag.h"), r"(?!)", ""),
}


@dataclass(frozen=True)
class Ban:
    """A pattern that must not occur, where, and why. Code bans see no comments and no string literals."""
    name: str
    pattern: re.Pattern
    where: re.Pattern
    why: str
    raw: bool = False
    except_in: re.Pattern = re.compile(r"(?!)")
    except_line: re.Pattern = re.compile(r"(?!)")


def _ban(name, pattern, where, why, raw=False, except_in=r"(?!)", except_line=r"(?!)"):
    return Ban(name, re.compile(pattern), re.compile(where), why, raw, re.compile(except_in), re.compile(except_line))


CODE = r"\.(cc|h|c)$"
OURS = r"^(crypto|encfs|tools)/.*\.(cc|h)$"
ANY = r""

BANS = [
    _ban("shell", r"(?<![\w.>])(?:std::|::)?(system|popen)\s*\(", CODE, "a shell parses what users chose; use posix_spawn"),
    _ban("unbounded", r"(?<![\w.>])(?:std::|::)?(strcpy|strcat|sprintf|vsprintf|gets|alloca)\s*\(", CODE,
         "writes without a bound"),
    _ban("weak-random", r"(?<![\w.>])(?:std::|::)?(rand|srand|random|drand48)\s*\(\s*\)|std::mt19937|minstd_rand", OURS,
         "keys, nonces and ids come from crypto/random.h"),
    _ban("variable-time-compare", r"(?<![\w.>])(?:std::|::)?memcmp\s*\(", r"^crypto/.*\.(cc|h)$",
         "a tag compared byte by byte tells where it differs; use crypto/bytes.h's constant-time comparison"),
    _ban("wipe-by-memset", r"(?<![\w.>])(?:std::|::)?(memset|bzero)\s*\(", r"^crypto/.*\.(cc|h)$",
         "the compiler may leave a memset out; secrets are wiped with sodium_memzero"),
    _ban("abort-on-data", r"(?<![\w.>])(?:std::|::)?(abort|terminate|exit|_exit|quick_exit)\s*\(",
         r"^encfs/(volume|legacy|lower|core|fuse)/.*\.(cc|h)$", "bytes from disk give an error, never an end of the daemon",
         # A forked child whose exec failed.
         except_line=r"\b_exit\(127\)"),
    _ban("throw", r"\bthrow\b(?!\s*\()", r"^(crypto|encfs)/.*\.(cc|h)$", "errors are values: std::expected"),
    _ban("path-call", r"(?<![\w.>])::(open|creat|stat|lstat|chmod|chown|lchown|rename|unlink|rmdir|mkdir|mknod|link|symlink|"
         r"readlink|truncate|utimes|access|opendir|getxattr|lgetxattr|setxattr|lsetxattr)\s*\(",
         r"^encfs/(lower|core|fuse)/.*\.(cc|h)$", "a path is resolved again by each call; *at calls on held descriptors only",
         # encfs/lower/proc_path.h: /proc/self/fd/N names a held descriptor.
         except_line=r"\(path\.c_str\(\)"),
    _ban("delete", r"\bdelete\s+[\w*(]|\bdelete\s*\[\]", OURS, "owners are unique_ptr, Fd or Secret"),
    _ban("unlock-by-hand", r"mutex\w*(\.|->)(lock|unlock)(_shared)?\s*\(|pthread_mutex_(lock|unlock)", OURS,
         "locks are held by scope: lock_guard, unique_lock, shared_lock"),
    _ban("using-in-header", r"^\s*using\s+namespace\b", r"\.h$", "it reaches every file that includes the header"),
    _ban("vague-name", r"\b(class|struct)\s+\w*(Manager|Helper|Util|Utils|Impl|Base)\b", CODE,
         "the name says nothing; name what it owns"),
    _ban("reply-elsewhere", r"\bfuse_reply_err\s*\(", r"^encfs/.*\.(cc|h)$", "errno is made in one place, at the reply",
         except_in=r"^encfs/fuse/reply\.(cc|h)$"),
    _ban("todo", r"\b(TODO|FIXME|XXX|HACK)\b", r"\.(cc|h|c|py|sh|cmake)$|/CMakeLists\.txt$|^tools/|^tests/(run|live|bench|cli)",
         "file an issue, or do it", raw=True, except_in=r"^tests/lint/|\.md$"),
    _ban("registry-host", r"(?i)\b(deb|security|ftp|snapshot)\.debian\.org|\bpypi\.org|pythonhosted\.org|registry\.npmjs|"
         r"crates\.io/|proxy\.golang\.org|repo1?\.maven", ANY,
         "where packages come from is the machine's configuration, not ours", raw=True),
    _ban("machine-path", r"(?<![\w.$}/{-])/(work|home/\w+|Users/\w+)/", ANY, "it exists on one machine only", raw=True),
]
