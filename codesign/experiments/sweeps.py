"""Sweeps: one file of an experiment, with some of its values varied, becomes several."""

from __future__ import annotations

import copy
import itertools
import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from accelerators.documents import Document, DocumentError, Path_
from accelerators.units import split_unit
from codesign.experiments.sheet import MOST_POINTS, RangeSheet, SweepSheet

_STEP = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)|\[(\d+)\]")


def variants(document: Document, sweep: SweepSheet | None) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(what is set, the file's data with it) of every point; raises DocumentError for a sweep that cannot be."""
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
        if count > MOST_POINTS:
            problems.append(
                document.problem(("sweep", "over"), f"must have at most {MOST_POINTS} points (got {count})")
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
        if (high - low) / step >= MOST_POINTS:
            raise ValueError(f"must have at most {MOST_POINTS} points")
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
