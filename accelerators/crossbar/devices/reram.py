"""Resistive RAM after Wan et al. (Nature 2022): how far conductances are from their targets, at three times.

The deviations are polynomials of G_target / g_max that IBM's aihwkit 1.1.0 (MIT, ``ReRamWan2022NoiseModel``) fitted to
the published figures for 1 s, 1 day and 2 days, in uS at g_max = 40 uS. They scale with g_max here, as is meant there:
in aihwkit the reference goes to an attribute that nothing reads, so it does not scale them.

What is published are the distributions at each time, not how a device's deviations at two times hang together: every
read-out draws them anew. Between the times the standard deviation is interpolated linearly over the logarithm of time,
before 1 s it is that of 1 s, and beyond 2 days there is none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from accelerators.crossbar.devices._base import (
    Floats,
    State,
    checked_target,
    checked_time,
    not_negative,
    polynomial,
    positive,
    scattered,
)

DAY_S = 24 * 3600.0


@dataclass(frozen=True)
class ReRam:
    """A resistive device; ``deviations`` are (time in s, coefficients in uS at ``reference_usiemens``), in order."""

    g_max_usiemens: float = 40.0
    reference_usiemens: float = 40.0
    deviations: tuple[tuple[float, tuple[float, ...]], ...] = (
        (1.0, (0.348, 16.030, -43.853, 45.393, -16.815)),
        (DAY_S, (0.701, 22.086, -50.773, 47.095, -16.458)),
        (2 * DAY_S, (0.782, 20.274, -43.507, 37.062, -11.934)),
    )
    scale: float = 1.0

    def __post_init__(self) -> None:
        positive(g_max_usiemens=self.g_max_usiemens, reference_usiemens=self.reference_usiemens)
        not_negative(scale=self.scale)
        times = [time for time, _ in self.deviations]
        if not times or times != sorted(set(times)) or times[0] <= 0:
            raise ValueError(f"deviations must be given for increasing times > 0 s (got {times})")

    @property
    def known_until_s(self) -> float:
        """See :class:`Device`."""
        return self.deviations[-1][0]

    def sigma(self, target_usiemens: Floats, time_s: float) -> Floats:
        """Standard deviation from the target before the cut-off at 0, in uS; ValueError beyond the last time."""
        time = checked_time(time_s)
        times = [known for known, _ in self.deviations]
        if time > self.known_until_s:
            raise ValueError(
                f"time after programming must be at most {times[-1]:g} s: nothing is known beyond (got {time:g})"
            )
        x = target_usiemens / self.g_max_usiemens
        scale = self.scale * self.g_max_usiemens / self.reference_usiemens
        after = next(i for i, known in enumerate(times) if time <= known)
        sigma = polynomial(x, self.deviations[after][1])
        if after and time < times[after]:
            part = math.log(time / times[after - 1]) / math.log(times[after] / times[after - 1])
            sigma = part * sigma + (1 - part) * polynomial(x, self.deviations[after - 1][1])
        return np.maximum(sigma, 0.0) * scale

    def program(self, target_usiemens: ArrayLike, random: np.random.Generator) -> State:
        """See :class:`Device`."""
        target = checked_target(target_usiemens, self.g_max_usiemens)
        return State(target, scattered(target, self.sigma(target, 0.0), random), np.zeros_like(target))

    def drifted(self, state: State, time_s: float) -> Floats:
        """The targets: these devices scatter, but do not drift."""
        self.sigma(state.target_usiemens, time_s)
        return state.target_usiemens

    def read(self, state: State, time_s: float, random: np.random.Generator) -> Floats:
        """See :class:`Device`."""
        return scattered(state.target_usiemens, self.sigma(state.target_usiemens, time_s), random)
