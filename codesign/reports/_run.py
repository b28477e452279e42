"""What came out of a run, read from its ledger: points, designs, the winner and how it runs every layer.

What the ledger does not keep (traffic, counts, layers that only stream) is computed again from the saved mappings;
where that fails, there is what the ledger has, and a sentence that says why there is no more.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from accelerators.catalog import Hardware
from accelerators.costs import Cost, Infeasible, InfeasibleError
from accelerators.documents import Document, DocumentError, parse
from accelerators.operators import Operator
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.spatial.mapping import Mapping as LoopNest
from accelerators.spatial.mapping import MappingError
from accelerators.spatial.model import evaluate
from codesign import evaluation
from codesign.costs import LayerCost, NetworkCost
from codesign.devices import Device
from codesign.evaluation import layer_costs
from codesign.experiments.candidates import scores
from codesign.experiments.experiment import mapping_objective
from codesign.experiments.ledger import Ledger
from codesign.experiments.run import BASELINE
from codesign.experiments.sheet import ExperimentSheet
from codesign.experiments.specifications import load_network, network_specification
from codesign.experiments.task import hardware_of
from codesign.networks import Network, NetworkError
from codesign.reports.tables import si
from codesign.search.pareto import best, front
from mappers import MAPPERS

_FRONT_PART = 500
_T = TypeVar("_T")


@dataclass(frozen=True)
class Candidate:
    """A design of a point as the ledger keeps it; ``values`` are the objectives, empty unless it works."""

    point: int
    digest: str
    choices: dict[str, Any]
    status: str
    reason: str
    values: dict[str, float]
    gap: float | None
    seconds: float
    #: Where networks are searched: how many were judged, and rows of accuracy, energy in pJ, latency in s, and code.
    judged: int | None = None
    #: Standard deviation of the accuracy, where it is known.
    uncertainty: float | None = None
    front: tuple[tuple[float, float | None, float | None, list[int]], ...] = ()

    @property
    def fine(self) -> bool:
        return self.status == "ok"

    def scores(self, goals: Sequence[str]) -> list[float]:
        """What was sought, the smaller the better; infinite where it is not known."""
        return scores({"status": self.status, "objectives": self.values}, goals)

    @property
    def name(self) -> str:
        """The accelerator, where it was given, or the digest."""
        return str(self.choices["accelerator"]) if set(self.choices) == {"accelerator"} else self.digest


@dataclass(frozen=True)
class Point:
    """One point of a run: what was searched, what was tried, in the order of the proposals."""

    index: int
    label: dict[str, Any]
    sheet: ExperimentSheet | None
    generations: tuple[tuple[Candidate, ...], ...]
    unfinished: tuple[Candidate, ...]
    rejected: dict[str, int]
    baseline: Candidate | None

    @property
    def goals(self) -> tuple[str, ...]:
        return tuple(self.sheet.objective) if self.sheet else ("edp",)

    @property
    def planned(self) -> int | None:
        """Generations that there shall be, if known."""
        if self.sheet is None:
            return None
        return 1 if self.sheet.hardware.given else self.sheet.search.generations

    @property
    def finished(self) -> bool:
        return self.planned is not None and len(self.generations) >= self.planned

    @property
    def name(self) -> str:
        return ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in self.label.items())

    @property
    def wants_baseline(self) -> bool:
        """Whether the experiment asks for a baseline."""
        if self.sheet is None:
            return False
        return self.sheet.compared_with is not None

    @property
    def given(self) -> bool:
        """Whether it compares given accelerators, and searches none."""
        return bool(self.tried) and all(set(c.choices) == {"accelerator"} for c in self.tried)

    @cached_property
    def tried(self) -> tuple[Candidate, ...]:
        """Every design once, in the order of the first proposal."""
        found = {c.digest: c for c in (*itertools.chain.from_iterable(self.generations), *self.unfinished)}
        return tuple(found.values())

    @cached_property
    def front(self) -> tuple[Candidate, ...]:
        """The designs that no other one beats, sorted by the first objective."""
        # One of several equals is enough.
        unique = {tuple(c.scores(self.goals)): c for c in reversed(self.tried) if c.fine}
        values: list[tuple[float, ...]] = []
        # In parts, because a front compares each with each.
        for part in _parts(list(unique), _FRONT_PART):
            values = [*values, *part]
            values = [values[i] for i in front(np.array(values))]
        return tuple(unique[value] for value in sorted(values))

    @property
    def best(self) -> Candidate | None:
        """The best design; with several objectives the one of the front with the least EDP."""
        fine = [c for c in self.tried if c.fine]
        if not fine:
            return None
        points = np.array([c.scores(self.goals) for c in fine])
        return fine[best(points, np.array([c.values.get("edp", points[i, 0]) for i, c in enumerate(fine)]))]


@dataclass(frozen=True)
class Row:
    """One layer on one design, or a distinct operator where the network is not at hand (``macs`` is then None)."""

    name: str
    operator: str
    parts: Mapping[str, float]
    latency_s: float
    bottleneck: str
    key: Any = None
    nest: LoopNest | None = None
    macs: int | None = None
    traffic_bytes: float = 0.0
    utilisation: float = 0.0
    gap: float | None = None
    fused: bool = False

    @property
    def energy_j(self) -> float:
        return sum(self.parts.values()) * 1e-12


@dataclass
class Design:
    """Everything about one design: the hardware, its layers by network, what was computed again and what failed.

    ``graphs`` are its networks, as far as they are at hand.
    """

    title: str
    candidate: Candidate
    datasheet: dict[str, Any]
    hardware: Hardware | Device
    totals: list[dict[str, Any]]
    graphs: Sequence[Network] = ()
    layers: dict[str, list[Row]] = field(default_factory=dict)
    costs: dict[str, NetworkCost] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def accelerator(self) -> SpatialAccelerator | None:
        """The hardware, if it has levels and an array."""
        return self.hardware if isinstance(self.hardware, SpatialAccelerator) else None

    @cached_property
    def shapes(self) -> dict[Any, tuple[Row, list[tuple[str, str]]]]:
        """By shape: one of its layers, and (network, name) of all of them; layers with a loop nest only."""
        found: dict[Any, tuple[Row, list[tuple[str, str]]]] = {}
        for network, rows in self.layers.items():
            for row in rows:
                if row.nest is not None:
                    found.setdefault(row.key, (row, []))[1].append((network, row.name))
        return found


@dataclass(frozen=True)
class Run:
    """What the report is about."""

    meta: dict[str, Any]
    points: tuple[Point, ...]
    best: Design | None
    baseline: Design | None
    winner: Point | None
    by_gain: bool
    problems: tuple[str, ...]
    #: What the winner's networks cost on the baseline's hardware, by goal, where networks were searched.
    exchanged: Mapping[str, float] | None = None

    @classmethod
    def of(cls, ledger: Ledger) -> Run:
        """Read a run; files that its networks need are beside the experiment's, or in its own folder."""
        points, problems = _points(ledger)
        winner, by_gain = _winner(points)
        best = baseline = exchanged = None
        if winner is not None and winner.best is not None:
            graphs, why = _networks(winner.sheet, ledger)
            problems += why
            best = _design("best", ledger, winner, winner.best, graphs)
            if winner.baseline is not None and winner.baseline.fine:
                baseline = _design("baseline", ledger, winner, winner.baseline, graphs)
                if winner.sheet is not None and winner.sheet.nas is not None:
                    exchanged = _exchanged(best, baseline, winner.sheet)
        return cls(
            ledger.meta, tuple(points), best, baseline, winner, by_gain, tuple(dict.fromkeys(problems)), exchanged
        )

    @property
    def several(self) -> bool:
        return len(self.points) > 1


