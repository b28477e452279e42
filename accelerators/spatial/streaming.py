"""Operators that stream their tensors: pooling, elementwise operations, normalisation, softmax.

They have no reuse to plan. Every pass reads the inputs from the outermost level that keeps them, the last one writes
the outputs, and one operation of the MAC unit's energy, at the width of the widest tensor, is charged per element and
pass. MAC units work on different elements; bandwidth of the outermost levels limits them, with the same rules as for a
loop nest.
"""

from __future__ import annotations

import math

from accelerators.costs import Cost, Infeasible
from accelerators.operators import Operator
from accelerators.spatial.architecture import Level, SpatialAccelerator


def stream(accelerator: SpatialAccelerator, operator: Operator, fused_reads: int | None = None) -> Cost | Infeasible:
    """Cost of a streaming operator.

    ``fused_reads``: None runs the operator by itself. Otherwise it works on its producer's results before these leave
    the array: only ``fused_reads`` words of its other operands are read, nothing is written, and its operations hide
    behind the producer's.
    """
    homes: dict[str, Level] = {}
    for tensor in operator.tensors:
        home = next((level for level in accelerator.levels if tensor.role in level.keeps), None)
        if home is None:
            return Infeasible(
                "no_home", f"no level of {accelerator.name} may keep {tensor.role}", {"tensor": tensor.name}
            )
        homes[tensor.role] = home
    compute = accelerator.compute
    widths = {t.name: compute.bits(t.role) if t.bits is None else t.bits for t in operator.tensors}
    reads: dict[str, float] = {}
    writes: dict[str, float] = {}
    energy = {level.name: 0.0 for level in accelerator.levels}
    for tensor in operator.tensors:
        home = homes[tensor.role]
        bits = widths[tensor.name]
        words = operator.touched_words(tensor)
        if fused_reads is not None:
            # The first operand stands for all others, of which the widest counts.
            words = fused_reads if tensor is operator.tensors[0] else 0
            bits = max([widths[other.name] for other in operator.tensors[1:-1]], default=bits)
        is_output = tensor.role == "outputs"
        if not is_output:
            words *= operator.passes
        accesses = -(-words // max(1, home.width_bits // bits)) * -(-bits // home.width_bits)
        energy[home.name] += accesses * (home.update_energy_pj if is_output else home.read_energy_pj)
        traffic = writes if is_output else reads
        traffic[home.name] = traffic.get(home.name, 0.0) + words * bits / 8
    widest = max(widths.values())
    elements = max(operator.touched_words(tensor) for tensor in operator.tensors)
    operations = elements * operator.passes
    cycles = -(-operations // accelerator.macs) if fused_reads is None else 0
    bottleneck = "compute"
    for level in accelerator.levels:
        read, written = reads.get(level.name, 0.0), writes.get(level.name, 0.0)
        needed = max(
            _cycles(read, level.read_bandwidth_bytes_per_cycle),
            _cycles(written, level.write_bandwidth_bytes_per_cycle),
            _cycles(read + written, level.shared_bandwidth_bytes_per_cycle),
        )
        if needed > cycles:
            cycles, bottleneck = needed, f"{level.name} bandwidth"
    energy["network"] = energy["adders"] = 0.0
    energy["MAC"] = operations * compute.mac_energy_pj(widest, widest)
    energy["leakage"] = accelerator.leakage_mw * 1e9 / accelerator.clock_hz * cycles
    return Cost(
        energy_pj=sum(energy.values()),
        latency_cycles=cycles,
        latency_s=cycles / accelerator.clock_hz,
        macs=0,
        padded_macs=0,
        utilisation=0.0,
        bottleneck=bottleneck,
        energy_breakdown_pj=energy,
    )


def _cycles(traffic_bytes: float, bandwidth: float | None) -> int:
    return 0 if bandwidth is None else math.ceil(traffic_bytes / bandwidth)
