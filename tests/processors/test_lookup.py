"""Latency tables: what is read, what is refused, what is missing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from accelerators.documents import DocumentError
from accelerators.processors.lookup import Entry, LatencyTable, MissingKeysError, nearest, read
from benchmarks._common import BadInputError
from benchmarks.validation import lut
from codesign.nas.lookup_keys import block_keys
from codesign.networks import NetworkError

KEY = "expanded_conv-input:56x56x24-output:56x56x24-expand:{}-kernel:{}-stride:1-idskip:1-se:0-hs:0"
TABLE = {
    KEY.format(72, 3): {"count": 5, "mean": 1.5, "std": 0.3},
    KEY.format(144, 3): {"count": 5, "mean": 3.0, "std": 0.4},
    KEY.format(72, 5): {"mean": 2.0, "var": 0.09},
}


NETWORKS = Path(lut.__file__).parent / "data" / "lut" / "ofa_note10_networks.json"


def write(path: Path, data: Any) -> Path:
    path.write_text(json.dumps(data))
    return path


def test_tables_are_read_from_json_and_yaml_and_written(tmp_path: Path) -> None:
    found = read(write(tmp_path / "a.json", TABLE))[""]
    assert found.entries[KEY.format(72, 5)] == Entry(2.0, pytest.approx(0.3), None)
    (tmp_path / "a.yaml").write_text("\n".join(f"'{key}': {json.dumps(value)}" for key, value in TABLE.items()))
    assert read(tmp_path / "a.yaml")[""].entries == found.entries
    assert read(write(tmp_path / "b.json", json.loads(found.to_json())))[""].entries == found.entries
    sizes = read(write(tmp_path / "c.json", {"160": TABLE, "192": TABLE}))
    assert set(sizes) == {"160", "192"}


def test_a_sum_knows_its_spread() -> None:
    table = LatencyTable("t", {"a": Entry(1.0, 0.3), "b": Entry(2.0, 0.4), "c": Entry(3.0)})
    found = table.latency(["a", "b", "b"])
    assert found.latency_ms == 5
    assert found.std_ms == pytest.approx(math.sqrt(0.09 + 0.32))
    assert table.latency(["a", "c"]).std_ms is None


def test_missing_keys_are_named_with_the_closest_ones(tmp_path: Path) -> None:
    table = read(write(tmp_path / "a.json", TABLE))[""]
    with pytest.raises(MissingKeysError) as caught:
        table.latency([KEY.format(72, 3), KEY.format(96, 3), KEY.format(72, 7), KEY.format(96, 3)])
    assert caught.value.keys == (KEY.format(96, 3), KEY.format(72, 7))
    assert f"no entry for {KEY.format(96, 3)}: did you mean" in str(caught.value)


def test_blocks_are_interpolated_only_if_asked_for_and_said(tmp_path: Path) -> None:
    table = read(write(tmp_path / "a.json", TABLE))[""]
    found = table.latency([KEY.format(72, 3), KEY.format(96, 3)], interpolate=True)
    assert dict(found.interpolated) == {KEY.format(96, 3): KEY.format(72, 3)}
    assert 1.5 < found.latency_ms - 1.5 < 3.0
    with pytest.raises(MissingKeysError):
        table.latency([KEY.format(72, 7)], interpolate=True)
    assert nearest(table.entries, "Conv-input:8x8x3-output:4x4x8") is None
    same = nearest(table.entries, KEY.format(144, 3))
    assert same is not None
    assert same == (Entry(3.0, 0.4), KEY.format(144, 3))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": {"mean": -1}}', "a: mean must be a finite number >= 0 (got -1)"),
        ('{"a": {"mean": 0}}', "a: mean must be > 0 milliseconds (got 0)"),
        ('{"a": {"mean": NaN}}', "a: mean must be a finite number >= 0 (got nan)"),
        ('{"a": {"mean": 1, "std": -2}}', "a: std must be a finite number >= 0 (got -2)"),
        ('{"a": {"mean": true}}', "a: mean must be a finite number >= 0 (got True)"),
        ('{"a": {"median": 1}}', "a: must be a mapping with mean and maybe count, std, var"),
        ('{"a": {"mean": 1}, "a": {"mean": 2}}', "a: duplicate key"),
        ('{"160": {"a": {"mean": -1}}}', "160.a: mean must be"),
        ("[]", "must be a mapping of keys to entries"),
        ("{", "not valid JSON"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DocumentError) as caught:
        read(path)
    assert expected in str(caught.value)


def test_yaml_says_where(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: {mean: 1}\nb: {mean: -2}\na: {mean: 3}\n")
    with pytest.raises(DocumentError, match=r"a.yaml:3:1: a: duplicate key"):
        read(path)
    path.write_text("a: {mean: 1}\nb: {mean: -2}\n")
    with pytest.raises(DocumentError, match=r"a.yaml:2:4: b: mean must be a finite number >= 0"):
        read(path)


def test_keys_of_the_three_styles() -> None:
    block = {"cin": 24, "cout": 32, "k": 5, "s": 2, "e": 3, "mid": 72, "act": "h_swish", "se": True, "shortcut": False}
    net = {"stem": 24, "blocks": [None, block], "final_expand": 960, "feature_mix": 1280}
    ofa = block_keys(net, 188, "ofa")
    assert ofa[0] == "Conv-input:188x188x3-output:94x94x24"
    assert ofa[1] == "expanded_conv-input:94x94x24-output:47x47x32-expand:72-kernel:5-stride:2-idskip:0-se:1-hs:1"
    assert ofa[-2:] == ["Conv_2-input:1x1x960-output:1x1x1280", "Logits-input:1x1x1280-output:1000"]
    plain = block_keys({**net, "final_expand": None}, 188, "proxyless")
    assert plain[1] == "expanded_conv-input:94x94x24-output:47x47x32-expand:3-kernel:5-stride:2-idskip:0"
    assert plain[-1] == "Logits-input:47x47x1280-output:1000"
    assert block_keys(net, 188, "nsganet")[-1] == "classifier-input:1280-output:1000"
    with pytest.raises(NetworkError, match="must have stem, blocks and feature_mix"):
        block_keys({"blocks": []}, 188, "ofa")


def test_the_published_network_of_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert lut.main([]) == 0
    out = capsys.readouterr().out
    assert "29.97" in out
    assert "16 of 18 keys missing" in out
    assert out.endswith("1 network in the tables, 2 with keys missing: ok\n")


def test_networks_of_one_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    networks = json.loads(NETWORKS.read_text())
    networks["ofa_specialized"].append({**networks["ofa_specialized"][0], "device": "other", "name": "elsewhere"})
    path = write(tmp_path / "n.json", networks)
    lut.main(["--networks", str(path), "--device", "note10"])
    assert "elsewhere" not in capsys.readouterr().out
    lut.main(["--networks", str(path), "--device", "other", "--interpolate"])
    out = capsys.readouterr().out
    assert "elsewhere" in out
    assert ": taken from expanded_conv-input:" in out
    with pytest.raises(BadInputError, match=r"no network for 'pixel1' \(devices: note10, other\)"):
        lut.main(["--networks", str(path), "--device", "pixel1"])
