# SPDX-License-Identifier: Apache-2.0
"""A mutation: one text of one file in place of another. Something must notice it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    name: str
    file: str
    old: str  # is there exactly once
    new: str
    checks: str  # at least one of these must fail; words, or names of test programs
    also: tuple = ()  # statuses of tests/vm/run that are as good: the kernel noticed

    def applied_to(self, text):
        if text.count(self.old) != 1:
            raise SystemExit(f"mutation {self.name!r}: {self.file} has it {text.count(self.old)} times: {self.old}")
        return text.replace(self.old, self.new)
