"""Bayesian optimisation: a Gaussian process, or an ensemble of trees, says which networks are worth a query.

The first objective is what a query buys, an accuracy. Objectives behind it are costs; a model of the hardware may know
them for every network without a query (``costs``), or they are predicted as well. The next network is that of the
greatest expected gain in hypervolume for two objectives (Emmerich et al. 2006), and for one by ``acquisition``:

``confidence_bound``      the least lower confidence bound (GP-UCB, Srinivas et al. 2010)
``expected_improvement``  the greatest one over the best so far (Jones et al. 1998); stays with the first good networks
                          that it finds, longer than the bound does
``thompson``              the least in a function drawn from the posterior (Thompson 1933), or of one of the trees

As the cost of a candidate is a number, that gain is an integral over the accuracy alone, a sum of expected improvements
over each step of the front to the right of the cost. Three objectives or more are made one by random weights, drawn
anew for every generation (ParEGO, Knowles 2006).

Scores are replaced by normal quantiles of their ranks: accuracies of a space have a long tail of networks that hardly
learn, and only the best part matters.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codesign.nas import _options
from codesign.nas.spaces import Codes, Space
from codesign.nas.strategies import _ensemble
from codesign.nas.strategies._base import Admits, Strategy
from codesign.nas.strategies._process import MOST_FITTED, Matrix, Posterior, fit
from codesign.search._base import Seed, fingerprint
from codesign.search.pareto import crowded_ranks

#: Costs (n, objectives - 1) of codes (n, genes), the smaller the better.
Costs = Callable[[Codes], NDArray[np.float64]]

#: How the next network of one objective is chosen, and what predicts.
ACQUISITIONS, MODELS = ("confidence_bound", "expected_improvement", "thompson"), ("process", "ensemble")

#: Spaces of up to so many networks are looked at as a whole, others through so many candidates.
_MOST_LISTED, _CANDIDATES = 20_000, 2_000
#: Parents of candidates.
_PARENTS = 50
#: Candidates that look best at this many standard deviations below their mean are looked at closely.
_OPTIMISM, _CLOSELY = 2.0, 1_000
#: Of the networks so far, what is worse than this part of them improves nothing.
_WORST = 0.75
#: Generations grow with what is known: one more network per so many.
_GROWTH = 40
#: The kernel is learnt anew when there are this many times as many observations, up to those that it is learnt from.
_REFIT = 1.3


class Surrogate(Strategy):
    """See the module. ``population`` random networks come first, then a few at a time.

    ``acquisition`` None is "confidence_bound" for one objective; with two it must be None. ``model`` is "process" or
    "ensemble" (of the first objective; costs are predicted by a process). Needs scipy, and scikit-learn for ensembles
    (``pip install 'codesign[predict]'``).
    """

    name = "surrogate"
    several_objectives = True

    def __init__(
        self,
        space: Space,
        *,
        population: int = 12,
        seed: Seed = 0,
        admits: Admits | None = None,
        costs: Costs | None = None,
        acquisition: str | None = None,
        model: str = "process",
    ):
        super().__init__(space, population=population, seed=seed, admits=admits)
        if acquisition is not None:
            _options.known("surrogate: acquisition", "acquisition", acquisition, ACQUISITIONS)
        self.acquisition = acquisition
        self.model = _options.known("surrogate: model", "model", model, MODELS)
        needed = "scipy" if model == "process" else "sklearn"
        try:
            importlib.import_module(needed)
        except ImportError:
            needed = needed.replace("sklearn", "scikit-learn")
            raise ImportError(f"the surrogate strategy needs {needed}: pip install 'codesign[predict]'") from None
        self._costs = costs
        self._codes = np.zeros((0, len(space.genes)), np.int64)
        self._scores = np.zeros((0, 0))
        self._known: set[bytes] = set()
        #: Asked for since the last generation.
        self._open: set[bytes] = set()
        self._pool: _Pool | None = None

    def ask(self) -> Codes:
        """First random networks, then those that promise most."""
        if len(self._codes) < self.population:
            return self._sampled(self.population - len(self._codes))
        pool = self._candidates()
        blocked = pool.contains(self._known | self._open)
        if blocked.all():
            return self._sampled(1)
        count = min(max(1, len(self._codes) // _GROWTH), int((~blocked).sum()))
        chosen = pool.codes[self._promising(pool, blocked, count)]
        self._open.update(_keys(chosen))
        return chosen

    def _candidates(self) -> _Pool:
        """The whole space, or neighbours of the best networks, their children, and random ones."""
        if self.space.size <= _MOST_LISTED:
            if self._pool is None:
                codes = np.array(list(self.space.codes()), np.int64)
                if self._admits is not None:
                    codes = codes[self._admits(codes)]
                self._pool = _Pool(codes, self.space, self._costs)
            return self._pool
        fitness = self._scores[:, 0] if self._scores.shape[1] == 1 else crowded_ranks(self._scores)
        parents = self._codes[np.argsort(fitness, kind="stable")[:_PARENTS]]

        def drawn(count: int) -> Codes:
            mothers, fathers = parents[self.random.integers(0, len(parents), (2, count))]
            near = self.space.mutate(mothers, self.random)
            further = self.space.mutate(self.space.cross(mothers, fathers, self.random), self.random)
            anywhere = self.space.sample(self.random, count)
            kind = self.random.integers(0, 5, (count, 1))
            return np.where(kind < 2, near, np.where(kind < 4, further, anywhere))

        return _Pool(np.unique(self._admitted(_CANDIDATES, drawn), axis=0), self.space, self._costs)

    def _promising(self, pool: _Pool, blocked: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
        """Positions of the candidates to ask for, (count,)."""
        features = self.space.features(self._codes)
        two = self._scores.shape[1] == 2
        values = _quantiles(self._scalar() if self._scores.shape[1] > 2 else self._scores[:, 0])
        mean, std, drawn = self._expectation(pool, features, values)
        optimistic = mean - _OPTIMISM * std
        if not two and self.acquisition == "thompson":
            return _thompson(drawn, mean, blocked, count)
        if not two:
            worth = optimistic
            if self.acquisition == "expected_improvement":
                worth = -_improvement(values.min(), mean, std)
            return np.argsort(np.where(blocked, np.inf, worth), kind="stable")[:count]
        # Costs are linear, and numbers in 0..1.
        costs, seen_costs = self._two(pool, features)
        works = np.isfinite(self._scores).all(axis=1)
        front = _Front(seen_costs[works], values[works])
        hoped = np.where(blocked, -np.inf, front.gain(costs, optimistic))
        close = np.argsort(-hoped, kind="stable")[:_CLOSELY]
        close = close[~blocked[close]]
        chosen: list[int] = []
        for _ in range(count):
            gain = front.expected_gain(costs[close], mean[close], std[close])
            gain[np.isin(close, chosen)] = -np.inf
            at = int(close[gain.argmax()])
            chosen.append(at)
            # Until it is scored, it counts as what is expected of it.
            front = front.extended(costs[at], mean[at])
        return np.array(chosen)

    def _expectation(
        self, pool: _Pool, features: Matrix, values: Matrix
    ) -> tuple[Matrix, Matrix, Callable[[], Matrix]]:
        """Mean and standard deviation (N,) of the candidates, and what draws a function (N,)."""
        if self.model == "ensemble":
            members = _ensemble.predictions(features, values, pool.features, self.random)
            return *_ensemble.moments(members), lambda: members[self.random.integers(len(members))]
        return *pool.expectation(features, values), lambda: pool.drawn(values, self.random)

    def _two(self, pool: _Pool, features: Matrix) -> tuple[Matrix, Matrix]:
        """Costs of the candidates and of what is known, from 0 to 1 for the greatest among them."""
        seen = self._scores[:, 1]
        if pool.costs is not None:
            costs = pool.costs[:, 0]
        else:
            finite = np.isfinite(seen)
            if not finite.any():
                return np.zeros(len(pool.codes)), np.zeros(len(seen))
            middle, spread = seen[finite].mean(), seen[finite].std() or 1.0
            scaled = (seen[finite] - middle) / spread
            predicted = Posterior(fit(features[finite], scaled), pool.features)
            predicted.add(features[finite])
            costs = predicted.moments(scaled)[0] * spread + middle
        finite = seen[np.isfinite(seen)]
        low, high = min([costs.min(), *finite]), max([costs.max(), *finite])
        return (costs - low) / ((high - low) or 1.0), (seen - low) / ((high - low) or 1.0)

    def _scalar(self) -> Matrix:
        """The augmented Chebyshev distance to the best of all objectives, with random weights."""
        weights = self.random.dirichlet(np.ones(self._scores.shape[1]))
        works = np.isfinite(self._scores).all(axis=1)
        found = np.full(len(self._scores), np.inf)
        if works.any():
            best, worst = self._scores[works].min(axis=0), self._scores[works].max(axis=0)
            parts = weights * (self._scores[works] - best) / np.where(worst > best, worst - best, 1.0)
            found[works] = parts.max(axis=1) + 0.05 * parts.sum(axis=1)
        return found

    def _learn(self, codes: Codes, scores: NDArray[np.float64]) -> None:
        if scores.shape[1] == 2 and self.acquisition is not None:
            raise ValueError(f"acquisition is for one objective, two have the expected gain (got {self.acquisition})")
        self._open.clear()
        if not len(self._codes):
            self._scores = np.zeros((0, scores.shape[1]))
        new = [i for i, key in enumerate(_keys(codes)) if not (key in self._known or self._known.add(key))]  # type: ignore[func-returns-value]
        self._codes = np.concatenate([self._codes, codes[new]])
        self._scores = np.concatenate([self._scores, scores[new]])

    def _state(self) -> dict[str, Any]:
        how = {"model": self.model, "acquisition": self.acquisition}
        return {**how, "known": fingerprint(self._codes.astype(np.float64), self._scores)}


def _keys(codes: Codes) -> list[bytes]:
    return [code.tobytes() for code in np.ascontiguousarray(codes, np.int64)]


def _quantiles(values: Matrix) -> Matrix:
    """Normal quantiles of the ranks; what is infinite is last."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    return np.asarray(ndtri((rankdata(values) - 0.5) / len(values)))


