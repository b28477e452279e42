"""Lookup tables: measured latencies of blocks, by key, and their sum over a network.

Read and written are the formats of Once-for-All, ProxylessNAS and NSGANetV2: a mapping from keys such as
``Conv-input:224x224x3-output:112x112x24`` to ``{count, mean, std}`` (or ``var``, the variance), milliseconds, in YAML
or JSON; and several such tables in one file, by the size of the image. A table that this project makes has a head
(``kind: latency_table``) that says where it comes from, and the mapping under ``entries``; its keys may be operators,
``conv2d(K16 C3 P32 Q32 R3 S3)+bn``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerators.documents import DocumentError, parse, read_text
from accelerators.suggestions import did_you_mean

#: The ``kind`` of a file with a head.
KIND = "latency_table"
_FIELDS = {"count", "mean", "std", "var"}
_SIZE = re.compile(r"[0-9]{1,5}")
_MOST_MISSING = 20


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
    the table and were interpolated."""

    latency_ms: float
    std_ms: float | None
    interpolated: tuple[str, ...] = ()


@dataclass(frozen=True)
class LatencyTable:
    """Latencies of blocks on one device, by key."""

    name: str
    entries: Mapping[str, Entry]
    #: Where it comes from, as its file says.
    about: Mapping[str, Any] = field(default_factory=dict)

    def latency(self, keys: Sequence[str], interpolate: bool = False) -> Estimate:
        """The sum over blocks, one after another.

        Raises :class:`MissingKeysError` for blocks that are not in the table. With ``interpolate`` such a block takes
        what the nearest block of its kind takes, scaled by size (:func:`nearest`); if there is none, it is missing.
        """
        found: dict[str, Entry] = {}
        made_up: list[str] = []
        missing: list[str] = []
        for key in dict.fromkeys(keys):
            entry = self.entries.get(key)
            if entry is None and interpolate:
                entry = nearest(self.entries, key)
                made_up += [key] if entry else []
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
        return Estimate(total, None if variance is None else math.sqrt(variance), tuple(made_up))

    def to_json(self) -> str:
        """The table as JSON in the format of Once-for-All, under a head if something is known about it."""
        entries = {key: _record(entry) for key, entry in self.entries.items()}
        return json.dumps({"kind": KIND, **self.about, "entries": entries} if self.about else entries, indent=1)


def _record(entry: Entry) -> dict[str, Any]:
    record = {"count": entry.count, "mean": entry.mean_ms, "std": entry.std_ms}
    return {key: value for key, value in record.items() if value is not None}


def nearest(entries: Mapping[str, Entry], key: str) -> Entry | None:
    """What a block takes that differs from blocks of a table in its sizes only: the nearest one's, scaled.

    Sizes are the numbers of a key. Blocks of a kind have equal text between them, kernel, stride and flags included.
    The nearest has the least distance of the sizes' logarithms. Time goes with the geometric mean of input and output
    words, and with the expansion; that of an operator with the product of its bounds.
    """
    words, sizes = _parts(key)
    best, least = None, math.inf
    for known, entry in entries.items():
        their_words, theirs = _parts(known)
        if their_words != words:
            continue
        distance = sum(abs(math.log(a / b)) for a, b in zip(sizes, theirs, strict=True))
        if distance < least:
            ratio = math.prod((a / b) ** w for a, b, w in zip(sizes, theirs, _weights(words, len(sizes)), strict=True))
            best, least = Entry(entry.mean_ms * ratio, entry.std_ms and entry.std_ms * ratio), distance
    return best


_SIZES = re.compile(r"(?<=input:)[0-9x]+|(?<=output:)[0-9x]+|(?<=expand:)[0-9]+|(?<=[( ][NGKCPQ])[0-9]+")


def _weights(words: str, count: int) -> list[float]:
    if "put:" not in words:
        return [1.0] * count
    # The expansion comes last.
    return [0.5] * count if "expand:" not in words else [*[0.5] * (count - 1), 1.0]


def _parts(key: str) -> tuple[str, tuple[int, ...]]:
    sizes = [int(n) for found in _SIZES.findall(key) for n in found.split("x")]
    shape = _SIZES.sub(lambda match: "x".join("#" for _ in match[0].split("x")), key)
    return shape, tuple(max(1, size) for size in sizes)


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
        if not isinstance(data.get("entries"), dict) or not data["entries"]:
            problem(("entries",) if "entries" in data else (), "entries: must be a mapping of keys to entries")
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
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number) or number < 0:
            return f"{key} must be a finite number >= 0 (got {number!r})"
    if not value["mean"] > 0:
        return f"mean must be > 0 milliseconds (got {value['mean']!r})"
    std = value.get("std", math.sqrt(value["var"]) if "var" in value else None)
    count = value.get("count")
    return Entry(float(value["mean"]), None if std is None else float(std), None if count is None else int(count))


def _json(text: str, name: str) -> Any:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in found]
        for i, key in enumerate(keys):
            if key in keys[:i] and len(keys) < 50_000:
                raise DocumentError([f"{name}: {key}: duplicate key"])
        return dict(found)

    try:
        return json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        raise DocumentError([f"{name}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}"]) from None
    except RecursionError:
        raise DocumentError([f"{name}: not valid JSON: nested too deep"]) from None
