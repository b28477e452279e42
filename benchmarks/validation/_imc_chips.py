"""In-memory computing chips as crossbars: structure from the fields of a record, figures from the model.

Nothing here is special to a chip. How weights lie on columns follows from numbers: an array with as many cells as
inputs x outputs x weight bits x sets holds whole weights, one with less has an output per weight bit; an analog output
with two columns per magnitude bit and no adders behind its converter is a differential pair, one with several columns
per weight bit holds copies for different bits of the input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accelerators.crossbar import area, arrays
from accelerators.crossbar.arrays import digital
from accelerators.crossbar.converters import SramAimc
from accelerators.crossbar.crossbar import Cell, Crossbar, Tree
from accelerators.crossbar.datasheet import sram_cell_um2
from accelerators.crossbar.gates import gates
from accelerators.crossbar.values import Values
from accelerators.technology import TechnologyError
from benchmarks._common import BadInputError

_MOST = 10**6


class NotModelledError(Exception):
    """A chip of a structure that the model does not have; the message says what."""


@dataclass(frozen=True)
class Figures:
    """Energy per MAC in fJ, area in mm2, period of the clock in ns."""

    energy_fj: float
    area_mm2: float
    period_ns: float


class Fields:
    """Fields of a record; every error names the chip, the field and the rule."""

    def __init__(self, where: str, *records: Mapping[str, Any]):
        self.where = where
        self.records = records

    def get(self, name: str) -> Any:
        """The first value that any record has; None for none and for null."""
        return next((record[name] for record in self.records if record.get(name) is not None), None)

    def whole(self, name: str, low: int = 1, default: int | None = None) -> int:
        """A whole number of at least ``low``."""
        value = self.get(name)
        if value is None and default is not None:
            return default
        if value is None:
            raise BadInputError(f"{self.where}: {name} is missing")
        whole = isinstance(value, int | float) and not isinstance(value, bool) and value == int(value)
        if not whole or not low <= value <= _MOST:
            raise BadInputError(f"{self.where}: {name} must be a whole number in {low}..{_MOST} (got {value!r})")
        return int(value)

    def number(self, name: str, low: float, high: float) -> float:
        """A number above ``low`` (or equal to it, where that is 0) and up to ``high``."""
        value = self.get(name)
        if value is None:
            raise BadInputError(f"{self.where}: {name} is missing")
        known = isinstance(value, int | float) and not isinstance(value, bool)
        if not known or not low <= value <= high:
            raise BadInputError(f"{self.where}: {name} must be a number in {low:g}..{high:g} (got {value!r})")
        return float(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise BadInputError(f"{self.where}: {name} must be true or false (got {value!r})")
        return value


def _values(fields: Fields) -> Values:
    sparsity = fields.number("weight_sparsity", 0, 1)
    return Values(toggle_rate=fields.number("input_toggle_rate", 0, 1), weight_density=1 - sparsity)


def _cell_um2(fields: Fields, cells: int, node_nm: float, supply_v: float) -> float:
    """Area of one of ``cells`` cells: logic rules where the chip has no compact cells, else a memory's.

    That of the memory is the one given with the chip, or else from the SRAM tables.
    """
    physical = fields.whole("rows") * fields.whole("cols")
    if not fields.flag("compact_rule", default=True):
        return gates(node_nm, supply_v).cell_area_um2 * physical / cells
    given = fields.get("area_of_memory_mm2")
    if given is not None:
        return float(given) * 1e6 / cells
    return sram_cell_um2(physical, fields.whole("cols"), node_nm) * physical / cells


def _digital(fields: Fields) -> Crossbar:
    inputs, outputs, bits = fields.whole("input_channel"), fields.whole("output_channel"), _bits(fields, "weight")
    sets = fields.whole("cells_sharing_one_compute_unit")
    physical = fields.whole("rows") * fields.whole("cols")
    if physical < inputs * outputs * bits * sets:
        # An output per weight bit: these are joined to whole results.
        if outputs % bits:
            rule = f"with {physical} cells, outputs are weight bits: must be a multiple of {bits}"
            raise NotModelledError(f"output_channel: {rule} (got {outputs})")
        outputs //= bits
    node, supply = fields.number("technology_nm", 7, 180), fields.number("vdd", 0.3, 5)
    booth = fields.flag("booth_encoding")
    product = fields.whole("multiplier_precision")
    # What takes in single products stands before the tree.
    accumulated = fields.whole("accumulator_input_precision", default=_MOST)
    tree = Tree(
        by_columns=product == 1 and bits > 1 and not booth,
        booth=booth,
        accumulate_first=accumulated <= product,
        pipelined=fields.flag("pipeline") or fields.get("reg_pipeline_precision") is not None,
    )
    cells = inputs * outputs * bits * sets
    return Crossbar(
        name=fields.where,
        node_nm=node,
        supply_v=supply,
        rows=inputs,
        columns=outputs * bits,
        arrays=fields.whole("banks"),
        sets=sets,
        cell=Cell("digital", _cell_um2(fields, cells, node, supply)),
        weight_bits=bits,
        input_bits=_bits(fields, "activation"),
        bits_per_cycle=fields.whole("input_precision"),
        tree=tree,
        accumulator_bits=_accumulator(fields),
        values=_values(fields),
    )


def _analog(fields: Fields) -> Crossbar:
    outputs, bits = fields.whole("output_channel"), _bits(fields, "weight")
    columns, sets = fields.whole("cols"), fields.whole("cells_sharing_one_compute_unit")
    rows = fields.whole("rows")
    if rows % sets:
        raise NotModelledError(f"cells_sharing_one_compute_unit: must divide the {rows} rows (got {sets})")
    per_output, rest = divmod(columns, outputs)
    adds = fields.get("accumulator_precision") is not None
    copies, signed = 1, "offset"
    if not rest and per_output == 2 * max(1, bits - 1) and not adds:
        signed = "pair_columns"
    elif not rest and per_output % bits == 0:
        copies = per_output // bits
    elif rest or per_output != 1 or columns % bits:
        rule = "must be columns of pairs, of weight bits (or a multiple of them), or single weight bits"
        raise NotModelledError(f"cols / output_channel: {rule} (got {columns} / {outputs} for {bits} bit)")
    node, supply = fields.number("technology_nm", 7, 180), fields.number("vdd", 0.3, 5)
    rows //= sets
    loading = fields.whole("input_channel")
    return Crossbar(
        name=fields.where,
        node_nm=node,
        supply_v=supply,
        rows=rows,
        columns=columns,
        arrays=fields.whole("banks"),
        sets=sets,
        bit_line_rows=loading if loading < rows else None,
        column_copies=copies,
        cell=Cell("charge", _cell_um2(fields, rows * columns * sets, node, supply)),
        weight_bits=bits,
        input_bits=_bits(fields, "activation"),
        bits_per_cycle=min(max(1, fields.whole("dac_resolution", low=0, default=0)), fields.whole("input_precision")),
        adc_bits=fields.whole("adc_resolution"),
        signed="pair_columns" if signed == "pair_columns" else "offset",
        converter=SramAimc(by_density=True),
        accumulates=adds,
        accumulator_bits=_accumulator(fields),
        sample_and_hold=False,
        values=_values(fields),
    )


def _accumulator(fields: Fields) -> int | None:
    return None if fields.get("accumulator_precision") is None else fields.whole("accumulator_precision")


def _bits(fields: Fields, what: str) -> int:
    bits = fields.whole(f"{what}_precision")
    if bits > 16:
        raise BadInputError(f"{fields.where}: {what}_precision must be at most 16 (got {bits})")
    return bits


def crossbar(kind: str, fields: Fields) -> Crossbar:
    """The chip as a crossbar, one array per bank.

    Raises BadInputError for fields that are missing or wrong, NotModelledError for a structure that is not modelled.
    """
    try:
        found = _digital(fields) if kind == "digital" else _analog(fields)
    except TechnologyError as error:
        raise NotModelledError(str(error)) from None
    if found.problems:
        raise NotModelledError("; ".join(f"{name}: {rule}" for name, rule in found.problems))
    return found


def figures(chip: Crossbar, clock_bits: int) -> Figures:
    """What the model says of a chip whose clock takes ``clock_bits`` of an input per cycle."""
    usage = area.full(chip)
    product = arrays.product(chip, usage)
    energy_fj = sum(product.energy_pj.values()) / usage.weights * 1e3
    if chip.is_digital:
        period_s = digital.period_s(chip)
    else:
        period_s = product.interval_s * min(1.0, clock_bits / chip.input_bits)
    return Figures(energy_fj, area.area_mm2(chip), period_s * 1e9)
