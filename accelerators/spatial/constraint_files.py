"""Constraint files: restrictions of the mappings that a user writes, for one accelerator or for any.

The vocabulary is that of a datasheet's ``dataflow`` section::

    name: mine
    source: "why"
    needs: {keep: [weights], unroll: [K]}   # what the array must offer
    min_utilisation: 0.5
    levels:
      DRAM: {outermost: [K], max_factors: {P: 4}}
      "@array":
        innermost: [N, P, Q]
        axes: {"*": {unroll: [K, C]}, y: {factors: {C: 8}}}
      "@inside": {temporal: [N, P, Q]}
      RF: {keep: [weights], bypass: [inputs]}

A level goes by its name or by a selector, so that a file fits many accelerators: ``@outermost``, ``@innermost``;
``@array``, the level with the most children per instance (of several, the one nearest to the MACs); ``@pe``, the level
right below it; ``@inside``, every level below it. The axis ``"*"`` is every axis of its level. YAML wants quotes around
all of them. Where several keys mean one level, their rules are merged field by field; of two that give the same field,
the more specific one wins: a name before ``@pe``, ``@array``, ``@innermost``, ``@outermost``, ``@inside``, and the name
of an axis before ``"*"``.

A rule is met by a dimension that has not enough to meet it: a loop with a bound of 1 stands wherever it is asked to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from accelerators.documents import Document, DocumentError, Path_, StrictModel, json_schema, parse, read
from accelerators.operators import Role
from accelerators.spatial.architecture import Level, SpatialAccelerator
from accelerators.spatial.constraints import Constraints
from accelerators.spatial.datasheet import (
    DataflowSheet,
    Dim,
    LevelRuleSheet,
    SpatialRuleSheet,
    constraints,
    contradictions,
    misfits,
)
from accelerators.suggestions import did_you_mean

_FOLDER = Path(__file__).parent.parent / "dataflows"

#: Selectors of levels, the most specific first.
SELECTORS = ("@pe", "@array", "@innermost", "@outermost", "@inside")
_EVERY_AXIS = "*"


class NeedsSheet(StrictModel):
    """What an array must offer for the constraints to make sense."""

    keep: list[Role] = Field(default_factory=list, description="tensors that a level inside the array may keep")
    unroll: list[Dim] = Field(default_factory=list, description="dimensions that an axis of the array may unroll")


class ConstraintSheet(DataflowSheet):
    """A constraint file."""

    name: str = "constraints"
    description: str = ""
    needs: NeedsSheet = NeedsSheet()


def names() -> tuple[str, ...]:
    """Names of the constraint files that come with the program, in alphabetical order."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def schema() -> dict[str, Any]:
    """JSON schema of a constraint file, for editors."""
    return json_schema(ConstraintSheet)


def load(name_or_path: str | Path) -> ConstraintRules:
    """Constraints by name, or from a YAML file.

    Raises :class:`~accelerators.documents.DocumentError` for an unknown name (with suggestions) and for everything that
    is wrong with the file, whatever the accelerator.
    """
    text = str(name_or_path)
    known = names()
    if text in known:
        return from_document(read(_FOLDER / f"{text}.yaml"))
    if not text.endswith((".yaml", ".yml")) and not Path(text).is_file():
        raise DocumentError(
            [f"unknown constraints {text!r}{did_you_mean(text, known)} (known: {', '.join(known)}, or a .yaml file)"]
        )
    try:
        return from_document(read(text))
    except DocumentError as error:
        raise DocumentError(_with_hints(error.problems)) from None


def from_text(text: str, name: str = "<text>") -> ConstraintRules:
    """Constraints from the text of a file."""
    try:
        return from_document(parse(text, name))
    except DocumentError as error:
        raise DocumentError(_with_hints(error.problems)) from None


def _with_hints(problems: Iterable[str]) -> list[str]:
    """YAML's own messages about a key that starts with @ or * do not say what to do."""
    signs = ("'@' that cannot start", "undefined alias", "while scanning an alias", "expected alphabetic")
    hint = " (selectors and the axis * must be in quotes)"
    return [problem + hint * any(sign in problem for sign in signs) for problem in problems]


