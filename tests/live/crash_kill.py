#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills the daemon (SIGKILL) at random moments under a mixed write load, mounts again, and checks
that every acknowledged operation is there, that nothing is unreadable, and that no file shows bytes that
were never written to it.

Acknowledged: what the daemon answered. Only the daemon dies, so this holds without fsync too: name
operations at once; data after fsync, close, or, without a write-back cache (--mode regular), after
each write.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import sys
import time

import crash_model
import crash_workers
import lib

WORKER_SECONDS = 60


def start(kind, directory, journal, seed, number):
    pid = os.fork()
    if pid == 0:
        try:
            crash_workers.run(kind, directory, journal, seed, number)
        finally:
            os._exit(1)
    return pid


def reap(pids):
    """The workers end by themselves when the mount is dead; a hang is a failure."""
    deadline = time.monotonic() + WORKER_SECONDS
    left = set(pids)
    failures = []
    while left and time.monotonic() < deadline:
        for pid in list(left):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                left.discard(pid)
                if status != 0:
                    failures.append(f"a worker ended with {status}")
        time.sleep(0.01)
    for pid in left:
        failures.append("a worker hangs on the dead mount")
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return failures


def shape_on_disk(root):
    """path -> what is there; files by the number in their first cell (None: none yet)."""
    found = {}
    contents = {}
    for place, dirs, files in os.walk(root):
        for name in dirs + files:
            path = os.path.join(place, name)
            relative = os.path.relpath(path, root)
            if os.path.islink(path):
                found[relative] = ("link", os.readlink(path))
            elif os.path.isdir(path):
                os.listdir(path)
                found[relative] = ("dir",)
            else:
                with open(path, "rb") as source:
                    contents[relative] = source.read()
                os.listxattr(path)
                found[relative] = ("file",)
    return found, contents


def without_numbers(shape):
    return {path: entry[:1] if entry[0] == "file" else entry for path, entry in shape.items()}


def verify_worker(name, root, journal, write_through):
    files, shapes, errors, done = crash_model.replay(journal, write_through)
    failures = [f"{name}: an operation failed before the kill: {error}" for error in errors]
    try:
        found, contents = shape_on_disk(root)
    except OSError as error:
        return failures + [f"{name}: UNREADABLE after the kill: {error.strerror} at {error.filename}"], done
    fitting = [shape for shape in shapes if without_numbers(shape) == found]
    if not fitting:
        right = without_numbers(shapes[0])
        missing = sorted(set(right) - set(found))[:5]
        extra = sorted(set(found) - set(right))[:5]
        failures.append(f"{name}: names differ: missing {missing}, not removed {extra}, "
                        f"of {len(right)}")
        return failures, done
    for path, data in contents.items():
        # A pending rename leaves two right shapes that differ only in which file it is.
        verdicts = [files[shape[path][1]].judge(data) for shape in fitting]
        if all(verdicts):
            failures += [f"{name}/{path}: {text}" for text in verdicts[0]]
    return failures, done


def digest(root):
    """Of everything below: what later kills must not change."""
    sum_ = hashlib.sha256()
    for place, dirs, files in os.walk(root):
        dirs.sort()
        for name in sorted(files) + dirs:
            path = os.path.join(place, name)
            sum_.update(os.path.relpath(path, root).encode())
            if os.path.islink(path):
                sum_.update(os.readlink(path).encode())
            elif os.path.isfile(path):
                with open(path, "rb") as source:
                    sum_.update(source.read())
    return sum_.hexdigest()


class Rounds:
    def __init__(self, scratch, options):
        self.scratch = scratch
        self.options = options
        lower = scratch.lower_fs(options.lower, size="6g")
        self.volume = lib.Volume(scratch, os.path.join(lower, "volume"))
        self.random = random.Random(options.seed)
        self.modes = options.mode or (["auto", "regular", "optimized"] if lib.peer() == "extencfs" else [None])
        self.failures = []
        self.operations = 0
        self.previous = None  # (directory, digest) of the last verified round

    def run(self, number):
        mode = self.modes[number % len(self.modes)]
        daemon = self.volume.mount(mode=mode)
        name = f"round{number}"
        top = os.path.join(daemon.mountpoint, name)
        os.mkdir(top)
        journals = self.scratch.path("journals")
        os.makedirs(journals, exist_ok=True)
        pids = []
        for index, kind in enumerate(crash_workers.KINDS):
            place = os.path.join(top, kind.__name__)
            os.mkdir(place)
            journal = os.path.join(journals, f"{number}-{kind.__name__}")
            pids.append(start(kind, place, journal, self.random.random(), index))
        time.sleep(self.random.uniform(0.02, self.options.seconds))
        lib.check(daemon.alive(), f"round {number}: the daemon ended by itself: {daemon.log()[-2000:]}")
        daemon.kill()
        self.note(number, mode, reap(pids))
        daemon.detach()
        daemon = self.volume.mount(mode=mode)
        for kind in crash_workers.KINDS:
            found, done = verify_worker(
                kind.__name__, os.path.join(daemon.mountpoint, name, kind.__name__),
                os.path.join(journals, f"{number}-{kind.__name__}"), mode == "regular")
            self.operations += done
            self.note(number, mode, found)
        self.check_previous(number, mode, daemon, name)
        if not daemon.alive():
            self.note(number, mode, [f"the daemon ended: {daemon.log()[-2000:]}"])
        # Half of the time the next daemon comes after another kill, not after a clean end.
        if self.random.random() < .5:
            daemon.kill()
            daemon.detach()
        else:
            daemon.unmount()
        if not self.failures:
            shutil.rmtree(journals)

    def check_previous(self, number, mode, daemon, name):
        if self.previous:
            old, sum_ = self.previous
            path = os.path.join(daemon.mountpoint, old)
            try:
                if digest(path) != sum_:
                    self.note(number, mode, [f"{old}, not touched since, has changed"])
                shutil.rmtree(path)
            except OSError as error:
                self.note(number, mode, [f"{old}: {error}"])
        try:
            self.previous = (name, digest(os.path.join(daemon.mountpoint, name)))
        except OSError:
            self.previous = None  # reported by verify_worker

    def note(self, number, mode, failures):
        for failure in failures:
            text = f"kill {number} (mode {mode}): {failure}"
            print(f"  {text[:300]}", flush=True)
            self.failures.append(text)


def run():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=1.2, help="the longest life of a daemon")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--mode", action="append", help="only these modes, in turn")
    parser.add_argument("--lower", choices=["tmpfs", "ext4"], default="tmpfs")
    options = parser.parse_args()
    lib.need_mounts()
    lib.need_root()
    lib.program()
    if lib.peer() == "bind":
        lib.skip("a bind mount has no daemon to kill")
    print(f"seed {options.seed}")
    with lib.Scratch() as scratch:
        rounds = Rounds(scratch, options)
        for number in range(options.kills):
            rounds.run(number)
            if len(rounds.failures) > 40:
                break
            if (number + 1) % 5 == 0:
                print(f"{number + 1} kills, {rounds.operations} operations acknowledged, "
                      f"{len(rounds.failures)} failures", flush=True)
        left = [os.path.join(place, name) for place, dirs, files in os.walk(rounds.volume.lower)
                for name in dirs + files if name.startswith("extencfs.t.")]
        print(f"temporary entries left below at the end: {len(left)}")
        return rounds.failures


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    lib.main(run)
