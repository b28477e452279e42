"""What a network search minimises: scores (n, objectives) of accuracies (n,) and costs (n, k), k >= 0.

An accuracy of minus infinity (no answer) makes a network infeasible, infinite in all objectives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Objective = Callable[[Array, Array], Array]


def pareto(accuracies: Array, costs: Array) -> Array:
    """As accurate as possible, and as cheap as possible: an objective for the accuracy and one for each cost."""
    return _feasible(np.concatenate([-accuracies[:, None], costs], axis=1), np.isfinite(accuracies))


@dataclass(frozen=True)
class Constrained:
    """As accurate as possible with every cost at most its limit. Where costs are known before a query, let a strategy
    not propose what exceeds them (``admits``)."""

    limits: Sequence[float]

    def admits(self, costs: Array) -> NDArray[np.bool_]:
        """(n,) which costs (n, k) are within the limits."""
        return np.asarray((costs <= _row(self.limits, costs, "limits")).all(axis=1))

    def __call__(self, accuracies: Array, costs: Array) -> Array:
        """Scores, infinite beyond the limits."""
        return _feasible(-accuracies[:, None], np.isfinite(accuracies) & self.admits(costs))


@dataclass(frozen=True)
class Weighted:
    """One sum: percent of accuracy lost, and costs times their weights, in points per unit of the cost."""

    weights: Sequence[float]

    def __call__(self, accuracies: Array, costs: Array) -> Array:
        """Scores."""
        total = (costs * _row(self.weights, costs, "weights")).sum(axis=1) - accuracies
        return _feasible(total[:, None], np.isfinite(accuracies))


@dataclass(frozen=True)
class MnasNetReward:
    """Accuracy times (latency / target)^exponent (Tan et al., CVPR 2019, equation 2), turned into a score.

    The exponent is ``within`` for latencies up to the target and ``beyond`` for longer ones. The paper's soft
    constraint has -0.07 for both, since doubling the latency bought 5 % of accuracy; its hard one has 0 and -1.
    """

    target: float
    within: float = -0.07
    beyond: float = -0.07

    def __post_init__(self) -> None:
        if not 0 < self.target < np.inf:
            raise ValueError(f"target must be a number > 0 (got {self.target})")

    def reward(self, accuracies: Array, latencies: Array) -> Array:
        """(n,) the reward."""
        ratio = latencies / self.target
        return np.asarray(accuracies * ratio ** np.where(ratio <= 1, self.within, self.beyond))

    def __call__(self, accuracies: Array, costs: Array) -> Array:
        """Scores, of the only cost."""
        if costs.shape[1] != 1:
            raise ValueError(f"MnasNet's reward takes one cost, a latency (got {costs.shape[1]})")
        works = np.isfinite(accuracies)
        return _feasible(-self.reward(np.where(works, accuracies, 0.0), costs[:, 0])[:, None], works)


def _row(values: Sequence[float], costs: Array, name: str) -> Array:
    if len(values) != costs.shape[1]:
        raise ValueError(f"{name} must have {costs.shape[1]} values, one per cost (got {len(values)})")
    return np.asarray(values, np.float64)


def _feasible(scores: Array, works: NDArray[np.bool_]) -> Array:
    return np.where(works[:, None], scores, np.inf)
