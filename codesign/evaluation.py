"""Evaluate a fixed network on candidate hardware: energy, latency, EDP, utilisation and bottleneck, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerators.catalog import Hardware
from accelerators.costs import Cost, Infeasible
from accelerators.crossbar import area as crossbar_area
from accelerators.crossbar import model as crossbar_model
from accelerators.crossbar.crossbar import Crossbar
from accelerators.operators import Operator
from accelerators.processors.processor import Processor
from accelerators.spatial import constraint_files
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.spatial.streaming import stream
from codesign import devices, processors
from codesign.costs import Evaluation, LayerCost, NetworkCost
from codesign.devices import Device, LearnedDevice, TableDevice
from codesign.nas.spaces import named_network
from codesign.networks import Fusion, Network
from mappers import (
    DEFAULT_EVALUATIONS,
    DEFAULT_NODE_LIMIT,
    MapperFactory,
    MapResult,
    Objective,
    map_batch,
    map_network,
)

#: Called with (hardware name, finished operators, all operators).
Progress = Callable[[str, int, int], None]


def evaluate(
    network: Network | str | Path,
    on: Hardware | Device | str | Path | Sequence[Hardware | Device | str | Path],
    *,
    objective: Objective = "edp",
    mapper: MapperFactory | None = None,
    evaluations: int = DEFAULT_EVALUATIONS,
    node_limit: int | None = DEFAULT_NODE_LIMIT,
    seed: int = 0,
    constraints: str | Path | None = None,
    pad: bool = False,
    bypass: bool = False,
    fuse: bool = False,
    together: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
    **options: Any,
) -> Evaluation:
    """Evaluate a network on candidate hardware.

    ``network`` and ``on`` are objects, catalog names or files (see :func:`codesign.devices.load`), a network also
    ``SPACE:ENCODING``; ``options`` are those of the network or its space (``batch=4``). Every distinct operator is
    mapped once per candidate, see :func:`mappers.map_operator` for ``objective`` ("edp", "energy", "latency"),
    ``mapper``, ``evaluations``, ``node_limit``, ``seed``, ``pad`` and ``bypass``. ``constraints`` (a file, or a
    dataflow that comes with the program) take the place of the candidates' native dataflows. ``fuse`` runs elementwise
    layers with their producer. With ``together`` the mappings are chosen such that the network's EDP is least, see
    :func:`mappers.map_network`. ``workers`` are processes; they change no result.

    Raises :class:`~codesign.networks.NetworkError`, :class:`~accelerators.documents.DocumentError`, and ValueError for
    candidates with one name; hardware that cannot run a layer is no error but part of the result.
    """
    graph = network if isinstance(network, Network) else named_network(network, **options)
    candidates = [on] if isinstance(on, Hardware | Device | str | Path) else list(on)
    loaded = [devices.load(c) if isinstance(c, str | Path) else c for c in candidates]
    names = [hardware.name for hardware in loaded]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"on: at least one candidate, with different names (got {', '.join(names) or 'none'})")
    spatial = [hardware for hardware in loaded if isinstance(hardware, SpatialAccelerator)]
    if together and (objective != "edp" or mapper is not None):
        raise ValueError("together: minimises the EDP with the optimal mapper; no other objective or mapper applies")
    if constraints is not None:
        rules = constraint_files.load(constraints)
        spatial = [replace(hardware, dataflow=rules.resolve(hardware)) for hardware in spatial]
    settings = {
        "objective": objective,
        "mapper": mapper,
        "evaluations": evaluations,
        "node_limit": node_limit,
        "seed": seed,
        "pad": pad,
        "bypass": bypass,
    }
    mapped = [operator for operator in graph.unique() if not operator.passes]
    jobs = [(hardware, operator) for hardware in spatial for operator in mapped]
    done = {hardware.name: 0 for hardware in spatial}

    def report(job: int, result: MapResult | Infeasible) -> None:
        hardware = jobs[job][0].name
        done[hardware] += 1
        if progress:
            progress(hardware, done[hardware], len(mapped))

    if progress:
        for name in done:
            progress(name, 0, len(mapped))
    costs = {
        (hardware.name, operator): result
        for (hardware, operator), result in zip(
            jobs, map_batch(jobs, workers=workers, report=report, **settings), strict=True
        )
    }
    found: dict[str, NetworkCost] = {}
    for hardware in spatial:
        mapped_here = {operator: costs[hardware.name, operator] for operator in mapped}
        result = _on_one(graph, hardware, graph.fusable() if fuse else {}, mapped_here)
        if together and not result.problems:
            result = _together(result, hardware, node_limit=node_limit, bypass=bypass, pad=pad)
        found[hardware.name] = result
    for candidate in loaded:
        if isinstance(candidate, Processor):
            found[candidate.name] = processors.on_processor(graph, candidate)
        elif isinstance(candidate, Crossbar):
            found[candidate.name] = on_crossbar(graph, candidate, graph.fusable() if fuse else {})
        elif isinstance(candidate, TableDevice):
            found[candidate.name] = devices.on_table(graph, candidate)
        elif isinstance(candidate, LearnedDevice):
            found[candidate.name] = devices.on_learned(graph, candidate)
    return Evaluation(tuple(found[name] for name in names))


def on_crossbar(graph: Network, crossbar: Crossbar, fused: Mapping[str, Fusion]) -> NetworkCost:
    """A network on a crossbar; ``fused`` layers work on their producers' results on their way to the buffers.

    Where layers overlap, the latency of a layer is what it adds to the time at which all is done.
    """
    indices = {layer.name: i for i, layer in enumerate(graph)}
    started = [
        crossbar_model.Step(
            layer.name,
            layer.operator,
            tuple(indices[name] for name in graph.predecessors(layer.name)),
            fused[layer.name].reads if layer.name in fused else None,
        )
        for layer in graph
    ]
    result = crossbar_model.run(crossbar, started)
    layers = tuple(
        LayerCost(layer.name, layer.operator, cost, layer.name in fused)
        for layer, cost in zip(graph, result.costs, strict=True)
    )
    if crossbar.problems:
        return NetworkCost(graph.name, crossbar.name, None, 0.0, layers, None)
    units = crossbar_area.peak_macs_per_s(crossbar) * crossbar_area.cycle_s(crossbar)
    area_mm2 = crossbar_area.area_mm2(crossbar)
    quality = "; ".join(result.assumed)
    return NetworkCost(graph.name, crossbar.name, area_mm2, units, layers, quality, result.interval_s)


def _on_one(
    graph: Network,
    hardware: SpatialAccelerator,
    fused: Mapping[str, Fusion],
    mapped: Mapping[Operator, MapResult | Infeasible],
) -> NetworkCost:
    priced: dict[Operator, tuple[Cost | Infeasible, float | None]] = {}
    for operator in graph.unique():
        if not operator.passes:
            result = mapped[operator]
            certificate = None if isinstance(result, Infeasible) else result.certificate
            cost = result if isinstance(result, Infeasible) else result.cost
            priced[operator] = cost, certificate.gap if certificate else None
    quality = mapping_quality([gap for _, gap in priced.values()])
    layers = tuple(layer_costs(hardware, graph, fused, priced))
    return NetworkCost(graph.name, hardware.name, hardware.area_mm2, hardware.macs, layers, quality)


def mapping_quality(gaps: Sequence[float | None]) -> str | None:
    """What is known about mappings with these gaps (None: not known) all together."""
    if None in gaps:
        return None
    # All layers share one objective; the worst gap bounds the sum's for energy and latency.
    worst = max((gap for gap in gaps if gap is not None), default=0.0)
    return "optimal per layer" if worst == 0 else f"each layer within {worst:.2%}"


def layer_costs(
    hardware: SpatialAccelerator,
    graph: Network,
    fused: Mapping[str, Fusion],
    mapped: Mapping[Operator, tuple[Cost | Infeasible, float | None]],
) -> Iterator[LayerCost]:
    """Every layer of a network: run with its producer, streamed, or with the cost and gap of its operator's mapping."""
    streamed = {operator: stream(hardware, operator) for operator in graph.unique() if operator.passes}
    for layer in graph:
        gap = None
        if layer.name in fused:
            cost = stream(hardware, layer.operator, fused[layer.name].reads)
        elif layer.operator.passes:
            cost = streamed[layer.operator]
        else:
            cost, gap = mapped[layer.operator]
        yield LayerCost(layer.name, layer.operator, cost, layer.name in fused, gap)


