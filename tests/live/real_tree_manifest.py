# SPDX-License-Identifier: Apache-2.0
"""Everything that can be told of a tree, as a table that two trees are compared by."""

import hashlib
import os
import stat
from dataclasses import dataclass, fields
from pathlib import Path

CHUNK = 1 << 20
SHOWN = 12  # differences printed


@dataclass(frozen=True)
class Entry:
    kind: str
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int = 0
    links: int = 0
    target: str = ""
    device: int = 0
    digest: str = ""
    xattrs: tuple = ()


def digest_of(path):
    total = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            total.update(chunk)
    return total.hexdigest()


def _xattrs(path):
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return ()
    return tuple(sorted((name, os.getxattr(path, name, follow_symlinks=False)) for name in names))


def entry_of(path, xattrs=False):
    st = os.lstat(path)
    common = {"mode": stat.S_IMODE(st.st_mode), "uid": st.st_uid, "gid": st.st_gid, "mtime_ns": st.st_mtime_ns,
              "xattrs": _xattrs(path) if xattrs else ()}
    if stat.S_ISREG(st.st_mode):
        return Entry("file", size=st.st_size, links=st.st_nlink, digest=digest_of(path), **common)
    if stat.S_ISDIR(st.st_mode):
        return Entry("directory", **common)
    if stat.S_ISLNK(st.st_mode):
        return Entry("symlink", size=st.st_size, target=os.readlink(path), **common)
    return Entry(f"special {stat.S_IFMT(st.st_mode):o}", device=st.st_rdev, **common)


def manifest(root, xattrs=False):
    """{path below root: Entry}, the root itself left out."""
    table = {}
    root = Path(root)
    pending = [root]
    while pending:
        directory = pending.pop()
        with os.scandir(directory) as entries:
            for entry in entries:
                path = Path(entry.path)
                table[str(path.relative_to(root))] = entry_of(path, xattrs)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
    return table


def differences(expected, found):
    """Lines that say what differs; empty when the trees are the same."""
    lines = [f"missing: {ascii(path)}" for path in sorted(expected.keys() - found.keys())]
    lines += [f"unexpected: {ascii(path)}" for path in sorted(found.keys() - expected.keys())]
    for path in sorted(expected.keys() & found.keys()):
        if expected[path] != found[path]:
            what = [f"{f.name} {getattr(expected[path], f.name)!r} became {getattr(found[path], f.name)!r}"
                    for f in fields(Entry) if getattr(expected[path], f.name) != getattr(found[path], f.name)]
            lines.append(f"{ascii(path)}: {'; '.join(what)}")
    return lines


def summary(lines):
    more = f"\n... and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return "\n".join(lines[:SHOWN]) + more


def plain_names_seen(lower, tree_manifest):
    """Names of the tree that show in the lower directory's names (those long enough to be no accident)."""
    words = {name for path in tree_manifest for name in Path(path).parts if len(name) >= 6}
    seen = set()
    for _, dirs, files in os.walk(lower):
        seen |= words & {*dirs, *files}
    return sorted(seen)
