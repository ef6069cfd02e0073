#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Replies of several threads over one ring: the ring's thread works on small requests while the pool answers large ones,
and pauses where it could be preempted (uring_gaps.c, named by $URING_GAPS). Every request must be answered, with its own bytes."""

import hashlib
import multiprocessing
import os
import sys
import time

import lib

SECONDS = 90  # takes about 5
LARGE = 1 << 20
ROUNDS = 60
SMALL = 400


def large(top, number):
    """Writes and reads that the pool works on."""
    path = os.path.join(top, f"large.{number}")
    blocks = [hashlib.sha256(b"%d %d" % (number, at)).digest() * (LARGE // 32) for at in range(4)]
    with open(path, "w+b", buffering=0) as file:
        for turn in range(ROUNDS):
            at = turn % len(blocks)
            lib.check(os.pwrite(file.fileno(), blocks[at], at * LARGE) == LARGE, f"{path}: a short write")
            lib.check(os.pread(file.fileno(), LARGE, at * LARGE) == blocks[at], f"{path}: other bytes in turn {turn}")


def small(top, number):
    """Requests that a ring's own thread answers."""
    for turn in range(SMALL):
        path = os.path.join(top, f"small.{number}.{turn}")
        with open(path, "wb") as file:
            file.write(path.encode())
        with open(path, "rb") as file:
            lib.check(file.read() == path.encode(), f"{path}: other bytes")
        os.unlink(path)


def run():
    lib.need_mounts()
    gaps = os.environ.get("URING_GAPS", "")
    lib.check(os.path.exists(gaps), "URING_GAPS does not name the built uring_gaps")
    with lib.Scratch() as scratch:
        volume = lib.Volume(scratch, scratch.lower_fs("tmpfs"))
        daemon = volume.mount(mode="regular", env={"LD_PRELOAD": gaps})
        if daemon.stats()["transport"] != "uring":
            lib.skip("the kernel, or this build's libfuse, has no FUSE over io_uring")
        clients = [multiprocessing.Process(target=target, args=(daemon.mountpoint, number))
                   for number in range(3) for target in (large, small)]
        begin = time.monotonic()
        for client in clients:
            client.start()
        for client in clients:
            client.join(max(0, begin + SECONDS - time.monotonic()))
        stuck = sum(client.is_alive() for client in clients)
        if stuck:
            daemon.kill()  # Otherwise they wait for ever.
            return [f"{stuck} of {len(clients)} clients wait for an answer after {SECONDS} s"]
        bad = sum(client.exitcode != 0 for client in clients)
        if not bad:
            daemon.unmount()
        print(f"{time.monotonic() - begin:.1f} s")
        return [f"{bad} clients failed"] if bad else []


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    lib.main(run)
