# SPDX-License-Identifier: Apache-2.0
"""A photo archive: large files with times, modes, extended attributes, ACLs and links, copied onto the volume by
three programs, compared with the original, and copied back.
"""

import os
import random
import shutil
import socket
import subprocess

from real_tree_manifest import differences, manifest, summary
from real_tree_source import make_tree
from real_tree_volume import Unavailable, check
from workspace import run


def _socket(directory):
    here = os.getcwd()
    os.chdir(directory)  # a socket's path may only be 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind("socket")
    finally:
        os.chdir(here)


def _label(path, number):
    os.setxattr(path, "user.caption", f"photo {number} \u00e9\u00e8".encode())
    os.setxattr(path, "user.empty", b"")
    os.setxattr(path, "user.thumbnail", bytes((n * number) % 256 for n in range(1500)))


def _xattrs_work(directory):
    probe = directory / "probe"
    probe.write_bytes(b"")
    try:
        os.setxattr(probe, "user.probe", b"1")
        return True
    except OSError:
        return False
    finally:
        probe.unlink()


def _photos(work, options):
    """The original, on tmpfs; extended attributes where the kernel's tmpfs has them (6.6 and later)."""
    original = work.path / "photos"
    if original.exists():
        return original
    make_tree(original / "odd", 40, options.plain)
    choose = random.Random(11)
    labels = _xattrs_work(original) and not options.plain
    for number in range(400 if options.full else 50):
        album = original / f"200{number % 8}" / f"event {number % 5}"
        album.mkdir(parents=True, exist_ok=True)
        photo = album / f"IMG_{number:04}.JPG"
        photo.write_bytes(choose.randbytes(choose.randrange(100_000, 5_000_000)))
        if labels:
            _label(photo, number)
        photo.chmod(choose.choice((0o644, 0o640, 0o400)))
        if shutil.which("setfacl") and number % 4 == 0 and not options.plain:
            run(["setfacl", "-m", f"u:{3000 + number}:rw,g:44:r,m::rw", photo])
            run(["setfacl", "-d", "-m", "u:3000:rwx", album])
        os.utime(photo, ns=(choose.randrange(10**18, 17 * 10**17), choose.randrange(10**18, 17 * 10**17)))
    if not options.plain:
        _socket(original / "odd" / "special")
    return original


def _copiers(original, options):
    attributes = not options.plain
    yield "cp", ["cp", "-a"] if attributes else ["cp", "-rdp", "--no-preserve=xattr"]
    if shutil.which("rsync"):
        yield "rsync", ["rsync", "-aH" + ("AX" if attributes else "")]
    yield "tar", None


def _copy(how, command, source, target, options):
    if how == "tar":
        flags = [] if options.plain else ["--xattrs", "--xattrs-include=*", "--acls"]
        # tar leaves sockets out, and says so.
        with subprocess.Popen(["tar", "-C", source, *flags, "--format=pax", "-cf", "-", "."],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as sender:
            done = subprocess.run(["tar", "-C", target, *flags, "-xpf", "-"], stdin=sender.stdout,
                                  capture_output=True, text=True, check=False)
        check(done.returncode == 0, f"tar -x: exit {done.returncode}\n{done.stderr[-1500:]}")
        return
    run([*command, f"{source}/.", f"{target}/"])


def _compare(what, expected, root, options):
    lines = differences(expected, manifest(root, xattrs=not options.plain))
    check(not lines, f"{what}: {len(lines)} entries differ\n{summary(lines)}")


def _without_sockets(table):
    return {path: entry for path, entry in table.items() if entry.kind != f"special {0o140000:o}"}


def photos(volume, options):
    """cp -a, rsync -aHAX and tar --xattrs --acls onto the volume and back: nothing differs."""
    original = _photos(options.work, options)
    expected = manifest(original, xattrs=not options.plain)
    if not options.plain and not any(entry.xattrs for entry in expected.values()):
        raise Unavailable("tmpfs has no user.* attributes here (Linux 6.6 has); --plain tests the rest")
    for how, command in _copiers(original, options):
        wanted = _without_sockets(expected) if how == "tar" else expected
        target = volume.root / how
        target.mkdir()
        _copy(how, command, original, target, options)
        _compare(f"{how}, at once", wanted, target, options)
        volume.remount()
        _compare(f"{how}, after the remount", wanted, target, options)
        back = options.work.path / f"back-{how}"
        back.mkdir()
        _copy(how, command, target, back, options)
        _compare(f"{how}, copied back", wanted, back, options)
        shutil.rmtree(back)
    if shutil.which("rsync"):
        again = run(["rsync", "-aHnic" + ("" if options.plain else "AX"), f"{original}/.", f"{volume.root}/rsync/"]).stdout
        check(again == "", f"a second rsync would copy again:\n{again[:1000]}")
