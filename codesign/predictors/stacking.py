"""Several Gaussian processes that learnt from the same measurements as one: weights, mixture, calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codesign.predictors.process import ENOUGH_TO_LEAVE_OUT, Process

#: Parts of the measurements that are left out in turn; median and 90 % quantile of a normal distribution's absolute
#: values.
_PARTS, _MEDIAN_OF_NORMAL, _NINE_TENTHS_OF_NORMAL = 5, 0.6745, 1.6449


class Inputs(NamedTuple):
    """Networks as they are written, (n, columns), and as a process sees them, (n, features): the first ``alike``
    features are those of a vocabulary."""

    written: NDArray[np.float64]
    seen: NDArray[np.float64]
    alike: int

    def of(self, rows: NDArray[np.int64]) -> Inputs:
        """Some of the networks."""
        return Inputs(self.written[rows], self.seen[rows], self.alike)


def process_of(
    inputs: Inputs, y: NDArray[np.float64], noise: NDArray[np.float64], theta: NDArray[np.float64] | None = None
) -> Process:
    """One of those that are stacked: they are calibrated together."""
    return Process(inputs.seen, y, theta, factor=1.0, alike=inputs.alike, noise=noise)


def weights_of(processes: Sequence[Process]) -> NDArray[np.float64]:
    """What to mix processes with that learnt from the same measurements, (processes,), sum 1."""
    if processes[0].measurements < ENOUGH_TO_LEAVE_OUT:
        likelihoods = np.array([process.credibility() for process in processes])
        weights = np.exp(likelihoods - likelihoods.max())
    else:
        from scipy.optimize import nnls

        # A row for the sum of the weights, which counts more than all errors together.
        errors = np.column_stack([process.weighted_errors() for process in processes])
        large = 20 * math.sqrt(len(errors))
        rows = np.vstack([errors, np.full(len(processes), large)])
        weights = nnls(rows, np.append(np.zeros(len(errors)), large))[0]
    return np.asarray(weights / weights.sum())


def stacked(
    parts: Sequence[tuple[float, tuple[NDArray[np.float64], NDArray[np.float64]]]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of a mixture of normal distributions, (n,) each; parts have weights of sum 1."""
    mean = sum((weight * found for weight, (found, _) in parts), np.zeros(1))
    square = sum((weight * (std**2 + (found - mean) ** 2) for weight, (found, std) in parts), np.zeros(1))
    return mean, np.sqrt(square)


def calibrated(inputs: Sequence[Inputs], y: NDArray[np.float64], noise: NDArray[np.float64]) -> tuple[float, float]:
    """What standard deviations are multiplied with, by parts of the measurements that were left out; and the median
    relative error of these.

    Parameters and weights are learnt again from the rest: with few measurements they suit all of them too well. That
    they promise too little is not believed.
    """
    errors, scaled = [], []
    for part in range(parts := min(len(y), _PARTS)):
        left = np.arange(len(y)) % parts == part
        rest, rows = np.nonzero(~left)[0], np.nonzero(left)[0]
        able = [each for each in inputs if np.ptp(y[rest]) > 0 and np.ptp(each.seen[rest], axis=0).any()]
        if not able:
            continue
        processes = [process_of(each.of(rest), y[rest], noise[rest]) for each in able]
        predicted = [process.predict(each.seen[rows]) for process, each in zip(processes, able, strict=True)]
        mean, std = stacked(list(zip(weights_of(processes).tolist(), predicted, strict=True)))
        errors += (np.abs(mean - y[rows]) / y[rows]).tolist()
        scaled += ((mean - y[rows]) / std).tolist()
    if not scaled:
        return 1.0, math.nan
    # Wild errors are outliers elsewhere; tails that are heavier than a normal distribution's count.
    size = np.abs(scaled)
    factor = max(
        1.0, float(np.median(size)) / _MEDIAN_OF_NORMAL, float(np.quantile(size, 0.9)) / _NINE_TENTHS_OF_NORMAL
    )
    return factor, float(np.median(errors))
