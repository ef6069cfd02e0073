# SPDX-License-Identifier: Apache-2.0
"""Mounts of one EncFS volume: by encfs 1.9.5, the oracle, and by the program under test."""

import os
import subprocess

import lib
import legacy_cases

# Blowfish is in a provider that OpenSSL 3 does not load by itself; encfs crashes without it.
OPENSSL = """openssl_conf = c
[c]
providers = p
[p]
default = on
legacy = on
[on]
activate = 1
"""


class EncfsDaemon(lib.Daemon):
    """The volume as encfs shows it, its daemon in the foreground and our child."""

    def __init__(self, volume, mountpoint, answers=(), options=()):  # pylint: disable=super-init-not-called
        self.mountpoint = mountpoint
        self.log_path = volume.scratch.file("log")
        os.makedirs(mountpoint, exist_ok=True)
        environment = dict(os.environ, OPENSSL_CONF=volume.openssl_conf)
        command = ["encfs", "-f", "-S", *options, volume.lower, mountpoint]
        self._log = open(self.log_path, "wb")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=self._log,
                                        stderr=subprocess.STDOUT, env=environment)
        volume.scratch.daemons.append(self)
        with self.process.stdin as stdin:
            stdin.write("\n".join([*answers, lib.PASSWORD, ""]).encode())
        self._wait()

    def unmount(self, seconds=120):
        def gone():
            return subprocess.run(["umount", self.mountpoint], check=False,
                                  stderr=subprocess.DEVNULL).returncode == 0
        lib.wait_until("umount of encfs", gone, seconds)
        code = self.process.wait(seconds)
        lib.check(code == 0, f"encfs ended with {code}: {self.log()[-2000:]}")


class LegacyVolume:
    """A volume of EncFS in `lower`. Nothing but encfs has made what is in it, or encfs accepts it."""

    def __init__(self, scratch, lower, case):
        self.scratch, self.lower, self.case = scratch, lower, case
        self.passfile = scratch.path("pass")
        self.openssl_conf = scratch.path("openssl.cnf")
        for path, text in ((self.passfile, lib.PASSWORD + "\n"), (self.openssl_conf, OPENSSL)):
            with open(path, "w") as out:
                out.write(text)
            os.chmod(path, 0o600)
        os.makedirs(lower)
        if case.form not in ("standard", "paranoia", "expert"):
            legacy_cases.write(case, lower, lib.PASSWORD.encode())

    def by_encfs(self, first=False):
        answers, options = (), ["--insecure"] if self.case.plain else []
        if first and self.case.form == "expert":
            answers = self.case.answers()
        elif first and self.case.form in ("standard", "paranoia"):
            options.append(f"--{self.case.form}")
        return EncfsDaemon(self, self.scratch.file("mnt"), answers, options)

    def by_subject(self, self_check, read_only=False):
        if self_check:
            return self.by_encfs()
        return lib.Daemon(self, self.scratch.file("mnt"), read_only=read_only)

    def entries_below(self):
        """How many entries the lower directory has, the configuration left out."""
        count = sum(len(dirs) + len(files) for _, dirs, files in os.walk(os.fsencode(self.lower)))
        return count - sum(name.startswith(".encfs") for name in os.listdir(self.lower)
                           if name in (".encfs6.xml", ".encfs5", ".encfs4"))


def need_encfs():
    lib.need_tool("encfs")
    done = subprocess.run(["encfs", "--version"], capture_output=True, text=True, check=False)
    version = (done.stdout + done.stderr).strip().split()
    if "1.9.5" not in version:
        lib.skip(f"encfs is {' '.join(version)}, not 1.9.5")
