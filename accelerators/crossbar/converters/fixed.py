"""A converter whose figures are known: measured, published, or from a datasheet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from accelerators.crossbar.converters._base import Conversion, Readout, every_cycle


@dataclass(frozen=True)
class Fixed:
    """Energy, time and area at one resolution. At others, energy and area go as 2^b and time as b.

    Successive approximation takes a step per bit; its capacitors double with every bit.
    """

    sums_cycles: ClassVar[bool] = False

    energy_pj: float
    time_s: float
    area_um2: float
    bits: int

    @property
    def text(self) -> str:
        """The model in words."""
        return f"given converter ({self.energy_pj:g} pJ, {self.time_s * 1e9:g} ns at {self.bits} bit)"

    def conversions(self, readout: Readout) -> tuple[Conversion, ...]:
        """See :class:`Converter`."""
        scaled = 2.0 ** (readout.bits - self.bits)
        return every_cycle(readout, self.energy_pj * scaled, self.time_s * readout.bits / self.bits)

    def area_mm2(self, readout: Readout) -> float:
        """See :class:`Converter`."""
        return self.area_um2 * 2.0 ** (readout.bits - self.bits) * 1e-6
