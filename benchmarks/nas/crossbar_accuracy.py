"""Accuracy of the digits network on crossbars a month after programming, as their parts change.

    python -m benchmarks.nas.crossbar_accuracy [--network NAME] [--programmings N] [--images N]

The catalog's crossbars at four times; then the PCM core with converters of 3 to 9 bits, 1 to 7 bits per cell (inputs
bit by bit, 8-bit converters), 64 to 1024 rows; and the charge-domain SRAM with 256 rows and converters of 3 to 9 bits,
and with a fixed full scale and 16 to 256 rows.
Where physics has a direction, no value may be against it by more than two standard errors of the difference (at least
half a point): more bits of a converter, fewer bits per cell (of the same noise: slices average it), less time. Rows
are printed and not checked: where the full scale follows the data they mean larger steps, but fewer; where it is fixed,
fewer rows are better on the whole, but not step by step.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from accelerators import catalog
from accelerators.crossbar.crossbar import Crossbar
from benchmarks._common import BadInputError, report
from codesign.analog import TIMES_S, Accuracy, accuracies_after
from codesign.analog.trained import TrainedNetwork, load
from codesign.evaluation import on_crossbar
from codesign.networks import NetworkError

_MONTH_S = TIMES_S[-1]
_LEAST_POINTS = 0.5
_ROWS = (64, 128, 256, 512, 1024)


class Sweep(NamedTuple):
    """One figure of a crossbar that changes; accuracy rises (1), falls (-1) or neither (0) with it."""

    title: str
    base: Crossbar
    values: Sequence[int]
    change: Callable[[Crossbar, int], Crossbar]
    direction: int


def _sweeps() -> list[Sweep]:
    pcm, sram = _named("pcm_256"), _named("sram_analog")
    serial = replace(pcm, bits_per_cycle=1, coding="voltage")
    fixed = replace(sram, adc_bits=5, full_scale="fixed")
    converters = range(3, 10)
    return [
        Sweep("pcm_256, converter bits", pcm, converters, _with_adc, 1),
        Sweep("sram_analog of 256 rows, converter bits", replace(sram, rows=256), converters, _with_adc, 1),
        Sweep("pcm_256 bit by bit, bits per cell", serial, range(1, 8), lambda c, v: replace(c, cell_bits=v), -1),
        Sweep("pcm_256, rows", pcm, _ROWS, _with_rows, 0),
        Sweep("pcm_256, 4-bit converters, rows", replace(pcm, adc_bits=4), _ROWS, _with_rows, 0),
        Sweep("sram_analog, 5-bit converters of fixed full scale, rows", fixed, (16, 32, 64, 128, 256), _with_rows, 0),
    ]


def _with_adc(crossbar: Crossbar, bits: int) -> Crossbar:
    return replace(crossbar, adc_bits=bits)


def _with_rows(crossbar: Crossbar, rows: int) -> Crossbar:
    return replace(crossbar, rows=rows)


def _named(name: str) -> Crossbar:
    found = catalog.load(name)
    assert isinstance(found, Crossbar)
    return found


def _against(found: Sequence[Accuracy], direction: int, programmings: int) -> list[int]:
    """Positions of values that are worse than an earlier one where they should be better."""
    bad = []
    for i in range(1, len(found)):
        for earlier in found[:i]:
            error = math.hypot(found[i].std, earlier.std) / math.sqrt(programmings)
            if direction * (found[i].mean - earlier.mean) < -max(_LEAST_POINTS, 2 * error):
                bad.append(i)
                break
    return bad


def _text(found: Accuracy) -> str:
    return f"{found.mean:.1f} +- {found.std:.1f}" if found.std else f"{found.mean:.1f}"


def _edp(trained: TrainedNetwork, crossbar: Crossbar) -> str:
    edp = on_crossbar(trained.network, crossbar, {}).edp_js
    return "-" if edp is None else f"{edp * 1e12:.4g}"


def main(arguments: list[str] | None = None) -> int:
    """Measure; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nas.crossbar_accuracy", description=__doc__)
    parser.add_argument("--network", default="digits_resnet8")
    parser.add_argument("--programmings", type=int, default=10)
    parser.add_argument("--images", type=int, default=None)
    options = parser.parse_args(arguments)
    if options.programmings < 2 or (options.images is not None and options.images < 1):
        raise BadInputError("--programmings must be at least 2, --images at least 1")
    try:
        trained = load(options.network)
    except NetworkError as error:
        raise BadInputError(str(error)) from None
    settings = {"programmings": options.programmings, "images": options.images}
    start = time.process_time()
    rows: list[tuple[str, ...]] = []
    failures: list[str] = []
    checked = 0
    for name in catalog.names("crossbar"):
        crossbar = _named(name)
        found = accuracies_after(trained, crossbar, TIMES_S, **settings)
        rows.append((name, "", *map(_text, found), _edp(trained, crossbar)))
        checked += len(found) - 1
        failures += [
            f"{name}: {TIMES_S[i]:g} s is above an earlier time" for i in _against(found, -1, options.programmings)
        ]
    for sweep in _sweeps():
        designs = [sweep.change(sweep.base, value) for value in sweep.values]
        found = [accuracies_after(trained, design, [_MONTH_S], **settings)[0] for design in designs]
        for value, design, each in zip(sweep.values, designs, found, strict=True):
            rows.append((sweep.title, str(value), "", "", "", _text(each), _edp(trained, design)))
        if sweep.direction:
            checked += len(found) - 1
            bad = _against(found, sweep.direction, options.programmings)
            failures += [f"{sweep.title}: {sweep.values[i]} is against its direction" for i in bad]
    header = ("crossbar", "value", "1 s", "1 h", "1 day", "1 month", "EDP uJ us")
    figures = (
        f"crossbar accuracy: {trained.digital_accuracy:.2f} % digitally, {checked - len(failures)} of {checked} steps "
        f"in their direction within noise, {time.process_time() - start:.0f} CPU-s"
    )
    return report(header, rows, failures, figures, passed=not failures)


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
