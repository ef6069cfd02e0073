# SPDX-License-Identifier: Apache-2.0
"""A program that changes files, names, links and attributes at random and knows what must be there."""

import errno
import os
import random


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
