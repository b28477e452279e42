"""Trained networks with their task: the one that comes along, files of one's own, accuracy after a time."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from accelerators import catalog  # noqa: E402
from accelerators.crossbar.crossbar import Crossbar  # noqa: E402
from accelerators.crossbar.devices import Gaussian, PhaseChange, name_of  # noqa: E402
from codesign.analog import accuracies_after, accuracy_after  # noqa: E402
from codesign.analog.accuracy import needed_arrays  # noqa: E402
from codesign.analog.trained import TrainedNetwork, load, save  # noqa: E402
from codesign.nas import spaces  # noqa: E402
from codesign.networks import NetworkError  # noqa: E402
from codesign.networks.torch_module import to_torch  # noqa: E402

MONTH_S = 2_592_000.0
CELL = "nas_bench_201:|nor_conv_1x1~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
SMALL = "analog_resnet:" + json.dumps([2, 1, 1, 0, 0, 0, 0, 1, 1, 1, *[0] * 12])
OPTIONS = {"channels": [2], "resolution": 6, "input_channels": 1, "classes": 3}


@pytest.fixture(scope="module")
def digits() -> TrainedNetwork:
    return load("digits_resnet8")


def crossbar(name: str) -> Crossbar:
    found = catalog.load(name)
    assert isinstance(found, Crossbar)
    return found


def _arrays(**changed):
    """A small network's file as arrays; None takes one away."""
    space = spaces.load("analog_resnet", **OPTIONS)
    network = space.network(space.parse(SMALL.partition(":")[2]))
    random = np.random.default_rng(0)
    arrays = {"network": np.array(SMALL), "options": np.array(json.dumps(OPTIONS))}
    arrays["images"] = random.random((7, 1, 6, 6), np.float32)
    arrays["labels"] = np.arange(7) % 3
    for name, values in to_torch(network, seed=0).state_dict().items():
        if "tracked" not in name:
            arrays[f"weights/{name}"] = values.numpy()
    arrays.update(changed)
    return {name: values for name, values in arrays.items() if values is not None}


def test_the_digits_are_small_plain_data_and_well_known(digits):
    assert digits.network.parameters == 19_810
    assert digits.inputs.shape == (597, 1, 8, 8)
    assert digits.calibration.shape == (200, 1, 8, 8)
    assert digits.digital_accuracy > 98
    file = Path(__file__).parents[2] / "codesign" / "analog" / "data" / "digits_resnet8.npz"
    assert file.stat().st_size < 200_000


def test_files_and_folders_are_read_alike(tmp_path):
    arrays = _arrays()
    np.savez(tmp_path / "mine.npz", **arrays)
    for name, values in arrays.items():
        path = tmp_path / "mine" / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        if values.dtype.kind != "U":
            np.save(path, values)
    (tmp_path / "mine" / "network.txt").write_text(SMALL + "\n")
    (tmp_path / "mine" / "options.json").write_text(json.dumps(OPTIONS))
    found = [load(tmp_path / "mine.npz"), load(tmp_path / "mine")]
    assert found[0].name == found[1].name == "mine"
    scores = [each.module(each.inputs) for each in found]
    assert torch.equal(*scores)
    assert scores[0].shape == (7, 3)


