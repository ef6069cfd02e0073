#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""In the guest: several processes change a real volume while others look; whatever they see must be linearizable.

Each object has one writer and a version that only grows. A writer publishes, in shared memory, the version that it is
about to make, and after the change the same one as made. A reader takes `made` before its call and `begun` after it:
what it sees must be a version from the one to the other.

Environment: SECONDS (90) for both rounds together, the default size of the maps and the smallest one.
"""

import contextlib
import errno
import mmap
import os
import random
import signal
import struct
import sys
import time
from pathlib import Path

from guest import Volume, drop_caches, equal, exchange, expect, fresh_stat, run_checks, wait_for

SECONDS = float(os.environ.get("SECONDS", "90"))
READERS, OBJECTS, FILLERS = 4, 2, 2600
ACL_ACCESS, ACL_DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
KINDS = []


def kind(cls):
    KINDS.append(cls)
    return cls


class Object:
    """A thing with one writer. change(v) makes version v out of v - 1; look() says what versions allow."""

    def __init__(self, top, index):
        self.top = top / f"{type(self).__name__}{index}"
        self.top.mkdir()
        self.path = str(self.top / "it")
        self.prepare()

    def prepare(self):
        Path(self.path).write_bytes(b"")

    def change(self, version):
        raise NotImplementedError

    def look(self, read):
        """Calls read(call): (what call() returned, made before, begun after). Returns a complaint, or None."""
        raise NotImplementedError


def within(what, seen, made, begun):
    return None if made <= seen <= begun else f"{what} of version {seen}, not of {made} to {begun}"


def phase(what, seen, state_of, made, begun):
    """`seen` is the state of some version from made to begun."""
    states = {state_of(version) for version in range(made, min(begun, made + 8) + 1)}
    return None if seen in states else f"{what} is {seen!r}, versions {made} to {begun} have {states!r}"


def exists(path):
    try:
        os.lstat(path)
        return True
    except FileNotFoundError:
        return False


def has_xattr(path, name):
    try:
        os.getxattr(path, name)
        return True
    except OSError as failure:
        if failure.errno != errno.ENODATA:
            raise
        return False


@kind
class Written(Object):
    """A file that grows by writes, some of them synced, and by truncate."""
    def change(self, version):
        if version % 3:
            with open(self.path, "ab") as file:
                file.write(b"x")
                if version % 2:
                    file.flush()
                    os.fsync(file.fileno())
        else:
            os.truncate(self.path, version)

    def look(self, read):
        (_, size, _), made, begun = read(lambda: fresh_stat(self.path))
        return within("size", size, made, begun)


@kind
class Timed(Object):
    def change(self, version):
        os.utime(self.path, ns=(version * 1000, version * 1000))

    def prepare(self):
        super().prepare()
        self.change(0)

    def look(self, read):
        (_, _, mtime), made, begun = read(lambda: fresh_stat(self.path))
        return within("mtime", mtime // 1000, made, begun)


@kind
class Moded(Object):
    """chmod, looked at by path, by another name, and by descriptor."""
    def prepare(self):
        super().prepare()
        os.chmod(self.path, 0)
        os.link(self.path, self.path + "2")

    def change(self, version):
        os.chmod(self.path + ("2" if version % 4 == 0 else ""), version % 512)

    def look(self, read):
        path = self.path + random.choice(("", "2"))
        call = random.choice((lambda: os.stat(path).st_mode, lambda: fresh_stat(path)[0]))
        mode, made, begun = read(call)
        return phase("mode", mode & 0o777, lambda version: version % 512, made, begun)


@kind
class Named(Object):
    """Created and unlinked."""
    def prepare(self):
        pass

    def change(self, version):
        if version % 2:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        else:
            os.unlink(self.path)

    def look(self, read):
        seen, made, begun = read(lambda: exists(self.path))
        return phase("presence", seen, lambda version: version % 2 == 1, made, begun)


@kind
class Fresh(Object):
    """Names that were never there before: n1, n2, ...; the last eight stay. The first lookup of each is nobody's
    cache's, so the maps (the directory was made here, and is complete) or the daemon must know."""
    def prepare(self):
        pass

    def change(self, version):
        os.close(os.open(self.path + str(version), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        if version > 8:
            os.unlink(self.path + str(version - 8))

    def look(self, read):
        number = 1 + random.randrange(20)
        (seen, number), made, begun = read(lambda made: (exists(self.path + str(max(1, made - 11 + number))),
                                                         max(1, made - 11 + number)))
        if seen and not made - 8 < number <= begun:
            return f"name {number} is there, at {made} to {begun}"
        if not seen and made >= number > begun - 8:
            return f"name {number} is missing, at {made} to {begun}"
        return None


@kind
class Renamed(Object):
    """Moves to and fro between two directories."""
    def prepare(self):
        (self.top / "other").mkdir()
        super().prepare()
        self.places = (self.path, str(self.top / "other" / "it"))

    def change(self, version):
        os.rename(self.places[(version - 1) % 2], self.places[version % 2])

    def look(self, read):
        place = random.randrange(2)
        seen, made, begun = read(lambda: exists(self.places[place]))
        return phase("presence", seen, lambda version: version % 2 == place, made, begun)


@kind
class Replaced(Object):
    """Another file is renamed onto it each time: it always exists."""
    def change(self, version):
        with open(self.path + "new", "wb") as file:
            file.truncate(version)
        os.rename(self.path + "new", self.path)

    def look(self, read):
        call = random.choice((lambda: os.stat(self.path).st_size, lambda: fresh_stat(self.path)[1]))
        size, made, begun = read(call)
        return within("size", size, made, begun)


@kind
class Exchanged(Object):
    def prepare(self):
        super().prepare()
        Path(self.path + "2").write_bytes(b"x")

    def change(self, version):
        exchange(self.path, self.path + "2")

    def look(self, read):
        size, made, begun = read(lambda: os.stat(self.path).st_size)
        return phase("size", size, lambda version: version % 2, made, begun)


@kind
class Linked(Object):
    def change(self, version):
        if version % 2:
            os.link(self.path, self.path + "2")
        else:
            os.unlink(self.path + "2")

    def look(self, read):
        if random.random() < 0.5:
            seen, made, begun = read(lambda: exists(self.path + "2"))
            return phase("presence", seen, lambda version: version % 2 == 1, made, begun)
        links, made, begun = read(lambda: os.stat(self.path).st_nlink)
        return phase("links", links, lambda version: 1 + version % 2, made, begun)


@kind
class Attributed(Object):
    """A value that grows, and a second attribute that comes and goes."""
    def prepare(self):
        super().prepare()
        os.setxattr(self.path, "user.version", b"0")

    def change(self, version):
        os.setxattr(self.path, "user.version", b"%d" % version)

    def look(self, read):
        value, made, begun = read(lambda: os.getxattr(self.path, "user.version"))
        return within("user.version", int(value), made, begun)


@kind
class Listed(Object):
    def change(self, version):
        if version % 2:
            os.setxattr(self.path, "user.one", b"1")
        else:
            os.removexattr(self.path, "user.one")

    def look(self, read):
        seen, made, begun = read(lambda: "user.one" in os.listxattr(self.path))
        return phase("listed", seen, lambda version: version % 2 == 1, made, begun)


@kind
class Acl(Object):
    """A default ACL, of a directory; an access ACL would be the kernel's to keep."""
    VALUE = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, 5, who) for tag, who in (
        (1, 2**32 - 1), (2, 1234), (4, 2**32 - 1), (0x10, 2**32 - 1), (0x20, 2**32 - 1)))

    def prepare(self):
        os.mkdir(self.path)

    def change(self, version):
        if version % 2:
            os.setxattr(self.path, ACL_DEFAULT, self.VALUE)
        else:
            os.removexattr(self.path, ACL_DEFAULT)

    def look(self, read):
        seen, made, begun = read(lambda: has_xattr(self.path, ACL_DEFAULT))
        return phase("default ACL", seen, lambda version: version % 2 == 1, made, begun)


