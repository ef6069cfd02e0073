# SPDX-License-Identifier: Apache-2.0
"""Runs the README's section "Keys" as it stands there, and compares what is printed.

Each fenced block of kind `console` has commands after "$ ", and below each what it prints. They run in one
shell after the other, in one directory. Times and the recovery key are another's each time: they have their
shapes compared.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import lib

README = Path(__file__).resolve().parents[2] / "README.md"
TIMES = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
RECOVERY_KEY = re.compile(r"([0-9A-HJKMNP-TV-Z]{5}-){7}[0-9A-HJKMNP-TV-Z]{5}")
SECONDS = 120


def section(text, title):
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def commands(text):
    """(command, what it prints) of every block."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                lib.check(found, f"output without a command: {line}")
                found[-1][1].append(line)
    return [(command, "".join(line + "\n" for line in printed)) for command, printed in found]


def shape(text):
    return RECOVERY_KEY.sub("RECOVERY KEY", TIMES.sub("TIME", text))


def run_all(place, wanted):
    failures = []
    environment = {**os.environ, "PATH": os.path.dirname(lib.program()) + ":" + os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    for command, printed in wanted:
        done = subprocess.run(["bash", "-c", command], cwd=place, env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS, check=False)
        if shape(done.stdout) != shape(printed):
            failures.append(f"$ {command}\nprinted (exit code {done.returncode}):\n{done.stdout}in place of:\n{printed}")
        if (done.returncode != 0) != printed.startswith("extencfs: "):
            failures.append(f"$ {command}\nended with {done.returncode}")
    return failures


def run():
    lib.need_root()  # the machine's key of systemd-creds is root's
    lib.need_mounts()
    if lib.peer() != "extencfs":
        lib.skip("the tutorial is extencfs's own")
    wanted = commands(section(README.read_text(), "Keys"))
    verbs = {match.group(1) for command, _ in wanted if (match := re.match(r"extencfs key ([a-z-]+)", command))}
    lib.check(verbs == {"add", "change", "list", "remove", "rotate", "test", "export-header", "import-header"},
              f"the tutorial shows {sorted(verbs)} only")
    with lib.Scratch() as scratch:
        place = scratch.file("tutorial")
        os.mkdir(place)
        try:
            failures = run_all(place, wanted)
        finally:
            mount = os.path.join(place, "mnt")
            if lib.is_mounted(mount):
                subprocess.run(["umount", "-l", mount], check=False)
    print(f"{len(wanted)} commands of the README were run")
    return failures


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    lib.main(run)
