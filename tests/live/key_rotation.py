#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rotates the keys of a volume, killed again and again at random moments, and looks whether everything is as it was:
contents, holes, hard links, symlinks, modes, owners, times to the nanosecond, attributes, ACLs; and whether the
configuration of before opens anything yet.

--files and --kills say how much; --full is 10,000 files and 30 kills. --lower is where the volume lies.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time

import lib

SEED = int(os.environ.get("EXTENCFS_SEED", "0")) or random.randrange(1 << 30)
JOURNAL = "extencfs.rotation"


def contents(rng, kind):
    size = {0: 0, 1: rng.randrange(1, 200), 2: rng.randrange(3990, 4110), 3: rng.randrange(4000, 60_000)}.get(kind, 500)
    return rng.randbytes(size)


def build(root, files, rng):
    """One of everything, and many small files in a tree of directories."""
    directories = [root]
    for number in range(max(4, files // 20)):
        parent = rng.choice(directories[-30:])
        name = f"dir {number}" if number % 7 else "d" * 190 + str(number)
        path = os.path.join(parent, name)
        if len(os.path.relpath(path, root)) > 1500:
            continue
        os.mkdir(path, rng.choice((0o700, 0o755, 0o2775, 0o1777)))
        directories.append(path)
    made = []
    for number in range(files):
        name = f"file {number}" if number % 11 else "f" * 200 + str(number)
        path = os.path.join(rng.choice(directories), name)
        with open(path, "wb") as out:
            out.write(contents(rng, number % 5))
        os.chmod(path, rng.choice((0o600, 0o644, 0o444, 0o4755, 0o000)))
        made.append(path)
        if number % 9 == 0:
            os.setxattr(path, b"user.note", rng.randbytes(rng.randrange(0, 300)))
            os.setxattr(path, b"user.other", b"x")
        if number % 13 == 0:
            os.link(path, os.path.join(rng.choice(directories), f"hard link {number}"))
        if number % 10 == 0:
            link = os.path.join(rng.choice(directories), f"link {number}")
            os.symlink("../" * (number % 5) + f"target {number}" if number % 30 else "t/" * 1700, link)
            if number % 40 == 0:
                os.link(link, os.path.join(rng.choice(directories), f"same link {number}"), follow_symlinks=False)
        if os.geteuid() == 0 and number % 4 == 0:
            os.chown(path, number % 3000, number % 2000)
    for number in range(4):
        path = os.path.join(rng.choice(directories), f"sparse {number}")
        with open(path, "wb") as out:
            for _ in range(5):
                out.seek(rng.randrange(0, 40 << 20))
                out.write(rng.randbytes(rng.randrange(1, 200_000)))
            out.truncate(rng.randrange(40 << 20, 64 << 20))
    with open(os.path.join(root, "large"), "wb") as out:
        out.write(rng.randbytes(24 << 20))
    os.mkfifo(os.path.join(directories[-1], "fifo"))
    os.mkdir(os.path.join(root, "empty directory"))
    for path in directories[1::5]:
        os.setxattr(path, b"user.of a directory", b"y" * 100)
    if shutil.which("setfacl"):
        for path in made[::17] + directories[1::6]:
            if stat.S_IMODE(os.stat(path).st_mode):
                subprocess.run(["setfacl", "-m", "u:1234:rw,g:77:r", path], check=True)


def everything(root):
    yield root
    for place, directories, names in os.walk(root):
        for name in directories + names:
            yield os.path.join(place, name)


def set_times(root, rng):
    for path in sorted(everything(root), key=len, reverse=True):
        when = rng.randrange(10 ** 18, 17 * 10 ** 17)
        os.utime(path, ns=(when + 10 ** 9, when), follow_symlinks=False)


def attributes(root):
    """What lstat says; access times of regular files only, since looking moves the others."""
    seen, first = {}, {}
    for path in sorted(everything(root)):
        is_ = os.lstat(path)
        kind = stat.S_IFMT(is_.st_mode)
        name = os.path.relpath(path, root)
        seen[name] = (oct(is_.st_mode), is_.st_uid, is_.st_gid, is_.st_size if kind != stat.S_IFDIR else 0,
                      is_.st_nlink, is_.st_mtime_ns, is_.st_atime_ns if kind == stat.S_IFREG else 0,
                      is_.st_blocks if kind == stat.S_IFREG else 0, first.setdefault(is_.st_ino, name))
    return seen


def insides(root):
    seen = {}
    for path in everything(root):
        is_ = os.lstat(path)
        inside = b""
        if stat.S_ISREG(is_.st_mode):
            digest = hashlib.sha256()
            with open(path, "rb") as text:
                while block := text.read(1 << 20):
                    digest.update(block)
            inside = digest.digest()
        elif stat.S_ISLNK(is_.st_mode):
            inside = os.readlink(path).encode()
        names = [] if stat.S_ISLNK(is_.st_mode) else sorted(os.listxattr(path))
        seen[os.path.relpath(path, root)] = (inside, [(name, os.getxattr(path, name)) for name in names])
    return seen


def differences(what, before, after):
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield f"{what} of {name[-60:]!r}: {before.get(name)} became {after.get(name)}"


class Rotations:
    def __init__(self, volume, jobs):
        self.volume, self.jobs = volume, jobs
        self.finished = 0

    def start(self, lower=None):
        return subprocess.Popen([lib.program(), "key", "rotate", "--passfile", self.volume.passfile, "--yes", "--jobs",
                                 str(self.jobs), lower or self.volume.lower], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self, lower=None):
        process = self.start(lower)
        out, err = process.communicate(timeout=1800)
        lib.check(process.returncode == 0, f"rotate ended with {process.returncode}: {out}{err}")
        self.finished += 1

    def kill_after(self, unlocking, seconds):
        """Kills one `seconds` after it began to work, or just anywhere where that is negative. False where it was ready
        before."""
        waited = unlocking if under_way(self.volume) else 0.0
        process = self.start()
        while seconds >= 0 and process.poll() is None and not under_way(self.volume):
            time.sleep(0.002)
        try:
            process.communicate(timeout=waited + seconds if seconds >= 0 else unlocking * random.random())
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            return True
        lib.check(process.returncode == 0, f"rotate ended with {process.returncode}")
        self.finished += 1
        return False


def timed(act):
    began = time.monotonic()
    act()
    return time.monotonic() - began


def key_test(volume):
    subprocess.run([lib.program(), "key", "test", "--passfile", volume.passfile, volume.lower], check=True,
                   stdout=subprocess.DEVNULL)


def opens_nothing(scratch, volume, old_header):
    """A copy of the volume with the configuration of before shows no name at all."""
    lower = scratch.path("with the old configuration")
    subprocess.run(["cp", "-a", volume.lower, lower], check=True)
    for name in ("extencfs.conf", "extencfs.conf.bak"):
        shutil.copy(old_header, os.path.join(lower, name))
    done = subprocess.run([lib.program(), "ls", "--passfile", volume.passfile, lower], capture_output=True, text=True,
                          check=False)
    shutil.rmtree(lower)
    if done.stdout.strip():
        yield f"the old configuration shows {done.stdout[:200]!r}"


def refused_meanwhile(volume):
    done = subprocess.run([lib.program(), "ls", "--passfile", volume.passfile, volume.lower], capture_output=True,
                          text=True, check=False)
    lib.check(done.returncode == 28 and "key rotate" in done.stderr,
              f"a volume in rotation gave {done.returncode}: {done.stdout}{done.stderr}")


def on_a_full_disk(rotations, volume, place):
    """Without room, and with a little: it says so, and goes on once there is room."""
    filler = os.path.join(place, "filler")
    ends = []
    for leave in (0, 64 << 10, 512 << 10):
        with open(filler, "wb") as out:
            size, step = 0, 1 << 28
            while step >= 4096:
                try:
                    os.posix_fallocate(out.fileno(), size, step)
                    size += step
                except OSError:
                    step //= 2
            os.ftruncate(out.fileno(), size - leave)
            os.fsync(out.fileno())
        process = rotations.start()
        _, err = process.communicate(timeout=900)
        ends.append((process.returncode, under_way(volume)))
        if process.returncode:
            lib.check(process.returncode in (1, 6, 24) and "No space left" in err, f"on a full disk: {err}")
        os.unlink(filler)
        rotations.finish()
    print(f"on a full disk it ended with {ends} (code, under way)")
    lib.check(any(code for code, _ in ends), "the disk was not full enough: the test tests nothing")


def under_way(volume):
    with open(os.path.join(volume.lower, "extencfs.conf"), encoding="utf-8") as config:
        return "key-rotation" in config.read()


def export_header(volume, header):
    subprocess.run([lib.program(), "key", "export-header", volume.lower, header], check=True, stdout=subprocess.DEVNULL)


def run(options):
    rng = random.Random(SEED)
    print(f"seed {SEED}, {options.files} files, {options.kills} kills, {options.lower}")
    lib.need_mounts()
    lib.need_root()
    with lib.Scratch() as scratch:
        place = scratch.lower_fs(options.lower)
        volume = lib.Volume(scratch, os.path.join(place, "volume"))
        daemon = volume.mount()
        build(daemon.mountpoint, options.files, rng)
        before = insides(daemon.mountpoint)
        daemon.unmount()
        header = scratch.path("old header")
        export_header(volume, header)
        rotations = Rotations(volume, options.jobs)
        copy = os.path.join(place, "copy")
        subprocess.run(["cp", "-a", volume.lower, copy], check=True)
        unlocking = timed(lambda: key_test(volume))
        whole = timed(lambda: rotations.finish(copy))
        shutil.rmtree(copy)
        # Copying read everything.
        daemon = volume.mount()
        set_times(daemon.mountpoint, rng)
        daemon.unmount()
        daemon = volume.mount()
        shape = attributes(daemon.mountpoint)
        daemon.unmount()
        if options.lower == "ext4":
            on_a_full_disk(rotations, volume, place)
        killed = met = 0
        for _ in range(options.kills * 20):
            if killed == options.kills:
                break
            # A first run derives three keys, one that goes on one.
            work = max(whole - 3 * unlocking, 0.3)
            if rotations.kill_after(unlocking, -1 if rng.random() < 0.1 else rng.random() * work):
                killed += 1
                if under_way(volume):
                    met += 1
                    if met % 10 == 1:
                        refused_meanwhile(volume)
        rotations.finish()
        print(f"killed {killed} times, {met} of them under way; {rotations.finished} rotations ended; "
              f"one takes {whole:.1f} s, {unlocking:.1f} s of it to unlock")
        failures = []
        if met < options.kills // 2:
            failures.append("too few kills met a rotation under way: the test tests nothing")
        daemon = volume.mount()
        failures += differences("attributes", shape, attributes(daemon.mountpoint))
        failures += differences("contents", before, insides(daemon.mountpoint))
        daemon.unmount()
        failures += opens_nothing(scratch, volume, header)
        left = [name for name in os.listdir(volume.lower) if name.startswith((JOURNAL, "extencfs.r.", "extencfs.t."))]
        return failures + [f"{name} is left" for name in left]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=600)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--lower", choices=("tmpfs", "ext4"), default="ext4")
    parser.add_argument("--full", action="store_true")
    options = parser.parse_args()
    if options.full:
        options.files, options.kills = 10_000, 30
    sys.setrecursionlimit(10_000)
    lib.main(lambda: run(options))


if __name__ == "__main__":
    main()
