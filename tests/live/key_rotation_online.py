#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rotates the keys of a volume while it is mounted and in use: readers that compare everything again and again,
writers that know what each of their files must hold. Then whether the configuration of before opens anything yet.
And daemons killed at random moments of a rotation, which the rotation of the unmounted volume goes on with.

--files, --writers and --kills say how much; --lower is where the volume lies.
"""

import argparse
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
from checking_writer import Writer, Wrong

SEED = int(os.environ.get("EXTENCFS_SEED", "0")) or random.randrange(1 << 30)


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
        self.held = []


def under_load(options, volume, header, rng):
    daemon = volume.mount(mode=options.mode)
    still = os.path.join(daemon.mountpoint, "still")
    before, shape = key_rotation.insides(still), key_rotation.attributes(still)
    held = HeldSymlinks(still)
    load = Load(options, daemon.mountpoint, still, before, rng)
    time.sleep(1)
    took, failures = [], []
    for target in (volume.lower, daemon.mountpoint):
        began = time.monotonic()
        events = finished(rotate_online(volume, target))
        took.append(f"{time.monotonic() - began:.1f} s")
        lib.check(events[-1]["event"] == "done" and events[-1]["damaged"] == 0, f"it ended with {events[-1]}")
        time.sleep(0.5)
        failures += held.end()  # by the second they may get numbers again that they had before the first
    found, steps = load.end()
    failures += found
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
        os.path.join(daemon.mountpoint, f"synced {number}"), started, listed), daemon=True)
    synced.start()
    started.wait(60)
    command = begun_online(volume)
    time.sleep(rng.random() * most)
    daemon.kill()
    daemon.detach()
    met = key_rotation.under_way(volume)
    out, err = command.communicate(timeout=60)
    lib.check(not met or command.returncode == 17 and "key rotate" in out,
              f"the command ended with {command.returncode} when the daemon was killed: {out[-500:]}{err}")
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
