"""The spatial model: counts and costs of operators on a spatial accelerator under given mappings.

Two doors lead to the kernels. :class:`Problem` binds an operator to an accelerator and evaluates batches of mappings as
arrays (what a mapper does); :func:`evaluate` and :func:`analyse` take :class:`~accelerators.spatial.mapping.Mapping`
objects and return friendly records.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from accelerators.costs import Cost, Infeasible, InfeasibleError
from accelerators.operators import Operator, Tensor
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.spatial.kernels import arrays
from accelerators.spatial.kernels.arrays import (
    AXES,
    Counts,
    Energy,
    HardwareArrays,
    MappingArrays,
    OperatorArrays,
    new_counts,
    new_energy,
    new_mappings,
    select,
)
from accelerators.spatial.kernels.evaluation import evaluate_batch, multicast_histogram
from accelerators.spatial.mapping import Block, Mapping, MappingError


@dataclass(frozen=True)
class BatchResult:
    """Status codes (n,), their facts (n, 2), energy in pJ (n,) and cycles (n,) of a batch of mappings."""

    status: NDArray[np.int64]
    facts: NDArray[np.int64]
    energy_pj: NDArray[np.float64]
    latency_cycles: NDArray[np.int64]


class Problem:
    """An operator bound to an accelerator, as arrays.

    ``bounds`` pads dimensions: the mapping is evaluated exactly on the larger operator.

    Raises :class:`~accelerators.costs.InfeasibleError` if no mapping can exist: a tensor without a home, a word wider
    than the MAC takes, counts that could leave 64 bits. Raises ValueError for an operator without MACs.
    """

    def __init__(self, accelerator: SpatialAccelerator, operator: Operator, bounds: dict[str, int] | None = None):
        if operator.passes:
            raise ValueError(f"{operator} streams its tensors and has no loop nest to map")
        self.accelerator = accelerator
        self.operator = operator
        self.padded = operator.with_bounds(bounds) if bounds else operator
        #: Names of the dimensions with a bound above 1; D of the arrays.
        self.dims = tuple(dim for dim, bound in self.padded.bounds if bound > 1)
        self._check()

    def _check(self) -> None:
        accelerator, compute = self.accelerator, self.accelerator.compute
        for tensor in self.operator.tensors:
            if not any(tensor.role in level.keeps for level in accelerator.levels):
                raise InfeasibleError(
                    Infeasible(
                        "no_home", f"no level of {accelerator.name} may keep {tensor.role}", {"tensor": tensor.name}
                    )
                )
            limit = max(compute.bits(tensor.role), compute.accumulator_bits if tensor.role == "outputs" else 0)
            if self.bits(tensor) > limit:
                raise InfeasibleError(
                    Infeasible(
                        "precision",
                        f"{tensor.name} has {self.bits(tensor)} bits, {accelerator.name} computes {limit}",
                        {"tensor": tensor.name, "bits": self.bits(tensor), "limit": limit},
                    )
                )
        # No count of words exceeds iterations x the product of the coefficient sums of the ranks.
        spread = max(math.prod(sum(c for _, c in rank) for rank in t.ranks) for t in self.padded.tensors)
        widest = max(*(self.bits(t) for t in self.padded.tensors), compute.accumulator_bits)
        if 6 * self.padded.iterations * spread * widest >= 2**62:
            raise InfeasibleError(
                Infeasible(
                    "overflow",
                    f"counts of {self.padded} may leave 64 bits ({self.padded.iterations:.3g} iterations)",
                    {"what": str(self.padded)},
                )
            )

    def bits(self, tensor: Tensor) -> int:
        """Width of a tensor's words: its own, or the hardware's native one."""
        return tensor.bits if tensor.bits is not None else self.accelerator.compute.bits(tensor.role)

    @cached_property
    def operator_arrays(self) -> OperatorArrays:
        """The operator for the kernels."""
        operator, dims = self.padded, self.dims
        # Ranks whose dimensions all have bound 1 have extent 1 and vanish.
        ranks = [[r for r in t.ranks if any(dim in dims for dim, _ in r)] for t in operator.tensors]
        shape = (len(ranks), max(1, *map(len, ranks)))
        result = OperatorArrays(
            bounds=np.array([operator.bound(dim) for dim in dims], np.int64),
            coefficients=np.zeros((len(ranks), len(dims)), np.int64),
            rank_of=np.full((len(ranks), len(dims)), -1, np.int64),
            ranks=np.array([len(r) for r in ranks], np.int64),
            rank_sizes=np.zeros(shape, np.int64),
            rank_dims=np.zeros((*shape, max(1, len(dims))), np.int64),
            is_reduction=np.array([dim in operator.reduction_dims for dim in dims], np.bool_),
            bits=np.array(
                [*(self.bits(t) for t in operator.tensors), self._partial_bits],
                np.int64,
            ),
        )
        for t, tensor_ranks in enumerate(ranks):
            for r, rank in enumerate(tensor_ranks):
                for dim, coefficient in rank:
                    if dim in dims:
                        d = dims.index(dim)
                        result.coefficients[t, d] = coefficient
                        result.rank_of[t, d] = r
                        result.rank_dims[t, r, result.rank_sizes[t, r]] = d
                        result.rank_sizes[t, r] += 1
        return result

    @property
    def _partial_bits(self) -> int:
        """Width of partial sums: the accumulator's, never less than the output's."""
        return max(self.accelerator.compute.accumulator_bits, self.bits(self.operator.output))

    @cached_property
    def hardware_arrays(self) -> HardwareArrays:
        """The accelerator for the kernels, as this operator sees it."""
        accelerator, tensors = self.accelerator, self.operator.tensors
        levels = accelerator.levels
        widths = [*(self.bits(t) for t in tensors), self._partial_bits]

        def bits_per_cycle(bytes_per_cycle: float | None) -> float:
            return math.inf if bytes_per_cycle is None else 8.0 * bytes_per_cycle

        def per_access(energies: list[float]) -> NDArray[np.float64]:
            accesses = [[math.ceil(bits / level.width_bits) for bits in widths] for level in levels]
            return np.array(energies, np.float64)[:, None] * np.array(accesses, np.float64)

        axes = [[*level.fanout, *[None] * (AXES - len(level.fanout))] for level in levels]
        return HardwareArrays(
            capacity_bits=np.array(
                [-1 if v.capacity_bytes is None else int(8 * v.capacity_bytes) // v.multiple_buffering for v in levels],
                np.int64,
            ),
            may_keep=np.array([[t.role in level.keeps for t in tensors] for level in levels], np.bool_),
            axis_sizes=np.array([[axis.size if axis else 1 for axis in row] for row in axes], np.int64),
            axis_allows=np.array(
                [
                    [[axis is not None and (axis.dims is None or d in axis.dims) for d in self.dims] for axis in row]
                    for row in axes
                ],
                np.bool_,
            ).reshape(len(levels), AXES, len(self.dims)),
            axis_count=np.array([len(level.fanout) for level in levels], np.int64),
            words_per_access=np.array(
                [[max(1, level.width_bits // bits) for bits in widths] for level in levels], np.int64
            ),
            read_pj=per_access([v.read_energy_pj for v in levels]),
            fill_pj=per_access([v.fill_energy_pj for v in levels]),
            update_pj=per_access([v.update_energy_pj for v in levels]),
            read_bits_per_cycle=np.array([bits_per_cycle(v.read_bandwidth_bytes_per_cycle) for v in levels]),
            write_bits_per_cycle=np.array([bits_per_cycle(v.write_bandwidth_bytes_per_cycle) for v in levels]),
            shared_bits_per_cycle=np.array([bits_per_cycle(v.shared_bandwidth_bytes_per_cycle) for v in levels]),
            network_pj_per_bit=accelerator.wire_energy_pj_per_bit_mm
            * np.sqrt([area if v.fanout else 0.0 for v, area in zip(levels, accelerator.child_area_mm2, strict=True)]),
            ramp_cycles=np.array([accelerator.ramp_cycles.get(v.name, 0.0) for v in levels], np.float64),
            scalars=np.array(
                [
                    accelerator.compute.energy_pj,
                    accelerator.compute.add_energy_pj,
                    accelerator.leakage_mw * 1e9 / accelerator.clock_hz,
                ]
            ),
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(L, D, T)."""
        return len(self.accelerator.levels), len(self.dims), len(self.operator.tensors)

    def scratch(self) -> tuple[Counts, Energy]:
        """Work arrays for the kernels."""
        levels, dims, tensors = self.shape
        return new_counts(levels, dims, tensors), new_energy(levels, tensors)

    def pack(self, mappings: Sequence[Mapping]) -> MappingArrays:
        """Mappings as arrays; raises :class:`MappingError` for levels, tensors, axes or dimensions unknown here."""
        packed = new_mappings(len(mappings), *self.shape)
        for i, mapping in enumerate(mappings):
            self._pack_one(mapping, packed, i)
        return packed

    def _pack_one(self, mapping: Mapping, packed: MappingArrays, i: int) -> None:
        names = [level.name for level in self.accelerator.levels]
        if [block.level for block in mapping.blocks] != names:
            raise MappingError(f"levels must be {' '.join(names)} (got {' '.join(b.level for b in mapping.blocks)})")
        tensor_names = [t.name for t in self.operator.tensors]
        for index, (block, level) in enumerate(zip(mapping.blocks, self.accelerator.levels, strict=True)):
            for tensor in block.keep:
                if tensor not in tensor_names:
                    raise MappingError(f"{level.name}: tensors are {' '.join(tensor_names)} (got {tensor})")
                packed.keep[i, index, tensor_names.index(tensor)] = True
            active = []
            for dim, factor in block.temporal:
                d = self._dim(level.name, dim, factor)
                packed.factors[i, index, d] = factor
                active.append(d)
            packed.order[i, index] = [d for d in range(len(self.dims)) if d not in active] + active
            axis_names = [axis.name for axis in level.fanout]
            for axis, loops in block.spatial:
                if axis not in axis_names:
                    raise MappingError(f"{level.name}: axes are {' '.join(axis_names) or '(none)'} (got {axis})")
                slot = len(names) + index * AXES + axis_names.index(axis)
                for dim, factor in loops:
                    packed.factors[i, slot, self._dim(level.name, dim, factor)] = factor

    def _dim(self, place: str, dim: str, factor: int) -> int:
        if dim in self.dims:
            return self.dims.index(dim)
        if dim in self.padded.dims:
            raise MappingError(f"{place}: {dim} has bound 1 (got factor {factor})")
        raise MappingError(f"{place}: dimensions are {' '.join(self.padded.dims)} (got {dim})")

    def unpack(self, packed: MappingArrays, i: int = 0) -> Mapping:
        """Mapping ``i`` of a batch as an object."""
        blocks = []
        factors = packed.factors[i].tolist()
        for index, level in enumerate(self.accelerator.levels):
            temporal = [(self.dims[d], factors[index][d]) for d in packed.order[i, index]]
            first = len(self.accelerator.levels) + index * AXES
            spatial = [
                (axis.name, tuple(zip(self.dims, factors[first + a], strict=True)))
                for a, axis in enumerate(level.fanout)
            ]
            keep = [t.name for t, kept in zip(self.operator.tensors, packed.keep[i, index], strict=True) if kept]
            blocks.append(Block(level.name, tuple(keep), tuple(temporal), tuple(spatial)))
        return Mapping(tuple(blocks))

    def evaluate_batch(self, packed: MappingArrays, scratch: tuple[Counts, Energy] | None = None) -> BatchResult:
        """Evaluate n mappings exactly; ``scratch`` keeps the counts and energies of the last one."""
        n = packed.order.shape[0]
        result = BatchResult(np.empty(n, np.int64), np.zeros((n, 2), np.int64), np.empty(n), np.empty(n, np.int64))
        evaluate_batch(
            self.operator_arrays,
            self.hardware_arrays,
            packed,
            *(scratch or self.scratch()),
            result.status,
            result.facts,
            result.energy_pj,
            result.latency_cycles,
        )
        return result

    def explain(self, status: int, facts: Sequence[int]) -> Infeasible:
        """The reason behind a status code and its facts."""
        first, second = int(facts[0]), int(facts[1])
        levels, tensors = self.accelerator.levels, self.operator.tensors
        if status == arrays.FACTORS:
            dim = self.dims[first]
            bound = self.padded.bound(dim)
            return Infeasible(
                "factors",
                f"factors of {dim} must multiply to {bound} (got {second})",
                {"dimension": dim, "product": second, "bound": bound},
            )
        if status in (arrays.FANOUT, arrays.AXIS):
            level = levels[first // AXES]
            position = first % AXES
            axis = level.fanout[position].name if position < len(level.fanout) else "xyz"[position]
            if status == arrays.AXIS:
                return Infeasible(
                    "axis",
                    f"{self.dims[second]} may not be unrolled along {axis} of {level.name}",
                    {"level": level.name, "axis": axis, "dimension": self.dims[second]},
                )
            size = level.fanout[position].size
            return Infeasible(
                "fanout",
                f"axis {axis} of {level.name} has {size} children (got a factor of {second})",
                {"level": level.name, "axis": axis, "size": size, "factor": second},
            )
        if status == arrays.KEEP:
            return Infeasible(
                "keep",
                f"{levels[first].name} may not keep {tensors[second].name}",
                {"level": levels[first].name, "tensor": tensors[second].name},
            )
        if status == arrays.NO_HOME:
            return Infeasible("no_home", f"no level keeps {tensors[first].name}", {"tensor": tensors[first].name})
        if status == arrays.CAPACITY:
            level = levels[first]
            widest = max(int(b) for b in self.operator_arrays.bits)
            short = -(-second // widest)
            return Infeasible(
                "capacity",
                f"tiles do not fit into {level.name}: {short} words ({second} bits) short",
                {"level": level.name, "bits_short": second, "words_short": short},
            )
        raise AssertionError(f"status {status} is not a reason")


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
    # Tile offset of every child, rank by rank: loops along the first axis are inside the others.
    offsets = np.zeros((1, operator.rank_sizes.shape[1]), np.int64)
    inner = dict.fromkeys(problem.dims, 1)
    for axis in axes:
        for dim, factor in reversed(loops.get(axis.name, ())):
            d = problem.dims.index(dim)
            step = np.zeros(offsets.shape[1], np.int64)
            if operator.coefficients[t, d]:
                step[operator.rank_of[t, d]] = operator.coefficients[t, d] * counts.extents[index + 1, d] * inner[dim]
            inner[dim] *= factor
            offsets = (np.arange(factor)[:, None, None] * step + offsets).reshape(-1, offsets.shape[1])
    _, group = np.unique(offsets, axis=0, return_inverse=True)
    group = group.ravel()
    child = np.arange(fanout)
    column, row = child % width, child // width
    centre = (height - 1) / 2
    total = 0.0
    for g in range(group.max() + 1):
        members = group == g
        total += column[members].max()
        for c in np.unique(column[members]):
            rows = row[members & (column == c)]
            total += max(0.0, centre - rows.min()) + max(0.0, rows.max() - centre)
    return float(total / (group.max() + 1))
