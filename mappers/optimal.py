"""Branch and bound: the best mapping of a space, with a proof.

A mapping is a choice of unrollings, then of one tile per level, then of one loop order per level. Everything that is
not tried is dropped for one of these reasons, each of them exact:

* an unrolling, a tile or a set of tiles whose lower bound is not below the best mapping. Bounds add up, over the levels
  and tensors, the words that must arrive however the loops further out are ordered: the flow of a tile divided by
  the most that its innermost loops can reuse (one loop is innermost, so few tensors gain at once), plus what the levels
  further out cost at least for any multiple of the tile;
* a loop order that rests and slides no longer than another one (see :mod:`mappers.kernels.loop_orders`);
* the split of an unrolling over the axes of a fanout, when another one uses shorter axes: nothing else depends on it;
* a chain of tiles inside a processing element that another one with the same outermost tile dominates (see
  :mod:`mappers.kernels.chains`);
* loops with bound 1 and the order of loops inside the innermost level: they move nothing.

What remains is evaluated by the model itself, so the result is the model's own figure.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accelerators.jit import announce_compilation
from accelerators.operators import distinct_sums
from accelerators.spatial.kernels.arrays import AXES, VALID, MappingArrays, new_mappings, select
from accelerators.spatial.problem import BatchResult, Problem
from mappers._base import Mapper, Objective, SpaceTooLargeError
from mappers.kernels.bounds import READ, SHARED, WRITE, Metrics, boundary_weights, fitting_nodes, level_bounds
from mappers.kernels.branch_and_bound import (
    EDP,
    SAFETY,
    WEIGHTED,
    Best,
    Workspace,
    explore_unrollings,
    unrolling_bounds,
)
from mappers.kernels.chains import COMPLETE, GIVEN_UP, OTHER, SAME, WIDER, Chains, grow_chains, new_chains
from mappers.kernels.lattice import LatticeArrays, combine_axes, fill_nodes, least_of_multiples, unroll_axis
from mappers.kernels.loop_orders import OrderPool, new_pool
from mappers.mapspace import Mapspace, prime_factors

#: Tiles bounded for one unrolling before others get their turn.
_FIRST_SLICE = 200_000
#: Unrollings per step.
_STEP = 16
#: Most nodes of a lattice, and most unrollings: beyond, tables would not fit a small machine's memory.
MAX_NODES = 4_000_000
MAX_UNROLLINGS = 4_000_000
#: Most that the tables of all choices of what levels keep may take; few of them are as large as this counts.
_MOST_TABLE_BYTES = 2e9
#: Most pairs of factors on two axes that are looked at (some seconds).
_MOST_PAIRS = 200_000_000
#: Most tiles and pairs of chains looked at while the chains inside an element are grown (a second or two).
_CHAIN_ALLOWANCE = 50_000_000
_POOL = 40_000
_ORDERS_PER_LEVEL = 4096
_BATCH = 256


@dataclass(frozen=True)
class Certificate:
    """What is known about the best mapping of a space.

    ``lower_bound`` holds for every mapping of the space, in the unit of the objective (EDP: pJ x cycles, energy: pJ,
    latency: cycles); the mapping found has ``value``. They are equal (within one part in 10^12: bounds are sums of
    floats) if the search ran to its end. Counts say where the work went: choices of what levels keep (``keeps``),
    unrollings in all and looked into, tiles bounded, complete choices of tiles, mappings evaluated. ``paddings`` is how
    many padded versions of the operator were searched as well.
    """

    value: float
    lower_bound: float
    root_bound: float
    keeps: int
    unrollings: int
    explored: int
    tiles: int
    leaves: int
    evaluations: int
    paddings: int = 0

    @property
    def gap(self) -> float:
        """How far the mapping may be above the optimum, relative to the lower bound; 0 if it is optimal."""
        if self.value <= self.lower_bound:
            return 0.0
        return math.inf if self.lower_bound <= 0 else self.value / self.lower_bound - 1

    @property
    def proven(self) -> bool:
        """Whether the mapping is optimal."""
        return self.gap == 0.0

    @property
    def summary(self) -> str:
        """What is proven, on one line."""
        if self.proven:
            return f"optimal: {self.value:.10g}, nothing in the space is lower"
        return f"open: {self.value:.10g} is at most {self.gap:.3%} above the optimum (>= {self.lower_bound:.9g})"

    def __str__(self) -> str:
        padded = f" in {1 + self.paddings} versions of the bounds" if self.paddings else ""
        return (
            f"{self.summary}{padded}\n{self.unrollings} unrollings x {self.keeps} choices of what levels keep, "
            f"{self.explored} explored; by their bounds no other one can be better (least {self.root_bound:.10g}); "
            f"{self.tiles} tiles bounded, {self.leaves} complete, {self.evaluations} mappings evaluated"
        )


@dataclass
class _Lattice:
    arrays: LatticeArrays
    touched: NDArray[np.float64]  # (T,)
    irrelevant: NDArray[np.bool_]  # (T, D)
    plain_output: bool
    output_words: float

    @property
    def size(self) -> int:
        return len(self.arrays.extents)


def _lattice(problem: Problem) -> _Lattice:
    operator = problem.operator_arrays
    dims, tensors = len(problem.dims), len(problem.operator.tensors)
    bases = [(d, prime) for d in range(dims) for prime in sorted(set(prime_factors(int(operator.bounds[d]))))]
    exponents = [prime_factors(int(operator.bounds[d])).count(prime) for d, prime in bases]
    size = math.prod(e + 1 for e in exponents)
    if size > MAX_NODES:
        raise SpaceTooLargeError(f"{problem.padded} has {size} tile sizes; the optimal mapper takes {MAX_NODES}")
    windows = [(t, r) for t in range(tensors) for r in range(int(operator.ranks[t])) if operator.rank_sizes[t, r] > 1]
    window_of = np.full((tensors, dims), -1, np.int64)
    for w, (t, r) in enumerate(windows):
        window_of[t, operator.rank_dims[t, r, : operator.rank_sizes[t, r]]] = w
    arrays = LatticeArrays(
        strides=np.array([math.prod(e + 1 for e in exponents[:b]) for b in range(len(bases))], np.int64),
        exponents=np.array(exponents, np.int64),
        extents=np.empty((size, dims), np.int64),
        sizes=np.empty((size, dims)),
        volumes=np.empty((size, tensors), np.int64),
        flows=np.empty((size, tensors)),
        window_of=window_of,
        window_ratios=np.ones((size, len(windows))),
    )
    fill_nodes(
        operator.bounds,
        np.array([prime for _, prime in bases], np.int64),
        np.array([d for d, _ in bases], np.int64),
        operator.coefficients,
        operator.ranks,
        operator.rank_sizes,
        operator.rank_dims,
        np.array([_touched_in_rank(problem, t, r) for t, r in windows], np.float64),
        arrays,
    )
    output = problem.operator.output
    plain = all(
        len([dim for dim, _ in rank if dim in problem.dims]) <= 1 and all(c == 1 for _, c in rank)
        for rank in output.ranks
    )
    return _Lattice(
        arrays,
        np.array([problem.padded.touched_words(t) for t in problem.operator.tensors], np.float64),
        operator.coefficients == 0,
        plain,
        float(problem.padded.words(output)),
    )


def _touched_in_rank(problem: Problem, t: int, rank: int) -> int:
    """Coordinates of one rank that the loops touch."""
    operator = problem.operator_arrays
    dims = operator.rank_dims[t, rank, : operator.rank_sizes[t, rank]].tolist()
    return distinct_sums(
        [(d, int(operator.coefficients[t, d])) for d in dims], {d: int(operator.bounds[d]) for d in dims}
    )


@dataclass
class _Unrollings:
    """x unrollings of all fanouts: the node of the factors at each of the F fanouts, and how the axes share them."""

    levels: NDArray[np.int64]  # (F,)
    nodes: NDArray[np.int64]  # (x, F)
    axis_nodes: NDArray[np.int64]  # (x, F, AXES)
    half_extents: NDArray[np.float64]  # (x, F)


def _unrollings(space: Mapspace, lattice: LatticeArrays) -> _Unrollings:
    problem = space.problem
    bounds, extents = problem.operator_arrays.bounds, lattice.extents
    count = problem.shape[0]
    fanouts = [index for index, level in enumerate(problem.accelerator.levels) if level.fanout]
    per_level = []
    for index in fanouts:
        nodes = np.zeros(1, np.int64)
        used = np.zeros(1, np.int64)
        parts = np.zeros((1, AXES), np.int64)
        for axis in range(len(problem.accelerator.levels[index].fanout)):
            slot = count + index * AXES + axis
            allowed = np.zeros(len(extents), np.bool_)
            size = int(space.arrays.axis_sizes[slot])
            unroll_axis(bounds, extents, space.arrays.min_factors[slot], space.arrays.max_factors[slot], size, allowed)
            choices = np.nonzero(allowed)[0]
            if len(nodes) * len(choices) > _MOST_PAIRS:
                raise SpaceTooLargeError(
                    f"{problem.padded} on {problem.accelerator.name} has {len(nodes)} x {len(choices)} unrollings on "
                    "two axes: too many for the optimal mapper"
                )
            best_used, best_first, best_second = np.zeros((3, len(extents)), np.int64)
            combine_axes(
                bounds, extents, nodes, used, choices, extents[choices].prod(axis=1), best_used, best_first, best_second
            )
            nodes = np.nonzero(best_used)[0]
            parts = parts[best_first[nodes]]
            parts[:, axis] = best_second[nodes]
            used = best_used[nodes]
        per_level.append((nodes, parts, 0.5 * used))
    if math.prod(len(nodes) for nodes, _, _ in per_level) > MAX_UNROLLINGS:
        raise SpaceTooLargeError(
            f"{problem.padded} on {problem.accelerator.name} has more than {MAX_UNROLLINGS} unrollings"
        )
    # All combinations of the fanouts whose product divides the bounds.
    rows = np.zeros((1, 0), np.int64)
    product = np.ones((1, len(bounds)), np.int64)
    for nodes, _, _ in per_level:
        both = product[:, None, :] * extents[nodes][None, :, :]
        first, second = np.nonzero((bounds % both == 0).all(axis=2))
        rows = np.concatenate([rows[first], second[:, None]], axis=1)
        product = both[first, second]
    shape = (len(rows), len(fanouts))
    result = _Unrollings(
        np.array(fanouts, np.int64), np.zeros(shape, np.int64), np.zeros((*shape, AXES), np.int64), np.zeros(shape)
    )
    for f, (nodes, parts, half) in enumerate(per_level):
        result.nodes[:, f] = nodes[rows[:, f]]
        result.axis_nodes[:, f] = parts[rows[:, f]]
        result.half_extents[:, f] = half[rows[:, f]]
    return result


def most_macs(space: Mapspace) -> int:
    """The largest number of MAC units that an unrolling of the space uses; 0 if there is no unrolling."""
    lattice = _lattice(space.problem)
    nodes = _unrollings(space, lattice.arrays).nodes
    return int(lattice.arrays.extents[nodes].prod(axis=(1, 2)).max(initial=0))


@dataclass
class _Pattern:
    """One choice of what the levels keep and of the factors at the MACs' fanout; unrollings in order of their bounds.

    ``chains`` are the tiles inside an element, found when they are first needed.
    """

    keep: NDArray[np.bool_]
    parent_of_output: NDArray[np.int64]
    fitting: NDArray[np.int64]
    fitting_counts: NDArray[np.int64]
    least_here: NDArray[np.float64]
    least_outside: NDArray[np.float64]
    lower_bounds: NDArray[np.float64]
    ranking: NDArray[np.int64]
    unfinished: NDArray[np.bool_]
    mac_node: int
    crossing: NDArray[np.int64]
    chains: tuple[Chains, NDArray[np.int64]] | None = None
    position: int = 0
    #: There are too many chains to look into any of its unrollings.
    given_up: bool = False

    @property
    def bound(self) -> float:
        return float(self.lower_bounds[self.ranking[0]]) if len(self.ranking) else math.inf


_pools: dict[bytes, OrderPool] = {}


def _order_pool(
    order_rank: NDArray[np.int64], irrelevant: NDArray[np.bool_], window_of: NDArray[np.int64]
) -> OrderPool:
    """Orders are the same for all layers of one shape of projections: keep them."""
    key = repr((order_rank.tolist(), irrelevant.tolist(), window_of.tolist())).encode()
    levels, dims = order_rank.shape
    if key not in _pools:
        if len(_pools) > 64:
            _pools.clear()
        _pools[key] = new_pool(levels, dims, len(irrelevant), _POOL)
    return _pools[key]


class BranchAndBound:
    """Minimise EDP (``kind`` EDP) or ``energy_weight * pJ + cycles_weight * cycles`` over a mapspace.

    Only mappings of at most ``max_cycles`` count, and only those with a score below ``upper_bound``. ``like`` is an
    earlier search of the same space for another goal, whose tables serve again.
    """

    lattice: _Lattice
    unrollings: _Unrollings
    _work: Workspace

    def __init__(
        self,
        space: Mapspace,
        kind: int = EDP,
        energy_weight: float = 1.0,
        cycles_weight: float = 0.0,
        max_cycles: float = np.inf,
        upper_bound: float = np.inf,
        like: BranchAndBound | None = None,
    ):
        self.space = space
        self.problem = problem = space.problem
        self.kind, self.energy_weight, self.cycles_weight = kind, energy_weight, cycles_weight
        # Latencies are whole numbers, bounds on them sums of floats.
        self.max_cycles = max_cycles + 0.5
        levels, dims, tensors = problem.shape
        self.lattice = like.lattice if like else _lattice(problem)
        self.unrollings = like.unrollings if like else _unrollings(space, self.lattice.arrays)
        hardware = problem.hardware_arrays
        limited = [
            (level, kind_, float(rate[level]))
            for level in range(levels)
            for kind_, rate in (
                (READ, hardware.read_bits_per_cycle),
                (WRITE, hardware.write_bits_per_cycle),
                (SHARED, hardware.shared_bits_per_cycle),
            )
            if rate[level] < np.inf
        ]
        self.metrics = Metrics(
            np.array([level for level, _, _ in limited], np.int64),
            np.array([kind_ for _, kind_, _ in limited], np.int64),
            np.array([rate for _, _, rate in limited]),
        )
        rows = 1 + len(limited)
        self._weights = (
            np.zeros((rows, levels, tensors)),
            np.zeros((rows, levels)),
            np.zeros((rows, levels, tensors)),
            np.zeros(rows),
            np.zeros(levels + 1, np.int64),
            np.zeros(levels, np.int64),
        )
        self.best = Best(
            np.array([upper_bound]),
            np.array([np.inf]),
            np.array([-1], np.int64),
            new_mappings(1, levels, dims, tensors),
            np.zeros(1, np.int64),
        )
        self.tally = np.zeros(4, np.int64)
        #: Unrollings looked into; those that took longer than their slice count again.
        self.explored = 0
        arrays = space.arrays
        self._limited = np.asarray(
            (arrays.min_factors[:levels] > 1).any(axis=1)
            | (arrays.max_factors[:levels] < problem.operator_arrays.bounds).any(axis=1)
        )
        partial_bits, bits = int(problem.operator_arrays.bits[-1]), int(problem.operator_arrays.bits[-2])
        self._partial_sums = OTHER
        if partial_bits == bits:
            self._partial_sums = SAME
        elif partial_bits > bits and self.lattice.plain_output:
            self._partial_sums = WIDER
        self._last_order = np.argsort(arrays.order_rank[levels - 1], kind="stable").astype(np.int64)
        self._pool = _order_pool(arrays.order_rank, self.lattice.irrelevant, self.lattice.arrays.window_of)
        # Levels from here inwards have no fanout between them, levels out to the other lie outside of all fanouts.
        between = [level for level in self.unrollings.levels.tolist() if level < levels - 1]
        self._inside_level = between[-1] + 1 if between else levels - 1
        self._outer_level = between[0] if between else levels - 2
        self._chains: dict[tuple[int, bytes], tuple[Chains, NDArray[np.int64]] | None] = like._chains if like else {}
        self._fits: dict[tuple[int, bytes, bool], NDArray[np.int64]] = like._fits if like else {}
        self._tables: dict[bytes, tuple[NDArray[np.float64], NDArray[np.float64]]] = like._tables if like else {}
        windows = self.lattice.arrays.window_ratios.shape[1]
        size = self.lattice.size
        self._work = (
            like._work
            if like
            else Workspace(
                candidates=np.empty((levels + 1, size), np.int64),
                candidate_bounds=np.empty((levels + 1, size)),
                settled=np.zeros((levels + 1, rows)),
                open_values=np.zeros((levels + 1, tensors, rows)),
                open_ratios=np.ones((levels + 1, windows)),
                open_widths=np.ones((levels + 1, windows)),
                slides=np.ones((levels + 1, windows)),
                closing=np.zeros((levels + 1, rows)),
                closes=np.zeros((levels + 1, tensors), np.bool_),
                ramp=np.zeros(levels + 1),
                node=np.zeros(levels + 1, np.int64),
                orders=np.zeros((levels, _ORDERS_PER_LEVEL), np.int64),
                batch=new_mappings(_BATCH, levels, dims, tensors),
                status=np.zeros(_BATCH, np.int64),
                facts=np.zeros((_BATCH, 2), np.int64),
                energy_pj=np.zeros(_BATCH),
                cycles=np.zeros(_BATCH, np.int64),
            )
        )
        if levels > 1:
            # Tables per choice of what the levels keep: two outside of the fanouts, the fitting tiles, the bounds.
            free = space.arrays.free_keep
            outer = 2 ** int((free[:, 0] <= self._outer_level).sum())
            outer_bytes = outer * 2 * levels * (rows + 1) * size * 8
            other_bytes = 2 ** len(free) * (levels * size * 8 + len(self.unrollings.nodes) * 17)
            if outer_bytes + other_bytes > _MOST_TABLE_BYTES:
                raise SpaceTooLargeError(
                    f"{problem.padded} on {problem.accelerator.name} has 2^{len(free)} choices of what levels keep, "
                    f"{size} tile sizes and {len(self.unrollings.nodes)} unrollings: too many for the optimal mapper's "
                    "tables"
                )
        keeps = self._keeps() if levels > 1 else ()
        found = [pattern for keep in keeps for pattern in self._patterns(keep)]
        self.patterns = sorted(found, key=lambda pattern: pattern.bound)
        self.root_bound = self.patterns[0].bound if self.patterns else math.inf
        #: A single level has no patterns: nothing is known before all of it has been tried.
        self._untried = levels == 1
        if self._untried:
            self.root_bound = 0.0
        self.keeps = len({pattern.keep.tobytes() for pattern in self.patterns})

    def _keeps(self) -> Iterator[NDArray[np.bool_]]:
        """Every choice of what the levels keep that gives each tensor a home."""
        free = self.space.arrays.free_keep
        for choice in itertools.product((True, False), repeat=len(free)):
            keep = self.space.arrays.keep.copy()
            keep[free[:, 0], free[:, 1]] = choice
            if keep.any(axis=0).all():
                yield keep

    def _fitting(self, level: int, keep: NDArray[np.bool_], surely: bool = False) -> NDArray[np.int64]:
        """The tiles that can fit a level, or those that fit whatever outputs are partial sums."""
        key = level, keep[level].tobytes(), surely
        if key not in self._fits:
            arrays, problem = self.space.arrays, self.problem
            count = problem.shape[0]
            bounds = problem.operator_arrays.bounds
            hardware = problem.hardware_arrays
            capacity = int(hardware.capacity_bits[level])
            # Factors that must lie outside or inside of the level bound its tiles.
            slots = np.arange(count * (1 + AXES))
            owner = np.where(slots < count, slots, (slots - count) // AXES)
            inside = owner >= level
            clipped = np.minimum(arrays.max_factors, bounds).astype(np.float64)
            axis = arrays.axis_sizes > 0
            clipped[axis] = np.minimum(clipped[axis], arrays.axis_sizes[axis][:, None])
            clipped[~np.isin(slots, arrays.usable)] = 1.0
            most = np.minimum(clipped[inside].prod(axis=0), bounds // arrays.min_factors[~inside].prod(axis=0))
            least = np.maximum(arrays.min_factors[inside].prod(axis=0), bounds / clipped[~inside].prod(axis=0))
            fits = np.zeros(self.lattice.size, np.bool_)
            fitting_nodes(
                problem.operator_arrays,
                capacity,
                level,
                keep,
                self.lattice.arrays.extents,
                self.lattice.arrays.volumes,
                np.ceil(least - 1e-9).astype(np.int64),
                most.astype(np.int64),
                surely,
                fits,
            )
            self._fits[key] = np.nonzero(fits)[0]
        return self._fits[key]

    def _patterns(self, keep: NDArray[np.bool_]) -> Iterator[_Pattern]:
        problem, lattice = self.problem, self.lattice.arrays
        levels, _, tensors = problem.shape
        parent_of_output = np.full(levels, -1, np.int64)
        for level in range(1, levels):
            kept = np.nonzero(keep[:level, tensors - 1])[0]
            parent_of_output[level] = kept[-1] if len(kept) else 0
        lists = [self._fitting(level, keep) for level in range(levels)]
        fitting = np.zeros((levels, max(len(found) for found in lists)), np.int64)
        for level, found in enumerate(lists):
            fitting[level, : len(found)] = found
        least_here, least_outside = self._outer_tables(keep, parent_of_output, fitting, [len(f) for f in lists])
        unrollings = self.unrollings
        lower_bounds = np.empty(len(unrollings.nodes))
        unrolling_bounds(
            problem.operator_arrays,
            problem.hardware_arrays,
            self.metrics,
            lattice.extents,
            self.lattice.touched,
            self.lattice.irrelevant,
            self.lattice.plain_output,
            self.lattice.output_words,
            keep,
            unrollings.levels,
            unrollings.nodes,
            unrollings.half_extents,
            self._outer_level,
            least_outside,
            self.kind,
            self.energy_weight,
            self.cycles_weight,
            self.max_cycles,
            self.space.min_macs,
            *self._weights,
            lower_bounds,
        )
        ranking = np.argsort(lower_bounds, kind="stable")
        ranking = ranking[: int(np.isfinite(lower_bounds).sum())]
        inside = keep[self._inside_level :]
        crossing = np.where(inside.any(axis=0), self._inside_level + inside.argmax(axis=0), -1)
        at_macs = np.zeros(len(ranking), np.int64)
        if levels - 1 in unrollings.levels:
            at_macs = unrollings.nodes[ranking, -1]
        for node in np.unique(at_macs):
            yield _Pattern(
                keep,
                parent_of_output,
                fitting,
                np.array([len(found) for found in lists], np.int64),
                least_here,
                least_outside,
                lower_bounds,
                ranking[at_macs == node],
                np.zeros(len(lower_bounds), np.bool_),
                int(node),
                crossing,
            )

    def _chains_of(self, pattern: _Pattern) -> tuple[Chains, NDArray[np.int64]] | None:
        """All undominated chains of tiles inside an element, and those of its outermost level, sorted by tile.

        None if there are too many of them.
        """
        inside = self._inside_level
        key = pattern.mac_node, pattern.keep[inside:].tobytes()
        if key in self._chains:
            return self._chains[key]
        problem, lattice = self.problem, self.lattice.arrays
        levels, dims, tensors = problem.shape
        rows = len(self._weights[3])
        unrolled = np.ones((levels, dims), np.int64)
        unrolled[levels - 1] = lattice.extents[pattern.mac_node]
        boundary_weights(
            problem.operator_arrays,
            problem.hardware_arrays,
            self.metrics,
            lattice.extents,
            self.lattice.plain_output,
            self.lattice.output_words,
            pattern.keep,
            unrolled,
            np.zeros(levels),
            *self._weights,
        )
        inside_weights = self._weights[0].copy()
        size = max(4096, 4 * int(pattern.fitting_counts[inside:].sum()))
        allowance = np.array([_CHAIN_ALLOWANCE], np.int64)
        while True:
            found = self._grow(pattern, new_chains(size, tensors, rows), inside_weights, allowance)
            if found is not None or allowance[0] < 0:
                break
            size *= 4
        self._chains[key] = found
        return found

    def _grow(
        self,
        pattern: _Pattern,
        chains: Chains,
        inside_weights: NDArray[np.float64],
        allowance: NDArray[np.int64],
    ) -> tuple[Chains, NDArray[np.int64]] | None:
        """None if there is no room for them in the pool, or if the allowance (then negative) is used up."""
        problem, lattice, space = self.problem, self.lattice.arrays, self.space.arrays
        levels = problem.shape[0]
        heads = np.full(self.lattice.size, -1, np.int64)
        starts = np.array([pattern.mac_node], np.int64)
        for level in range(levels - 1, self._inside_level - 1, -1):
            fits, surely = np.zeros((2, self.lattice.size), np.bool_)
            fits[self._fitting(level, pattern.keep)] = True
            surely[self._fitting(level, pattern.keep, surely=True)] = True
            multiples = np.where(fits, 0.0, 1.0)
            least_of_multiples(lattice.strides, lattice.exponents, multiples)
            inner_heads, heads = heads, np.full(self.lattice.size, -1, np.int64)
            ended = grow_chains(
                problem.operator_arrays,
                lattice,
                self.lattice.irrelevant,
                space.order_rank,
                space.min_factors[:levels],
                space.max_factors[:levels],
                pattern.keep,
                pattern.crossing,
                inside_weights,
                problem.hardware_arrays.ramp_cycles,
                level,
                level == levels - 1,
                starts,
                inner_heads,
                fits,
                multiples > 0,
                surely,
                self._partial_sums,
                chains,
                heads,
                allowance,
            )
            if ended == GIVEN_UP:
                allowance[0] = -1
            if ended != COMPLETE:
                return None
            starts = np.nonzero(heads >= 0)[0]
        tops = []
        for node in starts:
            chain = int(heads[node])
            while chain >= 0:
                tops.append(chain)
                chain = int(chains.following[chain])
        return chains, np.array(tops, np.int64)

    def _outer_tables(
        self,
        keep: NDArray[np.bool_],
        parent_of_output: NDArray[np.int64],
        fitting: NDArray[np.int64],
        counts: list[int],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Tables of the levels outside of all fanouts, shared by the patterns that agree there."""
        outer = self._outer_level
        key = keep[: outer + 1].tobytes()
        if key in self._tables:
            return self._tables[key]
        problem, lattice = self.problem, self.lattice.arrays
        levels, dims, _ = problem.shape
        rows = len(self._weights[3])
        least_here, least_outside = np.full((2, levels, rows + 1, self.lattice.size), np.inf)
        least_outside[0] = 0.0
        # Without ramps their row stays 0.
        if not problem.hardware_arrays.ramp_cycles.any():
            least_here[:, rows] = least_outside[:, rows] = 0.0
        unrolled = np.ones((levels, dims), np.int64)
        boundary_weights(
            problem.operator_arrays,
            problem.hardware_arrays,
            self.metrics,
            lattice.extents,
            self.lattice.plain_output,
            self.lattice.output_words,
            keep,
            unrolled,
            np.zeros(levels),
            *self._weights,
        )
        weights, done_weights, slopes = self._weights[:3]
        for level in range(1, outer + 1):
            level_bounds(
                problem.operator_arrays,
                lattice.extents,
                lattice.sizes,
                lattice.flows,
                lattice.window_of,
                lattice.window_ratios,
                self.lattice.irrelevant,
                fitting[level, : counts[level]],
                level,
                int(parent_of_output[level]),
                unrolled,
                np.ones(dims, np.int64),
                weights,
                done_weights,
                slopes,
                self.space.arrays.order_rank[0] if level == 1 else np.zeros(dims, np.int64),
                problem.hardware_arrays.ramp_cycles,
                0,
                least_outside[level - 1],
                least_here[level],
            )
            least_outside[level] = least_here[level]
            for table in least_outside[level]:
                least_of_multiples(lattice.strides, lattice.exponents, table)
        self._tables[key] = least_here, least_outside
        return least_here, least_outside

    def run(self, node_limit: int | None = None, deadline: float = math.inf) -> bool:
        """Search until the optimum is proven (True), or until about ``node_limit`` tiles or the deadline (False).

        The deadline is a reading of ``time.monotonic``: what is found by then depends on the machine.
        """
        for _ in self.steps(node_limit):
            if time.monotonic() >= deadline:
                break
        return self._proven()

    def steps(self, node_limit: int | None = None) -> Iterator[None]:
        """The search in steps of a few unrollings each, until the optimum is proven or about ``node_limit`` tiles."""
        announce_compilation()
        if self.problem.shape[0] == 1:
            self._try_all_unrollings()
            return
        budget = math.inf if node_limit is None else node_limit
        slice_ = _FIRST_SLICE
        again = self.patterns
        while again:
            for pattern in again:
                while self._pending(pattern) < self.best.score[0] * SAFETY and pattern.position < len(pattern.ranking):
                    if pattern.chains is None:
                        pattern.chains = self._chains_of(pattern)
                        pattern.given_up = pattern.chains is None
                        yield
                    if pattern.given_up:
                        break
                    left = budget - int(self.tally[0])
                    if left <= 0:
                        return
                    first, last = pattern.position, min(len(pattern.ranking), pattern.position + _STEP)
                    pattern.position = self._explore(pattern, first, last, int(min(slice_, left)))
                    self.explored += pattern.position - first
                    yield
                    if pattern.position < last:
                        break
            score = self.best.score[0] * SAFETY
            again = [pattern for pattern in self.patterns if not pattern.given_up and self._pending(pattern) < score]
            # Some unrollings took more than their slice: once more, with a larger one.
            slice_ *= 8
            for pattern in again:
                order = np.nonzero(pattern.unfinished)[0]
                pattern.ranking = order[np.argsort(pattern.lower_bounds[order], kind="stable")]
                pattern.unfinished[:] = False
                pattern.position = 0

    def _try_all_unrollings(self) -> None:
        """One level: an unrolling is all there is to choose."""
        self._untried = False
        lattice, unrollings = self.lattice.arrays, self.unrollings
        bounds = self.problem.operator_arrays.bounds
        for keep in self._keeps():
            batch = self.space.empty_batch(len(unrollings.nodes))
            for f in range(unrollings.nodes.shape[1]):
                batch.factors[:, 1 : 1 + AXES] = lattice.extents[unrollings.axis_nodes[:, f]]
            batch.factors[:, 0] = bounds // batch.factors[:, 1:].prod(axis=1)
            batch.order[:] = self._last_order
            batch.keep[:] = keep
            within = (batch.factors[:, 0] >= self.space.arrays.min_factors[0]).all(axis=1)
            within &= (batch.factors[:, 0] <= self.space.arrays.max_factors[0]).all(axis=1)
            batch = select(batch, within)
            result = self.space.evaluate(batch)
            self.tally[2] += len(result.status)
            for i in np.nonzero(result.status == VALID)[0]:
                energy, cycles = float(result.energy_pj[i]), float(result.latency_cycles[i])
                score = energy * cycles
                if self.kind == WEIGHTED:
                    score = self.energy_weight * energy + self.cycles_weight * cycles
                self.tally[3] += 1
                if score < self.best.score[0] and cycles <= self.max_cycles:
                    self.best.score[0] = score
                    self.best.energy_pj[0] = energy
                    self.best.cycles[0] = int(cycles)
                    self.best.found[0] += 1
                    for mine, other in zip(self.best.mapping, batch, strict=True):
                        mine[0] = other[i]

    def _explore(self, pattern: _Pattern, first: int, last: int, node_limit: int) -> int:
        problem, arrays = self.problem, self.space.arrays
        counts, energy = problem.scratch()
        assert pattern.chains is not None
        levels = problem.shape[0]
        return int(
            explore_unrollings(
                problem.operator_arrays,
                problem.hardware_arrays,
                counts,
                energy,
                self.metrics,
                self.lattice.arrays,
                self.lattice.irrelevant,
                arrays.order_rank,
                arrays.min_factors[:levels],
                arrays.max_factors[:levels],
                self._limited,
                self._last_order,
                self.lattice.plain_output,
                self.lattice.output_words,
                pattern.keep,
                pattern.parent_of_output,
                pattern.fitting,
                pattern.fitting_counts,
                self.unrollings.levels,
                self.unrollings.nodes,
                self.unrollings.axis_nodes,
                self.unrollings.half_extents,
                self._outer_level,
                self._inside_level,
                pattern.crossing,
                *pattern.chains,
                np.empty((len(pattern.chains[1]), 1 + len(self._weights[3]))),
                np.empty(len(pattern.chains[1]), np.bool_),
                pattern.lower_bounds,
                pattern.ranking,
                first,
                last,
                *self._weights,
                pattern.least_here,
                pattern.least_outside,
                self._pool,
                self._work,
                self.best,
                self.kind,
                self.energy_weight,
                self.cycles_weight,
                self.max_cycles,
                node_limit,
                pattern.unfinished,
                self.tally,
            )
        )

    def _pending(self, pattern: _Pattern) -> float:
        """Least bound of what has not been searched to its end."""
        bound = math.inf
        if pattern.position < len(pattern.ranking):
            bound = float(pattern.lower_bounds[pattern.ranking[pattern.position]])
        if pattern.unfinished.any():
            bound = min(bound, float(pattern.lower_bounds[pattern.unfinished].min()))
        return bound

    @property
    def lower_bound(self) -> float:
        """No mapping of the space has a lower score."""
        if self._untried:
            return 0.0
        return min([float(self.best.score[0]), *(self._pending(pattern) for pattern in self.patterns)])

    def _proven(self) -> bool:
        return self.lower_bound >= self.best.score[0] * SAFETY

    def certificate(self) -> Certificate:
        """What is known now."""
        tiles, leaves, evaluations, _ = (int(n) for n in self.tally)
        return Certificate(
            value=float(self.best.score[0]),
            lower_bound=float(self.best.score[0]) if self._proven() else self.lower_bound,
            root_bound=min(self.root_bound, float(self.best.score[0])),
            keeps=max(1, self.keeps),
            unrollings=len(self.unrollings.nodes),
            explored=self.explored,
            tiles=tiles,
            leaves=leaves,
            evaluations=evaluations,
        )