def designs(ledger: Ledger, digest: str) -> list[Design]:
    """The candidates whose digest begins so, in the order of points."""
    found = []
    for point in _points(ledger)[0]:
        tried = (*point.tried, *([point.baseline] if point.baseline else []))
        listed = [candidate for candidate in tried if candidate.digest.startswith(digest)]
        for candidate in listed:
            # What could not be evaluated has no mappings.
            graphs = _networks(point.sheet, ledger)[0] if candidate.fine else []
            found.append(_design(candidate.digest, ledger, point, candidate, graphs))
    return found


def _points(ledger: Ledger) -> tuple[list[Point], list[str]]:
    """The points of a run, and what cannot be read of it."""
    meta = ledger.meta
    problems: list[str] = []
    try:
        data: Any = parse(meta["experiment"], "experiment").data
    except DocumentError as error:
        data = None
        problems.append(f"the experiment cannot be read: {error}")
    uncertainties: dict[int, list[float | None]] = {}
    columns, rows = ledger.rows("networks")
    for row in rows:
        entry = dict(zip(columns, row, strict=True))
        uncertainties.setdefault(entry["candidate"], []).append(entry["uncertainty"])
    columns, rows = ledger.rows("candidates")
    candidates: dict[int, dict[str, Candidate]] = {}
    for row in rows:
        entry = dict(zip(columns, row, strict=True))
        found = _candidate(entry, uncertainties.get(entry["id"], []))
        candidates.setdefault(entry["point"], {})[entry["digest"]] = found
    points = []
    for index, label in enumerate(meta["points"]):
        sheet = None
        if data is not None:
            try:
                sheet = _sheet(data, label)
            except DocumentError as error:
                problems += error.problems
        points.append(_point(index, label, sheet, candidates.get(index, {}), ledger.generations(index)))
    return points, problems


