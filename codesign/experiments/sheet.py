"""An experiment's YAML: what is searched for which networks, and how; validated as a whole.

``Experiment.load`` gives either something that can run or a :class:`~accelerators.documents.DocumentError` with
everything that is wrong. A sweep turns one file into several *points*, each an experiment without sweep.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, WithJsonSchema

from accelerators import catalog
from accelerators.documents import Document, DocumentError, Path_, StrictModel, json_schema, parse, read, read_text
from accelerators.fields import AreaLimit, Capacity, Power, Rate
from accelerators.spatial import datasheet
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.suggestions import did_you_mean
from accelerators.units import split_unit
from codesign import networks
from codesign.experiments.candidates import OBJECTIVES
from codesign.networks import Network, NetworkError
from codesign.search import OPTIMISERS, Budget, HardwareSpace, naas
from codesign.search.space import searches
from mappers import DEFAULT_EVALUATIONS, DEFAULT_NODE_LIMIT, MAPPERS

_STEP = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)|\[(\d+)\]")
_ADDRESS = re.compile(r"((tcp|tls|ws|wss)://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):[0-9]{1,5}")
_MOST_POINTS = 10_000
#: Points of a sweep that may be refused before the others are not looked at.
_MOST_REFUSED_POINTS = 5
#: Quantities of a budget: key in the file, field of :class:`~codesign.search.space.Budget`.
_QUANTITIES = {
    "macs": "macs",
    "on_chip": "on_chip_bytes",
    "noc_bandwidth": "noc_bytes_per_cycle",
    "dram_bandwidth": "dram_bytes_per_s",
    "area": "area_mm2",
    "power": "power_mw",
}


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str | dict) else value


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be printable text in one line")
    return value


#: The name of something, or of its file.
Name = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_one_line)]


class NetworkSheet(StrictModel):
    """A network of the zoo or an ONNX file, and its options."""

    network: Annotated[Name, Field(description="name from `codesign list networks`, or an .onnx file")]
    options: Annotated[dict[str, Any], Field(max_length=100, description="such as batch: 4 or sequence: 384")] = Field(
        default_factory=dict
    )


def _network(value: object) -> object:
    return {"network": value} if isinstance(value, str) else value


class BudgetSheet(StrictModel):
    """What a design may use at most; given figures go before those of the accelerator that it is like."""

    like: Annotated[Name | None, Field(description="an accelerator of the catalog, or a .yaml file")] = None
    macs: Annotated[int | None, Field(ge=1)] = None
    on_chip: Annotated[Capacity | None, Field(description="bytes of all on-chip memories")] = None
    noc_bandwidth: Annotated[Rate | None, Field(description="from the buffers to the array")] = None
    dram_bandwidth: Annotated[Rate | None, Field(description="of the outermost level")] = None
    area: AreaLimit | None = None
    power: Annotated[Power | None, Field(description="of every network")] = None


class HardwareSheet(StrictModel):
    """What hardware is tried: given accelerators, the space of NAAS, or a datasheet with values to search."""

    accelerators: Annotated[
        list[Name] | None, Field(min_length=1, max_length=1000, description="fixed designs: names or files")
    ] = None
    space: Annotated[Literal["naas"] | None, Field(description="a ready-made space")] = None
    design: Annotated[
        dict[str, Any] | None, Field(description="a datasheet; values may be ranges and choices to search")
    ] = None
    budget: BudgetSheet = BudgetSheet()
    pin: Annotated[
        dict[str, Any], Field(max_length=1000, description="values of parameters that are not to be searched")
    ] = Field(default_factory=dict)
    encoding: Literal["importance", "index"] = "importance"

    @property
    def given(self) -> bool:
        """Whether designs are given, so that there is nothing to search."""
        return self.accelerators is not None or (self.design is not None and not searches(self.design))


class SearchSheet(StrictModel):
    """How the space is searched."""

    optimiser: Annotated[str, Field(description=", ".join(OPTIMISERS))] = "cma_es"
    population: Annotated[int, Field(ge=2, le=10_000, description="candidates per generation")] = 16
    generations: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    refine: Annotated[
        float | None,
        Field(ge=0, le=0.9, description="part of a generation that varies the best designs so far (0.5; random: 0)"),
    ] = None


class MapperSheet(StrictModel):
    """How every layer is mapped."""

    name: Annotated[str | None, Field(description=f"{', '.join(MAPPERS)}; the default one if absent")] = None
    evaluations: Annotated[int, Field(ge=1, le=10**8, description="mappings that a mapper without proof tries")] = (
        DEFAULT_EVALUATIONS
    )
    node_limit: Annotated[int, Field(ge=1, le=10**9, description="tiles that the optimal mapper looks at")] = (
        DEFAULT_NODE_LIMIT
    )
    pad: bool = False
    bypass: bool = False


def is_address(text: str) -> bool:
    """Whether a text is the address of a Dask scheduler: host and port."""
    return bool(_ADDRESS.fullmatch(text)) and int(text.rpartition(":")[2]) < 2**16


def _scheduler(value: str) -> str:
    if not (value.endswith(".json") or is_address(value)):
        raise ValueError("must be a scheduler's address such as tcp://10.0.0.1:8786, or its .json file")
    return value


class WorkersSheet(StrictModel):
    """Who evaluates candidates; has no influence on the result."""

    processes: Annotated[int, Field(ge=1, le=1024)] = 1
    dask: Annotated[
        Annotated[Name, AfterValidator(_scheduler)] | None,
        Field(description="address of a Dask scheduler, or its .json file"),
    ] = None


def _quantity(value: Any) -> Any:
    split_unit(value)
    return value


#: A number, or text with a unit.
Bound = Annotated[Any, AfterValidator(_quantity), WithJsonSchema({"type": ["number", "string"]})]


class RangeSheet(StrictModel):
    """Values between two bounds, either a number of them or in steps; with units if the value has one."""

    from_: Annotated[Bound, Field(alias="from")]
    to: Bound
    points: Annotated[int | None, Field(ge=1, le=_MOST_POINTS)] = None
    step: Bound | None = None
    scale: Literal["linear", "log"] = "linear"


def _entry(value: Any) -> str:
    # Errors of a union begin with the tag of the member that is meant; what is in brackets is left out of messages.
    return "[list]" if isinstance(value, list) else "[key]"


class SweepSheet(StrictModel):
    """Values of the file that vary from point to point."""

    over: Annotated[
        dict[
            str,
            Annotated[Annotated[list[Any], Tag("[list]")] | Annotated[RangeSheet, Tag("[key]")], Discriminator(_entry)],
        ],
        Field(min_length=1, max_length=100, description="by path in the file, such as hardware.budget.macs or seed"),
    ]
    method: Annotated[Literal["grid", "latin_hypercube"], Field(description="all combinations, or a sample")] = "grid"
    samples: Annotated[int | None, Field(ge=1, le=_MOST_POINTS, description="points of a sample")] = None


class ExperimentSheet(StrictModel):
    """An experiment."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=80)]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    networks: Annotated[
        list[Annotated[NetworkSheet, BeforeValidator(_network, json_schema_input_type=NetworkSheet | str)]],
        BeforeValidator(_one_or_more, json_schema_input_type=list[NetworkSheet | str] | NetworkSheet | str),
        Field(min_length=1, max_length=100),
    ]
    hardware: HardwareSheet
    objective: Annotated[
        list[str],
        BeforeValidator(_one_or_more, json_schema_input_type=list[str] | str),
        Field(min_length=1, max_length=len(OBJECTIVES), description=f"of {', '.join(OBJECTIVES)}"),
    ] = Field(default_factory=lambda: ["edp"])
    search: SearchSheet = SearchSheet()
    mapper: MapperSheet = MapperSheet()
    fuse: Annotated[bool, Field(description="elementwise layers run with their producer")] = False
    baseline: Annotated[
        Name | None, Field(description="an accelerator to compare with; that of the budget if absent")
    ] = None
    workers: WorkersSheet = WorkersSheet()
    sweep: SweepSheet | None = None

    @property
    def compared_with(self) -> str | None:
        """The baseline: the accelerator that is named, or that of the budget where designs are searched."""
        return self.baseline or (None if self.hardware.given else self.hardware.budget.like)


