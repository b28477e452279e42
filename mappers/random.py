"""Plain random sampling, the yardstick for every other mapper."""

from __future__ import annotations

from accelerators.spatial.kernels.arrays import MappingArrays
from accelerators.spatial.problem import BatchResult
from mappers._base import Mapper, Objective
from mappers.kernels.moves import draw_batch
from mappers.mapspace import Mapspace, stream

_DRAWN = 1024


class Random(Mapper):
    """Independent random mappings within the constraints; what they cost changes nothing."""

    name = "random"

    def __init__(self, space: Mapspace, objective: Objective = "edp", seed: int = 0):
        super().__init__(space, objective, seed)
        self._random = stream(seed)
        self._batch = space.empty_batch(_DRAWN)

    def ask(self) -> MappingArrays:
        """The next random mappings."""
        draw_batch(self.space.arrays, self._batch, self._random)
        return self._batch

    def tell(self, batch: MappingArrays, result: BatchResult, progress: float) -> None:
        """Nothing to learn."""
