"""Quantities with units as people write them in datasheets: ``64 kB``, ``200 MHz``, ``16 GB/s``, ``6 pJ``."""

from __future__ import annotations

import math
import re

_NUMBER = re.compile(r"\s*([-+]?[0-9][0-9_]*\.?[0-9]*(?:[eE][-+]?[0-9]+)?|[-+]?\.[0-9]+)\s*([^\s0-9].*?)?\s*")

#: Accepted units by quantity, as factors to the unit named in the key (the first one, used for plain numbers).
UNITS: dict[str, dict[str, float]] = {
    # Memories come in powers of two: their k is 1024.
    "capacity in bytes": {
        "B": 1, "byte": 1, "bytes": 1, "bit": 0.125, "bits": 0.125, "b": 0.125,
        "kB": 1024, "KB": 1024, "KiB": 1024, "MB": 1024**2, "MiB": 1024**2, "GB": 1024**3, "GiB": 1024**3,
        "kbit": 128, "Kbit": 128, "Mbit": 1024 * 128,
    },
    "width in bits": {"bit": 1, "bits": 1, "b": 1, "B": 8, "byte": 8, "bytes": 8},
    "clock in Hz": {"Hz": 1, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9},
    "rate in samples per second": {
        "S/s": 1, "kS/s": 1e3, "MS/s": 1e6, "GS/s": 1e9, "Hz": 1, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9,
    },
    "energy in pJ": {"pJ": 1, "fJ": 1e-3, "nJ": 1e3, "uJ": 1e6},
    "area in mm2": {"mm2": 1, "mm^2": 1, "um2": 1e-6, "um^2": 1e-6},
    "power in mW": {"mW": 1, "uW": 1e-3, "nW": 1e-6, "W": 1e3},
    "node in nm": {"nm": 1, "um": 1e3},
    "bandwidth in bytes per cycle": {"B/cycle": 1, "bytes/cycle": 1, "bit/cycle": 0.125, "bits/cycle": 0.125},
    "rate in bytes per second": {
        "B/s": 1, "kB/s": 1e3, "MB/s": 1e6, "GB/s": 1e9, "TB/s": 1e12,
        "KiB/s": 1024, "MiB/s": 1024**2, "GiB/s": 1024**3, "Mbit/s": 1e6 / 8, "Gbit/s": 1e9 / 8,
    },
    "rate in operations per second": {
        "OP/s": 1, "kOP/s": 1e3, "MOP/s": 1e6, "GOP/s": 1e9, "TOP/s": 1e12,
        "FLOP/s": 1, "MFLOP/s": 1e6, "GFLOP/s": 1e9, "TFLOP/s": 1e12,
    },
    "time in seconds": {"s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9},
    # A month has 30 days.
    "time since programming in seconds": {
        "s": 1, "min": 60, "h": 3600, "hour": 3600, "hours": 3600, "d": 86400, "day": 86400, "days": 86400,
        "week": 604800, "weeks": 604800, "month": 2592000, "months": 2592000, "year": 31536000, "years": 31536000,
    },
    "voltage in V": {"V": 1, "mV": 1e-3},
    "conductance in uS": {"uS": 1, "nS": 1e-3, "mS": 1e3, "S": 1e6},
    "resistance in ohm": {"ohm": 1, "kohm": 1e3, "Mohm": 1e6, "Gohm": 1e9},
    "capacitance in fF": {"fF": 1, "pF": 1e3, "aF": 1e-3},
    "area in F2": {"F2": 1, "F^2": 1},
    # Of whole networks.
    "network's energy in pJ": {"pJ": 1, "nJ": 1e3, "uJ": 1e6, "mJ": 1e9, "J": 1e12},
    "energy-delay product in Js": {
        "Js": 1, "J s": 1, "mJ s": 1e-3, "mJ ms": 1e-6, "uJ s": 1e-6, "uJ ms": 1e-9, "uJ us": 1e-12, "nJ us": 1e-15,
    },
}  # fmt: skip


def split_unit(value: object) -> tuple[float, str]:
    """A number and the unit behind it ("" for none); raises ValueError for anything else."""
    match = _NUMBER.fullmatch(str(value)) if type(value) in (int, float, str) else None
    if not match:
        raise ValueError(f"must be a number, or text with a unit (got {value!r})")
    number = float(match[1].replace("_", ""))
    if not math.isfinite(number):
        raise ValueError(f"must be finite (got {value!r})")
    return number, match[2] or ""


def quantity(value: object, kind: str, *more: str) -> tuple[float, str]:
    """A number in the unit of one of the kinds, and the kind that its unit belongs to.

    Plain numbers are in the first kind's first unit. Raises ValueError with what was expected.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"must be a {kind}, as a number or text with a unit")
    if isinstance(value, int | float):
        number, unit, found = float(value), "", kind
    else:
        match = _NUMBER.fullmatch(value)
        if not match:
            raise ValueError(f"must be a {kind}, as a number or text with a unit")
        number, unit = float(match[1].replace("_", "")), match[2] or ""
        owner = next((k for k in (kind, *more) if unit in UNITS[k]), None) if unit else kind
        if owner is None:
            known = [name for k in (kind, *more) for name in UNITS[k]]
            raise ValueError(f"must be a {kind} with a unit of {', '.join(known)} (got {value!r})")
        found = owner
        number *= UNITS[found][unit] if unit else 1
    if not math.isfinite(number):
        raise ValueError("must be finite")
    return number, found
