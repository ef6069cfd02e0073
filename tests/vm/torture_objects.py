# SPDX-License-Identifier: Apache-2.0
"""What torture.py changes and looks at: one class for each kind of change."""

import errno
import os
import random
import struct
from pathlib import Path

from guest import exchange, fresh_stat

ACL_DEFAULT = "system.posix_acl_default"
KINDS = []


def kind(cls):
    KINDS.append(cls)
    return cls


class Object:
    """A thing with one writer. change(v) makes version v out of v - 1; look() says what versions allow."""
    # Whether it can be listed with attributes while dentries are dropped. With a writeback cache the kernel (6.12,
    # any FUSE daemon) keeps the size and mtime by which it first learns of an inode, also those of a READDIRPLUS
    # that was answered before the file changed and its inode was dropped.
    listed = True

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
        """Calls read(call): (what call() returned, made before, begun after); read(call, True) if the kernel asks the
        file system each time. Returns a complaint or None, and the earliest version that what was seen can be of."""
        raise NotImplementedError


def within(what, seen, made, begun):
    return None if made <= seen <= begun else f"{what} of version {seen}, not of {made} to {begun}", seen


def phase(what, seen, state_of, made, begun):
    """`seen` is the state of some version from made to begun."""
    states = {}
    for version in range(made, min(begun, made + 8) + 1):
        states.setdefault(state_of(version), version)
    complaint = None if seen in states else f"{what} is {seen!r}, versions {made} to {begun} have {set(states)!r}"
    return complaint, states.get(seen, 0)


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
    listed = False

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
        (_, size, _), made, begun = read(lambda: fresh_stat(self.path), True)
        return within("size", size, made, begun)


@kind
class Timed(Object):
    listed = False

    def change(self, version):
        os.utime(self.path, ns=(version * 1000, version * 1000))

    def prepare(self):
        super().prepare()
        self.change(0)

    def look(self, read):
        (_, _, mtime), made, begun = read(lambda: fresh_stat(self.path), True)
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
        fresh = random.random() < 0.7
        mode, made, begun = read(lambda: fresh_stat(path)[0] if fresh else os.stat(path).st_mode, fresh)
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
            return f"name {number} is there, at {made} to {begun}", 0
        if not seen and made >= number > begun - 8:
            return f"name {number} is missing, at {made} to {begun}", 0
        return None, 0


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
    listed = False

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
        value, made, begun = read(lambda: os.getxattr(self.path, "user.version"), True)
        return within("user.version", int(value), made, begun)


@kind
class Listed(Object):
    def change(self, version):
        if version % 2:
            os.setxattr(self.path, "user.one", b"1")
        else:
            os.removexattr(self.path, "user.one")

    def look(self, read):
        seen, made, begun = read(lambda: "user.one" in os.listxattr(self.path), True)
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
