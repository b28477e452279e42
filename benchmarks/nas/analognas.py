"""AnalogNAS on a small task: does its surrogate order networks, and is what it finds better than a ResNet of its size?

    python -m benchmarks.nas.analognas [FILE] [--seeds N] [--parameters P] [--avm T]

FILE is a table as ``benchmarks.nas.analog_table`` makes it: networks that were really trained, and evaluated as their
devices drift. First, surrogates learn from three quarters of the networks and order the others (Kendall's tau), with
the pairwise hinge loss and with the squared error, for five ways to divide the table. Where the table has networks that
were trained twice, the tau between the two trainings says what noise leaves to be had. Then a surrogate of the whole
table guides the search, and what it finds is trained and evaluated on images that neither training nor search has seen,
against ResNets of equal parameters and against the search that was published with the paper.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau

from benchmarks._common import BadInputError, report
from benchmarks.nas._analog_digits import SPACE, measure, size
from benchmarks.nas.analog_table import COLUMNS
from benchmarks.nas.analog_table import DEFAULT as TABLE
from codesign.analog import TIMES_S
from codesign.nas.analognas import Found, Labels, Limits, Surrogate, evolve, search_at_random, shipped_search
from codesign.nas.spaces.analog_resnet import FEATURES, Architecture, MainBlock

_SPLITS = 5
_DAY = f"{TIMES_S[2]:.0f}s"
_LOSSES = ("hinge", "squared")


class Table(NamedTuple):
    """Networks (n,): their encodings (n, 22), labels, and which have been trained from which seed."""

    network: NDArray[np.int64]
    seed: NDArray[np.int64]
    features: NDArray[np.float64]
    labels: Labels

    def where(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Table:
        """Some of the rows."""
        labels = Labels(*(values[rows] for values in self.labels))
        return Table(self.network[rows], self.seed[rows], self.features[rows], labels)


def read_table(path: Path) -> Table:
    """Read a table; raises BadInputError for one with other columns or with what is no number."""
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(f"{path}: cannot be read: {error}") from None
    if len(rows) < 20:
        raise BadInputError(f"{path}: must have at least 20 networks (got {len(rows)})")
    missing = [column for column in COLUMNS if column not in rows[0]]
    if missing:
        raise BadInputError(f"{path}: column {missing[0]} is missing")
    values = np.zeros((len(rows), len(COLUMNS)))
    for number, row in enumerate(rows):
        for position, column in enumerate(COLUMNS):
            try:
                values[number, position] = float(row[column])
            except (TypeError, ValueError):
                raise BadInputError(f"{path}:{number + 2}: {column} must be a number (got {row[column]!r})") from None
    if not np.isfinite(values).all():
        raise BadInputError(f"{path}: numbers must be finite")
    by_name = dict(zip(COLUMNS, values.T, strict=True))
    first, last = (by_name[f"accuracy_{time:.0f}s"] for time in (TIMES_S[0], TIMES_S[-1]))
    labels = Labels(by_name[f"accuracy_{_DAY}"], by_name[f"std_{_DAY}"], 100 * (first - last))
    features = np.stack([by_name[name] for name in FEATURES], axis=1)
    return Table(by_name["network"].astype(np.int64), by_name["seed"].astype(np.int64), features, labels)


def held_out_tau(table: Table, loss: str) -> NDArray[np.float64]:
    """Kendall's tau of each label on the networks left out, (splits, 3)."""
    found = []
    for split in range(_SPLITS):
        order = np.random.default_rng(split).permutation(len(table.network))
        cut = 3 * len(order) // 4
        train, test = table.where(order[:cut]), table.where(order[cut:])
        predicted = Surrogate(loss, seed=split).fit(train.features, train.labels).predict_features(test.features)  # type: ignore[arg-type]
        found.append([kendalltau(p, y).statistic for p, y in zip(predicted, test.labels, strict=True)])
    return np.array(found)


def between_trainings(table: Table) -> tuple[int, list[float]]:
    """How many networks were trained twice, and the tau of each label between the two."""
    rows = [np.nonzero(table.network == network)[0] for network in np.unique(table.network)]
    pairs = np.array([found[:2] for found in rows if len(found) > 1])
    if len(pairs) < 5:
        return len(pairs), []
    return len(pairs), [kendalltau(values[pairs[:, 0]], values[pairs[:, 1]]).statistic for values in table.labels]


