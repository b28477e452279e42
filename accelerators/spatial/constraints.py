"""What a mapping may do: the native dataflow of a design, or a restriction that a user adds.

Constraints are data. The space of mappings (package ``mappers``) is built from them; :func:`violations` checks a
given mapping against them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from accelerators.spatial.mapping import Block
from accelerators.spatial.mapping import Mapping as LoopNest


@dataclass(frozen=True)
class SpatialConstraint:
    """Restricts one axis of a fanout: which dimensions it unrolls, and by which factors."""

    dims: frozenset[str] | None = None
    factors: Mapping[str, int] = field(default_factory=dict)
    min_factors: Mapping[str, int] = field(default_factory=dict)
    max_factors: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_factors(self)


@dataclass(frozen=True)
class LevelConstraint:
    """Restricts the block of one level.

    ``dims``: temporal loops allowed here (None: any). ``innermost``: the loops that stay innermost, outermost of them
    first; ``outermost`` likewise at the other end. ``factors``, ``min_factors``, ``max_factors`` bound the temporal
    factor of a dimension (a bound above the dimension's size is met by the whole dimension). ``keep`` and ``bypass``
    name roles of tensors.
    """

    dims: frozenset[str] | None = None
    innermost: tuple[str, ...] = ()
    outermost: tuple[str, ...] = ()
    factors: Mapping[str, int] = field(default_factory=dict)
    min_factors: Mapping[str, int] = field(default_factory=dict)
    max_factors: Mapping[str, int] = field(default_factory=dict)
    keep: frozenset[str] = frozenset()
    bypass: frozenset[str] = frozenset()
    axes: Mapping[str, SpatialConstraint] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_factors(self)


def _check_factors(rule: SpatialConstraint | LevelConstraint) -> None:
    for name in ("factors", "min_factors", "max_factors"):
        for dim, factor in getattr(rule, name).items():
            if not 1 <= factor < 2**62:
                raise ValueError(f"{name}: {dim} must be in 1..2^62 (got {factor})")


@dataclass(frozen=True)
class Constraints:
    """Restrictions by level name, under one name (the dataflow's).

    ``min_utilisation`` is the least part of the MAC units that a mapping must use.
    """

    name: str = "free"
    levels: Mapping[str, LevelConstraint] = field(default_factory=dict)
    min_utilisation: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.min_utilisation <= 1:
            raise ValueError(f"min_utilisation must be in 0..1 (got {self.min_utilisation})")

    def level(self, name: str) -> LevelConstraint:
        """The restriction of one level (an empty one if there is none)."""
        return self.levels.get(name, LevelConstraint())


def violations(constraints: Constraints, nest: LoopNest, roles: Mapping[str, str]) -> Iterator[str]:
    """Every way in which a mapping breaks the constraints, as ``level.rule: ...``; ``roles`` gives tensors' roles.

    A factor above what a dimension has is met by all of the dimension.
    """
    for block in nest.blocks:
        rule = constraints.level(block.level)
        yield from (f"{block.level}.{text}" for text in _block_violations(rule, block, roles, nest))


def _block_violations(rule: LevelConstraint, block: Block, roles: Mapping[str, str], nest: LoopNest) -> Iterator[str]:
    def limited(factors: Mapping[str, int]) -> Iterator[tuple[str, int]]:
        return ((dim, min(factor, math.prod(nest.factors(dim)))) for dim, factor in factors.items())

    temporal = {dim: factor for dim, factor in block.temporal if factor > 1}
    for dim, factor in temporal.items():
        if rule.dims is not None and dim not in rule.dims:
            yield f"dims: a loop over {dim} is not allowed (got {dim}={factor})"
    for dim, wanted in limited(rule.factors):
        if temporal.get(dim, 1) != wanted:
            yield f"factors: {dim} must be {wanted} (got {temporal.get(dim, 1)})"
    for dim, least in limited(rule.min_factors):
        if temporal.get(dim, 1) < least:
            yield f"min_factors: {dim} must be at least {least} (got {temporal.get(dim, 1)})"
    for dim, most in rule.max_factors.items():
        if temporal.get(dim, 1) > most:
            yield f"max_factors: {dim} must be at most {most} (got {temporal.get(dim, 1)})"
    order = list(temporal)
    inner = [dim for dim in rule.innermost if dim in temporal]
    if inner and order[-len(inner) :] != inner:
        yield f"innermost: the inner loops must be {' '.join(inner)} (got {' '.join(order)})"
    outer = [dim for dim in rule.outermost if dim in temporal]
    if outer and order[: len(outer)] != outer:
        yield f"outermost: the outer loops must be {' '.join(outer)} (got {' '.join(order)})"
    kept = {roles[name] for name in block.keep}
    for role in sorted((rule.keep & set(roles.values())) - kept):
        yield f"keep: {role} must be kept"
    for role in sorted(rule.bypass & kept):
        yield f"bypass: {role} must not be kept"
    unrolled_on = {axis: dict(loops) for axis, loops in block.spatial}
    for axis, limits in rule.axes.items():
        unrolled = unrolled_on.get(axis, {})
        for dim, factor in unrolled.items():
            if limits.dims is not None and dim not in limits.dims:
                yield f"{axis}.dims: {dim} may not be unrolled (got {dim}={factor})"
            if factor > limits.max_factors.get(dim, factor):
                yield f"{axis}.max_factors: {dim} must be at most {limits.max_factors[dim]} (got {factor})"
        for dim, least in limited(limits.min_factors):
            if unrolled.get(dim, 1) < least:
                yield f"{axis}.min_factors: {dim} must be at least {least} (got {unrolled.get(dim, 1)})"
        for dim, wanted in limited(limits.factors):
            if unrolled.get(dim, 1) != wanted:
                yield f"{axis}.factors: {dim} must be {wanted} (got {unrolled.get(dim, 1)})"
