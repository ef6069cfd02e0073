#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Migrates a volume that EncFS made, kills the migration again and again, fills its disk, and compares everything.

    migrate.py [--files N] [--kills N] [--full]"""

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import stat
import subprocess
import time

import lib

OLD_PASSWORD = "the old one"
INCOMPLETE = 6
ACL = bytes.fromhex("02000000" "01000600ffffffff" "0200040007000000" "04000400ffffffff" "10000400ffffffff" "20000000ffffffff")


class EncFS:
    """A volume of EncFS 1.x on a lower file system that keeps access times as they are."""

    def __init__(self, scratch, lower):
        self.scratch = scratch
        self.lower = lower
        self.mountpoint = scratch.path("encfs")
        self.passfile = scratch.file("oldpass")
        with open(self.passfile, "w") as out:
            out.write(OLD_PASSWORD + "\n")
        os.makedirs(lower)
        os.makedirs(self.mountpoint)

    @contextlib.contextmanager
    def mounted(self):
        with open(self.passfile) as password:
            done = subprocess.run(["encfs", "--standard", "--stdinpass", self.lower, self.mountpoint], stdin=password,
                                  capture_output=True, text=True, check=False)
        lib.check(done.returncode == 0 and lib.is_mounted(self.mountpoint), f"encfs: {done.stdout}{done.stderr}")
        try:
            yield self.mountpoint
        finally:
            for _ in range(50):
                if subprocess.run(["umount", self.mountpoint], check=False, stderr=subprocess.DEVNULL).returncode == 0:
                    break
                time.sleep(0.1)


def content(number):
    size = [0, 1, 1023, 1024, 4096, 5000, 65536, 100000][number % 8]
    return random.Random(number).randbytes(size)


def make_tree(top, files):
    """Everything that a migration keeps."""
    for number in range(files):
        directory = os.path.join(top, f"dir {number % 17}", f"sub{number % 5}")
        os.makedirs(directory, exist_ok=True)
        path = os.path.join(directory, f"file {number}")
        with open(path, "wb") as out:
            out.write(content(number))
        os.chmod(path, [0o644, 0o400, 0o4755, 0o2711, 0o000][number % 5])
        os.chown(path, 1000 + number % 3, 2000)
        os.chmod(path, [0o644, 0o400, 0o4755, 0o2711, 0o000][number % 5])
        if number % 10 == 0:
            os.setxattr(path, "user.number", str(number).encode())
    with open(os.path.join(top, "sparse"), "wb") as out:
        out.seek(30_000_000)
        out.write(b"in the middle")
        out.truncate(50_000_000)
    odd = os.fsencode(os.path.join(top, "odd"))
    os.mkdir(odd)
    for name in [b"\xff\xfe", b"new\nline", b" ", "\u00fc\u4e16".encode(), b"n" * 140, b"-rf", b"*"]:
        with open(os.path.join(odd, name), "wb") as out:
            out.write(name)
    os.mkdir(os.path.join(top, "empty"))
    os.chmod(os.path.join(top, "empty"), 0o1777)
    os.symlink("sparse", os.path.join(top, "link"))
    os.symlink("nowhere/" + "x" * 100, os.path.join(top, "broken"))
    os.lchown(os.path.join(top, "broken"), 1234, 1234)
    first = os.path.join(top, "dir 0", "sub0", "file 0")
    os.link(first, os.path.join(top, "z second name"))
    os.link(first, os.path.join(top, "a third name"))
    os.mkfifo(os.path.join(top, "fifo"))
    os.mknod(os.path.join(top, "null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    try:
        os.setxattr(os.path.join(top, "sparse"), "system.posix_acl_access", ACL)
        os.setxattr(os.path.join(top, "empty"), "system.posix_acl_default", ACL)
    except OSError as error:
        print(f"no ACLs through this EncFS: {error}")
    for number, (parent, directories, names) in enumerate(os.walk(os.fsencode(top), topdown=False)):
        for name in names + [b"."]:
            path = os.path.join(parent, name)
            when = 1_500_000_000_000_000_000 + hash_of(path) % 10**17
            os.utime(path, ns=(when, when + 1), follow_symlinks=False)


def hash_of(path):
    return int.from_bytes(hashlib.sha256(path).digest()[:8], "big")


def look(path):
    is_ = os.lstat(path)
    seen = {"mode": oct(is_.st_mode), "owner": (is_.st_uid, is_.st_gid), "atime": is_.st_atime_ns, "mtime": is_.st_mtime_ns}
    if not stat.S_ISDIR(is_.st_mode):
        seen["links"] = is_.st_nlink
    if stat.S_ISLNK(is_.st_mode):
        seen["target"] = os.readlink(path)
        return seen
    seen["device"] = is_.st_rdev
    names = sorted(os.listxattr(path))
    seen["xattrs"] = {name: os.getxattr(path, name) for name in names
                      if name.startswith(("user.", "trusted.", "system.posix"))}
    if stat.S_ISREG(is_.st_mode):
        seen["size"] = is_.st_size
        with open(path, "rb") as source:
            seen["sha256"] = hashlib.file_digest(source, "sha256").hexdigest() if hasattr(hashlib, "file_digest") \
                else hashlib.sha256(source.read()).hexdigest()
        if is_.st_size > 10_000_000:
            seen["sparse"] = is_.st_blocks * 512 < 1_000_000
    return seen


def manifest(top):
    top = os.fsencode(top)
    seen, inodes = {}, {}
    for parent, directories, names in os.walk(top):
        for name in directories + names + [b"."]:
            path = os.path.normpath(os.path.join(parent, name))
            key = os.path.relpath(path, top)
            seen[key] = look(path)
            inodes.setdefault(os.lstat(path).st_ino, set()).add(key)
    for keys in inodes.values():
        for key in keys:
            seen[key]["same file"] = sorted(keys)
    return seen


def fingerprint(top):
    """Every byte and time of the lower files."""
    total = hashlib.sha256()
    for parent, directories, names in os.walk(os.fsencode(top)):
        directories.sort()
        for name in sorted(directories + names):
            path = os.path.join(parent, name)
            is_ = os.lstat(path)
            total.update(repr((path, is_.st_mode, is_.st_uid, is_.st_mtime_ns, is_.st_atime_ns, is_.st_ctime_ns)).encode())
            if stat.S_ISREG(is_.st_mode):
                with open(path, "rb") as source:
                    total.update(source.read())
    return total.hexdigest()


def compare(expected, found):
    failures = []
    for key in sorted(expected.keys() | found.keys()):
        if expected.get(key) != found.get(key):
            one, other = expected.get(key) or {}, found.get(key) or {}
            what = [word for word in one.keys() | other.keys() if one.get(word) != other.get(word)]
            failures.append(f"{key!r}: {what} {[(one.get(w), other.get(w)) for w in what]}")
    return failures


class Migration:
    def __init__(self, scratch, old, place):
        self.scratch = scratch
        self.old = old
        self.place = place
        self.before = self.at_work = 0.0  # seconds until it begins to write, and from then on; see measure()
        self.passfile = scratch.file("newpass")
        with open(self.passfile, "w") as out:
            out.write(lib.PASSWORD + "\n")

    def command(self, *words):
        return [lib.program(), "migrate", "--yes", "--passfile", self.old.passfile, "--new-passfile", self.passfile, *words,
                self.old.lower, self.place]

    def run(self, *words):
        return subprocess.run(self.command(*words), capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL)

    def start(self):
        return subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)

    def wait_until_it_writes(self, process):
        state = os.path.join(self.place, "extencfs.state")
        while process.poll() is None:
            with contextlib.suppress(OSError), open(state) as text:
                if text.read() == "dirty\n" and os.path.exists(os.path.join(self.place, "extencfs.conf")):
                    return
            time.sleep(0.001)

    def measure(self):
        """How long it takes here, by a whole run."""
        began = time.monotonic()
        process = self.start()
        self.wait_until_it_writes(process)
        writes = time.monotonic()
        if process.wait() != 0:
            raise lib.TestFailed("the migration failed")
        self.before, self.at_work = writes - began, time.monotonic() - writes
        shutil.rmtree(self.place)

    def run_and_kill(self, chance):
        """Kills it at a random moment; mostly once it has begun to write. True if it was still at work."""
        process = self.start()
        if chance.random() < 0.8:
            self.wait_until_it_writes(process)
            time.sleep(chance.uniform(0, 0.8 * self.at_work))
        else:
            time.sleep(chance.uniform(0, self.before))
        at_work = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        if not at_work:  # the next one has something to do again
            shutil.rmtree(self.place, ignore_errors=True)
        return at_work

    def mounted_manifest(self):
        class Made:
            scratch, lower, passfile = self.scratch, self.place, self.passfile
        daemon = lib.Daemon(Made, self.scratch.file("mnt"), read_only=True)
        found = manifest(daemon.mountpoint)
        daemon.unmount()
        return found


def killed(scratch, old, expected, options):
    lower = scratch.lower_fs("tmpfs", options=",noatime")
    migration = Migration(scratch, old, os.path.join(lower, "new"))
    migration.measure()
    chance = random.Random(5)
    at_work = 0
    for _ in range(options.kills):
        at_work += migration.run_and_kill(chance)
    print(f"killed {at_work} of {options.kills} times at work")
    failures = [] if at_work > options.kills // 3 else ["too few of the kills came while it was at work"]
    if os.path.exists(os.path.join(migration.place, "extencfs.migration")):
        done = subprocess.run([lib.program(), "mount", "--passfile", migration.passfile, migration.place,
                               scratch.mountpoint], capture_output=True, text=True, check=False)
        if done.returncode != INCOMPLETE or "migrate" not in done.stderr:
            failures.append(f"mount of a half-made volume: {done.returncode} {done.stderr}")
    done = migration.run("--verify")
    if done.returncode != 0:
        return failures + [f"the last run ended with {done.returncode}: {done.stdout}{done.stderr}"]
    print(done.stdout)
    failures += compare(expected, migration.mounted_manifest())
    done = subprocess.run([lib.program(), "migrate", "--yes", "--finish", migration.place], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        failures.append(f"--finish: {done.stderr}")
    return failures + compare(expected, migration.mounted_manifest())


def full(scratch, old, expected):
    lower = scratch.lower_fs("tmpfs", size="4m", options=",noatime")
    migration = Migration(scratch, old, os.path.join(lower, "new"))
    failures = []
    done = migration.run()
    if done.returncode != 1 or "full" not in done.stderr:
        failures.append(f"on a full disk: {done.returncode} {done.stderr}")
    subprocess.run(["mount", "-o", "remount,size=4g", lower], check=True)
    done = migration.run()
    if done.returncode != 0:
        return failures + [f"with room again: {done.returncode} {done.stderr}"]
    failures += compare(expected, migration.mounted_manifest())
    done = subprocess.run([lib.program(), "migrate", "--yes", "--rollback", migration.place], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0 or os.path.exists(migration.place):
        failures.append(f"--rollback: {done.returncode} {done.stderr}")
    return failures


def damaged(scratch, old):
    """A lower name that is none of the volume's is told, with exit code 26; everything else is copied."""
    lower = scratch.lower_fs("tmpfs", options=",noatime")
    migration = Migration(scratch, old, os.path.join(lower, "new"))
    stray = os.path.join(old.lower, "not a name")
    with open(stray, "w") as out:
        out.write("x")
    done = migration.run()
    os.unlink(stray)
    if done.returncode != 26 or "not a name" not in done.stderr:
        return [f"a stray name: {done.returncode} {done.stderr}"]
    return []


def run():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--full", action="store_true", help="10,000 files and 50 kills")
    options = parser.parse_args()
    if options.full:
        options.files, options.kills = 10_000, 50
    lib.need_root()
    lib.need_mounts()
    lib.need_tool("encfs")
    with lib.Scratch() as scratch:
        scratch.mountpoint = scratch.path("refused")
        os.mkdir(scratch.mountpoint)
        old = EncFS(scratch, os.path.join(scratch.lower_fs("tmpfs", options=",noatime"), "old"))
        with old.mounted() as top:
            make_tree(top, options.files)
        # EncFS remembers for a while what it knows of each name of a file.
        with old.mounted() as top:
            expected = manifest(top)
        before = fingerprint(old.lower)
        failures = killed(scratch, old, expected, options)
        failures += full(scratch, old, expected)
        if fingerprint(old.lower) != before:
            failures.append("the old volume was changed")
        return failures + damaged(scratch, old)


if __name__ == "__main__":
    lib.main(run)
