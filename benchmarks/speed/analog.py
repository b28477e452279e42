"""Accuracy of a small network under noise and drift: time, and the ratio to programming and reading for every batch.

    python -m benchmarks.speed.analog [--images N] [--batch N]

A ResNet-8 for 8x8 images (AnalogNAS's space), 10,000 images, 10 programmings x 4 times, converters of 8 bits, output
noise, one thread. In the naive way weights are programmed and read anew for every batch; it is timed on some, in
turns with our way on the same ones. Times are CPU times of the process.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import torch
from torch import Tensor, nn

from accelerators.crossbar.devices import Converters, PhaseChange
from benchmarks._common import BadInputError, report
from codesign.analog import TIMES_S, calibrate, evaluate, to_analog
from codesign.nas.analognas.module import AnalogResNetModule
from codesign.nas.spaces.analog_resnet import Architecture, MainBlock

_PROGRAMMINGS = 10
_TARGET_S = 60.0
_REPEATS = 3
_NAIVE_BATCHES = 10


def _timed(model: nn.Module, images: Tensor, labels: Tensor, batch: int) -> float:
    start = time.process_time()
    evaluate(model, images, labels, programmings=_PROGRAMMINGS, batch_size=batch)
    return time.process_time() - start


def main(arguments: list[str] | None = None) -> int:
    """Measure; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.analog", description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=100)
    options = parser.parse_args(arguments)
    if options.batch < 1 or options.images < _NAIVE_BATCHES * options.batch:
        raise BadInputError(f"--batch must be at least 1, --images at least {_NAIVE_BATCHES} batches")
    torch.set_num_threads(1)
    architecture = Architecture(16, (MainBlock(1), MainBlock(1, "A", 2), MainBlock(1, "A", 2)))
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(options.images, 1, 8, 8, generator=generator)
    labels = torch.randint(10, (options.images,), generator=generator)
    model = to_analog(AnalogResNetModule(architecture, input_channels=1), PhaseChange(), Converters(8, 8))
    calibrate(model, images[: options.batch])
    few = _NAIVE_BATCHES * options.batch
    batches = list(zip(images[:few].split(options.batch), labels[:few].split(options.batch), strict=True))
    evaluate(model, *batches[0], programmings=1)
    whole = _timed(model, images, labels, options.batch)
    ratios = []
    for _ in range(_REPEATS):
        once = _timed(model, images[:few], labels[:few], options.batch)
        ratios.append(sum(_timed(model, x, y, options.batch) for x, y in batches) / once)
    # The few batches share one programming in our way, all batches do: the ratio for all of them is larger.
    ratio = float(np.median(ratios))
    evaluated = options.images * _PROGRAMMINGS * len(TIMES_S)
    rows = [
        (f"all {options.images:,} images", f"{whole:.1f}", f"{evaluated / whole:,.0f}", ""),
        (f"{few} images, programmed per batch", "", "", " ".join(f"{r:.2f}" for r in sorted(ratios))),
    ]
    figures = (
        f"analog: {options.images:,} images x {_PROGRAMMINGS} programmings x {len(TIMES_S)} times in {whole:.1f} CPU-s "
        f"(target {_TARGET_S:.0f} s); programming for every batch of {options.batch} takes {ratio:.2f} times as long"
    )
    header = ("evaluation", "CPU-s", "images/s", "times as long as programmed once")
    return report(header, rows, [], figures, passed=whole <= _TARGET_S)


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
