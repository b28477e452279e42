"""In-memory computing chips: the shipped figures, chips with other fields, and what bad files do."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks._common import BadInputError
from benchmarks.validation import crossbar
from benchmarks.validation._imc_chips import Fields, NotModelledError
from benchmarks.validation._imc_chips import crossbar as chip_of

CHIPS, MACROS = crossbar.DEFAULTS
Change = Callable[[Any], object]


def write(tmp_path: Path, source: Path, change: Change = lambda content: None) -> Path:
    content = json.loads(source.read_text())
    change(content)
    path = tmp_path / "chips.json"
    path.write_text(json.dumps(content))
    return path


def last_lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if line.endswith((": ok", ": BELOW TARGET"))]


def test_the_command_on_the_shipped_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert crossbar.main([]) == 0
    chips, macros, neurram = last_lines(capsys)
    assert "energy 0.96 to 1.07 on 3 chips, all within 15%" in chips
    assert "area 0.79 to 1.13 on 5 chips, all within 25%" in chips
    assert "period 0.88 to 1.11 on 5 chips, all within 15%" in chips
    assert "outside 25%: AIMC3" in macros
    assert "NeuRRAM energy 0.82 to 1.08 at 14 precisions" in neurram


def test_figures_that_cannot_be_compared_say_why(capsys: pytest.CaptureFixture[str]) -> None:
    crossbar.main([str(CHIPS)])
    out = " ".join(capsys.readouterr().out.split())
    for label in ("AIMC2", "DIMC4"):
        assert f"{label}: energy not comparable" in out
    assert "sparsity information not available" in out


def test_wrong_figures_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def worse(content: Any) -> None:
        for chip in content["chips"][:2]:
            chip["reported"]["tclk_ns"] *= 1.5

    assert crossbar.main([str(write(tmp_path, CHIPS, worse))]) == 1
    (line,) = last_lines(capsys)
    assert "outside 15%: AIMC1, AIMC2" in line


def test_energies_per_operation_are_no_energies_per_mac(tmp_path: Path) -> None:
    def halve(content: Any) -> None:
        content["chips"][0]["reported"]["energy_per_mac_fJ"] /= 2

    with pytest.raises(BadInputError, match=r"AIMC1.*must be 2000 / tops_per_w, a MAC being two operations"):
        crossbar.main([str(write(tmp_path, CHIPS, halve))])

    def double(content: Any) -> None:
        macro = content["cimloop"]["macros"]["wan_nature_2022_NeuRRAM"]["published"]
        macro["energy_fJ"]["(4, 2, 0)"] = [2 * value for value in macro["energy_fJ"]["(4, 2, 0)"]]

    with pytest.raises(BadInputError, match="energies must be per operation"):
        crossbar.main([str(write(tmp_path, MACROS, double))])


def digital(**more: Any) -> Fields:
    fields = {
        "rows": 128,
        "cols": 128,
        "banks": 4,
        "input_channel": 128,
        "output_channel": 8,
        "activation_precision": 8,
        "weight_precision": 8,
        "input_precision": 1,
        "multiplier_precision": 1,
        "input_toggle_rate": 0.5,
        "weight_sparsity": 0.5,
        "vdd": 0.9,
        "technology_nm": 28,
        "cells_sharing_one_compute_unit": 2,
        **more,
    }
    return Fields("chip", fields)


def test_how_weights_lie_follows_from_the_number_of_cells() -> None:
    words = chip_of("digital", digital())
    assert (words.rows, words.weight_columns, words.sets) == (128, 8, 2)
    bits = chip_of("digital", digital(rows=64, cells_sharing_one_compute_unit=8))
    assert (bits.rows, bits.weight_columns) == (128, 1)
    assert words.tree is not None and words.tree.by_columns
    first = chip_of("digital", digital(multiplier_precision=8, accumulator_input_precision=8))
    assert first.tree is not None and first.tree.accumulate_first and not first.tree.by_columns


def analog(**more: Any) -> Fields:
    return digital(adc_resolution=5, dac_resolution=1, cells_sharing_one_compute_unit=1, **more)


def test_how_analog_weights_lie_follows_from_columns_and_adders() -> None:
    pair = chip_of("analog", analog(weight_precision=2, output_channel=64))
    assert pair.signed == "pair_columns"
    sliced = chip_of("analog", analog(weight_precision=2, output_channel=64, accumulator_precision=20))
    assert (sliced.signed, sliced.column_copies, sliced.weight_columns) == ("offset", 1, 64)
    copies = chip_of("analog", analog(output_channel=8, accumulator_precision=20))
    assert (copies.column_copies, copies.weight_columns) == (2, 8)
    bits = chip_of("analog", analog(output_channel=128, input_channel=8))
    assert (bits.weight_columns, bits.bit_line_rows, bits.accumulates) == (16, 8, False)
    for wrong in ({"output_channel": 40}, {"output_channel": 128, "weight_precision": 7}):
        with pytest.raises(NotModelledError, match="cols / output_channel"):
            chip_of("analog", analog(**wrong))


def test_a_chip_that_is_not_modelled_is_an_outlier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def odd(content: Any) -> None:
        content["chips"][0]["model_inputs"]["output_channel"] = 300

    assert crossbar.main([str(write(tmp_path, CHIPS, odd))]) == 0
    out = capsys.readouterr().out
    assert "AIMC1: energy, area, period not modelled: cols / output_channel" in " ".join(out.split())
    assert "outside 15%: AIMC1" in out


def test_no_chips_are_no_pass(tmp_path: Path) -> None:
    assert crossbar.main([str(write(tmp_path, CHIPS, lambda content: content["chips"].clear()))]) == 1


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("parameters", "technology_nm"), None, "technology_nm is missing"),
        (("model_inputs", "rows"), "many", r"rows must be a whole number in 1..1000000 \(got 'many'\)"),
        (("model_inputs", "banks"), 0, "banks must be a whole number in 1"),
        (("model_inputs", "vdd"), -1, r"vdd must be a number in 0.3..5 \(got -1\)"),
        (("model_inputs", "weight_sparsity"), 1.5, "weight_sparsity must be a number in 0..1"),
        (("model_inputs", "weight_precision"), 64, "weight_precision must be at most 16"),
        (("model_inputs", "adc_resolution"), 2.5, "adc_resolution must be a whole number"),
        (("model_inputs", "compact_rule"), 1, "compact_rule must be true or false"),
        (("parameters", "technology_nm"), 3, "technology_nm must be a number in 7..180"),
        (("parameters", "cells_sharing_one_compute_unit"), None, "cells_sharing_one_compute_unit is missing"),
        (("reported", "area_mm2"), 0, "area_mm2 must be a number > 0"),
        (("reported", "tclk_ns"), True, "tclk_ns must be a number > 0"),
        (("cacti_inputs", "area"), "small", "area must be a number > 0"),
        (("validation_use", "energy"), "yes", "validation_use.energy must be true or false"),
    ],
)
def test_bad_fields(tmp_path: Path, place: tuple[str, str], value: Any, message: str) -> None:
    def change(content: Any) -> None:
        content["chips"][0][place[0]][place[1]] = copy.copy(value)

    with pytest.raises(BadInputError, match=message) as caught:
        crossbar.main([str(write(tmp_path, CHIPS, change))])
    assert "chips[0] (AIMC1)" in str(caught.value)


def test_parameters_stand_in_for_model_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(content: Any) -> None:
        for name in ("rows", "cols", "banks", "vdd", "input_channel", "output_channel", "adc_resolution"):
            del content["chips"][0]["model_inputs"][name]

    crossbar.main([str(CHIPS)])
    (expected,) = last_lines(capsys)
    crossbar.main([str(write(tmp_path, CHIPS, change))])
    (found,) = last_lines(capsys)
    assert found.partition(": ")[2] == expected.partition(": ")[2]


def test_figures_that_are_not_reported_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(content: Any) -> None:
        content["chips"][0]["reported"]["area_mm2"] = None

    assert crossbar.main([str(write(tmp_path, CHIPS, change))]) == 0
    assert "AIMC1: area not reported" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "must be an object with chips, cimloop or zigzag_imc"),
        ('{"chips": 3}', "chips must be a list"),
        ('{"chips": [3]}', "chips[0]: must be an object"),
        (
            '{"chips": [{"label": "a", "kind": "hybrid", "model_inputs": {}, "reported": {}}]}',
            "must be analog or digital",
        ),
        ('{"chips": [NaN]}', "numbers must be finite"),
        (
            '{"cimloop": {"macros": {"a": {"cell": "RRAM", "parameters": {"adc": "integrating"}}}}}',
            "published is missing",
        ),
        ('{"zigzag_imc": {"macro_settings": {"a": 1}}}', "must be an object"),
        ("{", "not valid JSON"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "chips.json"
    path.write_text(text)
    assert BadInputError.guard(lambda: crossbar.main([str(path)])) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda macro: macro["published"]["energy_fJ"].update(eight=[1, 2, 3]), "the key must be .output bits, input"),
        (lambda macro: macro["published"]["energy_fJ"].update({"(4, 2, 0)": [1, 2]}), "must be 3 numbers > 0"),
        (lambda macro: macro["published"]["tops"].update({"(4, 2, 0)": [1, 0]}), "must be 2 numbers > 0"),
        (lambda macro: macro["published"]["tops"].update({"(40, 2, 0)": [1, 1]}), "the key must be"),
        (lambda macro: macro["parameters"].update(array="large"), "array must be like '256x256, 48 cores'"),
        (lambda macro: macro["parameters"].update(R_on=1e6, R_off=1e5), "must be less than the conductance that is on"),
        (lambda macro: macro["parameters"].update(Vread="low"), "Vread must be a number"),
    ],
)
def test_bad_settings_of_neurram(tmp_path: Path, change: Change, message: str) -> None:
    def on_neurram(content: Any) -> None:
        change(content["cimloop"]["macros"]["wan_nature_2022_NeuRRAM"])

    with pytest.raises(BadInputError, match=message):
        crossbar.main([str(write(tmp_path, MACROS, on_neurram))])
