"""Mapspace: the mappings that exist for an operator on an accelerator under constraints."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from accelerators.costs import Infeasible, InfeasibleError
from accelerators.spatial.constraints import Constraints
from accelerators.spatial.kernels.arrays import AXES, UTILISATION, VALID, MappingArrays, new_mappings
from accelerators.spatial.problem import BatchResult, Problem
from mappers.kernels.moves import MapspaceArrays, draw_batch, outermost

_UNBOUNDED = 2**62


def prime_factors(number: int) -> list[int]:
    """Prime factors in ascending order, with multiplicity."""
    factors, divisor = [], 2
    while divisor * divisor <= number:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors + [number] * (number > 1)


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
        bound = int(self.problem.operator_arrays.bounds[d])
        divisors = [n for n in range(1, bound + 1) if bound % n == 0]
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
        used = prime_factors(math.prod(chosen))
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
                exact = rule.factors.get(dim)
                least = min(bound, rule.min_factors.get(dim, 1) if exact is None else exact)
                most = rule.max_factors.get(dim, _UNBOUNDED) if exact is None else least
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
                    if limits.dims is not None and dim not in limits.dims:
                        arrays.max_factors[slot, d] = 1
                        continue
                    least = min(bound, limits.factors.get(dim, limits.min_factors.get(dim, 1)))
                    most = least if dim in limits.factors else limits.max_factors.get(dim, _UNBOUNDED)
                    arrays.min_factors[slot, d] = least
                    arrays.max_factors[slot, d] = min(int(arrays.max_factors[slot, d]), most)
        usable: NDArray[np.bool_] = np.asarray((arrays.max_factors > 1).any(axis=1))
        usable[levels:] &= arrays.axis_sizes[levels:] > 1
        return arrays._replace(usable=np.nonzero(usable)[0], free_keep=np.argwhere(free_keep))

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
