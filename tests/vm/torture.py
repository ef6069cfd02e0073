#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""In the guest: several processes change a real volume while others look; whatever they see must be linearizable.

Each object has one writer and a version that only grows. A writer publishes, in shared memory, the version that it is
about to make, and after the change the same one as made. A reader takes `made` before its call and `begun` after it:
what it sees must be a version from the one to the other.

What one reader saw counts as made for whoever starts to look later, where the kernel asks each time.

Meanwhile dentries are dropped, directories listed, the programs taken off the mount and put back each second, and a
second volume comes and goes: unmounted in order and while busy, its daemon killed. In a third round the daemon of the
tortured volume is killed again and again. If slow_calls.so is there, the daemon sleeps after some of its lower calls.

Environment: SECONDS (90) for all rounds together: the default size of the maps, the smallest one, kills.
"""

import contextlib
import errno
import mmap
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from guest import (Attachment, Volume, bpf_map_count, drop_caches, equal, expect, extencfs, fresh_stat, is_mounted,
                   run_checks, wait_for)
from torture_objects import KINDS, Replaced, Timed, Written, exists

SECONDS = float(os.environ.get("SECONDS", "90"))
READERS, OBJECTS, FILLERS = 4, 2, 2600
DEAD = (errno.ENOTCONN, errno.ECONNABORTED)
SLOW_CALLS = Path(__file__).resolve().with_name("slow_calls.so")


# --- Processes

class Shared:
    """Version counters for each object: begun, made, and what each reader saw; then counters of what was done. Each
    word has one writer."""

    def __init__(self, objects):
        self.each = 2 + READERS
        self.done = self.each * objects
        self.words = memoryview(mmap.mmap(-1, 8 * (self.done + 64))).cast("Q")

    def begin(self, index, version):
        self.words[self.each * index] = version

    def end(self, index, version):
        self.words[self.each * index + 1] = version

    def saw(self, index, number, version):
        word = self.each * index + 2 + number
        self.words[word] = max(self.words[word], version)

    def begun(self, index):
        return self.words[self.each * index]

    def made(self, index):
        return self.words[self.each * index + 1]

    def made_or_seen(self, index):
        return max(self.words[self.each * index + 1:self.each * (index + 1)])

    def count(self, what):
        self.words[self.done + what] += 1

    def counted(self, what):
        return self.words[self.done + what]


TOGGLES, COMINGS = READERS, READERS + 1  # counters, after the readers' looks


def write_forever(objects, shared, indices):
    while True:
        index = random.choice(indices)
        version = shared.begun(index) + 1
        shared.begin(index, version)
        objects[index].change(version)
        shared.end(index, version)


def look_at(objects, shared, index):
    """One look: its complaint, and the earliest version it can be of if the kernel asks the file system each time."""
    asked = False

    def read(call, fresh=False):
        nonlocal asked
        asked = fresh
        made = shared.made_or_seen(index) if fresh else shared.made(index)
        seen = call(made) if call.__code__.co_argcount == 1 else call()
        return seen, made, shared.begun(index)
    complaint, version = objects[index].look(read)
    return complaint and f"{type(objects[index]).__name__}: {complaint}", version if asked else 0


def read_forever(objects, shared, number, complain):
    while True:
        index = random.randrange(len(objects))
        complaint, version = look_at(objects, shared, index)
        shared.saw(index, number, version)
        shared.count(number)
        if complaint:
            complain(complaint)


def list_forever(objects):
    """With attributes (READDIRPLUS): looks of the daemon's that no record answers."""
    tops = [each.top for each in objects if each.listed]
    while True:
        os.listdir(random.choice(tops))
        time.sleep(random.random() / 10)


def disturb_forever(top):
    """Drops dentries, and walks over more files than the smallest maps have slots for."""
    for number in range(10**9):
        drop_caches()
        time.sleep(random.random() / 5)
        if number % 4 == 0:
            os.listdir(top)
        for _ in range(60):
            with contextlib.suppress(FileNotFoundError):
                os.lstat(top / "filler" / str(random.randrange(FILLERS + 50)))


