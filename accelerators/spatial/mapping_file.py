"""Mappings as YAML files: save what a mapper found, load it again, or write a loop nest by hand.

One file holds the mappings of any number of layers on one accelerator; a single mapping is a list of one::

    version: 1
    accelerator: tiny
    layers:
      - name: conv1
        operator:
          kind: conv2d
          bounds: {K: 16, C: 8, P: 7, R: 3}
          tensors:
            - {name: weights, role: weights, ranks: [{K: 1}, {C: 1}, {R: 1}]}
            - {name: inputs, role: inputs, ranks: [{C: 1}, {P: 2, R: 1}]}
            - {name: outputs, role: outputs, ranks: [{K: 1}, {P: 1}], bits: 8}
        padded: {P: 8}
        mapping: |
          DRAM [weights inputs outputs] P=4
          GLB [inputs outputs] P=2 R=3 x: K=16 y: C=8
        costs: {energy_pj: 8630.5, latency_cycles: 48, objective: edp, certificate: proven optimal}

A rank is a mapping of dimensions to coefficients. ``padded`` gives the larger bounds that the mapping runs, for the
dimensions that have one. ``costs`` inform the reader and are not checked: whoever loads a mapping evaluates it.

Whether a mapping fits its *operator* is checked here; whether it fits an accelerator only the accelerator can say
(:func:`accelerators.spatial.model.evaluate`). Like every document of this project a file has at most 1 MB, which is
about a thousand layers.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

from accelerators import documents
from accelerators.documents import Document, DocumentError, Path_, StrictModel
from accelerators.operators import Operator, Rank, Role, Tensor, parse_operator
from accelerators.spatial.mapping import Block, Mapping, MappingError
from accelerators.suggestions import did_you_mean

#: The version of the format that :func:`dump` writes and :func:`parse` reads.
VERSION = 1
#: Text that YAML reads as text, in any place, without quotes.
_PLAIN = re.compile(r"(?!(?i:true|false|null|yes|no|on|off)$)[a-z_]\w*( [a-z_]\w*)*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Costs:
    """What a mapping was found to cost, for information; ``objective`` and ``certificate`` are free text."""

    energy_pj: float | None = None
    latency_cycles: int | None = None
    objective: str | None = None
    certificate: str | None = None

    def __post_init__(self) -> None:
        for name, value in (("energy_pj", self.energy_pj), ("latency_cycles", self.latency_cycles)):
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} must be finite and >= 0 (got {value!r})")
            # Numbers of numpy are no numbers for YAML.
            number = float if name == "energy_pj" else int
            object.__setattr__(self, name, None if value is None else number(value))


@dataclass(frozen=True)
class LayerMapping:
    """How one layer runs: its operator, the loop nest, and the padded bounds that the nest multiplies to.

    ``bounds`` holds the dimensions that are padded only. Raises ValueError, one line per problem, for a nest that does
    not fit the operator and for names that the text form cannot carry.
    """

    name: str
    operator: Operator
    mapping: Mapping
    bounds: Dict[str, int] = field(default_factory=dict)
    costs: Costs | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "bounds", {dim: int(bound) for dim, bound in self.bounds.items()})
        problems = [*_padding_misfits(self.operator, self.bounds)]
        problems += [text for _, _, text in _misfits(self.operator, self.bounds, list(enumerate(self.mapping.blocks)))]
        if self.operator.passes:
            problems.append(f"{self.operator} streams its tensors and has no loop nest")
        try:
            kept = Mapping.parse(str(self.mapping)) == self.mapping
        except MappingError:
            kept = False
        if not kept:
            problems.append("names of levels, tensors, dimensions and axes must survive the text form")
        if problems:
            raise ValueError("\n".join(f"{self.name}: {text}" for text in problems))


@dataclass(frozen=True)
class MappingDocument:
    """Mappings of layers on one accelerator, which is given by name; the layers' names differ.

    ``datasheet`` is the path of its datasheet, relative to the file, if it is not one of the catalog.
    """

    accelerator: str
    layers: tuple[LayerMapping, ...]
    datasheet: str | None = None

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("a document must have at least one layer")
        names = [layer.name for layer in self.layers]
        if len(set(names)) < len(names):
            raise ValueError(f"layers must differ in name (got {', '.join(names)})")

    def layer(self, name: str) -> LayerMapping:
        """The layer with this name (KeyError if there is none)."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)


