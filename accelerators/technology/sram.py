"""On-chip SRAM: energy, leakage, area and access time, interpolated in a table of CACTI runs.

No smooth law describes CACTI's read energy to better than 13 % because it changes organisation in steps; the table,
bilinear in (log2 capacity, log2 width) of log(value), meets runs off its grid to 4-5 % (median; 95th percentile 19 %).
"""

from __future__ import annotations

import math
from functools import cache, lru_cache

import numpy as np

from accelerators.technology import _base
from accelerators.technology._base import MemoryCost, TechnologyError
from accelerators.technology._tables import citation, rows
from accelerators.technology.scaling import scale
from accelerators.technology.wires import CELLS, table

#: Cells of the highest threshold. They reproduce what Accelergy gives, lie closest to Horowitz' 45 nm SRAM energies
#: (0.61 to 0.94 of them), and meet the flip-flop law at the floor. The price is an optimistic leakage.
DEFAULT_CELL = "itrs-lstp"

TABLE_NODES_NM = (22.0, 32.0, 45.0, 65.0, 90.0)
CAPACITY_RANGE_BYTES = (64.0, 2.0**25)
WIDTH_RANGE_BITS = (8, 512)
#: CACTI finds no organisation below this depth.
MIN_DEPTH = 32

#: Columns of the table, the last axis of every array here. All are positive, and kept as logarithms.
_METRICS = ("read_energy_pj", "write_energy_pj", "leakage_mw", "area_mm2", "access_ns")
_READ, _WRITE, _LEAKAGE, _AREA, _ACCESS = range(len(_METRICS))

# Wires between banks, fitted to 108 CACTI runs of 2 to 32 banks (45 and 65 nm, 64 bit). An access pays this many full
# charges of a port-wide wire over the distance sqrt(total area) - sqrt(bank area), and this many wire delays. Error of
# the banked energy: read 5 / 15 %, write 3 / 12 % (median / 95th percentile); access time 3 / 14 %. Without the wires
# a bank alone would be at 0.41 of CACTI's banked energy (median), and a search would always choose many banks.
_BANK_WIRE_CHARGES = 1.8
_BANK_WIRE_DELAYS = 3.0


def below_floor(capacity_bytes: float, width_bits: int) -> bool:
    """Whether one bank is too small for the SRAM table: under 64 B, or fewer than 32 words deep."""
    return capacity_bytes < CAPACITY_RANGE_BYTES[0] or 8 * capacity_bytes < MIN_DEPTH * width_bits


def sram(
    capacity_bytes: float,
    width_bits: int,
    node_nm: float,
    cell: str = DEFAULT_CELL,
    banks: int = 1,
    monotone: bool = True,
    bank_wires: bool = True,
) -> MemoryCost:
    """A single-ported SRAM of ``capacity_bytes`` in all, in ``banks`` equal banks, ``width_bits`` per access.

    Covered per bank: 64 B to 32 MB, 8 to 512 bit, at least 32 words; nodes 7 to 180 nm; cells "itrs-hp", "itrs-lop",
    "itrs-lstp" for array and periphery alike. Anything else raises TechnologyError.

    *Nodes.* Tables exist for 22, 32, 45, 65 and 90 nm. Between them energy, area and time are log-log in the node, and
    leakage is that of the nearest table node, since CACTI's leakage follows no law of the node. Above 90 nm energy,
    area and time take the Stillmaker factors and leakage stays that of 90 nm. Below 22 nm Accelergy's rule applies:
    energy (n/22)^0.5, area and time n/22, leakage 0.79 (n/22)^0.5; against published 7 nm figures it is low by 4 for
    small and 1.3 for large macros.

    *Banks.* An access reads one bank and, with ``bank_wires``, drives the wires from the port to it; leakage and area
    are those of all banks (routing between banks makes CACTI's area 1.1 times that, median, and up to 1.9 times for
    banks under 1 KB). Without ``bank_wires`` energy and time are those of one bank alone, for callers who charge the
    network to the banks themselves.

    *monotone*. CACTI's read energy falls in 11 places of the table by up to a third when capacity doubles (8 and 16
    bit), its write energy in 1 and its access time in 8. It is an artefact of its choice of organisation, and a search
    would find it. So by default each value is the lowest of all capacities from this one up (part of a larger memory
    serves as well), which touches just those points. A running maximum would be monotone too, but it changes 17 values
    of the read energy, has no such reason, and doubles the worst error off the grid (37 to 74 %). False gives CACTI's
    values as they are.

    Leakage is at 300 K: far above compiled SRAM for itrs-hp, far below for itrs-lstp. Dynamic energy does not depend on
    temperature. A narrow port on a large macro costs more than a wide one in CACTI: read a wider row and divide.

    Source: CACTI 7 runs (objective ED^2, 300 K).
    """
    node = _base.node(node_nm)
    _base.choice("cell", cell, CELLS)
    count = _base.integer("banks", banks, 1, math.inf)
    wider = "split a wider port over memories side by side, pad a narrower one"
    width = _base.integer("width_bits", width_bits, *WIDTH_RANGE_BITS, "bit for SRAM", wider)
    total = _base.number("capacity_bytes", capacity_bytes, 0.0, math.inf, "bytes")
    low, high = CAPACITY_RANGE_BYTES
    _base.number("capacity_bytes / banks", total / count, low, high, "bytes for a bank of SRAM")
    if below_floor(total / count, width):
        rule = f"must be at least {MIN_DEPTH} words of {width} bit a bank of SRAM, {MIN_DEPTH * width // 8} bytes"
        raise TechnologyError(f"capacity_bytes / banks: {rule} (got {total / count:g})")
    return _sram(total / count, width, node, cell, count, bool(monotone), bool(bank_wires))


