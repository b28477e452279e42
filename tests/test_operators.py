"""Operators by hand, by enumeration, and every rule that makes one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelerators.operators import (
    PASSES,
    Operator,
    Rank,
    Tensor,
    attention,
    batched_matmul,
    conv2d,
    conv_transpose2d,
    depthwise,
    elementwise,
    matmul,
    normalization,
    parse_operator,
    pool2d,
    softmax,
)


def words(operator: Operator) -> dict[str, int]:
    return {tensor.name: operator.words(tensor) for tensor in operator.tensors}


def test_convolution() -> None:
    """ResNet's first layer: 7 x 7 kernel, stride 2, 112 x 112 outputs from 229 x 229 inputs with their zeros."""
    layer = conv2d(N=1, K=64, C=3, P=112, Q=112, R=7, S=7, stride=2)
    assert layer.kind == "conv2d"
    assert layer.macs == 64 * 3 * 112 * 112 * 7 * 7
    assert words(layer) == {"weights": 64 * 3 * 49, "inputs": 3 * 229 * 229, "outputs": 64 * 112 * 112}
    assert layer.weight_words == 64 * 3 * 49
    assert layer.reduction_dims == ("C", "R", "S")
    assert str(layer) == "conv2d(K64 C3 P112 Q112 R7 S7 stride2)"


def test_stride_and_dilation_by_axis() -> None:
    layer = conv2d(K=2, C=3, P=5, Q=4, R=3, S=2, stride=(2, 1), dilation=(1, 3))
    rows, columns = 2 * (5 - 1) + 1 * (3 - 1) + 1, 1 * (4 - 1) + 3 * (2 - 1) + 1
    assert words(layer)["inputs"] == 3 * rows * columns
    assert layer.macs == 2 * 3 * 5 * 4 * 3 * 2


def test_skipped_rows_are_words_but_not_touched() -> None:
    layer = conv2d(K=1, C=8, P=4, Q=4, R=1, S=1, stride=2)
    inputs = layer.tensor("inputs")
    assert layer.words(inputs) == 8 * 7 * 7
    assert layer.touched_words(inputs) == 8 * 4 * 4
    holes = conv2d(K=1, C=1, P=2, Q=1, R=2, S=1, dilation=3)
    assert (holes.words(holes.tensor("inputs")), holes.touched_words(holes.tensor("inputs"))) == (5, 4)


def test_groups_and_depthwise() -> None:
    grouped = conv2d(G=4, K=2, C=3, P=5, Q=5, R=3, S=3)
    assert grouped.macs == 4 * 2 * 3 * 25 * 9
    assert words(grouped) == {"weights": 4 * 2 * 3 * 9, "inputs": 4 * 3 * 49, "outputs": 4 * 2 * 25}
    single = depthwise(G=32, P=5, Q=5, R=3, S=3, stride=2)
    assert single.kind == "depthwise"
    assert single.macs == 32 * 25 * 9
    assert words(single) == {"weights": 32 * 9, "inputs": 32 * 11 * 11, "outputs": 32 * 25}
    assert depthwise(G=32, P=5, Q=5, R=3, S=3, multiplier=2).macs == 2 * 32 * 25 * 9


def test_matrix_products() -> None:
    dense = matmul(N=2, P=3, K=5, C=7)
    assert dense.macs == 2 * 3 * 5 * 7
    assert words(dense) == {"weights": 35, "inputs": 42, "outputs": 30}
    heads = batched_matmul(G=4, P=3, K=5, C=7)
    assert heads.macs == 4 * 3 * 5 * 7
    assert words(heads) == {"operand": 140, "inputs": 84, "outputs": 60}
    assert heads.tensor("operand").role == "weights"


def test_attention_is_two_products_and_a_softmax() -> None:
    parts = attention(N=2, heads=4, queries=6, keys=10, head_dim=8)
    assert parts["scores"].macs == parts["context"].macs == 2 * 4 * 6 * 10 * 8
    scores, context = words(parts["scores"]), words(parts["context"])
    assert scores["outputs"] == context["inputs"] == 2 * 4 * 6 * 10
    assert words(parts["softmax"]) == {"inputs": 480, "outputs": 480}
    assert context["outputs"] == 2 * 4 * 6 * 8