@dataclass(frozen=True)
class Point:
    """One experiment without sweep, ready to run.

    ``label`` says what the sweep set. Either ``space`` or ``fixed`` (datasheets as plain data by name) is what is
    tried. ``settings`` go to :func:`~codesign.experiments.candidates.evaluate_candidate`.
    """

    label: dict[str, Any]
    sheet: ExperimentSheet
    space: HardwareSpace | None
    fixed: dict[str, dict[str, Any]]
    budget: Budget
    baseline: str | None
    networks: tuple[dict[str, Any], ...]

    @property
    def settings(self) -> dict[str, Any]:
        """What all candidates are evaluated with."""
        mapper = self.sheet.mapper
        return {
            "mapper": mapper.name,
            "objective": self.mapping_objective,
            "evaluations": mapper.evaluations,
            "node_limit": mapper.node_limit,
            "pad": mapper.pad,
            "bypass": mapper.bypass,
            "seed": self.sheet.seed,
            "fuse": self.sheet.fuse,
            "budget": asdict(self.budget),
        }

    @property
    def mapping_objective(self) -> str:
        """What mappings minimise: the only objective of a search, and EDP where there are several."""
        goals = [goal for goal in self.sheet.objective if goal != "area"]
        return goals[0] if len(goals) == 1 else "edp"


