#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""In the guest: who is not admitted to a mount is refused in the kernel; the daemon never hears of it."""

import errno
import os
import sys
from pathlib import Path

from guest import Volume, as_user, equal, error_of, expect, run_checks, wait_for

ROUNDS = 10000
OWNER, LISTED, IN_GROUP, STRANGER, GROUP = 0, 1001, 1002, 2000, 3000


def errors_of(action, rounds):
    """How often each errno came."""
    seen = {}
    for _ in range(rounds):
        code = errno.errorcode.get(error_of(action), "none")
        seen[code] = seen.get(code, 0) + 1
    return seen


def open_and_close(path):
    os.close(os.open(path, os.O_RDONLY))


def storm(path):
    """10,000 stats and 10,000 opens, a few of the mount's root, of a missing name, and of other calls."""
    top = os.path.dirname(path)
    return [
        errors_of(lambda: os.stat(path), ROUNDS), errors_of(lambda: open_and_close(path), ROUNDS),
        errors_of(lambda: os.stat(top), 100), errors_of(lambda: os.listdir(top), 100),
        errors_of(lambda: os.stat(top + "/missing"), 100), errors_of(lambda: os.chmod(path, 0o777), 100),
        errors_of(lambda: os.getxattr(path, "user.one"), 100), errors_of(lambda: os.unlink(path), 100),
        errors_of(lambda: open(top + "/new", "wb"), 100)]


REFUSED = [{"EACCES": ROUNDS}] * 2 + [{"EACCES": 100}] * 7


def all_refused(volume, uid, gid, groups):
    requests, served, denied = volume.counted(lambda: equal(
        as_user(uid, gid, groups, lambda: storm(str(volume.mountpoint / "file"))), REFUSED, "errors"))
    equal(requests, {}, f"requests of uid {uid} that reached the daemon")
    equal(served, {}, f"requests of uid {uid} that were answered")
    return f"refused as requests: {denied}"


def filled(volume):
    (volume.mountpoint / "file").write_bytes(b"secret")
    (volume.mountpoint / "file").chmod(0o666)
    volume.mountpoint.chmod(0o777)


def can_use(path):
    def use():
        with open(path, "r+b") as file:
            file.write(b"secret")
        os.stat(path)
        os.listdir(os.path.dirname(path))
        return error_of(lambda: os.stat(path + "-missing"))
    return error_of(use) or use()


def logged(volume, uid):
    return sum(f"refused uid {uid}," in line in line for line in volume.log.read_text().splitlines())


def unlisted_user():
    volume = Volume()
    with volume.mounted("--allow-uid", str(LISTED), "--allow-gid", str(GROUP)):
        filled(volume)
        path = str(volume.mountpoint / "file")
        note = all_refused(volume, STRANGER, STRANGER, [])
        for who, uid, gid, groups in (("listed user", LISTED, LISTED, []), ("member", IN_GROUP, GROUP, []),
                                      ("supplementary member", IN_GROUP, IN_GROUP, [7, GROUP]), ("owner", 0, 0, [])):
            equal(as_user(uid, gid, groups, lambda: can_use(path)), errno.ENOENT, who)
        note = all_refused(volume, STRANGER, STRANGER, []) and note
        equal(as_user(IN_GROUP, IN_GROUP, [7], lambda: error_of(lambda: os.stat(path))), errno.EACCES, "not a member")
        wait_for(lambda: logged(volume, STRANGER), "a refusal in the log")
        expect(logged(volume, STRANGER) < 1000, "every refusal is logged")
        equal(logged(volume, LISTED), 0, "refusals of the listed user in the log")
    equal(as_user(STRANGER, STRANGER, [], lambda: os.listdir(volume.mountpoint)), [], "names after unmount")
    with volume.mounted("-o", "allow_other"):
        equal(as_user(STRANGER, STRANGER, [], lambda: can_use(path)), errno.ENOENT, "a mount without rules")
    return note


def root_denied():
    volume = Volume()
    # Whose files they are: root's, who made the mount.
    with volume.mounted("--allow-uid", str(LISTED)):
        filled(volume)
    path = str(volume.mountpoint / "file")
    with volume.mounted("--deny-root", "--allow-uid", str(LISTED)):
        note = all_refused(volume, 0, 0, [])
        all_refused(volume, STRANGER, STRANGER, [])
        equal(as_user(LISTED, LISTED, [], lambda: can_use(path)), errno.ENOENT, "the listed user")
        wait_for(lambda: logged(volume, 0), "a refusal in the log")
    equal(os.listdir(volume.mountpoint), [], "names after unmount")
    with volume.mounted() as top:
        equal((top / "file").read_bytes(), b"secret", "root without the rule")
    return note


def deny_root_by_regular_modes():
    """The rules do not need the answers: the mount is refused to strangers in every mode."""
    volume = Volume()
    with volume.mounted("--deny-root", "--allow-uid", str(LISTED), mode="regular"):
        requests, _, _ = volume.counted(lambda: equal(
            as_user(0, 0, [], lambda: storm(str(volume.mountpoint / "file"))), REFUSED, "errors"))
        # Without the programs that answer, the kernel may ask for the root's attributes before it asks them.
        expect(set(requests) <= {"GETATTR"}, f"requests that reached the daemon: {requests}")
        return f"reached the daemon: {requests}"


def lower_directory_guarded():
    volume = Volume()
    with volume.mounted("--guard-lower") as top:
        (top / "file").write_bytes(b"one")
        (top / "dir").mkdir()
        below = sorted(path for path in volume.lower.rglob("*") if path.is_file())
        expect(below, "nothing below")
        file = below[0]
        before = {path: path.read_bytes() for path in below}
        tries = {
            "write": lambda: open(file, "r+b"), "append": lambda: open(file, "ab"),
            "create": lambda: open(volume.lower / "new", "wb"), "mkdir": lambda: os.mkdir(volume.lower / "new"),
            "unlink": lambda: os.unlink(file), "rename": lambda: os.rename(file, volume.lower / "new"),
            "rename away": lambda: os.rename(file, volume.lower.parent / "new"),
            "rename in": lambda: os.rename(volume.passfile, volume.lower / "new"),
            "link": lambda: os.link(file, volume.lower / "new"), "symlink": lambda: os.symlink("x", volume.lower / "n"),
            "truncate": lambda: os.truncate(file, 0), "chmod": lambda: os.chmod(file, 0o777),
            "chown": lambda: os.chown(file, 1, 1), "utime": lambda: os.utime(file, (1, 1)),
            "setxattr": lambda: os.setxattr(file, "user.x", b"1"), "rmdir": lambda: os.rmdir(volume.lower),
        }
        allowed = [name for name, action in tries.items() if error_of(action) not in (errno.EACCES, errno.EPERM,
                                                                                    errno.ENOTEMPTY, errno.EBUSY)]
        equal(allowed, [], "changes below that root could make")
        equal({path: path.read_bytes() for path in below}, before, "contents below")
        # The daemon's own go on, and so does reading, and writing beside it.
        for number in range(50):
            (top / "dir" / str(number)).write_bytes(b"x" * number)
        os.rename(top / "file", top / "dir" / "moved")
        os.unlink(top / "dir" / "0")
        Path(volume.lower.parent, "beside").write_bytes(b"x")
        equal(len(os.listdir(top / "dir")), 50, "names in the mount")
    (volume.lower / "new").write_bytes(b"x")  # nobody guards it now
    os.unlink(volume.lower / "new")


if __name__ == "__main__":
    sys.exit(run_checks([unlisted_user, root_denied, deny_root_by_regular_modes, lower_directory_guarded]))
