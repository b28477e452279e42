"""Networks as torch modules: parameters, shapes, and numbers against modules written by hand."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

from accelerators.operators import elementwise  # noqa: E402
from codesign.nas.spaces import fbnet, hat, nas_bench_201, ofa_mobilenet_v3  # noqa: E402
from codesign.networks import ZOO, Builder, NetworkError, Value, load  # noqa: E402
from codesign.networks.computation import Embedding, Output  # noqa: E402
from codesign.networks.torch_module import features_of, initialise, to_torch, weighted_layers  # noqa: E402

_SMALL = {
    "alexnet": {},
    "alexnet_grouped": {},
    "vgg16": {"resolution": 32},
    "unet": {"resolution": 188},
    "bert_base": {"sequence": 6},
    "gpt2_prefill": {"sequence": 6},
    "gpt2_decode": {"context": 6},
    "ds_cnn": {},
}
_CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|avg_pool_3x3~1|nor_conv_3x3~2|"
_GENES = hat.Genes(
    encoder_embed=512,
    encoder_ffn=(1024,) * 6,
    encoder_heads=(4,) * 6,
    decoder_embed=512,
    decoder_ffn=(1024,) * 2,
    decoder_heads=(4,) * 2,
    ende_heads=(8,) * 2,
    attended=(-1, 2),
)


def _inputs(network, batch=2):
    """Noise, or indices where an embedding reads them."""
    tables = {
        layer.computation.indices: layer.computation.rows
        for layer in network
        if isinstance(layer.computation, Embedding)
    }
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randint(tables[value], (batch, *value.shape), generator=generator)
        if value in tables
        else torch.randn((batch, *value.shape), generator=generator)
        for value in network.inputs
    ]


def _count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", [name for name in ZOO if name not in ("alexnet_grouped", "vgg16", "gpt2_decode")])
def test_the_zoo_runs_with_its_parameters(name):
    network = load(name, **_SMALL.get(name, {"resolution": 32 if name != "squeezenet1_0" else 64}))
    module = to_torch(network, seed=0).eval()
    assert _count(module) == network.parameters
    with torch.no_grad():
        output = module(*_inputs(network))
    operator = list(network)[-1].operator
    assert output[0].numel() == operator.words(operator.output)
    assert torch.isfinite(output).all()


@pytest.mark.parametrize(
    "network",
    [
        nas_bench_201.network(_CELL),
        fbnet.network([*range(9), *range(9), 1, 5, 8, 2]),
        ofa_mobilenet_v3.network([3, 5, 7, 3] * 5, [3, 4, 6, 3] * 5, [2, 3, 4, 2, 3], resolution=64),
        hat.encoder(_GENES, tokens=5, vocabulary=50),
        hat.decoder_step(_GENES, position=0, tokens=5, vocabulary=50),
        hat.decoder_step(_GENES, position=3, tokens=5, vocabulary=50, tied=False),
    ],
    ids=lambda network: network.name,
)
def test_the_spaces_run_with_their_parameters(network):
    module = to_torch(network, seed=0).eval()
    assert _count(module) == network.parameters
    with torch.no_grad():
        assert torch.isfinite(module(*_inputs(network))).all()


class _Residual(nn.Module):
    """ResNet's basic block with a projection, written down once more."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(4, 8, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.down = nn.Conv2d(4, 8, 1, 2, bias=False)
        self.bn3 = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        y = torch.relu(y + self.bn3(self.down(x)))
        return self.fc(y.mean((2, 3)))


def _residual():
    b = Builder("residual")
    x = b.input(4, 9, 9)
    y = b.conv(x, "conv1", K=8, kernel=3, stride=2, padding=1, bn=True, activation="relu")
    y = b.conv(y, "conv2", K=8, kernel=3, padding=1, bn=True)
    x = b.conv(x, "down", K=8, kernel=1, stride=2, bn=True)
    x = b.activation(b.add("add", y, x), "relu", "relu")
    b.linear(b.flatten(b.global_pool(x, "pool")), "fc", K=3)
    return b.network


@pytest.mark.parametrize("train", [False, True])
def test_a_residual_block_computes_what_torch_does(train):
    module, by_hand = to_torch(_residual(), seed=1), _Residual()
    by_hand.load_state_dict(dict(zip(by_hand.state_dict(), module.state_dict().values(), strict=True)))
    x = torch.randn(5, 4, 9, 9, generator=torch.Generator().manual_seed(0))
    module.train(train), by_hand.train(train)
    assert torch.allclose(module(x), by_hand(x), atol=1e-6)
    # Running statistics of both have moved, or not.
    assert torch.allclose(module.layer("down").bn.running_var, by_hand.bn3.running_var)


