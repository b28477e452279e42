"""Once-for-all's accuracy predictors and its search for a phone, against the published ones.

    python -m benchmarks.nas.ofa [--reference FILE] [--networks FILE] [--table FILE]

``--reference`` holds outputs of the published predictors for named networks and for written ones, with what searches
under a latency limit should reach; ``--networks`` published networks with their top-1 accuracy; ``--table`` latencies
of blocks by image size, in Once-for-All's format. Networks of other spaces or sizes, and those below 160 pixels, for
which the predictor was not trained, are left out and named. A search is once-for-all's evolution on the supernet of
width 1.2: population 100, 100 iterations, three seeds, networks beyond the limit are not proposed.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from accelerators.documents import DocumentError
from accelerators.processors.lookup import LatencyTable, MissingKeysError, read
from benchmarks._common import BadInputError, fields, read_json, report
from codesign.files import decimal
from codesign.nas.accuracy import OfaMobileNetV3Predictor, OfaResNet50Predictor
from codesign.nas.lookup_keys import block_keys
from codesign.nas.spaces import Codes, OfaMobileNetV3
from codesign.nas.spaces.ofa_mobilenet_v3 import DEPTHS, EXPANSIONS, KERNELS, SLOTS, UNITS
from codesign.nas.strategies import NoneAdmittedError, OfaEvolution
from codesign.networks import NetworkError
from codesign.predictors import OutOfRangeError

_DATA = Path(__file__).parent / "data"
_SIZES = tuple(range(112, 225, 16))
_MOST_DIFFERENCE = 1e-5
_LEAST_TAU = 0.929
_ITERATIONS, _SEEDS = 100, 3
#: Genes by the names that networks have in the file.
_NAMED = {"max": (7, 6, 4), "mid": (5, 4, 3), "min": (3, 3, 2)}
_NAMED_RESNET = {"max": (2, 2, 0.35, 2), "min": (0, 0, 0.2, 0)}


def _outputs(path: Path, reference: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
    """(network, expected, found) of all outputs in a file."""
    mobile = OfaMobileNetV3Predictor(OfaMobileNetV3(sizes=_SIZES))
    resnet = OfaResNet50Predictor()
    for group, predictor in (("mbv3", mobile), ("resnet50", resnet)):
        given = reference.get(group, {})
        if not isinstance(given, dict):
            raise BadInputError(f"{path}: {group}: must be an object (got {type(given).__name__})")
        for key, expected in given.items():
            written = _written(group, key)
            if written is not None:
                yield _compared(path, f"{group}: {key}", predictor, written, expected)
        for i, entry in enumerate(given.get("random_first3", [])):
            where = f"{path}: {group}: random_first3[{i}]"
            fields(where, entry, {"arch": dict, "pred": float})
            yield _compared(path, f"{group}: random_first3[{i}]", predictor, entry["arch"], entry["pred"])


def _written(group: str, key: str) -> dict[str, Any] | None:
    """The network that a name such as ``max_224`` stands for."""
    name, _, size = key.rpartition("_")
    if not size.isdecimal() or len(size) > 4:
        return None
    if group == "mbv3" and name in _NAMED:
        kernel, expansion, depth = _NAMED[name]
        return {"ks": [kernel] * 20, "e": [expansion] * 20, "d": [depth] * 5, "r": int(size)}
    if group == "resnet50" and name in _NAMED_RESNET:
        stem, depth, ratio, width = _NAMED_RESNET[name]
        return {"d": [stem] + [depth] * 4, "e": [ratio] * 18, "w": [width] * 6, "r": int(size)}
    if group == "resnet50" and name == "resnet50D_like":
        return {"d": [2, 1, 2, 2, 1], "e": [0.25] * 18, "w": [2] * 6, "r": int(size)}
    return None


def _compared(
    path: Path, name: str, predictor: OfaMobileNetV3Predictor | OfaResNet50Predictor, written: Any, expected: Any
) -> tuple[str, float, float]:
    if isinstance(expected, bool) or not isinstance(expected, int | float):
        raise BadInputError(f"{path}: {name}: must be a number (got {expected!r})")
    try:
        found = float(predictor.predict(np.array([predictor.space.parse(written)]))[0])
    except (NetworkError, OutOfRangeError) as error:
        raise BadInputError(f"{path}: {name}: {error}") from None
    return name, float(expected), found


def _published(path: Path) -> tuple[list[tuple[str, float, float]], list[tuple[str, str]]]:
    """(name, top-1, prediction in points) of published networks, and (name, reason) of those that do not fit."""
    data = fields(path, read_json(path), {"ofa_specialized": list})
    found, left_out = [], []
    predictors = {
        width: OfaMobileNetV3Predictor(OfaMobileNetV3(width=width, sizes=_SIZES), calibrated=False)
        for width in (1.0, 1.2)
    }
    for i, entry in enumerate(data["ofa_specialized"]):
        where = f"{path}: ofa_specialized[{i}]"
        fields(where, entry, {"name": str, "image_size": int, "net": dict})
        if isinstance(entry.get("top1"), bool) or not isinstance(entry.get("top1"), int | float):
            left_out.append((entry["name"], "has no top-1 accuracy"))
            continue
        if not 0 <= entry["top1"] <= 100:
            raise BadInputError(f"{where}: top1 must be from 0 to 100 (got {entry['top1']:g})")
        predictor = predictors[1.2 if entry["net"].get("stem") == 24 else 1.0]
        try:
            code = predictor.space.parse_published(entry)
        except (NetworkError, KeyError, TypeError) as error:
            left_out.append((entry["name"], str(error)))
            continue
        estimate = predictor.estimate(code)
        if estimate.accuracy is None or estimate.uncertainty is None:
            left_out.append((entry["name"], estimate.notes[-1]))
        else:
            found.append((entry["name"], float(entry["top1"]), estimate.accuracy))
    return found, left_out


class _Latency:
    """Latencies in ms of the supernet's networks, by a table: a sum over blocks, each by its size, slot and genes."""

    def __init__(self, path: Path, space: OfaMobileNetV3, tables: Mapping[str, LatencyTable]):
        self.space = space
        sizes = space.genes[-1].options
        self._rest = np.zeros(len(sizes))
        self._blocks = np.zeros((len(sizes), SLOTS, len(KERNELS), len(EXPANSIONS)))
        deepest = {"d": [DEPTHS[-1]] * UNITS}
        for s, size in enumerate(sizes):
            for (k, kernel), (e, expansion) in itertools.product(enumerate(KERNELS), enumerate(EXPANSIONS)):
                written = {**deepest, "ks": [kernel] * SLOTS, "e": [expansion] * SLOTS, "r": size}
                keys = block_keys(space.published(space.parse(written))["net"], size, "ofa")
                try:
                    each = [tables[str(size)].latency([key]).latency_ms for key in keys]
                except MissingKeysError as error:
                    raise BadInputError(f"{path}: {error}") from None
                # The first convolution and block come before those that are searched.
                self._blocks[s, :, k, e] = each[2 : 2 + SLOTS]
                self._rest[s] = sum(each[:2]) + sum(each[2 + SLOTS :])

    def __call__(self, codes: Codes) -> NDArray[np.float64]:
        """(n,) of codes (n, genes)."""
        sizes, kernels, expansions = codes[:, -1], codes[:, UNITS : UNITS + SLOTS], codes[:, UNITS + SLOTS : -1]
        matters = self.space.active(codes)[:, UNITS : UNITS + SLOTS]
        each = self._blocks[sizes[:, None], np.arange(SLOTS), kernels, expansions]
        return np.asarray(self._rest[sizes] + (each * matters).sum(axis=1))


