"""Random small mapping problems for hypothesis, small enough to try every mapping.

Small is not simple: memories hold a few words more than the smallest tiles, dimensions share ranks, strides skip words,
levels are bypassed, and every term of the cost may be there or not. Nothing is filtered away: an operator that has too
many mappings loses a prime factor of its largest bound until it has not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from accelerators.costs import InfeasibleError
from accelerators.operators import ROLES, Operator, Role, Tensor, batched_matmul, conv2d, depthwise, matmul
from accelerators.spatial.architecture import Axis, Compute, Level, SpatialAccelerator
from accelerators.spatial.constraints import Constraints, LevelConstraint, SpatialConstraint
from accelerators.spatial.kernels.arrays import VALID
from accelerators.spatial.problem import Problem
from mappers import Exhaustive, Mapspace
from mappers.mapspace import prime_factors

NOTHING = Constraints()


@dataclass(frozen=True)
class Case:
    """An operator, an accelerator and what its mappings may do."""

    accelerator: SpatialAccelerator
    operator: Operator
    constraints: Constraints
    bypass: bool

    @property
    def space(self) -> Mapspace:
        return Mapspace(Problem(self.accelerator, self.operator), self.constraints, self.bypass)

    def __str__(self) -> str:
        return f"{self.operator} bypass={self.bypass}\n{self.accelerator}\n{self.constraints}"


def every_cost(space: Mapspace) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Energy and cycles, (n,) each, of every valid mapping of a space."""
    mapper = Exhaustive(space)
    energies, cycles = [np.empty(0)], [np.empty(0, np.int64)]
    while not mapper.finished:
        batch = mapper.ask()
        result = space.evaluate(batch)
        valid = result.status == VALID
        energies.append(result.energy_pj[valid])
        cycles.append(result.latency_cycles[valid])
        mapper.tell(batch, result, 0.0)
    return np.concatenate(energies), np.concatenate(cycles)


# --- operators --------------------------------------------------------------------------------------------------------


@st.composite
def _bounds(draw: st.DrawFn, dims: str, limit: int) -> dict[str, int]:
    """A bound per dimension, their product at most ``limit``; a letter that comes twice grows twice as often."""
    found = dict.fromkeys(dims, 1)
    for prime in draw(st.lists(st.sampled_from([2, 3, 2, 5, 2, 7]), min_size=4, max_size=7)):
        if prime <= limit:
            found[draw(st.sampled_from(dims))] *= prime
            limit //= prime
    return found


@st.composite
def _einsums(draw: st.DrawFn, limit: int) -> Operator:
    """Any loop nest: one to three inputs, windows over several dimensions, in outputs too."""
    dims = "abcde"[: draw(st.integers(2, 5))]
    roles: list[Role] = [draw(st.sampled_from(ROLES[:2])) for _ in range(draw(st.integers(1, 3)))]
    tensors = []
    for i, role in enumerate([*roles, ROLES[2]]):
        ranks: list[list[tuple[str, int]]] = []
        for dim in draw(st.permutations(dims)):
            if draw(st.integers(0, 2)) == 0:
                continue
            term = (dim, draw(st.sampled_from([1, 1, 2, 3])))
            joins = draw(st.booleans())
            if ranks and joins:
                ranks[-1].append(term)
            else:
                ranks.append([term])
        tensors.append(Tensor(f"t{i}", role, tuple(map(tuple, ranks))))
    return Operator("einsum", tuple(draw(_bounds(dims, limit)).items()), tuple(tensors))