def test_operators_without_macs() -> None:
    pool = pool2d(N=2, K=3, P=4, Q=4, R=2, S=2, stride=2)
    assert (pool.macs, pool.passes, pool.iterations) == (0, PASSES["pool"], 2 * 3 * 16 * 4)
    assert words(pool) == {"inputs": 2 * 3 * 64, "outputs": 2 * 3 * 16}
    add = elementwise(2, 3, 4, operands=2, kind="add")
    assert (add.kind, add.macs, words(add)) == ("add", 0, {"inputs": 24, "inputs1": 24, "outputs": 24})
    assert softmax(rows=3, length=4).passes == 3
    assert normalization(rows=3, length=4).passes == 2


@pytest.mark.parametrize(
    ("H", "R", "stride"), [(3, 3, 1), (4, 4, 2), (3, 3, 2), (5, 2, 2), (2, 5, 3), (4, 1, 1), (3, 2, 3), (1, 4, 2)]
)
def test_transposed_convolution_is_its_phases(H: int, R: int, stride: int) -> None:
    """Each phase, run as an ordinary convolution over zero-padded inputs, gives the values that scattering gives."""
    W, S, widthwise = H + 1, max(1, R - 1), 1 if stride == 1 else stride - 1
    rng = np.random.default_rng(7)
    image, kernel = rng.integers(1, 9, (H, W)), rng.integers(1, 9, (R, S))
    scattered = np.zeros((stride * (H - 1) + R, widthwise * (W - 1) + S), np.int64)
    for h, w, r, s in product(range(H), range(W), range(R), range(S)):
        scattered[stride * h + r, widthwise * w + s] += image[h, w] * kernel[r, s]
    phases = conv_transpose2d(K=1, C=1, H=H, W=W, R=R, S=S, stride=(stride, widthwise))
    gathered = np.zeros_like(scattered)
    macs = 0
    for (a, b), phase in phases.items():
        rows, columns = phase.bound("R"), phase.bound("S")
        padded = np.pad(image, ((rows - 1, rows - 1), (columns - 1, columns - 1)))
        # The padded image is exactly the input of the phase.
        assert padded.shape == phase.tensor("inputs").extents(dict(phase.bounds))[-2:]
        for p, q, r, s in product(range(phase.bound("P")), range(phase.bound("Q")), range(rows), range(columns)):
            tap = kernel[a + stride * (rows - 1 - r), b + widthwise * (columns - 1 - s)]
            gathered[a + stride * p, b + widthwise * q] += padded[p + r, q + s] * tap
            macs += 1
    assert (gathered == scattered).all()
    assert sum(phase.macs for phase in phases.values()) == macs
    # Without padding there would be one MAC per input and tap; the zeros at the edges only add to it.
    assert macs >= H * W * R * S
    assert sum(phase.words(phase.output) for phase in phases.values()) == np.count_nonzero(scattered)
    assert sum(phase.words(phase.tensor("weights")) for phase in phases.values()) == R * S


# --- touched words ----------------------------------------------------------------------------------------------------


@st.composite
def random_operators(draw: st.DrawFn) -> Operator:
    dims = "abcd"[: draw(st.integers(1, 4))]
    bounds = tuple((dim, draw(st.integers(1, 6))) for dim in dims)
    ranks: list[Rank] = []
    for dim in draw(st.permutations(dims)):
        if ranks and draw(st.booleans()):
            ranks[-1] = (*ranks[-1], (dim, draw(st.integers(1, 7))))
        else:
            ranks.append(((dim, draw(st.integers(1, 7))),))
    return Operator("random", bounds, (Tensor("x", "inputs", tuple(ranks)), Tensor("y", "outputs", ())))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(random_operators())
def test_touched_words_are_the_distinct_points(operator: Operator) -> None:
    tensor = operator.tensor("x")
    points = {
        tuple(sum(c * index[dim] for dim, c in rank) for rank in tensor.ranks)
        for values in product(*(range(bound) for _, bound in operator.bounds))
        for index in [dict(zip(operator.dims, values, strict=True))]
    }
    assert operator.touched_words(tensor) == len(points)
    extents = [1 + max(p[r] for p in points) for r in range(len(tensor.ranks))]
    assert tensor.extents(dict(operator.bounds)) == tuple(extents)
    assert operator.words(tensor) == math.prod(extents)
    assert operator.touched_words(operator.output) == operator.words(operator.output) == 1


# --- values, padding, widths ------------------------------------------------------------------------------------------


