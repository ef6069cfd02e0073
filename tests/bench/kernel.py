# SPDX-License-Identifier: Apache-2.0
"""Building a tiny kernel: what must be installed, the two commands, and how one knows that it worked."""

import os
import shutil
import subprocess
import time
from pathlib import Path

from tree import kernel_archive
from workspace import Unavailable

PROGRAMS = {"make": "make", "gcc": "gcc", "flex": "flex", "bison": "bison", "bc": "bc", "xz": "xz-utils"}
HEADERS = {"libelf.h": "libelf-dev", "openssl/opensslv.h": "libssl-dev"}


def _has_header(name):
    probe = subprocess.run(["gcc", "-E", "-x", "c", "-"], input=f"#include <{name}>\n", capture_output=True,
                           text=True, check=False)
    return probe.returncode == 0


def missing_packages():
    missing = {package for program, package in PROGRAMS.items() if shutil.which(program) is None}
    if "gcc" not in missing:
        missing |= {package for header, package in HEADERS.items() if not _has_header(header)}
    try:
        kernel_archive()
    except Unavailable:
        missing.add("linux-source-6.12")
    return sorted(missing)


def need_packages(install=False):
    """Raises Unavailable with the command that helps; `install` runs it."""
    missing = missing_packages()
    if missing and install:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *missing], check=True,
                       env=environment)
        missing = missing_packages()
    if missing:
        raise Unavailable(f"not installed: apt-get install {' '.join(missing)}  (or give --install)")


def source_dir(root):
    """Where the archive's top directory is below `root`."""
    found = [entry for entry in Path(root).iterdir() if entry.name.startswith("linux-source-")]
    if len(found) != 1:
        raise RuntimeError(f"expected one linux-source directory in {root}, found {len(found)}")
    return found[0]


def build(source, log, jobs=2):
    """`make tinyconfig; make -jJOBS`: the seconds it took. Fails unless there is a new kernel at the end."""
    fixed = {"KBUILD_BUILD_TIMESTAMP": "2024-01-01", "KBUILD_BUILD_USER": "bench", "KBUILD_BUILD_HOST": "bench"}
    environment = {**os.environ, "LC_ALL": "C", **fixed}
    start = time.perf_counter()
    with open(log, "ab") as out:
        for command in (["make", "tinyconfig"], ["make", f"-j{jobs}"]):
            done = subprocess.run(command, cwd=source, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                  env=environment, check=False)
            if done.returncode:
                tail = Path(log).read_text(encoding="utf-8", errors="replace")[-2000:]
                raise RuntimeError(f"{' '.join(command)} in {source}: exit {done.returncode}\n{tail}")
    taken = time.perf_counter() - start
    image = source / "vmlinux"
    if not image.exists() or image.stat().st_size < 100000:
        raise RuntimeError(f"{source}: make succeeded and left no vmlinux")
    return taken
