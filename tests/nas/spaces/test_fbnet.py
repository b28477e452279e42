"""FBNet as in HW-NAS-Bench: shapes, closed forms, and the structure that the published latencies have."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.nas.spaces import fbnet
from codesign.networks import NetworkError

SKIP = fbnet.BLOCKS.index("skip")


def _with(layer, code):
    return [code if i == layer else SKIP for i in range(fbnet.LAYERS)]


# Closed form of a block: two pointwise convolutions, each in its groups, around a depthwise one.
def _macs(before, after, kernel, expansion, groups, size, stride):
    inner, out = before * expansion, -(-size // stride)
    return before * inner // groups * size**2 + inner * kernel**2 * out**2 + inner * after // groups * out**2


@pytest.mark.parametrize("code, kernel, expansion, groups", [
    (0, 3, 1, 1), (1, 3, 1, 2), (2, 3, 3, 1), (3, 3, 6, 1), (4, 5, 1, 1), (5, 5, 1, 2), (6, 5, 3, 1), (7, 5, 6, 1),
])  # fmt: skip
@pytest.mark.parametrize("layer, before, after, size, stride", [
    (0, 16, 16, 32, 1), (1, 16, 24, 32, 1), (2, 24, 24, 32, 1), (5, 24, 32, 32, 2), (9, 32, 64, 16, 2),
    (13, 64, 112, 8, 1), (17, 112, 184, 8, 2), (20, 184, 184, 4, 1), (21, 184, 352, 4, 1),
])  # fmt: skip
def test_blocks_cost_their_closed_form(layer, before, after, size, stride, code, kernel, expansion, groups):
    network = fbnet.network(_with(layer, code))
    convolutions = [network.layer(f"cells.{layer}.conv{i}").operator for i in (1, 2, 3)]
    assert sum(op.macs for op in convolutions) == _macs(before, after, kernel, expansion, groups, size, stride)
    assert (f"cells.{layer}.shuffle" in network) == (groups == 2)
    assert (f"cells.{layer}.add" in network) == (before == after and stride == 1)


def test_skips_are_nothing_unless_the_shape_changes():
    network = fbnet.network([SKIP] * fbnet.LAYERS)
    changes = [1, 5, 9, 13, 17, 21]
    assert [layer.name for layer in network if layer.operator.macs] == [
        "stem.conv", *(f"cells.{i}.conv" for i in changes), "header.conv", "fc",
    ]  # fmt: skip
    channels = [(16, 24, 32), (24, 32, 16), (32, 64, 8), (64, 112, 8), (112, 184, 4), (184, 352, 4)]
    ends = 27 * 16 * 32**2 + 352 * 1504 * 4**2 + 1504 * 100
    assert network.macs == ends + sum(c * k * size**2 for c, k, size in channels)
    assert network.parameters == (27 * 16 + 32) + sum(c * k + 2 * k for c, k, _ in channels) + (
        352 * 1504 + 2 * 1504 + 1505 * 100
    )


def test_layers_of_one_stage_are_alike():
    # In the published latencies, layers 2..4 of a stage cost the same and the first one does not.
    for first in (1, 5, 9, 13, 17):
        costs = [fbnet.network(_with(layer, 3)).macs - fbnet.network(_with(0, SKIP)).macs for layer in range(22)]
        assert len(set(costs[first + 1 : first + 4])) == 1
        assert costs[first] != costs[first + 1]


def test_variants_differ_in_strides_and_last_convolution():
    imagenet = fbnet.network([0] * 22, variant="imagenet")
    assert imagenet.layer("fc").operator.bound("K") == 1000
    assert imagenet.layer("header.conv").operator.bound("K") == 1984
    assert [imagenet.layer(f"cells.{i}.conv3").operator.bound("P") for i in (0, 1, 5, 9, 13, 17, 21)] == [
        112, 56, 28, 14, 14, 7, 7,
    ]  # fmt: skip
    small = fbnet.network([0] * 22)
    assert [small.layer(f"cells.{i}.conv3").operator.bound("P") for i in (0, 1, 5, 9, 13, 17, 21)] == [
        32, 32, 16, 8, 8, 4, 4,
    ]  # fmt: skip
    assert fbnet.network([0] * 22, resolution=33).layer("header.conv").operator.bound("P") == 5


def test_shuffle_moves_every_word_between_the_convolutions():
    network = fbnet.network([1] * 22, batch=2)
    assert network.predecessors("cells.2.conv2") == ["cells.2.shuffle"]
    assert network.predecessors("cells.2.shuffle") == ["cells.2.conv1.relu"]
    operator = network.layer("cells.2.shuffle").operator
    assert (operator.kind, operator.words(operator.output)) == ("permute", 2 * 24 * 32 * 32)
    # It is no elementwise operation that could run inside the convolution.
    assert "cells.2.shuffle" not in network.fusable()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=22, max_size=22))
def test_macs_are_a_sum_over_the_layers(codes):
    network = fbnet.network(np.array(codes, np.uint8))
    assert network.macs > 0
    base = fbnet.network([SKIP] * 22).macs
    assert network.macs - base == sum(fbnet.network(_with(i, code)).macs - base for i, code in enumerate(codes[:4])) + (
        fbnet.network([SKIP] * 4 + codes[4:]).macs - base
    )


@pytest.mark.parametrize(
    "codes, options, message",
    [
        ([0] * 21, {}, r"codes must have 22 values \(got 21\)"),
        ([0] * 21 + [9], {}, r"codes\[21\] must be one of 0, 1, 2, 3, 4, 5, 6, 7, 8 \(got 9\)"),
        ([-1] + [0] * 21, {}, r"codes\[0\] must be one of .* \(got -1\)"),
        ([0] * 22, {"variant": "cifar"}, r"variant must be one of cifar100, imagenet \(got 'cifar'\)"),
        ([0] * 22, {"resolution": 0}, r"resolution must be an integer >= 1 \(got 0\)"),
        ([0] * 22, {"classes": 0}, r"classes must be an integer >= 1 \(got 0\)"),
        ([0] * 22, {"batch": 0}, r"batch: must be an integer >= 1 \(got 0\)"),
    ],
)
def test_mistakes_are_named(codes, options, message):
    with pytest.raises(NetworkError, match=f"fbnet: {message}"):
        fbnet.network(codes, **options)
