# SPDX-License-Identifier: Apache-2.0
"""The file systems that are compared: how each is made, mounted and unmounted, with its ordinary defaults.

Every daemon runs in the foreground as our child, so that its processor time and its memory can be
read, and ends before the next step begins. Knows nothing of what is measured.
"""

import gzip
import os
import resource
import shutil
import subprocess
import time
from pathlib import Path

from workspace import Unavailable, drop_caches, is_mounted, run

PASSWORD = "correct horse battery staple"
MOUNT_SECONDS = 60
EXIT_SECONDS = 120
EXAMPLES = Path("/usr/share/doc/libfuse3-dev/examples")


class MountFailed(RuntimeError):
    """The daemon ended, or the mount did not appear in time."""


class FileSystem:
    """One file system in one directory of the workspace. `root` is where its files are seen."""

    encrypted = True

    def __init__(self, spec, work):
        self.spec = spec
        self.work = work
        self.home = work.path / ("fs-" + "".join(c if c.isalnum() else "-" for c in spec))
        self.lower = self.home / "lower"
        self.root = self.home / "mnt"
        self.password_file = self.home / "password"
        self.log = self.home / "daemon.log"
        self.daemon = None
        self.max_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    # What a kind of file system says of itself.
    def check(self):
        """Raises Unavailable when it cannot run here."""

    def make(self):
        """Makes an empty volume in self.lower."""

    def command(self):
        """The foreground daemon's command, None when there is no daemon."""

    def unmount_command(self):
        return ["umount", self.root]

    # What they have in common.
    def create(self):
        shutil.rmtree(self.home, ignore_errors=True)
        self.lower.mkdir(parents=True)
        self.root.mkdir(exist_ok=True)
        self.password_file.write_text(PASSWORD + "\n", encoding="ascii")
        self.password_file.chmod(0o600)
        self.make()

    def mount(self):
        command = self.command()
        if command is None:
            return
        command = ["prlimit", f"--nofile={self.max_files}:{self.max_files}", *map(str, command)]
        with open(self.log, "ab") as log:
            self.daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                           start_new_session=True)
        self.work.daemons.append(self.daemon)
        end = time.monotonic() + MOUNT_SECONDS
        while not is_mounted(self.root):
            if self.daemon.poll() is not None or time.monotonic() > end:
                raise MountFailed(f"{self.spec}: {' '.join(command)}\n{self.log_tail()}")
            time.sleep(0.01)
        os.stat(self.root)
        # Forget the memory of the key derivation, which is over: peak_bytes() is of the work.
        Path(f"/proc/{self.daemon.pid}/clear_refs").write_text("5\n", encoding="ascii")

    def unmount(self):
        if self.daemon is None:
            return
        for attempt in range(20):
            if subprocess.run([str(a) for a in self.unmount_command()], capture_output=True,
                              check=False).returncode == 0:
                break
            if self.daemon.poll() is not None and not is_mounted(self.root):
                break
            time.sleep(0.1 * attempt)
        status = self.daemon.wait(timeout=EXIT_SECONDS)
        self.work.daemons.remove(self.daemon)
        self.daemon = None
        if is_mounted(self.root):
            raise MountFailed(f"{self.spec}: cannot unmount\n{self.log_tail()}")
        if status != 0:
            raise MountFailed(f"{self.spec}: the daemon ended with status {status}\n{self.log_tail()}")

    def remount_cold(self):
        """Nothing of the files is left in a cache of the kernel or of the daemon after this. (Native
        tmpfs *is* the page and entry cache, so it has no cold state.)"""
        self.unmount()
        drop_caches()
        self.mount()

    def destroy(self):
        self.unmount()
        shutil.rmtree(self.home, ignore_errors=True)

    def abandon(self):
        """After a failure: nothing mounted, no daemon, whatever state they are in."""
        if is_mounted(self.root):
            subprocess.run(["umount", "-l", self.root], capture_output=True, check=False)
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait()
            self.work.daemons.remove(self.daemon)
            self.daemon = None
        shutil.rmtree(self.home, ignore_errors=True)

    def log_tail(self):
        if not self.log.exists():
            return ""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
        return "\n".join(line[:300] for line in lines)

    def cpu_seconds(self):
        """Processor time of the daemon since it started."""
        if self.daemon is None:
            return 0.0
        fields = Path(f"/proc/{self.daemon.pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_bytes(self):
        """Greatest resident memory of the daemon since it was ready (VmHWM)."""
        if self.daemon is None:
            return 0
        for line in Path(f"/proc/{self.daemon.pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("no VmHWM in /proc/PID/status")


def need_program(name, package):
    if shutil.which(name) is None:
        raise Unavailable(f"{name} is not installed (apt-get install {package})")


class Native(FileSystem):
    """The tmpfs itself: what the others stand on."""

    encrypted = False

    def make(self):
        self.root = self.lower


class PassthroughLl(FileSystem):
    """libfuse's packaged example, built from the package's source with the packaged library."""

    encrypted = False

    def check(self):
        run(["pkg-config", "--exists", "fuse3"])
        self._unpack("passthrough_ll.c")

    def _unpack(self, name):
        target = self.work.path / name
        if (EXAMPLES / name).exists():
            shutil.copyfile(EXAMPLES / name, target)
        elif (EXAMPLES / f"{name}.gz").exists():
            target.write_bytes(gzip.decompress((EXAMPLES / f"{name}.gz").read_bytes()))
        else:
            raise Unavailable(f"no {name} in {EXAMPLES} (apt-get install libfuse3-dev)")
        return target

    def make(self):
        flags = run(["pkg-config", "--cflags", "--libs", "fuse3"]).stdout.split()
        self._unpack("passthrough_helpers.h")
        self.program = self.work.compile(self._unpack("passthrough_ll.c"), *flags)

    def command(self):
        return [self.program, "-f", "-o", f"source={self.lower},writeback,cache=always", self.root]


class Encfs(FileSystem):
    """EncFS 1.9.5, its standard configuration."""

    def check(self):
        need_program("encfs", "encfs")

    def command(self):
        # The first mount makes the volume.
        return ["encfs", "-f", "--standard", f"--extpass=cat {self.password_file}", self.lower, self.root]


class Gocryptfs(FileSystem):
    """gocryptfs, its defaults."""

    def check(self):
        need_program("gocryptfs", "gocryptfs")

    def make(self):
        run(["gocryptfs", "-init", "-passfile", self.password_file, self.lower])

    def command(self):
        return ["gocryptfs", "-fg", "-passfile", self.password_file, self.lower, self.root]


class Securefs(FileSystem):
    """securefs, its defaults (the lite format)."""

    def check(self):
        need_program("securefs", "securefs")

    def make(self):
        run(["securefs", "create", "--pass", PASSWORD, self.lower])

    def command(self):
        return ["securefs", "mount", "--pass", PASSWORD, self.lower, self.root]


MODES = ("auto", "regular", "optimized", "extfuse")
TRANSPORTS = ("uring", "classic")


class Extencfs(FileSystem):
    """The program under test: $EXTENCFS. `extencfs:regular,classic,cipher=NAME,o=OPTS,shared` choose
    the mode, the transport, the cipher and further options; without them it runs on its defaults.
    `extencfs:encfs` is on a volume that encfs has made, in encfs's standard configuration."""

    def __init__(self, spec, work):
        super().__init__(spec, work)
        self.program = os.environ.get("EXTENCFS", "extencfs")
        self.init_options = []
        self.mount_options = []
        self.on_encfs = False
        for word in filter(None, spec.partition(":")[2].split(",")):
            self._option(word)

    def _option(self, word):
        key, equals, value = word.partition("=")
        if word in MODES:
            self.mount_options += ["--mode", word]
        elif word in TRANSPORTS:
            self.mount_options += ["--transport", word]
        elif word == "shared":
            self.mount_options += ["--shared"]
        elif word == "encfs":
            self.on_encfs = True
        elif key == "cipher" and equals:
            self.init_options += ["--cipher", value]
        elif key == "kdf" and equals:
            self.init_options += ["--kdf", value]
        elif key == "o" and equals:
            self.mount_options += ["-o", value]
        else:
            raise Unavailable(f"{self.spec}: what is '{word}'? Use {', '.join(MODES + TRANSPORTS)}, shared, "
                              "encfs, cipher=, kdf= or o=")

    def check(self):
        if shutil.which(self.program) is None:
            raise Unavailable(f"no extencfs at '{self.program}': build it and set EXTENCFS to its path")
        if self.on_encfs:
            need_program("encfs", "encfs")

    def make(self):
        if self.on_encfs:
            maker = Encfs(self.spec, self.work)  # the same spec: the same place
            maker.mount()
            maker.unmount()
            return
        run([self.program, "init", "--passfile", self.password_file, *self.init_options, self.lower])

    def command(self):
        return [self.program, "mount", "--passfile", self.password_file, "-f", *self.mount_options,
                self.lower, self.root]

    def unmount_command(self):
        return [self.program, "unmount", self.root]


KINDS = {"native": Native, "passthrough_ll": PassthroughLl, "encfs": Encfs, "gocryptfs": Gocryptfs,
         "securefs": Securefs, "extencfs": Extencfs}
DEFAULT = tuple(KINDS)


def file_system(spec, work):
    """The file system named by `spec` (a name of KINDS, for extencfs with options after a colon)."""
    name, colon, _ = spec.partition(":")
    if name not in KINDS or (colon and name != "extencfs"):
        raise Unavailable(f"no file system '{spec}': there are {', '.join(KINDS)}")
    fs = KINDS[name](spec, work)
    fs.check()
    return fs


def split_specs(words):
    """'native,extencfs:regular' may be given with commas or as several words; options of an extencfs
    are joined by '+' on the command line, since the comma is taken."""
    return [part.replace("+", ",") for word in words for part in word.split(",") if part]