@lru_cache(maxsize=4096)
def _sram(
    bank_bytes: float, width: int, node: float, cell: str, banks: int, monotone: bool, bank_wires: bool
) -> MemoryCost:
    """:func:`sram` with checked arguments; searches ask for the same few memories over and over."""

    used: list[float] = []

    def at(table_node: float) -> np.ndarray:
        used.append(table_node)
        return _log_values(bank_bytes, width, table_node, cell, banks, monotone, bank_wires)

    notes = [f"SRAM table ({citation('cacti7')}, ED^2, 300 K), {cell}", _grid_note(bank_bytes, width)]
    if banks > 1:
        notes.append(f"{banks} banks, {'with' if bank_wires else 'without'} the wires between them")
    first, last = TABLE_NODES_NM[0], TABLE_NODES_NM[-1]
    if node in TABLE_NODES_NM:
        logs = at(node)
        notes.append(f"{node:g} nm")
    elif node > last:
        logs = at(last)
        energy, area, delay = (math.log(scale(quantity, last, node)) for quantity in ("energy", "area", "delay"))
        logs = logs + np.array([energy, energy, 0.0, area, delay])
        notes.append(f"{last:g} to {node:g} nm by Stillmaker & Baas 2017, leakage as at {last:g} nm")
    elif node < first:
        ratio = math.log(node / first)
        logs = at(first) + np.array([0.5 * ratio, 0.5 * ratio, math.log(0.79) + 0.5 * ratio, ratio, ratio])
        notes.append(
            f"{first:g} to {node:g} nm by Accelergy's rule, whose energy at 7 nm is 4 (small macros) to 1.3 (large) "
            "times below published figures"
        )
    else:
        below = max(n for n in TABLE_NODES_NM if n < node)
        above = min(n for n in TABLE_NODES_NM if n > node)
        share = math.log(node / below) / math.log(above / below)
        logs = (1.0 - share) * at(below) + share * at(above)
        logs[_LEAKAGE] = at(leakage_node(node))[_LEAKAGE]
        notes.append(f"{node:g} nm log-log between {below:g} and {above:g} nm, leakage of {leakage_node(node):g} nm")
    if monotone and any(_lowered(bank_bytes, width, table_node, cell) for table_node in used):
        notes.append("lowered to what a larger capacity costs")
    read_pj, write_pj, leakage_mw, area_mm2, access_ns = (float(value) for value in np.exp(logs))
    return MemoryCost(read_pj, write_pj, leakage_mw, area_mm2, access_ns, source="; ".join(notes))


