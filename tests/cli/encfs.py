# SPDX-License-Identifier: Apache-2.0
"""What the tests of `encfs` and `encfsctl` share: the program under these names, and EncFS 1.9.5 beside it where it is
installed, to be asked the same."""

import os
import pathlib
import pty
import shutil
import subprocess
import time

from cli import EXTENCFS, CliTest, is_mounted, wait_until

WRONG = "Error decoding volume key, password incorrect"
REAL = {name: shutil.which(name) for name in ("encfs", "encfsctl")}


def is_real(name):
    """Whether EncFS 1.9.5 itself is there, not this program under its name."""
    if not REAL[name]:
        return False
    told = subprocess.run([REAL[name], "--version"], capture_output=True, text=True, check=False)
    return "1.9.5" in told.stderr and "extencfs" not in told.stderr


HAVE_REAL = is_real("encfs") and is_real("encfsctl")


class EncfsTest(CliTest):
    def setUp(self):
        super().setUp()
        self.bin = self.dir / "bin"
        self.bin.mkdir()
        for name in ("encfs", "encfsctl"):
            (self.bin / name).symlink_to(EXTENCFS)
        self.volume.mkdir()
        self.mountpoint.mkdir()
        self._mounts.append(self.mountpoint)

    def call(self, *words, text_in="", real=False, env=None):
        """Runs encfs or encfsctl, ours or the real one, away from any terminal."""
        program = REAL[words[0]] if real else self.bin / words[0]
        return subprocess.run([str(program), *map(str, words[1:])], input=text_in, capture_output=True,
                              text=True, timeout=30, start_new_session=True, cwd="/",
                              env={**os.environ, **(env or {})}, check=False)

    def ok(self, *words, **more):
        done = self.call(*words, **more)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done

    def same(self, *words, **more):
        """The outcome of ours; where the real one is there, it has the same exit code and stdout."""
        ours = self.call(*words, **more)
        if HAVE_REAL:
            theirs = self.call(*words, real=True, **more)
            self.assertEqual((ours.returncode, ours.stdout), (theirs.returncode, theirs.stdout),
                             ours.stderr + theirs.stderr)
        return ours

    def make(self, *words, real=False, text_in="pw\n", volume=None):
        self.ok("encfs", "-S", *(words or ("--standard",)), volume or self.volume, self.mountpoint,
                text_in=text_in, real=real)
        self.addCleanup(self.release)

    def release(self):
        """Unmounts, and waits for the daemon, ours or EncFS's: it tidies the volume after the mount is gone."""
        if is_mounted(self.mountpoint):
            subprocess.run(["umount", "-l", str(self.mountpoint)], check=False)
        self.assertTrue(wait_until(lambda: not is_mounted(self.mountpoint)))
        self.assertTrue(wait_until(lambda: self.daemon_pid() is None))

    def open(self, *words, real=False, password="pw"):
        return self.ok("encfs", "-S", *words, self.volume, self.mountpoint, text_in=password + "\n", real=real)

    def fill(self):
        (self.mountpoint / "file").write_text("hi\n")
        (self.mountpoint / "dir").mkdir()
        (self.mountpoint / "dir/sub").write_text("sub\n" * 1000)
        (self.mountpoint / "link").symlink_to("dir/sub")

    def check_filled(self):
        self.assertEqual(sorted(p.name for p in self.mountpoint.iterdir()), ["dir", "file", "link"])
        self.assertEqual((self.mountpoint / "file").read_text(), "hi\n")
        self.assertEqual((self.mountpoint / "link").read_text(), "sub\n" * 1000)

    def mount_entry(self):
        for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
            source, where, kind, options = line.split()[:4]
            if where == str(self.mountpoint):
                return source, kind, options.split(",")
        return None

    def on_terminal(self, *words, answers):
        """Runs ours on a terminal of its own; `answers`: (prompt, answer) in their order. Returns what it
        showed and its exit code."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(self.bin / words[0], list(map(str, words)))
        shown, end = b"", time.monotonic() + 30
        waiting = list(answers)
        seen = 0
        while time.monotonic() < end:
            try:
                piece = os.read(terminal, 4096)
            except OSError:
                break
            if not piece:
                break
            shown += piece
            while waiting and (at := shown.find(waiting[0][0].encode(), seen)) >= 0:
                seen = at + len(waiting[0][0])
                time.sleep(0.1)  # the terminal's echo is off once the prompt is there
                os.write(terminal, waiting.pop(0)[1].encode())
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
        self.assertEqual(waiting, [], shown)
        return shown.decode(), os.waitstatus_to_exitcode(status)