def _parts(entries: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(entries), size):
        yield entries[start : start + size]


def _candidate(entry: Mapping[str, Any], uncertainties: Sequence[float | None]) -> Candidate:
    values = {"edp": entry["edp_js"], "energy": entry["energy_pj"], "latency": entry["latency_s"]}
    values |= {"area": entry["area_mm2"], "accuracy": entry["accuracy"]}
    return Candidate(
        entry["point"],
        entry["digest"],
        json.loads(entry["choices"]),
        entry["status"],
        entry["reason"] or entry["code"] or "",
        {goal: value for goal, value in values.items() if value is not None} if entry["status"] == "ok" else {},
        entry["gap"],
        entry["seconds"] or 0.0,
        entry["judged"],
        _of_mean(uncertainties),
        tuple((*figures, code) for *figures, code in json.loads(entry["front"] or "[]")),
    )


def _sheet(data: Any, label: Mapping[str, Any]) -> ExperimentSheet:
    """The experiment at one point of its sweep."""
    data = {key: value for key, value in copy.deepcopy(data).items() if key != "sweep"}
    for path, value in label.items():
        *parents, last = (int(part) if part.isdigit() else part for part in re.findall(r"\w+", path))
        node = data
        for part in parents:
            node = node[part]
        node[last] = value
    return Document("experiment", data).validate(ExperimentSheet)


def _of_mean(uncertainties: Sequence[float | None]) -> float | None:
    """Standard deviation of the mean of independent accuracies, if all of theirs are known."""
    known = [each for each in uncertainties if each is not None]
    return (
        math.sqrt(sum(each**2 for each in known)) / len(known) if known and len(known) == len(uncertainties) else None
    )


def _point(
    index: int,
    label: dict[str, Any],
    sheet: ExperimentSheet | None,
    found: Mapping[str, Candidate],
    generations: Mapping[int, Mapping[str, Any]],
) -> Point:
    kept = tuple(tuple(found[digest] for digest in g["candidates"] if digest in found) for g in generations.values())
    known = {c.digest for c in itertools.chain.from_iterable(kept)} | {BASELINE}
    rejected: Counter[str] = Counter()
    for generation in generations.values():
        rejected.update(generation["rejected"])
    rest = tuple(c for digest, c in found.items() if digest not in known)
    return Point(index, label, sheet, kept, rest, dict(rejected), found.get(BASELINE))


def _winner(points: Sequence[Point]) -> tuple[Point | None, bool]:
    """The point with the best design, and whether points compare by what they gain over their baselines.

    They do where the networks vary from point to point: their costs say nothing about each other.
    """
    able = [point for point in points if point.best is not None]
    if not able:
        return None, False
    goals = {point.goals for point in points}
    goal = points[0].goals[0] if len(goals) == 1 and len(points[0].goals) == 1 else "edp"
    varied = len({json.dumps(_sought(p.sheet)) for p in able}) > 1
    by_gain = varied and all(
        point.baseline is not None and point.baseline.fine and goal in point.baseline.values for point in able
    )

    def rank(point: Point) -> float:
        assert point.best is not None
        score = point.best.scores([goal])[0]
        return score / point.baseline.values[goal] if by_gain and point.baseline else score

    return min(able, key=rank), by_gain


