"""Layers on crossbars: exact without faults, the tile model's numbers with them, training, and what is refused."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from accelerators.crossbar.devices import IDEAL, Converters, Gaussian, PhaseChange, Quantiser, Tile  # noqa: E402
from codesign.analog import AnalogConv2d, AnalogLinear, Recipe, calibrate, to_analog, train  # noqa: E402
from codesign.analog.layers import analog_layers  # noqa: E402

QUIET = Converters(6, 6, output_noise=0.0)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=4),
            nn.ReLU(),
            nn.Conv2d(12, 12, (1, 3), padding="same", dilation=2, groups=12),
            nn.Flatten(),
            nn.Linear(12 * 16, 10),
        ).eval()


def _images(count=16, seed=1):
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("tile", [Tile(), Tile(7, 5), Tile(16, 4, scale="column", compensated=False)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ideal_devices_and_converters_are_exact(tile, dtype):
    digital, images = _network().to(dtype), _images().to(dtype)
    analog = to_analog(digital, Gaussian(), IDEAL, tile)
    expected = digital(images)
    assert torch.equal(analog(images), expected)
    random = np.random.default_rng(0)
    for layer in analog_layers(analog):
        layer.program(random)
        layer.read(2_592_000.0, random)
    found = analog(images)
    # In double precision, devices keep a weight to its last bit but one.
    assert torch.equal(found, expected) if dtype is torch.float32 else torch.allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("tile", [Tile(), Tile(20, 6), Tile(13, 5, scale="column")])
def test_linear_layers_compute_what_the_tile_model_does(tile):
    layer = to_analog(nn.Linear(50, 11, bias=False), PhaseChange(), QUIET, tile).eval()
    assert isinstance(layer, AnalogLinear)
    inputs = torch.rand(30, 50, generator=torch.Generator().manual_seed(0)) * 3 - 1
    calibrate(layer, inputs)
    assert float(layer.input_range) == float(inputs.abs().max())
    matrix = layer.matrix()
    layer.program(np.random.default_rng(1))
    layer.read(3600.0, np.random.default_rng(2))
    reading = matrix.program(np.random.default_rng(1)).at(3600.0, np.random.default_rng(2))
    wanted = matrix.multiply(inputs.numpy()[:, None], reading, np.random.default_rng(0), float(layer.input_range))[:, 0]
    off = np.abs(layer(inputs).detach().numpy() - wanted)
    # Single precision may turn a code at a step's edge; nothing else differs.
    assert (off > 1e-4).mean() < 0.01


@pytest.mark.parametrize("options", [{}, {"groups": 2, "stride": 2}, {"groups": 6, "padding": 2}, {"dilation": 2}])
@pytest.mark.parametrize("rows", [4, 10, 18, 256])
def test_convolutions_are_their_matrix_on_tiles(options, rows):
    """Brute force: the columns that a convolution multiplies (unfold), through the tile model."""
    convolution = nn.Conv2d(6, 12, 3, bias=False, **options)
    tile = Tile(rows, 5)
    layer = to_analog(convolution, PhaseChange(), QUIET, tile).eval()
    images = torch.rand(2, 6, 9, 9, generator=torch.Generator().manual_seed(3))
    calibrate(layer, images)
    layer.program(np.random.default_rng(1))
    layer.read(1.0, np.random.default_rng(2))
    matrix = layer.matrix()
    reading = matrix.program(np.random.default_rng(1)).at(1.0, np.random.default_rng(2))
    sizes = {key: options.get(key, default) for key, default in (("dilation", 1), ("padding", 0), ("stride", 1))}
    columns = nn.functional.unfold(images, 3, **sizes).transpose(1, 2).numpy()
    count = columns.shape[1]
    grouped = columns.reshape(2 * count, layer.groups, -1)
    wanted = matrix.multiply(grouped, reading, np.random.default_rng(0), float(layer.input_range))
    wanted = wanted.reshape(2, count, 12).transpose(0, 2, 1)
    found = layer(images).detach().numpy().reshape(2, 12, count)
    assert (np.abs(found - wanted) > 1e-4).mean() < 0.01


def test_converters_agree_with_those_of_the_tile_model():
    from codesign.analog.layers import _converted

    values = torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 4
    for bits in (None, 2, 5, 8):
        quantiser = Quantiser(bits, 1.5)
        found = _converted(quantiser, values, torch.tensor(2.0, dtype=torch.float64))
        np.testing.assert_allclose(found.numpy(), quantiser(values.numpy(), 2.0), rtol=1e-12)


def test_gradients_pass_straight_through_within_the_bound():
    from codesign.analog.layers import _converted

    values = torch.tensor([-5.0, -0.4, 0.3, 2.9, 3.6], requires_grad=True)
    _converted(Quantiser(3, 3.0), values, torch.tensor(1.0)).sum().backward()
    assert values.grad.tolist() == [0, 1, 1, 1, 0]


def test_noise_of_training_has_its_strength():
    layer = to_analog(nn.Linear(400, 500), Gaussian(), IDEAL, Tile(200, 512)).train()
    layer.weight_noise = 0.1
    weights, scale = layer._noisy()
    for row, part in enumerate((weights - layer.weight).detach().split(200, dim=1)):
        sigma = 0.1 * float(layer.weight.detach()[:, 200 * row : 200 * row + 200].abs().max())
        assert float(scale[row, 0]) == pytest.approx(sigma / 0.1)
        # Five standard errors of a deviation from 100,000 draws.
        assert float(part.std()) == pytest.approx(sigma, rel=5 / np.sqrt(2 * part.numel()))


def _blobs(count=300, seed=0):
    """Three noisy prototypes of 20 numbers."""
    generator = torch.Generator().manual_seed(seed)
    prototypes = torch.rand(3, 20, generator=torch.Generator().manual_seed(9))
    labels = torch.randint(3, (count,), generator=generator)
    return prototypes[labels] + 0.15 * torch.randn(count, 20, generator=generator), labels


def _classifier():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 3))


def test_training_learns_and_is_repeatable():
    inputs, labels = _blobs()
    models = [to_analog(_classifier(), PhaseChange(), Converters(6, 7, output_noise=0.01)) for _ in range(2)]
    losses = [train(model, inputs, labels, Recipe(epochs=15, batch_size=50), seed=4) for model in models]
    assert losses[0] == losses[1] < 0.35
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))
    assert float((models[0](inputs).argmax(1) == labels).double().mean()) > 0.9
    for layer in analog_layers(models[0]):
        weights = layer.weight.detach()
        # Cut off at two deviations of the weights before the cut.
        assert float(weights.abs().max()) < 2.5 * float(weights.std())
        assert float(layer.input_range) > 0


def test_networks_without_analog_layers_are_trained_too():
    inputs, labels = _blobs()
    model = _classifier()
    assert train(model, inputs, labels, Recipe(epochs=15, batch_size=50)) < 0.2


def test_conversion_leaves_the_original_alone_and_keeps_shared_layers_shared():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    analog = to_analog(model, PhaseChange())
    assert analog[0] is analog[2]
    assert model[0] is shared
    assert isinstance(shared, nn.Linear)
    assert isinstance(to_analog(nn.Conv2d(1, 1, 1), PhaseChange()), AnalogConv2d)


def test_copies_compute_the_same():
    analog = to_analog(_network(), PhaseChange(), Converters(8, 8))
    calibrate(analog, _images())
    twin = copy.deepcopy(analog)
    for model in (analog, twin):
        random = np.random.default_rng(5)
        for layer in analog_layers(model):
            layer.program(random)
            layer.read(60.0, random)
    assert torch.equal(analog(_images()), twin(_images()))
    other = to_analog(_network(), PhaseChange(), Converters(8, 8))
    other.load_state_dict(analog.state_dict())
    assert torch.equal(other[0].input_range, analog[0].input_range)


def _with_nan():
    model = _network()
    with torch.no_grad():
        model[3].weight[1, 0, 2, 2] = float("nan")
    return model


class _Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(3, 4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_with_nan, r"3: weights must be finite \(got nan at \[0, 1, 8\]\)"),
        (lambda: nn.Sequential(nn.ReLU(), nn.Conv1d(2, 2, 3)), r"1: Conv1d with parameter weight \[2, 2, 3\]"),
        (lambda: nn.ConvTranspose2d(2, 2, 3), r"the network: ConvTranspose2d .* only Linear and Conv2d can"),
        (lambda: nn.MultiheadAttention(4, 2), r"the network: MultiheadAttention with parameter in_proj_weight"),
        (lambda: nn.Sequential(_Bare()), r"0: _Bare with parameter table \[3, 4\]"),
        (lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), r"padding_mode must be 'zeros' \(got 'circ"),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), r"ParametrizationList with parameter"),
    ],
)
def test_what_cannot_be_converted_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        to_analog(make(), PhaseChange())


def test_modules_can_stay_digital():
    model = nn.Sequential(nn.Conv1d(2, 2, 3), nn.Sequential(nn.Linear(3, 3)), nn.Linear(3, 2))
    analog = to_analog(model, PhaseChange(), digital=["0", "1"])
    assert [type(module).__name__ for module in (analog[0], analog[1][0], analog[2])] == [
        "Conv1d", "Linear", "AnalogLinear",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="digital: no module is named 'head'"):
        to_analog(model, PhaseChange(), digital=["head"])


def test_states_out_of_order_are_errors():
    layer = to_analog(nn.Linear(3, 2), PhaseChange()).eval()
    with pytest.raises(RuntimeError, match="range of inputs is not known: train the network, or calibrate it"):
        layer(torch.ones(1, 3))
    with pytest.raises(RuntimeError, match="must be programmed before it can be read"):
        layer.read(1.0, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"inputs of a layer must be finite"):
        calibrate(layer, torch.full((1, 3), float("inf")))
    with torch.no_grad():
        layer.weight[0, 0] = float("inf")
    with pytest.raises(ValueError, match="weights must be finite"):
        layer.program(np.random.default_rng(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, r"epochs and batch_size must be >= 1 \(got 0 and 64\)"),
        ({"learning_rate": float("nan")}, r"learning_rate must be >= 0 \(got nan\)"),
        ({"weight_noise": -0.1}, r"weight_noise must be >= 0 \(got -0.1\)"),
        ({"clip_sigmas": 0.0}, r"clip_sigmas must be > 0 or None \(got 0.0\)"),
    ],
)
def test_impossible_recipes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**options)


def test_training_that_diverges_is_an_error():
    inputs, labels = _blobs()
    with pytest.raises(ValueError, match=r"the loss must stay finite \(got (nan|inf)\): lower the learning rate"):
        train(_classifier(), 1e20 * inputs, labels, Recipe(epochs=3, learning_rate=1e6))
    with pytest.raises(ValueError, match=r"as many, at least one \(got 300 and 299\)"):
        train(_classifier(), inputs, labels[1:])


@pytest.mark.parametrize("module", ["accelerators.crossbar.devices", "codesign.nas.analognas", "codesign"])
def test_torch_is_imported_only_where_it_is_needed(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0


def test_without_torch_the_message_says_what_to_install():
    code = "import sys; sys.modules['torch'] = None; import codesign.analog"
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert "ImportError: analog networks need PyTorch: pip install 'codesign[torch]'" in done.stderr


class _WithBuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("running", torch.tensor([1.0, float("inf")]))


def _with_nan_bias():
    model = _network()
    with torch.no_grad():
        model[3].bias[2] = float("nan")
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_with_nan_bias, r"^3: bias must be finite \(got nan at \[2\]\)"),
        (lambda: nn.Sequential(nn.LazyLinear(4)), "^0: LazyLinear has no weights yet: run the network"),
        (lambda: nn.Sequential(nn.ReLU(), nn.LazyBatchNorm2d()), "^1: LazyBatchNorm2d has no weights yet"),
        (lambda: nn.Sequential(_WithBuffer()), r"^0: running must be finite \(got inf at \[1\]\)"),
        (lambda: nn.Sequential(torch.jit.script(nn.Linear(2, 2))), "^0: .* cannot be converted: scripted modules"),
        (lambda: nn.Linear(2, 2, device="meta"), "^the network: weight must have values .it is on the meta device"),
        (lambda: nn.Sequential(nn.Linear(2, 2, dtype=torch.complex64)), "^0: weights must be real numbers"),
        (lambda: nn.Sequential(nn.Linear(0, 2)), "^0: weights must be"),
        (lambda: 3, "the network must be a torch module .got int"),
    ],
)
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated", "ignore:Initializing zero-element tensors")
def test_odd_modules_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        to_analog(make(), PhaseChange())
