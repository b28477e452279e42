"""Phase-change memory: a statistical model fitted to measured devices (Nandakumar et al., ICECS 2019).

Formulas and constants are those of IBM's aihwkit 1.1.0 (MIT): ``PCMLikeNoiseModel`` for the defaults of
:class:`PhaseChange`, ``HermesNoiseModel`` for :func:`hermes`. With x = G / g_max:

* programming: G_p = max(0, G_target + sigma_p(x_target) N(0,1)), where sigma_p scales with g_max;
* drift: G_d = G_p ((t + t0) / t0)^-nu with nu = |nu_mean(x_target) + nu_std(x_target) N(0,1)|, once per device;
* read-out (1/f noise), anew for every read-out: G = max(0, G_d + sigma_r N(0,1)) with
  sigma_r = G_d Q(x_p) sqrt(ln((t + t0 + t_read) / 2 t_read)). Q is a function of the programmed conductance, its
  amplitude is that of the drifted one.
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

#: Relative conductances below this count as this much where a logarithm is taken.
_LEAST = 1e-7


@dataclass(frozen=True)
class LogCurve:
    """clip(slope ln x + offset, low, high) below ``knee``, and a polynomial of x from there on."""

    slope: float
    offset: float
    low: float
    high: float
    knee: float = math.inf
    coefficients: tuple[float, ...] = ()

    def __call__(self, x: Floats) -> Floats:
        """Values at relative conductances x."""
        below = np.log(np.maximum(x, _LEAST))
        below *= self.slope
        below += self.offset
        np.clip(below, self.low, self.high, out=below)
        return np.where(x < self.knee, below, polynomial(x, self.coefficients)) if self.coefficients else below


@dataclass(frozen=True)
class PowerCurve:
    """min(high, scale x^-exponent)."""

    scale: float
    exponent: float
    high: float

    def __call__(self, x: Floats) -> Floats:
        """Values at relative conductances x."""
        # Where the power is below 1e-3 the quotient is far above any sensible bound.
        return np.minimum(self.high, self.scale / np.maximum(x**self.exponent, 1e-3))


@dataclass(frozen=True)
class PhaseChange:
    """A phase-change device, by default aihwkit's; see the module for the formulas.

    ``programming_sigma_usiemens`` are the coefficients of a polynomial of x, valid at ``reference_usiemens`` and scaled
    to g_max. The three noise scales multiply standard deviations (programming, reading) and the exponent (drift).
    """

    g_max_usiemens: float = 25.0
    programming_sigma_usiemens: tuple[float, ...] = (0.26348, 1.9650, -1.1731)
    reference_usiemens: float = 25.0
    drift_mean: LogCurve = LogCurve(-0.0155, 0.0244, 0.049, 0.1)
    drift_std: LogCurve = LogCurve(-0.0125, -0.0059, 0.008, 0.045)
    read_noise: LogCurve | PowerCurve = PowerCurve(0.0088, 0.65, 0.2)
    t0_s: float = 20.0
    t_read_s: float = 250e-9
    programming_scale: float = 1.0
    drift_scale: float = 1.0
    read_scale: float = 1.0

    def __post_init__(self) -> None:
        positive(
            g_max_usiemens=self.g_max_usiemens,
            reference_usiemens=self.reference_usiemens,
            t0_s=self.t0_s,
            t_read_s=self.t_read_s,
        )
        not_negative(programming_scale=self.programming_scale, drift_scale=self.drift_scale, read_scale=self.read_scale)
        if not self.programming_sigma_usiemens:
            raise ValueError("programming_sigma_usiemens must have a coefficient (got none)")

    @property
    def known_until_s(self) -> float:
        """See :class:`Device`: power laws have no end."""
        return math.inf

    def programming_sigma(self, target_usiemens: Floats) -> Floats:
        """Standard deviation of programming before the cut-off at 0, in uS."""
        sigma = polynomial(target_usiemens / self.g_max_usiemens, self.programming_sigma_usiemens)
        sigma *= self.programming_scale * self.g_max_usiemens / self.reference_usiemens
        return sigma

    def program(self, target_usiemens: ArrayLike, random: np.random.Generator) -> State:
        """See :class:`Device`."""
        target = checked_target(target_usiemens, self.g_max_usiemens)
        programmed = scattered(target, self.programming_sigma(target), random)
        x = target / self.g_max_usiemens
        exponent = random.standard_normal(target.shape)
        exponent *= self.drift_std(x)
        exponent += self.drift_mean(x)
        np.abs(exponent, out=exponent)
        exponent *= self.drift_scale
        return State(target, programmed, exponent)

    def drifted(self, state: State, time_s: float) -> Floats:
        """See :class:`Device`."""
        time = checked_time(time_s)
        return state.programmed_usiemens * np.exp(-state.drift_exponent * math.log1p(time / self.t0_s))

    def read(self, state: State, time_s: float, random: np.random.Generator) -> Floats:
        """See :class:`Device`."""
        drifted = self.drifted(state, time_s)
        if self.read_scale == 0:
            return drifted
        growth = math.sqrt(math.log((time_s + self.t0_s + self.t_read_s) / (2 * self.t_read_s)))
        sigma = self.read_noise(state.programmed_usiemens / self.g_max_usiemens)
        sigma *= drifted
        sigma *= self.read_scale * growth
        return scattered(drifted, sigma, random)


def hermes(devices: int = 2) -> PhaseChange:
    """The devices of IBM's HERMES chip (Le Gallo et al., Nature Electronics 2023), 1 or 2 per sign of a weight.

    Constants of aihwkit's ``HermesNoiseModel``; with two devices g_max is that of both together. Raises ValueError for
    another number of devices.
    """
    below, above = -0.0387, (0.0736, -0.0126, -0.0436)
    drift_mean = LogCurve(below, -0.0182, 0.0720, 0.13, knee=0.0945, coefficients=above)
    if devices == 1:
        return PhaseChange(
            g_max_usiemens=10.35,
            programming_sigma_usiemens=(0.15781817, 2.32443916, -2.16310839, 0.68841818),
            reference_usiemens=10.35,
            drift_mean=drift_mean,
            drift_std=LogCurve(-0.0120, -0.0023, 0.0124, 0.04, knee=0.3039, coefficients=(0.0104, 0.0116, -0.0165)),
            read_noise=LogCurve(
                -0.0078, 0.0038, 0.0179, 0.04, knee=0.1591, coefficients=(0.0088, 0.0768, -0.1352, 0.0664)
            ),
            t0_s=200.0,
            t_read_s=512e-9,
        )
    if devices == 2:
        return PhaseChange(
            g_max_usiemens=20.7,
            programming_sigma_usiemens=(0.16603222, 4.71806468, -8.48101252, 4.68961419),
            reference_usiemens=20.7,
            drift_mean=drift_mean,
            drift_std=LogCurve(-0.0117, -0.0057, 0.0091, 0.04, knee=0.3055, coefficients=(0.0073, 0.0093, -0.0118)),
            read_noise=LogCurve(
                -0.0117, -0.0069, 0.015, 0.04, knee=0.16, coefficients=(0.0123, 0.0211, -0.0280, 0.0069)
            ),
            t0_s=300.0,
            t_read_s=512e-9,
        )
    raise ValueError(f"devices must be 1 or 2 (got {devices!r})")