def toggle_forever(volume, shared):
    """Each second the programs are taken off the mount and put back."""
    programs = Attachment(volume)
    while True:
        time.sleep(random.random() / 4)
        programs.attach()
        time.sleep(0.5 + random.random() / 2)
        programs.detach()
        shared.count(TOGGLES)


def refused_unmount(mountpoint):
    code, said = extencfs("unmount", mountpoint)
    expect(code != 0 and is_mounted(mountpoint), f"unmounted while busy: {code}, {said}")


def come_and_go_forever(volume, busy, shared):
    """A second volume: unmounted in order, tried to unmount while busy, its daemon killed under load. Neither it nor
    the tortured one, `busy`, is let go while somebody has a file open there, nor is the module."""
    os.nice(-15)  # a mount takes seconds of an emulated processor: its password's key
    for number in range(10**9):
        code, said = volume.try_mount()
        equal(code, 0, f"mount of the second volume ({said})")
        path = volume.mountpoint / "file"
        path.write_bytes(b"x" * number)
        expect(fresh_stat(path)[1] == number == os.stat(path).st_size, "size on the second volume")
        if number % 3 == 0:
            pass
        elif number % 3 == 1:
            with open(path, "rb"):
                refused_unmount(volume.mountpoint)
        else:
            loads = [start(use_until_dead, volume.mountpoint, complain=lambda _: None) for _ in range(2)]
            time.sleep(random.random())
            os.kill(volume.daemon_pid(), signal.SIGKILL)
            for load in loads:
                equal(os.waitstatus_to_exitcode(os.waitpid(load, 0)[1]), 0, "the load's status")
            subprocess.run(["umount", volume.mountpoint], check=True)
        if number % 3 != 2:
            volume.unmount()
        shared.count(COMINGS)
        refused_unmount(busy)
        done = subprocess.run(["rmmod", "extfuse"], capture_output=True, text=True, check=False)
        expect(done.returncode != 0 and "in use" in done.stderr, f"rmmod: {done.returncode}, {done.stderr}")
        time.sleep(2 + 4 * random.random())


