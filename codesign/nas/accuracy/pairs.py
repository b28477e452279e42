"""(network, accuracy) pairs of one's own, from a CSV file.

A line has the network in its space's written form (``network``, JSON or a cell's text, maybe behind ``SPACE:``) or its
genes' options as numbers with blanks between (``code``), and the ``accuracy`` in per cent; other columns are not looked
at::

    network,accuracy
    "{""d"": [2, 2, 2, 2, 2], ...}",74.2

"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codesign.files import decimal, read_csv
from codesign.nas.spaces import Code, Codes, Space, encoding_of
from codesign.networks import NetworkError


def read(file: str | Path, space: Space) -> tuple[Codes, NDArray[np.float64]]:
    """Codes (n, genes) and accuracies (n,) in per cent of a file's networks; a network may be there several times, with
    one accuracy.

    Raises NetworkError that names the file and the line: for a file that cannot be read or has no pair, a column that
    is missing, what is no network of the space, what is no number from 0 to 100, and a network with two accuracies.
    """
    codes: dict[Code, float] = {}
    first: dict[Code, int] = {}
    try:
        columns, rows = read_csv(Path(file))
    except ValueError as error:
        raise NetworkError(str(error)) from None
    form = next((name for name in ("network", "code") if name in columns), None)
    if form is None or "accuracy" not in columns:
        raise NetworkError(
            f"{file}: must have the columns network (or code) and accuracy (got {', '.join(columns) or 'none'})"
        )
    for line, row in rows:
        place = f"{file}:{line}"
        code = _code(place, form, row[form], space)
        value = _accuracy(place, row["accuracy"])
        if codes.setdefault(code, value) != value:
            raise NetworkError(
                f"{place}: accuracy must be {codes[code]:g}, as in line {first[code]} with the same network "
                f"(got {value:g})"
            )
        first.setdefault(code, line)
    if not codes:
        raise NetworkError(f"{file}: must have at least one network (got none)")
    most = max(codes.values())
    if most <= 1:
        raise NetworkError(f"{file}: accuracies must be in per cent (got none above {most:g})")
    return np.array(list(codes), np.int64), np.array(list(codes.values()))


def _code(place: str, form: str, text: str, space: Space) -> Code:
    try:
        if not text:
            raise NetworkError("is missing")
        if form == "network":
            return space.parse(encoding_of(text))
        try:
            return space.check([int(word) for word in text.split()])
        except ValueError as error:
            if isinstance(error, NetworkError):
                raise
            raise NetworkError(f"must be integers with blanks between (got {text!r})") from None
    except NetworkError as error:
        raise NetworkError(f"{place}: {form}: {error}") from None


def _accuracy(place: str, text: str) -> float:
    value = decimal(text)
    if not 0 <= value <= 100:
        raise NetworkError(f"{place}: accuracy must be a number from 0 to 100 per cent (got {text!r})")
    return value
