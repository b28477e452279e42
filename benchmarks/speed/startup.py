"""ResNet-50 on one accelerator, from process start with compiled kernels: at most 5 s and 500 MB.

    python -m benchmarks.speed.startup [--repeats N]

The same command runs several times in fresh processes after one warm-up that compiles; the median counts. The last
column is the ratio to `python -c "import numpy, numba"` on the same machine in the same run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from benchmarks._common import BadInputError, report

_MOST_SECONDS, _MOST_MB = 5.0, 500.0


def measure(command: list[str]) -> tuple[float, float]:
    """(seconds, peak MB) of one process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise BadInputError(f"{' '.join(command)} ended with status {status}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def main(arguments: list[str] | None = None) -> int:
    """Measure; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.startup", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        raise BadInputError("--repeats must be at least 1")
    evaluate = [sys.executable, "-m", "codesign", "evaluate", "resnet50", "--on", "eyeriss"]
    floor = [sys.executable, "-c", "import numpy, numba"]
    measure(evaluate)
    pairs = [(measure(evaluate), measure(floor)) for _ in range(options.repeats)]
    seconds, megabytes = _median([own[0] for own, _ in pairs]), max(own[1] for own, _ in pairs)
    ratio = _median([own[0] / base[0] for own, base in pairs])
    rows = [
        ("seconds", f"{min(own[0] for own, _ in pairs):.2f} / {seconds:.2f}", f"{_MOST_SECONDS:g}", f"{ratio:.1f}"),
        ("peak MB", f"{megabytes:.0f}", f"{_MOST_MB:g}", ""),
    ]
    passed = seconds <= _MOST_SECONDS and megabytes <= _MOST_MB
    figures = f"startup: {seconds:.2f} s, {megabytes:.0f} MB, {ratio:.1f} x importing numpy and numba"
    return report(("ResNet-50 on eyeriss", "min / median", "at most", "ratio"), rows, [], figures, passed)


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
