"""A genetic algorithm on vectors: simulated binary crossover, polynomial mutation, the best survive.

Operators of Deb and Agrawal (1995) and Deb and Goyal (1996), as NSGA-II uses them; parents win tournaments of two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from codesign.search._base import Optimiser, Seed, fingerprint

_CROSSOVER_RATE = 0.9
#: Lower, that is wider, than the usual 15 and 20: those converge too early in the hundreds of evaluations at hand.
_CROSSOVER_INDEX, _MUTATION_INDEX = 2.0, 8.0


class Genetic(Optimiser):
    """Parents and children compete for ``population`` places by their only objective."""

    name = "genetic"

    def __init__(self, size: int, *, population: int = 20, seed: Seed = 0):
        super().__init__(size, population=population, seed=seed)
        self._vectors = np.zeros((0, size))
        self._scores = np.zeros((0, 1))
        #: (n,) smaller is fitter.
        self._fitness = np.zeros(0)

    def ask(self) -> NDArray[np.float64]:
        """First random vectors, then children."""
        if not len(self._vectors):
            return self.random.random((self.population, self.size))
        pairs = (self.population + 1) // 2
        mothers, fathers = self._vectors[self._winners(pairs)], self._vectors[self._winners(pairs)]
        children = np.concatenate(self._crossed(mothers, fathers))[: self.population]
        return self._mutated(children)

    def _winners(self, count: int) -> NDArray[np.int64]:
        pairs = self.random.integers(0, len(self._vectors), (count, 2))
        first_wins = self._fitness[pairs[:, 0]] <= self._fitness[pairs[:, 1]]
        return np.where(first_wins, pairs[:, 0], pairs[:, 1])

    def _crossed(
        self, mothers: NDArray[np.float64], fathers: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Children of pairs: each number mixed with probability 1/2, spread as the parents are."""
        u = self.random.random(mothers.shape)
        exponent = 1.0 / (_CROSSOVER_INDEX + 1.0)
        spread = np.where(u < 0.5, (2 * u) ** exponent, (1 / (2 * (1 - u))) ** exponent)
        mixed = (self.random.random(mothers.shape) < 0.5) & (self.random.random((len(mothers), 1)) < _CROSSOVER_RATE)
        spread = np.where(mixed, spread, 1.0)
        middle, half = (mothers + fathers) / 2, (mothers - fathers) / 2
        return np.clip(middle + spread * half, 0, 1), np.clip(middle - spread * half, 0, 1)

    def _mutated(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Each number moved with probability 1/size, and one in any case, within the cube."""
        u = self.random.random(vectors.shape)
        power = 1.0 / (_MUTATION_INDEX + 1.0)
        down = (2 * u + (1 - 2 * u) * (1 - vectors) ** (_MUTATION_INDEX + 1)) ** power - 1
        up = 1 - (2 * (1 - u) + (2 * u - 1) * vectors ** (_MUTATION_INDEX + 1)) ** power
        chosen = self.random.random(vectors.shape) < 1.0 / self.size
        # Without it a third of the children would not be moved at all, and those of a parent with itself would be it.
        chosen[np.arange(len(vectors)), self.random.integers(0, self.size, len(vectors))] = True
        return np.clip(np.where(chosen, vectors + np.where(u < 0.5, down, up), vectors), 0, 1)

    def _learn(self, vectors: NDArray[np.float64], scores: NDArray[np.float64]) -> None:
        # Children first: they replace parents that are as fit.
        vectors = np.concatenate([vectors, self._vectors])
        scores = np.concatenate([scores, self._scores]) if len(self._scores) else scores
        # Different vectors stand for one design and score the same: one of them is enough, or they soon are all there
        # is. What cannot work scores the same without being the same.
        works = np.isfinite(scores).all(axis=1, keepdims=True)
        identity = np.concatenate([scores, np.where(works, 0.0, vectors)], axis=1)
        distinct = np.sort(np.unique(identity, axis=0, return_index=True)[1])
        vectors, scores = vectors[distinct], scores[distinct]
        fitness = self._fitness_of(scores)
        survivors = np.argsort(fitness, kind="stable")[: self.population]
        self._vectors, self._scores, self._fitness = vectors[survivors], scores[survivors], fitness[survivors]

    def _fitness_of(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        return scores[:, 0]

    def _state(self) -> dict[str, Any]:
        return {"parents": fingerprint(self._vectors, self._scores)}
