#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rotates the keys of a volume while it is mounted and in use: readers that compare everything again and again,
writers that know what each of their files must hold. Then whether the configuration of before opens anything yet.
And daemons killed at random moments of a rotation, which the rotation of the unmounted volume goes on with.

--files, --writers and --kills say how much; --lower is where the volume lies.
"""

import argparse
import errno
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time

import key_rotation
import lib

SEED = int(os.environ.get("EXTENCFS_SEED", "0")) or random.randrange(1 << 30)


class Wrong(Exception):
    pass


class Writer:
    """Does everything in a directory of its own, and knows what must be there."""

    def __init__(self, place, seed):
        self.rng = random.Random(seed)
        self.place = place
        self.files = {}  # name -> (contents, attributes), shared by the names of one file
        self.links = {}
        self.opened = []  # files without a name: (descriptor, contents)
        os.makedirs(place, exist_ok=True)

    def name(self):
        return f"name {self.rng.randrange(60)}" if self.rng.random() < 0.8 else "l" * 180 + str(self.rng.randrange(9))

    def path(self, name):
        return os.path.join(self.place, name)

    def some(self):
        return self.rng.choice(list(self.files)) if self.files else None

    def step(self):
        self.rng.choice((self.create, self.create, self.overwrite, self.overwrite, self.append, self.truncate,
                         self.rename, self.link, self.unlink, self.read, self.read, self.list, self.attribute,
                         self.symlink, self.move_directory, self.nameless))()

    def create(self):
        name = self.name()
        if name in self.links:
            return
        text = bytearray(self.rng.randbytes(self.rng.choice((0, 10, 3999, 4001, 30_000, 300_000))))
        temporary = self.path("being made")
        with open(temporary, "wb") as out:
            out.write(text)
        os.rename(temporary, self.path(name))
        self.files[name] = [text, {}]

    def overwrite(self):
        if not (name := self.some()):
            return
        text = self.files[name][0]
        at, piece = self.rng.randrange(len(text) + 1), self.rng.randbytes(self.rng.randrange(1, 9000))
        with open(self.path(name), "r+b") as out:
            out.seek(at)
            out.write(piece)
            if self.rng.random() < 0.2:
                os.fsync(out.fileno())
        text[at:at + len(piece)] = piece

    def append(self):
        if name := self.some():
            piece = self.rng.randbytes(self.rng.randrange(1, 20_000))
            with open(self.path(name), "ab") as out:
                out.write(piece)
            self.files[name][0].extend(piece)

    def truncate(self):
        if name := self.some():
            text = self.files[name][0]
            size = self.rng.choice((0, self.rng.randrange(len(text) + 1), len(text) + self.rng.randrange(200_000)))
            os.truncate(self.path(name), size)
            text[size:] = b""
            text.extend(bytes(size - len(text)))

    def rename(self):
        name, to = self.some(), self.name()
        if name and to not in self.links:
            os.rename(self.path(name), self.path(to))
            if self.files[name] is not self.files.get(to) or name == to:
                self.files[to] = self.files.pop(name)

    def link(self):
        name, to = self.some(), self.name()
        if name and to not in self.files and to not in self.links:
            os.link(self.path(name), self.path(to))
            self.files[to] = self.files[name]

    def unlink(self):
        if len(self.files) > 20:
            name = self.some()
            if self.rng.random() < 0.3:
                self.opened.append((os.open(self.path(name), os.O_RDWR), self.files[name][0]))
            os.unlink(self.path(name))
            del self.files[name]

    def nameless(self):
        if self.opened and (len(self.opened) > 8 or self.rng.random() < 0.5):
            fd, text = self.opened.pop(0)
            # Another name may have changed it; then it is as that says.
            found = os.pread(fd, len(text) + 1, 0)
            os.close(fd)
            if found != text:
                raise Wrong(f"a file without a name has {len(found)} other bytes than the {len(text)} it should")
            return
        text = bytearray(self.rng.randbytes(self.rng.randrange(1, 100_000)))
        try:
            fd = os.open(self.place, os.O_TMPFILE | os.O_RDWR, 0o600)
        except OSError as wrong:
            if wrong.errno != errno.EOPNOTSUPP:  # a library that cannot
                raise
            return
        os.pwrite(fd, text, 0)
        self.opened.append((fd, text))

    def compare(self, name):
        text, attributes = self.files[name]
        with open(self.path(name), "rb") as inside:
            found = inside.read()
        if found != text:
            where = next((i for i, (a, b) in enumerate(zip(found, text)) if a != b), min(len(found), len(text)))
            raise Wrong(f"{name[-20:]}: {len(found)} bytes, expected {len(text)}, differ at {where}")
        if os.stat(self.path(name)).st_size != len(text):
            raise Wrong(f"{name[-20:]}: a wrong size")
        found = {key: os.getxattr(self.path(name), key) for key in os.listxattr(self.path(name))}
        if found != attributes:
            raise Wrong(f"{name[-20:]}: attributes {found}, expected {attributes}")

    def read(self):
        if name := self.some():
            self.compare(name)

    def attribute(self):
        if name := self.some():
            key = f"user.{self.rng.randrange(4)}"
            attributes = self.files[name][1]
            if key in attributes and self.rng.random() < 0.4:
                os.removexattr(self.path(name), key)
                del attributes[key]
            else:
                attributes[key] = self.rng.randbytes(self.rng.randrange(100))
                os.setxattr(self.path(name), key, attributes[key])

    def symlink(self):
        name = f"link {self.rng.randrange(30)}"
        if name in self.links:
            if os.readlink(self.path(name)) != self.links[name]:
                raise Wrong(f"{name} leads elsewhere")
            if self.rng.random() < 0.3:
                os.unlink(self.path(name))
                del self.links[name]
        elif name not in self.files:
            self.links[name] = self.rng.choice(("short", "t/" * 1500)) + str(self.rng.random())
            os.symlink(self.links[name], self.path(name))

    def move_directory(self):
        to = f"{self.place.split(' as ')[0]} as {self.rng.randrange(5)}"
        if to != self.place:
            os.rename(self.place, to)
            self.place = to

    def list(self):
        found = sorted(os.listdir(self.place))
        expected = sorted([*self.files, *self.links])
        if found != expected:
            raise Wrong(f"listed {set(found) ^ set(expected)} otherwise, {len(found)} for {len(expected)}")

    def everything(self):
        self.list()
        for name in self.files:
            self.compare(name)
        for name in self.links:
            if os.readlink(self.path(name)) != self.links[name]:
                raise Wrong(f"{name} leads elsewhere")
        for fd, _ in self.opened:
            os.close(fd)
        self.opened = []


def write_until(stop, place, seed, faults, counts):
    writer = Writer(place, seed)
    steps = 0
    try:
        while not stop.is_set():
            writer.step()
            steps += 1
        writer.everything()
    except (Wrong, OSError) as wrong:
        faults.put(f"writer {os.path.basename(place)}, step {steps}: {wrong!r}")
    counts.put(steps)


def names_in_parts(place):
    """A listing that takes its time between its parts."""
    names = []
    with os.scandir(place) as entries:
        for number, entry in enumerate(entries):
            names.append(entry.name)
            if number % 20 == 19:
                time.sleep(0.01)
    return sorted(names)


def read_until(stop, root, before, faults, counts):
    rounds = 0
    folders = {path: sorted(os.listdir(path)) for path in key_rotation.everything(root)
               if os.path.isdir(path) and not os.path.islink(path)}
    try:
        while not stop.is_set():
            for wrong in key_rotation.differences("contents", before, key_rotation.insides(root)):
                faults.put(f"reader: {wrong}")
            for path, names in folders.items():
                found = names_in_parts(path)
                if found != names:
                    faults.put(f"reader: {path[-40:]} lists {set(found) ^ set(names)}, {len(found)} for {len(names)}")
            rounds += 1
    except OSError as wrong:
        faults.put(f"reader: {wrong!r}")
    counts.put(rounds)


def drain(queue):
    while not queue.empty():
        yield queue.get()


class Load:
    """Readers and writers, for as long as it lasts."""

    def __init__(self, options, mountpoint, still, before, rng):
        self.faults, self.counts = multiprocessing.Queue(), multiprocessing.Queue()
        self.stop = multiprocessing.Event()
        load = os.path.join(mountpoint, "load")
        os.makedirs(load, exist_ok=True)
        self.processes = [multiprocessing.Process(target=write_until, args=(
            self.stop, os.path.join(load, f"{rng.randrange(1 << 30)} as 0"), rng.random(), self.faults, self.counts))
            for _ in range(options.writers)]
        self.processes.append(multiprocessing.Process(target=read_until, args=(
            self.stop, still, before, self.faults, self.counts)))
        for process in self.processes:
            process.start()

    def end(self):
        self.stop.set()
        found = []
        for process in self.processes:
            while process.is_alive():
                found += drain(self.faults)
                process.join(0.1)
        found += drain(self.faults)
        return found, sum(drain(self.counts))


def rotate_online(volume, target):
    return subprocess.Popen([lib.program(), "key", "rotate", "--online", "--passfile", volume.passfile, "--yes", "--json",
                             target], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def begun_online(volume):
    command = rotate_online(volume, volume.lower)
    lib.wait_until("begun", lambda: key_rotation.under_way(volume) or command.poll() is not None, 300)
    return command


def finished(process):
    out, err = process.communicate(timeout=1200)
    lib.check(process.returncode == 0, f"rotate --online ended with {process.returncode}: {out[-500:]}{err[-500:]}")
    return [json.loads(line) for line in out.splitlines()]


def without_inodes(shape):
    """Symlinks are other inodes afterwards, and looking moved access times."""
    return {name: seen[:6] + seen[7:8] + ((seen[8],) if not seen[0].startswith("0o12") else ())
            for name, seen in shape.items()}


class HeldSymlinks:
    """Descriptors of them, so that the kernel does not forget what they were: they become other inodes."""

    def __init__(self, root):
        self.held = []
        for path in key_rotation.everything(root):
            if os.path.islink(path):
                fd = os.open(path, os.O_PATH | os.O_NOFOLLOW)
                self.held.append((path, fd, os.fstat(fd)))
        lib.check(self.held, "no symlink there")

    def end(self):
        for path, fd, was in self.held:
            if os.path.samestat(os.lstat(path), was):
                yield f"the symlink {path[-60:]!r} is still served as the inode that it was"
            os.close(fd)


def under_load(options, volume, header, rng):
    daemon = volume.mount(mode=options.mode)
    still = os.path.join(daemon.mountpoint, "still")
    before, shape = key_rotation.insides(still), key_rotation.attributes(still)
    held = HeldSymlinks(still)
    load = Load(options, daemon.mountpoint, still, before, rng)
    time.sleep(1)
    took = []
    for target in (volume.lower, daemon.mountpoint):
        began = time.monotonic()
        events = finished(rotate_online(volume, target))
        took.append(f"{time.monotonic() - began:.1f} s")
        lib.check(events[-1]["event"] == "done" and events[-1]["damaged"] == 0, f"it ended with {events[-1]}")
        time.sleep(0.5)
    failures, steps = load.end()
    failures += held.end()
    print(f"two rotations took {' and '.join(took)}, beside {steps} steps of the load")
    failures += key_rotation.differences("contents", before, key_rotation.insides(still))
    failures += key_rotation.differences("attributes", without_inodes(shape),
                                         without_inodes(key_rotation.attributes(still)))
    if "damage" in daemon.log():
        failures.append(f"the log tells of damage: {daemon.log()[-600:]}")
    everything = key_rotation.insides(daemon.mountpoint)
    daemon.unmount()
    daemon = volume.mount(mode=options.mode)
    failures += key_rotation.differences("contents after it was mounted again", everything,
                                         key_rotation.insides(daemon.mountpoint))
    daemon.unmount()
    failures += key_rotation.opens_nothing(volume.scratch, volume, header)
    return failures


def synced_until_killed(place, started, listed):
    """Makes files and syncs them; says which."""
    rng = random.Random(place)
    os.makedirs(place)
    try:
        for number in range(1 << 20):
            text = rng.randbytes(rng.choice((10, 5000, 200_000)))
            path = os.path.join(place, f"{number}")
            with open(path, "wb") as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            fd = os.open(place, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
            listed.put((os.path.basename(place), number, text))
            started.set()
    except OSError:
        pass


def killed_once(options, volume, number, most, rng):
    """True: it was under way."""
    daemon = volume.mount(mode=options.mode)
    still = os.path.join(daemon.mountpoint, "still")
    before = key_rotation.insides(still)
    started, listed = multiprocessing.Event(), multiprocessing.Queue()
    synced = multiprocessing.Process(target=synced_until_killed, args=(
        os.path.join(daemon.mountpoint, f"synced {number}"), started, listed))
    synced.start()
    started.wait(60)
    command = begun_online(volume)
    time.sleep(rng.random() * most)
    daemon.kill()
    daemon.detach()
    met = key_rotation.under_way(volume)
    _, err = command.communicate(timeout=60)
    lib.check(not met or command.returncode == 17 and "key rotate" in err,
              f"the command ended with {command.returncode} when the daemon was killed: {err}")
    expected = []
    while synced.is_alive() or not listed.empty():
        expected += drain(listed)
        synced.join(0.05)
    if met:
        key_rotation.refused_meanwhile(volume)
        key_rotation.Rotations(volume, 2).finish()
    daemon = volume.mount(mode=options.mode)
    failures = list(key_rotation.differences("contents", before, key_rotation.insides(still)))
    for place, name, text in expected:
        with open(os.path.join(daemon.mountpoint, place, str(name)), "rb") as inside:
            if inside.read() != text:
                failures.append(f"the synced file {name} has other bytes")
    shutil.rmtree(os.path.join(daemon.mountpoint, f"synced {number}"))
    daemon.unmount()
    return met, failures


def run(options):
    rng = random.Random(SEED)
    print(f"seed {SEED}, {options.files} files, {options.writers} writers, {options.kills} kills, {options.lower}")
    lib.need_mounts()
    lib.need_root()
    with lib.Scratch() as scratch:
        place = scratch.lower_fs(options.lower)
        volume = lib.Volume(scratch, os.path.join(place, "volume"))
        daemon = volume.mount()
        still = os.path.join(daemon.mountpoint, "still")
        os.mkdir(still)
        key_rotation.build(still, options.files, rng)
        key_rotation.set_times(still, rng)
        daemon.unmount()
        header = scratch.path("old header")
        key_rotation.export_header(volume, header)
        failures = under_load(options, volume, header, rng)
        # How long it works after it began, with nobody else there.
        daemon = volume.mount()
        command = begun_online(volume)
        most = key_rotation.timed(lambda: finished(command))
        daemon.unmount()
        os.unlink(header)
        key_rotation.export_header(volume, header)
        met = 0
        for number in range(options.kills):
            under_way, wrong = killed_once(options, volume, number, most, rng)
            met += under_way
            failures += wrong
        print(f"{options.kills} daemons killed, {met} of them during a rotation, which takes {most:.1f} s")
        if options.kills and not met:
            failures.append("no kill met a rotation under way: the test tests nothing")
        if options.kills:
            failures += key_rotation.opens_nothing(scratch, volume, header)
        left = [name for name in os.listdir(volume.lower)
                if name.startswith(("extencfs.rotation", "extencfs.r.", "extencfs.t."))]
        return failures + [f"{name} is left" for name in left]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--writers", type=int, default=3)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--mode", choices=("regular", "optimized", "auto", "extfuse"), default="auto")
    parser.add_argument("--lower", choices=("tmpfs", "ext4"), default="ext4")
    parser.add_argument("--full", action="store_true", help="10,000 files and 30 kills")
    options = parser.parse_args()
    if options.full:
        options.files, options.kills = 10_000, 30
    sys.setrecursionlimit(10_000)
    lib.main(lambda: run(options))


if __name__ == "__main__":
    main()
