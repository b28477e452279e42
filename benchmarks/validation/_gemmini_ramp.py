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
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from benchmarks.validation._gemmini_rows import Row

#: Column with the cycles of the RTL simulation.
MEASURED = "target.gemmini_cycle"
#: The DMA engine moves a row of the scratchpad in beats of 128 bits; words of the scratchpad have 8 bits.
BEAT_WORDS = 16
#: Exponent of the soft maximum.
OVERLAP_EXPONENT = 2.0
#: Relative error beyond which a row hardly pulls on the fit (Cauchy loss on log cycles).
FIT_SCALE = 0.1


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
    """Features of one mapping; raises InfeasibleError if the model cannot run it."""
    dram_loops = dict(row.mapping.block("L3").temporal)
    dram_tiles = math.prod(dram_loops.values())
    tile = {dim: bound // dram_loops.get(dim, 1) for dim, bound in row.operator.bounds}
    filter_blocks = math.ceil(tile["K"] / row.mesh)
    channel_blocks = math.ceil(tile["C"] / row.mesh)
    filter_beats = math.ceil(min(tile["K"], row.mesh) / BEAT_WORDS)
    channel_beats = math.ceil(min(tile["C"], row.mesh) / BEAT_WORDS)
    run = tile["N"] * tile["P"] * tile["Q"]
    weight_tiles = dram_tiles * filter_blocks * channel_blocks * tile["R"] * tile["S"]
    weight_rows = filter_blocks * tile["C"] * tile["R"] * tile["S"] * filter_beats
    dram, scratchpad = row.analysis.levels[:2]
    positions = scratchpad.tensor("inputs").tile_words // tile["C"]
    input_rows = positions * channel_blocks * channel_beats
    output_rows = run * filter_blocks * filter_beats
    # How often a tile of outputs leaves the accumulators, and how often it has to come back as partial sums.
    sums = dram.tensor("outputs")
    stores, returns = (words / (run * tile["K"]) for words in (sums.updates, sums.reads))
    return Features(
        weight_tiles=weight_tiles,
        array_cycles=weight_tiles * max(run, row.mesh),
        first_rows_in=weight_rows + input_rows,
        last_rows_out=output_rows,
        rows_in=(weight_rows + input_rows) * dram_tiles + returns * output_rows,
        rows_out=stores * output_rows,
        dram_tiles=dram_tiles,
    )


def measured(rows: Sequence[Row]) -> NDArray[np.float64]:
    """Cycles of the RTL, shape (n,)."""
    return np.array([row.targets[MEASURED] for row in rows])


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


def _fit(table: NDArray[np.float64], cycles: NDArray[np.float64]) -> Constants:
    def residuals(constants: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.log(predict(table, constants) / cycles)

    result = least_squares(
        residuals, _START, bounds=(0.0, np.inf), x_scale=np.array(_START), loss="cauchy", f_scale=FIT_SCALE
    )
    return Constants(*map(float, result.x))


def fit(rows: Sequence[Row]) -> Constants:
    """Constants that fit the measured cycles best: least squares of log ratios, large ones damped. Deterministic."""
    return _fit(_matrix(rows), measured(rows))


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
    table, cycles = _matrix(rows), measured(rows)
    medians = []
    for seen in split_by_problem(rows, splits, seed):
        predicted = predict(table[~seen], _fit(table[seen], cycles[seen]))
        medians.append(float(np.median(np.abs(predicted / cycles[~seen] - 1))))
    return Score(tuple(medians))
