"""Energy, area and leakage of adders, multipliers and multiply-accumulate units.

Power laws through Horowitz' published points (ISSCC 2014, 45 nm, 0.9 V): in the width for integers, in the significand
(with its hidden bit) for floats. Aladdin's 40 nm units are 1 to 19 times heavier; the two families must not be mixed,
so only their leakage per area is used here, as an assumption, at every node.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from accelerators.technology import _base
from accelerators.technology._base import TechnologyError, UnitCost
from accelerators.technology._tables import citation, rows
from accelerators.technology.scaling import logic_note, scale

#: Significand bits, hidden one included, of the float formats: IEEE 754, bfloat16, TensorFloat-32, OCP 8-bit floats.
FLOAT_SIGNIFICANDS = {"fp32": 24, "tf32": 11, "fp16": 11, "bf16": 8, "fp8_e4m3": 4, "fp8_e5m2": 3}

_Family = Literal["int", "fp"]
_Operation = Literal["mult", "add"]

#: Widest integer a law is offered for. Both start at 2 bit; the published points are 8 and 32 bit.
_WIDEST = {"mult": 32, "add": 64}
_NARROWEST = 2

_MODEL_NODE_NM = 45.0


@dataclass(frozen=True)
class _Law:
    """energy_pj and area_um2 at 45 nm as coefficient x size ^ exponent, and leakage per area at 40 nm."""

    energy: tuple[float, float]
    area: tuple[float, float]
    leakage_mw_per_um2: float
    source: str


@cache
def _law(family: _Family, operation: _Operation) -> _Law:
    """The power law that meets both published points of a unit exactly."""
    unit = f"{family}_{operation}"
    small, large = (row for row in rows("arithmetic") if row["unit"] == unit)
    (leak,) = (row for row in rows("logic_40nm") if row["unit"] == unit)

    def through(column: str) -> tuple[float, float]:
        span = float(large["size_bits"]) / float(small["size_bits"])
        exponent = math.log(float(large[column]) / float(small[column])) / math.log(span)
        return float(small[column]) / float(small["size_bits"]) ** exponent, exponent

    return _Law(
        energy=through("energy_pj"),
        area=through("area_um2"),
        leakage_mw_per_um2=float(leak["leakage_mw"]) / float(leak["area_um2"]),
        source=f"power law through {citation(small['source'])}; leakage per area of {citation(leak['source'])}",
    )


def _number_type(name: str, text: str, operation: _Operation) -> tuple[_Family, int]:
    """Family and size in bits (width or significand) of a type name."""
    if isinstance(text, str):
        if text in FLOAT_SIGNIFICANDS:
            return "fp", FLOAT_SIGNIFICANDS[text]
        match = re.fullmatch(r"u?int([1-9][0-9]?)", text)
        if match and _NARROWEST <= int(match[1]) <= _WIDEST[operation]:
            return "int", int(match[1])
    covered = f"int{_NARROWEST}..int{_WIDEST[operation]} (or uint) or one of {', '.join(FLOAT_SIGNIFICANDS)}"
    raise TechnologyError(f"{name}: must be {covered} (got {text!r})")


def _unit(family: _Family, operation: _Operation, size: float, label: str, node_nm: float) -> UnitCost:
    """A unit of the given size at a node; leakage follows the area."""
    node = _base.node(node_nm)
    law = _law(family, operation)
    area_um2 = law.area[0] * size ** law.area[1] * scale("area", _MODEL_NODE_NM, node)
    return UnitCost(
        energy_pj=law.energy[0] * size ** law.energy[1] * scale("energy", _MODEL_NODE_NM, node),
        area_mm2=area_um2 * 1e-6,
        leakage_mw=area_um2 * law.leakage_mw_per_um2,
        source=f"{label}: {law.source}{logic_note(_MODEL_NODE_NM, node)}",
    )


def adder(number_type: str, node_nm: float) -> UnitCost:
    """One addition. ``number_type``: "int2" .. "int64", "uint..." (the same), or a float of ``FLOAT_SIGNIFICANDS``.

    At 45 nm, for b bits or a significand of s bits: int 0.03 pJ (b/8)^0.868 and 36 um2 (b/8)^0.964, float 0.4 pJ
    (s/11)^1.039 and 1360 um2 (s/11)^1.440. At 16 bit the published 0.05 pJ is 9 % below the law. Trust bf16 and the
    8-bit floats to 30 %. Other nodes by :func:`scale`.

    Raises TechnologyError for other types and for nodes outside 7 to 180 nm. Source: Horowitz, ISSCC 2014.
    """
    family, size = _number_type("number_type", number_type, "add")
    return _unit(family, "add", size, f"{number_type} adder", node_nm)


def multiplier(number_type: str, node_nm: float, other_type: str | None = None) -> UnitCost:
    """One multiplication of ``number_type`` by ``other_type`` (by default the same).

    Types: "int2" .. "int32", "uint..." (the same), or floats of ``FLOAT_SIGNIFICANDS``; both of one family. At 45 nm:
    int 0.2 pJ (b/8)^1.977 and 282 um2 (b/8)^1.816, float 1.1 pJ (s/11)^1.555 and 1640 um2 (s/11)^1.982. An a x b
    multiplier adds up a x b partial-product cells, and the integer law is all but proportional to b x b; so the law is
    read at the geometric mean sqrt(a b) of the two sizes, which is exact for equal types, symmetric, and monotone.

    Raises TechnologyError for other types, an integer with a float, and nodes outside 7 to 180 nm.
    Source: Horowitz, ISSCC 2014.
    """
    other = number_type if other_type is None else other_type
    family, size = _number_type("number_type", number_type, "mult")
    other_family, other_size = _number_type("other_type", other, "mult")
    if family != other_family:
        rule = "must be integers both or floats both"
        raise TechnologyError(f"number_type, other_type: {rule} (got {number_type!r} and {other!r})")
    label = f"{number_type} multiplier" if other == number_type else f"{number_type} x {other} multiplier"
    return _unit(family, "mult", math.sqrt(size * other_size), label, node_nm)


def mac(weights: str, inputs: str, accumulator: str, node_nm: float) -> UnitCost:
    """One multiply-accumulate: ``weights`` x ``inputs`` added to ``accumulator``; types as in the two functions above.

    The sum of :func:`multiplier` and :func:`adder`: no operand or pipeline registers, no clock tree. At 45 nm: int8
    with int32 0.30 pJ, int16 with int32 0.887, fp16 with fp32 2.0, bf16 with fp32 1.57, fp32 4.6.

    Raises TechnologyError for uncovered types and nodes, and for an accumulator of another family than the product.
    """
    if _number_type("accumulator", accumulator, "add")[0] != _number_type("inputs", inputs, "mult")[0]:
        rule = "must be integers all or floats all"
        raise TechnologyError(f"inputs, accumulator: {rule} (got {inputs!r} and {accumulator!r})")
    product, total = multiplier(weights, node_nm, inputs), adder(accumulator, node_nm)
    return UnitCost(
        energy_pj=product.energy_pj + total.energy_pj,
        area_mm2=product.area_mm2 + total.area_mm2,
        leakage_mw=product.leakage_mw + total.leakage_mw,
        source=f"{accumulator} adder and {product.source}",
    )
