"""Converters of charge-domain SRAM macros."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from accelerators.crossbar.converters._base import Conversion, Readout, every_cycle

#: The node of the fit.
_NODE_NM = 28.0


@dataclass(frozen=True)
class SramAimc:
    """Fitted to three analog SRAM macros at 22 to 28 nm (KULeuven-MICAS/zigzag-imc @df34a6f, figures only):
    energy (100 fF b + 1 aF 4^b) V^2, area 10^(1.206 - 0.0369 b) 2^b um2 (none for one bit), time
    b (0.00653 rows + 0.640) ns.

    The fit weighs conversions with the share of cells that are not zero, and so does ``by_density`` (a charge converter
    draws what its column holds); without it every conversion counts in full. Energy and time hold at the nodes of the
    fit as they are; below 22 and above 28 nm energy goes with the node, area is linear in the node everywhere.
    """

    sums_cycles: ClassVar[bool] = False

    factor: float = 1.0
    by_density: bool = False

    @property
    def text(self) -> str:
        """The model in words."""
        return "SRAM-AIMC fit" + (f" x {self.factor:g}" if self.factor != 1 else "")

    def conversions(self, readout: Readout) -> tuple[Conversion, ...]:
        """See :class:`Converter`."""
        bits = readout.bits
        node = min(1.0, readout.node_nm / 22.0) * max(1.0, readout.node_nm / _NODE_NM)
        energy = self.factor * (0.1 * bits + 1e-6 * 4**bits) * readout.supply_v**2 * node
        if self.by_density:
            energy *= readout.density
        return every_cycle(readout, energy, bits * (0.00653 * readout.rows + 0.640) * 1e-9)

    def area_mm2(self, readout: Readout) -> float:
        """See :class:`Converter`."""
        if readout.bits == 1:
            return 0.0
        um2 = 10 ** (1.206 - 0.0369 * readout.bits) * 2**readout.bits
        return um2 * readout.node_nm / _NODE_NM * 1e-6
