"""``map`` and ``cost``: one operator, found and saved mappings."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from codesign.cli._app import (
    AllowUnknown,
    Batch,
    Bypass,
    Dimension,
    Evaluations,
    Goal,
    MapperName,
    Pad,
    RefusedError,
    Restriction,
    Seed,
    SetOption,
    accelerators_of,
    app,
    console_of,
    datasheet_path,
    mapper_of_name,
    network_of,
    objective_of,
    progress,
    require_writable_file,
    require_writable_folder,
    restricted,
    write,
)
from codesign.reports.tables import counts_table, si

if TYPE_CHECKING:
    from accelerators.costs import Cost, Infeasible
    from accelerators.operators import Operator
    from accelerators.spatial.architecture import SpatialAccelerator


#: Units in which mappers score.
UNITS = {"edp": "pJ x cycles", "energy": "pJ", "latency": "cycles"}


@app.command("map")
def map_layer(
    layer: Annotated[
        str,
        typer.Argument(
            metavar="LAYER", help='resnet50:layer3.0.conv2, or an operator: "conv2d(K=64,C=64,P=56,Q=56,R=3,S=3)"'
        ),
    ],
    on: Annotated[list[str], typer.Option("--on", help="accelerators: names from the catalog or .yaml files")],
    objective: Goal = "edp",
    mapper: MapperName = None,
    time_limit: Annotated[
        float | None, typer.Option(help="seconds; the optimal mapper then states a gap if it needs more", min=0.001)
    ] = None,
    evaluations: Evaluations = None,
    seed: Seed = 0,
    constraints: Restriction = None,
    pad: Pad = False,
    bypass: Bypass = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="run all mappers for --time-limit seconds each (2) and compare them")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="with --compare: draw quality against time (.png, .svg, .pdf)")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="write the mapping as YAML; `codesign cost` reads it")] = None,
    timeloop: Annotated[
        Path | None, typer.Option(help="folder: write problem, architecture and mapping for Timeloop")
    ] = None,
    batch: Batch = None,
    options: SetOption = None,
    dimensions: Dimension = None,
    allow_unknown: AllowUnknown = False,
) -> None:
    """Show the loop nest that a layer gets on an accelerator, with reads, writes and energy per level."""
    operator = _operator(layer, batch, options, dimensions, allow_unknown)
    candidates = restricted(accelerators_of(on), constraints)
    goal, make = objective_of(objective), mapper_of_name(mapper)
    if plot and not compare:
        raise RefusedError("--plot draws a comparison: add --compare")
    if plot:
        from codesign.reports.comparison import image_format

        try:
            image_format(plot)
        except ValueError as error:
            raise RefusedError(str(error)) from None
    if compare and (save or timeloop or mapper or pad or evaluations):
        text = "--compare runs all mappers on the operator as it is, for a time, and keeps no mapping"
        raise RefusedError(f"{text}: leave out --mapper, --evaluations, --pad, --save and --timeloop")
    if len(candidates) > 1 and (plot or save or timeloop):
        raise RefusedError("--plot, --save and --timeloop take one accelerator")
    for path in (plot, save):
        if path:
            require_writable_file(path)
    if timeloop:
        require_writable_folder(timeloop)
    from accelerators.costs import Infeasible
    from mappers import DEFAULT_EVALUATIONS, DEFAULT_NODE_LIMIT, Optimal, SpaceTooLargeError, map_operator

    console = console_of()
    sampling = make not in (None, Optimal)
    all_run = True
    for accelerator in candidates:
        title = f"{layer} on {accelerator.name}"
        if compare:
            console.rule(Text(title))
            reason = _compare(accelerator, operator, goal, time_limit or 2.0, seed, bypass, plot)
            if reason:
                console.print(f"{accelerator.name} cannot run {layer}: {reason}", markup=False, soft_wrap=True)
                all_run = False
            continue
        try:
            result = map_operator(
                accelerator,
                operator,
                mapper=make,
                objective=goal,
                # With a time, a mapper that samples runs until it is over.
                evaluations=evaluations or (2**40 if sampling and time_limit else DEFAULT_EVALUATIONS),
                # A user who asks for the optimal mapper, or gives it time, wants the proof.
                node_limit=None if make is Optimal or time_limit else DEFAULT_NODE_LIMIT,
                time_limit_s=time_limit,
                seed=seed,
                pad=pad,
                bypass=bypass,
            )
        except SpaceTooLargeError as error:
            raise RefusedError(str(error)) from None
        console.rule(Text(title))
        if isinstance(result, Infeasible):
            console.print(f"{accelerator.name} cannot run {layer}: {result}", markup=False, soft_wrap=True)
            all_run = False
            continue
        console.print(f"{operator}, {si(operator.macs)}MACs", highlight=False)
        if result.bounds:
            padded = ", ".join(f"{dim} to {n}" for dim, n in result.bounds.items())
            console.print(f"padded: {padded} ({si(result.cost.padded_macs)}MACs)", highlight=False)
        _show_cost(console, result.cost)
        tried = "" if result.certificate else f", {result.evaluations:,} mappings tried, {result.valid:,} valid"
        console.print(
            f"{result.mapper} mapper, {accelerator.dataflow.name} dataflow{tried}", highlight=False, markup=False
        )
        if result.certificate:
            console.print(f"{result.certificate} (in {UNITS[goal]})", highlight=False, markup=False)
        if save:
            from codesign import mappings

            document = mappings.of_layer(accelerator, layer, operator, result)
            write(save, mappings.dump(replace(document, datasheet=datasheet_path(on[0], save))))
            console.print(f"mapping in {save}", highlight=False)
        if timeloop:
            from accelerators.spatial.timeloop import export

            try:
                texts = export(accelerator, operator, result.mapping, result.bounds)
            except ValueError as error:
                raise RefusedError(str(error)) from None
            for name, text in texts.items():
                require_writable_folder((timeloop / name).parent)
                write(timeloop / name, text)
            console.print(f"Timeloop files in {timeloop}", highlight=False)
    if not all_run:
        raise typer.Exit(1)


def _show_cost(console: Console, cost: Cost) -> None:
    console.print()
    console.print(cost.details.mapping.nest(), markup=False, highlight=False)
    console.print()
    console.print(counts_table(cost))
    console.print(
        f"energy {si(cost.energy_pj * 1e-12)}J  latency {cost.latency_cycles} cycles = "
        f"{si(cost.latency_s)}s  EDP {cost.edp_js:.4g} Js  "
        f"utilisation {cost.utilisation:.1%}  bottleneck {cost.bottleneck}",
        highlight=False,
        markup=False,
    )


def _operator(
    layer: str, batch: int | None, options: list[str] | None, dimensions: list[str] | None, allow_unknown: bool
) -> Operator:
    """The operator that an argument means: written out, or a layer of a network."""
    from accelerators.operators import parse_operator

    try:
        written = parse_operator(layer)
    except ValueError as error:
        raise RefusedError(str(error)) from None
    if written is not None:
        return written
    # Names of ONNX nodes may contain colons; the first one after the file name parts the two.
    file, ending, rest = layer.partition(".onnx:")
    name, separator, layer_name = (f"{file}.onnx", ":", rest) if ending else layer.partition(":")
    if not separator:
        raise RefusedError(f"give NETWORK:LAYER or an operator such as matmul(P=1,K=8,C=8) (got {layer!r})")
    found: Operator = network_of(name, batch, options, dimensions, allow_unknown).layer(layer_name).operator
    if found.passes:
        raise RefusedError(f"{layer_name} is {found}: it streams its tensors and has no loop nest to map")
    return found


def _compare(
    accelerator: SpatialAccelerator,
    operator: Operator,
    objective: Any,
    seconds: float,
    seed: int,
    bypass: bool,
    plot: Path | None,
) -> Infeasible | None:
    """Print a comparison; returns the reason if the accelerator cannot run the operator."""
    from accelerators.costs import InfeasibleError
    from accelerators.spatial.problem import Problem
    from codesign.reports.comparison import comparison_plot, comparison_table
    from mappers import MAPPERS, Mapspace
    from mappers.compare import compare
    from mappers.search import why_none

    try:
        space = Mapspace(Problem(accelerator, operator), bypass=bypass)
    except InfeasibleError as error:
        return error.reason
    names = [name for name in MAPPERS if name != "exhaustive"]
    with progress() as report:
        comparison = compare(
            space,
            objective,
            {name: MAPPERS[name] for name in names},
            cpu_s=seconds,
            seed=seed,
            report=lambda name, spent: report(name, round(1000 * spent), 1000),
        )
    if comparison.certificate and comparison.certificate.proven and not math.isfinite(comparison.certificate.value):
        return why_none(space)
    console = console_of()
    console.print(comparison_table(comparison))
    console.print(f"space: {comparison.size:.4g} mappings", highlight=False)
    if comparison.certificate:
        console.print(f"what they are compared with, from a longer run of the optimal mapper ({UNITS[objective]}):")
        console.print(str(comparison.certificate), highlight=False, markup=False)
    if plot:
        comparison_plot(comparison, plot, f"{operator} on {accelerator.name}")
        console.print(f"plot in {plot}", highlight=False)
    return None


@app.command()
def cost(
    file: Annotated[
        Path, typer.Argument(help="mappings written by `codesign map --save`, `codesign evaluate --out` or by hand")
    ],
    on: Annotated[
        list[str] | None, typer.Option("--on", help="accelerators to run them on instead of the ones that they name")
    ] = None,
    layer: Annotated[list[str] | None, typer.Option(help="only this layer of the file")] = None,
) -> None:
    """What saved mappings cost."""
    from accelerators.costs import Infeasible
    from codesign import mappings

    console = console_of()
    refused = False
    sums = {"energy": 0.0, "latency": 0.0}
    shown = 0
    for title, result in mappings.costs(file, accelerators_of(on) if on else None, layer or ()):
        console.rule(Text(title))
        if isinstance(result, Infeasible):
            console.print(str(result), markup=False, highlight=False)
            refused = True
        else:
            _show_cost(console, result.cost)
            sums["energy"] += result.cost.energy_pj * 1e-12
            sums["latency"] += result.cost.latency_s
            shown += 1
            for broken in result.violations:
                console.print(f"note: not the native dataflow: {broken}", highlight=False, markup=False)
    if shown > 1:
        console.print(
            f"\n{shown} mappings, each once: energy {si(sums['energy'])}J  latency {si(sums['latency'])}s  "
            f"EDP {sums['energy'] * sums['latency']:.4g} Js",
            highlight=False,
        )
    if refused:
        raise typer.Exit(1)
