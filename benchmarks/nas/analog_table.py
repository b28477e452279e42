"""Make the table that AnalogNAS learns from: networks really trained, and evaluated as their devices drift.

    python -m benchmarks.nas.analog_table [--out FILE] [--start I] [--count N] [--seed S]

Network i of the table is drawn from the stream i, trained and evaluated on the validation images (see
:mod:`benchmarks.nas._analog_digits`). Rows are appended as they come; those that the file has are not made again, so
that it can be stopped at any time. With another ``--seed`` the same networks are trained from other weights: how much
labels differ between two trainings bounds what any predictor can reach.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks._common import BadInputError
from benchmarks.nas._analog_digits import measure, sample, size
from codesign.analog import TIMES_S
from codesign.nas.analognas.tables import LABELS
from codesign.nas.spaces.analog_resnet import FEATURES

DEFAULT = Path(__file__).parent / "data" / "analog_digits.csv"

#: Besides the labels: mean and standard deviation over programmings of the accuracy at all times but a day.
_DAY = 2
_OTHERS = [index for index in range(len(TIMES_S)) if index != _DAY]
COLUMNS = (
    "network",
    "seed",
    *FEATURES,
    "parameters",
    *LABELS,
    *(f"{what}_{TIMES_S[index]:.0f}s" for index in _OTHERS for what in ("accuracy", "std")),
)


def main(arguments: list[str] | None = None) -> int:
    """Make the rows that are missing; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nas.analog_table", description=__doc__)
    parser.add_argument("--out", type=Path, default=DEFAULT)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if min(options.start, options.seed) < 0 or options.count < 1:
        raise BadInputError("--start and --seed must be at least 0, --count at least 1")
    torch.set_num_threads(1)
    done = _done(options.out)
    for number in range(options.start, options.start + options.count):
        if (number, options.seed) in done:
            continue
        architecture = sample(np.random.default_rng(number))
        start = time.perf_counter()
        found = measure(architecture, seed=1000 * options.seed + number, split="validation")
        each = np.stack([found.mean(), found.std()], axis=1)
        labels = (*each[_DAY], found.avm, *each[_OTHERS].ravel())
        row = (number, options.seed, *architecture.encode(), size(architecture), *(f"{label:.5f}" for label in labels))
        _append(options.out, row)
        print(f"network {number}: {time.perf_counter() - start:.1f} s, {found.mean().round(3)}", flush=True)
    return 0


def _done(path: Path) -> set[tuple[int, int]]:
    if not path.exists():
        return set()
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    if not rows or tuple(rows[0]) != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
        raise BadInputError(f"{path}: must have the columns {', '.join(COLUMNS[:3])}, ..., and whole rows")
    return {(int(row[0]), int(row[1])) for row in rows[1:]}


def _append(path: Path, row: tuple[object, ...]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(COLUMNS)
        writer.writerow(row)


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
