"""Random small operators, accelerators and mappings for hypothesis.

Everything is small enough for the walker to visit each iteration, and irregular enough to reach the corners: strides
that skip words, several dimensions in one rank, dimensions split over many levels, axes that exclude dimensions,
tensors without a home at the outermost level, memories that a tile fills to the last bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from hypothesis import strategies as st
from walker import needed_bits

from accelerators.operators import ROLES, Operator, Tensor, batched_matmul, conv2d, depthwise, matmul
from accelerators.spatial.architecture import Axis, Compute, Level, SpatialAccelerator
from accelerators.spatial.mapping import Block, Mapping

ENERGIES = st.sampled_from([0.0, 0.1, 1.0, 2.5, 6.0, 200.0])
#: Binary fractions: bits / bandwidth is then exact in floating point wherever it is an integer.
BANDWIDTHS = st.sampled_from([None] * 8 + [0.125, 0.25, 0.5, 0.75, 1.0, 2.0, 3.0, 8.0])
PRIMES = st.lists(st.sampled_from([2, 3, 2, 2, 5, 7]), min_size=4, max_size=8)
WORD_BITS = st.sampled_from([1, 4, 5, 8, 12, 16])


@dataclass(frozen=True)
class Case:
    """An operator, an accelerator and a mapping of one on the other."""

    operator: Operator
    accelerator: SpatialAccelerator
    mapping: Mapping

    def __str__(self) -> str:
        return f"{self.operator}\n{self.mapping}"


@st.composite
def bounds(draw: st.DrawFn, dims: str, limit: int) -> dict[str, int]:
    """A bound per dimension, their product at most ``limit``; a letter that comes twice grows twice as often."""
    found = dict.fromkeys(dims, 1)
    for prime in draw(PRIMES):
        if prime <= limit:
            found[draw(st.sampled_from(dims))] *= prime
            limit //= prime
    return found


@st.composite
def einsums(draw: st.DrawFn, limit: int, windowed_outputs: bool = False) -> Operator:
    """Anything that is a loop nest: one to four inputs, scalars, windows over several dimensions.

    With ``windowed_outputs`` an output element may belong to several tiles, and tiles may have gaps.
    """
    dims = "abcdef"[: draw(st.sampled_from([3, 2, 4, 1, 5, 6]))]
    names = [f"t{i}" for i in range(draw(st.integers(1, 4)))]
    roles = [draw(st.sampled_from(["weights", "inputs"])) for _ in names]
    tensors = []
    for name, role in [*zip(names, roles, strict=True), ("out", "outputs")]:
        mine = [dim for dim in draw(st.permutations(dims)) if draw(st.sampled_from([True, False, True]))]
        ranks: list[list[tuple[str, int]]] = []
        for dim in mine:
            if role == "outputs" and not windowed_outputs:
                ranks.append([(dim, 1)])
            elif ranks and draw(st.sampled_from([True, False, True])):
                ranks[-1].append((dim, draw(st.sampled_from([1, 1, 2, 3]))))
            else:
                ranks.append([(dim, draw(st.sampled_from([1, 1, 1, 2, 3])))])
        tensors.append(Tensor(name, role, tuple(map(tuple, ranks))))  # type: ignore[arg-type]
    return Operator("einsum", tuple(draw(bounds(dims, limit)).items()), tuple(tensors))


@st.composite
def operators(draw: st.DrawFn, limit: int = 128) -> Operator:
    """Convolutions, matrix products and odd Einsums with at most ``limit`` iterations."""
    kind = draw(st.sampled_from(["conv", "einsum", "depthwise", "grouped", "einsum", "conv", "matmul", "batched"]))
    window = {
        "stride": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "dilation": (draw(st.integers(1, 2)), draw(st.integers(1, 2))),
    }
    if kind == "conv":
        return conv2d(**draw(bounds("PRPRKCQSN", limit)), **window)
    if kind == "grouped":
        return conv2d(**draw(bounds("GPRPRKCQS", limit)), **window)
    if kind == "depthwise":
        return depthwise(**draw(bounds("GPRPRQS", limit)), **window)
    if kind == "matmul":
        return matmul(**draw(bounds("PKCN", limit)))
    if kind == "batched":
        return batched_matmul(**draw(bounds("GPKC", limit)))
    return draw(einsums(limit))


@st.composite
def computes(draw: st.DrawFn) -> Compute:
    output_bits = draw(WORD_BITS) + 3
    return Compute(
        energy_pj=draw(ENERGIES),
        weight_bits=draw(WORD_BITS) + 3,
        input_bits=draw(WORD_BITS) + 3,
        output_bits=output_bits,
        accumulator_bits=output_bits + draw(st.sampled_from([0, 1, 8, 16])),
        add_energy_pj=draw(ENERGIES),
        area_mm2=draw(st.sampled_from([0.0, 0.01])),
        adder_area_mm2=draw(st.sampled_from([0.0, 0.001])),
        leakage_mw=draw(st.sampled_from([0.0, 0.3])),
        adder_leakage_mw=draw(st.sampled_from([0.0, 0.02])),
    )


@st.composite
def fanouts(draw: st.DrawFn, dims: tuple[str, ...]) -> tuple[Axis, ...]:
    names = draw(st.sampled_from(["", "x", "xy", "xyz"]))
    some = st.frozensets(st.sampled_from(dims), min_size=1)
    return tuple(
        Axis(name, draw(st.sampled_from([4, 2, 6, 3, 1, 12])), draw(some) if draw(st.integers(0, 3)) == 3 else None)
        for name in names
    )


@st.composite
def accelerators(draw: st.DrawFn, dims: tuple[str, ...]) -> SpatialAccelerator:
    """Two to five levels of unbounded capacity; every role has a home."""
    count = draw(st.integers(2, 5))
    names = [f"L{index}" for index in range(count)]
    keeps = [draw(st.frozensets(st.sampled_from(ROLES), min_size=1)) for _ in names]
    if draw(st.integers(0, 3)):
        keeps[0] = frozenset(ROLES)
    missing = frozenset(ROLES) - frozenset().union(*keeps)
    keeps[draw(st.integers(0, count - 1))] |= missing
    levels = tuple(
        Level(
            name=name,
            keeps=keep,
            width_bits=draw(st.sampled_from([16, 1, 7, 8, 24, 32, 64])),
            read_energy_pj=draw(ENERGIES),
            fill_energy_pj=draw(ENERGIES),
            update_energy_pj=draw(ENERGIES),
            read_bandwidth_bytes_per_cycle=draw(BANDWIDTHS),
            write_bandwidth_bytes_per_cycle=draw(BANDWIDTHS),
            shared_bandwidth_bytes_per_cycle=draw(BANDWIDTHS),
            multiple_buffering=draw(st.integers(1, 3)),
            fanout=draw(fanouts(dims)),
            leakage_mw=draw(st.sampled_from([0.0, 1.5])),
            area_mm2=draw(st.sampled_from([0.0, 0.02, 1.0])),
        )
        for name, keep in zip(names, keeps, strict=True)
    )
    return SpatialAccelerator(
        name="random",
        levels=levels,
        compute=draw(computes()),
        clock_hz=draw(st.sampled_from([1e9, 2e8])),
        wire_energy_pj_per_bit_mm=draw(st.sampled_from([0.0, 0.05])),
        area_factor=draw(st.sampled_from([1.0, 1.25])),
        ramp_cycles=draw(st.sampled_from([{}, {}, {"L0": 2.5}, {"L1": 7.0}, {"L0": 1.0, "L1": 0.25}])),
    )


def prime_factors(n: int) -> list[int]:
    found = []
    while n > 1:
        found.append(next(p for p in range(2, n + 1) if n % p == 0))
        n //= found[-1]
    return found


@st.composite
def mappings(draw: st.DrawFn, operator: Operator, accelerator: SpatialAccelerator) -> Mapping:
    """A mapping that only a capacity can forbid: perfect factors, any order, any homes."""
    levels = accelerator.levels
    temporal: list[dict[str, int]] = [{} for _ in levels]
    spatial: dict[tuple[int, str], dict[str, int]] = {(i, a.name): {} for i, v in enumerate(levels) for a in v.fanout}
    # One fanout takes most: two dimensions of one rank must meet there to give mixed multicasts.
    favourite = draw(st.sampled_from(levels)).name
    for dim, bound in operator.bounds:
        for prime in prime_factors(bound):
            places: list[dict[str, int]] = [*temporal]
            for (index, name), used in spatial.items():
                axis = next(a for a in levels[index].fanout if a.name == name)
                if (axis.dims is None or dim in axis.dims) and math.prod(used.values()) * prime <= axis.size:
                    places += [used] * (8 if levels[index].name == favourite else 2)
            place = draw(st.sampled_from(places))
            place[dim] = place.get(dim, 1) * prime
    keep: list[list[str]] = [[] for _ in levels]
    for tensor in operator.tensors:
        homes = [index for index, level in enumerate(levels) if tensor.role in level.keeps]
        kept = draw(st.sets(st.sampled_from(homes), min_size=1)) if draw(st.booleans()) else set(homes)
        for index in sorted(kept):
            keep[index].append(tensor.name)
    return Mapping(
        tuple(
            Block(
                level.name,
                tuple(keep[index]),
                tuple(draw(st.permutations(list(temporal[index].items())))),
                tuple(
                    (a.name, tuple(draw(st.permutations(list(spatial[index, a.name].items()))))) for a in level.fanout
                ),
            )
            for index, level in enumerate(levels)
        )
    )


@st.composite
def cases(
    draw: st.DrawFn,
    of: st.SearchStrategy[Operator] | None = None,
    slack: tuple[int, ...] = (0, 1, 100),
) -> Case:
    """A valid case; ``slack`` are the bits that bounded levels have beyond what the mapping needs."""
    operator = draw(operators() if of is None else of)
    if draw(st.booleans()):
        operator = operator.with_bits(**{role: draw(st.sampled_from([1, 2, 3, 4])) for role in ROLES})
    accelerator = draw(accelerators(operator.dims))
    mapping = draw(mappings(operator, accelerator))
    levels = []
    for index, level in enumerate(accelerator.levels):
        spare = draw(st.one_of(st.none(), st.sampled_from(slack)))
        if spare is not None:
            bits = max(0, needed_bits(accelerator, operator, mapping, index) + spare)
            level = replace(level, capacity_bytes=level.multiple_buffering * bits / 8)
        levels.append(level)
    return Case(operator, replace(accelerator, levels=tuple(levels)), mapping)


@st.composite
def broken_cases(draw: st.DrawFn) -> Case:
    """A case with something wrong, most of the time: a factor, a place, a home, or a memory some bits too small."""
    case = draw(cases(operators(64), slack=(0, -1, -2, -40)))
    blocks = list(case.mapping.blocks)
    index = draw(st.integers(0, len(blocks) - 1))
    block, level = blocks[index], case.accelerator.levels[index]
    dims = [dim for dim, bound in case.operator.bounds if bound > 1]
    names = [tensor.name for tensor in case.operator.tensors]
    flaw = draw(st.sampled_from(["capacity", "factors", "axis", "keep"]))
    if flaw == "factors" and dims:
        loops = dict(block.temporal)
        dim = draw(st.sampled_from(dims))
        loops[dim] = draw(st.integers(1, 4))
        block = replace(block, temporal=tuple(loops.items()))
    elif flaw == "axis" and dims and level.fanout:
        axis, dim = draw(st.sampled_from(level.fanout)), draw(st.sampled_from(dims))
        spatial = {name: dict(loops) for name, loops in block.spatial}
        temporal = dict(block.temporal)
        # Move a loop from time to space, whether the axis takes it or not.
        along = spatial.setdefault(axis.name, {})
        along[dim] = along.get(dim, 1) * temporal.pop(dim, 1)
        block = replace(
            block,
            temporal=tuple(temporal.items()),
            spatial=tuple((name, tuple(loops.items())) for name, loops in spatial.items()),
        )
    elif flaw == "keep":
        block = replace(block, keep=tuple(draw(st.lists(st.sampled_from(names), unique=True))))
    blocks[index] = block
    return replace(case, mapping=Mapping(tuple(blocks)))