def from_document(document: Document) -> ConstraintRules:
    """Constraints from a parsed file."""
    sheet = document.validate(ConstraintSheet)
    problems = []
    for key, rule in sheet.levels.items():
        path: Path_ = ("levels", key)
        if key.startswith("@") and key not in SELECTORS:
            rule_text = f"unknown selector{did_you_mean(key, SELECTORS)} (known: {', '.join(SELECTORS)})"
            problems.append(document.problem(path, rule_text, key=True))
        problems += [document.problem((*path, *place), text) for place, text in contradictions(rule)]
    if problems:
        raise DocumentError(problems)
    return ConstraintRules(sheet, document)


@dataclass(frozen=True)
class ConstraintRules:
    """The rules of a constraint file, valid in themselves; :meth:`resolve` binds them to an accelerator."""

    sheet: ConstraintSheet
    document: Document

    @property
    def name(self) -> str:
        """Name of the constraints."""
        return self.sheet.name

    def resolve(self, accelerator: SpatialAccelerator) -> Constraints:
        """The constraints for one accelerator.

        Raises :class:`~accelerators.documents.DocumentError` with everything that the accelerator lacks: levels and
        axes that the file names, the levels that its selectors stand for, what its ``needs`` ask for, tensors that a
        level cannot keep, dimensions that no wire carries; and with rules that contradict each other once merged.
        """
        return _Resolution(self, accelerator).constraints()


class _Resolution:
    """Binds rules to an accelerator; collects problems with their places."""

    def __init__(self, rules: ConstraintRules, accelerator: SpatialAccelerator):
        self.sheet, self.document = rules.sheet, rules.document
        self.accelerator = accelerator
        self.problems: list[str] = []
        self.array = _array(accelerator)

    def problem(self, path: Path_, rule: str, key: bool = False) -> None:
        self.problems.append(self.document.problem(path, rule, key))

    def constraints(self) -> Constraints:
        self.check_needs()
        # The least specific first, so that the others overwrite it.
        keys = [key for key in reversed(SELECTORS) if key in self.sheet.levels]
        keys += [key for key in self.sheet.levels if key not in SELECTORS]
        merged: dict[str, _Merged] = {}
        for key in keys:
            for level in self.levels(key):
                rule = merged.setdefault(level.name, _Merged(level))
                rule.add(("levels", key), self.sheet.levels[key])
        keeps = {level.name: level.keeps for level in self.accelerator.levels}
        for name, rule in merged.items():
            axes = {axis.name: axis.dims for axis in rule.level.fanout}
            sheet = rule.sheet()
            self.problems += [
                self.document.problem(rule.place(place), text, key=place[-2:-1] == ("axes",))
                for place, text in (*contradictions(sheet), *misfits(sheet, name, keeps, axes))
            ]
        if self.problems:
            # A rule of a selector for several levels may fail at all of them in the same words.
            raise DocumentError(list(dict.fromkeys(self.problems)))
        return constraints(
            self.sheet.name, {name: rule.sheet() for name, rule in merged.items()}, self.sheet.min_utilisation
        )

    def levels(self, key: str) -> tuple[Level, ...]:
        """The levels that a key means; a problem if it should mean one and there is none."""
        chain, array = self.accelerator.levels, self.array
        known = ", ".join(level.name for level in chain)
        if key == "@outermost":
            return chain[:1]
        if key == "@innermost":
            return chain[-1:]
        if key not in SELECTORS:
            found = tuple(level for level in chain if level.name == key)
            if not found:
                names_ = [level.name for level in chain]
                rule = f"{self.accelerator.name} has no such level{did_you_mean(key, names_)} (levels: {known})"
                self.problem(("levels", key), rule, key=True)
            return found
        if array is None:
            if key != "@inside":
                rule = f"{self.accelerator.name} has no array: no level has a fanout (levels: {known})"
                self.problem(("levels", key), rule, key=True)
            return ()
        inside = chain[array + 1 :]
        if key == "@pe" and not inside:
            rule = f"{self.accelerator.name} has no such level: its MACs follow {chain[array].name} (levels: {known})"
            self.problem(("levels", key), rule, key=True)
        return {"@array": chain[array : array + 1], "@pe": inside[:1], "@inside": inside}[key]

    def check_needs(self) -> None:
        chain, array, needs = self.accelerator.levels, self.array, self.sheet.needs
        inside = () if array is None else chain[array + 1 :]
        there = "; ".join(f"{v.name} keeps {', '.join(sorted(v.keeps))}" for v in inside) or "there is none"
        for i, role in enumerate(needs.keep):
            if not any(role in level.keeps for level in inside):
                rule = f"needs a level inside the array of {self.accelerator.name} that keeps {role} ({there})"
                self.problem(("needs", "keep", i), rule)
        axes = () if array is None else chain[array].fanout
        there = "; ".join(f"{axis.name} unrolls {', '.join(sorted(axis.dims or ['any']))}" for axis in axes)
        there = there or "there is none"
        for i, dim in enumerate(needs.unroll):
            if not any(axis.dims is None or dim in axis.dims for axis in axes):
                rule = f"needs an axis of the array of {self.accelerator.name} that unrolls {dim} ({there})"
                self.problem(("needs", "unroll", i), rule)


