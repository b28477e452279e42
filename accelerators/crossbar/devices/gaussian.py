"""Plain Gaussian devices: noise in parts of g_max, and a power law for the drift. Without noise they are ideal."""

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
    positive,
    scattered,
)


@dataclass(frozen=True)
class Gaussian:
    """Noise of the same strength for all conductances, by default none at all.

    ``programming_sigma`` and ``read_sigma`` are standard deviations in parts of g_max. Conductances follow
    G(0) ((t + t0) / t0)^-nu with nu drawn per device from a normal distribution; negative exponents are growth.
    """

    g_max_usiemens: float = 25.0
    programming_sigma: float = 0.0
    read_sigma: float = 0.0
    drift_mean: float = 0.0
    drift_std: float = 0.0
    t0_s: float = 1.0

    def __post_init__(self) -> None:
        positive(g_max_usiemens=self.g_max_usiemens, t0_s=self.t0_s)
        not_negative(programming_sigma=self.programming_sigma, read_sigma=self.read_sigma, drift_std=self.drift_std)
        if not math.isfinite(self.drift_mean):
            raise ValueError(f"drift_mean must be a number (got {self.drift_mean!r})")

    @property
    def known_until_s(self) -> float:
        """See :class:`Device`: power laws have no end."""
        return math.inf

    def program(self, target_usiemens: ArrayLike, random: np.random.Generator) -> State:
        """See :class:`Device`."""
        target = checked_target(target_usiemens, self.g_max_usiemens)
        programmed = scattered(target, self.programming_sigma * self.g_max_usiemens, random)
        exponent = self.drift_mean + self.drift_std * random.standard_normal(target.shape)
        return State(target, programmed, exponent)

    def drifted(self, state: State, time_s: float) -> Floats:
        """See :class:`Device`."""
        time = checked_time(time_s)
        return state.programmed_usiemens * np.exp(-state.drift_exponent * math.log1p(time / self.t0_s))

    def read(self, state: State, time_s: float, random: np.random.Generator) -> Floats:
        """See :class:`Device`."""
        return scattered(self.drifted(state, time_s), self.read_sigma * self.g_max_usiemens, random)