@dataclass(frozen=True)
class Experiment:
    """A validated experiment: its points, and what identifies it.

    ``digest`` changes with anything that may change a result; workers are left out, and files count by their content,
    of which ``files`` holds digests by path.
    """

    name: str
    text: str
    source: Path
    points: tuple[Point, ...]
    workers: WorkersSheet
    digest: str
    files: dict[str, str]

    @classmethod
    def load(cls, path: Path | str, source: Path | None = None) -> Experiment:
        """Read and check a file, perhaps a copy of one that was at ``source``.

        Raises :class:`~accelerators.documents.DocumentError`.
        """
        # Read once: a pipe is empty the second time.
        text = read_text(path)
        return _load(parse(text, str(path)), text, source or Path(path).absolute())

    @classmethod
    def parse(cls, text: str, source: Path) -> Experiment:
        """Check the text of a file that was at ``source``: names of other files are relative to it."""
        return _load(parse(text, str(source)), text, source)


def _load(document: Document, text: str, source: Path) -> Experiment:
    folder = source.parent
    sheet = document.validate(ExperimentSheet)
    points: list[Point] = []
    problems: list[str] = []
    files: dict[str, str] = {}
    datasheets: dict[str, dict[str, Any]] = {}
    refused = 0
    for label, data in _variants(document, sheet.sweep):
        try:
            points.append(_Resolver(replace(document, data=data), folder, files, datasheets).point(label))
        except DocumentError as error:
            where = " ".join(f"{path}={value}" for path, value in label.items())
            problems += [f"{problem} (at {where})" if label else problem for problem in error.problems]
            refused += 1
            if refused == _MOST_REFUSED_POINTS:
                break
    if problems:
        raise DocumentError(list(dict.fromkeys(problems)))
    relevant = {key: value for key, value in document.data.items() if key != "workers"}
    found = hashlib.sha256(json.dumps([relevant, sorted(files.items())], sort_keys=True).encode())
    workers = sheet.workers
    if workers.dask is not None and workers.dask.endswith(".json"):
        workers = workers.model_copy(update={"dask": str(folder / workers.dask)})
    return Experiment(sheet.name, text, source, tuple(points), workers, found.hexdigest(), dict(files))


