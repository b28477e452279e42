"""Rows of the Gemmini files: a problem, a mapping and the sizes of the hardware, as objects of this project.

The accelerator has four levels, L3 DRAM to L0 weight registers; ``data/gemmini/README.md`` says what they keep and how
the files write mappings. Its words are all taken to be one byte wide, because bandwidths and capacities of these files
count words, whatever their width.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from accelerators.costs import Infeasible, InfeasibleError
from accelerators.operators import Operator, Tensor
from accelerators.spatial.architecture import Axis, Compute, Level, SpatialAccelerator
from accelerators.spatial.mapping import Block, Mapping
from accelerators.spatial.model import Analysis, evaluate
from benchmarks._common import BadInputError, read_text

MAC_PJ = 0.5608
WORD_BITS = 8
_REGISTER_PJ = 0.48746
_ACCUMULATOR_WORD_BYTES = 4
_DRAM_WORDS_PER_CYCLE, _DRAM_BLOCK_WORDS, _DRAM_BLOCK_PJ = 8, 64, 6400.0

_DIMS = ("N", "K", "C", "P", "Q", "R", "S")
_TENSORS = {"W": "weights", "I": "inputs", "O": "outputs"}
#: What each level keeps, and the dimension that may be spread over its children.
_LEVELS = {"L3": ("WIO", None), "L2": ("WI", "K"), "L1": ("O", "C"), "L0": ("W", None)}
_LEVEL = re.compile(r"(L\d+)\[([WIO]+)\]\s+(\S.*)")
_FACTOR = re.compile(rf"([{''.join(_DIMS)}])([1-9]\d*)(X?)")

#: Sorted: the label of a problem is made of them.
_PROBLEM = tuple(sorted([*_DIMS, *(f"{axis}{what}" for axis in "HW" for what in ("stride", "dilation"))]))
_SIZE_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class Row:
    """One line of a file; ``targets`` are the figures that the caller asked for, by column."""

    line: int  #: in the file, from 1
    text: str  #: the mapping as the file writes it
    operator: Operator
    mapping: Mapping
    accelerator: SpatialAccelerator
    problem: str  #: label; rows with equal ones belong together when data is split
    targets: dict[str, float]

    @property
    def mesh(self) -> int:
        """Rows and columns of the array."""
        return self.accelerator.level("L2").children

    @cached_property
    def analysis(self) -> Analysis:
        """The model's counts for the mapping; raises InfeasibleError with the reason if there are none."""
        cost = evaluate(self.accelerator, self.operator, [self.mapping])[0]
        if isinstance(cost, Infeasible):
            raise InfeasibleError(cost)
        return cost.details


def read_rows(path: Path, targets: Sequence[str], energy: bool = False) -> list[Row]:
    """Rows of a CSV file (maybe gzipped); ``targets`` are the columns with the figures to compare with.

    Memories have a shared bandwidth, or one to read and one to write, or all three. A memory whose number of entries
    the file does not give is unbounded; with ``energy`` the entries must be there, because energy depends on them.
    Raises BadInputError naming file, line, column and rule for missing columns, bad values, mappings that cannot be
    read or do not fit the accelerator's levels, or whose factors do not multiply to the problem.
    """
    reader = csv.DictReader(io.StringIO(read_text(path)), strict=True)
    try:
        columns = set(reader.fieldnames or ())
        sizes = _size_columns(path, columns, energy)
        for column in (*sizes, "mapping.mapping", *targets):
            if column not in columns:
                raise BadInputError(f"{path}: column {column} is missing")
        rows = [_row(path, reader.line_num, line, sizes, targets) for line in reader]
    except csv.Error as error:
        raise BadInputError(f"{path}:{reader.line_num}: not valid CSV: {error}") from error
    if not rows:
        raise BadInputError(f"{path}: has no rows")
    return rows


def _size_columns(path: Path, columns: set[str], energy: bool) -> list[str]:
    """Columns of whole numbers that are read from this file."""
    sizes = ["arch.meshX", *(f"prob.{name}" for name in _PROBLEM)]
    for memory in ("arch.mem1", "arch.mem2"):
        shared, read, write = (f"{memory}_{kind}_bandwidth" for kind in ("shared", "read", "write"))
        if shared not in columns and not {read, write} <= columns:
            raise BadInputError(f"{path}: column {shared} is missing (or both {read} and {write})")
        sizes += [column for column in (shared, read, write) if column in columns]
        if energy or f"{memory}_entries" in columns:
            sizes.append(f"{memory}_entries")
    return sizes


def _row(path: Path, number: int, line: dict[str, str | None], sizes: Sequence[str], targets: Sequence[str]) -> Row:
    where = f"{path}:{number}"
    if None in line:
        raise BadInputError(f"{where}: has more cells than the header has columns")
    values = {column: _size(where, line, column) for column in sizes}
    text = line["mapping.mapping"] or ""
    try:
        mapping = parse_mapping(text)
    except ValueError as error:
        raise BadInputError(f"{where}: mapping.mapping: {error}") from error
    for dim in _DIMS:
        product = math.prod(mapping.factors(dim))
        if product != values[f"prob.{dim}"]:
            raise BadInputError(
                f"{where}: mapping.mapping: factors of {dim} must multiply to {values[f'prob.{dim}']} (got {product})"
            )
    return Row(
        line=number,
        text=text,
        operator=_operator(values),
        mapping=mapping,
        accelerator=_accelerator(values),
        problem=" ".join(f"{name}{values[f'prob.{name}']}" for name in _PROBLEM),
        targets={column: _positive(where, line, column) for column in targets},
    )


