# SPDX-License-Identifier: Apache-2.0
"""Attacks on names, directories, symlinks, xattrs and long names' side files."""

import errno
import os
import shutil

from tamper_attacks import flip, patch
from tamper_volume import content

GONE = (errno.ENOENT, errno.EIO)


def exchange(a, b):
    spare = a + ".spare"
    os.rename(a, spare)
    os.rename(b, a)
    os.rename(spare, b)


def listed(v, directory):
    return set(os.listdir(v.upper(directory)))


def names(v):
    cases = []

    def pair(directory, one, two):
        x = v.file(f"{directory}/{one}", content(5000, f"{directory}/{one}"))
        y = v.file(f"{directory}/{two}", content(7000, f"{directory}/{two}"))
        return x, y

    # Declared: whole files of one directory can be exchanged. Then each reads the other, entirely.
    v.directory("names-a")
    x, y = pair("names-a", "x", "y")
    label = "names of two files of a directory swapped (declared)"

    def judge_swapped(label=label, x=x, y=y):
        v.expect_eio_or(label, x, [y.data])
        v.expect_eio_or(label, y, [x.data])
    cases.append((label, lambda x=x, y=y: exchange(x.lower, y.lower), judge_swapped))

    # A name belongs to its directory: carried to another one it is no name there.
    v.directory("names-b")
    v.directory("names-c")
    x, y = pair("names-b", "moves", "stays")
    z = v.file("names-c/there", content(3000, "there"))
    label = "a lower file moved to another directory"

    def judge_moved(label=label, x=x, y=y, z=z):
        if not listed(v, "names-c") <= {"there"}:
            v.fail(label, f"shows {listed(v, 'names-c')}")
        v.expect_error(label, "open of what was moved", lambda: os.open(v.upper(x.name), 0), GONE)
        v.expect_blocks(label, y, set())
        v.expect_blocks(label, z, set())
    cases.append((label, lambda x=x, z=z: os.rename(
        x.lower, os.path.join(os.path.dirname(z.lower), os.path.basename(x.lower))), judge_moved))

    # A flipped letter in a name: the entry is gone, its neighbour is not.
    v.directory("names-d")
    x, y = pair("names-d", "flipped", "neighbour")
    label = "a letter of a lower name changed"

    def change_letter(x=x):
        place, entry = os.path.split(x.lower)
        os.rename(x.lower, os.path.join(place, ("B" if entry[0] == "A" else "A") + entry[1:]))

    def judge_letter(label=label, x=x, y=y):
        if not listed(v, "names-d") <= {"neighbour"}:
            v.fail(label, f"shows {listed(v, 'names-d')}")
        v.expect_error(label, "open", lambda: os.open(v.upper(x.name), 0), GONE)
        v.expect_blocks(label, y, set())
    cases.append((label, change_letter, judge_letter))

    # Deletion is declared; foreign files are not shown and do no harm.
    v.directory("names-e")
    x, y = pair("names-e", "deleted", "kept")
    label = "a lower file deleted (declared), foreign files put beside"

    def delete(x=x):
        os.unlink(x.lower)
        place = os.path.dirname(x.lower)
        for name in ("README.txt", "A" * 22, "a (conflicted copy)", "extencfs.x", "\udcff"):
            with open(os.path.join(place, name), "w") as out:
                out.write("foreign")
        os.mkdir(os.path.join(place, "foreign"))
        os.symlink("x", os.path.join(place, "foreign-link"))

    def judge_deleted(label=label, x=x, y=y):
        if listed(v, "names-e") != {"kept"}:
            v.fail(label, f"shows {listed(v, 'names-e')}")
        v.expect_error(label, "open", lambda: os.open(v.upper(x.name), 0), (errno.ENOENT,))
        v.expect_blocks(label, y, set())
    cases.append((label, delete, judge_deleted))
    return cases


