"""How near each optimiser comes to the true optimum of a space in which every design is known.

    python -m benchmarks.search.quality [FILE] [--layers PREFIX] [--budget F] [--seeds N] [--workers N] [--csv FILE]

``FILE`` is an experiment that searches a design for one objective (``reduced.yaml`` here); ``--layers`` takes those
layers with MACs of its networks whose names begin so, to make a candidate cheap. First every design is evaluated. Then
the experiment's own search loop runs with each optimiser and seed, and looks the scores up. A run may propose a share
of the designs: ``--budget`` of those that are no mirror images of one another (the same axes in another order; rows
for columns where all layers are square), which is less than the share of all. Proposals count even where they repeat
an earlier one, which a run remembers and does not evaluate again; "evaluated" counts different designs. Random search
draws vectors, so designs with much room in the encoding come up more often; "drawn blindly" draws designs.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress
from scipy.stats import mannwhitneyu

from benchmarks._common import BadInputError, report
from benchmarks.search._enumerated import Table, enumerate_all, key, read_experiment
from codesign.experiments.candidates import Record
from codesign.experiments.experiment import Experiment, Point
from codesign.experiments.search import Search

DEFAULT = Path(__file__).parent / "reduced.yaml"
#: One inverted residual of MobileNetV2, the one that halves the picture to 7x7: expansion, depthwise, projection.
DEFAULT_LAYERS = "features.14.conv"
#: (optimiser, encoding) by what they are called below.
ARMS = {
    "cma_es": ("cma_es", "importance"),
    "cma_es, index": ("cma_es", "index"),
    "genetic": ("genetic", "importance"),
    "random": ("random", "importance"),
}
_OURS, _RANDOM, _BLIND = "cma_es", "random", "drawn blindly"
#: Parts of the budget at which the best design so far is looked at.
_PARTS = (0.1, 0.2, 0.5, 1.0)
_NEAR, _MOST_P = 0.02, 0.01
#: With fewer runs no result can be that unlikely.
_LEAST_SEEDS = 5
_LEAST_DESIGNS = 20_000
_QUANTILES = (0.0001, 0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Run:
    """One search: after each proposal the best score over the optimum, and how many designs were evaluated."""

    seed: int
    best: NDArray[np.float64]
    evaluated: NDArray[np.int64]

    def reached(self, excess: float) -> float:
        """Proposals until a design at most so much above the optimum, or infinity."""
        near = np.nonzero(self.best <= 1 + excess)[0]
        return float(near[0] + 1) if len(near) else math.inf


def search(point: Point, table: Table, proposals: int) -> Run:
    """Run the experiment's search loop for a number of proposals."""
    loop = Search(point)
    goal = point.sheet.objective[0]
    optimum, lowest = table.optimum, math.inf
    best: list[float] = []
    evaluated: list[int] = []
    seen: set[str] = set()
    scored: dict[str, float] = {}
    while len(best) < proposals:
        jobs = loop.propose()
        scored.update({job.digest: table.scores[key(job.choices)] for job in jobs})
        generation = loop.absorb({job.digest: _record(scored[job.digest], goal) for job in jobs})
        for digest in generation.candidates:
            seen.add(digest)
            lowest = min(lowest, scored[digest])
            best.append(lowest / optimum)
            evaluated.append(len(seen))
    return Run(point.sheet.seed, np.array(best[:proposals]), np.array(evaluated[:proposals]))


def _record(score: float, goal: str) -> Record:
    return {"status": "ok", "objectives": {goal: score}} if math.isfinite(score) else {"status": "infeasible"}


def points(text: str, source: Path, optimiser: str, encoding: str, seeds: int, proposals: int) -> Sequence[Point]:
    """The experiment with another optimiser and encoding, for several seeds."""
    over = {
        "seed": list(range(seeds)),
        "search.optimiser": [optimiser],
        "search.generations": [proposals],
        "hardware.encoding": [encoding],
    }
    return Experiment.parse(f"{text}\nsweep: {json.dumps({'over': over})}\n", source).points


def blind(table: Table, seed: int, proposals: int) -> Run:
    """Designs drawn from the list of all, none twice: a yardstick that no encoding favours or handicaps."""
    drawn = np.random.default_rng(seed).permutation(table.ordered)[:proposals]
    return Run(seed, np.minimum.accumulate(drawn), np.arange(1, len(drawn) + 1))


def _spread(values: Sequence[float], form: str) -> str:
    """Median (quartiles), each a value that occurred: there is nothing between a number and never."""
    low, middle, high = (float(np.quantile(values, q, method="higher")) for q in (0.25, 0.5, 0.75))
    return f"{_text(middle, form)} ({_text(low, form)} to {_text(high, form)})"


