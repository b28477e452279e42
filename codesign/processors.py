"""What a network costs on a processor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from accelerators.costs import Cost, Infeasible
from accelerators.processors.processor import Processor
from accelerators.processors.roofline import run
from codesign.costs import LayerCost, NetworkCost
from codesign.networks import Network
from codesign.networks.execution import memory_misfit, merged, steps


def on_processor(graph: Network, processor: Processor) -> NetworkCost:
    """A network on a processor, as its runtime executes it: what runs inside another layer costs nothing by itself.

    A layer with whose tensor the memory overflows cannot run. Where tensors have bits, the network runs in the fastest
    type that holds the widest of them.
    """
    bits = max((t.bits or 0 for layer in graph for t in layer.operator.tensors), default=0)
    held = processor.holding(bits) if bits else processor
    if held is None:
        most = ", ".join(kind.type for kind in processor.arithmetic)
        refused = Infeasible("precision", f"tensors have up to {bits} bits, {processor.name} computes {most}", {})
        return NetworkCost(
            graph.name,
            processor.name,
            None,
            0.0,
            tuple(LayerCost(layer.name, layer.operator, refused) for layer in graph),
            None,
        )
    processor = held
    nothing = Cost(0.0, 0, 0.0, 0, 0, 0.0, "none", {})
    started = steps(graph, processor.runtime, processor.type.bits)
    parts: dict[str, list[Cost]] = {}
    for step, cost in zip(started, run(processor, started), strict=True):
        parts.setdefault(step.layer, []).append(cost)
    misfit = memory_misfit(graph, processor)
    inside = merged(graph, processor.runtime)
    layers = []
    for layer in graph:
        costs = parts.get(layer.name)
        whole: Cost | Infeasible = nothing if costs is None else _sum(costs)
        if misfit is not None and layer.name == misfit.facts["layer"]:
            whole = misfit
        fused = layer.name in inside
        layers.append(LayerCost(layer.name, layer.operator, whole, fused, dropped=costs is None and not fused))
    peak = processor.type.peak_ops_per_s / 2 / processor.clock_hz
    return NetworkCost(graph.name, processor.name, None, peak, tuple(layers), _quality(processor, bits))


def _quality(processor: Processor, bits: int) -> str:
    """How figures were made; ``bits`` are those of the widest tensor, 0 where the network does not say."""
    kind = processor.type
    # Narrower tensors are computed, held and moved like the type's own.
    wider = f" although tensors have up to {bits} bits" if 0 < bits < kind.bits else ""
    idle = processor.cores_used < processor.cores
    cores = f", {processor.cores_used} of {processor.cores} cores" if idle else ""
    return f"roofline, {kind.type}{wider}, {processor.runtime.name}{cores}"


def _sum(costs: Sequence[Cost]) -> Cost:
    """An operator with the normalisation that is started after it."""
    first = costs[0]
    if len(costs) == 1:
        return first
    latency_s = sum(cost.latency_s for cost in costs)
    return replace(
        first,
        energy_pj=sum(cost.energy_pj for cost in costs),
        latency_cycles=sum(cost.latency_cycles for cost in costs),
        latency_s=latency_s,
        utilisation=first.utilisation * first.latency_s / latency_s if latency_s else 0.0,
        energy_breakdown_pj={
            part: sum(cost.energy_breakdown_pj[part] for cost in costs) for part in first.energy_breakdown_pj
        },
    )
