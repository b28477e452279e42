"""Systolic arrays: the shipped cycle counts, the closed form, wrong counts, and what bad files do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks._common import BadInputError
from benchmarks.validation import systolic

Cases = list[dict[str, Any]]


@pytest.fixture(scope="module")
def cases() -> Cases:
    return json.loads(systolic.DEFAULT.read_text())["cases"]


@pytest.fixture
def write(cases, tmp_path) -> Callable[..., Path]:
    """Writes the six smallest cases after a change."""

    def write(change: Callable[[Cases], object] = lambda few: None) -> Path:
        few = [dict(case) for case in sorted(cases, key=lambda case: case["array_rows"] * case["array_cols"])[:6]]
        change(few)
        path = tmp_path / "cases.json"
        path.write_text(json.dumps({"cases": few}))
        return path

    return write


def test_command_on_the_shipped_file(capsys):
    assert systolic.main([]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "systolic: 42 of 42 cycle counts exact: ok"


def _closed_form(M: int, K: int, N: int, rows: int, columns: int, dataflow: str) -> int:
    """Folds x (time inside + ramp); SCALE-Sim's formula, which counts the fills and drains of every fold."""
    if dataflow == "os":
        return -(-M // rows) * -(-N // columns) * (K + rows + columns - 2)
    on_columns, in_time = (N, M) if dataflow == "ws" else (M, N)
    return -(-K // rows) * -(-on_columns // columns) * (in_time + 2 * rows + columns - 2)


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (5, 7, 3, 4, 2), (1, 9, 30, 3, 5), (16, 16, 16, 4, 4)])
def test_cycles_follow_the_closed_form(sizes, dataflow):
    assert systolic.cycles(*sizes, dataflow) == _closed_form(*sizes, dataflow)


def test_one_wrong_count_fails(write, capsys):
    path = write(lambda few: few[2].update(compute_cycles=few[2]["compute_cycles"] + 1))
    assert systolic.main([str(path)]) == 1
    out = capsys.readouterr().out
    assert "systolic: 5 of 6 cycle counts exact: BELOW TARGET" in out


def test_one_wrong_size_fails(write):
    assert systolic.main([str(write())]) == 0
    assert systolic.main([str(write(lambda few: few[0].update(K=few[0]["K"] + 1)))]) == 1


def test_a_product_too_large_to_count_differs(write, capsys):
    path = write(lambda few: few[0].update(M=10**12, N=10**12, K=10**12))
    assert systolic.main([str(path)]) == 1
    assert "refused: overflow" in " ".join(capsys.readouterr().out.split())


def test_no_cases_is_no_pass(write):
    assert systolic.main([str(write(lambda few: few.clear()))]) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda few: few[1].pop("M"), r"cases\[1\]: M is missing"),
        (lambda few: few[1].pop("compute_cycles"), r"cases\[1\]: compute_cycles is missing"),
        (lambda few: few[1].update(K="64"), r"cases\[1\]: K must be a int"),
        (lambda few: few[1].update(N=0), r"cases\[1\]: N must be >= 1 \(got 0\)"),
        (lambda few: few[1].update(dataflow="rs"), r"cases\[1\]: dataflow must be one of os, ws, is \(got 'rs'\)"),
        (lambda few: few.__setitem__(1, []) or None, r"cases\[1\]: must be an object"),
    ],
)
def test_bad_cases(write, change, message):
    path = write(change)
    with pytest.raises(BadInputError, match=message) as caught:
        systolic.main([str(path)])
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1:1: not valid JSON"),
        ("[]", "must be an object"),
        ("{}", "cases is missing"),
        ('{"cases": 3}', "must be"),
    ],
)
def test_bad_files(tmp_path, text, message, capsys):
    path = tmp_path / "cases.json"
    path.write_text(text)
    assert BadInputError.guard(lambda: systolic.main([str(path)])) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_missing_file_is_one_line_and_exit_2(capsys):
    assert BadInputError.guard(lambda: systolic.main(["nowhere.json"])) == 2
    assert capsys.readouterr().err.count("\n") == 1
