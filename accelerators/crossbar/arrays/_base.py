"""What the two kinds of arrays are asked, what they answer, and what they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from accelerators.crossbar.crossbar import Crossbar
from accelerators.crossbar.gates import FLIP_FLOP, Gates


@dataclass(frozen=True)
class Usage:
    """The part of an array that an operator uses: rows and columns of weights, and the weights in them.

    Fewer weights than rows x columns means blocks on a diagonal; all other cells in these rows and columns are blank.
    """

    rows: int
    columns: int
    weights: int


@dataclass(frozen=True)
class Product:
    """One product of a vector with the matrix of one array.

    ``interval_s`` is the time until the next one can start, ``latency_s`` that until its result is there.
    ``bottleneck`` is what sets the interval. ``energy_pj`` is by parts.
    """

    energy_pj: Mapping[str, float]
    interval_s: float
    latency_s: float
    bottleneck: str


def driver_area_mm2(crossbar: Crossbar, gate: Gates) -> float:
    """Drivers of all rows: a register for the bits of a cycle and two gates each, where the datasheet has nothing."""
    if crossbar.driver_area_um2 is not None:
        return crossbar.rows * crossbar.driver_area_um2 * 1e-6
    return crossbar.rows * gate.area_mm2(crossbar.bits_per_cycle * FLIP_FLOP[0] + 2)
