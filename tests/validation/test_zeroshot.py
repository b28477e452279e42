"""The comparison of zero-shot scores: what passes, what does not, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
from benchmarks._common import BadInputError
from benchmarks.nas import zeroshot
from benchmarks.nas._layer_lists import build

_DATA = Path(zeroshot.__file__).parent / "data"


def _networks() -> dict:
    """The smallest network, without the scores that take longest."""
    data = json.loads((_DATA / "zeroshot_reference.json").read_text())
    entry = data["networks"]["plain3"]
    for key in ("zen_eps1e-05", "zen_eps0.001"):
        entry[key]["repeat32_same_model"] = None
    data["networks"] = {"plain3": entry}
    return data


def _run(tmp_path: Path, data: object, *options: str) -> int:
    path = tmp_path / "file.json"
    path.write_text(json.dumps(data))
    return zeroshot.main([str(path), *options])


def test_a_network_agrees(tmp_path, capsys):
    assert _run(tmp_path, _networks(), "--seeds", "6") == 0
    assert "zero-shot scores: 27 of 27 agree: ok" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry["deterministic"].update(snip=entry["deterministic"]["snip"] * 1.001),
        lambda entry: entry["naswot"].update(mean=entry["naswot"]["mean"] + 0.1),
        lambda entry: entry.update(params=entry["params"] + 1),
        lambda entry: entry["zen_eps1e-05"]["repeat1_fresh_model"].update(mean=8.716),  # that of 32 repeats
        lambda entry: entry["deterministic"].update(mystery=1.0),
    ],
)
def test_a_figure_that_does_not_agree_fails(change, tmp_path, capsys):
    data = _networks()
    entry = data["networks"]["plain3"]
    keep = ("layers", "params", "naswot", "deterministic", "zen_eps1e-05")
    data["networks"]["plain3"] = entry = {key: entry[key] for key in keep}
    change(entry)
    assert _run(tmp_path, data, "--seeds", "4") == 1
    assert "BELOW TARGET" in capsys.readouterr().out


def test_cells_are_ranked(tmp_path, capsys):
    data = json.loads((_DATA / "nb201_zeroshot.json").read_text())
    smallest = sorted(data["rows"], key=lambda row: row["params"])[:10]
    kept = [{key: row[key] for key in ("idx", "acc10", "params", "naswot")} for row in smallest]
    assert _run(tmp_path, {"rows": kept}) in (0, 1)
    shown = capsys.readouterr().out
    assert "zero-shot ranking of 10 cells" in shown
    # Counting parameters needs no drawing: the ranks are the same ones.
    line = next(line for line in shown.splitlines() if line.split()[:2] == ["acc10", "params"])
    assert line.split()[-1] == "+0.000"


def test_a_ranking_that_is_worse_fails(tmp_path, capsys):
    data = json.loads((_DATA / "nb201_zeroshot.json").read_text())
    kept = sorted(data["rows"], key=lambda row: row["params"])[:10]
    rows = [{"idx": row["idx"], "acc10": float(i), "naswot": float(i)} for i, row in enumerate(kept)]
    rows[0]["naswot"], rows[1]["naswot"] = rows[1]["naswot"], None
    for row in rows:
        row["acc10"] = -row["acc10"]
        row["naswot"] = row["naswot"] if row["naswot"] is None else -row["naswot"]
    assert _run(tmp_path, {"rows": rows}) == 1
    assert "naswot: " in capsys.readouterr().out


@pytest.mark.parametrize(
    "data, message",
    [
        ([], "must be an object"),
        ({}, "must have networks or rows"),
        ({"networks": {"a": {"layers": []}}}, "networks.a.layers: must be a list of layers"),
        ({"networks": {"a": {"layers": [["fc", 3, "x"]]}}}, r"layers\[0\]: must be \['fc', int, int\]"),
        ({"networks": {"a": {"layers": [["fc", 4, 2]]}}}, "fc must take 3 channels"),
        ({"networks": {"a": {"layers": [["dense"], ["fc", 3, 2]]}}}, r"layer must be conv, bn, relu or res"),
        (
            {"networks": {"a": {"layers": [["conv", 3, 4, 3, 1, 1, 0], ["fc", 4, 2]]}}},
            r"layers\[0\]: must be \['conv', int, int, int, int, int, bool\]",
        ),
        (
            {"networks": {"a": {"layers": [["conv", 3, 4, 3, 1, 2, False], ["fc", 4, 2]]}}},
            "groups must divide 3 input and 4 output channels",
        ),
        ({"inputs": "zeros", "networks": {}}, "inputs must be 'randn CxHxW'"),
        ({"networks": {"a": {"layers": [["fc", 3, 2]], "snip": {"mean": 1}}}}, "must have the numbers mean and std"),
        ({"networks": {"a": {"layers": [["fc", 3, 2]], "snip": 3}}}, "a.snip: must be an object"),
        ({"rows": [{"idx": 1}]}, "rows: must have at least 10 cells"),
        ({"rows": [{"idx": 15625}] * 10}, "idx must be in 0..15624"),
        ({"rows": [{"idx": 1, "zen": 1.0}] * 10}, "must have accuracies"),
        ({"rows": [{"idx": 1, "zen": "x", "acc10": 1}] * 10}, r"zen must be a number or null \(got 'x'\)"),
    ],
)
def test_bad_files(data, message, tmp_path):
    with pytest.raises(BadInputError, match=message):
        _run(tmp_path, data)


@pytest.mark.parametrize("inline", [False, True])
def test_residual_lists(inline):
    block = [["conv", 3, 3, 3, 1, 1, False], ["bn", 3], ["relu"]]
    layers = [["res", *block] if inline else ["res", block], ["bn", 3], ["fc", 3, 2]]
    network = build(Path("f"), "n", layers, (3, 8, 8))
    assert [layer.operator.kind for layer in network] == ["conv2d", "relu", "add", "normalization", "pool", "matmul"]
    assert network.parameters == 81 + 6 + 6 + 8
    assert network.predecessors("0.add") == ["0.2"]
