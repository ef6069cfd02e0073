# SPDX-License-Identifier: Apache-2.0
"""What every live test needs: a scratch place with a lower file system, a volume, a daemon.

$EXTENCFS names the program under test. $EXTENCFS_PEER=gocryptfs|bind runs the same test on another
file system, to see that the test itself works (bind is the lower file system itself).
$EXTENCFS_TRANSPORT=classic|uring mounts with that transport. Everything that is
mounted or started here is undone by Scratch.__exit__, also after a failure.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SKIP = 77  # the exit code that CMake's SKIP_RETURN_CODE knows
PASSWORD = "correct horse battery staple"
MOUNT_SECONDS = 60


class TestFailed(Exception):
    pass


def skip(reason):
    print(f"SKIPPED: {reason}")
    sys.exit(SKIP)


def peer():
    return os.environ.get("EXTENCFS_PEER", "extencfs")


def program():
    if peer() == "bind":
        return "/bin/true"
    if peer() != "extencfs":
        return shutil.which(peer()) or skip(f"{peer()} is not installed")
    found = os.environ.get("EXTENCFS", "")
    if not found:
        skip("EXTENCFS does not name the extencfs program")
    if not os.access(found, os.X_OK):
        skip(f"no program at {found}")
    return found


def need_mounts():
    """Skips unless this machine lets the test mount FUSE."""
    if not os.path.exists("/dev/fuse"):
        skip("no /dev/fuse")
    if os.geteuid() != 0 and not shutil.which("fusermount3"):
        skip("not root, and no fusermount3")


def need_root():
    if os.geteuid() != 0:
        skip("needs root")


def need_tool(name):
    if not shutil.which(name):
        skip(f"{name} is not installed")


def check(condition, message):
    if not condition:
        raise TestFailed(message)


def is_mounted(path):
    path = os.path.realpath(path)
    with open("/proc/self/mountinfo") as table:
        return any(line.split()[4].encode().decode("unicode_escape") == path for line in table)


def wait_until(what, condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TestFailed(f"{what}: not after {seconds} s")
        time.sleep(0.01)


class Daemon:
    """A mounted volume, the daemon in the foreground so that its pid and log are ours."""

    def __init__(self, volume, mountpoint, options=(), mode=None, limits=None, read_only=False, env=None):
        self.mountpoint = mountpoint
        self.log_path = volume.scratch.file("log")
        os.makedirs(mountpoint, exist_ok=True)
        command = mount_command(volume, mountpoint, options, mode, read_only)
        self._log = open(self.log_path, "wb")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._log,
                                        stderr=subprocess.STDOUT, preexec_fn=limits, env=os.environ | (env or {}))
        volume.scratch.daemons.append(self)
        self._wait()

    def _wait(self):
        def ready():
            if is_mounted(self.mountpoint):
                return True
            # bind: mount(8) is done as soon as it has ended.
            if self.process.poll() is not None and not is_mounted(self.mountpoint):
                raise TestFailed(f"mount ended with {self.process.returncode}: {self.log()}")
            return False
        wait_until("mount", ready, MOUNT_SECONDS)
        if peer() == "gocryptfs":
            time.sleep(1)  # it hangs on a request that comes before its own poll of the mount
        os.stat(self.mountpoint)

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return peer() == "bind" or self.process.poll() is None

    def log(self):
        with open(self.log_path, errors="replace") as log:
            return log.read()

    def peak_kib(self):
        """The daemon's peak resident memory."""
        if peer() == "bind":
            return 0
        with open(f"/proc/{self.pid}/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1])
        return 0

    def stats(self):
        done = subprocess.run([program(), "stats", "--json", self.mountpoint], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def descriptors(self):
        return 0 if peer() == "bind" else len(os.listdir(f"/proc/{self.pid}/fd"))

    def kill(self):
        """kill -9. The dead mount stays until detach(), so that its users see it dead, not gone."""
        if peer() != "bind":
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(30)

    def detach(self):
        for _ in range(50):
            if not is_mounted(self.mountpoint):
                return
            subprocess.run(["umount", "-l", self.mountpoint], check=False,
                           stderr=subprocess.DEVNULL)
            time.sleep(0.02)

    def unmount(self, seconds=120):
        """Unmounts as a user does; fails if the mount is busy or the daemon does not end well."""
        deadline = time.monotonic() + seconds
        while is_mounted(self.mountpoint):
            done = subprocess.run(unmount_command(self.mountpoint), capture_output=True, text=True,
                                  check=False)
            if done.returncode == 0:
                break
            if time.monotonic() > deadline:
                raise TestFailed(f"unmount: {done.stdout}{done.stderr}")
            time.sleep(0.1)
        if peer() != "bind":
            code = self.process.wait(seconds)
            check(code == 0, f"the daemon ended with {code}: {self.log()[-2000:]}")
        check(not is_mounted(self.mountpoint), "still mounted after unmount")

    def clean_up(self):
        with contextlib.suppress(OSError):
            self.detach()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._log.close()


def mount_command(volume, mountpoint, options, mode, read_only):
    options = list(options)
    if peer() == "bind":
        return ["mount", "--bind"] + (["-o", "ro"] if read_only else []) + [volume.lower, mountpoint]
    if peer() == "gocryptfs":
        wanted = [o for o in options if o != "allow_other"]
        return ([program(), "-q", "-fg", "-nosyslog", "-acl", "-passfile", volume.passfile]
                + (["-allow_other"] if "allow_other" in options else [])
                + (["-ro"] if read_only else []) + (["-o", ",".join(wanted)] if wanted else [])
                + [volume.lower, mountpoint])
    command = [program(), "mount", "-f", "--passfile", volume.passfile]
    command += [o for o in options if o.startswith("--")]
    options = [o for o in options if not o.startswith("--")]
    if options:
        command += ["-o", ",".join(options)]
    if mode:
        command += ["--mode", mode]
    if os.environ.get("EXTENCFS_TRANSPORT"):
        command += ["--transport", os.environ["EXTENCFS_TRANSPORT"]]
    if read_only:
        command += ["--ro"]
    return command + [volume.lower, mountpoint]


def unmount_command(mountpoint):
    if peer() == "extencfs":
        return [program(), "unmount", mountpoint]
    return ["umount", mountpoint]


class Volume:
    """A volume in `lower`, made by the program under test."""

    def __init__(self, scratch, lower, init_options=()):
        self.scratch = scratch
        self.lower = lower
        self.passfile = scratch.file("pass")
        with open(self.passfile, "w") as out:
            out.write(PASSWORD + "\n")
        os.chmod(self.passfile, 0o600)
        os.makedirs(lower, exist_ok=True)
        self._init(init_options)

    def _init(self, init_options):
        if peer() == "bind":
            return
        if peer() == "gocryptfs":
            command = [program(), "-init", "-q", "-scryptn", "10", "-passfile", self.passfile,
                       self.lower]
        else:
            command = [program(), "init", "--passfile", self.passfile, "--kdf", "interactive",
                       *init_options, self.lower]
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL)
        check(done.returncode == 0, f"init failed ({done.returncode}): {done.stdout}{done.stderr}")

    def mount(self, mountpoint=None, **how):
        if mountpoint is None:
            mountpoint = self.scratch.path("mnt")
        return Daemon(self, mountpoint, **how)


class Scratch:
    """A directory under $TMPDIR; mounts made in it are taken away at the end."""

    def __init__(self, keep=False):
        self.keep = keep or bool(os.environ.get("EXTENCFS_KEEP"))
        self.daemons = []
        self.mounts = []
        self._count = 0

    def __enter__(self):
        self.root = os.path.realpath(tempfile.mkdtemp(prefix="extencfs-live-"))
        os.chmod(self.root, 0o755)
        return self

    def path(self, name):
        return os.path.join(self.root, name)

    def file(self, kind):
        self._count += 1
        return self.path(f"{kind}.{self._count}")

    def lower_fs(self, kind, size="4g", options=""):
        """Mounts a fresh tmpfs or ext4 (on a loop device) and returns its path; skips if it cannot."""
        need_root()
        place = self.file(kind)
        os.mkdir(place)
        if kind == "tmpfs":
            command = ["mount", "-t", "tmpfs", "-o",
                       f"size={size},mode=0755,nr_inodes=0{options}", "none", place]
        else:
            image = self.file("image")
            subprocess.run(["truncate", "-s", size, image], check=True)
            made = subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1", image],
                                  capture_output=True, text=True, check=False)
            if made.returncode != 0:
                skip(f"mkfs.ext4: {made.stderr.strip()}")
            command = ["mount", "-o", "loop,acl,user_xattr" + options, image, place]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            skip(f"cannot mount {kind}: {done.stderr.strip()}")
        self.mounts.append(place)
        return place

    def __exit__(self, kind, error, trace):
        for daemon in reversed(self.daemons):
            daemon.clean_up()
        for place in reversed(self.mounts):
            subprocess.run(["umount", "-l", place], check=False)
        if self.keep and error:
            print(f"kept: {self.root}")
        else:
            shutil.rmtree(self.root, ignore_errors=True)


def main(run):
    """Runs a test, prints its verdict, exits 0, 1 or SKIP. SIGTERM ends it as a failure does: nothing stays mounted."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        failures = run()
    except TestFailed as failed:
        failures = [str(failed)]
    for failure in failures or []:
        print(f"FAILED: {failure[:400]}")
    print("failed" if failures else "passed")
    sys.stdout.flush()
    sys.exit(1 if failures else 0)
