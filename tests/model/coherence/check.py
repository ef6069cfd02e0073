#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the models of coherence with SPIN, exhaustively: the protocol shows no error, and each rule left out shows one.

A model that finds no error says nothing unless it can find one: every mutation of it must be refuted, and a search that
was cut short (by depth or memory) counts as a failure.
"""

import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SKIPPED = 77
DEPTH = 20_000
SECONDS_EACH = 900


@dataclass(frozen=True)
class Run:
    """One search. `holds`: no error is expected; otherwise one is."""
    model: str
    defines: str
    holds: bool
    full: bool = False  # with --full only: minutes or gigabytes

    @property
    def ends_judged(self):
        """Whether the model judges its end states itself: SPIN must not take them for deadlocks."""
        return self.model == "name" or "DEATH" in self.defines

    @property
    def reduction(self):
        """Partial-order reduction is not sound with `provided`, by which the models of death stop the daemon."""
        return "DEATH" not in self.defines


def runs():
    def mutations(model, sizes, names):
        return [Run(model, f"{sizes} -D{name}".strip(), False) for name in names.split()]

    return [
        Run("attr", "", True),
        Run("attr", "-DREPLY_FIRST -DOPS1=1", True),
        Run("attr", "-DDEATH -DOPS1=1", True),
        Run("attr", "-DOPS0=3", True, full=True),
        Run("attr", "-DDEATH", True, full=True),
        *mutations("attr", "", "NO_CHECK SPLIT_CHECK LATE_TOKEN NO_WRITERS NO_END_STAMP CLOSE_LATE LAST_WINS NO_FENCE "
                               "NO_ODD NO_RECHECK"),
        Run("name", "-DOPS1=1 -DKEEP", True),
        Run("name", "-DOPS0=1 -DLINKED -DDETACH -DKEEP", True),
        Run("name", "-DOPS0=1 -DLINKED -DDETACH", True),
        Run("name", "-DOPS0=1 -DDEATH", True, full=True),
        Run("name", "-DOPS1=1", True, full=True),
        Run("name", "-DOPS1=1 -DLINKED -DDETACH", True, full=True),
        Run("name", "-DOPS1=1 -DNO_ENTRY_RECHECK", True, full=True),
        Run("name", "", True, full=True),
        Run("name", "-DKEEP", True, full=True),
        Run("name", "-DOPS1=1 -DFORGETS=2 -DLINKED -DDETACH", True, full=True),
        *mutations("name", "-DOPS1=1", "NO_CAS RETIRE_SPLIT NO_GENERATION NO_NAMESPACE ENTRY_UNCHECKED LATE_TOKEN "
                                       "NO_END_STAMP CLOSE_LATE COUNT_LATE"),
        *mutations("name", "-DOPS0=1", "LOSE_COUNT"),
        *mutations("name", "-DOPS1=1 -DKEEP", "TRIM_BLIND TRIM_SPLIT NO_CAS NO_GENERATION"),
        *mutations("name", "-DLINKED", "NODE_GATE ATTR_UNCHECKED NO_VICTIM FIND_FIRST"),
        Run("complete", "-DOPS1=1", True),
        Run("complete", "", True, full=True),
        *mutations("complete", "", "SILENT_EVICTION EVICT_FIRST NO_BUSY NO_DIR_TOKEN NO_EVICTION_TOKEN NO_RECHECK "
                                   "ONE_NAME OPEN_EARLY"),
    ]


def verifier(run, folder, memory_mib):
    """Builds the verifier of one run. Returns its command."""
    shutil.copy(HERE / f"{run.model}.pml", folder / "model.pml")
    subprocess.run(["spin", "-a", *run.defines.split(), "model.pml"], cwd=folder, check=True, capture_output=True)
    options = [] if run.reduction else ["-DNOREDUCE"]
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-w", "-DSAFETY", "-DCOLLAPSE", f"-DMEMLIM={memory_mib}", *options,
                    "-o", "pan", "pan.c"], cwd=folder, check=True, capture_output=True)
    return ["./pan", f"-m{DEPTH}", "-w22", *(["-E"] if run.ends_judged else [])]


def verdict(run, text):
    """None where the search came out as it should, else what is wrong."""
    errors = re.search(r"errors: (\d+)", text)
    if errors is None:
        return "no result"
    if int(errors[1]) > 0:
        found = re.search(r"pan:\d+: (.*)", text)
        return f"an error: {found[1] if found else '?'}" if run.holds else None
    if "Search not completed" in text or "max search depth too small" in text:
        return "the search was cut short"
    return None if run.holds else "nothing notices that this rule is gone"


def check(run, memory_mib):
    with tempfile.TemporaryDirectory(prefix="coherence-") as name:
        folder = Path(name)
        try:
            command = verifier(run, folder, memory_mib)
            begin = time.monotonic()
            text = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS_EACH,
                                  check=False).stdout
        except subprocess.TimeoutExpired:
            return run, f"took more than {SECONDS_EACH} s", "", 0.0
        except subprocess.CalledProcessError as error:
            return run, f"{error.cmd[0]} failed: {(error.stdout + error.stderr).decode(errors='replace')[-400:]}", "", 0.0
        states = re.search(r"(\S+) states, stored", text)
        return run, verdict(run, text), states[1] if states else "?", time.monotonic() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="attr, name, complete; all if none is given")
    parser.add_argument("--full", action="store_true", help="the large instances too: 16 GB, ten minutes")
    parser.add_argument("--jobs", type=int, default=2, help="searches at the same time")
    parser.add_argument("--memory-mib", type=int, help="for each search; 1800, with --full 16000")
    arguments = parser.parse_args()
    if shutil.which("spin") is None:
        print("skipped: spin is not installed")
        return SKIPPED
    memory = arguments.memory_mib or (16_000 if arguments.full else 1_800)
    chosen = [run for run in runs() if (arguments.full or not run.full) and
              (not arguments.models or run.model in arguments.models)]
    if not chosen:
        parser.error("no such model")
    failures = 0
    with concurrent.futures.ThreadPoolExecutor(1 if arguments.full else arguments.jobs) as pool:
        for run, wrong, states, seconds in pool.map(lambda one: check(one, memory), chosen):
            outcome = wrong or ("holds" if run.holds else "refuted")
            failures += wrong is not None
            print(f"{'FAIL' if wrong else 'ok':4}  {run.model:9} {run.defines:42} {states:>10} states {seconds:6.1f} s  "
                  f"{outcome}", flush=True)
    print(f"{len(chosen)} searches, {failures} not as expected")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
