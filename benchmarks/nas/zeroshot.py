"""Zero-shot scores against values that others' code gave, and against trained accuracy.

    python -m benchmarks.nas.zeroshot [FILE ..] [--seeds N]

A FILE has ``networks`` (layer lists with scores: mean and standard deviation over seeds, and a ``deterministic`` block
with given weights and inputs) or ``rows`` (cells of NAS-Bench-201 by ``idx`` with their accuracies and scores).
Deterministic values must agree to 1e-4, means over seeds to four combined standard errors. On cells the rank
correlation (Kendall's tau-b) of a score with accuracy must not be more than 0.03 below that of the file's scores.
Without FILE, both that come with the project.
"""

from __future__ import annotations

import argparse
import math
import re
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from scipy.stats import kendalltau

from benchmarks._common import BadInputError, fields, read_json, report
from benchmarks.nas._layer_lists import build
from codesign.nas.spaces import nas_bench_201
from codesign.nas.zero_shot import SCORES, Data, NoScoreError, Zen, ZeroShotScore, generator, random_data, score
from codesign.networks import Network
from codesign.networks.torch_module import NetworkModule, initialise, to_torch, weighted_layers

_DATA = Path(__file__).parent / "data"
_MOST_RELATIVE, _MOST_ERRORS, _MOST_BELOW = 1e-4, 4.0, 0.03
_BATCH, _GRADSIGN_BATCH, _REPEATS = 16, 8, 32
#: Labels of the batch that is given; values of an image at most.
_LABELS, _MOST_VALUES = 10, 10**6
#: Figures of the file that are held against others' values; those of single cells vary with the drawn weights.
_RANKED = ("gradsign", "synflow", "naswot", "zen")
_COLUMNS = {"naswot": "naswot_every"}


@dataclass(frozen=True)
class _Way:
    """How a figure of the file is computed: the score, the eps of normalisations, and Gaussian weights if need be."""

    score: ZeroShotScore
    eps: float = 1e-5
    gaussian: bool = False


def _ways(name: str, given: bool) -> dict[str, _Way]:
    """By figure; ``given`` for weights that are not drawn."""
    zen = re.fullmatch(r"zen_eps(\d{1,9}(?:\.\d{1,9})?(?:e-?\d{1,2})?)", name)
    if zen:
        eps = float(zen[1])
        return {
            "repeat1_fresh_model": _Way(Zen(), eps),
            f"repeat{_REPEATS}_same_model": _Way(Zen(repeats=_REPEATS), eps),
            "frobenius_batchvar": _Way(Zen(batch_variance=True), eps),
        }
    known = {
        "zen": _Way(Zen(redraw=not given)),
        "zen_frobenius_batchvar": _Way(Zen(batch_variance=True, redraw=not given)),
        "gradsign_sum": _Way(SCORES["gradsign"]),
        "gradsign_sum_gaussinit": _Way(SCORES["gradsign"], gaussian=True),
        **{key: _Way(SCORES[key]) for key in SCORES if not key.startswith("zen")},
    }
    return {"": known[name]} if name in known else {}


