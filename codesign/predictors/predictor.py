"""A Gaussian process on operators' counts: latency, or energy, with its uncertainty, from 20 measurements or more.

Time is mostly a sum over operators, so the process has a linear part, and a smooth part for what is no sum (operators
that run side by side or find their inputs in a cache). What a device makes of dead operators is not known: a process
for each view of the networks (see :mod:`codesign.predictors.features`), and for sums over classes instead of counts
where there are many different operators. Each measurement is left out in turn (Sundararajan and Keerthi, Neural
Computation 2001): the process that finds those most probable is taken, or with few measurements the one with the
highest marginal likelihood; what the others find impossible is an outlier, as phones give, and is not learnt from; how
far off the rest are calibrates the uncertainty.

With a *reference*, the roofline of a processor or a predictor for another device, what it says of a network is one more
feature, or the only one. With few measurements of a large space that is worth more than the rest.
"""

from __future__ import annotations

import json
import math
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accelerators import catalog
from accelerators.operators import Operator
from accelerators.processors.processor import CLASSES, Processor
from accelerators.processors.roofline import operations
from codesign.files import read_arrays
from codesign.networks import Network
from codesign.predictors.features import SUMS, VIEWS, UnknownOperatorError, Vocabulary, operator_counts, sums

LEAST_MEASUREMENTS = 5
_VERSION = 3
#: Units of measurements: latency or energy.
UNITS = ("ms", "mJ")
#: Inputs may lie outside the training range by this part of it.
_MARGIN = 0.1
#: Measurements that are more standard deviations off than this, if left out, are outliers.
_MOST_SIGMAS = 4.5
#: The same in times per operation, before anything is learnt: a factor, and median deviations.
_MOST_FACTOR, _MOST_DEVIATIONS = 100.0, 10.0
#: Measurements with which ways to look at networks are compared: more make the choice no better, and take long.
_MOST_TRIED = 100
#: Measurements that say by being left out which way is best; with fewer, by chance too often.
_ENOUGH_TO_LEAVE_OUT = 50
#: Counts are used where there are at most so many different operators per measurement.
_MOST_OPERATORS = 3
_Counts = dict[str, Counter[Operator]]
_WHAT = ("counts", "sums", "nothing")
#: Of measurements, and of anything in a predictor's file.
_LEAST, _MOST, _LARGEST = 1e-12, 1e12, 1e15
#: Parts of the measurements that are left out in turn, and the median of a normal distribution's absolute values.
_PARTS, _MEDIAN_OF_NORMAL = 5, 0.6745
#: Of the kernel.
_PARAMETERS = 5
#: Prior variance of the mean of all measurements, over theirs: it is not known before any of them is.
_MEAN_VARIANCE = 1e3
#: A view, what is taken of it ("counts", "sums", or "nothing"), and whether the reference is a feature.
_Form = tuple[str, str, bool]


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

    ``reference`` is a processor's name or datasheet, or the file of a predictor for another device (.npz).
    """

    #: Positions of the measurements that were not learnt from.
    outliers: tuple[int, ...] = ()
    #: Median relative error of the others, predicted by processes that learnt from the rest; None after loading.
    error: float | None = None

    def __init__(self, unit: str = "ms", reference: str | Path | None = None):
        if unit not in UNITS:
            raise ValueError(f"unit must be one of {', '.join(UNITS)} (got {unit!r})")
        self.unit = unit
        self.reference = None if reference is None else str(reference)
        self._refer = None if self.reference is None else _estimator(self.reference, unit)

    @property
    def measurements(self) -> int:
        """How many measurements it has learnt from, outliers not counted."""
        return len(self._process.arrays()["y"])

    def fit(self, networks: Sequence[Network], measured: Sequence[float]) -> Predictor:
        """Learn from networks and what was measured for each, positive numbers.

        Raises ValueError for fewer than five measurements, for values that are no positive numbers, and for
        measurements that are all the same.
        """
        references = None if self._refer is None else [self._refer(network) for network in networks]
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
        self._vocabulary = Vocabulary.of(counts)
        best, seen = None, set()
        # Spread over what was measured, the least and the most included.
        spread = np.linspace(0, len(values) - 1, min(len(values), _MOST_TRIED)).astype(int)
        tried = np.sort(np.argsort(values, kind="stable")[spread])
        for form in self._forms(len(tried), references is not None):
            matrix = self._matrix(counts, form, references)
            if matrix.tobytes() in seen:
                continue
            seen.add(matrix.tobytes())
            if not np.ptp(matrix[tried], axis=0).any():
                continue
            model = Process(matrix[tried], values[tried])
            if best is None or model.credibility() > best[1].credibility():
                best = form, model
        if best is None:
            raise ValueError("the networks that were measured must differ: they have the same operators")
        self.form, process = best
        if len(tried) < len(values):
            process = Process(self._matrix(counts, self.form, references), values)
        wild = np.abs(process.left_out()) > _MOST_SIGMAS
        self.outliers = tuple(int(i) for i in np.nonzero(wild)[0])
        if self.outliers and len(values) - len(self.outliers) >= LEAST_MEASUREMENTS:
            process = Process(self._matrix(counts, self.form, references)[~wild], values[~wild])
        self.error = process.calibrate()
        self._process = process
        return self

    def _forms(self, measurements: int, referred: bool) -> list[_Form]:
        """What can be learnt from."""
        found: list[_Form] = [(next(iter(VIEWS)), "nothing", True)] if referred else []
        for view in VIEWS:
            if len(self._vocabulary.operators[view]) <= _MOST_OPERATORS * measurements:
                found.append((view, "counts", referred))
            found.append((view, "sums", referred))
        return found

    def _matrix(
        self, counts: Sequence[_Counts], form: _Form, references: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        view, what, referred = form
        columns = np.empty((len(counts), 0))
        if what == "counts":
            columns = np.array([self._vocabulary.histogram(each, view) for each in counts])
        elif what == "sums":
            columns = np.array([sums(each, view) for each in counts])
        if not referred:
            return columns
        if references is None:
            raise ValueError("learnt with a reference: what it says of the networks must be given")
        reference = np.asarray(references, np.float64)
        if reference.shape != (len(counts),) or not np.isfinite(reference).all():
            raise ValueError(f"references must be {len(counts)} finite numbers (got shape {reference.shape})")
        return np.column_stack([columns, reference])

    def predict(self, network: Network, extrapolate: bool = False) -> Prediction:
        """What a network will take.

        Raises :class:`OutOfRangeError` for a network with more or less of anything than those that were measured, and
        :class:`~codesign.predictors.UnknownOperatorError` for operators that none of them has, unless told to
        ``extrapolate``; the prediction is then marked.
        """
        references = None if self._refer is None else [self._refer(network)]
        return self.predict_counts([operator_counts(network)], extrapolate, references)[0]

    def predict_counts(
        self, counts: Sequence[_Counts], extrapolate: bool = False, references: ArrayLike | None = None
    ) -> list[Prediction]:
        """Like :meth:`predict` for several networks with operators counted before."""
        matrix = self._matrix(counts, self.form, references)
        outside = [self._outside(each, row) for each, row in zip(counts, matrix, strict=True)]
        if not extrapolate:
            for problem in outside:
                if problem is not None:
                    raise problem
        mean, std = self._process.predict(matrix)
        return [
            Prediction(float(m), float(s), problem is not None)
            for m, s, problem in zip(mean, std, outside, strict=True)
        ]

    def _outside(self, counts: _Counts, row: NDArray[np.float64]) -> ValueError | None:
        view, what, referred = self.form
        unknown = self._vocabulary.unknown(counts, view) if what == "counts" else []
        if unknown:
            return UnknownOperatorError(unknown)
        low, high = self._process.range
        room = _MARGIN * (high - low)
        for i in np.nonzero((row < low - room - 1e-9) | (row > high + room + 1e-9))[0]:
            if referred and i == len(row) - 1:
                name = "what the reference says"
            elif what == "counts":
                name = self._vocabulary.operators[view][i]
            else:
                name = f"{SUMS[i % len(SUMS)]} of class {CLASSES[i // len(SUMS)]}"
            return OutOfRangeError(
                f"{name}: must be from {low[i]:g} to {high[i]:g} as in the networks that were measured (got {row[i]:g})"
            )
        return None

    def save(self, path: Path | BinaryIO) -> None:
        """Write the predictor as an .npz file of plain arrays."""
        about = {
            "version": _VERSION,
            "unit": self.unit,
            "form": self.form,
            "reference": self.reference,
            "operators": self._vocabulary.operators,
        }
        arrays: dict[str, Any] = {"about": np.array(json.dumps(about)), **self._process.arrays()}
        np.savez_compressed(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> Predictor:
        """Read a predictor; raises ValueError for a file that is none."""
        try:
            data = read_arrays(path)
            about: dict[str, Any] = json.loads(str(data["about"]))
            if about["version"] != _VERSION:
                raise ValueError(f"version must be {_VERSION} (got {about['version']!r})")
            found = cls(about["unit"], about["reference"])
            view, what, referred = about["form"]
            if view not in VIEWS or what not in _WHAT or not isinstance(referred, bool):
                raise ValueError(
                    f"form must be a view, one of {', '.join(_WHAT)}, true or false (got {about['form']!r})"
                )
            found.form = (view, what, referred)
            found._vocabulary = Vocabulary({view: tuple(map(str, about["operators"][view])) for view in VIEWS})
            x, y, theta = (data[key] for key in ("x", "y", "theta"))
            columns = {"counts": len(found._vocabulary.operators[view]), "sums": len(CLASSES) * len(SUMS), "nothing": 0}
            shapes = (len(y), columns[what] + referred), (len(y),), (_PARAMETERS,)
            if any(a.dtype != np.float64 or a.shape != shape for a, shape in zip((x, y, theta), shapes, strict=True)):
                raise ValueError(f"x, y and theta must be float64 of shapes {shapes[0]}, {shapes[1]} and {shapes[2]}")
            if not all((np.abs(a) < _LARGEST).all() for a in (x, y, theta)) or np.ptp(y) == 0:
                raise ValueError("x, y and theta must be numbers, and y must differ")
            factor = float(data["factor"])
            if not 1 <= factor < _LARGEST:
                raise ValueError(f"factor must be >= 1 (got {factor:g})")
            found._process = Process(x, y, theta, factor)
        except RecursionError:
            raise ValueError(f"{path}: is no predictor: nested too deep, or its own reference") from None
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            raise ValueError(f"{path}: is no predictor: {error}") from None
        return found


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


def _estimator(reference: str, unit: str) -> Callable[[Network], float]:
    """What a reference says of a network, in milliseconds or millijoules."""
    if reference.endswith(".npz"):
        other = Predictor.load(Path(reference))
        if other.unit != unit:
            raise ValueError(f"{reference}: must predict {unit}, like the measurements (got {other.unit})")
        return lambda network: other.predict(network, extrapolate=True).mean
    hardware = catalog.load(reference)
    if not isinstance(hardware, Processor):
        raise ValueError(f"{reference}: a reference must be a processor or the .npz file of a predictor")
    from codesign.evaluation import on_processor

    def estimate(network: Network) -> float:
        cost = on_processor(network, hardware)
        found = cost.latency_s if unit == "ms" else cost.energy_pj
        if found is None:
            raise ValueError(f"{reference} cannot run {network.name}: {cost.problems[0]}")
        return found * (1e3 if unit == "ms" else 1e-9)

    return estimate


class Process:
    """The Gaussian process on a matrix of features; with ``theta`` its parameters are known.

    ``factor`` is what standard deviations are multiplied with; from each measurement left out if absent.
    """

    def __init__(
        self,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        theta: NDArray[np.float64] | None = None,
        factor: float | None = None,
    ):
        try:
            from sklearn.exceptions import ConvergenceWarning
            from sklearn.gaussian_process import GaussianProcessRegressor
            from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
        except ImportError:
            raise ImportError("predictors need scikit-learn: pip install 'codesign[predict]'") from None
        self._x, self._y = x, y
        self.range = x.min(axis=0), x.max(axis=0)
        self._mean, self._std = x.mean(axis=0), x.std(axis=0)
        # Columns that never change say nothing; those that change alike count once.
        used = np.nonzero(self._std > 0)[0]
        scaled = (x[:, used] - self._mean[used]) / self._std[used]
        _, first = np.unique(np.round(scaled, 9), axis=1, return_index=True)
        self._used = used[np.sort(first)]
        self._middle, self._spread = float(y.mean()), float(y.std())
        kernel = (
            ConstantKernel(1.0, (1e-3, 1e3)) * DotProduct(1.0, (1e-2, 1e2))
            + ConstantKernel(0.1, (1e-4, 1e2)) * RBF(math.sqrt(max(1, len(self._used))), (0.5, 100.0))
            + WhiteKernel(0.05, (1e-6, 1.0))
        )
        if theta is not None:
            kernel.theta = theta
        self._model = GaussianProcessRegressor(kernel, optimizer=None if theta is not None else "fmin_l_bfgs_b")
        with warnings.catch_warnings():
            # A bound that is reached is a result, such as no noise at all.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._model.fit(self._scaled(x), (y - self._middle) / self._spread)
        # Parameters that suit the measurements too well promise too much; that they promise too little is not believed.
        self._factor = max(1.0, float(np.sqrt(np.mean(self.left_out() ** 2)))) if factor is None else factor

    def _scaled(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return (x[:, self._used] - self._mean[self._used]) / self._std[self._used]

    def _leave_out(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Errors and standard deviations of measurements that are left out, over the spread of all, (n,) both.

        Rasmussen and Williams, equations 5.10 to 5.12. What is centred on the mean of all must not learn that mean from
        what is left out: its prior is as good as flat.
        """
        inverse = np.linalg.inv(self._model.kernel_(self._model.X_train_) + _MEAN_VARIANCE)
        variance = 1 / np.diag(inverse)
        errors: NDArray[np.float64] = (inverse @ self._model.y_train_.ravel()) * variance
        return errors, np.sqrt(variance)

    def left_out(self) -> NDArray[np.float64]:
        """Errors of measurements that are left out, each over what the process expects of it, (n,)."""
        errors, std = self._leave_out()
        return errors / std

    def credibility(self) -> float:
        """Log probability of the measurements, each predicted by the others (Rasmussen and Williams, 5.10 and 5.11).

        The marginal likelihood, which is taken instead where measurements are few, prefers few features to many that
        predict better. Outliers count no more than the least that are told from the rest.
        """
        if len(self._y) < _ENOUGH_TO_LEAVE_OUT:
            return float(self._model.log_marginal_likelihood_value_)
        errors, std = self._leave_out()
        return float(-np.sum(np.minimum((errors / std) ** 2, _MOST_SIGMAS**2) / 2 + np.log(std)))

    def predict(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation (n,) for features (n, f)."""
        mean, std = self._model.predict(self._scaled(x), return_std=True)
        return mean * self._spread + self._middle, std * self._spread * self._factor

    def calibrate(self) -> float:
        """Set the uncertainty by parts of the measurements that were left out; returns the median relative error.

        Parameters are learnt again from the rest: with few measurements they suit all of them too well.
        """
        count = len(self._y)
        errors, scaled = [], []
        for part in range(parts := min(count, _PARTS)):
            left = np.arange(count) % parts == part
            if np.ptp(self._y[~left]) == 0 or not np.ptp(self._x[~left], axis=0).any():
                continue
            # Its own standard deviations, not enlarged.
            rest = Process(self._x[~left], self._y[~left], factor=1.0)
            mean, std = rest.predict(self._x[left])
            errors += (np.abs(mean - self._y[left]) / self._y[left]).tolist()
            scaled += ((mean - self._y[left]) / std).tolist()
        if scaled:
            # Wild errors are outliers elsewhere.
            typical = float(np.median(np.abs(scaled))) / _MEDIAN_OF_NORMAL
            self._factor = max(1.0, typical)
        return float(np.median(errors)) if errors else math.nan

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """What another one can be made of."""
        return {"x": self._x, "y": self._y, "theta": self._model.kernel_.theta, "factor": np.array(self._factor)}
