# SPDX-License-Identifier: GPL-2.0
"""Daemons, programs and checks for the scripts that run in the guest, where the built programs lie beside this file."""

import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
TRACING = Path("/sys/kernel/tracing")
HOOKS = ("__fuse_simple_request", "fuse_simple_request")

LOOKUP, GETATTR, SETATTR, SYMLINK, MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK = 1, 3, 4, 6, 8, 9, 10, 11, 12, 13
OPEN, WRITE, SETXATTR, GETXATTR, REMOVEXATTR, OPENDIR, ACCESS, CREATE = 14, 16, 21, 22, 24, 27, 34, 35
FALLOCATE, RENAME2, COPY_FILE_RANGE, COPY_FILE_RANGE_64 = 43, 45, 47, 53
WRITE_ALL, WRITE_NOTHING, WRITE_HALF, WRITE_IN_PIECES = range(4)


class Failed(Exception):
    pass


def expect(condition, text):
    if not condition:
        raise Failed(text)


def equal(got, wanted, what):
    expect(got == wanted, f"{what}: got {got!r}, wanted {wanted!r}")


class Daemon:
    """A fusedemo and its mount."""

    def __init__(self, name="one", size=6):
        self.path = Path("/mnt") / name
        self.path.mkdir(exist_ok=True)
        self.hello = self.path / "hello"
        self.process = subprocess.Popen([HERE / "fusedemo", self.path, str(size)])
        wait_for(lambda: os.path.ismount(self.path), f"mount of {self.path}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", self.path], check=False, stderr=subprocess.DEVNULL)
        self.process.terminate()
        self.process.wait()

    def counters(self):
        return json.loads((self.path / "counters").read_text())

    def received(self, action):
        """What reached the daemon while action() ran, as the difference of the counters."""
        before = self.counters()
        action()
        after = self.counters()
        return {name: after[name] - before[name] for name in before if name not in ("uid", "gid", "pid")}

    def stat_size(self):
        return self.hello.stat().st_size


class Refused(Exception):
    """attach did not get as far as attaching; the text is its "PHASE: ERRNO"."""


class Program:
    """The selftest's BPF program on a mount, for as long as the with block lasts."""

    def __init__(self, where, *options, program="selftest.bpf.o", **knobs):
        self.process = subprocess.Popen([HERE / "attach", HERE / program, str(where), *options],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        said = self.process.stdout.readline().strip()
        if said not in ("attached", "detached"):
            self.process.communicate()
            raise Refused(said)
        self.set(**knobs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.detach()

    def _ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def set(self, **knobs):
        for name, value in knobs.items():
            equal(self._ask(f"{name} {value}"), "set", f"knob {name}")

    def report(self):
        return json.loads(self._ask("report"))

    def attach_again(self):
        return self._ask("again")

    def race(self, rounds):
        """Attaches and detaches so often: how often it was attached, refused with EEXIST, and refused otherwise."""
        return tuple(int(number) for number in self._ask(f"race {rounds}").split())

    def detach(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            equal(self.process.wait(), 0, "status of attach")


def refusal(*args, **kwargs):
    try:
        with Program(*args, **kwargs):
            return "attached"
    except Refused as refused:
        return str(refused)


class Hammer:
    """Clients that call stat, fstat or getxattr on a file all the time, and fail on a size that is not among sizes."""

    def __init__(self, path, *sizes, kinds=("stat", "fstat"), count=1000000):
        self.processes = [subprocess.Popen([HERE / "hammer", kind, str(path), str(count), *map(str, sizes)],
                                           stdout=subprocess.DEVNULL) for kind in kinds]

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        statuses = [process.poll() for process in self.processes]
        for process in self.processes:
            process.kill()
            process.wait()
        if kind is None:
            expect(set(statuses) <= {None, 0}, f"clients ended with {statuses}")


def hammer_ns(kind, path, count):
    out = subprocess.run([HERE / "hammer", kind, path, str(count)], check=True, stdout=subprocess.PIPE, text=True)
    return int(out.stdout)


def wait_for(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        expect(time.monotonic() < end, f"not in {seconds} s: {what}")
        time.sleep(0.05)


def module_loaded():
    return Path("/sys/module/extfuse").exists()


def load_module():
    subprocess.run(["insmod", "extfuse.ko"], cwd=HERE, check=True)


def unload_module(seconds=20):
    """rmmod says EAGAIN for a moment after a detach; returns how often."""
    tries = 0

    def try_it():
        nonlocal tries
        tries += 1
        return subprocess.run(["rmmod", "extfuse"], stderr=subprocess.DEVNULL, check=False).returncode == 0
    wait_for(try_it, "rmmod", seconds)
    return tries - 1


def hooked():
    return any(line.split()[0] in HOOKS for line in (TRACING / "enabled_functions").read_text().splitlines())


def run_checks(checks):
    """Runs each, prints a line for each, and returns the script's exit status."""
    failures = 0
    for check in checks:
        begin = time.monotonic()
        try:
            note = check()
            verdict = "ok"
        except Failed as failed:
            note, verdict, failures = failed, "FAIL", failures + 1
        except Exception:  # a check that breaks is a check that failed
            note, verdict, failures = traceback.format_exc(), "FAIL", failures + 1
        seconds = time.monotonic() - begin
        print(f"{verdict:4} {check.__name__} ({seconds:.1f} s){': ' + str(note) if note else ''}", flush=True)
    print(f"{len(checks) - failures} of {len(checks)} passed")
    sys.stdout.flush()
    return 1 if failures else 0
