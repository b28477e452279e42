"""Fields of documents that hold quantities: numbers, or text with a unit, between bounds that nothing real exceeds."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, ValidationInfo

from accelerators.units import UNITS, quantity, split_unit

FROM_TECHNOLOGY = "from technology"
#: Widths of number types that are not integers.
FLOAT_BITS = {"fp32": 32, "fp16": 16, "bf16": 16, "tf32": 19, "fp8_e4m3": 8, "fp8_e5m2": 8}


def _between(number: float, low: float, high: float) -> None:
    """Bounds are far outside what can be built: they keep nonsense from ending as infinities."""
    if number <= 0 < low:
        raise ValueError("must be > 0")
    if number < low:
        raise ValueError(f"must be >= {low:g}")
    if number > high:
        raise ValueError(f"must be <= {high:g}")


def measured(kind: str, low: float, high: float, *, whole: bool = False) -> BeforeValidator:
    """Reads a quantity between two bounds; notes in the validation context what text was understood as."""

    def convert(value: object, info: ValidationInfo) -> float:
        number, _ = quantity(value, kind)
        if 0 < number < low and not split_unit(value)[1]:
            # Nobody means 2.4 Hz.
            raise ValueError(f"must have a unit of {', '.join(UNITS[kind])}, or be >= {low:g}")
        _between(number, low, high)
        if whole and number != int(number):
            raise ValueError("must be a whole number")
        if isinstance(value, str) and info.context is not None and "kB" in value.replace("KB", "kB"):
            info.context.setdefault("notes", []).append(
                f"{info.field_name}: {value!r} read as {number:g} bytes (1 kB = 1024 bytes)"
            )
        return int(number) if whole else number

    return BeforeValidator(convert, json_schema_input_type=float | str)


def _or_technology(kind: str, high: float) -> BeforeValidator:
    """Reads a quantity from 0 to ``high``, or None for "from technology"."""

    def convert(value: object) -> float | None:
        if value == FROM_TECHNOLOGY:
            return None
        try:
            number, _ = quantity(value, kind)
        except ValueError as error:
            raise ValueError(f"{error}, or {FROM_TECHNOLOGY!r}") from None
        _between(number, 0.0, high)
        return number

    return BeforeValidator(convert, json_schema_input_type=float | str)


def _rate(value: object) -> tuple[float, bool]:
    """A bandwidth as (number, whether it is per second)."""
    number, kind = quantity(value, "bandwidth in bytes per cycle", "rate in bytes per second")
    _between(number, 1.0 if kind.startswith("rate") else 1e-6, 1e18 if kind.startswith("rate") else 1e9)
    return number, kind.startswith("rate")


def _number_type(value: object) -> object:
    if (
        isinstance(value, str)
        and value not in FLOAT_BITS
        and not re.fullmatch(r"u?int([1-9]|[1-5][0-9]|6[0-4])", value)
    ):
        raise ValueError(f"must be int1 to int64 or one of {', '.join(FLOAT_BITS)}")
    return value


def type_bits(name: str) -> int:
    """Width of a number type such as int8 or bf16."""
    return FLOAT_BITS[name] if name in FLOAT_BITS else int(name.lstrip("uint"))


Capacity = Annotated[float, measured("capacity in bytes", 0.125, 2.0**50)]
Width = Annotated[int, measured("width in bits", 1, 2**20, whole=True)]
Clock = Annotated[float, measured("clock in Hz", 1e3, 1e12)]
Node = Annotated[float, measured("node in nm", 0.1, 1e5)]
AccessEnergy = Annotated[float, measured("energy in pJ", 0, 1e12)]
Energy = Annotated[float | None, _or_technology("energy in pJ", 1e12)]
Area = Annotated[float | None, _or_technology("area in mm2", 1e9)]
Leakage = Annotated[float | None, _or_technology("power in mW", 1e9)]
Rate = Annotated[tuple[float, bool], BeforeValidator(_rate, json_schema_input_type=float | str)]
#: Of budgets and processors.
AreaLimit = Annotated[float, measured("area in mm2", 0, 1e9)]
Power = Annotated[float, measured("power in mW", 0, 1e12)]
NumberType = Annotated[str, BeforeValidator(_number_type, json_schema_input_type=str)]
