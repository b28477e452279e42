"""The structs of arrays that the kernels work on.

Letters: n mappings, L levels (0 is the outermost), D dimensions with a bound above 1, T tensors (the last one is the
output), A axes per fanout (three, unused ones have size 1), R ranks.

Row T of an array with T+1 rows stands for partial sums: the output at the accumulator's width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Status codes of a mapping; `facts` holds two numbers that explain it.
VALID = 0
FACTORS = 1  # dimension index, product of its factors
FANOUT = 2  # level * AXES + axis, product of the factors on the axis
AXIS = 3  # level * AXES + axis, dimension index that may not be unrolled there
KEEP = 4  # level, tensor index that the level may not keep
NO_HOME = 5  # tensor index, 0
CAPACITY = 6  # level, bits short
UTILISATION = 7  # MACs used, least number; set by a mapspace, never by the model

#: Axes per fanout.
AXES = 3


class OperatorArrays(NamedTuple):
    """One operator, reduced to the dimensions with a bound above 1."""

    bounds: NDArray[np.int64]  # (D,)
    coefficients: NDArray[np.int64]  # (T, D); 0 where the tensor does not depend on the dimension
    rank_of: NDArray[np.int64]  # (T, D); rank of the dimension, -1 where irrelevant
    ranks: NDArray[np.int64]  # (T,); number of ranks
    rank_sizes: NDArray[np.int64]  # (T, R); number of dimensions in a rank
    rank_dims: NDArray[np.int64]  # (T, R, D); the dimensions of a rank
    is_reduction: NDArray[np.bool_]  # (D,)
    bits: NDArray[np.int64]  # (T+1,)


class HardwareArrays(NamedTuple):
    """One spatial accelerator as seen by one operator (its tensors' roles and widths are resolved)."""

    capacity_bits: NDArray[np.int64]  # (L,); per instance, -1 is unbounded, after division by multiple buffering
    may_keep: NDArray[np.bool_]  # (L, T)
    axis_sizes: NDArray[np.int64]  # (L, A)
    axis_allows: NDArray[np.bool_]  # (L, A, D)
    axis_count: NDArray[np.int64]  # (L,)
    words_per_access: NDArray[np.int64]  # (L, T+1)
    read_pj: NDArray[np.float64]  # (L, T+1); per access, times the accesses that one word needs
    fill_pj: NDArray[np.float64]  # (L, T+1)
    update_pj: NDArray[np.float64]  # (L, T+1)
    read_bits_per_cycle: NDArray[np.float64]  # (L,); per instance, inf is unlimited
    write_bits_per_cycle: NDArray[np.float64]  # (L,)
    shared_bits_per_cycle: NDArray[np.float64]  # (L,)
    network_pj_per_bit: NDArray[np.float64]  # (L,); wire energy times pitch; 0 for a level without fanout
    ramp_cycles: NDArray[np.float64]  # (L,); per tile of the level
    scalars: NDArray[np.float64]  # (3,): MAC pJ, addition pJ, leakage pJ per cycle


class MappingArrays(NamedTuple):
    """A batch of n mappings.

    A slot is a place for a factor of every dimension: slot l holds the temporal factors of level l, slot
    ``L + l * AXES + a`` the factors along axis a of its fanout; there are S = L * (1 + AXES) of them.
    """

    factors: NDArray[np.int64]  # (n, S, D)
    order: NDArray[np.int64]  # (n, L, D) permutation of the dimensions, outermost temporal loop first
    keep: NDArray[np.bool_]  # (n, L, T)


class Counts(NamedTuple):
    """What one mapping does, per instance of each level; the kernel's result and its scratch space.

    Words are exact integers. ``injected`` and ``delivered`` belong to the fanout below a level: words that the parent
    puts on it (m copies counted once) and words that arrive at all children together.
    """

    extents: NDArray[np.int64]  # (L+1, D) tile extents of blocks l.. inwards; row L is one MAC
    unrolled: NDArray[np.int64]  # (L, D) product of the spatial factors over the axes
    fanout: NDArray[np.int64]  # (L,) used children per instance
    half_extent: NDArray[np.float64]  # (L,) half the sum of the used extents of the axes
    instances: NDArray[np.int64]  # (L+1,) used instances; row L are the MACs
    tile: NDArray[np.int64]  # (L, T) words
    partition: NDArray[np.int64]  # (L,) output words that an instance accumulates
    arrivals: NDArray[np.int64]  # (L, T) words that a parent sends to one instance if nothing is bypassed
    groups: NDArray[np.int64]  # (L, T) distinct children of the fanout
    injected: NDArray[np.int64]  # (L, T)
    delivered: NDArray[np.int64]  # (L, T)
    reads: NDArray[np.int64]  # (L, T)
    fills: NDArray[np.int64]  # (L, T)
    updates: NDArray[np.int64]  # (L, T)
    final_updates: NDArray[np.int64]  # (L,) updates that store a finished output
    complete: NDArray[np.bool_]  # (L, 3) outputs are finished: before the fanout, on arrival, when they leave the level
    summed: NDArray[np.int64]  # (D,) scratch
    tiles_run: NDArray[np.int64]  # (L,) tiles that a level works through: product of the temporal loops outside
    level_cycles: NDArray[np.int64]  # (L,)
    loop_dim: NDArray[np.int64]  # (L*D,) scratch
    loop_bound: NDArray[np.int64]  # (L*D,) scratch
    loop_step: NDArray[np.int64]  # (L*D,) scratch
    loop_runs: NDArray[np.int64]  # (L*D,) scratch: iterations of this loop and all outside it
    loops_above: NDArray[np.int64]  # (L+1,) scratch: loops of the levels outside
    base_cycles: NDArray[np.int64]  # (1,) product of all temporal factors


class Energy(NamedTuple):
    """Energy of one mapping by where it is spent, in pJ for all instances."""

    levels: NDArray[np.float64]  # (L, T)
    networks: NDArray[np.float64]  # (L, T)
    other: NDArray[np.float64]  # (3,): MACs, adders, leakage


def new_mappings(size: int, levels: int, dims: int, tensors: int) -> MappingArrays:
    """A batch with all factors 1 that keeps nothing."""
    return MappingArrays(
        factors=np.ones((size, levels * (1 + AXES), dims), np.int64),
        order=np.broadcast_to(np.arange(dims), (size, levels, dims)).copy(),
        keep=np.zeros((size, levels, tensors), np.bool_),
    )


def select(mappings: MappingArrays, rows: Any) -> MappingArrays:
    """The rows (a slice, indices or a mask) of a batch; a slice gives views."""
    return MappingArrays(mappings.factors[rows], mappings.order[rows], mappings.keep[rows])


def new_counts(levels: int, dims: int, tensors: int) -> Counts:
    """Zeroed arrays for one mapping."""

    def ints(*shape: int) -> NDArray[np.int64]:
        return np.zeros(shape, np.int64)

    return Counts(
        extents=ints(levels + 1, dims),
        unrolled=ints(levels, dims),
        fanout=ints(levels),
        half_extent=np.zeros(levels),
        instances=ints(levels + 1),
        tile=ints(levels, tensors),
        partition=ints(levels),
        arrivals=ints(levels, tensors),
        groups=ints(levels, tensors),
        injected=ints(levels, tensors),
        delivered=ints(levels, tensors),
        reads=ints(levels, tensors),
        fills=ints(levels, tensors),
        updates=ints(levels, tensors),
        final_updates=ints(levels),
        complete=np.zeros((levels, 3), np.bool_),
        summed=ints(dims),
        tiles_run=ints(levels),
        level_cycles=ints(levels),
        loop_dim=ints(levels * max(dims, 1)),
        loop_bound=ints(levels * max(dims, 1)),
        loop_step=ints(levels * max(dims, 1)),
        loop_runs=ints(levels * max(dims, 1)),
        loops_above=ints(levels + 1),
        base_cycles=ints(1),
    )


def new_energy(levels: int, tensors: int) -> Energy:
    """Zeroed arrays for one mapping."""
    return Energy(np.zeros((levels, tensors)), np.zeros((levels, tensors)), np.zeros(3))