def test_what_is_saved_is_what_is_loaded(tmp_path):
    space = spaces.load("nas_bench_201")
    module = to_torch(space.network(space.parse(CELL.partition(":")[2])), seed=3).eval()
    images, labels = torch.rand(4, 3, 32, 32), torch.tensor([1, 2, 3, 4])
    path = tmp_path / "cell.npz"
    save(path, CELL, module, images, labels, calibration=images[:2])
    found = load(path)
    assert torch.equal(found.module(images), module(images))
    assert torch.equal(found.labels, labels)
    with pytest.raises(NetworkError, match="images must be"):
        save(tmp_path / "other.npz", CELL, module, images[:, :1], labels)
    assert not (tmp_path / "other.npz").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": None}, "labels is missing"),
        ({"weights/layers.classifier.linear.bias": None}, "weights/layers.classifier.linear.bias is missing"),
        ({"weights/layers.clasifier.linear.bias": np.zeros(3)}, "belongs to no layer: did you mean"),
        (
            {"weights/layers.classifier.linear.bias": np.array([0, np.nan, 0])},
            r"bias must be finite \(got nan at \[1\]\)",
        ),
        ({"weights/layers.classifier.linear.bias": np.array([0, 1e300, 0])}, r"must be finite \(got 1e\+300"),
        ({"weights/layers.classifier.linear.bias": np.zeros(4)}, r"must have the shape \[3\] \(got \[4\]\)"),
        ({"weights/layers.classifier.linear.bias": np.array(["a", "b", "c"])}, "must be numbers"),
        ({"images": np.zeros((7, 1, 8, 8))}, r"images must be \[n, 1, 6, 6\] \(got \[7, 1, 8, 8\]\)"),
        ({"images": np.zeros((0, 1, 6, 6)), "labels": np.zeros(0, int)}, r"images must be \[n, 1, 6, 6\]"),
        ({"labels": np.zeros(6, int)}, r"labels must be 7 integers \(got \[6\] of int64\)"),
        ({"labels": np.zeros(7)}, r"labels must be 7 integers \(got \[7\] of float64\)"),
        ({"labels": np.full(7, 3)}, r"labels\[0\] must be in 0..2, the classes \(got 3\)"),
        ({"calibration": np.full((1, 1, 6, 6), np.inf)}, "calibration must be finite"),
        ({"network": np.array("analog_resnet:[1, 2]")}, "network: analog_resnet: features must"),
        ({"network": np.array("analog_resnet:{")}, "network: analog_resnet: must be JSON"),
        ({"network": np.array(SMALL), "options": None}, "network: analog_resnet: OC0 must be one of 8, .* .got 2."),
        ({"network": np.array("resnet19")}, "network: unknown network 'resnet19'"),
        ({"network": np.array("nobody:1")}, "network: unknown space 'nobody'"),
        ({"network": np.array(3)}, "network must be text"),
        ({"options": np.array("[1]")}, "options must be a mapping"),
        ({"options": np.array("{")}, "options must be JSON"),
        ({"network": np.array("ds_cnn"), "options": None}, "weights/.* belongs to no layer"),
    ],
)
def test_what_is_wrong_is_named(changed, message, tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, **_arrays(**changed))
    with pytest.raises(NetworkError, match=message) as error:
        load(path)
    assert str(error.value).startswith(str(path))


def test_pickles_and_other_files_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", **_arrays(labels=np.array([{}] * 7, object)))
    (tmp_path / "b.npz").write_bytes(b"PK nothing")
    (tmp_path / "c").mkdir()
    for name, message in (("a.npz", "no arrays of numbers"), ("b.npz", "cannot be read"), ("c", "network is missing")):
        with pytest.raises(NetworkError, match=message):
            load(tmp_path / name)
    with pytest.raises(NetworkError, match="unknown trained network 'digits_resnet9': did you mean digits_resnet8"):
        load("digits_resnet9")


def test_exact_cells_leave_quantisation_only(digits):
    for name in ("sram_digital", "sram_analog"):
        found = accuracy_after(digits, crossbar(name), time_s=MONTH_S)
        assert found.std == 0
        assert found.mean == pytest.approx(digits.digital_accuracy, abs=0.5)
        assert found.notes[0] == "exact cells"


def test_accuracy_falls_as_cells_drift_and_converters_lose_bits(digits):
    chip = crossbar("pcm_256")
    early, late = accuracies_after(digits, chip, [1.0, MONTH_S], programmings=3, images=300)
    assert digits.digital_accuracy >= early.mean - 1
    assert early.mean >= late.mean > 95
    assert accuracy_after(digits, replace(chip, adc_bits=3), time_s=MONTH_S, programmings=2, images=300).mean < 90
    noisy = accuracy_after(digits, chip, time_s=0.0, programmings=2, images=300, device=Gaussian(programming_sigma=0.5))
    assert noisy.mean < 70
    assert noisy.notes[0] == "cells: gaussian (programming 0.5)"


