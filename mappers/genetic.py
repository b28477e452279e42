"""Genetic search: crossover of mappings by dimension and by level, mutation of tiles, orders and unrollings.

After GAMMA (Kao and Krishna, ICCAD 2020), whose genes are also tiles, orders and parallelism of every level. Here the
operators work on mappings and stay within the constraints and within the array, so that no child has to be repaired.
Of mappings with the same energy and latency only one survives: without that, loops whose place means nothing fill the
population with copies. Survival is by cost with a random surcharge that falls to nothing over the budget; the best
mapping always survives.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from accelerators.spatial.kernels.arrays import MappingArrays
from accelerators.spatial.problem import BatchResult
from mappers._base import Mapper, Objective, scores
from mappers.kernels.genetics import breed
from mappers.mapspace import Mapspace, stream

_DRAWN = 2048
_PARENTS = 256
_CHILDREN = 256
_TOURNAMENT = 2
_CROSSOVER_RATE = 0.4
#: Largest surcharge at the start, as a part of the cost.
_FIRST_SURCHARGE = 0.8


class Genetic(Mapper):
    """Elitist genetic search; see the module."""

    name = "genetic"

    def __init__(self, space: Mapspace, objective: Objective = "edp", seed: int = 0):
        super().__init__(space, objective, seed)
        self._random = stream(seed)
        self._surcharges = np.random.default_rng(seed)
        self._parents = space.empty_batch(_PARENTS)
        self._children = space.empty_batch(_CHILDREN)
        self._values = np.full(_PARENTS, np.inf)
        self._marks = np.full(_PARENTS, np.inf)
        self._drawn = False

    def ask(self) -> MappingArrays:
        """First random mappings and the smallest tiles, afterwards the children of a generation."""
        if not self._drawn:
            drawn = self.space.sample(_DRAWN, self.seed)
            for whole, one in zip(drawn, self.space.smallest_tiles(), strict=True):
                whole[0] = one[0]
            return drawn
        breed(
            self.space.arrays, self._parents, self._values, self._children, _TOURNAMENT, _CROSSOVER_RATE, self._random
        )
        return self._children

    def tell(self, batch: MappingArrays, result: BatchResult, progress: float) -> None:
        """Parents and children compete for the places of the parents."""
        values = scores(result, self.objective)
        # Energy times latency tells mappings apart that an objective alone does not.
        marks = result.energy_pj * result.latency_cycles
        if self._drawn:
            # Children first: they are to replace parents that cost the same.
            values = np.concatenate([values, self._values])
            marks = np.concatenate([marks, self._marks])
            batch = MappingArrays(
                np.concatenate([batch.factors, self._parents.factors]),
                np.concatenate([batch.order, self._parents.order]),
                np.concatenate([batch.keep, self._parents.keep]),
            )
        self._drawn = True
        surcharge = _FIRST_SURCHARGE * max(0.0, 0.9 - progress) ** 2
        rivals = values * (1.0 + surcharge * self._surcharges.random(len(values)))
        rivals[np.argmin(values)] = 0.0
        survivors = _survivors(marks, rivals, _PARENTS)
        for parents, candidates in zip(self._parents, batch, strict=True):
            np.take(candidates, survivors, axis=0, out=parents)
        self._values = values[survivors]
        self._marks = marks[survivors]


def _survivors(marks: NDArray[np.float64], rivals: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Indices of the ``count`` smallest rivals; the same mark twice only where there are too few others."""
    repeated = np.ones(len(marks), np.bool_)
    repeated[np.unique(marks, return_index=True)[1]] = False
    return np.asarray(np.lexsort((rivals, repeated))[:count])
