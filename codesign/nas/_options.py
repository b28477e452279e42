"""Options that come as plain data, from an experiment's file: do they belong to what is made, are they of its type?"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from accelerators.suggestions import did_you_mean
from codesign.networks import NetworkError


def known(place: str, kind: str, name: Any, names: Iterable[str]) -> str:
    """The name; NetworkError, with all names, if it is none of them."""
    listed = list(names)
    if isinstance(name, str) and name in listed:
        return name
    close = did_you_mean(name, listed) if isinstance(name, str) else ""
    raise NetworkError(f"{place}: no {kind} is called {name!r}{close or ';'} (there are {', '.join(listed)})")


def belong(place: str, make: Callable[..., Any], options: Mapping[str, Any], but: Iterable[str] = ()) -> None:
    """NetworkError for options that are no parameters of ``make``, or are those in ``but``; or for missing ones."""
    without = set(but)
    named = {name: each for name, each in inspect.signature(make).parameters.items() if name not in without}
    parameters = {name: each for name, each in named.items() if each.kind is not each.VAR_KEYWORD}
    for name in options:
        # What takes any option says itself what is wrong with it.
        if name not in parameters and len(parameters) == len(named):
            has = f"its options are {', '.join(parameters)}" if parameters else "it has none"
            raise NetworkError(f"{place}: unknown option {name!r}{did_you_mean(str(name), parameters) or ';'} ({has})")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in options:
            raise NetworkError(f"{place}: {name} is missing")


def flag(place: str, value: Any) -> bool:
    """The value; NetworkError unless it is true or false."""
    if not isinstance(value, bool):
        raise NetworkError(f"{place} must be true or false (got {value!r})")
    return value


def whole(place: str, value: Any, least: int) -> int:
    """The value; NetworkError unless it is an integer of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise NetworkError(f"{place} must be an integer >= {least} (got {value!r})")
    return value


def number(place: str, value: Any) -> float:
    """The value; NetworkError unless it is a finite number > 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise NetworkError(f"{place} must be a number > 0 (got {value!r})")
    return float(value)