def _padding_misfits(operator: Operator, bounds: Dict[str, int]) -> Iterator[str]:
    for dim, bound in bounds.items():
        if dim not in operator.dims:
            yield f"no dimension {dim!r} to pad{did_you_mean(dim, operator.dims)} (got {dim}: {bound})"
        elif bound < operator.bound(dim):
            yield f"{dim} must be padded to at least its bound, {operator.bound(dim)} (got {bound})"


def _misfits(
    operator: Operator, bounds: Dict[str, int], blocks: Iterable[tuple[int, Block]]
) -> Iterator[tuple[int | None, str, str]]:
    """Where a loop nest does not fit an operator: (line of the block or None for the whole, the word, what is wrong).

    Blocks come with their line, counted from 0. Only if all names are known it says something of the whole.
    """
    blocks = list(blocks)
    names = [tensor.name for tensor in operator.tensors]
    levels: list[str] = []
    known = True
    for line, block in blocks:
        if block.level in levels:
            yield line, block.level, f"each level once (got {block.level} twice)"
        levels.append(block.level)
        for i, tensor in enumerate(block.keep):
            if tensor not in names:
                known = False
                yield line, tensor, f"no tensor {tensor!r}{did_you_mean(tensor, names)} (tensors: {', '.join(names)})"
            elif tensor in block.keep[:i]:
                yield line, tensor, f"each tensor once (got {tensor} twice)"
        for dim, factor in (*block.temporal, *(loop for _, loops in block.spatial for loop in loops)):
            if dim not in operator.dims:
                known = False
                listed = ", ".join(operator.dims)
                rule = f"no dimension {dim!r}{did_you_mean(dim, operator.dims)} (dimensions: {listed})"
                yield line, f"{dim}={factor}", rule
    if not known:
        return
    if not blocks:
        yield None, "", "must have a line per storage level"
        return
    mapping = Mapping(tuple(block for _, block in blocks))
    for dim in operator.dims:
        bound = bounds.get(dim, operator.bound(dim))
        product = math.prod(mapping.factors(dim))
        if product != bound:
            yield None, "", f"factors of {dim} must multiply to {bound} (got {product})"
    for tensor in names:
        if not any(tensor in block.keep for _, block in blocks):
            yield None, "", f"some level must keep {tensor}"


# ---------------------------------------------------------------------------------------------------------- writing


def _flow(value: Any) -> Any:
    """Lists and mappings as ruamel writes them on one line."""
    if isinstance(value, str) and not _PLAIN.fullmatch(value):
        # ruamel writes some texts without quotes that it cannot read again on one line, such as ":0".
        return DoubleQuotedScalarString(value)
    if isinstance(value, Dict):
        result: Any = CommentedMap((_flow(key), _flow(entry)) for key, entry in value.items())
    elif isinstance(value, list | tuple):
        result = CommentedSeq(_flow(entry) for entry in value)
    else:
        return value
    result.fa.set_flow_style()
    return result


def dump(document: MappingDocument) -> str:
    """The document as YAML text; ``parse(dump(document)) == document``.

    Raises ValueError for text that YAML cannot hold on one line: names, kinds and certificates must be printable.
    """
    layers = [_layer_record(layer) for layer in document.layers]
    _check_text(document.accelerator)
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 2**31
    yaml.brace_single_entry_mapping_in_flow_sequence = True
    text = io.StringIO()
    head: dict[str, Any] = {"version": VERSION, "accelerator": _flow(document.accelerator)}
    if document.datasheet is not None:
        _check_text(document.datasheet)
        head["datasheet"] = _flow(document.datasheet)
    yaml.dump({**head, "layers": layers}, text)
    return text.getvalue()


def _check_text(*texts: str) -> None:
    for text in texts:
        if not text.isprintable():
            raise ValueError(f"text in a mapping file must be printable (got {text!r})")