def _together(result: NetworkCost, hardware: SpatialAccelerator, **settings: Any) -> NetworkCost:
    """The same network with the mappings that minimise its EDP; layers without a loop nest are as they are."""
    counts: dict[Operator, int] = {}
    fixed_energy_pj, fixed_cycles = 0.0, 0
    for layer in result.layers:
        assert isinstance(layer.cost, Cost)
        if layer.operator.passes:
            fixed_energy_pj += layer.cost.energy_pj
            fixed_cycles += layer.cost.latency_cycles
        else:
            counts[layer.operator] = counts.get(layer.operator, 0) + 1
    if not counts:
        return result
    best = map_network(
        hardware, list(counts.items()), fixed_energy_pj=fixed_energy_pj, fixed_cycles=fixed_cycles, **settings
    )
    assert not isinstance(best, Infeasible)
    chosen = {layer.operator: layer.cost for layer in best.layers}
    gain = best.separate_edp / best.edp - 1
    text = "network optimum proven" if best.proven else f"network optimum within {best.gap:.2%}"
    return replace(
        result,
        # A layer of its own may have a better mapping than this one: its gap says nothing here.
        layers=tuple(replace(layer, cost=chosen.get(layer.operator, layer.cost), gap=None) for layer in result.layers),
        quality=f"{text}, {gain:.2%} below layer by layer",
    )