def test_equal_shapes_are_equal_operators() -> None:
    one, other = matmul(P=2, K=3, C=4), matmul(P=2, K=3, C=4)
    assert one == other
    assert hash(one) == hash(other)
    assert one != one.with_bounds({"P": 3})


def test_bounds_and_widths_can_be_replaced() -> None:
    padded = matmul(P=7, K=3, C=4).with_bounds({"P": 8})
    assert padded == matmul(P=8, K=3, C=4)
    narrow = padded.with_bits(weights=4, outputs=8)
    assert [t.bits for t in narrow.tensors] == [4, None, 8]
    assert narrow.bound("P") == 8
    assert narrow.bound("Z") == 1
    with pytest.raises(ValueError, match=r"one of weights, inputs, outputs \(got 'bias'\)"):
        padded.with_bits(bias=8)
    with pytest.raises(KeyError):
        padded.tensor("bias")


# --- rules ------------------------------------------------------------------------------------------------------------

X = Tensor("x", "inputs", ((("a", 1),),))
Y = Tensor("y", "outputs", ((("a", 1),),))


def invalid_operators() -> Iterator[Any]:
    a2 = (("a", 2),)
    count = "must be an integer >= 1 of at most 62 bits"
    yield (("a", 2), ("a", 3)), (X, Y), r"dimensions must differ \(got \['a', 'a'\]\)"
    yield (("a", 0),), (X, Y), rf"bound of a {count} \(got 0\)"
    yield (("a", 2.0),), (X, Y), rf"bound of a {count} \(got 2.0\)"
    yield a2, (X,), r"exactly one tensor, the last, must have the role outputs \(got \['inputs'\]\)"
    yield a2, (Y, X), r"exactly one tensor, the last, must have the role outputs \(got \['outputs', 'inputs'\]\)"
    yield a2, (Y, Tensor("z", "outputs", ())), r"exactly one tensor, the last"
    yield a2, (X, X, Y), r"tensor names must differ \(got \['x', 'x', 'y'\]\)"
    yield a2, (Tensor("x", "inputs", ((("b", 1),),)), Y), r"tensor x uses a dimension without a bound \(got b\)"
    twice = r"a dimension may occur in one rank of a tensor only \(got a twice in x\)"
    yield a2, (Tensor("x", "inputs", ((("a", 1),), (("a", 1),))), Y), twice
    yield a2, (Tensor("x", "inputs", ((("a", 1), ("a", 2)),)), Y), twice
    yield a2, (Tensor("x", "inputs", ((("a", 0),),)), Y), rf"coefficient of a in x {count} \(got 0\)"
    yield a2, (Tensor("x", "inputs", ((("a", 1.5),),)), Y), rf"coefficient of a in x {count} \(got 1.5\)"  # type: ignore[arg-type]
    yield a2, (Tensor("x", "inputs", X.ranks, bits=0), Y), r"bits of x must be in 1..1024 \(got 0\)"
    yield a2, (Tensor("x", "inputs", X.ranks, bits=1025), Y), r"bits of x must be in 1..1024 \(got 1025\)"


@pytest.mark.parametrize(("bounds", "tensors", "message"), list(invalid_operators()))
def test_operators_refuse_what_is_no_loop_nest(bounds: Any, tensors: Any, message: str) -> None:
    with pytest.raises(ValueError, match="^wrong: .*" + message):
        Operator("wrong", bounds, tensors)


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"bound of a .*; exactly one tensor") as caught:
        Operator("wrong", (("a", 0),), (X,))
    assert str(caught.value).startswith("wrong: ")


@pytest.mark.parametrize("stride", [0, (1, 0), (1, 2, 3), -1])
def test_strides_are_one_or_two_positive_integers(stride: Any) -> None:
    with pytest.raises(ValueError, match="stride must be one or two integers >= 1"):
        conv2d(K=1, C=1, P=2, Q=2, R=1, S=1, stride=stride)
    with pytest.raises(ValueError, match="dilation must be one or two integers >= 1"):
        conv2d(K=1, C=1, P=2, Q=2, R=1, S=1, dilation=stride)


@pytest.mark.parametrize("network", ["resnet50", "mobilenet_v2", "bert_base", "ds_cnn", "unet", "gpt2_decode"])
def test_what_is_printed_can_be_written(network: str) -> None:
    from codesign import networks

    for operator in networks.load(network).unique():
        if operator.kind in ("conv2d", "depthwise", "matmul", "batched_matmul"):
            assert parse_operator(str(operator)) == operator
