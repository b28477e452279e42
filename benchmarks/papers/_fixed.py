"""Baselines with fixed tiles: one description of loops for all layers, as NAAS's cost backend takes it.

A description says, for every level, the order of its loops and their largest factors, and what the axes of the array
unroll. A layer takes of every factor what it has; what is left is looped over at the outermost level, and bounds that
the factors do not divide are padded. A design gets the description that is published for its dataflow, and where that
is silent the factors of least EDP over all of the experiment's networks that a search finds, so that it is not ours to
choose badly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from accelerators.costs import InfeasibleError
from accelerators.operators import Operator
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.spatial.kernels.arrays import AXES, VALID, MappingArrays, new_mappings
from accelerators.spatial.problem import Problem

#: Loop dimensions of the networks here: images, groups, kernels, channels, rows and columns of outputs and kernels.
DIMS = ("N", "G", "K", "C", "P", "Q", "R", "S")
#: A factor that takes all of a dimension.
ALL = 2**40
_SIZES = (1, 2, 3, 4, 5, 7, 8, 12, 14, 16, 24, 28, 32, 56, 64, 112, 128, 256, 512, ALL)


@dataclass(frozen=True)
class Description:
    """Largest factors by slot (``buffer`` or ``buffer.x``) and dimension, orders by level, outermost loop first."""

    factors: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
    orders: tuple[tuple[str, tuple[str, ...]], ...]

    def __str__(self) -> str:
        orders = dict(self.orders)
        parts = []
        for name, factors in self.factors:
            sizes = {dim: "all" if size == ALL else str(size) for dim, size in factors if size > 1}
            # Axes have no order of loops, but one in which dimensions are served.
            listed = [dim for dim in orders.get(name, sizes) if dim in sizes]
            if listed:
                parts.append(f"{name}: " + " ".join(f"{dim}={sizes[dim]}" for dim in listed))
        outermost = " ".join(self.orders[0][1])
        return f"outermost loops {outermost}; " + "; ".join(parts)


@dataclass(frozen=True)
class Published:
    """What is published of a dataflow: factors by slot, the order of loops, and in which slots it says nothing."""

    factors: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
    order: tuple[str, ...]
    open: tuple[str, ...]


_WHOLE_KERNEL = (("R", ALL), ("S", ALL))


def _weight_stationary(buffer: str, x: str, y: str) -> Published:
    """MAESTRO's kcp_ws.m: kernels and channels unrolled, all of a kernel's positions inside, rows and columns last."""
    return Published(
        ((x, (("K", ALL), ("G", ALL))), (y, (("C", ALL),)), ("accumulator", _WHOLE_KERNEL)),
        ("K", "C", "R", "S", "P", "Q"),
        ("weight_register", buffer),
    )


#: The files of MAESTRO (github.com/maestro-project/maestro, tools/frontend/dataflow and data/mapping) that describe the
#: dataflow of each baseline, on the levels of our datasheets. An axis takes its dimensions in the order given, the
#: next one where a layer does not fill it. The files have no level between DRAM and the array but the one that holds a
#: single step, so tiles of the buffers are left open.
PUBLISHED = {
    "edge_tpu": _weight_stationary("on_chip_memory", "on_chip_memory.x", "accumulator.y"),
    "nvdla_1024": _weight_stationary("convolution_buffer", "accumulator.x", "accumulator.y"),
    "nvdla_256": _weight_stationary("convolution_buffer", "accumulator.x", "accumulator.y"),
    # rs.m: rows of outputs over clusters of as many PEs as a kernel has rows; 16 kernels and one row inside.
    "eyeriss": Published(
        (
            ("global_buffer.x", (("P", ALL),)),
            ("global_buffer.y", (("R", ALL), ("P", ALL))),
            ("ifmap_spad", (("S", ALL),)),
            ("weight_spad", (("K", 16),)),
        ),
        ("P", "Q", "C", "K", "R", "S"),
        ("global_buffer",),
    ),
    # *_shi.m: rows and columns unrolled (outputs of a fully connected layer on one axis), all of a kernel inside.
    "shidiannao": Published(
        (
            ("pe_fifos.x", (("Q", ALL), ("K", ALL))),
            ("pe_fifos.y", (("P", ALL),)),
            ("pe_register", _WHOLE_KERNEL),
        ),
        ("K", "C", "P", "Q", "R", "S"),
        ("synapse_buffer", "output_buffer", "input_buffer"),
    ),
}


class FixedDataflow:
    """All descriptions within an accelerator's native dataflow, and what they make of an operator."""

    def __init__(self, accelerator: SpatialAccelerator):
        self.accelerator = accelerator
        #: Slots below the outermost level's loops, innermost first, with the dimensions that they may take.
        self.slots: list[tuple[str, int, tuple[str, ...], int]] = []
        levels = accelerator.levels
        for index in reversed(range(len(levels))):
            level = levels[index]
            rule = accelerator.dataflow.level(level.name)
            for position, axis in enumerate(level.fanout):
                limits = rule.axes.get(axis.name)
                dims = [d for d in DIMS if axis.dims is None or d in axis.dims]
                if limits is not None and limits.dims is not None:
                    dims = [d for d in dims if d in limits.dims]
                slot = len(levels) + index * AXES + position
                self.slots.append((f"{level.name}.{axis.name}", slot, tuple(dims), axis.size))
            if index:
                dims = [d for d in DIMS if rule.dims is None or d in rule.dims]
                self.slots.append((level.name, index, tuple(dims), 0))

    def start(self, published: Published) -> Description:
        """What a published description says; nothing kept inside where it is silent."""
        fixed = {place: tuple((dim, size) for dim, size in sizes) for place, sizes in published.factors}
        factors = []
        for name, _, dims, _ in self.slots:
            said = fixed.get(name, ())
            unknown = [dim for dim, _ in said if dim not in dims]
            assert not unknown, f"{self.accelerator.name} cannot loop over {unknown} at {name}"
            factors.append((name, (*said, *((dim, 1) for dim in dims if dim not in dict(said)))))
        order = (*(dim for dim in DIMS if dim not in published.order), *published.order)
        return Description(tuple(factors), tuple((level.name, order) for level in self.accelerator.levels))

    def mapping(self, description: Description, operator: Operator) -> tuple[Problem, MappingArrays]:
        """The operator, padded, and the description's mapping of it."""
        levels = self.accelerator.levels
        left = dict(operator.bounds)
        taken: dict[tuple[int, str], int] = {}
        for (_, factors), (_, slot, _, size) in zip(description.factors, self.slots, strict=True):
            room = size
            for dim, most in factors:
                n = min(most, left.get(dim, 1))
                if size:
                    n = min(n, room)
                    room //= n
                if n > 1:
                    taken[slot, dim] = n
                    left[dim] = math.ceil(left[dim] / n)
        bounds = {dim: n * math.prod(f for (_, d), f in taken.items() if d == dim) for dim, n in left.items()}
        padded = {dim: bound for dim, bound in bounds.items() if bound != operator.bound(dim)}
        problem = Problem(self.accelerator, operator, padded)
        batch = new_mappings(1, *problem.shape)
        batch.factors[:] = 1
        for d, dim in enumerate(problem.dims):
            batch.factors[0, 0, d] = left[dim]
        for (slot, dim), n in taken.items():
            batch.factors[0, slot, problem.dims.index(dim)] = n
        orders = dict(description.orders)
        for index, level in enumerate(levels):
            order = [problem.dims.index(dim) for dim in orders[level.name] if dim in problem.dims]
            batch.order[0, index] = order + [d for d in range(len(problem.dims)) if d not in order]
        batch.keep[0] = problem.hardware_arrays.may_keep
        return problem, batch

    def cost(self, description: Description, operator: Operator) -> tuple[float, int] | None:
        """Energy in pJ and cycles; None if the tiles do not fit."""
        try:
            problem, batch = self.mapping(description, operator)
        except InfeasibleError:
            return None
        result = problem.evaluate_batch(batch)
        if result.status[0] != VALID:
            return None
        return float(result.energy_pj[0]), int(result.latency_cycles[0])

    def best(
        self,
        score: Callable[[Description], float],
        start: Description,
        seed: int,
        tries: int,
        slots: Sequence[str] | None = None,
    ) -> tuple[Description, float]:
        """A walk that keeps every change of one or two factors or orders that does not raise the score.

        With ``slots`` only the factors there change, and no order.
        """
        random = np.random.default_rng(seed)
        best, value = start, score(start)
        for _ in range(tries):
            changed = self._change(best, random, slots)
            if random.random() < 0.5:
                changed = self._change(changed, random, slots)
            new = score(changed)
            if new <= value:
                value, best = new, changed
        return best, value

    def _change(
        self, description: Description, random: np.random.Generator, slots: Sequence[str] | None
    ) -> Description:
        if slots is None and random.random() < 0.35:
            which = int(random.integers(len(description.orders)))
            name, order = description.orders[which]
            moved = list(order)
            moved.insert(int(random.integers(len(order))), moved.pop(int(random.integers(len(order)))))
            orders = list(description.orders)
            orders[which] = (name, tuple(moved))
            return replace(description, orders=tuple(orders))
        open_ = [i for i, (name, _, dims, _) in enumerate(self.slots) if dims and (slots is None or name in slots)]
        which = int(random.choice(open_))
        name, factors = description.factors[which]
        entries = list(factors)
        i = int(random.integers(len(entries)))
        entries[i] = (entries[i][0], int(random.choice(np.array(_SIZES))))
        if random.random() < 0.3:
            # Which dimension of an axis is served first.
            entries.insert(0, entries.pop(i))
        changed = list(description.factors)
        changed[which] = (name, tuple(entries))
        return replace(description, factors=tuple(changed))