def _array(accelerator: SpatialAccelerator) -> int | None:
    """Index of the level with the most children per instance, of several the innermost; None without a fanout."""
    children = [level.children for level in accelerator.levels]
    if max(children) == 1:
        return None
    return max(range(len(children)), key=lambda i: (children[i], i))


class _Merged:
    """The rules for one level, merged; remembers from which place in the file every field comes."""

    def __init__(self, level: Level):
        self.level = level
        self.fields: dict[Path_, tuple[Path_, object]] = {}

    def add(self, path: Path_, rule: LevelRuleSheet) -> None:
        """Overwrite the fields that a rule gives."""
        for field in sorted(rule.model_fields_set - {"axes"}):
            self.fields[(field,)] = (*path, field), getattr(rule, field)
        every = rule.axes.get(_EVERY_AXIS)
        if every is not None:
            at = (*path, "axes", _EVERY_AXIS)
            asked = set(every.unroll or ())
            useful = [axis.name for axis in self.level.fanout if axis.dims is None or asked & axis.dims]
            for axis in self.level.fanout:
                self.add_axis(at, axis.name, every)
                if asked and useful and axis.name not in useful:
                    # Not an error: the other axes carry what was asked for, this one stays idle.
                    self.fields["axes", axis.name, "unroll"] = (*at, "unroll"), []
        for name, limits in rule.axes.items():
            if name != _EVERY_AXIS:
                self.add_axis((*path, "axes", name), name, limits)

    def add_axis(self, path: Path_, axis: str, limits: SpatialRuleSheet) -> None:
        """Overwrite the fields that a rule for an axis gives."""
        self.fields.setdefault(("axes", axis), (path, None))
        for field in sorted(limits.model_fields_set):
            self.fields["axes", axis, field] = (*path, field), getattr(limits, field)

    def place(self, inside: Path_) -> Path_:
        """The path in the file of a path inside the merged rule."""
        known = max((path for path in self.fields if inside[: len(path)] == path), key=len)
        return self.fields[known][0] + inside[len(known) :]

    def sheet(self) -> LevelRuleSheet:
        """The merged rule."""
        axes: dict[str, dict[str, object]] = {}
        level: dict[str, object] = {}
        for path, (_, value) in self.fields.items():
            if path[0] != "axes":
                level[str(path[0])] = value
            else:
                limits = axes.setdefault(str(path[1]), {})
                if len(path) == 3:
                    limits[str(path[2])] = value
        return LevelRuleSheet.model_validate({**level, "axes": axes})
