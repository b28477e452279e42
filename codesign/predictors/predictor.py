"""Models on operators' counts: latency, or energy, with its uncertainty, from 20 measurements or more.

There are two: Gaussian processes, and the perceptron with which HAT predicts latencies
(:mod:`codesign.predictors.mlp`), which learns from operators' sums over classes; HAT gives it 2,000 measurements.

Processes: time is mostly a sum over operators, so a process has a linear part, and a smooth part for what is no sum
(operators that run side by side or find their inputs in a cache). What a device makes of dead operators is not known:
there are two processes for each view of the networks (see :mod:`codesign.predictors.features`), on the operators, where
similar ones are expected to take similar times, and on sums over classes, which are few. Each measurement is left out
in turn (Sundararajan and Keerthi, Neural Computation 2001): what the others find impossible is an outlier, as phones
give, and is not learnt from. Where the errors have heavier tails than a normal distribution, which other work on a
device gives, measurements that are far off have more noise (weights of Student's distribution, whose degrees of freedom
are learnt: Lange, Little and Taylor, JASA 1989). The processes are then stacked: the prediction is the mean of theirs,
with the weights that predict left-out measurements best (Breiman, Machine Learning 1996), or with few measurements
those of their marginal likelihoods. How far off predictions for parts of the measurements are that were not learnt from
calibrates the uncertainty.

With a *reference*, the roofline of a processor or a predictor for another device, what it says of a network is one more
feature, or the only one. With few measurements of a large space that is worth more than the rest.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accelerators.operators import Operator
from accelerators.processors.processor import CLASSES
from accelerators.processors.roofline import operations
from codesign.files import read_arrays
from codesign.networks import Network
from codesign.predictors import mlp
from codesign.predictors.features import SHAPE, SUMS, VIEWS, UnknownOperatorError, Vocabulary, operator_counts, sums
from codesign.predictors.mlp import Mlp, Perceptron
from codesign.predictors.process import ENOUGH_TO_LEAVE_OUT, MOST_SIGMAS, PARAMETERS, Process
from codesign.predictors.reference import Reference
from codesign.predictors.stacking import Inputs, calibrated, process_of, stacked, weights_of

LEAST_MEASUREMENTS = 5
_VERSION = 8
#: Units of measurements: latency or energy.
UNITS = ("ms", "mJ")
#: What may learn.
MODELS = ("processes", "perceptron")
#: Inputs may lie outside the training range by this part of it.
_MARGIN = 0.1
#: Outliers before anything is learnt, by their times per operation: a factor, and median deviations.
_MOST_FACTOR, _MOST_DEVIATIONS = 100.0, 10.0
#: Measurements with which ways to look at networks are compared: more make the choice no better, and take long.
_MOST_TRIED = 100
#: Processes with less weight are not worth keeping.
_LEAST_WEIGHT = 0.02
#: Different operators at most: their covariance has as many rows and columns.
_MOST_OPERATORS = 3000
_Counts = dict[str, Counter[Operator]]
_WHAT = ("operators", "sums", "nothing")
#: Begins the names of a perceptron's arrays.
_MLP = "mlp_"
#: Of measurements, and of anything in a predictor's file.
_LEAST, _MOST, _LARGEST = 1e-12, 1e12, 1e15


class Form(NamedTuple):
    """What a process learns from: a view, what is taken of it, and whether the reference is a feature."""

    view: str
    what: str
    referred: bool


class OutOfRangeError(ValueError):
    """A network unlike those that were measured; the message says in what."""


@dataclass(frozen=True)
class Prediction:
    """Mean and standard deviation of what was measured, in its unit; ``extrapolated`` outside of the training range."""

    mean: float
    std: float
    extrapolated: bool = False


class Predictor:
    """Learns from measured networks, see the module; ``unit`` is that of the measurements ("ms" or "mJ").

    ``model`` is "processes", or "perceptron", which needs PyTorch to learn.

    ``reference`` is a processor's name or datasheet, or the file of a predictor for another device (.npz). It is kept
    with the predictor, which does not change when that file does.
    """

    #: Positions of the measurements that were not learnt from.
    outliers: tuple[int, ...] = ()
    #: Median relative error of the others, predicted by processes that learnt from the rest; None after loading.
    error: float | None = None

    def __init__(self, unit: str = "ms", reference: str | Path | None = None, model: str = MODELS[0]):
        for name, value, known in (("unit", unit, UNITS), ("model", model, MODELS)):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)} (got {value!r})")
        self.unit, self.model = unit, model
        self._reference = None if reference is None else Reference.open(reference, unit, type(self))

    @property
    def reference(self) -> str | None:
        """The name of the reference, if there is one."""
        return None if self._reference is None else self._reference.name

    @property
    def measurements(self) -> int:
        """How many measurements it has learnt from, outliers not counted."""
        return len(self._measured)

    def fit(self, networks: Sequence[Network], measured: Sequence[float]) -> Predictor:
        """Learn from networks and what was measured for each, positive numbers.

        Raises ValueError for fewer than five measurements, for values that are no positive numbers, and for
        measurements that are all the same.
        """
        references = None if self._reference is None else [self._reference.estimate(network) for network in networks]
        return self.fit_counts([operator_counts(network) for network in networks], measured, references)

    def fit_counts(
        self, counts: Sequence[_Counts], measured: ArrayLike, references: ArrayLike | None = None
    ) -> Predictor:
        """Like :meth:`fit` with operators counted before (:func:`~codesign.predictors.features.operator_counts`).

        ``references`` (n,) are what a reference says, in any unit.
        """
        values = np.asarray(measured, np.float64)
        if values.ndim != 1 or len(values) != len(counts):
            raise ValueError(f"must have one measurement per network (got {len(counts)} and {values.shape})")
        if len(values) < LEAST_MEASUREMENTS:
            raise ValueError(f"must have at least {LEAST_MEASUREMENTS} measurements (got {len(values)})")
        bad = np.nonzero(~((values >= _LEAST) & (values <= _MOST)))[0]
        if len(bad):
            raise ValueError(
                f"measurement {bad[0] + 1}: must be a number from {_LEAST:g} to {_MOST:g} (got {values[bad[0]]:g})"
            )
        if np.ptp(values) == 0:
            raise ValueError(f"measurements must differ (got {len(values)} times {values[0]:g})")
        wild = _impossible(counts, values)
        if wild.any():
            # A single one of them would leave the process nothing to see of the rest.
            kept = np.nonzero(~wild)[0].tolist()
            rest = None if references is None else np.asarray(references, np.float64)[kept]
            self.fit_counts([counts[i] for i in kept], values[kept], rest)
            self.outliers = tuple(sorted((*np.nonzero(wild)[0].tolist(), *(kept[i] for i in self.outliers))))
            return self
        self._vocabularies = {view: Vocabulary.of(counts, view) for view in VIEWS}
        if self.model == "perceptron":
            return self._fit_perceptron(counts, values, references)
        # Spread over what was measured, the least and the most included.
        spread = np.linspace(0, len(values) - 1, min(len(values), _MOST_TRIED)).astype(int)
        tried = np.sort(np.argsort(values, kind="stable")[spread])
        inputs: dict[Form, Inputs] = {}
        seen = set()
        for form in self._forms(references is not None):
            written = self._written(counts, form, references)
            if written.tobytes() not in seen and np.ptp(written[tried], axis=0).any():
                inputs[form] = _inputs_of(written, form, self._vocabularies[form.view])
            seen.add(written.tobytes())
        if not inputs:
            raise ValueError("the networks that were measured must differ: they have the same operators")
        noise = np.zeros(len(values))
        processes = {form: process_of(each.of(tried), values[tried], noise[tried]) for form, each in inputs.items()}
        best = max(processes, key=lambda form: processes[form].credibility())
        process = processes[best] if len(tried) == len(values) else process_of(inputs[best], values, noise)
        wild = np.abs(process.left_out()) > MOST_SIGMAS
        if len(values) - np.count_nonzero(wild) < LEAST_MEASUREMENTS:
            wild[:] = False
        self.outliers = tuple(int(i) for i in np.nonzero(wild)[0])
        kept = tried[~wild[tried]]
        if len(values) - len(self.outliers) >= ENOUGH_TO_LEAVE_OUT:
            noise[~wild] = process.extra_noise(~wild)
        if noise.any() or len(kept) < len(tried):
            processes = {form: process_of(each.of(kept), values[kept], noise[kept]) for form, each in inputs.items()}
        weights = dict(zip(processes, weights_of(list(processes.values())), strict=True))
        weights = {form: weight for form, weight in weights.items() if weight >= _LEAST_WEIGHT}
        total = math.fsum(weights.values())
        tame = {form: each.of(np.nonzero(~wild)[0]) for form, each in inputs.items()}
        if len(kept) < np.count_nonzero(~wild):
            processes = {form: process_of(tame[form], values[~wild], noise[~wild]) for form in weights}
        self._measured, self._noise = values[~wild], noise[~wild]
        self._members = [_Member(form, w / total, tame[form].written, processes[form]) for form, w in weights.items()]
        # Where measurements are few, which processes have weight is learnt from each of them.
        few = len(self._measured) < ENOUGH_TO_LEAVE_OUT
        own = [each for form, each in tame.items() if few or form in weights]
        self._factor, self.error = calibrated(own, self._measured, self._noise)
        return self

    def _fit_perceptron(
        self, counts: Sequence[_Counts], values: NDArray[np.float64], references: ArrayLike | None
    ) -> Predictor:
        form = Form(next(iter(VIEWS)), "sums", references is not None)
        written = self._written(counts, form, references)
        if not np.ptp(written, axis=0).any():
            raise ValueError("the networks that were measured must differ: they have the same operators")
        process, self.error = mlp.fit(written, values)
        self._members = [_Member(form, 1.0, written, process)]
        self._measured, self._noise, self._factor, self.outliers = values, np.zeros(len(values)), 1.0, ()
        return self

    @property
    def forms(self) -> list[tuple[Form, float]]:
        """What the predictions are made of, with its weight, the most important first."""
        return sorted(((member.form, member.weight) for member in self._members), key=lambda entry: -entry[1])

    @property
    def learnt_from(self) -> list[str]:
        """The :attr:`forms` in words."""
        found = []
        for form, weight in self.forms:
            parts = []
            if form.what != "nothing":
                parts.append(f"{form.view} operators" + (" as sums" if form.what == "sums" else ""))
            parts += [f"what {self.reference} says"] if form.referred else []
            found.append(f"{' and '.join(parts)} ({weight:.0%})")
        return found

    def _forms(self, referred: bool) -> list[Form]:
        """What can be learnt from."""
        found = [Form(next(iter(VIEWS)), "nothing", True)] if referred else []
        for view, vocabulary in self._vocabularies.items():
            if len(vocabulary.operators) <= _MOST_OPERATORS:
                found.append(Form(view, "operators", referred))
            found.append(Form(view, "sums", referred))
        return found

    def _written(
        self, counts: Sequence[_Counts], form: Form, references: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        """What is in networks: operators that are known, or sums, and what the reference says."""
        vocabulary = self._vocabularies[form.view]
        written = np.empty((len(counts), 0))
        if form.what == "operators":
            written = np.array([vocabulary.histogram(each) for each in counts])
        elif form.what == "sums":
            written = np.array([sums(each, form.view) for each in counts])
        if form.referred:
            if references is None:
                raise ValueError("learnt with a reference: what it says of the networks must be given")
            reference = np.asarray(references, np.float64)
            if reference.shape != (len(counts),) or not np.isfinite(reference).all():
                raise ValueError(f"references must be {len(counts)} finite numbers (got shape {reference.shape})")
            written = np.column_stack([written, reference])
        return written

    def _inputs(self, counts: Sequence[_Counts], form: Form, references: ArrayLike | None = None) -> Inputs:
        """What a process sees of networks; of operators that no measured network has, what those like them suggest."""
        vocabulary = self._vocabularies[form.view]
        found = _inputs_of(self._written(counts, form, references), form, vocabulary)
        for row, each in zip(found.seen, counts, strict=True):
            row[: found.alike] += vocabulary.others(each) if found.alike else 0.0
        return found

    def predict(self, network: Network, extrapolate: bool = False) -> Prediction:
        """What a network will take.

        Raises :class:`OutOfRangeError` for a network with more or less of anything than those that were measured, and
        :class:`~codesign.predictors.UnknownOperatorError` for operators that none of them has, unless told to
        ``extrapolate``; the prediction is then marked.
        """
        references = None if self._reference is None else [self._reference.estimate(network)]
        return self.predict_counts([operator_counts(network)], extrapolate, references)[0]

    def predict_counts(
        self, counts: Sequence[_Counts], extrapolate: bool = False, references: ArrayLike | None = None
    ) -> list[Prediction]:
        """Like :meth:`predict` for several networks with operators counted before."""
        inputs = [self._inputs(counts, member.form, references) for member in self._members]
        rows = zip(*(each.written for each in inputs), strict=True)
        outside = [
            next(filter(None, map(self._outside, self._members, [each] * len(inputs), row)), None)
            for each, row in zip(counts, rows, strict=True)
        ]
        if not extrapolate:
            for problem in outside:
                if problem is not None:
                    raise problem
        mean, std = stacked([(m.weight, m.process.predict(x.seen)) for m, x in zip(self._members, inputs, strict=True)])
        return [
            Prediction(float(m), float(s * self._factor), problem is not None)
            for m, s, problem in zip(mean, std, outside, strict=True)
        ]

    def _outside(self, member: _Member, counts: _Counts, row: NDArray[np.float64]) -> ValueError | None:
        form, vocabulary = member.form, self._vocabularies[member.form.view]
        unknown = vocabulary.unknown(counts) if form.what == "operators" else []
        if unknown:
            return UnknownOperatorError(unknown)
        low, high = member.written.min(axis=0), member.written.max(axis=0)
        room = _MARGIN * (high - low)
        for i in np.nonzero((row < low - room - 1e-9) | (row > high + room + 1e-9))[0]:
            if form.referred and i == len(row) - 1:
                name = "what the reference says"
            elif form.what == "operators":
                name = vocabulary.operators[i]
            else:
                name = f"{SUMS[i % len(SUMS)]} of class {CLASSES[i // len(SUMS)]}"
            return OutOfRangeError(
                f"{name}: must be from {low[i]:g} to {high[i]:g} as in the networks that were measured (got {row[i]:g})"
            )
        return None

    def save(self, path: str | Path | BinaryIO) -> None:
        """Write the predictor as an .npz file of plain arrays."""
        used = {member.form.view: self._vocabularies[member.form.view] for member in self._members}
        about = {
            "version": _VERSION,
            "unit": self.unit,
            "model": self.model,
            "forms": [member.form for member in self._members],
            "reference": self.reference,
            "operators": {view: vocabulary.operators for view, vocabulary in used.items()},
        }
        arrays: dict[str, Any] = {"about": np.array(json.dumps(about)), "y": self._measured, "noise": self._noise}
        arrays["weights"] = np.array([member.weight for member in self._members])
        arrays["factor"] = np.array(self._factor)
        if self._reference is not None:
            arrays["reference"] = np.frombuffer(self._reference.content, np.uint8)
        for view, vocabulary in used.items():
            arrays |= {f"shapes {view}": vocabulary.shapes, f"totals {view}": vocabulary.totals}
        for i, member in enumerate(self._members):
            arrays[f"x_{i}"] = member.written
            if isinstance(member.process, Process):
                arrays[f"theta_{i}"] = member.process.theta
            else:
                arrays |= {f"{_MLP}{key}": array for key, array in member.process.mlp.arrays().items()}
                arrays["error"] = np.array(member.process.error)
        np.savez_compressed(path, **arrays)

    @classmethod
    def load(cls, path: str | Path | BinaryIO, name: str | None = None) -> Predictor:
        """Read a predictor; raises ValueError for a file that is none, with its path or ``name``."""
        name = name or str(path)
        try:
            data = read_arrays(path)
            about: dict[str, Any] = json.loads(str(data["about"]))
            if about["version"] != _VERSION:
                raise ValueError(f"version must be {_VERSION} (got {about['version']!r})")
            found = cls(about["unit"], model=about["model"])
            if about["reference"] is not None:
                content = data["reference"].astype(np.uint8).tobytes()
                found._reference = Reference.of(str(about["reference"]), content, found.unit, cls)
            forms = [Form(view, what, referred) for view, what, referred in about["forms"]]
            for form in forms:
                if form.view not in VIEWS or form.what not in _WHAT or not isinstance(form.referred, bool):
                    raise ValueError(f"forms must be a view, one of {', '.join(_WHAT)}, true or false (got {form})")
            found._vocabularies = {}
            for view in {form.view for form in forms}:
                names = tuple(map(str, about["operators"][view]))
                shapes = _require(data[f"shapes {view}"], f"shapes {view}", (len(names), SHAPE))
                totals = _require(data[f"totals {view}"], f"totals {view}", (len(SUMS),))
                if len(set(names)) != len(names) or not (totals > 0).all():
                    raise ValueError(f"operators of {view!r} must differ, their totals be above 0")
                found._vocabularies[view] = Vocabulary(view, names, shapes, totals)
            weights, y, found._factor = data["weights"], data["y"], float(data["factor"])
            _require(weights, "weights", (len(forms),))
            if len(set(forms)) != len(forms):
                raise ValueError(f"forms must differ (got {about['forms']})")
            if not (weights > 0).all() or not math.isclose(weights.sum(), 1.0):
                raise ValueError(f"weights must be above 0, their sum 1 (got {weights})")
            if not 1 <= found._factor < _LARGEST:
                raise ValueError(f"factor must be >= 1 (got {found._factor:g})")
            found._measured = _require(y, "y", (len(y),))
            if np.ptp(y) == 0:
                raise ValueError("y must differ")
            found._noise = _require(data["noise"], "noise", (len(y),))
            if (found._noise < 0).any():
                raise ValueError("noise must be >= 0")
            found._members = []
            for i, (form, weight) in enumerate(zip(forms, weights, strict=True)):
                vocabulary = found._vocabularies[form.view]
                columns = {"operators": len(vocabulary.operators), "sums": len(CLASSES) * len(SUMS), "nothing": 0}
                if form.what == "operators" and columns["operators"] > _MOST_OPERATORS:
                    raise ValueError(f"operators must be at most {_MOST_OPERATORS} (got {columns['operators']})")
                x = _require(data[f"x_{i}"], f"x_{i}", (len(y), columns[form.what] + form.referred))
                process: Process | Perceptron
                if found.model == "perceptron":
                    network = Mlp.of({k.removeprefix(_MLP): array for k, array in data.items() if k.startswith(_MLP)})
                    if len(network.input_scale) != x.shape[1] or form.what != "sums":
                        raise ValueError(f"the perceptron must have {x.shape[1]} inputs, sums")
                    process = Perceptron(network, _scalar(data["error"], "error"))
                else:
                    theta = _require(data[f"theta_{i}"], f"theta_{i}", (PARAMETERS,))
                    process = process_of(_inputs_of(x, form, vocabulary), y, found._noise, theta)
                found._members.append(_Member(form, float(weight), x, process))
        except RecursionError:
            raise ValueError(f"{name}: is no predictor: nested too deep") from None
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            raise ValueError(f"{name}: is no predictor: {error}") from None
        return found


def _scalar(array: NDArray[Any], name: str) -> float:
    if array.ndim or array.dtype != np.float64 or not 0 <= array < _LARGEST:
        raise ValueError(f"{name} must be a number >= 0 (got {array!r})")
    return float(array)


def _require(array: NDArray[Any], name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """An array of a file, if it holds such numbers; ValueError otherwise."""
    if array.dtype != np.float64 or array.shape != shape:
        raise ValueError(f"{name} must be float64 of shape {shape} (got {array.dtype} of {array.shape})")
    if not (np.abs(array) < _LARGEST).all():
        raise ValueError(f"{name} must be numbers below {_LARGEST:g}")
    return array


def _inputs_of(written: NDArray[np.float64], form: Form, vocabulary: Vocabulary) -> Inputs:
    if form.what != "operators":
        return Inputs(written, written, 0)
    columns = len(vocabulary.operators)
    mixed = vocabulary.mixed(written[:, :columns])
    return Inputs(written, np.hstack([mixed, written[:, columns:]]), mixed.shape[1])


class _Member(NamedTuple):
    form: Form
    weight: float
    written: NDArray[np.float64]
    process: Process | Perceptron


def _impossible(counts: Sequence[_Counts], values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n,) measurements that no device makes of such networks: their time per operation is far from all others'.

    Far is more than a factor of 100 from the median, and of ten median deviations. At most a quarter is: more is a
    property of the networks.
    """
    view = next(iter(VIEWS))
    # A network without arithmetic takes the time of its operators.
    work = [sum(n * (1 + operations(operator)) for operator, n in each[view].items()) for each in counts]
    rates = np.log(values) - np.log(np.maximum(1.0, work))
    off = np.abs(rates - np.median(rates))
    wild = off > max(math.log(_MOST_FACTOR), _MOST_DEVIATIONS * float(np.median(off)))
    enough = len(values) - np.count_nonzero(wild) >= max(LEAST_MEASUREMENTS, 0.75 * len(values))
    return wild & enough
