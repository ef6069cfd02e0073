#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""stress-ng's file stressors and fio with verification on a mount. --seconds for each stressor."""

import argparse
import ctypes
import errno
import json
import os
import subprocess
import sys

import lib

# Stressors of stress-ng 0.15 that work on files below --temp-path. Not here: chattr, fiemap and
# others that a FUSE file system refuses; those that only exercise the page cache of /dev/shm.
STRESSORS = """access chmod chown copy-file dentry dir dirdeep dirmany dup fallocate fcntl file-ioctl filename
flock fpunch fstat getdent hdd inotify io iomix link locka lockf lockofd mknod mmap mmapfork msync open
readahead rename revio seek sendfile sparsematrix splice symlink sync-file touch truncate unlink
utime verity xattr""".split()

# Kills its writers. Linux 6.18 then notes EINTR or EIO for the file system although no request failed (libfuse's
# passthrough_ll gets the same), and whoever calls syncfs next is told, once.
KILLS_WRITERS = {"fpunch"}
# Other stressors end writers by signals now and then: iomix has left this, once in a hundred runs.
INTERRUPTED = os.strerror(errno.EINTR)
SYNCS_EVERYTHING = {"io"}

VERIFY = ["--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--group_reporting",
          "--output-format=json", "--randrepeat=0", "--fallocate=none"]
# name -> what fio is told. Sizes are for one job.
JOBS = {
    "sequential write": ["--rw=write", "--bs=128k", "--size=64m", "--ioengine=psync"],
    "random write 4k": ["--rw=randwrite", "--bs=4k", "--size=48m", "--ioengine=psync"],
    "random write of odd sizes": ["--rw=randwrite", "--bsrange=512-70k", "--bs_unaligned=1",
                                  "--size=48m", "--ioengine=psync", "--verify_backlog=500"],
    "random read and write": ["--rw=randrw", "--bs=8k", "--size=48m", "--ioengine=psync",
                              "--verify_backlog=200"],
    "mmap": ["--rw=randwrite", "--bs=4k", "--size=32m", "--ioengine=mmap"],
    "O_DIRECT": ["--rw=randwrite", "--bs=16k", "--size=48m", "--direct=1", "--ioengine=psync"],
    "O_DIRECT, asynchronous": ["--rw=randwrite", "--bs=4k", "--size=32m", "--direct=1",
                               "--ioengine=libaio", "--iodepth=16"],
    "several jobs": ["--rw=randwrite", "--bs=4k", "--size=24m", "--numjobs=4",
                     "--ioengine=psync"],
    "fsync often": ["--rw=randwrite", "--bs=4k", "--size=8m", "--fsync=16", "--ioengine=psync"],
    "fallocate first": ["--rw=randwrite", "--bs=4k", "--size=32m", "--fallocate=posix",
                        "--ioengine=psync"],
}


def known_stressors():
    done = subprocess.run(["stress-ng", "--stressors"], capture_output=True, text=True, check=False)
    return set(done.stdout.split())


def syncfs_error(place):
    """What the kernel has noted for the file system and nobody was told; None if nothing."""
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        return None if libc.syncfs(descriptor) == 0 else os.strerror(ctypes.get_errno())
    finally:
        os.close(descriptor)


def stress(place, seconds, only):
    """Each stressor alone, two instances, so that a failure has a name."""
    failures = []
    again = []
    known = known_stressors()
    names = list(STRESSORS)
    for name in names:
        if only and name not in only:
            continue
        if name not in known:
            print(f"stress-ng does not have {name}")
            continue
        command = ["stress-ng", f"--{name}", "2", "--timeout", f"{seconds}s", "--verify",
                   "--temp-path", place, "--oomable", "--hdd-bytes", "32m"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False,
                                  timeout=seconds + 60)
        except subprocess.TimeoutExpired:
            failures.append(f"stress-ng {name}: hangs")
            continue
        # 0 done, 3 not implemented here, 4 skipped: no resources.
        bad = [line for line in (done.stdout + done.stderr).splitlines() if "fail:" in line]
        if bad and name in SYNCS_EVERYTHING and name not in again:
            # Every file system of the machine, one where fpunch runs among them.
            print(f"stress-ng {name}: once more after {' / '.join(bad[:2])}", flush=True)
            again.append(name)
            names.append(name)
            continue
        if done.returncode not in (0, 3, 4) or bad:
            failures.append(f"stress-ng {name} ended with {done.returncode}: {' / '.join(bad[:3])}")
        print(f"stress-ng {name}: {done.returncode}", flush=True)
        noted = syncfs_error(place)
        if noted and (name in KILLS_WRITERS or noted == INTERRUPTED):
            print(f"stress-ng {name}: left '{noted}' for syncfs", flush=True)
            noted = syncfs_error(place)
        if noted:
            failures.append(f"syncfs after stress-ng {name}: {noted}")
    return failures


def fio(place, only, state_dir):
    """`state_dir`: where fio leaves its verify states."""
    failures = []
    for number, (name, told) in enumerate(JOBS.items()):
        if only and name not in only:
            continue
        command = ["fio", f"--name=job{number}", f"--directory={place}", *VERIFY, *told]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600,
                              cwd=state_dir)
        errors = "no report"
        if done.stdout.lstrip().startswith("{"):
            errors = sum(job["error"] != 0 for job in json.loads(done.stdout)["jobs"])
        if done.returncode != 0 or errors:
            failures.append(f"fio {name}: ended with {done.returncode}: {done.stderr.strip()[-300:]}")
        print(f"fio {name}: {done.returncode}", flush=True)
        for left in os.listdir(place):
            if left.startswith(f"job{number}."):
                os.unlink(os.path.join(place, left))
    return failures


def run():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--lower", choices=["tmpfs", "ext4"], default="tmpfs")
    parser.add_argument("--mode", choices=["regular", "optimized", "auto"], default="auto")
    parser.add_argument("--only", action="append", help="a stressor or fio job")
    options = parser.parse_args()
    lib.need_mounts()
    lib.need_root()
    lib.need_tool("stress-ng")
    lib.need_tool("fio")
    lib.program()
    with lib.Scratch() as scratch:
        lower = scratch.lower_fs(options.lower, size="4g")
        volume = lib.Volume(scratch, os.path.join(lower, "volume"))
        daemon = volume.mount(mode=options.mode)
        place = os.path.join(daemon.mountpoint, "stress")
        os.mkdir(place)
        failures = fio(place, options.only, scratch.root) + stress(place, options.seconds, options.only)
        lib.check(daemon.alive(), f"the daemon ended: {daemon.log()[-3000:]}")
        print(f"peak memory of the daemon: {daemon.peak_kib() // 1024} MiB, "
              f"descriptors: {daemon.descriptors()}")
        if "damage" in daemon.log().lower() or "authenticate" in daemon.log():
            failures.append(f"the log tells of damage: {daemon.log()[-1000:]}")
        daemon.unmount()
        return failures


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    lib.main(run)
