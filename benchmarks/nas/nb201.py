"""Searches of NAS-Bench-201 against its true fronts, which are known: all 15,625 cells are trained and measured.

    python -m benchmarks.nas.nb201 [--hardware FILE] [--cost NAME] [--protocol published|alone|honest] [--seeds N]
                                   [--variants]

``FILE`` is an .npz of vectors over the cells, ``.._lat_ms`` and ``.._energy_mj``; a device with both is searched for
its EDP. ``--cost`` takes those costs whose names contain a text. For each cost, searches minimise it and maximise
accuracy; a query buys the accuracy of one cell, and what is asked for again is free. Costs come from a model or a table
and are known beforehand: the surrogate makes use of that, and is shown without it as well ("costs unknown").

Hypervolume: accuracy above 85, 60 or 30 % (CIFAR-10, CIFAR-100, ImageNet16-120) times cost below the greatest, on
linear axes; the ratio is to the true front's. Regret: points of accuracy below the best cell. Three protocols: searches
may ask for the 200-epoch test accuracy, by which they are judged ("published": as published figures do); the same for
accuracy "alone" (with ``--variants`` also by other acquisitions and the surrogate's ensemble); and the "honest" one,
which asks for validation accuracy after 12 epochs, and is judged by the test accuracy of the front that it delivers.
Targets are for the first: see benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from benchmarks._common import BadInputError, report
from benchmarks.nas._nb201 import BLIND, CELLS, VARIANTS, CostColumn, front, hypervolume, read_costs, run
from codesign.nas.accuracy.table import Oracle, nas_bench_201_accuracies

DEFAULT = Path(__file__).parent / "data" / "nb201_hardware.npz"
MARKS = (100, 200, 500, 1000)
_BEST = "surrogate"
_OTHERS = ("nsga2", "regularised_evolution", "random")
_ARMS = (_BEST, BLIND, *_OTHERS)
_HONEST_ARMS = (_BEST, "nsga2", "random")
_ALONE_ARMS = (_BEST, "regularised_evolution", "ofa_evolution", "reinforce", "random")
_PROTOCOLS = ("published", "alone", "honest")
#: Least mean ratio of hypervolumes of the best strategy, by cost and queries. With other costs it must not be below
#: any other strategy.
_TARGETS = {
    "eyeriss_cifar10 EDP": {100: 0.985, 500: 0.996},
    "help_raspi4 latency": {100: 0.97, 500: 0.985},
}
#: The cost with which the best cell must be known, in the median, and after how many queries.
_NO_REGRET_COST = "eyeriss_cifar10 EDP"
_NO_REGRET = 200

Runs = Sequence[NDArray[np.int64]]


def _spread(values: Sequence[float], form: str) -> str:
    return f"{np.mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def _ratios(runs: Runs, column: CostColumn, mark: int) -> list[float]:
    whole = hypervolume(np.arange(CELLS), column)
    return [hypervolume(found[:mark], column) / whole for found in runs]


def _regrets(runs: Runs, data_set: str, mark: int) -> list[float]:
    accuracy = nas_bench_201_accuracies(data_set, "test_200")
    return [float(accuracy.max() - accuracy[found[:mark]].max()) for found in runs]


def _delivered(runs: Runs, column: CostColumn, mark: int) -> tuple[list[float], list[float]]:
    """Ratio and regret of what is best by the validation accuracy that a search knows."""
    known = nas_bench_201_accuracies(column.data_set, "val_12")
    accuracy = nas_bench_201_accuracies(column.data_set, "test_200")
    whole = hypervolume(np.arange(CELLS), column)
    ratios, regrets = [], []
    for found in runs:
        rows = found[:mark]
        ratios.append(hypervolume(front(rows, known, column.values), column) / whole)
        regrets.append(float(accuracy.max() - accuracy[rows[known[rows].argmax()]]))
    return ratios, regrets


def _rows(
    columns: Sequence[CostColumn], found: Mapping[tuple[str, str, str], Runs], marks: Sequence[int]
) -> Iterator[tuple[str, ...]]:
    for column in columns:
        for arm in _ARMS:
            for mark in marks if (column.name, "test_200", arm) in found else ():
                runs = found[column.name, "test_200", arm]
                yield (
                    column.name, "test, 200 epochs", arm, str(mark), _spread(_ratios(runs, column, mark), ".4f"),
                    _spread(_regrets(runs, column.data_set, mark), ".2f"),
                )  # fmt: skip
        for arm in _HONEST_ARMS:
            for mark in marks if (column.name, "val_12", arm) in found else ():
                ratios, regrets = _delivered(found[column.name, "val_12", arm], column, mark)
                yield (
                    column.name, "validation, 12 epochs", arm, str(mark), _spread(ratios, ".4f"),
                    _spread(regrets, ".2f"),
                )  # fmt: skip
        if (column.name, "val_12", _BEST) in found:
            ratios, regrets = _delivered([np.arange(CELLS)], column, CELLS)
            yield column.name, "validation, 12 epochs", "all cells", str(CELLS), f"{ratios[0]:.4f}", f"{regrets[0]:.2f}"
    for data_set in dict.fromkeys(column.data_set for column in columns):
        for arm in (*_ALONE_ARMS, *VARIANTS):
            for mark in marks if (data_set, "alone", arm) in found else ():
                regrets = _regrets(found[data_set, "alone", arm], data_set, mark)
                yield f"{data_set}, accuracy alone", "test, 200 epochs", arm, str(mark), "", _spread(regrets, ".2f")


def _missed(
    columns: Sequence[CostColumn], found: Mapping[tuple[str, str, str], Runs], marks: Sequence[int]
) -> Iterator[str]:
    for column in columns:
        runs = found.get((column.name, "test_200", _BEST))
        if runs is None:
            continue
        ratios = {mark: float(np.mean(_ratios(runs, column, mark))) for mark in marks}
        for mark, least in _TARGETS.get(column.name, {}).items():
            if ratios.get(mark, 1.0) < least:
                yield f"{column.name}: {_BEST} has {ratios[mark]:.4f} after {mark} queries (target {least})"
        for other in _OTHERS if column.name not in _TARGETS else ():
            for mark in marks:
                theirs = float(np.mean(_ratios(found[column.name, "test_200", other], column, mark)))
                if ratios[mark] < theirs:
                    yield f"{column.name}: {_BEST} has {ratios[mark]:.4f} after {mark} queries, {other} {theirs:.4f}"
        regret = float(np.median(_regrets(runs, column.data_set, _NO_REGRET)))
        if column.name == _NO_REGRET_COST and _NO_REGRET in marks and regret > 0:
            yield f"{column.name}: {_BEST} misses {regret:.2f} points after {_NO_REGRET} queries (target 0)"


def main(arguments: list[str] | None = None) -> int:
    """Search; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.nas.nb201",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--hardware", type=Path, default=DEFAULT, help="costs of the cells (Eyeriss, Pi 4, Pi 5)")
    parser.add_argument("--cost", help="only costs whose names contain this")
    parser.add_argument("--protocol", choices=_PROTOCOLS, help="only this one")
    parser.add_argument("--variants", action="store_true", help="accuracy alone also by the surrogate's options")
    parser.add_argument("--list", action="store_true", help="name the costs of the file and stop")
    parser.add_argument("--seeds", type=int, default=20, help="runs per strategy (20)")
    parser.add_argument("--queries", type=int, default=MARKS[-1], help="queries per run (1000)")
    parser.add_argument("--workers", type=int, default=2, help="processes (2)")
    options = parser.parse_args(arguments)
    if options.seeds < 1 or options.workers < 1 or options.queries < MARKS[0]:
        raise BadInputError(f"--seeds and --workers must be >= 1, --queries >= {MARKS[0]}")
    every = read_costs(options.hardware)
    columns = [column for column in every if options.cost is None or options.cost in column.name]
    if options.list or not columns:
        listed = ", ".join(column.name for column in every)
        if not columns:
            raise BadInputError(f"{options.hardware}: no cost's name contains {options.cost!r} (costs: {listed})")
        print(listed)
        return 0
    marks = [mark for mark in MARKS if mark <= options.queries]
    alone = (*_ALONE_ARMS, *VARIANTS) if options.variants else _ALONE_ARMS
    found = _searched(columns, options.protocol, alone, options.seeds, marks[-1], options.workers)
    missed = list(_missed(columns, found, marks))
    header = ("cost", "query buys", "strategy", "queries", "part of the front: mean (range)", "regret: mean (range)")
    reached = [
        f"{np.mean(_ratios(found[column.name, 'test_200', _BEST], column, marks[0])):.4f} ({column.name})"
        for column in columns
        if (column.name, "test_200", _BEST) in found
    ]
    figures = f"NAS-Bench-201, {options.seeds} seeds"
    if reached:
        figures += f": {_BEST} has after {marks[0]} queries of the fronts {', '.join(reached)}"
    return report(header, _rows(columns, found, marks), missed, figures, not missed)