def _sought(sheet: ExperimentSheet | None) -> Any:
    """Which networks an experiment is about."""
    if sheet is None:
        return None
    return [entry.model_dump() for entry in sheet.networks], None if sheet.nas is None else sheet.nas.model_dump()


def _networks(sheet: ExperimentSheet | None, ledger: Ledger) -> tuple[list[Network], list[str]]:
    """The networks of an experiment; none at all, and why, if one of them is not at hand."""
    if sheet is None:
        return [], ["the networks are not known"]
    folders = Path(ledger.meta.get("source", "")).parent, ledger.folder
    graphs = []
    for entry in sheet.networks:
        here = next((folder for folder in folders if (folder / entry.network).exists()), folders[0])
        try:
            graphs.append(load_network(network_specification(entry, here, sheet.accuracy is not None)))
        except (NetworkError, ValueError, ImportError, OSError) as error:
            return [], [f"the network {entry.network} cannot be loaded, so layers have no names: {error}"]
    return graphs, []


# -------------------------------------------------------------------------------------- designs, from saved mappings


def _design(title: str, ledger: Ledger, point: Point, candidate: Candidate, graphs: Sequence[Network]) -> Design:
    record = ledger.candidate(point.index, candidate.digest)
    hardware = hardware_of(record["datasheet"], title)
    totals = sorted(record["networks"], key=lambda entry: (entry["specification"] or {}).get("position", 0))
    design = Design(title, candidate, record["datasheet"], hardware, totals)
    own = [entry["specification"] for entry in totals if entry["specification"] is not None]
    if own:
        try:
            graphs = [load_network(specification) for specification in own]
        except (NetworkError, DocumentError, ValueError, ImportError, OSError) as error:
            graphs = []
            design.problems.append(f"{title}: its network cannot be loaded: {error}")
    design.graphs = graphs
    fuse = bool(point.sheet and point.sheet.fuse)
    if not isinstance(hardware, SpatialAccelerator):
        for graph in graphs:
            (cost,) = evaluation.evaluate(graph, hardware, fuse=fuse).results
            design.costs[graph.name] = cost
            design.layers[graph.name] = [
                _row(hardware, layer, {}) for layer in cost.layers if isinstance(layer.cost, Cost)
            ]
        return design
    accelerator = hardware
    if graphs:
        try:
            design.costs = _network_costs(accelerator, graphs, record["layers"], fuse)
        except (InfeasibleError, MappingError, ValueError) as error:
            design.problems.append(f"{title}: the saved mappings cannot be evaluated: {error}")
    gaps = dict(zip(_operators(graphs), (layer["gap"] for layer in record["layers"]), strict=False))
    for name, cost in design.costs.items():
        design.layers[name] = [_row(accelerator, layer, gaps) for layer in cost.layers]
    for entry in record["networks"]:
        now, then = design.costs.get(entry["network"]), entry["energy_pj"]
        if now is not None and not math.isclose(now.energy_pj or 0.0, then, rel_tol=1e-9):
            text = f"{entry['network']} takes {si((now.energy_pj or 0) * 1e-12)}J today and took {si(then * 1e-12)}J"
            design.problems.append(f"{title}: {text} in the run: the program or its tables have changed")
    if not design.layers:
        design.layers["all networks"] = [
            Row(
                f"{layer['position'] + 1}",
                layer["operator"],
                layer["energy_breakdown_pj"],
                layer["latency_cycles"] / accelerator.clock_hz,
                layer["bottleneck"],
                key=layer["position"],
                nest=LoopNest.parse(layer["mapping"]),
                utilisation=layer["utilisation"],
                gap=layer["gap"],
            )
            for layer in record["layers"]
        ]
    return design


