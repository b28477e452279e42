"""Cycles of Gemmini RTL from a mapping: fill, drain and DMA with four constants.

The RTL is a weight-stationary array of X x X MACs (X = ``arch.meshX``) behind a DMA engine. It runs a mapping as a
sequence of *DRAM tiles*, one for every iteration of the DRAM loops. A tile loads its weights and inputs into the
scratchpad and multiplies them one weight tile (at most X x X weights) at a time; finished outputs are stored from the
accumulators. With the features of :class:`Features` and the constants of :class:`Constants`

    compute = array_cycles + weight_tile * weight_tiles
    ramp    = row_in * first_rows_in + row_out * last_rows_out         what no other tile can hide
    dma     = row_in * rows_in + row_out * rows_out + dram_tile * dram_tiles - ramp
    cycles  = ramp + sqrt(compute^2 + dma^2)

The root of squares is a soft maximum: loads of the next tile overlap with the computation, but not perfectly when both
are about equally long. Its exponent is no fitted constant: 2 was chosen after a scan over the committed file, where 1
(no overlap) to 20 (perfect overlap) give mean errors of 10.4 % to 7.4 % and 2 to 3 give 5.9 % to 6.5 %.

Two facts about the RTL differ from the analytical model of the mapping and are visible in the measured cycles: the
order of the loops inside a DRAM tile does not matter (a weight tile stays until all rows of the tile are done), and
every DRAM tile loads its weights and inputs anew, also where the mapping would let them stay.

The second half of the module is that analytical model (:func:`analytical_cycles`): exact counts of words by the closed
form of a full walk over the loops, then max(iterations, words / bandwidth) over the levels.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.stats import spearmanr

from benchmarks.validation._common import BadInputError, read_text

DIMS = "NKCPQRS"
TENSORS = ("W", "I", "O")
#: What the levels keep, DRAM first: the grammar allows more, this accelerator does not.
KEPT = ("WIO", "WI", "O", "W")

DRAM_WORDS_PER_CYCLE = 8
#: The DMA engine moves a row of the scratchpad in beats of 128 bits; words of the scratchpad have 8 bits.
BEAT_WORDS = 16
#: Exponent of the soft maximum.
OVERLAP_EXPONENT = 2.0
#: Relative error beyond which a row hardly pulls on the fit (Cauchy loss on log cycles).
FIT_SCALE = 0.1

#: A loop: dimension and bound.
Loop = tuple[str, int]


class MappingLevel(NamedTuple):
    """One level of a mapping: tensors kept there, its temporal and its spatial loops, outermost first."""

    kept: str
    temporal: tuple[Loop, ...]
    spatial: tuple[Loop, ...]


_LEVEL = re.compile(r"L(\d+)\[([WIO]+)\]\s+(\S.*)")
_FACTOR = re.compile(rf"([{DIMS}])([1-9]\d*)(X?)")


def parse_mapping(text: str) -> tuple[MappingLevel, ...]:
    """Levels of a mapping string such as ``L3[WIO] K8 - L2[WI] N1 K16X - L1[O] C4 P16 C16X - L0[W] P8``.

    Levels and factors are written outermost first; a factor is a dimension, a bound and X if it is spatial. Loops with
    bound 1 are dropped. Raises ValueError with the place and the rule.
    """
    parts = text.split(" - ")
    levels = []
    for index, part in enumerate(parts):
        match = _LEVEL.fullmatch(part.strip())
        if match is None or int(match[1]) != len(parts) - 1 - index:
            raise ValueError(f"level {part.strip()!r} must read 'L{len(parts) - 1 - index}[tensors] factors'")
        loops: dict[str, list[Loop]] = {"": [], "X": []}
        for word in match[3].split():
            factor = _FACTOR.fullmatch(word)
            if factor is None:
                raise ValueError(f"factor {word!r} must be one of {DIMS}, a bound >= 1 and X if it is spatial")
            if int(factor[2]) > 1:
                loops[factor[3]].append((factor[1], int(factor[2])))
        levels.append(MappingLevel(match[2], tuple(loops[""]), tuple(loops["X"])))
    return tuple(levels)


def _factor(loops: Sequence[Loop], dims: str = DIMS) -> int:
    """Product of the bounds of the loops over some dimensions."""
    return math.prod(bound for dim, bound in loops if dim in dims)


@dataclass(frozen=True)
class Row:
    """One measured mapping: what the models need of a line of the file."""

    problem: tuple[str, ...]  #: all prob.* values; rows with equal ones belong together when data is split
    levels: tuple[MappingLevel, ...]  #: DRAM, scratchpad, accumulators, registers
    ranks: dict[str, tuple[tuple[Loop, ...], ...]]  #: tensor -> ranks, each an affine sum of (dimension, coefficient)
    mesh: int  #: rows and columns of the array
    accumulator_words_per_cycle: int
    scratchpad_words_per_cycle: int
    measured_cycles: float

    def extents(self, level: int) -> dict[str, int]:
        """Bound of every dimension handled by ``level`` (0 is DRAM) and the levels inside it."""
        inner = [loop for block in self.levels[level:] for loop in (*block.temporal, *block.spatial)]
        return {dim: _factor(inner, dim) for dim in DIMS}

    def box(self, tensor: str, extents: Mapping[str, int]) -> list[int]:
        """Bounding box in words, one extent per rank, of the part of a tensor that a loop nest touches."""
        return [1 + sum(step * (extents[dim] - 1) for dim, step in rank) for rank in self.ranks[tensor]]


_INTEGERS = (
    "arch.meshX",
    "arch.mem1_shared_bandwidth",
    "arch.mem2_shared_bandwidth",
    *(f"prob.{dim}" for dim in DIMS),
    *(f"prob.{axis}{what}" for axis in "HW" for what in ("stride", "dilation")),
)


def read_rows(path: Path, target: str = "target.gemmini_cycle") -> list[Row]:
    """Rows of a CSV file (maybe gzipped); ``target`` is the column with the measured cycles.

    Raises BadInputError naming file, line, column and rule for missing columns, empty or bad values, mappings that
    cannot be read, that keep other tensors than this accelerator does, or whose factors do not multiply to the problem.
    """
    reader = csv.DictReader(io.StringIO(read_text(path)))
    columns = reader.fieldnames or []
    for column in (*_INTEGERS, "mapping.mapping", target):
        if column not in columns:
            raise BadInputError(f"{path}: column {column} is missing")
    try:
        rows = [_row(f"{path}:{reader.line_num}", line, target) for line in reader]
    except csv.Error as error:
        raise BadInputError(f"{path}:{reader.line_num}: not valid CSV: {error}") from error
    if not rows:
        raise BadInputError(f"{path}: has no rows")
    return rows


def _row(where: str, line: Mapping[str, str | None], target: str) -> Row:
    def number(column: str) -> float:
        text = line[column]
        try:
            value = float(text or "")
        except ValueError:
            value = math.nan
        if not (value > 0 and math.isfinite(value)):
            raise BadInputError(f"{where}: {column}: must be a number > 0 (got {text!r})")
        return value

    values: dict[str, int] = {}
    for column in _INTEGERS:
        values[column] = int(number(column))
        if values[column] != number(column):
            raise BadInputError(f"{where}: {column}: must be a whole number (got {line[column]!r})")
    try:
        levels = parse_mapping(line["mapping.mapping"] or "")
    except ValueError as error:
        raise BadInputError(f"{where}: mapping.mapping: {error}") from error
    kept = tuple(level.kept for level in levels)
    if tuple(map(set, kept)) != tuple(map(set, KEPT)):
        raise BadInputError(f"{where}: mapping.mapping: levels must keep {', '.join(KEPT)} (got {', '.join(kept)})")
    for index, allowed in ((0, ""), (1, "K"), (2, "C"), (3, "")):
        if any(dim not in allowed for dim, _ in levels[index].spatial):
            raise BadInputError(
                f"{where}: mapping.mapping: spatial factors must be K at L2 and C at L1"
                f" (got {levels[index].spatial} at L{3 - index})"
            )
    ranks: dict[str, tuple[tuple[Loop, ...], ...]] = {
        "W": ((("K", 1),), (("C", 1),), (("R", 1),), (("S", 1),)),
        "I": (
            (("N", 1),),
            (("C", 1),),
            (("P", values["prob.Wstride"]), ("R", values["prob.Wdilation"])),
            (("Q", values["prob.Hstride"]), ("S", values["prob.Hdilation"])),
        ),
        "O": ((("N", 1),), (("K", 1),), (("P", 1),), (("Q", 1),)),
    }
    row = Row(
        problem=tuple(line[column] or "" for column in sorted(filter(None, line)) if column.startswith("prob.")),
        levels=levels,
        ranks=ranks,
        mesh=values["arch.meshX"],
        accumulator_words_per_cycle=values["arch.mem1_shared_bandwidth"],
        scratchpad_words_per_cycle=values["arch.mem2_shared_bandwidth"],
        measured_cycles=number(target),
    )
    for dim, extent in row.extents(0).items():
        if extent != values[f"prob.{dim}"]:
            raise BadInputError(
                f"{where}: mapping.mapping: factors of {dim} must multiply to {values[f'prob.{dim}']} (got {extent})"
            )
    return row


# --- the ramp model -------------------------------------------------------------------------------------------------


class Features(NamedTuple):
    """What a mapping makes the RTL do. A row is what the scratchpad or the accumulators hold at one address: up to
    ``mesh`` words; rows of more than 16 words count once per DMA beat.
    """

    weight_tiles: float  #: weight tiles (at most mesh x mesh words) pushed into the array over the whole run
    array_cycles: float  #: weight tiles x max(run, mesh): run rows of inputs pass, while the next weights shift in
    first_rows_in: float  #: rows that the first DRAM tile loads before anything can be computed
    last_rows_out: float  #: rows that the last DRAM tile stores after everything is computed
    rows_in: float  #: rows loaded: weights and inputs of every DRAM tile, and partial sums that come back
    rows_out: float  #: rows stored: outputs and partial sums that leave the accumulators
    dram_tiles: float  #: iterations of the DRAM loops


class Constants(NamedTuple):
    """Cycles; all >= 0 and fitted together by :func:`fit`."""

    weight_tile: float  #: per weight tile: issue of preload and compute, change-over between weights
    row_in: float  #: per DMA row loaded
    row_out: float  #: per DMA row stored
    dram_tile: float  #: per DRAM tile: latency of its first load, loop control, waiting at its end


#: A start for the fit, of the size of one instruction, one to two bus beats, and one DRAM latency.
_START = Constants(10.0, 2.0, 2.0, 200.0)


def features(row: Row) -> Features:
    """Features of one mapping."""
    dram_tiles = _factor(row.levels[0].temporal)
    tile = row.extents(1)
    filter_blocks = math.ceil(tile["K"] / row.mesh)
    channel_blocks = math.ceil(tile["C"] / row.mesh)
    filter_beats = math.ceil(min(tile["K"], row.mesh) / BEAT_WORDS)
    channel_beats = math.ceil(min(tile["C"], row.mesh) / BEAT_WORDS)
    run = tile["N"] * tile["P"] * tile["Q"]
    weight_tiles = dram_tiles * filter_blocks * channel_blocks * tile["R"] * tile["S"]
    weight_rows = filter_blocks * tile["C"] * tile["R"] * tile["S"] * filter_beats
    positions = math.prod(row.box("I", tile)) // tile["C"]
    input_rows = positions * channel_blocks * channel_beats
    output_rows = run * filter_blocks * filter_beats
    # How often a tile of outputs leaves the accumulators, and how often it has to come back as partial sums.
    stores = fills(row, "O", 2) * _factor(row.levels[1].spatial) / (run * tile["K"])
    finished = math.prod(row.box("O", row.extents(0))) / (run * tile["K"])
    return Features(
        weight_tiles=weight_tiles,
        array_cycles=weight_tiles * max(run, row.mesh),
        first_rows_in=weight_rows + input_rows,
        last_rows_out=output_rows,
        rows_in=(weight_rows + input_rows) * dram_tiles + (stores - finished) * output_rows,
        rows_out=stores * output_rows,
        dram_tiles=dram_tiles,
    )


def _matrix(rows: Sequence[Row]) -> NDArray[np.float64]:
    """Features of n rows, shape (n, 7)."""
    return np.array([features(row) for row in rows], dtype=np.float64)


def predict(
    table: Sequence[Features] | NDArray[np.float64], constants: Constants | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cycles of n mappings, shape (n,), from their features, shape (n, 7). The equations are in the module's head."""
    weight_tiles, array_cycles, first_in, last_out, rows_in, rows_out, dram_tiles = np.asarray(table, np.float64).T
    weight_tile, row_in, row_out, dram_tile = constants
    compute = array_cycles + weight_tile * weight_tiles
    ramp = row_in * first_in + row_out * last_out
    dma = np.maximum(row_in * rows_in + row_out * rows_out + dram_tile * dram_tiles - ramp, 0.0)
    longer = np.maximum(compute, dma)  # taken out of the root, so that no power overflows
    overlapped = ((compute / longer) ** OVERLAP_EXPONENT + (dma / longer) ** OVERLAP_EXPONENT) ** (1 / OVERLAP_EXPONENT)
    return ramp + longer * overlapped


