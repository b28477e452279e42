"""The graph: order, edges, fusion, views, and the builder's complaints."""

import pickle
import subprocess
import sys

import networkx as nx
import pytest

from accelerators.operators import conv2d, conv_transpose2d, elementwise, matmul
from codesign.networks import ZOO, Builder, Network, NetworkError, load
from codesign.networks.streams import movement, pointwise


@pytest.fixture(scope="module", params=ZOO)
def network(request):
    return load(request.param)


def test_order_is_topological_and_the_graph_connected(network):
    place = {layer.name: i for i, layer in enumerate(network)}
    assert nx.is_directed_acyclic_graph(network.graph)
    assert nx.is_weakly_connected(network.graph)
    assert all(place[producer] < place[consumer] for producer, consumer in network.edges)
    assert len(place) == len(network)


def test_every_operand_is_as_large_as_what_its_producers_write(network):
    """Exact for operators that touch their input without padding; views that cut (crop, slice, cache) are named."""
    cut = ("scores", "context", "pooler.dense", "heads.head", "merge", "add", "norm", "pos_embedding")
    checked = 0
    for layer in network:
        operator = layer.operator
        for tensor, producers in network.operands(layer.name).items():
            if (
                not producers
                or any(part in layer.name for part in cut)
                or operator.bound("R") * operator.bound("S") > 1
            ):
                continue
            written = sum(p.words(p.output) for p in (network.layer(name).operator for name in producers))
            read = operator.words(operator.tensor(tensor))
            stride = max([c for rank in operator.tensor(tensor).ranks for _, c in rank], default=1)
            assert read <= written if stride > 1 else read == written, layer.name
            checked += 1
    assert checked > 5


def test_each_layer_but_the_inputs_has_a_producer(network):
    inputs = [layer.name for layer in network if not network.predecessors(layer.name)]
    assert 1 <= len(inputs) <= 3
    assert inputs[0] == next(iter(network)).name


def test_unique_operators_cover_all_layers(network):
    unique = network.unique()
    assert sorted(name for names in unique.values() for name in names) == sorted(layer.name for layer in network)
    assert sum(operator.macs * len(names) for operator, names in unique.items()) == network.macs


def test_building_twice_gives_the_same_network(network):
    again = load(network.name)
    assert list(again) == list(network) and again.edges == network.edges
    assert list(pickle.loads(pickle.dumps(network))) == list(network)


def test_fusable_layers_are_elementwise_and_end_at_products(network):
    for name, fusion in network.fusable().items():
        assert network.layer(name).operator.macs == 0
        assert all(network.layer(root).operator.macs for root in fusion.producers)


def test_fusion_of_a_residual_block():
    network = load("resnet18")
    fused = network.fusable()
    assert fused["conv1.relu"].producers == ("conv1",) and fused["conv1.relu"].reads == 0
    # The addition runs on the second convolution's results but still fetches the shortcut; then the activation.
    assert fused["layer1.0.add"].producers == ("layer1.0.conv2",)
    assert fused["layer1.0.add"].reads == 64 * 56 * 56
    assert fused["layer1.0.relu"].producers == ("layer1.0.conv2",)
    assert "maxpool" not in fused and "avgpool" not in fused


def test_what_must_not_be_fused():
    b = Builder("shared")
    x = b.conv(b.input(4, 8, 8), "conv", K=4, kernel=1)
    b.add("add", b.activation(x, "relu", "relu"), x)
    # The convolution's output is needed twice, so it has to be stored.
    assert b.network.fusable() == {}
    # A gate's last layer is small: the product with the features does not run on its results.
    mul = load("mobilenet_v3_large").fusable()
    assert "features.4.block.2.mul" not in mul and "features.4.block.2.fc2.hsigmoid" in mul
    # Softmax and layer normalisation need whole rows.
    assert not any("softmax" in name or "LayerNorm" in name for name in load("bert_base", sequence=4).fusable())


def test_fusion_over_the_phases_of_a_transposed_convolution():
    b = Builder("up")
    x = b.conv_transpose(b.input(3, 4, 4), "up", K=5, kernel=2, stride=2)
    b.activation(x, "relu", "relu")
    assert b.network.fusable()["relu"].producers == ("up.phase0_0", "up.phase0_1", "up.phase1_0", "up.phase1_1")


def test_unknown_layer_suggests():
    with pytest.raises(NetworkError, match=r"resnet18 has no layer 'layer1.0.conv3': did you mean .*layer1.0.conv2"):
        load("resnet18").layer("layer1.0.conv3")


def test_network_refuses_what_is_no_graph():
    network = Network("n")
    network.add("a", matmul(P=1, K=2, C=3))
    with pytest.raises(NetworkError, match="two layers are named 'a'"):
        network.add("a", matmul(P=1, K=2, C=3))
    with pytest.raises(NetworkError, match="reads 'c', which is no earlier layer"):
        network.add("b", elementwise(2), {"inputs": ["c"]})
    with pytest.raises(NetworkError, match="has no input tensor 'left'"):
        network.add("b", elementwise(2), {"left": ["a"]})
    assert len(network) == 1 and "a" in network and "b" not in network


def test_builder_conv_matches_the_operator():
    b = Builder("n", batch=2)
    x = b.input(8, 17, 33)
    y = b.conv(
        x, "c", K=12, kernel=(3, 5), stride=(2, 1), padding=(1, 4), dilation=(1, 2), groups=4, bn=True, bias=True
    )
    assert y.shape == (12, 9, 33)
    layer = b.network.layer("c")
    assert layer.operator == conv2d(N=2, G=4, K=3, C=2, P=9, Q=33, R=3, S=5, stride=(2, 1), dilation=(1, 2))
    assert layer.parameters == 12 * 2 * 15 + 12 + 24


