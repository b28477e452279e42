"""NeuRRAM at its precision settings: energy per operation and throughput, model over measured."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from accelerators import catalog
from accelerators.crossbar import area, arrays
from accelerators.crossbar.converters import Integrating
from accelerators.crossbar.crossbar import Crossbar
from accelerators.crossbar.values import MOST_BITS, Values
from benchmarks._common import BadInputError, fields
from benchmarks.validation._imc_chips import Fields

#: Energy per operation by parts, as published: word lines, neurons with their control, input pulses.
PARTS = ("lines", "ADC", "cells")
_MOST_LINES, _MOST_ADC_BITS = 65536, 24


@dataclass(frozen=True)
class Setting:
    """One precision: (output bits, input bits, one phase), and model over measured; None for what is not published."""

    key: tuple[int, int, int]
    energy: float
    tops: float | None
    parts: tuple[float, ...] | None

    @property
    def label(self) -> str:
        """The precision in words."""
        output_bits, input_bits, one_phase = self.key
        return f"{input_bits} bit in, {output_bits} bit out{', one phase' if one_phase else ''}"


def settings(where: str, macro: Mapping[str, Any]) -> list[Setting]:
    """All settings with a published energy, by parts or as an efficiency.

    The energy compared is 1000 / (TOPS/W) fJ per operation where there is one, else the sum of the parts. Raises
    BadInputError for fields that are missing or wrong, and for parts that are not per operation.
    """
    fields(where, macro, {"parameters": dict, "published": dict})
    published = macro["published"]
    fields(f"{where}.published", published, {"tops": dict, "energy_fJ": dict})
    chip = _chip(f"{where}.parameters", macro["parameters"])
    found = []
    for text in dict.fromkeys((*published["energy_fJ"], *published["tops"])):
        at = f"{where}.published[{text!r}]"
        key = _key(at, text)
        setting = _at(at, chip, key)
        product = arrays.product(setting, area.full(setting))
        operations = 2 * area.full(setting).weights
        energy = {part: pj / operations * 1e3 for part, pj in product.energy_pj.items()}
        parts = _positive(f"{at}: energies", published["energy_fJ"].get(text), len(PARTS))
        speeds = _positive(f"{at}: TOPS and TOPS/W", published["tops"].get(text), 2)
        tops = whole = None
        if speeds:
            tops, whole = 2 * area.peak_macs_per_s(setting) / 1e12 / speeds[0], 1000 / speeds[1]
        if parts and whole is not None and not 0.7 < sum(parts) / whole < 1.4:
            # Per MAC they would be twice that.
            rule = "energies must be per operation and add up to about 1000 / (TOPS/W)"
            raise BadInputError(f"{at}: {rule} (got {sum(parts):g} and {whole:g} fJ)")
        if not parts and whole is None:
            raise BadInputError(f"{at}: has neither energies nor TOPS and TOPS/W")
        reference = sum(parts) if whole is None else whole
        ratios = tuple(energy[name] / part for name, part in zip(PARTS, parts, strict=True)) if parts else None
        found.append(Setting(key, sum(energy.values()) / reference, tops, ratios))
    return found


def areas(where: str, macro: Mapping[str, Any]) -> dict[str, float]:
    """Model over published area of an array's parts, where the file has their shares."""
    published = macro["published"].get("area_um2_per_macro")
    if published is None:
        return {}
    at = f"{where}.published.area_um2_per_macro"
    fields(at, published, {})
    given = Fields(at, published)
    parts = arrays.area_mm2(_chip(f"{where}.parameters", macro["parameters"]))
    total_mm2 = given.number("total", 1, 1e12) * 1e-6
    shares = {"cells": "rram_frac", "ADC": "neurons_frac", "drivers": "array_drivers_frac"}
    return {
        part: parts[part] / (total_mm2 * given.number(name, 1e-6, 1))
        for part, name in shares.items()
        if given.get(name) is not None
    }


def _positive(where: str, values: Any, count: int) -> list[float]:
    """So many numbers > 0; none if nothing is given."""
    if values is None:
        return []
    numbers = isinstance(values, list) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and value > 0 for value in values
    )
    if not numbers or len(values) != count:
        raise BadInputError(f"{where} must be {count} numbers > 0 (got {values!r})")
    return [float(value) for value in values]


def _chip(where: str, parameters: Mapping[str, Any]) -> Crossbar:
    """The chip of the catalog with the values that the file has."""
    found = catalog.load("neurram")
    assert isinstance(found, Crossbar)
    given = Fields(where, parameters)
    shape = re.search(r"(\d{1,5})x(\d{1,5})\b.*?\b(\d{1,5}) cores", str(given.get("array")))
    if not shape or not all(0 < int(number) <= _MOST_LINES for number in shape.groups()):
        raise BadInputError(f"{where}: array must be like '256x256, 48 cores' (got {given.get('array')!r})")
    rows, columns, cores = map(int, shape.groups())
    cell = replace(
        found.cell,
        on_us=1e6 / given.number("R_on", 1, 1e12),
        off_us=1e6 / given.number("R_off", 1, 1e12),
        read_voltage_v=given.number("Vread", 1e-3, 100),
        read_s=given.number("read_pulse_s", 1e-12, 1),
    )
    weight_bits = given.whole("weight_bits")
    return replace(
        found,
        rows=rows,
        columns=columns,
        arrays=cores,
        cell=cell,
        supply_v=given.number("V", 0.1, 100),
        weight_bits=weight_bits,
        # A weight is one analog conductance, its sign a pair.
        cell_bits=max(1, weight_bits - 1),
        # The paper's figures are means over values that it does not state.
        values=Values(inputs="uniform", weights="uniform"),
    )


def _at(where: str, chip: Crossbar, key: tuple[int, int, int]) -> Crossbar:
    """The chip at one precision."""
    output_bits, input_bits, one_phase = key
    assert isinstance(chip.converter, Integrating)
    phase_bits = MOST_BITS if one_phase else chip.converter.phase_bits
    setting = replace(
        chip,
        input_bits=input_bits,
        # One bit has no magnitude beside its sign.
        signed_inputs=input_bits > 1,
        adc_bits=output_bits,
        converter=replace(chip.converter, phase_bits=phase_bits),
    )
    if setting.problems:
        raise BadInputError(f"{where}: {'; '.join(f'{name}: {rule}' for name, rule in setting.problems)}")
    return setting


def _key(where: str, text: str) -> tuple[int, int, int]:
    rule = "the key must be (output bits, input bits, one phase)"
    try:
        key = ast.literal_eval(text)
        output_bits, input_bits, one_phase = key
    except (ValueError, SyntaxError, TypeError):
        raise BadInputError(f"{where}: {rule}") from None
    whole = all(isinstance(part, int) for part in key)
    if not whole or not 1 <= output_bits <= _MOST_ADC_BITS or not 1 <= input_bits <= MOST_BITS:
        raise BadInputError(f"{where}: {rule}")
    return output_bits, input_bits, one_phase
