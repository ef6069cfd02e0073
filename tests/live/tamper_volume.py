# SPDX-License-Identifier: Apache-2.0
"""The volume that is attacked: makes files, finds their lower files, and judges what a mount shows.

Many victims share one mount, each attacked in its own way. A victim's lower file is found by its
modification time, which is the same above and below: each gets a time of its own.
"""

import errno
import os
import random

import lib
from tamper_layout import BLOCK, blocks

FIRST_TIME = 1_000_000_000
# ESTALE: the header and the size told to the kernel differ (FORMAT.md "Size hint").
REFUSED = (errno.EIO, errno.ESTALE)


def content(length, seed):
    return random.Random(seed).randbytes(length)


class Victim:
    def __init__(self, volume, name, kind):
        self.volume = volume
        self.name = name        # path on the mount
        self.kind = kind
        self.stamp = volume.next_stamp()
        self.data = b""
        self.lower = None       # set by Attacked.find()


class Attacked:
    """Victims in one volume. build() with the volume mounted, find() when it no longer is."""

    def __init__(self, scratch, init_options=()):
        lower = scratch.lower_fs("tmpfs", size="3g")
        self.scratch = scratch
        self.volume = lib.Volume(scratch, os.path.join(lower, "volume"), init_options)
        self.root = self.volume.lower
        self.victims = []
        self.failures = []
        self._stamp = FIRST_TIME
        self.daemon = self.volume.mount()

    def next_stamp(self):
        self._stamp += 1
        return self._stamp

    def upper(self, name):
        return os.path.join(self.daemon.mountpoint, name)

    # ---- building ----
    def add(self, name, kind):
        victim = Victim(self, name, kind)
        self.victims.append(victim)
        return victim

    def file(self, name, data):
        with open(self.upper(name), "wb") as out:
            out.write(data)
        victim = self.add(name, "file")
        victim.data = data
        os.utime(self.upper(name), (victim.stamp, victim.stamp))
        return victim

    def sparse_file(self, name, pieces, size):
        data = bytearray(size)
        with open(self.upper(name), "wb") as out:
            for offset, piece in pieces:
                out.seek(offset)
                out.write(piece)
                data[offset:offset + len(piece)] = piece
            out.truncate(size)
        victim = self.add(name, "file")
        victim.data = bytes(data)
        os.utime(self.upper(name), (victim.stamp, victim.stamp))
        return victim

    def symlink(self, name, target):
        os.symlink(target, self.upper(name))
        victim = self.add(name, "symlink")
        victim.data = target.encode()
        os.utime(self.upper(name), (victim.stamp, victim.stamp), follow_symlinks=False)
        return victim

    def directory(self, name):
        os.mkdir(self.upper(name))
        return self.add(name, "directory")

    def stamp_directories(self):
        """After the last change in them."""
        for victim in self.victims:
            if victim.kind == "directory":
                os.utime(self.upper(victim.name), (victim.stamp, victim.stamp))

    def restamp(self, victim):
        """After a change through the mount."""
        os.utime(self.upper(victim.name), (victim.stamp, victim.stamp))

    # ---- attacking ----
    def unmount(self):
        self.daemon.unmount()

    def find(self):
        by_stamp = {}
        for place, dirs, files in os.walk(self.root):
            for name in dirs + files:
                path = os.path.join(place, name)
                when = int(os.lstat(path).st_mtime)
                if FIRST_TIME < when <= self._stamp and not name.startswith("extencfs.dir"):
                    by_stamp[when] = path
        for victim in self.victims:
            victim.lower = by_stamp.get(victim.stamp)
            lib.check(victim.lower, f"no lower file for {victim.name}")

    def remount(self):
        self.daemon = self.volume.mount()

    # ---- judging ----
    def fail(self, attack, message):
        self.failures.append(f"{attack}: {message}")

    def read_block(self, fd, block):
        """The block's bytes, or None for EIO. Any other error is a failure of its own."""
        try:
            return os.pread(fd, BLOCK, block * BLOCK)
        except OSError as error:
            if error.errno in REFUSED:
                return None
            raise

    def read_all(self, name):
        """The whole file, read as cat does; None when it ends in EIO."""
        got = bytearray()
        try:
            fd = os.open(self.upper(name), os.O_RDONLY)
        except OSError as error:
            if error.errno in REFUSED:
                return None
            raise
        try:
            while True:
                piece = os.read(fd, 65536)
                if not piece:
                    return bytes(got)
                got += piece
        except OSError as error:
            if error.errno in REFUSED:
                return None
            raise
        finally:
            os.close(fd)

    def expect_blocks(self, attack, victim, damaged):
        """Exactly these blocks answer EIO, every other one its right bytes."""
        try:
            fd = os.open(self.upper(victim.name), os.O_RDONLY)
        except OSError as error:
            self.fail(attack, f"open: {error.strerror}, only blocks {sorted(damaged)} are damaged")
            return
        try:
            for block in range(blocks(len(victim.data))):
                got = self.read_block(fd, block)
                right = victim.data[block * BLOCK:(block + 1) * BLOCK]
                if block in damaged and got is not None:
                    what = "its old bytes" if got == right else f"{len(got)} wrong bytes"
                    self.fail(attack, f"block {block} is damaged but reads {what}")
                elif block not in damaged and got is None:
                    self.fail(attack, f"block {block} is whole but reads EIO")
                elif block not in damaged and got != right:
                    self.fail(attack, f"block {block}: WRONG BYTES")
        except OSError as error:
            self.fail(attack, f"read: {error.strerror} in place of EIO")
        finally:
            os.close(fd)
        whole = self.read_all(victim.name)
        if damaged and whole is not None:
            self.fail(attack, f"reading it all gives {len(whole)} bytes in place of EIO")
        if not damaged and whole != victim.data:
            self.fail(attack, "reading it all does not give its bytes")

    def expect_unreadable(self, attack, victim):
        """No byte of it can be had, and no silent end of file either."""
        self.expect_blocks(attack, victim, set(range(blocks(len(victim.data)))))

    def expect_eio_or(self, attack, victim, allowed, whole_needed=True):
        """Each block is EIO or one of the allowed contents'; the whole is EIO or one of them."""
        try:
            whole = self.read_all(victim.name)
            if whole is not None and whole not in allowed and whole_needed:
                sizes = [len(a) for a in allowed]
                self.fail(attack, f"reads {len(whole)} bytes that are none of {sizes} allowed")
            fd = os.open(self.upper(victim.name), os.O_RDONLY)
        except OSError as error:
            if error.errno not in REFUSED:
                self.fail(attack, f"{error.strerror} in place of EIO")
            return
        try:
            for block in range(max(blocks(len(a)) for a in allowed) + 2):
                got = self.read_block(fd, block)
                fits = [a[block * BLOCK:(block + 1) * BLOCK] for a in allowed]
                if got and not any(f.startswith(got) for f in fits):
                    self.fail(attack, f"block {block}: WRONG BYTES")
        except OSError as error:
            self.fail(attack, f"read: {error.strerror} in place of EIO")
        finally:
            os.close(fd)

    def expect_eio_or_gone(self, attack, victim):
        """Right, or EIO, or not there any more; never something else."""
        try:
            whole = self.read_all(victim.name)
        except FileNotFoundError:
            return
        if whole is not None and whole != victim.data:
            self.fail(attack, "WRONG BYTES")

    def expect_detected(self, attack, victim):
        """Cut off: reading it all ends in EIO, never in a short or wrong success."""
        try:
            whole = self.read_all(victim.name)
        except OSError as error:
            self.fail(attack, f"{error.strerror} in place of EIO")
            return
        if whole is not None:
            what = "SILENTLY SHORT" if victim.data.startswith(whole) else "WRONG BYTES"
            self.fail(attack, f"{what}: {len(whole)} bytes of {len(victim.data)}")
        self.expect_eio_or(attack, victim, [victim.data], whole_needed=False)

    def expect_error(self, attack, what, call, codes=(errno.EIO,)):
        try:
            result = call()
        except OSError as error:
            if error.errno not in codes:
                self.fail(attack, f"{what}: {error.strerror} in place of EIO")
            return
        self.fail(attack, f"{what} worked: {result!r:.80}")
