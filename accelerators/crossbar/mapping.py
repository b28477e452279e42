"""How an operator lies on arrays: im2col matrices cut into tiles, groups as blocks on a diagonal.

The matrix of weights has a row per reduced index (kernel rows, columns and input channels) and a column per output
channel; every output pixel of every image is a product of it with a vector. Groups share nothing: each is a block of
its own, and as many blocks as fit lie on the diagonal of an array, with blank cells around them. Biases are added
digitally, and take no row; a column that sums the inputs, for weights with an offset, is not counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from accelerators.costs import Infeasible
from accelerators.crossbar.arrays import Usage
from accelerators.crossbar.crossbar import Crossbar
from accelerators.operators import Operator


@dataclass(frozen=True)
class Matrix:
    """An operator as matrix products: ``groups`` matrices of ``rows`` x ``columns``, ``products`` vectors each."""

    rows: int
    columns: int
    groups: int
    products: int


@dataclass(frozen=True)
class Placement:
    """One copy of an operator on arrays.

    ``tiles`` are the parts of arrays that it takes, with how many there are of each; ``row_tiles`` partial results are
    added per output; ``blocks`` groups share an array. ``arrays`` hold a copy, each working through ``turns`` tiles
    (several sets of weights in one array).
    """

    matrix: Matrix
    tiles: tuple[tuple[Usage, int], ...]
    row_tiles: int
    column_tiles: int
    blocks: int
    arrays: int
    turns: int

    @property
    def tile_count(self) -> int:
        """Tiles of one copy."""
        return sum(count for _, count in self.tiles)

    @property
    def rows_used(self) -> int:
        """Most rows of weights that any array uses."""
        return max(usage.rows for usage, _ in self.tiles)

    @property
    def weights(self) -> int:
        """Weights of one copy."""
        return self.matrix.rows * self.matrix.columns * self.matrix.groups


def dynamic(operator: Operator) -> bool:
    """Whether both operands are activations, as in attention: arrays would have to be written for every product."""
    return operator.kind == "batched_matmul"


@lru_cache(maxsize=16384)
def matrix(operator: Operator) -> Matrix | Infeasible:
    """The matrices of an operator that multiplies and accumulates, from how its tensors depend on its dimensions."""
    stored = [tensor for tensor in operator.tensors if tensor.role == "weights"]
    if dynamic(operator):
        text = f"{operator.kind} multiplies two activations: cells hold weights, and would have to be written each time"
        return Infeasible("operator", text, {"kind": operator.kind})
    if len(stored) != 1 or any(len(rank) != 1 for rank in stored[0].ranks):
        text = f"{operator.kind} is no product with one matrix of weights"
        return Infeasible("operator", text, {"kind": operator.kind})
    inputs = frozenset().union(*(tensor.dims for tensor in operator.tensors if tensor.role == "inputs"))
    weights, outputs = stored[0].dims, operator.output.dims

    def size(dims: frozenset[str]) -> int:
        return math.prod(operator.bound(dim) for dim in dims)

    strange = [dim for dim in operator.reduction_dims if dim not in weights and operator.bound(dim) > 1]
    if strange:
        text = f"{operator.kind} reduces over {', '.join(strange)}, of which the weights know nothing"
        return Infeasible("operator", text, {"kind": operator.kind, "dimensions": strange})
    return Matrix(
        rows=size(weights - outputs),
        columns=size((weights & outputs) - inputs),
        groups=size(weights & outputs & inputs),
        products=size(outputs - weights),
    )


def tile_sizes(size: int, limit: int) -> list[int]:
    """Sizes of the tiles into which rows or columns are cut, in order, where no tile may have more than ``limit``."""
    parts, largest = _cuts(size, limit)
    return [length for length, count in _parts(size, parts, largest) for _ in range(count)]


def _cuts(size: int, limit: int) -> tuple[int, int]:
    """Parts and the size of the largest, all but the last equal: even parts let every array work as little."""
    parts = math.ceil(size / limit)
    return parts, math.ceil(size / parts)


@lru_cache(maxsize=16384)
def place(crossbar: Crossbar, operator: Operator) -> Placement | Infeasible:
    """One copy of an operator on the arrays of a crossbar, or why no array can hold it."""
    found = matrix(operator)
    if isinstance(found, Infeasible):
        return found
    rows, columns = crossbar.weight_rows, crossbar.weight_columns
    row_tiles, height = _cuts(found.rows, rows)
    column_tiles, width = _cuts(found.columns, columns)
    blocks = 1
    if row_tiles == column_tiles == 1:
        blocks = min(rows // found.rows, columns // found.columns, found.groups)
        full, rest = divmod(found.groups, blocks)
        area = found.rows * found.columns
        tiles = [(Usage(blocks * found.rows, blocks * found.columns, blocks * area), full)]
        if rest:
            tiles.append((Usage(rest * found.rows, rest * found.columns, rest * area), 1))
    else:
        counts: dict[Usage, int] = {}
        for used_rows, row_count in _parts(found.rows, row_tiles, height):
            for used_columns, column_count in _parts(found.columns, column_tiles, width):
                usage = Usage(used_rows, used_columns, used_rows * used_columns)
                counts[usage] = counts.get(usage, 0) + row_count * column_count * found.groups
        tiles = list(counts.items())
    count = sum(number for _, number in tiles)
    arrays = math.ceil(count / crossbar.sets)
    return Placement(found, tuple(tiles), row_tiles, column_tiles, blocks, arrays, math.ceil(count / arrays))


def _parts(size: int, parts: int, largest: int) -> list[tuple[int, int]]:
    """(size of a part, how many of it): as even as whole numbers can be."""
    larger = size - parts * (largest - 1)
    return [(largest, larger), *([(largest - 1, parts - larger)] if larger < parts else [])]
