"""What a predictor sees of a network: how often each operator runs, and sums over all of them.

Runtimes differ in what they make of dead operators and of those that compute the same, and it is not known what a
device did. So a network is looked at in four ways (:data:`VIEWS`): everything that is written in it, or what is left
when operators that the output does not need are gone; and either with duplicates counted once. Normalisations go with
their convolutions and are no columns of their own.

A network's time is a sum of its operators' times, of which few measurements say little one by one. But operators of
similar shapes take similar times. So they have a common prior (:class:`Vocabulary`): before anything is measured, an
operator's time is of the order of its part in what all networks do, and two operators' times are correlated, the more
the closer the logarithms of their loop bounds are. An operator that was not measured has the time that those like it
suggest.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from accelerators.operators import Operator
from accelerators.processors.processor import CLASSES, Runtime
from accelerators.processors.roofline import class_of, operations
from codesign.networks import Network
from codesign.networks.execution import steps

#: Ways to look at a network.
VIEWS = {
    name: Runtime(
        name,
        fuses_elementwise=False,
        drops_unreachable=name.startswith("needed"),
        folds_zero_inputs=False,
        merges_duplicates=name.endswith("once"),
    )
    for name in ("written", "needed", "written once", "needed once")
}
#: What is summed up per class.
SUMS = ("operators", "operations", "words of tensors")


class UnknownOperatorError(ValueError):
    """Operators that no training network has; ``operators`` lists them."""

    def __init__(self, operators: Sequence[str]):
        self.operators = tuple(operators)
        listed = ", ".join(self.operators[:5]) + (f" and {len(operators) - 5} more" if len(operators) > 5 else "")
        super().__init__(f"no network that was measured has {listed}")


#: Of an operator's shape: the number of its class, logarithms to base 2 of its loop bounds by these names and of the
#: product of all others, and its part in what the networks do.
_BOUNDS = ("N", "G", "K", "C", "P", "Q", "R", "S")
SHAPE = 1 + len(_BOUNDS) + 2
#: How far apart operators of a class may be to be like each other, in octaves of all bounds together; and the variance
#: that an operator's time has of its own, over that which it shares. From 3 to 10 and 0.01 to 0.1 ranks of FBNet's
#: networks hardly change.
_OCTAVES, _OWN = 4.0, 0.05
#: Directions in which operators differ by less than this part of the most important one are left out.
_SMALLEST = 1e-8


@dataclass(frozen=True)
class Vocabulary:
    """The operators of some networks in a view, in the order of their columns, and their shapes, (n, SHAPE).

    ``totals`` are the means of :data:`SUMS` over the networks.
    """

    view: str
    operators: tuple[str, ...]
    shapes: NDArray[np.float64]
    totals: NDArray[np.float64]

    @classmethod
    def of(cls, counts: Sequence[dict[str, Counter[Operator]]], view: str) -> Vocabulary:
        """All operators of some networks."""
        seen = {str(operator): operator for network in counts for operator in network[view]}
        names = tuple(sorted(seen))
        work = {name: _work(operator) for name, operator in seen.items()}
        every = (n * work[str(operator)] for network in counts for operator, n in network[view].items())
        totals = np.maximum(sum(every, np.zeros(len(SUMS))) / len(counts), 1e-9)
        shapes = np.array([_shape(seen[name], work[name], totals) for name in names]).reshape(-1, SHAPE)
        return cls(view, names, shapes, totals)

    @cached_property
    def _columns(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.operators)}

    @cached_property
    def _root(self) -> NDArray[np.float64]:
        """A square root of the operators' covariance, (operators, directions), each over the operator's part."""
        values, vectors = np.linalg.eigh(_likeness(self.shapes, self.shapes) + _OWN * np.eye(len(self.operators)))
        kept = values > _SMALLEST * values[-1]
        return np.asarray(vectors[:, kept] * np.sqrt(values[kept]))

    @cached_property
    def _inverse(self) -> NDArray[np.float64]:
        """The root times the inverse covariance: its columns are orthogonal, (operators, directions)."""
        return np.asarray(self._root / np.sum(self._root**2, axis=0))

    def histogram(self, counts: Mapping[str, Counter[Operator]]) -> NDArray[np.float64]:
        """How often each operator runs, (columns,); others are left out."""
        found = np.zeros(len(self.operators))
        for operator, count in counts[self.view].items():
            column = self._columns.get(str(operator))
            if column is not None:
                found[column] += count
        return found

    def mixed(self, histograms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Histograms (n, columns) as features whose products are covariances of networks' times, (n, directions)."""
        return np.asarray((histograms * self.shapes[:, -1]) @ self._root)

    def others(self, counts: Mapping[str, Counter[Operator]]) -> NDArray[np.float64]:
        """What operators that are not in the vocabulary add to :meth:`mixed`, by those like them, (directions,)."""
        unknown = [(operator, n) for operator, n in counts[self.view].items() if str(operator) not in self._columns]
        if not unknown:
            return np.zeros(self._root.shape[1])
        shapes = np.array([_shape(operator, _work(operator), self.totals) for operator, _ in unknown])
        alike = _likeness(shapes, self.shapes) @ self._inverse
        return np.asarray((np.array([n for _, n in unknown]) * shapes[:, -1]) @ alike)

    def unknown(self, counts: Mapping[str, Counter[Operator]]) -> list[str]:
        """Operators that are not in the vocabulary."""
        return sorted({str(operator) for operator in counts[self.view]} - set(self.operators))


def _work(operator: Operator) -> NDArray[np.float64]:
    """What :data:`SUMS` count of one operator."""
    return np.array([1.0, operations(operator), sum(map(operator.words, operator.tensors))])


def _shape(operator: Operator, work: NDArray[np.float64], totals: NDArray[np.float64]) -> list[float]:
    bounds = dict(operator.bounds)
    rest = math.prod(bound for dim, bound in bounds.items() if dim not in _BOUNDS)
    logs = [math.log2(bound) for bound in (*(bounds.get(dim, 1) for dim in _BOUNDS), rest)]
    return [float(CLASSES.index(class_of(operator))), *logs, float(np.sum(work / totals))]


def _likeness(some: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlations of operators' times by their shapes; none between classes."""
    from scipy.spatial.distance import cdist

    distance = cdist(some[:, 1:-1], others[:, 1:-1], "sqeuclidean")
    return np.asarray(np.exp(-distance / (2 * _OCTAVES**2)) * (some[:, :1] == others[:, 0]))


def operator_counts(network: Network) -> dict[str, Counter[Operator]]:
    """How often a network runs each operator, by view."""
    return {view: Counter(step.operator for step in steps(network, runtime, 32)) for view, runtime in VIEWS.items()}


def sums(counts: dict[str, Counter[Operator]], view: str) -> NDArray[np.float64]:
    """Operators, operations and words by class, (classes x 3,)."""
    found = np.zeros((len(CLASSES), len(SUMS)))
    for operator, count in counts[view].items():
        found[CLASSES.index(class_of(operator))] += count * _work(operator)
    return found.ravel()
