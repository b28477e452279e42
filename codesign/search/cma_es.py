"""CMA-ES with full covariances: NAAS's optimiser of hardware (Lin, Yang, Han, DAC 2021, section 3.2).

Samples are folded into the unit cube where they leave it. Designs that cannot work rank behind all others. A run that
has converged, or found nothing better for some generations, gives way to another one: in turns from a random vector
with a wide distribution, and around the best one with a narrow one (after Hansen's BIPOP, GECCO 2009).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from codesign.search._base import Optimiser, Seed, fingerprint
from mappers.evolution import new_strategy, reflected

_WIDE_SIGMA, _NARROW_SIGMA = 0.2, 0.1
#: A distribution as narrow as this proposes the same design again and again.
_LEAST_SIGMA = 0.005


class CmaEs(Optimiser):
    """Evolution strategy with restarts; see the module. ``start`` is the first mean, the centre if not given."""

    name = "cma_es"

    def __init__(self, size: int, *, population: int = 20, seed: Seed = 0, start: NDArray[np.float64] | None = None):
        super().__init__(size, population=population, seed=seed)
        self._patience = 10 + size
        self._best, self._best_score = np.full(size, 0.5), np.inf
        self._runs = 0
        self._begin(np.full(size, 0.5) if start is None else start, _WIDE_SIGMA)

    def _begin(self, start: NDArray[np.float64], sigma: float) -> None:
        self._runs += 1
        self._run_score, self._waited = np.inf, 0
        # cma asks for two dimensions; a search of one gets a dummy.
        mean = np.full(max(2, self.size), 0.5)
        mean[: self.size] = start
        self._strategy = new_strategy(mean, sigma, self.population, self.random)
        self._asked: dict[bytes, NDArray[np.float64]] = {}

    def ask(self) -> NDArray[np.float64]:
        """Samples of the distribution."""
        samples = np.asarray(self._strategy.ask(self.population))
        vectors = reflected(samples)[:, : self.size]
        for vector, sample in zip(vectors, samples, strict=True):
            self._asked[vector.tobytes()] = sample
        return vectors

    def _learn(self, vectors: NDArray[np.float64], scores: NDArray[np.float64]) -> None:
        values = scores[:, 0]
        i = int(np.argmin(values))
        if values[i] < self._best_score:
            self._best, self._best_score = vectors[i].copy(), float(values[i])
        self._waited = 0 if values[i] < self._run_score else self._waited + 1
        self._run_score = min(self._run_score, float(values[i]))
        mine = [self._asked.get(vector.tobytes()) for vector in vectors]
        solutions = [
            np.concatenate([vector, np.full(max(0, 2 - self.size), 0.5)]) if sample is None else sample
            for vector, sample in zip(vectors, mine, strict=True)
        ]
        # Only ranks count.
        ranks = np.unique(values, return_inverse=True)[1].astype(np.float64)
        # The package asks for more than half a population.
        if 2 * len(solutions) > self.population + 1:
            self._strategy.tell(solutions, ranks)
        self._asked = {}
        if self._waited > self._patience or self._strategy.sigma * self._strategy.D.max() < _LEAST_SIGMA:
            if self._runs % 2 and np.isfinite(self._best_score):
                self._begin(self._best, _NARROW_SIGMA)
            else:
                self._begin(self.random.random(self.size), _WIDE_SIGMA)

    def _state(self) -> dict[str, Any]:
        strategy = self._strategy
        return {
            "runs": self._runs,
            "sigma": float(strategy.sigma),
            "mean": [float(x) for x in strategy.mean[: self.size]],
            "distribution": fingerprint(
                strategy.mean, np.asarray(strategy.sm.C), strategy.pc, np.atleast_1d(strategy.sigma)
            ),
        }
