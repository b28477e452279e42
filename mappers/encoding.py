"""Vectors in [0, 1]^size that stand for mappings.

Both encodings of NAAS (Lin, Yang, Han, DAC 2021, section 3) for any accelerator and operator: the importance-based one,
and the index-based one that it is compared with. A vector covers all of an operator's dimensions, those of this layer
with a bound of 1 included, and all levels and axes of the accelerator. So it has the same meaning for every layer of a
kind on one accelerator; numbers that say nothing about the layer at hand are not looked at (``matters``).
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from accelerators.spatial.kernels.arrays import AXES, MappingArrays, select
from mappers.kernels.encodings import EncodingArrays, decode_importance, decode_index
from mappers.mapspace import Mapspace, divisors_of


class Encoding(ABC):
    """A way to read vectors of numbers in 0..1 as mappings of one mapspace.

    Every vector gives a mapping within the constraints. Its factors multiply to the bounds wherever the constraints
    leave a place for every prime; otherwise they fall short, and the model says that the mapping is not valid.
    """

    #: How many numbers a vector has.
    size: int
    #: (size,) whether a number may change what a mapping of this mapspace costs.
    matters: NDArray[np.bool_]

    def __init__(self, space: Mapspace):
        self.space = space
        problem = space.problem
        self._levels = len(problem.accelerator.levels)
        #: All dimensions, in the order of the vector; columns of the arrays are places in it.
        self.dims = problem.operator.dims
        self._dims = np.array([self.dims.index(dim) for dim in problem.dims], np.int64)
        #: (level, axis) of every fanout axis.
        self._axes = [(i, a) for i, level in enumerate(problem.accelerator.levels) for a in range(len(level.fanout))]
        self._slots = np.array([self._levels + i * AXES + a for i, a in self._axes], np.int64)

    @abstractmethod
    def decode(self, vectors: NDArray[np.float64]) -> MappingArrays:
        """Mappings that n vectors (n, size) stand for; raises ValueError for another shape or numbers outside 0..1."""

    @abstractmethod
    def encode(self, mappings: MappingArrays) -> NDArray[np.float64]:
        """Vectors (n, size) that stand for n mappings: ``decode(encode(m))`` is m for whatever :meth:`decode` gives.

        Orders are the same for loops with a factor above 1; where the others stand means nothing.
        """

    def _checked(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        vectors = np.ascontiguousarray(vectors, np.float64)
        if vectors.ndim != 2 or vectors.shape[1] != self.size:
            raise ValueError(f"vectors must have shape (n, {self.size}) (got {vectors.shape})")
        if vectors.size and not (vectors.min() >= 0.0 and vectors.max() <= 1.0):
            raise ValueError(f"vectors must lie in 0..1 (got {vectors.min()} to {vectors.max()})")
        return vectors

    def _place(self, per_level: int, per_axis: int) -> EncodingArrays:
        """Columns of the numbers (orders, then tiles, axes, bypass choices) and the tables of divisors."""
        space, dims = self.space.arrays, len(self.dims)
        bounds = self.space.problem.operator_arrays.bounds
        columns = itertools.count()

        def take(rows: int, width: int) -> NDArray[np.int64]:
            grid = np.array([next(columns) for _ in range(rows * width)], np.int64).reshape(rows, width)
            return np.ascontiguousarray(grid[:, self._dims] if width == dims else grid)

        order, tile = take(self._levels, per_level), take(self._levels, dims)
        axis = take(len(self._axes), per_axis)
        keep = take(len(space.free_keep), 1)[:, 0]
        self.size = next(columns)
        lists = [divisors_of(int(bound)) for bound in bounds]
        most = max([1, *map(len, lists)])
        table = np.ones((len(lists), most), np.int64)
        parts = np.zeros((len(lists), most, most), np.int64)
        part_counts = np.ones((len(lists), most), np.int64)
        quotients = np.full((len(lists), most, most), -1, np.int64)
        for d, found in enumerate(lists):
            count = len(found)
            table[d, :count] = found
            whole = table[d, :count, None] % table[d, None, :count] == 0
            part_counts[d, :count] = whole.sum(axis=1)
            i, j = np.nonzero(whole)
            parts[d, i, (whole.cumsum(axis=1) - 1)[i, j]] = j
            quotients[d, i, j] = np.searchsorted(table[d, :count], table[d, i] // table[d, j])
        left = bounds // space.start_factors.prod(axis=0)
        choices = [self._choices(slot) for slot in self._slots]
        longest = max([1, *map(len, choices)])
        return EncodingArrays(
            order=order,
            tile=tile,
            axis=axis,
            keep=keep,
            axis_slots=self._slots,
            divisors=table,
            log_divisors=np.log(table),
            last=np.array([len(found) - 1 for found in lists], np.int64),
            parts=parts,
            part_counts=part_counts,
            quotients=quotients,
            start_left=np.array([found.index(int(n)) for found, n in zip(lists, left, strict=True)], np.int64),
            log_sizes=np.log(np.maximum(1, space.axis_sizes[self._slots])),
            choices=np.array([c + [(-1, -1)] * (longest - len(c)) for c in choices], np.int64).reshape(-1, longest, 2),
            choice_counts=np.array([len(c) for c in choices], np.int64),
        )

    def _free(self) -> NDArray[np.bool_]:
        """(S, D) whether a slot may take more of a dimension than the least factor."""
        space = self.space.arrays
        left = self.space.problem.operator_arrays.bounds // space.start_factors.prod(axis=0)
        free = (space.max_factors > space.start_factors) & (left > 1)
        free[self._levels :] &= space.axis_sizes[self._levels :, None] > 1
        return np.asarray(free)

    def _choices(self, slot: int) -> list[tuple[int, int]]:
        """Dimensions that an axis may unroll: none, one, or two of which the first gets as many children as it can."""
        dims = [int(d) for d in np.nonzero(self._free()[slot])[0]]
        return [(-1, -1), *((d, -1) for d in dims), *itertools.permutations(dims, 2)]

    def _movable(self) -> NDArray[np.bool_]:
        """(L, D) whether it may matter where a loop stands; inside the innermost level it never does."""
        space = self.space.arrays
        loops = space.max_factors[: self._levels] > 1
        loops[-1] = False
        peers = (space.order_rank[:, :, None] == space.order_rank[:, None, :]) & loops[:, None, :]
        return np.asarray(loops & (peers.sum(axis=2) > 1))


class ImportanceEncoding(Encoding):
    """One number per dimension in place of every choice that is not numeric.

    - **order**, a number per level and dimension: the largest is the outermost loop.
    - **tiles**, a number per level and dimension: the extent of the level's tile is the bound to this power, a ratio of
      the layer's bound on a logarithmic scale. Levels are served from the innermost outwards, each factor is the
      nearest divisor of what is left (in logarithms), and the outermost level gets the rest; its numbers are not read.
    - **axes**, a number per axis and dimension: axes are served before tiles, outer levels first, and the most
      important dimension first. A number v from 1/2 upwards takes as many children as it can, a smaller one the
      divisor nearest to size^(2 v), so that 0 unrolls nothing; the children left go to the next dimension.
    - **bypass**, a number per level and tensor that may choose: from 1/2 upwards the level keeps it.
    """

    def __init__(self, space: Mapspace):
        super().__init__(space)
        self._arrays = self._place(len(self.dims), len(self.dims))
        free = self._free()
        self.matters = np.zeros(self.size, np.bool_)
        self.matters[self._arrays.order[self._movable()]] = True
        self.matters[self._arrays.tile[1:][free[1 : self._levels]]] = True
        self.matters[self._arrays.axis[free[self._slots]]] = True
        self.matters[self._arrays.keep] = True

    def decode(self, vectors: NDArray[np.float64]) -> MappingArrays:
        """See :meth:`Encoding.decode`."""
        vectors = self._checked(vectors)
        batch = self.space.empty_batch(len(vectors))
        decode_importance(self.space.arrays, self._arrays, vectors, batch)
        return batch

    def encode(self, mappings: MappingArrays) -> NDArray[np.float64]:
        """See :meth:`Encoding.encode`; holds for every mapping of the mapspace whose factors do not fall short."""
        factors, order, keep = mappings
        n, levels, dims = order.shape
        vectors = np.full((n, self.size), 0.5)
        columns = self._arrays
        logs = np.log(factors)
        for level in range(levels):
            np.put_along_axis(
                vectors, columns.order[level][order[:, level]], 1.0 - (np.arange(dims) + 0.5) / max(1, dims), axis=1
            )
        inside = np.zeros((n, dims))
        log_bounds = np.log(self.space.problem.operator_arrays.bounds)
        for level in range(levels - 1, 0, -1):
            first = levels + level * AXES
            inside = inside + logs[:, level] + logs[:, first : first + AXES].sum(axis=1)
            vectors[:, columns.tile[level]] = np.minimum(1.0, inside / log_bounds)
        vectors[:, columns.tile[0]] = 1.0
        for x, slot in enumerate(self._slots):
            if columns.log_sizes[x] > 0:
                vectors[:, columns.axis[x]] = 0.5 * logs[:, slot] / columns.log_sizes[x]
        for choice, (level, t) in enumerate(self.space.arrays.free_keep):
            vectors[:, columns.keep[choice]] = keep[:, level, t]
        return vectors


class IndexEncoding(Encoding):
    """The baseline: choices that are not numeric are numbered, and the number is searched.

    - **order**, a number per level: which of the permutations of the dimensions, in lexicographic order (Lehmer code).
    - **axes**, a number per axis: which of its choices of no, one or two dimensions. They take as many children as they
      can, one after the other.
    - **tiles**, a number per level and dimension: which of the divisors of what the axes and the levels inside have
      left; the outermost level gets the rest.
    - **bypass** as in :class:`ImportanceEncoding`.
    """

    def __init__(self, space: Mapspace):
        super().__init__(space)
        self._arrays = self._place(1, 1)
        free = self._free()
        self.matters = np.zeros(self.size, np.bool_)
        self.matters[self._arrays.order[self._movable().any(axis=1)]] = True
        self.matters[self._arrays.tile[1:][free[1 : self._levels]]] = True
        self.matters[self._arrays.axis[free[self._slots].any(axis=1)]] = True
        self.matters[self._arrays.keep] = True

    def decode(self, vectors: NDArray[np.float64]) -> MappingArrays:
        """See :meth:`Encoding.decode`."""
        vectors = self._checked(vectors)
        batch = self.space.empty_batch(len(vectors))
        decode_index(self.space.arrays, self._arrays, vectors, batch)
        return batch

    def encode(self, mappings: MappingArrays) -> NDArray[np.float64]:
        """See :meth:`Encoding.encode`; raises ValueError for mappings that no vector stands for."""
        return np.array([self._encode_one(select(mappings, [i])) for i in range(len(mappings.order))]).reshape(
            -1, self.size
        )

    def _encode_one(self, mapping: MappingArrays) -> NDArray[np.float64]:
        for left, vector in self._unrollings(mapping):
            self._fill_tiles(mapping, left, vector)
            if (self.decode(vector[None]).factors == mapping.factors).all():
                break
        else:
            raise ValueError("no vector stands for this mapping: its unrolling is not one that the encoding counts")
        columns = self._arrays
        dims = mapping.order.shape[2]
        for level in range(self._levels):
            order = mapping.order[0, level].tolist()
            number = sum(
                sum(later < d for later in order[k + 1 :]) * math.factorial(dims - 1 - k) for k, d in enumerate(order)
            )
            vector[columns.order[level, 0]] = (number + 0.5) / math.factorial(dims)
        for choice, (level, t) in enumerate(self.space.arrays.free_keep):
            vector[columns.keep[choice]] = mapping.keep[0, level, t]
        return vector

    def _unrollings(self, mapping: MappingArrays) -> Iterator[tuple[list[int], NDArray[np.float64]]]:
        """Choices for all axes whose factors divide the mapping's, and what they leave of the bounds.

        They need not be equal: primes that no temporal loop may take go to an axis after all choices.
        """
        space, columns = self.space.arrays, self._arrays
        bounds = self.space.problem.operator_arrays.bounds

        def extend(
            x: int, left: list[int], vector: NDArray[np.float64]
        ) -> Iterator[tuple[list[int], NDArray[np.float64]]]:
            if x == len(self._slots):
                yield left, vector
                return
            slot, count = self._slots[x], int(columns.choice_counts[x])
            wanted = mapping.factors[0, slot]
            options = []
            for choice in range(count):
                factors = space.start_factors[slot].copy()
                rest = list(left)
                for d in (int(d) for d in columns.choices[x, choice] if d >= 0):
                    lanes = int(space.axis_sizes[slot] // factors.prod())
                    most = min(lanes, int(space.max_factors[slot, d] // factors[d]))
                    taken = max(n for n in divisors_of(rest[d]) if n <= most or n == 1)
                    factors[d] *= taken
                    rest[d] //= taken
                if (wanted % factors == 0).all():
                    options.append((bool((wanted != factors).any()), choice, rest))
            for _, choice, rest in sorted(options):
                further = vector.copy()
                further[columns.axis[x, 0]] = (choice + 0.5) / count
                yield from extend(x + 1, rest, further)

        start = [int(n) for n in bounds // space.start_factors.prod(axis=0)]
        yield from extend(0, start, np.full(self.size, 0.5))

    def _fill_tiles(self, mapping: MappingArrays, left: list[int], vector: NDArray[np.float64]) -> None:
        space = self.space.arrays
        for level in range(self._levels - 1, 0, -1):
            for d, rest in enumerate(left):
                start = int(space.start_factors[level, d])
                taken = int(mapping.factors[0, level, d]) // start
                fitting = [n for n in divisors_of(rest) if n <= max(1, space.max_factors[level, d] // start)]
                if taken not in fitting:
                    return
                vector[self._arrays.tile[level, d]] = (fitting.index(taken) + 0.5) / len(fitting)
                left[d] //= taken
