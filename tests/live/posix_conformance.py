#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mounts a volume on a tmpfs or ext4 and runs posix_conformance on the mount and beside it.

    posix_conformance.py [--lower tmpfs|ext4] [--mode regular|optimized|auto] [--case PREFIX]
"""

import argparse
import os
import subprocess
import sys

import lib


def run():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runner", default=os.environ.get("POSIX_CONFORMANCE"),
                        help="the posix_conformance program")
    parser.add_argument("--lower", choices=["tmpfs", "ext4"], default="tmpfs")
    parser.add_argument("--mode", choices=["regular", "optimized", "auto"], default="auto")
    parser.add_argument("--case", default="")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    lib.need_mounts()
    lib.need_root()
    lib.program()
    if not options.runner:
        lib.skip("POSIX_CONFORMANCE does not name the test program")
    with lib.Scratch() as scratch:
        place = scratch.lower_fs(options.lower, size="3g")
        volume = lib.Volume(scratch, os.path.join(place, "volume"))
        daemon = volume.mount(options=["allow_other"], mode=options.mode)
        upper = os.path.join(daemon.mountpoint, "cases")
        lower = os.path.join(place, "cases")
        os.mkdir(upper)
        os.mkdir(lower)
        command = [options.runner, "--upper", upper, "--lower", lower]
        if options.case:
            command += ["--case", options.case]
        if options.verbose:
            command += ["--verbose"]
        code = subprocess.run(command, check=False).returncode
        failures = [] if code == 0 else [f"posix_conformance ended with {code}"]
        if not daemon.alive():
            return failures + [f"the daemon ended: {daemon.log()[-3000:]}"]
        daemon.unmount()
        return failures


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    lib.main(run)