def long_names(v):
    cases = []
    actions = {
        "flipped": lambda path: flip(path, os.path.getsize(path) // 2, 2),
        "emptied": lambda path: os.truncate(path, 0),
        "cut": lambda path: os.truncate(path, os.path.getsize(path) - 1),
        "grown": lambda path: patch(path, os.path.getsize(path), b"x" * 5000),
        "removed": os.unlink,
    }
    for what, action in actions.items():
        directory = f"long-{what}"
        v.directory(directory)
        name = what[0] * 250
        x = v.file(f"{directory}/{name}", content(5000, what))
        y = v.file(f"{directory}/{'y' * 240}", content(4000, "y" + what))
        label = f"side file of a long name {what}"

        def attack(x=x, action=action):
            place, entry = os.path.split(x.lower)
            action(os.path.join(place, entry.replace("extencfs.l.", "extencfs.n.", 1)))

        def judge(label=label, x=x, y=y, directory=directory, name=name):
            if not {"y" * 240} <= listed(v, directory) <= {"y" * 240, name}:
                v.fail(label, f"shows {len(listed(v, directory))} names, or wrong ones")
            v.expect_eio_or_gone(label, x)
            v.expect_blocks(label, y, set())
        cases.append((label, attack, judge))
    v.directory("long-swapped")
    x = v.file(f"long-swapped/{'x' * 250}", content(5000, "lx"))
    y = v.file(f"long-swapped/{'y' * 250}", content(5000, "ly"))
    label = "side files of two long names swapped"

    def swap(x=x, y=y):
        exchange(*(v_.lower.replace("extencfs.l.", "extencfs.n.", 1) for v_ in (x, y)))

    def judge_swap(label=label, x=x, y=y):
        if not listed(v, "long-swapped") <= {"x" * 250, "y" * 250}:
            v.fail(label, "shows wrong names")
        v.expect_eio_or_gone(label, x)
        v.expect_eio_or_gone(label, y)
    cases.append((label, swap, judge_swap))
    return cases


def dir_file(victim):
    return os.path.join(victim.lower, "extencfs.dir")


def directories(v):
    cases = []
    other = v.directory("dir-other")
    v.file("dir-other/f", b"of the other")

    def add(what, attack):
        victim = v.directory(f"dir-{len(cases)}")
        inside = v.file(f"dir-{len(cases)}/inside", content(4000, what))
        label = f"directory: {what}"

        def judge():
            name = v.upper(victim.name)
            v.expect_error(label, "listing", lambda: os.listdir(name))
            v.expect_error(label, "open below", lambda: os.open(v.upper(inside.name), os.O_RDONLY))
            v.expect_error(label, "create below",
                           lambda: os.open(os.path.join(name, "new"), os.O_CREAT | os.O_WRONLY))
        cases.append((label, lambda: attack(victim), judge))

    for byte in range(0, 96, 5):
        add(f"id file, bit in byte {byte} flipped", lambda d, byte=byte: flip(dir_file(d), byte, 1))
    add("id file removed", lambda d: os.unlink(dir_file(d)))
    add("id file emptied", lambda d: os.truncate(dir_file(d), 0))
    add("id file cut", lambda d: os.truncate(dir_file(d), 95))
    add("id file zeroed", lambda d: patch(dir_file(d), 0, bytes(96)))
    add("id file of another directory copied in",
        lambda d: shutil.copyfile(dir_file(other), dir_file(d)))
    # Two directories exchanged: each is where the other belongs.
    x = v.directory("dir-x")
    y = v.directory("dir-y")
    v.file("dir-x/f", b"in x")
    v.file("dir-y/f", b"in y")
    label = "directories exchanged"

    def judge_exchanged(label=label):
        for name in ("dir-x", "dir-y"):
            v.expect_error(label, f"listing {name}", lambda name=name: os.listdir(v.upper(name)))
            v.expect_error(label, f"open in {name}",
                           lambda name=name: os.open(v.upper(name + "/f"), os.O_RDONLY))
    cases.append((label, lambda: exchange(x.lower, y.lower), judge_exchanged))
    # A directory carried into another (a shared) one.
    host = v.directory("dir-host")
    guest = v.directory("dir-guest")
    v.file("dir-guest/f", b"guest")
    label = "a directory moved into another"

    def judge_guest(label=label):
        if listed(v, "dir-host"):
            v.fail(label, f"the host shows {listed(v, 'dir-host')}")
        v.expect_error(label, "listing of the guest", lambda: os.listdir(v.upper("dir-guest")), GONE)
    cases.append((label, lambda: os.rename(
        guest.lower, os.path.join(host.lower, os.path.basename(guest.lower))), judge_guest))
    return cases


def symlinks(v):
    cases = []
    spots = (0, 10, 33, 40, -1)

    def change(path, at):
        text = os.readlink(path)
        at %= len(text)
        os.unlink(path)
        os.symlink(text[:at] + ("B" if text[at] == "A" else "A") + text[at + 1:], path)

    for at in spots:
        victim = v.symlink(f"link-{at}", f"target number {at} of some length")
        label = f"symlink, letter {at} changed"
        cases.append((label, lambda victim=victim, at=at: change(victim.lower, at),
                      lambda label=label, victim=victim: v.expect_error(
                          label, "readlink", lambda: os.readlink(v.upper(victim.name)))))
    foreign = v.symlink("link-foreign", "x" * 20)
    label = "symlink replaced by a plain one"
    cases.append((label, lambda: (os.unlink(foreign.lower), os.symlink("/etc/passwd", foreign.lower)),
                  lambda: v.expect_error(label, "readlink",
                                         lambda: os.readlink(v.upper("link-foreign")))))
    far = v.symlink("link-far", "t" * 4000)
    far_label = "long symlink, its stored target flipped"

    def attack_far():
        store = os.path.join(v.root, "extencfs.s")
        for name in os.listdir(store):
            path = os.path.join(store, name)
            if os.path.isfile(path) and name != "extencfs.dir":
                flip(path, os.path.getsize(path) // 2, 0)
    cases.append((far_label, attack_far, lambda: v.expect_error(
        far_label, "readlink", lambda: os.readlink(v.upper(far.name)))))
    one = v.symlink("link-one", "the first target")
    two = v.symlink("link-two", "the other target")
    declared = "two symlinks swapped (declared)"

    def judge_declared():
        for name, target in ((one.name, two.data), (two.name, one.data)):
            try:
                if os.readlink(v.upper(name)).encode() != target:
                    v.fail(declared, "a target that neither has")
            except OSError as error:
                if error.errno != errno.EIO:
                    v.fail(declared, error.strerror)
    cases.append((declared, lambda: exchange(one.lower, two.lower), judge_declared))
    return cases


def encrypted_xattrs(path):
    return sorted(n for n in os.listxattr(path) if n.startswith("user.extencfs."))


def xattrs(v):
    cases = []

    def with_attribute(name, value):
        victim = v.file(name, b"has an attribute")
        os.setxattr(v.upper(name), "user.note", value)
        v.restamp(victim)
        return victim

    def get(victim):
        return os.getxattr(v.upper(victim.name), "user.note")

    def altered(victim, change):
        name = encrypted_xattrs(victim.lower)[0]
        os.setxattr(victim.lower, name, change(os.getxattr(victim.lower, name)))
    changes = {
        "first byte flipped": lambda b: bytes([b[0] ^ 1]) + b[1:],
        "middle flipped": lambda b: b[:30] + bytes([b[30] ^ 8]) + b[31:],
        "last byte flipped": lambda b: b[:-1] + bytes([b[-1] ^ 128]),
        "cut": lambda b: b[:-1], "grown": lambda b: b + b"x", "emptied": lambda b: b"",
    }
    for what, change in changes.items():
        victim = with_attribute(f"xattr {what}", b"value " * 5)
        label = f"xattr value {what}"
        cases.append((label, lambda victim=victim, change=change: altered(victim, change),
                      lambda label=label, victim=victim: v.expect_error(
                          label, "getxattr", lambda: get(victim))))
    x = with_attribute("xattr x", b"of x")
    y = with_attribute("xattr y", b"of y")
    label = "xattr moved between files"

    def move():
        name = encrypted_xattrs(x.lower)[0]
        value = os.getxattr(x.lower, name)
        own = encrypted_xattrs(y.lower)[0]
        os.setxattr(y.lower, name, value)   # name and value of x
        os.setxattr(y.lower, own, value)    # value of x under the name that y knows

    def judge_move():
        v.expect_error(label, "getxattr", lambda: get(y))
        if not set(os.listxattr(v.upper(y.name))) <= {"user.note"}:
            v.fail(label, f"lists {os.listxattr(v.upper(y.name))}")
        if get(x) != b"of x":
            v.fail(label, "x has another value")
    cases.append((label, move, judge_move))
    return cases