def test_gradients_of_a_residual_block_are_those_of_torch():
    module, by_hand = to_torch(_residual(), seed=1), _Residual()
    by_hand.load_state_dict(dict(zip(by_hand.state_dict(), module.state_dict().values(), strict=True)))
    x = torch.randn(5, 4, 9, 9, generator=torch.Generator().manual_seed(0))
    for net in (module, by_hand):
        F.cross_entropy(net(x), torch.tensor([0, 1, 2, 0, 1])).backward()
    for ours, theirs in zip(module.parameters(), by_hand.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-6)


def test_a_cell_of_nas_bench_201_computes_what_its_text_says():
    module = to_torch(nas_bench_201.network(_CELL, resolution=8, cells_per_stage=1, channels=4), seed=0).eval()
    x = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def edge(cell, index, value):
        layer = f"cells.{cell}.layers.{index}.op"
        part = module.layer(f"{layer}.1")
        return part.bn(part.conv(torch.relu(value)))

    def cell(index, value):
        one = edge(index, 0, value)
        two = torch.zeros_like(value) + one
        pooled = F.avg_pool2d(one, 3, 1, 1, count_include_pad=False)
        return edge(index, 3, value) + pooled + edge(index, 5, two)

    def reduction(index, value):
        y = value
        for half in "ab":
            part = module.layer(f"cells.{index}.conv_{half}.op.1")
            y = part.bn(part.conv(torch.relu(y)))
        return y + module.layer(f"cells.{index}.downsample.1").conv(F.avg_pool2d(value, 2))

    stem, last = module.layer("stem.0"), module.layer("lastact.1")
    with torch.no_grad():
        y = stem.bn(stem.conv(x))
        y = cell(4, reduction(3, cell(2, reduction(1, cell(0, y)))))
        y = torch.relu(last.bn(y))
        assert torch.allclose(module.features(x), y, atol=1e-5)
        assert torch.allclose(module(x), module.layer("classifier").linear(y.mean((2, 3))), atol=1e-5)


