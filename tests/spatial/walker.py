"""The cost model a second time, as a specification in code: every iteration is walked, every child is visited.

Nothing here is a formula for what a loop order does. A buffer is an object that remembers its last tile and its last
move; tiles are sets of points; what several children want at the same step is compared as sets. So it is slow, and
short enough to be read against the definitions. Level 0 is the outermost; the children of the last level are the MACs.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product
from typing import Any

from accelerators.operators import Operator, Tensor
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.spatial.mapping import Mapping

Vector = tuple[int, ...]


# --- loops and tiles --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Loop:
    """One loop; iteration i adds ``i * step`` to the index of ``dim``. ``axis`` None: in time."""

    level: int
    axis: str | None
    dim: str
    bound: int
    step: int


def nest(accelerator: SpatialAccelerator, mapping: Mapping) -> list[Loop]:
    """All loops, outermost first; per level the temporal ones, then the spatial ones (the first axis inside)."""
    loops: list[tuple[int, str | None, str, int]] = []
    for index, (level, block) in enumerate(zip(accelerator.levels, mapping.blocks, strict=True)):
        loops += [(index, None, dim, bound) for dim, bound in block.temporal]
        for axis in reversed(level.fanout):
            for name, spatial in block.spatial:
                if name == axis.name:
                    loops += [(index, name, dim, bound) for dim, bound in spatial]
    steps: dict[str, int] = defaultdict(lambda: 1)
    found = []
    for index, axis_name, dim, bound in reversed(loops):
        found.append(Loop(index, axis_name, dim, bound, steps[dim]))
        steps[dim] *= bound
    return found[::-1]


def tile_of(loops: list[Loop], level: int, with_fanout_above: bool = False) -> dict[str, int]:
    """Extent per dimension of what one instance of a level works on; optionally of all children of its parent."""
    extents: dict[str, int] = defaultdict(lambda: 1)
    for loop in loops:
        if loop.level >= level or (with_fanout_above and loop.level == level - 1 and loop.axis is not None):
            extents[loop.dim] *= loop.bound
    return extents


def box_shape(tensor: Tensor, tile: dict[str, int]) -> Vector:
    return tuple(1 + sum(c * (tile[dim] - 1) for dim, c in rank) for rank in tensor.ranks)


def points(low: Vector, shape: Vector) -> frozenset[Vector]:
    return frozenset(product(*(range(start, start + size) for start, size in zip(low, shape, strict=True))))


def origins(loops: list[Loop]) -> Iterator[dict[str, int]]:
    """Index of every dimension at every iteration, in program order."""
    for iteration in product(*(range(loop.bound) for loop in loops)):
        origin: dict[str, int] = defaultdict(int)
        for loop, i in zip(loops, iteration, strict=True):
            origin[loop.dim] += i * loop.step
        yield origin


# --- what moves -------------------------------------------------------------------------------------------------------


@dataclass
class Buffer:
    """A child's memory of one tensor: its last tile, and the move that it would slide on with."""

    last: Vector | None = None
    stride: Vector | None = None

    def receive(self, low: Vector, shape: Vector) -> frozenset[Vector]:
        """The points that must newly arrive for the tile at ``low``."""
        last, self.last = self.last, low
        if last is None:
            return points(low, shape)
        move = tuple(new - old for new, old in zip(low, last, strict=True))
        if not any(move):
            return frozenset()
        if self.stride in (None, move):
            self.stride = move
            return points(low, shape) - points(last, shape)
        self.stride = None
        return points(low, shape)


@dataclass
class Traffic:
    """Words that one parent exchanges with its children for one tensor, by the number of children that share them."""

    histogram: dict[int, Fraction]
    fanout: int
    hops: float

    @property
    def accesses(self) -> Fraction:
        return sum(self.histogram.values(), Fraction(0))

    @property
    def delivered(self) -> Fraction:
        return sum((m * words for m, words in self.histogram.items()), Fraction(0))


def walk_fanout(accelerator: SpatialAccelerator, tensor: Tensor, loops: list[Loop], parent: int) -> Traffic:
    """Walk the tiles of all children of one parent."""
    in_time = [loop for loop in loops if loop.axis is None and loop.level <= parent]
    in_space = [loop for loop in loops if loop.axis is not None and loop.level == parent]
    is_mac = parent == len(accelerator.levels) - 1
    shape = box_shape(tensor, tile_of(loops, parent + 1))
    children = list(origins(in_space))
    buffers = [Buffer() for _ in children]
    places = grid(accelerator, in_space, parent, len(children))
    histogram: Counter[int] = Counter()
    distance = 0.0
    for now in origins(in_time):
        groups: dict[frozenset[Vector], list[int]] = defaultdict(list)
        for number, here in enumerate(children):
            low = tuple(sum(c * (now[dim] + here[dim]) for dim, c in rank) for rank in tensor.ranks)
            # A MAC remembers nothing: it asks for its operand at every step.
            delta = points(low, shape) if is_mac else buffers[number].receive(low, shape)
            if delta:
                groups[delta].append(number)
        for delta, members in groups.items():
            histogram[len(members)] += len(delta)
            distance += len(delta) * hops([places[number] for number in members], places)
    words = sum(histogram.values())
    return Traffic({m: Fraction(n) for m, n in histogram.items()}, len(children), distance / words)


def grid(accelerator: SpatialAccelerator, in_space: list[Loop], parent: int, used: int) -> list[tuple[int, int]]:
    """(column, row) of every used child: row by row, as wide as the first axis."""
    axes = accelerator.levels[parent].fanout
    width = axes[0].size if axes else 1
    return [(number % width, number // width) for number in range(used)] or [(0, 0)]


def hops(members: list[tuple[int, int]], everybody: list[tuple[int, int]]) -> float:
    raise NotImplementedError


# --- counts -----------------------------------------------------------------------------------------------------------


@dataclass
class Words:
    """What one instance of one level does for one tensor, and what its fanout carries."""

    tile: int
    partition: int
    kept: bool
    reads: int = 0
    fills: int = 0
    updates: int = 0
    histogram: dict[int, int] = field(default_factory=dict)
    hops: float = 0.0
    energy_pj: float = 0.0
    network_pj: float = 0.0

    @property
    def injected(self) -> int:
        return sum(self.histogram.values())
