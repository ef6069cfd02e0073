# SPDX-License-Identifier: Apache-2.0
"""What a volume is filled with and how it is changed, as system calls on any directory.

The same calls on a tmpfs are the model: whatever they leave there, and answer, a mount must show too.
Only hard links under external IV chaining, which EncFS refuses, are told apart here.
"""

import errno
import os
import stat

from legacy_shapes import do_steps, make_base, OPEN_TO_CUT, shapes, some_bytes, WRITE_TO_GROW

ODD = (b"\xff\xfe", b"\xc3", b"\x01", b"new\nline", b" ", b"-rf", b"a b", b"back\\slash", b".hidden", b"...",
       b"..a", b"+plus", b"%41", b"~", b"A", b"a", b"tail.", b"tail ", "\u00fc\u4e2d".encode())
LENGTHS = (1, 2, 6, 7, 8, 9, 14, 15, 16, 17, 31, 32, 33, 100)


class Place:
    """A directory to work in. `model` when it is the tmpfs that a mount is compared with, `encfs` when
    encfs shows it."""

    def __init__(self, top, case, model=False, encfs=False):
        self.top, self.case, self.model = top, case, model
        self.answers = []
        self.quirks = set()
        if encfs:
            self.quirks.add(OPEN_TO_CUT)
            if "u" not in case.chains and case.data_block == case.block:
                self.quirks.add(WRITE_TO_GROW)

    def path(self, *names):
        return os.path.join(self.top, *names)

    def write(self, path, data, mode="xb"):
        with open(self.path(path), mode) as out:
            out.write(data)

    def ask(self, what, call, *how):
        """Notes what a call answers, for the model's answer to be compared with it."""
        try:
            call(*how)
            answer = "done"
        except OSError as error:
            answer = errno.errorcode.get(error.errno, str(error.errno))
        self.answers.append(f"{what}: {answer}")

    def refused(self, what, answer, call, *how):
        """As ask(), where the model would do what a volume has to refuse."""
        if self.model:
            self.answers.append(f"{what}: {answer}")
        else:
            self.ask(what, call, *how)

    def link(self, old, new):
        if self.case.bound_to_names:
            self.refused(f"link {new}", "EPERM", os.link, self.path(old), self.path(new))
        elif not self.case.external:  # encfs refuses for the option alone; that is left open here
            self.ask(f"link {new}", os.link, self.path(old), self.path(new))


def long_name(length, fill="n"):
    return (f"{length}-" + fill * length)[:length]


def names_of(case):
    limit = case.name_limit
    lengths = {length for length in (*LENGTHS, limit - 1, limit) if length <= limit}
    every_byte = bytes(set(range(1, 256)) - {ord("/")})
    odd = [*ODD, *(every_byte[i:i + 60] for i in range(0, 254, 60))]
    return [os.fsdecode(name) for name in odd] + [long_name(length) for length in sorted(lengths)]


def targets(case):
    """Names of symlinks and where they lead."""
    table = {"relative": "names/a", "up": "../x/../y", "dots": "./a/./b", "only dot": ".", "only up": "..",
             "broken": "nowhere", "absolute": "/etc/passwd", "absolute broken": "/no/such place/at all",
             "long absolute": "/" + "/".join(["long" * 10] * 12), "long name": "t" * 200,
             "long path": "/".join(["component"] * 20), "raw": os.fsdecode(b"\xff\xfe/\xc3"),
             "raw absolute": os.fsdecode(b"/\xff"), "root": "/", "slash at end": "dir/", "two slashes": "a//b/",
             "two slashes first": "//x/..", "dot and slash": "./", "absolute dots": "/./a/../b", "plus": "+x"}
    if case.names == "stream":  # a name of no bytes has no code
        del table["root"]
    if case.names == "null":  # encfs makes it absolute
        del table["plus"]
    return table


