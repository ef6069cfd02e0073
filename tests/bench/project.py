# SPDX-License-Identifier: Apache-2.0
"""A made-up C project and what people do with it, for machines that are too slow for a real one.

It asks a file system what real ones ask: headers are searched along an include path, dependency files and
objects are written and looked at again, make asks for the times of everything. The same arguments give the
same bytes. Knows nothing of what is measured.
"""

import random
import time
from pathlib import Path

from workspace import run

HEADERS_PER_SOURCE = 1
INCLUDES = 10
SEARCHED = 5  # directories of the include path
OLD = 1_700_000_000

MAKEFILE = """CC = gcc
CFLAGS = -O0 -MMD -MP
ARFLAGS = cr
UNITS := $(wildcard part-*)
all: program
program: main.o $(UNITS:%=%/lib.a)
\t$(CC) -o $@ $^
main.o: main.c
\t$(CC) $(CFLAGS) $(PATHS) -c -o $@ $<
define unit
OBJECTS_$(1) := $(patsubst %.c,%.o,$(wildcard $(1)/*.c))
$(1)/lib.a: $$(OBJECTS_$(1))
\t$$(AR) $$(ARFLAGS) $$@ $$?
$$(OBJECTS_$(1)): %.o: %.c
\t$$(CC) $$(CFLAGS) $$(PATHS) -c -o $$@ $$<
-include $$(OBJECTS_$(1):.o=.d)
endef
$(foreach u,$(UNITS),$(eval $(call unit,$(u))))
"""


def _part(number):
    return f"part-{number:02}"


def make(root, parts, sources):
    """`parts` directories of `sources` C files and as many headers. Returns the number of files."""
    choose = random.Random(7)
    paths = [f"include/level-{level}" for level in range(SEARCHED)]
    headers = []
    for number in range(parts * sources * HEADERS_PER_SOURCE):
        where = root / paths[number % SEARCHED]
        where.mkdir(parents=True, exist_ok=True)
        name = f"thing_{number:04}.h"
        body = "".join(f"static inline int f{number}_{i}(int x) {{ return x * {choose.randrange(999)} + {i}; }}\n"
                       for i in range(12))
        (where / name).write_text(f"#ifndef H{number}\n#define H{number}\n{body}#endif\n", encoding="ascii")
        headers.append((number, name))
    for part in range(parts):
        (root / _part(part)).mkdir()
        for source in range(sources):
            name = f"{_part(part)}/work_{source:03}.c".replace("-", "_").replace("part_", "part-", 1)
            used = choose.sample(headers, INCLUDES)
            text = "".join(f"#include <{header}>\n" for _, header in used)
            calls = " + ".join(f"f{number}_{choose.randrange(12)}(x)" for number, _ in used)
            (root / name).write_text(f"{text}int part{part}_work{source}(int x) {{ return {calls}; }}\n",
                                     encoding="ascii")
    calls = "".join(f"int part{p}_work0(int);\n" for p in range(parts))
    total = " + ".join(f"part{p}_work0(1)" for p in range(parts))
    (root / "main.c").write_text(f"{calls}int main(void) {{ return ({total}) == 7; }}\n", encoding="ascii")
    search = " ".join(f"-I{path}" for path in paths)
    (root / "Makefile").write_text(f"PATHS = {search}\n{MAKEFILE}", encoding="ascii")
    run(["find", root, "-exec", "touch", "-h", "-d", f"@{OLD}", "{}", "+"])
    return parts * sources * (1 + HEADERS_PER_SOURCE) + 2


def forget_names():
    """As a machine short of memory does: names and inodes leave the kernel's caches."""
    Path("/proc/sys/vm/drop_caches").write_text("2\n", encoding="ascii")


def work(root, parts):
    """Builds, looks, changes, builds again, packs. Returns the seconds that it took."""
    begin = time.monotonic()
    for part in range(parts):
        run(["make", "-s", "-C", root, f"{_part(part)}/lib.a"])
        forget_names()
    run(["make", "-s", "-C", root, "all"])
    forget_names()
    run(["make", "-s", "-C", root, "all"])  # nothing to do
    with open(root / "include/level-0/thing_0000.h", "a", encoding="ascii") as header:
        header.write("/* changed */\n")
    run(["make", "-s", "-C", root, "all"])
    forget_names()
    run(["ls", "-lR", root])
    run(["cp", "-a", root / "include", root / "installed"])
    forget_names()
    run(["diff", "-r", root / "include", root / "installed"])
    run(["tar", "-cf", root / "all.tar", "-C", root, "include", *(_part(part) for part in range(parts))])
    forget_names()
    run(["find", root, "-newer", root / "Makefile", "-size", "+1"])
    return time.monotonic() - begin
