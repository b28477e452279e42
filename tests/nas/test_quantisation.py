"""Fake quantisation by closed forms; the penalty's table, its range, and that more bits never lose more."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.nas.quantisation import Bits, BitsOutOfRangeError, accuracy_penalty, has_depthwise
from codesign.nas.quantisation.penalty import _document, effective
from codesign.networks import Builder, NetworkError, load

torch = pytest.importorskip("torch")
from torch.nn import functional as F  # noqa: E402, N812

from codesign.nas.quantisation.fake import fit, quantise  # noqa: E402
from codesign.networks.torch_module import to_torch, weighted_layers  # noqa: E402


def _network():
    b = Builder("small")
    x = b.conv(b.input(2, 8, 8), "c1", K=6, kernel=3, padding=1, bn=True, activation="relu")
    x = b.conv(x, "c2", K=6, kernel=3, padding=1, groups=6, bn=True, activation="hswish")
    b.linear(b.flatten(b.global_pool(x, "pool")), "fc", K=4)
    return b.network


def _case():
    module = to_torch(_network(), seed=0)
    x = torch.randn(16, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    module.train()(x)
    return module.eval(), x


# -- grids ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits, low, high", [(2, -1, 1), (4, -7, 7), (8, -127, 127)])
def test_signed_grids_are_symmetric(bits, low, high):
    grid = fit(torch.tensor([-1.0, 0.3, 0.9]), bits)
    assert (grid.low, grid.high) == (low, high)
    assert float(grid(torch.tensor(0.0))) == 0


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_what_is_never_negative_uses_all_codes(bits):
    grid = fit(torch.tensor([0.0, 0.3, 0.9]), bits)
    assert (grid.low, grid.high) == (0, 2**bits - 1)


@pytest.mark.parametrize("bits", [2, 3, 6])
def test_numbers_of_a_grid_stay_what_they_are(bits):
    high = 2 ** (bits - 1) - 1
    x = 0.37 * torch.arange(-high, high + 1)
    assert torch.allclose(fit(x, bits)(x), x, atol=1e-6)


def test_the_range_has_the_least_squared_error():
    """Of the clipping ranges that are looked at, by brute force; outliers are cut off at few bits."""
    x = torch.randn(500, generator=torch.Generator().manual_seed(0))
    x[0] = 20.0
    grid = fit(x, 4)
    errors = {
        part: float(((x / s).round().clamp(-7, 7) * s - x).square().sum())
        for part in range(4, 33)
        for s in [part / 32 * 20.0 / 7]
    }
    best = min(errors, key=errors.get)
    assert float(grid.scale) == pytest.approx(best / 32 * 20.0 / 7)
    assert best < 32


def test_channels_have_scales_of_their_own():
    x = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    scaled = x * torch.tensor([1.0, 10.0, 0.01])[:, None]
    plain, channels = fit(x, 4, channels=True), fit(scaled, 4, channels=True)
    assert channels.scale.shape == (3, 1)
    # So a normalisation may be folded into the weights before or after rounding.
    assert torch.allclose(channels(scaled), plain(x) * torch.tensor([1.0, 10.0, 0.01])[:, None], rtol=1e-5)


def test_zeros_stay_zeros():
    grid = fit(torch.zeros(4, 5), 3, channels=True)
    assert torch.equal(grid(torch.zeros(4, 5)), torch.zeros(4, 5))
    assert torch.isfinite(grid.scale).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 9))
def test_a_bit_more_is_never_worse(seed, bits):
    x = torch.randn(200, generator=torch.Generator().manual_seed(seed))
    few, more = (float((fit(x, b)(x) - x).square().sum()) for b in (bits, bits + 1))
    assert more <= few * (1 + 1e-6)


def test_noise_falls_by_six_decibels_a_bit():
    """The power of uniform rounding noise is step^2 / 12, which is what makes 4^-b the measure of bits."""
    x = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    for bits in (4, 6):
        noise = float((fit(x, bits)(x) - x).square().mean())
        assert noise == pytest.approx((1 / (2**bits - 1)) ** 2 / 12, rel=0.1)


def test_gradients_pass_straight_through_inside_the_range():
    grid = fit(torch.tensor([-1.0, 1.0]), 3)
    x = torch.tensor([-3.0, -0.4, 0.2, 0.99, 5.0], requires_grad=True)
    grid(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


# -- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 3])
def test_layers_compute_with_few_numbers(bits):
    module, x = _case()
    few = quantise(module, [Bits(bits, bits)] * 3, [x])
    read = []
    for layer in weighted_layers(few):
        layer.register_forward_hook(lambda part, inputs, output: read.append(inputs[0]))
    few(x)
    for layer, inputs in zip(weighted_layers(few), read, strict=True):
        assert all(len(row.unique()) <= 2**bits - 1 for row in layer.weight.detach().flatten(1))
        assert len(inputs.detach().unique()) <= 2**bits


def test_the_first_layer_by_hand():
    module, x = _case()
    few = quantise(module, [Bits(3, 4), Bits(24, 24), Bits(24, 24)], [x])
    conv = module.layer("c1").conv
    # The scale is that of a sample of the input, with its extremes.
    sample = torch.cat([x.flatten(), torch.stack([x.amin(), x.amax()])])
    wanted = F.conv2d(fit(sample, 4)(x), fit(conv.weight, 3, channels=True)(conv.weight), padding=1)
    assert torch.allclose(few.layer("c1").conv(x), wanted, atol=1e-6)


def test_many_bits_change_nothing_and_the_module_stays_as_it_was():
    module, x = _case()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    outputs = module(x)
    same = quantise(module, [Bits(24, 24)] * 3, [x])
    assert torch.allclose(same(x), outputs, atol=1e-5)
    quantise(module, [Bits(2, 2)] * 3, [x])
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert torch.equal(module(x), outputs)


def test_fine_tuning_moves_the_weights_behind_the_grid():
    module, x = _case()
    few = quantise(module, [Bits(3, 3)] * 3, [x]).train()
    labels = (x.std((1, 2, 3)) > 1).long()
    first = F.cross_entropy(few(x), labels)
    for _ in range(20):
        loss = F.cross_entropy(few(x), labels)
        few.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in few.parameters():
                parameter -= 0.3 * parameter.grad
    assert float(loss.detach()) < 0.9 * float(first.detach())
    assert all(len(row.unique()) <= 7 for row in few.layer("c1").conv.weight.detach().flatten(1))


def test_bad_bits_are_refused():
    module, x = _case()
    with pytest.raises(NetworkError, match=r"small: bits must be given for 3 layers \(got 2\)"):
        quantise(module, [Bits(8, 8)] * 2, [x])
    for bad in (1, 25, 2.5):
        with pytest.raises(NetworkError, match=rf"bits\[1\].activations: must be an integer in 2..24 \(got {bad}\)"):
            quantise(module, [Bits(8, 8), Bits(8, bad), Bits(8, 8)], [x])


# -- the penalty ------------------------------------------------------------------------------------------------------


def test_equal_bits_give_the_mean_of_the_table():
    document = _document()
    widths = document["bits"]
    for depthwise in (False, True):
        networks = [n for n in document["networks"] if (n["space"] != "nas_bench_201") == depthwise]
        for bits in (2, 3, 4):
            i = widths.index(bits)
            mean = np.mean([network["loss"][i][i] for network in networks])
            found = accuracy_penalty([Bits(bits, bits)] * 5, depthwise=depthwise)
            # Raised where fewer losses at more bits were noise.
            assert mean - 1e-9 <= found.points <= mean + 1.0
            assert found.kind == "measured on small networks"
            assert found.std_points > 0


def test_eight_bits_are_nearly_free_and_two_are_not():
    for depthwise in (False, True):
        eight = accuracy_penalty([Bits(8, 8)] * 20, depthwise=depthwise)
        assert 0 <= eight.points < 0.5
        assert eight.std_points < 2
        two = accuracy_penalty([Bits(2, 2)] * 20, depthwise=depthwise)
        assert two.points > 20
        assert accuracy_penalty([Bits(2, 2)] * 20, depthwise=depthwise, fine_tuned=True).points < two.points + 1


def test_the_bits_of_the_mean_noise():
    assert effective([5, 5, 5]) == pytest.approx(5)
    assert effective([4, 16]) == pytest.approx(4.5, abs=1e-6)  # half of the noise of 4 bits
    assert effective([2, 3]) == pytest.approx(-np.log2((4**-2 + 4**-3) / 2) / 2)


_LAYERS = st.lists(st.tuples(st.integers(2, 8), st.integers(2, 8)), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(_LAYERS, st.data(), st.booleans(), st.booleans())
def test_a_bit_more_never_costs_accuracy(layers, data, depthwise, fine_tuned):
    place = data.draw(st.integers(0, len(layers) - 1))
    side = data.draw(st.integers(0, 1))
    more = [list(layer) for layer in layers]
    more[place][side] = min(8, more[place][side] + 1)
    few, many = (
        accuracy_penalty([Bits(*layer) for layer in some], depthwise=depthwise, fine_tuned=fine_tuned)
        for some in (layers, more)
    )
    assert 0 <= many.points <= few.points + 1e-9 <= 100


@pytest.mark.parametrize(
    "bits, fine_tuned, message",
    [
        (
            [Bits(8, 8), Bits(1, 8)],
            False,
            r"bits\[1\].weights: must be an integer in 2..16, what was measured \(got 1\)",
        ),
        ([Bits(8, 17)], False, r"bits\[0\].activations: must be an integer in 2..16"),
        ([Bits(16, 8)], True, r"must be an integer in 2..8, what was measured with fine-tuning \(got 16\)"),
        ([Bits(4, float("nan"))], False, r"\(got nan\)"),
        ([Bits(4.5, 8)], False, r"\(got 4.5\)"),
    ],
)
def test_bits_that_were_not_measured_are_refused(bits, fine_tuned, message):
    with pytest.raises(BitsOutOfRangeError, match=message):
        accuracy_penalty(bits, depthwise=True, fine_tuned=fine_tuned)


def test_no_layers_are_refused():
    with pytest.raises(ValueError, match="at least one layer"):
        accuracy_penalty([], depthwise=False)


def test_networks_with_depthwise_convolutions():
    assert has_depthwise(load("mobilenet_v2")) and not has_depthwise(load("resnet18"))


def test_the_penalty_needs_no_torch():
    code = "import sys; import codesign.nas.quantisation; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_table_is_that_of_the_networks_of_the_benchmark():
    from benchmarks.nas import quantisation

    document = _document()
    assert tuple(document["bits"]) == quantisation.WIDTHS
    for entry, (name, space, network, _) in zip(document["networks"], quantisation.networks(), strict=True):
        assert (entry["name"], entry["space"], entry["parameters"]) == (name, space, network.parameters)
        assert entry["layers"] == len(entry["macs"]) == len(entry["mixed"][0]["weights"])
        assert has_depthwise(network) == (space != "nas_bench_201")
        losses = np.array(entry["loss"])
        assert losses.shape == (len(document["bits"]),) * 2
        assert (entry["accuracy"] - losses >= 0).all()
        assert abs(losses[-1, -1]) <= 3 * 100 / 599  # 16 bits turn three images at most


@pytest.mark.slow
def test_the_table_can_be_measured_again():
    """The first network of the table; numbers of another machine may differ in the last image or two."""
    from benchmarks.nas import quantisation

    (_, _, network, data), *_ = quantisation.networks()
    again = quantisation.measure(network, data(), 0, _document()["epochs"])
    entry = _document()["networks"][0]
    assert again["parameters"] == entry["parameters"]
    assert again["accuracy"] == pytest.approx(entry["accuracy"], abs=0.6)
    difference = np.abs(np.array(again["loss"]) - entry["loss"])
    assert difference[2:, 2:].max() < 1.0


@pytest.mark.parametrize("flags", [{"depthwise": None}, {"depthwise": 1}, {"depthwise": True, "fine_tuned": "no"}])
def test_flags_are_true_or_false(flags):
    with pytest.raises(ValueError, match="must be True or False"):
        accuracy_penalty([Bits(4, 4)], **flags)
