"""``nas``, ``sample`` and ``score``: networks of a space searched for given hardware, drawn, looked at one by one."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codesign.cli._app import (
    RefusedError,
    app,
    console_of,
    hardware_of,
    progress,
    require_writable_file,
    values_of,
    write,
)

if TYPE_CHECKING:
    from accelerators.catalog import Hardware
    from codesign.devices import Device
    from codesign.experiments.experiment import Point
    from codesign.experiments.network_search import Judged, NetworkSearch
    from codesign.nas.spaces import Code

Space = Annotated[str, typer.Argument(help="name from `codesign list spaces`, or a .yaml file")]
Options = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="option of the space, e.g. width=1.2")
]
Accuracy = Annotated[str | None, typer.Option(help="estimator of the accuracy, e.g. ofa, nas_bench_201, naswot")]
AccuracyOptions = Annotated[
    list[str] | None,
    typer.Option("--accuracy-set", metavar="NAME=VALUE", help="option of the estimator, e.g. oracle=test_200"),
]


@app.command()
def nas(
    file: Annotated[Path, typer.Argument(help="an experiment with nas and given accelerators")],
    rows: Annotated[int, typer.Option(help="networks of every front that are shown", min=1)] = 10,
    csv: Annotated[Path | None, typer.Option(help="file for the whole fronts")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="file for the whole fronts")] = None,
) -> None:
    """Search networks for given hardware, and print the front of accuracy and cost.

    Best is the cheapest network for a level of accuracy (nas.at_least), the most accurate one within a limit of the
    cost (nas.at_most), or that of the greatest reward (nas.reward); with none of them the whole front is searched.
    `codesign run` keeps a ledger, writes a report, and searches hardware as well.
    """
    from codesign.experiments.experiment import Experiment

    outputs = [path for path in (csv, json_file) if path is not None]
    experiment = Experiment.load(file, fronts=True)
    read = {file.resolve(), *(Path(name).resolve() for name in experiment.files)}
    for path in outputs:
        if path.resolve() in read or outputs.count(path) > 1:
            raise RefusedError(f"{path}: would be written over what is read, or written twice")
        require_writable_file(path)
    points = experiment.points
    for point in points:
        if point.nas is None:
            raise RefusedError(f"{file}: nas is required: which networks are searched")
        if not point.sheet.hardware.given:
            raise RefusedError(f"{file}: hardware is searched here: codesign run {file}, or give hardware.accelerators")
    found = [record for point in points for record in _fronts(point, rows)]
    if csv is not None:
        write(csv, _csv(found))
    if json_file is not None:
        write(json_file, json.dumps(found, indent=1))
    if not found:
        raise typer.Exit(1)
    if csv is None and json_file is None:
        console_of().print("encodings, for `codesign evaluate` and `score`: --csv FILE", highlight=False)


def _fronts(point: Point, rows: int) -> list[dict[str, Any]]:
    """Search on every accelerator of a point, print what was found, and return it."""
    from rich.table import Table

    from accelerators.crossbar.crossbar import Crossbar
    from codesign.experiments.network_search import NetworkSearch, NothingRunsError, goal_value
    from codesign.experiments.task import hardware_of as built
    from codesign.experiments.task import mapping_settings, require_within

    assert point.nas is not None
    search = NetworkSearch.of(point.nas)
    console = console_of()
    label = ", ".join(f"{path}={value}" for path, value in point.label.items())
    found: list[dict[str, Any]] = []
    for name, datasheet in point.fixed.items():
        with progress() as report:
            try:
                hardware = built(datasheet, name)
                require_within(hardware, point.settings)
                shown_as = functools.partial(report, name)
                judged = search.run(hardware, progress=shown_as, **mapping_settings(point.settings))
            except NothingRunsError as error:
                console.print(f"{name}: {error}", markup=False, highlight=False)
                continue
        title = f"{search.space.name} on {name}{', ' + label if label else ''}: {judged.count} networks judged, "
        title += f"{len(judged.front)} on the front of accuracy ({search.estimator.kind}) and {point.nas['goal']}"
        table = Table(box=None, title=title, title_justify="left")
        for column in ("accuracy", "EDP mJ ms", "energy mJ", "latency ms"):
            table.add_column(column, justify="right")
        table.add_column("network", overflow="fold")
        marks = _marks(search, judged)
        kept = [row for i, row in enumerate(judged.front) if row[3] in marks or i % -(-len(judged.front) // rows) == 0]
        for accuracy, energy_pj, latency_s, code in judged.front:
            edp_js = goal_value(energy_pj, latency_s, "edp")
            record = {"hardware": name, **({"point": label} if label else {}), "accuracy": accuracy}
            record |= {"energy_pj": energy_pj, "latency_s": latency_s, "edp_js": None if math.isnan(edp_js) else edp_js}
            found.append({**record, "network": f"{point.nas['space']}:{search.space.text(code)}"})
            if (accuracy, energy_pj, latency_s, code) in kept:
                energy, latency = (math.nan if x is None else x for x in (energy_pj, latency_s))
                figures = (edp_js * 1e6, energy * 1e-9, latency * 1e3)
                texts = ("" if math.isnan(figure) else f"{figure:.4g}" for figure in figures)
                table.add_row(f"{accuracy:.4g}", *texts, search.space.describe(code) + marks.get(code, ""))
        console.print(table)
        for limit, chosen in zip(search.limits, judged.chosen, strict=False):
            if chosen is None:
                console.print(f"{name}: {search.unreached(limit, judged.least)}", markup=False, highlight=False)
        for line in (_cost_source(search, hardware, judged, point.settings), _accuracy_source(search, judged)):
            console.print(line, markup=False, highlight=False)
        if isinstance(hardware, Crossbar) and not hardware.is_digital:
            text = f"accuracies hold for exact computation: what the cells and converters of {name} cost is not in them"
            console.print(text, markup=False, highlight=False)
    return found


def _cost_source(search: NetworkSearch, hardware: Hardware | Device, judged: Judged, settings: dict[str, Any]) -> str:
    """Where the costs of a search come from; of a measured device, what is known about the best network."""
    from accelerators.spatial.architecture import SpatialAccelerator
    from codesign.costs import MeasuredCost
    from codesign.evaluation import evaluate, mapping_quality

    code, which = _looked_at(judged)
    graph = search.space.network(code, batch=search.specification["batch"])
    of_best = ""
    if isinstance(hardware, SpatialAccelerator):
        used = [judged.mapped[operator].certificate for operator in graph.unique() if not operator.passes]
        quality = mapping_quality([None if each is None else each.gap for each in used])
    else:
        (cost,) = evaluate(graph, hardware, fuse=settings["fuse"]).results
        quality = cost.quality
        of_best = f" (of {which})" if isinstance(cost, MeasuredCost) else ""
    return f"costs: {quality or 'how good the mappings are is not known'}{of_best}"


def _accuracy_source(search: NetworkSearch, judged: Judged) -> str:
    """Where the accuracies of a search come from, and what is said about that of the best network."""
    code, which = _looked_at(judged)
    estimate = search.estimator.estimate(code)
    sure = [] if estimate.uncertainty is None else [f"standard deviation {estimate.uncertainty:.2g}"]
    about = ", ".join([*sure, *estimate.notes])
    return f"accuracies: {search.estimator.name}, {estimate.kind}{f' ({which}: {about})' if about else ''}"


def _looked_at(judged: Judged) -> tuple[Code, str]:
    """The network whose figures are explained: the first that was chosen, or the most accurate one of the front."""
    best = next((code for code in judged.chosen if code is not None), None)
    return (judged.front[-1][3], "the most accurate network") if best is None else (best, "the best network")


def _marks(search: NetworkSearch, judged: Judged) -> dict[Code, str]:
    """What is said of the networks that were chosen."""
    from codesign.experiments.network_search import shown

    best: dict[Code, list[str]] = {code: [] for code in judged.chosen if code is not None}
    for limit, code in zip(search.limits, judged.chosen, strict=False):
        if code is not None:
            best[code].append(shown(limit, search.specification["goal"]))
    return {code: f" (best{' within ' if limits else ''}{' and '.join(limits)})" for code, limits in best.items()}


def _csv(records: list[dict[str, Any]]) -> bytes:
    from codesign.experiments.export import Table

    table = Table({})
    for record in records:
        table.add(record)
    return table.to_csv()


@app.command()
def sample(
    space: Space,
    count: Annotated[int, typer.Option(help="networks", min=1, max=1_000_000)] = 5,
    seed: Annotated[int, typer.Option(help="of the random numbers", min=0)] = 0,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="write a table with the column network instead, for `codesign learn`")
    ] = None,
    options: Options = None,
) -> None:
    """Draw random networks of a space, a line each, as SPACE:ENCODING, which other commands take.

    Options of the space (--set) are no part of that: give them there too.
    """
    import numpy as np

    from codesign.nas import spaces

    if csv_file is not None:
        require_writable_file(csv_file)
    found = spaces.load(space, **values_of("--set", options))
    names = [f"{space}:{found.text(code)}" for code in found.sample(np.random.default_rng(seed), count)]
    if csv_file is None:
        print("\n".join(names))
        return
    write(csv_file, _csv([{"network": name} for name in names]))
    console_of().print(f"{count} networks in {csv_file}", markup=False, highlight=False)


@app.command()
def score(
    network: Annotated[str, typer.Argument(help="SPACE:ENCODING, as `codesign sample` prints it")],
    accuracy: Accuracy = None,
    accuracy_options: AccuracyOptions = None,
    on: Annotated[list[str] | None, typer.Option(help="hardware to price it on; may be repeated")] = None,
    options: Options = None,
) -> None:
    """Look at one network of a space: what it is, how accurate it is said to be and why, and what it costs."""
    from codesign.evaluation import evaluate
    from codesign.nas import accuracy as estimators
    from codesign.nas import spaces
    from codesign.nas.accuracy.named import fitting
    from codesign.predictors import OutOfRangeError
    from codesign.reports.tables import summary_table

    parts = spaces.split(network)
    if parts is None:
        raise RefusedError(f"a network of a space is SPACE:ENCODING (got {network!r})")
    name, encoding = parts
    space = spaces.load(name, **values_of("--set", options))
    code = space.parse(encoding)
    graph = space.network(code)
    console = console_of()
    console.print(space.describe(code), markup=False, highlight=False)
    text = (
        f"one of {space.size:.4g} networks, {graph.macs:,} MACs, {graph.parameters:,} parameters, {len(graph)} layers"
    )
    console.print(text, markup=False, highlight=False)
    if accuracy is None:
        console.print(f"accuracy: ask one of {', '.join(fitting(space))} (--accuracy)", markup=False, highlight=False)
    else:
        estimator = estimators.load(accuracy, space, **values_of("--accuracy-set", accuracy_options))
        try:
            found = estimator.estimate(code)
        except OutOfRangeError as error:
            raise RefusedError(str(error)) from None
        said = "no answer" if found.accuracy is None else f"{found.accuracy:.6g}"
        sure = "" if found.uncertainty is None else f" +- {found.uncertainty:.2g}"
        console.print(f"{estimator.name}: {said}{sure} ({found.kind})", markup=False, highlight=False)
        for note in found.notes:
            console.print(f"  {note}", markup=False, highlight=False)
    if on:
        console.print(summary_table(evaluate(graph, hardware_of(on))))
