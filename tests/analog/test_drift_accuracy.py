"""Accuracy as devices drift: what is exact, what must fall, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from accelerators.crossbar.devices import IDEAL, Converters, Gaussian, PhaseChange, ReRam, Tile  # noqa: E402
from codesign.analog import TIMES_S, Recipe, calibrate, evaluate, to_analog, train  # noqa: E402
from codesign.analog.layers import analog_layers  # noqa: E402


def _digits():
    """A trained linear classifier of 6 classes in 30 dimensions, with images that it gets right."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(600, 30, generator=generator)
    model = nn.Linear(30, 6)
    with torch.no_grad():
        model.weight.copy_(torch.randn(6, 30, generator=generator))
        model.bias.copy_(-model.weight.sum(dim=1) / 2)
        labels = model(inputs).argmax(dim=1)
    return model, inputs, labels


def test_ideal_devices_stay_at_the_digital_accuracy():
    model, inputs, labels = _digits()
    found = evaluate(to_analog(model, Gaussian(), IDEAL), inputs, labels, programmings=2)
    assert (found.accuracy == 1).all()
    assert found.accuracy.shape == (2, len(TIMES_S))
    assert found.avm == 0
    assert (found.std() == 0).all()


def test_uncompensated_common_drift_hurts_only_with_a_bias():
    """All weights shrink alike: without bias the largest output stays the largest."""
    model, inputs, labels = _digits()
    device, tile = Gaussian(drift_mean=0.06), Tile(compensated=False)
    biased = evaluate(to_analog(model, device, IDEAL, tile), inputs, labels, programmings=1)
    assert biased.mean()[-1] < 0.9
    assert biased.avm > 10
    with torch.no_grad():
        model.bias.zero_()
        labels = model(inputs).argmax(dim=1)
    assert evaluate(to_analog(model, device, IDEAL, tile), inputs, labels, programmings=1).mean()[-1] > 0.995


def test_accuracy_falls_with_noise_and_time_and_compensation_helps():
    model, inputs, labels = _digits()
    means = {}
    for compensated in (False, True):
        analog = to_analog(model, PhaseChange(), Converters(8, 8, output_noise=0.0), Tile(compensated=compensated))
        calibrate(analog, inputs)
        means[compensated] = evaluate(analog, inputs, labels, programmings=6).mean()
    assert means[True][0] > means[True][-1] > means[False][-1]
    assert means[True][0] < 1


def test_evaluation_is_repeatable_and_leaves_the_network_as_it_was():
    model, inputs, labels = _digits()
    analog = to_analog(model, PhaseChange(), Converters(6, 6)).train()
    calibrate(analog, inputs)
    runs = [evaluate(analog, inputs, labels, programmings=3, seed=seed, batch_size=100) for seed in (1, 1, 2)]
    assert np.array_equal(runs[0].accuracy, runs[1].accuracy)
    assert not np.array_equal(runs[0].accuracy, runs[2].accuracy)
    assert analog.training
    assert all(layer._reading is None and layer._programmed is None for layer in analog_layers(analog))


def test_programmings_do_not_depend_on_how_many_there_are():
    model, inputs, labels = _digits()
    analog = to_analog(model, PhaseChange(), Converters(6, 6))
    calibrate(analog, inputs)
    three, five = (evaluate(analog, inputs, labels, programmings=number).accuracy for number in (3, 5))
    assert np.array_equal(three, five[:3])


def test_training_with_noise_makes_networks_that_bear_it():
    """The same training with and without noise on the weights, evaluated under the same strong noise."""
    generator = torch.Generator().manual_seed(1)
    prototypes = torch.rand(5, 24, generator=generator)
    labels = torch.randint(5, (500,), generator=generator)
    inputs = prototypes[labels] + 0.2 * torch.randn(500, 24, generator=generator)
    accuracy = {}
    for noise in (0.0, 0.15):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            digital = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 5))
        analog = to_analog(digital, Gaussian(programming_sigma=0.15), IDEAL)
        train(analog, inputs, labels, Recipe(epochs=20, weight_noise=noise, clip_sigmas=2.0 if noise else None))
        accuracy[noise] = evaluate(analog, inputs, labels, programmings=8, times_s=[1.0]).mean()[0]
    assert accuracy[0.15] > accuracy[0.0] + 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": torch.zeros(3)}, r"as many, at least one \(got 600 and 3\)"),
        ({"programmings": 0}, r"must be at least 1 \(got 0, 500, 4\)"),
        ({"times_s": []}, r"must be at least 1 \(got 10, 500, 0\)"),
        ({"times_s": [-1.0]}, r"time after programming must be >= 0 s \(got -1.0\)"),
    ],
)
def test_bad_options_are_named(options, message):
    model, inputs, labels = _digits()
    arguments = {"labels": labels, **options}
    with pytest.raises(ValueError, match=message):
        evaluate(to_analog(model, PhaseChange(), IDEAL), inputs, **arguments)


def test_devices_without_a_model_for_the_time_say_so():
    model, inputs, labels = _digits()
    with pytest.raises(ValueError, match="nothing is known beyond"):
        evaluate(to_analog(model, ReRam(), IDEAL), inputs, labels)
    assert evaluate(to_analog(model, ReRam(), IDEAL), inputs, labels, times_s=[1.0, 86_400.0]).mean().min() > 0.5


def test_digital_networks_are_refused():
    model, inputs, labels = _digits()
    with pytest.raises(ValueError, match="has no analog layers: convert it first"):
        evaluate(model, inputs, labels)
