# SPDX-License-Identifier: Apache-2.0
"""Compares a mount with the model: names, contents, sizes, modes, owners, times, targets, attributes,
holes."""

import dataclasses
import errno
import os
import time

from real_tree_manifest import differences, Entry, entry_of


def table_of(top):
    """{path: Entry}; what cannot be read is an entry too."""
    table = {}
    pending = [top]
    while pending:
        folder = pending.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    found = entry_of(entry.path, xattrs=True)
                except OSError as error:
                    name = errno.errorcode.get(error.errno, "error")
                    found = Entry(f"{name} on {error.filename or 'read'}", 0, 0, 0, 0)
                table[os.path.relpath(entry.path, top)] = found
                if found.kind == "directory":
                    pending.append(entry.path)
    return table


def _same_moment(expected, found, since, loose):
    """Times of changes are not the same in two places; all that is asked is that both are new."""
    if all(since <= moment <= time.time_ns() for moment in (expected, found)):
        return True
    return loose and (expected // 10**9 == found // 10**9 or expected < since <= found)


def where_differs(model_path, path, block):
    with open(model_path, "rb") as one, open(path, "rb") as other:
        wanted, have = one.read(), other.read()
    end = min(len(wanted), len(have))
    at = next((i for i in range(end) if wanted[i] != have[i]), end)
    return (f"from byte {at} = {at // block} * {block} + {at % block}: "
            f"{wanted[at:at + 8].hex()} became {have[at:at + 8].hex()}")


def compare(place, model, since, loose=False):
    """Lines that say what differs between a mount and the model. `loose`: encfs forgets times that are
    less than a second, and those of directories, when it renames."""
    expected, found = table_of(model.top), table_of(place.top)
    for path in expected.keys() & found.keys():
        want, have = expected[path], found[path]
        # The kernel has cached a time for each name of a file, since encfs tells it of no links.
        if _same_moment(want.mtime_ns, have.mtime_ns, since, loose) or loose and want.links > 1:
            found[path] = dataclasses.replace(have, mtime_ns=want.mtime_ns)
    lines = differences(expected, found)
    for path in sorted(expected.keys() & found.keys()):
        want, have = expected[path], found[path]
        if have.kind == "file" and want.kind == "file":
            if want.digest != have.digest:
                block = place.case.data_block
                lines.append(f"{ascii(path)}: {where_differs(model.path(path), place.path(path), block)}")
            lines += [f"{ascii(path)}: {line}" for line in holes(place.path(path), have.size)]
    return lines


def _next(fd, offset, whence):
    try:
        return os.lseek(fd, offset, whence)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return None


def holes(path, size):
    """Whatever is called a hole reads as zeros, and holes and data follow each other to the end."""
    fd = os.open(path, os.O_RDONLY)
    try:
        at = 0
        for _ in range(4096):
            if at >= size:
                return []
            data = _next(fd, at, os.SEEK_DATA)
            end = size if data is None else data
            if end < at or end > size:
                return [f"SEEK_DATA at {at} gives {data}"]
            if any(os.pread(fd, end - at, at)):
                return [f"the hole from {at} to {end} has data"]
            if data is None:
                return []
            at = _next(fd, data, os.SEEK_HOLE)
            if at is None or at <= data or at > size:
                return [f"SEEK_HOLE at {data} gives {at}, the size is {size}"]
        return ["holes without an end"]
    finally:
        os.close(fd)
