#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# lint-allow(length): one model, read as one argument
"""Crash model of format 1's content layout (FORMAT.md, "Writer rules", "Crash states").

A small machine runs every sequence of operations up to a depth, and dies at every point:
 * kill: after every lower call, and inside a lower write after every whole page of it;
 * power: before every barrier and at the end, every lower page independently holds any version
   written since the last barrier, and size changes persist in order.
Then a reader that follows FORMAT.md reads what is left, and an oracle judges:
 * kill: an acknowledged state reads back exactly; within an operation every byte is old or new, and
   nothing is unreadable;
 * power: a byte that was fsynced reads as it was or as a later write made it; no byte shows a value
   that it never had, nor comes back after it was cut off;
 * a second session over each surviving state keeps all of that;
 * cutting the end off or zeroing a fragment of a dense file is always noticed.

The scale: a fragment holds 2 plaintext bytes, so that inner positions, borders and pages all occur
within a dozen bytes. Fragment q lies in lower page (q + 1) // 2; page 0 holds the header also.

The model proves nothing unless it can fail: each variant below breaks one rule, and must be caught.
"""
import argparse
import collections
import dataclasses
import itertools
import sys

UNREADABLE = "EIO"
SMALL_GAP = 4  # a write this far past the end is sealed zeros; further, it is a hole


@dataclasses.dataclass(frozen=True)
class Rules:
    """The design; each switch is one rule that a variant leaves out."""
    tag_per_fragment: bool = True     # else one tag for a block, across two pages
    padded: bool = True               # else the last fragment is as long as its data
    used_count: bool = True           # fragments say how many of their bytes are data
    header_with_extension: bool = True  # else the header waits for close or fsync
    header_after_data: bool = True    # else the new length comes first
    header_rides_alone: bool = True   # it shares a lower write only if that is one page
    header_before_cut: bool = True    # truncation: header first, then the lower file
    new_cut: bool = True              # truncation to nothing changes the file key
    barrier_before_growth: bool = True  # after a truncation that may not be durable
    barrier_on_any_growth: bool = True  # else only for truncation upwards
    barrier_before_punch: bool = True
    punch_after_durable_flag: bool = True  # else the barrier is only for files not yet sparse
    atomic_create: bool = True
    recovery: bool = True             # a second session trims what lies beyond the header


Header = collections.namedtuple("Header", "cut epoch size sparse")
Fragment = collections.namedtuple("Fragment", "cut number epoch data used write_no")


def page_of(number):
    return (number + 1) // 2


class Lower:
    """A lower file: pages of slots (a fragment number, or "header"), and its size in bytes."""

    def __init__(self, pages=None, size=0):
        self.pages = {p: dict(slots) for p, slots in (pages or {}).items()}
        self.size = size
        self.sync()

    def sync(self):
        self.durable = ({p: dict(s) for p, s in self.pages.items()}, self.size)
        self.log = []

    def write(self, patches, end, after_page):
        """One pwritev. The kernel copies page after page, and a kill stops it between two."""
        for page in sorted(patches):
            slots = dict(self.pages.get(page, {}))
            slots.update(patches[page])
            self.pages[page] = slots
            self.log.append(("page", page, slots))
            after_page()
        if end > self.size:
            self.size = end
            self.log.append(("size", end, None))

    def truncate(self, size):
        self.log.append(("size", size, None))
        for page, slots in list(self.pages.items()):
            kept = {k: v for k, v in slots.items() if k == "header" or 2 * k < size}
            if kept != slots:
                self.pages[page] = kept
                self.log.append(("page", page, kept))
        self.size = size

    def power_states(self):
        sizes = [(-1, self.durable[1])]
        sizes += [(i, e[1]) for i, e in enumerate(self.log) if e[0] == "size"]
        versions = {p: [(-1, s)] for p, s in self.durable[0].items()}
        for i, (kind, page, slots) in enumerate(self.log):
            if kind == "page":
                versions.setdefault(page, [(-1, {})]).append((i, slots))
        pages = sorted(versions)
        seen = set()
        for upto, size in sizes:
            cuts = [(j, self.log[j][1]) for j in range(upto + 1) if self.log[j][0] == "size"]
            choices = []
            for page in pages:
                options = []
                for i, slots in versions[page]:
                    left = tuple(sorted(
                        ((k, v) for k, v in slots.items()
                         if k == "header" or (2 * k < size and not any(
                             i < j and 2 * k >= cut for j, cut in cuts))), key=str))
                    if left not in options:
                        options.append(left)
                choices.append(options)
            for combination in itertools.product(*choices):
                if (size, combination) not in seen:
                    seen.add((size, combination))
                    yield {p: dict(c) for p, c in zip(pages, combination)}, size


