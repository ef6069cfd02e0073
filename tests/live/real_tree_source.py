# SPDX-License-Identifier: Apache-2.0
"""Trees made for the tests: many ordinary files, and one of everything that is easy to get wrong.

Deterministic: the same arguments give the same names and bytes.
"""

import os
import random
from pathlib import Path

# Around the block size of any of the formats, and around a page.
EDGE_SIZES = (0, 1, 15, 16, 4031, 4032, 4063, 4064, 4065, 4095, 4096, 4097, 4159, 4160, 8191, 8192, 8193, 65535,
              65536, 65537, 131071, 131072, 131073, 1048575, 1048576, 1048577)
MTIME_NS = 1_500_000_000_123_456_789
ODD_NAMES = ("with space", "tab\there", "new\nline", "quote'\"", "-dash", "\u00fcml\u00e4ut", "u\u0308 decomposed",
             "\u65e5\u672c\u8a9e", "\U0001f4f7 photo.jpg", ".hidden", "...", "UPPER", "upper", "a" * 255,
             "\u00e9" * 127, "a" * 175, "a" * 176, "a" * 177, "trailing.", "back\\slash", "100%", "*?[]")


def write(path, data, mtime_ns=MTIME_NS, mode=0o644):
    path.write_bytes(data)
    path.chmod(mode)
    os.utime(path, ns=(mtime_ns, mtime_ns))


def ordinary_files(root, count, seed=1):
    """About 20 files to a directory, sizes as in source code."""
    choose = random.Random(seed)
    for number in range(count):
        directory = root / f"section-{number // 400:02}" / f"chapter-{number // 20 % 20:02}"
        directory.mkdir(parents=True, exist_ok=True)
        size = min(int(choose.lognormvariate(8.4, 1.4)), 2_000_000)
        write(directory / f"source_{number:05}.c", choose.randbytes(size), MTIME_NS + number * 1_000_003,
              choose.choice((0o644, 0o600, 0o755, 0o444)))


def edge_files(root):
    choose = random.Random(2)
    for size in EDGE_SIZES:
        write(root / f"size-{size}", choose.randbytes(size))
        write(root / f"zeros-{size}", bytes(size))
    sparse = root / "sparse"
    with open(sparse, "wb") as file:
        for offset in (5000, 300_000, 5_000_000):
            file.seek(offset)
            file.write(b"island " * 100)
        file.truncate(9_000_001)
    os.utime(sparse, ns=(MTIME_NS, MTIME_NS))


def odd_names(root, plain):
    for name in ODD_NAMES:
        if plain and len(name.encode()) > 100:
            continue
        write(root / name, name.encode())
    os.symlink("../" + "t" * 1000, root / "dangling")
    os.symlink("UPPER", root / "inside")
    if plain:
        return
    (root / ("d" * 255) / ("e" * 255)).mkdir(parents=True)
    write(root / ("d" * 255) / ("e" * 255) / "deep", b"deep")
    os.symlink(("/" + "p" * 199) * 20 + "/" + "q" * 94, root / "longest target")  # 4,095 bytes


def special_entries(root, plain):
    if not plain:
        devices_and_times(root)
    for number, mode in enumerate((0o2775, 0o1777, 0o700, 0o500, 0o000)):
        (root / f"directory-{number}").mkdir()
        write(root / f"directory-{number}" / "inside", b"x")
        (root / f"directory-{number}").chmod(mode)
    for number, mode in enumerate((0o4755, 0o2755, 0o1644, 0o000, 0o777)):
        write(root / f"file-{number}", b"mode", mode=mode)
    os.chown(root / "file-4", 1234, 5678)
    os.chown(root / "directory-2", 1234, 5678)
    write(root / "first link", b"linked")
    os.link(root / "first link", root / "second link")
    os.link(root / "first link", root / "directory-0" / "third link")
    (root / "empty directory").mkdir()


def devices_and_times(root):
    os.mkfifo(root / "fifo", 0o640)
    os.mknod(root / "null", 0o20666, os.makedev(1, 3))
    for number, when in enumerate((0, 1, -1_000_000_000, 2**31 * 10**9, 4_000_000_000_999_999_999)):
        write(root / f"time-{number}", b"t", when)


def make_tree(root, ordinary, plain=False):
    """`plain` leaves out what some file systems cannot hold at all."""
    root = Path(root)
    for name in ("sizes", "names", "special"):
        (root / name).mkdir(parents=True)
    edge_files(root / "sizes")
    odd_names(root / "names", plain)
    special_entries(root / "special", plain)
    ordinary_files(root, ordinary)
    for directory, _, _ in os.walk(root, topdown=False):
        os.utime(directory, ns=(MTIME_NS, MTIME_NS))
