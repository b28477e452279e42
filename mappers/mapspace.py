"""Mapspace: the mappings that exist for an operator on an accelerator under constraints."""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from accelerators.costs import Infeasible, InfeasibleError
from accelerators.operators import Operator
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.spatial.constraints import Constraints, LevelConstraint, SpatialConstraint
from accelerators.spatial.kernels.arrays import AXES, UTILISATION, VALID, MappingArrays, new_mappings
from accelerators.spatial.problem import BatchResult, Problem
from mappers.kernels.lattice import least_prime_factor
from mappers.kernels.moves import MapspaceArrays, draw_batch, outermost

_UNBOUNDED = 2**62


@functools.lru_cache(maxsize=4096)
def prime_factors(number: int) -> tuple[int, ...]:
    """Prime factors in ascending order, with multiplicity; the number must be below 2^63."""
    factors, least = [], 2
    while number > 1:
        least = int(least_prime_factor(number, least))
        factors.append(least)
        number //= least
    return tuple(factors)


@functools.lru_cache(maxsize=4096)
def divisors_of(number: int) -> tuple[int, ...]:
    """Divisors in ascending order; the number must be below 2^63."""
    divisors = [1]
    for prime, group in itertools.groupby(prime_factors(number)):
        powers = [prime**n for n in range(len(list(group)) + 1)]
        divisors = [divisor * power for divisor in divisors for power in powers]
    return tuple(sorted(divisors))


