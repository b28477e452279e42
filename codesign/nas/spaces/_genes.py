"""Checks of genes, which come from arrays, JSON files and search strategies alike."""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Iterable
from typing import Any

from codesign.networks import NetworkError


def chosen(
    place: str,
    values: Iterable[Any],
    choices: Collection[int],
    length: int | None = None,
    positions: Iterable[int] | None = None,
) -> tuple[int, ...]:
    """The values, or those at some positions, as Python integers.

    Raises NetworkError, naming the gene, unless there are ``length`` values and the asked ones are in ``choices``. What
    stands elsewhere does not matter.
    """
    try:
        found = list(values)
    except TypeError:
        raise NetworkError(f"{place} must be a list of integers (got {values!r})") from None
    if length is not None and len(found) != length:
        raise NetworkError(f"{place} must have {length} values (got {len(found)})")
    result = []
    for position in range(len(found)) if positions is None else positions:
        try:
            value = operator.index(found[position])
        except TypeError:
            value = found[position]
        if not isinstance(value, int) or value not in choices:
            raise NetworkError(f"{place}[{position}] must be one of {', '.join(map(str, choices))} (got {value!r})")
        result.append(value)
    return tuple(result)


def count(place: str, value: Any, least: int = 1) -> int:
    """The value as a Python integer; NetworkError unless it is an integer of at least ``least``."""
    try:
        found = operator.index(value)
    except TypeError:
        found = least - 1
    if found < least:
        raise NetworkError(f"{place} must be an integer >= {least} (got {value!r})")
    return found


def positive(place: str, value: Any) -> float:
    """The value as a float; NetworkError unless it is a positive number."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not 0 < found < math.inf:
        raise NetworkError(f"{place} must be a positive number (got {value!r})")
    return found
