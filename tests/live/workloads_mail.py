# SPDX-License-Identifier: Apache-2.0
"""A maildir with several deliverers and several readers at once, and a log that several processes append to."""

import fcntl
import hashlib
import multiprocessing
import os
import random
import time

from real_tree_volume import check
from workloads_sqlite import join

PROCESSES = multiprocessing.get_context("fork")
DELIVERERS, READERS = 3, 2


def _message(choose, name):
    body = choose.randbytes(choose.choice((0, 200, 4000, 9000, 40000)))
    return f"Message-Id: {name}\nDigest: {hashlib.sha256(body).hexdigest()}\n\n".encode() + body


def _verify(raw, path):
    head, separator, body = raw.partition(b"\n\n")
    lines = head.decode("ascii", "replace").splitlines()
    check(separator and len(lines) == 2, f"{path}: no whole header in {len(raw)} bytes")
    name, digest = lines[0].partition(": ")[2], lines[1].partition(": ")[2]
    check(hashlib.sha256(body).hexdigest() == digest, f"{path}: wrong content, {len(body)} bytes")
    check(os.path.basename(path).partition(":")[0] == name, f"{path}: holds message {name}")
    return name


def _sync_directory(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)


def _deliver(box, who, count):
    """As an MTA does: tmp, fsync, then link or rename into new, fsync of the directory."""
    choose = random.Random(who)
    for number in range(count):
        name = f"1700000000.{who}_{number}.host"
        tmp, new = box / "tmp" / name, box / "new" / name
        fd = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        raw = _message(choose, name)
        check(os.write(fd, raw) == len(raw), "short write")
        os.fsync(fd)
        os.close(fd)
        if number % 2:
            os.link(tmp, new)
            os.unlink(tmp)
        else:
            os.rename(tmp, new)
        _sync_directory(box / "new")


def _read_new(box, stop):
    """Verifies what is new and files it as seen; another reader may be quicker."""
    while True:
        last_round = stop.is_set()
        for name in os.listdir(box / "new"):
            path = box / "new" / name
            try:
                _verify(path.read_bytes(), path)
                os.rename(path, box / "cur" / f"{name}:2,S")
            except FileNotFoundError:
                continue
        if last_round:
            return
        time.sleep(0.001)


def _list_seen(box, stop):
    """A reader that lists cur all the time: a message once filed stays, and is there once."""
    known = set()
    while not stop.is_set():
        names = os.listdir(box / "cur")
        check(len(names) == len(set(names)), "a name is listed twice")
        gone = known - set(names)
        check(not gone, f"{len(gone)} filed messages are gone from the listing, such as {sorted(gone)[:2]}")
        known |= set(names)
        time.sleep(0.005)


def _check_box(box, count):
    expected = {f"1700000000.{who}_{number}.host" for who in range(DELIVERERS) for number in range(count)}
    found = [_verify(path.read_bytes(), path) for path in (box / "cur").iterdir()]
    check(len(found) == len(set(found)), "a message is there twice")
    check(set(found) == expected, f"{len(expected - set(found))} messages lost, {len(set(found) - expected)} unexpected")
    check(not os.listdir(box / "tmp") and not os.listdir(box / "new"), "tmp or new is not empty at the end")


def maildir(volume, options):
    """Every delivered message is read whole, exactly once, and is there after a remount."""
    count = 2000 if options.full else 250
    box = volume.root / "Maildir"
    for part in ("tmp", "new", "cur"):
        (box / part).mkdir(parents=True)
    stop = PROCESSES.Event()
    deliverers = [PROCESSES.Process(target=_deliver, args=(box, who, count), name="deliverer") for who in range(DELIVERERS)]
    readers = [PROCESSES.Process(target=_read_new, args=(box, stop), name="reader") for _ in range(READERS)]
    readers.append(PROCESSES.Process(target=_list_seen, args=(box, stop), name="lister"))
    for process in readers + deliverers:
        process.start()
    try:
        join(deliverers)
    finally:
        stop.set()
    join(readers)
    _check_box(box, count)
    volume.remount()
    _check_box(box, count)


def _append(path, who, count, locked):
    with open(path, "ab", buffering=0) as log:
        for number in range(count):
            line = f"{who} {number} {'x' * (number * 37 % 300)} end\n".encode()
            if locked:
                locked(log, fcntl.LOCK_EX)
            log.write(line)
            if number % 20 == 0:
                os.fsync(log.fileno())
            if locked:
                locked(log, fcntl.LOCK_UN)


def append(volume, options):
    """O_APPEND from several processes, bare and under both kinds of lock: every line whole, none lost."""
    count = 5000 if options.full else 1000
    for name, locked in (("bare", None), ("flock", fcntl.flock), ("posix-lock", fcntl.lockf)):
        path = volume.root / f"{name}.log"
        writers = [PROCESSES.Process(target=_append, args=(path, who, count, locked), name="appender") for who in range(4)]
        for process in writers:
            process.start()
        join(writers)
        for when in ("at the end", "after the remount"):
            seen = {who: 0 for who in range(4)}
            for line in path.read_text(encoding="ascii").splitlines():
                words = line.split()
                check(len(words) in (3, 4) and words[-1] == "end", f"{name} {when}: a torn line {line[:60]!r}")
                check(int(words[1]) == seen[int(words[0])], f"{name} {when}: a line lost or doubled, {line[:30]!r}")
                seen[int(words[0])] += 1
            check(all(n == count for n in seen.values()), f"{name} {when}: {seen} of {count} lines each")
            if when == "at the end":
                volume.remount()
