#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The classic transport: one thread receives while one client works, all do when several wait, and
every way to end a mount ends the daemon, whatever its threads wait for."""

import os
import signal
import subprocess
import sys
import threading
import time

import lib

FILES = 3000
BIG = 24 << 20


def make_and_remove(top, files=FILES):
    os.mkdir(top)
    for number in range(files):
        with open(os.path.join(top, str(number)), "wb") as out:
            out.write(b"%d" % number)
    for number in range(files):
        with open(os.path.join(top, str(number)), "rb") as file:
            lib.check(file.read() == b"%d" % number, f"{top}/{number} has other bytes")
        os.unlink(os.path.join(top, str(number)))
    os.rmdir(top)


def threads_of(pid):
    """Scheduling policy and allowed processors of each thread."""
    found = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            found[int(thread)] = (os.sched_getscheduler(int(thread)),
                                  len(os.sched_getaffinity(int(thread))))
        except ProcessLookupError:
            pass
    return found


def one_client(daemon):
    """While it works one thread is bound and yields; when it has ended none is."""
    seen = {"leaders": 0, "most": 0}
    ended = threading.Event()

    def look():
        while not ended.is_set():
            leaders = sum(1 for policy, _ in threads_of(daemon.pid).values()
                          if policy == os.SCHED_IDLE)
            seen["leaders"] += leaders
            seen["most"] = max(seen["most"], leaders)
            time.sleep(0.01)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for turn in range(3):
            make_and_remove(os.path.join(daemon.mountpoint, f"one{turn}"))
    finally:
        ended.set()
        looking.join()
    handoff = daemon.stats()["cpu_handoff"]
    if seen["leaders"] == 0 and handoff["withdrawn"] == 0:
        raise lib.TestFailed("no thread ever yielded to the one client")
    lib.check(seen["most"] <= 1, f"{seen['most']} threads yielded at once")
    everywhere = len(os.sched_getaffinity(daemon.pid))

    def all_ordinary():
        return all(policy == os.SCHED_OTHER and processors == everywhere
                   for policy, processors in threads_of(daemon.pid).values())
    lib.wait_until("all threads as before", all_ordinary, 10)


def several_clients(daemon):
    """Small files, large ones and listings at once; every byte is right."""
    failures = []

    def run(work, *how):
        try:
            work(*how)
        except Exception as error:  # pylint: disable=broad-except
            failures.append(f"{work.__name__}: {error}")

    def big(path):
        pattern = os.urandom(1 << 20)
        for _ in range(3):
            with open(path, "wb") as out:
                for _ in range(BIG >> 20):
                    out.write(pattern)
                os.fsync(out.fileno())
            with open(path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                for _ in range(BIG >> 20):
                    lib.check(file.read(1 << 20) == pattern, f"{path} has other bytes")

    def listing():
        for _ in range(200):
            for name in os.listdir(daemon.mountpoint):
                os.stat(os.path.join(daemon.mountpoint, name))

    os.mkdir(os.path.join(daemon.mountpoint, "big"))
    jobs = [threading.Thread(target=run, args=job) for job in (
        (make_and_remove, os.path.join(daemon.mountpoint, "a"), 1000),
        (big, os.path.join(daemon.mountpoint, "big", "x")),
        (big, os.path.join(daemon.mountpoint, "big", "y")))]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    listing()
    if failures:
        raise lib.TestFailed("; ".join(failures))


def end_by_signal(scratch, volume, busy, working):
    """SIGTERM ends the daemon while its threads wait, or work, and while a file is open."""
    daemon = volume.mount(scratch.file("mnt"))
    opened = open(os.path.join(daemon.mountpoint, "held"), "wb") if busy else None
    client = None
    if working:
        client = subprocess.Popen([sys.executable, "-c", CLIENT, daemon.mountpoint],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        client.stdout.readline()
    try:
        daemon.process.send_signal(signal.SIGTERM)
        code = daemon.process.wait(60)
        lib.check(code == 0, f"the daemon ended with {code}: {daemon.log()[-1000:]}")
    finally:
        if opened:
            try:
                opened.close()
            except OSError:
                pass
        if client:
            client.kill()
            client.wait()
            client.stdout.close()
    daemon.detach()


CLIENT = """
import os, sys
print("ready", flush=True)
for number in range(1000000):
    path = os.path.join(sys.argv[1], "w%d" % number)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    os.unlink(path)
"""


def main():
    lib.need_mounts()
    lib.need_root()
    with lib.Scratch() as scratch:
        volume = lib.Volume(scratch, os.path.join(scratch.lower_fs("tmpfs"), "lower"))
        daemon = volume.mount()
        lib.check(daemon.stats()["transport"] == "classic", "not the classic transport")
        one_client(daemon)
        several_clients(daemon)
        one_client_again = os.path.join(daemon.mountpoint, "again")
        make_and_remove(one_client_again)
        daemon.unmount()
        for busy in (False, True):
            for working in (False, True):
                end_by_signal(scratch, volume, busy, working)
        daemon = volume.mount(scratch.file("mnt"))
        daemon.unmount()
    print("ok")


if __name__ == "__main__":
    try:
        main()
    except lib.TestFailed as failure:
        print(f"FAILED: {failure}")
        sys.exit(1)
