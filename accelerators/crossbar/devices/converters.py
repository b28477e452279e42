"""Converters around a tile: DACs at its rows, ADCs at its columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accelerators.crossbar.devices._base import Floats, not_negative, positive


@dataclass(frozen=True)
class Quantiser:
    """A converter of ``bits`` between -bound and +bound; without bits it is ideal, and has no bound either.

    Steps are 2 bound / (2^bits - 2), halves go to the even step, and the result is cut off at the bound (aihwkit's
    uniform quantiser). There is a step at 0, so that one code stays unused.
    """

    bits: int | None
    bound: float

    def __post_init__(self) -> None:
        if self.bits is not None and not (isinstance(self.bits, int) and 2 <= self.bits <= 32):
            raise ValueError(f"bits must be an integer in 2..32, or None for an ideal converter (got {self.bits!r})")
        positive(bound=self.bound)

    @property
    def step(self) -> float:
        """Width of a step; 0 for an ideal converter."""
        return 0.0 if self.bits is None else 2 * self.bound / (2**self.bits - 2)

    @property
    def most(self) -> int:
        """The largest code, in steps; the least one is its negative."""
        return 0 if self.bits is None else 2 ** (self.bits - 1) - 1

    def __call__(self, values: Floats, unit: Floats | float = 1.0) -> Floats:
        """What the converter makes of values; bound and step are in ``unit``, positive numbers that broadcast."""
        if self.bits is None:
            return values
        step = self.step * np.asarray(unit)
        return np.clip(np.round(values / step), -self.most, self.most) * step


@dataclass(frozen=True)
class Converters:
    """DAC, ADC and the noise between them, in units in which the largest input and the largest weight are 1.

    Defaults are aihwkit's: 7 bits to +-1 in, 9 bits to +-12 out, noise of 0.06 at the output before the ADC.
    """

    dac_bits: int | None = 7
    adc_bits: int | None = 9
    input_bound: float = 1.0
    output_bound: float = 12.0
    output_noise: float = 0.06

    def __post_init__(self) -> None:
        not_negative(output_noise=self.output_noise)
        for converter in ("dac", "adc"):
            try:
                getattr(self, converter)
            except ValueError as error:
                raise ValueError(f"{converter}: {error}") from None

    @property
    def dac(self) -> Quantiser:
        """The converter of inputs."""
        return Quantiser(self.dac_bits, self.input_bound)

    @property
    def adc(self) -> Quantiser:
        """The converter of outputs."""
        return Quantiser(self.adc_bits, self.output_bound)


IDEAL = Converters(dac_bits=None, adc_bits=None, output_noise=0.0)
