"""What a model of converters answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol


@dataclass(frozen=True)
class Readout:
    """What is to be converted: the resolution, the bits of an input and those applied per cycle, and the surroundings.

    ``rows`` are those that load a column, ``density`` the mean level of their cells.
    """

    bits: int
    input_bits: int
    bits_per_cycle: int
    rows: int
    node_nm: float
    supply_v: float
    density: float = 0.5


@dataclass(frozen=True)
class Conversion:
    """One conversion of one column: the input bits that it has summed up, its energy, its time, its resolution."""

    input_bits: int
    energy_pj: float
    time_s: float
    bits: int


class Converter(Protocol):
    """A model of converters: frozen dataclasses with these members, so that they compare and can be varied.

    ``sums_cycles``: whether the cycles of an input are summed up before they are converted.
    """

    sums_cycles: ClassVar[bool]

    @property
    def text(self) -> str:
        """The model and its parameters in words, for results."""

    def conversions(self, readout: Readout) -> tuple[Conversion, ...]:
        """The conversions of one column in one product, in order: their input bits add up to those of an input."""

    def area_mm2(self, readout: Readout) -> float:
        """Area of one converter."""


def every_cycle(readout: Readout, energy_pj: float, time_s: float) -> tuple[Conversion, ...]:
    """A conversion for every cycle of an input."""
    full, rest = divmod(readout.input_bits, readout.bits_per_cycle)
    parts = [readout.bits_per_cycle] * full + ([rest] if rest else [])
    return tuple(Conversion(bits, energy_pj, time_s, readout.bits) for bits in parts)
