"""The hardware space of a crossbar: how large its arrays are, how many of them, and what cells and converters resolve.

What is searched: rows and columns of the arrays, bits of a cell, bits of a converter and the columns that it reads in
turn, and the number of arrays, which bounds how often layers can be replicated. All else (cells, drivers, buffers,
memory, the digital unit) is that of the crossbar whose budget is given.
"""

from __future__ import annotations

from typing import Any

from accelerators.crossbar.crossbar import Crossbar
from codesign.search.budget import Budget

_SIZES = [64, 128, 256, 512, 1024]
_CELL_BITS, _ADC_BITS = [1, 2, 3, 4], {"from": 3, "to": 10, "step": 1}
_COLUMNS_PER_ADC = [1, 2, 4, 8, 16, 32, 64, 128]
#: Arrays, as a part and as a multiple of those at hand.
_FEWEST, _MOST = 1 / 16, 16


def crossbar_design(datasheet: dict[str, Any], crossbar: Crossbar, budget: Budget) -> dict[str, Any]:
    """The template of the space; ``datasheet`` is the plain data from which ``crossbar`` was read.

    Raises ValueError without a limit of the area: chips could be of any size.
    """
    if budget.area_mm2 is None:
        raise ValueError("the crossbar space needs a budget of area")
    design = {key: value for key, value in datasheet.items() if key not in ("name", "description", "source")}
    count = {"from": max(1, round(crossbar.arrays * _FEWEST)), "to": round(crossbar.arrays * _MOST), "step": 1}
    arrays = {**design["arrays"], "rows": {"choose": _SIZES}, "columns": {"choose": _SIZES}}
    design["arrays"] = {**arrays, "count": {**count, "scale": "log"}}
    # Rows that are read at once stay as many where the datasheet limits them, and arrays are at least as tall.
    if crossbar.active_rows is not None:
        design["arrays"]["rows"] = {"choose": [size for size in _SIZES if size >= crossbar.active_rows]}
    if crossbar.cell.kind != "digital":
        bits = (
            [bits for bits in _CELL_BITS if bits <= crossbar.weight_bits] if crossbar.cell.kind == "resistive" else []
        )
        if bits:
            design["cell"] = {**design["cell"], "bits": {"choose": sorted({*bits, crossbar.cell_bits})}}
        adc = {**design["adc"], "bits": _ADC_BITS, "columns": {"choose": _COLUMNS_PER_ADC}}
        if design["adc"]["model"] in ("fixed", "integrating"):
            # Its figures are those of the converter at hand.
            adc.setdefault("at_bits", crossbar.adc_bits)
        design["adc"] = adc
    return design