def test_results_depend_on_nothing_but_the_seed(digits):
    chip, threads = crossbar("pcm_256"), torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        both = accuracies_after(digits, chip, [60.0, MONTH_S], programmings=2, seed=7, images=200)
        alone = accuracy_after(digits, chip, time_s=MONTH_S, programmings=2, seed=7, images=200)
        other = accuracy_after(digits, replace(chip, adc_bits=5), time_s=MONTH_S, programmings=2, seed=8, images=200)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert both[1] == alone != other
    script = (
        "from accelerators import catalog; from codesign.analog import accuracy_after; "
        "from codesign.analog.trained import load; print(accuracy_after(load('digits_resnet8'), "
        f"catalog.load('pcm_256'), time_s={MONTH_S}, programmings=2, seed=7, images=200)[:2])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(alone[:2])


def test_weights_that_are_written_for_every_run_do_not_age(digits):
    chip = crossbar("pcm_256")
    needed = needed_arrays(digits.network, chip)
    assert needed == 11
    few = replace(chip, arrays=needed - 1)
    settings = {"programmings": 2, "images": 200}
    late = accuracy_after(digits, few, time_s=MONTH_S, **settings)
    assert late[:2] == accuracy_after(digits, chip, time_s=0.0, **settings)[:2]
    assert late.notes[-1] == "weights do not fit: written anew for every run, so they do not age"


def test_nothing_is_said_of_times_beyond_a_model_without_saying_so(digits):
    chip = crossbar("neurram")
    late, two_days = accuracies_after(digits, chip, [MONTH_S, 172_800.0], programmings=2, images=200)
    assert late[:2] == two_days[:2]
    assert late.notes[-1] == "reram is known up to 2 days: accuracy of that time"
    assert late.notes[:-1] == two_days.notes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"programmings": 0}, "programmings must be an integer >= 1"),
        ({"images": 1.5}, "images must be an integer >= 1"),
        ({"time_s": -1.0}, "time after programming must be >= 0 s"),
        ({"time_s": float("nan")}, "time after programming must be >= 0 s"),
    ],
)
def test_settings_that_cannot_be(digits, settings, message):
    with pytest.raises(ValueError, match=message):
        accuracy_after(digits, crossbar("pcm_256"), **{"time_s": 1.0, **settings})


def test_crossbars_that_cannot_hold_a_network(digits):
    with pytest.raises(ValueError, match="pcm_256: columns must be >= 2"):
        accuracy_after(digits, replace(crossbar("pcm_256"), columns=1), time_s=1.0)


def test_devices_have_names():
    assert [name_of(make) for make in (PhaseChange(g_max_usiemens=3.0), Gaussian())] == ["pcm", "gaussian (no noise)"]
    assert name_of(PhaseChange(read_scale=0.0)) == "PhaseChange"


def test_the_benchmark_knows_what_is_against_its_direction():
    from benchmarks._common import BadInputError
    from benchmarks.nas import crossbar_accuracy
    from codesign.analog import Accuracy

    found = [Accuracy(mean, std, ()) for mean, std in ((90.0, 1.0), (95.0, 1.0), (94.4, 2.0), (88.0, 1.0))]
    assert crossbar_accuracy._against(found, 1, 4) == [3]
    assert crossbar_accuracy._against(found, -1, 4) == [1, 2]
    for arguments in (["--programmings", "1"], ["--images", "0"], ["--network", "nobody"]):
        with pytest.raises(BadInputError):
            crossbar_accuracy.main(arguments)


@pytest.mark.parametrize(
    ("network", "options", "expected"),
    [
        ("analog_resnet:" + "[" * 100_000, "{}", "network: "),
        ("ofa_mobilenet_v3:{}", '{"classes": 1000000000}', "network: "),
        ("resnet18", '{"classes": 1000000000}', "parameters, the weights are"),
    ],
)
def test_networks_of_any_size_are_refused_at_once(tmp_path: Path, network: str, options: str, expected: str) -> None:
    arrays = {"network": np.array(network), "options": np.array(options), "labels": np.zeros(1, np.int64)}
    np.savez(tmp_path / "huge.npz", images=np.zeros((1, 3, 224, 224)), **arrays)  # type: ignore[arg-type]
    with pytest.raises(NetworkError, match=expected):
        load(str(tmp_path / "huge.npz"))
