"""How operators lie on arrays: tiles, diagonals, what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from designs import analog
from hypothesis import given, settings
from hypothesis import strategies as st

from accelerators.costs import Infeasible
from accelerators.crossbar.crossbar import Crossbar
from accelerators.crossbar.mapping import Matrix, Placement, matrix, place
from accelerators.operators import Operator, batched_matmul, conv2d, depthwise, elementwise, matmul


def placed(crossbar: Crossbar, operator: Operator) -> Placement:
    found = place(crossbar, operator)
    assert isinstance(found, Placement)
    return found


def test_matrices_of_layers() -> None:
    assert matrix(conv2d(K=64, C=3, P=112, Q=112, R=7, S=7, N=2, stride=2)) == Matrix(147, 64, 1, 2 * 112 * 112)
    assert matrix(conv2d(K=8, C=4, P=5, Q=6, R=3, S=3, G=2)) == Matrix(36, 8, 2, 30)
    assert matrix(depthwise(G=32, P=7, Q=7, R=3, S=3, multiplier=2)) == Matrix(9, 2, 32, 49)
    assert matrix(matmul(P=10, K=768, C=3072)) == Matrix(3072, 768, 1, 10)


def test_a_convolution_on_tiles_of_im2col() -> None:
    # ResNet-18's 3x3 convolution of 128 channels on 256 x 256 cells with eight bits in eight columns.
    chip = analog(rows=256, columns=256, weight_bits=8)
    found = placed(chip, conv2d(K=128, C=128, P=28, Q=28, R=3, S=3))
    assert (found.row_tiles, found.column_tiles) == (math.ceil(1152 / 256), math.ceil(128 / 32))
    assert found.arrays == found.tile_count == 5 * 4
    assert found.rows_used == math.ceil(1152 / 5)


def test_pairs_take_two_columns_or_two_rows() -> None:
    layer = matmul(P=1, K=16, C=16)
    assert placed(analog(), layer).arrays == 1
    two = replace(analog(), weight_bits=2, cell_bits=1)
    assert placed(replace(two, signed="pair_columns"), layer).column_tiles == 2
    assert placed(replace(two, signed="pair_rows"), layer).row_tiles == 2
    assert placed(two, layer).column_tiles == 2


def test_groups_lie_on_the_diagonal() -> None:
    chip = analog()
    found = placed(chip, depthwise(G=32, P=7, Q=7, R=2, S=2))
    # Four rows and a column per group: four groups share an array of sixteen rows.
    assert (found.blocks, found.arrays) == (4, 8)
    (usage, count), *rest = found.tiles
    assert (usage.rows, usage.columns, usage.weights, count, rest) == (16, 4, 16, 8, [])
    odd = placed(chip, depthwise(G=33, P=7, Q=7, R=2, S=2))
    assert odd.tiles[-1][0].weights == 4
    assert odd.arrays == 9


def test_groups_larger_than_an_array_have_arrays_of_their_own() -> None:
    found = placed(analog(), conv2d(K=16, C=8, P=3, Q=3, R=2, S=2, G=3))
    assert (found.row_tiles, found.column_tiles, found.arrays) == (2, 1, 6)


def test_sets_of_weights_share_an_array() -> None:
    chip = analog(sets=4)
    found = placed(chip, matmul(P=1, K=16, C=16 * 6))
    assert (found.tile_count, found.arrays, found.turns) == (6, 2, 3)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 3),
    st.integers(1, 6),
    st.sampled_from(["offset", "pair_rows", "pair_columns"]),
)
def test_tiles_hold_every_weight_once(K: int, C: int, R: int, G: int, signed: str) -> None:
    chip = analog(weight_bits=2, signed=signed)
    operator = conv2d(K=K, C=C, P=3, Q=3, R=R, S=1, G=G)
    found = placed(chip, operator)
    assert sum(usage.weights * count for usage, count in found.tiles) == operator.weight_words == found.weights
    for usage, count in found.tiles:
        assert count >= 1
        assert 1 <= usage.rows <= chip.weight_rows
        assert 1 <= usage.columns <= chip.weight_columns
        assert usage.weights <= usage.rows * usage.columns
    assert found.arrays >= math.ceil(found.weights / (chip.weight_rows * chip.weight_columns))


def test_what_no_array_can_hold_is_refused() -> None:
    for operator in (batched_matmul(G=2, P=3, K=4, C=5), elementwise(10)):
        found = matrix(operator)
        assert isinstance(found, Infeasible)
        assert found.code == "operator"
    scores = matrix(batched_matmul(G=2, P=3, K=4, C=5))
    assert isinstance(scores, Infeasible)
    assert "two activations" in scores.message


def test_utilisation_of_depthwise_layers_is_that_of_the_diagonal() -> None:
    chip = analog(rows=256, columns=256)
    found = placed(chip, depthwise(G=512, P=7, Q=7, R=3, S=3))
    cells = sum(usage.rows * usage.columns * count for usage, count in found.tiles)
    assert found.blocks == 28
    assert found.weights / cells == pytest.approx(1 / 28, rel=0.05)
