"""Area and leakage of a whole chip, and its peak."""

from __future__ import annotations

import math
from functools import lru_cache

from accelerators.crossbar import arrays
from accelerators.crossbar.arrays import Usage
from accelerators.crossbar.crossbar import Crossbar

_LOGIC = frozenset({"drivers", "multipliers", "adder trees", "accumulators", "registers", "shift and add"})


@lru_cache(maxsize=4096)
def _area(crossbar: Crossbar) -> tuple[tuple[str, float], ...]:
    factor = crossbar.area_factor
    parts = {part: factor * crossbar.arrays * mm2 for part, mm2 in arrays.area_mm2(crossbar).items()}
    if crossbar.buffer is not None:
        parts["buffers"] = factor * buffers(crossbar) * crossbar.buffer.area_mm2
    if crossbar.digital is not None:
        parts["digital unit"] = factor * crossbar.digital.area_mm2
    if crossbar.extra_area_mm2:
        parts["other"] = crossbar.extra_area_mm2
    return tuple(parts.items())


def area_breakdown_mm2(crossbar: Crossbar) -> dict[str, float]:
    """Area by parts, ``area_factor`` included; "other" is what the datasheet gives as such."""
    return dict(_area(crossbar))


def area_mm2(crossbar: Crossbar) -> float:
    """Area of the chip."""
    return sum(mm2 for _, mm2 in _area(crossbar))


def buffers(crossbar: Crossbar) -> int:
    """Buffers on the chip."""
    return 0 if crossbar.buffer is None else math.ceil(crossbar.arrays / crossbar.buffer.arrays)


def leakage_mw(crossbar: Crossbar) -> float:
    """Leakage of the chip, all arrays, used or not."""
    total = crossbar.arrays * array_leakage_mw(crossbar) + crossbar.extra_leakage_mw
    if crossbar.buffer is not None:
        total += buffers(crossbar) * crossbar.buffer.leakage_mw
    if crossbar.digital is not None:
        total += crossbar.digital.leakage_mw
    return total


@lru_cache(maxsize=4096)
def array_leakage_mw(crossbar: Crossbar) -> float:
    """Leakage of an array: as given, or that of its cells and, by area, of its drivers, registers and adders."""
    if crossbar.array_leakage_mw is not None:
        return crossbar.array_leakage_mw
    logic_mm2 = sum(mm2 for part, mm2 in arrays.area_mm2(crossbar).items() if part in _LOGIC)
    cells = crossbar.rows * crossbar.columns * crossbar.sets
    return cells * crossbar.cell.leakage_mw + logic_mm2 * crossbar.logic_leakage_mw_per_mm2


def full(crossbar: Crossbar) -> Usage:
    """The usage of an array that is full of weights."""
    rows, columns = crossbar.weight_rows, crossbar.weight_columns
    return Usage(rows, columns, rows * columns)


def product_s(crossbar: Crossbar) -> float:
    """Interval of products on a full array."""
    return arrays.product(crossbar, full(crossbar)).interval_s


def cycle_s(crossbar: Crossbar) -> float:
    """Interval of the reads of a full array."""
    groups = math.ceil(crossbar.rows / crossbar.rows_at_once)
    return product_s(crossbar) / (groups * crossbar.reads)


def peak_macs_per_s(crossbar: Crossbar) -> float:
    """Multiply-accumulates per second with all arrays full."""
    return crossbar.arrays * full(crossbar).weights / product_s(crossbar)


def peak_pj_per_mac(crossbar: Crossbar) -> float:
    """Energy of the arrays per multiply-accumulate, all of them full; without buffers, wires, leakage."""
    usage = full(crossbar)
    return sum(arrays.product(crossbar, usage).energy_pj.values()) / usage.weights
