"""What is known about one operator on a crossbar beyond its cost, and when it can start."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from accelerators.crossbar.mapping import Placement
from accelerators.operators import Operator


@dataclass(frozen=True)
class Analysis:
    """How an operator lies on arrays. ``busy_s`` is how long its arrays work; ``lossless_bits`` what a converter would
    need to lose nothing (0 for digital arrays), ``truncated_bits`` what it is short of that.
    """

    operator: Operator
    placement: Placement
    copies: int
    busy_s: float
    lossless_bits: int
    truncated_bits: int

    @property
    def mapping(self) -> str:
        """The placement in words."""
        placed = self.placement
        groups = f", {placed.blocks} groups per array" if placed.blocks > 1 else ""
        matrix = f"{placed.matrix.rows} x {placed.matrix.columns}"
        times = f" x {placed.matrix.groups}" if placed.matrix.groups > 1 else ""
        return (
            f"{matrix}{times} on {placed.row_tiles} x {placed.column_tiles} tiles{groups}: {placed.arrays} arrays, "
            f"{self.copies} copies"
        )


@lru_cache(maxsize=65536)
def lead(operator: Operator) -> float:
    """Share of its inputs that an operator waits for before its first result: all rows of its first window but the
    last, and the pixels of that one. Images are delivered row by row, all channels of a pixel at once.
    """
    inputs = next((tensor for tensor in operator.tensors if tensor.role == "inputs"), None)
    if inputs is None:
        return 0.0
    if operator.kind == "batched_matmul":
        return 1.0
    if operator.passes and not {"P", "Q"} & set(operator.dims):
        # Each element by itself, a row of a normalisation or softmax, or a reduction of everything.
        if operator.passes > 1:
            return 1.0 / operator.bound("N")
        return 0.0 if operator.words(operator.output) >= operator.words(inputs) else 1.0
    window = {dim: operator.bound(dim) for dim in operator.reduction_dims}
    whole = {dim: operator.bound(dim) for dim in operator.dims}
    first = dict(zip(map(_key, inputs.ranks), inputs.extents(window), strict=True))
    full = dict(zip(map(_key, inputs.ranks), inputs.extents(whole), strict=True))
    rows, columns = first.get("P", 1), first.get("Q", 1)
    all_rows, all_columns = full.get("P", 1), full.get("Q", 1)
    pixels = (rows - 1) * all_columns + columns
    return min(1.0, pixels / (all_rows * all_columns * full.get("N", 1)))


def _key(rank: tuple[tuple[str, int], ...]) -> str:
    """The output dimension along which a rank of the inputs slides (or its first one)."""
    return next((dim for dim, _ in rank if dim in ("P", "Q", "N")), rank[0][0] if rank else "")