def _searched(limit: float, latency: _Latency, predictor: OfaMobileNetV3Predictor, seed: int) -> tuple[float, float]:
    """The best prediction within a limit in ms, and its latency."""
    space = latency.space
    evolution = OfaEvolution(space, population=100, seed=seed, admits=lambda codes: latency(codes) <= limit)
    best, at = -np.inf, np.nan
    for _ in range(1 + _ITERATIONS):
        codes = evolution.ask()
        values = predictor.predict(codes)
        evolution.tell(codes, -values[:, None])
        if values.max() > best:
            best, at = float(values.max()), float(latency(codes[[values.argmax()]])[0])
    return best, at


def main(arguments: list[str] | None = None) -> int:
    """Compare; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.nas.ofa", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference", type=Path, default=_DATA / "ofa_predictor_reference.json")
    parser.add_argument("--networks", type=Path, default=_DATA / "ofa_specialized_nets.json.gz")
    parser.add_argument("--table", type=Path, default=_DATA / "ofa_note10_lut.json")
    options = parser.parse_args(arguments)
    reference = fields(options.reference, read_json(options.reference), {})
    rows: list[tuple[str, ...]] = []
    failures: list[str] = []
    largest, outputs = 0.0, 0
    for name, expected, found in _outputs(options.reference, reference):
        outputs += 1
        largest = max(largest, abs(found - expected))
        rows.append((name, f"{expected:.7f}", f"{found:.7f}", f"{found - expected:+.1e}"))
        if abs(found - expected) > _MOST_DIFFERENCE:
            failures.append(f"{name}: {found - expected:+.1e} (target {_MOST_DIFFERENCE:g})")
    tau = _ranked(options.networks, rows, failures)
    reached = _limits(options, reference, rows, failures)
    if not outputs:
        failures.append(f"{options.reference}: no output of a predictor")
    summary = f"{outputs} outputs, largest difference {largest:.1e}; tau {tau:.3f}"
    figures = f"once-for-all: {summary}; within {reached or 'no limits'}"
    return report(("network or search", "published", "found", "difference"), rows, failures, figures, not failures)


def _ranked(path: Path, rows: list[tuple[str, ...]], failures: list[str]) -> float:
    """Published top-1 against predictions: adds rows, returns Kendall's tau."""
    published, left_out = _published(path)
    for name, top1, prediction in published:
        rows.append((f"top-1: {name}", f"{top1:.1f}", f"{prediction:.2f}", f"{prediction - top1:+.2f}"))
    print(f"{len(left_out)} published networks that the predictor does not speak of:")
    for name, reason in left_out:
        print(f"  {name}: {reason}")
    if len(published) < 2:
        failures.append(f"{path}: fewer than two networks that the predictor speaks of")
        return 0.0
    for width, finetuned in (("1.2", "75"), ("1.0", "25")):
        apart = [p - t for name, t, p in published if name.endswith(f"finetune-{finetuned}")]
        if len(apart) > 1:
            rows.append((
                f"predicted - top-1, {finetuned} epochs (width {width})", "", f"{np.mean(apart):+.2f}",
                f"std {np.std(apart, ddof=1):.2f} of {len(apart)}",
            ))  # fmt: skip
    # Published accuracies have one decimal: taus of ties as usual (tau-b).
    tau = float(kendalltau([t for _, t, _ in published], [p for _, _, p in published]).statistic)
    rows.append((f"Kendall's tau of {len(published)} networks", "", f"{tau:.3f}", ""))
    if not tau >= _LEAST_TAU:
        failures.append(f"Kendall's tau {tau:.3f} (target {_LEAST_TAU})")
    return tau


