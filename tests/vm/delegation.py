#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""In the guest: mounts of ordinary users get the kernel fast path from extencfs fastpath-service, and nothing else."""

import contextlib
import ctypes
import errno
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from guest import (LIBC, ORDINARY_USER, Volume, as_user, bpf_map_count, equal, error_of, expect, extencfs, fresh_fstat,
                   fresh_stat, run_checks, wait_for)

SOCKET = "/run/extencfs-fastpath/socket"
ALICE, MALLORY = ORDINARY_USER, 1
MAPS = bpf_map_count()  # before anything here; maps go a while after their last user
ROUNDS = 100
VERSION, OPEN, ATTACH, DETACH = 1, 1, 2, 3
SYS_BPF, MAP_UPDATE, MAP_GET_FD_BY_ID = 321, 2, 14


# --- The two ends

class Service:
    """extencfs fastpath-service, running; its log is what it said."""

    def __init__(self, *options):
        self.log = open("/tmp/service.log", "w+b")
        self.process = subprocess.Popen(["extencfs", "fastpath-service", *map(str, options)], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)
        wait_for(lambda: self.process.poll() is not None or os.path.exists(SOCKET) and "listening" in self.said(),
                 f"the service ({self.said()})")
        expect(self.process.poll() is None, f"the service ended: {self.said()}")

    def said(self):
        return Path("/tmp/service.log").read_text(encoding="utf-8")

    def workers(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(word) for word in children.read_text(encoding="ascii").split()]

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(timeout=30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.end()
        self.log.close()


class OwnVolume(Volume):
    """Of an ordinary user, who asks for its figures."""

    def __init__(self, user=ALICE):
        super().__init__()
        self.user = user
        for path in [self.lower, *self.lower.rglob("*"), self.mountpoint, self.passfile, self.lower.parent]:
            os.chown(path, user, user)

    def mounted(self, *options, mode="extfuse", user=None):
        return super().mounted(*options, mode=mode, user=self.user if user is None else user)

    def stats(self):
        done = subprocess.run(["extencfs", "stats", "--json", self.mountpoint], user=self.user, group=self.user,
                              extra_groups=[], capture_output=True, text=True, check=False)
        equal(done.returncode, 0, f"stats ({done.stderr})")
        return json.loads(done.stdout)

    def notes(self):
        return [note for note in self.stats()["notes"] if note.startswith("extfuse:")]

    def within(self, action):
        """What action() returns, as the owner."""
        return says(self.user, action)


class Client:
    """A daemon that only pretends, by the bytes it sends. Used in as_user()."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(60)
        self.socket.connect(SOCKET)
        self.greeting = self.reply()

    def reply(self):
        """(granted or the reason, descriptors)"""
        data, descriptors, _, _ = socket.recv_fds(self.socket, 512, 8)
        if len(data) != 256:
            return "ended", descriptors
        version, refused, _ = struct.unpack_from("<IIQ", data)
        equal(version, VERSION, "version")
        return (data[16:].split(b"\0")[0].decode() if refused else "granted"), descriptors

    def open(self, nodes=1024, buckets=1024):
        self.socket.send(struct.pack("<IIIIIIQQQQ", VERSION, OPEN, nodes, buckets, 3, 0, 11, 12, 0, 0))
        return self.reply()

    def attach(self, *descriptors):
        socket.send_fds(self.socket, [struct.pack("<II", VERSION, ATTACH)], list(descriptors))
        return self.reply()[0]


def beside(user, action):
    """Lets another process do it; its pid."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            action()
        finally:
            os._exit(0)
    return child


def opened_by(user, path, flags=os.O_RDONLY):
    """A descriptor that only that user could open."""
    ours, theirs = socket.socketpair()
    child = beside(user, lambda: socket.send_fds(theirs, [b"x"], [os.open(path, flags)]))
    theirs.close()
    _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    os.waitpid(child, 0)
    expect(len(descriptors) == 1, f"{path} could not be opened")
    return descriptors[0]


def says(user, action):
    said = as_user(user, user, [], action)
    expect(not str(said).startswith("broken"), said)
    return said


def attaching(descriptor):
    client = Client()
    opened = client.open()[0]
    return client.attach(descriptor) if opened == "granted" else opened


def expect_served(volume):
    path = volume.mountpoint / "file"
    volume.within(lambda: path.write_bytes(b"x" * 77))

    def look():
        for _ in range(ROUNDS):
            equal(fresh_stat(path)[1], 77, "size")
    volume.within(look)
    requests, served, _ = volume.counted(lambda: volume.within(look))
    equal(requests.get("GETATTR", 0), 0, "GETATTRs that reached the daemon")
    expect(served.get("GETATTR", 0) >= ROUNDS, f"served {served}")
    return served


# --- Checks

def without_the_service():
    volume = OwnVolume()
    code, said = volume.try_mount(user=ALICE)
    equal((code, said.count("\n")), (27, 1), f"exit code and lines ({said})")
    expect("fastpath-service is not running: ask the administrator" in said, said)
    with volume.mounted(mode="auto"):
        notes = volume.notes()
        equal((volume.stats()["mode"], len(notes)), ("optimized", 1), f"mode, number of notes {notes}")
        expect("fastpath-service is not running: ask the administrator" in notes[0], notes[0])
    code, said = volume.try_mount("--guard-lower", mode="auto", user=ALICE)
    expect(code == 27 and "leave --allow-uid" in said, f"rules of an ordinary user: {code} {said}")
    return notes[0]


def served_for_an_ordinary_user():
    with Service() as service:
        wait_for(lambda: bpf_map_count() == MAPS, "the end of the maps that the service tried")
        volume = OwnVolume()
        with volume.mounted():
            stats = volume.stats()
            equal((stats["mode"], volume.notes()), ("extfuse", []), "mode and notes")
            expect(stats["map_bytes"] > 20 << 20, f"map_bytes {stats['map_bytes']}")
            served = expect_served(volume)
            with open("/proc/self/mountinfo", encoding="utf-8") as table:
                options = next(line for line in table if str(volume.mountpoint) in line)
            expect("nosuid" in options and "nodev" in options and f"user_id={ALICE}" in options, options)
            equal(len(service.workers()), 1, "workers")
            status = Path(f"/proc/{service.workers()[0]}/status").read_text(encoding="ascii")
            expect("CapEff:\t0000000000000000" in status, "the worker kept its privileges")
        wait_for(lambda: not service.workers(), "the worker's end")
        wait_for(lambda: bpf_map_count() == MAPS, "the maps' end")
        with volume.mounted(mode="auto"):
            equal(volume.stats()["mode"], "extfuse", "mode with auto")
    expect("refus" not in service.said() and "cannot" not in service.said(), service.said())
    return f"served {served}"


def changes_are_seen_at_once():
    with Service():
        volume = OwnVolume()
        with volume.mounted() as top:
            def change():
                a, b, sub = top / "a", top / "b", top / "sub"
                for n in range(1, 60):
                    a.write_bytes(b"x" * n)
                    equal(fresh_stat(a)[1], n, "size written")
                    os.truncate(a, n * 100)
                    equal(fresh_stat(a)[1], n * 100, "size after truncate")
                    os.chmod(a, 0o600 + n % 64)
                    equal(fresh_stat(a)[0] & 0o7777, 0o600 + n % 64, "mode")
                    os.utime(a, ns=(n, 10**18 + n))
                    equal(fresh_stat(a)[2], 10**18 + n, "mtime")
                    os.chmod(a, 0o600)
                    os.setxattr(a, "user.n", b"1")
                    equal(os.listxattr(a), ["user.n"], "attributes")
                    os.removexattr(a, "user.n")
                    equal(error_of(lambda: os.getxattr(a, "user.n")), errno.ENODATA, "attribute gone")
                    os.rename(a, b)
                    equal(error_of(lambda: fresh_stat(a)), errno.ENOENT, "old name")
                    equal(fresh_stat(b)[1], n * 100, "size by the new name")
                    os.mkdir(sub)
                    equal(error_of(lambda: fresh_stat(sub / "no")), errno.ENOENT, "name in a new directory")
                    os.rename(b, sub / "no")
                    equal(fresh_stat(sub / "no")[1], n * 100, "size in the new directory")
                    os.unlink(sub / "no")
                    os.rmdir(sub)
                    equal(error_of(lambda: fresh_stat(sub)), errno.ENOENT, "directory gone")
            volume.within(change)
            served = volume.stats()["served_in_kernel"]
            expect(served.get("GETATTR", 0) > 100, f"served {served}")
    return f"served {served}"


def kill_the_daemon():
    with Service() as service:
        volume = OwnVolume()
        with volume.mounted():
            expect_served(volume)
            held = opened_by(ALICE, volume.mountpoint / "file")
            os.kill(volume.daemon_pid(), signal.SIGKILL)
            wait_for(lambda: volume.daemon_pid() is None, "the daemon's end")
            said = volume.within(lambda: error_of(lambda: fresh_fstat(held)))
            expect(said in (errno.ENOTCONN, errno.ECONNABORTED), f"the mount of a killed daemon says {said}")
            wait_for(lambda: not service.workers(), "the worker's end")
            wait_for(lambda: bpf_map_count() == MAPS, "the maps' end")
            os.close(held)
            subprocess.run(["umount", volume.mountpoint], check=True)
        with volume.mounted():
            equal(volume.within(lambda: os.listdir(volume.mountpoint)), ["file"], "names after the next mount")


def mounts_of_others_are_refused():
    with Service():
        volume, of_root = OwnVolume(), Volume()
        with volume.mounted(mode="optimized") as top, of_root.mounted(mode="optimized") as roots:
            alices, roots_own = opened_by(ALICE, top), os.open(roots, os.O_RDONLY)
            expect("Permission denied" in says(MALLORY, lambda: attaching(alices)), "attached to Alice's mount")
            expect("Permission denied" in says(MALLORY, lambda: attaching(roots_own)), "attached to root's mount")
            expect("CAP_SYS_ADMIN itself" in says(0, lambda: Client().greeting[0]), "root, without capabilities or with")
            equal(says(ALICE, lambda: attaching(alices)), "granted", "Alice, to her own")
            list(map(os.close, (alices, roots_own)))


def what_is_no_mount_is_refused():
    with Service():
        volume = OwnVolume()
        with volume.mounted(mode="optimized") as top:
            pipe, ends = os.pipe(), socket.socketpair()
            for what, descriptor in (("/tmp", os.open("/tmp", os.O_RDONLY)), ("/dev/null", os.open("/dev/null", os.O_RDWR)),
                                     ("/dev/fuse", os.open("/dev/fuse", os.O_RDWR)), ("a pipe", pipe[0]),
                                     ("a socket", ends[0].detach()), ("O_PATH", opened_by(ALICE, top, os.O_PATH))):
                said = says(ALICE, lambda fd=descriptor: attaching(fd))
                expect("cannot attach" in said, f"{what}: {said}")
                os.close(descriptor)
            os.close(pipe[1])


def only_his_own_maps():
    """What may be done with what the service hands out, and nothing beyond."""
    class Element(ctypes.Structure):
        _fields_ = [("fd", ctypes.c_uint32), ("pad", ctypes.c_uint32), ("key", ctypes.c_uint64),
                    ("value", ctypes.c_uint64), ("flags", ctypes.c_uint64)]

    def tried():
        client = Client()
        said, descriptors = client.open()
        equal((said, len(descriptors)), ("granted", 3), "maps")
        key, value = ctypes.c_uint32(0), ctypes.create_string_buffer(64 * 1024)

        def update(fd):
            attributes = Element(fd, 0, ctypes.addressof(key), ctypes.addressof(value), 0)
            done = LIBC.syscall(SYS_BPF, MAP_UPDATE, ctypes.byref(attributes), ctypes.sizeof(attributes))
            return 0 if done == 0 else ctypes.get_errno()
        def by_id(number):
            attributes = (ctypes.c_uint32 * 4)(number, 0, 0, 0)
            done = LIBC.syscall(SYS_BPF, MAP_GET_FD_BY_ID, attributes, 16)
            return 0 if done >= 0 else ctypes.get_errno()
        return [update(descriptors[0]), update(descriptors[1]), update(descriptors[2]), by_id(1)]
    with Service():
        equal(says(ALICE, tried), [0, 0, errno.EPERM, errno.EPERM], "nodes, buckets, counters, any map by its id")


def garbage_and_stalls_disturb_nobody():
    with Service() as service:
        volume = OwnVolume()
        with volume.mounted():
            def misbehave():
                kept = []
                for number in range(12):
                    client = Client()
                    kept.append(client)
                    if client.greeting[0] != "granted" or number % 4 == 0:
                        continue  # says nothing
                    if number % 4 == 1:
                        client.socket.send(os.urandom(1 + number * 30))
                    elif number % 4 == 2:
                        socket.send_fds(client.socket, [b"x" * 8], [0] * 100)
                    else:
                        client.open()  # and never attaches
                time.sleep(3)
            child = beside(MALLORY, misbehave)
            wait_for(lambda: len(service.workers()) > 1, "the others' workers")
            begin = time.monotonic()
            expect_served(volume)
            second = OwnVolume()
            with second.mounted():
                expect_served(second)
            seconds = time.monotonic() - begin
            os.waitpid(child, 0)
            wait_for(lambda: len(service.workers()) == 1, "the end of the others' workers")
            expect_served(volume)
    return f"{seconds:.1f} s beside them"


def stopped_daemon_blocks_only_its_own():
    """Closing a file asks its daemon, which does not answer: whoever sent the file waits, and nobody else."""
    with Service() as service:
        volume, other = OwnVolume(), OwnVolume(MALLORY)
        with volume.mounted(mode="optimized") as top:
            volume.within(lambda: (top / "file").write_bytes(b"x"))
            file = opened_by(ALICE, top / "file", os.O_RDWR)
            pid = volume.daemon_pid()
            os.kill(pid, signal.SIGSTOP)

            def send_the_file():
                client = Client()
                client.open()
                client.socket.settimeout(2)
                client.attach(file)
            child = beside(ALICE, send_the_file)
            time.sleep(3)
            with other.mounted():
                expect_served(other)
            os.kill(pid, signal.SIGCONT)
            os.waitpid(child, 0)
            os.close(file)
            wait_for(lambda: not service.workers(), "the worker's end")


def limits_hold():
    with Service("--user-mounts", 3, "--user-mb", 4) as service:
        volumes = [OwnVolume() for _ in range(3)]
        with contextlib.ExitStack() as stack:
            code, said = volumes[2].try_mount(user=ALICE)
            expect(code == 27 and "may have 4 MB" in said, f"too large: {code} {said}")
            for volume in volumes[:2]:
                stack.enter_context(volume.mounted("--map-mb", "1"))

            # One more place, whose maps are held although the connection has ended.
            def hold():
                client = Client()
                said, descriptors = client.open()
                client.socket.close()
                time.sleep(0.5)
                return [said, len(descriptors), Client().greeting[0]]
            said = says(ALICE, hold)
            expect(said[:2] == ["granted", 3] and "3 mounts" in said[2], f"held maps: {said}")
            # When its process has ended, the maps go.
            wait_for(lambda: says(ALICE, lambda: Client().greeting[0]) == "granted", "the end of the held maps")
            wait_for(lambda: len(service.workers()) == 2, "the worker's end")
            with volumes[2].mounted("--map-mb", "1", mode="auto"):
                equal(volumes[2].stats()["mode"], "extfuse", "mode of the third")
                said = says(ALICE, lambda: Client().greeting[0])
                expect("3 mounts" in said, f"a fourth: {said}")
                equal(says(MALLORY, lambda: Client().open()[0]), "granted", "another user")
        wait_for(lambda: not service.workers(), "the workers' end")
        # So many in a row are too many.
        said = says(MALLORY, lambda: [Client().greeting[0] for _ in range(60)])
        expect("too many mounts of this user in a short time" in said, f"{said}")
        equal(says(ALICE + 10, lambda: Client().open()[0]), "granted", "another user")
    expect(error_of(lambda: os.stat(SOCKET)) == errno.ENOENT, "the socket is left")


def mount_outlives_the_service():
    for how in (signal.SIGTERM, signal.SIGKILL):
        volume = OwnVolume()
        with Service() as service:
            with volume.mounted() as top:
                expect_served(volume)
                service.end(how)
                wait_for(lambda: volume.stats()["mode"] == "optimized", "the mode after its end")
                notes = volume.notes()
                expect(len(notes) == 1 and "has ended" in notes[0], f"notes {notes}")

                def use():
                    for n in range(50):
                        (top / f"n{n}").write_bytes(b"x" * n)
                        equal(fresh_stat(top / f"n{n}")[1], n, "size")
                        os.rename(top / f"n{n}", top / "renamed")
                        equal(fresh_stat(top / "renamed")[1], n, "size")
                    return sorted(os.listdir(top))
                equal(volume.within(use), ["file", "renamed"], "names")
                requests, served, _ = volume.counted(lambda: volume.within(lambda: fresh_stat(top / "file")[1]))
                expect(not served and requests.get("GETATTR", 0) >= 1, f"{requests}, {served}")
        with Service():
            with volume.mounted():
                expect_served(volume)


def for_members_of_a_group():
    with Service("--group", 1234):
        volume = OwnVolume()
        code, said = volume.try_mount(user=ALICE)
        expect(code == 27 and "for members of a group" in said, f"{code} {said}")
        equal(as_user(ALICE, ALICE, [1234], lambda: Client().greeting[0]), "granted", "a member")


def one_service_at_a_time():
    with Service():
        code, said = extencfs("fastpath-service")
        expect(code == 20 and "running already" in said, f"{code} {said}")
        said = subprocess.run(["extencfs", "fastpath-service"], user=ALICE, capture_output=True, text=True, check=False)
        expect(said.returncode == 27 and "CAP_SYS_ADMIN" in said.stderr, f"as a user: {said}")
        equal(says(ALICE, lambda: Client().greeting[0]), "granted", "the first one")


if __name__ == "__main__":
    sys.exit(run_checks([
        without_the_service, served_for_an_ordinary_user, changes_are_seen_at_once, kill_the_daemon,
        mounts_of_others_are_refused, what_is_no_mount_is_refused, only_his_own_maps, garbage_and_stalls_disturb_nobody,
        stopped_daemon_blocks_only_its_own, limits_hold, mount_outlives_the_service, for_members_of_a_group,
        one_service_at_a_time]))
