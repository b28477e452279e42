"""NAS-Bench-201 as a testbed: costs from files, searches, and how much of the true front they find."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._common import BadInputError, measurable
from codesign.files import read_arrays
from codesign.nas import objectives
from codesign.nas.accuracy.table import NasBench201Table, Oracle, nas_bench_201_accuracies
from codesign.nas.search import search
from codesign.nas.spaces import Codes, NasBench201
from codesign.nas.strategies import STRATEGIES, Surrogate
from codesign.networks import NetworkError

CELLS = 15_625
#: Accuracies in per cent from which a point counts in the hypervolume.
LEAST_ACCURACY = {"cifar10": 85.0, "cifar100": 60.0, "imagenet16": 30.0}
_SUFFIX = re.compile(r"(?P<device>.+?)_(?P<what>lat_ms|energy_mj)(?:_reconstructed)?")
#: Tasks whose accuracies are none of NAS-Bench-201's.
_OTHER_TASKS = ("darcy", "ninapro")
#: Names of arms: a strategy, and whether it knows the costs of all cells.
BLIND = "surrogate, costs unknown"
#: Arms with options of the surrogate, for one objective.
VARIANTS: dict[str, dict[str, str]] = {
    "surrogate, expected improvement": {"acquisition": "expected_improvement"},
    "surrogate, Thompson": {"acquisition": "thompson"},
    "surrogate, ensemble": {"model": "ensemble"},
    "surrogate, ensemble, expected improvement": {"model": "ensemble", "acquisition": "expected_improvement"},
    "surrogate, ensemble, Thompson": {"model": "ensemble", "acquisition": "thompson"},
}


@dataclass(frozen=True)
class CostColumn:
    """A cost of every cell (15625,): EDP where a file has latency and energy of a device, else latency or energy."""

    name: str
    data_set: str
    values: NDArray[np.float64]


def read_costs(path: Path) -> list[CostColumn]:
    """All costs of a file of latencies (``.._lat_ms``) and energies (``.._energy_mj``) of the cells.

    Raises :class:`~benchmarks._common.BadInputError` for a file that is no such table.
    """
    try:
        data = read_arrays(path)
    except ValueError as error:
        raise BadInputError(str(error)) from None
    measured: dict[str, dict[str, NDArray[np.float64]]] = {}
    for key, values in data.items():
        match = _SUFFIX.fullmatch(key)
        if match and not any(task in key for task in _OTHER_TASKS):
            of_device = measured.setdefault(match["device"], {})
            if match["what"] in of_device:
                raise BadInputError(f"{path}: {key}: {match['device']} has {match['what']} already")
            of_device[match["what"]] = _checked(path, key, values)
    if not measured:
        raise BadInputError(f"{path}: no latency or energy of NAS-Bench-201 (keys: {', '.join(data) or 'none'})")
    order = _order(path, data)
    return [
        _column(device, {what: values[order] for what, values in found.items()}) for device, found in measured.items()
    ]


def _order(path: Path, data: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """(15625,) where in a file the cells are: in the order of their numbers, unless ``arch`` says otherwise."""
    if "arch" not in data:
        return np.arange(CELLS)
    codes = data["arch"]
    try:
        if codes.dtype.kind not in "iu":
            raise NetworkError(f"must be integers (got {codes.dtype})")
        order = np.argsort(NasBench201().index(NasBench201().check_all(codes)))
    except NetworkError as error:
        raise BadInputError(f"{path}: arch: {error}") from None
    if len(codes) != CELLS or len(np.unique(codes, axis=0)) != CELLS:
        raise BadInputError(f"{path}: arch: must be all {CELLS} cells, each once (got {len(codes)})")
    return order


def _checked(path: Path, key: str, values: Any) -> NDArray[np.float64]:
    if values.shape != (CELLS,) or values.dtype.kind not in "fiu":
        raise BadInputError(
            f"{path}: {key}: must be {CELLS} numbers, one per cell (got shape {values.shape} of {values.dtype})"
        )
    return measurable(path, key, values)


def _column(device: str, found: Mapping[str, NDArray[np.float64]]) -> CostColumn:
    data_set = next((name for name in ("cifar100", "imagenet16") if name in device), "cifar10")
    if len(found) == 2:
        return CostColumn(f"{device} EDP", data_set, found["lat_ms"] * found["energy_mj"])
    if "lat_ms" in found:
        return CostColumn(f"{device} latency", data_set, found["lat_ms"])
    return CostColumn(f"{device} energy", data_set, found["energy_mj"])


def hypervolume(rows: NDArray[np.int64], column: CostColumn) -> float:
    """What cells dominate, in parts of the whole rectangle (see the command's help)."""
    accuracy = nas_bench_201_accuracies(column.data_set, "test_200")
    least, most = LEAST_ACCURACY[column.data_set], float(accuracy.max())
    low, high = float(column.values.min()), float(column.values.max())
    rows = rows[(accuracy[rows] > least) & (column.values[rows] < high)]
    order = rows[np.lexsort((-accuracy[rows], column.values[rows]))]
    if not len(order):
        return 0.0
    best = np.maximum.accumulate(accuracy[order])
    widths = np.diff(np.append(column.values[order], high))
    return float((widths * (best - least)).sum() / ((high - low) * (most - least)))


def front(rows: NDArray[np.int64], accuracy: NDArray[np.float64], cost: NDArray[np.float64]) -> NDArray[np.int64]:
    """The cells that no other of them dominates."""
    order = rows[np.lexsort((-accuracy[rows], cost[rows]))]
    best = np.maximum.accumulate(accuracy[order])
    return order[np.diff(best, prepend=-np.inf) > 0]


def run(arm: str, column: CostColumn, oracle: Oracle, queries: int, seed: int, alone: bool) -> NDArray[np.int64]:
    """Numbers of the cells that a search asks for, in order; ``alone``: for accuracy only."""
    table = NasBench201Table(column.data_set, oracle)
    space = NasBench201(column.data_set)

    def costs(codes: Codes) -> NDArray[np.float64]:
        return column.values[space.index(codes)][:, None]

    def evaluate(codes: Codes) -> NDArray[np.float64]:
        accuracies = table.accuracies(codes)
        return objectives.pareto(accuracies, np.zeros((len(codes), 0)) if alone else costs(codes))

    kind = STRATEGIES["surrogate" if arm == BLIND or arm in VARIANTS else arm]
    known: dict[str, Any] = {"costs": costs} if kind is Surrogate and arm != BLIND and not alone else {}
    known |= VARIANTS.get(arm, {})
    strategy = kind(space, seed=seed, **known)
    return space.index(search(strategy, evaluate, queries).codes)
