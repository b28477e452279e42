"""The optimiser protocol of hardware and network searches.

An optimiser proposes vectors in the unit cube and is told their scores, the smaller the better::

    optimiser = CmaEs(size, population=20, seed=1)
    while ...:
        vectors = optimiser.ask()                # (n, size)
        scores = ...                             # (n, objectives); infinite for what cannot work
        optimiser.tell(vectors, scores)

``ask`` may be called again before ``tell``, to replace vectors that mean nothing; only those told count. All randomness
comes from the seed: the same seed, told the same, proposes the same, in any process. So a search is resumed by telling
a new optimiser what the old one was told; ``state`` shows whether both are alike.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Seed = int | np.random.SeedSequence


class Optimiser(ABC):
    """Proposes vectors of ``size`` numbers in 0..1, ``population`` of them at once."""

    #: Name in experiments.
    name: str
    #: Whether it takes more than one objective.
    several_objectives: bool = False

    def __init__(self, size: int, *, population: int = 20, seed: Seed = 0):
        if size < 1 or population < 2:
            raise ValueError(f"size must be >= 1 and population >= 2 (got {size} and {population})")
        self.size = size
        self.population = population
        self.random = np.random.default_rng(seed)
        self.generation = 0

    @abstractmethod
    def ask(self) -> NDArray[np.float64]:
        """The next vectors, (n, size)."""

    def tell(self, vectors: NDArray[np.float64], scores: NDArray[np.float64]) -> None:
        """What vectors (n, size) scored, (n, objectives); ends a generation.

        Raises ValueError for scores that are no numbers, for other shapes, and for vectors outside the cube.
        """
        vectors, scores = np.asarray(vectors, np.float64), np.asarray(scores, np.float64)
        if vectors.ndim != 2 or vectors.shape[1] != self.size or not len(vectors):
            raise ValueError(f"vectors must have shape (n, {self.size}) with n >= 1 (got {vectors.shape})")
        if scores.ndim != 2 or len(scores) != len(vectors) or scores.shape[1] < 1:
            raise ValueError(f"scores must have shape ({len(vectors)}, objectives) (got {scores.shape})")
        if scores.shape[1] > 1 and not self.several_objectives:
            raise ValueError(f"{self.name} takes one objective (got {scores.shape[1]})")
        if np.isnan(scores).any() or (scores == -np.inf).any():
            raise ValueError("scores must be numbers, or infinite for what cannot work (got NaN or -infinity)")
        if not ((vectors >= 0).all() and (vectors <= 1).all()):
            raise ValueError("vectors must lie in 0..1")
        self._learn(vectors, scores)
        self.generation += 1

    @abstractmethod
    def _learn(self, vectors: NDArray[np.float64], scores: NDArray[np.float64]) -> None:
        """What :meth:`tell` leaves to the way of searching."""

    def state(self) -> dict[str, Any]:
        """What it has learnt, as plain data: equal for optimisers that will propose the same."""
        return {
            "optimiser": self.name,
            "generation": self.generation,
            "random": {key: str(value) for key, value in self.random.bit_generator.state["state"].items()},
            **self._state(),
        }

    @abstractmethod
    def _state(self) -> dict[str, Any]:
        """What :meth:`state` shows besides."""


def fingerprint(*arrays: NDArray[np.float64]) -> str:
    """A short text that differs for arrays that differ in any bit."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(str(array.shape).encode())
        found.update(np.ascontiguousarray(array, np.float64).tobytes())
    return found.hexdigest()[:16]
