"""NAS-Bench-201 against the benchmark's own figures, and what happens to operators without effect."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.nas.spaces import nas_bench_201 as space
from codesign.networks import NetworkError

CODES = st.lists(st.integers(0, 4), min_size=6, max_size=6)
NONE, SKIP, CONV1, CONV3, POOL = range(5)


# Parameters and FLOPs (as the API prints them, in M) of the largest and the smallest cell; the API counts one operation
# per value of the classifier's bias, ten here.
@pytest.mark.parametrize("code, parameters, flops", [(CONV3, 1.531546, 220.11969), (NONE, 0.073306, 7.78305)])
def test_extremes_are_those_of_the_benchmark(code, parameters, flops):
    network = space.network([code] * 6)
    assert network.parameters == round(parameters * 1e6)
    assert network.macs + 10 == round(flops * 1e6)


# Indices 4122 and 343 of the benchmark, and the parameters that PyTorch counts in its networks.
@pytest.mark.parametrize("convolutions, parameters", [({CONV1: 1, CONV3: 1}, 344_346), ({CONV1: 1}, 101_306)])
def test_parameters_depend_on_the_number_of_convolutions(convolutions, parameters):
    cell = [code for code, number in convolutions.items() for _ in range(number)]
    for filler in (NONE, SKIP, POOL):
        assert space.network(cell + [filler] * (6 - len(cell))).parameters == parameters


@pytest.mark.parametrize("code", [SKIP, POOL])
def test_cells_without_convolutions_cost_no_macs(code):
    assert space.network([code] * 6).macs == space.network([NONE] * 6).macs


@settings(max_examples=25, deadline=None)
@given(CODES)
def test_macs_are_a_sum_over_the_operators(codes):
    # The cells of all three stages cost the same: half the pixels per side, twice the channels.
    one, three = codes.count(CONV1), codes.count(CONV3)
    network = space.network(codes)
    assert network.macs == 7_783_040 + 15 * 16 * 16 * 32 * 32 * (one + 9 * three) > 0
    assert len([layer for layer in network if layer.operator.kind == "zero"]) == 15 * codes.count(NONE)


def test_layers_carry_the_names_of_the_modules():
    network = space.network([CONV3, NONE, SKIP, CONV1, POOL, CONV3], cells_per_stage=1)
    assert [layer.name for layer in network] == [
        "stem.0",
        *_cell_names(0),
        *_reduction_names(1),
        *_cell_names(2),
        *_reduction_names(3),
        *_cell_names(4),
        "lastact.1",
        "global_pooling",
        "classifier",
    ]
    assert str(network.layer("cells.3.conv_a.op.1").operator) == "conv2d(K64 C32 P8 Q8 R3 S3 stride2)"
    assert network.layer("cells.4.layers.4.op").operator.kind == "pool"


def _cell_names(i):
    layers = ["layers.0.op.0", "layers.0.op.1", "layers.1", "node2", "layers.3.op.0", "layers.3.op.1", "layers.4.op",
              "layers.5.op.0", "layers.5.op.1", "node3"]  # fmt: skip
    return [f"cells.{i}.{layer}" for layer in layers]


def _reduction_names(i):
    parts = ["conv_a.op.0", "conv_a.op.1", "conv_b.op.0", "conv_b.op.1", "downsample.0", "downsample.1", "add"]
    return [f"cells.{i}.{part}" for part in parts]


def test_operators_whose_results_do_not_matter_stay():
    # Node 2 gets a convolution, but nothing reads node 2: the edge from it to the output writes zeros.
    network = space.network([SKIP, CONV3, NONE, SKIP, NONE, NONE], cells_per_stage=1)
    assert network.successors("cells.0.node2") == ["cells.0.layers.5"]
    assert network.predecessors("cells.0.node3") == ["stem.0", "cells.0.layers.4", "cells.0.layers.5"]


def test_operators_whose_input_is_zero_stay():
    # Node 1 is zero, and a convolution reads it.
    network = space.network([NONE, SKIP, CONV1, SKIP, SKIP, SKIP], cells_per_stage=1)
    assert network.predecessors("cells.0.layers.2.op.0") == ["cells.0.layers.0"]
    assert network.layer("cells.0.layers.2.op.1").operator.macs == 16 * 16 * 32 * 32


def test_identity_edges_are_views():
    network = space.network([SKIP] * 6, cells_per_stage=1)
    # Node 1 is the input of the cell, so node 2 adds it to itself.
    assert network.operands("cells.0.node2") == {"inputs": ("stem.0",), "inputs1": ("stem.0",)}
    assert network.layer("cells.0.node2").operator.macs == 0
    assert not any(layer.name.startswith("cells.0.layers") for layer in network)


def test_options_change_what_they_say():
    base = space.network([CONV3] * 6)
    assert space.network([CONV3] * 6, batch=4).macs == 4 * base.macs
    assert space.network([CONV3] * 6, classes=100).parameters == base.parameters + 90 * 65
    # The input of ImageNet16-120 has a quarter of the pixels.
    small = space.network([CONV3] * 6, resolution=16, classes=120)
    assert small.macs - 64 * 120 == (base.macs - 64 * 10) / 4
    first = space.network([CONV3] * 6, input_channels=1, channels=8).layer("stem.0").operator
    assert str(first) == "conv2d(K8 P32 Q32 R3 S3)"


@given(CODES)
def test_text_and_codes_are_inverse(codes):
    assert space.cell_from_string(space.cell_to_string(codes)) == tuple(codes)


def test_text_reads_like_the_benchmark_s():
    text = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|none~2|"
    assert space.cell_from_string(text) == (POOL, CONV1, SKIP, CONV1, SKIP, NONE)
    assert space.network(text).macs == space.network(np.array([4, 2, 1, 2, 1, 0], np.uint8)).macs


@pytest.mark.parametrize(
    "cell, message",
    [
        ([0] * 5, r"nas_bench_201: cell must have 6 values \(got 5\)"),
        ([0, 0, 5, 0, 0, 0], r"nas_bench_201: cell\[2\] must be one of 0, 1, 2, 3, 4 \(got 5\)"),
        ([0, 0, 0, 1.0, 0, 0], r"nas_bench_201: cell\[3\] must be one of .* \(got 1\.0\)"),
        (7, r"nas_bench_201: cell must be a list of integers \(got 7\)"),
        ("|none~0|", r"nas_bench_201: cell must have 3 nodes, joined by '\+' \(got 1"),
        ("|none~0|+|none~0|none~2|+|none~0|none~1|none~2|", r"node 2 of a cell must read OP~0\|OP~1 \(got '\|none~0"),
        ("|none~0|+|none~0|none~1|+|none~0|conv~1|none~2|", r"node 3: operator must be one of none, .* \(got conv\)"),
    ],
)
def test_what_is_no_cell_is_named(cell, message):
    with pytest.raises(NetworkError, match=message):
        space.network(cell)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"resolution": 30}, r"resolution must be a multiple of 4 \(got 30\)"),
        ({"resolution": 0}, r"resolution must be an integer >= 1 \(got 0\)"),
        ({"channels": 1.5}, r"channels must be an integer >= 1 \(got 1\.5\)"),
        ({"cells_per_stage": 0}, r"cells_per_stage must be an integer >= 1 \(got 0\)"),
        ({"classes": -1}, r"classes must be an integer >= 1 \(got -1\)"),
        ({"input_channels": 0}, r"input_channels must be an integer >= 1 \(got 0\)"),
        ({"batch": 0}, r"batch: must be an integer >= 1 \(got 0\)"),
    ],
)
def test_what_is_no_option_is_named(options, message):
    with pytest.raises(NetworkError, match=f"nas_bench_201: {message}"):
        space.network([SKIP] * 6, **options)
