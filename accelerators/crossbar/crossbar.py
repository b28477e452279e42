"""Crossbar: arrays of memory cells that multiply and add in place, with converters, buffers and a digital unit.

Everything here is resolved: energies in pJ, areas in um2 or mm2. How a datasheet in YAML becomes one of these is
:mod:`accelerators.crossbar.datasheet`. All figures that a search may vary are plain numbers of :class:`Crossbar`, so
``dataclasses.replace(crossbar, rows=512, adc_bits=6)`` is another design.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from accelerators.crossbar.converters import Converter, Survey
from accelerators.crossbar.devices import Device
from accelerators.crossbar.values import MOST_BITS, Values

#: Resistive cells add currents, charge cells add charges on capacitors; digital cells feed adders.
CellKind = Literal["resistive", "charge", "digital"]
#: Two columns (or rows) per weight, of which the cells are subtracted; or one with an offset of half the range.
Signed = Literal["pair_columns", "pair_rows", "offset"]
Coding = Literal["voltage", "pulse_width"]
#: Of converters: set by the data, or what all rows that are read at once can give.
FullScale = Literal["calibrated", "fixed"]


@dataclass(frozen=True)
class SelectLine:
    """Lines that connect the cells, apart from those that carry inputs; all of an array switch in every input cycle."""

    cell_ff: float
    driver_ff: float
    voltage_v: float


@dataclass(frozen=True)
class Cell:
    """One memory cell.

    Resistive cells have conductances in uS and are read with ``read_voltage_v`` for ``read_s`` (per level of the input,
    where inputs are coded by the width of pulses). ``gate_ff`` is what a cell adds to its row's line; None takes that
    of the technology. Writing takes ``write_pj`` per cell and ``write_s`` per row of an array, all pulses included.
    ``device`` is how it scatters and drifts (scaled to ``on_us``), None for cells that are as they should be; no cost
    depends on it.
    """

    kind: CellKind
    area_um2: float
    on_us: float = 0.0
    off_us: float = 0.0
    read_voltage_v: float = 0.0
    read_s: float = 0.0
    write_pj: float = 0.0
    write_s: float = 0.0
    leakage_mw: float = 0.0
    gate_ff: float | None = None
    select: SelectLine | None = None
    source: str = ""
    device: Device | None = None


@dataclass(frozen=True)
class Tree:
    """What adds up the products of digital cells.

    ``by_columns``: a tree for every bit of the weights, joined afterwards; otherwise one tree over whole products.
    ``booth``: two bits of an input make one digit of -2 to 2 (radix-4 Booth). ``accumulate_first``: every row
    accumulates its products over the bits of the input, the tree adds the sums. ``pipelined``: registers behind the
    trees over rows, or behind the products where these are accumulated first.
    """

    by_columns: bool = False
    booth: bool = False
    accumulate_first: bool = False
    pipelined: bool = False


@dataclass(frozen=True)
class Buffer:
    """A buffer that ``arrays`` arrays share: inputs come from it, outputs go to it. An access moves ``width_bits``."""

    capacity_bytes: float
    width_bits: int
    arrays: int
    read_pj: float
    write_pj: float
    bandwidth_bytes_per_s: float
    area_mm2: float = 0.0
    leakage_mw: float = 0.0
    source: str = ""


@dataclass(frozen=True)
class Memory:
    """Off-chip memory, for weights of networks that do not fit and for activations that buffers have no room for."""

    energy_pj_per_bit: float
    bandwidth_bytes_per_s: float
    source: str = ""


@dataclass(frozen=True)
class DigitalUnit:
    """What runs operators that no array can hold: ``lanes`` elements per cycle, and if ``multiplies`` as many MACs."""

    lanes: int
    clock_hz: float
    operation_pj: float
    mac_pj: float
    multiplies: bool
    area_mm2: float = 0.0
    leakage_mw: float = 0.0
    source: str = ""


@dataclass(frozen=True)
class Crossbar:
    """A chip of crossbar arrays.

    An array has ``rows`` x ``columns`` cells that compute, of which ``active_rows`` are read at once and
    ``bit_line_rows`` load one line to a converter (all that are read, if not given). Behind each computing cell are
    ``sets`` cells, one of which is selected (several sets of weights without rewriting).
    ``column_copies`` columns hold the same weights for different bits of the input, so that these are read at once.
    Weights are sliced over cells of ``cell_bits``, inputs over cycles of ``bits_per_cycle``. A converter reads
    ``columns_per_adc`` columns in turn, with ``sample_and_hold`` while the next inputs are applied.
    ``accumulates``: slices and cycles are added beside the array. ``flipped_columns``: columns whose sum would be large
    are stored inverted, which saves a bit of the converter (ISAAC). ``full_scale`` is that of the converters; no cost
    depends on it, accuracies do.

    ``pipelined`` runs all layers at once, image after image, as far as their weights fit; ``replicates`` then spends
    spare arrays on copies of the slowest layers. ``write_arrays`` are written at once. What an array's drivers,
    adders, holds take where it is not given follows from the technology, as does its leakage: that of its cells and,
    by its area, of its logic. ``area_factor`` multiplies all areas, for wires and control; ``extra_area_mm2`` and
    ``extra_leakage_mw`` are what the chip has besides.
    """

    name: str
    node_nm: float
    supply_v: float
    rows: int
    columns: int
    arrays: int
    cell: Cell
    weight_bits: int = 8
    input_bits: int = 8
    output_bits: int = 8
    cell_bits: int = 1
    bits_per_cycle: int = 1
    adc_bits: int = 8
    columns_per_adc: int = 1
    active_rows: int | None = None
    bit_line_rows: int | None = None
    sets: int = 1
    column_copies: int = 1
    signed: Signed = "offset"
    signed_inputs: bool = False
    coding: Coding = "voltage"
    converter: Converter | None = None
    tree: Tree | None = None
    accumulator_bits: int | None = None
    accumulates: bool = True
    flipped_columns: bool = False
    full_scale: FullScale = "calibrated"
    sample_and_hold: bool = True
    hold_pj: float | None = None
    driver_pj: float | None = None
    driver_area_um2: float | None = None
    hold_area_um2: float = 0.0
    adder_area_um2: float | None = None
    clock_hz: float | None = None
    buffer: Buffer | None = None
    memory: Memory | None = None
    digital: DigitalUnit | None = None
    values: Values = field(default_factory=Values)
    pipelined: bool = False
    replicates: bool = False
    write_arrays: int = 1
    wire_pj_per_bit_mm: float = 0.0
    array_leakage_mw: float | None = None
    logic_leakage_mw_per_mm2: float = 0.0
    extra_area_mm2: float = 0.0
    extra_leakage_mw: float = 0.0
    area_factor: float = 1.0
    description: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()

    kind = "crossbar"

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # Costs are kept by crossbar, and hashing all of its parts takes longer than looking one up. Numbers only: they
        # have the same hash in all processes.
        shape = (self.rows, self.columns, self.arrays, self.columns_per_adc, self.sets)
        return hash((*shape, self.weight_bits, self.input_bits, self.cell_bits, self.bits_per_cycle, self.adc_bits))

    @property
    def is_digital(self) -> bool:
        """Whether cells feed adders instead of converters."""
        return self.cell.kind == "digital"

    @property
    def magnitude_bits(self) -> int:
        """Weight bits that cells hold."""
        return self.weight_bits if self.signed == "offset" else max(1, self.weight_bits - 1)

    @property
    def applied_bits(self) -> int:
        """Input bits that are applied; the sign is the polarity of a voltage."""
        return self.input_bits - 1 if self.signed_inputs else self.input_bits

    @property
    def slices(self) -> int:
        """Cells per weight, those of pairs and copies apart."""
        return math.ceil(self.magnitude_bits / self.cell_bits)

    @property
    def pair(self) -> int:
        """Columns that one conversion reads: two where pairs lie on columns."""
        return 2 if self.signed == "pair_columns" else 1

    @property
    def columns_per_weight(self) -> int:
        """Columns that a weight takes."""
        return self.slices * self.pair * self.column_copies

    @property
    def rows_per_weight(self) -> int:
        """Rows that a weight takes."""
        return 2 if self.signed == "pair_rows" else 1

    @property
    def weight_rows(self) -> int:
        """Rows of weights that an array has."""
        return self.rows // self.rows_per_weight

    @property
    def weight_columns(self) -> int:
        """Columns of weights that an array has."""
        return self.columns // self.columns_per_weight

    @property
    def rows_at_once(self) -> int:
        """Rows that are read at once."""
        return self.rows if self.active_rows is None else self.active_rows

    @property
    def read_bits(self) -> int:
        """Input bits that one read takes in, over all copies of the columns."""
        return self.bits_per_cycle * self.column_copies

    @property
    def reads(self) -> int:
        """Reads that an input takes, all rows being active."""
        return math.ceil(self.applied_bits / self.read_bits)

    @property
    def adcs(self) -> int:
        """Converters of an array."""
        return 0 if self.is_digital else math.ceil(self.columns / self.pair / self.columns_per_adc)

    @property
    def result_bits(self) -> int:
        """Width of the accumulators behind an array."""
        if self.accumulator_bits is not None:
            return self.accumulator_bits
        if self.is_digital:
            return self.applied_bits + self.weight_bits + math.ceil(math.log2(max(2, self.rows_at_once)))
        return self.adc_bits + self.magnitude_bits + self.applied_bits

    @property
    def weights(self) -> int:
        """Weights that the whole chip holds."""
        return self.arrays * self.sets * self.weight_rows * self.weight_columns

    @cached_property
    def problems(self) -> tuple[tuple[str, str], ...]:
        """What about the figures cannot be, as (name of the figure, rule); empty for designs that work."""
        return tuple(self._problems())

    def _problems(self) -> Iterator[tuple[str, str]]:
        for name in ("rows", "columns", "arrays", "sets", "column_copies", "columns_per_adc", "cell_bits", "adc_bits"):
            if getattr(self, name) < 1:
                yield name, f"must be >= 1 (got {getattr(self, name)})"
        for name in ("weight_bits", "input_bits"):
            if not 1 <= getattr(self, name) <= MOST_BITS:
                yield name, f"must be in 1..{MOST_BITS} (got {getattr(self, name)})"
        if self.signed != "offset" and self.weight_bits < 2:
            yield "weight_bits", f"must be >= 2 for pairs, one bit being the sign (got {self.weight_bits})"
        if self.signed_inputs and self.input_bits < 2:
            yield "input_bits", f"must be >= 2 for signed inputs (got {self.input_bits})"
        if not 1 <= self.bits_per_cycle <= max(1, self.applied_bits):
            yield "bits_per_cycle", f"must be in 1..{self.applied_bits}, the input's bits (got {self.bits_per_cycle})"
        if self.cell_bits > self.magnitude_bits:
            yield (
                "cell_bits",
                f"must be <= {self.magnitude_bits}, the weight's bits in cells (got {self.cell_bits})",
            )
        least = self.rows_per_weight
        if self.active_rows is not None and not least <= self.active_rows <= self.rows:
            yield "active_rows", f"must be in {least}..{self.rows}, the rows (got {self.active_rows})"
        if self.bit_line_rows is not None and not 1 <= self.bit_line_rows <= self.rows_at_once:
            yield "bit_line_rows", f"must be in 1..{self.rows_at_once}, those read (got {self.bit_line_rows})"
        if self.rows < self.rows_per_weight:
            yield "rows", f"must be >= {self.rows_per_weight}, which a weight takes (got {self.rows})"
        elif self.cell_bits >= 1 and self.column_copies >= 1 and self.columns < self.columns_per_weight:
            yield "columns", f"must be >= {self.columns_per_weight}, which a weight takes (got {self.columns})"
        yield from self._parts()

    def _parts(self) -> Iterator[tuple[str, str]]:
        if self.is_digital:
            if self.tree is None:
                yield "tree", "is required for digital cells"
            elif self.tree.booth and self.bits_per_cycle != 2:
                yield "bits_per_cycle", f"must be 2 for Booth digits (got {self.bits_per_cycle})"
            if self.cell_bits != 1:
                yield "cell_bits", f"must be 1 for digital cells (got {self.cell_bits})"
            if self.signed != "offset":
                yield "signed", f"must be offset for digital cells: two's complement takes no pairs (got {self.signed})"
        elif self.converter is None:
            yield "converter", "is required for analog cells"
        elif self.adc_bits > 24:
            yield "adc_bits", f"must be <= 24 (got {self.adc_bits})"
        elif isinstance(self.converter, Survey) and (text := self.converter.beyond(self.adc_bits, self.node_nm)):
            yield "converter", text
        if self.cell.kind == "charge" and self.cell_bits != 1:
            yield "cell_bits", f"must be 1 for charge cells (got {self.cell_bits})"
        if self.cell.kind == "resistive" and not 0 <= self.cell.off_us < self.cell.on_us:
            rule = "must be less than the conductance that is on (R_on below R_off)"
            yield "cell", f"off conductance {rule} (got {self.cell.off_us:g} and {self.cell.on_us:g} uS)"
        if self.write_arrays < 1:
            yield "write_arrays", f"must be >= 1 (got {self.write_arrays})"
        if self.buffer is not None and self.buffer.bandwidth_bytes_per_s <= 0:
            yield "buffer", f"bandwidth must be > 0 (got {self.buffer.bandwidth_bytes_per_s:g})"

    def lossless_bits(self, rows: int) -> int:
        """Converter bits that lose nothing when ``rows`` rows are read at once.

        ceil(log2(rows (2^d - 1) (2^c - 1) + 1)) for d input bits per cycle and c bits per cell; pairs take one more for
        the sign, flipped columns one less. Converters that sum up the bits of an input see all of them at once.
        """
        if self.is_digital:
            return 0
        converter = self.converter
        assert converter is not None
        bits = self.applied_bits if converter.sums_cycles else self.bits_per_cycle
        top = rows * (2**bits - 1) * (2**self.cell_bits - 1)
        return math.ceil(math.log2(top + 1)) + (self.signed != "offset") - self.flipped_columns