def populate(place, folder):
    """Names, deep directories, links, modes, kinds."""
    case = place.case
    for part in ("", "names", "links", "kinds", "empty directory"):
        os.mkdir(place.path(folder, part))
    for turn, name in enumerate(names_of(case)):
        place.write(f"{folder}/names/{name}", some_bytes(turn, turn))
    for turn, name in enumerate(names_of(case)[::4]):
        os.mkdir(place.path(folder, "names", name + "d" if len(name) < 90 else "d" + name[1:]))
    place.refused("name too long", "ENAMETOOLONG", os.mkdir, place.path(folder, long_name(case.name_limit + 1)))
    deep = folder
    for depth in range(9):
        deep += f"/deep {depth}" if depth != 4 else "/" + long_name(min(60, case.name_limit))
        os.mkdir(place.path(deep))
        place.write(f"{deep}/file", some_bytes(depth * 31, depth))
    for name, target in targets(case).items():
        os.symlink(target, place.path(folder, "links", name))
    place.write(f"{folder}/links/first", some_bytes(1000))
    place.link(f"{folder}/links/first", f"{folder}/links/second")
    place.link(f"{folder}/links/first", f"{folder}/empty directory/third")
    for mode in (0o600, 0o444, 0o777, 0o200, 0, 0o4755, 0o2711):
        place.write(f"{folder}/kinds/{mode:o}", b"mode")
        os.chmod(place.path(folder, "kinds", f"{mode:o}"), mode)
    os.mkdir(place.path(folder, "kinds", "sticky"))
    os.chmod(place.path(folder, "kinds", "sticky"), 0o1777)
    os.mkdir(place.path(folder, "kinds", "closed"), 0o500)
    os.mkfifo(place.path(folder, "kinds", "fifo"), 0o640)
    os.mknod(place.path(folder, "kinds", "device"), stat.S_IFCHR | 0o660, os.makedev(1, 3))
    os.chown(place.path(folder, "kinds", "600"), 1234, 5678)
    for attribute in ("kinds/777", "kinds/sticky"):
        os.setxattr(place.path(folder, attribute), "user.a note", b"in \0 clear\xff")


def make_tree(place, folder):
    """A tree to be renamed: under chained names everything in it gets another name below."""
    unit = place.case.data_block
    os.mkdir(place.path(folder))
    for size in (0, 1, unit, 3 * unit + 17):
        place.write(f"{folder}/size {size}", some_bytes(size, size))
    for part in ("empty", "sub", "sub/sub", "sub/sub/sub"):
        os.mkdir(place.path(folder, part))
        place.write(f"{folder}/{part} file", some_bytes(2 * unit + 3))
        os.symlink("sub/sub file", place.path(folder, part + " link"))
    for name in (os.fsdecode(ODD[0]), long_name(place.case.name_limit)):
        place.write(f"{folder}/sub/{name}", some_bytes(77))
    os.symlink("/absolute", place.path(folder, "absolute"))
    place.link(f"{folder}/size 1", f"{folder}/sub/sub/other name")


TREES = ("sibling", "into deep", "middle", "over empty", "up", "there and back", "changed after", "removed",
         "held open")
FILES = ("in place", "away", "over file", "target", "over link", "same", "to long", "held", "truncated")


