"""What a predictor sees of a network: how often each operator runs, and sums over all of them.

Runtimes differ in what they make of dead operators and of those that compute the same, and it is not known what a
device did. So a network is looked at in four ways (:data:`VIEWS`): everything that is written in it, or what is left
when operators that the output does not need are gone; and either with duplicates counted once. Normalisations go with
their convolutions and are no columns of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Vocabulary:
    """Operators by view, in the order of their columns."""

    operators: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, counts: Iterable[dict[str, Counter[Operator]]]) -> Vocabulary:
        """All operators of some networks."""
        seen: dict[str, set[str]] = {view: set() for view in VIEWS}
        for network in counts:
            for view in VIEWS:
                seen[view] |= set(map(str, network[view]))
        return cls({view: tuple(sorted(names)) for view, names in seen.items()})

    def histogram(self, counts: dict[str, Counter[Operator]], view: str) -> NDArray[np.float64]:
        """How often each operator of the vocabulary runs, (columns,); others are left out."""
        found = Counter({str(operator): count for operator, count in counts[view].items()})
        return np.array([found[name] for name in self.operators[view]], np.float64)

    def unknown(self, counts: dict[str, Counter[Operator]], view: str) -> list[str]:
        """Operators that are not in the vocabulary."""
        known = set(self.operators[view])
        return sorted({str(operator) for operator in counts[view]} - known)


def operator_counts(network: Network) -> dict[str, Counter[Operator]]:
    """How often a network runs each operator, by view."""
    return {view: Counter(step.operator for step in steps(network, runtime, 32)) for view, runtime in VIEWS.items()}


def sums(counts: dict[str, Counter[Operator]], view: str) -> NDArray[np.float64]:
    """Operators, operations and words by class, (classes x 3,)."""
    found = np.zeros((len(CLASSES), len(SUMS)))
    for operator, count in counts[view].items():
        words = sum(map(operator.words, operator.tensors))
        found[CLASSES.index(class_of(operator))] += count * np.array([1.0, operations(operator), words])
    return found.ravel()
