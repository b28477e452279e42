"""What a processor's runtime makes of a network: the operators that it starts, in order.

Elementwise operators and batch normalisations may run inside the operator before them. Dead operators are of two kinds:
those that the output does not need, and those whose inputs are constant (zeros, or made of nothing but zeros), whose
results a runtime may compute ahead of time. Operators that compute the same are run once by runtimes that look for
common subexpressions (TorchScript, ONNX Runtime, the converter of LiteRT).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from accelerators.costs import Infeasible
from accelerators.operators import normalization
from accelerators.processors.processor import Processor, Runtime
from accelerators.processors.roofline import Step
from codesign.networks.graph import Fusion, Network

_ZERO = "zero"


def duplicates(network: Network, runtime: Runtime) -> dict[str, str]:
    """Layers that compute what an earlier one does, and that one; none for a runtime that does not look for them.

    Such layers have no trained values, and equal operators on the same operands (and the same kind of pooling).
    """
    found: dict[str, str] = {}
    if not runtime.merges_duplicates:
        return found
    first: dict[tuple[Any, ...], str] = {}
    for name, node in network.graph.nodes.items():
        operands = {tensor: tuple(found.get(s, s) for s in sources) for tensor, sources in node["operands"].items()}
        if node["parameters"] or not all(operands.values()):
            continue
        kind = getattr(node["computation"], "kind", None)
        earlier = first.setdefault((node["operator"], kind, tuple(sorted(operands.items()))), name)
        if earlier != name:
            found[name] = earlier
    return found


def live(network: Network, runtime: Runtime) -> list[str]:
    """Names of the layers that a runtime executes, in order."""
    graph = network.graph
    same = duplicates(network, runtime)
    constants = {name for name, node in graph.nodes.items() if node["operator"].kind == _ZERO}
    if runtime.folds_zero_inputs:
        for name in graph:
            if graph.in_degree(name) and all(source in constants for source in graph.predecessors(name)):
                constants.add(name)
    if not runtime.drops_unreachable:
        return [name for name in graph if name not in same and not (runtime.folds_zero_inputs and name in constants)]
    needed = {name for name in graph if graph.out_degree(name) == 0}
    # Layers are in topological order. A constant needs nothing to be computed first.
    for name in reversed(list(graph)):
        if name in needed and name not in constants:
            needed.update(graph.predecessors(name))
    return [name for name in graph if name in needed and name not in constants and name not in same]


def merged(network: Network, runtime: Runtime) -> dict[str, Fusion]:
    """The layers that run inside an earlier one, which are those that are executed and have a producer that is."""
    if not runtime.fuses_elementwise:
        return {}
    kept = set(live(network, runtime))
    return {
        name: fusion for name, fusion in network.fusable().items() if name in kept and kept.issuperset(fusion.producers)
    }


def steps(network: Network, runtime: Runtime, bits: int) -> list[Step]:
    """What is started, one after another, with numbers of ``bits``."""
    weights_bytes = network.parameters * bits / 8
    inside = merged(network, runtime)
    extra: Counter[str] = Counter()
    for fusion in inside.values():
        extra[fusion.producers[0]] += fusion.reads
    found = []
    for name in live(network, runtime):
        if name in inside:
            continue
        layer = network.layer(name)
        found.append(Step(name, layer.operator, extra[name], weights_bytes))
        if layer.batch_norm and not runtime.folds_batch_norm:
            words = layer.operator.words(layer.operator.output)
            channels = layer.operator.bound("K") * layer.operator.bound("G")
            alone = replace(normalization(rows=channels, length=words // channels), passes=1)
            found.append(Step(name, alone, 0, weights_bytes, channels))
    return found


def memory_misfit(network: Network, processor: Processor) -> Infeasible | None:
    """Why a network has no room on a processor, if it has none; the reason names the tensor with which it overflows.

    Layers run in order; a tensor is kept until the last layer that reads it has run, and the output of a layer that
    runs inside another takes that one's place. Weights are in flash where there is one, in memory otherwise.
    """
    word_bytes = processor.type.bits / 8
    graph = network.graph
    weights = 0.0
    room = processor.ram_bytes if processor.flash_bytes is None else processor.flash_bytes
    place = "memory" if processor.flash_bytes is None else "flash"
    for layer in network:
        weights += layer.parameters * word_bytes
        if weights > room:
            text = f"weights of {layer.name}: {weights:.0f} bytes with those before it, {place} has {room:.0f}"
            return Infeasible("capacity", text, {"layer": layer.name, "tensor": "weights", "bytes": weights})
    held = weights if processor.flash_bytes is None else 0.0
    inside = merged(network, processor.runtime)
    kept = live(network, processor.runtime)
    same = duplicates(network, processor.runtime)
    read = {name: {same.get(source, source) for source in graph.predecessors(name)} for name in kept}
    readers = Counter(source for sources in read.values() for source in sources)
    sizes: dict[str, float] = {}
    for name in kept:
        if name in inside:
            roots = inside[name].producers
            for source in graph.predecessors(name):
                if source in roots or (source in inside and inside[source].producers == roots):
                    sizes.pop(source, None)
        operator = graph.nodes[name]["operator"]
        sizes[name] = operator.words(operator.output) * word_bytes
        inputs = 0.0
        for tensor, sources in graph.nodes[name]["operands"].items():
            if not sources:
                inputs += operator.words(operator.tensor(tensor)) * word_bytes
        needed = held + sum(sizes.values()) + inputs
        if needed > processor.ram_bytes:
            text = (
                f"outputs of {name}: {needed:.0f} bytes with what else is needed then, "
                f"memory has {processor.ram_bytes:.0f}"
            )
            return Infeasible("capacity", text, {"layer": name, "tensor": "outputs", "bytes": needed})
        for source in read[name]:
            readers[source] -= 1
            if not readers[source]:
                sizes.pop(source, None)
    return None
