"""How fast a search evaluates candidates, and what a second worker adds.

    python -m benchmarks.search.speed [--network NAME] [--pairs N] [--pair-candidates N] [--candidates N]

The experiment is the template's (NAAS's space within Eyeriss's budget, CMA-ES, the optimal mapper, a ledger in a
temporary folder) with 20 candidates per generation. Short runs with one and with two workers take turns, the same
candidates in each. The ratio of a pair counts candidates per second once every worker has finished one, so it leaves
out what every run pays once: starting processes. Then comes a run of 300 candidates with two workers, start included.
Every mapping in the ledgers must be certified within 1 % of its optimum.

"busy" is the part of the workers' time in which they have a candidate, "core" the part of such time in which they have
a processor core. Pairs in which other programs left the workers less than nine tenths of a core each say nothing about
the search and are left out; with none left the ratio counts as missed. What pairs would give without other programs is
estimated for all: 2 x (busy, two workers over one) x (CPU time per candidate, one worker over two).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress as Bar

from benchmarks._common import BadInputError, report
from codesign import networks
from codesign.experiments import run
from codesign.experiments.experiment import Experiment
from codesign.experiments.ledger import Ledger
from codesign.networks import NetworkError

_POPULATION = 20
_MOST_MINUTES, _MOST_GAP, _LEAST_RATIO = 5.0, 0.01, 1.8
#: Of a processor core for each worker, below which other programs decide the ratio.
_LEAST_CORE = 0.9
#: Of the target's time: other numbers of candidates have as much time each.
_TARGET_CANDIDATES = 300
_SHEET = """\
name: speed
seed: {seed}
networks: {network}
hardware: {{space: naas, budget: {{like: eyeriss}}}}
search: {{optimiser: cma_es, population: {population}, generations: {generations}}}
workers: {{processes: {workers}}}
"""


@dataclass(frozen=True)
class Measured:
    """One run: wall-clock and CPU seconds in all, candidates, and what its ledger says of them.

    ``rate`` is candidates per second after the first one of every worker, ``busy`` the part of the workers' time, from
    then on, that evaluations took, ``each_s`` wall-clock and ``each_cpu_s`` CPU seconds of one evaluation, ``digests``
    which candidates there were.
    """

    seconds: float
    cpu_s: float
    rate: float
    busy: float
    each_s: float
    each_cpu_s: float
    digests: frozenset[str]
    layers: int
    gap: float
    unproven: int
    load: float

    @property
    def candidates(self) -> int:
        """How many were evaluated."""
        return len(self.digests)

    @property
    def core(self) -> float:
        """How much of a processor core a worker had while it evaluated."""
        return self.each_cpu_s / self.each_s


def measure(network: str, seed: int, workers: int, candidates: int) -> Measured:
    """Run an experiment in a temporary folder."""
    text = _SHEET.format(
        seed=seed, network=network, population=_POPULATION, generations=candidates // _POPULATION, workers=workers
    )
    finished: list[float] = []
    workers_cpu_s: list[float] = []

    def note(progress: run.Progress) -> None:
        now = time.perf_counter()
        if progress.evaluated > len(finished):
            workers_cpu_s.extend([_children_cpu_s()] * (progress.evaluated - len(finished)))
            finished.extend([now] * (progress.evaluated - len(finished)))

    with tempfile.TemporaryDirectory() as folder:
        experiment = Experiment.parse(text, Path(folder) / "experiment.yaml")
        load = os.getloadavg()[0]
        start, cpu = time.perf_counter(), _cpu_s()
        run.start(experiment, Path(folder) / "run", report=note)
        seconds, cpu = time.perf_counter() - start, _cpu_s() - cpu
        with Ledger(Path(folder) / "run", write=False) as ledger:
            evaluated, layers = _rows(ledger, "candidates"), _rows(ledger, "layers")
    inside = [float(str(row["seconds"])) for row in evaluated]
    gaps = [1.0 if row["gap"] is None else float(str(row["gap"])) for row in layers]
    # The last candidate's report may come after the search has ended.
    finished.extend([start + seconds] * (len(evaluated) - len(finished)))
    # Every worker's first candidate loads kernels. The ledger has candidates in the order in which they finished.
    first, inside, ends = finished[workers - 1], inside[workers:], finished[workers:]
    after = finished[-1] - first
    return Measured(
        seconds,
        cpu,
        len(inside) / after,
        sum(min(each, end - first) for each, end in zip(inside, ends, strict=True)) / (workers * after),
        statistics.mean(inside),
        (workers_cpu_s[-1] - workers_cpu_s[workers - 1]) / (len(workers_cpu_s) - workers),
        frozenset(str(row["digest"]) for row in evaluated),
        len(layers),
        max(gaps),
        sum(gap > 0 for gap in gaps),
        load,
    )


def _rows(ledger: Ledger, table: str) -> list[dict[str, object]]:
    columns, rows = ledger.rows(table)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _cpu_s() -> float:
    """CPU seconds of this process and of all workers that have ended."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def _children_cpu_s() -> float:
    """CPU seconds of the processes that this one has started and that are still there."""
    return sum(
        # Linux's number for the CPU clock of another process.
        time.clock_gettime((~child.pid << 3) | 2)
        for child in multiprocessing.active_children()
        if child.pid is not None
    )


