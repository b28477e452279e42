"""Writing files as a whole or not at all, and reading arrays and tables that may be damaged."""

from __future__ import annotations

import contextlib
import csv
import math
import os
import re
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

#: Bytes of the arrays of a file.
_MOST_BYTES = 2**31
_DECIMAL = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*", re.ASCII)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file such that a kill or a full disk leaves what was there before; text is written as UTF-8.

    Raises OSError that names the file, also where the system's own does not (a full disk).
    """
    # Two processes may write it at once.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


def read_arrays(path: str | Path | BinaryIO) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file, without pickles; raises ValueError for a file that is none, or is damaged."""
    try:
        with Path(path).open("rb") if isinstance(path, str | Path) else contextlib.nullcontext(path) as file:
            if file.read(2) != b"PK":
                raise ValueError("it does not begin like one")
            size = sum(member.file_size for member in ZipFile(file).infolist())
            if size > _MOST_BYTES:
                raise ValueError(f"its arrays must have at most {_MOST_BYTES:,} bytes (got {size:,})")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                found = {key: archive[key] for key in archive.files}
        strange = next((key for key, array in found.items() if not isinstance(array, np.ndarray)), None)
        if strange is not None:
            raise ValueError(f"{strange!r} is no array")
        return found
    # A damaged header fails in any way: it is parsed as Python, unpacked, converted.
    except Exception as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        if "pickle" in str(why).lower():
            why = "it has objects that are no arrays of numbers"
        raise ValueError(f"{path}: cannot be read as an .npz file: {why}") from None


def read_csv(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The columns of a .csv file, and its rows with the lines on which they end; rows without any text are left out.

    Raises ValueError that names the file and the line: for a file that cannot be read, a column that is there twice,
    and rows with more or fewer values than columns.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ValueError(f"{path}: cannot be read as a .csv file: {why}") from None
    columns = [cell.strip() for cell in rows[0][1]] if rows else []
    twice = next((name for i, name in enumerate(columns) if name in columns[:i]), None)
    if twice is not None:
        raise ValueError(f"{path}:1: columns must differ (got {twice!r} twice)")
    found = []
    for line, row in rows[1:]:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(columns):
            hint = "; text with commas must be in quotes" if len(row) > len(columns) else ""
            raise ValueError(f"{path}:{line}: must have {len(columns)} values (got {len(row)}{hint})")
        found.append((line, dict(zip(columns, row, strict=True))))
    return columns, found


def decimal(text: str) -> float:
    """The number that a cell of a file has, written as a plain decimal one; NaN for anything else."""
    return float(text) if _DECIMAL.fullmatch(text) else math.nan
