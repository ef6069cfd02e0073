# SPDX-License-Identifier: Apache-2.0
"""Attacks on lower bytes, and the files they are tried on (the tamper table of FORMAT.md).

Each returns a list of (label, attack, judge): attack() changes lower files while nothing is mounted,
judge() asks the mount afterwards.
"""

import os

from tamper_layout import (BLOCK, HEADER, HEADER_FIELDS, PAGE, PITCH, blocks, blocks_touched,
                           fragment_parts, fragments, hint, needed, used_fragments)
from tamper_volume import content

SIZES = [1, 4095, 4096, 4097, 3 * 4096 + 17, 300 * 1024, 1024 * 1024]


def patch(path, offset, data):
    with open(path, "r+b") as out:
        out.seek(offset)
        out.write(data)


def read_at(path, offset, size):
    with open(path, "rb") as source:
        source.seek(offset)
        return source.read(size)


def flip(path, offset, bit):
    byte = read_at(path, offset, 1)
    patch(path, offset, bytes([byte[0] ^ (1 << bit)]))


def flips(v):
    """A flipped bit in every header byte, and in every part of first, middle and last fragments."""
    cases = []

    def add(label, length, offset, bit, damaged):
        victim = v.file(f"flip-{len(cases)}", content(length, f"flip {label} {length}"))
        label = f"flipped bit, {length} bytes, {label}"
        if damaged is None:
            cases.append((label, lambda: flip(victim.lower, offset, bit),
                          lambda: v.expect_unreadable(label, victim)))
        else:
            cases.append((label, lambda: flip(victim.lower, offset, bit),
                          lambda: v.expect_blocks(label, victim, damaged)))

    for offset in range(HEADER):
        add(f"header byte {offset}", 1, offset, offset % 8, None)
    for length in SIZES:
        for field, (offset, size) in HEADER_FIELDS.items():
            add(f"header {field}", length, offset + size - 1, 0, None)
        used = used_fragments(length)
        for index in sorted({0, 1, len(used) // 2, len(used) - 1} & set(range(len(used)))):
            offset, size, block = used[index]
            for part, (at, n) in fragment_parts(offset, size).items():
                for where, byte in {"first": at, "middle": at + n // 2, "last": at + n - 1}.items():
                    add(f"fragment {index}, {part}, {where} byte", length, byte, (at + n) % 8, {block})
    return cases


def zeroing(v):
    """Zeroed blocks, fragments and pages, by writing zeros and by punching holes."""
    cases = []

    def add(label, length, offset, size, punch=False):
        victim = v.file(f"zero-{len(cases)}", content(length, f"zero {label} {length}"))
        label = f"{'punched' if punch else 'zeroed'}, {length} bytes, {label}"
        damaged = blocks_touched(length, offset, size)
        if offset < HEADER:
            damaged = set(range(blocks(length)))

        def attack():
            if punch:
                with open(victim.lower, "r+b") as out:
                    punch_hole(out.fileno(), offset, size)
            else:
                end = os.path.getsize(victim.lower)
                patch(victim.lower, offset, bytes(max(0, min(size, end - offset))))
        cases.append((label, attack, lambda: v.expect_blocks(label, victim, damaged)))

    for length in SIZES:
        last = blocks(length) - 1
        for block in sorted({0, 1, last // 2, last} & set(range(last + 1))):
            add(f"block {block}", length, HEADER + PITCH * block, PITCH)
            for number, (offset, size) in enumerate(fragments(block)):
                if blocks_touched(length, offset, size):
                    add(f"block {block} fragment {number}", length, offset, size)
        pages = hint(length) // PAGE
        for page in sorted({0, 1, pages // 2, pages - 1} & set(range(pages))):
            add(f"page {page}", length, page * PAGE, PAGE)
            add(f"page {page}", length, page * PAGE, PAGE, punch=True)
        add("everything", length, 0, hint(length))
        add("everything but the header", length, HEADER, hint(length))
    return cases


def punch_hole(fd, offset, size):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.fallocate64(fd, 3, ctypes.c_int64(offset), ctypes.c_int64(size))
    if done != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def swaps(v):
    """Swapped blocks in and between files, swapped headers."""
    cases = []
    length = 300 * 1024
    for a, b in [(0, 1), (3, 67), (10, 74), (0, 64), (5, 6)]:
        victim = v.file(f"swap-{a}-{b}", content(length, f"swap {a} {b}"))
        label = f"blocks {a} and {b} swapped in a file"

        def attack(victim=victim, a=a, b=b):
            one = read_at(victim.lower, HEADER + PITCH * a, PITCH)
            two = read_at(victim.lower, HEADER + PITCH * b, PITCH)
            patch(victim.lower, HEADER + PITCH * a, two)
            patch(victim.lower, HEADER + PITCH * b, one)
        cases.append((label, attack, lambda label=label, victim=victim, a=a, b=b:
                      v.expect_blocks(label, victim, {a, b})))
    for block in (0, 3, 74):
        x = v.file(f"between-x{block}", content(length, f"x{block}"))
        y = v.file(f"between-y{block}", content(length, f"y{block}"))
        label = f"block {block} swapped between two files"

        def attack(x=x, y=y, block=block):
            one = read_at(x.lower, HEADER + PITCH * block, PITCH)
            patch(x.lower, HEADER + PITCH * block, read_at(y.lower, HEADER + PITCH * block, PITCH))
            patch(y.lower, HEADER + PITCH * block, one)
        cases.append((label, attack, lambda label=label, x=x, block=block:
                      v.expect_blocks(label, x, {block})))
        cases.append((label, lambda: None, lambda label=label, y=y, block=block:
                      v.expect_blocks(label, y, {block})))
    for a, b in [(5000, 5000), (1, 1), (300 * 1024, 20000)]:
        x = v.file(f"header-x{a}-{b}", content(a, f"hx{a}"))
        y = v.file(f"header-y{a}-{b}", content(b, f"hy{b}"))
        label = f"headers of {a} and {b} bytes swapped"

        def attack(x=x, y=y):
            one = read_at(x.lower, 0, HEADER)
            patch(x.lower, 0, read_at(y.lower, 0, HEADER))
            patch(y.lower, 0, one)
        for n, victim in enumerate((x, y)):
            cases.append((label, attack if n == 0 else lambda: None,
                          lambda label=label, victim=victim: v.expect_detected(label, victim)))
    return cases


def cuts(v, every_length):
    """Cut at every length (of a small file), at every boundary and at every valid size hint."""
    cases = []

    def add(directory, length, at):
        victim = v.file(f"{directory}/{length}-{at}", content(length, f"cut {length}"))
        label = f"{length} bytes cut to {at} of {hint(length)}"
        judge = v.expect_detected if at < needed(length) else None

        def attack():
            os.truncate(victim.lower, at)
        if judge:
            cases.append((label, attack, lambda: judge(label, victim)))
        else:
            cases.append((label, attack, lambda: v.expect_eio_or(label, victim, [victim.data])))

    v.directory("cut-small")
    step = 1 if every_length else 61
    points = set(range(0, hint(1), step)) | {0, 1, 63, 64, 65, 4095, 4096}
    for at in sorted(points):
        add("cut-small", 1, at)
    v.directory("cut")
    for length in (4096, 4097, 3 * 4096 + 17, 300 * 1024):
        boundaries = {0, HEADER}
        for offset, size, _ in used_fragments(length):
            boundaries |= {offset, offset + size, offset + 12, offset + 16, offset + size - 16}
        boundaries |= set(range(0, hint(length), PAGE))
        points = {b + d for b in boundaries for d in (-1, 0, 1)}
        points |= {hint(n) for n in range(0, length, 257)} | {hint(n) for n in range(0, length, BLOCK)}
        points = sorted(p for p in points if 0 <= p < hint(length))
        if len(points) > 400 and not every_length:
            points = points[::len(points) // 200] + [HEADER]
        for at in sorted(set(points)):
            add("cut", length, at)
    return cases


def replays(v):
    """Appended bytes, an old tail, an old header, whole old files. Versions are made by update()."""
    cases = []
    for length in (1, 4096, 3 * 4096 + 17):
        for extra in (1, 16, PITCH, 3 * PAGE):
            victim = v.file(f"append-{length}-{extra}", content(length, f"append {length}"))
            label = f"{extra} bytes appended to {length}"

            def attack(victim=victim, extra=extra):
                with open(victim.lower, "ab") as out:
                    out.write(content(extra, "garbage"))
            cases.append((label, attack, lambda label=label, victim=victim:
                          v.expect_eio_or(label, victim, [victim.data])))
    return cases


def sparse(v):
    """What is declared weaker: zeroed data of a sparse file reads as zeros. Nothing else is."""
    cases = []

    def add(label, attack_on, judge):
        piece = content(20000, "sparse")
        victim = v.sparse_file(f"sparse-{len(cases)}", [(0, piece), (200000, piece)], 400000)
        text = f"sparse file, {label}"
        cases.append((text, lambda: attack_on(victim.lower), lambda: judge(text, victim)))

    def zeroed(label, victim):
        block = bytearray(victim.data)
        block[BLOCK:2 * BLOCK] = bytes(BLOCK)
        v.expect_eio_or(label, victim, [victim.data, bytes(block)])

    first = fragments(1)[0]
    add("untouched", lambda path: None, lambda label, victim: v.expect_blocks(label, victim, set()))
    add("flipped bit", lambda path: flip(path, first[0] + 20, 3),
        lambda label, victim: v.expect_blocks(label, victim, {1}))
    add("flipped header bit", lambda path: flip(path, 6, 0), v.expect_unreadable)
    add("zeroed block (declared)", lambda path: patch(path, HEADER + PITCH, bytes(PITCH)), zeroed)
    add("hole filled with garbage",
        lambda path: patch(path, fragments(20)[0][0], content(64, "g")),
        lambda label, victim: v.expect_blocks(label, victim, {20}))
    return cases
