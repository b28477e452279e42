"""Figures and choices in the words of a report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from codesign.reports._run import Candidate
from codesign.reports.tables import si, times

#: Objectives by name: what a reader calls them, factor to the unit, unit.
GOALS = {
    "edp": ("EDP", 1.0, "J·s"),
    "energy": ("energy", 1e-12, "J"),
    "latency": ("latency", 1.0, "s"),
    "area": ("area", 1.0, "mm²"),
    "accuracy": ("accuracy", 1.0, ""),
}
#: Rows of a table: more than that nobody reads.
MOST_ROWS = 50
TIMES, DASH = "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"

Table = dict[str, Any]


def title(goal: str) -> str:
    """What a reader calls an objective."""
    return GOALS[goal][0]


def value(goal: str, number: float | None) -> str:
    """An objective with its unit, ready to read; a dash for None. Accuracies are in per cent, or scores."""
    if number is None:
        return DASH
    _, factor, unit = GOALS[goal]
    return f"{number:.4g} {unit}".rstrip() if goal in ("area", "accuracy") else with_unit(number * factor, unit)


def sure(candidate: Candidate) -> str:
    """The standard deviation of a design's accuracy, where it is known."""
    return "" if candidate.uncertainty is None else f" \N{PLUS-MINUS SIGN} {candidate.uncertainty:.2g}"


def with_unit(number: float, unit: str) -> str:
    """A number with an SI prefix and its unit."""
    return si(number).replace("u", "µ") + unit


def ratio(goal: str, number: float | None, base: float | None) -> str:
    """How a value compares with the baseline's; less is better, but of accuracies."""
    if number is None or base is None:
        return ""
    if goal == "accuracy":
        return f"{number - base:+.3g} points"
    if not number > 0 or not base > 0:
        return ""
    return times(number, base, TIMES)


def said(chosen: Any) -> str:
    """A chosen value in words; an array as ``Q:16 x K:6``."""
    if isinstance(chosen, list):
        if chosen and all(isinstance(axis, list) and len(axis) == 2 and isinstance(axis[0], list) for axis in chosen):
            return f" {TIMES} ".join(f"{' '.join(map(str, dims))}:{size}" for dims, size in chosen)
        return " ".join(map(said, chosen))
    return f"{chosen:g}" if isinstance(chosen, float) else str(chosen)


def choices(candidate: Candidate) -> list[str]:
    """What a design chose, parameter by parameter."""
    return [f"{name} {said(chosen)}" for name, chosen in candidate.choices.items()]


def pattern(reason: str) -> str:
    """A reason without its numbers, so that like ones are counted together; digits of names stay."""
    return re.sub(r"(?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?(?!\w)", "…", reason)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], text: int = 1, most: int = MOST_ROWS) -> Table:
    """A table whose first ``text`` columns hold words and whose others hold figures."""
    listed = [list(row) for row in rows]
    return {"columns": list(columns), "rows": listed[:most], "text": text, "left_out": max(0, len(listed) - most)}
