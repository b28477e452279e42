"""The bound that published converters draw: what the best of Murmann's survey need."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from accelerators.crossbar.converters._base import Conversion, Readout, every_cycle

#: Energy figure of merit in dB: constant below the corner, falling with the rate above.
_BEST_FOM_DB = 180.14
_FALLING_FOM_DB = (302.739, 6.46079)
#: A converter of a square centimetre: the area is an exponential of the energy, and nonsense long before it overflows.
_MOST_LOG_UM2 = math.log(1e8)


@dataclass(frozen=True)
class Survey:
    """Murmann's survey as fitted in Accelergy's ADC plug-in (MIT): SNDR = 6.02 b + 1.76 dB,
    FOM = min(180.14, 302.739 - 6.46079 ln(rate)) dB, energy = 0.5 x 10^((SNDR - FOM) / 10) J.

    A best case, the same at all nodes. So it has a floor per bit (switched capacitance; 0 for none) and a calibration
    factor: CiMLoop's macros need 0.275 (Jia, 65 nm), 3.15 (Wang, 22 nm) and 3.5 (Sinangil, 7 nm). Area by the same
    plug-in: ln(um2) = 4.8506 + 0.06666 ln(rate) + 0.79732 ln(nm) - 0.13437 b + 0.42366 pJ; whether energy enters in pJ
    is unverified there, and taken so here.
    """

    sums_cycles: ClassVar[bool] = False

    rate_hz: float
    factor: float = 1.0
    floor_pj_per_bit: float = 0.0

    @property
    def text(self) -> str:
        """The model in words."""
        floor = f", at least {self.floor_pj_per_bit * 1e3:g} fJ per bit" if self.floor_pj_per_bit else ""
        return f"survey bound x {self.factor:g} at {self.rate_hz / 1e6:g} MS/s{floor}"

    def _energy_pj(self, bits: int) -> float:
        constant, slope = _FALLING_FOM_DB
        fom_db = min(_BEST_FOM_DB, constant - slope * math.log(self.rate_hz))
        sndr_db = 6.02 * bits + 1.76
        return 0.5 * 10 ** ((sndr_db - fom_db) / 10) * 1e12

    def conversions(self, readout: Readout) -> tuple[Conversion, ...]:
        """See :class:`Converter`."""
        energy = max(self.factor * self._energy_pj(readout.bits), self.floor_pj_per_bit * readout.bits)
        return every_cycle(readout, energy, 1 / self.rate_hz)

    def area_mm2(self, readout: Readout) -> float:
        """See :class:`Converter`."""
        return math.exp(self._log_um2(readout.bits, readout.node_nm)) * 1e-6

    def beyond(self, bits: int, node_nm: float) -> str | None:
        """Why the survey says nothing of so many bits at this rate, if it does not."""
        if self._log_um2(bits, node_nm) <= _MOST_LOG_UM2:
            return None
        energy = self._energy_pj(bits)
        return f"{bits} bits at {self.rate_hz / 1e6:g} MS/s would take {energy:.3g} pJ, far beyond the survey"

    def _log_um2(self, bits: int, node_nm: float) -> float:
        shape = 4.8506 + 0.06666 * math.log(self.rate_hz) + 0.79732 * math.log(node_nm)
        return shape - 0.13437 * bits + 0.42366 * self._energy_pj(bits)
