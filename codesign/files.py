"""Writing files as a whole or not at all, and reading arrays that may be damaged."""

from __future__ import annotations

import contextlib
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray


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
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files}
    except (OSError, EOFError, KeyError, ValueError, MemoryError, NotImplementedError, BadZipFile, zlib.error) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        if "pickle" in str(why).lower():
            why = "it has objects that are no arrays of numbers"
        raise ValueError(f"{path}: cannot be read as an .npz file: {why}") from None