def _improvement(best: Matrix | float, mean: Matrix, std: Matrix) -> Matrix:
    """Expected improvement on ``best`` of normally distributed values, the less the better."""
    from scipy.special import ndtr

    z = (best - mean) / std
    return np.asarray(std * (z * ndtr(z) + np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)))


def _thompson(drawn: Callable[[], Matrix], mean: Matrix, blocked: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    """Positions of the least values of functions, one function for each of ``count`` candidates."""
    chosen: list[int] = []
    for _ in range(count):
        values = np.where(blocked, np.inf, drawn())
        values[chosen] = np.inf
        # A tree says the same of many.
        chosen.append(int(np.lexsort((mean, values))[0]))
    return np.array(chosen)


class _Pool:
    """Candidates (N, genes), and what a process expects of them."""

    def __init__(self, codes: Codes, space: Space, costs: Costs | None):
        self.codes = codes
        self._rows = {key: i for i, key in enumerate(_keys(codes))}
        self.features = space.features(codes)
        self.costs = None if costs is None else np.asarray(costs(codes), np.float64).reshape(len(codes), -1)
        if self.costs is not None and not np.isfinite(self.costs).all():
            raise ValueError("costs must be finite numbers")
        self._posterior: Posterior | None = None
        self._fitted = 0

    def contains(self, keys: set[bytes]) -> NDArray[np.bool_]:
        """(N,) which candidates are among some networks."""
        found = np.zeros(len(self.codes), np.bool_)
        found[[self._rows[key] for key in keys if key in self._rows]] = True
        return found

    def expectation(self, features: Matrix, values: Matrix) -> tuple[Matrix, Matrix]:
        """Mean and standard deviation (N,) after observations; those of earlier calls come first and are the same."""
        fitted = min(len(values), MOST_FITTED)
        if self._posterior is None or fitted >= _REFIT * self._fitted:
            self._posterior, self._fitted = Posterior(fit(features, values), self.features), fitted
        self._posterior.add(features[self._posterior.count :])
        return self._posterior.moments(values)

    def drawn(self, values: Matrix, random: np.random.Generator) -> Matrix:
        """(N,) a function drawn after :meth:`expectation` of these values."""
        assert self._posterior is not None
        return self._posterior.draw(values, random)


class _Front:
    """The least value at every cost, as steps; ``gain`` is what lies under the front and above a new point."""

    def __init__(self, costs: Matrix, values: Matrix):
        from scipy.special import ndtri

        worst = float(ndtri(_WORST))
        order = np.lexsort((values, costs))
        least = np.minimum.accumulate(np.minimum(values[order], worst))
        steps = np.diff(least, prepend=worst) < 0
        #: Step k has ``levels[k]`` from ``edges[k]`` to ``edges[k + 1]``; the last one ends where costs do.
        self.edges = np.concatenate([[-1e-9], costs[order][steps], [1.0 + 1e-3]])
        self.levels = np.concatenate([[worst], least[steps]])
        self._points = costs, values

    def extended(self, cost: float, value: float) -> _Front:
        """The front with one more point."""
        return _Front(np.append(self._points[0], cost), np.append(self._points[1], value))

    def _widths(self, costs: Matrix) -> Matrix:
        """(n, steps) how much of each step lies to the right of a cost."""
        return np.clip(self.edges[None, 1:] - np.maximum(self.edges[None, :-1], costs[:, None]), 0.0, None)

    def gain(self, costs: Matrix, values: Matrix) -> Matrix:
        """(n,) of points with these values."""
        return np.asarray((self._widths(costs) * np.clip(self.levels - values[:, None], 0.0, None)).sum(axis=1))

    def expected_gain(self, costs: Matrix, mean: Matrix, std: Matrix) -> Matrix:
        """(n,) of points with normally distributed values."""
        improvement = _improvement(self.levels, mean[:, None], std[:, None])
        return np.asarray((self._widths(costs) * improvement).sum(axis=1))
