"""What all commands share: the app, its options, how arguments are read and files are written."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from codesign.files import write_whole

if TYPE_CHECKING:
    from accelerators.catalog import Hardware
    from accelerators.spatial.architecture import SpatialAccelerator
    from codesign.devices import Device


app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


#: Of a number on the command line.
MOST_DIGITS = 18


Network = Annotated[str, typer.Argument(help="name from `codesign list networks`, an .onnx file, or SPACE:ENCODING")]


Seed = Annotated[int, typer.Option(help="seed of the mapper", min=0)]


Goal = Annotated[str, typer.Option("--objective", help="what mappings minimise: edp, energy or latency")]


MapperName = Annotated[
    str | None,
    typer.Option(
        "--mapper",
        help="optimal, local_search, genetic, cma_es, random or exhaustive (optimal, helped by local_search where a "
        "proof takes too long)",
    ),
]


Evaluations = Annotated[
    int | None,
    typer.Option(help="mappings that a mapper without proof tries per distinct layer (40,000)", min=1, max=100_000_000),
]


Restriction = Annotated[
    str | None,
    typer.Option(
        "--constraints",
        help="constraints instead of the native dataflow: a .yaml file, or a name from `codesign list dataflows`",
    ),
]


Pad = Annotated[bool, typer.Option("--pad", help="let mappings pad bounds that the array does not divide")]


Bypass = Annotated[bool, typer.Option("--bypass", help="let mappings skip levels")]


Batch = Annotated[int | None, typer.Option(help="batch size", min=1, max=10**MOST_DIGITS)]


SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="option of the network or space, e.g. sequence=384, width=1.2"),
]


Dimension = Annotated[
    list[str] | None, typer.Option("--dim", metavar="NAME=NUMBER", help="value of a dynamic ONNX dimension")
]


AllowUnknown = Annotated[bool, typer.Option("--allow-unknown", help="cost unsupported ONNX operators as data movement")]


class RefusedError(Exception):
    """A request that cannot be met; the message is for the user."""


def console_of() -> Console:
    # Piped output keeps its columns: no wrapping at a guess of 80.
    return Console(width=None if sys.stdout.isatty() else 160)


def network_of(
    name: str, batch: int | None, options: list[str] | None, dimensions: list[str] | None, allow_unknown: bool
) -> Any:
    from codesign.nas import spaces

    parts = spaces.split(name)
    if parts is not None:
        given = [option for option, value in (("--dim", dimensions), ("--allow-unknown", allow_unknown)) if value]
        if given:
            raise RefusedError(f"{given[0]} is for .onnx files, and {parts[0]} is a space")
        return spaces.named_network(name, batch=batch, **values_of("--set", options))
    settings: dict[str, Any] = numbers_of("--set", options)
    if dimensions:
        settings["dimensions"] = numbers_of("--dim", dimensions)
    if allow_unknown:
        settings["allow_unknown"] = True
    return spaces.named_network(name, batch=batch, **settings)


def numbers_of(option: str, pairs: Iterable[str] | None) -> dict[str, int]:
    numbers = {}
    for pair in pairs or ():
        name, separator, value = pair.partition("=")
        if not separator or not value.isdecimal():
            raise RefusedError(f"{option} takes NAME=NUMBER (got {pair!r})")
        if len(value) > MOST_DIGITS:
            raise RefusedError(f"{option} {name}: must have at most {MOST_DIGITS} digits (got {len(value)})")
        numbers[name] = int(value)
    return numbers


def values_of(option: str, pairs: Iterable[str] | None) -> dict[str, Any]:
    """Options with values of any kind: numbers, true and false, lists, text."""
    found: dict[str, Any] = {}
    for pair in pairs or ():
        name, separator, value = pair.partition("=")
        if not separator or not name.isidentifier():
            raise RefusedError(f"{option} takes NAME=VALUE (got {pair!r})")
        try:
            found[name] = json.loads(value)
        except (ValueError, RecursionError):
            found[name] = value
    return found


def hardware_of(names: Sequence[str], interpolate: bool = False, extrapolate: bool = False) -> list[Hardware | Device]:
    """Hardware and devices of any kind; raises DocumentError for all names at once."""
    from codesign import devices

    return _loaded(names, functools.partial(devices.load, interpolate=interpolate, extrapolate=extrapolate))


def accelerators_of(names: Sequence[str]) -> list[SpatialAccelerator]:
    """Spatial accelerators, the hardware that has mappings."""
    from accelerators import catalog

    return _loaded(names, catalog.load_spatial)


def _loaded(names: Sequence[str], load: Callable[[str], Any]) -> list[Any]:
    from accelerators.documents import DocumentError

    loaded: list[Any] = []
    problems: list[str] = []
    for name in names:
        try:
            loaded.append(load(name))
        except DocumentError as error:
            problems += error.problems
    if problems:
        raise DocumentError(problems)
    labels = [hardware.name for hardware in loaded]
    for label in labels:
        if labels.count(label) > 1:
            raise RefusedError(f"candidates must have different names (got {label} twice)")
    return loaded


def restricted(candidates: list[SpatialAccelerator], constraints: str | None) -> list[SpatialAccelerator]:
    """The candidates with other constraints than their native dataflows."""
    if constraints is None:
        return candidates
    from accelerators.spatial import constraint_files

    rules = constraint_files.load(constraints)
    return [replace(accelerator, dataflow=rules.resolve(accelerator)) for accelerator in candidates]


def objective_of(name: str) -> Any:
    from mappers import OBJECTIVES

    if name not in OBJECTIVES:
        raise RefusedError(f"--objective must be one of {', '.join(OBJECTIVES)} (got {name!r})")
    return name


def mapper_of_name(name: str | None) -> Any:
    from mappers.search import mapper_of

    try:
        return mapper_of(name)
    except ValueError as error:
        raise RefusedError(f"--{error}") from None


class progress:  # noqa: N801 - used like a function
    """A progress bar on a terminal, nothing when piped."""

    def __enter__(self) -> Any:
        from rich.progress import Progress

        self.bar = Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
        self.bar.start()
        self.tasks: dict[str, Any] = {}
        return self.update

    def update(self, hardware: str, done: int, total: int) -> None:
        if hardware not in self.tasks:
            self.tasks[hardware] = self.bar.add_task(hardware, total=total)
        self.bar.update(self.tasks[hardware], completed=done)

    def __exit__(self, *details: object) -> None:
        self.bar.stop()


def require_writable_file(path: Path) -> None:
    """Refuse a file that cannot be written before the work is done."""
    if path.is_dir():
        raise RefusedError(f"{path}: cannot be written: it is a folder")
    if path.exists() and not path.is_file():
        raise RefusedError(f"{path}: cannot be written: it is no regular file")
    part = path.with_name(f".{path.name}.part")
    try:
        part.touch()
        part.unlink()
    except OSError as error:
        raise RefusedError(f"{path}: cannot be written: {error.strerror}") from None


def require_writable_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RefusedError(f"{path}: cannot be written: {error.strerror}") from None


def write(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise RefusedError(f"{path}: cannot be written: it is no regular file")
    try:
        write_whole(path, content)
    except OSError as error:
        raise RefusedError(f"{path}: cannot be written: {error.strerror}") from None


def datasheet_path(name: str, file: Path) -> str | None:
    """How a file names the datasheet of an accelerator that is not in the catalog: relative to itself."""
    from accelerators import catalog

    return None if name in catalog.names() else os.path.relpath(name, file.parent)
