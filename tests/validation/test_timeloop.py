"""Fixed mappings: the shipped cases agree, every kind of wrong figure is noticed, and what bad files do."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks._common import BadInputError, read_json
from benchmarks.validation import timeloop

Case = dict[str, Any]

#: A case with multicast and several tensors per level, and the two infeasible ones.
PLAIN, TOO_MANY_MACS, WRONG_FACTORS = "tl0012", "tl0110", "tl0111"


@pytest.fixture(scope="module")
def text() -> str:
    return json.dumps(read_json(timeloop.DEFAULT)["cases"])


@pytest.fixture
def write(text, tmp_path) -> Callable[..., Path]:
    """Writes some cases after a change of the first one."""

    def write(change: Callable[[Case], object], *ids: str) -> Path:
        few = {case["id"]: case for case in json.loads(text) if case["id"] in (ids or (PLAIN, TOO_MANY_MACS))}
        cases = [few[name] for name in ids or (PLAIN, TOO_MANY_MACS)]
        change(cases[0])
        path = tmp_path / "cases.json"
        path.write_text(json.dumps({"cases": cases}))
        return path

    return write


def _tensor(case: Case, level: int = 1, tensor: str | None = None) -> dict[str, Any]:
    """The figures of one kept tensor."""
    tensors = case["outputs"]["levels"][case["arch"]["levels"][level]["name"]]["tensors"]
    return tensors[tensor or next(iter(tensors))]


def _more(figures: dict[str, Any], key: str, by: float = 1) -> None:
    figures[key] += by


def _network(case: Case) -> list[list[float]]:
    """Words by multicast factor of some tensor on the first network that has any."""
    for level in case["outputs"]["levels"].values():
        for tensor in level.get("network_to_child", {}).get("tensors", {}).values():
            if tensor["words_by_multicast_factor"]:
                return tensor["words_by_multicast_factor"]
    raise AssertionError("no network")


def test_command_on_the_shipped_file(capsys):
    assert timeloop.main([]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "timeloop: 164 exact, 0 differ, 4 out of scope (imperfect factors): ok"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda case: _more(_tensor(case), "reads_per_instance"), "reads_per_instance"),
        (lambda case: _more(_tensor(case), "fills_per_instance", -1), "fills_per_instance"),
        (lambda case: _more(_tensor(case, 0, "Outputs"), "updates_per_instance"), "updates_per_instance"),
        (lambda case: _more(_tensor(case), "tile_words"), "tile_words"),
        (lambda case: _more(_tensor(case), "instances"), "instances"),
        (lambda case: _more(_tensor(case, 0, "Outputs"), "partition_words"), "partition_words"),
        (lambda case: _more(_network(case)[0], 1), "multicast"),
        (lambda case: _more(case["outputs"], "cycles"), "cycles"),
        (lambda case: _more(case["outputs"], "energy_pj_total", 1.0), "energy"),
        (lambda case: case["outputs"].update(valid=False, reason="tile size exceeds capacity"), "valid here"),
    ],
)
def test_one_changed_figure_fails(write, change, message, capsys):
    assert timeloop.main([str(write(lambda case: None))]) == 0
    assert timeloop.main([str(write(change))]) == 1
    out = capsys.readouterr().out
    assert f"{PLAIN} (" in out
    assert message in out
    assert out.splitlines()[-1].endswith("1 exact, 1 differ, 0 out of scope (imperfect factors): BELOW TARGET")


def test_an_infeasible_case_made_feasible_fails(write, capsys):
    def widen(case: Case) -> None:
        for level in case["arch"]["levels"]:
            level["fanout"] = [64, 64]

    assert timeloop.main([str(write(widen, TOO_MANY_MACS, PLAIN))]) == 1
    assert "valid here, Timeloop: ERROR: couldn't map" in capsys.readouterr().out


def test_the_reason_must_be_the_same(write, capsys):
    path = write(lambda case: case["outputs"].update(reason="tile size exceeds capacity"), WRONG_FACTORS, PLAIN)
    assert timeloop.main([str(path)]) == 1
    assert "reason: factors:" in capsys.readouterr().out


def test_a_case_made_infeasible_fails(write, capsys):
    path = write(lambda case: case["arch"]["levels"][1].update(capacity_words=1))
    assert timeloop.main([str(path)]) == 1
    assert "refused: capacity" in capsys.readouterr().out


def test_imperfect_factors_alone_are_no_pass(text, tmp_path):
    imperfect = [case for case in json.loads(text) if case["category"] == "imperfect"]
    path = tmp_path / "cases.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"cases": imperfect}).encode()))
    assert timeloop.main([str(path)]) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda case: case.pop("arch"), r"cases\[0\]: arch is missing"),
        (lambda case: case.update(mapping={}), r"cases\[0\]: mapping must be a list"),
        (lambda case: case["outputs"].pop("valid"), "KeyError: 'valid'"),
        (lambda case: case["outputs"].pop("levels"), "KeyError: 'levels'"),
        (lambda case: case["arch"].update(levels=[]), r"cases\[0\] \(tl0012\): "),
        (lambda case: case["arch"]["levels"][1].update(word_bits=0), r"cases\[0\] \(tl0012\): "),
        (lambda case: case["arch"]["levels"][1].update(fanout=[1]), r"cases\[0\] \(tl0012\): "),
        (lambda case: case["problem"].update(dims=["K", "C"]), r"cases\[0\] \(tl0012\): "),
        (lambda case: case["problem"].update(tensors=["Weights"]), r"cases\[0\] \(tl0012\): "),
        (lambda case: case["mapping"].pop(), r"cases\[0\] \(tl0012\): .*levels must be"),
        (lambda case: case["mapping"].__setitem__(0, 3), r"cases\[0\] \(tl0012\): TypeError"),
        (lambda case: case["mapping"][0].update(temporal=[["K"]]), r"cases\[0\] \(tl0012\): ValueError"),
        (lambda case: case["mapping"][0].update(temporal=[["Z", 2]]), r"cases\[0\] \(tl0012\): .*dimensions are"),
    ],
)
def test_bad_cases(write, change, message):
    path = write(change)
    with pytest.raises(BadInputError, match=message) as caught:
        timeloop.main([str(path)])
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", ":1:1: not valid JSON"),
        (b'{"cases": [\n  {"id": "a",}]}', ":2:"),
        (b"[]", "must be an object"),
        (b"{}", "cases is missing"),
        (b'{"cases": [3]}', "cases[0]: must be an object"),
        (gzip.compress(b'{"cases": []}', mtime=0)[:-9], "cannot be read"),
        (gzip.compress(b'{"cases": []}' * 50, mtime=0)[:15] + b"\xff" * 40, "cannot be read"),
    ],
)
def test_bad_files(tmp_path, data, message, capsys):
    path = tmp_path / "cases.json"
    path.write_bytes(data)
    assert BadInputError.guard(lambda: timeloop.main([str(path)])) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_missing_file_is_one_line_and_exit_2(capsys):
    assert BadInputError.guard(lambda: timeloop.main(["nowhere.json"])) == 2
    assert capsys.readouterr().err.count("\n") == 1
