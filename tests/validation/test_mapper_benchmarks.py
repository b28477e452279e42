"""The mappers' benchmarks: the shipped optima, wrong figures, and what bad files do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks._common import BadInputError
from benchmarks.mappers import optima, proofs, quality
from benchmarks.mappers._layers import read_layers

Cases = list[dict[str, Any]]


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    """Writes four small cases, two of each kind of hardware, after a change."""
    cases = json.loads(optima.DEFAULT.read_text())["cases"]
    small = [case for case in cases if case["layer"].startswith("FC 2048x1000 N1")]
    few = [case for kind in "AB" for case in [c for c in small if c["hardware"]["kind"] == kind][:2]]
    assert len(few) == 4

    def write(change: Callable[[Cases], object] = lambda few: None) -> Path:
        copy = json.loads(json.dumps(few))
        change(copy)
        path = tmp_path / "optima.json"
        path.write_text(json.dumps({"cases": copy}))
        return path

    return write


def test_all_shipped_optima_are_proven(capsys):
    assert optima.main([]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("optima: 72 of 72 proven equal to 1e-09; ")


@pytest.mark.parametrize("factor", [1 - 3e-9, 1 + 3e-9])
def test_a_wrong_optimum_is_noticed(write, capsys, factor):
    path = write(lambda few: few[1].update(optimum=few[1]["optimum"] * factor))
    assert optima.main([str(path)]) == 1
    assert "optima: 3 of 4 proven" in capsys.readouterr().out


def test_other_names_and_orders_of_the_tensors(write, capsys):
    def change(few):
        for case in few:
            case["tensors"] = [
                ["Z", *case["tensors"][2][1:]],
                ["w2", *case["tensors"][0][1:]],
                ["x", *case["tensors"][1][1:]],
            ]

    assert optima.main([str(write(change))]) == 0
    assert "optima: 4 of 4 proven" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda few: few[0].update(objective="speed"), "cases[0]: objective must be one of edp, energy, latency"),
        (lambda few: few[0].update(optimum=0), "cases[0]: optimum must be a number > 0 (got 0)"),
        (lambda few: few[2]["hardware"].update(kind="C"), "cases[2]: hardware: kind must be A or B (got 'C')"),
        (lambda few: few[2]["hardware"].update(fan=[4]), "fan must be two integers >= 1"),
        (lambda few: few[2]["hardware"].update(eD=-1), "eD must be a number >= 0, at most 1,099,511,627,776 (got -1)"),
        (lambda few: few[2]["hardware"].pop("glb"), "glb"),
        (lambda few: few[1]["dims"].append(["K"]), "cases[1]: dims[3] must be [name, bound]"),
        (lambda few: few[1]["tensors"][0].__setitem__(1, "weight"), "role must be input or output"),
        (lambda few: few[1]["tensors"].pop(), "cases[1]: "),
        (lambda few: few.__setitem__(3, 7), "cases[3]"),
    ],
)
def test_bad_files(write, change, expected):
    with pytest.raises(BadInputError, match=re.escape(expected)):
        optima.main([str(write(change))])


def test_layers_from_a_file(tmp_path, capsys):
    path = tmp_path / "layers.txt"
    path.write_text("# two layers\nconv2d(K=16,C=8,P=7,Q=7,R=3,S=3)\n\nmatmul(P=8,K=12,C=20)  # a product\n")
    assert [str(operator) for operator in read_layers(path).values()] == [
        "conv2d(K16 C8 P7 Q7 R3 S3)",
        "matmul(K12 C20 P8)",
    ]
    quality.main(["--layers", str(path), "--seconds", "0.02", "--seeds", "1", "--workers", "1"])
    out = capsys.readouterr().out
    assert "quality: 2 layers x 3 accelerators, 1 seeds" in out
    for mapper in ("optimal", "default", "local_search", "genetic", "cma_es", "random"):
        assert len(re.findall(rf" {mapper} ", out)) == 3
    path.write_text("conv2d(K=16,C=8,P=7,Q=7,R=3,S=3)\nmatmul(P=8,K=0,C=20)\n")
    with pytest.raises(BadInputError, match=r"layers.txt:2: matmul: bound of K must be"):
        read_layers(path)
    path.write_text("resnet50\n")
    with pytest.raises(BadInputError, match=r"layers.txt:1: expected an operator like"):
        read_layers(path)


def test_the_reference_layer_is_below_timeloops_best():
    for _, accelerator, theirs in proofs._TIMELOOP:
        certificate = proofs.prove(accelerator, proofs._LAYER, "edp", bypass=False)
        assert certificate.proven
        assert certificate.value < theirs
