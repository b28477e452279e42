"""What inputs and weights are assumed to be: distributions of their codes, and the means that energies need.

The energy of an array depends on the values that it multiplies. It is taken in mean field: inputs and weights are
independent, so the mean of their product is the product of their means. Distributions are named or given as
histograms over the codes; nothing else is assumed about the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

#: Full scale of the normal distributions, in standard deviations.
FULL_SCALE_SIGMAS = 3.0
#: Widest code of which a histogram is made.
MOST_BITS = 16
INPUTS = ("rectified_normal", "normal", "uniform")
WEIGHTS = ("normal", "uniform")

#: A name, or relative frequencies of the codes from the lowest to the highest.
Distribution = str | tuple[float, ...]


@dataclass(frozen=True)
class Values:
    """Distributions of inputs and weights.

    Inputs: "rectified_normal" (a normal distribution behind a ReLU: half are zero), "normal" or "uniform"; weights
    "normal" or "uniform"; normal distributions reach full scale at three sigma. Or histograms, one frequency per code:
    unsigned inputs have the codes 0 to 2^b - 1, signed inputs and weights -2^(b-1) to 2^(b-1) - 1.
    ``toggle_rate`` and ``weight_density`` take the place of what follows from the distributions: how often a bit of the
    inputs changes, and the share of weight bits that are one.
    """

    inputs: Distribution = "rectified_normal"
    weights: Distribution = "normal"
    toggle_rate: float | None = None
    weight_density: float | None = None

    @property
    def text(self) -> str:
        """The assumption in words."""
        inputs, weights = (
            value.replace("_", " ") if isinstance(value, str) else "histogram" for value in (self.inputs, self.weights)
        )
        said = f"inputs {inputs}, weights {weights}"
        if self.toggle_rate is not None:
            said += f", toggle rate {self.toggle_rate:g}"
        if self.weight_density is not None:
            said += f", weight density {self.weight_density:g}"
        return said


@dataclass(frozen=True)
class InputMeans:
    """Means over the slices of an input that are applied one after another; levels are shares of the largest one."""

    level: float
    square: float
    nonzero: float
    toggle: float


@lru_cache(maxsize=1024)
def probabilities(distribution: Distribution, bits: int, signed: bool) -> np.ndarray:
    """Probability of every code, [2^bits], from the lowest code to the highest."""
    count = 1 << bits
    if not isinstance(distribution, str):
        given = np.asarray(distribution, np.float64)
        if given.shape != (count,):
            raise ValueError(f"must have one frequency per code, {count} for {bits} bit (got {given.size})")
        return given / given.sum()
    codes = np.arange(count, dtype=np.float64) - (count // 2 if signed else 0)
    if distribution == "uniform":
        return np.full(count, 1.0 / count)
    top = max(1.0, float(codes[-1]))
    found = np.exp(-0.5 * (codes * FULL_SCALE_SIGMAS / top) ** 2)
    if distribution == "rectified_normal":
        found[codes < 0] = 0.0
        # Half of the values are negative before the ReLU.
        zero = codes == 0
        found[zero] = 0.0
        total = found.sum()
        found[zero] = total if total else 1.0
    return found / found.sum()


def _magnitudes(bits: int, signed: bool) -> tuple[np.ndarray, int]:
    """Magnitude of every code, and the bits that it takes (the sign apart; the lowest code saturates)."""
    count = 1 << bits
    if not signed:
        return np.arange(count), bits
    return np.minimum(np.abs(np.arange(count) - count // 2), count // 2 - 1), bits - 1


@lru_cache(maxsize=4096)
def input_means(values: Values, bits: int, per_cycle: int, signed: bool) -> InputMeans:
    """Means over the cycles in which an input of ``bits`` is applied, ``per_cycle`` bits of its magnitude at a time."""
    known = probabilities(values.inputs, bits, signed)
    codes, magnitude_bits = _magnitudes(bits, signed)
    level = square = nonzero = toggle = 0.0
    shifts = range(0, magnitude_bits, per_cycle)
    for shift in shifts:
        part = (codes >> shift) & ((1 << per_cycle) - 1)
        share = part / ((1 << per_cycle) - 1)
        level += float(known @ share)
        square += float(known @ share**2)
        nonzero += float(known @ (part > 0))
    for bit in range(magnitude_bits):
        one = float(known @ ((codes >> bit) & 1))
        toggle += 2 * one * (1 - one)
    cycles = len(shifts)
    rate = toggle / magnitude_bits if values.toggle_rate is None else values.toggle_rate
    return InputMeans(level / cycles, square / cycles, nonzero / cycles, rate)


def slice_shifts(bits: int, cell_bits: int) -> tuple[int, ...]:
    """The lowest bit of every slice of a weight, lowest first. A slice of fewer bits than a cell has is the lowest one:
    the noise of its cell counts least there.
    """
    first = bits % cell_bits or cell_bits
    return (0, *range(first, bits, cell_bits))


@lru_cache(maxsize=4096)
def weight_level(values: Values, bits: int, cell_bits: int, pair: bool) -> float:
    """Mean level of a cell that holds a slice of a weight, as a share of its highest one.

    A ``pair`` holds the magnitude in one of two cells: the mean is over both, the other one being at its lowest level.
    Otherwise weights are stored with an offset of half their range.
    """
    if values.weight_density is not None:
        return values.weight_density
    known = probabilities(values.weights, bits, True)
    if pair:
        codes, used = _magnitudes(bits, True)
    else:
        codes, used = np.arange(1 << bits), bits
    shifts = slice_shifts(used, cell_bits)
    ends = (*shifts[1:], used)
    top = (1 << cell_bits) - 1
    mean = sum(
        float(known @ (((codes >> s) & ((1 << (end - s)) - 1)) / top)) for s, end in zip(shifts, ends, strict=True)
    )
    return mean / len(shifts) / (2 if pair else 1)
