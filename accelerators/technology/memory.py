"""One question for all on-chip memories: SRAM where its table reaches, flip-flops below its floor."""

from __future__ import annotations

import math

from accelerators.technology import _base
from accelerators.technology._base import MemoryCost, TechnologyError
from accelerators.technology.registers import registers
from accelerators.technology.sram import DEFAULT_CELL, MIN_DEPTH, below_floor, sram
from accelerators.technology.wires import CELLS


def memory(
    capacity_bytes: float,
    width_bits: int,
    node_nm: float,
    cell: str = DEFAULT_CELL,
    banks: int = 1,
    monotone: bool = True,
    bank_wires: bool = True,
) -> MemoryCost:
    """:func:`sram`, or :func:`registers` below its floor of 64 B and 32 words; ``source`` names which.

    Flip-flops have neither cells nor banks: ``cell`` is checked but has no effect on them, and more than one bank that
    small is an error. Units and errors (TechnologyError) as in the two functions.
    """
    _base.choice("cell", cell, CELLS)
    count = _base.integer("banks", banks, 1, math.inf)
    width = _base.integer("width_bits", width_bits, 1, math.inf, "bit")
    total = _base.number("capacity_bytes", capacity_bytes, 0.0, math.inf, "bytes")
    if not below_floor(total / count, width):
        return sram(total, width, node_nm, cell, count, monotone, bank_wires)
    if count > 1:
        rule = f"each bank must be SRAM, at least 64 bytes and {MIN_DEPTH} words (flip-flops have no banks)"
        raise TechnologyError(f"capacity_bytes / banks: {rule} (got {total / count:g} bytes of {width} bit)")
    return registers(total, width, node_nm)
