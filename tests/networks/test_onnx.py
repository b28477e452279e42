"""Import from ONNX, on models built here node by node."""

import sys
from pathlib import Path

import pytest

from codesign.networks import Network, NetworkError, load
from codesign.networks.onnx import load_onnx

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402

FLOAT, INT64, INT8, UINT8, INT32 = (
    TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32,
)  # fmt: skip


class Graph:
    """A model under construction; weights hold zeros, since nobody reads them."""

    def __init__(self, opset=17):
        self.nodes, self.inputs, self.outputs, self.weights, self.opset = [], [], [], [], opset

    def input(self, name, *shape, kind=FLOAT):
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name, *shape, kind=FLOAT):
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def weight(self, name, *shape, kind=FLOAT):
        size = 1
        for extent in shape:
            size *= extent
        width = {FLOAT: 4, INT64: 8, INT8: 1, UINT8: 1, INT32: 4}[kind]
        self.weights.append(helper.make_tensor(name, kind, shape, bytes(size * width), raw=True))
        return name

    def integers(self, name, *values, scalar=False):
        self.weights.append(helper.make_tensor(name, INT64, [] if scalar else [len(values)], values))
        return name

    def node(self, op, *inputs, name=None, outputs=1, domain="", **attributes):
        name = name or f"{op.lower()}{len(self.nodes)}"
        results = [f"{name}:{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, results, name=name, domain=domain, **attributes))
        return results[0] if outputs == 1 else results

    def model(self):
        graph = helper.make_graph(self.nodes, "g", self.inputs, self.outputs, self.weights)
        imports = [helper.make_opsetid("", self.opset), helper.make_opsetid("my.domain", 1)]
        return helper.make_model(graph, opset_imports=imports, ir_version=9)

    def load(self, tmp_path, **options) -> Network:
        path = tmp_path / "model.onnx"
        path.write_bytes(self.model().SerializeToString())
        return load_onnx(path, **options)


def only(network, kind=None):
    (layer,) = (layer for layer in network if kind in (None, layer.operator.kind))
    return layer


def one_conv(batch=2, **attributes):
    g = Graph()
    y = g.node(
        "Conv",
        g.input("x", batch, 6, 17, 20),
        g.weight("w", 8, 3, 3, 5),
        g.weight("b", 8),
        name="c",
        group=2,
        **attributes,
    )
    g.output(y, "n", 8, "h", "w")
    return g


@pytest.mark.parametrize(
    "attributes, P, Q",
    [
        ({}, 15, 16),
        ({"pads": [1, 2, 1, 2]}, 17, 20),
        ({"pads": [0, 3, 2, 0], "strides": [2, 3]}, 9, 7),
        ({"dilations": [2, 3], "strides": [1, 2]}, 13, 4),
        ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, 9, 10),
        ({"auto_pad": "VALID", "strides": [2, 2]}, 8, 8),
    ],
)
def test_convolution(tmp_path, attributes, P, Q):
    layer = only(one_conv(**attributes).load(tmp_path))
    op = layer.operator
    assert [op.bound(dim) for dim in "NGKCPQRS"] == [2, 2, 4, 3, P, Q, 3, 5]
    assert layer.parameters == 8 * 3 * 15 + 8
    assert layer.name == "c"
    stride, dilation = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    assert op.tensor("inputs").ranks[-2:] == (
        (("P", stride[0]), ("R", dilation[0])), (("Q", stride[1]), ("S", dilation[1])),
    )  # fmt: skip


def test_depthwise_and_one_dimensional(tmp_path):
    g = Graph()
    y = g.node("Conv", g.input("x", 1, 16, 50), g.weight("w", 16, 1, 3), name="c", group=16, pads=[1, 1], strides=[2])
    y = g.node("MaxPool", y, kernel_shape=[5], strides=[5])
    g.output(y, 1, 16, 5)
    conv, pool = g.load(tmp_path)
    assert conv.operator.kind == "depthwise"
    assert str(conv.operator) == "depthwise(G16 Q25 S3 2Q)"
    assert str(pool.operator) == "pool(K16 Q5 S5 5Q)"


