"""AnalogNAS on a small task: does its surrogate order networks, and is what it finds better than a ResNet of its size?

    python -m benchmarks.nas.analognas [FILE] [--seeds N] [--parameters P] [--avm T]

FILE is a table as ``benchmarks.nas.analog_table`` makes it: networks that were really trained, and evaluated as their
devices drift. First, surrogates learn from three quarters of the networks and order the others (Kendall's tau), with
the pairwise hinge loss and with the squared error, for five ways to divide the table. Where the table has networks that
were trained twice, the tau between the two trainings says what noise leaves to be had. Then a surrogate of the whole
table guides the search, and what it finds is trained and evaluated on images that neither training nor search has seen,
against ResNets of equal parameters and against the search that was published with the paper: it must not be behind the
best of three ResNets by more than two standard errors over trainings. Of other tables with these columns, such as those
published with the paper, only the first part is done.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau

from benchmarks._common import BadInputError, report
from benchmarks.nas._analog_digits import SPACE, measure, size
from benchmarks.nas.analog_table import DEFAULT as TABLE
from codesign.nas.analognas import Found, Limits, Surrogate, evolve, search_at_random, shipped_search
from codesign.nas.analognas.ranking import Loss
from codesign.nas.analognas.tables import Table, read_table
from codesign.nas.spaces.analog_resnet import Architecture, MainBlock, decode
from codesign.networks import NetworkError

_SPLITS = 5
_LOSSES: tuple[Loss, ...] = ("hinge", "squared")
_LEAST = 20
#: Of the first training to compare with; no network of the table was trained from it.
_SEED = 1_000_000
_RATIO = "AnalogNAS, accuracy over deviation"


def held_out_tau(table: Table, loss: Loss) -> NDArray[np.float64]:
    """Kendall's tau of each label on the networks left out, (splits, 3)."""
    found = []
    for split in range(_SPLITS):
        order = np.random.default_rng(split).permutation(len(table.network))
        cut = 3 * len(order) // 4
        train, test = table.where(order[:cut]), table.where(order[cut:])
        predicted = Surrogate(loss, seed=split).fit(train.features, train.labels).predict_features(test.features)
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
    parser.add_argument("--avm", type=float, default=None, help="limit in points (default: the table's median)")
    options = parser.parse_args(arguments)
    if options.seeds < 0:
        raise BadInputError("--seeds must be at least 0")
    torch.set_num_threads(1)
    try:
        table = read_table(options.file)
    except ValueError as error:
        raise BadInputError(str(error)) from None
    if len(table.network) < _LEAST:
        raise BadInputError(f"{options.file}: must have at least {_LEAST} networks (got {len(table.network)})")
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
    if not _of_the_digits(table):
        print("The networks are not of the space for the digits: there is nothing to search or train.")
        return code
    try:
        avm = float(np.median(once.labels.avm)) if options.avm is None else options.avm
        limits = Limits(avm, options.parameters, size)
    except ValueError as error:
        raise BadInputError(str(error)) from None
    return code | _compare(once, limits, options.seeds)


def _of_the_digits(table: Table) -> bool:
    """Whether a table is of networks that this benchmark can train."""
    try:
        for row in table.features.astype(int).tolist():
            SPACE.code(decode(row, SPACE.kernels[0]))
    except NetworkError:
        return False
    return True


def _compare(table: Table, limits: Limits, seeds: int) -> int:
    """Search, and train what was found and what it is compared with."""
    start = time.perf_counter()
    surrogate = Surrogate(seed=0).fit(table.features, table.labels)
    fitted = time.perf_counter() - start
    start = time.perf_counter()
    found = evolve(surrogate, SPACE, limits, objective="accuracy", seed=0)
    searched = time.perf_counter() - start
    others = {
        _RATIO: evolve(surrogate, SPACE, limits, objective="accuracy/std", seed=0),
        "random search": search_at_random(
            surrogate, SPACE, limits, objective="accuracy", evaluations=found.evaluations, seed=0
        ),
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
    candidates = {"AnalogNAS": found.architecture, _RATIO: others[_RATIO].architecture}
    candidates["published code"] = others["published code"].architecture
    for depth in (1, 2, 3):
        candidates[f"ResNet-{6 * depth + 2}"] = resnet(depth, found.parameters)
    rows = []
    month: dict[str, float] = {}
    error: dict[str, float] = {}
    for name, architecture in candidates.items():
        trained = [measure(architecture, seed=_SEED + seed, split="test") for seed in range(seeds)]
        accuracy = np.array([result.mean() for result in trained])
        avm = np.array([result.avm for result in trained])
        month[name] = accuracy[:, -1].mean()
        error[name] = accuracy[:, -1].std(ddof=1) / np.sqrt(seeds) if seeds > 1 else 0.0
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
    margin = float(np.hypot(error["AnalogNAS"], error[best]))
    off = f"{100 * gain:+.1f} +- {100 * margin:.1f}"
    figures = f"analognas: after a month {off} points (standard error) against the best ResNet of its size, {best}"
    return report(header, rows, [], figures, passed=bool(gain > -2 * margin))


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
