"""Statistics of many draws, with their standard errors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from accelerators.crossbar.devices._base import Device, Floats


class Moments(NamedTuple):
    """Sample moments; ``kurtosis`` is the fourth one over the squared variance (3 for a normal distribution)."""

    size: int
    mean: float
    std: float
    kurtosis: float

    @classmethod
    def of(cls, values: Floats) -> Moments:
        """Moments of a sample; the kurtosis of a constant is taken as 1."""
        mean = float(values.mean())
        squares = (values - mean) ** 2
        variance = float(squares.mean())
        kurtosis = float(((squares / variance) ** 2).mean()) if variance > 0 else 1.0
        return cls(values.size, mean, variance**0.5, kurtosis)

    def mean_error(self, other: int | None = None) -> float:
        """Standard error of the mean, or of the difference to the mean of another sample of ``other`` draws."""
        return float(self.std * np.sqrt(1 / self.size + (1 / other if other else 0.0)))

    def std_error(self, other: int | None = None) -> float:
        """Likewise of the standard deviation: std / 2 sqrt((kurtosis - 1) / n), std / sqrt(2 n) for a normal one."""
        return 0.5 * float(np.sqrt(max(0.0, self.kurtosis - 1))) * self.mean_error(other)


class Draws(NamedTuple):
    """Devices that were all programmed to one target, (n,) each."""

    programmed_usiemens: Floats
    drift_exponent: Floats
    #: Without read noise, and with it, by time.
    drifted_usiemens: dict[float, Floats]
    read_usiemens: dict[float, Floats]


def draws(
    device: Device, target_usiemens: float, times_s: tuple[float, ...], count: int, random: np.random.Generator
) -> Draws:
    """``count`` devices programmed to a target in uS, and read at some times in s."""
    state = device.program(np.full(count, float(target_usiemens)), random)
    drifted = {time: device.drifted(state, time) for time in times_s}
    read = {time: device.read(state, time, random) for time in times_s}
    return Draws(state.programmed_usiemens, state.drift_exponent, drifted, read)
