"""Lookup tables: measured latencies of blocks, by key, and their sum over a network.

Read and written are the formats of Once-for-All, ProxylessNAS and NSGANetV2: a mapping from keys such as
``Conv-input:224x224x3-output:112x112x24`` to ``{count, mean, std}`` (or ``var``, the variance), milliseconds, in YAML
or JSON; and several such tables in one file, by the size of the image. A table that this project makes has a head
(``kind: latency_table``) that says where it comes from, and the mapping under ``entries``; its keys may be operators,
``conv2d(K16 C3 P32 Q32 R3 S3)+bn``.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from accelerators.documents import DocumentError, parse, read_text
from accelerators.suggestions import did_you_mean

#: The ``kind`` of a file with a head.
KIND = "latency_table"
_FIELDS = {"count", "mean", "std", "var"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")
_SIZE = re.compile(r"[0-9]{1,5}")
_MOST_MISSING = 20
#: Of any number in a table.
_MOST = 1e12


@dataclass(frozen=True)
class Entry:
    """What a block took: mean and standard deviation in milliseconds, and how many times it was timed."""

    mean_ms: float
    std_ms: float | None = None
    count: int | None = None


class MissingKeysError(KeyError):
    """Blocks that a table does not have; ``keys`` are theirs."""

    def __init__(self, table: str, keys: Sequence[str], known: Iterable[str]):
        self.keys = tuple(dict.fromkeys(keys))
        named = [f"{key}{did_you_mean(key, known)}" for key in self.keys[:_MOST_MISSING]]
        more = len(self.keys) - len(named)
        super().__init__(f"{table}: no entry for {', '.join(named)}" + (f" and {more} more" if more > 0 else ""))

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Estimate:
    """A sum of entries: milliseconds, its standard deviation if all entries have one, and the entries that were not in
    the table and were interpolated, each with the one that it was scaled from."""

    latency_ms: float
    std_ms: float | None
    interpolated: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LatencyTable:
    """Latencies of blocks on one device, by key."""

    name: str
    entries: Mapping[str, Entry]
    #: Where it comes from, as its file says.
    about: Mapping[str, Any] = field(default_factory=dict)
    #: Median relative error on networks, of a table that was just made.
    error: float | None = field(default=None, compare=False)

    def latency(self, keys: Sequence[str], interpolate: bool = False) -> Estimate:
        """The sum over blocks, one after another.

        Raises :class:`MissingKeysError` for blocks that are not in the table. With ``interpolate`` such a block takes
        what the nearest block of its kind takes, scaled by size (:func:`nearest`); if there is none, it is missing.
        """
        found: dict[str, Entry] = {}
        made_up: dict[str, str] = {}
        missing: list[str] = []
        for key in dict.fromkeys(keys):
            entry = self.entries.get(key)
            if entry is None and interpolate:
                scaled = nearest(self.entries, key)
                if scaled is not None:
                    entry, made_up[key] = scaled
            if entry is None:
                missing.append(key)
            else:
                found[key] = entry
        if missing:
            raise MissingKeysError(self.name, missing, self.entries)
        chosen = [found[key] for key in keys]
        spread = [entry.std_ms for entry in chosen]
        variance = None if None in spread else math.fsum(std**2 for std in spread if std is not None)
        total = math.fsum(entry.mean_ms for entry in chosen)
        return Estimate(total, None if variance is None else math.sqrt(variance), made_up)

    def to_json(self) -> str:
        """The table as JSON in the format of Once-for-All, under a head if something is known about it."""
        entries = {key: _record(entry) for key, entry in self.entries.items()}
        return json.dumps({"kind": KIND, **self.about, "entries": entries} if self.about else entries, indent=1)


def _record(entry: Entry) -> dict[str, Any]:
    record = {"count": entry.count, "mean": entry.mean_ms, "std": entry.std_ms}
    return {key: value for key, value in record.items() if value is not None}


def nearest(entries: Mapping[str, Entry], key: str) -> tuple[Entry, str] | None:
    """What a block or operator takes that differs from those of a table in its sizes only: the nearest one's, scaled,
    and the key of that one.

    Blocks of a kind have equal text between their sizes, kernel, stride and flags included; time goes with the
    geometric mean of input and output words, and with the expansion. Operators of a kind have equal strides; time goes
    with the product of the bounds, and another kernel is farther away than another size. The nearest has the least
    distance of the sizes' logarithms.
    """
    wanted = _parts(key)
    best: tuple[Entry, str] | None = None
    least = math.inf
    for known, entry in entries.items():
        theirs = _parts(known)
        if theirs.words != wanted.words:
            continue
        pairs = list(zip(wanted.sizes, theirs.sizes, strict=True))
        distance = sum(weight * abs(math.log(a / b)) for (a, b), weight in zip(pairs, wanted.distances, strict=True))
        if distance < least:
            ratio = math.prod((a / b) ** power for (a, b), power in zip(pairs, wanted.powers, strict=True))
            best, least = (Entry(entry.mean_ms * ratio, entry.std_ms and entry.std_ms * ratio), known), distance
    return best


class _Parts(NamedTuple):
    """A key: what does not change, the sizes, how they count in a distance, and how time goes with them."""

    words: str
    sizes: tuple[int, ...]
    distances: tuple[float, ...]
    powers: tuple[float, ...]


_OPERATOR = re.compile(r"(?P<kind>\w+)\((?P<words>[^()]*)\)(?P<rest>.*)")
_BOUND = re.compile(r"([NGKCPQRS])([0-9]{1,12})")
_DIMS = "NGKCPQRS"
#: Kernels of another size are taken where there is no other choice.
_KERNEL_DISTANCE = 10.0
_SIZES = re.compile(
    r"(?<=input:)[0-9]{1,9}(?:x[0-9]{1,9})*|(?<=output:)[0-9]{1,9}(?:x[0-9]{1,9})*|(?<=expand:)[0-9]{1,9}"
)


@functools.lru_cache(maxsize=65536)
def _parts(key: str) -> _Parts:
    operator = _OPERATOR.fullmatch(key)
    if operator:
        words = operator["words"].split()
        bounds = {found[1]: int(found[2]) for word in words if (found := _BOUND.fullmatch(word))}
        others = " ".join(word for word in words if not _BOUND.fullmatch(word))
        distances = tuple(_KERNEL_DISTANCE if dim in "RS" else 1.0 for dim in _DIMS)
        sizes = tuple(max(1, bounds.get(dim, 1)) for dim in _DIMS)
        return _Parts(f"{operator['kind']}({others}){operator['rest']}", sizes, distances, (1.0,) * len(_DIMS))
    sizes = tuple(max(1, int(n)) for found in _SIZES.findall(key) for n in found.split("x"))
    shape = _SIZES.sub(lambda match: "x".join("#" for _ in match[0].split("x")), key)
    powers = (0.5,) * len(sizes)
    if "expand:" in shape and sizes:
        # The expansion comes last.
        powers = (*powers[:-1], 1.0)
    return _Parts(shape, sizes, (1.0,) * len(sizes), powers)


def is_table(data: Any) -> bool:
    """Whether a parsed document means to be a latency table: by its head, or by its keys and entries without one."""
    if not isinstance(data, dict) or "kind" in data:
        return isinstance(data, dict) and data["kind"] == KIND
    return any(
        "-input:" in key
        or _OPERATOR.fullmatch(key)
        or _SIZE.fullmatch(key)
        or (isinstance(value, dict) and "mean" in value)
        for key, value in data.items()
    )


def is_name(text: str) -> bool:
    """Whether a device may be called so."""
    return bool(_NAME.fullmatch(text))


def read(path: Path | str) -> dict[str, LatencyTable]:
    """The tables of a file by image size, or the only one under the empty name.

    Raises :class:`~accelerators.documents.DocumentError` for duplicate keys, and for entries that are no times.
    """
    text = read_text(path)
    if str(path).endswith(".json"):
        data, places = _json(text, str(path)), None
    else:
        document = parse(text, str(path))
        data, places = document.data, document
    problems: list[str] = []

    def problem(keys: tuple[str | int, ...], rule: str) -> None:
        where = f"{path}: {'.'.join(map(str, keys))}: " if places is None and keys else f"{path}: "
        problems.append(places.problem(keys, rule) if places is not None else f"{where}{rule}")

    if not isinstance(data, dict) or not data:
        problem((), "must be a mapping of keys to entries")
        raise DocumentError(problems)
    about: dict[str, Any] = {}
    inside: tuple[str, ...] = ()
    if data.get("kind") == KIND:
        about = {key: value for key, value in data.items() if key not in ("kind", "entries")}
        for key, value in about.items():
            if not isinstance(value, str) or not value.isprintable() or len(value) > 1000:
                problem((key,), f"must be text in one line (got {_short(value)[:80]})")
        if about.get("unit", "ms") != "ms":
            problem(("unit",), f"must be ms (got {about['unit']!r})")
        if not _NAME.fullmatch(str(about.get("name", "table"))):
            problem(("name",), f"must be letters, digits and _ . + - (got {about['name']!r})")
        if problems:
            raise DocumentError(problems)
        if not isinstance(data.get("entries"), dict) or not data["entries"]:
            missing = "must be a mapping of keys to entries"
            problem(("entries",), missing) if "entries" in data else problem((), f"entries: {missing}")
            raise DocumentError(problems)
        data, inside = data["entries"], ("entries",)
    by_size = not inside and all(_SIZE.fullmatch(str(key)) and isinstance(value, dict) for key, value in data.items())
    tables: dict[str, LatencyTable] = {}
    for size, table in data.items() if by_size else [("", data)]:
        entries = {}
        for key, value in table.items():
            at = (size, key) if by_size else (*inside, key)
            entry = _entry(value)
            if isinstance(entry, str):
                problem(at, entry)
            else:
                entries[key] = entry
        tables[str(size)] = LatencyTable(f"{path}" + (f" at {size}" if by_size else ""), entries, about)
    if problems:
        raise DocumentError(problems)
    return tables


def _entry(value: Any) -> Entry | str:
    """The entry, or the rule that it breaks."""
    if not isinstance(value, dict) or "mean" not in value or set(value) - _FIELDS:
        return f"must be a mapping with mean and maybe {', '.join(sorted(_FIELDS - {'mean'}))}"
    for key, number in value.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= _MOST:
            most = f", at most {_MOST:g}" if isinstance(number, int | float) and number > _MOST else ""
            return f"{key} must be a finite number >= 0{most} (got {_short(number)})"
    if not value["mean"] > 0:
        return f"mean must be > 0 milliseconds (got {value['mean']!r})"
    std = value.get("std", math.sqrt(value["var"]) if "var" in value else None)
    count = value.get("count")
    return Entry(float(value["mean"]), None if std is None else float(std), None if count is None else int(count))


def _short(value: Any) -> str:
    # Python itself refuses to print integers of many digits.
    large = isinstance(value, int) and abs(value) > 10**30
    return f"an integer of {value.bit_length()} bits" if large else repr(value)


def _json(text: str, name: str) -> Any:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        unique: dict[str, Any] = {}
        for key, value in found:
            if key in unique:
                raise DocumentError([f"{name}: {key if key.isprintable() else repr(key)}: duplicate key"])
            unique[key] = value
        return unique

    try:
        return json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        raise DocumentError([f"{name}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}"]) from None
    except RecursionError:
        raise DocumentError([f"{name}: not valid JSON: nested too deep"]) from None
    except DocumentError:
        raise
    except ValueError as error:
        raise DocumentError([f"{name}: not valid JSON: {str(error).partition(';')[0]}"]) from None
