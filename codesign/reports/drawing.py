"""A spatial accelerator as a drawing: SVG that a page includes and colours with its own style sheet.

From the top to the bottom: the levels, outermost first, as boxes; every fanout as a grid of its children, with its axes
and what each may unroll; and one of the children, enlarged, with what is inside. Three lanes run down the left side,
one per kind of tensor; a dot marks a level that keeps it, and a lane without a dot passes the level by.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from accelerators.operators import ROLES
from accelerators.spatial.architecture import Axis, Level, SpatialAccelerator
from codesign.reports.tables import si

_WIDTH, _MARGIN, _NEST = 480, 10, 7
_BOX, _GAP, _LINE = 56, 18, 16
_CELL, _COLUMNS, _ROWS = 10, 12, 8
_LANES = {"weights": 62, "inputs": 78, "outputs": 94}
_TEXT = 116
#: Characters that fit beside the lanes and beside a grid.
_WIDE, _NARROW = 56, 33


def size_text(capacity_bytes: float | None) -> str:
    """A capacity as 108 kB (1 kB = 1024 bytes); unbounded for None."""
    if capacity_bytes is None:
        return "unbounded"
    for factor, unit in ((2**30, "GB"), (2**20, "MB"), (2**10, "kB")):
        if capacity_bytes >= factor:
            return f"{capacity_bytes / factor:.4g} {unit}"
    return f"{capacity_bytes:.4g} B"


def bandwidth_text(level: Level, clock_hz: float) -> str:
    """The limits of a level's ports per cycle and per second; unlimited if it has none."""
    ports = (
        ("", level.shared_bandwidth_bytes_per_cycle),
        ("read ", level.read_bandwidth_bytes_per_cycle),
        ("write ", level.write_bandwidth_bytes_per_cycle),
    )
    found = [f"{port}{rate:.4g} B/cycle = {si(rate * clock_hz)}B/s" for port, rate in ports if rate is not None]
    return ", ".join(found) or "unlimited"


def axis_text(axis: Axis) -> str:
    """An axis with its size and what it may unroll: ``x: 16, unrolls K C``."""
    return f"{axis.name}: {axis.size}, unrolls {' '.join(sorted(axis.dims)) if axis.dims is not None else 'any'}"


def draw(accelerator: SpatialAccelerator) -> str:
    """The accelerator as an ``<svg>`` element.

    It has classes and no colours: ``box``, ``frame``, ``cell``, ``zoom``, ``lane``, ``dot``, ``weights``, ``inputs``,
    ``outputs``, ``title``, ``note``.
    """
    return _Drawing(accelerator).svg()


