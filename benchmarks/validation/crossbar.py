"""In-memory computing chips against the model of crossbars.

    python -m benchmarks.validation.crossbar [FILE]

FILE has chips with their structure and reported figures (``chips``), or macros of CiMLoop and zigzag-imc (``cimloop``,
``zigzag_imc``); without it, the two files that come along are taken. Model over reported, for energy per MAC, area and
period of the clock, wherever the file calls the figure comparable, and otherwise the reason; for NeuRRAM energy per
operation and throughput at its precision settings. Energies are per MAC (fJ = 2000 / (TOPS/W)), but for NeuRRAM's,
which are per operation.

No constant is fitted here, and none is chosen per chip. The gate (28 nm) and the converters of charge-domain macros
were fitted by zigzag-imc's authors to chips among which those of the file may be.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerators import catalog
from accelerators.crossbar import area, arrays
from accelerators.crossbar.converters import Integrating, Readout, SramAimc
from accelerators.crossbar.crossbar import Crossbar
from accelerators.crossbar.values import MOST_BITS, Values
from benchmarks._common import BadInputError, fields, read_json, report
from benchmarks.validation._imc_chips import Fields, Figures, NotModelledError, crossbar, figures

_DATA = Path(__file__).parent / "data" / "crossbar"
DEFAULTS = (_DATA / "imc_chips.json", _DATA / "cim_macro_validation.json")
_LAYOUTS = _DATA / "layouts.json"
#: How far the model may be off, by quantity, and how many chips may be further off.
TARGETS = {"energy": 0.15, "area": 0.25, "period": 0.15}
_OUTLIERS = 1
#: Begins the reason for chips of a structure that the model does not have; they count as outliers.
_UNKNOWN = "not modelled"
_NEURRAM_TARGET = 0.25
#: Why macros of CiMLoop are not modelled, where their file has figures.
_NOT_MODELLED = {
    "wang_vlsi_2022": "C-2C ladders multiply whole numbers in one cell; the model has cells of stored bits only",
    "sinangil_jssc_2021": "flash converters whose energy depends on the value; no model of these",
    "colonnade_jssc_2021": "products are added along a chain of cells; the model has trees only",
    "jia_jssc_2020": "the file does not say how many rows a column has",
}
#: Model inputs by the names that they have among a chip's parameters.
_PARAMETERS = {
    "technology_nm": "technology_nm",
    "cells_sharing_one_compute_unit": "cells_sharing_one_compute_unit",
    "vdd": "vdd_v",
    "rows": "physical_rows_in_model",
    "cols": "physical_cols_in_model",
    "banks": "banks",
    "input_channel": "parallel_inputs_per_bank",
    "output_channel": "parallel_outputs_per_bank",
    "adc_resolution": "adc_bits",
    "dac_resolution": "dac_bits",
    "activation_precision": "input_bits",
    "weight_precision": "weight_bits",
    "input_precision": "input_bits_per_cycle",
    "input_toggle_rate": "assumed_input_toggle_rate",
    "weight_sparsity": "assumed_weight_sparsity",
    "booth_encoding": "booth",
    "pipeline": "pipelined",
}


@dataclass(frozen=True)
class _Compared:
    """A chip: model over reported by quantity (None: not compared), and why not."""

    label: str
    ratios: Mapping[str, float | None]
    reasons: Mapping[str, str]
    theirs: Mapping[str, float]


def _positive(where: str, reported: Mapping[str, Any], name: str) -> float | None:
    value = reported.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise BadInputError(f"{where}: {name} must be a number > 0 (got {value!r})")
    return float(value)


def _compare(
    label: str,
    where: str,
    kind: str,
    known: Fields,
    reported: Mapping[str, Any],
    use: Mapping[str, bool],
    note: str,
    theirs: Mapping[str, Any],
) -> _Compared:
    """One chip of either file."""
    measured: dict[str, float | None] = {
        "energy": _positive(where, reported, "energy_per_mac_fJ"),
        "area": _positive(where, reported, "area_mm2"),
        "period": _positive(where, reported, "tclk_ns"),
    }
    efficiency = _positive(where, reported, "tops_per_w")
    if measured["energy"] is None and efficiency is not None:
        measured["energy"] = 2000 / efficiency
    elif efficiency is not None and measured["energy"] is not None:
        per_op = measured["energy"] * efficiency / 2000
        if not 0.98 < per_op < 1.02:
            rule = "energy_per_mac_fJ must be 2000 / tops_per_w, a MAC being two operations"
            raise BadInputError(f"{where}: {rule} (got {measured['energy']:g} and {efficiency:g})")
    reasons = {}
    try:
        chip = crossbar(kind, known)
        ours: Figures | None = figures(chip, known.whole("input_precision"))
    except NotModelledError as error:
        ours = None
        reasons = dict.fromkeys(TARGETS, f"{_UNKNOWN}: {error}")
    ratios: dict[str, float | None] = dict.fromkeys(TARGETS)
    if ours is not None:
        by_name = {"energy": ours.energy_fj, "area": ours.area_mm2, "period": ours.period_ns}
        for name, value in measured.items():
            if value is None:
                reasons[name] = "not reported"
                continue
            ratios[name] = by_name[name] / value
            if not use.get(name, True):
                reasons[name] = f"not comparable ({ratios[name]:.2f}): {note or 'the file says so'}"
                ratios[name] = None
    numbers = {name: float(ratio) for name, ratio in theirs.items() if isinstance(ratio, int | float)}
    return _Compared(label, ratios, reasons, numbers)


def _of_chips(path: Path, content: Mapping[str, Any]) -> list[_Compared]:
    """Chips with structure and figures each."""
    found = []
    for number, chip in enumerate(content["chips"]):
        where = f"{path}: chips[{number}]"
        kinds: dict[str, Any] = {"label": str, "kind": str, "model_inputs": dict, "reported": dict}
        fields(where, chip, kinds)
        where = f"{where} ({chip['label']})"
        if chip["kind"] not in ("analog", "digital"):
            raise BadInputError(f"{where}: kind must be analog or digital (got {chip['kind']!r})")
        parameters = _mapping(where, chip, "parameters")
        memory = _positive(where, _mapping(where, chip, "cacti_inputs"), "area")
        use = _mapping(where, chip, "validation_use")
        for name, value in use.items():
            if not isinstance(value, bool):
                raise BadInputError(f"{where}: validation_use.{name} must be true or false (got {value!r})")
        published = _mapping(where, chip, "ratio_model_over_reported")
        theirs = {"energy": published.get("energy"), "area": published.get("area"), "period": published.get("tclk")}
        found.append(
            _compare(
                chip["label"],
                where,
                chip["kind"],
                Fields(where, chip["model_inputs"], _renamed(parameters), {"area_of_memory_mm2": memory}),
                chip["reported"],
                {"energy": use.get("energy", True), "area": use.get("area", True), "period": use.get("tclk", True)},
                str(chip.get("note", "")),
                theirs,
            )
        )
    return found


def _renamed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters by the names that model inputs have."""
    return {name: parameters.get(other) for name, other in _PARAMETERS.items()}


