"""Every mapping of a space that may differ in cost, one after another: for small spaces.

It proves the optimum by looking at everything, so it is the referee for mappers that prove it by other means. About a
million mappings take a second.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from accelerators.spatial.kernels.arrays import MappingArrays, select
from accelerators.spatial.problem import BatchResult
from mappers._base import Mapper, Objective, SpaceTooLargeError
from mappers.kernels.enumeration import enumerate_batch, new_odometer, start
from mappers.mapspace import Mapspace, divisors_of

_BATCH = 2048


class Exhaustive(Mapper):
    """Tries every factorisation, every order of the loops above 1 and every free bypass choice, each once.

    Orders that show nowhere are tried once (see :meth:`Mapspace.distinct`). It runs until it has finished, whatever
    the budget, and its result is the optimum; the seed changes nothing. ``mappings`` is the number of mappings that it
    tries.

    Raises :class:`SpaceTooLargeError` for one of more than ``limit`` mappings.
    """

    name = "exhaustive"
    complete = True

    def __init__(self, space: Mapspace, objective: Objective = "edp", seed: int = 0, limit: int = 50_000_000):
        super().__init__(space, objective, seed)
        self.mappings = space.distinct()
        if self.mappings > limit:
            size = str(self.mappings) if self.mappings < 1e9 else f"{self.mappings:.3g}"
            raise SpaceTooLargeError(
                f"exhaustive search of {space.problem.operator} on {space.problem.accelerator.name} would try {size} "
                f"mappings, more than the limit of {limit}: constrain the space, raise the limit or take another mapper"
            )
        arrays = space.arrays
        self._odometer = new_odometer(
            [_splits(space, d) for d in range(len(space.problem.dims))],
            arrays.axis_sizes,
            arrays.order_rank,
            arrays.keep,
            arrays.free_keep,
        )
        self._batch = space.empty_batch(_BATCH)
        self._more = self.mappings > 0 and bool(start(self._odometer))
        self.finished = not self._more

    def ask(self) -> MappingArrays:
        """The next mappings; fewer at the end."""
        number, self._more = enumerate_batch(self._odometer, self._batch)
        return select(self._batch, slice(0, number))

    def tell(self, batch: MappingArrays, result: BatchResult, progress: float) -> None:
        """Nothing to learn."""
        self.finished = not self._more


def _splits(space: Mapspace, d: int) -> NDArray[np.int64]:
    """All ways to split the bound of a dimension over the slots, within the least and largest factors: (ways, S)."""
    arrays = space.arrays
    found = np.ones((1, 0), np.int64)
    left = np.array([int(space.problem.operator_arrays.bounds[d])])
    divisors = divisors_of(int(left[0]))
    for slot, size in enumerate(arrays.axis_sizes.tolist()):
        least, most = int(arrays.min_factors[slot, d]), int(arrays.max_factors[slot, d])
        if slot >= len(space.problem.accelerator.levels):
            most = min(most, size)
        grown, rest = [], []
        for factor in (n for n in divisors if least <= n <= most):
            whole = left % factor == 0
            if whole.any():
                grown.append(np.column_stack([found[whole], np.full(whole.sum(), factor)]))
                rest.append(left[whole] // factor)
        if not grown:
            return np.zeros((0, len(arrays.axis_sizes)), np.int64)
        found, left = np.concatenate(grown), np.concatenate(rest)
    return found[left == 1]
