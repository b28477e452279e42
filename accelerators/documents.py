"""YAML documents that users write: read with positions, validated as a whole, all errors at once.

Every error has the form ``file:line:column: path: rule (got value)``. Only plain YAML 1.2 is read: mappings, lists,
text, numbers, booleans and null. Tags, duplicate keys, recursive aliases, and documents that are too large or too deep
are refused.
"""

from __future__ import annotations

import io
import math
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pydantic
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from accelerators.suggestions import did_you_mean

_MOST_BYTES = 1_000_000
_MOST_NODES = 100_000
_DEEPEST = 40
_MOST_PROBLEMS = 100
_LARGEST_INTEGER = 2**63 - 1
_TAG = "tag:yaml.org,2002:"

Path_ = tuple[str | int, ...]
M = TypeVar("M", bound=pydantic.BaseModel)


class DocumentError(ValueError):
    """One or more errors in a document; ``problems`` are the lines of the message."""

    def __init__(self, problems: Sequence[str]):
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class StrictModel(pydantic.BaseModel):
    """Base of everything that is read from a document: unknown keys are errors, values do not change type."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)


def json_schema(model: type[pydantic.BaseModel]) -> dict[str, Any]:
    """The JSON schema of a kind of document, for editors: what may be written, units and short forms included."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}


@dataclass
class Document:
    """A parsed document: plain ``data``, and the place (line, column; from 1) of every value and key."""

    name: str
    data: Any
    places: dict[Path_, tuple[int, int]] = field(default_factory=dict)
    key_places: dict[Path_, tuple[int, int]] = field(default_factory=dict)

    def problem(self, path: Path_, rule: str, key: bool = False) -> str:
        """An error line for a path; the place is that of the nearest part that exists."""
        at = path
        while at and at not in self.places and not (key and at in self.key_places):
            at = at[:-1]
        line, column = (self.key_places.get(at) if key else None) or self.places.get(at, (1, 1))
        parts = (f"[{part}]" if isinstance(part, int) else f".{_printable(part)}" for part in path)
        text = "".join(parts).lstrip(".")
        return f"{self.name}:{line}:{column}: {text + ': ' if text else ''}{rule}"

    def validate(self, model: type[M], context: dict[str, Any] | None = None) -> M:
        """The document as a model; raises :class:`DocumentError` with every violation."""
        try:
            return model.model_validate(self.data, context=context)
        except pydantic.ValidationError as error:
            problems = []
            for details in error.errors(include_url=False):
                path = tuple(part for part in details["loc"] if part != "[key]")
                is_key = details["type"] in ("extra_forbidden",)
                problems.append(self.problem(path, _rule(details, model), is_key))
            raise DocumentError(_first(problems)) from None


def read(path: Path | str) -> Document:
    """Read and parse a YAML file; raises :class:`DocumentError`."""
    return parse(read_text(path), str(path))


def read_text(path: Path | str) -> str:
    """The text of a file; raises :class:`DocumentError` for what is no text, or too much of it."""
    path = Path(path)
    if "\0" in str(path):
        raise DocumentError([f"{str(path)!r}: cannot be read: a NUL in the name"])
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DocumentError([f"{path}: must be at most {_MOST_BYTES} bytes (got {path.stat().st_size})"])
        # Devices have no size, and no end.
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise DocumentError([f"{path}: must be at most {_MOST_BYTES} bytes"])
        return content.decode("utf-8")
    except OSError as error:
        raise DocumentError([f"{path}: cannot be read: {error.strerror or error}"]) from error
    except UnicodeDecodeError as error:
        raise DocumentError([f"{path}: must be UTF-8 text (got byte 0x{error.object[error.start]:02x})"]) from error