def _mapping(where: str, record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = record.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadInputError(f"{where}: {name} must be an object (got {type(value).__name__})")
    return value


def _of_macros(path: Path, content: Mapping[str, Any]) -> list[_Compared]:
    """Macro settings of zigzag-imc; what they leave out comes from the layouts of published chips."""
    layouts = read_json(_LAYOUTS)["chips"]
    note = str(content.get("note", ""))
    figure = _mapping(str(path), content, "reported_and_ratio_read_from_figure")
    found = []
    counts = {"analog": 0, "digital": 0}
    for name, settings in _mapping(str(path), content, "macro_settings").items():
        where = f"{path}: zigzag_imc.macro_settings.{name}"
        if not isinstance(settings, dict):
            raise BadInputError(f"{where}: must be an object (got {type(settings).__name__})")
        kind = "analog" if settings.get("adc_resolution") is not None else "digital"
        counts[kind] += 1
        label = f"{'AIMC' if kind == 'analog' else 'DIMC'}{counts[kind]}"
        layout = layouts.get(settings.get("paper_idx"), {})
        published = _mapping(where, _mapping(where, figure, label), "model_over_measured")
        reported = {
            "tops_per_w": settings.get("TOP/s/W"),
            "area_mm2": settings.get("area_mm2"),
            "tclk_ns": settings.get("tclk_ns"),
        }
        found.append(
            _compare(
                label,
                where,
                kind,
                Fields(where, settings, layout),
                reported,
                {"energy": f"{label}," not in f"{note.partition(' have ')[0]},"},
                note,
                {"energy": published.get("energy"), "area": published.get("area"), "period": published.get("delay")},
            )
        )
    return found


# ------------------------------------------------------------------------------------------------------------ NeuRRAM


@dataclass(frozen=True)
class _Setting:
    """NeuRRAM at one precision: model over measured for energy per operation and throughput, and energy by parts."""

    key: tuple[int, int, int]
    energy: float
    tops: float | None
    parts: tuple[float, float, float]


def _neurram(where: str, parameters: Mapping[str, Any]) -> Crossbar:
    """The chip of the catalog with the values that the file has."""
    found = catalog.load("neurram")
    assert isinstance(found, Crossbar)
    given = Fields(where, parameters)
    shape = re.search(r"(\d+)x(\d+)\b.*?(\d+) cores", str(given.get("array")))
    if not shape or not all(0 < int(number) <= 65536 for number in shape.groups()):
        raise BadInputError(f"{where}: array must be like '256x256, 48 cores' (got {given.get('array')!r})")
    rows, columns, cores = map(int, shape.groups())
    cell = replace(
        found.cell,
        on_us=1e6 / given.number("R_on", 1, 1e12),
        off_us=1e6 / given.number("R_off", 1, 1e12),
        read_voltage_v=given.number("Vread", 1e-3, 100),
        read_s=given.number("read_pulse_s", 1e-12, 1),
    )
    supply = given.number("V", 0.1, 100)
    # The paper's figures are means over values that it does not state.
    values = Values(inputs="uniform", weights="uniform")
    weight_bits = given.whole("weight_bits")
    return replace(
        found,
        rows=rows,
        columns=columns,
        arrays=cores,
        cell=cell,
        supply_v=supply,
        weight_bits=weight_bits,
        # A weight is one analog conductance, its sign a pair.
        cell_bits=max(1, weight_bits - 1),
        values=values,
    )


def _of_neurram(where: str, macro: Mapping[str, Any]) -> list[_Setting]:
    fields(where, macro, {"parameters": dict, "published": dict})
    published = macro["published"]
    fields(f"{where}.published", published, {"tops": dict, "energy_fJ": dict})
    chip = _neurram(f"{where}.parameters", macro["parameters"])
    found = []
    for text, measured in published["energy_fJ"].items():
        at = f"{where}.published.energy_fJ[{text!r}]"
        key = _key(at, text)
        output_bits, input_bits, one_phase = key
        if not isinstance(measured, list) or len(measured) != 3:
            raise BadInputError(f"{at}: must be three energies (got {measured!r})")
        parts = [_positive(at, {text: value}, text) or 0.0 for value in measured]
        assert isinstance(chip.converter, Integrating)
        phase_bits = MOST_BITS if one_phase else chip.converter.phase_bits
        # One bit holds no magnitude beside its sign.
        setting = replace(
            chip,
            input_bits=input_bits,
            signed_inputs=input_bits > 1,
            adc_bits=output_bits,
            converter=replace(chip.converter, phase_bits=phase_bits),
        )
        if setting.problems:
            raise BadInputError(f"{at}: {'; '.join(f'{name}: {rule}' for name, rule in setting.problems)}")
        product = arrays.product(setting, area.full(setting))
        operations = 2 * area.full(setting).weights
        energy = {part: pj / operations * 1e3 for part, pj in product.energy_pj.items()}
        pulses = energy["cells"]
        ours = (energy["lines"], energy["ADC"], pulses)
        tops = None
        whole = sum(parts)
        if text in published["tops"]:
            pair = published["tops"][text]
            if not isinstance(pair, list) or len(pair) != 2:
                raise BadInputError(f"{where}.published.tops[{text!r}]: must be TOPS and TOPS/W (got {pair!r})")
            speed, efficiency = (_positive(at, {text: value}, text) for value in pair)
            assert speed is not None and efficiency is not None
            # Per MAC they would be twice that.
            if not 0.7 < sum(parts) * efficiency / 1000 < 1.4:
                rule = "energies must be per operation and add up to about 1000 / (TOPS/W)"
                raise BadInputError(f"{at}: {rule} (got {sum(parts):g} fJ and {efficiency:g} TOPS/W)")
            whole = 1000 / efficiency
            tops = 2 * area.peak_macs_per_s(setting) / 1e12 / speed
        found.append(
            _Setting(
                key,
                sum(energy.values()) / whole,
                tops,
                (ours[0] / parts[0], ours[1] / parts[1], ours[2] / parts[2]),
            )
        )
    return found


def _key(where: str, text: str) -> tuple[int, int, int]:
    try:
        key = ast.literal_eval(text)
        output_bits, input_bits, one_phase = key
    except (ValueError, SyntaxError, TypeError):
        raise BadInputError(f"{where}: the key must be (output bits, input bits, one phase)") from None
    if not all(isinstance(part, int) for part in key) or not 1 <= output_bits <= 24 or not 1 <= input_bits <= MOST_BITS:
        raise BadInputError(f"{where}: the key must be (output bits, input bits, one phase)")
    return output_bits, input_bits, one_phase


def _jia(where: str, macro: Mapping[str, Any]) -> list[str]:
    """What the converters of SRAM macros would take in Jia's chip, whose conversions are measured."""
    parts = _mapping(where, _mapping(where, macro, "published"), "energy_pJ_per_column_op")
    bits = Fields(where, _mapping(where, macro, "parameters")).whole("adc_bits")
    node = Fields(where, macro).number("node_nm", 7, 180)
    said = []
    for volts, energies in parts.items():
        try:
            supply = float(volts.removesuffix("V"))
        except ValueError:
            raise BadInputError(f"{where}: keys of energy_pJ_per_column_op must be voltages (got {volts!r})") from None
        measured = _positive(where, energies, "ADC")
        if measured is None:
            continue
        (each,) = SramAimc().conversions(Readout(bits, 1, 1, 1, node, supply))
        said.append(f"{each.energy_pj / measured:.2f} at {supply:g} V")
    return [f"SRAM-AIMC converters over Jia's: {', '.join(said)}"] if said else []


# --------------------------------------------------------------------------------------------------------------- main


def _cell(ratio: float | None, theirs: float | None) -> str:
    own = "-" if ratio is None else f"{ratio:.2f}"
    return own if theirs is None else f"{own} ({theirs:.2f})"


def _report_chips(path: Path, chips: Sequence[_Compared]) -> int:
    rows, lines = [], []
    for chip in chips:
        energy = chip.ratios["energy"]
        efficiency = "-" if energy is None else f"{1 / energy:.2f}"
        rows.append((chip.label, *(_cell(chip.ratios[name], chip.theirs.get(name)) for name in TARGETS), efficiency))
        by_reason: dict[str, list[str]] = {}
        for name, reason in chip.reasons.items():
            by_reason.setdefault(reason, []).append(name)
        lines += [f"{chip.label}: {', '.join(names)} {reason}" for reason, names in by_reason.items()]
    said = []
    passed = any(ratio is not None for chip in chips for ratio in chip.ratios.values())
    for name, target in TARGETS.items():
        ratios = {chip.label: ratio for chip in chips if (ratio := chip.ratios[name]) is not None}
        outliers = [label for label, ratio in ratios.items() if abs(ratio - 1) > target]
        outliers += [chip.label for chip in chips if chip.reasons.get(name, "").startswith(_UNKNOWN)]
        if not ratios:
            said.append(f"{name}: none comparable")
            passed &= len(outliers) <= _OUTLIERS
            continue
        low, high = min(ratios.values()), max(ratios.values())
        text = f"{name} {low:.2f} to {high:.2f} on {len(ratios)} chips"
        said.append(
            text + (f", outside {target:.0%}: {', '.join(outliers)}" if outliers else f", all within {target:.0%}")
        )
        passed &= len(outliers) <= _OUTLIERS
    header = ("model / reported (published model)", *TARGETS, "TOPS/W")
    lines.append("no constant is fitted here; gates and converters were fitted by the published model's authors")
    return report(header, rows, lines, f"{path.name}: " + "; ".join(said), passed)


def _report_neurram(path: Path, settings: Sequence[_Setting]) -> int:
    rows = []
    for setting in settings:
        output_bits, input_bits, one_phase = setting.key
        label = f"{input_bits} bit in, {output_bits} bit out{', one phase' if one_phase else ''}"
        tops = "-" if setting.tops is None else f"{setting.tops:.2f}"
        rows.append((label, f"{setting.energy:.2f}", *(f"{part:.2f}" for part in setting.parts), tops))
    header = ("NeuRRAM: model / measured", "energy per op", "word lines", "neurons", "input pulses", "TOPS")
    energies = [setting.energy for setting in settings]
    passed = bool(energies) and all(abs(energy - 1) <= _NEURRAM_TARGET for energy in energies)
    figure = f"NeuRRAM energy {min(energies):.2f} to {max(energies):.2f}" if energies else "NeuRRAM: no settings"
    lines = ["values are assumed uniform: the file does not say with which ones it was measured"]
    return report(header, rows, lines, f"{path.name}: {figure}, target {_NEURRAM_TARGET:.0%}", passed)


def _run(path: Path) -> int:
    content = read_json(path)
    if not isinstance(content, dict) or not {"chips", "cimloop", "zigzag_imc"} & set(content):
        raise BadInputError(f"{path}: must be an object with chips, cimloop or zigzag_imc")
    code = 0
    if "chips" in content:
        fields(path, content, {"chips": list})
        code = max(code, _report_chips(path, _of_chips(path, content)))
    if "zigzag_imc" in content:
        fields(path, content, {"zigzag_imc": dict})
        code = max(code, _report_chips(path, _of_macros(path, content["zigzag_imc"])))
    if "cimloop" in content:
        fields(path, content, {"cimloop": dict})
        for name, macro in _mapping(str(path), content["cimloop"], "macros").items():
            where = f"{path}: cimloop.macros.{name}"
            if not isinstance(macro, dict):
                raise BadInputError(f"{where}: must be an object (got {type(macro).__name__})")
            adc = _mapping(where, macro, "parameters").get("adc")
            if "RRAM" in str(macro.get("cell")) and "integrating" in str(adc):
                code = max(code, _report_neurram(path, _of_neurram(where, macro)))
                continue
            print(f"{name}: not compared: {_NOT_MODELLED.get(name, 'no model of its circuits')}")
            if name == "jia_jssc_2020":
                print(*_jia(where, macro), sep="\n")
    return code


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validation.crossbar", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="chips (JSON); the files that come along if absent")
    options = parser.parse_args(arguments)
    paths = DEFAULTS if options.file is None else (options.file,)
    return max(_run(path) for path in paths)


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
