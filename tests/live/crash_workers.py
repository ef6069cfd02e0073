# SPDX-License-Identifier: Apache-2.0
"""The load under which the daemon is killed. Each worker has a directory of its own on the mount and
a journal outside of it: a line before each operation, a line after it.
"""

import ctypes
import errno
import json
import os
import random
import time

import lib
from crash_model import CELL, cells

# What a process sees when the daemon under its mount has died.
# ECANCELED: the same over io_uring.
DEAD = {errno.ENOTCONN, errno.ECONNABORTED, errno.ECANCELED, errno.EIO}
# gocryptfs, on which this test itself is tried, can do neither.
LONG_TARGET = 3500 if lib.peer() != "gocryptfs" else 500
PUNCHES = .2 if lib.peer() != "gocryptfs" else 0
_libc = ctypes.CDLL(None, use_errno=True)


class Died(Exception):
    pass


class Worker:
    """Journalled file operations below `root`, paths relative to it."""

    def __init__(self, root, journal_path, seed, number):
        self.root = root
        self.journal = os.open(journal_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.random = random.Random(seed)
        self.next_file = number * 1_000_000 + 1
        self.next_generation = 1
        self.numbers = {}
        self.fds = {}

    def log(self, *record):
        os.write(self.journal, (json.dumps(record) + "\n").encode())

    def do(self, op, call):
        self.log("begin", op)
        try:
            result = call()
        except OSError as error:
            if error.errno not in DEAD and not (error.errno == errno.EINTR and self.daemon_is_gone()):
                self.log("error", f"{str(op)[:60]}: {error.strerror}")
            raise Died from error
        self.log("done")
        return result

    def daemon_is_gone(self):
        """After EINTR, which the kernel tells over io_uring when the thread that a request is copied to is being killed."""
        for _ in range(100):
            try:
                os.statvfs(self.root)
            except OSError as error:
                if error.errno in DEAD:
                    return True
            time.sleep(.01)
        return False

    def at(self, path):
        return os.path.join(self.root, path)

    def create(self, path):
        number = self.next_file
        self.next_file += 1
        self.fds[path] = self.do(("create", path, number),
                                 lambda: os.open(
                                     self.at(path), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644))
        self.numbers[path] = number
        return self.fds[path]

    def write(self, path, first, count, append=False):
        generation = self.next_generation
        self.next_generation += 1
        data = cells(self.numbers[path], first, count, generation)

        def call():
            done = 0
            while done < len(data):
                done += os.pwrite(self.fds[path], data[done:], first * CELL + done)
        self.do(("write", path, first, count, generation), call)

    def sync(self, path):
        self.do(("sync", path), lambda: os.fsync(self.fds[path]))

    def truncate(self, path, count):
        self.do(("truncate", path, count), lambda: os.ftruncate(self.fds[path], count * CELL))

    def punch(self, path, first, count):
        def call():
            done = _libc.fallocate64(self.fds[path], 3, ctypes.c_int64(first * CELL), ctypes.c_int64(count * CELL))
            if done != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self.do(("punch", path, first, count), call)

    def close(self, path):
        fd = self.fds.pop(path)
        self.do(("close", path), lambda: os.close(fd))

    def rename(self, old, new):
        self.do(("rename", old, new), lambda: os.rename(self.at(old), self.at(new)))
        self.numbers = {(new + p[len(old):] if p == old or p.startswith(old + "/") else p): n
                        for p, n in self.numbers.items() if p != new}

    def name(self, op, call):
        self.do(op, call)


def small_files(w):
    """Creates and closes files of a few sizes, removes old ones: what an unpacker does."""
    alive = []
    for i in range(100000):
        path = f"small-{i}" if i % 9 else f"small-{i}-" + "l" * 220
        w.create(path)
        for _ in range(w.random.randrange(3)):
            w.write(path, w.random.randrange(1, 4) * 100 if w.random.random() < .1 else 0, w.random.choice([1, 20, 255, 256, 257, 700]))
        if w.random.random() < .3:
            w.sync(path)
        w.close(path)
        alive.append(path)
        if len(alive) > 60:
            gone = alive.pop(w.random.randrange(len(alive)))
            w.name(("unlink", gone), lambda gone=gone: os.unlink(w.at(gone)))


def appender(w):
    """A log: appended in odd sizes, synced now and then."""
    w.create("log")
    end = 0
    for _ in range(100000):
        count = w.random.choice([1, 3, 17, 64, 256, 1000])
        w.write("log", end, count)
        end += count
        if w.random.random() < .15:
            w.sync("log")
        if end > 60000:
            w.truncate("log", 0)
            end = 0


def overwriter(w):
    """A database: records overwritten in place."""
    w.create("table")
    w.write("table", 0, 20000)
    w.sync("table")
    for _ in range(100000):
        first = w.random.randrange(20000)
        w.write("table", first, min(w.random.choice([1, 2, 16, 250, 256, 300, 3000]), 20000 - first))
        if w.random.random() < .1:
            w.sync("table")


def replacer(w):
    """An editor: a new file renamed over the old one, half of the time without fsync."""
    for i in range(100000):
        w.create("new")
        w.write("new", 0, w.random.choice([5, 256, 500, 2000]))
        if i % 2:
            w.sync("new")
        w.close("new")
        w.rename("new", w.random.choice(["target", "t" * 230]))


def directories(w):
    """Trees that are made, moved, exchanged and taken down; links of both kinds."""
    for i in range(100000):
        top, moved = f"d{i}", f"moved{i}" if i % 3 else f"moved{i}" + "m" * 200
        w.name(("mkdir", top), lambda: os.mkdir(w.at(top)))
        w.name(("mkdir", top + "/sub"), lambda: os.mkdir(w.at(top + "/sub")))
        w.create(top + "/sub/f")
        w.write(top + "/sub/f", 0, 30)
        w.close(top + "/sub/f")
        w.name(("link", top + "/sub/f", top + "/g"), lambda: os.link(w.at(top + "/sub/f"), w.at(top + "/g")))
        target = "x" * w.random.choice([1, 50, LONG_TARGET])
        w.name(("symlink", top + "/l", target), lambda: os.symlink(target, w.at(top + "/l")))
        w.rename(top, moved)
        w.name(("unlink", moved + "/l"), lambda: os.unlink(w.at(moved + "/l")))
        if i % 4 == 0:
            continue  # this one stays
        w.name(("unlink", moved + "/g"), lambda: os.unlink(w.at(moved + "/g")))
        w.rename(moved + "/sub/f", f"kept{i % 7}")
        w.name(("rmdir", moved + "/sub"), lambda: os.rmdir(w.at(moved + "/sub")))
        w.name(("rmdir", moved), lambda: os.rmdir(w.at(moved)))


def truncator(w):
    """Down, up, and writes across the moving end."""
    w.create("t")
    size = 0
    for _ in range(100000):
        if w.random.random() < .4:
            size = w.random.choice([0, 1, 250, 256, 4000, w.random.randrange(8000)])
            w.truncate("t", size)
        else:
            first = min(size, w.random.randrange(8000))
            count = w.random.randrange(1, 600)
            w.write("t", first, count)
            size = max(size, first + count)
        if w.random.random() < .2:
            w.sync("t")


def sparse(w):
    """Islands far apart, holes punched into them."""
    w.create("s")
    for _ in range(100000):
        first = w.random.randrange(12) * 20000 + w.random.randrange(300)
        if w.random.random() < PUNCHES:
            w.punch("s", first, w.random.choice([1, 100, 256, 1000]))
        else:
            w.write("s", first, w.random.choice([1, 64, 256, 900]))
        if w.random.random() < .15:
            w.sync("s")


KINDS = [small_files, appender, overwriter, replacer, directories, truncator, sparse]


def run(kind, root, journal_path, seed, number):
    """In a process of its own: works until the daemon is gone."""
    worker = Worker(root, journal_path, seed, number)
    try:
        kind(worker)
    except Died:
        pass
    os._exit(0)
