"""Latencies that were measured on real devices against those that the program gives.

    python -m benchmarks.validation.processors --space nb201 --measured FILE [--device KEY] [--networks N] [--samples N]
        [--transfer] [--plot FILE]

``FILE`` is an .npz file with one array per device (``help_raspi4_lat_ms``, ``hw360_pi5_onnx_cifar100_energy_mj``) and,
but for NAS-Bench-201, the networks of its rows. Spearman's rank correlation of the *uncalibrated* models with what was
measured, beside that of counting operations. What was computed and not measured, devices that the catalog does not
have, and hardware that cannot run one of the networks, are listed and not scored. Keys ``hw360_*`` were measured on one
cell of every isomorphism class and are scored on those. ``--networks`` takes a sample.

With ``--samples`` predictors learn from so many measurements and are scored on the other networks looked at, see
:mod:`benchmarks.validation._learned`; with ``--transfer`` they start from the roofline.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress
from scipy.stats import spearmanr

from accelerators import catalog
from accelerators.costs import Cost, Infeasible
from accelerators.crossbar.crossbar import Crossbar
from accelerators.operators import Operator
from accelerators.processors.processor import Processor
from accelerators.spatial.architecture import SpatialAccelerator
from benchmarks._common import BadInputError, report
from benchmarks.validation._learned import figures, learned
from benchmarks.validation._measured import CHUNK, LEAST_NETWORKS, SPACES, Measurement, read, sampled, space_of
from codesign.costs import NetworkCost
from codesign.evaluation import layer_costs, on_crossbar
from codesign.networks import Network
from codesign.processors import on_processor
from mappers import MapResult, map_operator
from mappers.processes import kill, worker_pool

_LEAST_MEAN, _MOST_BELOW = 0.92, 0.005


class _CannotRunError(Exception):
    """Hardware that cannot run a network; the message says why."""


class _Estimator:
    """Latency in ms and energy in mJ of networks on one piece of hardware."""

    def __init__(self, name: str):
        self.hardware = catalog.load(name)
        self._mapped: dict[Operator, tuple[Cost | Infeasible, None]] = {}

    def __call__(self, parts: list[tuple[Network, int]]) -> tuple[float, float]:
        latency_ms = energy_mj = 0.0
        for network, times in parts:
            ms, mj = self._one(network)
            latency_ms += times * ms
            energy_mj += times * mj
        return latency_ms, energy_mj

    def _one(self, network: Network) -> tuple[float, float]:
        if isinstance(self.hardware, Processor):
            return _figures(on_processor(network, self.hardware))
        if isinstance(self.hardware, Crossbar):
            return _figures(on_crossbar(network, self.hardware, network.fusable()))
        assert isinstance(self.hardware, SpatialAccelerator)
        for operator in network.unique():
            if not operator.passes and operator not in self._mapped:
                found = map_operator(self.hardware, operator)
                self._mapped[operator] = (found.cost if isinstance(found, MapResult) else found, None)
        latency_s = energy_pj = 0.0
        for layer in layer_costs(self.hardware, network, network.fusable(), self._mapped):
            if isinstance(layer.cost, Infeasible):
                raise _CannotRunError(f"{layer.name}: {layer.cost}")
            latency_s += layer.cost.latency_s
            energy_pj += layer.cost.energy_pj
        return latency_s * 1e3, energy_pj * 1e-9


def _figures(cost: NetworkCost) -> tuple[float, float]:
    if cost.problems:
        raise _CannotRunError(cost.problems[0])
    return figures(cost)


_ESTIMATORS: dict[str, _Estimator] = {}

#: Why hardware cannot run a network, by the hardware's name: of the first such network.
_Reasons = dict[str, str]


def _estimated(arguments: tuple[Path, str, int, tuple[str, ...], list[int]]) -> tuple[list[list[float]], _Reasons]:
    """For rows of a file: operations, then latency and energy on every piece of hardware, NaN where it cannot run."""
    path, space, batch, names, rows = arguments
    networks = space_of(path, space)
    found: list[list[float]] = []
    reasons: _Reasons = {}
    for row in rows:
        parts = networks.parts(row, batch)
        row_figures = [float(sum(network.macs * times for network, times in parts))]
        for name in names:
            if name not in _ESTIMATORS:
                _ESTIMATORS[name] = _Estimator(name)
            try:
                row_figures += _ESTIMATORS[name](parts)
            except _CannotRunError as error:
                row_figures += [math.nan, math.nan]
                reasons.setdefault(name, str(error))
        found.append(row_figures)
    return found, reasons


def estimates(
    path: Path, space: str, batch: int, names: Sequence[str], rows: NDArray[np.int64], pool: Executor
) -> tuple[NDArray[np.float64], _Reasons]:
    """(n, 1 + 2 x hardware): MACs, then latency in ms and energy in mJ on every piece of hardware, by row of a file.

    NaN where hardware cannot run a network, with the reasons.
    """
    chunks = [rows[i : i + CHUNK].tolist() for i in range(0, len(rows), CHUNK)]
    jobs = [(path, space, batch, tuple(names), chunk) for chunk in chunks]
    found: list[list[float]] = []
    reasons: _Reasons = {}
    with Progress(transient=True, disable=not sys.stderr.isatty()) as progress:
        title = f"batch {batch}: {len(rows)} networks"
        for part in progress.track(pool.map(_estimated, jobs), total=len(jobs), description=title):
            found += part[0]
            reasons = part[1] | reasons
    return np.array(found), reasons


def roofline(path: Path, space: str, measurements: Sequence[Measurement], networks: int | None, pool: Executor) -> int:
    """Rank correlation of the uncalibrated models; returns the exit code."""
    scored = [each for each in measurements if each.hardware is not None and not each.computed]
    tables = {}
    for batch in sorted({each.batch for each in scored}):
        of_batch = [each for each in scored if each.batch == batch]
        names = sorted({each.hardware for each in of_batch if each.hardware})
        rows = np.unique(np.concatenate([each.rows[sampled(each, networks)] for each in of_batch]))
        tables[batch] = names, rows, *estimates(path, space, batch, names, rows, pool)
    lines, failures, found = [], [], []
    for each in measurements:
        if each.hardware is None or each.computed:
            lines.append((each.key, "computed" if each.computed else "not in the catalog", "", "", "", ""))
            continue
        names, rows, table, reasons = tables[each.batch]
        chosen = sampled(each, networks)
        at = np.searchsorted(rows, each.rows[chosen])
        ours = table[at, 1 + 2 * names.index(each.hardware) + each.energy]
        measured = each.values[chosen]
        lost = int(np.isnan(ours).sum())
        if lost:
            text = f"{each.hardware}: cannot run {lost} of them, {reasons[each.hardware]}"
            lines.append((each.key, text, str(len(chosen)), "", "", ""))
            continue
        rank, plain = (float(spearmanr(predicted, measured)[0]) for predicted in (ours, table[at, 0]))
        found.append(rank)
        ratio = float(np.median(ours / measured))
        lines.append((each.key, each.hardware, str(len(chosen)), f"{rank:.3f}", f"{plain:.3f}", f"{ratio:.2f}"))
        if not rank >= -1:
            failures.append(f"{each.key}: no rank: {each.hardware} takes the same for all of these networks")
        if rank < plain - _MOST_BELOW:
            failures.append(f"{each.key}: {rank:.3f} is more than {_MOST_BELOW} below counting operations, {plain:.3f}")
    if not scored:
        raise BadInputError(f"{path}: none of its devices is in the catalog")
    mean = float(np.mean(found)) if found else math.nan
    if not mean >= _LEAST_MEAN:
        failures.append(f"mean {mean:.3f}, must be at least {_LEAST_MEAN}")
    header = ("measurement", "hardware", "networks", "Spearman", "of MACs", "model / measured")
    text = f"uncalibrated models on {space}: mean Spearman {mean:.3f} of {len(found)} measurements"
    return report(header, lines, failures, text, not failures)


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.validation.processors",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--space", choices=SPACES, required=True)
    parser.add_argument("--measured", type=Path, required=True, metavar="FILE")
    parser.add_argument("--device", metavar="KEY", help="one measurement of the file")
    parser.add_argument("--networks", type=int, help="networks that are looked at (all; 2,000 for predictors)")
    parser.add_argument("--samples", type=int, help="measurements that predictors learn from")
    parser.add_argument("--transfer", action="store_true", help="predictors have the roofline as a feature")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="predicted against measured, a .png or .svg file")
    parser.add_argument("--workers", type=int, default=2, help="processes (2)")
    options = parser.parse_args(arguments)
    if options.samples is not None and options.samples < LEAST_NETWORKS:
        raise BadInputError(f"--samples must be >= {LEAST_NETWORKS}")
    if options.workers < 1 or (options.networks is not None and options.networks < 5):
        raise BadInputError("--workers must be >= 1 and --networks >= 5")
    if options.samples is None and (options.transfer or options.plot):
        raise BadInputError("--transfer and --plot need --samples")
    _, measurements = read(options.measured, options.space, options.device)
    pool = worker_pool(options.workers)
    try:
        if options.samples is not None:
            return learned(
                options.measured,
                options.space,
                measurements,
                options.samples,
                pool,
                networks=options.networks,
                transfer=options.transfer,
                plot=options.plot,
            )
        return roofline(options.measured, options.space, measurements, options.networks, pool)
    finally:
        kill(pool)


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
