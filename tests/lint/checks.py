# SPDX-License-Identifier: Apache-2.0
"""The checks. Each takes the tree's root and a list of files, and yields Findings."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import tables

MAX_LINES = 450
SOURCE = re.compile(r"\.(cc|h|c|py|sh|cmake)$|(^|/)CMakeLists\.txt$|(^|/)Kbuild$")
FORMATTED = re.compile(r"^(crypto|encfs|tools|tests)/.*\.(cc|h|c)$")
CLANG_FORMAT_MAJOR = "14"


@dataclass(frozen=True)
class Finding:
    path: str
    line: int
    rule: str
    text: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.rule}: {self.text}"


class Source:
    """One file: its lines, and its lines with comments and literals blanked out."""

    def __init__(self, root, path):
        self.path = path
        self.text = (Path(root) / path).read_text(encoding="utf-8", errors="replace")
        self.lines = self.text.splitlines()
        self.code_lines = _blank(self.text).splitlines() if re.search(tables.CODE, path) else self.lines

    def is_source(self):
        return bool(SOURCE.search(self.path)) or self.lines[:1] and self.lines[0].startswith("#!")

    def allows(self, rule, number, span=2):
        """True when this line or one of the `span` - 1 above says `lint-allow(rule): reason`."""
        nearby = self.lines[max(0, number - span):number]
        return any(re.search(rf"lint-allow\({re.escape(rule)}\): \S", line) for line in nearby)


_LITERAL = re.compile(r'//[^\n]*|/\*.*?\*/|R"([^(\s]*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])+\'', re.S)


def _blank(text):
    """Blanks comments and literals, and keeps the line structure."""
    # An #include's "path" is not a literal to hide; includes are read from the raw lines.
    return _LITERAL.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def layer_of(path):
    names = [name for name in tables.LAYERS if path.startswith(name + "/")]
    return max(names, key=len) if names else None


def check_includes(root, sources):
    for source in sources:
        name = layer_of(source.path)
        if name is None or not re.search(tables.CODE, source.path):
            continue
        layer = tables.LAYERS[name]
        for number, line in enumerate(source.lines, 1):
            match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
            if not match or source.allows("includes", number):
                continue
            bracket, header = match.groups()
            if bracket == '"' and not header.startswith(layer.own):
                yield Finding(source.path, number, "includes", f'{name} must not include "{header}": {layer.why}')
            elif bracket == '"' and not layer.beside and not (Path(root) / header).is_file():
                yield Finding(source.path, number, "includes", f'"{header}" is not a path from the root')
            elif bracket == "<" and re.fullmatch(layer.refused_system, header):
                yield Finding(source.path, number, "includes", f"{name} must not include <{header}>: {layer.why}")
            elif bracket == "<" and re.match(r"(crypto|encfs|tools|tests)/", header):
                yield Finding(source.path, number, "includes", f"project headers are included with quotes: {header}")


def check_links(root, sources):
    """The same direction for what CMake links: a library of a lower layer must not link one of a higher layer."""
    order = ["crypto", "volume", "legacy", "lower", "token", "core", "meta", "fuse", "daemon"]
    may = {"crypto": set(), "volume": {"crypto"}, "legacy": {"volume", "crypto"}, "lower": set(),
           "token": {"crypto", "volume", "lower"},
           "core": {"crypto", "volume", "legacy", "lower"}, "meta": {"core"},
           "fuse": {"core", "lower", "volume", "crypto"}, "daemon": set(order) - {"daemon"}}
    for source in sources:
        if not source.path.endswith("CMakeLists.txt"):
            continue
        text = re.sub(r"#[^\n]*", "", source.text)
        for call in re.finditer(r"target_link_libraries\s*\(\s*extencfs_(\w+)([^)]*)\)", text):
            target, arguments = call.groups()
            number = text[:call.start()].count("\n") + 1
            for linked in re.findall(r"\bextencfs_(\w+)", arguments):
                if target in may and linked in order and linked not in may[target] and not source.allows("links", number):
                    yield Finding(source.path, number, "links", f"extencfs_{target} must not link extencfs_{linked}")


def check_bans(root, sources):
    for source in sources:
        for ban in tables.BANS:
            if not ban.where.search(source.path) or ban.except_in.search(source.path):
                continue
            for number, line in enumerate(source.lines if ban.raw else source.code_lines, 1):
                if ban.pattern.search(line) and not ban.except_line.search(line) and \
                        not source.allows(ban.name, number):
                    yield Finding(source.path, number, ban.name, ban.why)


def check_asserts(root, sources):
    """An assert is for our own bugs: the line above it, or its own, states the invariant."""
    for source in sources:
        if not re.match(r"encfs/(volume|legacy|lower|core|fuse)/.*\.(cc|h)$", source.path):
            continue
        for number, line in enumerate(source.code_lines, 1):
            if re.search(r"(?<![\w.>])assert\s*\(", line):
                above = source.lines[max(0, number - 5):number]
                if not any("Invariant:" in text or "REQUIRES" in text for text in above) and \
                        not source.allows("assert", number):
                    yield Finding(source.path, number, "assert",
                                  "say `// Invariant:` above it; bytes from disk give an error, never an assert")


def check_spdx(root, sources):
    for source in sources:
        if source.is_source() and not any("SPDX-License-Identifier: Apache-2.0" in line for line in source.lines[:2]):
            if not any("SPDX-License-Identifier:" in line and source.path.startswith(("bpf/", "kernel/"))
                       for line in source.lines[:2]):
                yield Finding(source.path, 1, "spdx", "no SPDX-License-Identifier: Apache-2.0 in the first two lines")


def check_length(root, sources):
    for source in sources:
        if source.is_source() and len(source.lines) > MAX_LINES and not source.allows("length", 8, 8):
            yield Finding(source.path, len(source.lines), "length",
                          f"{len(source.lines)} lines; more than {MAX_LINES} is more than one unit")


def check_pipes(root, sources):
    """grep -q ends at its first match; who still writes to it fails then, and with pipefail so does the whole pipe."""
    for source in sources:
        if not source.lines[:1] or not re.match(r"#!.*sh\b", source.lines[0]) or "pipefail" not in source.text:
            continue
        for number, line in enumerate(source.lines, 1):
            if re.search(r"\|\s*grep\s+-[a-zA-Z]*q", line) and not source.allows("pipe", number):
                yield Finding(source.path, number, "pipe", "with pipefail, grep >/dev/null in place of grep -q")


def find_clang_format():
    for name in (f"clang-format-{CLANG_FORMAT_MAJOR}", "clang-format"):
        path = shutil.which(name)
        if path:
            version = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
            if re.search(rf"version {CLANG_FORMAT_MAJOR}\.", version):
                return path
    return None


def check_format(root, sources):
    paths = [source.path for source in sources if FORMATTED.search(source.path)]
    if not paths:
        return
    program = find_clang_format()
    if program is None:
        yield Finding(".clang-format", 1, "format", f"clang-format {CLANG_FORMAT_MAJOR} is not installed")
        return
    result = subprocess.run([program, "--dry-run", "--Werror", "--style=file", *paths], cwd=root, capture_output=True,
                            text=True, check=False)
    seen = set()
    for match in re.finditer(r"^([^:\s]+):(\d+):\d+: error: code should be clang-formatted", result.stderr, re.M):
        path, number = match.group(1), int(match.group(2))
        if path not in seen:
            seen.add(path)
            yield Finding(path, number, "format", "run clang-format -i on it")
    if result.returncode != 0 and not seen:
        yield Finding(".clang-format", 1, "format", f"clang-format failed: {result.stderr.strip()[:200]}")


CHECKS = [check_includes, check_links, check_bans, check_asserts, check_spdx, check_length, check_pipes, check_format]