class _Resolver:
    """Checks what a valid sheet names; collects problems."""

    def __init__(self, document: Document, folder: Path, files: dict[str, str], datasheets: dict[str, dict[str, Any]]):
        self.document = document
        self.folder = folder
        # What was read for other points: by path a digest, and by name the data.
        self.files = files
        self.datasheets = datasheets
        self.problems: list[str] = []

    def problem(self, path: Path_, rule: str) -> None:
        self.problems.append(self.document.problem(path, rule))

    def stop_on_problems(self) -> None:
        if self.problems:
            raise DocumentError(self.problems)

    def point(self, label: dict[str, Any]) -> Point:
        sheet = self.document.validate(ExperimentSheet)
        specifications = tuple(self.network(i, entry) for i, entry in enumerate(sheet.networks))
        for i, goal in enumerate(sheet.objective):
            if goal not in OBJECTIVES or goal in sheet.objective[:i]:
                rule = f"must be different ones of {', '.join(OBJECTIVES)}{did_you_mean(goal, OBJECTIVES)}"
                self.problem(("objective", i), f"{rule} (got {goal!r})")
        if sheet.mapper.name is not None and sheet.mapper.name not in MAPPERS:
            rule = f"must be one of {', '.join(MAPPERS)}{did_you_mean(sheet.mapper.name, MAPPERS)}"
            self.problem(("mapper", "name"), f"{rule} (got {sheet.mapper.name!r})")
        optimiser = OPTIMISERS.get(sheet.search.optimiser)
        if optimiser is None:
            rule = f"must be one of {', '.join(OPTIMISERS)}{did_you_mean(sheet.search.optimiser, OPTIMISERS)}"
            self.problem(("search", "optimiser"), f"{rule} (got {sheet.search.optimiser!r})")
        elif len(sheet.objective) > 1 and not optimiser.several_objectives and not sheet.hardware.given:
            several = ", ".join(name for name, each in OPTIMISERS.items() if each.several_objectives)
            self.problem(("search", "optimiser"), f"{optimiser.name} takes one objective; for several: {several}")
        hardware = sheet.hardware
        given = [key for key in ("accelerators", "space", "design") if getattr(hardware, key) is not None]
        if len(given) != 1:
            rule = f"give one of accelerators, space and design (got {' and '.join(given) or 'none'})"
            self.problem(("hardware",), rule)
        like = self.accelerator(("hardware", "budget", "like"), hardware.budget.like)
        baseline = sheet.compared_with
        if sheet.baseline:
            self.accelerator(("baseline",), sheet.baseline)
        names = [load_network(entry).name for entry in specifications] if not self.problems else []
        for i, name in enumerate(names):
            if name in names[:i]:
                self.problem(("networks", i), f"networks must differ in name (got {name} twice)")
        self.stop_on_problems()
        budget = self.budget(hardware.budget, like)
        self.stop_on_problems()
        space = None
        fixed: dict[str, dict[str, Any]] = {}
        if hardware.given:
            if hardware.pin:
                self.problem(("hardware", "pin"), "nothing is searched where designs are given")
            if hardware.design is not None:
                self.given_design(sheet.name, hardware.design, fixed)
            for i, name in enumerate(hardware.accelerators or ()):
                found = self.datasheet(("hardware", "accelerators", i), name)
                if found and found["name"] in fixed:
                    self.problem(("hardware", "accelerators", i), f"must differ in name (got {found['name']} twice)")
                elif found:
                    fixed[found["name"]] = found
        else:
            space = self.space(sheet, budget, like)
        self.stop_on_problems()
        return Point(label, sheet, space, fixed, budget, baseline and self.path_of(baseline), specifications)

    def path_of(self, name: str) -> str:
        """A catalog name, or the path of a file relative to the experiment's."""
        return name if name in catalog.names() else str(self.folder / name)

    def network(self, i: int, sheet: NetworkSheet) -> dict[str, Any]:
        path: Path_ = ("networks", i)
        specification = network_specification(sheet, self.folder)
        if sheet.network.lower().endswith(".onnx"):
            self.note(specification["network"])
        try:
            load_network(specification)
        except (NetworkError, ValueError) as error:
            self.problem(path, str(error))
        return specification

    def note(self, path: str) -> None:
        """Remember what a file held, so that a change is noticed."""
        try:
            self.files[path] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        except OSError:
            self.files[path] = "missing"

    def accelerator(self, path: Path_, name: str | None) -> SpatialAccelerator | None:
        if name is None:
            return None
        known = catalog.names()
        if name not in known and not name.endswith((".yaml", ".yml")):
            spatial = catalog.names("spatial")
            listed = f"(known: {', '.join(spatial)}, or a .yaml file)"
            self.problem(path, f"unknown accelerator {name!r}{did_you_mean(name, spatial)} {listed}")
            return None
        if name not in known:
            self.note(self.path_of(name))
        try:
            return catalog.load_spatial(self.path_of(name))
        except DocumentError as error:
            for problem in error.problems:
                self.problem(path, problem)
            return None

    def datasheet(self, path: Path_, name: str) -> dict[str, Any] | None:
        """A datasheet as plain data, checked."""
        if self.accelerator(path, name) is None:
            return None
        if name not in self.datasheets:
            if name in catalog.names():
                self.datasheets[name] = catalog.document(name).data
            else:
                self.datasheets[name] = read(self.path_of(name)).data
        return copy.deepcopy(self.datasheets[name])

    def given_design(self, name: str, design: dict[str, Any], fixed: dict[str, dict[str, Any]]) -> None:
        """A design without anything to search: a point of a sweep, usually."""
        data = {"name": name, **copy.deepcopy(design)}
        at: Path_ = ("hardware", "design")
        places = {path[len(at) :]: place for path, place in self.document.places.items() if path[: len(at)] == at}
        try:
            fixed[datasheet.load(Document(self.document.name, data, places)).name] = data
        except DocumentError as error:
            self.problems += error.problems

    def budget(self, sheet: BudgetSheet, like: SpatialAccelerator | None) -> Budget:
        found = Budget.like(like) if like else Budget()
        changes: dict[str, Any] = {}
        for key, field in _QUANTITIES.items():
            value = getattr(sheet, key)
            if value is None:
                continue
            if isinstance(value, tuple):
                number, per_second = value
                if per_second != (key == "dram_bandwidth"):
                    unit = "bytes per second" if key == "dram_bandwidth" else "bytes per cycle"
                    self.problem(("hardware", "budget", key), f"must be in {unit}")
                value = number
            if not value > 0:
                self.problem(("hardware", "budget", key), f"must be > 0 (got {value!r})")
            changes[field] = value
        return replace(found, **changes)

    def space(self, sheet: ExperimentSheet, budget: Budget, like: SpatialAccelerator | None) -> HardwareSpace | None:
        hardware = sheet.hardware
        document = self.document
        at: Path_ = ("hardware", "design")
        if hardware.space == "naas":
            if like is None or hardware.budget.like is None:
                self.problem(("hardware", "budget"), "the naas space needs the accelerator that it is like (like: ..)")
                return None
            known = self.datasheet(("hardware", "budget", "like"), hardware.budget.like)
            assert known is not None
            try:
                design = naas.naas_design(known, like, budget)
            except ValueError as error:
                self.problem(("hardware", "budget"), str(error))
                return None
            document, at = Document(document.name, design, {(): document.places["hardware",]}), ()
        try:
            return HardwareSpace(
                document, at, budget=budget, encoding=hardware.encoding, pins=hardware.pin, name=sheet.name
            )
        except DocumentError as error:
            self.problems += error.problems
            return None