@st.composite
def operators(draw: st.DrawFn, limit: int = 96) -> Operator:
    """Convolutions with strides and dilations, matrix products and odd Einsums of at most ``limit`` iterations."""
    kind = draw(st.sampled_from(["conv", "einsum", "depthwise", "grouped", "matmul", "conv", "batched"]))
    stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    dilation = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    if kind == "einsum":
        operator = draw(_einsums(limit))
    elif kind == "matmul":
        operator = matmul(**draw(_bounds("PKCN", limit)))
    elif kind == "batched":
        operator = batched_matmul(**draw(_bounds("GPKC", limit)))
    elif kind == "depthwise":
        bounds = draw(_bounds("GPRPRQS", limit // 2))
        operator = depthwise(**{**bounds, "G": 2 * bounds["G"]}, stride=stride, dilation=dilation)
    elif kind == "grouped":
        bounds = draw(_bounds("PRPRKCQS", limit // 4))
        operator = conv2d(**{**bounds, "G": 2, "K": 2 * bounds["K"]}, stride=stride, dilation=dilation)
    else:
        operator = conv2d(**draw(_bounds("PRPRKCQSN", limit)), stride=stride, dilation=dilation)
    if draw(st.booleans()):
        widths = st.sampled_from([8, 4, 5, 12, 16])
        operator = operator.with_bits(**{role: draw(widths) for role in ROLES})
    return operator


# --- accelerators -----------------------------------------------------------------------------------------------------


@st.composite
def _fanout(draw: st.DrawFn, dims: tuple[str, ...]) -> tuple[Axis, ...]:
    some = st.frozensets(st.sampled_from(dims), min_size=1)
    return tuple(
        Axis(name, draw(st.sampled_from([4, 2, 3, 6])), draw(some) if draw(st.integers(0, 2)) == 0 else None)
        for name in draw(st.sampled_from(["x", "xy", "xy", "xyz"]))
    )


@st.composite
def accelerators(draw: st.DrawFn, operator: Operator, least_fanouts: int = 0) -> SpatialAccelerator:
    """One to four levels with at most two fanouts, each of which may be the MACs'; every role has a home."""
    count = draw(st.sampled_from([3, 4, 2, 1, 3, 4]))
    fanouts = draw(st.sets(st.integers(0, count - 1), min_size=least_fanouts, max_size=2))
    limited = draw(st.booleans())
    keeps = [frozenset(ROLES)]
    for _ in range(count - 1):
        some = st.frozensets(st.sampled_from(ROLES))
        keeps.append(draw(some) if draw(st.booleans()) else frozenset(ROLES))
    if count > 1 and draw(st.integers(0, 4)) == 0:
        # A role without a place in the outermost level lives further in, all of it.
        homes = frozenset[str]().union(*keeps[1:])
        keeps[0] = frozenset(ROLES) - draw(st.frozensets(st.sampled_from(sorted(homes)))) if homes else keeps[0]
    output_bits = draw(st.sampled_from([16, 18, 24]))
    compute = Compute(
        energy_pj=draw(st.sampled_from([1.0, 0.1, 0.0])),
        weight_bits=draw(st.sampled_from([16, 17])),
        input_bits=draw(st.sampled_from([16, 19])),
        output_bits=output_bits,
        accumulator_bits=output_bits + draw(st.sampled_from([0, 8, 13])),
        add_energy_pj=draw(st.sampled_from([0.0, 0.05, 3.0])),
        area_mm2=draw(st.sampled_from([0.0, 0.001])),
        adder_area_mm2=draw(st.sampled_from([0.0, 0.001])),
        leakage_mw=draw(st.sampled_from([0.0, 0.3])),
        adder_leakage_mw=draw(st.sampled_from([0.0, 0.02])),
    )
    widths = {t.name: t.bits or compute.bits(t.role) for t in operator.tensors}
    widths[operator.output.name] = max(compute.accumulator_bits, widths[operator.output.name])
    rates = st.sampled_from([None, None, None, 4.0, 1.0, 0.5, 3.0, 0.25]) if limited else st.none()
    inner = st.sampled_from([1.0, 0.1, 2.5, 6.0, 0.0])
    levels = []
    for index, keep in enumerate(keeps):
        # Words of every kept tensor: hardly any more than the least that a mapping needs.
        words = draw(st.sampled_from([None, 1.0, 1.5, 2.0, 3.0, 4.5, 8.0, 20.0, 0.95])) if index else None
        buffering = draw(st.sampled_from([1, 1, 2]))
        bits = sum(widths[t.name] for t in operator.tensors if t.role in keep)
        energy = draw(inner) if index else draw(st.sampled_from([200.0, 20.0, 2.0]))
        same = draw(st.booleans())
        levels.append(
            Level(
                name=f"L{index}",
                keeps=keep,
                capacity_bytes=None if words is None else buffering * math.ceil(words * bits) / 8,
                width_bits=draw(st.sampled_from([16, 8, 24, 64])),
                read_energy_pj=energy,
                fill_energy_pj=energy if same else draw(inner),
                update_energy_pj=energy if same else draw(inner),
                read_bandwidth_bytes_per_cycle=draw(rates),
                write_bandwidth_bytes_per_cycle=draw(rates),
                shared_bandwidth_bytes_per_cycle=draw(rates),
                multiple_buffering=buffering,
                fanout=draw(_fanout(operator.dims)) if index in fanouts else (),
                leakage_mw=draw(st.sampled_from([0.0, 0.0, 5.0])),
                area_mm2=draw(st.sampled_from([0.0, 0.01, 1.0])),
            )
        )
    return SpatialAccelerator(
        name="random",
        levels=tuple(levels),
        compute=compute,
        clock_hz=draw(st.sampled_from([1e9, 2e8])),
        wire_energy_pj_per_bit_mm=draw(st.sampled_from([0.0, 0.05, 1.0])),
        area_factor=draw(st.sampled_from([1.0, 1.25])),
        ramp_cycles=draw(st.sampled_from([{}, {}, {}, {"L0": 2.5}, {f"L{count - 1}": 1.0}])),
    )


# --- constraints and whole problems -----------------------------------------------------------------------------------


@st.composite
def constraints(
    draw: st.DrawFn, operator: Operator, accelerator: SpatialAccelerator, keeps: bool = True
) -> Constraints:
    """Rules of any sort at some levels; with ``keeps`` also about what levels keep."""
    dims = st.sampled_from(operator.dims)

    @st.composite
    def factors(draw: st.DrawFn) -> dict[str, int]:
        dim = draw(dims)
        bound = operator.bound(dim)
        return {dim: draw(st.sampled_from([n for n in range(1, bound + 1) if bound % n == 0]))}

    def sometimes(strategy: st.SearchStrategy[dict[str, int]]) -> dict[str, int]:
        return draw(strategy) if draw(st.integers(0, 3)) == 0 else {}

    rules = {}
    for level in accelerator.levels:
        if draw(st.booleans()):
            continue
        order = draw(st.permutations(operator.dims))
        inner, outer = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        roles = draw(st.permutations(ROLES))
        kept = level.keeps & set(roles[:1])
        axes = {
            axis.name: SpatialConstraint(
                frozenset(order[:2]) if draw(st.booleans()) else None,
                sometimes(factors()),
                sometimes(factors()),
                sometimes(factors()),
            )
            for axis in level.fanout
            if draw(st.integers(0, 2)) == 0
        }
        rules[level.name] = LevelConstraint(
            dims=frozenset(order[: 1 + len(order) // 2]) if draw(st.integers(0, 4)) == 0 else None,
            innermost=tuple(order[:inner]),
            outermost=tuple(order[inner : inner + outer]),
            factors=sometimes(factors()),
            min_factors=sometimes(factors()),
            max_factors=sometimes(factors()),
            keep=kept if keeps and draw(st.integers(0, 3)) == 0 else frozenset(),
            bypass=frozenset(roles[1:2]) if keeps and draw(st.integers(0, 3)) == 0 else frozenset(),
            axes=axes,
        )
    return Constraints("random", rules, draw(st.sampled_from([0.0, 0.0, 0.0, 0.3])))


def distinct(case: Case) -> int:
    """Mappings of a case that may differ in cost; none if it has no space."""
    try:
        return case.space.distinct()
    except InfeasibleError:
        return 0


def shrunk(case: Case, limit: int, size: Callable[[Case], int] = distinct) -> Case:
    """The case with at most ``limit`` mappings: its largest bounds lose prime factors as long as it has more."""
    while size(case) > limit and case.operator.iterations > 1:
        dim, bound = max(case.operator.bounds, key=lambda pair: pair[1])
        operator = case.operator.with_bounds({dim: bound // prime_factors(bound)[-1]})
        case = replace(case, operator=operator)
    return case


@st.composite
def cases(
    draw: st.DrawFn,
    bypass: bool | None = None,
    limit: int = 20_000,
    free: bool = False,
    size: Callable[[Case], int] = distinct,
) -> Case:
    """A case with at most ``limit`` mappings by ``size``; ``free`` leaves constraints out."""
    operator = draw(operators())
    accelerator = draw(accelerators(operator))
    case = Case(accelerator, operator, NOTHING, draw(st.booleans()) if bypass is None else bypass)
    case = shrunk(case, limit, size)
    if free or draw(st.integers(0, 2)):
        return case
    constrained = replace(case, constraints=draw(constraints(case.operator, accelerator)))
    try:
        constrained.space  # noqa: B018
    except InfeasibleError:
        # Factors that no dimension has: nothing to search.
        return case
    return constrained


def features(case: Case) -> set[str]:
    """What a case has, to see that a run has met everything."""
    accelerator, operator = case.accelerator, case.operator
    levels = accelerator.levels
    fanouts = [index for index, level in enumerate(levels) if level.fanout]
    tensors = operator.tensors
    strides = {c for t in tensors if t.role != "outputs" for rank in t.ranks if len(rank) > 1 for _, c in rank}
    rates = itertools.chain.from_iterable(
        (v.read_bandwidth_bytes_per_cycle, v.write_bandwidth_bytes_per_cycle, v.shared_bandwidth_bytes_per_cycle)
        for v in levels
    )
    found = {f"{len(levels)} levels", f"{len(fanouts)} fanouts", operator.kind}
    asked = {
        "grouped": operator.kind == "conv2d" and operator.bound("G") > 1,
        "MAC fanout": len(levels) - 1 in fanouts,
        "bypass": len(case.space.arrays.free_keep) > 0,
        "no bypass": not case.bypass,
        "bandwidth": any(rate is not None for rate in rates),
        "network": accelerator.wire_energy_pj_per_bit_mm * accelerator.area_mm2 > 0 and bool(fanouts),
        "adders": accelerator.compute.add_energy_pj > 0 and bool(fanouts),
        "leakage": accelerator.leakage_mw > 0,
        "widths": tensors[0].bits is not None,
        "strides": bool(strides - {1}),
        "constraints": case.constraints != NOTHING,
        "ramps": bool(accelerator.ramp_cycles),
    }
    asked["no bandwidth"] = not asked["bandwidth"]
    return found | {name for name, holds in asked.items() if holds}