@kind
class Directory(Object):
    """mkdir, a file in it, unlink, rmdir."""
    def prepare(self):
        pass

    def change(self, version):
        [lambda: os.rmdir(self.path), lambda: os.mkdir(self.path), lambda: os.mknod(self.path + "/a"),
         lambda: os.unlink(self.path + "/a")][version % 4]()

    def look(self, read):
        if random.random() < 0.5:
            seen, made, begun = read(lambda: exists(self.path + "/a"))
            return phase("file", seen, lambda version: version % 4 == 2, made, begun)
        seen, made, begun = read(lambda: exists(self.path))
        return phase("directory", seen, lambda version: version % 4 != 0, made, begun)


# --- Processes

class Shared:
    """Version counters for each object, then counters of looks; each word has one writer."""

    def __init__(self, objects):
        self.words = memoryview(mmap.mmap(-1, 8 * (2 * objects + 64))).cast("Q")
        self.looks = 2 * objects

    def begin(self, index, version):
        self.words[2 * index] = version

    def end(self, index, version):
        self.words[2 * index + 1] = version

    def begun(self, index):
        return self.words[2 * index]

    def made(self, index):
        return self.words[2 * index + 1]


def write_forever(objects, shared, indices):
    while True:
        index = random.choice(indices)
        version = shared.begun(index) + 1
        shared.begin(index, version)
        objects[index].change(version)
        shared.end(index, version)


