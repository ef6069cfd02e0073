#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Converts a volume that EncFS made in its own directory: killed again and again, on a disk that becomes full, with
what cannot be read, and compares everything.

    migrate_in_place.py [--files N] [--trials N] [--lower tmpfs|ext4] [--full]

With --lower ext4 it is killed only: there the numbers of removed inodes are given to new files."""

import argparse
import os
import random
import signal
import subprocess
import time

import lib
from migrate import OLD_PASSWORD, EncFS, compare, make_tree, manifest

HALF_MIGRATED = 29
LOCKED = 7
WORK, DONE = ".extencfs-migration", ".extencfs-migrated"
SPARE = 12 << 20  # bytes free beside the volume: far less than it takes twice


class InPlace:
    """One copy of the old volume, on a lower file system of its own."""

    kind = "tmpfs"

    def __init__(self, scratch, template, size="4g"):
        self.scratch = scratch
        self.disk = scratch.lower_fs(self.kind, size=size, options=",noatime")
        self.lower = os.path.join(self.disk, "volume")
        subprocess.run(["cp", "-a", template, self.lower], check=True)
        self.old_pass, self.new_pass = scratch.file("oldpass"), scratch.file("newpass")
        for path, password in ((self.old_pass, OLD_PASSWORD), (self.new_pass, lib.PASSWORD)):
            with open(path, "w") as out:
                out.write(password + "\n")

    def command(self, *words):
        return [lib.program(), "migrate", "--yes", "--passfile", self.old_pass, "--new-passfile", self.new_pass,
                "--kdf", "interactive", *words, "--in-place", self.lower]

    def run(self, *words):
        return subprocess.run(self.command(*words), capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL)

    def start(self):
        return subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)

    def has(self, name):
        return os.path.exists(os.path.join(self.lower, name))

    def wait_until_begun(self, process):
        while process.poll() is None and not self.has(WORK):
            time.sleep(0.0005)

    def mounted_manifest(self):
        class Made:
            scratch, lower, passfile = self.scratch, self.lower, self.new_pass
        daemon = lib.Daemon(Made, self.scratch.file("mnt"), read_only=True)
        found = manifest(daemon.mountpoint)
        daemon.unmount()
        return found

    def end(self):
        subprocess.run(["umount", "-l", self.disk], check=True)
        self.scratch.mounts.remove(self.disk)


def refusals(volume):
    """What others say of a volume that is half migrated."""
    failures = []
    mountpoint = volume.scratch.file("refused")
    os.mkdir(mountpoint)
    link = volume.scratch.file("links")
    os.mkdir(link)
    for name in ("encfs", "encfsctl"):
        os.symlink(lib.program(), os.path.join(link, name))
    for words in (["mount", "--passfile", volume.old_pass, volume.lower, mountpoint],
                  ["mount", "--passfile", volume.new_pass, "--ro", volume.lower, mountpoint],
                  ["mount", "--passfile", volume.old_pass, "-c", os.path.join(volume.lower, WORK, "old", ".encfs6.xml"),
                   volume.lower, mountpoint],
                  ["ls", "--passfile", volume.old_pass, volume.lower], ["info", volume.lower]):
        done = subprocess.run([lib.program(), *words], capture_output=True, text=True, check=False)
        if done.returncode != HALF_MIGRATED or "migrate --in-place" not in done.stderr or done.stderr.count("\n") != 1:
            failures.append(f"{words[0]} of what is half migrated: {done.returncode} {done.stderr}")
    for command in ([os.path.join(link, "encfs"), "--stdinpass", volume.lower, mountpoint],
                    [os.path.join(link, "encfsctl"), "info", volume.lower],
                    ["encfs", "--standard", "--stdinpass", volume.lower, mountpoint]):
        with open(volume.old_pass) as password:
            done = subprocess.run(command, stdin=password, capture_output=True, text=True, check=False)
        if done.returncode == 0 or lib.is_mounted(mountpoint):
            failures.append(f"{command} took what is half migrated: {done.stdout}{done.stderr}")
    return failures


def finish(volume, expected):
    failures = compare(expected, volume.mounted_manifest())
    done = subprocess.run([lib.program(), "migrate", "--yes", "--finish", volume.lower], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        failures.append(f"--finish: {done.returncode} {done.stderr}")
    left = [name for name in os.listdir(volume.lower) if name.startswith(".") or "," in name]
    if left:
        failures.append(f"left over: {left}")
    return failures + compare(expected, volume.mounted_manifest())


def killed(scratch, template, expected, trials):
    volume = InPlace(scratch, template)
    process = volume.start()
    volume.wait_until_begun(process)
    began = time.monotonic()
    lib.check(process.wait() == 0, "the migration failed")
    at_work = time.monotonic() - began
    failures = finish(volume, expected)
    volume.end()
    chance, kills, asked = random.Random(7), 0, False
    for _ in range(trials):
        volume = InPlace(scratch, template)
        for _ in range(6):
            process = volume.start()
            volume.wait_until_begun(process)
            if not volume.has(DONE):
                time.sleep(chance.uniform(0, 0.6 * at_work))
            kills += process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait()
            if volume.has(WORK) and not asked:
                asked = True
                failures += refusals(volume)
        done = volume.run("--verify")
        if done.returncode != 0:
            return failures + [f"the last run ended with {done.returncode}: {done.stdout}{done.stderr}"]
        failures += finish(volume, expected)
        volume.end()
    print(f"killed {kills} times at work, which takes {at_work:.2f} s")
    if kills < trials or not asked:
        failures.append("too few of the kills came while it was at work")
    return failures


def used_bytes(disk):
    space = os.statvfs(disk)
    return (space.f_blocks - space.f_bfree) * space.f_frsize


def fill(path):
    """Takes all room, in a file of its own."""
    with open(path, "ab", buffering=0) as out:
        for size in (1 << 20, 4096):
            try:
                while True:
                    out.write(bytes(size))
            except OSError:
                pass


def little_room(scratch, template, expected):
    """A disk that has room for the largest file and a little; then one that becomes full at work."""
    probe = InPlace(scratch, template)
    size = used_bytes(probe.disk) + SPARE
    probe.end()
    volume = InPlace(scratch, template, size=str(size))
    done = volume.run("--verify")
    if done.returncode != 0:
        return [f"with little room: {done.returncode} {done.stdout}{done.stderr}"]
    failures = finish(volume, expected)
    volume.end()
    full = 0
    for delay in (0.0, 0.01, 0.02, 0.04, 0.08):
        volume = InPlace(scratch, template, size=str(size))
        ballast = os.path.join(volume.disk, "ballast")
        process = subprocess.Popen(volume.command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        volume.wait_until_begun(process)
        time.sleep(delay)
        while process.poll() is None:
            fill(ballast)
            time.sleep(0.001)
        said = process.stderr.read()
        process.stderr.close()
        if process.returncode not in (0, 1) or "Traceback" in said or (process.returncode == 1 and "lost" not in said):
            failures.append(f"on a full disk: {process.returncode} {said}")
        full += process.returncode == 1
        if process.returncode == 1:
            again = volume.run()  # still full
            if again.returncode != 1 or "room" not in again.stderr:
                failures.append(f"still on a full disk: {again.returncode} {again.stderr}")
        if os.path.exists(ballast):
            os.unlink(ballast)
        done = volume.run()
        if done.returncode != 0:
            failures.append(f"with room again: {done.returncode} {done.stderr}")
        failures += finish(volume, expected)
        volume.end()
    print(f"the disk was full {full} times")
    return failures if full else failures + ["the disk was never full"]


def refused_before(scratch, template, expected):
    """A mount of EncFS's, another file system below; then it is begun, taken back, and is as it was."""
    failures = []
    volume = InPlace(scratch, template)
    mountpoint = scratch.file("mounted")
    os.mkdir(mountpoint)
    with open(volume.old_pass) as password:
        subprocess.run(["encfs", "--standard", "--stdinpass", volume.lower, mountpoint], stdin=password, check=True,
                       capture_output=True)
    done = volume.run()
    if done.returncode != LOCKED or "EncFS" not in done.stderr:
        failures.append(f"a volume that EncFS shows: {done.returncode} {done.stderr}")
    lib.wait_until("umount", lambda: subprocess.run(["umount", mountpoint], check=False,
                                                    stderr=subprocess.DEVNULL).returncode == 0, 20)
    lib.wait_until("the end of encfs", lambda: subprocess.run(
        ["pgrep", "-f", f"^encfs.*{volume.lower}"], check=False, stdout=subprocess.DEVNULL).returncode != 0, 20)
    inside = os.path.join(volume.lower, next(n for n in sorted(os.listdir(volume.lower))
                                             if os.path.isdir(os.path.join(volume.lower, n))))
    subprocess.run(["mount", "-t", "tmpfs", "none", inside], check=True)
    done = volume.run()
    subprocess.run(["umount", inside], check=True)
    if done.returncode != 6 or "file system" not in done.stderr:
        failures.append(f"another file system below: {done.returncode} {done.stderr}")
    before = os.stat(volume.lower)
    done = volume.run("--dry-run")
    if done.returncode != 0 or volume.has(WORK):
        failures.append(f"--dry-run: {done.returncode} {done.stderr}")
    process = volume.start()
    volume.wait_until_begun(process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = volume.run("--rollback")
    if done.returncode == 0:
        after = os.stat(volume.lower)
        if volume.has(WORK) or before.st_mtime_ns != after.st_mtime_ns:
            failures.append("--rollback left something")
    elif done.returncode != 6 or "taken back" not in done.stderr:
        failures.append(f"--rollback: {done.returncode} {done.stderr}")
    done = volume.run()
    if done.returncode != 0:
        failures.append(f"after --rollback: {done.returncode} {done.stderr}")
    failures += finish(volume, expected)
    volume.end()
    return failures


def damaged(scratch, template, expected):
    """What does not decode is named, stays, and opens with the old configuration; the rest is converted."""
    failures = []
    volume = InPlace(scratch, template)
    root = os.stat(volume.lower)
    with open(os.path.join(volume.lower, "not a name"), "w") as out:
        out.write("x")
    os.utime(volume.lower, ns=(root.st_atime_ns, root.st_mtime_ns))
    done = volume.run()
    if done.returncode != 26 or "not a name" not in done.stderr:
        failures.append(f"a stray name: {done.returncode} {done.stderr}")
    found = volume.mounted_manifest()
    failures += compare(expected, found)
    done = subprocess.run([lib.program(), "migrate", "--yes", "--finish", volume.lower], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0 or not volume.has("not a name") or not volume.has(".encfs6.xml"):
        failures.append(f"--finish removed what is left: {done.returncode} {done.stderr}")
    done = subprocess.run([lib.program(), "ls", "--passfile", volume.old_pass, "-c",
                           os.path.join(volume.lower, ".encfs6.xml"), volume.lower], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0 or done.stdout:
        failures.append(f"ls of what is left: {done.returncode} {done.stdout}{done.stderr}")
    volume.end()
    return failures


def run():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--lower", choices=("tmpfs", "ext4"), default="tmpfs")
    parser.add_argument("--full", action="store_true", help="10,000 files and 20 trials")
    options = parser.parse_args()
    if options.full:
        options.files, options.trials = 10_000, 20
    lib.need_root()
    lib.need_mounts()
    lib.need_tool("encfs")
    with lib.Scratch() as scratch:
        old = EncFS(scratch, os.path.join(scratch.lower_fs("tmpfs", options=",noatime"), "old"))
        with old.mounted() as top:
            make_tree(top, options.files)
        # EncFS remembers for a while what it knows of each name of a file.
        with old.mounted() as top:
            expected = manifest(top)
        failures = []
        InPlace.kind = options.lower
        for part in (killed, little_room, refused_before, damaged) if options.lower == "tmpfs" else (killed,):
            trials = [options.trials] if part is killed else []
            failures += [f"{part.__name__}: {one}" for one in part(scratch, old.lower, expected, *trials)]
        return failures


if __name__ == "__main__":
    lib.main(run)
