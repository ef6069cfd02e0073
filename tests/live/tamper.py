#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Attacks a volume's lower files in every way of FORMAT.md's tamper table and asks a mount.

Detected: EIO for what was damaged, everything else readable and right, no wrong byte ever, the
daemon alive, the log names the lower file and block. What the format declares undetectable is
asserted as declared. With --every, files are cut at every single length.
"""

import argparse
import json
import os
import re
import subprocess
import sys

import lib
import tamper_attacks
import tamper_places
from tamper_attacks import flip, patch
from tamper_layout import HEADER, fragments, needed
from tamper_volume import Attacked, content

GROUPS = {
    "flips": tamper_attacks.flips, "zeroing": tamper_attacks.zeroing, "swaps": tamper_attacks.swaps,
    "replays": tamper_attacks.replays, "sparse": tamper_attacks.sparse,
    "names": tamper_places.names, "long names": tamper_places.long_names,
    "directories": tamper_places.directories, "symlinks": tamper_places.symlinks,
    "xattrs": tamper_places.xattrs,
}


def run_group(scratch, name, make_cases, init_options):
    """One volume, many victims, every attack at once, one mount that is asked."""
    v = Attacked(scratch, init_options)
    cases = make_cases(v)
    control = v.file("control", content(50000, "control"))
    v.stamp_directories()
    v.unmount()
    v.find()
    for _, attack, _ in cases:
        attack()
    v.remount()
    for label, _, judge in cases:
        try:
            judge()
        except OSError as error:
            v.fail(label, f"unexpected {error}")
        if not v.daemon.alive():
            v.fail(label, "THE DAEMON IS DEAD")
            return v.failures
    v.expect_blocks("untouched file", control, set())
    log = v.daemon.log()
    for victim in v.victims:
        # Plaintext names never reach the log (short ones could be there by chance).
        if len(os.path.basename(victim.name)) > 8 and os.path.basename(victim.name) in log:
            v.fail("log", f"shows the plaintext name {victim.name}")
    v.unmount()
    print(f"{name}: {len(cases)} attacks, {len(v.failures)} failures", flush=True)
    return v.failures


def versions(scratch, init_options):
    """Replays of what the attacker kept from before: an old tail, an old header, an old file."""
    v = Attacked(scratch, init_options)
    old_data = content(20000, "old")
    names = ("tail", "header", "file", "fragment")
    victims = {name: v.file(f"version-{name}", old_data) for name in names}
    v.unmount()
    v.find()
    kept = {}
    for name, victim in victims.items():
        with open(victim.lower, "rb") as source:
            kept[name] = source.read()
    v.remount()
    # tail: shortened. header: grown. file: overwritten. fragment: block 1 overwritten.
    os.truncate(v.upper("version-tail"), 3 * 4096 + 17)
    victims["tail"].data = old_data[:3 * 4096 + 17]
    grown = old_data + content(30000, "grown")
    for name, data in (("header", grown), ("file", content(25000, "new")),
                       ("fragment", old_data[:4096] + content(4096, "new 1") + old_data[8192:])):
        with open(v.upper(f"version-{name}"), "r+b") as out:
            out.write(data)
        victims[name].data = data
    for victim in victims.values():
        v.restamp(victim)
    v.unmount()
    v.find()
    tail_end = needed(len(victims["tail"].data))
    with open(victims["tail"].lower, "r+b") as out:
        out.truncate(tail_end)
        out.seek(tail_end)
        out.write(kept["tail"][tail_end:])
    patch(victims["header"].lower, 0, kept["header"][:HEADER])
    with open(victims["file"].lower, "wb") as out:
        out.write(kept["file"])
    for offset, size in fragments(1):
        patch(victims["fragment"].lower, offset, kept["fragment"][offset:offset + size])
    v.remount()
    v.expect_eio_or("old tail appended", victims["tail"], [victims["tail"].data])
    # Declared: the header is the authority on length, its rollback is a rollback of the length.
    v.expect_eio_or("old header (declared)", victims["header"],
                    [old_data, victims["header"].data, victims["header"].data[:20000]])
    v.expect_eio_or("whole old file (declared)", victims["file"], [old_data])
    v.expect_eio_or("old block (declared)", victims["fragment"], [old_data, victims["fragment"].data])
    v.unmount()
    print(f"versions: 4 attacks, {len(v.failures)} failures", flush=True)
    return v.failures


def log_names_damage(scratch, init_options):
    """The log says which lower file and which block, and no plaintext name."""
    v = Attacked(scratch, init_options)
    v.directory("plainly-visible-directory")
    victims = {block: v.file(f"plainly-visible-directory/plainly-visible-name-{block}",
                             content(100000, block)) for block in (0, 7, 24)}
    v.stamp_directories()
    v.unmount()
    v.find()
    for block, victim in victims.items():
        flip(victim.lower, fragments(block)[0][0] + 20, 1)
    v.remount()
    for block, victim in victims.items():
        v.expect_blocks(f"block {block} flipped", victim, {block})
    v.unmount()
    log = v.daemon.log()
    for block, victim in victims.items():
        lines = [line for line in log.splitlines() if os.path.basename(victim.lower) in line]
        if not lines:
            v.fail("log", f"does not name the lower file of block {block}: {log[-500:]}")
        elif not any(re.search(rf"block {block}\b", line) for line in lines):
            v.fail("log", f"does not name block {block}: {lines[0]}")
    if "plainly-visible" in log:
        v.fail("log", "shows a plaintext name")
    print(f"log: {len(v.failures)} failures", flush=True)
    return v.failures


def members(value, path=()):
    if isinstance(value, dict):
        for key, item in value.items():
            yield path + (key,)
            yield from members(item, path + (key,))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from members(item, path + (index,))


def altered(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        if not value:
            return "x"
        middle = len(value) // 2
        return value[:middle] + ("B" if value[middle] != "B" else "C") + value[middle + 1:]
    if isinstance(value, list):
        return value + value if value else ["x"]
    return {"x": 1}


def tampered_texts(text):
    """(label, text) for each member changed and removed, and for texts that are no configuration."""
    config = json.loads(text)
    for path in members(config):
        for action in ("changed", "removed"):
            copy = json.loads(text)
            place = copy
            for step in path[:-1]:
                place = place[step]
            if action == "changed":
                place[path[-1]] = altered(place[path[-1]])
            else:
                del place[path[-1]]
            yield f"{'.'.join(map(str, path))} {action}", json.dumps(copy, indent=2)
    extra = dict(config, unknown=1)
    yield "unknown member", json.dumps(extra)
    yield "unknown feature", json.dumps(dict(config, features=["no-such-feature"]))
    yield "empty", ""
    yield "cut", text[:len(text) // 2]
    yield "not JSON", "\0\xff{"
    yield "deep", "[" * 200000
    yield "huge number", text.replace("1", "1" * 400, 1)


def configuration(scratch, init_options):
    """Every member changed, in the file and its backup copy: the volume is refused, not mounted."""
    v = Attacked(scratch, init_options)
    kept = v.file("kept", content(9000, "kept"))
    v.unmount()
    files = [os.path.join(v.root, name) for name in ("extencfs.conf", "extencfs.conf.bak")]
    texts = {}
    for path in files:
        if os.path.exists(path):
            with open(path) as source:
                texts[path] = source.read()
    mountpoint = scratch.path("mnt")
    count = 0

    def try_mount():
        command = lib.mount_command(v.volume, mountpoint, (), None, False)
        command.remove("-f")
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        finally:
            if lib.is_mounted(mountpoint):
                subprocess.run(lib.unmount_command(mountpoint), check=False)
                raise lib.TestFailed("mounted with a tampered configuration")
    for label, text in tampered_texts(texts[files[0]]):
        count += 1
        for path in texts:
            with open(path, "w", errors="surrogateescape") as out:
                out.write(text)
        try:
            done = try_mount()
        except lib.TestFailed as failed:
            v.fail(f"configuration, {label}", str(failed))
            continue
        except subprocess.TimeoutExpired:
            v.fail(f"configuration, {label}", "mount did not return in 60 s")
            continue
        if done.returncode <= 0:
            v.fail(f"configuration, {label}", f"mount ended with {done.returncode}")
        elif not done.stderr.strip():
            v.fail(f"configuration, {label}", "mount failed without a word")
    # Only the file itself damaged: the backup copy opens the volume, or it is refused clearly.
    for path, text in texts.items():
        with open(path, "w") as out:
            out.write(text)
    v.remount()
    v.expect_blocks("configuration put back", kept, set())
    v.unmount()
    print(f"configuration: {count} attacks, {len(v.failures)} failures", flush=True)
    return v.failures


def run():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", action="store_true", help="cut at every length")
    parser.add_argument("--group", action="append", help="only these groups")
    parser.add_argument("--cipher", help="the cipher to init with")
    options = parser.parse_args()
    lib.need_mounts()
    lib.need_root()
    lib.program()
    if lib.peer() != "extencfs":
        lib.skip("the attacks are on format 1")
    groups = dict(GROUPS)
    groups["cuts"] = lambda v: tamper_attacks.cuts(v, options.every)
    init_options = ["--cipher", options.cipher] if options.cipher else []
    whole = {"versions": versions, "log": log_names_damage, "configuration": configuration}
    failures = []
    for name in list(groups) + list(whole):
        if options.group and name not in options.group:
            continue
        with lib.Scratch() as scratch:
            if name in groups:
                found = run_group(scratch, name, groups[name], init_options)
            else:
                found = whole[name](scratch, init_options)
        failures += [f"{name}: {failure}" for failure in found]
    return failures


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    lib.main(run)
