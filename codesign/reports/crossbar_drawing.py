"""A crossbar as a drawing: SVG with the classes of :mod:`codesign.reports.drawing`.

The chip with its memory, buffers and digital unit, and one of its arrays: drivers of the rows at its left, cells,
and below them the converters, each under the columns that it reads in turn.
"""

from __future__ import annotations

from html import escape

from accelerators.crossbar import area
from accelerators.crossbar.crossbar import Crossbar
from codesign.reports.drawing import size_text
from codesign.reports.tables import si

_WIDTH, _MARGIN, _BOX, _GAP, _LINE = 480, 10, 40, 12, 16
_CELL, _MOST_COLUMNS, _MOST_ROWS = 11, 16, 10
_DRIVER = 26
#: Beside the cells of an array.
_TEXT = 250


def draw_crossbar(crossbar: Crossbar) -> str:
    """The crossbar as an ``<svg>`` element."""
    parts: list[str] = []
    y = 26.0
    inner = _WIDTH - 2 * _MARGIN
    memory = crossbar.memory
    if memory is not None:
        y = (
            _box(parts, _MARGIN, y, inner, "memory", f"{si(memory.bandwidth_bytes_per_s)}B/s, for what does not fit")
            + _GAP
        )
    top = y
    y = _text(parts, _MARGIN + 8, y + 16, f"chip, {area.area_mm2(crossbar):.4g} mm²") + 4
    if crossbar.buffer is not None:
        buffer = crossbar.buffer
        note = (
            f"{size_text(buffer.capacity_bytes)} each, {buffer.width_bits} bit per access, for {buffer.arrays} arrays"
        )
        y = _box(parts, _MARGIN + 7, y, inner - 14, f"{area.buffers(crossbar):,} buffers", note) + _GAP
    if crossbar.digital is not None:
        unit = crossbar.digital
        does = "elementwise, products of activations" if unit.multiplies else "elementwise"
        note = f"{unit.lanes:,} lanes at {si(unit.clock_hz)}Hz: {does}"
        y = _box(parts, _MARGIN + 7, y, inner - 14, "digital unit", note) + _GAP
    y = _array(parts, crossbar, y + 4)
    parts.append(_rect("frame", _MARGIN, top, inner, y - top + 8))
    height = y + 18
    return (
        f'<svg class="accelerator" viewBox="0 0 {_WIDTH} {height:g}" role="img" '
        f'aria-label="{escape(crossbar.name)}">{"".join(parts)}</svg>'
    )


def _array(parts: list[str], crossbar: Crossbar, y: float) -> float:
    """One array with its drivers and converters; returns where it ends."""
    y = _text(parts, _MARGIN + 8, y + 12, f"each of the {crossbar.arrays:,} arrays") + 2
    columns, rows = min(_MOST_COLUMNS, crossbar.columns), min(_MOST_ROWS, crossbar.rows)
    left, top = _MARGIN + 12 + _DRIVER, y
    for row in range(rows):
        parts.append(_rect("box", left - _DRIVER, top + row * _CELL + 1, _DRIVER - 8, _CELL - 2))
        for column in range(columns):
            parts.append(_rect("cell", left + column * _CELL, top + row * _CELL, _CELL, _CELL))
    bottom = top + rows * _CELL
    shared = min(columns, crossbar.columns_per_adc)
    if crossbar.converter is not None:
        for start in range(0, columns, shared):
            width = min(shared, columns - start) * _CELL
            parts.append(_rect("box", left + start * _CELL + 1, bottom + 5, width - 2, 14))
        bottom += 24
    drawn = crossbar.columns > columns or crossbar.rows > rows
    lines = [
        f"{crossbar.rows:,} rows x {crossbar.columns:,} columns" + (" (drawn in part)" if drawn else ""),
        f"cells: {crossbar.cell.kind}, {crossbar.cell_bits} bit",
        f"weights of {crossbar.weight_bits} bit, {crossbar.signed.replace('_', ' ')}",
        f"inputs of {crossbar.input_bits} bit, {crossbar.bits_per_cycle} per cycle",
    ]
    if crossbar.converter is not None:
        per = "a column each" if crossbar.columns_per_adc == 1 else f"{crossbar.columns_per_adc} columns each"
        lines.append(f"converters of {crossbar.adc_bits} bit, {per}")
    else:
        lines.append("adders instead of converters")
    beside = top + 10.0
    for line in lines:
        beside = _text(parts, _TEXT, beside, line)
    return max(bottom, beside - _LINE + 6)


def _box(parts: list[str], x: float, y: float, width: float, title: str, note: str) -> float:
    parts.append(_rect("box", x, y, width, _BOX))
    parts.append(f'<text class="title" x="{x + 10:g}" y="{y + 16:g}">{escape(title)}</text>')
    parts.append(f'<text class="note" x="{x + 10:g}" y="{y + 32:g}">{escape(note)}</text>')
    return y + _BOX


def _text(parts: list[str], x: float, y: float, text: str) -> float:
    parts.append(f'<text class="note" x="{x:g}" y="{y:g}">{escape(text)}</text>')
    return y + _LINE


def _rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="2"/>'
