"""Evolution of networks: regularised evolution, once-for-all's, and NSGA-II."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from codesign.nas.spaces import Codes, Space
from codesign.nas.strategies._base import Admits, Strategy
from codesign.search._base import Seed, fingerprint
from codesign.search.pareto import crowded_ranks


class _Evolution(Strategy):
    """Keeps networks (n, genes), their scores (n, objectives), and how fit they are (n,), smaller is fitter."""

    def __init__(self, space: Space, *, population: int = 20, seed: Seed = 0, admits: Admits | None = None):
        super().__init__(space, population=population, seed=seed, admits=admits)
        self._codes = np.zeros((0, len(space.genes)), np.int64)
        self._scores = np.zeros((0, 1))
        self._fitness = np.zeros(0)

    def _keep(self, codes: Codes, scores: NDArray[np.float64]) -> None:
        self._codes, self._scores = codes, scores
        self._fitness = scores[:, 0] if scores.shape[1] == 1 else crowded_ranks(scores)

    def _with(self, codes: Codes, scores: NDArray[np.float64]) -> tuple[Codes, NDArray[np.float64]]:
        """What is told behind what is known."""
        if not len(self._codes):
            return codes, scores
        return np.concatenate([self._codes, codes]), np.concatenate([self._scores, scores])

    def _winners(self, count: int, rivals: int) -> Codes:
        """Winners of tournaments of so many."""
        entered = self.random.integers(0, len(self._codes), (count, rivals))
        return self._codes[entered[np.arange(count), self._fitness[entered].argmin(axis=1)]]

    def _state(self) -> dict[str, Any]:
        return {"population": fingerprint(self._codes.astype(np.float64), self._scores)}


class RegularisedEvolution(_Evolution):
    """The oldest network dies, a mutant of a tournament's winner is born (Real et al., AAAI 2019).

    With several objectives, ranks and crowding of NSGA-II decide tournaments.
    """

    name = "regularised_evolution"
    several_objectives = True

    #: Rivals in a tournament, as a part of the population: 25 of 100 in the paper.
    _RIVALS = 0.25

    def ask(self) -> Codes:
        """First a random population, then one child."""
        missing = self.population - len(self._codes)
        if missing > 0:
            return self._sampled(missing)
        rivals = max(2, round(self._RIVALS * self.population))
        return self._admitted(1, lambda n: self.space.mutate(self._winners(n, rivals), self.random))

    def _learn(self, codes: Codes, scores: NDArray[np.float64]) -> None:
        everyone, told = self._with(codes, scores)
        self._keep(everyone[-self.population :], told[-self.population :])


class OfaEvolution(_Evolution):
    """Once-for-all's search: the best quarter breeds, half of the children are mutants, half of two parents.

    Parents live on as long as none is better (Cai et al. 2020, tutorial). Other than there, no child is a copy (a
    mutant has one mutation at least, a child of two exactly one), and a network counts once among the parents: with
    duplicates a population soon is one network.
    """

    name = "ofa_evolution"

    _PARENTS, _MUTANTS, _RATE = 0.25, 0.5, 0.1

    def __init__(self, space: Space, *, population: int = 100, seed: Seed = 0, admits: Admits | None = None):
        super().__init__(space, population=population, seed=seed, admits=admits)
        self.survivors = max(2, round(self._PARENTS * population))

    def ask(self) -> Codes:
        """First a random population, then children."""
        if not len(self._codes):
            return self._sampled(self.population)
        mutants = round(self._MUTANTS * self.population)
        return np.concatenate(
            [self._admitted(mutants, self._mutants), self._admitted(self.population - mutants, self._crossed)]
        )

    def _mutants(self, count: int) -> Codes:
        parents = self._parents(count)
        children = self.space.mutate(parents, self.random, self._RATE)
        same = (children == parents).all(axis=1, keepdims=True)
        return np.where(same, self.space.mutate(parents, self.random), children)

    def _crossed(self, count: int) -> Codes:
        return self.space.mutate(
            self.space.cross(self._parents(count), self._parents(count), self.random), self.random
        )  # fmt: skip

    def _parents(self, count: int) -> Codes:
        return self._codes[self.random.integers(0, len(self._codes), count)]

    def _learn(self, codes: Codes, scores: NDArray[np.float64]) -> None:
        everyone, told = self._with(codes, scores)
        distinct = np.sort(np.unique(everyone, axis=0, return_index=True)[1])
        everyone, told = everyone[distinct], told[distinct]
        best = np.argsort(told[:, 0], kind="stable")[: self.survivors]
        self._keep(everyone[best], told[best])


class Nsga2(_Evolution):
    """NSGA-II (Deb et al. 2002) on genes: uniform crossover, and one mutation for every child."""

    name = "nsga2"
    several_objectives = True

    _CROSSED = 0.9

    def ask(self) -> Codes:
        """First a random population, then children of tournaments' winners."""
        if not len(self._codes):
            return self._sampled(self.population)
        return self._admitted(self.population, self._children)

    def _children(self, count: int) -> Codes:
        mothers, fathers = self._winners(count, 2), self._winners(count, 2)
        crossed = self.random.random((count, 1)) < self._CROSSED
        children = np.where(crossed, self.space.cross(mothers, fathers, self.random), mothers)
        return self.space.mutate(children, self.random)

    def _learn(self, codes: Codes, scores: NDArray[np.float64]) -> None:
        everyone, told = self._with(codes, scores)
        distinct = np.sort(np.unique(everyone, axis=0, return_index=True)[1])
        self._keep(everyone[distinct], told[distinct])
        best = np.sort(np.argsort(self._fitness, kind="stable")[: self.population])
        self._codes, self._scores, self._fitness = self._codes[best], self._scores[best], self._fitness[best]
