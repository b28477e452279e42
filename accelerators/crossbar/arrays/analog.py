"""Analog arrays: currents of resistive cells or charges of capacitive ones, converters, digital sums behind them."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from accelerators.crossbar.arrays._base import Product, Usage, driver_area_mm2
from accelerators.crossbar.converters import Conversion, Readout
from accelerators.crossbar.crossbar import Crossbar
from accelerators.crossbar.gates import (
    FLIP_FLOP,
    REGISTERED,
    Adders,
    accumulator,
    adder_tree,
    gates,
    ripple_gates,
)
from accelerators.crossbar.values import input_means, weight_level
from accelerators.technology import wires

#: Of a local wire, at any node (recalled: capacitance per length hardly changes between nodes).
_WIRE_FF_PER_UM = 0.2
#: Copper in narrow lines with its barriers (recalled), and lines 1.6 nodes wide and 1.8 times as high.
_RESISTIVITY_OHM_UM = 0.035
_WIDTH_NODES, _ASPECT = 1.6, 1.8
#: Of a distributed line (Elmore).
_ELMORE = 0.38
#: Boltzmann's constant x 300 K, in pJ.
_KT_PJ = 4.14e-9
#: Of a multi-bit driver per bit, at any node; one bit only switches its line (zigzag-imc @df34a6f, figures only).
_DRIVER_PF_PER_BIT = 0.05
#: Charge cells, in parts of a gate's capacitance: the input of the multiplying gate, the cell's end of the bit line,
#: one transistor that resets it. The first two as zigzag-imc has them.
_INPUT_SHARE, _BIT_LINE_SHARE, _RESET_SHARE = 0.5, 0.5, 0.25
#: Bits of conversions change at random.
_RESULT_TOGGLE = 0.5


@lru_cache(maxsize=4096)
def density(crossbar: Crossbar) -> float:
    """Mean level of the cells that hold weights."""
    return weight_level(crossbar.values, crossbar.weight_bits, crossbar.cell_bits, crossbar.signed != "offset")


def readout(crossbar: Crossbar) -> Readout:
    """What a converter of this crossbar has to do."""
    return Readout(
        crossbar.adc_bits,
        crossbar.applied_bits,
        crossbar.read_bits,
        crossbar.rows_at_once if crossbar.bit_line_rows is None else crossbar.bit_line_rows,
        crossbar.node_nm,
        crossbar.supply_v,
        density(crossbar),
    )


def pitch_um(crossbar: Crossbar) -> float:
    """Distance of neighbouring cells, taken as squares; the sets of a cell share its gate."""
    area = crossbar.cell.area_um2
    if crossbar.cell.kind == "charge":
        area += gates(crossbar.node_nm, crossbar.supply_v).area_um2 / crossbar.sets
    return math.sqrt(area)


@lru_cache(maxsize=64)
def _repeated_s_per_um(node_nm: float) -> float:
    """Delay of a wire with repeaters, at the nearest end of the table beyond 22 to 90 nm."""
    table = wires.table("itrs-lstp")
    nodes = np.log(list(table))
    return float(np.exp(np.interp(np.log(node_nm), nodes, np.log([ns for _, ns in table.values()])))) * 1e-12


def settle_s(crossbar: Crossbar) -> float:
    """Time in which a row's line and a column settle.

    The row is a distributed line, 0.38 R C n^2 (Elmore), or has repeaters where these are faster; a column of
    resistive cells has the time constant of its capacitance and its conductance.
    """
    pitch = pitch_um(crossbar)
    width_um = _WIDTH_NODES * crossbar.node_nm * 1e-3
    ohm = _RESISTIVITY_OHM_UM / (width_um * width_um * _ASPECT) * pitch
    capacitance_f = _cell_ff(crossbar) * 1e-15
    row = _ELMORE * ohm * capacitance_f * crossbar.columns**2
    row = min(row, crossbar.columns * pitch * _repeated_s_per_um(crossbar.node_nm))
    if crossbar.cell.kind != "resistive":
        return row
    cell = crossbar.cell
    siemens = (cell.off_us + (cell.on_us - cell.off_us) * density(crossbar)) * 1e-6
    return row + capacitance_f / siemens


def _cell_ff(crossbar: Crossbar) -> float:
    """Capacitance of a row's line per cell: wire, and the input of the cell."""
    wire = _WIRE_FF_PER_UM * pitch_um(crossbar)
    if crossbar.cell.gate_ff is not None:
        return wire + crossbar.cell.gate_ff
    gate_ff = gates(crossbar.node_nm, 1.0).energy_pj * 1e3
    share = _INPUT_SHARE if crossbar.cell.kind == "charge" else _RESET_SHARE
    return wire + share * gate_ff


