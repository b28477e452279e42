"""Scaling of logic between nodes, after Stillmaker and Baas (Integration 58, 2017).

Their fits give energy as a quadratic and delay as a cubic polynomial in the supply voltage, per node, and area as a
table of factors. One flavour is used throughout: bulk down to 65 nm, high performance (HP) below, each at its nominal
supply. Mixing flavours or leaving the nominal supply breaks the order of the nodes.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from accelerators.technology import _base
from accelerators.technology._tables import rows

#: What the Stillmaker factors cover. Leakage is not among them: it does not scale by a law of the node.
QUANTITIES = ("energy", "delay", "area")

#: Below this node the energy factors may be optimistic (see :func:`logic_note`).
_TRUSTED_NM = 16.0


@cache
def _logs(column: str) -> tuple[np.ndarray, np.ndarray]:
    """Increasing log(node) and log(value), [n] each, of one quantity of the table."""
    values: dict[float, float] = {}
    for row in rows("logic_scaling"):
        volt = float(row["nominal_vdd_v"])
        if column == "energy":
            value = sum(float(row[f"energy_c{power}"]) * volt**power for power in range(3))
        elif column == "delay":
            value = sum(float(row[f"delay_c{power}"]) * volt**power for power in range(4))
        else:
            value = {"area": float(row["area_relative_to_45nm"]), "supply": volt}[column]
        values[math.log(float(row["node_nm"]))] = math.log(value)
    nodes = sorted(values)
    return np.array(nodes), np.array([values[node] for node in nodes])


def _log_value(column: str, node_nm: float) -> float:
    nodes, values = _logs(column)
    return float(np.interp(math.log(node_nm), nodes, values))


def scale(quantity: str, from_nm: float, to_nm: float) -> float:
    """Factor by which a logic quantity published at ``from_nm`` is multiplied to stand for ``to_nm``.

    ``quantity`` is "energy", "delay" or "area"; nodes lie in 7 to 180 nm. Between the nodes of the table log(factor)
    is linear in log(node), so factors chain: a->b times b->c is a->c. Delay is not monotone in the node (20 nm HP is
    slower than 32 nm HP). Below 16 nm energy may be optimistic by 4 to 8.

    Raises TechnologyError for other quantities (leakage has no such law) and nodes.
    Source: Stillmaker and Baas 2017, bulk and HP at nominal supply.
    """
    _base.choice("quantity", quantity, QUANTITIES)
    start, end = _base.node(from_nm, "from_nm"), _base.node(to_nm, "to_nm")
    return math.exp(_log_value(quantity, end) - _log_value(quantity, start))


def supply_ratio(from_nm: float, to_nm: float) -> float:
    """Nominal supply voltage at ``to_nm`` over that at ``from_nm``, interpolated like :func:`scale`."""
    start, end = _base.node(from_nm, "from_nm"), _base.node(to_nm, "to_nm")
    return math.exp(_log_value("supply", end) - _log_value("supply", start))


def logic_note(from_nm: float, to_nm: float) -> str:
    """What a ``source`` says about scaling a logic value between two nodes ("" when they are the same)."""
    if from_nm == to_nm:
        return ""
    note = f"; {from_nm:g} to {to_nm:g} nm by Stillmaker & Baas 2017 (bulk/HP, nominal supply)"
    if to_nm < _TRUSTED_NM:
        # Published per-operation ratios of 7 nm to 45 nm are 0.23-0.48 (Jouppi 2021), the factor is 0.056.
        note += ", whose energy below 16 nm may be optimistic by 4-8x"
    return note
