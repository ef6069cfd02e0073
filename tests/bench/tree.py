# SPDX-License-Identifier: Apache-2.0
"""The trees that are unpacked: a fixed part of Debian's linux-source, or a made-up one like it.

Owns where the kernel source is looked for. The same inputs give the same archive, byte for byte.
"""

import io
import math
import random
import re
import subprocess
import tarfile
from pathlib import Path

from workspace import Unavailable, run

FILES = 10081
PARTS = ("fs", "include", "net")  # with the first files of net: 10,081 files, 113 MB
MEAN_LOG, SIGMA_LOG = math.log(4300), 1.4  # sizes of the kernel's files: median 4 KiB, mean 11.5 KB
TOP = "tree"


def kernel_archive():
    """The newest /usr/src/linux-source-6.12*.tar.xz."""
    found = sorted(Path("/usr/src").glob("linux-source-6.12*.tar.xz"))
    if not found:
        raise Unavailable("no /usr/src/linux-source-6.12.tar.xz (apt-get install linux-source-6.12)")
    return found[-1]


def kernel_tar(work):
    """The whole kernel source, decompressed once, so that xz is not part of any figure."""
    target = work.path / "linux.tar"
    if not target.exists():
        with open(target, "wb") as out:
            subprocess.run(["xz", "-T0", "-dc", kernel_archive()], stdout=out, check=True)
    return target


def _add(out, name, data=None, link=None):
    info = tarfile.TarInfo(name)
    info.mtime = 1700000000
    if link is not None:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, link, 0o777
    elif data is None:
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    else:
        info.size, info.mode = len(data), 0o644
    out.addfile(info, io.BytesIO(data) if data is not None else None)


def _kernel_part(out, files):
    """The first `files` regular files of PARTS, in the archive's order."""
    wanted = re.compile(rf"linux-source-[^/]*/(?:{'|'.join(PARTS)})(?:/|$)")
    _add(out, TOP)
    count = 0
    with subprocess.Popen(["xz", "-T0", "-dc", kernel_archive()], stdout=subprocess.PIPE) as xz:
        with tarfile.open(fileobj=xz.stdout, mode="r|") as source:
            for member in source:
                if not wanted.match(member.name):
                    continue
                if member.isfile():
                    count += 1
                    if count > files:
                        break
                data = source.extractfile(member) if member.isfile() else None
                member.name = TOP + "/" + member.name.partition("/")[2]
                out.addfile(member, data)
        xz.kill()


def _made_up(out, files):
    """About 21 files to a directory, three deep, sizes log-normal."""
    choose = random.Random(20240607)
    _add(out, TOP)
    made = 0
    for outer in range(math.ceil(files / 210)):
        _add(out, f"{TOP}/part-{outer:03}")
        for inner in range(10):
            here = f"{TOP}/part-{outer:03}/unit-{inner:02}"
            if made < files:
                _add(out, here)
            for _ in range(min(21, files - made)):
                size = min(int(choose.lognormvariate(MEAN_LOG, SIGMA_LOG)), 3000000)
                _add(out, f"{here}/source_{made:06}.c", choose.randbytes(size))
                made += 1


def made_up_tree(target, files):
    """The made-up archive, wherever: nothing has to be installed for it."""
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as out:
        _made_up(out, files)


def small_tree(work, files=FILES, kept=None):
    """The archive of about 10,000 files. `kept` names a copy to use, or to make, outside the workspace."""
    target = Path(kept) if kept else work.path / f"tree-{files}.tar"
    if target.exists():
        return target
    partial = target.with_name(target.name + ".partial")
    with tarfile.open(partial, "w", format=tarfile.GNU_FORMAT) as out:
        try:
            kernel_archive()
            fill = _kernel_part
        except Unavailable:
            fill = _made_up
        fill(out, files)
    partial.rename(target)
    return target


def describe(archive):
    """(files, directories, bytes) of an archive."""
    files = dirs = size = 0
    with tarfile.open(archive) as source:
        for member in source:
            files += member.isfile()
            dirs += member.isdir()
            size += member.size if member.isfile() else 0
    return files, dirs, size


def unpack(archive, root):
    run(["tar", "-xf", archive, "-C", root])