def use_until_dead(top):
    """Creates, looks, unlinks, until the daemon is killed; then nothing answers."""
    name = str(top / f"load{os.getpid()}-")
    try:
        for number in range(10**9):
            os.close(os.open(name + str(number), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            os.chmod(name + str(number), 0o400)
            equal(fresh_stat(name + str(number))[0] & 0o777, 0o400, "mode")
            if number % 2:
                os.unlink(name + str(number))
                expect(not exists(name + str(number)), "an unlinked name")
    except OSError as failure:
        if failure.errno not in DEAD:
            raise


def start(what, *arguments, complain):
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        random.seed(os.getpid())
        what(*arguments)
        status = 0
    except BaseException as failure:  # also what no reader should ever get, as ENOENT or ESTALE
        complain(f"{what.__name__}: {failure!r} in {failure.__traceback__.tb_next.tb_next or ''}")
    os._exit(status)


def mounted(volume, *options):
    return volume.mounted(*options, preload=SLOW_CALLS if SLOW_CALLS.exists() else None)


class Crowd:
    """Processes that torture a volume, and what they complain of."""

    def __init__(self, volume, objects, shared):
        self.objects, self.shared, self.children = objects, shared, []
        self.complaints = volume.log.with_name("complaints")
        self.log = os.open(self.complaints, os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_WRONLY)
        for part in range(2):
            self.add(write_forever, objects, shared, range(part, len(objects), 2))
        for number in range(READERS):
            self.add(read_forever, objects, shared, number, self.complain)
        self.add(list_forever, objects)

    def complain(self, text):
        os.write(self.log, text.encode() + b"\n")

    def add(self, *what):
        self.children.append(start(*what, complain=self.complain))

    def work(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.complaints.stat().st_size:
            time.sleep(0.2)

    def end(self):
        for child in self.children:
            os.kill(child, signal.SIGKILL)
        for child in self.children:
            os.waitpid(child, 0)
        os.close(self.log)
        return self.complaints.read_text().splitlines()


def torture(seconds, *options, fillers):
    volume, second = Volume(), Volume()
    with mounted(volume, *options) as top:
        if fillers:
            (top / "filler").mkdir()
            for number in range(FILLERS):
                os.mknod(top / "filler" / str(number))
        (top / "held").write_bytes(b"")
        objects = [cls(top, index) for index in range(OBJECTS) for cls in KINDS]
        shared = Shared(len(objects))
        with open(top / "held", "rb"):
            crowd = Crowd(volume, objects, shared)
            crowd.add(disturb_forever, top)
            crowd.add(toggle_forever, volume, shared)
            crowd.add(come_and_go_forever, second, top, shared)
            crowd.work(seconds)
            time.sleep(0.5)
            said = crowd.end()
        second.give_up()
        expect(not said, f"{len(said)} complaints:\n  " + "\n  ".join(said[:12]))
        stats = volume.stats()
        served = stats["served_in_kernel"]
        changes = [sum(shared.made(i) for i, o in enumerate(objects) if isinstance(o, cls)) for cls in KINDS]
        looks = sum(shared.counted(number) for number in range(READERS))
        toggles, comings = shared.counted(TOGGLES), shared.counted(COMINGS)
        expect(min(changes) > 5 and looks > 500, f"too little was done: {changes} changes, {looks} looks")
        expect(all(served.get(name, 0) > 5 for name in ("LOOKUP", "GETATTR", "GETXATTR")), f"served {served}")
        expect(toggles > 3 and comings > 0, f"attached {toggles} times, {comings} mounts of the second volume")
        os.sync()

        def only_the_root():
            drop_caches()
            return volume.stats()["nodes"] == 1
        wait_for(only_the_root, "all nodes forgotten")
        volume.unmount()
    equal(volume.daemon_pid(), None, "daemon")
    wait_for(lambda: bpf_map_count() == 0, "the maps' end")
    return (f"{sum(changes)} changes, {looks} looks, {toggles} times attached, {comings} mounts of a second volume, "
            f"served {served}, log {volume.log.read_text()[:300]!r}")


def default_maps():
    return torture(SECONDS * 0.4, fillers=False)


def smallest_maps():
    return torture(SECONDS * 0.4, "--map-mb", "1", fillers=True)


def kills():
    """What was acknowledged is there after each kill and mount; what was begun is there or not."""
    volume, end, rounds, changes, looks = Volume(), time.monotonic() + SECONDS * 0.2, 0, 0, 0
    # What waits in the kernel to be written is lost with the daemon.
    lasting = [cls for cls in KINDS if cls not in (Written, Timed, Replaced)]
    while time.monotonic() < end or not rounds:
        with mounted(volume) as top:
            area = top / str(rounds)
            area.mkdir()
            objects = [cls(area, 0) for cls in lasting]
            shared = Shared(len(objects))
            crowd = Crowd(volume, objects, shared)
            crowd.work(1 + 3 * random.random())
            early = crowd.complaints.read_text()
            expect(not early, f"complaints before the daemon was killed: {early[:500]}")
            os.kill(volume.daemon_pid(), signal.SIGKILL)
            time.sleep(0.5)
            for line in crowd.end():
                expect(any(f"Error({number}, " in line for number in DEAD), f"after the kill: {line}")
            wait_for(lambda: bpf_map_count() == 0, "the maps' end")
            subprocess.run(["umount", top], check=True)
        with volume.mounted() as top:
            for index in range(len(objects)):
                for _ in range(4):
                    complaint, _ = look_at(objects, shared, index)
                    expect(not complaint, f"after a kill: {complaint}")
            changes += sum(shared.made(index) for index in range(len(objects)))
            looks += sum(shared.counted(number) for number in range(READERS))
        rounds += 1
    return f"{rounds} kills, {changes} changes, {looks} looks"


if __name__ == "__main__":
    sys.exit(run_checks([default_maps, smallest_maps, kills]))
