"""What every optimiser must do; one passes by subclassing :class:`OptimiserConformance`."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from codesign.search import Optimiser

_SIZE, _POPULATION = 7, 10


def hills(vectors: NDArray[np.float64], objectives: int) -> NDArray[np.float64]:
    """(n, objectives): distances to as many points of the cube; a fifth of the cube cannot work."""
    targets = np.linspace(0.3, 0.8, objectives)
    found = ((vectors[:, None, :] - targets[None, :, None]) ** 2).sum(axis=2)
    found[vectors[:, 0] > 0.8] = np.inf
    return np.asarray(found)


def trace(optimiser: Optimiser, objectives: int, generations: int) -> list[list[float]]:
    """All vectors that an optimiser proposes."""
    found = []
    for _ in range(generations):
        vectors = optimiser.ask()
        found += vectors.tolist()
        optimiser.tell(vectors, hills(vectors, objectives))
    return found


class OptimiserConformance:
    """Subclass it and set ``optimiser``."""

    optimiser: ClassVar[type[Optimiser]]
    #: Whether it must beat random sampling on a smooth hill.
    learns: ClassVar[bool] = True

    def make(self, seed: int = 3) -> Optimiser:
        """One of the kind."""
        return self.optimiser(_SIZE, population=_POPULATION, seed=seed)

    @property
    def objectives(self) -> int:
        """As many as it takes, at most two."""
        return 2 if self.optimiser.several_objectives else 1

    def test_same_seed_same_proposals(self) -> None:
        """And another seed others."""
        first, second = (trace(self.make(), self.objectives, 12) for _ in range(2))
        assert first == second
        assert trace(self.make(4), self.objectives, 2) != first[: 2 * _POPULATION]

    def test_same_proposals_in_another_process(self) -> None:
        """Nothing depends on what a process has done before."""
        name = f"{self.optimiser.__module__}:{self.optimiser.__name__}"
        code = (
            "import importlib, json, sys; from codesign.search.testing import trace\n"
            f"module, name = {name!r}.split(':')\n"
            f"made = getattr(importlib.import_module(module), name)({_SIZE}, population={_POPULATION}, seed=3)\n"
            f"print(json.dumps(trace(made, {self.objectives}, 6)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == trace(self.make(), self.objectives, 6)

    def test_the_global_generator_has_no_influence(self) -> None:
        """Nor is it used."""
        np.random.seed(1)  # noqa: NPY002 - what other code may do
        first = trace(self.make(), self.objectives, 4)
        after = np.random.get_state()[1].tolist()  # type: ignore[index] # noqa: NPY002
        np.random.seed(1)  # noqa: NPY002
        assert np.random.get_state()[1].tolist() == after  # type: ignore[index] # noqa: NPY002
        np.random.seed(2)  # noqa: NPY002
        assert trace(self.make(), self.objectives, 4) == first

    def test_stays_in_the_cube(self) -> None:
        """Whatever it learns."""
        vectors = np.array(trace(self.make(), self.objectives, 30))
        assert vectors.shape[1] == _SIZE
        assert vectors.min() >= 0
        assert vectors.max() <= 1

    def test_told_the_same_it_goes_on_the_same(self) -> None:
        """So a search is resumed by telling a new optimiser what the old one was told."""
        old, new = self.make(), self.make()
        for _ in range(8):
            vectors = old.ask()
            assert (new.ask() == vectors).all()
            scores = hills(vectors, self.objectives)
            old.tell(vectors, scores)
            new.tell(vectors, scores)
            assert json.loads(json.dumps(old.state())) == new.state()
        assert (old.ask() == new.ask()).all()

    def test_the_state_shows_differences(self) -> None:
        """Optimisers that were told other things are not alike, unless they do not learn."""
        one, other = self.make(), self.make()
        vectors = one.ask()
        other.ask()
        one.tell(vectors, hills(vectors, self.objectives))
        other.tell(vectors, hills(1 - vectors, self.objectives))
        assert (one.state() != other.state()) == self.learns

    def test_asked_again_it_gives_replacements(self) -> None:
        """Vectors that mean nothing are left out of ``tell``, and others take their place."""
        optimiser = self.make()
        for _ in range(6):
            kept = np.concatenate([optimiser.ask()[::2], optimiser.ask()[::3], optimiser.ask()])[:_POPULATION]
            optimiser.tell(kept, hills(kept, self.objectives))
        assert optimiser.generation == 6

    def test_nothing_may_work(self) -> None:
        """All scores infinite, and only one vector told."""
        optimiser = self.make()
        for count in (_POPULATION, 1, 2, _POPULATION):
            vectors = optimiser.ask()[:count]
            optimiser.tell(vectors, np.full((count, self.objectives), np.inf))
        assert np.isfinite(optimiser.ask()).all()

    @pytest.mark.parametrize("value", [np.nan, -np.inf])
    def test_scores_that_are_no_numbers_are_refused(self, value: float) -> None:
        """And nothing is learnt from them."""
        optimiser = self.make()
        vectors = optimiser.ask()
        scores = hills(vectors, self.objectives)
        scores[3] = value
        with pytest.raises(ValueError, match="got NaN or -infinity"):
            optimiser.tell(vectors, scores)
        assert optimiser.generation == 0

    def test_shapes_are_checked(self) -> None:
        """Each with a message."""
        optimiser = self.make()
        vectors = optimiser.ask()
        with pytest.raises(ValueError, match="scores must have shape"):
            optimiser.tell(vectors, np.zeros(len(vectors)))
        with pytest.raises(ValueError, match="vectors must have shape"):
            optimiser.tell(vectors[:, :3], np.zeros((len(vectors), 1)))
        with pytest.raises(ValueError, match=r"vectors must lie in 0\.\.1"):
            optimiser.tell(vectors + 2, np.zeros((len(vectors), 1)))
        if not self.optimiser.several_objectives:
            with pytest.raises(ValueError, match="takes one objective"):
                optimiser.tell(vectors, np.zeros((len(vectors), 2)))

    def test_learns(self) -> None:
        """A smooth hill is climbed higher than by chance, in the median of some seeds."""
        if not self.learns:
            return

        def best(make: Optimiser) -> float:
            return min(float(hills(np.array([v]), 1)[0, 0]) for v in trace(make, 1, 25))

        from codesign.search.random import Random

        mine = np.median([best(self.make(seed)) for seed in range(5)])
        chance = np.median([best(Random(_SIZE, population=_POPULATION, seed=seed)) for seed in range(5)])
        assert mine < 0.5 * chance
