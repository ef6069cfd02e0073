#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The encrypted view of a plain directory, against encfs 1.9.5's --reverse, byte for byte.

Each view is compared with the oracle's view of the same directory, and then mounted by encfs as the volume that
it is, which must show the plain directory.
"""

import os
import sys
import time

import lib
from legacy_cases import Case
from legacy_compare import compare, table_of
from legacy_matrix import try_all
from legacy_mounts import EncfsDaemon, LegacyVolume, need_encfs
from legacy_tree import Place, populate, settle_times
from legacy_shapes import some_bytes
from real_tree_manifest import differences

# What can be reversed: a name follows from itself alone, and blocks have nothing random in them.
CASES = [Case(form=form, chains=chains, **how) for chains in ("", "u") for form, how in (
    ("v6", {}),
    ("v6", {"names": "block32", "bits": 256, "block": 4096}),
    ("v6", {"names": "stream", "bits": 128, "block": 64}),
    ("v6", {"names": "null", "cipher": "camellia"}),
    ("v6", {"cipher": "blowfish", "bits": 160, "block": 512}),
    ("v6-2008", {"holes": False}),
    ("v5", {"holes": False, "block": 512}),
)]


def fill(place):
    block = place.case.block
    os.mkdir(place.path("sizes"))
    for size in sorted({0, 1, 7, 8, 9, block - 9, block - 8, block - 1, block, block + 1, 2 * block - 8, 3 * block + 17,
                        300001}):
        place.write(f"sizes/{size}", some_bytes(size, size))
    with open(place.path("sizes/sparse"), "xb") as out:
        out.truncate(5 * block + 3)
        out.seek(2 * block)
        out.write(some_bytes(block))
    populate(place, "old")


def compare_pieces(one, other, path, size):
    """The same bytes also where reads begin and end anywhere."""
    with open(os.path.join(one, path), "rb", 0) as left, open(os.path.join(other, path), "rb", 0) as right:
        for offset, length in ((0, 3), (5, 9), (size // 2 - 1, 71), (size // 3, 4097), (size - 2, 10)):
            if offset >= 0 and os.pread(left.fileno(), length, offset) != os.pread(right.fileno(), length, offset):
                return [f"{ascii(path)}: {length} bytes at {offset} differ"]
    return []


def views_differ(theirs, ours):
    expected, found = table_of(theirs.mountpoint), table_of(ours.mountpoint)
    lines = differences(expected, found)
    for path in expected.keys() & found.keys():
        if expected[path].kind == found[path].kind == "file":
            lines += compare_pieces(theirs.mountpoint, ours.mountpoint, path, expected[path].size)
    return lines


def attempt(scratch, home, case):
    since = time.time_ns()
    volume = LegacyVolume(scratch, os.path.join(home, case.name), case)
    plain = Place(volume.lower, case, model=True)
    fill(plain)
    settle_times(plain, "", 0)
    theirs = EncfsDaemon(volume, scratch.file("theirs"), options=["--reverse"])
    ours = lib.Daemon(volume, scratch.file("ours"), options=["--reverse"])
    failures = [f"view: {line}" for line in views_differ(theirs, ours)]

    config = next(name for name in os.listdir(volume.lower) if name.startswith(".encfs"))
    volume.lower = ours.mountpoint
    variable = {".encfs6.xml": "ENCFS6_CONFIG", ".encfs5": "ENCFS5_CONFIG"}[config]
    os.environ[variable] = plain.path(config)
    back = EncfsDaemon(volume, scratch.file("back"))
    del os.environ[variable]
    if config == ".encfs6.xml":
        os.unlink(plain.path(config))  # which no view lists
    failures += [f"back: {line}" for line in compare(Place(back.mountpoint, case), plain, since)]
    for daemon in (back, ours, theirs):
        daemon.unmount()
    return failures


def run():
    lib.need_mounts()
    lib.need_root()  # owners, devices, a tmpfs
    need_encfs()
    lib.program()
    with lib.Scratch() as scratch:
        home = scratch.lower_fs("tmpfs", "1g")
        return try_all(CASES, lambda case: attempt(scratch, home, case), "views")


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    lib.main(run)