def _row(name: str, found: Measured) -> tuple[str, ...]:
    return (
        name,
        str(found.candidates),
        f"{found.seconds:.1f}",
        f"{found.cpu_s:.1f}",
        f"{found.rate:.2f}",
        f"{found.rate * found.layers / found.candidates:.0f}",
        f"{1e3 * found.each_s:.0f}",
        f"{1e3 * found.each_cpu_s:.0f}",
        f"{found.busy:.0%}",
        f"{found.core:.0%}",
        f"{found.gap:.2%}",
        str(found.unproven),
        f"{found.load:.1f}",
    )


def _figures(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})" if values else "?"


def main(arguments: list[str] | None = None) -> int:
    """Measure; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--network", default="mobilenet_v2", help="name of a network (mobilenet_v2)")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of short runs (5)")
    parser.add_argument("--pair-candidates", type=int, default=60, help="candidates of a short run (60)")
    parser.add_argument("--candidates", type=int, default=_TARGET_CANDIDATES, help="candidates of the long run (300)")
    options = parser.parse_args(arguments)
    least = f"at least {_POPULATION}, one generation"
    if options.pairs < 1 or min(options.candidates, options.pair_candidates) < _POPULATION:
        raise BadInputError(f"--pairs must be at least 1, --pair-candidates and --candidates {least}")
    try:
        networks.load(options.network)
    except NetworkError as error:
        raise BadInputError(str(error)) from None
    rows, missed = [], []
    everything: list[Measured] = []
    ratios, undisturbed, estimates = [], [], []
    # Fills the kernel cache.
    measure(options.network, 0, 1, _POPULATION)
    with Bar(transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("runs", total=2 * options.pairs + 1)
        for pair in range(options.pairs):
            both: dict[int, Measured] = {}
            # Who goes first takes turns as well.
            for workers in (1, 2) if pair % 2 == 0 else (2, 1):
                both[workers] = measure(options.network, pair, workers, options.pair_candidates)
                bar.advance(task)
            one, two = both[1], both[2]
            ratios.append(two.rate / one.rate)
            estimates.append(2 * two.busy / one.busy * one.each_cpu_s / two.each_cpu_s)
            if min(one.core, two.core) >= _LEAST_CORE:
                undisturbed.append(ratios[-1])
            rows += [
                _row(f"pair {pair + 1}, {workers} worker{'s'[: workers - 1]}", both[workers]) for workers in (1, 2)
            ]
            everything += both.values()
            if one.digests != two.digests:
                missed.append(f"pair {pair + 1}: one and two workers evaluated different candidates")
        long = measure(options.network, 0, 2, options.candidates)
    rows.append(_row("long run, 2 workers", long))
    everything.append(long)
    gap = max(found.gap for found in everything)
    minutes = long.seconds / 60
    limit = _MOST_MINUTES * options.candidates / _TARGET_CANDIDATES
    if minutes > limit:
        missed.append(f"{long.candidates} candidates took {minutes:.1f} minutes (target {limit:g})")
    if gap > _MOST_GAP:
        missed.append(f"a mapping is certified within {gap:.2%} only (target {_MOST_GAP:.0%})")
    if not undisturbed:
        missed.append(f"two workers: other programs left them less than {_LEAST_CORE:.0%} of a core each in every pair")
    elif statistics.median(undisturbed) < _LEAST_RATIO:
        missed.append(f"two workers: {statistics.median(undisturbed):.2f} x one (target {_LEAST_RATIO:g})")
    header = (
        "run",
        "candidates",
        "s",
        "CPU-s",
        "per s",
        "layers/s",
        "ms each",
        "CPU-ms",
        "busy",
        "core",
        "largest gap",
        "not exact",
        "load",
    )
    figures = (
        f"search speed: {long.candidates} candidates x {long.layers / long.candidates:.0f} layers in "
        f"{long.seconds:.0f} s, two workers {_figures(undisturbed)} x one in {len(undisturbed)} undisturbed pairs, "
        f"{_figures(ratios)} in all, estimated {_figures(estimates)}; "
        f"{sum(found.layers for found in everything)} mappings within {gap:.2%}"
    )
    return report(header, rows, missed, figures, passed=not missed)


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
