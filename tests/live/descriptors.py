#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Walks and holds a tree of many files with the daemon under a hard RLIMIT_NOFILE of 1024, and says
what memory that took. --files 1000000 for the full run (needs 6 GB of tmpfs)."""

import argparse
import errno
import os
import resource
import subprocess
import sys
import time

import lib

LIMIT = 1024
PER_DIRECTORY = 1000
# FORGETs need memory pressure or this.
DROP_CACHES = "/proc/sys/vm/drop_caches"


def limits():
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))


def drop_caches():
    with open(DROP_CACHES, "w") as out:
        out.write("2")


def text_of(number):
    return f"file {number} ".encode() * (1 + number % 3)


def path_of(top, number):
    return os.path.join(top, f"dir{number // PER_DIRECTORY:05}", f"file{number:07}")


def build(top, files):
    for number in range(files):
        if number % PER_DIRECTORY == 0:
            os.makedirs(os.path.dirname(path_of(top, number)))
        fd = os.open(path_of(top, number), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        os.write(fd, text_of(number))
        os.close(fd)


def walk(top):
    """find -type f with a stat of each; returns how many."""
    done = subprocess.run(["find", top, "-type", "f", "-printf", "%s\n"], capture_output=True,
                          check=False)
    lib.check(done.returncode == 0, f"find: {done.stderr[-500:]!r}")
    sizes = done.stdout.split()
    return len(sizes), sum(map(int, sizes))


def hold(top, files, open_files):
    """Opens many and keeps them; every one has to go on working. Returns failures."""
    fds = {}
    step = max(1, files // open_files)
    for number in range(0, files, step):
        fds[number] = os.open(path_of(top, number), os.O_RDWR)
    directories = [os.open(os.path.dirname(path_of(top, n)), os.O_RDONLY | os.O_DIRECTORY)
                   for n in range(0, files, PER_DIRECTORY)]
    wrong = 0
    for number, fd in fds.items():
        wrong += os.pread(fd, 100, 0) != text_of(number)
    for number, fd in fds.items():
        os.pwrite(fd, b"held", 0)
    for number, fd in fds.items():
        wrong += os.pread(fd, 100, 0) != b"held" + text_of(number)[4:]
        os.pwrite(fd, text_of(number)[:4], 0)
    for fd in directories:
        wrong += len(os.listdir(fd)) == 0
    for fd in list(fds.values()) + directories:
        os.close(fd)
    return [f"{wrong} of {len(fds)} held files were wrong"] if wrong else [], len(fds)


def hold_deleted(top, count):
    """Deleted files that stay open have no name to be opened by again. Either all work, or open or
    unlink says that there are too many (EMFILE, ENFILE); never wrong bytes, never a dead daemon."""
    fds = []
    refused = None
    for number in range(count):
        path = os.path.join(top, f"deleted{number}")
        try:
            fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
            os.write(fd, text_of(number))
            os.unlink(path)
        except OSError as error:
            refused = error
            break
        fds.append(fd)
    failures = []
    wrong = sum(os.pread(fd, 100, 0) != text_of(number) for number, fd in enumerate(fds))
    if wrong:
        failures.append(f"{wrong} of {len(fds)} deleted files were wrong")
    if refused and refused.errno not in (errno.EMFILE, errno.ENFILE):
        failures.append(f"deleted file {len(fds)}: {refused}")
    for fd in fds:
        os.close(fd)
    if refused:
        print(f"deleted open files end at {len(fds)}: {refused.strerror}")
    return failures


def run():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100000)
    parser.add_argument("--mode", choices=["regular", "optimized", "auto"], default="auto")
    parser.add_argument("--open", type=int, default=15000, help="files held open at once")
    parser.add_argument("--deleted", type=int, default=3000, help="deleted files held open")
    parser.add_argument("--memory-mib", type=int, default=200)
    options = parser.parse_args()
    lib.need_mounts()
    lib.need_root()
    lib.program()
    wanted = options.open + options.deleted + 5000
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
    except ValueError:
        # Not ours to raise: hold as many as this machine allows (the daemon's limit is far below).
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        options.open = min(options.open, hard - options.deleted - 1000)
        print(f"holding {options.open} files open: the hard limit here is {hard}")
    failures = []
    with lib.Scratch() as scratch:
        lower = scratch.lower_fs("tmpfs", size=f"{1 + options.files * 6 // 1000000}g")
        volume = lib.Volume(scratch, os.path.join(lower, "volume"))
        daemon = volume.mount(mode=options.mode, limits=limits)
        top = os.path.join(daemon.mountpoint, "tree")

        def timed(what, call):
            start = time.monotonic()
            result = call()
            print(f"{what}: {time.monotonic() - start:.1f} s, peak memory "
                  f"{daemon.peak_kib() // 1024} MiB, descriptors {daemon.descriptors()}", flush=True)
            if not daemon.alive():
                raise lib.TestFailed(f"{what}: the daemon ended: {daemon.log()[-2000:]}")
            if daemon.descriptors() > LIMIT:
                failures.append(f"{what}: {daemon.descriptors()} descriptors")
            return result
        timed(f"making {options.files} files", lambda: build(top, options.files))
        expected = (options.files, sum(len(text_of(n)) for n in range(options.files)))
        found = timed("walk, warm", lambda: walk(top))
        if found != expected:
            failures.append(f"walk found {found} in place of {expected}")
        drop_caches()
        daemon.unmount()
        daemon = volume.mount(mode=options.mode, limits=limits)
        found = timed("walk after mount", lambda: walk(top))
        if found != expected:
            failures.append(f"walk found {found} in place of {expected}")
        held, count = timed("holding files open", lambda: hold(top, options.files, options.open))
        print(f"held {count}")
        failures += held
        failures += timed("holding deleted files", lambda: hold_deleted(top, options.deleted))
        drop_caches()
        if timed("walk again", lambda: walk(top)) != expected:
            failures.append("the tree has changed")
        peak = daemon.peak_kib() // 1024
        if peak > options.memory_mib:
            failures.append(f"peak memory {peak} MiB, more than {options.memory_mib}")
        daemon.unmount()
    return failures


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    lib.main(run)
