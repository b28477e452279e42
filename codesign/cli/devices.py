"""``profile`` and ``learn``: devices from measurements, made here or elsewhere."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress

from accelerators.processors import lookup
from codesign.cli._app import (
    Batch,
    RefusedError,
    SetOption,
    app,
    console_of,
    network_of,
    numbers_of,
    require_writable_file,
    write,
)

if TYPE_CHECKING:
    from codesign.networks import Network

_THIS = "this-cpu"
#: Median error of a table above which a user is warned.
_UNSURE = 0.2
#: Measurements below which nothing is known about how good a predictor is.
_FEW = 15
#: Lines of a file that are told to be wrong.
_MOST_PROBLEMS = 20
#: Columns of a file of measurements, by unit.
_MEASURED = {"latency_ms": "ms", "energy_mj": "mJ"}


@app.command()
def profile(
    networks: Annotated[
        list[str] | None, typer.Argument(help="networks whose operators are timed: names or SPACE:ENCODING")
    ] = None,
    out: Annotated[Path, typer.Option(help="the table: a .json file")] = Path("this_cpu.json"),
    device: Annotated[str, typer.Option(help="the machine that is timed; there is one: this-cpu")] = _THIS,
    space: Annotated[
        str | None, typer.Option(help="a network space: random networks until they show no new operators")
    ] = None,
    keys: Annotated[
        str, typer.Option(help="operators, or blocks of inverted residuals as ofa, proxyless or nsganet write them")
    ] = "operators",
    name: Annotated[str, typer.Option(help="what the device is called in results")] = "this_cpu",
    repeats: Annotated[int, typer.Option(help="runs that are timed", min=3, max=10_000)] = 20,
    warm_ups: Annotated[int, typer.Option(help="runs before them", min=0, max=10_000)] = 5,
    threads: Annotated[int | None, typer.Option(help="threads (PyTorch's choice)", min=1, max=1024)] = None,
    most: Annotated[int, typer.Option(help="networks of a space that are timed at most", min=1, max=10_000)] = 100,
    seed: Annotated[int, typer.Option(help="seed of the random networks", min=0)] = 0,
    batch: Batch = None,
    options: SetOption = None,
) -> None:
    """Time operators of networks with PyTorch on this machine: a latency table for `codesign evaluate --on`."""
    if device != _THIS:
        raise RefusedError(f"--device must be {_THIS}: this machine is the only one that can be timed (got {device!r})")
    if bool(networks) == (space is not None):
        raise RefusedError("profile takes networks, or --space")
    if out.suffix != ".json":
        raise RefusedError(f"{out}: a table is a .json file")
    require_writable_file(out)
    if not lookup.is_name(name):
        raise RefusedError(f"--name must be letters, digits and _ . + - (got {name!r})")
    from codesign import profiling
    from codesign.nas import spaces
    from codesign.nas.lookup_keys import STYLES

    style = next((style for style in STYLES if style == keys), None)
    if style is None and keys != "operators":
        raise RefusedError(f"--keys must be one of operators, {', '.join(STYLES)} (got {keys!r})")
    if space is not None:
        found = spaces.load(space, **numbers_of("--set", options))
        timed = profiling.cover(found, seed=seed, most=most, batch=batch or 1)
    else:
        timed = [network_of(text, batch, options, None, False) for text in networks or ()]
    settings = profiling.Settings(warm_ups, repeats, threads)
    console = console_of()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("timing networks", total=None)
        table = profiling.profile(
            timed,
            settings,
            style=style,
            name=name,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    write(out, table.to_json())
    console.print(f"{len(table.entries)} entries from {len(timed)} networks on {table.about['device']}", markup=False)
    console.print(f"{table.about['error']}; {out}", markup=False, highlight=False)
    if table.error is None or table.error > _UNSURE:
        console.print(
            "warning: sums of the table are far from what networks take: the machine did something else meanwhile, or "
            "has fewer free cores than threads. Try again when it is idle, or with --threads 1.",
            markup=False,
        )


@app.command()
def learn(
    measurements: Annotated[Path, typer.Argument(help="a .csv file with columns network and latency_ms or energy_mj")],
    out: Annotated[Path, typer.Option(help="the predictor: an .npz file")],
    reference: Annotated[
        str | None, typer.Option(help="start from a processor, or from another device's predictor (.npz)")
    ] = None,
    model: Annotated[
        str, typer.Option(help="processes (Gaussian), or HAT's perceptron, which wants more measurements")
    ] = "processes",
    batch: Batch = None,
    options: SetOption = None,
) -> None:
    """Learn a device from networks that were measured on it: a predictor for `codesign evaluate --on`."""
    if out.suffix != ".npz":
        raise RefusedError(f"{out}: a predictor is an .npz file")
    require_writable_file(out)
    unit, networks, values, lines = _measured(measurements, batch, options)
    from codesign.predictors import Predictor
    from codesign.predictors.predictor import MODELS

    if model not in MODELS:
        raise RefusedError(f"--model must be one of {', '.join(MODELS)} (got {model!r})")
    try:
        predictor = Predictor(unit, reference, model)
    except ValueError as error:
        raise RefusedError(f"--reference: {error}") from None
    try:
        predictor.fit(networks, values)
    except (ValueError, ImportError) as error:
        raise RefusedError(f"{measurements}: {error}") from None
    content = io.BytesIO()
    predictor.save(content)
    write(out, content.getvalue())
    console = console_of()
    seen = ", ".join(predictor.learnt_from)
    console.print(f"learnt from {predictor.measurements} networks; sees {seen}", markup=False, soft_wrap=True)
    for row in predictor.outliers:
        text = f"{values[row]:g} {unit}, which the others find impossible: mend or delete it"
        console.print(f"warning: left out: {measurements}:{lines[row]}: {text}", markup=False, soft_wrap=True)
    missed = "unknown" if predictor.error is None or math.isnan(predictor.error) else f"{predictor.error:.1%}"
    text = f"left out in turn, networks are predicted with a median error of {missed}"
    if len(networks) < _FEW:
        text += f" (of {len(networks)} networks: do not rely on it, nor on standard deviations)"
    console.print(f"{text}; {out}", markup=False, highlight=False)


def _measured(
    path: Path, batch: int | None, options: list[str] | None
) -> tuple[str, list[Network], list[float], list[int]]:
    """The unit, the networks, what was measured and its lines; raises RefusedError with the line."""
    from codesign.files import decimal, read_csv
    from codesign.networks import NetworkError

    try:
        header, rows = read_csv(path)
    except ValueError as error:
        raise RefusedError(str(error)) from None
    units = [column for column in header if column in _MEASURED]
    if "network" not in header or len(units) != 1:
        raise RefusedError(
            f"{path}:1: columns must be network and one of {', '.join(_MEASURED)} (got {', '.join(header) or 'none'})"
        )
    networks, values, lines, problems = [], [], [], []
    for line, row in rows:
        text, name = row[units[0]], row["network"].strip()
        value = decimal(text)
        if not 0 < value < math.inf:
            problems.append(f"{path}:{line}: {units[0]} must be a number > 0 (got {text!r})")
            continue
        # Files are named relative to this one.
        file = path.parent / name
        try:
            networks.append(network_of(str(file) if file.suffix == ".onnx" else name, batch, options, None, False))
        except NetworkError as error:
            problems.append(f"{path}:{line}: {error}")
            continue
        values.append(value)
        lines.append(line)
    if problems:
        more = len(problems) - _MOST_PROBLEMS
        raise RefusedError("\n".join([*problems[:_MOST_PROBLEMS], *([f"and {more} more lines"] if more > 0 else [])]))
    return _MEASURED[units[0]], networks, values, lines
