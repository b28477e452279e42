"""Devices against aihwkit: the shipped references pass, others fail, and what bad files do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks._common import BadInputError
from benchmarks.validation import devices

Document = dict[str, Any]
FEW = ["--draws", "20000", "--programmings", "20"]


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    """Writes a part of a reference (0: conductances, 1: a layer) after a change."""

    def write(which: int, change: Callable[[Document], object] = lambda document: None) -> Path:
        document = json.loads(devices.DEFAULTS[which].read_text())
        key = ("rows", "results")[which]
        document[key] = document[key][2:5] if which == 0 else [document[key][i] for i in (1, 4, 9, 14, 18)]
        change(document)
        path = tmp_path / "reference.json"
        path.write_text(json.dumps(document))
        return path

    return write


def test_command_on_the_shipped_files(capsys):
    assert devices.main(["--draws", "100000", "--programmings", "60"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "devices: pcm_conductances.json: 540 of 540 statistics within 5 standard errors: ok" in lines
    assert "devices: pcm_layer.json: 111 of 111 within 3% with noise, 1e-06 without: ok" in lines
    assert [line.rpartition(" statistics")[0] for line in lines if ": ok" in line][2:] == [
        "devices: hermes_1_conductances.json: 150 of 150",
        "devices: hermes_2_conductances.json: 150 of 150",
        "devices: reram_conductances.json: 120 of 120",
    ]


@pytest.mark.parametrize("key", ["mean", "std"])
def test_a_moment_that_is_off_fails(write, capsys, key):
    def change(document):
        document["rows"][1]["t"]["1h"][key] *= 1.05

    assert devices.main([str(write(0)), *FEW]) == 0
    assert devices.main([str(write(0, change)), *FEW]) == 1
    assert "1.5 uS, 1h:" in capsys.readouterr().out


def test_another_device_fails(write):
    """The constants of another device, at its own g_max: nothing near the reference."""

    def change(document):
        document["model"] = "HermesNoiseModel"
        document["g_max_uS"] = 25.0

    assert devices.main([str(write(0, change)), *FEW]) == 1


def test_g_max_is_that_of_the_file(write):
    """All conductances twice as large: statistics in uS are, too; exponents stay."""

    def change(document):
        document["g_max_uS"] *= 2
        for row in document["rows"]:
            row["g_target_uS"] *= 2
            for place in (row["prog"], *row["t"].values()):
                for key in place:
                    place[key] = [2 * v for v in place[key]] if isinstance(place[key], list) else 2 * place[key]

    assert devices.main([str(write(0, change)), *FEW]) == 0


def test_a_layer_that_is_off_fails(write, capsys):
    assert devices.main([str(write(1)), *FEW]) == 0

    def quantised(document):
        document["results"][0]["rel_fro_err"] += 2e-6

    def noisy(document):
        document["results"][3]["t"]["1day"]["rel_fro_err_mean"] *= 1.06

    for change, message in ((quantised, "4/ideal: error"), (noisy, "1day: error")):
        assert devices.main([str(write(1, change)), *FEW]) == 1
        assert message in capsys.readouterr().out


def test_compensation_matters(write):
    def change(document):
        for result in document["results"]:
            result["drift_comp"] = not result["drift_comp"]

    assert devices.main([str(write(1, change)), *FEW]) == 1


def test_inputs_may_be_given(write):
    import numpy as np

    def change(document):
        rng = np.random.default_rng(1234)
        rng.standard_normal((32, 64))
        document["X"] = rng.uniform(-1, 1, (128, 64)).astype(np.float32).tolist()
        document["recipe"] = "as given"

    assert devices.main([str(write(1, change)), *FEW]) == 0


@pytest.mark.parametrize(
    ("which", "change", "message"),
    [
        (0, lambda d: d.pop("rows"), r"must have rows \(conductances\) or results \(a layer\)"),
        (0, lambda d: d.update(model="Other"), r"model must be one of PCMLike.* \(got .Other.\)"),
        (0, lambda d: d.update(g_max_uS=0), r"g_max_usiemens must be > 0 \(got 0.0\)"),
        (0, lambda d: d["rows"][1].update(g_target_uS=99), r"rows\[1\]: target conductance must be in 0..25 uS"),
        (0, lambda d: d["rows"][1].pop("g_target_uS"), r"rows\[1\]: g_target_uS is missing"),
        (0, lambda d: d["rows"][0]["prog"].update(mean="x"), r"rows\[0\]: prog: mean must be a number \(got 'x'\)"),
        (0, lambda d: d["rows"][0]["t"].update({"1y": {}}), r"rows\[0\]: t: '1y' must be one of times_s"),
        (0, lambda d: d["times_s"].update({"1s": -1}), r"time after programming must be >= 0 s \(got -1.0\)"),
        (0, lambda d: d.update(n_samples_per_g=1), r"n_samples_per_g must be >= 2 \(got 1\)"),
        (0, lambda d: d["rows"][0]["prog"].update(q05_50_95=3), r"prog: q05_50_95 must be three numbers \(got 3\)"),
        (1, lambda d: d["results"][3]["t"].update({"1s": {"rel_fro_err_mean": 0}}), r"must be > 0 with noise"),
        (1, lambda d: d.update(recipe="none"), r"recipe must say how W and X are drawn \(got 'none'\)"),
        (1, lambda d: d["X_first_2_rows"][0].__setitem__(0, 9.0), r"X_first_2_rows is not what the recipe draws"),
        (1, lambda d: d["W"][0].__setitem__(0, 1e90), r"W: numbers must be at most 1e\+30 \(got 1e\+90\)"),
        (0, lambda d: d["times_s"].update({"1s": 1e90}), r"1s must be at most 1e\+30"),
        (1, lambda d: d["W"].pop(), r"recipe draws W as \[32, 64\], but W is \[31, 64\]"),
        (1, lambda d: d["W"][0].pop(), r"W must be a list of rows of numbers"),
        (1, lambda d: d["results"][0].update(dac_bits=1), r"results\[0\]: dac: bits must be an integer in 2..32"),
        (1, lambda d: d["results"][0].update(adc_bits="8"), r"results\[0\]: adc_bits must be an integer or null"),
        (1, lambda d: d["settings"].update(inp_noise=0.1), r"settings: inp_noise must be 0.0 \(got 0.1\)"),
        (1, lambda d: d["settings"].update(bound_management="iterative"), r"bound_management must be 'none'"),
    ],
)  # fmt: skip
def test_bad_files(write, which, change, message):
    path = write(which, change)
    with pytest.raises(BadInputError, match=message) as caught:
        devices.main([str(path), *FEW])
    assert str(caught.value).startswith(str(path))


def test_missing_file_is_one_line_and_exit_2(capsys):
    assert BadInputError.guard(lambda: devices.main(["nowhere.json"])) == 2
    assert capsys.readouterr().err.count("\n") == 1
