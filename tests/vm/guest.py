# SPDX-License-Identifier: Apache-2.0
"""Real volumes, mounts and checks for the scripts that run in the guest, as root."""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import time
import traceback
from pathlib import Path

AT_FDCWD, AT_EMPTY_PATH, AT_STATX_FORCE_SYNC, STATX_BASIC = -100, 0x1000, 0x2000, 0x7FF
RENAME_EXCHANGE = 2
LIBC = ctypes.CDLL(None, use_errno=True)
WORK = Path("/tmp/volumes")
ORDINARY_USER = 5  # games: every Debian has it, and fusermount3 wants a user with a name


class Failed(Exception):
    pass


def expect(condition, text):
    if not condition:
        raise Failed(text)


def equal(got, wanted, what):
    expect(got == wanted, f"{what}: got {got!r}, wanted {wanted!r}")


def error_of(action):
    """The errno that action() fails with, or 0."""
    try:
        action()
        return 0
    except OSError as failure:
        return failure.errno


def wait_for(condition, what, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        expect(time.monotonic() < end, f"not in {seconds} s: {what}")
        time.sleep(0.05)


def is_mounted(path):
    """os.path.ismount() says no to those whom the mount refuses."""
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        return any(line.split()[4] == str(path) for line in table)


def extencfs(*arguments):
    """The command's exit code, and all that it said."""
    done = subprocess.run(["extencfs", *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


class Volume:
    made = 0

    def __init__(self):
        Volume.made += 1
        top = WORK / str(Volume.made)
        self.lower, self.mountpoint, self.log = top / "lower", top / "mnt", top / "log"
        self.lower.mkdir(parents=True)
        self.mountpoint.mkdir()
        self.passfile = top / "pass"
        self.passfile.write_text("correct horse battery staple\n")
        self.passfile.chmod(0o600)
        code, said = extencfs("init", "--passfile", self.passfile, "--kdf", "interactive", self.lower)
        equal(code, 0, f"init ({said})")

    def try_mount(self, *options, mode="extfuse", user=None, preload=None):
        command = ["extencfs", "mount", "--passfile", self.passfile, "--log", self.log, "--mode", mode, *options,
                   self.lower, self.mountpoint]
        change = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        if preload:
            change["env"] = os.environ | {"LD_PRELOAD": str(preload)}
        with open(self.log.with_name("said"), "w+", encoding="utf-8") as said:
            # A pipe would stay open for as long as the daemon lives.
            code = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                                  check=False, **change).returncode
            said.seek(0)
            return code, said.read()

    def daemon_pid(self):
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
                if b"mount" in words and str(self.mountpoint).encode() in words:
                    return int(entry.name)
        return None

    @contextlib.contextmanager
    def mounted(self, *options, mode="extfuse", user=None, preload=None):
        """The mountpoint, mounted; afterwards unmounted in order, unless the block did that itself."""
        code, said = self.try_mount(*options, mode=mode, user=user, preload=preload)
        equal(code, 0, f"mount ({said})")
        try:
            yield self.mountpoint
        except BaseException:
            self.give_up()
            raise
        if is_mounted(self.mountpoint):
            self.unmount()
        wait_for(lambda: self.daemon_pid() is None, "the daemon's end")

    def give_up(self):
        while pid := self.daemon_pid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        subprocess.run(["umount", "-l", self.mountpoint], stderr=subprocess.DEVNULL, check=False)

    def unmount(self):
        code, said = extencfs("unmount", self.mountpoint)
        equal(code, 0, f"unmount ({said})")
        wait_for(lambda: self.daemon_pid() is None, "the daemon's end")

    def stats(self):
        code, said = extencfs("stats", "--json", self.mountpoint)
        equal(code, 0, f"stats ({said})")
        return json.loads(said)

    def counted(self, action):
        """What action() made of the counters: requests that reached the daemon, served and denied in the kernel."""
        before = self.stats()
        action()
        after = self.stats()

        def grown(key):
            return {name: count - before[key].get(name, 0) for name, count in after.get(key, {}).items()
                    if count != before[key].get(name, 0)}
        return tuple(grown(key) for key in ("requests", "served_in_kernel", "denied_in_kernel"))


def drop_caches(what=2):
    """2: dentries and inodes that nobody holds."""
    Path("/proc/sys/vm/drop_caches").write_text(str(what), encoding="ascii")


def statx(directory, path, flags):
    buffer = ctypes.create_string_buffer(256)
    if LIBC.statx(directory, os.fsencode(path), flags, STATX_BASIC, buffer) != 0:
        raise OSError(ctypes.get_errno(), "statx", path)
    return buffer


def fresh_stat(path):
    """(mode, size, mtime_ns) from the file system, whatever the kernel's caches say."""
    b = statx(AT_FDCWD, str(path), AT_STATX_FORCE_SYNC).raw
    return (int.from_bytes(b[28:30], "little"), int.from_bytes(b[40:48], "little"),
            int.from_bytes(b[112:120], "little") * 10**9 + int.from_bytes(b[120:124], "little"))


def fresh_fstat(descriptor):
    statx(descriptor, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC)


def exchange(one, other):
    if LIBC.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) != 0:
        raise OSError(ctypes.get_errno(), "renameat2", one)


def as_user(uid, gid, groups, action):
    """What action() returns, as another user in another process (anything that JSON can say)."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            said = json.dumps(action())
        except BaseException:  # the parent must hear of it
            said = json.dumps("broken: " + traceback.format_exc())
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return json.loads(said)


class Attachment:
    """The programs of a mount taken off and put back, from outside the daemon: a link of our own to its map of them.
    For a process of its own: the descriptor number that the map has for the mount is needed."""
    MAP_GET_FD_BY_ID, LINK_CREATE, LINK_GET_FD_BY_ID, LINK_DETACH = 14, 28, 30, 34
    STRUCT_OPS, SYS_BPF = 44, 321

    def __init__(self, volume):
        self.mountpoint, pid = volume.mountpoint, volume.daemon_pid()
        found = {}
        for number in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                said = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/fdinfo/{number}").read_text().splitlines()
                            if ":" in line)
                if said.get("map_type", "").strip() == "26":
                    found["map"] = int(said["map_id"])
                elif said.get("link_type", "").strip() == "struct_ops":
                    found["link"] = int(said["link_id"])
                elif int(said["flags"], 8) & os.O_PATH and os.readlink(f"/proc/{pid}/fd/{number}") == "/dev/null":
                    # Where the daemon held the mount: the programs' map names it by this number.
                    found["slot"] = int(number)
        self.map, self.slot = self.bpf(self.MAP_GET_FD_BY_ID, found["map"]), found["slot"]
        if self.map == self.slot:
            self.map = os.dup(self.map)
            os.close(self.slot)
        self.link = self.bpf(self.LINK_GET_FD_BY_ID, found["link"])
        self.bpf(self.LINK_DETACH, self.link)  # the daemon's own: closing it does not do that
        os.close(self.link)
        self.link = None

    def bpf(self, command, *words):
        attributes = (ctypes.c_uint32 * 32)(*words)
        result = LIBC.syscall(self.SYS_BPF, command, attributes, ctypes.sizeof(attributes))
        if result < 0:
            raise OSError(ctypes.get_errno(), f"bpf command {command}")
        return result

    def attach(self):
        mount = os.open(self.mountpoint, os.O_RDONLY | os.O_DIRECTORY)
        os.dup2(mount, self.slot)
        try:
            self.link = self.bpf(self.LINK_CREATE, self.map, 0, self.STRUCT_OPS)
        finally:
            for descriptor in {mount, self.slot}:  # open, they would keep the mount busy
                os.close(descriptor)

    def detach(self):
        os.close(self.link)
        self.link = None


def bpf_map_count():
    maps = json.loads(subprocess.run(["bpftool", "-j", "map", "show"], capture_output=True, check=True).stdout)
    return sum(one.get("name") in ("nodes", "buckets", "policy") for one in maps)


def run_checks(checks):
    """Runs each (or those named in $CHECKS), prints a line for each, and returns the script's exit status."""
    wanted = os.environ.get("CHECKS", "").split()
    checks = [check for check in checks if not wanted or check.__name__ in wanted]
    failures = 0
    for check in checks:
        begin = time.monotonic()
        try:
            note, verdict = check(), "ok"
        except Failed as failed:
            note, verdict, failures = failed, "FAIL", failures + 1
        except Exception:  # a check that breaks is a check that failed
            note, verdict, failures = traceback.format_exc(), "FAIL", failures + 1
        seconds = time.monotonic() - begin
        print(f"{verdict:4} {check.__name__} ({seconds:.1f} s){': ' + str(note) if note else ''}", flush=True)
    print(f"{len(checks) - failures} of {len(checks)} passed", flush=True)
    return 1 if failures else 0
