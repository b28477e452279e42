"""Evaluate a fixed network on candidate hardware: energy, latency, EDP, utilisation and bottleneck, layer by layer."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerators import catalog
from accelerators.catalog import Hardware
from accelerators.costs import Cost, Infeasible
from accelerators.crossbar import area as crossbar_area
from accelerators.crossbar import model as crossbar_model
from accelerators.crossbar.crossbar import Crossbar
from accelerators.operators import Operator
from accelerators.processors.processor import Processor
from accelerators.processors.roofline import run
from accelerators.spatial import constraint_files
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.spatial.streaming import stream
from codesign import networks
from codesign.networks import Fusion, Network
from codesign.networks.execution import memory_misfit, merged, steps
from mappers import (
    DEFAULT_EVALUATIONS,
    DEFAULT_NODE_LIMIT,
    MapperFactory,
    MapResult,
    Objective,
    map_batch,
    map_network,
)

Record = dict[str, Any]
#: Called with (hardware name, finished operators, all operators).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class LayerCost:
    """One layer on one piece of hardware; ``cost`` is a reason where the hardware cannot run it.

    ``fused`` layers run inside another one, ``dropped`` ones not at all. ``gap`` is how far its mapping may be above
    the optimum of the objective, if the mapper knows.
    """

    name: str
    operator: Operator
    cost: Cost | Infeasible
    fused: bool = False
    gap: float | None = None
    dropped: bool = False

    def record(self) -> Record:
        """The layer as a flat record."""
        record: Record = {"layer": self.name, "kind": self.operator.kind, "operator": str(self.operator)}
        if isinstance(self.cost, Infeasible):
            return {**record, "status": self.cost.code, "reason": self.cost.message}
        return {
            **record,
            "status": "fused" if self.fused else "dropped" if self.dropped else "ok",
            "macs": self.cost.macs,
            "padded_macs": self.cost.padded_macs,
            "energy_pj": self.cost.energy_pj,
            "latency_cycles": self.cost.latency_cycles,
            "latency_s": self.cost.latency_s,
            "edp_js": self.cost.edp_js,
            "utilisation": self.cost.utilisation,
            "bottleneck": self.cost.bottleneck,
            "gap": self.gap,
            **{f"energy_{part}_pj": pj for part, pj in self.cost.energy_breakdown_pj.items()},
        }


@dataclass(frozen=True)
class NetworkCost:
    """A network on one piece of hardware: sums over the layers, which run one after another.

    Figures are None if a layer cannot run; ``problems`` says which and why. The area is None where it is not known, as
    of processors. ``quality`` says what is known about the mappings, or how else the figures were made (None: nothing).
    ``interval_s`` is the time between runs that follow each other where these overlap (None: they do not).
    """

    network: str
    hardware: str
    area_mm2: float | None
    mac_units: float
    layers: tuple[LayerCost, ...]
    quality: str | None = None
    interval_s: float | None = None

    @property
    def problems(self) -> list[str]:
        """One line per layer that the hardware cannot run."""
        return [f"{layer.name}: {layer.cost}" for layer in self.layers if isinstance(layer.cost, Infeasible)]

    def _costs(self) -> list[Cost] | None:
        costs = [layer.cost for layer in self.layers if isinstance(layer.cost, Cost)]
        return costs if len(costs) == len(self.layers) else None

    @property
    def energy_pj(self) -> float | None:
        """Sum of the layers' energy."""
        costs = self._costs()
        return None if costs is None else sum(cost.energy_pj for cost in costs)

    @property
    def latency_cycles(self) -> int | None:
        """Sum of the layers' cycles."""
        costs = self._costs()
        return None if costs is None else sum(cost.latency_cycles for cost in costs)

    @property
    def latency_s(self) -> float | None:
        """Sum of the layers' latency."""
        costs = self._costs()
        return None if costs is None else sum(cost.latency_s for cost in costs)

    @property
    def runs_per_s(self) -> float | None:
        """Runs per second, one after another or overlapping as the hardware does."""
        period = self.latency_s if self.interval_s is None or self.latency_s is None else self.interval_s
        return 1 / period if period else None

    @property
    def edp_js(self) -> float | None:
        """(sum of energy) x (sum of latency), in joule-seconds."""
        energy, latency = self.energy_pj, self.latency_s
        return None if energy is None or latency is None else energy * 1e-12 * latency

    @property
    def macs(self) -> int:
        """MACs of the network."""
        return sum(layer.operator.macs for layer in self.layers)

    @property
    def utilisation(self) -> float | None:
        """MACs over MAC units x cycles, data-movement-bound layers included."""
        cycles = self.latency_cycles
        return None if not cycles else self.macs / (self.mac_units * cycles)

    @property
    def bottleneck(self) -> str | None:
        """What limits the layers that take most of the time, and its share of the latency."""
        costs, total = self._costs(), self.latency_s
        if costs is None or not total:
            return None
        shares: dict[str, float] = {}
        for cost in costs:
            shares[cost.bottleneck] = shares.get(cost.bottleneck, 0.0) + cost.latency_s / total
        name = max(shares, key=lambda key: shares[key])
        return f"{name} ({shares[name]:.0%})"

    @property
    def energy_breakdown_pj(self) -> dict[str, float]:
        """Energy by where it is spent, over the layers that run."""
        parts: dict[str, float] = {}
        for layer in self.layers:
            if isinstance(layer.cost, Cost):
                for part, pj in layer.cost.energy_breakdown_pj.items():
                    parts[part] = parts.get(part, 0.0) + pj
        return parts

    def record(self) -> Record:
        """The totals as a flat record."""
        return {
            "network": self.network,
            "hardware": self.hardware,
            "status": "infeasible" if self.problems else "ok",
            "macs": self.macs,
            "energy_pj": self.energy_pj,
            "latency_cycles": self.latency_cycles,
            "latency_s": self.latency_s,
            "runs_per_s": self.runs_per_s,
            "edp_js": self.edp_js,
            "utilisation": self.utilisation,
            "bottleneck": self.bottleneck,
            "area_mm2": self.area_mm2,
            "mappings": self.quality,
            "reason": "; ".join(self.problems) or None,
        }


