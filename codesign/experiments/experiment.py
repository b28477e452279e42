"""Experiments: what a YAML file asks for, validated as a whole.

``Experiment.load`` gives either something that can run or a :class:`~accelerators.documents.DocumentError` with
everything that is wrong. A sweep turns one file into several *points*, each an experiment without sweep.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from accelerators import catalog
from accelerators.catalog import Hardware
from accelerators.crossbar.crossbar import Crossbar
from accelerators.documents import Document, DocumentError, Path_, parse, read, read_text
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.suggestions import did_you_mean
from codesign import devices
from codesign.devices import Device
from codesign.experiments.candidates import OBJECTIVES
from codesign.experiments.joint import JointSpace
from codesign.experiments.network_search import NetworkSearch, has_two_objectives, limit_of, nas_specification
from codesign.experiments.sheet import (
    BudgetSheet,
    ExperimentSheet,
    NasSheet,
    NetworkSheet,
    StrategySheet,
    WorkersSheet,
)
from codesign.experiments.specifications import files_of, load_network, member, network_specification, space_of
from codesign.experiments.sweeps import variants
from codesign.nas import spaces
from codesign.nas.strategies import STRATEGIES, require_options
from codesign.networks import NetworkError
from codesign.search import OPTIMISERS, Budget, HardwareSpace, crossbar, naas
from mappers import MAPPERS, Objective

#: Points of a sweep that may be refused before the others are not looked at.
_MOST_REFUSED_POINTS = 5
#: Quantities of a budget: key in the file, field of :class:`~codesign.search.budget.Budget`.
_QUANTITIES = {
    "macs": "macs",
    "on_chip": "on_chip_bytes",
    "noc_bandwidth": "noc_bytes_per_cycle",
    "dram_bandwidth": "dram_bytes_per_s",
    "area": "area_mm2",
    "power": "power_mw",
}


@dataclass(frozen=True)
class Baseline:
    """What designs are compared with: hardware by name, and the network that it runs if that is not searched.

    ``network`` is the specification of that network, ``accuracy`` its accuracy in per cent, if known.
    """

    hardware: str
    network: dict[str, Any] | None = None
    accuracy: float | None = None


@dataclass(frozen=True)
class Point:
    """One experiment without sweep, ready to run.

    ``label`` says what the sweep set. Either ``space`` or ``fixed`` (datasheets as plain data by name) is what is
    tried, for ``networks`` or, where these are searched, as ``nas`` says (see :mod:`.network_search`).
    ``settings`` go to :func:`~codesign.experiments.candidates.evaluate_candidate`.
    """

    label: dict[str, Any]
    sheet: ExperimentSheet
    space: HardwareSpace | JointSpace | None
    fixed: dict[str, dict[str, Any]]
    budget: Budget
    baseline: Baseline | None
    networks: tuple[dict[str, Any], ...]
    nas: dict[str, Any] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What all candidates are evaluated with."""
        mapper = self.sheet.mapper
        return {
            "mapper": mapper.name,
            "objective": mapping_objective(self.sheet.objective),
            "evaluations": mapper.evaluations,
            "node_limit": mapper.node_limit,
            "pad": mapper.pad,
            "bypass": mapper.bypass,
            "seed": self.sheet.seed,
            "fuse": self.sheet.fuse,
            "budget": asdict(self.budget),
        }


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
    def load(cls, path: Path | str, source: Path | None = None, *, fronts: bool = False) -> Experiment:
        """Read and check a file, perhaps a copy of one that was at ``source``.

        ``fronts`` is for who searches networks for given hardware one by one, and does not compare designs: the whole
        front may be wanted then, or the best network within a limit of the cost.

        Raises :class:`~accelerators.documents.DocumentError`.
        """
        # Read once: a pipe is empty the second time.
        text = read_text(path)
        return _load(parse(text, str(path)), text, source or Path(path).absolute(), fronts)

    @classmethod
    def parse(cls, text: str, source: Path) -> Experiment:
        """Check the text of a file that was at ``source``: names of other files are relative to it."""
        return _load(parse(text, str(source)), text, source)


