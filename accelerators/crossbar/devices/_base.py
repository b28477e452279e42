"""The protocol of devices, and the checks that all of them share."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class State(NamedTuple):
    """Devices after programming, arrays of one shape: what stays the same until they are programmed again."""

    target_usiemens: Floats
    programmed_usiemens: Floats
    #: Exponents nu of G(t) = G(0) ((t + t0) / t0)^-nu; zeros for devices that do not drift.
    drift_exponent: Floats


@runtime_checkable
class Device(Protocol):
    """A kind of memory device.

    ``program`` draws what programming fixes, ``read`` what differs from one read-out to the next. All randomness comes
    from the Generator that is passed in.
    """

    @property
    def g_max_usiemens(self) -> float:
        """The conductance that stands for the largest weight."""

    @property
    def known_until_s(self) -> float:
        """The last time after programming for which there is a model; may be infinite."""

    def program(self, target_usiemens: ArrayLike, random: np.random.Generator) -> State:
        """Devices that were programmed to the targets; ValueError for a target outside 0..``g_max_usiemens``."""

    def drifted(self, state: State, time_s: float) -> Floats:
        """Mean conductances at a time after programming, without read noise; ValueError for a time out of range."""

    def read(self, state: State, time_s: float, random: np.random.Generator) -> Floats:
        """Conductances that a read-out finds at a time after programming; ValueError for a time out of range."""


def checked_target(target_usiemens: ArrayLike, g_max_usiemens: float) -> Floats:
    """Targets as an array; ValueError for one that is no number in 0..g_max."""
    target = np.asarray(target_usiemens, np.float64)
    bad = ~((target >= 0) & (target <= g_max_usiemens))
    if bad.any():
        raise ValueError(f"target conductance must be in 0..{g_max_usiemens:g} uS (got {target[bad].flat[0]:g})")
    return target


def checked_weights(weights: ArrayLike) -> Floats:
    """Weights as [G, K, C]; ValueError for other shapes than that or [K, C], and for a weight that is no number."""
    given = np.asarray(weights, np.float64)
    if given.ndim not in (2, 3) or not given.size:
        raise ValueError(f"weights must be [outputs, inputs] or [groups, outputs, inputs] (got shape {given.shape})")
    if not np.isfinite(given).all():
        bad = tuple(int(i) for i in np.argwhere(~np.isfinite(given))[0])
        raise ValueError(f"weights must be finite (got {given[bad]} at {list(bad)})")
    return given if given.ndim == 3 else given[None]


def checked_time(time_s: float) -> float:
    """The time as a float; ValueError unless it is a number >= 0."""
    if not 0 <= time_s < math.inf:
        raise ValueError(f"time after programming must be >= 0 s (got {time_s!r})")
    return float(time_s)


def scattered(mean: Floats, sigma: Floats | float, random: np.random.Generator) -> Floats:
    """Normal draws, cut off at 0: there are no negative conductances."""
    noise = random.standard_normal(mean.shape)
    noise *= sigma
    noise += mean
    return np.maximum(noise, 0.0, out=noise)


def polynomial(x: Floats, coefficients: tuple[float, ...]) -> Floats:
    """sum_i c_i x^i."""
    result = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result *= x
        result += coefficient
    return result


def positive(**values: float) -> None:
    """ValueError, naming the value, unless all are positive numbers."""
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be > 0 (got {value!r})")


def not_negative(**values: float) -> None:
    """ValueError, naming the value, unless all are numbers >= 0."""
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be >= 0 (got {value!r})")
