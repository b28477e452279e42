"""What the arms of the experiments have in common: networks on an accelerator, mapped in one of several ways."""

from __future__ import annotations

import functools
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from accelerators import catalog
from accelerators.costs import Cost, Infeasible, InfeasibleError
from accelerators.documents import Document
from accelerators.operators import Operator
from accelerators.spatial import datasheet as spatial_datasheet
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.spatial.model import evaluate_packed
from accelerators.spatial.streaming import stream
from benchmarks.papers._fixed import Description, FixedDataflow, Published
from codesign import networks
from codesign.experiments.experiment import Experiment
from codesign.experiments.search import Search
from codesign.networks import Network
from codesign.search.space import Design
from mappers import MapResult, Objective, map_operator
from mappers.cma_es import CmaEs
from mappers.encoding import ImportanceEncoding, IndexEncoding
from mappers.mapspace import Mapspace

#: What is said of a design.
R = TypeVar("R")
#: How layers are mapped: proven optimally, by CMA-ES on an encoding, or all by one description.
Style = str | Description
_ENCODINGS = {"cma_importance": ImportanceEncoding, "cma_index": IndexEncoding}
#: Mappings that CMA-ES tries per layer.
CMA_EVALUATIONS = 2_000


@dataclass(frozen=True)
class Arm:
    """What is evaluated on a design: networks of the zoo, mapped in one way."""

    networks: tuple[str, ...]
    style: Style
    pad: bool = False


@dataclass
class Totals:
    """What networks cost on one accelerator; cycles by what bounds them, energy by where it goes, over all networks."""

    macs: int
    energy_pj: list[float] = field(default_factory=list)
    cycles: list[int] = field(default_factory=list)
    utilisation: list[float] = field(default_factory=list)
    bound_by: Counter[str] = field(default_factory=Counter)
    spent_on: dict[str, float] = field(default_factory=dict)

    @property
    def energy(self) -> float:
        """Geometric mean over the networks, pJ."""
        return _mean(self.energy_pj)

    @property
    def latency(self) -> float:
        """Geometric mean over the networks, cycles."""
        return _mean(self.cycles)

    @property
    def edp(self) -> float:
        """Geometric mean over the networks, pJ x cycles."""
        return self.energy * self.latency


def _mean(values: Sequence[float]) -> float:
    return math.exp(math.fsum(map(math.log, values)) / len(values))


@functools.cache
def network(name: str) -> Network:
    """A network of the zoo, once per process."""
    return networks.load(name)


def totals(accelerator: SpatialAccelerator, arm: Arm) -> Totals | None:
    """The networks of an arm on an accelerator, or None if one of their layers cannot run."""
    return totals_of(accelerator, [network(name) for name in arm.networks], arm.style, arm.pad)


def totals_of(
    accelerator: SpatialAccelerator, graphs: Sequence[Network], style: Style, pad: bool = False
) -> Totals | None:
    """Any networks on an accelerator, or None if one of their layers cannot run."""
    cost_of = pricing(accelerator, style, pad)
    costs: dict[Operator, Cost] = {}
    result = Totals(accelerator.macs)
    for graph in graphs:
        energy_pj, cycles = 0.0, 0
        for layer in graph:
            operator = layer.operator
            if operator not in costs:
                cost = stream(accelerator, operator) if operator.passes else cost_of(operator)
                if isinstance(cost, Infeasible):
                    return None
                costs[operator] = cost
            cost = costs[operator]
            energy_pj += cost.energy_pj
            cycles += cost.latency_cycles
            result.bound_by[_bound(accelerator, cost.bottleneck)] += cost.latency_cycles
            for part, energy in cost.energy_breakdown_pj.items():
                where = _part(accelerator, part)
                result.spent_on[where] = result.spent_on.get(where, 0.0) + energy
        result.energy_pj.append(energy_pj)
        result.cycles.append(cycles)
        result.utilisation.append(graph.macs / (accelerator.macs * cycles))
    return result


def streamed(accelerator: SpatialAccelerator, graph: Network) -> tuple[float, int]:
    """Energy in pJ and cycles of the layers of a network that have no loop nest."""
    energy_pj, cycles = 0.0, 0
    for layer in graph:
        if layer.operator.passes:
            cost = stream(accelerator, layer.operator)
            assert isinstance(cost, Cost)
            energy_pj += cost.energy_pj
            cycles += cost.latency_cycles
    return energy_pj, cycles


def pricing(
    accelerator: SpatialAccelerator, style: Style, pad: bool = False
) -> Callable[[Operator], Cost | Infeasible]:
    """What a layer with MACs costs if it is mapped in a style."""
    if isinstance(style, Description):
        dataflow, description = FixedDataflow(accelerator), style

        def fixed(operator: Operator) -> Cost | Infeasible:
            try:
                return evaluate_packed(*dataflow.mapping(description, operator))
            except InfeasibleError as error:
                return error.reason

        return fixed
    settings: dict[str, Any] = {}
    if style in _ENCODINGS:
        encoding = _ENCODINGS[style]

        def mapper(space: Mapspace, objective: Objective, seed: int) -> CmaEs:
            return CmaEs(space, objective, seed, encoding)

        settings = {"mapper": mapper, "evaluations": CMA_EVALUATIONS}

    def mapped(operator: Operator) -> Cost | Infeasible:
        found = map_operator(accelerator, operator, pad=pad, **settings)
        return found.cost if isinstance(found, MapResult) else found

    return mapped


