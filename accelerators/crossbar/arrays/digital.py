"""Digital arrays: static memory, a gate per product bit, adder trees; inputs bit by bit.

Counts of gates follow from the shape of the array alone. Weights that are not used keep the gates behind them still.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from accelerators.crossbar.arrays._base import Product, Usage, driver_area_mm2
from accelerators.crossbar.crossbar import Crossbar
from accelerators.crossbar.gates import FLIP_FLOP, REGISTERED, XOR, Adders, accumulator, adder_tree, gates, ripple_gates
from accelerators.crossbar.values import input_means, weight_level

#: A radix-4 Booth selector per product bit: two NAND2 choose one or two times the weight, one joins, an XOR2 negates;
#: an encoder per input: two XOR2 and two NAND2. In gates of area and of delay.
_SELECTOR_AREA, _ENCODER_AREA = 3 + XOR[0], 2 * XOR[0] + 2
_SELECTOR_DELAY, _ENCODER_DELAY = 2 + XOR[0], 1 + XOR[0]
#: Of a gate's capacitance: the input that changes, the other one being a stored weight.
_INPUT_SHARE = 0.5


@dataclass(frozen=True)
class _Circuit:
    """Gates of one array: area by parts, switched capacitance per cycle by parts, period of the clock in gates.

    ``once`` switches once per product instead of every cycle.
    """

    area: dict[str, float]
    switched: dict[str, float]
    once: float
    period: float


@lru_cache(maxsize=4096)
def _circuit(crossbar: Crossbar) -> _Circuit:
    tree = crossbar.tree
    assert tree is not None
    rows, bits, per_cycle = crossbar.rows_at_once, crossbar.weight_bits, crossbar.bits_per_cycle
    outputs, width = crossbar.weight_columns, crossbar.result_bits
    toggle = input_means(crossbar.values, crossbar.input_bits, per_cycle, crossbar.signed_inputs).toggle
    toggle *= weight_level(crossbar.values, bits, 1, False)
    if tree.booth:
        product_bits = bits + 1
        multiplier_area = outputs * rows * product_bits * _SELECTOR_AREA + rows * _ENCODER_AREA
        multiplier_delay = _SELECTOR_DELAY + _ENCODER_DELAY
        # Selectors count as one gate each: what they have more of, digits that are zero save.
        multiplier_switched = outputs * rows * product_bits * _INPUT_SHARE * toggle
    else:
        product_bits = bits + per_cycle - 1
        multiplier_area = outputs * rows * bits * per_cycle
        multiplier_delay = 1.0
        multiplier_switched = outputs * rows * bits * per_cycle * _INPUT_SHARE * toggle
    area = {"multipliers": multiplier_area}
    switched = {"multipliers": multiplier_switched}
    if tree.accumulate_first:
        own = accumulator(width, toggle)
        adder = adder_tree(rows, width, toggle)
        area |= {"accumulators": outputs * rows * own.area, "adder trees": outputs * adder.area}
        switched |= {"accumulators": outputs * rows * own.switched, "adder trees": 0.0}
        stages = [multiplier_delay + ripple_gates(1, width), ripple_gates(adder.depth, adder.width)]
        if tree.pipelined:
            area["registers"] = outputs * rows * product_bits * FLIP_FLOP[0]
            switched["registers"] = outputs * rows * product_bits * FLIP_FLOP[1]
            stages[0] -= multiplier_delay
        return _Circuit(area, switched, outputs * adder.switched, REGISTERED + max(stages))
    first, joined, trees = _trees(rows, bits, per_cycle, product_bits, toggle, tree.by_columns, tree.booth)
    last = accumulator(width, joined.toggle)
    area["adder trees"] = outputs * (trees * first.area + joined.area)
    switched["adder trees"] = outputs * (trees * first.switched + joined.switched)
    area["accumulators"] = outputs * last.area
    switched["accumulators"] = outputs * last.switched
    if tree.pipelined:
        registers = outputs * trees * first.width
        area["registers"] = registers * FLIP_FLOP[0]
        switched["registers"] = registers * FLIP_FLOP[1]
        period = max(multiplier_delay + ripple_gates(first.depth, first.width), ripple_gates(joined.depth + 1, width))
    else:
        period = multiplier_delay + ripple_gates(first.depth + joined.depth + 1, max(width, joined.width))
    return _Circuit(area, switched, 0.0, REGISTERED + period)


def _trees(
    rows: int, bits: int, per_cycle: int, product_bits: int, toggle: float, by_columns: bool, booth: bool
) -> tuple[Adders, Adders, int]:
    """The trees over rows, what joins them, and how many there are per output."""
    if by_columns:
        # Every weight bit has a tree over inputs of some bits; the sums differ in weight by one bit each.
        first = adder_tree(rows, per_cycle, toggle)
        return first, adder_tree(bits, first.width, first.toggle, 1), bits
    if booth or per_cycle == 1:
        first = adder_tree(rows, product_bits, toggle)
        return first, Adders(0.0, 0.0, 0, first.width, first.toggle), 1
    # Every input bit of a cycle has a tree over whole weights.
    first = adder_tree(rows, bits, toggle)
    return first, adder_tree(per_cycle, first.width, first.toggle, 1), per_cycle


def period_s(crossbar: Crossbar) -> float:
    """The clock's period: as given, or the longest path."""
    if crossbar.clock_hz is not None:
        return 1 / crossbar.clock_hz
    return _circuit(crossbar).period * gates(crossbar.node_nm, crossbar.supply_v).delay_s


@lru_cache(maxsize=16384)
def product(crossbar: Crossbar, usage: Usage) -> Product:
    """See :func:`accelerators.crossbar.arrays.product`."""
    circuit = _circuit(crossbar)
    gate = gates(crossbar.node_nm, crossbar.supply_v)
    groups = math.ceil(usage.rows / crossbar.rows_at_once)
    cycles = crossbar.reads * groups
    # Rows without weights and inputs do not switch, whatever the shape of the tree.
    rows_share = usage.rows / (groups * crossbar.rows_at_once)
    columns_share = usage.columns / crossbar.weight_columns
    filled = usage.weights / (usage.rows * usage.columns)
    energy = {}
    for part, switched in circuit.switched.items():
        share = columns_share * (1.0 if part in ("accumulators", "registers") else rows_share * filled)
        energy[part] = switched * share * cycles * gate.energy_pj
    energy["adder trees"] += circuit.once * groups * columns_share * rows_share * filled * gate.energy_pj
    drivers = 0.0 if crossbar.driver_pj is None else crossbar.driver_pj * usage.rows * crossbar.reads
    if drivers:
        energy["drivers"] = drivers
    period = period_s(crossbar)
    stages = 1 + (crossbar.tree is not None and crossbar.tree.pipelined)
    return Product(energy, cycles * period, (cycles + stages - 1) * period, "adder trees")


def area_mm2(crossbar: Crossbar) -> dict[str, float]:
    """See :func:`accelerators.crossbar.arrays.area_mm2`."""
    gate = gates(crossbar.node_nm, crossbar.supply_v)
    cells = crossbar.rows * crossbar.columns * crossbar.sets * crossbar.cell.area_um2 * 1e-6
    parts = {part: gate.area_mm2(count) for part, count in _circuit(crossbar).area.items()}
    return {"cells": cells, "drivers": driver_area_mm2(crossbar, gate), **parts}
