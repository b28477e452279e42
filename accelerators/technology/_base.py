"""What every table shares: the error, the result types, and the checks of arguments."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from numbers import Integral, Real

#: Nodes (nm) that all laws reach. Tables cover less; the rest is scaled, and ``source`` says so.
NODE_RANGE_NM = (7.0, 180.0)


class TechnologyError(ValueError):
    """A quantity lies outside what the tables and laws cover. The message gives quantity, rule and value."""


@dataclass(frozen=True)
class MemoryCost:
    """One on-chip memory, all of its banks together.

    ``read_energy_pj`` and ``write_energy_pj`` are per access of the full port width. ``leakage_mw`` is at 300 K (see
    :func:`~accelerators.technology.leakage_factor`). ``access_ns`` is None where the law gives no time (flip-flops).
    ``source`` names table or law, node, cell, and every interpolation and scaling that took place.
    """

    read_energy_pj: float
    write_energy_pj: float
    leakage_mw: float
    area_mm2: float
    access_ns: float | None
    source: str


@dataclass(frozen=True)
class UnitCost:
    """One arithmetic unit: energy per operation, area, leakage at 300 K, and where they come from."""

    energy_pj: float
    area_mm2: float
    leakage_mw: float
    source: str


@dataclass(frozen=True)
class WireCost:
    """A repeated wire: energy per bit of random data and mm, and where it comes from."""

    energy_pj_per_bit_mm: float
    source: str


@dataclass(frozen=True)
class DramCost:
    """An off-chip memory: energy per bit, its source, and what other sources say (pJ per bit, source)."""

    kind: str
    energy_pj_per_bit: float
    source: str
    alternatives: tuple[tuple[float, str], ...]


def number(name: str, value: float, low: float, high: float, unit: str, note: str = "") -> float:
    """``value`` as a float in [low, high]; TechnologyError otherwise (also for bool, NaN and text)."""
    # The comparison is false for NaN, so NaN is refused without a test of its own.
    if isinstance(value, Real) and not isinstance(value, bool) and low <= value <= high:
        return float(value)
    # Ten digits, so that 32 MB is not rounded to 3.35544e+07.
    bounds = f"at least {low:.10g}" if math.isinf(high) else f"between {low:.10g} and {high:.10g}"
    raise TechnologyError(f"{name}: must be {bounds}{unit and f' {unit}'}{note and f' ({note})'} (got {value!r})")


def integer(name: str, value: int, low: int, high: float, unit: str = "", note: str = "") -> int:
    """``value`` as an int in [low, high]; TechnologyError otherwise, also for a float that happens to be whole."""
    if not isinstance(value, Integral):
        raise TechnologyError(
            f"{name}: must be a whole number{unit and f' of {unit}'}{note and f' ({note})'} (got {value!r})"
        )
    return int(number(name, value, low, high, unit, note))


def choice(name: str, value: str, known: Collection[str]) -> str:
    """``value`` if it is one of ``known``; TechnologyError listing them otherwise."""
    if isinstance(value, str) and value in known:
        return value
    raise TechnologyError(f"{name}: must be one of {', '.join(known)} (got {value!r})")


def node(value: float, name: str = "node_nm") -> float:
    """A technology node in nm inside ``NODE_RANGE_NM``; TechnologyError otherwise."""
    return number(name, value, *NODE_RANGE_NM, "nm")
