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
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerators.crossbar.converters import Readout, SramAimc
from benchmarks._common import BadInputError, fields, read_json, report
from benchmarks.validation import _neurram
from benchmarks.validation._imc_chips import Fields, Figures, NotModelledError, crossbar, figures
from benchmarks.validation._neurram import PARTS, Setting

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
        index = settings.get("paper_idx")
        layout = layouts.get(index, {}) if isinstance(index, str | int) else {}
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


def _jia(where: str, macro: Mapping[str, Any]) -> list[str]:
    """What the converters of SRAM macros would take in Jia's chip, whose conversions are measured."""
    parts = _mapping(where, _mapping(where, macro, "published"), "energy_pJ_per_column_op")
    bits = Fields(where, _mapping(where, macro, "parameters")).whole("adc_bits")
    node = Fields(where, macro).number("node_nm", 7, 180)
    said = []
    for volts in parts:
        try:
            supply = float(volts.removesuffix("V"))
        except ValueError:
            raise BadInputError(f"{where}: keys of energy_pJ_per_column_op must be voltages (got {volts!r})") from None
        measured = _positive(where, _mapping(where, parts, volts), "ADC")
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


def _report_neurram(path: Path, found: Sequence[Setting], areas: Mapping[str, float]) -> int:
    rows = []
    for setting in found:
        parts = ["-"] * len(PARTS) if setting.parts is None else [f"{part:.2f}" for part in setting.parts]
        tops = "-" if setting.tops is None else f"{setting.tops:.2f}"
        rows.append((setting.label, f"{setting.energy:.2f}", *parts, tops))
    header = ("NeuRRAM: model / measured", "energy per op", "word lines", "neurons", "input pulses", "TOPS")
    energies = [setting.energy for setting in found]
    passed = bool(energies) and all(abs(energy - 1) <= _NEURRAM_TARGET for energy in energies)
    figure = f"{min(energies):.2f} to {max(energies):.2f} at {len(energies)} precisions" if energies else "none"
    lines = ["values are assumed uniform: the file does not say with which ones it was measured"]
    if areas:
        said = ", ".join(f"{part} {ratio:.2f}" for part, ratio in areas.items())
        lines.append(f"area, model over published (information; constants are the chip's own): {said}")
    return report(header, rows, lines, f"{path.name}: NeuRRAM energy {figure}, target {_NEURRAM_TARGET:.0%}", passed)


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
                code = max(code, _report_neurram(path, _neurram.settings(where, macro), _neurram.areas(where, macro)))
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
