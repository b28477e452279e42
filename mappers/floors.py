"""What any mapping of an operator costs at least, from its shape alone: far quicker than a search, and far looser.

A search that compares networks may leave out those that are worse than others even so.
"""

from __future__ import annotations

import math

from accelerators.operators import Operator
from accelerators.spatial.architecture import Axis, SpatialAccelerator
from mappers.mapspace import divisors_of


def floor(accelerator: SpatialAccelerator, operator: Operator, *, pad: bool = False) -> tuple[float, float]:
    """Energy in pJ and latency in seconds that no mapping of an operator with MACs is below.

    Cycles: an axis that unrolls one dimension uses no more MACs than the largest divisor of its bound that fits (with
    ``pad`` all of them). Energy: that of the MACs; a read of every word of the operands from the outermost level, and
    an update of every word of the result; in an innermost level of which every MAC has its own, a read of each operand
    and an update per MAC; leakage over these cycles. Levels that a mapping may bypass count nothing, so the native
    dataflow must not ask for it, and the floor does not hold for searches with bypass or constraints.
    """
    compute = accelerator.compute

    def bits(role: str, own: int | None) -> int:
        return compute.bits(role) if own is None else own

    used = math.prod(_lanes(axis, operator, pad) for level in accelerator.levels for axis in level.fanout)
    cycles = -(-operator.macs // used)
    widths = {t.name: bits(t.role, t.bits) for t in operator.tensors}
    operands = {role: max((widths[t.name] for t in operator.tensors if t.role == role), default=1)
                for role in ("weights", "inputs")}  # fmt: skip
    energy_pj = operator.macs * compute.mac_energy_pj(operands["weights"], operands["inputs"])
    bypassed = any(rule.bypass for rule in accelerator.dataflow.levels.values())
    for tensor in operator.tensors if not bypassed else ():
        homes = [i for i, level in enumerate(accelerator.levels) if tensor.role in level.keeps]
        ends = [(homes[0], operator.touched_words(tensor))] if homes else []
        if len(homes) > 1 and homes[-1] == len(accelerator.levels) - 1 and accelerator.levels[-1].children == 1:
            ends.append((homes[-1], operator.macs))
        for i, words in ends:
            level, width = accelerator.levels[i], widths[tensor.name]
            accesses = words / max(1, level.width_bits // width) * -(-width // level.width_bits)
            energy_pj += accesses * (level.update_energy_pj if tensor is operator.output else level.read_energy_pj)
    energy_pj += accelerator.leakage_mw * 1e9 / accelerator.clock_hz * cycles
    return energy_pj, cycles / accelerator.clock_hz


def _lanes(axis: Axis, operator: Operator, pad: bool) -> int:
    dims = [dim for dim in operator.dims if operator.bound(dim) > 1 and (axis.dims is None or dim in axis.dims)]
    if not dims:
        return 1
    if pad or len(dims) > 1:
        return axis.size
    return max(n for n in divisors_of(operator.bound(dims[0])) if n <= axis.size)
