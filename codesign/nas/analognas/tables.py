"""Tables of networks and what became of them on crossbars, in the format of those published with AnalogNAS.

Columns of the CSV files are the 22 numbers of the encoding (kinds also as letters A to D), ``1_day_accuracy`` and
``1_day_accuracy_std`` in 0..1, and ``AVM`` in points. Others may follow; ``network`` numbers the networks of a table
that has some of them twice.

The three published tables (CIFAR-10, visual wake words, keyword spotting) are good for trying out a reader only: one
rule separates their good networks from the bad ones without error (in keyword spotting there are none), and within
either class nothing predicts anything.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codesign.nas.analognas.surrogate import Labels
from codesign.nas.spaces.analog_resnet import FEATURES

#: Columns of the labels, in the order of :class:`Labels`.
LABELS = ("1_day_accuracy", "1_day_accuracy_std", "AVM")
_KINDS = {letter: float(number) for number, letter in enumerate("ABCD", start=1)}


class Table(NamedTuple):
    """Rows of a table: which network each is, (n,), encodings (n, 22), and labels."""

    network: NDArray[np.int64]
    features: NDArray[np.float64]
    labels: Labels

    def where(self, rows: NDArray[np.int64]) -> Table:
        """Some of the rows."""
        return Table(self.network[rows], self.features[rows], Labels(*(values[rows] for values in self.labels)))


def read_table(path: Path) -> Table:
    """Read a table; raises ValueError that names the file, the line and the rule."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows, names = list(reader), reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from None
    for column in (*FEATURES, *LABELS):
        if column not in names:
            raise ValueError(f"{path}:1: column {column} is missing")
    if not rows:
        raise ValueError(f"{path}: must have a row")
    features = np.array([[_number(path, i, row, name) for name in FEATURES] for i, row in enumerate(rows)])
    labels = np.array([[_number(path, i, row, name) for i, row in enumerate(rows)] for name in LABELS])
    numbered = [_number(path, i, row, "network") if "network" in names else i for i, row in enumerate(rows)]
    return Table(np.array(numbered, np.int64), features, Labels(*labels))


def _number(path: Path, index: int, row: dict[str, str], column: str) -> float:
    text = row[column]
    if column.startswith("convblock") and text in _KINDS:
        return _KINDS[text]
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = np.nan
    if not np.isfinite(value):
        raise ValueError(f"{path}:{index + 2}: {column} must be a number (got {text!r})")
    return value
