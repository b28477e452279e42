"""Layers on a crossbar: exact without faults, brute force with them, the tile model as the limit, what is refused."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from designs import CHARGE, RESISTIVE, adders, analog  # noqa: E402
from torch import nn  # noqa: E402

from accelerators.crossbar.converters import Integrating  # noqa: E402
from accelerators.crossbar.devices import AnalogMatrix, Converters, Gaussian, PhaseChange, Tile  # noqa: E402
from accelerators.crossbar.slices import SlicedMatrix, chunks, groups  # noqa: E402
from accelerators.crossbar.values import slice_shifts  # noqa: E402
from codesign.analog import CrossbarLinear, evaluate, on_crossbar  # noqa: E402
from codesign.analog.hardware import crossbar_layers  # noqa: E402

NEURONS = Integrating((1.0, 1e-9), (1.0, 1e-9), (1.0, 1e-9), 0.1, 100.0, 24, 3)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _crossbar(**figures):
    plain = {"rows": 20, "columns": 64, "weight_bits": 6, "input_bits": 5, "adc_bits": 24, "arrays": 10_000}
    return analog(**{**plain, **figures})


DESIGNS = [
    {},
    {"cell_bits": 2},
    {"cell_bits": 4, "bits_per_cycle": 2, "active_rows": 7},
    {"signed": "pair_columns", "cell_bits": 3, "signed_inputs": True},
    {"signed": "pair_rows", "cell_bits": 5, "bits_per_cycle": 5},
    {"flipped_columns": True, "cell_bits": 2, "active_rows": 6},
    {"column_copies": 2, "bits_per_cycle": 2, "columns": 128},
    {"signed": "pair_columns", "converter": NEURONS, "bit_line_rows": 9},
    {"cell": CHARGE, "bits_per_cycle": 5},
    {"weight_bits": 16, "input_bits": 16, "cell_bits": 3, "columns": 256},
    {"weight_bits": 1},
    {"weight_bits": 2, "signed": "pair_rows"},
]


def _products(layer, x):
    """(G, n, K) products of the whole numbers of inputs and weights, by numpy alone."""
    codes = layer._columns(layer._quantised(x)).numpy().astype(np.int64) - layer.zero_point
    return np.einsum("gnc,gkc->gnk", codes, layer.matrix.codes)


def _convolution(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)


def _images(count=5, low=0.0, seed=1):
    return torch.rand(count, 4, 7, 6, generator=torch.Generator().manual_seed(seed)) + low


@pytest.mark.parametrize("low", [0.0, -0.4])
@pytest.mark.parametrize("figures", DESIGNS, ids=str)
def test_perfect_cells_behind_sharp_converters_multiply_whole_numbers(figures, low):
    """Bit for bit, whether cells are taken as they are meant or are programmed without noise."""
    crossbar, images = _crossbar(**figures), _images(low=low)
    meant = on_crossbar(_convolution(), replace(crossbar, cell=replace(crossbar.cell, device=None)), calibration=images)
    assert meant.exact
    written = on_crossbar(_convolution(), crossbar, Gaussian(), calibration=images)
    assert not written.exact
    wanted = _products(meant, images)
    for layer in (meant, written):
        columns = layer._columns(layer._quantised(images))
        np.testing.assert_array_equal(layer._products(columns).numpy(), wanted)
    torch.testing.assert_close(written(images), meant(images))
    scale = (meant.matrix.scale * meant.input_step)[:, None, :]
    shaped = (wanted * scale).reshape(2, 5, 12, 3).transpose(1, 0, 3, 2).reshape(5, 6, 4, 3)
    bias = _convolution().bias.detach().numpy()[:, None, None]
    np.testing.assert_allclose(meant(images).numpy(), shaped + bias, rtol=1e-5, atol=1e-6)


def test_many_bits_compute_what_the_network_does():
    crossbar = _crossbar(weight_bits=16, input_bits=16, cell_bits=15, columns=4, signed="pair_columns")
    convolution, images = _convolution(), _images(low=-0.5)
    found = on_crossbar(convolution, crossbar, calibration=images)(images)
    torch.testing.assert_close(found, convolution(images), rtol=1e-3, atol=1e-3)


def test_digital_cells_are_exact():
    images = _images()
    found = on_crossbar(_convolution(), adders(columns=64), calibration=images)
    np.testing.assert_array_equal(found._products(found._columns(found._quantised(images))), _products(found, images))


@pytest.mark.parametrize("adc_bits", [1, 3, 5])
@pytest.mark.parametrize("figures", DESIGNS[:9], ids=str)
def test_conversions_one_by_one(figures, adc_bits):
    """Brute force: every group of rows, input cycle, slice and column by itself, with a converter that truncates."""
    crossbar = _crossbar(**{**figures, "adc_bits": adc_bits})
    linear = nn.Linear(33, 4, bias=False)
    inputs = torch.rand(6, 33, generator=torch.Generator().manual_seed(2))
    layer = on_crossbar(linear, crossbar, PhaseChange(), calibration=inputs, time_s=3600.0, seed=3)
    assert isinstance(layer, CrossbarLinear)
    random = np.random.default_rng(np.random.SeedSequence(3).spawn(1)[0])
    # The very cells of the layer: the stream that programs it also reads it.
    levels = layer.matrix.program(PhaseChange(), random).at(3600.0, random).astype(np.float32)[:, :, 0]
    gain = layer._reading[1].numpy()
    codes = layer._quantised(inputs).numpy().astype(np.int64)
    wanted = np.zeros((6, 4))
    shifts = slice_shifts(crossbar.magnitude_bits, crossbar.cell_bits)
    for n, k in itertools.product(range(6), range(4)):
        for r, group in enumerate(groups(crossbar, 33)):
            rows = slice(group.start, group.end)
            for chunk in chunks(crossbar):
                if chunk.adc_bits < 1:
                    continue
                step = layer.adc_steps[chunk.adc_bits]
                bits = np.sign(codes[n, rows]) * ((np.abs(codes[n, rows]) >> chunk.shift) & (2**chunk.bits - 1))
                low, high = 0, 2**chunk.adc_bits - 1
                if crossbar.signed != "offset" or crossbar.signed_inputs:
                    low, high = -(2 ** (chunk.adc_bits - 1)), 2 ** (chunk.adc_bits - 1) - 1
                for s, shift in enumerate(shifts):
                    column = levels[chunk.copy, s, k, rows]
                    code = np.clip(np.rint(np.float32(bits @ column) / step), low, high)
                    flipped = layer.matrix.flipped[s, r, 0, k]
                    value = code * step * gain[group.tile, k] * (-1 if flipped else 1)
                    wanted[n, k] += value * 2.0 ** (shift + chunk.shift)
                    if flipped:
                        wanted[n, k] += bits.sum() * layer.matrix.top * 2.0 ** (shift + chunk.shift)
        wanted[n, k] -= layer.matrix.offset * codes[n].sum()
    wanted *= layer.matrix.scale[0] * layer.input_step
    off = np.abs(layer(inputs).numpy() - wanted)
    # Single precision may turn a code at a step's edge; nothing else differs.
    assert (off > 1e-3 * np.abs(wanted).max()).mean() < 0.05


def test_the_continuous_tile_is_the_limit():
    """One slice in one cycle with many bits: the weights of the tile model from the same draws, and its outputs."""
    cell = replace(RESISTIVE, on_us=25.0, off_us=0.0)
    crossbar = _crossbar(
        cell=cell, rows=100, weight_bits=16, cell_bits=15, input_bits=12, bits_per_cycle=12, signed="pair_columns"
    )
    generator = torch.Generator().manual_seed(5)
    linear = nn.Linear(50, 11, bias=False)
    inputs = torch.rand(200, 50, generator=generator)
    weights = linear.weight.detach().double().numpy()
    tile = AnalogMatrix(weights, PhaseChange(), Converters(None, None, output_noise=0.0), Tile(100, 16, "column"))
    programmed = tile.program(np.random.default_rng(1))
    reading = programmed.at(86_400.0, np.random.default_rng(2))
    sliced = SlicedMatrix(weights, crossbar).program(PhaseChange(), np.random.default_rng(1))
    found = sliced.at(86_400.0, np.random.default_rng(2))[0, 0] * sliced.matrix.scale[:, :, None]
    np.testing.assert_allclose(found, reading.weights, atol=1e-4 * np.abs(weights).max())
    layer = on_crossbar(linear, crossbar, PhaseChange(), calibration=inputs)
    layer.program(np.random.default_rng(1))
    layer.read(86_400.0, np.random.default_rng(2))
    drifted, gain = layer._reading
    # Read-outs with known inputs and with one-hot ones are of the same gain; how they weigh the cells differs.
    assert gain.numpy().ravel() == pytest.approx(reading.gain.ravel(), rel=0.05)
    layer._reading = drifted, torch.ones_like(gain)
    wanted = tile.multiply(inputs.double().numpy()[:, None], reading._replace(gain=np.ones_like(reading.gain)), None)
    np.testing.assert_allclose(layer(inputs).numpy(), wanted[:, 0], atol=2e-3 * np.abs(wanted).max())


def test_gain_is_compensated():
    """All devices lose the same: what is left after compensation are steps of the converters."""
    device = Gaussian(drift_mean=0.05)
    linear, inputs = nn.Linear(16, 8), torch.rand(50, 16, generator=torch.Generator().manual_seed(0))
    crossbar = _crossbar(cell=replace(RESISTIVE, off_us=0.0), adc_bits=12, signed="pair_columns")
    fresh = on_crossbar(linear, crossbar, device, calibration=inputs)(inputs)
    late = on_crossbar(linear, crossbar, device, calibration=inputs, time_s=2_592_000.0)(inputs)
    torch.testing.assert_close(late, fresh, atol=0.02, rtol=0.02)


def test_a_fixed_full_scale_is_that_of_all_rows():
    linear, inputs = nn.Linear(20, 4), torch.rand(50, 20, generator=torch.Generator().manual_seed(0))
    crossbar = _crossbar(adc_bits=4, full_scale="fixed", cell_bits=2)
    fixed = on_crossbar(linear, crossbar, calibration=inputs)
    # 20 rows of 3 levels in 15 steps.
    assert fixed.adc_steps == {4: 4.0}
    found = on_crossbar(linear, replace(crossbar, full_scale="calibrated"), calibration=inputs)
    assert 1 <= found.adc_steps[4] < 4
    wanted = linear(inputs)
    assert (found(inputs) - wanted).square().mean() < (fixed(inputs) - wanted).square().mean()
    sharp = on_crossbar(linear, replace(crossbar, adc_bits=7), calibration=inputs)
    assert sharp.adc_steps == {7: 0.5}
    assert sharp.exact


def test_slices_are_cut_from_the_top():
    assert slice_shifts(7, 7) == (0,)
    assert slice_shifts(7, 5) == (0, 2)
    assert slice_shifts(8, 3) == (0, 2, 5)
    assert slice_shifts(3, 1) == (0, 1, 2)


def test_rows_are_read_in_groups_within_arrays():
    crossbar = _crossbar(rows=20, active_rows=8)
    assert [tuple(group) for group in groups(crossbar, 33)] == [
        (0, 8, 0), (8, 16, 0), (16, 17, 0), (17, 25, 1), (25, 33, 1),
    ]  # fmt: skip
    paired = _crossbar(rows=20, active_rows=8, signed="pair_rows")
    assert [group.end - group.start for group in groups(paired, 10)] == [4, 4, 2]


def test_conversions_of_an_input():
    shifts = [(chunk.shift, chunk.bits, chunk.copy) for chunk in chunks(_crossbar(bits_per_cycle=2, column_copies=2))]
    assert shifts == [(0, 2, 0), (2, 2, 1), (4, 1, 0)]
    # NeuRRAM's phases: the higher bits first, with as many bits more as the lower ones have.
    phases = [tuple(chunk) for chunk in chunks(_crossbar(converter=NEURONS, adc_bits=8))]
    assert phases == [(2, 3, 0, 8), (0, 2, 0, 5)]


def test_networks_are_evaluated_like_other_analog_ones():
    model = nn.Sequential(_convolution(), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3)).eval()
    images = _images(40)
    labels = model(images).argmax(1)
    crossbar = _crossbar(adc_bits=8, weight_bits=8, input_bits=8, signed="pair_columns", cell_bits=7, bits_per_cycle=8)
    analog_model = on_crossbar(model, crossbar, PhaseChange(), calibration=images)
    assert len(crossbar_layers(analog_model)) == 2
    assert torch.equal(analog_model(images), analog_model(images))
    found = [evaluate(analog_model, images, labels, programmings=2, times_s=(1.0, 1e6), seed=4) for _ in range(2)]
    np.testing.assert_array_equal(found[0].accuracy, found[1].accuracy)
    assert (found[0].accuracy > 0.6).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: on_crossbar(nn.Linear(4, 2), adders(columns=64), Gaussian(), calibration=x), "take no device"),
        (lambda x: on_crossbar(nn.Linear(4, 2), _crossbar(), calibration=x[:0]), "at least one input"),
        (lambda x: on_crossbar(nn.Linear(4, 2), _crossbar(columns=2), calibration=x), "small: columns must be >= 6"),
        (lambda x: on_crossbar(nn.Sequential(nn.Conv1d(1, 1, 3)), _crossbar(), calibration=x), "0: Conv1d with"),
        (lambda x: on_crossbar(nn.Linear(4, 2), _crossbar(), calibration=x * float("inf")), "inputs of a layer must"),
        (
            lambda x: on_crossbar(nn.Linear(4, 2), _crossbar(), PhaseChange(), calibration=x, time_s=-1.0),
            "time after programming must be >= 0 s",
        ),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.rand(3, 4) + 0.1)
