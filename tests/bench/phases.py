# SPDX-License-Identifier: Apache-2.0
"""The rows of the benchmark: what is done in each, and what must be there before it.

A row's figure is the time of the work alone: remounts, dropped caches and the making of what the row
needs are outside. Knows nothing of the file systems but `root` and `remount_cold()`.
"""

import subprocess
import time
from dataclasses import dataclass
from typing import Callable

from tree import TOP, unpack
from workspace import run

SMALL_FILES, SMALL_SIZE = 2000, 4096
WARM_WALKS = 5
MISSING_STATS, MISSING_NAMES = 20000, 100
WRITE_STATS, WRITE_STAT_SIZE = 5000, 512
RANDOM_COUNT, RANDOM_SIZE = 10000, 8192


class Bench:
    """One file system in one round: what has been made on it so far."""

    def __init__(self, fs, worker, archive, big_bytes):
        self.fs = fs
        self.archive = archive
        self.big_bytes = big_bytes
        self._worker = worker
        self._has_tree = False
        self._has_big = False

    @property
    def tree(self):
        return self.fs.root / TOP

    @property
    def big(self):
        return self.fs.root / "big.dat"

    def worker(self, *args):
        return float(run([self._worker, *args]).stdout)

    def need_tree(self):
        if not self._has_tree:
            unpack(self.archive, self.fs.root)
            self._has_tree = True

    def need_big(self):
        if not self._has_big:
            self.seq_write()

    # The rows.
    def create(self):
        return self.worker("create", self.fs.root / "small", SMALL_FILES, SMALL_SIZE)

    def unpack(self):
        start = time.perf_counter()
        unpack(self.archive, self.fs.root)
        taken = time.perf_counter() - start
        self._has_tree = True
        return taken

    def _find(self):
        start = time.perf_counter()
        subprocess.run(["find", self.tree, "-printf", "%s %T@ %m %p\\n"], stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - start

    def find_cold(self):
        self.need_tree()
        self.fs.remount_cold()
        return self._find()

    def find_warm(self):
        self.need_tree()
        self._find()
        return sum(self._find() for _ in range(WARM_WALKS))

    def missing(self):
        self.need_tree()
        return self.worker("missing", self.tree, MISSING_STATS, MISSING_NAMES)

    def write_stat(self):
        return self.worker("write_stat", self.fs.root / "log.dat", WRITE_STATS, WRITE_STAT_SIZE)

    def cat_all(self):
        self.need_tree()
        self.fs.remount_cold()
        return self.worker("read_all", self.tree)

    def seq_write(self):
        taken = self.worker("seq_write", self.big, self.big_bytes)
        self._has_big = True
        return taken

    def seq_read(self):
        self.need_big()
        self.fs.remount_cold()
        return self.worker("seq_read", self.big, self.big_bytes)

    def rand_read(self):
        self.need_big()
        self.fs.remount_cold()
        return self.worker("rand_read", self.big, self.big_bytes, RANDOM_COUNT, RANDOM_SIZE)

    def rand_write(self):
        self.need_big()
        return self.worker("rand_write", self.big, self.big_bytes, RANDOM_COUNT, RANDOM_SIZE)

    def rm(self):
        self.need_tree()
        start = time.perf_counter()
        subprocess.run(["rm", "-rf", self.tree], check=True)
        taken = time.perf_counter() - start
        self._has_tree = False
        return taken


@dataclass(frozen=True)
class Row:
    key: str
    title: str
    run: Callable[[Bench], float]
    moves_bytes: bool = False  # the cipher's work; not held against passthrough_ll


ROWS = (
    Row("create", "create 2,000 small files", Bench.create),
    Row("unpack", "unpack the tree", Bench.unpack),
    Row("find_cold", "find+stat cold", Bench.find_cold),
    Row("find_warm", "find+stat warm x5", Bench.find_warm),
    Row("missing", "20,000 stats of missing names", Bench.missing),
    Row("write_stat", "write+stat x5,000", Bench.write_stat),
    Row("cat_all", "read all cold", Bench.cat_all),
    Row("seq_write", "sequential write", Bench.seq_write, moves_bytes=True),
    Row("seq_read", "sequential read cold", Bench.seq_read, moves_bytes=True),
    Row("rand_read", "random read 8k cold", Bench.rand_read, moves_bytes=True),
    Row("rand_write", "random write 8k", Bench.rand_write, moves_bytes=True),
    Row("rm", "rm -rf of the tree", Bench.rm),
)


def rows_named(keys):
    unknown = set(keys) - {row.key for row in ROWS}
    if unknown:
        raise ValueError(f"no row {', '.join(sorted(unknown))}: there are {', '.join(r.key for r in ROWS)}")
    return [row for row in ROWS if row.key in keys] if keys else list(ROWS)
