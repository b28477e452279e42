"""Search of accelerators, networks and mappings at once: how long a whole run takes, and which way of searching wins.

    python -m benchmarks.search.three_levels [--space ofa_mobilenet_v3 ..] [--accelerators N] [--networks N]
    python -m benchmarks.search.three_levels --compare [--evaluations N] [--seeds N]

A run proposes accelerators of NAAS's space within Eyeriss's budget (CMA-ES) and searches a network on each of them
(Once-for-All's evolution, accuracy by its predictor), every mapping optimal. The target is 15 minutes on two cores for
200 accelerators with 1,000 networks each; other sizes have as much time per network.

``--compare``: the nested search against the joint one, in which CMA-ES has one vector for accelerator and network, at
equal numbers of (accelerator, network) pairs that are judged, three seeds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks._common import BadInputError, report
from codesign.experiments import run
from codesign.experiments.experiment import Experiment
from codesign.experiments.ledger import Ledger
from codesign.experiments.run import BASELINE

_MOST_MINUTES, _ACCELERATORS, _NETWORKS = 15.0, 200, 1000
#: Accelerators per generation of the nested search, pairs per generation of the joint one.
_POPULATION, _PAIRS = 10, 20
#: By space: options, and the accuracy that is asked for: that of ResNet-50, and what the predictor of its space gives
#: networks like it.
_SPACES = {"ofa_mobilenet_v3": ("{width: 1.2}", 76.1), "naas_resnet50": ("{}", 79.5)}
_SHEET = """\
name: three_levels
seed: {seed}
nas:
  space: {space}
  options: {options}
  accuracy: ofa
  at_least: {at_least}
  mode: {mode}
  queries: {queries}
hardware: {{space: naas, budget: {{like: eyeriss}}}}
search: {{optimiser: cma_es, population: {population}, generations: {generations}}}
workers: {{processes: {workers}}}
"""


@dataclass(frozen=True)
class Result:
    """A run: wall-clock seconds, CPU seconds of the workers, accelerators, pairs that were judged, the best EDP."""

    seconds: float
    cpu_s: float
    accelerators: int
    pairs: int
    edp_js: float
    gap: float


def measure(space: str, seed: int, mode: str, effort: tuple[int, int, int], workers: int) -> Result:
    """Run an experiment of (population, generations, queries) in a temporary folder."""
    options, at_least = _SPACES[space]
    population, generations, queries = effort
    text = _SHEET.format(
        seed=seed, space=space, options=options, at_least=at_least, mode=mode, queries=queries,
        population=population, generations=generations, workers=workers,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        experiment = Experiment.parse(text, Path(folder) / "experiment.yaml")
        start = time.perf_counter()
        run.start(experiment, Path(folder) / "run")
        seconds = time.perf_counter() - start
        with Ledger(Path(folder) / "run", write=False) as ledger:
            columns, rows = ledger.rows("candidates")
    found = [dict(zip(columns, row, strict=True)) for row in rows]
    found = [entry for entry in found if entry["digest"] != BASELINE]
    return Result(
        seconds,
        sum(entry["seconds"] for entry in found),
        len(found),
        sum(entry["judged"] or 1 for entry in found),
        min(entry["edp_js"] for entry in found if entry["status"] == "ok"),
        max((entry["gap"] for entry in found if entry["status"] == "ok" and entry["gap"] is not None), default=1.0),
    )


def whole_runs(spaces: list[str], accelerators: int, networks: int, workers: int) -> int:
    """Time a run on each of the spaces."""
    rows, failures = [], []
    for space in spaces:
        found = measure(space, 0, "nested", (_POPULATION, max(1, accelerators // _POPULATION), networks), workers)
        # Proposals that repeat an earlier accelerator are not searched again.
        limit = _MOST_MINUTES * 60 * found.pairs / (_ACCELERATORS * _NETWORKS)
        rows.append(
            (
                space,
                str(found.accelerators),
                f"{found.pairs:,}",
                f"{found.seconds / 60:.1f}",
                f"{found.cpu_s / found.accelerators:.1f}",
                f"{found.edp_js * 1e6:.4g}",
                f"{found.gap:.2%}",
            )
        )
        if found.seconds > limit:
            failures.append(f"{space}: {found.seconds / 60:.1f} minutes, the target is {limit / 60:.1f}")
    header = ("space", "accelerators", "networks judged", "minutes", "worker s each", "EDP mJ ms", "worst gap")
    last = f"{len(rows)} runs with {workers} workers, {len(failures)} above the target of {_MOST_MINUTES:g} minutes"
    return report(header, rows, failures, f"{last} per {_ACCELERATORS} x {_NETWORKS}", not failures)


def comparison(spaces: list[str], evaluations: int, seeds: int, workers: int) -> int:
    """Nested against joint at equal numbers of pairs."""
    rows, lines = [], []
    queries = max(10, round((evaluations / _POPULATION) ** 0.5))
    nested = _POPULATION, max(1, evaluations // (_POPULATION * queries)), queries
    joint = _PAIRS, max(1, evaluations // _PAIRS), 1
    for space in spaces:
        found = {
            mode: [measure(space, seed, mode, effort, workers) for seed in range(seeds)]
            for mode, effort in (("nested", nested), ("joint", joint))
        }
        for mode, results in found.items():
            edps = sorted(result.edp_js * 1e6 for result in results)
            rows.append(
                (
                    space,
                    mode,
                    f"{statistics.mean(result.accelerators for result in results):.0f}",
                    f"{statistics.mean(result.pairs for result in results):,.0f}",
                    f"{statistics.median(edps):.4g} ({edps[0]:.4g}-{edps[-1]:.4g})",
                    f"{statistics.mean(result.cpu_s for result in results):.0f}",
                )
            )
        ratios = sorted(one.edp_js / other.edp_js for one in found["joint"] for other in found["nested"])
        middle = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
        lines.append(f"{space}: joint over nested EDP {middle}")
    header = ("space", "search", "accelerators", "pairs judged", "EDP mJ ms: median (range)", "worker s")
    # Which of them wins is a finding, and no target.
    return report(header, rows, [], "; ".join(lines), True)


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search.three_levels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--space", nargs="+", choices=tuple(_SPACES), default=["ofa_mobilenet_v3"])
    parser.add_argument("--accelerators", type=int, default=_ACCELERATORS)
    parser.add_argument("--networks", type=int, default=_NETWORKS, help="judged on each of them")
    parser.add_argument("--compare", action="store_true", help="nested and joint search")
    parser.add_argument("--evaluations", type=int, default=2000, help="pairs that each of them judges")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    if min(options.accelerators, options.networks, options.evaluations, options.seeds, options.workers) < 1:
        raise BadInputError("--accelerators, --networks, --evaluations, --seeds and --workers must be >= 1")
    if options.compare:
        return comparison(options.space, options.evaluations, options.seeds, options.workers)
    return whole_runs(options.space, options.accelerators, options.networks, options.workers)


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