def _limits(
    options: argparse.Namespace, reference: dict[str, Any], rows: list[tuple[str, ...]], failures: list[str]
) -> str:
    """Searches under the limits of the reference; adds rows, returns them in words."""
    try:
        tables = read(options.table)
    except DocumentError as error:
        raise BadInputError(str(error)) from None
    sizes = [size for size in _SIZES if str(size) in tables]
    if not sizes:
        raise BadInputError(f"{options.table}: must have tables by image size, some of {', '.join(map(str, _SIZES))}")
    space = OfaMobileNetV3(width=1.2, sizes=sizes)
    predictor, latency = OfaMobileNetV3Predictor(space), _Latency(options.table, space, tables)
    words = []
    limits = fields(f"{options.reference}: evolution_note10", reference.get("evolution_note10", {}), {})
    for limit, entry in limits.items():
        where = f"{options.reference}: evolution_note10: {limit}"
        fields(where, entry, {"best_after_100_iters": list})
        expected: Sequence[float] = entry["best_after_100_iters"]
        if not expected or not all(isinstance(value, int | float) and value is not True for value in expected):
            raise BadInputError(f"{where}: best_after_100_iters must be numbers")
        bound = decimal(limit)
        if not 0 < bound < np.inf:
            raise BadInputError(f"{where}: must be a limit in ms")
        try:
            found = [_searched(bound, latency, predictor, seed) for seed in range(_SEEDS)]
        except NoneAdmittedError:
            raise BadInputError(f"{where}: no network is so fast") from None
        best, at = max(found)
        # Published to four digits.
        target = int(1e4 * max(expected)) / 1e4
        each = ", ".join(f"{value:.4f}" for value, _ in found)
        rows.append((
            f"search within {limit} ms ({each})", f"{max(expected):.4f}", f"{best:.4f} at {at:.2f} ms",
            f"{best - max(expected):+.4f}",
        ))  # fmt: skip
        words.append(f"{limit} ms {best:.4f}")
        if best < target:
            failures.append(f"within {limit} ms: {best:.4f} (target {target:.4f})")
    return ", ".join(words)


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
