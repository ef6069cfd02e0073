# SPDX-License-Identifier: Apache-2.0
"""A program on a terminal of its own."""

import os
import pty
import select
import signal
import termios
import time

from cli import EXTENCFS


class Terminal:
    """A program on a terminal of its own, which we type on and look at."""

    def __init__(self, *words):
        self.seen = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            # Whoever runs the tests may have left signals ignored.
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM,
                           signal.SIGTSTP, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            os.execv(EXTENCFS, ["extencfs", *map(str, words)])
        self.status = None

    def expect(self, text, seconds=20):
        end = time.monotonic() + seconds
        while text not in self.seen:
            if not self._read(max(0, end - time.monotonic())):
                raise AssertionError(f"{text!r} did not come: {self.seen!r}")

    def _read(self, seconds):
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return False
        try:
            part = os.read(self.fd, 4096)
        except OSError:
            return False
        self.seen += part.decode(errors="replace")
        return bool(part)

    def type(self, text):
        os.write(self.fd, text.encode())

    def echoes(self):
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def end(self, seconds=30):
        """The exit code, or minus the signal."""
        deadline = time.monotonic() + seconds
        while self.status is None and time.monotonic() < deadline:
            self._read(0.02)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def close(self):
        if self.status is None:
            try:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        os.close(self.fd)
