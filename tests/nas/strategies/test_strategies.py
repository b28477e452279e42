"""Every strategy passes the conformance suite; what each is for works on spaces whose optimum is known."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from codesign.nas import spaces
from codesign.nas.accuracy import NasBench201Table
from codesign.nas.objectives import Constrained, MnasNetReward, Weighted, pareto
from codesign.nas.search import search
from codesign.nas.spaces import Codes, NasBench201
from codesign.nas.strategies import (
    STRATEGIES,
    Nsga2,
    OfaEvolution,
    Random,
    RegularisedEvolution,
    Reinforce,
    Surrogate,
    _ensemble,
)
from codesign.nas.strategies._process import Kernel, Posterior, fit
from codesign.nas.strategies.surrogate import _Front, _improvement
from codesign.nas.testing import StrategyConformance, Targets
from codesign.networks import NetworkError
from codesign.search.pareto import front, hypervolume


class TestRandom(StrategyConformance):
    strategy = Random
    learns = False


class TestRegularisedEvolution(StrategyConformance):
    strategy = RegularisedEvolution

    def test_the_oldest_dies(self) -> None:
        strategy = self.make()
        first = strategy.ask()
        strategy.tell(first, np.arange(8.0)[:, None])
        child = strategy.ask()
        assert child.shape == (1, 6)
        strategy.tell(child, [[9.0]])
        # Although it was the best.
        assert (strategy._codes == np.concatenate([first[1:], child])).all()


class TestOfaEvolution(StrategyConformance):
    strategy = OfaEvolution

    def test_parents_are_different_networks(self) -> None:
        strategy = self.make()
        codes = np.repeat(strategy.ask()[:3], 4, axis=0)
        strategy.tell(codes, np.repeat([[1.0], [2.0], [3.0]], 4, axis=0))
        assert len(np.unique(strategy._codes, axis=0)) == len(strategy._codes) == 2


class TestNsga2(StrategyConformance):
    strategy = Nsga2

    def test_the_front_is_covered(self) -> None:
        def covered(name: str) -> float:
            strategy = STRATEGIES[name](NasBench201(), population=16, seed=1)
            found = search(strategy, Targets(strategy.space, 2), 250).scores
            return hypervolume(found, np.array([3.0, 3.0]))

        assert covered("nsga2") > covered("random")


class TestReinforce(StrategyConformance):
    strategy = Reinforce

    def test_the_policy_comes_to_prefer_what_pays(self) -> None:
        strategy = Reinforce(NasBench201(), seed=0)
        for _ in range(150):
            codes = strategy.ask()
            strategy.tell(codes, (codes != 3).sum(axis=1, keepdims=True))
        assert (strategy._policy()[:, 3] > 0.9).all()

    def test_options_that_do_not_exist_never_come(self) -> None:
        strategy = Reinforce(spaces.load("darts"), seed=0)
        assert (strategy._policy()[~strategy._exists] == 0).all()
        assert strategy._policy().sum(axis=1) == pytest.approx(1.0)


class TestSurrogate(StrategyConformance):
    strategy = Surrogate


class _OneObjective(StrategyConformance):
    strategy = Surrogate
    most_objectives = 1
    queries = 50
    seeds = 3


class TestExpectedImprovement(_OneObjective):
    options: ClassVar[dict[str, Any]] = {"acquisition": "expected_improvement"}


class TestThompson(_OneObjective):
    options: ClassVar[dict[str, Any]] = {"acquisition": "thompson"}


class TestEnsemble(_OneObjective):
    options: ClassVar[dict[str, Any]] = {"acquisition": "thompson", "model": "ensemble"}


class TestSurrogateInALargeSpace(StrategyConformance):
    """Where not all networks can be looked at."""

    strategy = Surrogate
    space = "ofa_resnet50"
    queries = 60
    seeds = 3


class TestOfaEvolutionInALargeSpace(StrategyConformance):
    strategy = OfaEvolution
    space = "ofa_mobilenet_v3"


@pytest.mark.parametrize("known", [True, False])
def test_a_surrogate_finds_the_front_sooner(known: bool) -> None:
    """Two objectives of which one is a cost, known beforehand or not."""
    space = NasBench201()
    scores = Targets(space, 2)

    def smooth(codes: Codes) -> np.ndarray:
        found = scores(codes)
        return np.where(np.isfinite(found), found, 4.0)

    everything = smooth(np.array(list(space.codes())))
    reference = np.array([2.0, 2.0])
    whole = hypervolume(everything[front(np.unique(everything, axis=0))], reference)
    options: ClassVar[dict[str, Any]] = {"costs": lambda codes: smooth(codes)[:, 1:]} if known else {}
    made = Surrogate(space, seed=2, **options)
    chance = search(Random(space, seed=2), smooth, 80).scores
    mine = search(made, smooth, 80).scores
    assert hypervolume(mine, reference) / whole > 0.5 + 0.5 * hypervolume(chance, reference) / whole


@pytest.mark.parametrize("model", ["process", "ensemble"])
@pytest.mark.parametrize("acquisition", ["confidence_bound", "expected_improvement", "thompson"])
def test_a_surrogate_finds_a_good_cell_soon(model: str, acquisition: str) -> None:
    """Within 80 queries one of the best 30 of 15,625."""
    space, table = NasBench201(), NasBench201Table("cifar10", "test_200")
    made = Surrogate(space, seed=0, model=model, acquisition=acquisition)
    found = search(made, lambda codes: -table.accuracies(codes)[:, None], 80).scores.min()
    everything = np.sort(-table.accuracies(np.array(list(space.codes()))))
    assert found <= everything[29]


def test_an_ensemble_serves_two_objectives() -> None:
    space = NasBench201()
    found = search(Surrogate(space, seed=0, model="ensemble"), Targets(space, 2), 30)
    assert len(np.unique(found.codes, axis=0)) == 30


def test_wrong_options_of_a_surrogate() -> None:
    with pytest.raises(NetworkError, match="no acquisition is called 'thomson': did you mean thompson"):
        Surrogate(NasBench201(), acquisition="thomson")
    with pytest.raises(NetworkError, match=r"no model is called 'forest'; .there are process, ensemble"):
        Surrogate(NasBench201(), model="forest")
    made = Surrogate(NasBench201(), acquisition="thompson")
    with pytest.raises(ValueError, match=r"acquisition is for one objective, two have the expected gain"):
        made.tell(made.ask(), np.ones((12, 2)))


def test_drawn_functions_have_the_moments_of_the_process() -> None:
    random = np.random.default_rng(0)
    x, pool, y = random.random((12, 3)), random.random((7, 3)), random.standard_normal(12)
    kernel = Kernel(0.7, 1.3, 0.05)
    posterior = Posterior(kernel, pool)
    posterior.add(x)
    mean, std = posterior.moments(y)
    drawn = np.array([posterior.draw(y, random) for _ in range(3000)])
    assert drawn.mean(axis=0) == pytest.approx(mean, abs=0.1)
    # Functions have no noise.
    assert drawn.var(axis=0) == pytest.approx(std**2 - 1.3 * 0.05, abs=0.05)


def test_trees_disagree_where_little_is_known() -> None:
    random = np.random.default_rng(0)
    x = np.concatenate([random.random((60, 1)) * 0.3, 0.7 + random.random((60, 1)) * 0.3])
    mean, std = _ensemble.moments(_ensemble.predictions(x, x[:, 0], np.array([[0.15], [0.5]]), random))
    assert mean == pytest.approx([0.15, 0.5], abs=0.1)
    # In the gap.
    assert std[1] > 5 * std[0]


def test_the_expected_improvement_is_the_mean_of_the_improvements() -> None:
    draws = np.random.default_rng(0).normal(0.3, 0.5, 200_000)
    found = _improvement(0.1, np.array([0.3]), np.array([0.5]))
    assert found == pytest.approx(np.maximum(0.1 - draws, 0).mean(), rel=0.02)


@pytest.mark.parametrize("name", ["nsga2", "regularised_evolution", "random"])
def test_the_order_of_objectives_does_not_matter(name: str) -> None:
    """To strategies that do not say what the first one is."""
    scores = Targets(NasBench201(), 2)
    one, other = (STRATEGIES[name](NasBench201(), population=10, seed=3) for _ in range(2))
    first = search(one, scores, 120)
    second = search(other, lambda codes: scores(codes)[:, ::-1], 120)
    assert (first.codes == second.codes).all()


def test_three_objectives_are_searched_by_weights() -> None:
    space = NasBench201()
    found = search(Surrogate(space, seed=0), Targets(space, 3), 40)
    assert found.scores.shape == (40, 3)
    assert len(np.unique(found.codes, axis=0)) == 40


def test_costs_that_are_no_numbers_are_refused() -> None:
    space = NasBench201()
    strategy = Surrogate(space, seed=0, costs=lambda codes: np.full((len(codes), 1), np.nan))
    codes = strategy.ask()
    strategy.tell(codes, np.stack([np.arange(12.0), np.ones(12)], axis=1))
    with pytest.raises(ValueError, match="costs must be finite numbers"):
        strategy.ask()


def test_the_process_is_the_textbook_s() -> None:
    """Rows added a few at a time give the posterior of all at once (Rasmussen and Williams 2006, eq. 2.25, 2.26)."""
    random = np.random.default_rng(0)
    x, pool, y = random.random((12, 3)), random.random((7, 3)), random.standard_normal(12)
    kernel = Kernel(0.7, 1.3, 0.05)
    posterior = Posterior(kernel, pool)
    for part in (slice(0, 5), slice(5, 6), slice(6, 12)):
        posterior.add(x[part])
    mean, std = posterior.moments(y)

    def k(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return 1.3 * np.exp(-((a[:, None] - b[None]) ** 2).sum(axis=2) / (2 * 0.7**2))

    inverse = np.linalg.inv(k(x, x) + 1.3 * 0.05 * np.eye(12))
    assert mean == pytest.approx(k(pool, x) @ inverse @ y, abs=1e-4)
    variance = 1.3 * (1 + 0.05) - np.einsum("ij,jk,ik->i", k(pool, x), inverse, k(pool, x))
    assert std**2 == pytest.approx(variance, abs=1e-4)


def test_the_kernel_is_learnt() -> None:
    random = np.random.default_rng(0)
    x = random.random((120, 2)) * 4
    smooth, rough = np.sin(x[:, 0]), random.standard_normal(120)
    assert fit(x, (smooth - smooth.mean()) / smooth.std()).noise < 0.01
    assert fit(x, rough).noise > 0.1


def test_the_expected_gain_is_the_mean_of_the_gains() -> None:
    """The closed form against hypervolumes of samples."""
    costs, values = np.array([0.2, 0.5, 0.7]), np.array([0.3, -0.5, -1.0])
    made = _Front(costs, values)
    reference = np.array([made.edges[-1], made.levels[0]])
    points = np.stack([costs, values], axis=1)
    before = hypervolume(points, reference)
    for cost, mean, std in ((0.1, 0.0, 0.4), (0.6, -1.0, 0.2), (0.9, -0.5, 0.7)):
        draws = np.random.default_rng(0).normal(mean, std, 4000)
        gains = [hypervolume(np.vstack([points, [cost, value]]), reference) - before for value in draws]
        exact = [made.gain(np.array([cost]), np.array([value]))[0] for value in draws[:50]]
        assert exact == pytest.approx(gains[:50], abs=1e-9)
        found = made.expected_gain(np.array([cost]), np.array([mean]), np.array([std]))[0]
        assert found == pytest.approx(np.mean(gains), abs=4 * np.std(gains) / np.sqrt(4000))


def test_what_was_scored_is_not_paid_for_again() -> None:
    space = NasBench201()
    asked: list[tuple[int, ...]] = []

    def evaluate(codes: Codes) -> np.ndarray:
        asked.extend(map(tuple, codes.tolist()))
        return codes.sum(axis=1, keepdims=True).astype(float)

    found = search(OfaEvolution(space, population=10, seed=0), evaluate, 60)
    assert len(asked) == len(set(asked)) == len(found.codes) == 60
    assert found.proposals >= 60
    assert found.scores[found.best, 0] == min(map(sum, asked))


def test_a_small_space_is_searched_to_its_end() -> None:
    space = spaces.staged.from_text(
        "name: tiny\nresolution: [8, 16]\nstem: {channels: 8}\nstages:\n  - {block: conv, width: [8, 16, 24]}\n"
    )
    for name in ("random", "surrogate", "nsga2"):
        found = search(STRATEGIES[name](space, seed=0), lambda codes: codes.sum(axis=1, keepdims=True), 50)
        assert len(found.codes) == space.size == 6
    with pytest.raises(ValueError, match="queries must be >= 1"):
        search(Random(space), lambda codes: codes, 0)


def test_objectives() -> None:
    accuracies, costs = np.array([70.0, 80.0, -np.inf]), np.array([[10.0, 1.0], [40.0, 1.0], [5.0, 1.0]])
    assert pareto(accuracies, costs).tolist() == [[-70, 10, 1], [-80, 40, 1], [np.inf] * 3]
    assert Constrained((20.0, 2.0))(accuracies, costs).tolist() == [[-70], [np.inf], [np.inf]]
    assert Constrained((20.0, 2.0)).admits(costs).tolist() == [True, False, True]
    assert Weighted((0.5, 0.0))(accuracies, costs).tolist() == [[-65], [-60], [np.inf]]
    with pytest.raises(ValueError, match=r"limits must have 2 values, one per cost \(got 1\)"):
        Constrained((20.0,))(accuracies, costs)


def test_mnasnet_s_reward() -> None:
    """Doubling the latency costs 5 % of accuracy (the paper's reason for -0.07); a hard limit nothing below it."""
    soft, hard = MnasNetReward(target=20.0), MnasNetReward(target=20.0, within=0.0, beyond=-1.0)
    accuracies = np.array([75.0, 75.0, 75.0])
    rewards = soft.reward(accuracies, np.array([20.0, 40.0, 10.0]))
    assert rewards[0] == 75
    assert rewards[1] / rewards[0] == pytest.approx(0.953, abs=1e-3)
    assert hard.reward(accuracies, np.array([20.0, 40.0, 10.0])).tolist() == [75, 37.5, 75]
    assert soft(accuracies, np.array([[20.0], [40.0], [10.0]]))[:, 0].tolist() == (-rewards).tolist()
    with pytest.raises(ValueError, match="target must be a number > 0"):
        MnasNetReward(target=0)
    with pytest.raises(ValueError, match="takes one cost"):
        soft(accuracies, np.zeros((3, 2)))
