"""Exact evaluations per CPU-second on one core.

    python -m benchmarks.speed.kernel [--batch N] [--repeats N]

Valid random mappings of a 64x64x56x56 3x3 convolution (N1 K64 C64 P56 Q56 R3 S3) are drawn first; only their evaluation
(tiles, capacity, reads, fills, updates, multicast, cycles, energy) is timed, in CPU time of the process, after the
kernel is compiled. The rate of tries counts refused mappings too, the rate of the mapper all that a local search does.
Timeloop's own mapper evaluates about 930 and 25-45 valid mappings a second on such problems, ZigZag about 280.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from accelerators.operators import conv2d
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.spatial.kernels.arrays import VALID, select
from accelerators.spatial.problem import Problem
from benchmarks._common import BadInputError, report
from benchmarks._hardware import five_levels, three_levels
from mappers import LocalSearch, Mapspace, map_operator

#: (accelerator, may levels be bypassed, target in millions of evaluations per CPU-second, Timeloop's per second).
_TARGETS = {"3 levels, 16x16": (1.0, "930"), "5 levels, Eyeriss with bypass": (0.7, "25-45")}


def _rates(accelerator: SpatialAccelerator, batch: int, repeats: int) -> tuple[list[float], float, float]:
    """Valid evaluations per CPU-second (each repeat), tries per CPU-second, and the mapper's."""
    problem = Problem(accelerator, conv2d(K=64, C=64, P=56, Q=56, R=3, S=3))
    space = Mapspace(problem)
    tries = space.sample(20 * batch, seed=1)
    start = time.process_time()
    result = problem.evaluate_batch(tries)
    tried = len(result.status) / (time.process_time() - start)
    good = np.nonzero(result.status == VALID)[0]
    good = np.resize(good, batch)
    valid = select(tries, good)
    rates = []
    for _ in range(repeats):
        start = time.process_time()
        result = problem.evaluate_batch(valid)
        rates.append(batch / (time.process_time() - start))
        assert (result.status == VALID).all()
    start = time.process_time()
    map_operator(accelerator, problem.operator, mapper=LocalSearch, evaluations=batch)
    return rates, tried, batch / (time.process_time() - start)


def main(arguments: list[str] | None = None) -> int:
    """Measure; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.kernel", description=__doc__)
    parser.add_argument("--batch", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args(arguments)
    if options.batch < 1000 or options.repeats < 1:
        raise BadInputError("--batch must be at least 1000 and --repeats at least 1")
    tiny = conv2d(K=2, C=2, P=2, Q=2, R=1, S=1)
    map_operator(three_levels(), tiny, mapper=LocalSearch, evaluations=5000)  # compile
    rows, figures, failures = [], [], []
    for accelerator in (three_levels(), five_levels()):
        rates, tried, mapper = _rates(accelerator, options.batch, options.repeats)
        target, timeloop = _TARGETS[accelerator.name]
        median = float(np.median(rates)) / 1e6
        rows.append(
            (
                accelerator.name,
                f"{min(rates) / 1e6:.2f} / {median:.2f} / {max(rates) / 1e6:.2f}",
                f"{target:.1f}",
                f"{median / target:.2f}",
                f"{tried / 1e6:.2f}",
                f"{mapper / 1e6:.2f}",
                timeloop,
            )
        )
        figures.append(f"{median:.2f} M/s ({median / target:.2f} of the target {target:.1f})")
        if median < target:
            failures.append(f"{accelerator.name}: {median:.2f} M/s, target {target:.1f}")
    header = (
        "valid evaluations",
        "M per CPU-s min/median/max",
        "target",
        "ratio",
        "tries M/s",
        "mapper M/s",
        "Timeloop /s",
    )
    return report(header, rows, failures, f"kernel: {', '.join(figures)}", passed=not failures)


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
