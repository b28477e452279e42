"""What the validation commands share: reading files with clear errors, and printing tables."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_MOST_LINES = 40
_MOST_DIGITS, _LARGEST_NUMBER = 400, 1e100
#: Of milliseconds and millijoules.
MEASURABLE = (1e-9, 1e12)
#: Of integers in files: what the kernels count with, with room for products.
LARGEST = 2**40


class BadInputError(Exception):
    """A file that a command cannot use; the message names the file, the place and the rule."""

    @classmethod
    def guard(cls, main: Callable[[], int]) -> int:
        """Run a command; bad input becomes one line on stderr and exit code 2."""
        try:
            return main()
        except cls as error:
            print(f"error: {error}", file=sys.stderr)
            return 2


def read_text(path: Path) -> str:
    """Text of a file that may be gzipped."""
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: cannot be read: {error}") from error


def read_json(path: Path) -> Any:
    """A JSON document, maybe gzipped."""
    return parse_json(path, read_text(path))


def parse_json(path: Path, text: str) -> Any:
    """Parse JSON without its extensions (NaN, Infinity), and without numbers that no sum or product could hold."""

    def bounded(convert: Callable[[str], Any]) -> Callable[[str], Any]:
        def number(text: str) -> Any:
            if len(text) > _MOST_DIGITS or not abs(found := convert(text)) <= _LARGEST_NUMBER:
                short = text if len(text) < 20 else f"{text[:10]}.. of {len(text)} characters"
                raise BadInputError(f"{path}: numbers must be at most {_LARGEST_NUMBER:g} (got {short})")
            return found

        return number

    def refuse(constant: str) -> None:
        raise BadInputError(f"{path}: numbers must be finite (got {constant})")

    try:
        return json.loads(text, parse_constant=refuse, parse_int=bounded(int), parse_float=bounded(float))
    except json.JSONDecodeError as error:
        raise BadInputError(f"{path}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{path}: not valid JSON: {str(error).partition(';')[0]}") from error


def fields(where: object, value: Any, wanted: dict[str, type]) -> dict[str, Any]:
    """``value`` if it is an object that has the wanted keys with the wanted types."""
    if not isinstance(value, dict):
        raise BadInputError(f"{where}: must be an object (got {type(value).__name__})")
    for key, kind in wanted.items():
        if key not in value:
            raise BadInputError(f"{where}: {key} is missing")
        if not isinstance(value[key], kind) or (kind is not bool and isinstance(value[key], bool)):
            raise BadInputError(f"{where}: {key} must be a {kind.__name__} (got {type(value[key]).__name__})")
        if kind is int and not -LARGEST <= value[key] <= LARGEST:
            raise BadInputError(f"{where}: {key} must be at most {LARGEST:,}")
    return value


def measurable(path: Path, key: str, values: NDArray[Any]) -> NDArray[np.float64]:
    """Milliseconds or millijoules (n,) as numbers that can be; raises BadInputError, naming the first that cannot."""
    found = values.astype(np.float64)
    least, most = MEASURABLE
    bad = np.nonzero(~((found >= least) & (found <= most)))[0]
    if len(bad):
        rule = f"must be from {least:g} to {most:g}" if found[bad[0]] > 0 else "must be a number > 0"
        raise BadInputError(f"{path}: {key}[{bad[0]}]: {rule} (got {found[bad[0]]:g})")
    if np.ptp(found) == 0:
        raise BadInputError(f"{path}: {key}: values must differ (got {found[0]:g} for all networks)")
    return found


def report(
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    failures: Sequence[str],
    figures: str,
    passed: bool,
    judged: bool = True,
) -> int:
    """Print a table, the failures, and one line of figures; returns the exit code.

    Without failures and without targets nothing was ``judged``, which is said.
    """
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    table = Table(box=None)
    for position, title in enumerate(header):
        table.add_column(title, justify="left" if position == 0 else "right")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    console.print(table)
    for line in failures[:_MOST_LINES]:
        console.print(line, markup=False)
    if len(failures) > _MOST_LINES:
        console.print(f"... and {len(failures) - _MOST_LINES} more")
    verdict = "BELOW TARGET" if not passed else "ok" if judged else "not judged"
    console.print(f"{figures}: {verdict}", markup=False, soft_wrap=True)
    return 0 if passed else 1
