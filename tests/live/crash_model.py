# SPDX-License-Identifier: Apache-2.0
"""What may be found after the daemon was killed, computed from a worker's journal.

Files are made of 16-byte cells: file number, cell index, generation, CRC-32 of these. So a byte that was
never written there shows, wherever it came from. No sealed unit's border falls inside a cell.
"""

import json
import struct
import zlib

CELL = 16
_CELL = struct.Struct("<IIII")
ZERO = bytes(CELL)


def cell(file_no, index, generation):
    body = struct.pack("<III", file_no, index, generation)
    return body + struct.pack("<I", zlib.crc32(body))


def cells(file_no, first, count, generation):
    return b"".join(cell(file_no, first + i, generation) for i in range(count))


def generation_of(raw, file_no, index):
    """The generation of a cell, 0 for zeros, None for bytes that were never written there."""
    if raw == ZERO:
        return 0
    found_file, found_index, generation, crc = _CELL.unpack(raw)
    if found_file != file_no or found_index != index or crc != zlib.crc32(raw[:12]):
        return None
    return generation


class FileModel:
    """Allowed contents of one file. `latest`: what the program sees. `allowed`: what a crash may
    leave, for cells where that is more than the latest. Sizes in cells."""

    def __init__(self, number, write_through):
        self.number = number
        self.write_through = write_through
        self.latest = {}
        self.allowed = {}
        self.size = 0
        self.least = 0
        self.most = 0

    def _allow(self, index, generation):
        self.allowed.setdefault(index, {self.latest.get(index, 0)}).add(generation)

    def begin_write(self, first, count, generation):
        for index in range(first, first + count):
            # Without a write-back cache nothing can reach the file's end before what is in front
            # of it, so no zeros show where an append was going on.
            if self.write_through and index >= self.size and first <= self.size:
                self.allowed[index] = {generation}
            else:
                self._allow(index, generation)
            self.latest[index] = generation
        self.size = max(self.size, first + count)
        self.most = max(self.most, self.size)

    def begin_truncate(self, count):
        for index in [i for i in self.latest if i >= count]:
            self._allow(index, 0)
            del self.latest[index]
        self.size = count
        self.least = min(self.least, count)
        self.most = max(self.most, count)

    def begin_punch(self, first, count):
        for index in range(first, min(first + count, self.size)):
            self._allow(index, 0)
            self.latest.pop(index, None)

    def acknowledge(self):
        """Everything so far was answered by the daemon: only the latest is right."""
        self.allowed = {}
        self.least = self.most = self.size

    def judge(self, data):
        """What is wrong with these bytes, at most a few lines."""
        wrong = []
        if len(data) % CELL:
            wrong.append(f"size {len(data)} is none that was written")
        size = len(data) // CELL
        if not self.least <= size <= self.most:
            wrong.append(f"size {size} cells, not {self.least} to {self.most}")
        for index in range(size):
            generation = generation_of(data[index * CELL:(index + 1) * CELL], self.number, index)
            right = self.allowed.get(index) or {self.latest.get(index, 0)}
            if generation in right:
                continue
            what = "BYTES NEVER WRITTEN HERE" if generation is None else f"generation {generation}"
            wrong.append(f"cell {index}: {what}, right would be {sorted(right)}")
            if len(wrong) > 5:
                break
        return wrong


class TreeModel:
    """Names, replayed from a journal. A name operation is answered by the daemon itself, so it is
    exact: but for the last one, which may have been done or not."""

    def __init__(self, write_through):
        self.write_through = write_through
        self.entries = {}  # path -> ("file", FileModel) | ("dir",) | ("link", target)
        self.xattrs = {}   # path -> {allowed values}

    def _move(self, old, new):
        for path in [p for p in self.entries if p == old or p.startswith(old + "/")]:
            self.entries[new + path[len(old):]] = self.entries.pop(path)

    def apply(self, op):
        """An operation that was begun, names and contents."""
        kind, path = op[0], op[1]
        if kind == "create":
            self.entries[path] = ("file", FileModel(op[2], self.write_through))
        elif kind == "mkdir":
            self.entries[path] = ("dir",)
        elif kind == "symlink":
            self.entries[path] = ("link", op[2])
        elif kind in ("unlink", "rmdir"):
            self.entries.pop(path, None)
        elif kind == "rename":
            for gone in [p for p in self.entries if p == op[2] or p.startswith(op[2] + "/")]:
                del self.entries[gone]
            self._move(path, op[2])
        elif kind == "exchange":
            self._move(path, "\0")
            self._move(op[2], path)
            self._move("\0", op[2])
        elif kind == "link":
            self.entries[op[2]] = self.entries[path]
        elif kind == "write":
            self.entries[path][1].begin_write(op[2], op[3], op[4])
        elif kind == "truncate":
            self.entries[path][1].begin_truncate(op[2])
        elif kind == "punch":
            self.entries[path][1].begin_punch(op[2], op[3])
        elif kind not in ("sync", "close"):
            raise ValueError(kind)

    def acknowledge(self, op):
        entry = self.entries.get(op[1])
        if not entry or entry[0] != "file":
            return
        if op[0] in ("sync", "close") or (self.write_through and op[0] in ("write", "truncate", "punch")):
            entry[1].acknowledge()

    def shape(self):
        """path -> what is there, without contents."""
        return {path: entry if entry[0] != "file" else ("file", entry[1].number)
                for path, entry in self.entries.items()}


NAME_OPERATIONS = {"create", "mkdir", "symlink", "unlink", "rmdir", "rename", "exchange", "link"}


def replay(journal_path, write_through):
    """(model, the shapes that are right, errors that the worker met, operations acknowledged)."""
    model = TreeModel(write_through)
    shapes = None
    errors = []
    done = 0
    pending = None
    with open(journal_path) as journal:
        for line in journal:
            if not line.endswith("\n"):
                break  # the worker itself was stopped within a line
            record = json.loads(line)
            if record[0] == "begin":
                pending = record[1]
                before = model.shape() if pending[0] in NAME_OPERATIONS else None
                removed = model.entries.get(pending[1]) if pending[0] in NAME_OPERATIONS else None
                replaced = model.entries.get(pending[2]) if pending[0] == "rename" else None
                model.apply(pending)
                shapes = [before] if before is not None else []
            elif record[0] == "done":
                model.acknowledge(pending)
                pending = None
                shapes = []
                done += 1
            else:
                errors.append(record[1])
    right = [model.shape()] + (shapes if pending else [])
    files = {entry[1].number: entry[1] for entry in model.entries.values() if entry[0] == "file"}
    if pending:
        # Undone, its file may still be there.
        for entry in (removed, replaced):
            if entry and entry[0] == "file":
                files.setdefault(entry[1].number, entry[1])
    return files, right, errors, done
