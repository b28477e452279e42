"""Operators that no array can hold: they run on the digital unit, at a stated cost, or are refused.

Pooling, elementwise operations, normalisation and softmax stream their tensors through the buffers, as on spatial
accelerators; attention's products of two activations need a unit that multiplies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from accelerators.costs import Infeasible
from accelerators.crossbar.crossbar import Crossbar
from accelerators.operators import Operator


@dataclass(frozen=True)
class Streamed:
    """Time and energy on the digital unit, and the bits that it reads from buffers and writes to them."""

    seconds: float
    energy_pj: float
    read_bits: int
    written_bits: int


def stream(crossbar: Crossbar, operator: Operator, fused_reads: int | None = None) -> Streamed | Infeasible:
    """An operator on the digital unit.

    ``fused_reads``: None runs it by itself; otherwise it works on its producer's results on their way to the buffers,
    and only so many words of other operands are read.
    """
    unit = crossbar.digital
    if unit is None:
        text = f"{operator.kind} needs a digital unit, and {crossbar.name} has none"
        return Infeasible("operator", text, {"kind": operator.kind})
    out = operator.words(operator.output)
    if operator.macs:
        if not unit.multiplies:
            text = (
                f"{operator.kind} multiplies two activations, which cells cannot hold, and the digital unit of "
                f"{crossbar.name} does not multiply"
            )
            return Infeasible("operator", text, {"kind": operator.kind})
        # Lanes in a square: an outer product of as many words of each operand per cycle as the square has sides.
        words = math.ceil(2 * operator.macs / math.sqrt(unit.lanes))
        seconds = math.ceil(operator.macs / unit.lanes) / unit.clock_hz
        return Streamed(seconds, operator.macs * unit.mac_pj, words * crossbar.input_bits, out * crossbar.output_bits)
    elements = max(operator.touched_words(tensor) for tensor in operator.tensors)
    operations = elements * operator.passes
    if fused_reads is None:
        words = operator.passes * sum(operator.touched_words(tensor) for tensor in operator.tensors[:-1])
    else:
        words, out = fused_reads, 0
    seconds = math.ceil(operations / unit.lanes) / unit.clock_hz
    return Streamed(seconds, operations * unit.operation_pj, words * crossbar.input_bits, out * crossbar.output_bits)
