#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""EncFS volumes of many configurations, against encfs 1.9.5.

encfs fills each, the program under test mounts and compares it with the model (legacy_tree.py),
changes it, and encfs shows what has become of it. --self-check has encfs in both parts, and --faults
shows that the comparison finds what is wrong.
"""

import argparse
import os
import shutil
import sys
import threading
import time

import lib
import legacy_cases
import legacy_faults
from legacy_compare import compare
from legacy_mounts import EncfsDaemon, LegacyVolume, need_encfs
from legacy_tree import edit, fill, Place, settle_times, sharpen_times

SHOWN = 12
CASE_SECONDS = 120


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="every combination; takes hours")
    parser.add_argument("--slice", metavar="K/N", default="1/1", help="the Kth of N parts of the cases")
    parser.add_argument("--only", metavar="NAME", help="one case")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("--self-check", action="store_true", help="encfs in the program's place")
    parser.add_argument("--faults", action="store_true", help="as --self-check; each planted fault must be found")
    return parser.parse_args()


def answers_differ(place, model):
    return [f"answer: {want} became {have}" for want, have in zip(model.answers, place.answers) if want != have]


class Trial:
    """One volume from its making to the last comparison."""

    def __init__(self, scratch, home, case, self_check, fault=None):
        self.scratch, self.case, self.self_check, self.fault = scratch, case, self_check, fault
        self.home = os.path.join(home, "case")
        os.mkdir(self.home)
        self.model = Place(os.path.join(self.home, "model"), case, model=True)
        os.mkdir(self.model.top)
        self.volume = LegacyVolume(scratch, os.path.join(self.home, "lower"), case)
        self.foreign = 0

    def place(self, mount):
        return Place(mount.mountpoint, self.case, encfs=isinstance(mount, EncfsDaemon))

    def both(self, mount, work):
        """The same work on a mount and on the model."""
        place = self.place(mount)
        self.model.answers = []
        work(place)
        work(self.model)
        return answers_differ(place, self.model)

    def check(self, label, place, since, loose=False):
        return [f"{label}: {line}" for line in compare(place, self.model, since, loose)]

    def cruft(self, label):
        """What encfs cannot decode it does not show; so whatever is below must be counted."""
        wanted = self.foreign
        wanted += sum(len(dirs) + len(files) for _, dirs, files in os.walk(os.fsencode(self.model.top)))
        below = self.volume.entries_below()
        return [] if below == wanted else [f"{label}: {below} entries below, {wanted} expected"]

    def add_foreign(self):
        """What some other program has left below is shown by nobody, and stays."""
        if self.case.names != "null":
            with open(os.path.join(self.volume.lower, "not ours (copy).txt"), "x"):
                self.foreign += 1

    def run(self):
        since = time.time_ns() - 10**9
        mount = self.volume.by_encfs(first=True)

        def work(place):
            fill(place)
            settle_times(place, "", 0)
        failures = [f"filled by encfs: {line}" for line in self.both(mount, work)]
        mount.unmount()
        for top in (self.volume.lower, self.model.top):
            sharpen_times(top)
        self.add_foreign()
        failures += self.cruft("filled by encfs")

        mount = self.volume.by_subject(self.self_check)
        failures += self.check("read", self.place(mount), since)
        if failures:  # what is wrong already would only be found again
            mount.unmount()
            return failures
        failures += [f"changing: {line}" for line in self.both(mount, edit)]
        failures += self.check("changed", self.place(mount), since, self.self_check)
        mount.unmount()
        if not self.self_check:
            failures += [f"log: {line}" for line in mount.log().splitlines() if "damage" in line]

        if self.fault:
            legacy_faults.plant(self.fault, self.volume.lower)
        failures += self.cruft("changed")
        mount = self.volume.by_encfs()
        failures += self.check("back in encfs", self.place(mount), since, self.self_check)
        mount.unmount()
        return failures

    def break_off(self):
        """Ends daemons that do not answer; no signal to this process would end a wait for them."""
        for daemon in list(self.scratch.daemons):
            if daemon.alive():
                print(f"{self.case.name}: not done after {CASE_SECONDS} s", flush=True)
                daemon.process.kill()

    def forget(self):
        for daemon in reversed(self.scratch.daemons):
            daemon.clean_up()
        self.scratch.daemons.clear()
        shutil.rmtree(self.home)


def attempt(scratch, home, case, self_check, fault=None):
    """The failures of one case."""
    trial = Trial(scratch, home, case, self_check, fault)
    late = threading.Timer(CASE_SECONDS, trial.break_off)
    late.start()
    try:
        return trial.run()
    except (lib.TestFailed, OSError) as error:
        return [f"{type(error).__name__}: {error}"]
    finally:
        late.cancel()
        late.join()
        trial.forget()


def report(case, failures):
    print(f"FAILED: {case.name}: {case}")
    for line in failures[:SHOWN]:
        print(f"    {line[:400]}")
    if len(failures) > SHOWN:
        print(f"    and {len(failures) - SHOWN} more")


def try_all(chosen, trial, what):
    """Tells how trial(case), which returns lines of failures, ends for each case; a line if any failed."""
    failed = []
    for case in chosen:
        start = time.monotonic()
        failures = trial(case)
        if failures:
            report(case, failures)
            failed.append(case.name)
        else:
            print(f"{case.name}: the same, {time.monotonic() - start:.1f} s", flush=True)
    return [f"{len(failed)} of {len(chosen)} {what}"] if failed else []


def try_faults(scratch, home):
    case = legacy_cases.Case(chains="cux", mac=0)
    missed = []
    for fault in legacy_faults.FAULTS:
        found = attempt(scratch, home, case, True, fault)
        print(f"{fault}: {found[0][:200] if found else 'NOT FOUND'}", flush=True)
        missed += [] if found else [f"nothing was found of the fault: {fault}"]
    return missed


def run():
    wanted = arguments()
    chosen = legacy_cases.cases(wanted.full)
    if wanted.only:
        chosen = [case for case in legacy_cases.cases(True) + chosen if case.name == wanted.only][:1]
        lib.check(chosen, f"no case {wanted.only}: see --list")
    part, _, parts = wanted.slice.partition("/")
    lib.check(0 < int(part) <= int(parts), f"no part {wanted.slice}")
    chosen = chosen[int(part) - 1::int(parts)]
    lib.check(chosen, "no case in this part")
    if wanted.list:
        print("\n".join(case.name for case in chosen))
        sys.exit(0)
    self_check = wanted.self_check or wanted.faults
    if lib.peer() != "extencfs":
        lib.skip("EncFS volumes are for extencfs, or encfs itself: --self-check")
    if not self_check:
        lib.program()
    need_encfs()
    lib.need_mounts()
    lib.need_root()  # owners, devices, a tmpfs
    with lib.Scratch() as scratch:
        home = scratch.lower_fs("tmpfs", "2g")
        if wanted.faults:
            return try_faults(scratch, home)
        return try_all(chosen, lambda case: attempt(scratch, home, case, self_check), "volumes")


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    lib.main(run)
