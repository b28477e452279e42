"""Converters and tiles: the specified values, brute force on small matrices, invariants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelerators.crossbar.devices import (
    IDEAL,
    AnalogMatrix,
    Converters,
    Gaussian,
    PhaseChange,
    Quantiser,
    Tile,
)

QUIET = Converters(8, 8, output_noise=0.0)


def _random(seed=0):
    return np.random.default_rng(seed)


def test_steps_are_two_bounds_over_the_codes():
    assert Quantiser(8, 1.0).step == pytest.approx(2 / 254)
    assert Quantiser(2, 1.0)(np.array([-3.0, -0.6, -0.5, 0.2, 0.5, 0.51, 9.0])).tolist() == [-1, -1, 0, 0, 0, 1, 1]
    # 3 bits to +-3: codes -3 to 3, and halves go to the even one.
    assert Quantiser(3, 3.0)(np.array([0.5, 1.5, 2.5, -1.5, 7.0])).tolist() == [0, 2, 2, -2, 3]
    ideal = Quantiser(None, 1.0)
    values = _random().normal(size=10) * 5
    assert ideal(values) is values
    assert ideal.step == 0


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 12), st.floats(0.1, 20), st.lists(st.floats(-30, 30), min_size=1, max_size=20))
def test_quantisers_are_idempotent_odd_and_close(bits, bound, values):
    quantiser = Quantiser(bits, bound)
    given_values = np.array(values)
    found = quantiser(given_values)
    np.testing.assert_allclose(quantiser(found), found, atol=1e-9)
    np.testing.assert_allclose(quantiser(-given_values), -found, atol=1e-9)
    assert (np.abs(found) <= bound * (1 + 1e-9)).all()
    inside = np.abs(given_values) <= bound
    assert (np.abs(found - given_values)[inside] <= quantiser.step / 2 * (1 + 1e-9)).all()


def test_ideal_devices_give_the_weights_back():
    weights = _random().normal(size=(3, 20, 70))
    for scale in ("tile", "column"):
        matrix = AnalogMatrix(weights, Gaussian(), IDEAL, Tile(32, 8, scale=scale))
        reading = matrix.program(_random()).at(1e6, _random())
        np.testing.assert_allclose(reading.weights, weights, rtol=1e-14, atol=1e-16)
        assert np.array_equal(reading.weights.astype(np.float32), weights.astype(np.float32))
        assert (reading.gain == 1).all()
        inputs = _random(1).normal(size=(5, 3, 70))
        np.testing.assert_allclose(
            matrix.multiply(inputs, reading, _random()), np.einsum("ngc,gkc->ngk", inputs, weights)
        )


def test_tiles_are_counted_and_scaled_each():
    weights = np.zeros((1, 3, 5))
    weights[0] = np.arange(15).reshape(3, 5) - 7
    matrix = AnalogMatrix(weights, Gaussian(), IDEAL, Tile(2, 2))
    assert matrix.tiles == 3 * 2
    # Largest magnitudes of rows 0-1, 2-3, 4 and outputs 0-1, 2.
    assert matrix.scale[0].tolist() == [[7, 7, 4], [5, 5, 6], [3, 3, 7]]
    columns = AnalogMatrix(weights, Gaussian(), IDEAL, Tile(2, 2, scale="column"))
    assert columns.scale[0].tolist() == [[7, 2, 4], [5, 1, 6], [3, 2, 7]]


def test_each_tile_converts_its_own_sums():
    """Brute force: partial sums of two tile rows, each through the ADC in units of its largest weight."""
    weights, inputs = _random().normal(size=(4, 6)), _random(1).uniform(-1, 1, (7, 6))
    matrix = AnalogMatrix(weights, Gaussian(), Converters(5, 4, 1.0, 3.0, 0.0), Tile(4, 4, compensated=False))
    reading = matrix.program(_random()).at(0.0, _random())
    dac, adc = Quantiser(5, 1.0), Quantiser(4, 3.0)
    expected = np.zeros((7, 4))
    for rows in (slice(0, 4), slice(4, 6)):
        scale = np.abs(weights[:, rows]).max()
        expected += adc(dac(inputs)[:, rows] @ (weights[:, rows] / scale).T) * scale
    np.testing.assert_allclose(matrix.multiply(inputs[:, None], reading, _random())[:, 0], expected, atol=1e-12)


def test_inputs_and_outputs_scale_together():
    weights, inputs = _random().normal(size=(4, 6)), _random(1).uniform(-1, 1, (7, 1, 6))
    matrix = AnalogMatrix(weights, PhaseChange(), QUIET)
    reading = matrix.program(_random()).at(10.0, _random())
    one = matrix.multiply(inputs, reading, _random())
    np.testing.assert_allclose(matrix.multiply(2 * inputs, reading, _random(), unit=2.0), 2 * one)
    tripled = AnalogMatrix(3 * weights, PhaseChange(), QUIET)
    again = tripled.program(_random()).at(10.0, _random())
    np.testing.assert_allclose(again.weights, 3 * reading.weights)
    np.testing.assert_allclose(tripled.multiply(inputs, again, _random()), 3 * one)


def test_compensation_is_the_ratio_of_one_hot_read_outs():
    """One-hot inputs through the converters, by multiplying: what the tile's own read-out must equal."""
    weights = _random().normal(size=(5, 9))
    for bits in (8, 4):
        converters = Converters(bits, bits, output_noise=0.0)
        matrix = AnalogMatrix(weights, PhaseChange(), converters, Tile(16, 16))
        programmed = matrix.program(_random())
        reading = programmed.at(2_592_000.0, _random())
        once = programmed.state.programmed_usiemens
        start = reading._replace(
            weights=(once[0] - once[1]) * np.abs(weights).max() / 25, gain=np.ones_like(reading.gain)
        )
        one_hot = np.eye(9)[:, None]
        means = [
            np.abs(matrix.multiply(one_hot, r, _random())).mean() for r in (start, reading._replace(gain=start.gain))
        ]
        # Means count as 1e-4 of the largest weight at least: with 4 bits the later one is lost between two steps.
        least = 1e-4 * np.abs(weights).max()
        np.testing.assert_allclose(reading.gain, max(means[0], least) / max(means[1], least))
        assert (means[1] == 0) == (bits == 4)