def main(arguments: list[str] | None = None) -> int:
    """Compare; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.nas.zeroshot",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE")
    parser.add_argument("--seeds", type=int, default=10, help="drawings of weights and batch per network (10)")
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        raise BadInputError(f"--seeds must be at least 2 (got {options.seeds})")
    code = 0
    for path in options.files or [_DATA / "zeroshot_reference.json", _DATA / "nb201_zeroshot.json"]:
        data = fields(path, read_json(path), {})
        if "networks" in data:
            code |= _networks(path, data, options.seeds)
        elif "rows" in data:
            code |= _cells(path, data)
        else:
            raise BadInputError(f"{path}: must have networks or rows")
    return code


# -- networks ---------------------------------------------------------------------------------------------------------


def _networks(path: Path, data: dict[str, Any], seeds: int) -> int:
    fields(path, data, {"networks": dict})
    shape = _image(path, data.get("inputs", "randn 3x32x32"))
    settings = data.get("settings") or {}
    default_seeds = settings.get("seeds", 10) if isinstance(settings, dict) else 10
    rows, failures, checked, unknown = [], [], 0, []
    for name, entry in data["networks"].items():
        fields(f"{path}: networks.{name}", entry, {"layers": list})
        network = build(path, name, entry["layers"], shape)
        for figure, wanted, got, note, fits in _compare(path, name, entry, network, seeds, default_seeds):
            if fits is None:
                unknown.append(f"{name}: {figure}")
                continue
            checked += 1
            rows.append((name, figure, wanted, got, note, "ok" if fits else "OUT"))
            if not fits:
                failures.append(f"{name}: {figure}: {got}, must be {wanted} ({note})")
    header = ("network", "figure", "reference", "here", "difference", "")
    if unknown:
        failures.append(f"not checked, because no score has that name: {', '.join(unknown)}")
    figures = f"zero-shot scores: {checked - sum(row[-1] == 'OUT' for row in rows)} of {checked} agree"
    return report(header, rows, failures, figures, bool(checked) and not failures)


def _image(path: Path, text: Any) -> tuple[int, int, int]:
    match = re.fullmatch(r"randn (\d{1,5})x(\d{1,5})x(\d{1,5})", text) if isinstance(text, str) else None
    shape = (int(match[1]), int(match[2]), int(match[3])) if match else (0, 0, 0)
    if not 0 < math.prod(shape) <= _MOST_VALUES:
        raise BadInputError(f"{path}: inputs must be 'randn CxHxW' of 1 to {_MOST_VALUES:,} values (got {text!r})")
    return shape


def _compare(
    path: Path, name: str, entry: dict[str, Any], network: Network, seeds: int, default_seeds: int
) -> Iterator[tuple[str, str, str, str, bool | None]]:
    """(figure, reference, value, difference, whether it fits or None for an unknown figure) of a network."""
    for figure, wanted in entry.items():
        where = f"{path}: networks.{name}.{figure}"
        if figure == "layers" or wanted is None:
            continue
        if figure == "params":
            yield figure, str(wanted), str(network.parameters), "", network.parameters == wanted
        elif figure == "deterministic":
            yield from _deterministic(where, wanted, network)
        else:
            ways = _ways(figure, given=False)
            if not ways:
                yield figure, "", "", "", None
            for part, way in ways.items():
                if not isinstance(wanted, dict) or (part and part not in wanted):
                    raise BadInputError(f"{where}: must be an object with {part or 'mean and std'} (got {wanted!r})")
                reference = wanted[part] if part else wanted
                if reference is None:
                    continue
                place, title = f"{where}.{part}".rstrip("."), f"{figure} {part}".strip()
                yield _drawn(place, title, reference, way, network, seeds, default_seeds)


def _deterministic(where: str, block: Any, network: Network) -> Iterator[tuple[str, str, str, str, bool | None]]:
    """With weights and inputs from numpy's default_rng(0), labels 0, 1, .. 9, 0, .."""
    if not isinstance(block, dict):
        raise BadInputError(f"{where}: must be an object (got {block!r})")
    module = to_torch(network, seed=0).train()
    rng = np.random.default_rng(0)

    def normal(shape: Sequence[int]) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal(tuple(shape)).astype(np.float32))

    with torch.no_grad():
        for layer in weighted_layers(module):
            layer.weight.copy_(normal(layer.weight.shape))
            if layer.bias is not None:
                layer.bias.zero_()
    shape = (_BATCH, *network.inputs[0].shape)
    classes = list(weighted_layers(module))[-1].weight.shape[0]
    if classes < _LABELS:
        raise BadInputError(f"{where}: the network must have at least {_LABELS} classes (got {classes})")
    data = Data((normal(shape),), (normal(shape),), torch.arange(_BATCH) % _LABELS, torch.Generator().manual_seed(0))
    for figure, wanted in block.items():
        if figure == "recipe" or wanted is None:
            continue
        way = _ways(figure, given=True).get("")
        title = f"deterministic {figure}"
        if way is None:
            yield title, "", "", "", None
            continue
        if isinstance(wanted, bool) or not isinstance(wanted, int | float):
            raise BadInputError(f"{where}.{figure}: must be a number (got {wanted!r})")
        value = _value(way.score, module, data)
        if isinstance(value, str):
            yield title, f"{wanted:.6g}", value, "", False
            continue
        difference = abs(value - wanted) / max(abs(wanted), 1e-30)
        yield title, f"{wanted:.6g}", f"{value:.6g}", f"{difference:.1e}", difference <= _MOST_RELATIVE


