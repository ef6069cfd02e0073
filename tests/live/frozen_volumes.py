#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Opens volumes that earlier versions made (tests/volumes) and compares all that is in them.

Each is unpacked twice: mounted read-only, and mounted read-write, changed, and mounted once more. A
program that cannot do this has changed the format.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import lib
from real_tree_manifest import differences, Entry, manifest

VOLUMES = Path(__file__).resolve().parent.parent / "volumes"


def listing_of(table):
    """One line of JSON for each entry."""
    lines = []
    for path, entry in sorted(table.items()):
        fields = {name: value for name, value in asdict(entry).items() if value}
        if entry.xattrs:
            fields["xattrs"] = {name: value.hex() for name, value in entry.xattrs}
        lines.append(json.dumps({"path": path, **fields}))
    return "".join(line + "\n" for line in lines)


def parse_listing(text):
    table = {}
    for line in text.splitlines():
        fields = json.loads(line)
        path = fields.pop("path")
        attributes = fields.pop("xattrs", {})
        table[path] = Entry(**{"mode": 0, "uid": 0, "gid": 0, **fields},
                            xattrs=tuple(sorted((name, bytes.fromhex(value))
                                                for name, value in attributes.items())))
    return table


def check_sums(top, place):
    """The contents once more, against the list that sha256sum(1) reads."""
    wrong = []
    lines = (place / "expected.sha256").read_text().splitlines()
    for line in lines:
        digest, path = line.split("  ", 1)
        if hashlib.sha256((top / path).read_bytes()).hexdigest() != digest:
            wrong.append(f"sha256 of {path[:60]!r}")
    return wrong if lines else ["expected.sha256 is empty"]


def holes_are_kept(top):
    """The file with holes still has some: it takes less below than its size."""
    attributes = os.stat(top / "sparse")
    return attributes.st_blocks * 512 < attributes.st_size


class FrozenVolume:
    """An unpacked copy, as lib.Volume without an init."""

    def __init__(self, scratch, place, lower):
        self.scratch = scratch
        self.lower = lower
        self.passfile = scratch.file("pass")
        Path(self.passfile).write_bytes((place / "password").read_bytes())
        os.chmod(self.passfile, 0o600)
        os.mkdir(lower)
        subprocess.run(["tar", "--extract", "--file", place / "volume.tar", "--sparse", "--xattrs",
                        "--xattrs-include=*", "--acls", "--numeric-owner", "--same-owner",
                        "--preserve-permissions", "-C", lower], check=True)

    def mount(self, **how):
        return lib.Daemon(self, self.scratch.file("mnt"), options=["suid", "dev"], **how)


def compare(mount, expected, place, label):
    top = Path(mount.mountpoint)
    failures = [f"{label}: {line}" for line in differences(expected, manifest(top, xattrs=True))]
    failures += [f"{label}: {line}" for line in check_sums(top, place)]
    if not holes_are_kept(top):
        failures.append(f"{label}: the sparse file has no hole")
    return failures


def no_damage(mount, label):
    return [f"{label}: {line}" for line in mount.log().splitlines() if "damage" in line]


def change(top):
    """A bit of everything: into old files, beside them, and away."""
    with open(top / "block and a byte", "ab") as out:
        out.write(b"appended")
    with open(top / "twenty thousand", "r+b") as out:
        out.seek(5000)
        out.write(b"overwritten")
    os.truncate(top / "one block", 100)
    os.rename(top / "nested", top / "nested no more")
    (top / "new").write_bytes(b"new" * 3000)
    os.unlink(top / "long symlink")
    os.rmdir(top / "empty directory")
    os.setxattr(top / "attributes", "user.comment", b"another")


