"""Converters that sum the bits of an input as charge before they convert, as NeuRRAM's neurons do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from accelerators.crossbar.converters._base import Conversion, Readout


@dataclass(frozen=True)
class Integrating:
    """Charge integration: bit k of an input is sampled once and integrated 2^k times, then the sum is converted bit by
    bit. Inputs of more than ``phase_bits`` bits are split into two phases of about half the bits; the later phase has
    as many output bits less as the earlier one has input bits.

    ``sample``, ``integrate``, ``step`` are energies (pJ) and times (s): of sampling an input bit (the time is that
    between phases, in which it happens), of one integration, of one bit of conversion. ``add_pj`` is the digital part
    of a step at ``bits`` bits; it doubles with every bit. Wan et al., Nature 608 (2022) 504.
    """

    sums_cycles: ClassVar[bool] = True

    sample: tuple[float, float]
    integrate: tuple[float, float]
    step: tuple[float, float]
    add_pj: float
    area_um2: float
    bits: int
    phase_bits: int

    @property
    def text(self) -> str:
        """The model in words."""
        return f"integrating neuron ({self.integrate[0]:g} pJ per integration, {self.step[0]:g} pJ per bit)"

    def conversions(self, readout: Readout) -> tuple[Conversion, ...]:
        """See :class:`Converter`."""
        whole = readout.input_bits
        split = whole > self.phase_bits
        phases = (math.ceil(whole / 2), whole // 2) if split else (whole,)
        found = []
        left = readout.bits
        add_pj = self.add_pj * 2.0 ** (readout.bits - self.bits)
        for input_bits in phases:
            integrations, steps = 2**input_bits - 1, max(left, 0)
            energy = input_bits * self.sample[0] + integrations * self.integrate[0] + steps * (self.step[0] + add_pj)
            time = self.sample[1] + integrations * self.integrate[1] + steps * self.step[1]
            found.append(Conversion(input_bits, energy, time, steps))
            left -= input_bits
        return tuple(found)

    def area_mm2(self, readout: Readout) -> float:
        """See :class:`Converter`."""
        return self.area_um2 * 1e-6