def _exchanged(best: Design, baseline: Design, sheet: ExperimentSheet) -> dict[str, float] | None:
    """Geometric means of what the networks of the best design cost on the baseline's hardware; None if unknown."""
    mapper = sheet.mapper
    found: dict[str, list[float]] = {"edp": [], "energy": [], "latency": []}
    for graph in best.graphs:
        (cost,) = evaluation.evaluate(
            graph,
            baseline.hardware,
            objective=mapping_objective(sheet.objective),
            mapper=None if mapper.name is None else MAPPERS[mapper.name],
            evaluations=mapper.evaluations,
            node_limit=mapper.node_limit,
            seed=sheet.seed,
            pad=mapper.pad,
            bypass=mapper.bypass,
            fuse=sheet.fuse,
        ).results
        for goal, value in (("edp", cost.edp_js), ("energy", cost.energy_pj), ("latency", cost.latency_s)):
            if value is None:
                return None
            found[goal].append(value)
    if not best.graphs:
        return None
    return {goal: math.exp(math.fsum(map(math.log, values)) / len(values)) for goal, values in found.items()}


def _operators(graphs: Sequence[Network]) -> list[Operator]:
    """The distinct operators that have a loop nest, in the ledger's order."""
    return list(dict.fromkeys(o for graph in graphs for o in graph.unique() if not o.passes))


def _network_costs(
    accelerator: SpatialAccelerator, graphs: Sequence[Network], saved: Sequence[Mapping[str, Any]], fuse: bool
) -> dict[str, NetworkCost]:
    """What the networks cost under the saved mappings, which are in the order of the networks' distinct operators."""
    operators = _operators(graphs)
    other = ValueError("the networks have other layers now than in the run")
    if len(operators) != len(saved):
        raise other
    mapped: dict[Operator, tuple[Cost | Infeasible, float | None]] = {}
    for operator, record in zip(operators, saved, strict=True):
        mapping, bounds = LoopNest.parse(record["mapping"]), dict(record["bounds"])
        cost = _cost(evaluate(accelerator, operator, [mapping], bounds)[0])
        # The text of an operator may change with the program; then its cost says whether it is the same.
        if str(operator) != record["operator"] and not math.isclose(cost.energy_pj, record["energy_pj"], rel_tol=1e-9):
            raise other
        mapped[operator] = cost, record["gap"]
    found = {}
    for graph in graphs:
        layers = tuple(layer_costs(accelerator, graph, graph.fusable() if fuse else {}, mapped))
        for layer in layers:
            _cost(layer.cost)
        found[graph.name] = NetworkCost(graph.name, accelerator.name, accelerator.area_mm2, accelerator.macs, layers)
    return found


def _cost(cost: Cost | Infeasible) -> Cost:
    if isinstance(cost, Infeasible):
        raise InfeasibleError(cost)
    return cost


def _row(hardware: Hardware | Device, layer: LayerCost, gaps: Mapping[Operator, float | None]) -> Row:
    cost = layer.cost
    assert isinstance(cost, Cost)
    nest, traffic_bytes = None, 0.0
    # Only what has levels has mappings.
    if isinstance(hardware, SpatialAccelerator) and cost.details:
        nest, traffic_bytes = cost.details.mapping, _traffic_bytes(hardware, layer.operator, cost)
    return Row(
        layer.name,
        str(layer.operator),
        cost.energy_breakdown_pj,
        cost.latency_s,
        "fused" if layer.fused else cost.bottleneck,
        layer.operator,
        nest,
        cost.macs,
        traffic_bytes,
        cost.utilisation,
        gaps.get(layer.operator),
        layer.fused,
    )


def _traffic_bytes(accelerator: SpatialAccelerator, operator: Operator, cost: Cost) -> float:
    """Bytes that the outermost level reads and writes; partial sums have the accumulator's width."""
    compute = accelerator.compute
    level = cost.details.levels[0]
    bits = 0
    for tensor in operator.tensors:
        counts = level.tensor(tensor.name)
        width = compute.bits(tensor.role) if tensor.bits is None else tensor.bits
        if tensor is operator.output:
            final = min(counts.updates, counts.partition_words)
            partial = max(width, compute.accumulator_bits)
            bits += (counts.reads + counts.fills + counts.updates - final) * partial + final * width
        else:
            bits += (counts.reads + counts.fills) * width
    return bits * level.instances / 8
