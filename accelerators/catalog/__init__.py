"""Named hardware: one YAML datasheet a file, a source on every constant; and how any datasheet is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from accelerators.crossbar import datasheet as crossbars
from accelerators.crossbar.crossbar import Crossbar
from accelerators.documents import Document, DocumentError, parse, read
from accelerators.processors import datasheet as processors
from accelerators.processors.processor import Processor
from accelerators.spatial import datasheet as spatial
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.suggestions import did_you_mean

_FOLDER = Path(__file__).parent

#: A piece of hardware of any kind.
Hardware = SpatialAccelerator | Processor | Crossbar
#: How a datasheet becomes hardware, by its ``kind``.
KINDS: Mapping[str, Callable[[Document], Hardware]] = {
    "spatial": spatial.load,
    "processor": processors.load,
    "crossbar": crossbars.load,
}


def names(kind: str = "*") -> tuple[str, ...]:
    """Names of the catalog in alphabetical order, all or those of a kind (one of :data:`KINDS`)."""
    return tuple(sorted(path.stem for path in _FOLDER.glob(f"{kind}/*.yaml")))


def load(name_or_path: str | Path) -> Hardware:
    """Hardware by catalog name, or from a YAML file.

    Raises :class:`~accelerators.documents.DocumentError` for an unknown name (with suggestions) and for everything that
    is wrong with a datasheet.
    """
    text = str(name_or_path)
    return _from_catalog(text) if text in names() else from_document(document(text))


@cache
def _from_catalog(name: str) -> Hardware:
    return from_document(document(name))


def document(name_or_path: str | Path) -> Document:
    """The datasheet of a catalog name, or a YAML file, as plain data; raises like :func:`load`."""
    text, known = str(name_or_path), names()
    if text in known:
        return read(next(_FOLDER.glob(f"*/{text}.yaml")))
    if not text.endswith((".yaml", ".yml")) and not Path(text).is_file():
        raise DocumentError(
            [f"unknown accelerator {text!r}{did_you_mean(text, known)} (known: {', '.join(known)}, or a .yaml file)"]
        )
    return read(text)


def load_spatial(name_or_path: str | Path) -> SpatialAccelerator:
    """A spatial accelerator, see :func:`load`; raises DocumentError for hardware of another kind, too."""
    found = load(name_or_path)
    if not isinstance(found, SpatialAccelerator):
        raise DocumentError([f"{name_or_path}: must be a spatial accelerator (got a {type(found).__name__.lower()})"])
    return found


def from_text(text: str, name: str = "<text>") -> Hardware:
    """Hardware from the text of a datasheet."""
    return from_document(parse(text, name))


def from_document(document: Document) -> Hardware:
    """Hardware from a parsed datasheet, whatever its kind."""
    kind: Any = document.data.get("kind", "spatial") if isinstance(document.data, dict) else "spatial"
    if not isinstance(kind, str) or kind not in KINDS:
        raise DocumentError([document.problem(("kind",), f"must be one of {', '.join(KINDS)} (got {kind!r})")])
    return KINDS[kind](document)
