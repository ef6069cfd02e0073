# SPDX-License-Identifier: Apache-2.0
"""Ways to write a file, each at the places where the blocks of a volume begin and end.

Every step opens the file anew with no more rights than it needs, so that a write into a block must
read what it may not; `held` shapes do all on one descriptor.
"""

import mmap
import os
import random
from dataclasses import dataclass

_source = random.Random(20).randbytes(1 << 20)


def some_bytes(length, turn=0):
    start = (turn * 7919) % 65536
    return _source[start:start + length]


@dataclass(frozen=True)
class Shape:
    name: str
    base: int  # size of what is there at first
    steps: tuple
    held: bool = False


def shapes(unit, holes):
    """`unit`: plain bytes in a block. Where holes are not allowed the far places are nearer."""
    far = (1 << 20) + unit // 2 if holes else 21 * unit + unit // 2
    tail = 3 * unit + 17
    table = {
        "over middle": (tail, ("write", unit // 2, 3)),
        "over boundary": (tail, ("write", unit - 2, 7)),
        "over whole block": (tail, ("write", unit, unit)),
        "over two and a half": (tail, ("write", unit // 2, 2 * unit)),
        "over tail": (tail, ("write", 3 * unit + 3, 5)),
        "beyond tail": (tail, ("write", 3 * unit + 10, 30)),
        "by map": (tail, ("map", unit - 3, 9)),
        "append to full": (unit - 1, ("append", 1)),
        "append after full": (unit, ("append", 1)),
        "append across": (unit - 1, ("append", unit + 2)),
        "append often": (0, *[("append", unit // 3 + 1)] * 7),
        "cut middle": (tail, ("truncate", unit + unit // 2)),
        "cut to boundary": (tail, ("truncate", 2 * unit)),
        "cut tail": (tail, ("truncate", 3 * unit + 1)),
        "cut by one": (2 * unit, ("truncate", 2 * unit - 1)),
        "cut to nothing": (tail, ("truncate", 0)),
        "anew": (tail, ("anew", unit + 1)),
        "grow in block": (5, ("truncate", unit - 1)),
        "grow to boundary": (5, ("truncate", 2 * unit)),
        "grow far": (unit + 3, ("truncate", 9 * unit + 4)),
        "grow from nothing": (0, ("truncate", 2 * unit + 7)),
        "grow from full": (unit, ("truncate", unit + 1)),
        "grow by blocks": (unit, ("truncate", 3 * unit)),
        "cut and grow": (tail, ("truncate", unit + 3), ("truncate", 3 * unit)),
        "far": (5, ("write", far, 3)),
        "far from nothing": (0, ("write", 6 * unit, unit)),
        "far from full": (2 * unit, ("write", 9 * unit - 1, 3)),
        "into hole": (5, ("write", 8 * unit + 1, 9), ("write", 4 * unit + 2, unit), ("write", 3, 1)),
        "hole written whole": (5, ("truncate", 6 * unit), ("write", 2 * unit, 2 * unit)),
        "zeros": (0, ("zeros", 0, 3 * unit + 5)),
        "zeros over": (3 * unit, ("zeros", unit, unit)),
        "large": (0, ("write", 0, 300001)),
        "last hole": (unit + 5, ("truncate", far)),
    }
    made = [Shape(name, base, tuple(steps)) for name, (base, *steps) in table.items()]
    made.append(Shape("held", tail, (("write", 4 * unit + 3, unit), ("truncate", 2 * unit + 1),
                                     ("write", 2 * unit - 1, 3), ("zeros", 5 * unit, 2 * unit + 1),
                                     ("truncate", 6 * unit + 2), ("write", 0, 1)), held=True))
    return made + [_at_random(unit, turn) for turn in range(4)]


def _at_random(unit, turn):
    """Steps that nobody thought of, the same in each run, mostly near the ends of blocks."""
    choose = random.Random(unit * 4 + turn)

    def place():
        near = choose.randrange(7) * unit + choose.randint(-2, 2)
        return max(0, choose.choice((near, near, choose.randrange(7 * unit))))

    held = turn >= 2
    steps = []
    for _ in range(12):
        kind = choose.choice(("write", "write", "zeros", "truncate", "write" if held else "append"))
        length = 1 + place() // 2
        steps.append({"truncate": (kind, place()), "append": (kind, length)}.get(kind, (kind, place(), length)))
    return Shape(f"at random {turn}", place(), tuple(steps), held)


def _pwrite(fd, data, offset):
    while data:
        done = os.pwrite(fd, data, offset)
        data, offset = data[done:], offset + done


# What encfs 1.9.5 cannot do is done to its mounts in another way that leaves the same.
# It answers EIO when a file with MACs that is not open is truncated within a block.
OPEN_TO_CUT = "open to cut"
# Where files have neither a header nor MACs it truncates below first, then decodes the last block as if it
# had been a whole one, and so destroys it.
WRITE_TO_GROW = "write to grow"


def _on_descriptor(fd, turn, quirks, kind, *how):
    if kind == "truncate":
        size = os.fstat(fd).st_size
        if WRITE_TO_GROW in quirks and how[0] > size:
            kind, how = "zeros", (size, how[0] - size)
        else:
            os.ftruncate(fd, how[0])
            return
    if kind == "zeros":
        _pwrite(fd, bytes(how[1]), how[0])
    else:
        _pwrite(fd, some_bytes(how[1], turn), how[0])


def _step(path, turn, quirks, kind, *how):
    if kind == "truncate" and not quirks:
        os.truncate(path, how[0])
        return
    if kind == "map":
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
            view[how[0]:how[0] + how[1]] = some_bytes(how[1], turn)
        return
    flags = os.O_RDWR if kind == "truncate" else os.O_WRONLY
    if kind == "append":
        kind, how, flags = "write", (0, how[0]), flags | os.O_APPEND
    elif kind == "anew":
        kind, how, flags = "write", (0, how[0]), flags | os.O_TRUNC
    fd = os.open(path, flags)
    try:
        _on_descriptor(fd, turn, quirks, kind, *how)
    finally:
        os.close(fd)


def make_base(folder, shape):
    with open(os.path.join(folder, shape.name), "xb") as out:
        out.write(some_bytes(shape.base))


def do_steps(folder, shape, quirks=()):
    path = os.path.join(folder, shape.name)
    if not shape.held:
        for turn, step in enumerate(shape.steps, 1):
            _step(path, turn, quirks, *step)
        return
    fd = os.open(path, os.O_RDWR)
    try:
        for turn, step in enumerate(shape.steps, 1):
            _on_descriptor(fd, turn, quirks, *step)
    finally:
        os.close(fd)
