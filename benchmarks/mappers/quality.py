"""How far every mapper is above the certified optimum after 0.1, 1 and 10 CPU seconds.

    python -m benchmarks.mappers.quality [--layers FILE] [--every N] [--seconds S ..] [--seeds N] [--workers N]

Layers of ResNet-50, MobileNetV2 and BERT (every ``--every``-th distinct one of each; 1 takes all), or those of a file
(JSON as in ``data/optima.json``, or an operator like ``conv2d(K=64,C=64,P=56,Q=56,R=3,S=3)`` per line), on three
accelerators: DRAM, 128 KB, 16x16 PEs with 512 B (200, 6, 1 pJ per word); Eyeriss; NVDLA with 256 MACs. First the
optimal mapper proves each optimum, then every other mapper runs once per seed and budget; a run ends early when it has
reached the optimum. All times are CPU seconds of one process. Runs of different layers are spread over ``--workers``.

Below, "default" is the mapper that evaluations and searches use, with its default limits: the time until its result.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from accelerators import catalog
from accelerators.costs import Infeasible, InfeasibleError
from accelerators.operators import Operator, matmul
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.spatial.problem import Problem
from benchmarks._common import BadInputError, report
from benchmarks._hardware import three_levels
from benchmarks.mappers._layers import read_layers
from codesign import networks
from mappers import MAPPERS, Mapspace, Optimal, SpaceTooLargeError, map_operator
from mappers.compare import Trace, trace
from mappers.search import search

NETWORKS = ("resnet50", "mobilenet_v2", "bert_base")
_SAMPLERS = ("local_search", "genetic", "cma_es", "random")
#: Those whose way depends on the budget; one run of the others shows what every smaller budget gives.
_SCHEDULED = ("local_search", "genetic")
_CLOSE = 1e-12
#: (mapper, CPU seconds, most that the median may be above the optimum)
_TARGETS = (("cma_es", 1.0, 0.05), ("genetic", 1.0, 0.03))
#: (most CPU seconds per layer of the optimal mapper, on which accelerator)
_PROOF_TARGETS = {"16x16": 0.1, "eyeriss": 0.5}
_DEFAULT_TARGET = 0.010, 0.01


def accelerators() -> dict[str, SpatialAccelerator]:
    """The three accelerators by name."""
    return {
        "16x16": three_levels("16x16"),
        "eyeriss": catalog.load_spatial("eyeriss"),
        "nvdla_256": catalog.load_spatial("nvdla_256"),
    }


def distinct_layers(name: str) -> dict[str, Operator]:
    """The distinct operators with MACs of a network, by the name of the first layer of each."""
    found = networks.load(name).unique()
    return {f"{name}:{layers[0]}": operator for operator, layers in found.items() if not operator.passes}


@dataclass(frozen=True)
class LayerResult:
    """One layer on one accelerator: the proof, and how far each run was above it."""

    hardware: str
    layer: str
    proof_s: float
    gap: float
    default_s: float
    default_excess: float
    runs: dict[tuple[str, float], list[float]]


def measure(hardware: str, layer: str, operator: Operator, seconds: tuple[float, ...], seeds: int) -> LayerResult | str:
    """Prove the optimum, then run the mappers; a text if the layer has no mapping."""
    accelerator = accelerators()[hardware]
    start = time.process_time()
    try:
        proof = Optimal(Mapspace(Problem(accelerator, operator)))
        search(proof, 1)
    except (InfeasibleError, SpaceTooLargeError) as error:
        return f"{layer} on {hardware}: {error}"
    proof_s = time.process_time() - start
    certificate = proof.certificate
    best = certificate.lower_bound
    start = time.process_time()
    default = map_operator(accelerator, operator)
    default_s = time.process_time() - start
    if isinstance(default, Infeasible):
        return f"{layer} on {hardware}: {default}"
    default_excess = default.cost.energy_pj * default.cost.latency_cycles / best - 1
    runs: dict[tuple[str, float], list[float]] = {}
    traces: dict[tuple[str, int], Trace] = {}
    for name in _SAMPLERS:
        for budget in seconds:
            for seed in range(seeds):
                run = traces.get((name, seed))
                if run is None:
                    space = Mapspace(Problem(accelerator, operator))
                    run = trace(
                        lambda space=space, name=name, seed=seed: MAPPERS[name](space, "edp", seed),  # type: ignore[misc]
                        cpu_s=budget if name in _SCHEDULED else max(seconds),
                        good_enough=certificate.value * (1 + _CLOSE),
                    )
                    if name not in _SCHEDULED:
                        traces[name, seed] = run
                runs.setdefault((name, budget), []).append(max(0.0, run.at(budget) / best - 1))
    return LayerResult(hardware, layer, proof_s, certificate.gap, default_s, default_excess, runs)


def _prepare() -> None:
    """Load or compile every kernel, so that no measured time contains it."""
    for accelerator in accelerators().values():
        space = Mapspace(Problem(accelerator, matmul(P=4, K=8, C=8)))
        for mapper in MAPPERS.values():
            if mapper.name != "exhaustive":
                search(mapper(space, "edp", 0), 20_000)
        map_operator(accelerator, matmul(P=4, K=8, C=8))


def _measure_in_worker(task: tuple[str, str, Operator, tuple[float, ...], int]) -> LayerResult | str:
    return measure(*task)


def _all(tasks: list[tuple[str, str, Operator, tuple[float, ...], int]], workers: int) -> Iterator[LayerResult | str]:
    if workers == 1:
        _prepare()
        yield from map(_measure_in_worker, tasks)
        return
    _prepare()  # fills the kernel cache before the workers look into it
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_prepare) as pool:
        yield from pool.map(_measure_in_worker, tasks)


def _figures(values: list[float]) -> str:
    return f"{statistics.median(values):.2%} / {max(values):.2%}"


def main(arguments: list[str] | None = None) -> int:
    """Measure; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mappers.quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--layers", type=Path, help="file with layers instead of the networks'")
    parser.add_argument("--every", type=int, default=12, help="take every N-th distinct layer of a network (12)")
    parser.add_argument("--seconds", type=float, nargs="+", default=[0.1, 1.0, 10.0], help="budgets (0.1 1 10)")
    parser.add_argument("--seeds", type=int, default=5, help="runs per mapper, layer and budget (5)")
    parser.add_argument("--workers", type=int, default=2, help="processes (2)")
    options = parser.parse_args(arguments)
    if options.every < 1 or options.seeds < 1 or options.workers < 1 or min(options.seconds) <= 0:
        raise BadInputError("--every, --seeds and --workers must be >= 1, --seconds > 0")
    if options.layers:
        layers = read_layers(options.layers)
    else:
        layers = {}
        for name in NETWORKS:
            layers.update(dict(list(distinct_layers(name).items())[:: options.every]))
    seconds = tuple(sorted(options.seconds))
    tasks = [
        (hardware, layer, operator, seconds, options.seeds)
        for hardware in accelerators()
        for layer, operator in layers.items()
    ]
    results: list[LayerResult] = []
    failures: list[str] = []
    with Progress(transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("layers", total=len(tasks))
        for result in _all(tasks, options.workers):
            progress.advance(bar)
            if isinstance(result, str):
                failures.append(result)
            else:
                results.append(result)
    rows, missed = [], []
    for hardware in accelerators():
        mine = [result for result in results if result.hardware == hardware]
        if not mine:
            continue
        proofs = [result.proof_s for result in mine]
        gaps = [result.gap for result in mine]
        text = f"{statistics.median(proofs):.4f} / {max(proofs):.4f} s"
        rows.append((hardware, "optimal", f"proof {text}", *["0.00% / 0.00%" if not any(gaps) else _figures(gaps)]))
        limit = _PROOF_TARGETS.get(hardware)
        if not options.layers and limit is not None and max(proofs) > limit:
            missed.append(f"optimal on {hardware}: {max(proofs):.3f} CPU-s for one layer (target {limit:g})")
        if any(gaps):
            missed.append(f"optimal on {hardware}: {sum(gap > 0 for gap in gaps)} layers not proven")
        default = [result.default_s for result in mine]
        text = f"{statistics.median(default):.4f} / {max(default):.4f} s"
        rows.append((hardware, "default", f"result {text}", _figures([result.default_excess for result in mine])))
        for name in _SAMPLERS:
            for budget in seconds:
                values = [value for result in mine for value in result.runs[name, budget]]
                rows.append((hardware, name, f"{budget:g} s", _figures(values)))
    for name, budget, most in _TARGETS:
        values = [value for result in results for value in result.runs.get((name, budget), [])]
        if values and statistics.median(values) > most:
            missed.append(f"{name} at {budget:g} s: median {statistics.median(values):.2%} (target {most:.0%})")
    within, most = _DEFAULT_TARGET
    in_time = [result.default_excess if result.default_s <= within else float("inf") for result in results]
    if in_time and statistics.median(in_time) > most:
        missed.append(f"default: median at {within * 1e3:g} CPU-ms above {most:.0%}")
    figures = (
        f"quality: {len(layers)} layers x {len(accelerators())} accelerators, {options.seeds} seeds; "
        f"{len(_TARGETS) + len(_PROOF_TARGETS) + 1} targets, {len(missed)} missed"
    )
    header = ("accelerator", "mapper", "CPU time (median / worst)", "above the optimum (median / worst)")
    return report(header, rows, [*missed, *failures], figures, passed=not missed and bool(results))


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