def _text(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "never"


def _rows(name: str, runs: Sequence[Run], ours: Sequence[Run], marks: Sequence[int]) -> Iterator[tuple[str, ...]]:
    """What an optimiser has found at each mark, and how much that is above what ours has: all pairs of seeds."""
    for mark in marks:
        best, mine = ([run.best[mark - 1] for run in each] for each in (runs, ours))
        excess = [100 * (x - 1) for x in best]
        compared = ("", "")
        if runs is not ours:
            compared = (_spread([b / a for a in mine for b in best], ".3f"), f"{_chance(best, mine):.1g}")
        evaluated = int(np.median([run.evaluated[mark - 1] for run in runs]))
        yield name, str(mark), str(evaluated), _spread(excess, ".2f"), f"{max(excess):.2f}", *compared


def _chance(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """Probability that the smaller values of the second come by chance (Mann-Whitney, one-sided)."""
    return float(mannwhitneyu(theirs, ours, alternative="greater").pvalue)


def _needed(runs: Sequence[Run]) -> list[float]:
    return [run.reached(_NEAR) for run in runs]


def _describe(table: Table) -> None:
    """What the space is like, so that a reader can judge how easy it is."""
    valid = len(table.scores)
    proof = "no proof" if table.gap is None else f"largest gap {table.gap:.2%}"
    print(
        f"{table.choices} designs, {valid} valid within the budget, {table.different} of them no mirror images, "
        f"{table.distinct} different scores; all evaluated in {table.seconds:.0f} s, mappings: {proof}"
    )
    spread = ", ".join(
        f"{q:.2%} {value:.2f}" for q, value in zip(_QUANTILES, np.quantile(table.ordered, _QUANTILES), strict=True)
    )
    print(f"score over optimum by quantile: {spread}")
    near = ", ".join(f"{excess:.0%}: {table.within(excess)}" for excess in (0.0, 0.01, _NEAR, 0.05, 0.1))
    print(f"designs within so much of the optimum: {near}")


def _write_csv(path: Path, found: dict[str, list[Run]]) -> None:
    """Every improvement of every run, and its end."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("optimiser", "seed", "proposals", "evaluated", "best_over_optimum"))
        for name, runs in found.items():
            for run in runs:
                better = np.nonzero(np.diff(run.best, prepend=np.inf) < 0)[0].tolist()
                for i in dict.fromkeys([*better, len(run.best) - 1]):
                    writer.writerow((name, run.seed, i + 1, run.evaluated[i], f"{run.best[i]:.9g}"))


def main(arguments: list[str] | None = None) -> int:
    """Measure; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search.quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", nargs="?", type=Path, default=DEFAULT, help="experiment (reduced.yaml)")
    parser.add_argument("--layers", help=f"beginning of layers' names ({DEFAULT_LAYERS}; all of a file of your own)")
    parser.add_argument("--budget", type=float, default=0.1, help="proposals, as a share of the designs (0.1)")
    parser.add_argument("--seeds", type=int, default=10, help="runs per optimiser (10)")
    parser.add_argument("--workers", type=int, default=2, help="processes that evaluate all designs (2)")
    parser.add_argument("--csv", type=Path, help="write every improvement of every run")
    options = parser.parse_args(arguments)
    if options.seeds < 1 or options.workers < 1 or not 0 < options.budget <= 1:
        raise BadInputError("--seeds and --workers must be >= 1, --budget in 0..1")
    default = options.file == DEFAULT
    layers = options.layers or (DEFAULT_LAYERS if default else None)
    text = read_experiment(options.file, layers)
    table = enumerate_all(text, options.file, layers, options.workers)
    proposals = math.ceil(options.budget * table.different)
    marks = [max(1, round(part * proposals)) for part in _PARTS]
    _describe(table)
    found: dict[str, list[Run]] = {}
    with Progress(transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("searches", total=len(ARMS) * options.seeds)
        for name, (optimiser, encoding) in ARMS.items():
            for point in points(text, options.file, optimiser, encoding, options.seeds, proposals):
                found.setdefault(name, []).append(search(point, table, proposals))
                progress.advance(bar)
    found[_BLIND] = [blind(table, seed, proposals) for seed in range(options.seeds)]
    if options.csv:
        _write_csv(options.csv, found)
    mine, chance = found[_OURS], found[_RANDOM]
    for name, runs in found.items():
        needed = _needed(runs)
        designs = [run.evaluated[int(n) - 1] if math.isfinite(n) else n for run, n in zip(runs, needed, strict=True)]
        never = sum(map(math.isinf, needed))
        print(
            f"{name}: within {_NEAR:.0%} after {_spread(needed, '.0f')} proposals, {_spread(designs, '.0f')} designs; "
            f"{never} of {len(runs)} runs never"
        )
    excess = float(np.median([run.best[-1] for run in mine])) - 1
    by_chance = max(
        _chance([run.best[-1] for run in chance], [run.best[-1] for run in mine]),
        _chance(_needed(chance), _needed(mine)),
    )
    missed = []
    if excess > _NEAR:
        missed.append(f"{_OURS}: median {excess:.2%} above the optimum (target {_NEAR:.0%})")
    if options.seeds >= _LEAST_SEEDS and by_chance > _MOST_P:
        missed.append(f"{_OURS} against {_RANDOM}: p = {by_chance:.2g} (target {_MOST_P:g})")
    if default and table.distinct < _LEAST_DESIGNS:
        missed.append(f"only {table.distinct} designs differ in their score (target {_LEAST_DESIGNS})")
    header = (
        "median (quartiles) of the seeds",
        "proposals",
        "evaluated",
        "% above the optimum",
        "worst",
        f"best over {_OURS}'s",
        "p",
    )
    figures = (
        f"search quality: {_OURS} {excess:.2%} above the optimum of {len(table.scores)} designs after {proposals} "
        f"proposals, within {_NEAR:.0%} after {_spread(_needed(mine), '.0f')}, "
        f"{_RANDOM} {_spread(_needed(chance), '.0f')}"
    )
    rows = (row for name, runs in found.items() for row in _rows(name, runs, mine, marks))
    return report(header, rows, missed, figures, passed=not missed)


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
