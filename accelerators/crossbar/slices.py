"""Weight matrices in the cells of a crossbar: whole numbers cut into slices, and what converters are given of them.

A matrix [G groups, K outputs, C inputs] becomes whole numbers, each output by its own scale: the largest weight of an
output is the largest number. With pairs the magnitude is stored, in one of two cells, otherwise the number plus half
the range (an offset that is subtracted digitally). Slices of ``cell_bits``, the lowest first, lie in cells of their
own; a digit d of b bits is the conductance off + (on - off) d / (2^b - 1), also of a lowest slice that has fewer bits.
A reference takes off the conductance of level 0, as the other cell of a pair does.

Rows are cut into arrays as :mod:`~accelerators.crossbar.mapping` does, those of an array into groups that are read at
once. Where columns are flipped (ISAAC), a column of such a group whose digits add up to more than half of what they
could is stored inverted, and its sum is taken from the largest one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accelerators.crossbar.arrays.analog import readout
from accelerators.crossbar.crossbar import Crossbar
from accelerators.crossbar.devices import Device, State, checked_weights, scaled
from accelerators.crossbar.mapping import tile_sizes
from accelerators.crossbar.values import slice_shifts

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

#: Cells that are no resistors have no conductance: levels are parts of one.
_UNIT_US = 1.0


class Group(NamedTuple):
    """Rows of weights ``start`` to ``end`` of a matrix that are read at once, in the array row ``tile``."""

    start: int
    end: int
    tile: int


class Chunk(NamedTuple):
    """Input bits ``shift`` to ``shift + bits`` that are converted at once, on a copy of the columns."""

    shift: int
    bits: int
    copy: int
    adc_bits: int


def groups(crossbar: Crossbar, rows: int) -> list[Group]:
    """The groups of rows of a matrix, in order."""
    at_once = crossbar.rows_at_once
    if crossbar.bit_line_rows is not None and not crossbar.is_digital:
        at_once = min(at_once, crossbar.bit_line_rows)
    at_once = max(1, at_once // crossbar.rows_per_weight)
    found, first = [], 0
    for tile, size in enumerate(tile_sizes(rows, crossbar.weight_rows)):
        for start in range(first, first + size, at_once):
            found.append(Group(start, min(start + at_once, first + size), tile))
        first += size
    return found


def chunks(crossbar: Crossbar) -> list[Chunk]:
    """The conversions of an input, in order; their bits are all that are applied.

    Converters that sum up bits begin with the highest ones (NeuRRAM's two phases).
    """
    if crossbar.is_digital:
        return [Chunk(0, crossbar.applied_bits, 0, 0)]
    converter = crossbar.converter
    assert converter is not None
    if converter.sums_cycles:
        found, left = [], crossbar.applied_bits
        for each in converter.conversions(readout(crossbar)):
            left -= each.input_bits
            found.append(Chunk(left, each.input_bits, 0, each.bits))
        return found
    step = crossbar.bits_per_cycle
    return [
        Chunk(shift, min(step, crossbar.applied_bits - shift), index % crossbar.column_copies, crossbar.adc_bits)
        for index, shift in enumerate(range(0, crossbar.applied_bits, step))
    ]


def most_code(bits: int, bipolar: bool) -> int:
    """The largest code of a converter; the least one is 0, or of a bipolar one minus the largest less 1."""
    return 2 ** (bits - 1) - 1 if bipolar else 2**bits - 1


class SlicedMatrix:
    """A matrix of weights, [K, C] or [G, K, C], for a crossbar.

    ``codes`` are the whole numbers (G, K, C), ``scale`` (G, K) what a one is worth. ``digits`` (S, G, K, C) are what
    cells hold, with a sign where pairs are; ``flipped`` (S, R, G, K) says of groups of rows which columns are inverted.
    Raises ValueError for other shapes, for weights that are no numbers, and for a crossbar that cannot be.
    """

    def __init__(self, weights: ArrayLike, crossbar: Crossbar):
        given = checked_weights(weights)
        if crossbar.problems:
            raise ValueError("; ".join(f"{crossbar.name}: {name} {rule}" for name, rule in crossbar.problems))
        self.crossbar = crossbar
        self.paired = crossbar.signed != "offset"
        self.groups = groups(crossbar, given.shape[2])
        # One bit with an offset has the codes -1 and 0, and no positive one.
        most = max(1, 2 ** (crossbar.weight_bits - 1) - 1)
        largest = np.abs(given).max(axis=2)
        self.scale: Floats = np.where(largest > 0, largest, 1.0) / most
        low = -most if self.paired else -(2 ** (crossbar.weight_bits - 1))
        high = most if self.paired else 2 ** (crossbar.weight_bits - 1) - 1
        self.codes: Codes = np.clip(np.round(given / self.scale[:, :, None]), low, high).astype(np.int64)
        stored = np.abs(self.codes) if self.paired else self.codes - low
        self.offset = 0 if self.paired else -low
        #: The lowest bit of every slice.
        self.shifts = slice_shifts(crossbar.magnitude_bits, crossbar.cell_bits)
        widths = np.diff([*self.shifts, crossbar.magnitude_bits]).tolist()
        digits = np.stack([(stored >> s) & (2**width - 1) for s, width in zip(self.shifts, widths, strict=True)])
        self.flipped = np.zeros((crossbar.slices, len(self.groups), *given.shape[:2]), np.bool_)
        if crossbar.flipped_columns and not self.paired:
            for index, group in enumerate(self.groups):
                part = digits[..., group.start : group.end]
                flipped = 2 * part.sum(axis=3) > self.top * part.shape[3]
                part[flipped] = self.top - part[flipped]
                self.flipped[:, index] = flipped
        self.digits: Codes = digits * np.where(self.codes < 0, -1, 1) if self.paired else digits

    @property
    def top(self) -> int:
        """The largest digit."""
        return 2**self.crossbar.cell_bits - 1

    def largest_sum(self, rows: int, input_bits: int) -> int:
        """The largest magnitude that a converter can be given by so many rows without noise."""
        top = rows * self.top
        if self.crossbar.flipped_columns and not self.paired:
            top //= 2
        return top * (2**input_bits - 1)

    def program(self, device: Device, random: np.random.Generator) -> ProgrammedSlices:
        """The matrix in cells, each copy of the columns in its own."""
        cell = self.crossbar.cell
        on, off = (cell.on_us, cell.off_us) if cell.kind == "resistive" else (_UNIT_US, 0.0)
        device = scaled(device, on)
        if self.paired:
            wanted = np.stack([np.maximum(self.digits, 0), np.maximum(-self.digits, 0)])
        else:
            wanted = self.digits[None]
        # The sum may be above the largest conductance by a rounding error.
        targets = np.minimum(off + (on - off) * wanted / self.top, on)
        states = [device.program(targets, random) for _ in range(self.crossbar.column_copies)]
        return ProgrammedSlices(self, device, states, off, (on - off) / self.top)


class ProgrammedSlices:
    """A matrix in cells; ``states`` are (2 or 1, S, G, K, C) each, one per copy of the columns."""

    def __init__(self, matrix: SlicedMatrix, device: Device, states: list[State], off_us: float, step_us: float):
        self.matrix, self.device, self.states = matrix, device, states
        self._off_us, self._step_us = off_us, step_us

    def programmed(self) -> Floats:
        """(copies, S, G, K, C) digits right after programming, without the noise of a read-out."""
        return np.stack([self._digits(state.programmed_usiemens) for state in self.states])

    def at(self, time_s: float, random: np.random.Generator) -> Floats:
        """(copies, S, G, K, C) digits at a time after programming; the noise of the read-out is drawn by every call."""
        return np.stack([self._digits(self.device.read(state, time_s, random)) for state in self.states])

    def _digits(self, conductances: Floats) -> Floats:
        found = conductances[0] - (conductances[1] if self.matrix.paired else self._off_us)
        found /= self._step_us
        return found
