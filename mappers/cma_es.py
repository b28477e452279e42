"""CMA-ES on vectors that stand for mappings: the mapper of NAAS (Lin, Yang, Han, DAC 2021, section 3.3).

Hansen and Ostermeier's evolution strategy samples vectors from a normal distribution and moves it towards those that
cost least; the package ``cma`` keeps the distribution. Four things are particular to mappings:

- Mappings that are not valid are replaced by further samples until the population is full, within bounds.
- An evaluation costs a microsecond or two and telling ``cma`` a solution ten. So several times the population is
  sampled and the best of it are told: at equal time that finds better mappings.
- The distribution lives on all of R^size; samples are reflected into the unit cube, where the encoding reads them.
- The landscape has plateaus and many basins, so a run that finds nothing new soon gives way to the next one, in turns
  a wide one from a new point with a larger population and a narrow one around the best mapping so far (in the spirit of
  BIPOP, Hansen, GECCO 2009).

Only variances are learnt, no correlations (Ros and Hansen, sep-CMA-ES, PPSN 2008): every number has a meaning of its
own, and full matrices did not find better mappings in the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accelerators.spatial.kernels.arrays import MappingArrays, select
from accelerators.spatial.problem import BatchResult
from mappers._base import Mapper, Objective, scores
from mappers.encoding import Encoding, ImportanceEncoding
from mappers.evolution import new_strategy, reflected
from mappers.mapspace import Mapspace

_DRAWN = 512
_POPULATION = 32
_LARGEST_POPULATION = 128
_SAMPLES_PER_SOLUTION = 4
_WIDE_SIGMA, _NARROW_SIGMA = 0.2, 0.1
#: Rounds of sampling after which a population is taken as it is, and generations without anything better in a run.
_ROUNDS, _PATIENCE = 8, 20


class CmaEs(Mapper):
    """Evolution strategy on an encoding, with restarts; see the module."""

    name = "cma_es"

    def __init__(
        self,
        space: Mapspace,
        objective: Objective = "edp",
        seed: int = 0,
        encoding: Callable[[Mapspace], Encoding] = ImportanceEncoding,
    ):
        super().__init__(space, objective, seed)
        self.encoding = encoding(space)
        #: The numbers that are searched, at least the two that ``cma`` asks for.
        self._columns = np.sort(
            np.argsort(~self.encoding.matters, kind="stable")[: max(2, self.encoding.matters.sum())]
        )
        self._random = np.random.default_rng(seed)
        self._best_value, self._best_vector = np.inf, np.full(len(self._columns), 0.5)
        self._runs = 0
        self._strategy: Any = None
        self._samples = np.zeros((0, len(self._columns)))
        self._population = _POPULATION
        self._begin_generation()
        self._begin_draw()

    def _begin_generation(self) -> None:
        self._solutions: list[NDArray[np.float64]] = []
        self._values: list[NDArray[np.float64]] = []

    def _begin_draw(self) -> None:
        """The next run starts at the best of some random vectors."""
        self._strategy = None
        self._samples = self._random.random((_DRAWN, len(self._columns)))
        # The smallest tiles, in case that hardly anything else fits.
        self._samples[0] = 0.0

    def _begin_run(self, start: NDArray[np.float64], sigma: float) -> None:
        self._strategy = new_strategy(start, sigma, self._population, self._random, diagonal=True)
        self._run_value, self._waited = np.inf, 0
        self._begin_generation()
        # Later generations use ``ask_geno``, which skips the records of single solutions that only boundaries need.
        self._samples = np.asarray(self._strategy.ask(self._population * _SAMPLES_PER_SOLUTION))

    def ask(self) -> MappingArrays:
        """Random mappings at first and between runs, else samples of the distribution."""
        vectors = np.full((len(self._samples), self.encoding.size), 0.5)
        vectors[:, self._columns] = reflected(self._samples)
        return self.encoding.decode(vectors)

    def tell(self, batch: MappingArrays, result: BatchResult, progress: float) -> None:
        """Collect a population, move the distribution, start again when that no longer helps."""
        values = scores(result, self.objective)
        i = int(np.argmin(values))
        if values[i] < self._best_value:
            self._best_value, self._best_vector = float(values[i]), self._centre(batch, i)
        if self._strategy is None:
            if self._runs % 2:
                self._population = _POPULATION
                self._begin_run(self._best_vector, _NARROW_SIGMA)
            else:
                self._population = min(_POPULATION * 2 ** (self._runs // 2), _LARGEST_POPULATION)
                self._begin_run(self._centre(batch, i), _WIDE_SIGMA)
            self._runs += 1
            return
        valid = np.isfinite(values)
        self._solutions.append(self._samples[valid])
        self._values.append(values[valid])
        wanted = self._population * _SAMPLES_PER_SOLUTION
        if sum(map(len, self._values)) < wanted and len(self._values) < _ROUNDS:
            self._samples = self._strategy.ask_geno(wanted)
            return
        self._move(self._samples[~valid])
        if self._waited > _PATIENCE or self._strategy is None:
            self._begin_draw()
        else:
            self._samples = self._strategy.ask_geno(wanted)

    def _centre(self, batch: MappingArrays, i: int) -> NDArray[np.float64]:
        """The numbers that stand for mapping i of a batch, far from where they would mean another one."""
        return np.asarray(self.encoding.encode(select(batch, [i]))[0, self._columns])

    def _move(self, invalid: NDArray[np.float64]) -> None:
        """Tell the strategy the best solutions; if too few are valid, those that are not count as the worst."""
        solutions, values = np.concatenate(self._solutions), np.concatenate(self._values)
        self._begin_generation()
        short = self._population - len(values)
        if len(values) == 0 or short > len(invalid):
            self._strategy = None
            return
        if short > 0:
            solutions = np.concatenate([solutions, invalid[:short]])
            values = np.concatenate([values, np.full(short, 2.0 * values.max())])
        best = np.argsort(values, kind="stable")[: self._population]
        self._strategy.tell(list(solutions[best]), values[best])
        if values[best[0]] < self._run_value:
            self._run_value, self._waited = float(values[best[0]]), 0
        else:
            self._waited += 1
