"""Energy of moving a bit over a repeated wire."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from accelerators.technology import _base, scaling
from accelerators.technology._base import WireCost
from accelerators.technology._tables import citation, rows

#: Cell (device) families of the CACTI tables: high performance, low operating power, low standby power.
CELLS = ("itrs-hp", "itrs-lop", "itrs-lstp")

#: A wire is charged at rising edges only: one in four pairs of successive random bits.
CHARGES_PER_RANDOM_BIT = 0.25


@cache
def table(cell: str) -> dict[float, tuple[float, float]]:
    """node_nm -> (energy of a full charge in pJ/mm, delay in ns/mm), by increasing node."""
    found = {
        float(row["node_nm"]): (float(row["full_charge_energy_pj_per_mm"]), float(row["delay_ns_per_mm"]))
        for row in rows("wires")
        if row["cell"] == cell
    }
    return dict(sorted(found.items()))


def wire(node_nm: float, cell: str = "itrs-lstp") -> WireCost:
    """Energy in pJ per bit and mm of random data on a semi-global wire with repeaters at 30 % delay overhead.

    It is a quarter of the energy of one full charge. Between 22 and 90 nm log(energy) is linear in log(node); beyond,
    down to 7 and up to 180 nm, it goes with the square of the nominal supply voltage, since capacitance per mm is
    nearly constant (a rule of thumb). Delay-optimal repeaters cost 1.75 to 2 times as much; low-swing wires far less.

    Raises TechnologyError for other nodes and cells. Source: CACTI 7 runs.
    """
    node = _base.node(node_nm)
    points = table(_base.choice("cell", cell, CELLS))
    nodes = list(points)
    edge = min(max(node, nodes[0]), nodes[-1])
    energies = [math.log(energy) for energy, _ in points.values()]
    full = math.exp(float(np.interp(math.log(edge), np.log(nodes), energies)))
    source = f"wire table ({citation('cacti7')}), {cell}, semi-global, 30 % delay overhead, 1/4 of a full charge"
    if edge != node:
        full *= scaling.supply_ratio(edge, node) ** 2
        source += f"; {edge:g} to {node:g} nm with the square of the nominal supply"
    elif node in points:
        source += f"; {node:g} nm"
    else:
        low, high = max(n for n in nodes if n < node), min(n for n in nodes if n > node)
        source += f"; {node:g} nm log-log between {low:g} and {high:g} nm"
    return WireCost(CHARGES_PER_RANDOM_BIT * full, source)
