"""Export to ONNX: the import finds the same layers, the reference evaluator the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
from onnx.reference import ReferenceEvaluator  # noqa: E402

from codesign.nas.spaces import fbnet, nas_bench_201, ofa_mobilenet_v3  # noqa: E402
from codesign.networks import Builder, NetworkError, load  # noqa: E402
from codesign.networks.onnx_export import export_onnx  # noqa: E402
from codesign.networks.torch_module import to_torch  # noqa: E402

_SAME = {
    "resnet18": lambda: load("resnet18", batch=2, resolution=32),
    "mobilenet_v2": lambda: load("mobilenet_v2", batch=2, resolution=32),
    "mobilenet_v3_large": lambda: load("mobilenet_v3_large", resolution=32),
    "efficientnet_b0": lambda: load("efficientnet_b0", resolution=32),
    "squeezenet1_0": lambda: load("squeezenet1_0", resolution=64),
    "ds_cnn": lambda: load("ds_cnn", batch=3),
    "fbnet": lambda: fbnet.network([*range(9), *range(9), 1, 5, 8, 2], batch=2),
    "ofa": lambda: ofa_mobilenet_v3.network([3, 5, 7, 3] * 5, [3, 4, 6, 3] * 5, [2, 3, 4, 2, 3], resolution=32),
}


def _round_trip(network, tmp_path, **options):
    export_onnx(network, tmp_path / "n.onnx", **options)
    return load(tmp_path / "n.onnx")


@pytest.mark.parametrize("name", _SAME)
def test_the_import_finds_the_same_layers(name, tmp_path):
    network = _SAME[name]()
    again = _round_trip(network, tmp_path)
    assert list(again) == list(network)
    assert again.edges == network.edges


def test_a_cell_keeps_its_zeros(tmp_path):
    network = nas_bench_201.network("|none~0|+|skip_connect~0|nor_conv_1x1~1|+|avg_pool_3x3~0|none~1|nor_conv_3x3~2|")
    again = _round_trip(network, tmp_path)
    assert sum(layer.operator.kind == "zero" for layer in again) == 30
    # The normalisation before the last ReLU is a layer there.
    assert [layer.operator for layer in again if layer.name != "lastact.1.bn"] == [layer.operator for layer in network]
    assert again.parameters == network.parameters


def _transformer(causal):
    b = Builder("transformer", batch=2)
    image = b.conv(b.input(3, 8, 8), "patches", K=16, kernel=4, stride=4)
    x = b.concat(b.trained("class_token", 1, 16), b.tokens(image))
    x = b.add_trained(x, "positions", parameters=x.shape[0] * 16 + 16)
    y = b.linear(b.layernorm(x, "norm"), "qkv", K=48)
    q, k, v = (b.crop(y, 5, 16, start=[0, part * 16]) for part in range(3))
    y = b.attention(q, k, v, "attention", heads=4, causal=causal)
    x = b.add("add", b.linear(y, "out", K=16), x)
    words = b.add(
        "words",
        b.embedding("table", tokens=5, rows=9, features=16),
        b.embedding("p", tokens=5, rows=9, features=16, first=2),
    )
    x = b.add("both", b.activation(x, "gelu", "gelu"), words)
    b.linear(x, "head", K=9, bias=False, shared="table")
    return b.network


@pytest.mark.parametrize("causal", [False, True])
def test_a_transformer_keeps_macs_and_parameters(causal, tmp_path):
    network = _transformer(causal)
    again = _round_trip(network, tmp_path)
    assert again.macs == network.macs
    assert again.parameters == network.parameters == sum(p.numel() for p in to_torch(network).parameters())
    assert {layer.name for layer in network} - {layer.name for layer in again} == {"p"}


def _everything():
    b = Builder("everything", batch=2)
    x = b.conv(b.input(3, 13, 12), "c1", K=8, kernel=(3, 2), stride=2, padding="same", bn=True, bias=True)
    x = b.activation(x, "a1", "relu6")
    y = b.conv(x, "c2", K=8, kernel=3, padding=2, dilation=2, groups=4, activation="hswish")
    x = b.add("sum", x, b.zeros(x, "zero"), y)
    x = b.shuffle(b.local_response_norm(x, "lrn"), "shuffle", groups=2)
    x = b.pool(
        b.pool(x, "p1", kernel=3, stride=2, padding=1, ceil=True, kind="average"), "p2", kernel=2, stride=1, kind="max"
    )
    x = b.conv_transpose(x, "up", K=4, kernel=3, stride=2)
    x = b.concat(b.activation(b.batch_norm(x, "bn"), "a2", "sigmoid"), b.crop(x, 2, 7, 7, start=[1, 0, 0]))
    gate = b.conv(b.global_pool(x, "gap"), "g", K=6, kernel=1, activation="hsigmoid")
    x = b.activation(b.mul("mul", x, gate), "a3", "tanh", bn=True)
    b.softmax(b.linear(b.flatten(x), "fc", K=5), "softmax")
    return b.network


@pytest.mark.parametrize(
    "network",
    [
        _everything(),
        _transformer(False),
        _transformer(True),
        nas_bench_201.network([0, 1, 2, 3, 4, 3], batch=2, resolution=8, channels=4, cells_per_stage=1),
    ],
    ids=lambda network: network.name,
)
def test_the_file_computes_what_the_module_does(network, tmp_path):
    module = to_torch(network, seed=0)
    generator = torch.Generator().manual_seed(0)
    indices = {id(v) for layer in network if (v := getattr(layer.computation, "indices", None)) is not None}
    inputs = [
        torch.randint(9, (2, *value.shape), generator=generator)
        if id(value) in indices
        else torch.randn((2, *value.shape), generator=generator)
        for value in network.inputs
    ]
    with torch.no_grad():
        module.train()(*inputs)  # so that running statistics are not ones and zeros
        wanted = module.eval()(*inputs).numpy()
    export_onnx(network, tmp_path / "n.onnx", module=module)
    (got,) = ReferenceEvaluator(str(tmp_path / "n.onnx")).run(
        None, {f"input{i}": x.numpy() for i, x in enumerate(inputs)}
    )
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, atol=2e-5)


def test_what_cannot_be_written_is_named(tmp_path):
    b = Builder("n")
    b.adaptive_pool(b.input(2, 9, 9), "p", 6)
    with pytest.raises(NetworkError, match=r"n: layer 'p' cannot be written: ONNX has no pooling of \[9, 9\] to 6x6"):
        export_onnx(b.network, tmp_path / "n.onnx")
    with pytest.raises(NetworkError, match="the module is that of another network"):
        export_onnx(load("ds_cnn"), tmp_path / "n.onnx", module=to_torch(_everything()))
    with pytest.raises(NetworkError, match="the module has no shortcuts"):
        export_onnx(_everything(), tmp_path / "n.onnx", module=to_torch(_everything(), shortcuts=False))
    with pytest.raises(NetworkError, match=r"cannot be written: No such file"):
        export_onnx(load("ds_cnn"), tmp_path / "missing" / "n.onnx")
