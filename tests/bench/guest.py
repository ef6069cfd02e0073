# SPDX-License-Identifier: Apache-2.0
"""Counting in the guest (tests/vm), where the kernel fast path can be had: one boot for each mode."""

import json
import os
import subprocess
import sys
from pathlib import Path

import report
from workspace import NOT_HERE, Unavailable

HERE = Path(__file__).resolve().parent
RUN = HERE.parent / "vm" / "run"
SCRIPT = HERE / "guest_requests"
FILES = [HERE / name for name in ("filesystems.py", "workspace.py", "tree.py", "project.py", "calls.c")]
MODES = ("regular", "optimized", "extfuse")
CALL_MODES = ("native", "ext4", "optimized", "extfuse")
METADATA = ("LOOKUP", "GETATTR", "GETXATTR")
AGAINST = {"regular": 0.95, "optimized": 0.80}  # how much fewer of METADATA
GOAL_MEMORY, GOAL_PER_FILE, GOAL_CALLS, GOAL_LOWER = 50e6, 6.0, 10, 2


def boot(part, mode, *options, seconds=300, **settings):
    """What tests/bench/guest_requests prints, in a guest of its own."""
    print(f"guest: {part}, {mode}", file=sys.stderr)
    settings |= {"PART": part, "MODE": mode}
    words = [RUN, "--timeout", seconds, "--mem", 1536, *options]
    for name, value in settings.items():
        words += ["--env", f"{name}={value}"]
    done = subprocess.run([*map(str, words), str(SCRIPT), *map(str, FILES)], stdout=subprocess.PIPE, text=True,
                          env=os.environ, check=False)
    if done.returncode == NOT_HERE:
        raise Unavailable("the guest cannot run here")
    if done.returncode:
        raise RuntimeError(f"in the guest, {part} in mode {mode}: exit {done.returncode}\n{done.stdout[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def fewer(result, base):
    """By opcode of METADATA: which part of the requests is gone."""
    for opcode in METADATA:
        before = base["requests"].get(opcode, 0)
        if before:
            yield opcode, 1 - result["requests"].get(opcode, 0) / before


def opcodes(by_mode):
    """The busiest first."""
    every = {opcode for result in by_mode.values() for opcode in result["requests"]}
    return sorted(every, key=lambda op: -max(r["requests"].get(op, 0) for r in by_mode.values()))


def table(title, by_mode):
    fast = by_mode.get("extfuse")
    lines = []
    for opcode in opcodes(by_mode):
        line = [opcode, *(f"{r['requests'].get(opcode, 0):,}" for r in by_mode.values())]
        lines.append(line + ([f"{fast['served_in_kernel'].get(opcode, 0):,}"] if fast else []))
    last = ["all", *(f"{sum(r['requests'].values()):,}" for r in by_mode.values())]
    lines.append(last + ([f"{sum(fast['served_in_kernel'].values()):,}"] if fast else []))
    for name, number in (("requests a file", lambda r: f"{sum(r['requests'].values()) / r['files']:.2f}"),
                         ("daemon's peak and maps, MB", lambda r: f"{r['memory'] / 1e6:.1f}"),
                         ("seconds in the guest", lambda r: f"{r['seconds']:.1f}")):
        lines.append([name, *(number(r) for r in by_mode.values())] + ([""] if fast else []))
    return report.grid([title, *by_mode] + (["answered in the kernel"] if fast else []), lines)


def verdict(good, text):
    return f"{'pass' if good else 'miss'}: {text}"


def build_verdicts(by_mode):
    fast = by_mode["extfuse"]
    for base, goal in AGAINST.items():
        if base not in by_mode:
            continue
        for opcode, part in fewer(fast, by_mode[base]):
            yield verdict(part >= goal, f"{opcode}: {part:.1%} fewer than {base}, goal {goal:.0%}")
    yield verdict(fast["memory"] < GOAL_MEMORY, f"daemon's peak and maps: {fast['memory'] / 1e6:.1f} MB, goal 50 MB")


def unpack_verdicts(by_mode):
    for mode, result in by_mode.items():
        if mode == "regular":
            continue
        each = sum(result["requests"].values()) / result["files"]
        yield verdict(each <= GOAL_PER_FILE, f"unpack, {mode}: {each:.2f} requests a file, goal {GOAL_PER_FILE:.0f}")


def lower_of(by_mode, name):
    """The same call on the file system below. tmpfs keeps its names whatever is dropped: ext4 looks them up again."""
    return by_mode["ext4" if name.endswith("dropped") else "native"]["calls"][name]


def added(by_mode, name):
    """How many times fewer instructions BPF adds to the call below than the daemon does."""
    lower = lower_of(by_mode, name)
    return (by_mode["optimized"]["calls"][name] - lower) / max(by_mode["extfuse"]["calls"][name] - lower, 1)


def calls_table(by_mode):
    tmpfs, ext4, slow, fast = (by_mode[mode]["calls"] for mode in CALL_MODES)
    lines = [[name, *(f"{calls[name]:,.0f}" for calls in (tmpfs, ext4, slow, fast)), f"{slow[name] / fast[name]:.1f}",
              f"{added(by_mode, name):.0f}", f"{fast[name] / lower_of(by_mode, name):.2f}"] for name in tmpfs]
    return report.grid(["instructions a call", "tmpfs", "ext4", "optimized", "extfuse", "optimized / extfuse",
                        "the same above lower", "extfuse / lower"], lines)


def calls_verdicts(by_mode):
    slow, fast = (by_mode[mode]["calls"] for mode in ("optimized", "extfuse"))
    for name in fast:
        if name.endswith("cached"):
            continue
        lower, gain = lower_of(by_mode, name), slow[name] / fast[name]
        yield verdict(gain >= GOAL_CALLS, f"{name}: {gain:.1f} times fewer than by the daemon, goal {GOAL_CALLS} (the call "
                      f"below: {slow[name] / lower:.1f}; of what is above that: {added(by_mode, name):.0f})")
        over = fast[name] / lower
        yield verdict(over <= GOAL_LOWER, f"{name}: {over:.2f} times the lower file system, goal {GOAL_LOWER}")


def count(parts, modes):
    """{part: {mode: result}}"""
    results = {}
    for part in parts:
        if part == "calls":
            results[part] = {mode: boot(part, mode, "--icount") for mode in CALL_MODES}
        else:
            results[part] = {mode: boot(part, mode, seconds=1500) for mode in modes}
    return results


TITLES = {"build": "make, gcc -O0", "unpack": "tar x"}


def tables(results):
    """Each part's table, then its verdicts."""
    for part, by_mode in results.items():
        yield calls_table(by_mode) if part == "calls" else table(TITLES[part], by_mode)
        if part == "calls":
            yield from calls_verdicts(by_mode)
        elif part == "unpack":
            yield from unpack_verdicts(by_mode)
        elif "extfuse" in by_mode:
            yield from build_verdicts(by_mode)
        yield ""
