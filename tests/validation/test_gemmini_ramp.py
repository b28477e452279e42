"""The ramp model of Gemmini: features by hand, the equations, the fit, and the figures on unseen problems."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.validation import _gemmini_ramp as ramp
from benchmarks.validation._gemmini_ramp import MEASURED, Constants
from benchmarks.validation._gemmini_rows import Row, read_rows
from benchmarks.validation.gemmini import RTL


@pytest.fixture(scope="module")
def rows():
    return read_rows(RTL, (MEASURED,))


def _dram_loops(row: Row) -> tuple[tuple[str, int], ...]:
    return row.mapping.block("L3").temporal


def _with_cycles(rows: Sequence[Row], cycles: Sequence[float]) -> list[Row]:
    return [replace(row, targets={MEASURED: float(value)}) for row, value in zip(rows, cycles, strict=True)]


def test_features_by_hand(rows):
    # 56x56 outputs of 64 channels from 256: L3 Q2 P14 - L2 K16X - L1 K4 C16 Q14 P2 C16X - L0 Q2 P2, 1x1 kernel.
    row = next(row for row in rows if _dram_loops(row) == (("Q", 2), ("P", 14)) and row.operator.bound("K") == 64)
    got = ramp.features(row)
    assert got.dram_tiles == 28
    assert got.weight_tiles == 28 * 4 * 16  # 64/16 columns of 256/16 tiles, anew in every DRAM tile
    assert got.array_cycles == got.weight_tiles * 28 * 4  # 28 x 4 pixels run past each
    assert got.first_rows_in == 4 * 256 + 16 * 28 * 4  # weight rows of 16 filters, input rows of 16 channels
    assert got.last_rows_out == 4 * 28 * 4
    assert got.rows_in == 28 * got.first_rows_in
    assert got.rows_out == 28 * got.last_rows_out


def test_partial_sums_leave_and_return(rows):
    # C4 outside K48: every tile of outputs leaves four times and comes back three times.
    row = next(row for row in rows if _dram_loops(row) == (("C", 4), ("K", 48)))
    got = ramp.features(row)
    assert got.rows_out == 48 * 4 * got.last_rows_out
    assert got.rows_in == 48 * 4 * got.first_rows_in + 48 * 3 * got.last_rows_out


def test_a_short_run_still_pays_for_shifting_weights_in(rows):
    row = next(row for row in rows if row.operator.bound("P") * row.operator.bound("Q") == 1)
    got = ramp.features(row)
    assert got.array_cycles == 16 * got.weight_tiles


def test_wide_rows_take_several_beats(rows):
    narrow = rows[0]
    scratchpad = narrow.accelerator.level("L2")
    levels = [replace(level, fanout=(replace(scratchpad.fanout[0], size=32),)) for level in narrow.accelerator.levels]
    wide = replace(narrow, accelerator=replace(narrow.accelerator, levels=tuple(levels)))
    assert ramp.features(wide).weight_tiles < ramp.features(narrow).weight_tiles
    assert ramp.features(wide).last_rows_out == ramp.features(narrow).last_rows_out


def test_predict_by_hand():
    table = [ramp.Features(10, 300, 20, 5, 100, 50, 3)]
    compute, edge, dma = 300 + 7 * 10, 2 * 20 + 3 * 5, 2 * 100 + 3 * 50 + 40 * 3
    expected = edge + math.hypot(compute, dma - edge)
    assert ramp.predict(table, Constants(7, 2, 3, 40)) == pytest.approx(expected)


def test_predict_never_beats_the_array_and_grows_with_each_constant(rows):
    table = [ramp.features(row) for row in rows]
    constants = ramp.fit(rows)
    base = ramp.predict(table, constants)
    assert np.all(base >= [item.array_cycles for item in table])
    assert np.all(base >= [row.operator.macs / row.mesh**2 for row in rows])
    for name in Constants._fields:
        more = ramp.predict(table, constants._replace(**{name: 2 * getattr(constants, name)}))
        assert np.all(more >= base)
        assert np.any(more > base)


def test_fit_recovers_known_constants(rows):
    known = Constants(15.0, 1.5, 4.0, 300.0)
    made = ramp.predict([ramp.features(row) for row in rows], known)
    synthetic = _with_cycles(rows, made)
    assert ramp.fit(synthetic) == pytest.approx(known, rel=1e-3)
    assert ramp.score(synthetic, splits=3).worst < 1e-3


def test_fit_is_deterministic_and_physical(rows):
    constants = ramp.fit(rows)
    assert constants == ramp.fit(rows)
    assert all(value >= 0 for value in constants)
    assert 5 < constants.weight_tile < 25
    assert 0.5 < constants.row_in < 5
    assert 0.5 < constants.row_out < 10
    assert 50 < constants.dram_tile < 600


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_unseen_problems_within_target(rows, seed):
    score = ramp.score(rows, splits=20, seed=seed)
    assert len(score.medians) == 20
    assert score.mean <= 0.08  # the target is 0.10
    assert score.best <= score.mean <= score.worst <= 0.16


def test_score_figures(rows):
    score = ramp.score(rows)
    assert score == ramp.score(rows)
    assert (score.mean, score.best, score.worst) == pytest.approx((0.0589, 0.0381, 0.1059), abs=0.003)


def test_splits_keep_problems_together(rows):
    for seen in ramp.split_by_problem(rows, 5, 3):
        left = {row.problem for row, side in zip(rows, seen, strict=True) if side}
        right = {row.problem for row, side in zip(rows, seen, strict=True) if not side}
        assert not left & right
        assert abs(len(left) - len(right)) <= 1
    with pytest.raises(ValueError, match="at least 2 problems"):
        ramp.score(rows[:1])


def test_scrambled_measurements_do_not_score(rows):
    """The score can fail: with the measured cycles of other rows it is far off."""
    cycles = ramp.measured(rows).tolist()
    random.Random(0).shuffle(cycles)
    assert ramp.score(_with_cycles(rows, cycles), splits=3).mean > 0.5
