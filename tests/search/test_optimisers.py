"""Every optimiser passes the conformance suite; fronts, ranks and hypervolumes against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from codesign.search import OPTIMISERS, CmaEs, Genetic, Nsga2, Random
from codesign.search.pareto import best, crowding, front, hypervolume, ranks
from codesign.search.testing import OptimiserConformance


class TestCmaEs(OptimiserConformance):
    optimiser = CmaEs

    def test_one_number(self) -> None:
        optimiser = CmaEs(1, population=6, seed=0)
        for _ in range(20):
            vectors = optimiser.ask()
            assert vectors.shape == (6, 1)
            optimiser.tell(vectors, (vectors - 0.9) ** 2)
        assert abs(optimiser.ask().mean() - 0.9) < 0.05

    def test_a_run_that_has_converged_gives_way(self) -> None:
        optimiser = CmaEs(3, population=8, seed=0)
        for _ in range(200):
            vectors = optimiser.ask()
            optimiser.tell(vectors, ((vectors - 0.5) ** 2).sum(axis=1, keepdims=True))
        assert optimiser.state()["runs"] > 2


class TestGenetic(OptimiserConformance):
    optimiser = Genetic

    def test_the_parents_are_different_designs(self) -> None:
        """On a grid of ten values per number many vectors mean the same; what cannot work is kept apart."""
        optimiser = Genetic(4, population=12, seed=0)
        for _ in range(30):
            vectors = optimiser.ask()
            assert (vectors[:, None] != optimiser._vectors[None]).any(axis=2).all()
            cells = np.floor(vectors * 10)
            optimiser.tell(vectors, (cells @ [1.0, 11.0, 121.0, 1331.0])[:, None])
            assert len(np.unique(optimiser._scores)) == len(optimiser._scores)
        optimiser = Genetic(4, population=12, seed=0)
        optimiser.tell(optimiser.ask(), np.full((12, 1), np.inf))
        assert len(optimiser._vectors) == 12


class TestNsga2(OptimiserConformance):
    optimiser = Nsga2

    def test_the_front_is_covered(self) -> None:
        """Two hills: the front is the line between their tops; random sampling dominates less."""

        def covered(name: str) -> float:
            optimiser = OPTIMISERS[name](5, population=24, seed=1)
            found = []
            for _ in range(40):
                vectors = optimiser.ask()
                scores = np.stack([((vectors - a) ** 2).sum(axis=1) for a in (0.3, 0.7)], axis=1)
                optimiser.tell(vectors, scores)
                found.append(scores)
            return hypervolume(np.concatenate(found), np.array([1.0, 1.0]))

        # The exact front is x in 0.3..0.7 along the diagonal.
        line = np.linspace(0.3, 0.7, 2000)
        exact = hypervolume(np.stack([5 * (line - 0.3) ** 2, 5 * (line - 0.7) ** 2], axis=1), np.array([1.0, 1.0]))
        assert covered("random") < 0.9 * exact
        assert 0.97 * exact < covered("nsga2") <= exact


class TestRandom(OptimiserConformance):
    optimiser = Random
    learns = False


def points(objectives: int) -> st.SearchStrategy[NDArray[np.float64]]:
    value = st.integers(0, 6).map(float)
    return st.lists(st.lists(value, min_size=objectives, max_size=objectives), min_size=1, max_size=14).map(np.array)


def dominates(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    return bool((a <= b).all() and (a < b).any())


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 3).flatmap(points))
def test_fronts_and_ranks_are_what_they_are_defined_as(found: NDArray[np.float64]) -> None:
    rank = ranks(found)
    assert set(front(found)) == {i for i, a in enumerate(found) if not any(dominates(b, a) for b in found)}
    assert (rank[front(found)] == 0).all()
    for i, a in enumerate(found):
        better = [rank[j] for j, b in enumerate(found) if dominates(b, a)]
        assert rank[i] == max(better, default=-1) + 1


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 3).flatmap(points))
def test_the_hypervolume_counts_unit_cells(found: NDArray[np.float64]) -> None:
    """Integer points dominate whole cells of the integer grid."""
    m = found.shape[1]
    cells = np.stack(np.meshgrid(*[np.arange(5)] * m, indexing="ij"), axis=-1).reshape(-1, m)
    covered = sum(any((point <= cell).all() for point in found) for cell in cells)
    assert hypervolume(found, np.full(m, 5.0)) == pytest.approx(covered)


def test_crowding_is_the_room_between_neighbours() -> None:
    found = crowding(np.array([[0.0, 4.0], [1.0, 3.0], [4.0, 0.0], [2.0, 2.0]]))
    assert found.tolist() == [np.inf, 1.0, np.inf, 1.5]


def test_infinite_points_are_on_no_front() -> None:
    assert front(np.array([[np.inf, 1.0], [2.0, 2.0]])).tolist() == [1]


@pytest.mark.parametrize(("size", "population"), [(0, 4), (3, 1)])
def test_wrong_sizes_are_refused(size: int, population: int) -> None:
    with pytest.raises(ValueError, match="size must be >= 1 and population >= 2"):
        Random(size, population=population)


def test_the_best_of_a_front_is_that_of_least_edp() -> None:
    random = np.random.default_rng(0)
    for objectives in (1, 2, 3):
        for _ in range(50):
            points = random.integers(0, 5, (12, objectives)).astype(float)
            edp = random.integers(0, 4, 12).astype(float) if objectives > 1 else points[:, 0]
            i = best(points, edp)
            expected = min(front(points), key=lambda k: (edp[k], *points[k], k))
            assert i == expected