def _layer_record(layer: LayerMapping) -> dict[str, Any]:
    operator, costs = layer.operator, layer.costs
    nest = str(layer.mapping)
    plain = _operator_record(operator)
    given = {} if costs is None else {key: value for key, value in vars(costs).items() if value is not None}
    _check_text(layer.name, operator.kind, *operator.dims, *(tensor.name for tensor in operator.tensors))
    _check_text(*nest.split("\n"), *(str(value) for value in given.values()))
    return {
        "name": _flow(layer.name),
        "operator": {key: [*map(_flow, value)] if key == "tensors" else _flow(value) for key, value in plain.items()},
        **({"padded": _flow(layer.bounds)} if layer.bounds else {}),
        "mapping": LiteralScalarString(nest + "\n"),
        **({"costs": _flow(given)} if costs is not None else {}),
    }


def _operator_record(operator: Operator) -> dict[str, Any]:
    tensors = []
    for tensor in operator.tensors:
        record: dict[str, Any] = {"name": tensor.name, "role": tensor.role}
        record["ranks"] = [dict(rank) for rank in tensor.ranks]
        tensors.append(record if tensor.bits is None else {**record, "bits": tensor.bits})
    return {"kind": operator.kind, "bounds": dict(operator.bounds), "tensors": tensors}


def save(document: MappingDocument, path: Path | str) -> None:
    """Write the document to a file; raises OSError if that fails and ValueError as :func:`dump`."""
    Path(path).write_text(dump(document), encoding="utf-8")


# ---------------------------------------------------------------------------------------------------------- reading

Count = Annotated[int, Field(ge=1)]


class TensorSheet(StrictModel):
    """One tensor of an operator."""

    name: Annotated[str, Field(min_length=1)]
    role: Role
    ranks: Annotated[list[dict[str, Count]], Field(description="per rank the coefficients of its dimensions")]
    bits: Annotated[int, Field(ge=1, le=1024, description="of a word; the hardware's own if absent")] | None = None


class OperatorSheet(StrictModel):
    """An operator: loop bounds and tensors, the outputs last."""

    kind: str
    bounds: dict[str, Count]
    tensors: Annotated[list[TensorSheet], Field(min_length=1)]


class CostSheet(StrictModel):
    """What the mapping was found to cost."""

    energy_pj: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    latency_cycles: Annotated[int, Field(ge=0)] | None = None
    objective: str | None = None
    certificate: str | None = None


def _written_out(value: object) -> object:
    """The plain data of an operator that is written on one line."""
    if not isinstance(value, str):
        return value
    operator = parse_operator(value)
    if operator is None:
        raise ValueError("must be a mapping, or an operator such as matmul(P=128, K=768, C=768)")
    return _operator_record(operator)


class LayerSheet(StrictModel):
    """The mapping of one layer."""

    name: str
    operator: Annotated[
        OperatorSheet,
        BeforeValidator(_written_out, json_schema_input_type=OperatorSheet | str),
        Field(description="bounds and tensors, or written out as matmul(P=128, K=768, C=768)"),
    ]
    padded: Annotated[dict[str, Count], Field(description="larger bounds that the mapping runs")] = Field(
        default_factory=dict
    )
    mapping: Annotated[str, Field(description="the loop nest, a line per storage level, outermost first")]
    costs: CostSheet | None = None


class MappingSheet(StrictModel):
    """A mapping file."""

    version: Annotated[Literal[1], Field(description="version of this format")]
    accelerator: Annotated[str, Field(description="name of the accelerator")]
    datasheet: Annotated[str | None, Field(description="path of its datasheet, relative to this file")] = None
    layers: Annotated[list[LayerSheet], Field(min_length=1)]


def parse(text: str, source: str = "<text>") -> MappingDocument:
    """The mappings in YAML text; ``source`` stands for the file in messages.

    Raises :class:`~accelerators.documents.DocumentError` with everything that is wrong, each line with its place.
    """
    return _load(documents.parse(text, source), text)


def read(path: Path | str) -> MappingDocument:
    """The mappings in a file; raises :class:`~accelerators.documents.DocumentError` as :func:`parse`."""
    document = documents.read(path)
    return _load(document, Path(path).read_text(encoding="utf-8"))