def test_squeeze_excite_gates_channels():
    b = Builder("gate")
    x = b.input(6, 5, 5)
    gate = b.conv(b.global_pool(x, "pool"), "fc1", K=2, kernel=1, activation="relu")
    gate = b.conv(gate, "fc2", K=6, kernel=1, activation="hsigmoid")
    b.mul("mul", x, gate)
    module = to_torch(b.network, seed=0)
    x = torch.randn(2, 6, 5, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        hidden = torch.relu(module.layer("fc1").conv(x.mean((2, 3), keepdim=True)))
        scale = F.relu6(module.layer("fc2").conv(hidden) + 3) / 6
        assert torch.allclose(module(x), x * scale, atol=1e-6)


def test_same_padding_is_tensorflows():
    """49 x 10 with a 10 x 4 kernel and stride 2: 9 rows of zeros, 4 above; 2 columns, 1 on each side."""
    b = Builder("same")
    y = b.conv(b.input(1, 49, 10), "c", K=2, kernel=(10, 4), stride=2, padding="same")
    module = to_torch(b.network, seed=0)
    conv = module.layer("c").conv
    x = torch.randn(1, 1, 49, 10, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = F.conv2d(F.pad(x, (1, 1, 4, 5)), conv.weight, conv.bias, stride=2)
        assert module(x).shape[1:] == y.shape
        assert torch.equal(module(x), wanted)


@pytest.mark.parametrize("kind, ceil", [("max", False), ("max", True), ("average", False), ("average", True)])
def test_pooling_has_the_shape_that_the_builder_said(kind, ceil):
    b = Builder("pool")
    y = b.pool(b.input(2, 12, 13), "p", kernel=3, stride=2, padding=1, ceil=ceil, kind=kind)
    module = to_torch(b.network)
    ones = torch.ones(1, 2, 12, 13)
    # Padding is not part of an average, so ones stay ones.
    assert torch.equal(module(ones), torch.ones(1, *y.shape))


def test_adaptive_pooling_of_odd_sizes():
    b = Builder("adaptive")
    b.adaptive_pool(b.input(2, 9, 13), "p", 6)
    x = torch.randn(1, 2, 9, 13, generator=torch.Generator().manual_seed(0))
    assert torch.equal(to_torch(b.network)(x), F.adaptive_avg_pool2d(x, 6))


def test_channel_shuffle():
    b = Builder("shuffle")
    b.shuffle(b.input(6, 1, 1), "s", groups=2)
    x = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert to_torch(b.network)(x).flatten().tolist() == [0, 3, 1, 4, 2, 5]


def test_attention_is_torchs_causal_or_not():
    for causal in (False, True):
        b = Builder("attention")
        q, k, v = b.input(4, 8), b.input(6, 8), b.input(6, 8)
        b.attention(q, k, v, "a", heads=2, causal=causal)
        generator = torch.Generator().manual_seed(0)
        tensors = [torch.randn(3, rows, 8, generator=generator) for rows in (4, 6, 6)]
        heads = [t.unflatten(-1, (2, 4)).transpose(1, 2) for t in tensors]
        # The four queries are those of the last four keys.
        mask = torch.ones(4, 6, dtype=torch.bool).tril(2) if causal else None
        wanted = F.scaled_dot_product_attention(*heads, attn_mask=mask).transpose(1, 2).flatten(-2)
        assert torch.allclose(to_torch(b.network)(*tensors), wanted, atol=1e-6)


def test_gpt2_generates_what_it_reads():
    """The last token's output does not depend on whether earlier keys and values come from a cache."""
    b = [Builder(name) for name in ("whole", "step")]
    tokens, features = 5, 8
    x = b[0].input(tokens, 3 * features)
    q, k, v = (b[0].crop(x, tokens, features, start=[0, part * features]) for part in range(3))
    b[0].attention(q, k, v, "a", heads=2, causal=True)
    x = b[1].input(1, 3 * features)
    q, k, v = (b[1].crop(x, 1, features, start=[0, part * features]) for part in range(3))
    k, v = (b[1].concat(b[1].input(tokens - 1, features), part) for part in (k, v))
    b[1].attention(q, k, v, "a", heads=2, causal=True)
    whole, step = (to_torch(builder.network) for builder in b)
    projected = torch.randn(2, tokens, 3 * features, generator=torch.Generator().manual_seed(0))
    _, keys, values = projected[:, :-1].split(features, -1)
    assert torch.allclose(whole(projected)[:, -1:], step(projected[:, -1:], keys, values), atol=1e-6)


def test_shared_weights_are_one_parameter():
    b = Builder("tied")
    x = b.embedding("table", tokens=4, rows=30, features=8)
    b.linear(x, "head", K=30, bias=False, shared="table")
    module = to_torch(b.network, seed=0)
    table = module.layer("table").weight
    assert _count(module) == b.network.parameters == table.numel()
    x = torch.tensor([[0, 1, 2, 3]])
    assert torch.equal(module(x), table[x] @ table.T)
    module(x).sum().backward()
    assert (table.grad.abs().sum(1) > 0).all()  # also of words that the input does not have


def test_the_unet_takes_the_middle_of_what_it_skips():
    network = load("unet", resolution=188, width=2)
    module = to_torch(network, seed=0)
    x = torch.randn(1, 1, 188, 188, generator=torch.Generator().manual_seed(0), requires_grad=True)
    module(x).sum().backward()
    used = (x.grad[0, 0] != 0).nonzero()
    # What the output depends on lies symmetrically in the image.
    assert (used.amin(0) + used.amax(0)).tolist() == [187, 187]


def test_weights_come_from_the_seed_alone():
    network = nas_bench_201.network(_CELL, channels=4, cells_per_stage=1)
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    one, two = to_torch(network, seed=3), to_torch(network, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    other = to_torch(network, seed=4)
    assert not torch.equal(one.layer("stem.0").conv.weight, other.layer("stem.0").conv.weight)


def test_initial_weights_are_distributed_like_pytorchs():
    b = Builder("big")
    b.linear(b.flatten(b.conv(b.input(16, 8, 8), "c", K=64, kernel=3, groups=2)), "fc", K=200)
    module = to_torch(b.network, seed=0)
    for part, fan_in in ((module.layer("c").conv, 8 * 9), (module.layer("fc").linear, 64 * 36)):
        bound = fan_in**-0.5
        assert part.weight.abs().max() <= bound
        assert float(part.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.03)
        assert 0.5 * bound < part.bias.abs().max() <= bound
    initialise(module, torch.Generator().manual_seed(0), gaussian=True)
    assert float(module.layer("fc").linear.weight.detach().std()) == pytest.approx(1, rel=0.01)
    assert not module.layer("fc").linear.bias.any()


def test_epsilon_of_normalisations():
    module = to_torch(_residual(), batch_norm_eps=1e-3)
    assert {part.eps for part in module.modules() if isinstance(part, nn.BatchNorm2d)} == {1e-3}


def test_features_are_what_the_last_pooling_on_all_paths_reads():
    assert features_of(load("resnet18", resolution=64)).shape == (512, 2, 2)
    # Not the pooling of a squeeze-excite block, which is no part of all paths.
    assert features_of(load("mobilenet_v3_large", resolution=64)).shape == (960, 2, 2)
    assert features_of(load("alexnet")).shape == (9216,)
    assert features_of(load("unet", resolution=188)) is None


def test_without_shortcuts_the_longest_way_is_left():
    module, plain = to_torch(_residual(), seed=0).eval(), to_torch(_residual(), seed=0, shortcuts=False).eval()
    state = module.state_dict()
    plain.load_state_dict({key: state[key] for key in plain.state_dict()})
    assert set(state) - set(plain.state_dict()) == {key for key in state if "down" in key}
    x = torch.randn(2, 4, 9, 9, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = torch.relu(module.layer("conv1")(x))
        y = torch.relu(module.layer("conv2")(y)).mean((2, 3))
        assert torch.allclose(plain(x), module.layer("fc").linear(y), atol=1e-6)
    with pytest.raises(NetworkError, match="layer 'down' was left out with the shortcuts"):
        plain.layer("down")


def test_without_shortcuts_there_are_no_gates():
    module = to_torch(load("mobilenet_v3_large", resolution=32), shortcuts=False)
    assert not any("fc1" in name or "fc2" in name for name in module.state_dict())
    assert module.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)


def test_dead_operators_run_and_have_no_gradient():
    cell = "|nor_conv_3x3~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|skip_connect~2|"
    network = nas_bench_201.network(cell, channels=4, cells_per_stage=1, resolution=8)
    module = to_torch(network, seed=0)
    dead = module.layer("cells.0.layers.0.op.1")
    module(torch.randn(2, 3, 8, 8)).sum().backward()
    assert dead.conv.weight.grad is None
    assert (dead.bn.running_mean != 0).any()
    assert module.layer("cells.0.layers.3.op.1").conv.weight.grad is not None


def test_weighted_layers_come_in_order():
    names = [tuple(layer.weight.shape) for layer in weighted_layers(to_torch(_residual()))]
    assert names == [(8, 4, 3, 3), (8, 8, 3, 3), (8, 4, 1, 1), (3, 8)]


def _open_pool(b):
    b.pool(b.input(2, 8, 8), "p", kernel=2)


def _by_hand(b):
    b.network.add("l", elementwise(4))


def _unknown_input(b):
    x = b.conv(b.input(2, 8, 8), "c", K=2, kernel=1)
    b.activation(Value(x.shape, x.sources), "r", "relu")


def _wrong_table(b):
    b.linear(b.embedding("e", tokens=3, rows=7, features=4), "l", K=9, shared="e")


@pytest.mark.parametrize(
    "build, message",
    [
        (_open_pool, r"n: layer 'p' cannot be run: pooling of no known kind \(max or average\)"),
        (_by_hand, r"n: layer 'l' cannot be run: nobody said what it computes"),
        (_unknown_input, r"n: layer 'r' cannot be run: where its inputs come from is not known"),
        (_wrong_table, r"n: layer 'l' cannot be run: 'e' has no weights \[9, 4\] that it could share"),
        (lambda b: None, "n: has no layers"),
    ],
)
def test_what_cannot_be_run_is_named(build, message):
    b = Builder("n")
    build(b)
    with pytest.raises(NetworkError, match=message):
        to_torch(b.network)


def test_wrong_inputs_are_refused():
    module = to_torch(_residual())
    with pytest.raises(NetworkError, match=r"inputs must be \[batch, 4, 9, 9\] \(got \[2, 4, 8, 9\]\)"):
        module(torch.zeros(2, 4, 8, 9))
    with pytest.raises(NetworkError, match=r"got none"):
        module()


def test_modules_can_be_copied_and_saved(tmp_path):
    import copy

    module = to_torch(_residual(), seed=0).eval()
    x = torch.randn(1, 4, 9, 9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(copy.deepcopy(module)(x), module(x))
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    other = to_torch(_residual(), seed=1).eval()
    other.load_state_dict(torch.load(tmp_path / "weights.pt"))
    assert torch.equal(other(x), module(x))


def test_a_view_of_the_last_layer_keeps_its_producer():
    b = Builder("n")
    x = b.conv(b.input(1, 4, 4), "c", K=1, kernel=1)
    assert b.flatten(x).sources == ("c",) and x.view == Output("c")
