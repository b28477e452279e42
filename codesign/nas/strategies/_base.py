"""The protocol of search strategies for networks.

A strategy proposes networks of a space and is told their scores, the smaller the better::

    strategy = RegularisedEvolution(space, seed=1)
    while ...:
        codes = strategy.ask()                   # (n, genes)
        scores = ...                             # (n, objectives); infinite for what cannot work
        strategy.tell(codes, scores)

An accuracy is turned into a score by its sign, see :mod:`codesign.nas.objectives`;
:func:`codesign.nas.search.search` runs the loop. What is known before a network is scored need not be paid for:
``admits`` says which networks may be proposed at all, such as those that are fast enough. ``ask`` may be called again
before ``tell``; only those told count.

All randomness comes from the seed: the same seed, told the same, proposes the same, in any process. So a search is
resumed by telling a new strategy what the old one was told; ``state`` shows whether both are alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codesign.nas.spaces import Codes, Space
from codesign.networks import NetworkError
from codesign.search._base import Seed

#: Says of codes (n, genes) which may be proposed, (n,).
Admits = Callable[[Codes], NDArray[np.bool_]]

#: Networks drawn for one that is admitted, before a search gives up.
_MOST_DRAWN = 20_000


class NoneAdmittedError(NetworkError):
    """Too few networks are admitted to find another one."""


class Strategy(ABC):
    """Proposes networks of ``space``, about ``population`` of them at once."""

    #: Name in experiments.
    name: ClassVar[str]
    #: Whether it takes more than one objective.
    several_objectives: ClassVar[bool] = False
    #: Of all networks told so far only so many matter, those with the least scores; None if all do.
    survivors: int | None = None

    def __init__(self, space: Space, *, population: int = 20, seed: Seed = 0, admits: Admits | None = None):
        if population < 2:
            raise ValueError(f"population must be >= 2 (got {population})")
        self.space = space
        self.population = population
        self.random = np.random.default_rng(seed)
        self.generation = 0
        self._admits = admits
        self._given: Codes = np.zeros((0, len(space.genes)), np.int64)

    def begin_with(self, codes: ArrayLike) -> None:
        """Networks (n, genes) that come before random ones; those that are not admitted do not.

        Raises NetworkError for what is no network of the space.
        """
        found = self.space.check_all(codes)
        self._given = found if self._admits is None else found[self._admits(found)]

    @abstractmethod
    def ask(self) -> Codes:
        """The next networks, (n, genes).

        Raises :class:`NoneAdmittedError` if no network that is admitted can be found.
        """

    def tell(self, codes: ArrayLike, scores: ArrayLike) -> None:
        """What networks (n, genes) scored, (n, objectives); ends a generation.

        Raises ValueError for scores that are no numbers and for other shapes, NetworkError for what is no network.
        """
        found, values = self.space.check_all(codes), np.asarray(scores, np.float64)
        if values.ndim != 2 or len(values) != len(found) or not len(values) or values.shape[1] < 1:
            raise ValueError(f"scores must have shape ({len(found)}, objectives) (got {values.shape})")
        if values.shape[1] > 1 and not self.several_objectives:
            raise ValueError(f"{self.name} takes one objective (got {values.shape[1]})")
        if np.isnan(values).any() or (values == -np.inf).any():
            raise ValueError("scores must be numbers, or infinite for what cannot work (got NaN or -infinity)")
        self._learn(found, values)
        self.generation += 1

    @abstractmethod
    def _learn(self, codes: Codes, scores: NDArray[np.float64]) -> None:
        """What :meth:`tell` leaves to the way of searching."""

    def _admitted(self, count: int, draw: Callable[[int], Codes]) -> Codes:
        """``count`` networks that ``draw`` (of a number of networks) gives and that are admitted."""
        found = draw(count)
        if self._admits is None:
            return found
        found, drawn = found[self._admits(found)], count
        while len(found) < count:
            if drawn > _MOST_DRAWN * max(1, len(found)):
                raise NoneAdmittedError(f"{self.space.name}: of {drawn} networks drawn only {len(found)} are admitted")
            more = draw(count)
            drawn += count
            found = np.concatenate([found, more[self._admits(more)]])
        return found[:count]

    def _sampled(self, count: int) -> Codes:
        """The networks to begin with, as far as there are any, and random ones, all admitted."""
        given, self._given = self._given[:count], self._given[count:]
        if len(given) == count:
            return given
        try:
            drawn = self._admitted(count - len(given), lambda number: self.space.sample(self.random, number))
        except NoneAdmittedError:
            if len(given):
                return given
            raise
        return np.concatenate([given, drawn])

    def state(self) -> dict[str, Any]:
        """What it has learnt, as plain data: equal for strategies that will propose the same."""
        return {
            "strategy": self.name,
            "generation": self.generation,
            "random": {key: str(value) for key, value in self.random.bit_generator.state["state"].items()},
            **self._state(),
        }

    @abstractmethod
    def _state(self) -> dict[str, Any]:
        """What :meth:`state` shows besides."""
