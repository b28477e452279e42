"""Energy per bit of off-chip memories."""

from __future__ import annotations

from accelerators.technology import _base
from accelerators.technology._base import DramCost
from accelerators.technology._tables import citation, rows


def dram_kinds() -> tuple[str, ...]:
    """The memory kinds that :func:`dram` knows."""
    return tuple(dict.fromkeys(row["kind"] for row in rows("dram")))


def dram(kind: str = "LPDDR4") -> DramCost:
    """Energy in pJ per bit of a memory kind, device and interface together, for reads and writes alike.

    Sources differ by up to 3.5 (DDR3: 20 to 70), so this is a starting value that a user should replace by his own;
    ``alternatives`` lists what other sources say. DDR3's value is the one that agrees with Eyeriss' published ratio of
    DRAM to arithmetic. Idle and refresh power are not included.

    Raises TechnologyError, listing the kinds, for an unknown one.
    """
    _base.choice("kind", kind, dram_kinds())
    values = [
        (row["use"], float(row["energy_pj_per_bit"]), f"{kind} {row['note']}: {citation(row['source'])}")
        for row in rows("dram")
        if row["kind"] == kind
    ]
    ((_, energy, source),) = [value for value in values if value[0] == "default"]
    return DramCost(kind, energy, source, tuple((pj, text) for use, pj, text in values if use != "default"))