class Optimal(Mapper):
    """Branch and bound; proposes ever better mappings, at last the optimal one, and has a :class:`Certificate` for it.

    ``node_limit`` bounds about how many tiles it looks at (the same limit gives the same result on every machine),
    ``time_limit_s`` the seconds; where either ends the search, the certificate states the gap. Mappings that are not
    below ``upper_bound`` (in the objective's unit) are of no interest to the caller: if none is, nothing is proposed.
    For the latency, ties are broken by energy, also to the optimum. The seed has no influence.

    Raises :class:`SpaceTooLargeError` for spaces whose tables would take gigabytes.
    """

    name = "optimal"
    complete = True

    def __init__(
        self,
        space: Mapspace,
        objective: Objective = "edp",
        seed: int = 0,
        *,
        node_limit: int | None = None,
        time_limit_s: float | None = None,
        upper_bound: float = math.inf,
    ):
        super().__init__(space, objective, seed)
        kind, weights = {
            "edp": (EDP, (0.0, 0.0)),
            "energy": (WEIGHTED, (1.0, 0.0)),
            "latency": (WEIGHTED, (0.0, 1.0)),
        }[objective]
        self._node_limit = node_limit
        self._deadline = math.inf if time_limit_s is None else time.monotonic() + time_limit_s
        self._search = BranchAndBound(space, kind, *weights, upper_bound=upper_bound)
        self._steps = self._search.steps(node_limit)
        self._among_fastest: BranchAndBound | None = None

    @property
    def certificate(self) -> Certificate:
        """What is known about the best mapping of the space so far."""
        return self._search.certificate()

    def ask(self) -> MappingArrays:
        """Search until there is a better mapping, and propose it; an empty batch at the end if there was none."""
        search = self._among_fastest or self._search
        found = int(search.best.found[0])
        while search.best.found[0] == found and not self.finished:
            late = time.monotonic() >= self._deadline
            if late or next(self._steps, self) is self:
                if search.best.found[0] != found:
                    break
                if late or self.objective != "latency" or self._among_fastest or not search.best.found[0]:
                    self.finished = True
                else:
                    # Now the least energy among the fastest mappings.
                    self._among_fastest = BranchAndBound(
                        self.space,
                        WEIGHTED,
                        1.0,
                        0.0,
                        max_cycles=float(search.best.cycles[0]),
                        upper_bound=float(search.best.energy_pj[0]),
                        like=search,
                    )
                    self._steps = self._among_fastest.steps(self._node_limit)
                    search, found = self._among_fastest, 0
        if search.best.found[0] == found:
            return self.space.empty_batch(0)
        return select(search.best.mapping, [0])

    def tell(self, batch: MappingArrays, result: BatchResult, progress: float) -> None:
        """Nothing to learn."""