def resnet(depth: int, parameters: int) -> Architecture:
    """The ResNet with three stages of so many blocks (He et al. 2015, for CIFAR) with as many parameters as can be."""
    candidates = [
        Architecture(channels, tuple(MainBlock(depth, "A", widening) for widening in (1, 2, 2)))
        for channels in range(2, 65)
    ]
    return min(candidates, key=lambda architecture: abs(size(architecture) - parameters))


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nas.analognas", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=TABLE, metavar="FILE", help="table (CSV)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each network that is compared; 0 for none")
    parser.add_argument("--parameters", type=int, default=20_000, help="limit of the search")
    parser.add_argument("--avm", type=float, default=None, help="limit in points (default: the table's best quarter)")
    options = parser.parse_args(arguments)
    if options.seeds < 0:
        raise BadInputError("--seeds must be at least 0")
    torch.set_num_threads(1)
    table = read_table(options.file)
    _, first = np.unique(table.network, return_index=True)
    once = table.where(np.sort(first))
    taus = {loss: held_out_tau(once, loss) for loss in _LOSSES}
    repeated, noise = between_trainings(table)
    rows: list[tuple[object, ...]] = [
        (f"{loss} loss, left out", *(f"{m:.2f} ({low:.2f} to {high:.2f})" for m, low, high in _spread(tau)))
        for loss, tau in taus.items()
    ]
    if noise:
        rows.append((f"two trainings of {repeated} networks", *(f"{value:.2f}" for value in noise)))
    figures = ", ".join(f"{loss} {tau[:, 0].mean():.2f}" for loss, tau in taus.items())
    header = ("Kendall's tau", "accuracy after a day", "its deviation", "AVM")
    code = report(
        header,
        rows,
        [],
        f"analognas: tau of the accuracy on networks left out: {figures}",
        passed=bool(taus["hinge"][:, 0].mean() > 0),
    )
    try:
        limits = Limits(
            float(np.quantile(once.labels.avm, 0.25)) if options.avm is None else options.avm, options.parameters, size
        )
    except ValueError as error:
        raise BadInputError(str(error)) from None
    return code | _compare(once, limits, options.seeds)


def _compare(table: Table, limits: Limits, seeds: int) -> int:
    """Search, and train what was found and what it is compared with."""
    start = time.perf_counter()
    surrogate = Surrogate(seed=0).fit(table.features, table.labels)
    fitted = time.perf_counter() - start
    start = time.perf_counter()
    found = evolve(surrogate, SPACE, limits, seed=0)
    searched = time.perf_counter() - start
    others = {
        "random search": search_at_random(surrogate, SPACE, limits, evaluations=found.evaluations, seed=0),
        "published code": shipped_search(surrogate, SPACE, limits, seed=0),
    }
    for name, result in {"AnalogNAS": found, **others}.items():
        print(f"{name}: {_described(result)}")
    print(
        f"limits: AVM {limits.avm:.1f}, {limits.parameters} parameters; "
        f"learning {fitted:.1f} s, {found.evaluations} networks in {searched:.1f} s"
    )
    if not seeds:
        return 0 if found.feasible else 1
    candidates = {"AnalogNAS": found.architecture, "published code": others["published code"].architecture}
    for depth in (1, 2, 3):
        candidates[f"ResNet-{6 * depth + 2}"] = resnet(depth, found.parameters)
    rows, month = [], {}
    for name, architecture in candidates.items():
        trained = [measure(architecture, seed=10_000 + seed, split="test") for seed in range(seeds)]
        accuracy = np.array([result.mean() for result in trained])
        avm = np.array([result.avm for result in trained])
        month[name] = accuracy[:, -1].mean()
        deviation = np.mean([result.std()[2] for result in trained])
        rows.append(
            (
                name,
                size(architecture),
                f"{accuracy[:, 2].mean():.3f}",
                f"{deviation:.3f}",
                f"{month[name]:.3f} ({accuracy[:, -1].min():.3f} to {accuracy[:, -1].max():.3f})",
                f"{avm.mean():.1f} ({avm.min():.1f} to {avm.max():.1f})",
            )
        )
    best = max((name for name in month if name.startswith("ResNet")), key=lambda name: month[name])
    gain = month["AnalogNAS"] - month[best]
    header = ("network", "parameters", "after a day", "deviation", f"after a month ({seeds} trainings)", "AVM")
    figures = f"analognas: after a month {100 * gain:+.1f} points against the best ResNet of its size, {best}"
    return report(header, rows, [], figures, passed=bool(gain > 0))


def _spread(values: NDArray[np.float64]) -> list[tuple[float, float, float]]:
    return list(zip(values.mean(axis=0), values.min(axis=0), values.max(axis=0), strict=True))


def _described(found: Found) -> str:
    blocks = ", ".join(f"{b.depth} x {b.branches}{b.kind} widening {b.widening}" for b in found.architecture.blocks)
    beyond = "" if found.feasible else " BEYOND THE LIMITS"
    return (
        f"{found.architecture.channels} channels, {blocks}; {found.parameters} parameters; predicted accuracy "
        f"{found.accuracy:.3f} +- {found.std:.3f}, AVM {found.avm:.1f}{beyond}"
    )


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