def parse(text: str, name: str = "<text>") -> Document:
    """Parse YAML text; ``name`` stands for the file in messages."""
    yaml = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(io.StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
        raise DocumentError([f"{name}:{place}: not valid YAML: {error.problem or error.context}"]) from None
    except (YAMLError, ValueError) as error:
        raise DocumentError([f"{name}:1:1: not valid YAML: {str(error).splitlines()[0]}"]) from None
    except RecursionError:
        raise DocumentError([f"{name}:1:1: must be nested at most {_DEEPEST} deep"]) from None
    if node is None:
        raise DocumentError([f"{name}:1:1: the document is empty"])
    document = Document(name, None)
    reader = _Reader(yaml, document)
    document.data = reader.value(node, ())
    if reader.problems:
        raise DocumentError(_first(reader.problems))
    return document


def _first(problems: Sequence[str]) -> list[str]:
    """The first problems, and how many more there are: nobody reads thousands."""
    rest = len(problems) - _MOST_PROBLEMS
    return [*problems[:_MOST_PROBLEMS], *([f"... and {rest} more"] if rest > 0 else [])]


class _Reader:
    """Turns composed nodes into plain data, noting places and problems."""

    def __init__(self, yaml: YAML, document: Document):
        self.document = document
        self.problems: list[str] = []
        self.nodes = 0
        self.constructor = yaml.constructor

    def value(self, node: Node, path: Path_) -> Any:
        self.nodes += 1
        self.document.places[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
        if len(path) > _DEEPEST or self.nodes > _MOST_NODES:
            limit = f"{_DEEPEST} deep" if len(path) > _DEEPEST else f"{_MOST_NODES} values (aliases included)"
            raise DocumentError([self.document.problem(path[:3], f"must be at most {limit}")])
        tag = str(node.tag).removeprefix(_TAG)
        if isinstance(node, MappingNode) and tag == "map":
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and tag == "seq":
            return [self.value(child, (*path, i)) for i, child in enumerate(node.value)]
        if isinstance(node, ScalarNode) and tag in ("str", "int", "float", "bool", "null"):
            return self._scalar(node, tag, path)
        if isinstance(node, ScalarNode) and tag in ("timestamp", "value", "merge"):
            return node.value
        self.problems.append(self.document.problem(path, f"tags are not allowed (got {node.tag})"))
        return None

    def _scalar(self, node: ScalarNode, tag: str, path: Path_) -> Any:
        try:
            value = self.constructor.construct_object(node)
        except (ValueError, YAMLError):
            self.problems.append(self.document.problem(path, f"must be a {tag} (got {_short(node.value)})"))
            return None
        if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
            self.problems.append(self.document.problem(path, f"must fit 64 bits (got {_short(node.value)})"))
        if isinstance(value, str) and not _is_unicode(value):
            self.problems.append(self.document.problem(path, f"must be text without lone surrogates (got {value!a})"))
        return value

    def _mapping(self, node: MappingNode, path: Path_) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, ScalarNode) else None
            place = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if not isinstance(key, str):
                self.problems.append(self.document.problem(path, "keys must be text"))
                continue
            if not _is_unicode(key):
                self.problems.append(
                    self.document.problem(path, f"keys must be text without lone surrogates (got {key!a})")
                )
                continue
            at = (*path, key)
            if key in result:
                first = self.document.key_places[at]
                self.document.places[at] = place
                self.problems.append(self.document.problem(at, f"duplicate key (first in line {first[0]})"))
                continue
            self.document.key_places[at] = place
            result[key] = self.value(value_node, at)
        return result


def _printable(key: str) -> str:
    """A key as it is, or quoted where it would break the line."""
    return key if key.isprintable() else repr(key)


def _is_unicode(text: str) -> bool:
    """Whether it can be printed: YAML's escapes can write halves of surrogate pairs."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _rule(details: ErrorDetails, model: type[pydantic.BaseModel]) -> str:
    """One sentence of the form ``rule (got value)`` for a pydantic error."""
    kind, context, value = details["type"], details.get("ctx", {}), details["input"]
    got = f" (got {_short(value)})"
    if isinstance(value, float) and math.isnan(value) and kind.startswith(("greater_than", "less_than")):
        # It breaks any bound: which one says nothing.
        return f"must be finite{got}"
    match kind:
        case "missing":
            return "is required"
        case "extra_forbidden":
            known = _fields_at(model, details["loc"][:-1])
            return f"unknown key{did_you_mean(str(details['loc'][-1]), known)} (known: {', '.join(sorted(known))})"
        case "value_error":
            text = str(context.get("error", details["msg"]))
            return text if "(got" in text else text + got
        case "greater_than":
            return f"must be > {context['gt']:g}{got}"
        case "greater_than_equal":
            return f"must be >= {context['ge']:g}{got}"
        case "less_than":
            return f"must be < {context['lt']:g}{got}"
        case "less_than_equal":
            return f"must be <= {context['le']:g}{got}"
        case "literal_error" | "enum":
            return f"must be one of {context['expected']}{got}"
        case "string_pattern_mismatch":
            return f"must match {context['pattern']}{got}"
        case "too_short" | "too_long":
            word, bound = ("at least", "min_length") if kind == "too_short" else ("at most", "max_length")
            return f"must have {word} {context[bound]} entries (got {len(value)})"
    names = {
        "int_type": "must be an integer",
        "int_from_float": "must be an integer",
        "float_type": "must be a number",
        "string_type": "must be text",
        "bool_type": "must be true or false",
        "list_type": "must be a list",
        "tuple_type": "must be a list",
        "dict_type": "must be a mapping",
        "model_type": "must be a mapping",
        "model_attributes_type": "must be a mapping",
        "frozen_set_type": "must be a list",
        "finite_number": "must be finite",
    }
    return names.get(kind, details["msg"][:1].lower() + details["msg"][1:]) + got


def _short(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fields_at(model: type[pydantic.BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Keys that are known at a path inside a model (empty if the path leaves the models)."""
    annotation: Any = model
    for part in path:
        if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
            fields = {f.alias or name: f for name, f in annotation.model_fields.items()}
            if part not in fields:
                return []
            annotation = fields[str(part)].annotation
        else:
            # An entry of a list or of a mapping with free keys: the values' type comes last.
            annotation = typing.get_args(annotation)[-1] if typing.get_args(annotation) else None
        if typing.get_origin(annotation) in (typing.Union, types.UnionType):
            annotation = next((a for a in typing.get_args(annotation) if a is not type(None)), None)
        if typing.get_origin(annotation) is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return [f.alias or name for name, f in annotation.model_fields.items()]
    return []