class Mapspace:
    """All perfect factorisations x loop orders x unrollings (x bypass choices) of a problem under its constraints.

    ``constraints`` None takes the accelerator's native dataflow. With ``bypass`` a mapping may choose for every level
    inside the outermost and every tensor that the level may keep; otherwise levels keep what they may (or what the
    constraints say).

    Raises :class:`~accelerators.costs.InfeasibleError` with code ``constraint`` if a constraint names a level or axis
    that the accelerator does not have, or asks for factors that a dimension does not have.
    """

    def __init__(self, problem: Problem, constraints: Constraints | None = None, bypass: bool = False):
        self.problem = problem
        self.constraints = problem.accelerator.dataflow if constraints is None else constraints
        self.bypass = bypass
        self._check_names()
        self.arrays = self._build()
        for d in range(len(problem.dims)):
            self._start_with_least_factors(d)
        hardware = problem.hardware_arrays
        #: Least number of MACs that a mapping must use.
        self.min_macs = math.ceil(self.constraints.min_utilisation * hardware.axis_sizes.prod() - 1e-9)

    def _start_with_least_factors(self, d: int) -> None:
        """Place the smallest factors of a dimension that meet the least ones; they must leave a whole quotient."""
        space = self.arrays
        if not (space.min_factors[:, d] > 1).any():
            return
        bound = int(self.problem.operator_arrays.bounds[d])
        divisors = divisors_of(bound)
        slots = [int(slot) for slot in np.nonzero(space.min_factors[:, d] > 1)[0]]
        options = []
        for slot in slots:
            least, most = int(space.min_factors[slot, d]), int(space.max_factors[slot, d])
            options.append([n for n in divisors if least <= n <= most])
            if not options[-1]:
                wanted = f"a factor of {least}" if least == most else f"a factor of at least {least}"
                self._refuse(wanted + (f" and at most {most}" if least < most < _UNBOUNDED else ""), slot, d)
        # A product that divides the bound, the smallest first; few slots have least factors and few divisors meet them.
        combinations = sorted(itertools.product(*options), key=math.prod)
        chosen = next((c for c in combinations if bound % math.prod(c) == 0), None)
        if chosen is None:
            self._refuse(f"factors of {' and '.join(str(o[0]) for o in options)} at once", -1, d)
            return
        space.start_factors[slots, d] = chosen
        used = list(prime_factors(math.prod(chosen)))
        for f in range(int(space.prime_counts[d])):
            if int(space.primes[d, f]) in used:
                used.remove(int(space.primes[d, f]))
                space.start_primes[d, f] = 1

    def _refuse(self, what: str, slot: int, d: int) -> None:
        name = f"{self.constraints.name}{f': {self.slot_name(slot)}' if slot >= 0 else ''}"
        dim = self.problem.dims[d]
        raise InfeasibleError(
            Infeasible(
                "constraint",
                f"{name} asks for {what} of {dim}, which has {self.problem.padded.bound(dim)}",
                {"name": name, "dimension": dim},
            )
        )

    def evaluate(self, batch: MappingArrays) -> BatchResult:
        """Evaluate a batch; mappings below the constraints' least utilisation are not valid (``UTILISATION``)."""
        result = self.problem.evaluate_batch(batch)
        if self.min_macs > 1:
            macs = batch.factors[:, self.problem.shape[0] :].prod(axis=(1, 2))
            idle = (result.status == VALID) & (macs < self.min_macs)
            result.status[idle] = UTILISATION
            result.facts[idle, 0] = macs[idle]
            result.facts[idle, 1] = self.min_macs
            result.energy_pj[idle] = np.inf
            result.latency_cycles[idle] = -1
        return result

    def _check_names(self) -> None:
        levels = {level.name: level for level in self.problem.accelerator.levels}
        for name, rule in self.constraints.levels.items():
            if name not in levels:
                raise InfeasibleError(
                    Infeasible("constraint", f"{self.constraints.name}: no level {name}", {"name": name})
                )
            may_keep = self.problem.hardware_arrays.may_keep[list(levels).index(name)]
            for t, tensor in enumerate(self.problem.operator.tensors):
                if tensor.role in rule.keep and not may_keep[t]:
                    text = f"{self.constraints.name}: {name} cannot keep {tensor.role}"
                    raise InfeasibleError(Infeasible("constraint", text, {"name": name}))
            for axis in rule.axes:
                if axis not in [a.name for a in levels[name].fanout]:
                    raise InfeasibleError(
                        Infeasible("constraint", f"{self.constraints.name}: no axis {axis} at {name}", {"name": axis})
                    )

    def slot_name(self, slot: int) -> str:
        """Where a slot is: ``GLB`` for its temporal loops, ``GLB.x`` for an axis."""
        levels = self.problem.accelerator.levels
        if slot < len(levels):
            return levels[slot].name
        level, axis = divmod(slot - len(levels), AXES)
        fanout = levels[level].fanout
        return f"{levels[level].name}.{fanout[axis].name if axis < len(fanout) else axis}"

    def _build(self) -> MapspaceArrays:
        problem = self.problem
        levels, dims, tensors = problem.shape
        slots = levels * (1 + AXES)
        factors = [prime_factors(int(bound)) for bound in problem.operator_arrays.bounds]
        primes = np.zeros((dims, max([1, *map(len, factors)])), np.int64)
        for d, found in enumerate(factors):
            primes[d, : len(found)] = found
        hardware = problem.hardware_arrays
        arrays = MapspaceArrays(
            primes=primes,
            prime_counts=np.array([len(found) for found in factors], np.int64),
            min_factors=np.ones((slots, dims), np.int64),
            max_factors=np.full((slots, dims), _UNBOUNDED, np.int64),
            start_factors=np.ones((slots, dims), np.int64),
            start_primes=primes.copy(),
            axis_sizes=np.zeros(slots, np.int64),
            order_rank=np.zeros((levels, dims), np.int64),
            usable=np.zeros(0, np.int64),
            keep=hardware.may_keep.copy(),
            free_keep=np.zeros((0, 2), np.int64),
        )
        arrays.axis_sizes[levels:] = hardware.axis_sizes.reshape(-1)
        arrays.max_factors[levels:][~hardware.axis_allows.reshape(levels * AXES, dims)] = 1
        free_keep = np.zeros((levels, tensors), np.bool_)
        if self.bypass:
            free_keep[1:] = hardware.may_keep[1:]
        roles = [t.role for t in problem.operator.tensors]
        for index, level in enumerate(problem.accelerator.levels):
            rule = self.constraints.level(level.name)
            for t, role in enumerate(roles):
                if role in rule.keep or role in rule.bypass:
                    arrays.keep[index, t] = role in rule.keep and bool(hardware.may_keep[index, t])
                    free_keep[index, t] = False
            for d, dim in enumerate(problem.dims):
                bound = int(problem.operator_arrays.bounds[d])
                least, most = _limits(rule, dim, bound)
                if rule.dims is not None and dim not in rule.dims:
                    most = 1
                arrays.min_factors[index, d] = least
                arrays.max_factors[index, d] = most
                if dim in rule.outermost:
                    arrays.order_rank[index, d] = rule.outermost.index(dim) - len(rule.outermost)
                elif dim in rule.innermost:
                    arrays.order_rank[index, d] = 1 + rule.innermost.index(dim)
                for position, axis in enumerate(level.fanout):
                    limits = rule.axes.get(axis.name)
                    if limits is None:
                        continue
                    slot = levels + index * AXES + position
                    least, most = _limits(limits, dim, bound)
                    if limits.dims is not None and dim not in limits.dims:
                        most = 1
                    arrays.min_factors[slot, d] = least
                    arrays.max_factors[slot, d] = min(int(arrays.max_factors[slot, d]), most)
        usable: NDArray[np.bool_] = np.asarray((arrays.max_factors > 1).any(axis=1))
        usable[levels:] &= arrays.axis_sizes[levels:] > 1
        return arrays._replace(usable=np.nonzero(usable)[0], free_keep=np.argwhere(free_keep))

    def size(self) -> int:
        """Number of mappings: factorisations x loop orders x bypass choices, exactly.

        Factorisations are perfect: for every dimension with a bound above 1, a factor for the temporal loops of every
        level and for every axis of the array, whose product is the bound; each within its least and largest factor, and
        the product on an axis within the axis' size. A split over the axes x and y of one array therefore counts as
        another mapping than the same split over y and x. Orders are, per level, the permutations of all dimensions with
        a bound above 1 that the constraints allow; as is usual, loops with a factor of 1 count as loops that can be
        ordered. Every free bypass choice counts twice. Nothing else is ruled out: mappings that do not fit the
        memories, leave a tensor without a home or stay below ``min_utilisation`` are counted.

        A convolution with K=C=64, P=Q=56, R=S=3 has 1.5e18 on three levels with 16 x 16 PEs; without the limits of the
        axes and the orders at the innermost level, as some count, 1.8e16.
        """
        orders = 1
        for ranks in self.arrays.order_rank.tolist():
            orders *= math.prod(map(math.factorial, Counter(ranks).values()))
        return sum(self._factorisations(0).values()) * orders * 2 ** len(self.arrays.free_keep)

    def distinct(self) -> int:
        """Number of mappings that may differ in cost: as :meth:`size`, without orders that show nowhere.

        Those are the order of loops with a factor of 1 and of the loops at the innermost level: what a level receives
        depends on the loops of the levels outside alone, and a MAC holds nothing from one cycle to the next.
        """
        ordered = len(self.problem.accelerator.levels) - 1
        total = sum(
            number * math.prod(map(math.factorial, loops)) for loops, number in self._factorisations(ordered).items()
        )
        return total * 2 ** len(self.arrays.free_keep)

    def _factorisations(self, ordered: int) -> dict[tuple[int, ...], int]:
        """How many factorisations there are, by the number of loops above 1 at each of the first ``ordered`` levels.

        Only loops with order rank 0 are counted there: every other one has a rank, so a place, of its own.

        Dynamic programming over the dimensions. All that one dimension leaves to the next is the room on the axes, the
        floor of the size over the product of the factors so far: few values, so that the states stay few.
        """
        dims = range(len(self.problem.dims))
        splits = [self._splits(d, ordered) for d in dims]
        axes = range(len(self.arrays.axis_sizes) - len(self.problem.accelerator.levels))
        users = [{d for d in dims if any(factors[a] > 1 for factors, _ in splits[d])} for a in axes]
        # An axis with one user needs no state: the factor was held against its size before.
        shared = [a for a in axes if len(users[a]) > 1]
        sizes = self.arrays.axis_sizes[-len(axes) :].tolist()
        states: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {
            (tuple(sizes[a] for a in shared), (0,) * ordered): 1
        }
        for d in dims:
            options: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = defaultdict(int)
            for (factors, loops), ways in splits[d].items():
                options[tuple(factors[a] for a in shared), loops] += ways
            last = [max(users[a]) <= d for a in shared]
            after: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = defaultdict(int)
            for (rooms, counts), number in states.items():
                for (factors, loops), ways in options.items():
                    if all(map(int.__le__, factors, rooms)):
                        left = tuple(
                            1 if done else room // factor
                            for room, factor, done in zip(rooms, factors, last, strict=True)
                        )
                        after[left, tuple(map(int.__add__, counts, loops))] += number * ways
            states = after
        found: dict[tuple[int, ...], int] = defaultdict(int)
        for (_, counts), number in states.items():
            found[counts] += number
        return found

    def _splits(self, d: int, ordered: int) -> dict[tuple[tuple[int, ...], tuple[int, ...]], int]:
        """How many ways there are to split a bound, by the factors on all axes and the loops of rank 0 (1 or 0)."""
        space = self.arrays
        levels = len(self.problem.accelerator.levels)
        bound = int(self.problem.operator_arrays.bounds[d])
        divisors = divisors_of(bound)
        # {(what is left of the bound, factors on the axes so far, loops so far): number}
        states: dict[tuple[int, tuple[int, ...], tuple[int, ...]], int] = {(bound, (), ()): 1}
        for slot, size in enumerate(space.axis_sizes.tolist()):
            least, most = int(space.min_factors[slot, d]), int(space.max_factors[slot, d])
            if slot >= levels:
                most = min(most, size)
            counted = slot < ordered and space.order_rank[slot, d] == 0
            after: dict[tuple[int, tuple[int, ...], tuple[int, ...]], int] = defaultdict(int)
            for (left, factors, loops), number in states.items():
                for n in divisors:
                    if least <= n <= most and left % n == 0:
                        new_factors = (*factors, n) if slot >= levels else factors
                        new_loops = (*loops, int(counted and n > 1)) if slot < ordered else loops
                        after[left // n, new_factors, new_loops] += number
            states = after
        return {(factors, loops): n for (left, factors, loops), n in states.items() if left == 1}

    def empty_batch(self, size: int) -> MappingArrays:
        """Arrays for ``size`` mappings, all factors 1."""
        return new_mappings(size, *self.problem.shape)

    def sample(self, size: int, seed: int) -> MappingArrays:
        """``size`` random mappings within the constraints; not all of them fit the memories."""
        batch = self.empty_batch(size)
        draw_batch(self.arrays, batch, stream(seed))
        return batch

    def smallest_tiles(self) -> MappingArrays:
        """The one mapping with all loops as far out as the constraints allow."""
        batch = self.empty_batch(1)
        outermost(self.arrays, batch, 0)
        return batch


def stream(*seed: int) -> NDArray[np.uint64]:
    """State of a kernel's random stream; streams of different seeds are independent."""
    return np.asarray(np.random.SeedSequence(seed).generate_state(1, np.uint64), np.uint64)


def _limits(rule: LevelConstraint | SpatialConstraint, dim: str, bound: int) -> tuple[int, int]:
    """Least and largest factor of a dimension; contradicting rules leave nothing in between."""
    exact = rule.factors.get(dim)
    least = min(bound, max(rule.min_factors.get(dim, 1), exact or 1))
    most = rule.max_factors.get(dim, _UNBOUNDED)
    return least, most if exact is None else min(most, bound, exact)


def mapspaces(
    accelerator: SpatialAccelerator,
    operator: Operator,
    constraints: Constraints | None = None,
    *,
    bypass: bool = False,
    pad: bool = False,
) -> list[Mapspace]:
    """The mapspace of an operator, and with ``pad`` those of its padded versions (:func:`paddings`).

    Versions that break a constraint are left out. Raises :class:`~accelerators.costs.InfeasibleError` if none is left,
    with what is wrong with the operator's own bounds.
    """
    plain = Problem(accelerator, operator)
    found: list[Mapspace] = []
    reason: InfeasibleError | None = None
    for bounds in ({}, *(paddings(plain) if pad else ())):
        try:
            problem = Problem(accelerator, operator, bounds) if bounds else plain
            found.append(Mapspace(problem, constraints, bypass))
        except InfeasibleError as error:
            reason = reason or error
    if not found:
        assert reason is not None
        raise reason
    return found


def paddings(problem: Problem, most: int = 24) -> Iterator[dict[str, int]]:
    """Larger bounds that let an axis of the array divide a dimension, at most ``most`` combinations, smallest first.

    A dimension that an axis may unroll is padded to the next multiple of the axis' size or of a divisor of it.
    """
    options: list[list[tuple[str, int]]] = []
    for dim in problem.dims:
        bound = problem.operator.bound(dim)
        padded = {bound}
        for level in problem.accelerator.levels:
            for axis in level.fanout:
                if axis.size > 1 and (axis.dims is None or dim in axis.dims):
                    for lanes in range(2, axis.size + 1):
                        steps = -(-bound // lanes)
                        # Worth it only if the lanes then do the work in as few steps as any.
                        if lanes * steps < bound * 1.34 and (lanes == axis.size or lanes * steps - bound <= steps):
                            padded.add(lanes * steps)
        options.append([(dim, n) for n in sorted(padded)[:6]])
    combinations = [dict[str, int]()]
    for choice in options:
        combinations = [
            {**c, **({dim: n} if n != problem.operator.bound(dim) else {})} for c in combinations for dim, n in choice
        ]
        combinations.sort(key=lambda c: np.prod([n / problem.operator.bound(d) for d, n in c.items()]))
        combinations = combinations[: most + 1]
    yield from (c for c in combinations if c)
