"""What a run found, in a few figures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codesign.experiments.candidates import OBJECTIVES, Record
from codesign.experiments.ledger import Ledger
from codesign.experiments.run import BASELINE


@dataclass(frozen=True)
class PointSummary:
    """One point of a run: the best design by every objective of the point, and the baseline's objectives if known."""

    point: int
    label: dict[str, Any]
    generations: int
    evaluated: int
    infeasible: int
    best: dict[str, tuple[str, dict[str, float]]]
    baseline: dict[str, float] | None


def summaries(folder: Path) -> Iterator[PointSummary]:
    """Every point of the run in a folder; raises :class:`~codesign.experiments.ledger.LedgerError`."""
    with Ledger(folder, write=False) as ledger:
        for index, label in enumerate(ledger.meta["points"]):
            records = ledger.objectives(index)
            baseline = records.pop(BASELINE, None)
            fine = {key: record["objectives"] for key, record in records.items() if record["status"] == "ok"}
            yield PointSummary(
                index,
                label,
                len(ledger.generations(index)),
                len(records),
                len(records) - len(fine),
                {goal: _least(fine, goal) for goal in OBJECTIVES} if fine else {},
                baseline["objectives"] if baseline and baseline["status"] == "ok" else None,
            )


def _least(records: dict[str, Record], goal: str) -> tuple[str, dict[str, float]]:
    key = min(records, key=lambda each: (records[each].get(goal, math.inf), each))
    return key, records[key]