@lru_cache(maxsize=16384)
def product(crossbar: Crossbar, usage: Usage) -> Product:
    """See :func:`accelerators.crossbar.arrays.product`."""
    converter = crossbar.converter
    assert converter is not None
    groups = math.ceil(usage.rows * crossbar.rows_per_weight / crossbar.rows_at_once)
    rows, columns = usage.rows * crossbar.rows_per_weight, usage.columns * crossbar.columns_per_weight
    conversions = converter.conversions(readout(crossbar))
    held = columns // crossbar.pair
    energy = dict(_array_pj(crossbar, usage, rows, columns))
    energy["ADC"] = groups * held * sum(each.energy_pj for each in conversions)
    if crossbar.sample_and_hold:
        hold = 12 * _KT_PJ * 4**crossbar.adc_bits if crossbar.hold_pj is None else crossbar.hold_pj
        energy["sample and hold"] = groups * held * len(conversions) * hold
    tree, sums, adders = _adders(crossbar)
    if adders:
        turns = math.ceil(crossbar.slices * crossbar.column_copies / adders)
        steps = groups * usage.columns * len(conversions) * turns
        gate = gates(crossbar.node_nm, crossbar.supply_v)
        energy["shift and add"] = steps * (tree.switched + sums.switched) * gate.energy_pj
    interval, bottleneck = _interval_s(crossbar, held, conversions)
    # Adders are pipelined behind the converters: they delay results, not products.
    return Product(energy, groups * interval, groups * interval + _adding_s(crossbar), bottleneck)


def _array_pj(crossbar: Crossbar, usage: Usage, rows: int, columns: int) -> dict[str, float]:
    """Energy of cells, lines and drivers for all reads of one product."""
    cell, reads = crossbar.cell, crossbar.reads
    means = input_means(crossbar.values, crossbar.input_bits, crossbar.bits_per_cycle, crossbar.signed_inputs)
    level = density(crossbar)
    used = usage.weights * crossbar.columns_per_weight * crossbar.rows_per_weight
    blank = rows * columns - used
    gate = gates(crossbar.node_nm, crossbar.supply_v)
    parts = {}
    if cell.kind == "resistive":
        siemens = used * (cell.off_us + (cell.on_us - cell.off_us) * level) + blank * cell.off_us
        levels = 2**crossbar.bits_per_cycle - 1
        active = means.level * levels if crossbar.coding == "pulse_width" else means.square
        parts["cells"] = reads * cell.read_voltage_v**2 * active * siemens * cell.read_s * 1e6
        swing = cell.read_voltage_v
    else:
        charged = _INPUT_SHARE * means.toggle * level + _BIT_LINE_SHARE * level
        parts["cells"] = reads * gate.energy_pj * (used * charged + (used + blank) * _RESET_SHARE)
        swing = crossbar.supply_v
    line_ff = _cell_ff(crossbar) if cell.kind == "resistive" else _WIRE_FF_PER_UM * pitch_um(crossbar)
    parts["lines"] = reads * rows * columns * line_ff * swing**2 * means.nonzero * 1e-3
    if cell.select is not None:
        line = columns * cell.select.cell_ff + cell.select.driver_ff
        parts["lines"] += reads * rows * line * cell.select.voltage_v**2 * 1e-3
    if crossbar.driver_pj is not None:
        parts["drivers"] = reads * rows * crossbar.driver_pj
    elif crossbar.bits_per_cycle > 1:
        parts["drivers"] = reads * rows * _DRIVER_PF_PER_BIT * crossbar.bits_per_cycle * crossbar.supply_v**2
    return parts


