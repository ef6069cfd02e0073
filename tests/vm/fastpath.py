#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""In the guest: a real volume with the kernel fast path answers in the kernel, and never what is not so."""

import errno
import json
import os
import signal
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

from guest import (ORDINARY_USER, Volume, bpf_map_count, drop_caches, equal, error_of, exchange, expect, extencfs,
                   fresh_fstat, fresh_stat, is_mounted, run_checks, wait_for)

MODULE = "extfuse.ko"
ROUNDS = 200
ACL_ACCESS = "system.posix_acl_access"
DEAD = (errno.ENOTCONN, errno.ECONNABORTED)
METADATA = ("LOOKUP", "GETATTR", "STATX", "GETXATTR", "LISTXATTR")


def acl(user):
    """rw- for the owner, r-- for one user more."""
    entry = struct.Struct("<HHI")
    return struct.pack("<I", 2) + b"".join(entry.pack(*e) for e in (
        (1, 6, 0xFFFFFFFF), (2, 4, user), (4, 4, 0xFFFFFFFF), (0x10, 4, 0xFFFFFFFF), (0x20, 4, 0xFFFFFFFF)))


def reached(requests):
    """Of the requests that reached the daemon, those for metadata."""
    return {name: count for name, count in requests.items() if name in METADATA}


def answers_in_the_kernel():
    volume = Volume()
    with volume.mounted() as top:
        path = top / "file"
        path.write_bytes(b"x" * 1000)
        (top / "dir").mkdir()
        equal(volume.stats()["mode"], "extfuse", "mode")

        def times(action, wanted=0):
            for _ in range(ROUNDS):
                equal(error_of(action), wanted, "errno")

        def expect_served(opcode, action, wanted=0, least=ROUNDS, most=ROUNDS):
            error_of(action)  # what nobody has asked for yet is the daemon's to say
            requests, served, _ = volume.counted(lambda: times(action, wanted))
            equal(reached(requests), {}, f"{opcode}: requests that reached the daemon")
            expect(least <= served.get(opcode, 0) <= most, f"{opcode}: served {served}, wanted {least} to {most}")

        expect_served("GETATTR", lambda: fresh_stat(path))
        expect_served("GETATTR", lambda: fresh_stat(top / "dir"))
        expect_served("GETATTR", lambda: fresh_stat(top))
        with open(path, "rb") as file:
            expect_served("GETATTR", lambda: fresh_fstat(file.fileno()))
        expect_served("GETXATTR", lambda: os.getxattr(path, "security.capability"), errno.ENODATA)
        for name in (ACL_ACCESS, "system.posix_acl_default"):  # the kernel keeps what it was told
            expect_served("GETXATTR", lambda name=name: os.getxattr(top / "dir", name), errno.ENODATA, least=0)
        expect_served("LISTXATTR", lambda: os.listxattr(path))

        # After a write that reached the daemon its attributes are answered from the map again.
        def write():
            with open(path, "r+b") as file:
                file.write(b"y" * 1500)
                os.fsync(file.fileno())
        write()
        expect_served("GETATTR", lambda: equal(fresh_stat(path)[1], 1500, "size"))


def missing_names_after_drop_caches():
    volume = Volume()
    with volume.mounted() as top:
        (top / "new").mkdir()

        def look():
            for number in range(ROUNDS):
                equal(error_of(lambda n=number: os.stat(top / "new" / f"no{n}")), errno.ENOENT, "errno")
        # Never asked for before: a directory that was made here is known to be empty.
        requests, served, _ = volume.counted(look)
        equal(reached(requests), {}, "first look: requests that reached the daemon")
        equal(served.get("LOOKUP"), ROUNDS, "first look: served")
        with open(top / "new" / "pin", "wb"):  # keeps the directory's node
            drop_caches()
            requests, served, _ = volume.counted(look)
        expect(sum(reached(requests).values()) <= 2, f"after drop_caches {requests} reached the daemon")
        expect(served.get("LOOKUP", 0) >= ROUNDS, f"after drop_caches: served {served}")


def second_name_after_drop_caches():
    """The file is held by one name; the other one's dentry goes, and comes back from the maps."""
    volume = Volume()
    with volume.mounted() as top:
        (top / "one").write_bytes(b"x" * 4242)
        os.link(top / "one", top / "two")
        rounds = 20
        with open(top / "one", "rb"):
            equal(os.stat(top / "two").st_size, 4242, "size")

            def look():
                for _ in range(rounds):
                    drop_caches()
                    st = os.stat(top / "two")
                    equal((st.st_size, st.st_nlink), (4242, 2), "size and links")
            requests, served, _ = volume.counted(look)
        equal(reached(requests), {}, "requests that reached the daemon")
        expect(served.get("LOOKUP", 0) >= rounds, f"served {served}")
        os.unlink(top / "one")
        os.unlink(top / "two")
        drop_caches()
        wait_for(lambda: volume.stats()["nodes"] == 1, "the node's end")