def _searched(
    columns: Sequence[CostColumn], protocol: str | None, alone: Sequence[str], seeds: int, queries: int, workers: int
) -> dict[tuple[str, str, str], list[NDArray[np.int64]]]:
    """Runs by (cost, oracle, arm), and by (data set, "alone", arm)."""
    futures: dict[tuple[str, str, str], list[Future[NDArray[np.int64]]]] = {}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:

        def submit(key: tuple[str, str, str], column: CostColumn, oracle: Oracle, alone: bool = False) -> None:
            if key not in futures:
                futures[key] = [pool.submit(run, key[2], column, oracle, queries, seed, alone) for seed in range(seeds)]

        for column in columns:
            for arm in _ARMS if protocol in (None, "published") else ():
                submit((column.name, "test_200", arm), column, "test_200")
            for arm in _HONEST_ARMS if protocol in (None, "honest") else ():
                submit((column.name, "val_12", arm), column, "val_12")
            for arm in alone if protocol in (None, "alone") else ():
                submit((column.data_set, "alone", arm), column, "test_200", alone=True)
        with Progress(transient=True, disable=not sys.stderr.isatty()) as progress:
            bar = progress.add_task("searches", total=sum(map(len, futures.values())))
            found: dict[tuple[str, str, str], list[NDArray[np.int64]]] = {}
            for key, group in futures.items():
                found[key] = []
                for future in group:
                    found[key].append(future.result())
                    progress.advance(bar)
    return found


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
