"""Hardware spaces: a datasheet in which some values are to be searched, under a budget.

A searched value stands in the place of any value of a datasheet::

    capacity: {from: 16 B, to: 64 kB, step: 16 B, scale: log}      # a number, here on a logarithmic scale
    type: {choose: [int8, int16]}                                  # one of several
    fanout: {search: {pes: {from: 8, to: 168, step: 8}, axes: [1, 2, 3], size_step: 2, unroll: [K, C, P, Q, R, S, G]}}
    - {name: L1, present: {choose: [true, false]}, ...}            # a level that a design may leave out

An entry of ``unroll`` may be a list of dimensions that share an axis. Parameters go by names such as
``global_buffer.capacity``, ``global_buffer.array`` or ``compute.type``.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accelerators import catalog
from accelerators.catalog import Hardware
from accelerators.costs import Infeasible
from accelerators.documents import Document, DocumentError, Path_
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.suggestions import did_you_mean
from accelerators.units import UNITS, split_unit
from codesign.search.budget import Budget
from codesign.search.parameters import Choice, Connectivity, EncodingName, Parameter, Range, Wiring

_AXES = ("x", "y", "z")
_RANGE_KEYS = {"from", "to", "step", "scale"}
_RANGE_ENDS = {"from", "to"}
_ARRAY_KEYS = {"pes", "axes", "size_step", "unroll"}
#: Vectors tried to find out whether any design of a space is valid.
_PROBES = 2000
#: Numbers that stand for a design; optimisers hold their square.
_MOST_NUMBERS = 2000

#: Reasons that are given where no design is valid.
_MOST_REASONS = 3

#: What a design chose: values by parameter name.
Values = dict[str, Any]


@dataclass(frozen=True)
class Design:
    """One point of a space: what it chose, its datasheet as plain data, and the hardware that it describes."""

    values: Values
    datasheet: dict[str, Any]
    hardware: Hardware

    @property
    def accelerator(self) -> SpatialAccelerator:
        """The hardware of a design with levels; raises TypeError for other kinds."""
        if not isinstance(self.hardware, SpatialAccelerator):
            raise TypeError(f"{self.hardware.name} is a {type(self.hardware).__name__}, no spatial accelerator")
        return self.hardware

    @property
    def choices(self) -> dict[str, Any]:
        """What it chose, as plain data."""
        return self.values

    @property
    def digest(self) -> str:
        """A short name that only this datasheet has."""
        return digest(self.datasheet)


def digest(datasheet: Mapping[str, Any]) -> str:
    """A short name for a datasheet, whatever its own name."""
    data = {key: value for key, value in datasheet.items() if key != "name"}
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]


def searches(template: Any) -> bool:
    """Whether a part of a datasheet leaves anything to search."""
    if isinstance(template, Mapping):
        return bool({"choose", "search", *_RANGE_ENDS} & set(template)) or any(map(searches, template.values()))
    return isinstance(template, list) and any(map(searches, template))


class HardwareSpace:
    """All designs that a template describes, within a budget.

    Vectors in [0, 1]^``size`` stand for designs; ``parameters`` are what they choose.
    """

    def __init__(
        self,
        template: Document,
        at: Path_ = (),
        *,
        budget: Budget | None = None,
        encoding: EncodingName = "importance",
        pins: Mapping[str, Any] | None = None,
        name: str = "candidate",
    ):
        """Read the template at a place of a document; ``pins`` give parameters, by name, a value.

        The pin of an array is a fanout as in a datasheet, or keys of its search (``{axes: [2], unroll: [K, C]}``).

        Raises :class:`~accelerators.documents.DocumentError` for wrong searched values, for a template without any, and
        if no design of it is valid.
        """
        self.budget = budget or Budget()
        self.encoding = encoding
        self.name = name
        self._document = template
        self._at = at
        self._template = template.data
        for part in at:
            self._template = self._template[part]
        self._problems: list[str] = []
        self._found: dict[Path_, Parameter] = {}
        self._collect((), self._template)
        if pins and not self._problems:
            self._template = self._pinned(pins)
            self._found = {}
            self._collect((), self._template)
        if self._problems:
            raise DocumentError(self._problems)
        self.parameters: dict[str, Parameter] = {parameter.name: parameter for parameter in self._found.values()}
        if not self.parameters:
            raise DocumentError([self._problem((), "nothing to search: no value is a range or a choice")])
        if len(self.parameters) < len(self._found):
            raise DocumentError([self._problem(("levels",), "levels must differ in name")])
        widths = [parameter.width(encoding) for parameter in self.parameters.values()]
        self._places = np.concatenate([[0], np.cumsum(widths)]).tolist()
        self.size: int = self._places[-1]
        if self.size > _MOST_NUMBERS:
            rule = f"a design must be at most {_MOST_NUMBERS} numbers (got {self.size}; an option is a number each)"
            raise DocumentError([self._problem((), rule)])
        self._probe()

    @property
    def cardinality(self) -> int:
        """How many designs there are, those above the budget included."""
        return math.prod(parameter.cardinality for parameter in self.parameters.values())

    def decode(self, vector: NDArray[np.float64]) -> Values:
        """What a vector (size,) of numbers in 0..1 chooses."""
        if vector.shape != (self.size,) or not ((vector >= 0).all() and (vector <= 1).all()):
            raise ValueError(f"a vector must be {self.size} numbers in 0..1 (got shape {vector.shape})")
        numbers = vector.tolist()
        return {
            name: parameter.decode(numbers[start:end], self.encoding)
            for (name, parameter), start, end in zip(
                self.parameters.items(), self._places[:-1], self._places[1:], strict=True
            )
        }

    def encode(self, values: Values) -> NDArray[np.float64]:
        """A vector (size,) that stands for a choice; raises ValueError for values that a parameter cannot have."""
        return np.array([x for name, p in self.parameters.items() for x in p.encode(values[name], self.encoding)])

    def neighbour(self, values: Values, random: np.random.Generator) -> Values:
        """Values of which one or two are others, near these; they may be the same, or what parameters cannot have."""
        new = dict(values)
        names = list(self.parameters)
        for _ in range(1 + int(random.random() < 0.4)):
            name = names[int(random.integers(len(names)))]
            new[name] = self.parameters[name].neighbour(new[name], random)
        return new

    def build(self, values: Values) -> Design | Infeasible:
        """The design, or why there is none: a datasheet that contradicts itself, or above the budget."""
        for name, parameter in self.parameters.items():
            problem = parameter.problem(values[name])
            if problem is not None:
                return Infeasible("space", problem, {"quantity": name})
        data = self._filled((), self._template, {path: values[p.name] for path, p in self._found.items()})
        data.setdefault("name", f"{self.name}_{digest(data)}")
        places = {path[len(self._at) :]: place for path, place in self._document.places.items()}
        try:
            hardware = catalog.from_document(Document(self._document.name, data, places))
        except DocumentError as error:
            return Infeasible("datasheet", error.problems[0].partition(": ")[2], {"problems": error.problems})
        return self.budget.excess(hardware) or Design(values, data, hardware)

    def designs(self) -> Iterator[Values]:
        """Every choice of values, in a fixed order."""

        def extend(names: Sequence[str], values: Values) -> Iterator[Values]:
            if not names:
                yield values
                return
            for value in self.parameters[names[0]].values():
                yield from extend(names[1:], {**values, names[0]: value})

        yield from extend(list(self.parameters), {})

    # ------------------------------------------------------------------------------------------------ the template

    def _problem(self, path: Path_, rule: str) -> str:
        return self._document.problem((*self._at, *path), rule)

    def _pinned(self, pins: Mapping[str, Any]) -> Any:
        """The template with the pinned values in place."""
        template = copy.deepcopy(self._template)
        places = {parameter.name: path for path, parameter in self._found.items()}
        for name, value in pins.items():
            if name not in places:
                rule = f"pin: no parameter {name!r}{did_you_mean(name, places)} (parameters: {', '.join(places)})"
                self._problems.append(self._problem((), rule))
                continue
            *parents, last = places[name]
            node = template
            for part in parents:
                node = node[part]
            try:
                node[last] = self._pin(self._found[places[name]], node[last], value)
            except ValueError as error:
                self._problems.append(self._problem((), f"pin: {error}"))
        return template

    def _pin(self, parameter: Parameter, searched: Any, value: Any) -> Any:
        """What stands in the place of a searched value that is pinned."""
        if isinstance(parameter, Connectivity):
            if isinstance(value, Mapping) and set(value) <= _ARRAY_KEYS:
                return {"search": {**(searched["search"] or {}), **value}}
            if not isinstance(value, Mapping | list):
                raise ValueError(f"{parameter.name} must be an array (got {value!r})")
            if isinstance(value, list):
                # As results list an array: [[[K], 16], [[C], 8]].
                try:
                    wiring = tuple((tuple(dims), int(size)) for dims, size in value)
                except (TypeError, ValueError):
                    raise ValueError(f"{parameter.name} must be like [[[K], 16], [[C], 8]] (got {value!r})") from None
                parameter.encode(wiring, self.encoding)
                return _fanout(wiring)
        elif isinstance(parameter, Choice):
            parameter.encode(value, self.encoding)
        return value

    def _collect(self, path: Path_, value: Any) -> None:
        """Find the searched values below a place."""
        if isinstance(value, list):
            for i, entry in enumerate(value):
                self._collect((*path, i), entry)
        if not isinstance(value, Mapping):
            return
        try:
            if not path and not {"levels", "kind"} & set(value):
                raise ValueError("a design must be a datasheet: with levels, or with the kind of hardware that it is")
            if "choose" in value:
                _only(value, {"choose"})
                options = value["choose"]
                if not isinstance(options, list):
                    raise ValueError(f"choose must be a list (got {options!r})")
                self._found[path] = Choice(self._name(path), tuple(options))
            elif _RANGE_ENDS & set(value):
                self._found[path] = _range(self._name(path), value)
            elif path and path[-1] == "fanout" and "search" in value:
                _only(value, {"search"})
                self._found[path] = self._connectivity(path, value["search"])
            else:
                for key, entry in value.items():
                    self._collect((*path, key), entry)
        except ValueError as error:
            self._problems.append(self._problem(path, str(error)))

    def _name(self, path: Path_) -> str:
        """Levels go by their names."""
        parts = [str(part) for part in path]
        if len(path) >= 2 and path[0] == "levels" and isinstance(path[1], int):
            level = self._template["levels"][path[1]]
            parts[:2] = [str(level.get("name", path[1])) if isinstance(level, Mapping) else str(path[1])]
        if parts[-1] == "fanout":
            parts[-1] = "array"
        return ".".join(parts)

    def _connectivity(self, path: Path_, value: Any) -> Connectivity:
        if not isinstance(value, Mapping):
            raise ValueError(f"search must be a mapping with {', '.join(sorted(_ARRAY_KEYS))} (got {value!r})")
        _only(value, _ARRAY_KEYS)
        pes = value.get("pes", {"from": 8, "step": 8})
        if not isinstance(pes, Mapping):
            pes = {"from": pes, "to": pes}
        if "to" not in pes:
            if self.budget.macs is None:
                raise ValueError("pes.to is required without a budget of macs")
            pes = {**pes, "to": self.budget.macs}
        name = self._name(path)
        grid = _range(f"{name}.pes", {"step": 8, **pes})
        if grid.unit or grid.low != int(grid.low) or grid.step != int(grid.step) or grid.low < 1:
            raise ValueError("pes must be whole numbers >= 1")
        groups = value.get("unroll", ["K", "C", "P", "Q", "R", "S", "G"])
        if not isinstance(groups, list):
            raise ValueError(f"unroll must be a list (got {groups!r})")
        axes, step = value.get("axes", [1, 2, 3]), value.get("size_step", 2)
        if not isinstance(axes, list) or not all(type(n) is int for n in axes) or type(step) is not int:
            raise ValueError(f"axes must be a list of integers and size_step an integer (got {axes!r}, {step!r})")
        unroll = tuple(tuple(group) if isinstance(group, list) else (group,) for group in groups)
        for group in unroll:
            if not all(isinstance(dim, str) for dim in group):
                raise ValueError(f"entries of unroll must be dimensions, or lists of dimensions (got {list(group)!r})")
        return Connectivity(name, grid, tuple(axes), step, unroll)

    def _filled(self, path: Path_, value: Any, chosen: Mapping[Path_, Any]) -> Any:
        """The template with the searched values in place."""
        if path in chosen:
            if isinstance(self._found[path], Connectivity):
                return _fanout(chosen[path])
            # A copy: what follows takes "present" out of levels.
            return copy.deepcopy(chosen[path])
        if isinstance(value, list):
            entries = [self._filled((*path, i), entry, chosen) for i, entry in enumerate(value)]
            if path == ("levels",):
                present = [entry.pop("present", True) if isinstance(entry, dict) else True for entry in entries]
                entries = [entry for entry, there in zip(entries, present, strict=True) if there]
            return entries
        if isinstance(value, Mapping):
            return {key: self._filled((*path, key), entry, chosen) for key, entry in value.items()}
        return value

    def _probe(self) -> None:
        """Refuse a space in which random vectors never are a valid design, with the most common reason."""
        random = np.random.default_rng(0)
        # The same reason has other numbers each time; what it is about is counted.
        found: dict[tuple[str, ...], list[Infeasible]] = {}
        for _ in range(_PROBES):
            built = self.build(self.decode(random.random(self.size)))
            if isinstance(built, Design):
                return
            about = [problem.split(": ")[1] for problem in built.facts.get("problems", ()) if ": " in problem]
            found.setdefault((built.code, str(built.facts.get("quantity", "")), *about), []).append(built)
        problems: list[str] = []
        for reasons in sorted(found.values(), key=lambda each: -len(each))[:_MOST_REASONS]:
            share = f"{len(reasons) / _PROBES:.0%} of {_PROBES} designs that were tried"
            text = reasons[0].facts.get("problems", (str(reasons[0]),))[0].partition(f"{self._document.name}:")[2]
            problems.append(self._problem((), f"no design is valid; {share}: {text or reasons[0]}"))
        raise DocumentError(problems)


def _fanout(wiring: Wiring) -> dict[str, Any]:
    """An array as a datasheet has it."""
    return {axis: {"size": size, "unroll": list(dims)} for axis, (dims, size) in zip(_AXES, wiring, strict=False)}


def _only(value: Mapping[str, Any], keys: set[str]) -> None:
    unknown = sorted(set(value) - keys)
    if unknown:
        raise ValueError(f"unknown key {unknown[0]} (known: {', '.join(sorted(keys))})")


def _range(name: str, value: Mapping[str, Any]) -> Range:
    """A range from its mapping; ``from``, ``to`` and ``step`` may carry units of one kind."""
    _only(value, _RANGE_KEYS)
    for key in ("from", "to"):
        if key not in value:
            raise ValueError(f"{key} is required")
    scale = value.get("scale", "linear")
    if scale not in ("linear", "log"):
        raise ValueError(f"scale must be linear or log (got {scale!r})")
    numbers, units = [], []
    for key in ("from", "to", "step"):
        number, unit = split_unit(value.get(key, 1))
        numbers.append(number)
        if key in value:
            units.append(unit)
    if not any(units):
        low, high, step = numbers
        return Range(name, low, high, step, scale == "log")
    kind = next((kind for kind, known in UNITS.items() if all(unit in known for unit in units)), None)
    if kind is None:
        raise ValueError(f"from, to and step must have units of one kind (got {', '.join(u or 'none' for u in units)})")
    if "step" not in value:
        raise ValueError("step is required")
    factors = [UNITS[kind][unit] for unit in units]
    low, high, step = (number * factor for number, factor in zip(numbers, factors, strict=True))
    return Range(name, low, high, step, scale == "log", next(iter(UNITS[kind])))