def _load(document: Document, text: str) -> MappingDocument:
    sheet = document.validate(MappingSheet)
    reader = _Reader(document, text.splitlines())
    layers = [reader.layer(("layers", i), layer) for i, layer in enumerate(sheet.layers)]
    names = [layer.name for layer in sheet.layers]
    for i, name in enumerate(names):
        if name in names[:i]:
            reader.problem(("layers", i, "name"), f"must differ from the other layers' names (got {name!r})")
    if reader.problems:
        raise DocumentError(reader.problems)
    found = tuple(layer for layer in layers if layer is not None)
    return MappingDocument(sheet.accelerator, found, sheet.datasheet)


class _Reader:
    """Turns valid sheets into objects; collects problems with their places."""

    def __init__(self, document: Document, lines: list[str]):
        self.document = document
        self.lines = lines
        self.problems: list[str] = []

    def problem(self, path: Path_, rule: str, key: bool = False) -> None:
        self.problems.append(self.document.problem(path, rule, key))

    def layer(self, path: Path_, sheet: LayerSheet) -> LayerMapping | None:
        """One layer, or None after noting problems."""
        before = len(self.problems)
        operator = self.operator((*path, "operator"), sheet.operator)
        at = (*path, "mapping")
        blocks = self.blocks(at, sheet.mapping)
        if operator is None:
            return None
        for dim, bound in sheet.padded.items():
            for rule in _padding_misfits(operator, {dim: bound}):
                self.problem((*path, "padded", dim), rule)
        if blocks is None:
            return None
        for line, word, rule in _misfits(operator, sheet.padded, blocks):
            self.nest_problem(at, line, word, rule)
        if len(self.problems) > before:
            return None
        costs = None if sheet.costs is None else Costs(**sheet.costs.model_dump())
        mapping = Mapping(tuple(block for _, block in blocks))
        try:
            return LayerMapping(sheet.name, operator, mapping, sheet.padded, costs)
        except ValueError as error:
            self.problem(path, str(error))
            return None

    def operator(self, path: Path_, sheet: OperatorSheet) -> Operator | None:
        """The operator, or None after noting what is wrong with it."""
        tensors = []
        for tensor in sheet.tensors:
            ranks: tuple[Rank, ...] = tuple(tuple(rank.items()) for rank in tensor.ranks)
            tensors.append(Tensor(tensor.name, tensor.role, ranks, tensor.bits))
        try:
            return Operator(sheet.kind, tuple(sheet.bounds.items()), tuple(tensors))
        except ValueError as error:
            self.problem(path, str(error))
            return None

    def blocks(self, path: Path_, text: str) -> list[tuple[int, Block]] | None:
        """The blocks of a nest with their lines, or None after noting every line that is not one."""
        blocks = []
        fine = True
        # A line for itself, so that one mistake does not hide the next one.
        for line, content in enumerate(text.split("\n")):
            try:
                blocks += [(line, block) for block in Mapping.parse(content).blocks]
            except MappingError as error:
                fine = False
                rule = re.sub(r"^line 1: ", "", str(error))
                found = re.search(r"\(got '(\S+)'\)$", rule)
                self.nest_problem(path, line, found[1] if found else "", rule)
        return blocks if fine else None

    def nest_problem(self, path: Path_, line: int | None, word: str, rule: str) -> None:
        """A problem in a line of a nest: its own place where the nest is a literal block, else that of the nest."""
        if line is None:
            self.problem(path, rule)
            return
        row, column = self.document.places[path]
        document = self.document
        if row + line < len(self.lines) and self.lines[row - 1][column - 1 :].startswith("|"):
            content = self.lines[row + line]
            found = re.search(rf"(?<![^\s\[]){re.escape(word)}(?![^\s\]])", content) if word else None
            start = found.start() if found else len(content) - len(content.lstrip())
            document = replace(document, places={path: (row + line + 1, start + 1)})
        self.problems.append(document.problem(path, f"line {line + 1}: {rule}"))


def schema() -> dict[str, Any]:
    """JSON schema of a mapping file, for editors."""
    return documents.json_schema(MappingSheet)
