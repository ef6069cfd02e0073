# SPDX-License-Identifier: Apache-2.0
"""git on the volume: clone, status, commits, gc, fsck; the repository is made here, without a network."""

import os
import random

from real_tree_volume import check
from workspace import run

WHO = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "A",
       "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_AUTHOR_DATE": "1700000000 +0000",
       "GIT_COMMITTER_DATE": "1700000000 +0000", "GIT_CONFIG_NOSYSTEM": "1", "HOME": "/nonexistent"}


def git(directory, *words):
    return run(["git", "-C", directory, *words], env={**os.environ, **WHO}).stdout


def _grow(root, choose, count, first):
    for number in range(first, first + count):
        directory = root / f"module-{number % 40:02}"
        directory.mkdir(exist_ok=True)
        words = " ".join(str(choose.randrange(1000)) for _ in range(choose.randrange(10, 2500)))
        (directory / f"file-{number:05}.txt").write_text(words + "\n", encoding="ascii")


def _origin(work, files, commits):
    """A repository on tmpfs with a history of adding, changing and removing."""
    origin = work.path / f"origin-{files}"
    if origin.exists():
        return origin
    origin.mkdir()
    git(origin, "init", "-q", "-b", "main")
    choose = random.Random(7)
    for number in range(commits):
        _grow(origin, choose, files // commits, number * (files // commits))
        present = sorted(origin.glob("module-*/*.txt"))
        for path in choose.sample(present, min(20, len(present))):
            with open(path, "a", encoding="ascii") as file:
                file.write(f"changed in {number}\n")
        if number % 5 == 4:
            choose.choice(present).unlink()
        git(origin, "add", "-A")
        git(origin, "commit", "-q", "-m", f"Change {number}")
    return origin


def _check_clean(clone, head):
    status = git(clone, "status", "--porcelain", "--ignored")
    check(status == "", f"git status sees changes:\n{status[:1000]}")
    check(git(clone, "rev-parse", "HEAD").strip() == head, "HEAD is another commit")
    git(clone, "fsck", "--full", "--strict")
    git(clone, "diff", "--exit-code", "HEAD")


def repository(volume, options):
    """Clone, status, commit, branch, merge, gc, fsck; the same after a remount."""
    origin = _origin(options.work, 10000 if options.full else 1200, 40 if options.full else 15)
    clone = volume.root / "clone"
    run(["git", "clone", "-q", "--no-hardlinks", origin, clone], env={**os.environ, **WHO})
    head = git(origin, "rev-parse", "HEAD").strip()
    _check_clean(clone, head)
    volume.remount()
    _check_clean(clone, head)

    git(clone, "checkout", "-q", "-b", "topic", "HEAD~5")
    _grow(clone, random.Random(8), 200, 90000)
    changed = len(git(clone, "status", "--porcelain", "-uall").splitlines())
    check(changed == 200, f"200 new files, and git status sees {changed}")
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", "Work on the topic")
    git(clone, "checkout", "-q", "main")
    git(clone, "merge", "-q", "-m", "Merge the topic", "topic")
    git(clone, "gc", "-q", "--aggressive", "--prune=now")
    check(git(clone, "count-objects").startswith("0 objects"), "gc left loose objects")
    head = git(clone, "rev-parse", "HEAD").strip()
    _check_clean(clone, head)
    volume.remount()
    _check_clean(clone, head)
    git(origin, "fetch", "-q", str(clone), "main:refs/heads/from-volume")
    check(git(origin, "rev-parse", "from-volume").strip() == head, "what was fetched from the volume is not its HEAD")
    git(origin, "update-ref", "-d", "refs/heads/from-volume")