def test_zeros_read_what_they_replace():
    b = Builder("n", batch=3)
    x = b.conv(b.input(2, 4, 5), "conv", K=6, kernel=1)
    y = b.zeros(x, "nothing")
    layer = b.network.layer("nothing")
    assert y.shape == x.shape and b.network.predecessors("nothing") == ["conv"]
    assert layer.operator == elementwise(3, 6, 4, 5, kind="zero")
    assert layer.operator.macs == layer.parameters == 0
    assert layer.operator.words(layer.operator.output) == 3 * 6 * 4 * 5


@pytest.mark.parametrize("size, kernel, stride", [(49, 10, 2), (10, 4, 2), (7, 3, 1), (8, 3, 3)])
def test_same_padding_rounds_up(size, kernel, stride):
    b = Builder("n")
    y = b.conv(b.input(1, size, size), "c", K=1, kernel=kernel, stride=stride, padding="same")
    assert y.shape[1] == -(-size // stride)


def test_conv_transpose_counts_what_the_operators_count():
    b = Builder("n")
    y = b.conv_transpose(b.input(3, 5, 6), "up", K=4, kernel=(3, 5), stride=2)
    assert y.shape == (4, 11, 15)
    assert b.network.macs == sum(p.macs for p in conv_transpose2d(K=4, C=3, H=5, W=6, R=3, S=5, stride=2).values())
    assert b.network.parameters == 3 * 4 * 15 + 4


def test_views_connect_through():
    b = Builder("n")
    x = b.input(2, 4, 4)
    left, right = b.conv(x, "l", K=3, kernel=1), b.conv(x, "r", K=5, kernel=1)
    b.linear(b.flatten(b.concat(left, right)), "fc", K=2)
    assert b.network.predecessors("fc") == ["l", "r"]
    assert b.network.layer("fc").operator == matmul(P=1, K=2, C=8 * 16)


@pytest.mark.parametrize(
    "mistake, message",
    [
        (lambda b, x: b.conv(x, "c", K=4, kernel=1, groups=3), "n: c: groups must divide 4 input and 4 output"),
        (lambda b, x: b.conv(x, "c", K=4, kernel=9), "n: c: a 9x9 kernel does not fit into \\[4, 8, 8\\]"),
        (lambda b, x: b.conv(x, "c", K=4, kernel=3, stride=0), "n: c: must be an integer >= 1 \\(got 0\\)"),
        (lambda b, x: b.conv(b.flatten(x), "c", K=4, kernel=1), "n: c: needs an image"),
        (lambda b, x: b.pool(x, "p", kernel=9), "n: p: a 9x9 window does not fit"),
        (lambda b, x: b.add("a", x, b.input(4, 8, 7)), "n: a: shapes differ"),
        (lambda b, x: b.mul("m", x, b.input(5, 1, 1)), "n: m: \\[5, 1, 1\\] does not scale"),
        (lambda b, x: b.concat(x, b.input(4, 8, 7), name="cat"), "n: cat: shapes differ off axis 0"),
        (lambda b, x: b.activation(x, "r", "relo"), "n: r: activation must be one of"),
        (lambda b, x: b.crop(x, 4, 9, 8), "n: crop: cannot take"),
        (lambda b, x: b.reshape(x, 5, 5), "n: reshape: cannot view"),
        (lambda b, x: b.attention(*(b.tokens(x),) * 3, "t", heads=3), "n: t: heads must divide 4 features"),
    ],
)  # fmt: skip
def test_builder_names_the_layer_of_a_mistake(mistake, message):
    b = Builder("n")
    with pytest.raises(ValueError, match=message):
        mistake(b, b.input(4, 8, 8))


@pytest.mark.parametrize(
    "shape, activations, weights",
    [
        ((2, 3, 4, 5), [(2, 3, 4, 5), (2, 3, 1, 1)], []),
        ((2, 3, 4, 5), [(2, 3, 4, 5), (5,)], []),
        ((2, 7, 8), [(2, 7, 8)], [(7, 8)]),
        ((4, 1, 6), [(4, 1, 1), (1, 1, 6)], [()]),
        ((1, 1), [(1, 1)], [(1,)]),
    ],
)
def test_pointwise_reads_each_operand_as_it_is(shape, activations, weights):
    operator = pointwise("add", shape, activations, weights)
    sizes = [_product(s) for s in (*activations, *weights, shape)]
    assert [operator.words(t) for t in operator.tensors] == sizes
    assert operator.weight_words == sum(_product(s) for s in weights)
    assert operator.macs == 0


def test_pointwise_of_equal_shapes_is_the_plain_operator():
    assert pointwise("add", (2, 3), [(2, 3), (2, 3)]) == elementwise(6, operands=2, kind="add")


@pytest.mark.parametrize("read, written", [(12, 12), (12, 3), (3, 12), (1, 7)])
def test_movement_moves_what_it_says(read, written):
    operator = movement("reduce", read, written)
    assert [operator.words(t) for t in operator.tensors] == [read, written]


def _product(shape):
    total = 1
    for extent in shape:
        total *= extent
    return total


def test_import_is_light():
    code = "import sys, codesign.networks, codesign.networks.onnx; print({'onnx', 'torch', 'numba'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
