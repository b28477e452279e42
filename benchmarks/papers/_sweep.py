"""The best design of a sweep: every connectivity with its best shapes, then sizes, then what lies between them.

1. Every set of one to three dimensions on the array, each with the shapes of even sizes on which the networks need the
   fewest cycles if nothing but the array limits them; middle sizes of the memories.
2. The best arrays of those, with all combinations of a grid of sizes.
3. The best designs of those, with other banks and with sizes and shapes in between, as long as that helps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accelerators.documents import Document
from accelerators.spatial.architecture import SpatialAccelerator
from benchmarks.papers._arms import Arm, accelerator_of, evaluated, network, streamed
from codesign.search.budget import Budget
from codesign.search.naas import naas_design
from codesign.search.space import Design, HardwareSpace
from mappers.mapspace import divisors_of

_DIMS = ("K", "C", "P", "Q", "R", "S", "G")
#: Arrays that use less of the budget's MACs than this are left out.
_LEAST_PART = 0.8
#: Shapes per set of dimensions in the first pass, arrays in the second, designs in the third.
_SHAPES, _ARRAYS, _DESIGNS = 6, 40, 4
_SCRATCHPADS = (16, 32, 64, 128, 256, 512, 1024)
_PARTS_OF_BUFFER = (1.0, 0.5, 0.25)
_BANKS = (1, 2, 4, 8, 16, 32)
_MIDDLE = (64, 1.0, 8)

_Array = tuple[tuple[str, int], ...]
#: An array, bytes per scratchpad, part of the rest for the buffer, its banks.
_Point = tuple[_Array, int, float, int]


@dataclass(frozen=True)
class Swept:
    """The best design found, and how many were looked at."""

    accelerator: SpatialAccelerator
    summary: str


def _arrays(macs: int) -> Iterator[_Array]:
    """One to three axes of even sizes, each with a dimension of its own; the order of the axes makes no difference."""

    def shapes(count: int, room: int) -> Iterator[tuple[int, ...]]:
        if count == 1:
            yield (room // 2 * 2,)
            return
        for size in range(2, room // 2 ** (count - 1) + 1, 2):
            yield from ((size, *rest) for rest in shapes(count - 1, room // size))

    for count in (1, 2, 3):
        large = [sizes for sizes in shapes(count, macs) if math.prod(sizes) >= _LEAST_PART * macs]
        for dims in itertools.combinations(_DIMS, count):
            yield from (tuple(zip(dims, sizes, strict=True)) for sizes in large)


#: Divisors of every layer's bound by dimension; lanes that every layer uses on an axis.
_Divisors = dict[str, list[tuple[int, ...]]]
_Lanes = dict[tuple[str, int], NDArray[np.float64]]


class _CycleBounds:
    """Cycles that the networks take at least on an array, geometric mean: its axes used as far as they divide."""

    def __init__(self, accelerator: SpatialAccelerator, networks: tuple[str, ...]):
        self._networks: list[tuple[int, NDArray[np.float64], _Divisors, _Lanes]] = []
        for graph in map(network, networks):
            layers = {operator: len(names) for operator, names in graph.unique().items() if not operator.passes}
            work = np.array([operator.iterations * count for operator, count in layers.items()], float)
            lanes = {dim: [divisors_of(operator.bound(dim)) for operator in layers] for dim in _DIMS}
            self._networks.append((streamed(accelerator, graph)[1], work, lanes, {}))

    def of(self, array: _Array) -> float:
        product = 1.0
        for fixed, work, lanes, known in self._networks:
            used = np.ones(len(work))
            for key in array:
                if key not in known:
                    dim, size = key
                    known[key] = np.array([max(n for n in found if n <= size) for found in lanes[dim]], float)
                used = used * known[key]
            product *= fixed + float((work / used).sum())
        return product ** (1 / len(self._networks))


def sweep(data: dict[str, Any], networks: tuple[str, ...], pool: Executor) -> Swept:
    """The best design of the grid within the resources of the design ``data``, judged as the search judges."""
    like = accelerator_of(data)
    budget = Budget.like(like)
    assert budget.macs is not None and budget.on_chip_bytes is not None
    most_bytes = budget.on_chip_bytes
    space = HardwareSpace(Document("sweep", naas_design(data, like, budget)), (), budget=budget, name="swept")
    bounds = _CycleBounds(like, networks)
    arrays = sorted(_arrays(budget.macs), key=bounds.of)
    arm = Arm(networks, "optimal")
    bandwidth = next(name for name in space.parameters if name.startswith("global_buffer.") and "bandwidth" in name)
    most = space.parameters[bandwidth].high  # type: ignore[attr-defined]
    scores: dict[_Point, float] = {}
    designs: dict[_Point, Design] = {}

    def evaluate(points: list[_Point]) -> None:
        new = []
        for point in dict.fromkeys(points):
            array, scratchpad, part, banks = point
            capacity = part * (most_bytes - scratchpad * math.prod(size for _, size in array)) // 16 * 16
            if point in designs or capacity < 1024:
                continue
            built = space.build(
                {
                    "global_buffer.capacity": f"{capacity:.0f} B",
                    "global_buffer.banks": banks,
                    "global_buffer.array": tuple(((dim,), size) for dim, size in array),
                    "scratchpad.capacity": f"{scratchpad} B",
                    bandwidth: most,
                }
            )
            if isinstance(built, Design):
                designs[point] = built
                new.append(point)
        found = pool.map(evaluated, [designs[p].datasheet for p in new], [arm] * len(new), chunksize=4)
        scores.update(zip(new, found, strict=True))

    def best(count: int) -> list[_Point]:
        return sorted(scores, key=lambda point: scores[point])[:count]

    by_dims: dict[tuple[str, ...], list[_Array]] = {}
    for array in arrays:
        by_dims.setdefault(tuple(dim for dim, _ in array), []).append(array)
    evaluate([(array, *_MIDDLE) for shapes in by_dims.values() for array in shapes[:_SHAPES]])
    chosen = [point[0] for point in best(_ARRAYS)]
    evaluate([(array, s, p, 8) for array in chosen for s in _SCRATCHPADS for p in _PARTS_OF_BUFFER])
    improving = True
    while improving:
        before = min(scores.values())
        evaluate([near for point in best(_DESIGNS) for near in _near(point)])
        improving = min(scores.values()) < before * 0.999
    winner = best(1)[0]
    summary = (
        f"sweep over {len(arrays):,} arrays, {len(by_dims)} sets of dimensions; {len(scores):,} designs evaluated; "
        f"best {designs[winner].values}"
    )
    return Swept(designs[winner].accelerator, summary)


def _near(point: _Point) -> Iterator[_Point]:
    """The same with other banks, sizes in between, and two lanes more or less on an axis."""
    array, scratchpad, part, banks = point
    yield from ((array, scratchpad, part, n) for n in _BANKS)
    yield from ((array, max(16, round(scratchpad * f / 16) * 16), part, banks) for f in (0.5, 0.75, 1.25, 1.5))
    yield from ((array, scratchpad, min(1.0, part * f), banks) for f in (0.6, 0.8, 1.25, 1.6))
    for i, (dim, size) in enumerate(array):
        for lanes in (size - 2, size + 2):
            if lanes >= 2:
                yield (*array[:i], (dim, lanes), *array[i + 1 :]), scratchpad, part, banks