def fill(place):
    case = place.case
    for folder in ("sizes", "ready", "later", "new", "files", "other"):
        os.mkdir(place.path(folder))
    for block in {case.block, case.data_block}:
        for size in (0, 1, block - 1, block, block + 1, 3 * block + 17):
            place.write(f"sizes/{size}", some_bytes(size), "wb")
    for shape in shapes(case.data_block, case.holes):
        make_base(place.path("ready"), shape)
        do_steps(place.path("ready"), shape, place.quirks)
        make_base(place.path("later"), shape)
    populate(place, "old")
    for turn, name in enumerate(FILES):
        place.write(f"files/{name}", some_bytes(case.data_block * turn // 2, turn))
        place.write(f"other/{name}", some_bytes(9 + turn, turn))
    for name in TREES:
        make_tree(place, f"tree {name}")
    os.mkdir(place.path("empty target"))
    os.symlink("files/target", place.path("other/link"))


def settle_times(place, folder, digits):
    """Gives everything in a folder times that can be told from those of later changes; `digits`: the
    nanoseconds after whole microseconds, all that encfs can set."""
    number = 0
    for path, dirs, files in os.walk(place.path(folder)):
        dirs.sort()
        for name in sorted(dirs + files):
            number += 1
            moment = (978307200 + number * 86400) * 10**9 + number * 1000 + digits
            if number % 11 == 0:
                moment -= 2 * 10**18  # before 1970
            os.utime(os.path.join(path, name), ns=(moment, moment), follow_symlinks=False)


def sharpen_times(top):
    """Adds nanoseconds to the times of all there is."""
    for path, dirs, files in os.walk(os.fsencode(top)):
        for name in dirs + files:
            name = os.path.join(path, name)
            moment = os.lstat(name).st_mtime_ns + 789
            os.utime(name, ns=(moment, moment), follow_symlinks=False)


def _move_trees(place):
    def move(old, new):
        os.rename(place.path(old), place.path(new))
    deep = "old/deep 0/deep 1/deep 2"
    move("tree sibling", "tree sibling, renamed")
    move("tree into deep", f"{deep}/tree")
    move("tree middle/sub", "tree middle/" + long_name(place.case.name_limit, "m"))
    move("tree over empty", "empty target")
    move("tree up/sub/sub", "sub, up")
    move("tree there and back", "tree elsewhere")
    move("tree elsewhere", "tree there and back")
    move(deep, "old/empty directory/deep moved with tree")
    move("tree changed after", "tree changed")
    place.write("tree changed/sub/new", some_bytes(500))
    place.write("tree changed/sub/sub file", some_bytes(9, 4), "ab")
    place.write(f"tree changed/size {place.case.data_block}", b"other", "r+b")
    os.rename(place.path("tree changed/sub/sub"), place.path("tree changed/empty/sub"))
    os.unlink(place.path("tree changed/size 0"))
    move("tree removed", "tree to be removed")
    for path, dirs, files in os.walk(place.path("tree to be removed"), topdown=False):
        for name in dirs + files:
            name = os.path.join(path, name)
            (os.rmdir if os.path.isdir(name) and not os.path.islink(name) else os.unlink)(name)
    os.rmdir(place.path("tree to be removed"))
    with open(place.path("tree held open/sub/sub file"), "r+b", buffering=0) as file:
        file.write(b"before")
        move("tree held open", "tree held")
        file.seek(place.case.data_block - 2)
        file.write(b"after the rename")


def _move_files(place):
    def move(old, new):
        os.rename(place.path(old), place.path(new))
    move("files/in place", "files/in another place")
    move("files/away", "old/deep 0/away")
    move("files/over file", "files/target")
    move("files/same", "other/same")  # there is one
    move("files/over link", "other/link")
    move("other/over link", "other/a link no more")
    move("files/to long", "files/" + long_name(place.case.name_limit, "f"))
    move("old/links/relative", "files/relative")
    move("old/links/absolute", "old/links/absolute, renamed")
    move("old/kinds/fifo", "files/fifo")
    move("old/kinds/444", "files/read only")
    with open(place.path("files/held"), "r+b", buffering=0) as file:
        file.write(b"one")
        move("files/held", "other/held")
        file.write(b"two")
        os.ftruncate(file.fileno(), 2 * place.case.data_block + 1)
    os.truncate(place.path("files/truncated"), 0)
    move("files/truncated", "other/truncated")
    place.write("other/truncated", b"filled again", "r+b")


def edit(place):
    """What the program under test does to a volume that encfs has filled."""
    for shape in shapes(place.case.data_block, place.case.holes):
        make_base(place.path("new"), shape)
        do_steps(place.path("new"), shape, place.quirks)
        do_steps(place.path("later"), shape, place.quirks)
    _move_trees(place)
    _move_files(place)
    populate(place, "young")
    settle_times(place, "young", 501)
    os.unlink(place.path("sizes/1"))
    os.unlink(place.path("old/links/broken"))
    os.rmdir(place.path("old/kinds/closed"))
    place.link("sizes/0", "sizes/linked")
    place.ask("rmdir of a full one", os.rmdir, place.path("old/names"))
    place.ask("rename over a full one", os.rename, place.path("young/names"), place.path("old/names"))
    place.ask("rename into itself", os.rename, place.path("young"), place.path("young/names/x"))
    place.ask("unlink of nothing", os.unlink, place.path("nothing"))
    place.ask("mkdir over a file", os.mkdir, place.path("sizes/0"))
    place.ask("rename of nothing", os.rename, place.path("nothing"), place.path("something"))
    place.refused("rename to a name too long", "ENAMETOOLONG", os.rename, place.path("files/target"),
                  place.path("files", long_name(place.case.name_limit + 1)))
