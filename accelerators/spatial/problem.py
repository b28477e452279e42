"""An operator bound to a spatial accelerator, as the arrays that the kernels work on.

This is the door for mappers: batches of mappings go in as arrays, status, energy and cycles come out as arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from accelerators.costs import Infeasible, InfeasibleError
from accelerators.jit import announce_compilation
from accelerators.operators import ROLES, Operator, Tensor
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
)
from accelerators.spatial.kernels.evaluation import evaluate_batch
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
    than the MAC takes, counts that could leave 64 bits. Raises ValueError for an operator without MACs and for bounds
    that do not pad it.
    """

    def __init__(self, accelerator: SpatialAccelerator, operator: Operator, bounds: dict[str, int] | None = None):
        if operator.passes:
            raise ValueError(f"{operator} streams its tensors and has no loop nest to map")
        for dim, bound in (bounds or {}).items():
            if bound < operator.bound(dim) or dim not in operator.dims:
                raise ValueError(f"{dim} of {operator} must be padded to at least {operator.bound(dim)} (got {bound})")
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
                    f"counts of {self.padded} may leave 64 bits ({_short(self.padded.iterations)} iterations)",
                    {"what": str(self.padded)},
                )
            )

    def bits(self, tensor: Tensor) -> int:
        """Width of a tensor's words: its own, or the hardware's native one."""
        return tensor.bits if tensor.bits is not None else self.accelerator.compute.bits(tensor.role)

    @property
    def mac_energy_pj(self) -> float:
        """Energy of a MAC of operands as wide as the operator's."""
        weights, inputs = (
            max((self.bits(t) for t in self.operator.tensors if t.role == role), default=1) for role in ROLES[:2]
        )
        return self.accelerator.compute.mac_energy_pj(weights, inputs)

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
                    self.mac_energy_pj,
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
        announce_compilation()
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
        if status == arrays.UTILISATION:
            return Infeasible(
                "constraint",
                f"min_utilisation asks for {second} MAC units (got {first})",
                {"name": "min_utilisation", "macs": first, "least": second},
            )
        raise AssertionError(f"status {status} is not a reason")


def _short(number: int) -> str:
    """A number that may be too large for a float."""
    return f"{number:.3g}" if number < 10**300 else f"about 10^{math.floor(number.bit_length() * math.log10(2))}"
