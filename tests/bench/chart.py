# SPDX-License-Identifier: Apache-2.0
"""A bar chart as PNG: requests by opcode, one bar for each mode, on a logarithmic scale. Needs python3-pil."""

import math

from workspace import Unavailable

SCALE = 2  # the packaged bitmap font is small
BAR, GAP, LEFT, TOP, HEIGHT, BOTTOM = 11, 14, 52, 44, 190, 44
COLOURS = {"regular": (150, 150, 150), "optimized": (66, 120, 190), "extfuse": (214, 96, 40)}
INK, GRID, PAPER = (30, 30, 30), (222, 222, 222), (255, 255, 255)
SHOWN = 12


def _opcodes(by_mode):
    every = {opcode for result in by_mode.values() for opcode in result["requests"]}
    return sorted(every, key=lambda op: -max(r["requests"].get(op, 0) for r in by_mode.values()))[:SHOWN]


def _short(count):
    if count < 1000:
        return str(count)
    return f"{count / 1000:.1f}k" if count < 10000 else f"{count / 1000:.0f}k"


class _Picture:
    def __init__(self, by_mode):
        try:
            from PIL import Image, ImageDraw, ImageFont  # pylint: disable=import-outside-toplevel
        except ImportError as error:
            raise Unavailable("drawing needs python3-pil (apt-get install python3-pil)") from error
        self.by_mode = by_mode
        self.opcodes = _opcodes(by_mode)
        self.group = BAR * 2 * len(by_mode) + GAP
        self.size = (LEFT + self.group * len(self.opcodes) + GAP, TOP + HEIGHT + BOTTOM)
        self.image = Image.new("RGB", self.size, PAPER)
        self.pen = ImageDraw.Draw(self.image)
        self.font = ImageFont.load_default()
        most = max(r["requests"].get(op, 0) for r in by_mode.values() for op in self.opcodes)
        self.decades = max(1, math.ceil(math.log10(max(most, 2))))

    def _height(self, count):
        """One request is a line that can be seen, none is nothing."""
        return 0 if count == 0 else 3 + (HEIGHT - 3) * math.log10(count) / self.decades

    def _text(self, x, y, text, colour=INK, middle=False):
        width = self.pen.textlength(text, font=self.font)
        self.pen.text((x - width / 2 if middle else x, y), text, fill=colour, font=self.font)

    def _axis(self):
        base = TOP + HEIGHT
        for decade in range(self.decades + 1):
            y = base - self._height(10**decade)
            self.pen.line([(LEFT, y), (self.size[0] - GAP, y)], fill=GRID)
            self._text(8, y - 6, f"{10**decade:,}"[:8])
        self.pen.line([(LEFT, base), (self.size[0] - GAP, base)], fill=INK)

    def _legend(self):
        self._text(8, 4, "Requests that reach the daemon during a build, by mode (logarithmic)")
        x = LEFT
        for mode, result in self.by_mode.items():
            self.pen.rectangle([x, 23, x + 9, 32], fill=COLOURS.get(mode, INK))
            text = f"{mode}: {sum(result['requests'].values()):,}"
            self._text(x + 14, 22, text)
            x += 36 + self.pen.textlength(text, font=self.font)

    def draw(self):
        self._axis()
        self._legend()
        base = TOP + HEIGHT
        for index, opcode in enumerate(self.opcodes):
            left = LEFT + GAP / 2 + index * self.group
            for number, (mode, result) in enumerate(self.by_mode.items()):
                count = result["requests"].get(opcode, 0)
                x = left + number * BAR * 2
                top = base - self._height(count)
                if count:
                    self.pen.rectangle([x, top, x + BAR * 2 - 3, base - 1], fill=COLOURS.get(mode, INK))
                self._text(x + BAR - 1, top - 12, _short(count), middle=True)
            self._text(left + self.group / 2 - GAP / 2, base + 6 + 14 * (index % 2), opcode, middle=True)
        wide = (self.size[0] * SCALE, self.size[1] * SCALE)
        return self.image.resize(wide, resample=0).quantize(16)


def draw(path, by_mode):
    _Picture(by_mode).draw().save(path, optimize=True)
