"""Mapping: the loop nest that runs an operator on a spatial accelerator, one block per storage level.

A block says which tensors the level keeps, its temporal loops (outermost first) and the spatial loops that
distribute its tile over the axes of its fanout. As text, one line per level, outermost first::

    DRAM [weights inputs outputs] K=4 P=7
    GLB [inputs outputs] C=8 Q=7 x: K=16 y: C=4 R=3
    RF [weights outputs] Q=2

``Mapping.parse(str(mapping)) == mapping``. Loops with factor 1 are left out of the text and of the object.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from collections.abc import Mapping as Dict
from dataclasses import dataclass

#: ((dimension, factor), ...), outermost loop first.
Loops = tuple[tuple[str, int], ...]


class MappingError(ValueError):
    """A text or a set of blocks that is not a mapping of the operator on the accelerator."""


def _loops(pairs: Dict[str, int] | Iterable[tuple[str, int]]) -> Loops:
    items = pairs.items() if isinstance(pairs, Dict) else pairs
    return tuple((dim, int(factor)) for dim, factor in items if factor != 1)


@dataclass(frozen=True)
class Block:
    """The part of a mapping that belongs to one storage level.

    Raises :class:`MappingError` for a factor below 1 or a dimension twice in the temporal loops or on one axis.
    """

    level: str
    keep: tuple[str, ...] = ()
    temporal: Loops = ()
    spatial: tuple[tuple[str, Loops], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "temporal", _loops(self.temporal))
        axes = tuple((axis, _loops(loops)) for axis, loops in self.spatial)
        object.__setattr__(self, "spatial", tuple((axis, loops) for axis, loops in axes if loops))
        names = [axis for axis, _ in self.spatial]
        for axis in names:
            if names.count(axis) > 1:
                raise MappingError(f"{self.level}: each axis once (got {axis} twice)")
        for place, loops in (("temporal", self.temporal), *self.spatial):
            dims = [dim for dim, _ in loops]
            for dim, factor in loops:
                if factor < 1:
                    raise MappingError(f"{self.level}.{place}: factor of {dim} must be >= 1 (got {factor})")
                if dims.count(dim) > 1:
                    raise MappingError(f"{self.level}.{place}: one loop per dimension (got {dim} twice)")

    def __str__(self) -> str:
        parts = [f"{self.level} [{' '.join(self.keep)}]", *(f"{dim}={factor}" for dim, factor in self.temporal)]
        for axis, loops in self.spatial:
            parts += [f"{axis}:", *(f"{dim}={factor}" for dim, factor in loops)]
        return " ".join(parts)


_BLOCK = re.compile(r"\s*(?P<level>[^\s\[\]]+)\s*\[(?P<keep>[^\]]*)\](?P<rest>.*)")
_LOOP = re.compile(r"(?P<dim>[A-Za-z_]\w*)=(?P<factor>[0-9]{1,18})(?![0-9])")
_AXIS = re.compile(r"(?P<axis>[A-Za-z_]\w*):")


@dataclass(frozen=True)
class Mapping:
    """A loop nest: one :class:`Block` per storage level, outermost first."""

    blocks: tuple[Block, ...]

    def __str__(self) -> str:
        return "\n".join(str(block) for block in self.blocks)

    @classmethod
    def parse(cls, text: str) -> Mapping:
        """Read the text form; raises :class:`MappingError` with the line and what was expected there."""
        blocks = []
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            match = _BLOCK.fullmatch(line)
            if not match:
                raise MappingError(f"line {number}: expected LEVEL [TENSORS] LOOPS (got {line.strip()!r})")
            temporal: list[tuple[str, int]] = []
            spatial: list[tuple[str, list[tuple[str, int]]]] = []
            for word in match["rest"].split():
                if axis := _AXIS.fullmatch(word):
                    spatial.append((axis["axis"], []))
                elif loop := _LOOP.fullmatch(word):
                    (spatial[-1][1] if spatial else temporal).append((loop["dim"], int(loop["factor"])))
                else:
                    raise MappingError(f"line {number}: expected DIM=FACTOR or AXIS: (got {word!r})")
            try:
                block = Block(
                    match["level"],
                    tuple(match["keep"].split()),
                    tuple(temporal),
                    tuple((axis, tuple(loops)) for axis, loops in spatial),
                )
            except MappingError as error:
                raise MappingError(f"line {number}: {error}") from None
            blocks.append(block)
        return cls(tuple(blocks))

    def block(self, level: str) -> Block:
        """The block of a level (KeyError if there is none)."""
        for block in self.blocks:
            if block.level == level:
                return block
        raise KeyError(level)

    def factors(self, dim: str) -> list[int]:
        """All factors of a dimension above 1, outermost first."""
        found = []
        for block in self.blocks:
            nests: Sequence[Loops] = (block.temporal, *(loops for _, loops in block.spatial))
            found += [factor for loops in nests for name, factor in loops if name == dim]
        return found

    def nest(self) -> str:
        """The loop nest as indented pseudo-code, with the tensors that each level keeps."""
        lines, depth = [], 0
        for block in self.blocks:
            lines.append(f"{'  ' * depth}{block.level}: {' '.join(block.keep) or '(nothing)'}")
            for dim, factor in block.temporal:
                lines.append(f"{'  ' * depth}for {dim.lower()} in {factor}:")
                depth += 1
            for axis, loops in block.spatial:
                for dim, factor in loops:
                    lines.append(f"{'  ' * depth}parallel for {dim.lower()} in {factor}:  # along {axis}")
                    depth += 1
        lines.append(f"{'  ' * depth}multiply-accumulate")
        return "\n".join(lines)
