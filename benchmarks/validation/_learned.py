"""Predictors that learn from a few measurements, against the rest of what was measured.

Every predictor is learnt three times, from other random networks. Beside its figures stands the ceiling that the data
have: the best of two models (boosted trees, ridge regression) that learn operators' counts from four fifths of the
networks looked at, or the networks' choices from four fifths of all that were measured.
The last column says what the predictor looked at most, and its part (see :mod:`codesign.predictors`).

For HAT the perceptron of its authors learns from eight tenths of the networks; predictors with a few are scored on the
same last tenth, by the error that its authors minimise.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress
from scipy.stats import spearmanr

from accelerators import catalog
from accelerators.processors.processor import Processor
from benchmarks._common import BadInputError, report
from benchmarks.validation._measured import CHUNK, LEAST_NETWORKS, Measurement, sampled, space_of
from codesign.costs import NetworkCost
from codesign.predictors import Predictor, Vocabulary, mlp
from codesign.predictors.features import VIEWS, operator_counts
from codesign.processors import on_processor
from codesign.reports.comparison import image_format

_REPEATS, _NETWORKS = 3, 2000
#: Mean rank correlation that predictors must reach on NAS-Bench-201, by measurements.
_LEAST_MEAN = {20: 0.95, 100: 0.97}
#: In other spaces, with enough measurements: how far they may be behind the ceiling.
_ENOUGH, _MOST_BEHIND = 100, 0.03
#: HAT: error over that of the perceptron, with enough measurements; what its inputs and outputs are divided by.
_HAT_ENOUGH, _MOST_ERROR = 200, 1.05
_HAT_INPUTS = np.array([640, 6, 2048, 6, 640, 6, 2048, 6, 6, 2.0])
_HAT_OUTPUTS = {"gpu": 200.0, "xeon": 300.0, "raspberrypi": 5000.0}
_GPUS = ("gtx_", "rtx_", "titan_", "v100", "a100", "h100", "jetson_")
_PHONES = ("galaxy_", "essential_phone", "pixel_1", "pixel_2")


class _Job(NamedTuple):
    """One measurement: counted operators and references of the networks, their values, and how many are learnt from."""

    counts: list[Any]
    references: NDArray[np.float64] | None
    features: NDArray[np.float64] | None
    output_scale: float | None
    values: NDArray[np.float64]
    #: Choices of all networks that were measured, and their values.
    choices: tuple[NDArray[np.uint8], NDArray[np.float64]] | None
    samples: int


class _Scores(NamedTuple):
    ranks: list[float]
    errors: list[float]
    ceiling: float
    form: str
    #: Root mean square errors over that of HAT's perceptron.
    ratios: list[float]
    #: Predicted, its standard deviation, measured: of the last repeat, (n, 3).
    points: NDArray[np.float64]


def learned(
    path: Path,
    space: str,
    measurements: Sequence[Measurement],
    samples: int,
    pool: Executor,
    *,
    networks: int | None,
    transfer: bool,
    plot: Path | None,
) -> int:
    """Learn and score; returns the exit code. ``networks`` of every measurement are looked at (2,000)."""
    scored = [each for each in measurements if not each.computed]
    if not scored:
        raise BadInputError(f"{path}: nothing that was measured: all values are computed")
    if plot is not None:
        try:
            image_format(plot)
        except ValueError as error:
            raise BadInputError(str(error)) from None
        if not plot.absolute().parent.is_dir() or plot.is_dir():
            raise BadInputError(f"{plot}: cannot be written: there must be a folder, and no folder of this name")
    for each in scored:
        if len(each.rows) < samples + LEAST_NETWORKS:
            least = samples + LEAST_NETWORKS
            raise BadInputError(f"{path}: {each.key}: must have at least {least} networks (got {len(each.rows)})")
    networks = networks or _NETWORKS
    if networks < samples + LEAST_NETWORKS:
        raise BadInputError(f"--networks must be >= {samples + LEAST_NETWORKS}, for those learnt from and some more")
    if transfer:
        scored = [each for each in scored if each.hardware and isinstance(catalog.load(each.hardware), Processor)]
        if not scored:
            raise BadInputError(f"{path}: none of its devices is a processor of the catalog")
    rows = np.unique(np.concatenate([each.rows[sampled(each, networks)] for each in scored]))
    wanted = sorted({(each.hardware, each.batch) for each in scored if each.hardware}) if transfer else []
    chunks = [rows[i : i + CHUNK].tolist() for i in range(0, len(rows), CHUNK)]
    counts: list[Any] = []
    said: list[Any] = []
    for part in pool.map(_counted, [(path, space, wanted, chunk) for chunk in chunks]):
        counts += part[0]
        said += part[1]
    jobs = []
    for each in scored:
        chosen = sampled(each, networks)
        at = np.searchsorted(rows, each.rows[chosen])
        references = None
        if transfer and each.hardware:
            column = wanted.index((each.hardware, each.batch))
            references = np.array([said[i][column][each.energy] for i in at])
        features = None if each.features is None else each.features[chosen]
        scale = next((scale for kind, scale in _HAT_OUTPUTS.items() if kind in each.key), None)
        genes = space_of(path, space).genes
        choices = None if genes is None else (genes[each.rows], each.values)
        values = each.values[chosen]
        jobs.append(_Job([counts[i] for i in at], references, features, scale, values, choices, samples))
    found: list[_Scores] = []
    with Progress(transient=True, disable=not sys.stderr.isatty()) as progress:
        try:
            found += progress.track(pool.map(_scores, jobs), total=len(jobs), description="predictors")
        except ValueError as error:
            raise BadInputError(f"{path}: {error}") from None
    if plot is not None:
        _plot(plot, scored, found)
    return _report(space, samples, scored, found)


def _report(space: str, samples: int, measurements: Sequence[Measurement], found: Sequence[_Scores]) -> int:
    lines, failures, judged = [], [], 0
    for each, scores in zip(measurements, found, strict=True):
        rank, error = float(np.median(scores.ranks)), float(np.median(scores.errors))
        least, most = _targets(each, samples) if space == "nb201" else (None, None)
        wanted = [f">= {least}"] if least is not None else []
        wanted += [f"error <= {most:.0%}"] if most is not None else []
        if not rank >= -1:
            failures.append(f"{each.key}: no rank: all predictions, or all other measurements, are the same")
        if least is not None and rank < least:
            failures.append(f"{each.key}: {rank:.3f}, must be at least {least}; the ceiling is {scores.ceiling:.3f}")
        if most is not None and error > most:
            failures.append(f"{each.key}: median error {error:.1%}, must be at most {most:.0%}")
        judged += least is not None or most is not None
        ratio = ""
        if scores.ratios:
            middle = float(np.median(scores.ratios))
            ratio = f"{middle:.3f}"
            judged += samples >= _HAT_ENOUGH
            if samples >= _HAT_ENOUGH and middle > _MOST_ERROR:
                failures.append(f"{each.key}: error {middle:.3f} times the perceptron's, must be at most {_MOST_ERROR}")
        elif space != "nb201" and samples >= _ENOUGH:
            judged += 1
            if rank < scores.ceiling - _MOST_BEHIND:
                behind = f"more than {_MOST_BEHIND} below the ceiling, {scores.ceiling:.3f}"
                failures.append(f"{each.key}: {rank:.3f} is {behind}")
        spread = f"{rank:.3f} ({min(scores.ranks):.3f}-{max(scores.ranks):.3f})"
        lines.append((each.key, spread, f"{scores.ceiling:.3f}", f"{error:.1%}", ratio, ", ".join(wanted), scores.form))
    mean = float(np.mean([np.median(scores.ranks) for scores in found]))
    # One device is judged by what is wanted of it, not by the mean over many.
    target = _LEAST_MEAN.get(samples) if space == "nb201" and len(found) > 1 else None
    if target is not None and not mean >= target:
        failures.append(f"mean {mean:.3f}, must be at least {target}")
    header = (
        "measurement",
        f"Spearman with {samples}",
        "ceiling",
        "median error",
        "RMSE / MLP's",
        "wanted",
        "learnt from",
    )
    shown = [i for i in range(len(header)) if any(line[i] for line in lines)]
    text = f"predictors on {space}, {samples} measurements: mean Spearman {mean:.3f} of {len(found)} measurements, "
    text += f"{judged} of them judged" + (", and the mean" if target is not None else "")
    columns = tuple(header[i] for i in shown)
    return report(
        columns,
        [tuple(line[i] for i in shown) for line in lines],
        failures,
        text,
        not failures,
        judged > 0 or target is not None,
    )


def figures(cost: NetworkCost) -> tuple[float, float]:
    """Milliseconds and millijoules; raises BadInputError for a network that the hardware cannot run."""
    if cost.latency_s is None or cost.energy_pj is None:
        raise BadInputError(f"{cost.hardware} cannot run {cost.network}: {cost.problems[0]}")
    return cost.latency_s * 1e3, cost.energy_pj * 1e-9


def _targets(measurement: Measurement, samples: int) -> tuple[float | None, float | None]:
    """The rank correlation that a device must reach with 100 measurements, the median error with 200."""
    name, key = measurement.hardware or "", measurement.key
    noisy = name.startswith(_PHONES)
    least = most = None
    if samples == 100:
        if noisy:
            least = 0.88
        elif measurement.energy:
            least = 0.95
        elif "torchmobile" in key:
            least = 0.94
        elif name in ("raspberry_pi_4", "pixel_3"):
            least = 0.96
        elif name.startswith("raspberry_pi_5") or (name.startswith(_GPUS) and measurement.batch >= 64):
            least = 0.98
        elif name.startswith(_GPUS):
            least = 0.955
        elif name.startswith(("xeon_", "core_")):
            least = 0.95
    if samples == 200:
        most = 0.05
        if name == "pixel_2":
            most = 0.11
        elif noisy or name in ("raspberry_pi_4", "pixel_3", "xeon_gold_6240", "xeon_silver_4114"):
            most = 0.09
        elif measurement.energy:
            most = 0.06
    return least, most


def _counted(arguments: tuple[Path, str, list[tuple[str, int]], list[int]]) -> tuple[list[Any], list[Any]]:
    """Of networks of a file: operators by view, and what rooflines with batch sizes say, in ms and mJ."""
    path, space, wanted, rows = arguments
    networks = space_of(path, space)
    hardware = {name: catalog.load(name) for name, _ in wanted}
    counts, said = [], []
    for row in rows:
        total: dict[str, Counter[Any]] = {view: Counter() for view in VIEWS}
        for network, times in networks.parts(row, 1):
            for view, found in operator_counts(network).items():
                for operator, count in found.items():
                    total[view][operator] += count * times
        counts.append(total)
        of_row = []
        for name, batch in wanted:
            processor = hardware[name]
            assert isinstance(processor, Processor)
            latency_ms = energy_mj = 0.0
            for network, times in networks.parts(row, batch):
                ms, mj = figures(on_processor(network, processor))
                latency_ms += times * ms
                energy_mj += times * mj
            of_row.append((latency_ms, energy_mj))
        said.append(of_row)
    return counts, said


def _scores(job: _Job) -> _Scores:
    counts, values = job.counts, job.values
    random = np.random.default_rng(job.samples)
    order = random.permutation(len(values))
    held = order[len(order) * 9 // 10 :]
    perceptron = None
    if job.features is not None:
        train = order[: len(order) * 8 // 10]
        model = mlp.train(job.features[train], values[train], input_scale=_HAT_INPUTS, output_scale=job.output_scale)
        perceptron = float(np.sqrt(np.mean((model.predict(job.features[held]) - values[held]) ** 2)))
    ranks, errors, ratios, form = [], [], [], ""
    points = np.empty((0, 3))
    for _ in range(_REPEATS):
        shuffled = random.permutation(len(values) if perceptron is None else len(order) - len(held))
        if perceptron is None:
            train, test = shuffled[: job.samples], shuffled[job.samples :]
        else:
            train, test = order[shuffled[: job.samples]], held
        predictor = Predictor().fit_counts([counts[i] for i in train], values[train], _at(job.references, train))
        predicted = predictor.predict_counts([counts[i] for i in test], True, _at(job.references, test))
        means = np.array([p.mean for p in predicted])
        ranks.append(float(spearmanr(means, values[test])[0]))
        errors.append(float(np.median(np.abs(means / values[test] - 1))))
        if perceptron is not None:
            ratios.append(float(np.sqrt(np.mean((means - values[test]) ** 2))) / perceptron)
        (view, what, referred), weight = predictor.forms[0]
        form = "roofline" if what == "nothing" else f"{view}, {what}" + (" and roofline" if referred else "")
        form += f" {weight:.0%}"
        points = np.column_stack([means, [p.std for p in predicted], values[test]])
    vocabularies = [Vocabulary.of(counts, view) for view in VIEWS]
    matrix = np.hstack([np.array([each.histogram(c) for c in counts]) for each in vocabularies])
    ceiling = _ceiling(matrix, values, order)
    if job.choices is not None:
        count = len(job.choices[1])
        whole = [_ceiling(*job.choices, random.permutation(count)) for _ in range(_REPEATS)]
        ceiling = max(ceiling, float(np.median(whole)))
    return _Scores(ranks, errors, ceiling, form, ratios, points)


def _ceiling(matrix: NDArray[Any], values: NDArray[np.float64], order: NDArray[np.int64]) -> float:
    """Rank correlation of the better model that learns from the first four fifths of an order, on the rest."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import RidgeCV

    train, test = order[: len(order) * 4 // 5], order[len(order) * 4 // 5 :]
    models = (HistGradientBoostingRegressor(random_state=0), RidgeCV(np.geomspace(1e-3, 1e3, 7)))
    fitted = [model.fit(matrix[train], values[train]).predict(matrix[test]) for model in models]
    return max(float(spearmanr(predicted, values[test])[0]) for predicted in fitted)


def _at(references: NDArray[np.float64] | None, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
    return None if references is None else references[rows]


def _plot(path: Path, measurements: Sequence[Measurement], found: Sequence[_Scores]) -> None:
    from codesign.reports.charts import predicted_against_measured

    parts = [
        (each.key, "mJ" if each.energy else "ms", scores.points[:, 0], scores.points[:, 1], scores.points[:, 2])
        for each, scores in zip(measurements, found, strict=True)
    ]
    predicted_against_measured(parts, path)