def _fit(table: NDArray[np.float64], measured: NDArray[np.float64]) -> Constants:
    def residuals(constants: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.log(predict(table, constants) / measured)

    result = least_squares(
        residuals, _START, bounds=(0.0, np.inf), x_scale=np.array(_START), loss="cauchy", f_scale=FIT_SCALE
    )
    return Constants(*map(float, result.x))


def fit(rows: Sequence[Row]) -> Constants:
    """Constants that fit the measured cycles best: least squares of log ratios, large ones damped. Deterministic."""
    return _fit(_matrix(rows), np.array([row.measured_cycles for row in rows]))


class Score(NamedTuple):
    """Median relative error on the unseen half, one for every split."""

    medians: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the splits."""
        return fmean(self.medians)

    @property
    def best(self) -> float:
        """Of the best split."""
        return min(self.medians)

    @property
    def worst(self) -> float:
        """Of the worst split."""
        return max(self.medians)


def split_by_problem(rows: Sequence[Row], splits: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """Masks of the rows to fit on; a random half of the problems, all rows of a problem on one side."""
    problems = sorted({row.problem for row in rows})
    if len(problems) < 2:
        raise ValueError(f"a split by problem needs at least 2 problems (got {len(problems)})")
    generator = np.random.default_rng(seed)
    for _ in range(splits):
        order = generator.permutation(len(problems))
        chosen = {problems[index] for index in order[: len(problems) // 2]}
        yield np.array([row.problem in chosen for row in rows])


def score(rows: Sequence[Row], splits: int = 20, seed: int = 0) -> Score:
    """Fit on a random half of the problems, median relative error on the other half; ``splits`` times."""
    table, measured = _matrix(rows), np.array([row.measured_cycles for row in rows])
    medians = []
    for seen in split_by_problem(rows, splits, seed):
        predicted = predict(table[~seen], _fit(table[seen], measured[seen]))
        medians.append(float(np.median(np.abs(predicted / measured[~seen] - 1))))
    return Score(tuple(medians))


# --- the analytical model -------------------------------------------------------------------------------------------


def fills(row: Row, tensor: str, level: int) -> int:
    """Words of a tensor that one instance of ``level`` (0 is DRAM) receives over the run: full walk, no link transfers.

    A tile moves once per event of the innermost relevant loop outside it. An event costs the whole tile, or the new
    part of it where the tile slides by the same step as before, or nothing where it does not move at all.
    """
    ranks = row.ranks[tensor]
    place = {dim: (rank, step) for rank, terms in enumerate(ranks) for dim, step in terms}
    extents = row.extents(level)
    box = row.box(tensor, extents)
    volume = math.prod(box)

    loops: list[tuple[str, int, int]] = []  # outside the tile, innermost first: dimension, bound, index step
    step = dict(extents)
    for block in reversed(row.levels[:level]):
        for dim, bound in block.spatial:
            step[dim] *= bound
        for dim, bound in reversed(block.temporal):
            loops.append((dim, bound, step[dim]))
            step[dim] *= bound
    while loops and loops[0][0] not in place:  # loops that never move the tile
        loops.pop(0)
    if not loops:
        return volume

    rounds = [1]  # iterations of everything outside a loop
    for _, bound, _ in reversed(loops):
        rounds.append(rounds[-1] * bound)
    rounds.reverse()
    dim, bound, index_step = loops[0]
    rank, coefficient = place[dim]
    slide = coefficient * index_step
    overlap = volume * max(0, box[rank] - slide) // box[rank]
    words = volume * rounds[0] - overlap * (bound - 1) * rounds[1]
    travelled = (bound - 1) * slide
    # An outer loop of the same rank may bring the tile back to where it is, or on by the same step.
    for position, (dim, bound, index_step) in enumerate(loops[1:], start=1):
        if dim not in place:
            continue
        outer_rank, coefficient = place[dim]
        if outer_rank != rank:
            break
        move = coefficient * index_step
        events = (bound - 1) * rounds[position + 1]
        if move == travelled:
            words -= volume * events
        elif move - travelled == slide:
            words -= overlap * events
        travelled += (bound - 1) * move
    return words


def analytical_cycles(row: Row) -> int:
    """Cycles of the plain analytical model: max of the temporal iterations and of words / bandwidth of every level.

    Perfect overlap, no fill or drain. Partial sums that return to an accumulator count as fills in full, as in the
    reference data. Registers have no bandwidth limit.
    """
    _, scratchpad, accumulators, _ = row.levels
    iterations = math.prod(_factor(level.temporal) for level in row.levels)
    columns, lanes = _factor(scratchpad.spatial), _factor(accumulators.spatial)
    outputs = math.prod(row.box("O", row.extents(0)))

    # The scratchpad feeds K columns (inputs are multicast), each of which feeds C lanes (outputs are summed).
    weight_reads = columns * lanes * fills(row, "W", 3)
    input_reads = lanes * iterations
    weight_fills, input_fills, output_fills = fills(row, "W", 1), fills(row, "I", 1), fills(row, "O", 2)
    output_updates = columns * output_fills
    per_level = [
        (weight_fills + input_fills + 2 * output_updates - outputs, DRAM_WORDS_PER_CYCLE),
        (weight_reads + input_reads + weight_fills + input_fills, row.scratchpad_words_per_cycle),
        (2 * iterations - outputs // columns + output_fills, row.accumulator_words_per_cycle),
    ]
    return max(iterations, *(-(-words // bandwidth) for words, bandwidth in per_level))


def rank_correlation(rows: Sequence[Row]) -> float:
    """Spearman correlation of the analytical cycles with the measured ones."""
    return float(spearmanr([analytical_cycles(row) for row in rows], [row.measured_cycles for row in rows]).statistic)