def _load(document: Document, text: str, source: Path, fronts: bool = False) -> Experiment:
    folder = source.parent
    sheet = document.validate(ExperimentSheet)
    points: list[Point] = []
    problems: list[str] = []
    files: dict[str, str] = {}
    datasheets: dict[str, dict[str, Any]] = {}
    refused = 0
    for label, data in variants(document, sheet.sweep):
        try:
            resolver = _Resolver(replace(document, data=data), folder, files, datasheets, fronts)
            points.append(resolver.point(label))
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

    def __init__(
        self,
        document: Document,
        folder: Path,
        files: dict[str, str],
        datasheets: dict[str, dict[str, Any]],
        fronts: bool,
    ):
        self.document = document
        self.folder = folder
        self.fronts = fronts
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
        trained = sheet.accuracy is not None
        specifications = tuple(self.network(i, entry, trained) for i, entry in enumerate(sheet.networks))
        self.objectives(sheet)
        self.one_of(("networks", "nas"), sheet, ())
        if sheet.mapper.name is not None and sheet.mapper.name not in MAPPERS:
            self.unknown(("mapper", "name"), sheet.mapper.name, MAPPERS)
        hardware = sheet.hardware
        self.one_of(("accelerators", "space", "design"), hardware, ("hardware",))
        like = self.hardware(("hardware", "budget", "like"), hardware.budget.like)
        if sheet.baseline:
            self.hardware(("baseline",), sheet.baseline)
        names = [load_network(entry).name for entry in specifications] if not self.problems else []
        for i, name in enumerate(names):
            if name in names[:i]:
                self.problem(("networks", i), f"networks must differ in name (got {name} twice)")
        self.stop_on_problems()
        budget = self.budget(hardware.budget, like)
        nas = None if sheet.nas is None else self.nas(sheet, sheet.nas)
        self.stop_on_problems()
        space: HardwareSpace | JointSpace | None = None
        fixed: dict[str, dict[str, Any]] = {}
        if hardware.given:
            self.given(sheet, fixed)
        else:
            space = self.space(sheet, budget, like)
        self.stop_on_problems()
        if nas is not None and nas["mode"] == "joint" and isinstance(space, HardwareSpace):
            space = JointSpace(space, NetworkSearch.of(nas))
        return Point(label, sheet, space, fixed, budget, self.baseline(sheet, nas), specifications, nas)

    def unknown(self, path: Path_, name: str, known: Iterable[str]) -> None:
        self.problem(path, f"must be one of {', '.join(known)}{did_you_mean(name, known)} (got {name!r})")

    def one_of(self, keys: tuple[str, ...], sheet: object, path: Path_) -> None:
        given = [key for key in keys if getattr(sheet, key) not in (None, [])]
        if len(given) != 1:
            listed = f"{', '.join(keys[:-1])} and {keys[-1]}"
            self.problem(path, f"give one of {listed} (got {' and '.join(given) or 'none'})")

    def objectives(self, sheet: ExperimentSheet) -> None:
        """Check what is sought, and that the optimiser can."""
        for i, goal in enumerate(sheet.objective):
            if goal not in OBJECTIVES or goal in sheet.objective[:i]:
                rule = f"must be different ones of {', '.join(OBJECTIVES)}{did_you_mean(goal, OBJECTIVES)}"
                self.problem(("objective", i), f"{rule} (got {goal!r})")
        if "accuracy" in sheet.objective:
            place: Path_ = ("objective", sheet.objective.index("accuracy"))
            if sheet.nas is None and sheet.accuracy is None:
                self.problem(place, "accuracy needs networks that are searched (nas), or trained ones (accuracy)")
            elif sheet.nas is not None and sheet.nas.mode == "nested":
                rule = "accuracy is an objective of the joint mode; a nested search takes levels of it: nas.at_least"
                self.problem(place, f"{rule} may be a list (codesign nas needs none for the whole front)")
            elif sheet.objective == ["accuracy"] and sheet.nas is not None:
                self.problem(place, "accuracy alone needs no hardware: give a cost as well")
        if sheet.accuracy is not None and sheet.nas is not None:
            self.problem(("accuracy",), "is for given networks that are trained; nas has an accuracy of its own")
        optimiser = OPTIMISERS.get(sheet.search.optimiser)
        if optimiser is None:
            self.unknown(("search", "optimiser"), sheet.search.optimiser, OPTIMISERS)
        elif len(sheet.objective) > 1 and not optimiser.several_objectives and not sheet.hardware.given:
            several = ", ".join(name for name, each in OPTIMISERS.items() if each.several_objectives)
            self.problem(("search", "optimiser"), f"{optimiser.name} takes one objective; for several: {several}")

    def nas(self, sheet: ExperimentSheet, nas: NasSheet) -> dict[str, Any] | None:
        """The network search as plain data, tried out as far as it needs no hardware."""
        if nas.strategy is not None:
            self.strategy(nas, nas.strategy)
        if nas.mode == "joint" and sheet.hardware.given:
            self.problem(("nas", "mode"), "joint searches hardware and networks together; here designs are given")
        if nas.mode == "joint" and len(nas.at_least) > 1:
            self.problem(("nas", "at_least"), f"a joint search takes one level (got {len(nas.at_least)})")
        goal = mapping_objective(sheet.objective)
        self.wanted(sheet, nas, goal)
        self.stop_on_problems()
        found = nas_specification(nas, self.folder, sheet.seed, goal)
        self.note_all(found)
        place: Path_ = ("nas", "space")
        try:
            if space_of(found["space"], found["options"]).size == 1:
                raise ValueError("a space of one network leaves nothing to search: give it in networks")
            place = ("nas", "accuracy")
            search = NetworkSearch.of(found)
            place = ("nas", "at_least")
            if search.estimator.kind != "proxied" and any(0 < level < 1 for level in search.levels):
                raise ValueError(
                    f"accuracies are in per cent (got {min(level for level in search.levels if level > 0)})"
                )
            if nas.reward is not None and nas.reward.kind == "mnasnet" and search.estimator.kind == "proxied":
                place = ("nas", "reward")
                raise ValueError(f"mnasnet takes an accuracy in per cent ({search.estimator.name} is a score)")
            start = search.start
            place = ("nas", "strategy")
            search.strategy(start)
        except DocumentError as error:
            self.problems += error.problems
        except (NetworkError, ValueError, ImportError, OSError, TypeError) as error:
            self.problem(place, str(error))
        return found

    def strategy(self, nas: NasSheet, strategy: StrategySheet) -> None:
        """Check that a strategy exists, has the options, and takes as many objectives."""
        place: Path_ = ("nas", "strategy")
        if strategy.name not in STRATEGIES:
            self.unknown(place, strategy.name, STRATEGIES)
            return
        if has_two_objectives(nas) and not STRATEGIES[strategy.name].several_objectives:
            several = ", ".join(name for name, each in STRATEGIES.items() if each.several_objectives)
            what = "several levels of accuracy" if nas.at_least else "several limits" if nas.at_most else "a front"
            self.problem(place, f"{strategy.name} takes one objective; for {what}: {several}")
        if has_two_objectives(nas) and "acquisition" in strategy.options:
            rule = "acquisition is for one objective (one level, limit or reward); two have the expected gain"
            self.problem((*place, "options", "acquisition"), rule)
        try:
            require_options(strategy.name, strategy.options)
        except NetworkError as error:
            self.problem((*place, "options"), str(error))

    def wanted(self, sheet: ExperimentSheet, nas: NasSheet, goal: Objective) -> None:
        """Check which network is wanted of those that run on a design."""
        keys = [key for key in ("at_least", "at_most", "reward") if getattr(nas, key)]
        if len(keys) > 1:
            self.problem(("nas", keys[1]), f"give one of at_least, at_most and reward (got {' and '.join(keys)})")
        for key in keys:
            if key == "at_least":
                continue
            place: Path_ = ("nas", key)
            if nas.mode == "joint" or not sheet.hardware.given:
                self.problem(place, "is for given hardware; where hardware is searched give levels: nas.at_least")
            elif not self.fronts:
                rule = "is for codesign nas; designs are compared by their cost, at levels of accuracy: nas.at_least"
                self.problem(place, rule)
        costs: dict[Path_, Any] = {("nas", "at_most", i): limit for i, limit in enumerate(nas.at_most)}
        if nas.reward is not None:
            costs |= {("nas", "reward", key): getattr(nas.reward, key) for key in ("target", "per")}
        for place, value in costs.items():
            try:
                if value is not None:
                    limit_of(value, goal)
            except ValueError as error:
                text = str(error)
                self.problem(place, text if "(got" in text else f"{text} (got {value!r})")
        if keys or (nas.mode == "joint" and "accuracy" in sheet.objective) or (nas.mode == "nested" and self.fronts):
            return
        rule = "is required: without a level of accuracy the cheapest network wins, however inaccurate"
        front = "objective: [edp, accuracy]" if nas.mode == "joint" else "codesign nas (given hardware) or mode: joint"
        self.problem(("nas", "at_least"), f"{rule}; for the whole front of accuracy and cost use {front}")

    def baseline(self, sheet: ExperimentSheet, nas: dict[str, Any] | None) -> Baseline | None:
        """What is compared with, if anything."""
        name = sheet.compared_with
        given = None if sheet.nas is None else sheet.nas.baseline
        if name is None or given is None or nas is None:
            return None if name is None else Baseline(self.path_of(name))
        path: Path_ = ("nas", "baseline", "network")
        sized = NetworkSheet(network=given.network, options={"batch": nas["batch"]})
        specification: dict[str, Any] = network_specification(sized, self.folder)
        self.note_all(specification)
        accuracy = given.accuracy
        try:
            # Encodings are JSON, or cells, perhaps with their space before them.
            if given.network.lstrip()[:1] in ("{", "|") or spaces.split(given.network):
                search = NetworkSearch.of(nas)
                code = search.space.parse(spaces.encoding_of(given.network))
                specification = member(nas, code, "baseline")
                accuracy = search.estimator.estimate(code).accuracy if accuracy is None else accuracy
            load_network(specification)
        except (NetworkError, ValueError) as error:
            self.problem(path, str(error))
            self.stop_on_problems()
        return Baseline(self.path_of(name), specification, accuracy)

    def given(self, sheet: ExperimentSheet, fixed: dict[str, dict[str, Any]]) -> None:
        """Designs that are not searched, by name."""
        hardware = sheet.hardware
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
        if "area" in sheet.objective:
            for name, data in fixed.items():
                if "device" in data or data.get("kind") == "processor":
                    place: Path_ = ("objective", sheet.objective.index("area"))
                    self.problem(place, f"the area of {name} is not known")

    def path_of(self, name: str) -> str:
        """A catalog name, or the path of a file relative to the experiment's."""
        return name if name.partition(":")[0] in catalog.names() else str(self.folder / name)

    def network(self, i: int, sheet: NetworkSheet, trained: bool) -> dict[str, Any]:
        path: Path_ = ("networks", i)
        specification = network_specification(sheet, self.folder, trained)
        self.note_all(specification)
        if trained and sheet.options:
            self.problem((*path, "options"), f"trained networks have none (got {', '.join(sheet.options)})")
        try:
            load_network(specification)
        except (NetworkError, ValueError, ImportError) as error:
            self.problem(path, str(error))
        return specification

    def note_all(self, specification: dict[str, Any]) -> None:
        """Remember what the files held that a specification names."""
        for file in files_of(specification):
            self.note(str(file))

    def note(self, path: str) -> None:
        """Remember what a file held, so that a change is noticed."""
        try:
            self.files[path] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        except OSError:
            self.files[path] = "missing"

    def hardware(self, path: Path_, name: str | None) -> Hardware | Device | None:
        """A piece of hardware of any kind, by name or file."""
        if name is None:
            return None
        known = catalog.names()
        # A processor may be followed by a number type: titan_rtx:fp16.
        named = name.partition(":")[0]
        if named not in known and not named.endswith((".yaml", ".yml", ".json", ".npz")):
            listed = "(those of `codesign list accelerators`, or a file)"
            self.problem(path, f"unknown accelerator {name!r}{did_you_mean(name, known)} {listed}")
            return None
        if named not in known:
            self.note(self.path_of(named))
        try:
            return devices.load(self.path_of(name))
        except DocumentError as error:
            for problem in error.problems:
                self.problem(path, problem)
            return None

    def datasheet(self, path: Path_, name: str) -> dict[str, Any] | None:
        """Hardware as plain data, checked: its datasheet, or of a measured device the file."""
        found = self.hardware(path, name)
        if found is None:
            return None
        if isinstance(found, Device) or ":" in name:
            return {"name": found.name, "device": self.path_of(name)}
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
            fixed[catalog.from_document(Document(self.document.name, data, places)).name] = data
        except DocumentError as error:
            self.problems += error.problems

    def budget(self, sheet: BudgetSheet, like: Hardware | Device | None) -> Budget:
        found = Budget()
        if isinstance(like, SpatialAccelerator | Crossbar):
            found = Budget.like(like)
        elif like is not None:
            self.problem(("hardware", "budget", "like"), f"must be an accelerator or a crossbar (got {like.name})")
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
        if isinstance(like, Crossbar):
            for key in ("macs", "noc_bandwidth"):
                if getattr(sheet, key) is not None:
                    self.problem(("hardware", "budget", key), "a crossbar has no such limit")
        return replace(found, **changes)

    def space(self, sheet: ExperimentSheet, budget: Budget, like: Hardware | Device | None) -> HardwareSpace | None:
        hardware = sheet.hardware
        document = self.document
        at: Path_ = ("hardware", "design")
        if hardware.space is not None:
            name, kind = hardware.budget.like, _SPACES[hardware.space][0]
            if not isinstance(like, kind) or name is None:
                what = "accelerator" if kind is SpatialAccelerator else "crossbar"
                self.problem(("hardware", "budget"), f"the {hardware.space} space needs the {what} that it is like")
                return None
            known = self.datasheet(("hardware", "budget", "like"), name)
            assert known is not None
            try:
                design = _SPACES[hardware.space][1](known, like, budget)
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


#: Ready-made spaces: the kind of hardware that they need to be like, and what makes the template.
_SPACES: dict[str, tuple[type[Any], Callable[..., dict[str, Any]]]] = {
    "naas": (SpatialAccelerator, naas.naas_design),
    "crossbar": (Crossbar, crossbar.crossbar_design),
}


def mapping_objective(goals: Sequence[str]) -> Objective:
    """What mappings and nested searches minimise for these goals."""
    costs = [goal for goal in goals if goal not in ("area", "accuracy")]
    return cast(Objective, costs[0]) if len(costs) == 1 else "edp"


def point_sheets(text: str, source: Path) -> list[ExperimentSheet]:
    """What an experiment's text says at every point; the files that it names are not looked at."""
    document = parse(text, str(source))
    found = variants(document, document.validate(ExperimentSheet).sweep)
    return [replace(document, data=data).validate(ExperimentSheet) for _, data in found]
