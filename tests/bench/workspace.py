# SPDX-License-Identifier: Apache-2.0
"""A private place for a run: a temporary directory with a tmpfs on it, and whatever is mounted below.

Owns its cleaning up: every mount below the directory is gone when the run ends, also when it fails or
is told to stop. Knows nothing of the file systems that are measured.
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
NOT_HERE = 77  # exit code, which CTest takes as "skipped"


class Unavailable(Exception):
    """Something that this run needs is not on this machine; the text says what to do."""


def need_root():
    if os.geteuid() != 0:
        raise Unavailable("root is needed (tmpfs mounts, /proc/sys/vm/drop_caches); run it with sudo")


def run(argv, **options):
    """Runs a command to its end; a failure shows what it printed."""
    options.setdefault("check", True)
    try:
        return subprocess.run([str(a) for a in argv], capture_output=True, text=True, **options)
    except FileNotFoundError as error:
        raise Unavailable(f"{argv[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        tail = "\n".join(line[:400] for line in (error.stdout + error.stderr).splitlines()[-20:])
        raise RuntimeError(f"{' '.join(map(str, argv))}: exit {error.returncode}\n{tail}") from error


def mounts_below(path):
    """Mount points at or below `path`, the innermost first."""
    prefix = str(path)
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            point = line.split()[4].encode().decode("unicode_escape")
            if point == prefix or point.startswith(prefix + "/"):
                found.append(point)
    return sorted(found, key=len, reverse=True)


def is_mounted(path):
    return str(path) in mounts_below(path)


def drop_caches():
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n", encoding="ascii")


class Workspace:
    """Use as a context manager: `with Workspace("4g") as work: work.path ...`."""

    def __init__(self, size="6g", directory=None):
        self.size = size
        self.parent = directory
        self.path = None
        self.daemons = []
        self._base = None

    def __enter__(self):
        need_root()
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda n, frame: sys.exit(128 + n))
        self._base = Path(tempfile.mkdtemp(prefix="extencfs-bench.", dir=self.parent))
        self.path = self._base
        if self.parent is None:
            run(["mount", "-t", "tmpfs", "-o", f"size={self.size},mode=755,nr_inodes=0", "tmpfs", self._base])
        return self

    def __exit__(self, *_):
        for daemon in self.daemons:
            if daemon.poll() is None:
                daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
        for point in mounts_below(self._base):
            if subprocess.run(["umount", point], capture_output=True, check=False).returncode:
                subprocess.run(["umount", "-l", point], capture_output=True, check=False)
        if mounts_below(self._base):
            print(f"warning: {self._base} is still mounted", file=sys.stderr)
        elif self.parent is None:
            os.rmdir(self._base)
        else:
            subprocess.run(["rm", "-rf", "--one-file-system", self._base], check=False)

    def compile(self, source, *flags):
        """Builds a C file of this directory once, and returns the program."""
        program = self.path / Path(source).stem
        if not program.exists():
            run(["cc", "-O2", "-Wall", "-Wextra", "-o", program, source, *flags])
        return program

    def worker(self):
        return self.compile(HERE / "worker.c")