def point_sheets(text: str, source: Path) -> list[ExperimentSheet]:
    """What an experiment's text says at every point; the files that it names are not looked at."""
    document = parse(text, str(source))
    variants = _variants(document, document.validate(ExperimentSheet).sweep)
    return [replace(document, data=data).validate(ExperimentSheet) for _, data in variants]


def network_specification(sheet: NetworkSheet, folder: Path) -> dict[str, Any]:
    """Plain data for a network; files are relative to a folder."""
    name = str(folder / sheet.network) if sheet.network.lower().endswith(".onnx") else sheet.network
    return {"network": name, "options": dict(sheet.options)}


def load_network(specification: Mapping[str, Any]) -> Network:
    """The network of a specification, which is plain data."""
    return networks.load(specification["network"], **specification["options"])


# ---------------------------------------------------------------------------------------------------------- sweeps


def _variants(document: Document, sweep: SweepSheet | None) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(what is set, the file's data with it) of every point."""
    data = {key: value for key, value in document.data.items() if key != "sweep"}
    if sweep is None:
        yield {}, data
        return
    problems = []
    places: dict[str, Path_] = {}
    values: dict[str, list[Any]] = {}
    for name, entry in sweep.over.items():
        at: Path_ = ("sweep", "over", name)
        try:
            places[name] = _place(name, data)
            for other, place in places.items():
                if other != name and place[: len(places[name])] == places[name][: len(place)]:
                    raise ValueError(f"cannot vary beside {other}: one is a part of the other")
            values[name] = entry if isinstance(entry, list) else _range_values(entry, sweep)
            if not values[name]:
                raise ValueError("must have at least one value")
            texts = [json.dumps(value, sort_keys=True) for value in values[name]]
            for i, text in enumerate(texts):
                if text in texts[:i]:
                    raise ValueError(f"values must differ (got {text} twice)")
        except ValueError as error:
            problems.append(document.problem(at, str(error)))
    if (sweep.samples is None) != (sweep.method == "grid"):
        problems.append(document.problem(("sweep", "samples"), "is required for latin_hypercube, and only there"))
    if not problems and sweep.method == "grid":
        count = math.prod(map(len, values.values()))
        if count > _MOST_POINTS:
            problems.append(
                document.problem(("sweep", "over"), f"must have at most {_MOST_POINTS} points (got {count})")
            )
    if problems:
        raise DocumentError(problems)
    if sweep.method == "grid":
        combinations: Sequence[Sequence[Any]] = list(itertools.product(*values.values()))
    else:
        assert sweep.samples is not None
        combinations = _latin_hypercube(list(values.values()), sweep.samples, int(data.get("seed") or 0))
    for combination in combinations:
        changed = copy.deepcopy(data)
        for name, value in zip(values, combination, strict=True):
            _set(changed, places[name], value)
        yield dict(zip(values, combination, strict=True)), changed


def _place(name: str, data: Any) -> Path_:
    """The place that a path names; all but its last part must be there."""
    parts: list[str | int] = []
    rest = name
    while rest:
        match = _STEP.match(rest)
        if not match:
            raise ValueError(f"must be a path such as hardware.budget.macs or networks[0].network (got {name!r})")
        parts.append(match[1] if match[1] else int(match[2]))
        rest = rest[match.end() :].removeprefix(".")
    if not parts:
        raise ValueError("must be a path such as hardware.budget.macs or networks[0].network (got '')")
    if parts[0] in ("workers", "sweep", "name"):
        raise ValueError(f"{parts[0]} cannot vary")
    node = data
    for part in parts[:-1]:
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            raise ValueError(f"no {part!r} in the file (got {name!r})") from None
    if not (isinstance(node, dict) and isinstance(parts[-1], str)) and not (
        isinstance(node, list) and isinstance(parts[-1], int) and parts[-1] < len(node)
    ):
        raise ValueError(f"no {parts[-1]!r} in the file (got {name!r})")
    return tuple(parts)


def _set(data: Any, place: Path_, value: Any) -> None:
    *parents, last = place
    for part in parents:
        data = data[part]
    data[last] = copy.deepcopy(value)


def _range_values(sheet: RangeSheet, sweep: SweepSheet) -> list[Any]:
    (low, unit), (high, other) = split_unit(sheet.from_), split_unit(sheet.to)
    if other != unit:
        raise ValueError(f"from and to must have the same unit (got {sheet.from_!r} and {sheet.to!r})")
    if sheet.scale == "log" and not low > 0 < high:
        raise ValueError("from and to must be > 0 on a logarithmic scale")
    if (sheet.points is None) == (sheet.step is None):
        if sweep.method != "latin_hypercube" or sheet.points is not None:
            raise ValueError("give either points or step")
        points = sweep.samples or 1
    elif sheet.points is not None:
        points = sheet.points
    else:
        step, its_unit = split_unit(sheet.step)
        if its_unit != unit or not step > 0 or high < low or sheet.scale == "log":
            raise ValueError(
                f"step must be > 0 with the unit of from, on a linear scale, and to >= from (got {sheet.step!r})"
            )
        if (high - low) / step >= _MOST_POINTS:
            raise ValueError(f"must have at most {_MOST_POINTS} points")
        points = math.floor((high - low) / step * (1 + 1e-12)) + 1
        high = low + (points - 1) * step
    spaced = np.geomspace if sheet.scale == "log" else np.linspace
    whole = all(isinstance(value, int) for value in (sheet.from_, sheet.to)) or not isinstance(sheet.from_, float)
    numbers = [float(f"{number:.12g}") for number in spaced(low, high, points)]
    found: list[Any] = [int(number) if number == int(number) and whole else number for number in numbers]
    return list(dict.fromkeys(f"{number!r} {unit}" if unit else number for number in found))


def _latin_hypercube(values: list[list[Any]], samples: int, seed: int) -> list[list[Any]]:
    """Every list is cut into as many parts as there are samples, and each part is taken once (McKay et al., 1979)."""
    random = np.random.default_rng(np.random.SeedSequence([seed, 0x5EED]))
    columns = []
    for options in values:
        at = (random.permutation(samples) + random.random(samples)) / samples
        columns.append([options[min(len(options) - 1, int(x * len(options)))] for x in at])
    return [list(row) for row in zip(*columns, strict=True)]


def schema() -> dict[str, Any]:
    """JSON schema of an experiment, for editors."""
    return json_schema(ExperimentSheet)
