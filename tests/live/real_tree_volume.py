# SPDX-License-Identifier: Apache-2.0
"""A mounted volume as the acceptance tests see it, and the running of their steps.

Builds on the benchmark's list of file systems, so that the tests themselves can be tried on a peer or
on native tmpfs. extencfs is mounted as a user mounts it: in the background, through the commands.
Each step gets a fresh volume and a time limit; when that is over, the daemon is killed, so that a
hung mount gives an error in place of a hung test.
"""

import os
import sys
import threading
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bench"))

import filesystems  # noqa: E402
from workspace import Unavailable, Workspace, drop_caches, is_mounted, run  # noqa: E402

SKIPPED = 77  # the exit code that CTest takes as "not run here"
STEP_SECONDS = 1800


class Failed(Exception):
    """The file system did something wrong; the text says what."""


def check(condition, text):
    if not condition:
        raise Failed(text)


class LiveExtencfs(filesystems.Extencfs):
    """extencfs by its commands: `mount` returns when the mount is usable, `unmount` when it is gone."""

    def mount(self):
        run([self.program, "mount", "--passfile", self.password_file, "--log", self.log, *self.mount_options,
             self.lower, self.root],
            timeout=filesystems.MOUNT_SECONDS)
        check(is_mounted(self.root), "`extencfs mount` returned, and nothing is mounted")
        os.listdir(self.root)  # usable at once, or an error here

    def unmount(self):
        if not is_mounted(self.root):
            return
        run(self.unmount_command(), timeout=filesystems.EXIT_SECONDS)
        check(not is_mounted(self.root), "`extencfs unmount` returned, and the volume is still mounted")

    def daemon_pids(self):
        """Processes that have our mount point as an argument; its path is of this run alone."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if os.fsencode(self.root) in words:
                    found.append(int(entry.name))
        return found

    def kill_daemon(self):
        for pid in self.daemon_pids():
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass

    def abandon(self):
        self.kill_daemon()
        super().abandon()


class Volume:
    """One file system in use: where its files are, and how to see them as after a reboot."""

    def __init__(self, fs):
        self.fs = fs

    @property
    def root(self):
        return self.fs.root

    @property
    def lower(self):
        return self.fs.lower

    @property
    def encrypted(self):
        return self.fs.encrypted

    def remount(self):
        self.fs.unmount()
        drop_caches()
        self.fs.mount()

    def kill_daemon(self):
        """The watchdog's last resort: requests that wait then fail with ENOTCONN."""
        if hasattr(self.fs, "kill_daemon"):
            self.fs.kill_daemon()
        elif self.fs.daemon is not None:
            self.fs.daemon.kill()


def live_file_system(spec, work):
    fs = LiveExtencfs(spec, work) if spec.partition(":")[0] == "extencfs" else None
    if fs is None:
        return filesystems.file_system(spec, work)
    fs.check()
    return fs


def _run_step(fs, step, options):
    """None when all is right, else the text of what is not."""
    volume = Volume(fs)
    late = threading.Event()

    def give_up():
        late.set()
        volume.kill_daemon()

    watchdog = threading.Timer(options.limit, give_up)
    watchdog.daemon = True
    try:
        fs.create()
        fs.mount()
        watchdog.start()
        step(volume, options)
        fs.destroy()
        return None
    except Unavailable:
        fs.abandon()
        raise
    except Exception as problem:  # whatever went wrong, it is this step's result
        text = f"{type(problem).__name__}: {problem}"
        if not isinstance(problem, (Failed, RuntimeError)):
            text += "\n" + traceback.format_exc(limit=-3)
        if late.is_set():
            text = f"not done after {options.limit} s, daemon killed\n{text}"
        text += f"\n{fs.log_tail()}"
        fs.abandon()
        return text
    except BaseException:
        fs.abandon()
        raise
    finally:
        watchdog.cancel()


def add_options(parser, steps):
    parser.add_argument("--fs", default="extencfs", metavar="FS",
                        help="extencfs[:MODE,TRANSPORT,...] ($EXTENCFS), or a peer to try the tests on")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a few thousand files (the default)")
    size.add_argument("--full", action="store_true", help="the real sizes")
    parser.add_argument("--plain", action="store_true",
                        help="leave out what some peers cannot hold (longest names and targets, devices, odd times)")
    parser.add_argument("--steps", default="", metavar="STEP,...", help=", ".join(steps))
    parser.add_argument("--tmpfs-size", default="10g")
    parser.add_argument("--limit", type=int, default=STEP_SECONDS, help="seconds for each step")


def run_steps(options, steps):
    """Runs the steps asked for (all of them by default); the exit code."""
    wanted = options.steps.split(",") if options.steps else list(steps)
    unknown = set(wanted) - set(steps)
    if unknown:
        print(f"no step {', '.join(sorted(unknown))}: there are {', '.join(steps)}", file=sys.stderr)
        return 2
    failures, skipped = 0, 0
    try:
        with Workspace(options.tmpfs_size) as work:
            options.work = work
            fs = live_file_system(options.fs, work)
            for name in wanted:
                start = time.monotonic()
                try:
                    problem = _run_step(fs, steps[name], options)
                except Unavailable as reason:
                    print(f"skipped {name}: {reason}", flush=True)
                    skipped += 1
                    continue
                taken = time.monotonic() - start
                failures += problem is not None
                print(f"{'ok     ' if problem is None else 'FAILED '} {name} ({taken:.1f} s)"
                      + (f"\n{problem}" if problem else ""), flush=True)
    except Unavailable as reason:
        print(f"skipped: {reason}", file=sys.stderr)
        return SKIPPED
    if failures:
        return 1
    return SKIPPED if skipped == len(wanted) else 0