def leakage_node(node_nm: float) -> float:
    """The table node whose leakage stands for ``node_nm``: the nearest by ratio."""
    return min(TABLE_NODES_NM, key=lambda table_node: abs(math.log(node_nm / table_node)))


def _lowered(bank_bytes: float, width: int, node: float, cell: str) -> bool:
    """Whether the option ``monotone`` changes a bank at a table node."""
    lowered, plain = (_interpolate(_grid(node, cell, monotone), bank_bytes, width) for monotone in (True, False))
    return bool(np.any(lowered != plain))


def _log_values(
    bank_bytes: float, width: int, node: float, cell: str, banks: int, monotone: bool, bank_wires: bool
) -> np.ndarray:
    """log of the metrics of the whole memory at a table node."""
    values = np.exp(_interpolate(_grid(node, cell, monotone), bank_bytes, width))
    if banks > 1 and bank_wires:
        charge_pj_per_mm, delay_ns_per_mm = table(cell)[node]
        distance_mm = (math.sqrt(banks) - 1.0) * math.sqrt(values[_AREA])
        values[[_READ, _WRITE]] += _BANK_WIRE_CHARGES * width * charge_pj_per_mm * distance_mm
        values[_ACCESS] += _BANK_WIRE_DELAYS * delay_ns_per_mm * distance_mm
    values[[_LEAKAGE, _AREA]] *= banks
    return np.log(values)


def _position(value: float, first: float, cells: int) -> tuple[int, float]:
    """Cell of a grid of powers of two that starts at ``first``, and where in the cell: 0 at its start, 1 at its end."""
    place = math.log2(value / first)
    index = min(int(place), cells - 1)
    return index, place - index


def _interpolate(grid: np.ndarray, bank_bytes: float, width: int) -> np.ndarray:
    """log of the metrics of one legal bank, [5], bilinear in (log2 capacity, log2 width).

    The border "32 words deep" runs along diagonals of grid cells, so the legal part of a cell on the border is exactly
    the triangle of its three legal corners. There the plane through them is used: no extrapolation, and continuous with
    the neighbouring cells, because both are linear on the shared edges.
    """
    i, t = _position(bank_bytes, CAPACITY_RANGE_BYTES[0], grid.shape[0] - 1)
    j, u = _position(width, WIDTH_RANGE_BITS[0], grid.shape[1] - 1)
    narrow = grid[i, j] + t * (grid[i + 1, j] - grid[i, j])
    if u == 0.0:
        return narrow
    if np.isnan(grid[i, j + 1, 0]):
        return narrow + u * (grid[i + 1, j + 1] - grid[i + 1, j])
    wide = grid[i, j + 1] + t * (grid[i + 1, j + 1] - grid[i, j + 1])
    return (1.0 - u) * narrow + u * wide


def _grid_note(bank_bytes: float, width: int) -> str:
    """Says between which points of the grid a bank was interpolated."""
    (i, t), (j, u) = _position(bank_bytes, CAPACITY_RANGE_BYTES[0], 19), _position(width, WIDTH_RANGE_BITS[0], 6)
    note = f"bank of {bank_bytes:g} B x {width} bit"
    if t not in (0.0, 1.0):
        note += f", log-log between {64 << i} and {128 << i} B"
    if u not in (0.0, 1.0):
        note += f", log-log between {8 << j} and {16 << j} bit"
    return note


@cache
def _grid(node: float, cell: str, monotone: bool) -> np.ndarray:
    """log of the table, [20 capacities, 7 widths, 5 metrics] from 64 B and 8 bit by doubling; NaN where illegal."""
    grid = np.full((20, 7, len(_METRICS)), np.nan)
    for row in rows("sram"):
        if float(row["node_nm"]) == node and row["cell"] == cell:
            i = int(row["capacity_bytes"]).bit_length() - 7
            j = int(row["width_bits"]).bit_length() - 4
            grid[i, j] = [math.log(float(row[metric])) for metric in _METRICS]
    if monotone:
        # fmin passes over NaN; illegal points must stay NaN, so they are put back.
        lowest = np.fmin.accumulate(grid[::-1], axis=0)[::-1]
        grid = np.where(np.isnan(grid), np.nan, lowest)
    return grid
