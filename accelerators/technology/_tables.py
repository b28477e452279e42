"""The CSV files in ``data/``, read when first needed and kept."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "data"


@cache
def rows(name: str) -> tuple[dict[str, str], ...]:
    """All rows of ``data/<name>.csv``, as text."""
    with (_FOLDER / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


@cache
def citation(key: str) -> str:
    """Origin and status of a source key that the tables use."""
    row = next(row for row in rows("sources") if row["key"] == key)
    return row["source"] if row["status"] in ("measured", "published figure") else f"{row['source']}, {row['status']}"