@lru_cache(maxsize=4096)
def _adders(crossbar: Crossbar) -> tuple[Adders, Adders, int]:
    """What joins the slices of a weight that are converted at once, the accumulator behind, and how many they are.

    None (0) where an array hands over its conversions as they are.
    """
    operands = crossbar.slices * crossbar.column_copies
    together = math.ceil(operands / crossbar.columns_per_adc)
    tree = adder_tree(together, crossbar.adc_bits, _RESULT_TOGGLE, crossbar.cell_bits)
    steps = operands // together * crossbar.reads
    needed = crossbar.accumulates and (operands > 1 or steps > 1) and not _sums_cycles(crossbar)
    return tree, accumulator(crossbar.result_bits, _RESULT_TOGGLE), together if needed else 0


def _sums_cycles(crossbar: Crossbar) -> bool:
    return crossbar.converter is not None and crossbar.converter.sums_cycles


def _adding_s(crossbar: Crossbar) -> float:
    """Delay of the adders behind the converters, registered."""
    tree, sums, adders = _adders(crossbar)
    if not adders:
        return 0.0
    delay = REGISTERED + ripple_gates(tree.depth + 1, sums.width)
    return delay * gates(crossbar.node_nm, crossbar.supply_v).delay_s


def _interval_s(crossbar: Crossbar, held: int, conversions: tuple[Conversion, ...]) -> tuple[float, str]:
    """Time between two products with all rows active, and what sets it."""
    gate = gates(crossbar.node_nm, crossbar.supply_v)
    # Columns in use are dealt out evenly.
    turns = math.ceil(held / crossbar.adcs)
    reading = settle_s(crossbar) + (gate.delay_s if crossbar.cell.kind == "charge" else 0.0)
    if not _sums_cycles(crossbar):
        levels = 2**crossbar.bits_per_cycle - 1 if crossbar.coding == "pulse_width" else 1
        reading += crossbar.cell.read_s * levels
    register = REGISTERED * gate.delay_s
    total = read_total = 0.0
    for each in conversions:
        converting = turns * each.time_s
        both = max(reading, converting) if crossbar.sample_and_hold else reading + converting
        taken = register + both
        if crossbar.clock_hz is not None:
            # Whole cycles of the clock.
            taken = math.ceil(taken * crossbar.clock_hz * (1 - 1e-9)) / crossbar.clock_hz
        total += taken
        read_total += reading - converting
    return total, "reading" if read_total > 0 else "ADC"


def area_mm2(crossbar: Crossbar) -> dict[str, float]:
    """See :func:`accelerators.crossbar.arrays.area_mm2`."""
    converter = crossbar.converter
    assert converter is not None
    gate = gates(crossbar.node_nm, crossbar.supply_v)
    cells = crossbar.rows * crossbar.columns
    area = {"cells": cells * crossbar.sets * crossbar.cell.area_um2 * 1e-6}
    if crossbar.cell.kind == "charge":
        area["cells"] += gate.area_mm2(cells)
    area["drivers"] = driver_area_mm2(crossbar, gate)
    area["ADC"] = crossbar.adcs * converter.area_mm2(readout(crossbar))
    if crossbar.hold_area_um2:
        area["sample and hold"] = crossbar.columns // crossbar.pair * crossbar.hold_area_um2 * 1e-6
    tree, sums, adders = _adders(crossbar)
    if adders:
        working = math.ceil(crossbar.adcs / adders)
        registers = crossbar.weight_columns * sums.width * FLIP_FLOP[0]
        gate_count = working * (tree.area + sums.area - sums.width * FLIP_FLOP[0]) + registers
        given = crossbar.adder_area_um2
        area["shift and add"] = gate.area_mm2(gate_count) if given is None else given * 1e-6
    return area