def described(
    accelerator: SpatialAccelerator, said: Published, graphs: Sequence[Network], tries: int
) -> tuple[Description, Description]:
    """A published dataflow with the best tiles where it is silent, and the best description at all, for networks."""
    dataflow = FixedDataflow(accelerator)
    counts = [graph.unique() for graph in graphs]
    fixed = [streamed(accelerator, graph) for graph in graphs]

    def edp(description: Description) -> float:
        costs: dict[Any, tuple[float, int]] = {}
        product = 1.0
        for (energy_pj, cycles), layers in zip(fixed, counts, strict=True):
            for operator, names in layers.items():
                if operator.passes:
                    continue
                if operator not in costs:
                    cost = dataflow.cost(description, operator)
                    if cost is None:
                        return math.inf
                    costs[operator] = cost
                energy_pj += len(names) * costs[operator][0]
                cycles += len(names) * costs[operator][1]
            product *= energy_pj * cycles
        return product

    published, _ = dataflow.best(edp, dataflow.start(said), 0, tries, said.open)
    best, _ = dataflow.best(edp, published, 0, tries)
    return published, best


def _bound(accelerator: SpatialAccelerator, bottleneck: str) -> str:
    outermost = accelerator.levels[0].name
    return "compute" if bottleneck == "compute" else "DRAM" if bottleneck.startswith(outermost) else "on-chip"


def _part(accelerator: SpatialAccelerator, part: str) -> str:
    if part.startswith(accelerator.levels[0].name):
        return "DRAM"
    return {"MAC": "MACs", "adders": "MACs", "leakage": "leakage"}.get(part, "on-chip")


def datasheet(name: str, dram: bool) -> dict[str, Any]:
    """A design of the catalog as plain data; without ``dram``, its outermost memory has no limit of bandwidth."""
    data = dict(catalog.document(name).data)
    if not dram:
        outermost = {key: value for key, value in data["levels"][0].items() if not key.endswith("bandwidth")}
        data["levels"] = [outermost, *data["levels"][1:]]
    return data


def accelerator_of(data: dict[str, Any]) -> SpatialAccelerator:
    """The accelerator of a datasheet."""
    return spatial_datasheet.load(Document(str(data["name"]), data))


def evaluated(data: dict[str, Any], arm: Arm) -> float:
    """EDP of an arm on the accelerator of a datasheet, geometric mean in pJ x cycles; infinite if it cannot run."""
    result = totals(accelerator_of(data), arm)
    return math.inf if result is None else result.edp


def explore(
    sheet: dict[str, Any], pool: Executor, judge: Callable[[dict[str, Any]], R], score: Callable[[R], float]
) -> list[tuple[Design, R]]:
    """All designs that CMA-ES proposes in an experiment, each once, with what ``judge`` says of it; least score first.

    ``sheet`` has the sections of the experiment; ``judge`` is given datasheets, and runs in the pool.
    """
    parsed = Experiment.parse(json.dumps({"name": "candidate", **sheet}), Path("experiment.yaml").resolve())
    point = parsed.points[0]
    assert point.space is not None
    searching = Search(point)
    designs: dict[str, dict[str, Any]] = {}
    said: dict[str, R] = {}
    while not searching.finished:
        jobs = searching.propose()
        designs.update({job.digest: job.choices for job in jobs})
        said.update(zip((job.digest for job in jobs), pool.map(judge, [job.datasheet for job in jobs]), strict=True))
        scores = {job.digest: score(said[job.digest]) for job in jobs}
        searching.absorb({key: {"status": "ok", "objectives": {"edp": edp}} for key, edp in scores.items()})
    found = []
    for key in sorted(searching.scores, key=lambda key: searching.scores[key]):
        design = point.space.build(designs[key])
        assert isinstance(design, Design)
        found.append((design, said[key]))
    return found


def search(
    hardware: dict[str, Any],
    arm: Arm,
    seed: int,
    effort: tuple[int, int],
    pool: Executor,
    refine: float | None = None,
) -> Design:
    """The best design that CMA-ES finds in (population, generations) of an experiment's ``hardware`` section."""
    sheet = {
        "seed": seed,
        "networks": list(arm.networks),
        "hardware": hardware,
        "search": {"population": effort[0], "generations": effort[1], "refine": refine},
    }
    return explore(sheet, pool, functools.partial(evaluated, arm=arm), float)[0][0]


def shares(amounts: Mapping[str, float], order: Sequence[str]) -> Iterator[str]:
    """Parts of a whole in percent."""
    whole = sum(amounts.values())
    return (f"{amounts.get(key, 0) / whole:.0%}" for key in order)