@pytest.mark.parametrize(
    "attributes, size",
    [
        ({}, 11),
        ({"pads": [1, 1, 1, 1]}, 9),
        ({"pads": [1, 0, 0, 1], "output_padding": [1, 1]}, 11),
        ({"auto_pad": "SAME_UPPER"}, 10),
    ],
)
@pytest.mark.parametrize("group", [1, 2])
def test_transposed_convolution_cut_by_padding(tmp_path, attributes, size, group):
    g = Graph()
    x = g.input("x", 1, 4, 5, 5)
    y = g.node(
        "ConvTranspose",
        x,
        g.weight("w", 4, 6 // group, 3, 3),
        g.weight("b", 6),
        name="up",
        strides=[2, 2],
        group=group,
        **attributes,
    )
    g.output(g.node("Relu", y), 1, 6, size, size)
    network = g.load(tmp_path)
    phases = [layer for layer in network if layer.name.startswith("up")]
    assert sum(p.operator.words(p.operator.output) for p in phases) == 6 * size * size
    assert network.parameters == 4 * 6 // group * 9 + 6
    assert network.predecessors("relu1") == [p.name for p in phases]
    assert "relu1" in network.fusable()
    if not attributes:
        from accelerators.operators import conv_transpose2d

        assert [p.operator for p in phases] == list(
            conv_transpose2d(G=group, K=6 // group, C=4 // group, H=5, W=5, R=3, S=3, stride=2).values()
        )


def test_dynamic_dimensions(tmp_path):
    assert one_conv(batch="n").load(tmp_path, batch=5).macs == 5 * one_conv(batch=1).load(tmp_path).macs
    with pytest.raises(NetworkError, match=r"input 'x' has open dimensions \[n, 6, 17, 20\]: set batch=1"):
        one_conv(batch="n").load(tmp_path)
    with pytest.raises(NetworkError, match=r"the batch is fixed: x\[0\] = 2 \(got batch=4\)"):
        one_conv(batch=2).load(tmp_path, batch=4)
    with pytest.raises(NetworkError, match="batch must be an integer >= 1"):
        one_conv(batch="n").load(tmp_path, batch=0)

    def sequence(axis):
        g = Graph()
        g.output(g.node("MatMul", g.input("x", "n", axis, 8), g.weight("w", 8, 4)), "n", axis, 4)
        return g

    assert sequence("seq").load(tmp_path, batch=2, dimensions={"seq": 7}).macs == 2 * 7 * 32
    assert sequence(None).load(tmp_path, batch=2, dimensions={"x[1]": 7}).macs == 2 * 7 * 32
    with pytest.raises(NetworkError, match=r"\[2, seq, 8\]: set dimensions=\{'seq': 128\}"):
        sequence("seq").load(tmp_path, batch=2)
    with pytest.raises(NetworkError, match=r"set batch=1 \(--batch 1\), dimensions=\{'x\[1\]': 128\}"):
        sequence(None).load(tmp_path)
    with pytest.raises(NetworkError, match=r"no open dimension is called sek \(open: n, seq\)"):
        sequence("seq").load(tmp_path, batch=1, dimensions={"sek": 3})


def test_matrix_products(tmp_path):
    g = Graph()
    x = g.input("x", 2, 10, 8)
    y = g.node("Add", g.node("MatMul", x, g.weight("w", 8, 12), name="linear"), g.weight("bias", 12))
    y = g.node("Relu", y, name="relu")
    y = g.node(
        "Gemm",
        g.node("Reshape", y, g.integers("s", 20, 12)),
        g.weight("v", 5, 12),
        g.weight("c", 5),
        name="gemm",
        transB=1,
    )
    g.output(y, 20, 5)
    network = g.load(tmp_path)
    assert [layer.name for layer in network] == ["linear", "relu", "gemm"]
    assert network.layer("linear").parameters == 8 * 12 + 12
    assert str(network.layer("linear").operator) == "matmul(N2 K12 C8 P10)"
    assert str(network.layer("gemm").operator) == "matmul(N2 K5 C12 P10)"
    assert network.layer("gemm").parameters == 65
    assert network.predecessors("gemm") == ["relu"]


def test_product_of_activations_broadcasts(tmp_path):
    g = Graph()
    q, k = g.input("q", 2, 8, 10, 16), g.input("k", 2, 1, 16, 10)
    g.output(g.node("MatMul", q, k, name="full"), 2, 8, 10, 10)
    g.output(g.node("MatMul", q, g.input("r", 16, 3), name="right"), 2, 8, 10, 3)
    network = g.load(tmp_path)
    # One key head serves eight query heads (the operand is not read eight times).
    assert str(network.layer("full").operator) == "batched_matmul(G2 K10 C16 P80)"
    assert str(network.layer("right").operator) == "batched_matmul(K3 C16 P160)"
    assert network.macs == 2 * 8 * 10 * 16 * 13
    assert network.parameters == 0


@pytest.mark.parametrize(
    "equation, left, right, text",
    [
        ("bhqd,bhkd->bhqk", (2, 4, 6, 8), (2, 4, 5, 8), "batched_matmul(G8 K5 C8 P6)"),
        ("bqd,dk->bqk", (2, 6, 8), (8, 3), "batched_matmul(K3 C8 P12)"),
    ],
)
def test_einsum(tmp_path, equation, left, right, text):
    g = Graph()
    y = g.node("Einsum", g.input("a", *left), g.input("b", *right), equation=equation)
    g.output(y, *(None,) * len(equation.split("->")[1]))
    assert str(only(g.load(tmp_path)).operator) == text


def test_einsum_that_is_no_product_is_unsupported(tmp_path):
    g = Graph()
    g.output(g.node("Einsum", g.input("a", 3, 3), g.input("b", 3), name="odd", equation="ii,i->i"), 3)
    with pytest.raises(NetworkError, match="node 'odd' \\(Einsum\\): the equation ii,i->i is not supported"):
        g.load(tmp_path)


def transformer_block(opset=17, width=64, heads=4, tokens="seq", fused=True):
    """Pre-norm block as exporters write it: products of activations, reshapes computed from the input's shape."""
    g = Graph(opset)
    x = g.input("x", "batch", tokens, width)
    g.integers("axis0", 0, scalar=True)
    g.integers("axis1", 1, scalar=True)
    g.integers("zero", 0)
    shape = g.node("Shape", x)
    sizes = [g.node("Unsqueeze", g.node("Gather", shape, f"axis{i}", axis=0), "zero") for i in (0, 1)]
    split = g.node("Concat", *sizes, g.integers("heads", heads, width // heads), axis=0)
    merged = g.node("Concat", *sizes, g.integers("width", width), axis=0)
    y = g.node("LayerNormalization", x, g.weight("g1", width), g.weight("b1", width), name="ln1", axis=-1)
    parts = {}
    for part, order in {"q": [0, 2, 1, 3], "k": [0, 2, 3, 1], "v": [0, 2, 1, 3]}.items():
        z = g.node("MatMul", y, g.weight(f"w{part}", width, width), name=part)
        z = g.node("Add", g.weight(f"bias{part}", width), z)
        parts[part] = g.node("Transpose", g.node("Reshape", z, split), perm=order, name=f"transpose_{part}")
    scores = g.node("Div", g.node("MatMul", parts["q"], parts["k"], name="scores"), g.weight("root"), name="scale")
    weights = g.node("Softmax", scores, axis=-1, name="softmax")
    z = g.node(
        "Transpose", g.node("MatMul", weights, parts["v"], name="context"), perm=[0, 2, 1, 3], name="transpose_o"
    )
    z = g.node("MatMul", g.node("Reshape", z, merged), g.weight("wo", width, width), name="o")
    x = g.node("Add", g.node("Add", z, g.weight("biaso", width)), x, name="residual1")
    y = g.node("LayerNormalization", x, g.weight("g2", width), g.weight("b2", width), name="ln2", axis=-1)
    y = g.node("Add", g.node("MatMul", y, g.weight("up", width, 4 * width), name="up"), g.weight("bup", 4 * width))
    erf = g.node("Erf", g.node("Div", y, g.weight("two"), name="gelu.div"), name="gelu.erf")
    y = g.node("Mul", g.node("Mul", y, g.node("Add", erf, g.weight("one")), name="gelu.mul"), g.weight("half"))
    y = g.node("Add", g.node("MatMul", y, g.weight("down", 4 * width, width), name="down"), g.weight("bdown", width))
    g.output(g.node("Add", x, y, name="residual2"), "batch", tokens, width)
    return g


def test_transformer_block(tmp_path):
    network = transformer_block().load(tmp_path, batch=3, dimensions={"seq": 10})
    assert network.macs == 3 * (12 * 64**2 * 10 + 2 * 10 * 10 * 64)
    assert network.parameters == 12 * 64**2 + 13 * 64  # a block of GPT-2 has 12 d^2 + 13 d
    assert str(network.layer("scores").operator) == "batched_matmul(G12 K10 C16 P10)"
    assert network.operands("scores") == {"inputs": ("transpose_q",), "operand": ("transpose_k",)}
    assert network.predecessors("residual1") == ["o"]
    assert network.layer("softmax").operator.bound("K") == 10
    # Nothing is left of the shape arithmetic, and the biases are folded.
    assert not any(layer.operator.kind in {"shape", "concat", "unsqueeze"} for layer in network)
    assert "residual2" in network.fusable()


def test_gpt2_block_equals_the_zoo(tmp_path):
    imported = transformer_block(width=768, heads=12, tokens=16).load(tmp_path, batch=1)
    zoo = load("gpt2_prefill", sequence=16)
    block = [layer for layer in zoo if layer.name.startswith("transformer.h.0.")]
    assert imported.macs == sum(layer.operator.macs for layer in block)
    assert imported.parameters == sum(layer.parameters for layer in block)


def test_opset_23_attention(tmp_path):
    g = Graph(23)
    q, k, v = g.input("q", 2, 10, 64), g.input("k", 2, 12, 32), g.input("v", 2, 12, 32)
    g.output(g.node("Attention", q, k, v, name="a", q_num_heads=8, kv_num_heads=4), 2, 10, 64)
    network = g.load(tmp_path)
    assert [layer.name for layer in network] == ["a.scores", "a.softmax", "a.context"]
    assert network.macs == 2 * 8 * 10 * 12 * 8 * 2
    assert network.edges == [("a.scores", "a.softmax"), ("a.softmax", "a.context")]


def resnet18(batch="N"):
    g = Graph()
    g.size = 0

    def conv(x, name, C, K, kernel, stride=1, relu=True):
        pad = kernel // 2
        x = g.node(
            "Conv", x, g.weight(f"{name}.w", K, C, kernel, kernel), name=name, strides=[stride] * 2, pads=[pad] * 4
        )
        x = g.node(
            "BatchNormalization",
            x,
            *(g.weight(f"{name}.{p}", K) for p in ("scale", "shift", "mean", "var")),
            name=f"{name}.bn",
        )
        return g.node("Relu", x, name=f"{name}.relu") if relu else x

    x = conv(g.input("x", batch, 3, 224, 224), "conv1", 3, 64, 7, 2)
    x = g.node("MaxPool", x, name="maxpool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    C = 64
    for stage in range(4):
        for i in range(2):
            name, K, stride = f"layer{stage + 1}.{i}", 64 << stage, 2 if stage and not i else 1
            y = conv(conv(x, f"{name}.conv1", C, K, 3, stride), f"{name}.conv2", K, K, 3, relu=False)
            if stride > 1:
                x = conv(x, f"{name}.downsample.0", C, K, 1, stride, relu=False)
            x = g.node("Relu", g.node("Add", y, x, name=f"{name}.add"), name=f"{name}.relu")
            C = K
    x = g.node("Flatten", g.node("GlobalAveragePool", x, name="avgpool"))
    g.output(g.node("Gemm", x, g.weight("fc.w", 1000, 512), g.weight("fc.b", 1000), name="fc", transB=1), batch, 1000)
    return g


@pytest.mark.parametrize("batch", [1, 4])
def test_resnet18_equals_the_zoo(tmp_path, batch):
    imported, zoo = resnet18().load(tmp_path, batch=batch), load("resnet18", batch=batch)
    assert imported.parameters == zoo.parameters == 11_689_512
    assert imported.macs == zoo.macs
    assert set(imported.edges) == set(zoo.edges)
    assert {layer.name: layer for layer in imported} == {layer.name: layer for layer in zoo}
    assert imported.fusable() == zoo.fusable()


def test_batch_normalisation_that_cannot_be_folded(tmp_path):
    g = Graph()
    x = g.node("Conv", g.input("x", 2, 3, 8, 8), g.weight("w", 4, 3, 1, 1), name="conv")
    y = g.node("BatchNormalization", x, *(g.weight(p, 4) for p in "sbmv"), name="bn")
    g.output(g.node("Add", x, y, name="add"), 2, 4, 8, 8)
    network = g.load(tmp_path)
    assert [layer.name for layer in network] == ["conv", "bn", "add"]
    assert str(network.layer("bn").operator) == f"normalization(N4 K{2 * 64})"
    assert network.layer("bn").parameters == 8


def test_normalisations_softmax_and_movement(tmp_path):
    g = Graph(21)
    x = g.input("x", 2, 8, 4, 4)
    y = g.node("InstanceNormalization", x, g.weight("s", 8), g.weight("b", 8), name="instance")
    y = g.node("GroupNormalization", y, g.weight("s2", 8), g.weight("b2", 8), name="group", num_groups=4)
    y = g.node("Softmax", y, name="softmax", axis=1)
    y = g.node("Transpose", y, name="permute", perm=[0, 2, 3, 1])
    y = g.node("ReduceMean", y, g.integers("axes", 1, 2), name="mean", keepdims=0)
    y = g.node("Clip", y, g.weight("low"), g.weight("high"), name="clip")
    g.output(y, 2, 8)
    network = g.load(tmp_path)
    texts = {layer.name: str(layer.operator) for layer in network}
    assert texts == {
        "instance": "normalization(N16 K16)", "group": "normalization(N8 K32)", "softmax": "softmax(N32 K8)",
        "permute": "permute(N256)", "mean": "reduce(N16 K16)", "clip": "clip(N16)",
    }  # fmt: skip
    assert network.parameters == 16 + 16
    assert network.fusable() == {}


def test_old_softmax_flattens(tmp_path):
    g = Graph(11)
    g.output(g.node("Softmax", g.input("x", 2, 3, 4)), 2, 3, 4)
    assert str(only(g.load(tmp_path)).operator) == "softmax(N2 K12)"


def test_embedding_shared_with_the_output_head(tmp_path):
    g = Graph()
    table = g.weight("table", 100, 16)
    x = g.node("Gather", table, g.input("ids", 1, 7, kind=INT64), name="embedding")
    y = g.node("MatMul", x, g.node("Transpose", table, perm=[1, 0]), name="head")
    g.output(y, 1, 7, 100)
    network = g.load(tmp_path)
    assert network.parameters == 1600
    assert network.layer("embedding").operator.kind == "embedding"
    assert network.layer("embedding").operator.iterations == 7 * 16
    assert network.layer("head").operator.weight_words == 1600


def test_class_token_counts_although_concatenation_is_a_view(tmp_path):
    g = Graph()
    x = g.node("Concat", g.weight("token", 1, 1, 8), g.input("x", 1, 4, 8), axis=1)
    x = g.node("Add", x, g.weight("positions", 1, 5, 8), name="add")
    first = g.node("Gather", x, g.integers("first", 0, scalar=True), axis=1)
    g.output(g.node("Gemm", first, g.weight("w", 8, 3), name="head"), 1, 3)
    network = g.load(tmp_path)
    assert [layer.name for layer in network] == ["add", "head"]
    assert network.layer("add").parameters == 8 + 40
    assert network.predecessors("head") == ["add"]


def test_quantised_operators_have_the_widths_of_their_types(tmp_path):
    g = Graph()
    for name in ("s", "t"):
        g.weight(name)
    for name in ("z", "zz"):
        g.weight(name, kind=UINT8)
    x = g.node("QuantizeLinear", g.input("x", 1, 3, 8, 8), "s", "z", name="in")
    weight, zero = g.weight("w", 4, 3, 3, 3, kind=INT8), g.weight("wz", kind=INT8)
    y = g.node("QLinearConv", x, "s", "z", weight, "t", zero, "t", "zz", g.weight("b", 4, kind=INT32), name="conv")
    y = g.node("Reshape", y, g.integers("shape", 1, -1))
    y = g.node("QLinearMatMul", y, "s", "z", g.weight("v", 144, 5, kind=INT8), "t", zero, "t", "zz", name="fc")
    g.output(g.node("DequantizeLinear", y, "t", "zz"), 1, 5)
    network = g.load(tmp_path)
    assert [layer.name for layer in network] == ["in", "conv", "fc"]
    assert network.parameters == 4 * 27 + 4 + 144 * 5
    for name in ("conv", "fc"):
        assert {t.bits for t in network.layer(name).operator.tensors} == {8}
    assert network.macs == 4 * 27 * 36 + 144 * 5


def test_quantise_dequantise_pairs_are_widths_not_work(tmp_path):
    g = Graph()
    g.weight("s"), g.weight("z", kind=INT8)
    x = g.node("DequantizeLinear", g.node("QuantizeLinear", g.input("x", 1, 3, 8, 8), "s", "z", name="in"), "s", "z")
    w = g.node("DequantizeLinear", g.weight("w", 4, 3, 3, 3, kind=INT8), "s", "z")
    y = g.node("Conv", x, w, name="conv")
    y = g.node("DequantizeLinear", g.node("QuantizeLinear", y, "s", "z"), "s", "z")
    g.output(g.node("Relu", y, name="relu"), 1, 4, 6, 6)
    network = g.load(tmp_path)
    assert [layer.name for layer in network] == ["in", "conv", "relu"]
    assert {t.name: t.bits for t in network.layer("conv").operator.tensors} == {"weights": 8, "inputs": 8, "outputs": 8}
    assert network.parameters == 108


def test_folds_shape_arithmetic_that_inference_cannot_follow(tmp_path):
    g = Graph()
    x = g.input("x", "n", 4, 6)
    shape = g.node("Shape", x)
    wild = g.node("Equal", shape, g.integers("minus", -1, -1, -1))
    ones = g.node("ConstantOfShape", g.node("Shape", shape), value=helper.make_tensor("v", INT64, [1], [1]))
    target = g.node("Where", wild, ones, shape)
    token = g.node("Expand", g.node("Expand", g.weight("token", 1, 1, 6), target), target)
    g.output(g.node("Add", x, token, name="add"), None, None, None)
    network = g.load(tmp_path, batch=2)
    assert [layer.name for layer in network] == ["add"]
    assert network.parameters == 6


def test_a_mask_is_read_but_not_trained(tmp_path):
    g = Graph()
    mask = g.node("Cast", g.weight("mask", 1, 8, 8, kind=UINT8), to=TensorProto.BOOL)
    g.output(g.node("Where", mask, g.input("x", 2, 8, 8), g.weight("low"), name="where"), 2, 8, 8)
    layer = only(g.load(tmp_path))
    assert layer.parameters == 0 and layer.operator.weight_words == 64
    assert str(layer.operator) == "where(N2 K64)"


def test_functions_are_expanded(tmp_path):
    body = [helper.make_node("Relu", ["a"], ["t"]), helper.make_node("Neg", ["t"], ["b"])]
    function = helper.make_function("my.domain", "Block", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    g = Graph()
    g.output(g.node("Block", g.input("x", 1, 4), domain="my.domain"), 1, 4)
    model = g.model()
    model.functions.append(function)
    path = tmp_path / "f.onnx"
    path.write_bytes(model.SerializeToString())
    assert [layer.operator.kind for layer in load(path)] == ["relu", "neg"]


def unsupported():
    g = Graph()
    y = g.node("Relu", g.input("x", 1, 4, 10), name="relu")
    y = g.node("Strange", y, name="odd", domain="my.domain")
    y, _, _ = g.node(
        "LSTM", y, g.weight("w", 1, 20, 10), g.weight("r", 1, 20, 5), name="lstm", outputs=3, hidden_size=5
    )
    g.output(y, 1, 1, 4, 5)
    model = g.model()
    model.graph.value_info.append(helper.make_tensor_value_info("odd:0", FLOAT, [1, 4, 10]))
    return model


def test_unsupported_operators_are_all_listed(tmp_path):
    path = tmp_path / "u.onnx"
    path.write_bytes(unsupported().SerializeToString())
    with pytest.raises(NetworkError) as error:
        load(path)
    assert "node 'odd' (my.domain.Strange): not supported" in str(error.value)
    assert "node 'lstm' (LSTM): not supported" in str(error.value)
    assert "2 operators" in str(error.value) and "allow_unknown=True" in str(error.value)


def test_unknown_operators_may_be_costed_as_data_movement(tmp_path):
    path = tmp_path / "u.onnx"
    path.write_bytes(unsupported().SerializeToString())
    network = load(path, allow_unknown=True)
    assert [layer.operator.kind for layer in network] == ["relu", "unknown", "unknown"]
    assert len(network.warnings) == 2 and "odd" in network.warnings[0]
    assert network.predecessors("lstm") == ["odd"]
    assert network.parameters == 300
    assert network.fusable() == {}


def test_control_flow_and_three_dimensional_convolutions_are_unsupported(tmp_path):
    g = Graph()
    branch = [
        helper.make_graph(
            [helper.make_node("Identity", ["x"], [n])], n, [], [helper.make_tensor_value_info(n, 1, [1, 2])]
        )
        for n in ("yes", "no")
    ]
    g.input("x", 1, 2)
    y = g.node(
        "If", g.input("flag", kind=TensorProto.BOOL), name="branch", then_branch=branch[0], else_branch=branch[1]
    )
    g.output(y, 1, 2)
    with pytest.raises(NetworkError, match="node 'branch' \\(If\\): not supported"):
        g.load(tmp_path)
    g = Graph()
    y = g.node("Conv", g.input("x", 1, 2, 4, 4, 4), g.weight("w", 3, 2, 1, 1, 1), name="deep")
    y = g.node("Conv", y, g.weight("v", 3, 3, 1, 1, 1), name="deeper")
    g.output(y, 1, 3, 4, 4, 4)
    with pytest.raises(NetworkError, match=r"2 operators[^$]*'deep' \(Conv\): 3-dimensional[^$]*'deeper'"):
        g.load(tmp_path)


def test_missing_external_data_is_not_missed(tmp_path):
    path = tmp_path / "big.onnx"
    onnx.save(resnet18().model(), str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    assert load(path, batch=1).parameters == 11_689_512


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "the file is empty"),
        (b"hello world\n", "not an ONNX file, or cut off"),
        (b"\x00" * 64, "not an ONNX file"),
        (onnx.ModelProto().SerializeToString() or b"\x08\x09", "has no nodes"),
    ],
)
def test_files_that_are_no_models(tmp_path, content, message):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(NetworkError, match=f"broken.onnx: .*{message}"):
        load(path)


def test_every_truncation_is_an_error_with_a_message(tmp_path):
    data = one_conv().model().SerializeToString()
    path = tmp_path / "cut.onnx"
    for end in range(0, len(data), 7):
        path.write_bytes(data[:end])
        with pytest.raises(NetworkError):
            load(path)


def test_missing_file_directory_and_invalid_model(tmp_path):
    with pytest.raises(NetworkError, match=r"nowhere\.onnx: no such file"):
        load("nowhere.onnx")
    (tmp_path / "d.onnx").mkdir()
    with pytest.raises(NetworkError, match=r"d\.onnx: cannot be read"):
        load(tmp_path / "d.onnx")
    g = Graph()
    g.output(g.node("Relu", "nobody"), 1)
    with pytest.raises(NetworkError, match=r"not a valid ONNX model: .*nobody"):
        g.load(tmp_path)
    g = Graph()
    g.output(g.node("MatMul", g.input("x", 2, 3), g.weight("w", 4, 5)), 2, 5)
    with pytest.raises(NetworkError, match="shapes do not fit"):
        g.load(tmp_path)


def test_shape_that_depends_on_data_names_the_tensor(tmp_path):
    g = Graph()
    y = g.node("Reshape", g.input("x", 4, 6), g.input("target", 2, kind=INT64), name="reshape")
    g.output(g.node("Relu", y, name="relu"), "a", "b")
    with pytest.raises(NetworkError, match=r"tensor 'relu:0' has open dimensions \[a, b\]"):
        g.load(tmp_path)


def test_missing_package_says_what_to_install(monkeypatch):
    for module in ("codesign.networks._onnx_model", "codesign.networks._onnx_nodes"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(NetworkError, match=r"pip install 'codesign\[onnx\]'"):
        load("model.onnx")


def test_unknown_option(tmp_path):
    with pytest.raises(NetworkError, match="unknown option resolution \\(it takes batch, dimensions, allow_unknown\\)"):
        load("m.onnx", resolution=3)


LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@pytest.mark.skipif(not LIGHT.is_dir(), reason="this onnx package comes without its test models")
@pytest.mark.parametrize(
    "file, macs, parameters",
    [
        # As torchvision counts ResNet-50 and VGG19 (4.089 and 19.632 G) and the parameters of SqueezeNet 1.1.
        ("light_resnet50", 4_089_184_256, 25_557_032),
        ("light_vgg19", 19_632_062_464, 143_667_240),
        ("light_squeezenet", None, 1_235_496),
        # Caffe's AlexNet takes 224 x 224 here; its parameters are those of the zoo's grouped AlexNet.
        ("light_bvlc_alexnet", None, 60_965_224),
        # DenseNet-121 (2.834 G); its normalisation comes before the convolutions. The file scales twice in places.
        ("light_densenet121", 2_834_161_664, None),
    ],
)
def test_models_that_the_onnx_package_ships(file, macs, parameters):
    network = load(LIGHT / f"{file}.onnx")
    assert macs in (None, network.macs)
    assert parameters in (None, network.parameters)


@pytest.mark.parametrize(
    ("channels", "group", "message"),
    [(5, 1, "weights take 3 x 1 groups"), (3, 2, "weights take 3 x 2 groups"), (3, 0, "group must be >= 1")],
)
def test_channels_and_groups_that_do_not_fit_the_weights(tmp_path, channels, group, message):
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=group)
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, 8, 8]),
        helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 3, 3, 3]),
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "k", "p", "q"])
    path = tmp_path / "bad.onnx"
    path.write_bytes(helper.make_model(helper.make_graph([node], "g", inputs, [output])).SerializeToString())
    with pytest.raises(NetworkError, match=message):
        load(path)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    node = helper.make_node("Relu", ["x"], ["y"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in "xy"]
    data = helper.make_model(helper.make_graph([node], "g", values[:1], values[1:])).SerializeToString()
    path = tmp_path / "bad.onnx"
    path.write_bytes(data.replace(b"Relu", b"R\xb8lu"))
    with pytest.raises(NetworkError):
        load(path)
