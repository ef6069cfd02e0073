# SPDX-License-Identifier: Apache-2.0
"""sqlite3 on the volume: the same statements as on tmpfs give the same database, in every journal mode; several
processes at once see only whole transactions; a process killed in a transaction loses that one alone.
"""

import hashlib
import multiprocessing
import os
import random
import signal
import sqlite3
import time

from real_tree_volume import check

JOURNALS = ("DELETE", "TRUNCATE", "PERSIST", "WAL")
ACCOUNTS, TOTAL = 200, 200 * 1000
PROCESSES = multiprocessing.get_context("fork")


def connect(path, journal, extra=()):
    db = sqlite3.connect(path, timeout=120, isolation_level=None)
    found = db.execute(f"PRAGMA journal_mode={journal}").fetchone()[0]
    check(found.upper() == journal, f"asked for journal mode {journal}, got {found}")
    for pragma in ("synchronous=FULL", *extra):
        db.execute(f"PRAGMA {pragma}").fetchall()
    return db


def check_integrity(db, when):
    found = db.execute("PRAGMA integrity_check").fetchall()
    check(found == [("ok",)], f"integrity_check {when}: {found[:5]}")


def content(db):
    total = hashlib.sha256()
    for line in db.iterdump():
        total.update(line.encode())
    return total.hexdigest()


def _statements(path, journal, rows, extra):
    """Inserts, updates, deletes, a rollback, an index, a VACUUM; the digest of what is there at the end."""
    choose = random.Random(42)
    db = connect(path, journal, extra)
    db.execute("CREATE TABLE mail(id INTEGER PRIMARY KEY, sender TEXT, size INTEGER, body BLOB)")
    for start in range(0, rows, 500):
        db.execute("BEGIN")
        db.executemany("INSERT INTO mail VALUES(?,?,?,?)",
                       [(i, f"user{choose.randrange(99)}@example.org", choose.randrange(10**6),
                         choose.randbytes(choose.randrange(2000))) for i in range(start, min(start + 500, rows))])
        db.execute("COMMIT")
    db.execute("CREATE INDEX by_sender ON mail(sender, size)")
    for _ in range(40):
        db.execute("UPDATE mail SET size = size + 1, body = CAST(body || x'00' AS BLOB) WHERE id = ?", (choose.randrange(rows),))
    db.execute("BEGIN")
    db.execute("DELETE FROM mail")
    db.execute("ROLLBACK")
    db.execute("DELETE FROM mail WHERE id % 7 = 3")
    db.execute("VACUUM")
    check_integrity(db, f"after the statements in {journal}")
    found = content(db)
    db.close()
    return found


def statements(volume, options):
    """Every journal mode, with and without memory mapping, against the same on tmpfs."""
    rows = 30000 if options.full else 3000
    for journal in JOURNALS:
        for extra in ((), ("mmap_size=268435456", "cache_size=20")):
            name = f"{journal}-{len(extra)}.db"
            native = options.work.path / name
            expected = _statements(native, journal, rows, extra)
            native.unlink()
            check(_statements(volume.root / name, journal, rows, extra) == expected, f"{name}: other content than on tmpfs")
            volume.remount()
            db = connect(volume.root / name, journal, extra)
            check_integrity(db, f"of {name} after the remount")
            check(content(db) == expected, f"{name}: other content after the remount")
            db.close()


def _transfer(path, journal, seed, count):
    choose = random.Random(seed)
    db = connect(path, journal)
    for _ in range(count):
        a, b, amount = choose.randrange(ACCOUNTS), choose.randrange(ACCOUNTS), choose.randrange(50)
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE account SET money = money - ? WHERE id = ?", (amount, a))
        db.execute("UPDATE account SET money = money + ? WHERE id = ?", (amount, b))
        db.execute("UPDATE done SET n = n + 1")
        db.execute("COMMIT")
    db.close()


def _watch(path, journal, stop):
    db = connect(path, journal)
    while not stop.is_set():
        total = db.execute("SELECT sum(money) FROM account").fetchone()[0]
        check(total == TOTAL, f"a reader saw half a transaction: {total}")
        time.sleep(0.002)
    db.close()


def join(processes):
    for process in processes:
        process.join(600)
        if process.is_alive():
            process.kill()
            check(False, f"{process.name} does not end")
        check(process.exitcode == 0, f"{process.name} ended with {process.exitcode}")


def transfers(volume, options):
    """Two writers and two readers of one database: sums stay right, nothing is lost."""
    count = 1500 if options.full else 400
    for journal in ("DELETE", "WAL"):
        path = volume.root / f"bank-{journal}.db"
        db = connect(path, journal)
        db.execute("CREATE TABLE account(id INTEGER PRIMARY KEY, money INTEGER)")
        db.execute("CREATE TABLE done(n INTEGER)")
        db.execute("INSERT INTO done VALUES(0)")
        db.executemany("INSERT INTO account VALUES(?, 1000)", [(i,) for i in range(ACCOUNTS)])
        db.close()
        stop = PROCESSES.Event()
        readers = [PROCESSES.Process(target=_watch, args=(path, journal, stop), name="reader") for _ in range(2)]
        writers = [PROCESSES.Process(target=_transfer, args=(path, journal, n, count), name="writer") for n in range(2)]
        for process in readers + writers:
            process.start()
        try:
            join(writers)
        finally:
            stop.set()
        join(readers)
        for when in ("at the end", "after the remount"):
            db = connect(path, journal)
            check_integrity(db, f"{journal} {when}")
            done = db.execute("SELECT n FROM done").fetchone()[0]
            check(done == 2 * count, f"{journal} {when}: {done} of {2 * count} transactions")
            check(db.execute("SELECT sum(money) FROM account").fetchone()[0] == TOTAL, f"{journal} {when}: wrong sum")
            db.close()
            if when == "at the end":
                volume.remount()


def _die_in_transaction(path, journal):
    db = connect(path, journal, ("cache_size=5",))
    db.execute("INSERT INTO kept VALUES('committed before the kill')")
    db.execute("BEGIN")
    db.executemany("INSERT INTO kept VALUES(?)", [("never committed " * 50,) for _ in range(2000)])
    os.kill(os.getpid(), signal.SIGKILL)


def killed(volume, options):
    """SIGKILL in the middle of a transaction, then a remount: committed rows and no others."""
    for journal in JOURNALS:
        path = volume.root / f"killed-{journal}.db"
        db = connect(path, journal)
        db.execute("CREATE TABLE kept(words TEXT)")
        db.executemany("INSERT INTO kept VALUES(?)", [(f"row {n}",) for n in range(300)])
        db.close()
        victim = PROCESSES.Process(target=_die_in_transaction, args=(path, journal))
        victim.start()
        victim.join(120)
        check(victim.exitcode == -signal.SIGKILL, f"the victim ended with {victim.exitcode}")
        volume.remount()
        db = connect(path, journal)
        check_integrity(db, f"of {journal} after the kill")
        rows = db.execute("SELECT count(*) FROM kept").fetchone()[0]
        check(rows == 301, f"{journal}: {rows} rows after the kill, 301 were committed")
        db.close()