class _Drawing:
    """Draws downwards; ``y`` is where the next part begins, ``depth`` how many frames are open."""

    def __init__(self, accelerator: SpatialAccelerator):
        self.accelerator = accelerator
        self.y = 30.0
        self.frames: list[tuple[float, float]] = []
        self.closed: list[str] = []
        self.parts: list[str] = []
        self.dots: dict[str, list[float]] = {role: [] for role in ROLES}

    @property
    def left(self) -> float:
        return _MARGIN + _NEST * len(self.frames)

    def svg(self) -> str:
        accelerator = self.accelerator
        for index, level in enumerate(accelerator.levels):
            if index == 1 and accelerator.levels[0].area_mm2 == 0:
                self.open(f"chip, {accelerator.area_mm2:.4g} mm²")
            self.level(level)
            if level.children > 1:
                self.fanout(level)
        self.mac()
        while self.frames:
            self.close()
        height = self.y - _GAP + 4
        name = escape(accelerator.name)
        return "".join(
            (
                f'<svg class="accelerator" viewBox="0 0 {_WIDTH} {height:g}" role="img" aria-label="{name}">',
                f"<title>{name}</title>",
                # Frames that were closed last are outside, so they come first.
                *reversed(self.closed),
                *self.parts,
                *self.lanes(),
                "</svg>",
            )
        )

    # ----------------------------------------------------------------------------------------------------- the parts

    def level(self, level: Level) -> None:
        rate = bandwidth_text(level, self.accelerator.clock_hz)
        # Ports that have a name each take the whole line.
        rate = rate if "," in rate else f"bandwidth {rate}"
        self.box(level.name, f"{size_text(level.capacity_bytes)}, {level.width_bits} bit per access", rate)
        for role in ROLES:
            if role in level.keeps:
                self.dots[role].append(self.y - _GAP - _BOX / 2)

    def mac(self) -> None:
        compute = self.accelerator.compute
        widths = f"{compute.weight_bits} x {compute.input_bits} bit, sums of {compute.accumulator_bits} bit"
        self.box("MAC", widths, f"{compute.energy_pj:.3g} pJ per MAC")
        for role in ROLES:
            if self.dots[role]:
                self.dots[role].append(self.y - _GAP - _BOX / 2)

    def box(self, title: str, *lines: str) -> None:
        self.rect("box", self.left, self.y, _WIDTH - 2 * self.left, _BOX)
        self.text("title", _TEXT, self.y + 17, title, _WIDE)
        for i, line in enumerate(lines):
            self.text("note", _TEXT, self.y + 33 + 15 * i, line, _WIDE)
        self.y += _BOX + _GAP

    def fanout(self, level: Level) -> None:
        axes = [axis for axis in level.fanout if axis.size > 1]
        columns = min(axes[0].size, _COLUMNS)
        rows = min(axes[1].size, _ROWS) if len(axes) > 1 else 1
        layers = min(math.prod(axis.size for axis in axes[2:]), 3)
        x, y = _TEXT + 6.0, self.y + 4.0
        for layer in reversed(range(layers)):
            for row in range(rows):
                for column in range(columns):
                    at = (x + _CELL * column + 4 * layer, y + _CELL * row - 4 * layer + 4 * (layers - 1))
                    self.rect("cell", *at, _CELL - 2, _CELL - 2)
        below = y + _CELL * rows + 4 * (layers - 1)
        cut = [axis.name for axis, shown in zip(axes, (columns, rows), strict=False) if axis.size > shown]
        sizes = f"{' x '.join(str(axis.size) for axis in axes)} = " if len(axes) > 1 else ""
        said = [f"{sizes}{level.children} children", *map(axis_text, axes)]
        if cut:
            said.append(f"({' and '.join(cut)} drawn in part)")
        beside = x + _CELL * columns + 4 * layers + 12
        # A short grid leaves room below it for its text.
        for i, line in enumerate(said):
            self.text("note", beside, self.y + 13 + _LINE * i, line, int(_NARROW + (_COLUMNS - columns) * 1.6))
        bottom = max(below, self.y + _LINE * len(said)) + 14
        corner, inside = y + _CELL * rows + 4 * (layers - 1) - 2, self.left
        # Straight down first, so that the lines stay clear of the text beside a flat grid.
        for start, end in ((x, inside), (x + _CELL - 2, _WIDTH - inside)):
            self.parts.append(f'<path class="zoom" d="M{start:g} {corner:g}V{bottom - 12:g}L{end:g} {bottom:g}"/>')
        self.y = bottom - 6
        self.open(f"each of the {level.children}")

    def open(self, label: str) -> None:
        self.frames.append((self.left, self.y + 6))
        self.text("note", _TEXT, self.y + 22, label, _WIDE)
        self.y += 32

    def close(self) -> None:
        x, y = self.frames.pop()
        end = self.y - _GAP + 8
        self.closed.append(_rect("frame", x, y, _WIDTH - 2 * x, end - y))
        self.y = end + _GAP

    def lanes(self) -> Iterator[str]:
        for role, x in _LANES.items():
            dots = self.dots[role]
            if not dots:
                continue
            yield f'<text class="lane-name {role}" x="{x}" y="18">{role[0].upper()}<title>{role}</title></text>'
            yield f'<path class="lane {role}" d="M{x} 24V{dots[-1]:g}"/>'
            yield from (f'<circle class="dot {role}" cx="{x}" cy="{y:g}" r="4.5"/>' for y in dots)

    # ---------------------------------------------------------------------------------------------------- primitives

    def rect(self, kind: str, x: float, y: float, width: float, height: float) -> None:
        self.parts.append(_rect(kind, x, y, width, height))

    def text(self, kind: str, x: float, y: float, text: str, most: int) -> None:
        shown = text if len(text) <= most else text[: most - 1] + "…"
        hint = f"<title>{escape(text)}</title>" if shown != text else ""
        self.parts.append(f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(shown)}{hint}</text>')


def _rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="3"/>'