def _drawn(
    where: str, title: str, reference: Any, way: _Way, network: Network, seeds: int, default_seeds: int
) -> tuple[str, str, str, str, bool | None]:
    """The mean over drawings against a mean and its standard deviation over ``seeds`` others."""
    fields(where, reference, {})
    numbers = [reference.get(key) for key in ("mean", "std")]
    if not all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
        raise BadInputError(f"{where}: must have the numbers mean and std (got {reference!r})")
    mean, std = (float(n) for n in numbers)
    count = reference.get("seeds", default_seeds)
    if isinstance(count, bool) or not isinstance(count, int) or count < 2:
        raise BadInputError(f"{where}: seeds must be an integer >= 2 (got {count!r})")
    module = to_torch(network, batch_norm_eps=way.eps, seed=0).train()
    values = []
    for seed in range(seeds):
        initialise(module, generator(seed, 0), gaussian=way.gaussian)
        value = _value(way.score, module, random_data(network, _BATCH, generator(seed, 1), generator(seed, 2)))
        if isinstance(value, str):
            return title, f"{mean:.6g}", value, "", False
        values.append(value)
    # Both are drawings of one distribution if the codes agree: the variance is estimated from all of them together.
    variance = ((count - 1) * std**2 + (seeds - 1) * statistics.variance(values)) / (count + seeds - 2)
    error = math.sqrt(variance * (1 / count + 1 / seeds))
    difference = statistics.fmean(values) - mean
    errors = difference / error if error else math.copysign(math.inf, difference) if difference else 0.0
    got = f"{statistics.fmean(values):.6g} +- {error:.2g}"
    return title, f"{mean:.6g}", got, f"{errors:+.1f} errors", abs(errors) <= _MOST_ERRORS


def _value(way: ZeroShotScore, module: NetworkModule, data: Data) -> float | str:
    try:
        return way(module, data)
    except NoScoreError as error:
        return f"none: {error}"


# -- cells of NAS-Bench-201 -------------------------------------------------------------------------------------------


def _cells(path: Path, data: dict[str, Any]) -> int:
    fields(path, data, {"rows": list})
    rows = data["rows"]
    if len(rows) < 10:
        raise BadInputError(f"{path}: rows: must have at least 10 cells (got {len(rows)})")
    cells = nas_bench_201.cells()
    for i, row in enumerate(rows):
        fields(f"{path}: rows[{i}]", row, {"idx": int})
        if not 0 <= row["idx"] < len(cells):
            raise BadInputError(f"{path}: rows[{i}]: idx must be in 0..{len(cells) - 1} (got {row['idx']})")
    names = [key for key in rows[0] if _COLUMNS.get(key, key) in SCORES]
    accuracies = [key for key in rows[0] if key.startswith("acc")]
    if not accuracies or not names:
        raise BadInputError(f"{path}: rows[0]: must have accuracies (acc..) and scores ({', '.join(SCORES)})")
    columns = {
        key: [_number(row, key, f"{path}: rows[{i}]") for i, row in enumerate(rows)] for key in (*names, *accuracies)
    }
    found: dict[str, list[float | None]] = {name: [] for name in names}
    reasons: set[str] = set()
    with Progress(transient=True) as progress:
        for row in progress.track(rows, description=path.name):
            network = nas_bench_201.network(cells[row["idx"]])
            for batch, chosen in ((_BATCH, False), (_GRADSIGN_BATCH, True)):
                some = {key: _COLUMNS.get(key, key) for key in names if key.startswith("gradsign") is chosen}
                scores = score(network, some.values(), batch=batch, seed=row["idx"])
                for key, name in some.items():
                    found[key].append(scores[name].mean)
                    if scores[name].reason:
                        reasons.add(f"cell {row['idx']}: {name}: {scores[name].reason}")
    table, failures = [], []
    for accuracy in accuracies:
        for key in names:
            reference, cells_there = _tau(columns[key], columns[accuracy])
            tau, cells_here = _tau(found[key], columns[accuracy])
            held = key in _RANKED
            fits = tau >= reference - _MOST_BELOW
            verdict = ("ok" if fits else "OUT") if held else ""
            there, here = f"{reference:.3f} ({cells_there})", f"{tau:.3f} ({cells_here})"
            table.append((accuracy, key, there, here, f"{tau - reference:+.3f}", verdict))
            if held and not fits:
                failures.append(f"{accuracy}: {key}: {tau:.3f}, must be at least {reference - _MOST_BELOW:.3f}")
    header = ("accuracy", "score", "tau of the file (cells)", "tau here (cells)", "difference", "")
    checked = sum(bool(row[-1]) for row in table)
    good = checked - len(failures)
    figures = f"zero-shot ranking of {len(rows)} cells: {good} of {checked} no more than {_MOST_BELOW} below"
    code = report(header, table, failures, figures, bool(checked) and not failures)
    for reason in sorted(reasons):
        print(f"no score: {reason}")
    return code


def _number(row: dict[str, Any], key: str, where: str) -> float | None:
    value = row.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise BadInputError(f"{where}: {key} must be a number or null (got {value!r})")
    return value


def _tau(scores: Sequence[float | None], accuracies: Sequence[float | None]) -> tuple[float, int]:
    """Kendall's tau-b over the cells that have both, and their number."""
    pairs = [(s, a) for s, a in zip(scores, accuracies, strict=True) if s is not None and a is not None]
    if len(pairs) < 2:
        return math.nan, len(pairs)
    return float(kendalltau(*zip(*pairs, strict=True)).statistic), len(pairs)


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
