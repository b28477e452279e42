"""What a run found, in a few figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codesign.experiments.candidates import minimised, scores
from codesign.experiments.experiment import point_sheets
from codesign.experiments.ledger import Ledger
from codesign.experiments.run import BASELINE
from codesign.search import pareto


@dataclass(frozen=True)
class PointSummary:
    """One point of a run: the best design with its objectives, and the baseline's objectives if known.

    The best has the least objective, or of the front of several objectives the least EDP; of equals the first.

    ``rejected`` proposals were above the budget or no design at all; ``infeasible`` designs were evaluated and cannot
    work.
    """

    point: int
    label: dict[str, Any]
    networks: tuple[str, ...]
    compared_with: str | None
    generations: int
    rejected: int
    evaluated: int
    infeasible: int
    best: tuple[str, dict[str, float]] | None
    baseline: dict[str, float] | None
    #: Name of the best design, if designs were given.
    given: str | None = None


def summaries(folder: Path) -> Iterator[PointSummary]:
    """Every point of the run in a folder; raises :class:`~codesign.experiments.ledger.LedgerError`."""
    with Ledger(folder, write=False) as ledger:
        sheets = point_sheets(ledger.meta["experiment"], Path(ledger.meta["source"]))
        for index, (label, sheet) in enumerate(zip(ledger.meta["points"], sheets, strict=True)):
            records = ledger.objectives(index)
            baseline = records.pop(BASELINE, None)
            generations = ledger.generations(index).values()
            fine = {
                key: record["objectives"]
                for key, record in records.items()
                if math.isfinite(sum(scores(record, sheet.objective)))
            }
            best = _best(fine, sheet.objective, [key for each in generations for key in each["candidates"]])
            given = ledger.candidate(index, best[0])["choices"].get("accelerator") if best else None
            yield PointSummary(
                index,
                label,
                sheet.run_names,
                sheet.compared_with,
                len(generations),
                sum(sum(generation["rejected"].values()) for generation in generations),
                len(records),
                len(records) - len(fine),
                best,
                baseline["objectives"] if baseline and baseline["status"] == "ok" else None,
                given,
            )


def _best(
    found: dict[str, dict[str, float]], goals: Sequence[str], proposed: Sequence[str]
) -> tuple[str, dict[str, float]] | None:
    # In the order of the proposals; those of a generation that is not finished come last.
    places = {key: i for i, key in reversed(list(enumerate(proposed)))}
    keys = sorted(found, key=lambda key: (places.get(key, math.inf), key))
    if not keys:
        return None
    points = np.array([minimised(found[key], goals) for key in keys])
    edp = np.array([found[key].get("edp", points[i, 0]) for i, key in enumerate(keys)])
    key = keys[pareto.best(points, edp)]
    return key, found[key]
