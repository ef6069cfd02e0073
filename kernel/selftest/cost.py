#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""
What a call costs without the module, with it, with a program that passes, and answered. Under -icount the figures are
instructions. Fails if a loaded module without programs is not free, or an answer not much cheaper than the daemon's.
"""

import os
import sys

from harness import HERE, Daemon, Failed, Program, expect, hammer_ns, hooked, load_module, module_loaded, unload_module, wait_for

COUNT = 2000
CALLS = ("stat", "fstat", "getxattr")


def measure(daemon):
    hammer_ns("stat", daemon.hello, 200)
    return {call: min(hammer_ns(call, daemon.hello, COUNT) for _ in range(3)) for call in CALLS}


def main():
    os.chdir(HERE)
    if module_loaded():
        unload_module()
    with Daemon() as daemon:
        figures = {"no module": measure(daemon)}
        load_module()
        figures["no program"] = measure(daemon)
        with Program(daemon.hello):
            figures["passes"] = measure(daemon)
        with Program(daemon.hello, size=4242, lookup=1, getattr=1, getxattr=1):
            figures["answers"] = measure(daemon)
        wait_for(lambda: not hooked(), "the hook's end")
        figures["detached"] = measure(daemon)
    print(f"{'':12}" + "".join(f"{call:>12}" for call in CALLS))
    for name, row in figures.items():
        print(f"{name:12}" + "".join(f"{row[call]:12}" for call in CALLS))
    tolerance = float(os.environ.get("TOLERANCE", "0.02"))
    for call in CALLS:
        without, idle, answered = (figures[name][call] for name in ("no module", "no program", "answers"))
        expect(abs(idle - without) <= tolerance * without, f"{call}: {without} without the module, {idle} with it, idle")
        expect(answered * 2 < without, f"{call}: {answered} answered in the kernel, {without} by the daemon")


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"FAIL {failed}")