def read_forever(objects, shared, number, complain):
    while True:
        index = random.randrange(len(objects))

        def read(call, index=index):
            made = shared.made(index)
            seen = call(made) if call.__code__.co_argcount == 1 else call()
            return seen, made, shared.begun(index)
        complaint = objects[index].look(read)
        shared.words[shared.looks + number] += 1
        if complaint:
            complain(f"{type(objects[index]).__name__}: {complaint}")


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


def start(what, *arguments, complain):
    child = os.fork()
    if child:
        return child
    try:
        random.seed(os.getpid())
        what(*arguments)
    except BaseException as failure:  # also what no reader should ever get, as ENOENT or ESTALE
        complain(f"{what.__name__}: {failure!r} in {failure.__traceback__.tb_next.tb_next or ''}")
    os._exit(1)


def torture(seconds, *options, fillers):
    volume = Volume()
    complaints = volume.log.with_name("complaints")
    with volume.mounted(*options) as top:
        if fillers:
            (top / "filler").mkdir()
            for number in range(FILLERS):
                os.mknod(top / "filler" / str(number))
        objects = [cls(top, index) for index in range(OBJECTS) for cls in KINDS]
        shared = Shared(len(objects))
        log = os.open(complaints, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

        def complain(text):
            os.write(log, text.encode() + b"\n")
        children = []
        for part in range(2):
            children.append(start(write_forever, objects, shared, range(part, len(objects), 2), complain=complain))
        for number in range(READERS):
            children.append(start(read_forever, objects, shared, number, complain, complain=complain))
        children.append(start(disturb_forever, top, complain=complain))
        end = time.monotonic() + seconds
        while time.monotonic() < end and not complaints.stat().st_size:
            time.sleep(0.2)
        time.sleep(0.5)
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)
        said = complaints.read_text().splitlines()
        expect(not said, f"{len(said)} complaints:\n  " + "\n  ".join(said[:12]))
        stats = volume.stats()
        served = {name: count for name, count in stats["served_in_kernel"].items()}
        changes = [sum(shared.made(i) for i, o in enumerate(objects) if isinstance(o, cls)) for cls in KINDS]
        looks = sum(shared.words[shared.looks:shared.looks + READERS])
        expect(min(changes) > 5 and looks > 500, f"too little was done: {changes} changes, {looks} looks")
        expect(all(served.get(name, 0) > 50 for name in ("LOOKUP", "GETATTR", "GETXATTR")), f"served {served}")
        os.sync()

        def only_the_root():
            drop_caches()
            return volume.stats()["nodes"] == 1
        wait_for(only_the_root, "all nodes forgotten")
        volume.unmount()
    equal(volume.daemon_pid(), None, "daemon")
    return f"{sum(changes)} changes, {looks} looks, served {served}, log {volume.log.read_text()[:300]!r}"


def default_maps():
    return torture(SECONDS / 2, fillers=False)


def smallest_maps():
    return torture(SECONDS / 2, "--map-mb", "1", fillers=True)


if __name__ == "__main__":
    sys.exit(run_checks([default_maps, smallest_maps]))