@dataclass(frozen=True)
class Evaluation:
    """The network on every candidate; records turn into a table (``pandas.DataFrame(evaluation.records())``)."""

    results: tuple[NetworkCost, ...]

    def records(self) -> list[Record]:
        """One flat record per candidate."""
        return [result.record() for result in self.results]

    def layer_records(self) -> list[Record]:
        """One flat record per candidate and layer."""
        return [
            {"network": result.network, "hardware": result.hardware, **layer.record()}
            for result in self.results
            for layer in result.layers
        ]

    def __getitem__(self, hardware: str) -> NetworkCost:
        for result in self.results:
            if result.hardware == hardware:
                return result
        raise KeyError(hardware)

    def to_json(self) -> str:
        """Totals, breakdowns, layers and mappings as JSON."""
        return json.dumps(
            [
                {
                    **result.record(),
                    "energy_breakdown_pj": result.energy_breakdown_pj,
                    "layers": [{**layer.record(), **_mapping_record(layer)} for layer in result.layers],
                }
                for result in self.results
            ],
            indent=1,
        )

    def to_csv(self, layers: bool = True) -> str:
        """The layers (or the totals) as CSV."""
        records = self.layer_records() if layers else self.records()
        columns = list(dict.fromkeys(key for record in records for key in record))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        return text.getvalue()


def _mapping_record(layer: LayerCost) -> Record:
    details = layer.cost.details if isinstance(layer.cost, Cost) else None
    if details is None:
        return {}
    padded = {dim: bound for dim, bound in details.operator.bounds if bound != layer.operator.bound(dim)}
    return {"mapping": str(details.mapping), **({"padded_bounds": padded} if padded else {})}


def evaluate(
    network: Network | str | Path,
    on: Hardware | str | Path | Sequence[Hardware | str | Path],
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

    ``network`` and ``on`` are objects, catalog names or files; ``options`` go to :func:`codesign.networks.load`
    (``batch=4``). Every distinct operator is mapped once per candidate, see :func:`mappers.map_operator` for
    ``objective`` ("edp", "energy", "latency"), ``mapper``, ``evaluations``, ``node_limit``, ``seed``, ``pad`` and
    ``bypass``. ``constraints`` (a file, or a dataflow that comes with the program) take the place of the candidates'
    native dataflows. ``fuse`` runs elementwise layers with their producer. With ``together`` the mappings are chosen
    such that the network's EDP is least, see :func:`mappers.map_network`. ``workers`` are processes; they change no
    result.

    Raises :class:`~codesign.networks.NetworkError`, :class:`~accelerators.documents.DocumentError`, and ValueError for
    candidates with one name; hardware that cannot run a layer is no error but part of the result.
    """
    graph = network if isinstance(network, Network) else networks.load(str(network), **options)
    candidates = [on] if isinstance(on, Hardware | str | Path) else list(on)
    loaded = [catalog.load(c) if isinstance(c, str | Path) else c for c in candidates]
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
            found[candidate.name] = on_processor(graph, candidate)
        elif isinstance(candidate, Crossbar):
            found[candidate.name] = on_crossbar(graph, candidate, graph.fusable() if fuse else {})
    return Evaluation(tuple(found[name] for name in names))


def on_processor(graph: Network, processor: Processor) -> NetworkCost:
    """A network on a processor, as its runtime executes it: what runs inside another layer costs nothing by itself.

    A layer with whose tensor the memory overflows cannot run.
    """
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
    quality = f"roofline, {processor.type.type}, {processor.runtime.name}"
    return NetworkCost(graph.name, processor.name, None, peak, tuple(layers), quality)


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
    gaps = [gap for _, gap in priced.values()]
    if None in gaps:
        quality = None
    else:
        # All layers share one objective; the worst gap bounds the sum's for energy and latency.
        worst = max((gap for gap in gaps if gap is not None), default=0.0)
        quality = "optimal per layer" if worst == 0 else f"each layer within {worst:.2%}"
    layers = tuple(layer_costs(hardware, graph, fused, priced))
    return NetworkCost(graph.name, hardware.name, hardware.area_mm2, hardware.macs, layers, quality)


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
