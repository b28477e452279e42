"""The pass model of Eyeriss: its figures, its mappings, its honesty checks, and what bad files do."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace

import pytest

from benchmarks._common import BadInputError
from benchmarks.validation import eyeriss
from benchmarks.validation.eyeriss import ALEXNET, CONV3_AS_TABLED, VGG16, RowStationary


@pytest.fixture(scope="module")
def networks():
    return eyeriss.read_layers(eyeriss.DEFAULT)


def test_command_reaches_its_targets(capsys):
    assert eyeriss.main([]) == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    mean, total, loo_mean, loo_total = map(
        float, re.search(r"mean error ([\d.]+)%.*?total ([-+\d.]+)%.*?out ([\d.]+)%, ([-+\d.]+)%", last).groups()
    )
    assert mean == pytest.approx(2.66, abs=0.02)
    assert abs(total) < 0.05
    assert loo_mean == pytest.approx(3.19, abs=0.05)
    assert abs(loo_total) < 1.0
    assert "null 4.37%, -0.05%" in last
    assert "MAESTRO 4.2" in last
    assert last.endswith(": ok")


def test_the_constant_is_the_fit_on_the_alexnet_total(networks):
    assert eyeriss.fit_overhead(networks[0], ALEXNET) == pytest.approx(eyeriss.OVERHEAD_CYCLES, abs=1)


def test_a_wrong_constant_is_reported(monkeypatch, capsys):
    monkeypatch.setattr(eyeriss, "OVERHEAD_CYCLES", 900.0)
    monkeypatch.setattr(eyeriss.cycles, "__defaults__", (900.0,))
    assert eyeriss.main([]) == 1
    assert "BELOW TARGET" in capsys.readouterr().out


def test_one_pass_by_hand(networks):
    conv2 = networks[0][1]
    rs = ALEXNET["CONV2"]
    # 2 groups x 4 images x 1 strip x 128/16 filters x 48/2 channels
    assert eyeriss.passes(conv2, rs) == 2 * 4 * 1 * 8 * 24
    # 27 outputs x 16 filters x 2 channels x 5 taps, then 16 x 2 x 25 filter words at 4 per cycle
    assert eyeriss.busy_cycles(conv2, rs) == 1536 * (27 * 16 * 2 * 5 + 16 * 2 * 25 / 4)


def test_psums_bind_where_the_pass_has_one_channel(networks):
    layer = networks[1][1]
    rs = VGG16[layer.name]
    # Every output of 16 of 64 filters is written once per channel and filter group, 4 words per cycle.
    assert eyeriss.busy_cycles(layer, rs) == pytest.approx(3 * 64 * 64 * 224 * 224 / 4, rel=1e-3)


def test_mappings_obey_the_chip(networks):
    alexnet, vgg16, _ = networks
    for layer in alexnet:
        assert eyeriss.violations(layer, ALEXNET[layer.name]) == []
    for layer in vgg16:
        if layer.name != "CONV5-1":  # its active PEs are misprinted
            assert eyeriss.violations(layer, VGG16[layer.name]) == []
    conv4 = alexnet[3]
    for change in ({"t": 4}, {"q": 5}, {"p": 30}, {"m": 400}, {"e": 12}, {"m": 16}):
        assert eyeriss.violations(conv4, ALEXNET["CONV4"]._replace(**change)), change


def test_predicted_buffer_traffic_is_the_measured_one(networks):
    for layer in networks[0]:
        assert eyeriss.buffer_mb(layer, ALEXNET[layer.name]) == pytest.approx(layer.buffer_mb, abs=0.06)
    for layer in networks[1]:
        assert eyeriss.buffer_mb(layer, VGG16[layer.name]) == pytest.approx(layer.buffer_mb, rel=0.07)
    assert eyeriss.buffer_mb(networks[0][2], CONV3_AS_TABLED) == pytest.approx(69.2, abs=0.05)


def test_traffic_alone_decides_conv3(networks):
    """Of the mappings with 16 filters per PE that the chip could run on 156 PEs, one has the measured traffic."""
    conv3 = networks[0][2]
    found = set()
    for p, q, (r, t) in itertools.product(range(1, 25), range(1, 5), ((1, 4), (2, 2), (4, 1))):
        rs = RowStationary(m=64, n=4, e=13, p=p, q=q, r=r, t=t)
        # The chip's passes take 16 filters per PE in every tabled layer.
        fits = p == 16 and not eyeriss.violations(conv3, rs)
        if fits and abs(eyeriss.buffer_mb(conv3, rs) - conv3.buffer_mb) < 0.06:
            found.add(rs)
    assert found == {ALEXNET["CONV3"]}


def test_leave_one_out_does_not_see_its_layer(networks):
    alexnet = list(networks[0])
    before = eyeriss.leave_one_out(alexnet, ALEXNET)
    alexnet[4] = replace(alexnet[4], measured_cycles=2 * alexnet[4].measured_cycles)
    after = eyeriss.leave_one_out(alexnet, ALEXNET)
    assert after[4] == before[4]
    assert all(b > a for a, b in zip(before[:4], after[:4], strict=True))


def test_vgg16_with_the_constant_of_alexnet(networks):
    vgg16 = networks[1]
    _, mean, total = eyeriss.errors(vgg16, [eyeriss.cycles(layer, VGG16[layer.name]) for layer in vgg16])
    assert mean < 0.025
    assert abs(total) < 0.01


def test_dram_traffic_is_an_upper_bound_of_the_compressed_one(networks):
    for layer in networks[0]:
        assert layer.dram_mb < eyeriss.dram_mb(layer, ALEXNET[layer.name]) < 2.1 * layer.dram_mb


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("eyeriss"), "eyeriss is missing"),
        (lambda d: d["eyeriss"].pop("vgg16"), "vgg16 is missing"),
        (lambda d: d["eyeriss"]["alexnet"].pop(), "layers must be"),
        (lambda d: d["eyeriss"]["alexnet"][1]["dims"].pop("K"), r"alexnet\[1\].dims: K is missing"),
        (lambda d: d["eyeriss"]["alexnet"][0].pop("processing_latency_ms"), "processing_latency_ms is missing"),
        (lambda d: d["eyeriss"]["alexnet"][0].update(active_PEs="x"), "active_PEs must be a number"),
        (lambda d: d["maestro_vs_eyeriss"]["layers"].pop("CONV2"), "CONV2 is missing"),
    ],
)
def test_bad_files(tmp_path, change, message):
    document = json.loads(eyeriss.DEFAULT.read_text())
    change(document)
    path = tmp_path / "layers.json"
    path.write_text(json.dumps(document))
    with pytest.raises(BadInputError, match=message) as caught:
        eyeriss.read_layers(path)
    assert str(path) in str(caught.value)


def test_missing_file_is_one_line_and_exit_2(capsys):
    assert BadInputError.guard(lambda: eyeriss.main(["nowhere.json"])) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_measured_column_matters(tmp_path, capsys):
    """The command compares with the file, not with itself."""
    document = json.loads(eyeriss.DEFAULT.read_text())
    for row in document["eyeriss"]["alexnet"]:
        row["processing_latency_ms"] *= 1.05
    path = tmp_path / "layers.json"
    path.write_text(json.dumps(document))
    assert eyeriss.main([str(path)]) == 1