def _positive(where: str, line: dict[str, str | None], column: str) -> float:
    text = line[column]
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise BadInputError(f"{where}: {column}: must be a number > 0 (got {text!r})")
    return value


def _size(where: str, line: dict[str, str | None], column: str) -> int:
    value = _positive(where, line, column)
    if not value.is_integer() or value > _SIZE_LIMIT:
        raise BadInputError(f"{where}: {column}: must be a whole number up to {_SIZE_LIMIT} (got {line[column]!r})")
    return int(value)


def parse_mapping(text: str) -> Mapping:
    """Mapping from a text such as ``L3[WIO] K8 - L2[WI] N1 K16X - L1[O] C4 P16 C16X - L0[W] P8``.

    Levels and factors are written outermost first; a factor is a dimension, a bound and X if it is spatial. Raises
    ValueError with the place and the rule.
    """
    parts = [part.strip() for part in text.split(" - ")]
    if len(parts) != len(_LEVELS):
        raise ValueError(f"must have the levels {' - '.join(_LEVELS)} (got {text!r})")
    blocks = []
    for part, (name, (kept, axis)) in zip(parts, _LEVELS.items(), strict=True):
        match = _LEVEL.fullmatch(part)
        if match is None or match[1] != name:
            raise ValueError(f"level {part!r} must read '{name}[tensors] factors'")
        if sorted(match[2]) != sorted(kept):
            raise ValueError(f"{name} must keep {kept} (got {match[2]})")
        loops: dict[str, list[tuple[str, int]]] = {"": [], "X": []}
        for word in match[3].split():
            factor = _FACTOR.fullmatch(word)
            if factor is None:
                raise ValueError(
                    f"factor {word!r} must be one of {''.join(_DIMS)}, a bound >= 1 and X if it is spatial"
                )
            if factor[3] and factor[1] != axis:
                raise ValueError(f"spatial factors must be K at L2 and C at L1 (got {word} at {name})")
            loops[factor[3]].append((factor[1], int(factor[2])))
        keep = tuple(_TENSORS[letter] for letter in kept)
        blocks.append(Block(name, keep, tuple(loops[""]), (("x", tuple(loops["X"])),)))
    return Mapping(tuple(blocks))


def _operator(values: dict[str, int]) -> Operator:
    """The convolution: the files call the input's axis of P and R "W", that of Q and S "H"."""
    ranks = {
        axis: ((out, values[f"prob.{axis}stride"]), (kernel, values[f"prob.{axis}dilation"]))
        for axis, out, kernel in (("W", "P", "R"), ("H", "Q", "S"))
    }
    return Operator(
        "conv2d",
        tuple((dim, values[f"prob.{dim}"]) for dim in _DIMS),
        (
            Tensor("weights", "weights", ((("K", 1),), (("C", 1),), (("R", 1),), (("S", 1),))),
            Tensor("inputs", "inputs", ((("N", 1),), (("C", 1),), ranks["W"], ranks["H"])),
            Tensor("outputs", "outputs", ((("N", 1),), (("K", 1),), (("P", 1),), (("Q", 1),))),
        ),
    )


def _accelerator(values: dict[str, int]) -> SpatialAccelerator:
    mesh = values["arch.meshX"]
    scratchpad_kb = values.get("arch.mem2_entries", 0) / 1024
    accumulator_kb = values.get("arch.mem1_entries", 0) * _ACCUMULATOR_WORD_BYTES / 1024

    def level(name: str, pj: float, fanout: int = 1, memory: str = "", words_per_access: int = 1) -> Level:
        return Level(
            name,
            frozenset(_TENSORS[letter] for letter in _LEVELS[name][0]),
            values.get(f"{memory}_entries"),
            WORD_BITS * words_per_access,
            pj,
            pj,
            pj,
            read_bandwidth_bytes_per_cycle=values.get(f"{memory}_read_bandwidth"),
            write_bandwidth_bytes_per_cycle=values.get(f"{memory}_write_bandwidth"),
            shared_bandwidth_bytes_per_cycle=(
                _DRAM_WORDS_PER_CYCLE if name == "L3" else values.get(f"{memory}_shared_bandwidth")
            ),
            fanout=(Axis("x", fanout),),
        )

    return SpatialAccelerator(
        "gemmini",
        (
            level("L3", _DRAM_BLOCK_PJ, words_per_access=_DRAM_BLOCK_WORDS),
            level("L2", 0.49 + 0.02513 * scratchpad_kb, mesh, "arch.mem2"),
            level("L1", 1.94 + 0.1005 * accumulator_kb, mesh, "arch.mem1"),
            level("L0", _REGISTER_PJ),
        ),
        Compute(MAC_PJ, WORD_BITS, WORD_BITS, WORD_BITS, WORD_BITS),
        clock_hz=1e9,
    )