# --- Every change is seen at once, as on tmpfs

def write_at(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def script(top):
    """The changes, in order, as (name, action)."""
    a, b, c, d = (str(top / name) for name in "abcd")
    sub, sub2 = str(top / "sub"), str(top / "sub2")
    return [
        ("create", lambda: Path(a).write_bytes(b"one")),
        ("write", lambda: write_at(a, 2, b"x" * 10000)),
        ("truncate down", lambda: os.truncate(a, 100)),
        ("truncate up", lambda: os.truncate(a, 9000)),
        ("chmod", lambda: os.chmod(a, 0o4711)),
        ("chown", lambda: os.chown(a, 1000, 1001)),
        ("utimens", lambda: os.utime(a, ns=(10**18 + 1000, 10**18 + 2000))),
        ("setxattr", lambda: os.setxattr(a, "user.one", b"1")),
        ("setxattr again", lambda: os.setxattr(a, "user.one", b"22")),
        ("setxattr of another", lambda: os.setxattr(a, "user.two", b"2")),
        ("removexattr", lambda: os.removexattr(a, "user.one")),
        ("removexattr of the last", lambda: os.removexattr(a, "user.two")),
        ("set ACL", lambda: os.setxattr(a, ACL_ACCESS, acl(1234))),
        ("another ACL", lambda: os.setxattr(a, ACL_ACCESS, acl(1235))),
        ("chmod with ACL", lambda: os.chmod(a, 0o640)),
        ("remove ACL", lambda: os.removexattr(a, ACL_ACCESS)),
        ("link", lambda: os.link(a, b)),
        ("write by the link", lambda: write_at(b, 0, b"z" * 20000)),
        ("chmod by the link", lambda: os.chmod(b, 0o600)),
        ("unlink one of two", lambda: os.unlink(a)),
        ("rename", lambda: os.rename(b, c)),
        ("create again", lambda: Path(a).write_bytes(b"second")),
        ("exchange", lambda: exchange(a, c)),
        ("symlink", lambda: os.symlink("some/target", d)),
        ("rename onto", lambda: os.rename(c, a)),
        ("unlink symlink", lambda: os.unlink(d)),
        ("mkdir", lambda: os.mkdir(sub, 0o750)),
        ("default ACL", lambda: os.setxattr(sub, "system.posix_acl_default", acl(1236))),
        ("create in it", lambda: Path(sub, "a").write_bytes(b"in")),
        ("mkdir beside", lambda: os.mkdir(sub2)),
        ("rename between", lambda: os.rename(sub + "/a", sub2 + "/b")),
        ("exchange directories", lambda: exchange(sub, sub2)),
        ("rename file over", lambda: os.rename(sub + "/b", a)),
        ("rename directory", lambda: os.rename(sub, sub2 + "/b")),
        ("rmdir", lambda: os.rmdir(sub2 + "/b")),
        ("mkdir again", lambda: os.mkdir(sub)),
        ("rmdir both", lambda: (os.rmdir(sub), os.rmdir(sub2))),
        ("unlink", lambda: os.unlink(a)),
        ("mknod", lambda: os.mknod(c, stat.S_IFIFO | 0o622)),
        ("unlink fifo", lambda: os.unlink(c)),
    ]


NAMES = ["", "a", "b", "c", "d", "sub", "sub/a", "sub/b", "sub2", "sub2/a", "sub2/b", "never"]
XATTRS = ["user.one", "user.two", ACL_ACCESS, "system.posix_acl_default", "security.capability"]


def or_errno(action):
    try:
        return action()
    except OSError as failure:
        return errno.errorcode[failure.errno]


def shown(top):
    """All that can be asked of the tree, and apart from it the times."""
    seen, times, inodes = {}, {}, {}
    for name in NAMES:
        path = top / name
        st = or_errno(lambda path=path: os.lstat(path))
        if isinstance(st, str):
            seen[name] = st
            continue
        directory = stat.S_ISDIR(st.st_mode)
        seen[name] = (
            oct(st.st_mode), inodes.setdefault(st.st_ino, len(inodes)), st.st_uid, st.st_gid,
            sorted(os.listdir(path)) if directory else (st.st_nlink, st.st_size),
            os.readlink(path) if stat.S_ISLNK(st.st_mode) else None,
            [or_errno(lambda x=x, path=path: os.getxattr(path, x, follow_symlinks=False)) for x in XATTRS],
            sorted(or_errno(lambda path=path: os.listxattr(path, follow_symlinks=False))))
        times[name] = (st.st_ino, st.st_mtime_ns, st.st_ctime_ns)
    return seen, times


def moved(before, after):
    """Whose times the change moved: mtime, ctime of names that show the same inode as before."""
    return {name: (before[name][1] != after[name][1], before[name][2] != after[name][2])
            for name in after if name in before and before[name][0] == after[name][0]}


def differences(got, wanted):
    return "; ".join(f"{name!r} is {got.get(name)}, on tmpfs {wanted.get(name)}"
                     for name in sorted(set(got) | set(wanted)) if got.get(name) != wanted.get(name))


def every_change_is_seen(dropping):
    volume = Volume()
    plain = volume.lower.with_name("plain")
    plain.mkdir(mode=0o755)
    wrong = []
    with volume.mounted() as top:
        top.chmod(0o755)
        before = [shown(top)[1], shown(plain)[1]]
        for (what, change), (_, same) in zip(script(top), script(plain)):
            time.sleep(0.012)  # so that times move
            change()
            same()
            if dropping:
                drop_caches()
            (seen, times), (wanted, plain_times) = shown(top), shown(plain)
            if seen != wanted:
                wrong.append(f"after {what}: {differences(seen, wanted)}")
            by_it, by_same = moved(before[0], times), moved(before[1], plain_times)
            if by_it != by_same:
                wrong.append(f"after {what}, moved (mtime, ctime): {differences(by_it, by_same)}")
            if dropping:
                again = shown(top)[0]
                if again != seen:
                    wrong.append(f"after {what}, a second look: {differences(again, seen)}")
            before = [times, plain_times]
        served = volume.stats()["served_in_kernel"]
    expect(not wrong, "\n  ".join(wrong))
    expect(served.get("GETXATTR", 0) and served.get("LISTXATTR", 0) and served.get("LOOKUP", 0), f"served {served}")
    return f"served {served}"


def changes_as_on_tmpfs():
    return every_change_is_seen(dropping=False)


def changes_as_on_tmpfs_with_dentries_dropped():
    return every_change_is_seen(dropping=True)


# --- Coming and going

def kill_the_daemon():
    volume = Volume()
    wait_for(lambda: bpf_map_count() == 0, "the end of earlier maps")
    with volume.mounted() as top:
        (top / "file").write_bytes(b"x")
        fresh_stat(top / "file")
        expect(bpf_map_count() >= 2, "no maps while mounted")
        os.kill(volume.daemon_pid(), signal.SIGKILL)
        wait_for(lambda: volume.daemon_pid() is None, "the daemon's end")
        for path in ("file", "missing", ""):
            expect(error_of(lambda path=path: fresh_stat(top / path)) in DEAD, f"{path!r} still answers")
        expect(error_of(lambda: os.getxattr(top / "file", "security.capability")) in DEAD, "getxattr still answers")
        wait_for(lambda: bpf_map_count() == 0, "the maps' end")
        subprocess.run(["umount", top], check=True)
    with volume.mounted() as top:
        equal(os.listdir(top), ["file"], "names after the next mount")


def busy_unmount():
    volume = Volume()
    with volume.mounted() as top:
        (top / "file").write_bytes(b"x" * 77)
        with open(top / "file", "rb") as file:
            code, said = extencfs("unmount", top)
            expect(code != 0 and "busy" in said.lower() or "use" in said, f"unmount of a busy mount: {code}, {said}")
            requests, served, _ = volume.counted(lambda: fresh_fstat(file.fileno()))
            equal((reached(requests), served), ({}, {"GETATTR": 1}), "still served")
        volume.unmount()
        equal(os.listdir(top), [], "names after unmount")


def rmmod_refused_while_mounted():
    volume = Volume()
    with volume.mounted():
        done = subprocess.run(["rmmod", "extfuse"], capture_output=True, text=True, check=False)
        expect(done.returncode != 0 and "in use" in done.stderr, f"rmmod: {done.returncode}, {done.stderr}")


def two_mounts():
    one, two = Volume(), Volume()
    with one.mounted() as first, two.mounted() as second:
        (first / "file").write_bytes(b"x" * 11)
        (second / "file").write_bytes(b"x" * 22)
        for volume, other, size in ((one, two, 11), (two, one, 22)):
            def look(volume=volume, size=size):
                for _ in range(ROUNDS):
                    equal(fresh_stat(volume.mountpoint / "file")[1], size, "size")
            look()  # the directory's attributes may be asked for once more
            untouched = other.stats()["served_in_kernel"]
            requests, served, _ = volume.counted(look)
            equal((reached(requests), served), ({}, {"GETATTR": ROUNDS}), "requests, served")
            equal(other.stats()["served_in_kernel"], untouched, "served on the other mount")
        one.unmount()
        requests, served, _ = two.counted(lambda: fresh_stat(second / "file"))
        equal((reached(requests), served), ({}, {"GETATTR": 1}), "served after the other has gone")


def tree_larger_than_the_maps():
    """--map-mb 1 has 2048 nodes: the others are the daemon's to answer."""
    volume, files = Volume(), 3000
    with volume.mounted("--map-mb", "1") as top:
        directory = top / "many"
        directory.mkdir()
        for number in range(files):
            os.truncate(os.open(directory / str(number), os.O_CREAT | os.O_WRONLY), number)
            os.closerange(3, 20)
        expect(volume.stats()["nodes"] > 2048, "fewer nodes than slots")

        def look(grown):
            for number in range(files):
                equal(fresh_stat(directory / str(number))[1], number + grown, f"size of {number}")
        requests, served, _ = volume.counted(lambda: look(0))
        expect(requests.get("GETATTR", 0) > 500 and served.get("GETATTR", 0) > 500, f"{requests}, {served}")
        for number in range(0, files, 7):
            os.unlink(directory / str(number))
        for number in range(1, files, 7):
            os.truncate(directory / str(number), number + 1)
        drop_caches()
        left = [n for n in range(files) if n % 7]
        equal(sorted(os.listdir(directory), key=int), [str(n) for n in left], "names")
        for number in range(files + 100):
            got = or_errno(lambda n=number: os.stat(directory / str(n)).st_size)
            wanted = number + (number % 7 == 1) if number % 7 and number < files else "ENOENT"
            equal(got, wanted, f"size of {number} at the end")
        return f"{volume.stats()['map_bytes']} bytes of maps"


# --- Without

def auto_for_an_ordinary_user():
    volume = Volume()
    for path in [volume.lower, *volume.lower.rglob("*"), volume.mountpoint, volume.passfile, volume.lower.parent]:
        os.chown(path, ORDINARY_USER, ORDINARY_USER)
    with volume.mounted(mode="auto", user=ORDINARY_USER):
        stats = as_owner_stats(volume)
        notes = [note for note in stats["notes"] if note.startswith("extfuse:")]
        equal((stats["mode"], stats["map_bytes"], len(notes)), ("optimized", 0, 1), f"mode, maps and notes of {stats}")
    return notes[0]


def as_owner_stats(volume):
    said = subprocess.run(["extencfs", "stats", "--json", volume.mountpoint], user=ORDINARY_USER,
                          group=ORDINARY_USER, extra_groups=[], capture_output=True, text=True, check=True).stdout
    return json.loads(said)


def contents(directory):
    return {str(path): path.read_bytes() if path.is_file() else None for path in directory.rglob("*")}


def without_the_module():
    volume = Volume()
    wait_for(lambda: subprocess.run(["rmmod", "extfuse"], stderr=subprocess.DEVNULL, check=False).returncode == 0,
             "rmmod")
    before = contents(volume.lower)
    code, said = volume.try_mount()
    equal((code, said.count("\n")), (27, 1), f"exit code and lines of --mode extfuse ({said})")
    expect(not is_mounted(volume.mountpoint), "mounted all the same")
    equal(contents(volume.lower), before, "the lower directory afterwards")
    with volume.mounted(mode="auto") as top:
        stats = volume.stats()
        notes = [note for note in stats["notes"] if note.startswith("extfuse:")]
        equal((stats["mode"], stats["map_bytes"], len(notes)), ("optimized", 0, 1), f"mode, maps and notes of {stats}")
        (top / "file").write_bytes(b"x")
    return f"{said.strip()} / {notes[0]}"


def module_comes_back():
    subprocess.run(["insmod", MODULE], check=True)
    volume = Volume()
    with volume.mounted(mode="auto"):
        stats = volume.stats()
        expect(stats["mode"] == "extfuse" and "extfuse:" not in str(stats["notes"]), f"stats {stats}")


if __name__ == "__main__":
    sys.exit(run_checks([
        answers_in_the_kernel, missing_names_after_drop_caches, second_name_after_drop_caches, changes_as_on_tmpfs,
        changes_as_on_tmpfs_with_dentries_dropped, kill_the_daemon, busy_unmount, rmmod_refused_while_mounted,
        two_mounts, tree_larger_than_the_maps, auto_for_an_ordinary_user, without_the_module, module_comes_back]))
