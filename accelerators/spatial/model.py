"""The spatial model: what operators cost on a spatial accelerator under given mappings, as friendly records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from accelerators.costs import Cost, Infeasible
from accelerators.operators import Operator
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.spatial.kernels import arrays
from accelerators.spatial.kernels.arrays import Counts, Energy, MappingArrays, select
from accelerators.spatial.kernels.evaluation import multicast_histogram
from accelerators.spatial.mapping import Block, Mapping
from accelerators.spatial.problem import Problem


@dataclass(frozen=True)
class TensorCounts:
    """What one level does for one tensor; words are per instance.

    ``multicast`` is the fanout below the level: {children served by one access: words}. ``hops`` is the mean network
    distance per injected word on the array's grid (reported, not charged).
    """

    tensor: str
    kept: bool
    tile_words: int
    partition_words: int
    reads: int
    fills: int
    updates: int
    injected_words: int
    multicast: dict[int, int]
    hops: float
    energy_pj: float
    network_energy_pj: float


@dataclass(frozen=True)
class LevelCounts:
    """One level: used instances, the cycles that its bandwidth alone would need, and its tensors."""

    level: str
    instances: int
    fanout: int
    latency_cycles: int
    tensors: tuple[TensorCounts, ...]

    def tensor(self, name: str) -> TensorCounts:
        """Counts of one tensor (KeyError if there is none)."""
        for counts in self.tensors:
            if counts.tensor == name:
                return counts
        raise KeyError(name)


@dataclass(frozen=True)
class Analysis:
    """Everything about one mapping: the counts by level and tensor, and the mapping itself."""

    mapping: Mapping
    operator: Operator
    levels: tuple[LevelCounts, ...]
    compute_cycles: int
    used_macs: int


def evaluate(
    accelerator: SpatialAccelerator,
    operator: Operator,
    mappings: Sequence[Mapping],
    bounds: dict[str, int] | None = None,
) -> list[Cost | Infeasible]:
    """Cost of each mapping, or why there is none; ``bounds`` are the padded bounds that the mappings use.

    Raises :class:`~accelerators.costs.InfeasibleError` if the accelerator cannot run the operator under any mapping and
    :class:`MappingError` for mappings of another operator or accelerator.
    """
    problem = Problem(accelerator, operator, bounds)
    packed = problem.pack(mappings)
    return [_evaluate_one(problem, packed, i, mapping) for i, mapping in enumerate(mappings)]


def evaluate_packed(problem: Problem, packed: MappingArrays, i: int = 0) -> Cost | Infeasible:
    """Cost of mapping ``i`` of a batch, with its :class:`Analysis` as details, or why there is none."""
    return _evaluate_one(problem, packed, i, problem.unpack(packed, i))


def _evaluate_one(problem: Problem, packed: MappingArrays, i: int, mapping: Mapping) -> Cost | Infeasible:
    counts, energy = problem.scratch()
    result = problem.evaluate_batch(select(packed, slice(i, i + 1)), (counts, energy))
    if result.status[0] != arrays.VALID:
        return problem.explain(result.status[0], result.facts[0])
    energy_pj, cycles = result.energy_pj[0], result.latency_cycles[0]
    accelerator = problem.accelerator
    breakdown = {level.name: float(energy.levels[index].sum()) for index, level in enumerate(accelerator.levels)}
    breakdown["network"] = float(energy.networks.sum())
    breakdown["adders"] = float(energy.other[1])
    breakdown["MAC"] = float(energy.other[0])
    breakdown["leakage"] = float(energy.other[2])
    levels = []
    base = int(counts.base_cycles[0])
    bottleneck, slowest = "compute", base
    for index, level in enumerate(accelerator.levels):
        level_cycles = max(base, int(counts.level_cycles[index]))
        if level_cycles > slowest:
            bottleneck, slowest = f"{level.name} bandwidth", level_cycles
        tensors = tuple(
            _tensor_counts(problem, mapping, counts, energy, index, t) for t in range(len(problem.operator.tensors))
        )
        levels.append(
            LevelCounts(level.name, int(counts.instances[index]), int(counts.fanout[index]), level_cycles, tensors)
        )
    macs = int(problem.operator.macs)
    return Cost(
        energy_pj=float(energy_pj),
        latency_cycles=int(cycles),
        latency_s=int(cycles) / accelerator.clock_hz,
        macs=macs,
        padded_macs=int(problem.padded.macs),
        utilisation=macs / (accelerator.macs * int(cycles)),
        bottleneck=bottleneck if slowest * 2 >= cycles else "ramp",
        energy_breakdown_pj=breakdown,
        details=Analysis(mapping, problem.padded, tuple(levels), base, int(counts.instances[-1])),
    )


def _tensor_counts(
    problem: Problem, mapping: Mapping, counts: Counts, energy: Energy, index: int, t: int
) -> TensorCounts:
    sizes, groups = multicast_histogram(problem.operator_arrays, counts, index, t)
    demand = int(counts.injected[index, t]) // int(counts.groups[index, t])
    multicast: dict[int, int] = {}
    for size, number in zip(sizes.tolist(), groups.tolist(), strict=True):
        if demand:
            multicast[size] = multicast.get(size, 0) + number * demand
    is_output = t == len(problem.operator.tensors) - 1
    return TensorCounts(
        tensor=problem.operator.tensors[t].name,
        kept=problem.operator.tensors[t].name in mapping.blocks[index].keep,
        tile_words=int(counts.tile[index, t]),
        partition_words=int(counts.partition[index]) if is_output else int(counts.tile[index, t]),
        reads=int(counts.reads[index, t]),
        fills=int(counts.fills[index, t]),
        updates=int(counts.updates[index, t]),
        injected_words=int(counts.injected[index, t]),
        multicast=dict(sorted(multicast.items())),
        hops=_mean_hops(problem, mapping.blocks[index], counts, index, t),
        energy_pj=float(energy.levels[index, t]),
        network_energy_pj=float(energy.networks[index, t]),
    )


def _mean_hops(problem: Problem, block: Block, counts: Counts, index: int, t: int) -> float:
    """Mean network distance of a word, with the used children placed row by row on the grid of the fanout.

    The parent injects at the left edge, in the vertical centre; a group costs the furthest column plus, per column that
    it occupies, the way up and down from the centre.
    """
    fanout = int(counts.fanout[index])
    if fanout == 1:
        return 0.0
    axes = problem.accelerator.levels[index].fanout
    loops = dict(block.spatial)
    used_columns = math.prod(factor for _, factor in loops.get(axes[0].name, ()))
    width = axes[0].size
    height = max(math.prod(axis.size for axis in axes[1:]), fanout // used_columns)
    operator = problem.operator_arrays
    # Tile offset of every child, its ranks in one number: loops along the first axis are inside the others.
    spread = np.ones(operator.rank_sizes.shape[1] + 1, np.int64)
    for rank in range(int(operator.ranks[t])):
        used = [d for d in range(len(problem.dims)) if operator.rank_of[t, d] == rank]
        reach = 1 + sum(int(operator.coefficients[t, d] * operator.bounds[d]) for d in used)
        spread[rank + 1] = spread[rank] * reach
    offsets = np.zeros(1, np.int64)
    inner = dict.fromkeys(problem.dims, 1)
    for axis in axes:
        for dim, factor in reversed(loops.get(axis.name, ())):
            d = problem.dims.index(dim)
            step = 0
            if operator.coefficients[t, d]:
                step = int(operator.coefficients[t, d] * counts.extents[index + 1, d]) * inner[dim]
                step *= int(spread[operator.rank_of[t, d]])
            inner[dim] *= factor
            offsets = (np.arange(factor)[:, None] * step + offsets).ravel()
    child = np.arange(fanout)
    column, row = child % width, child // width
    order = np.lexsort((row, column, offsets))
    group, column, row = offsets[order], column[order], row[order]
    last_of_group = np.append(group[1:] != group[:-1], True)
    last_of_column = last_of_group | np.append(column[1:] != column[:-1], True)
    first_of_column = np.roll(last_of_column, 1)
    centre = (height - 1) / 2
    total = float(column[last_of_group].sum())
    total += float(np.maximum(0.0, centre - row[first_of_column]).sum())
    total += float(np.maximum(0.0, row[last_of_column] - centre).sum())
    return total / int(last_of_group.sum())
