"""Many short random walks at once that accept ever smaller losses: where a proof takes too long.

It starts from random mappings and the one with the smallest tiles. Every walk moves prime factors between levels and
axes, loops within a level and, where the space leaves it free, bypass choices; a neighbour is accepted if it is not
worse than the walk's mapping by more than a threshold that falls to zero (threshold accepting, Dueck and Scheuer 1990).
From time to time the worst walks continue from the best ones.
"""

from __future__ import annotations

import numpy as np

from accelerators.spatial.kernels.arrays import MappingArrays
from accelerators.spatial.problem import BatchResult
from mappers._base import Mapper, Objective, scores
from mappers.kernels.moves import propose
from mappers.kernels.walks import accept, reseed
from mappers.mapspace import Mapspace, stream

_WALKS = 128
_DRAWN = 2048
_FIRST_THRESHOLD = 0.3
_ROUNDS_BETWEEN_RESEEDS = 16


class LocalSearch(Mapper):
    """Threshold-accepting random walks; see the module."""

    name = "local_search"

    def __init__(self, space: Mapspace, objective: Objective = "edp", seed: int = 0):
        super().__init__(space, objective, seed)
        self._random = stream(seed)
        self._walks = space.empty_batch(_WALKS)
        self._candidates = space.empty_batch(_WALKS)
        self._values = np.full(_WALKS, np.inf)
        self._round = 0

    def ask(self) -> MappingArrays:
        """First random mappings, afterwards one neighbour per walk."""
        if self._round == 0:
            drawn = self.space.sample(_DRAWN, self.seed)
            smallest = self.space.smallest_tiles()
            for whole, one in zip(drawn, smallest, strict=True):
                whole[0] = one[0]
            return drawn
        propose(self.space.arrays, self._walks, self._candidates, self._random)
        return self._candidates

    def tell(self, batch: MappingArrays, result: BatchResult, progress: float) -> None:
        """Walks start from the best random mappings, then follow what was accepted."""
        values = scores(result, self.objective)
        if self._round == 0:
            best = np.argsort(values, kind="stable")[:_WALKS]
            for mine, drawn in zip(self._walks, batch, strict=True):
                mine[:] = drawn[best]
            self._values[:] = values[best]
        else:
            threshold = _FIRST_THRESHOLD * max(0.0, 0.9 - progress) ** 2
            accept(self._walks, self._values, batch, values, threshold)
            if self._round % _ROUNDS_BETWEEN_RESEEDS == 0:
                reseed(self._walks, self._values, np.argsort(self._values, kind="stable"))
        self._round += 1
