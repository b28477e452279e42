"""How SRAM leakage grows with temperature."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from accelerators.technology import _base
from accelerators.technology._tables import rows
from accelerators.technology.sram import leakage_node
from accelerators.technology.wires import CELLS

TEMPERATURE_RANGE_K = (300.0, 400.0)


@cache
def _curve(cell: str, table_node: float) -> tuple[np.ndarray, np.ndarray]:
    """Temperatures and log(leakage), [n] each, without the rows that carry errors of CACTI's own tables."""
    points = [
        (float(row["temperature_k"]), math.log(float(row["leakage_mw"])))
        for row in rows("sram_leakage_temperature")
        if row["cell"] == cell and float(row["node_nm"]) == table_node and not row["flag"]
    ]
    temperatures, logs = zip(*sorted(points), strict=True)
    return np.array(temperatures), np.array(logs)


def leakage_factor(cell: str, node_nm: float, temperature_k: float) -> float:
    """SRAM leakage at ``temperature_k`` (300 to 400 K) over that at 300 K, at which all costs here are given.

    log(leakage) is linear between the table's temperatures, 10 K apart; four rows that repeat errors in CACTI's own
    files (22 nm itrs-lstp at 360 K, 90 nm itrs-lop at 350 to 370 K) are passed over. The node is the table node whose
    leakage :func:`~accelerators.technology.sram` takes, the nearest one. Measured at 128 KB x 64 bit.

    Raises TechnologyError for other cells, nodes and temperatures. Source: CACTI 7 runs.
    """
    node = _base.node(node_nm)
    temperature = _base.number("temperature_k", temperature_k, *TEMPERATURE_RANGE_K, "K")
    temperatures, logs = _curve(_base.choice("cell", cell, CELLS), leakage_node(node))
    return math.exp(float(np.interp(temperature, temperatures, logs)) - float(logs[0]))