def test_compensation_restores_a_common_drift():
    device = Gaussian(drift_mean=0.05)
    weights = _random().normal(size=(8, 30))
    matrix = AnalogMatrix(weights, device, IDEAL)
    reading = matrix.program(_random()).at(1e6, _random())
    assert np.abs(reading.weights).max() < 0.6 * np.abs(weights).max()
    np.testing.assert_allclose(reading.weights[0] * reading.gain[0, 0, :, None], weights)


def test_output_noise_has_its_strength():
    matrix = AnalogMatrix(
        np.full((2, 4), 0.5), Gaussian(), Converters(None, None, output_noise=0.06), Tile(compensated=False)
    )
    reading = matrix.program(_random()).at(0.0, _random())
    outputs = matrix.multiply(np.zeros((50_000, 1, 4)), reading, _random(), unit=2.0)
    # In units of the largest weight times the largest input: 0.06 x 0.5 x 2; error of a deviation from 1e5 draws.
    assert outputs.std() == pytest.approx(0.06, rel=5 / np.sqrt(2 * outputs.size))


def test_groups_share_nothing():
    weights = _random().normal(size=(2, 3, 4))
    matrix = AnalogMatrix(weights, Gaussian(), IDEAL)
    assert matrix.tiles == 2
    inputs = np.zeros((1, 2, 4))
    inputs[0, 0] = 1
    outputs = matrix.multiply(inputs, matrix.program(_random()).at(0.0, _random()), _random())
    assert np.abs(outputs[0, 0]).min() > 0
    assert (outputs[0, 1] == 0).all()


@pytest.mark.parametrize("converters", [IDEAL, QUIET, Converters()])
def test_zeros_stay_zeros(converters):
    matrix = AnalogMatrix(np.zeros((3, 4)), PhaseChange(), converters)
    reading = matrix.program(_random()).at(1.0, _random())
    assert (reading.weights == 0).all()
    assert np.isfinite(reading.gain).all()
    assert np.abs(matrix.multiply(np.ones((2, 1, 4)), reading, _random())).max() < 1e-20


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AnalogMatrix([[1.0, np.nan]], Gaussian()), r"weights must be finite \(got nan at \[0, 1\]\)"),
        (lambda: AnalogMatrix([1.0], Gaussian()), r"\[outputs, inputs\] or .* \(got shape \(1,\)\)"),
        (lambda: AnalogMatrix(np.zeros((2, 0)), Gaussian()), r"\(got shape \(2, 0\)\)"),
        (lambda: Tile(rows=0), r"rows must be an integer >= 1 \(got 0\)"),
        (lambda: Tile(scale="row"), r"scale must be tile or column \(got 'row'\)"),
        (lambda: Converters(dac_bits=1), r"dac: bits must be an integer in 2..32, or None .* \(got 1\)"),
        (lambda: Converters(adc_bits=33), r"adc: bits must be"),
        (lambda: Converters(output_bound=0.0), r"adc: bound must be > 0 \(got 0.0\)"),
        (lambda: Converters(output_noise=-0.1), r"output_noise must be >= 0 \(got -0.1\)"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
