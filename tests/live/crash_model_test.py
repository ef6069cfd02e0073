#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""That the crash test's judge sees what it has to see; nothing is mounted."""

import json
import os
import tempfile
import unittest

from crash_model import CELL, FileModel, cells, replay


def written(write_through, *operations):
    model = FileModel(7, write_through)
    for index, (first, count) in enumerate(operations):
        model.begin_write(first, count, index + 1)
    return model


class Judge(unittest.TestCase):
    def test_durable_bytes_are_right_and_nothing_else_is(self):
        model = written(True, (0, 10))
        model.acknowledge()
        right = cells(7, 0, 10, 1)
        self.assertEqual(model.judge(right), [])
        for wrong in (right[:-CELL], right + bytes(CELL), right[:-1], cells(8, 0, 10, 1),
                      cells(7, 1, 10, 1), cells(7, 0, 10, 2), bytes(len(right)), b"",
                      right[:40] + b"\x7f" + right[41:], right[CELL:2 * CELL] + right[CELL:]):
            self.assertNotEqual(model.judge(wrong), [], wrong[:8])

    def test_overwrite_in_flight_is_old_or_new_for_each_cell(self):
        model = written(True, (0, 4))
        model.acknowledge()
        model.begin_write(1, 2, 9)
        old, new = cells(7, 0, 4, 1), cells(7, 0, 4, 9)
        self.assertEqual(model.judge(old), [])
        self.assertEqual(model.judge(old[:CELL] + new[CELL:2 * CELL] + old[2 * CELL:]), [])
        self.assertNotEqual(model.judge(new), [])
        self.assertNotEqual(model.judge(old[:CELL] + bytes(CELL) + old[2 * CELL:]), [])

    def test_append_in_flight_shows_no_zeros_without_write_back(self):
        model = written(True, (0, 2))
        model.acknowledge()
        model.begin_write(2, 2, 5)
        for right in (cells(7, 0, 2, 1), cells(7, 0, 2, 1) + cells(7, 2, 1, 5), cells(7, 0, 2, 1) + cells(7, 2, 2, 5)):
            self.assertEqual(model.judge(right), [])
        self.assertNotEqual(model.judge(cells(7, 0, 2, 1) + bytes(2 * CELL)), [])

    def test_truncated_bytes_do_not_come_back(self):
        model = written(True, (0, 10))
        model.acknowledge()
        model.begin_truncate(4)
        model.acknowledge()
        self.assertEqual(model.judge(cells(7, 0, 4, 1)), [])
        model.begin_truncate(10)
        model.acknowledge()
        self.assertEqual(model.judge(cells(7, 0, 4, 1) + bytes(6 * CELL)), [])
        self.assertNotEqual(model.judge(cells(7, 0, 10, 1)), [])

    def test_journal_leaves_one_pending_name_operation_open(self):
        with tempfile.TemporaryDirectory() as place:
            path = os.path.join(place, "journal")
            with open(path, "w") as journal:
                for record in (["begin", ["create", "a", 1]], ["done"], ["begin", ["close", "a"]], ["done"],
                               ["begin", ["rename", "a", "b"]]):
                    journal.write(json.dumps(record) + "\n")
            files, shapes, errors, done = replay(path, True)
            self.assertEqual([set(shape) for shape in shapes], [{"b"}, {"a"}])
            self.assertEqual((errors, done, set(files)), ([], 2, {1}))


if __name__ == "__main__":
    unittest.main()