def check_changes(top, before):
    """What change() must have left, given the contents of before()."""
    def has(path, data):
        return [] if (top / path).read_bytes() == data else [f"after changes: {path}"]

    def attribute(path, name, value):
        found = os.getxattr(top / path, name)
        return [] if found == value else [f"after changes: {name} of {path} is {found!r}"]

    overwritten = before["twenty thousand"]
    overwritten = overwritten[:5000] + b"overwritten" + overwritten[5011:]
    failures = has("block and a byte", before["block and a byte"] + b"appended")
    failures += has("twenty thousand", overwritten)
    failures += has("nested no more/hard link", overwritten)
    failures += has("nested no more/renamed directory/inside", before["inside"])
    failures += has("one block", before["one block"][:100])
    failures += has("cut once", before["cut once"])
    failures += has("new", b"new" * 3000)
    failures += attribute("attributes", "user.comment", b"another")
    failures += attribute("nested no more", "user.of.a.directory", b"\x00\x01")
    return failures + [f"after changes: {gone} is back" for gone in
                       ("nested", "long symlink", "empty directory") if os.path.lexists(top / gone)]


def read_all(top):
    paths = {"inside": "nested/renamed directory/inside"}
    names = ("block and a byte", "twenty thousand", "one block", "cut once", "inside")
    return {name: (top / paths.get(name, name)).read_bytes() for name in names}


def try_keys(place, lower):
    """Its other keys open it; with one of them its password is changed, and all others still open."""
    kinds = [kind for kind in ("keyfile", "recovery") if (place / kind).exists()]
    if not kinds:
        return []
    new = lower + ".password"
    Path(new).write_text("another\n")
    password = ["--passfile", place / "password"]
    others = [[f"--{kind}", place / kind] for kind in kinds]
    change = ["change", "--slot", "1", "--new-passfile", new, "--kdf", "interactive", *others[-1]]
    steps = [(0, ["test", *way]) for way in (password, *others)] + [(0, change), (12, ["test", *password])]
    steps += [(0, ["test", *way]) for way in (["--passfile", new], *others)]
    failures = []
    for code, words in steps:
        done = subprocess.run([lib.program(), "key", *words, lower], capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL)
        if done.returncode != code:
            failures.append(f"{place.name}: key {words[0]} {words[1]}: {done.returncode}: {done.stderr}")
    return failures


def try_volume(scratch, place, lower_fs, mode):
    expected = parse_listing((place / "expected.listing").read_text())
    lib.check(len(expected) > 15, f"{place.name}: the listing names {len(expected)} entries")
    volume = FrozenVolume(scratch, place, os.path.join(lower_fs, place.name + ".ro"))
    mount = volume.mount(read_only=True, mode=mode)
    failures = compare(mount, expected, place, f"{place.name}, read-only")
    mount.unmount()
    failures += no_damage(mount, f"{place.name}, read-only")

    volume = FrozenVolume(scratch, place, os.path.join(lower_fs, place.name + ".rw"))
    mount = volume.mount(mode=mode)
    failures += compare(mount, expected, place, f"{place.name}, read-write")
    before = read_all(Path(mount.mountpoint))
    change(Path(mount.mountpoint))
    mount.unmount()
    failures += no_damage(mount, f"{place.name}, read-write")
    mount = volume.mount(mode=mode)
    failures += check_changes(Path(mount.mountpoint), before)
    mount.unmount()
    failures += no_damage(mount, f"{place.name}, mounted again")
    return failures + try_keys(place, volume.lower)


def run():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=("regular", "optimized", "auto"))
    wanted = parser.parse_args()
    lib.need_mounts()
    lib.need_root()  # owners, ACLs, a lower file system of a kind that has attributes
    lib.need_tool("mkfs.ext4")
    if lib.peer() != "extencfs":
        lib.skip("frozen volumes are extencfs's own")
    places = sorted(path.parent for path in VOLUMES.glob("*/volume.tar"))
    lib.check(places, "there are no frozen volumes")
    failures = []
    with lib.Scratch() as scratch:
        lower_fs = scratch.lower_fs("ext4", "1g")
        for place in places:
            try:
                failures += try_volume(scratch, place, lower_fs, wanted.mode)
            except OSError as error:  # what cannot be read or changed at all
                failures.append(f"{place.name}: {error}")
            print(f"{place.name}: compared")
    return failures


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    lib.main(run)
