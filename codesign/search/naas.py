"""The hardware space of NAAS (Lin, Yang, Han, DAC 2021): a global buffer, an array, a scratchpad in every PE.

What is searched: the capacity of both memories in steps of 16 bytes, the buffer's banks and bandwidth, and the array:
the number of PEs in steps of 8, one to three axes, their sizes in steps of 2, and what each unrolls, groups included.
Node, clock, arithmetic and DRAM are those of the accelerator whose budget is given.
"""

from __future__ import annotations

import math
from typing import Any

from accelerators.spatial.architecture import SpatialAccelerator
from codesign.search.budget import Budget

_STEP_BYTES = 16
_LEAST_BUFFER_BYTES = 1024
#: Steps of the bandwidth between nothing and the budget.
_BANDWIDTHS = 8
_LARGEST_SCRATCHPAD_BYTES = 8192


def naas_design(datasheet: dict[str, Any], accelerator: SpatialAccelerator, budget: Budget) -> dict[str, Any]:
    """The template of the space; ``datasheet`` is the plain data from which ``accelerator`` was read.

    Raises ValueError for a budget without MACs or bytes, or with too few of them.
    """
    if budget.macs is None or budget.on_chip_bytes is None:
        raise ValueError("the naas space needs a budget of macs and on_chip")
    most_bytes = math.floor(budget.on_chip_bytes / _STEP_BYTES) * _STEP_BYTES
    if budget.macs < 8 or most_bytes < 2 * _LEAST_BUFFER_BYTES:
        least = f"at least 8 macs and {2 * _LEAST_BUFFER_BYTES} bytes"
        raise ValueError(f"the naas space needs {least} (got {budget.macs} and {budget.on_chip_bytes:g})")
    compute = accelerator.compute
    word = max(compute.weight_bits, compute.input_bits)
    buffer: dict[str, Any] = {
        "name": "global_buffer",
        "memory": "sram",
        "capacity": _bytes(_LEAST_BUFFER_BYTES, most_bytes),
        "width": max(word, next((level.width_bits for level in accelerator.levels[1:]), 64)),
        "banks": {"choose": [1, 2, 4, 8, 16, 32]},
        "fanout": {"search": {"pes": {"from": 8, "to": budget.macs // 8 * 8, "step": 8}}},
    }
    if budget.noc_bytes_per_cycle is not None:
        # One port for both directions where the accelerator at hand has one.
        step = budget.noc_bytes_per_cycle / _BANDWIDTHS
        shared = any(level.shared_bandwidth_bytes_per_cycle for level in accelerator.levels[1:2])
        rate = {"from": step, "to": budget.noc_bytes_per_cycle, "step": step}
        buffer["bandwidth" if shared else "read_bandwidth"] = rate
    scratchpad = {
        "name": "scratchpad",
        "memory": "sram",
        "capacity": _bytes(_STEP_BYTES, min(_LARGEST_SCRATCHPAD_BYTES, most_bytes // 16)),
        "width": word,
        # One port each to read and to write: what a MAC takes in a cycle, and what it gives while a weight and an input
        # of the next tile are loaded.
        "read_bandwidth": (compute.weight_bits + compute.input_bits + compute.accumulator_bits) / 8,
        "write_bandwidth": (compute.weight_bits + compute.input_bits + compute.accumulator_bits) / 8,
    }
    kept = ("node", "cell", "clock", "compute", "wires", "area_factor")
    return {
        **{key: datasheet[key] for key in kept if key in datasheet},
        "levels": [datasheet["levels"][0], buffer, scratchpad],
    }


def _bytes(low: int, high: int) -> dict[str, Any]:
    return {"from": f"{low} B", "to": f"{high // 16 * 16} B", "step": f"{_STEP_BYTES} B", "scale": "log"}
