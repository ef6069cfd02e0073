# SPDX-License-Identifier: Apache-2.0
"""What the tests of the commands share: running extencfs, and cleaning up whatever happens.

The program is $EXTENCFS. A test class gives each test its own directory; mounts made through it are
unmounted, and daemons that are left are ended, also after a failure.
"""

import json
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

EXTENCFS = os.environ["EXTENCFS"]
PASSWORD = "correct horse"
# Cheapest preset: these tests are not about Argon2.
FAST = ["--kdf", "interactive"]


def run(*words, text_in="", env=None, timeout=60, user=None):
    """Runs extencfs away from any terminal."""
    return subprocess.run(
        [EXTENCFS, *map(str, words)], input=text_in, capture_output=True, text=True,
        timeout=timeout, start_new_session=True, env={**os.environ, **(env or {})}, user=user,
        cwd="/")


def wait_until(condition, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def is_mounted(path):
    path = str(path)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as table:
        return any(line.split()[4] == path for line in table)


def can_mount():
    return os.path.exists("/dev/fuse") and "mount" in run("--help").stdout.split()


class CliTest(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="extencfs-cli-")).resolve()
        self.addCleanup(self._remove)
        self.volume = self.dir / "volume"
        self.mountpoint = self.dir / "mnt"
        self.passfile = self.dir / "password"
        self.passfile.write_text(PASSWORD + "\n")
        self._mounts = []

    def _remove(self):
        for mount in reversed(self._mounts):
            if is_mounted(mount):
                subprocess.run(["umount", "-l", str(mount)], check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def init(self, volume=None, *words):
        done = run("init", "--passfile", self.passfile, *FAST, *words, volume or self.volume)
        self.assertEqual(done.returncode, 0, done.stderr)

    def mount(self, *words, volume=None, mountpoint=None, code=0, **more):
        mountpoint = mountpoint or self.mountpoint
        if not is_mounted(mountpoint):  # a dead mount cannot even be looked at
            mountpoint.mkdir(exist_ok=True)
        self._mounts.append(mountpoint)
        done = run("mount", "--passfile", self.passfile, *words, volume or self.volume, mountpoint,
                   **more)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def unmount(self, *words, mountpoint=None, code=0):
        done = run("unmount", *words, mountpoint or self.mountpoint)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def control(self, *words, code=0, **more):
        """Runs a command; checks its exit code and, on failure, that it said one sentence."""
        done = run(*words, **more)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        if code:
            self.assert_one_sentence(done.stderr)
            self.assertEqual(done.stdout, "")
        return done

    def assert_one_sentence(self, text):
        self.assertRegex(text, re.compile(r"\Aextencfs: [^\n]*; [^\n]+\n\Z"))

    def info(self, volume=None):
        return json.loads(self.control("info", "--json", volume or self.volume).stdout)

    def stats(self, *words):
        return json.loads(self.control("stats", "--json", *words, self.mountpoint).stdout)

    def daemon_pid(self, mountpoint=None):
        """The daemon that serves this volume, found by its command line."""
        mountpoint = str(mountpoint or self.mountpoint)
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                state = (entry / "stat").read_text().rsplit(") ", 1)[1][0]
            except OSError:
                continue
            if (words[0].endswith(b"encfs") and mountpoint.encode() in words
                    and state not in "ZX"):
                return int(entry.name)
        return None

    def kill_daemon(self, number=signal.SIGKILL):
        pid = self.daemon_pid()
        self.assertIsNotNone(pid)
        handle = os.pidfd_open(pid)
        try:
            os.kill(pid, number)
            # Its command line goes before its locks do; this tells of its end when all threads are gone.
            self.assertTrue(select.select([handle], [], [], 10)[0])
        finally:
            os.close(handle)


def main():
    unittest.main(verbosity=2)
