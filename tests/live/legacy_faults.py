# SPDX-License-Identifier: Apache-2.0
"""Faults to plant in a lower directory, to see that the comparison finds each of them."""

import os


def _files(lower, least=0):
    found = []
    for path, _, files in os.walk(os.fsencode(lower)):
        found += [os.path.join(path, name) for name in files if not name.startswith(b".encfs")]
    return sorted(path for path in found
                  if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) > least)


def _links(lower):
    return sorted(os.path.join(path, name) for path, _, files in os.walk(os.fsencode(lower)) for name in files
                  if os.path.islink(os.path.join(path, name)))


def _keep_times(path, change):
    attributes = os.stat(path)
    change(path)
    os.utime(path, ns=(attributes.st_atime_ns, attributes.st_mtime_ns))


def _flip(path):
    with open(path, "r+b") as file:
        file.seek(500)
        byte = file.read(1)[0]
        file.seek(500)
        file.write(bytes([byte ^ 1]))


def _cut(path):
    os.truncate(path, os.path.getsize(path) - 1)


def _leave(lower):
    with open(os.path.join(lower, "left over"), "wb"):
        pass


def _another(coded):
    """Another name in its first digit; the last one has bits that encfs does not look at."""
    return (b"A" if coded[:1] != b"A" else b"B") + coded[1:]


def _retarget(path):
    target = os.readlink(path)
    os.unlink(path)
    os.symlink(_another(target), path)


def _rename(path):
    folder, name = os.path.split(path)
    os.rename(path, os.path.join(folder, _another(name)))


FAULTS = {
    "a bit of contents": lambda lower: _keep_times(_files(lower, 600)[3], _flip),
    "a byte less": lambda lower: _keep_times(_files(lower, 600)[5], _cut),
    "something left over": _leave,
    "a file gone": lambda lower: os.unlink(_files(lower)[2]),
    "another name": lambda lower: _rename(_files(lower)[4]),
    "another time": lambda lower: os.utime(_files(lower)[6], ns=(0, 77)),
    "another mode": lambda lower: os.chmod(_files(lower)[7], 0o741),
    "another owner": lambda lower: os.chown(_files(lower)[8], 77, 77),
    "another target": lambda lower: _retarget(_links(lower)[1]),
    "two files swapped": lambda lower: _swap(*_files(lower, 600)[:2]),
}


def _swap(one, other):
    os.rename(one, one + b".x")
    os.rename(other, one)
    os.rename(one + b".x", other)


def plant(fault, lower):
    FAULTS[fault](lower)