def read(rules, pages):
    """What a reader is shown: bytes, or UNREADABLE in their place; None without a header."""
    header = pages.get(0, {}).get("header")
    if header is None:
        return None
    out = []
    for number in range((header.size + 1) // 2):
        want = min(2, header.size - 2 * number)
        piece = pages.get(page_of(number), {}).get(number)
        if piece is None:
            out += [0 if header.sparse else UNREADABLE] * want
            continue
        good = piece.cut == header.cut and piece.number == number
        good &= piece.epoch <= header.epoch + 1
        if not rules.padded:
            good &= len(piece.data) == want
        if not rules.tag_per_fragment:
            mate = pages.get(page_of(number ^ 1), {}).get(number ^ 1)
            needed = 2 * (number ^ 1) < header.size
            good &= not needed or (mate is not None and mate.write_no == piece.write_no)
        if not good:
            out += [UNREADABLE] * want
            continue
        shown = list(piece.data[:want])
        if rules.padded and rules.used_count and piece.used < want:
            fill = 0 if header.sparse else UNREADABLE
            shown = shown[:piece.used] + [fill] * (want - piece.used)
        out += shown
    return out


class Writer:
    """The daemon with one file open. `on_step` is called wherever a kill could fall."""

    def __init__(self, rules, on_step, before_sync):
        self.rules, self.on_step, self.before_sync = rules, on_step, before_sync
        self.lower = Lower()
        self.data, self.holes = [], set()
        self.header, self.header_durable, self.sparse_durable = None, False, False
        self.shrunk, self.write_no = False, 0

    def create(self):
        header = Header(0, 1, 0, False)
        if not self.rules.atomic_create:
            self.on_step()
        self.header = header
        self.lower.write({0: {"header": header}}, 0, lambda: None)
        self.on_step()

    def adopt(self, pages, size):
        """A new session: mount synced everything, then the file is opened for writing."""
        self.lower = Lower(pages, size)
        self.header, self.header_durable = pages[0]["header"], True
        self.sparse_durable = self.header.sparse
        self.data = read(self.rules, pages)
        present = {k for s in pages.values() for k in s if k != "header"}
        count = (len(self.data) + 1) // 2
        self.holes = set(range(count)) - present
        if not self.rules.recovery:
            return
        tail = count - 1
        piece = pages.get(page_of(tail), {}).get(tail) if count else None
        beyond = any(k >= count for k in present) or size > 2 * count
        used_too_far = piece is not None and piece.used > len(self.data) - 2 * tail
        if beyond or used_too_far:
            if piece is not None and used_too_far:
                self.seal(2 * tail, len(self.data))
            self.lower.truncate(2 * count)
            self.on_step()
            self.shrunk = True

    # ---- parts ----

    def epoch(self):
        return self.header.epoch + (1 if self.header_durable else 0)

    def write_lower(self, patches, end):
        self.lower.write(patches, end, self.on_step)

    def next_header(self, size, sparse, cut=None):
        return Header(self.header.cut if cut is None else cut, self.epoch(), size, sparse)

    def commit(self, size, sparse=None):
        header = self.next_header(size, self.header.sparse if sparse is None else sparse)
        if header != self.header:
            self.header, self.header_durable = header, False
            self.write_lower({0: {"header": header}}, 0)

    def barrier(self):
        self.on_step()
        self.before_sync()
        self.lower.sync()
        self.header_durable, self.shrunk = True, False
        self.sparse_durable = self.header.sparse

    def seal(self, start, end, header=None):
        """Seals the fragments of [start, end) in one lower write."""
        self.write_no += 1
        first, last = start // 2, (end - 1) // 2
        if not self.rules.tag_per_fragment:
            first, last = first - first % 2, last | 1
        patches = {}
        size = len(self.data)
        for number in range(first, last + 1):
            if not self.rules.padded and 2 * number >= size:
                continue
            used = max(0, min(2, size - 2 * number))
            data = [self.data[j] if j < size else 0 for j in (2 * number, 2 * number + 1)]
            if not self.rules.padded:
                data = data[:used]
            patches.setdefault(page_of(number), {})[number] = Fragment(
                self.header.cut, number, self.epoch(), tuple(data), used, self.write_no)
            self.holes.discard(number)
        rides = not self.rules.header_rides_alone or set(patches) == {0}
        if header is not None and 0 in patches and rides:
            self.header, self.header_durable = header, False
            patches[0]["header"] = header
        self.write_lower(patches, 2 * (last + 1) if self.rules.padded else min(2 * (last + 1), size))

    def before_growth(self, by_truncate):
        wanted = by_truncate or self.rules.barrier_on_any_growth
        if self.shrunk and self.rules.barrier_before_growth and wanted:
            self.commit(len(self.data))
            self.barrier()

    # ---- operations ----

    def write(self, offset, values):
        size = len(self.data)
        if offset + len(values) > size:
            self.before_growth(by_truncate=False)
        if offset - size >= SMALL_GAP:
            self.truncate(offset)
            size = offset
        start = min(offset, size)
        self.data += [0] * (offset - size)
        self.data[offset:offset + len(values)] = values
        grown = len(self.data) > size
        header = self.next_header(len(self.data), self.header.sparse) if grown else None
        if grown and not self.rules.header_after_data:
            self.commit(len(self.data))
        self.seal(start, offset + len(values), header)
        if grown and self.rules.header_with_extension:
            self.commit(len(self.data))

    def truncate(self, size):
        old = len(self.data)
        if size == 0:
            cut = self.header.cut + (1 if self.rules.new_cut else 0)
            sparse = self.header.sparse and not self.rules.new_cut
            self.header = self.next_header(0, sparse, cut)
            self.header_durable, self.sparse_durable = False, False
            self.data, self.holes = [], set()
            self.write_lower({0: {"header": self.header}}, 0)
            self.lower.truncate(0)
            self.on_step()
            self.shrunk = not self.rules.new_cut
        elif size < old:
            self.shrink(size)
        elif size > old:
            self.grow(old, size)

    def lower_size(self, size):
        return size + size % 2 if self.rules.padded else size

    def shrink(self, size):
        self.data = self.data[:size]
        if self.rules.header_before_cut:
            self.commit(size)
        if size % 2 and size // 2 not in self.holes:
            self.seal(size - 1, size)
        self.lower.truncate(self.lower_size(size))
        self.on_step()
        if not self.rules.header_before_cut:
            self.commit(size)
        self.holes = {q for q in self.holes if 2 * q < size}
        self.shrunk = True

    def grow(self, old, size):
        self.before_growth(by_truncate=True)
        self.data += [0] * (size - old)
        skipped = range((old + 1) // 2, (size + 1) // 2)
        self.holes |= set(skipped)
        if old % 2 and old // 2 not in self.holes:
            self.seal(old - 1, old)
        self.commit(size, self.header.sparse or len(skipped) > 0)
        self.lower.truncate(self.lower_size(size))
        self.on_step()

    def punch(self, number):
        # A hole under an older header that is still the durable one would be damage.
        ready = self.sparse_durable if self.rules.punch_after_durable_flag else self.header.sparse
        if not ready:
            self.commit(len(self.data), sparse=True)
            if self.rules.barrier_before_punch:
                self.barrier()
        self.data[2 * number:2 * number + 2] = [0, 0]
        self.holes.add(number)
        self.write_lower({page_of(number): {number: None}}, 0)

    def fsync(self):
        self.commit(len(self.data))
        self.barrier()


# ---- operations by name: what they do to the contents ----

OPERATIONS = [("write", 1, 1), ("write", 0, 4), ("write", 2, 3), ("append", 1), ("append", 4),
              ("gap", 4), ("truncate", 0), ("truncate", 3), ("extend", 3), ("punch", 1), ("fsync",)]
STARTS = [(), (("append", 5), ("fsync",)), (("append", 8), ("fsync",)), (("append", 8),)]


def plan(operation, data, value):
    """The contents after the operation and the arguments to give; None where it does nothing."""
    kind, size = operation[0], len(data)
    if kind in ("write", "append", "gap"):
        offset = {"write": operation[1], "append": size, "gap": size + operation[1]}[kind]
        count = {"write": operation[-1], "append": operation[1], "gap": 1}[kind]
        after = data + [0] * (offset - size)
        after[offset:offset + count] = [value] * count
        return after, ("write", offset, [value] * count)
    if kind in ("truncate", "extend"):
        target = operation[1] if kind == "truncate" else size + operation[1]
        return (data + [0] * (target - size))[:target], ("truncate", target)
    if kind == "punch":
        number = operation[1]
        if 2 * number + 2 > size:
            return None
        after = list(data)
        after[2 * number:2 * number + 2] = [0, 0]
        return after, ("punch", number)
    return list(data), ("fsync",)


class Trial:
    """Runs one sequence and judges every state that a crash could leave."""

    def __init__(self, rules, tally):
        self.rules, self.tally = rules, tally
        self.writer = Writer(rules, self.on_step, self.judge_power)
        self.before = self.after = []
        self.durable = None           # contents at the last fsync
        self.history = [[]]           # contents since then, that one first
        self.cut_off = set()          # offsets that were beyond the end since then
        self.name = ()

    def violation(self, what, pages):
        self.tally["violations"][what] += 1
        self.tally["examples"].setdefault(what, (self.name, pages))
        if self.tally["stop"]:
            raise Caught

    # ---- kill ----

    def on_step(self):
        self.tally["states"] += 1
        pages = {p: {k: v for k, v in s.items() if v is not None}
                 for p, s in self.writer.lower.pages.items()}
        shown = read(self.rules, pages)
        if shown is None:
            self.violation("kill: a file without header", pages)
            return
        lengths = {len(self.before), len(self.after)}
        if len(self.after) - len(self.before) >= SMALL_GAP:
            lengths |= set(range(len(self.before), len(self.after)))  # a hole, then the write
        if UNREADABLE in shown:
            self.violation("kill: unreadable", pages)
        elif len(shown) not in lengths:
            self.violation("kill: a length that the file never had", pages)
        for j, byte in enumerate(shown):
            allowed = {state[j] for state in (self.before, self.after) if j < len(state)} | (
                {0} if j >= len(self.before) else set())
            if byte != UNREADABLE and byte not in allowed:
                self.violation("kill: a value that the byte never had", pages)

    def judge_acknowledged(self):
        pages = {p: {k: v for k, v in s.items() if v is not None}
                 for p, s in self.writer.lower.pages.items()}
        shown = read(self.rules, pages)
        if shown != self.writer.data:
            self.violation("kill: an acknowledged operation is lost", pages)

    # ---- power ----

    def power_images(self):
        for pages, size in self.writer.lower.power_states():
            yield {p: {k: v for k, v in s.items() if v is not None}
                   for p, s in pages.items()}, size

    def judge_power(self):
        for pages, _ in self.power_images():
            self.tally["states"] += 1
            self.judge_image(read(self.rules, pages), pages)

    def judge_image(self, shown, pages):
        durable = self.durable or []
        if shown is None:
            if self.durable is not None:
                self.violation("power: a fsynced file without header", pages)
            return
        sparse = pages[0]["header"].sparse
        for j in range(max(len(shown), len(durable))):
            byte = shown[j] if j < len(shown) else None
            was_durable = j < len(durable) and j not in self.cut_off
            values = {state[j] for state in self.history if j < len(state)}
            if byte is None:
                if was_durable:
                    self.violation("power: a fsynced byte is gone", pages)
            elif byte == UNREADABLE:
                if was_durable:
                    self.violation("power: a fsynced byte is unreadable", pages)
            elif byte not in values and not (byte == 0 and sparse and not was_durable):
                self.violation("power: a value that the byte never had", pages)
            elif byte != 0 and not self.could_be_left(byte, j, len(shown)):
                self.violation("power: a byte came back after it was cut off", pages)

    def could_be_left(self, byte, j, length):
        """The header may be of any moment with this length; the byte may be of a later one, or of an
        earlier one if it was not cut off in between."""
        for moment, state in enumerate(self.history):
            if len(state) != length:
                continue
            if any(j < len(later) and later[j] == byte for later in self.history[moment:]):
                return True
            for earlier in reversed(self.history[:moment + 1]):
                if j >= len(earlier):
                    break
                if earlier[j] == byte:
                    return True
        return False

    # ---- running ----

    def run(self, sequence, first_value):
        for i, operation in enumerate(sequence):
            planned = plan(operation, self.writer.data, first_value + i)
            if planned is None:
                continue
            self.name += (operation,)
            self.before, (self.after, call) = list(self.writer.data), planned
            self.note_history()
            getattr(self.writer, call[0])(*call[1:])
            assert self.writer.data == self.after, (self.name, self.writer.data, self.after)
            self.before = list(self.after)
            self.judge_acknowledged()
            if operation[0] == "fsync":
                self.durable, self.history, self.cut_off = list(self.after), [list(self.after)], set()

    def note_history(self):
        size = len(self.before)
        for state in range(size + 1, len(self.after)):
            if state - size >= SMALL_GAP or len(self.after) - size >= SMALL_GAP:
                self.history.append(self.before + [0] * (state - size))
        self.history.append(list(self.after))
        self.cut_off |= set(range(len(self.after), size))
        # Beyond the durable end nothing is promised yet.
        self.cut_off |= set(range(size, len(self.after)))

    def attack(self):
        """Cuts and zeroes a dense file: whoever reads all of it must notice."""
        writer = self.writer
        if writer.header.sparse or not writer.data:
            return
        count = (len(writer.data) + 1) // 2
        for kept in range(count):
            pages = {p: {k: v for k, v in s.items() if k == "header" or k < kept}
                     for p, s in writer.lower.pages.items()}
            if UNREADABLE not in read(self.rules, pages):
                self.violation("attack: a cut is not noticed", pages)
        for zeroed in range(count):
            pages = {p: {k: v for k, v in s.items() if k != zeroed}
                     for p, s in writer.lower.pages.items()}
            if UNREADABLE not in read(self.rules, pages):
                self.violation("attack: a zeroed fragment is not noticed", pages)


def second_session(rules, tally, images, depth):
    """Over each surviving state: open for writing, go on, crash again."""
    for pages, size, name in images:
        shown = read(rules, pages)
        if shown is None or UNREADABLE in shown:
            continue
        for sequence in itertools.product(OPERATIONS, repeat=depth):
            trial = Trial(rules, tally)
            trial.name = name + ("crash",)
            trial.durable = shown
            trial.history = [list(shown)]
            trial.before = trial.after = list(shown)
            trial.writer.adopt(pages, size)
            trial.run(sequence, 100)
            trial.judge_power()
            tally["sequences"] += 1


class Caught(Exception):
    pass


def check(rules, depth, stop_when_caught=False):
    tally = {"states": 0, "sequences": 0, "violations": collections.Counter(), "examples": {},
             "stop": stop_when_caught}
    try:
        enumerate_all(rules, depth, tally)
    except Caught:
        pass
    return tally


def enumerate_all(rules, depth, tally):
    images = {}
    for start in STARTS:
        for length in range(1, depth + 1):
            for sequence in itertools.product(OPERATIONS, repeat=length):
                trial = Trial(rules, tally)
                trial.writer.create()
                trial.run(start + sequence, 1)
                trial.judge_power()
                trial.attack()
                tally["sequences"] += 1
                if length < depth:
                    for pages, size in trial.power_images():
                        images.setdefault(repr((pages, size)), (pages, size, trial.name))
    second_session(rules, tally, images.values(), 1)


VARIANTS = {
    "one tag for each block": dict(tag_per_fragment=False),
    "the last fragment ends with its data": dict(padded=False),
    "fragments without a count of used bytes": dict(used_count=False),
    "the header waits for fsync": dict(header_with_extension=False),
    "the header before the data": dict(header_after_data=False),
    "the header rides on writes of several pages": dict(header_rides_alone=False),
    "truncation cuts the lower file first": dict(header_before_cut=False),
    "truncation to nothing keeps the key": dict(new_cut=False, barrier_before_growth=False),
    "no barrier before growth": dict(barrier_before_growth=False),
    "a barrier before truncation upwards only": dict(barrier_on_any_growth=False),
    "no barrier before the first punch": dict(barrier_before_punch=False),
    "punch under a sparse flag that is not durable": dict(punch_after_durable_flag=False),
    "creation in two steps": dict(atomic_create=False),
    "no recovery at open": dict(recovery=False),
}


def report(name, tally):
    print(f"{name}: {tally['sequences']} sequences, {tally['states']} crash states, "
          f"{sum(tally['violations'].values())} violations")
    for what, count in sorted(tally["violations"].items()):
        sequence, pages = tally["examples"][what]
        print(f"    {count:7} {what}; first after {sequence}: {pages}"[:400])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=2, help="operations in a sequence")
    parser.add_argument("--variant-depth", type=int, default=2)
    parser.add_argument("--count", action="store_true",
                        help="count all violations of each variant, not just the first")
    options = parser.parse_args()

    design = check(Rules(), options.depth)
    report("the design", design)
    failed = bool(design["violations"])
    for name, changes in VARIANTS.items():
        tally = check(Rules(**changes), options.variant_depth, not options.count)
        report(f"without a rule: {name}", tally)
        if not tally["violations"]:
            print("    NOT CAUGHT: the model cannot see what this rule is for")
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
