#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A full lower file system (ENOSPC), one that becomes read-only (EROFS), read-only mounts, and a
second daemon on a mounted volume."""

import contextlib
import errno
import os
import subprocess
import sys

import lib
from tamper_volume import content


def fill(top, kept):
    """Writes files until nothing fits. What was fsynced goes to `kept`."""
    for number in range(100000):
        path = os.path.join(top, f"fill{number}")
        data = content(200000, number)
        try:
            fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)
        except OSError as error:
            return error
        try:
            os.write(fd, data)
            os.fsync(fd)
            kept[path] = data
        except OSError as error:
            return error
        finally:
            with contextlib.suppress(OSError):
                os.close(fd)
    return None


def read(path):
    with open(path, "rb") as source:
        return source.read()


def full(scratch, mode):
    """ENOSPC is told, nothing acknowledged is lost, freed room can be used again."""
    failures = []
    lower = scratch.lower_fs("tmpfs", size="20m")
    volume = lib.Volume(scratch, os.path.join(lower, "volume"))
    daemon = volume.mount(scratch.file("mnt"), mode=mode)
    top = daemon.mountpoint
    kept = {}
    log = os.path.join(top, "log")
    with open(log, "wb") as out:
        out.write(b"first line\n")
        os.fsync(out.fileno())
    error = fill(top, kept)
    if error is None or error.errno != errno.ENOSPC:
        failures.append(f"full: {error} in place of ENOSPC")
    if len(kept) < 40:
        failures.append(f"only {len(kept)} files of 200,000 bytes fitted into 20 MB")
    # More attempts of every kind: each works or says ENOSPC.
    attempts = {
        "mkdir": lambda: os.mkdir(os.path.join(top, "d")),
        "symlink": lambda: os.symlink("x" * 3500, os.path.join(top, "s")),
        "append": lambda: append(log, b"x" * 100000),
        "truncate up": lambda: os.truncate(os.path.join(top, "log"), 10 ** 8),
        "setxattr": lambda: os.setxattr(log, "user.x", b"x" * 3000),
        "create": lambda: append(os.path.join(top, "late"), b"y" * 50000),
        "rename": lambda: os.rename(next(iter(kept)), next(iter(kept))),
        "overwrite": lambda: overwrite(next(iter(kept)), kept),
    }
    for what, attempt in attempts.items():
        try:
            attempt()
        except OSError as failure:
            if failure.errno != errno.ENOSPC:
                failures.append(f"full, {what}: {failure}")
    if not read(log).startswith(b"first line\n"):
        failures.append("full: an append that failed took the first line with it")
    for path, data in kept.items():
        if read(path) != data:
            failures.append(f"full: {os.path.basename(path)} was fsynced and has changed")
    paths = list(kept)
    for path in paths[:len(paths) // 2]:
        os.unlink(path)
        del kept[path]
    fresh = os.path.join(top, "fresh")
    data = content(1000000, "fresh")
    append(fresh, data)
    kept[fresh] = data
    daemon.unmount()
    daemon = volume.mount(daemon.mountpoint, mode=mode)
    for path, data in kept.items():
        if read(path) != data:
            failures.append(f"full, mounted again: {os.path.basename(path)} differs")
    unreadable = []
    for name in os.listdir(top):
        try:
            path = os.path.join(top, name)
            if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) < 10 ** 7:
                read(path)
        except OSError as failure:
            unreadable.append(f"{name}: {failure.strerror}")
    if unreadable:
        failures.append(f"full, unreadable afterwards: {unreadable[:5]}")
    daemon.unmount()
    return failures


def append(path, data):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def overwrite(path, kept):
    """Blocks that exist take new bytes although the disk is full."""
    data = content(8192, "over")
    fd = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(fd, data, 4096)
        os.fsync(fd)
    finally:
        os.close(fd)
    kept[path] = kept[path][:4096] + data + kept[path][12288:]


def changes(top):
    """name -> a call that would change something."""
    return {
        "create": lambda: os.open(os.path.join(top, "n"), os.O_CREAT | os.O_WRONLY),
        "mkdir": lambda: os.mkdir(os.path.join(top, "d")),
        "unlink": lambda: os.unlink(os.path.join(top, "f")),
        "rename": lambda: os.rename(os.path.join(top, "f"), os.path.join(top, "g")),
        "symlink": lambda: os.symlink("x", os.path.join(top, "s")),
        "link": lambda: os.link(os.path.join(top, "f"), os.path.join(top, "l")),
        "chmod": lambda: os.chmod(os.path.join(top, "f"), 0o600),
        "utime": lambda: os.utime(os.path.join(top, "f"), (1, 1)),
        "setxattr": lambda: os.setxattr(os.path.join(top, "f"), "user.y", b"1"),
        "truncate": lambda: os.truncate(os.path.join(top, "f"), 5),
        "write": lambda: append(os.path.join(top, "f"), b"more"),
    }


def expect_erofs(what, top, data):
    failures = []
    for name, change in changes(top).items():
        try:
            change()
            failures.append(f"{what}: {name} worked")
        except OSError as error:
            if error.errno != errno.EROFS:
                failures.append(f"{what}: {name}: {error.strerror} in place of EROFS")
    if read(os.path.join(top, "f")) != data:
        failures.append(f"{what}: the file does not read as before")
    return failures


def read_only(scratch, mode):
    failures = []
    lower = scratch.lower_fs("tmpfs", size="50m")
    volume = lib.Volume(scratch, os.path.join(lower, "volume"))
    daemon = volume.mount(scratch.file("mnt"), mode=mode)
    top = daemon.mountpoint
    data = content(30000, "f")
    append(os.path.join(top, "f"), data)
    os.makedirs(os.path.join(top, "d1", "d2"))
    append(os.path.join(top, "d1", "d2", "g"), data)
    daemon.unmount()
    # Mounted with --ro: every change is EROFS, and nothing below changes at all.
    before = state(volume.lower)
    age(volume.lower)
    daemon = volume.mount(top, mode=mode, read_only=True)
    failures += expect_erofs("--ro", top, data)
    for place, _, files in os.walk(top):
        for name in files:
            read(os.path.join(place, name))
    daemon.unmount()
    failures += [f"--ro: read below by its atime: {path}" for path in read_since(volume.lower)]
    if state(volume.lower) != before:
        failures.append("--ro: something changed below")
    # Read-only below: --ro works, a read-write mount is refused or turns read-only, clearly.
    subprocess.run(["mount", "-o", "remount,ro", lower], check=True)
    daemon = volume.mount(top, mode=mode, read_only=True)
    failures += expect_erofs("--ro on a read-only lower directory", top, data)
    daemon.unmount()
    try:
        daemon = volume.mount(scratch.file("mnt"), mode=mode)
        failures += expect_erofs("a read-only lower directory", daemon.mountpoint, data)
        daemon.unmount()
    except lib.TestFailed as refused:
        print(f"read-write mount of a read-only lower directory: {refused}"[:300])
        if "not after" in str(refused):
            failures.append("a read-only lower directory: the mount neither works nor fails")
    subprocess.run(["mount", "-o", "remount,rw", lower], check=True)
    # It becomes read-only while mounted (as ext4 does after an error).
    daemon = volume.mount(top, mode=mode)
    done = subprocess.run(["mount", "-o", "remount,ro", lower], capture_output=True, check=False)
    if done.returncode == 0:
        failures += expect_erofs("lower turned read-only", top, data)
        subprocess.run(["mount", "-o", "remount,rw", lower], check=True)
        append(os.path.join(top, "f"), b"writable again")
        if read(os.path.join(top, "f")) != data + b"writable again":
            failures.append("lower turned writable again: the append is wrong")
    else:
        print("the lower directory cannot turn read-only under an open volume")
    daemon.unmount()
    return failures


def state(root):
    found = {}
    for place, _, files in os.walk(root):
        for name in files:
            path = os.path.join(place, name)
            st = os.lstat(path)
            found[path] = (st.st_size, st.st_mtime_ns, read(path) if os.path.isfile(path) else None)
    return found


def age(root):
    """Gives everything an atime so old that reading it is noted, with relatime too."""
    for place, directories, files in os.walk(root, topdown=False):
        for name in directories + files:
            path = os.path.join(place, name)
            os.utime(path, ns=(1, os.lstat(path).st_mtime_ns), follow_symlinks=False)
    os.utime(root, ns=(1, os.lstat(root).st_mtime_ns))


def read_since(path):
    """What was read since age(). Looks at each atime before it changes it."""
    found = [path] if os.lstat(path).st_atime_ns != 1 else []
    if os.path.isdir(path):
        for entry in sorted(os.listdir(path)):
            found += read_since(os.path.join(path, entry))
    return found


def second_mount(scratch, mode):
    """A mounted volume is not mounted read-write twice."""
    volume = lib.Volume(scratch, os.path.join(scratch.lower_fs("tmpfs", size="50m"), "volume"))
    daemon = volume.mount(scratch.file("mnt"), mode=mode)
    failures = []
    other = scratch.file("mnt")
    try:
        second = volume.mount(other, mode=mode)
        failures.append("a second read-write mount of the volume worked")
        second.unmount()
    except lib.TestFailed as refused:
        print(f"second mount: {refused}"[:300])
    append(os.path.join(daemon.mountpoint, "f"), b"still works")
    daemon.unmount()
    return failures


def run():
    lib.need_mounts()
    lib.need_root()
    lib.program()
    failures = []
    for mode in (["auto", "regular"] if lib.peer() == "extencfs" else [None]):
        tests = [full] + ([read_only, second_mount] if lib.peer() == "extencfs" else [])
        for test in tests:
            with lib.Scratch() as scratch:
                try:
                    found = test(scratch, mode)
                except (OSError, lib.TestFailed) as error:
                    found = [f"{test.__name__}: {error}"]
            print(f"{test.__name__} (mode {mode}): {len(found)} failures", flush=True)
            failures += [f"mode {mode}: {failure}" for failure in found]
    return failures


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    lib.main(run)
