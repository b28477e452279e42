"""``evaluate``: networks on candidate accelerators."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codesign.cli._app import (
    AllowUnknown,
    Batch,
    Bypass,
    Dimension,
    Evaluations,
    Goal,
    MapperName,
    Network,
    Pad,
    RefusedError,
    Restriction,
    Seed,
    SetOption,
    app,
    console_of,
    datasheet_path,
    hardware_of,
    mapper_of_name,
    network_of,
    objective_of,
    progress,
    require_writable_file,
    require_writable_folder,
    write,
)
from codesign.reports.tables import layer_table, si, summary_table

if TYPE_CHECKING:
    from codesign.costs import Evaluation


@app.command()
def evaluate(
    network: Network,
    on: Annotated[
        list[str],
        typer.Option(
            "--on",
            help="hardware: names from the catalog, datasheets, latency tables, predictors (.npz); processors maybe "
            "with another number type of their datasheet, titan_rtx:fp16",
        ),
    ],
    layers: Annotated[bool, typer.Option("--layers", help="print every layer")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="write everything as JSON")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="write the layers as CSV")] = None,
    out: Annotated[Path | None, typer.Option(help="result folder: tables, JSON, mappings")] = None,
    chart: Annotated[Path | None, typer.Option(help="draw rooflines: a .png, .svg or .pdf file")] = None,
    objective: Goal = "edp",
    mapper: MapperName = None,
    evaluations: Evaluations = None,
    seed: Seed = 0,
    constraints: Restriction = None,
    together: Annotated[
        bool, typer.Option("--together", help="choose the mappings that minimise the EDP of the whole network")
    ] = False,
    workers: Annotated[int, typer.Option(help="processes; they change no result", min=1, max=1024)] = 1,
    interpolate: Annotated[
        bool, typer.Option("--interpolate", help="take what a latency table lacks from the nearest entries")
    ] = False,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="let predictors speak of networks unlike those they know")
    ] = False,
    fuse: Annotated[bool, typer.Option("--fuse", help="run elementwise layers with their producer")] = False,
    pad: Pad = False,
    bypass: Bypass = False,
    batch: Batch = None,
    options: SetOption = None,
    dimensions: Dimension = None,
    allow_unknown: AllowUnknown = False,
) -> None:
    """Energy, latency, EDP, utilisation and bottleneck of a network on candidate accelerators."""
    graph = network_of(network, batch, options, dimensions, allow_unknown)
    candidates = hardware_of(on, interpolate, extrapolate)
    if together and (objective != "edp" or mapper):
        raise RefusedError("--together minimises the EDP with the optimal mapper: leave out --objective and --mapper")
    written = [path.resolve() for path in (json_file, csv_file, chart) if path]
    # With a number type, the file is before the colon.
    given = [Path(part) for name in on for part in (name, name.rpartition(":")[0])]
    read = [path.resolve() for path in given if path.is_file()]
    for i, target in enumerate(written):
        if target in written[:i] or target in read:
            raise RefusedError(f"{target}: would be written over what is read, or written twice")
    for path in (json_file, csv_file, chart):
        if path:
            require_writable_file(path)
    if out:
        require_writable_folder(out)
    if chart:
        from accelerators.processors.processor import Processor
        from accelerators.spatial.architecture import SpatialAccelerator
        from codesign.reports.charts import roofline_chart
        from codesign.reports.comparison import image_format

        if not any(isinstance(candidate, SpatialAccelerator | Processor) for candidate in candidates):
            raise RefusedError(f"{chart}: --chart draws processors and spatial accelerators, and there are none")
        try:
            image_format(chart)
        except ValueError as error:
            raise RefusedError(str(error)) from None
    from codesign.costs import MeasuredCost
    from codesign.devices import LearnedDevice
    from codesign.evaluation import evaluate as run
    from mappers import DEFAULT_EVALUATIONS, SpaceTooLargeError, WorkerDiedError

    try:
        with progress() as report:
            result = run(
                graph,
                candidates,
                objective=objective_of(objective),
                mapper=mapper_of_name(mapper),
                evaluations=evaluations or DEFAULT_EVALUATIONS,
                seed=seed,
                constraints=constraints,
                together=together,
                workers=workers,
                fuse=fuse,
                pad=pad,
                bypass=bypass,
                progress=report,
            )
    except (SpaceTooLargeError, WorkerDiedError) as error:
        raise RefusedError(str(error)) from None
    console = console_of()
    for warning in graph.warnings:
        console.print(f"note: {warning}", markup=False)
    size = f"{si(graph.macs)}MACs, {si(graph.parameters)}parameters"
    console.print(f"{graph.name}: {size}", markup=False, highlight=False, soft_wrap=True)
    console.print(summary_table(result))
    if batch is not None and batch > 1:
        console.print(f"energy, latency, EDP and runs/s are of whole batches of {batch}", highlight=False)
    for network_cost in result.results:
        if network_cost.quality:
            console.print(f"{network_cost.hardware}: {network_cost.quality}", markup=False, highlight=False)
    if layers:
        for network_cost, candidate in zip(result.results, candidates, strict=True):
            if isinstance(candidate, LearnedDevice):
                text = f"{candidate.name} has no table of layers: a predictor knows networks as a whole"
                console.print(text, markup=False, highlight=False)
            elif network_cost.layers:
                console.print(layer_table(network_cost))
    for network_cost in result.results:
        for problem in network_cost.problems:
            verb = "has no figure:" if isinstance(network_cost, MeasuredCost) else "cannot run"
            console.print(f"{network_cost.hardware} {verb} {problem}", markup=False, highlight=False)
    tables = [cost for cost in result.results if isinstance(cost, MeasuredCost) and cost.refused]
    if tables and not interpolate:
        text = "--interpolate takes missing entries from the nearest ones of their kind, scaled, and says which"
        console.print(text, markup=False, highlight=False)
    if json_file:
        write(json_file, result.to_json())
    if csv_file:
        write(csv_file, result.to_csv())
    if chart:
        left_out = roofline_chart(list(zip(result.results, candidates, strict=True)), chart)
        console.print(f"rooflines in {chart}", markup=False, highlight=False)
        if left_out:
            text = f"without a roofline, and not in it: {', '.join(left_out)}"
            console.print(text, markup=False, highlight=False)
    if out:
        _write_folder(result, out, dict(zip([candidate.name for candidate in candidates], on, strict=True)))
        console.print(f"results in {out}", highlight=False)
    if any(network_cost.problems for network_cost in result.results):
        raise typer.Exit(1)


def _write_folder(result: Evaluation, folder: Path, sources: dict[str, str]) -> None:
    """summary.csv, layers.csv, results.json, and the mappings per accelerator."""
    from codesign import mappings

    write(folder / "summary.csv", result.to_csv(layers=False))
    write(folder / "layers.csv", result.to_csv())
    write(folder / "results.json", result.to_json())
    for network_cost in result.results:
        document = mappings.of_network(network_cost)
        if document is not None:
            file = folder / f"mappings_{network_cost.hardware}.yaml"
            path = datasheet_path(sources[network_cost.hardware], file)
            write(file, mappings.dump(replace(document, datasheet=path)))
