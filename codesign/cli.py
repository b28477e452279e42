"""The command line: evaluate, map and cost; init, run, resume and compare; list, show and schema."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from codesign.files import write_whole
from codesign.reports.tables import counts_table, layer_table, si, summary_table

if TYPE_CHECKING:
    from accelerators.costs import Cost, Infeasible
    from accelerators.operators import Operator
    from accelerators.spatial.architecture import SpatialAccelerator
    from codesign.evaluation import Evaluation

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
#: Options that take several values: ``--on a b`` is read as ``--on a --on b``.
_SEVERAL = ("--on",)
#: Of a number on the command line.
_MOST_DIGITS = 18
#: Units in which mappers score.
_UNITS = {"edp": "pJ x cycles", "energy": "pJ", "latency": "cycles"}

Network = Annotated[str, typer.Argument(help="name from `codesign list networks`, or an .onnx file")]
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
Batch = Annotated[int | None, typer.Option(help="batch size", min=1, max=10**_MOST_DIGITS)]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=NUMBER", help="network option, e.g. sequence=384")
]
Dimension = Annotated[
    list[str] | None, typer.Option("--dim", metavar="NAME=NUMBER", help="value of a dynamic ONNX dimension")
]
AllowUnknown = Annotated[bool, typer.Option("--allow-unknown", help="cost unsupported ONNX operators as data movement")]


class _RefusedError(Exception):
    """A request that cannot be met; the message is for the user."""


def main() -> NoReturn:
    """Entry point: runs a command.

    Exit code 1: an accelerator cannot run what it was asked to. 2: the request itself is wrong; the message says where.
    """
    from accelerators.costs import InfeasibleError
    from accelerators.documents import DocumentError
    from codesign.networks import NetworkError

    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - closed by the caller; files are still written
    try:
        try:
            app(_repeat_options(sys.argv[1:]))
        finally:
            # Here, where a full disk or a closed pipe can still be reported.
            sys.stdout.flush()
    except (_RefusedError, DocumentError, NetworkError, InfeasibleError) as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        print(f"error: {error.filename or 'standard output'}: {error.strerror}", file=sys.stderr)
        # What is left in the buffer cannot be written either.
        os._exit(2)
    sys.exit(0)


def _repeat_options(arguments: Sequence[str]) -> list[str]:
    """Spell ``--on a b c`` as ``--on a --on b --on c``."""
    result: list[str] = []
    current: str | None = None
    for argument in arguments:
        if argument.startswith("-"):
            current = argument if argument in _SEVERAL else None
            if current is None:
                result.append(argument)
        elif current:
            result += [current, argument]
        else:
            result.append(argument)
    # An option without a value must still be an error of the parser.
    return [*result, current] if current and arguments[-1] == current else result


@app.command()
def evaluate(
    network: Network,
    on: Annotated[list[str], typer.Option("--on", help="accelerators: names from the catalog or .yaml files")],
    layers: Annotated[bool, typer.Option("--layers", help="print every layer")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="write everything as JSON")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="write the layers as CSV")] = None,
    out: Annotated[Path | None, typer.Option(help="result folder: tables, JSON, mappings")] = None,
    objective: Goal = "edp",
    mapper: MapperName = None,
    evaluations: Evaluations = None,
    seed: Seed = 0,
    constraints: Restriction = None,
    together: Annotated[
        bool, typer.Option("--together", help="choose the mappings that minimise the EDP of the whole network")
    ] = False,
    workers: Annotated[int, typer.Option(help="processes; they change no result", min=1, max=1024)] = 1,
    fuse: Annotated[bool, typer.Option("--fuse", help="run elementwise layers with their producer")] = False,
    pad: Pad = False,
    bypass: Bypass = False,
    batch: Batch = None,
    options: SetOption = None,
    dimensions: Dimension = None,
    allow_unknown: AllowUnknown = False,
) -> None:
    """Energy, latency, EDP, utilisation and bottleneck of a network on candidate accelerators."""
    graph = _network(network, batch, options, dimensions, allow_unknown)
    candidates = _accelerators(on)
    if together and (objective != "edp" or mapper):
        raise _RefusedError("--together minimises the EDP with the optimal mapper: leave out --objective and --mapper")
    for path in (json_file, csv_file):
        if path:
            _writable_file(path)
    if out:
        _writable_folder(out)
    from codesign.evaluation import evaluate as run
    from mappers import DEFAULT_EVALUATIONS, SpaceTooLargeError, WorkerDiedError

    try:
        with _progress() as report:
            result = run(
                graph,
                candidates,
                objective=_objective(objective),
                mapper=_mapper(mapper),
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
        raise _RefusedError(str(error)) from None
    console = _console()
    for warning in graph.warnings:
        console.print(f"note: {warning}", markup=False)
    console.print(f"{graph.name}: {si(graph.macs)}MACs, {si(graph.parameters)}parameters", highlight=False)
    console.print(summary_table(result))
    for network_cost in result.results:
        if network_cost.quality:
            console.print(f"{network_cost.hardware}: {network_cost.quality}", markup=False, highlight=False)
    if layers:
        for network_cost in result.results:
            console.print(layer_table(network_cost))
    for network_cost in result.results:
        for problem in network_cost.problems:
            console.print(f"{network_cost.hardware} cannot run {problem}", markup=False, highlight=False)
    if json_file:
        _write(json_file, result.to_json())
    if csv_file:
        _write(csv_file, result.to_csv())
    if out:
        _write_folder(result, out, dict(zip([candidate.name for candidate in candidates], on, strict=True)))
        console.print(f"results in {out}", highlight=False)
    if any(network_cost.problems for network_cost in result.results):
        raise typer.Exit(1)


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
    candidates = _restricted(_accelerators(on), constraints)
    goal, make = _objective(objective), _mapper(mapper)
    if plot and not compare:
        raise _RefusedError("--plot draws a comparison: add --compare")
    if plot:
        from codesign.reports.comparison import image_format

        try:
            image_format(plot)
        except ValueError as error:
            raise _RefusedError(str(error)) from None
    if compare and (save or timeloop or mapper or pad or evaluations):
        text = "--compare runs all mappers on the operator as it is, for a time, and keeps no mapping"
        raise _RefusedError(f"{text}: leave out --mapper, --evaluations, --pad, --save and --timeloop")
    if len(candidates) > 1 and (plot or save or timeloop):
        raise _RefusedError("--plot, --save and --timeloop take one accelerator")
    for path in (plot, save):
        if path:
            _writable_file(path)
    if timeloop:
        _writable_folder(timeloop)
    from accelerators.costs import Infeasible
    from mappers import DEFAULT_EVALUATIONS, DEFAULT_NODE_LIMIT, Optimal, SpaceTooLargeError, map_operator

    console = _console()
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
            raise _RefusedError(str(error)) from None
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
            console.print(f"{result.certificate} (in {_UNITS[goal]})", highlight=False, markup=False)
        if save:
            from codesign import mappings

            document = mappings.of_layer(accelerator, layer, operator, result)
            _write(save, mappings.dump(replace(document, datasheet=_datasheet_path(on[0], save))))
            console.print(f"mapping in {save}", highlight=False)
        if timeloop:
            from accelerators.spatial.timeloop import export

            try:
                texts = export(accelerator, operator, result.mapping, result.bounds)
            except ValueError as error:
                raise _RefusedError(str(error)) from None
            for name, text in texts.items():
                _writable_folder((timeloop / name).parent)
                _write(timeloop / name, text)
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
        raise _RefusedError(str(error)) from None
    if written is not None:
        return written
    # Names of ONNX nodes may contain colons; the first one after the file name parts the two.
    file, ending, rest = layer.partition(".onnx:")
    name, separator, layer_name = (f"{file}.onnx", ":", rest) if ending else layer.partition(":")
    if not separator:
        raise _RefusedError(f"give NETWORK:LAYER or an operator such as matmul(P=1,K=8,C=8) (got {layer!r})")
    found: Operator = _network(name, batch, options, dimensions, allow_unknown).layer(layer_name).operator
    if found.passes:
        raise _RefusedError(f"{layer_name} is {found}: it streams its tensors and has no loop nest to map")
    return found


def _restricted(candidates: list[SpatialAccelerator], constraints: str | None) -> list[SpatialAccelerator]:
    """The candidates with other constraints than their native dataflows."""
    if constraints is None:
        return candidates
    from accelerators.spatial import constraint_files

    rules = constraint_files.load(constraints)
    return [replace(accelerator, dataflow=rules.resolve(accelerator)) for accelerator in candidates]


def _mapper(name: str | None) -> Any:
    from mappers.search import mapper_of

    try:
        return mapper_of(name)
    except ValueError as error:
        raise _RefusedError(f"--{error}") from None


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
    with _progress() as report:
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
    console = _console()
    console.print(comparison_table(comparison))
    console.print(f"space: {comparison.size:.4g} mappings", highlight=False)
    if comparison.certificate:
        console.print(f"what they are compared with, from a longer run of the optimal mapper ({_UNITS[objective]}):")
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

    console = _console()
    refused = False
    sums = {"energy": 0.0, "latency": 0.0}
    shown = 0
    for title, result in mappings.costs(file, _accelerators(on) if on else None, layer or ()):
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


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="file to write")] = Path("experiment.yaml"),
) -> None:
    """Write a commented experiment to start from."""
    if file.exists():
        raise _RefusedError(f"{file}: exists already")
    _write(file, (Path(__file__).parent / "experiments" / "template.yaml").read_text(encoding="utf-8"))
    print(f"{file}: run it with  codesign run {file}")


Workers = Annotated[int | None, typer.Option(help="processes; they change no result", min=1, max=1024)]


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="an experiment; `codesign init` writes one")],
    out: Annotated[Path | None, typer.Option(help="folder of the run (runs/NAME)")] = None,
    workers: Workers = None,
) -> None:
    """Run an experiment: search hardware for networks, or evaluate a sweep of designs."""
    from codesign.experiments import run as running
    from codesign.experiments.sheet import Experiment

    experiment = Experiment.load(file)
    folder = out or Path("runs") / experiment.name
    _run_experiment(folder, lambda report: running.start(running.with_workers(experiment, workers), folder, report))


@app.command()
def resume(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a run")], workers: Workers = None
) -> None:
    """Go on with a run that was stopped."""
    from codesign.experiments import run as running

    _run_experiment(folder, lambda report: running.resume(folder, report, workers))


def _run_experiment(folder: Path, go: Callable[[Any], str | None]) -> None:
    """Run with a live view, and print what was found; Ctrl-C ends with how to go on."""
    from codesign.experiments.ledger import LedgerError
    from codesign.reports.live import LiveView

    console = _console()
    try:
        with LiveView() as view:
            repaired = go(view.update)
    except KeyboardInterrupt:
        raise _RefusedError(
            f"stopped; nothing that was finished is lost. Go on with: codesign resume {folder}"
        ) from None
    except LedgerError as error:
        raise _RefusedError(str(error)) from None
    if repaired:
        console.print(f"note: {repaired}", markup=False)
    _print_runs([folder])
    report(folder)


@app.command()
def report(folder: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a run")]) -> None:
    """Write a run's report, one HTML file, and its best design and mappings as YAML."""
    from codesign.experiments.ledger import LedgerError
    from codesign.reports.html import write_report

    try:
        path = write_report(folder)
    except (LedgerError, ValueError) as error:
        raise _RefusedError(str(error)) from None
    except OSError as error:
        raise _RefusedError(f"{folder}: the report cannot be written: {error.strerror}") from None
    _console().print(f"report in {path}, best design in {folder / 'best'}", highlight=False, markup=False)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a run; it may be going on")],
    out: Annotated[
        Path | None, typer.Option(help="file to write: .parquet, or anything else for CSV (RUN/candidates.csv)")
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="every layer of every network on every candidate (RUN/layers.csv)")
    ] = False,
) -> None:
    """Write all candidates of a run as one table."""
    from codesign.experiments import export as tables
    from codesign.experiments.ledger import FILES, LedgerError

    file = out or folder / ("layers.csv" if layers else "candidates.csv")
    if file.name in FILES and file.resolve().parent == folder.resolve():
        raise _RefusedError(f"{file}: cannot be written: it belongs to the run")
    try:
        table = (tables.layers if layers else tables.candidates)(folder)
        content = table.to_parquet() if file.suffix.lower() == ".parquet" else table.to_csv()
    except ImportError:
        raise _RefusedError("Parquet needs pyarrow: pip install 'codesign[parquet]'") from None
    except LedgerError as error:
        raise _RefusedError(str(error)) from None
    _write(file, content)
    _console().print(f"{len(table)} rows in {file}", highlight=False, markup=False)


@app.command("compare")
def compare_runs(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN...", help="folders of runs")],
) -> None:
    """The best designs of several runs side by side."""
    _print_runs(folders)


def _print_runs(folders: Sequence[Path]) -> None:
    from codesign.experiments.ledger import LedgerError
    from codesign.experiments.summary import summaries
    from codesign.reports.tables import runs_table

    console = _console()
    try:
        found = [(folder, summary) for folder in folders for summary in summaries(folder)]
    except LedgerError as error:
        raise _RefusedError(str(error)) from None
    console.print(runs_table(found))


@app.command("list")
def list_things(
    what: Annotated[str, typer.Argument(help="accelerators, networks, mappers or dataflows")],
) -> None:
    """List what is in the catalog or in the zoo."""
    console = _console()
    table = Table(box=None)
    if what == "accelerators":
        from accelerators import catalog

        for column in ("name", "MACs", "on-chip", "clock", "node"):
            table.add_column(column, justify="left" if column == "name" else "right")
        table.add_column("description")
        for name in catalog.names():
            a = catalog.load(name)
            node = f"{a.node_nm:g} nm" if a.node_nm else ""
            table.add_row(
                name, str(a.macs), f"{a.on_chip_bytes / 1024:.4g} kB", f"{a.clock_hz / 1e6:g} MHz", node, a.description
            )
    elif what == "networks":
        from codesign.networks import ZOO

        for column in ("name", "GMACs", "parameters"):
            table.add_column(column, justify="left" if column == "name" else "right")
        table.add_column("description")
        for name, entry in ZOO.items():
            network = entry.build()
            table.add_row(name, f"{network.macs / 1e9:.4g}", f"{network.parameters:,}", entry.summary)
    elif what == "mappers":
        from mappers import MAPPERS

        for column in ("name", "description"):
            table.add_column(column)
        for name, mapper in MAPPERS.items():
            table.add_row(name, (sys.modules[mapper.__module__].__doc__ or "").splitlines()[0])
    elif what == "dataflows":
        from accelerators.spatial import constraint_files

        for column in ("name", "source"):
            table.add_column(column)
        for name in constraint_files.names():
            table.add_row(name, constraint_files.load(name).sheet.source)
    else:
        from accelerators.suggestions import did_you_mean

        known = ("accelerators", "networks", "mappers", "dataflows")
        raise _RefusedError(f"there are lists of {' and '.join(known)} (got {what!r}){did_you_mean(what, known)}")
    console.print(table)


@app.command()
def show(name: Annotated[str, typer.Argument(help="an accelerator: name from the catalog or .yaml file")]) -> None:
    """Show an accelerator: what was read, what came from the technology tables, area and leakage."""
    accelerator = _accelerators([name])[0]
    console = _console()
    console.print(f"{accelerator.name}: {accelerator.description}".rstrip(": "), markup=False, highlight=False)
    if accelerator.source:
        console.print(f"source: {accelerator.source}", markup=False, highlight=False)
    node = f", {accelerator.node_nm:g} nm" if accelerator.node_nm else ""
    console.print(
        f"{accelerator.macs} MACs at {accelerator.clock_hz / 1e6:g} MHz{node} = "
        f"{si(2 * accelerator.macs * accelerator.clock_hz)}OP/s, on chip {accelerator.on_chip_bytes / 1024:.4g} kB, "
        f"area {accelerator.area_mm2:.4g} mm2 (wires and control: factor {accelerator.area_factor:g}), "
        f"leakage {accelerator.leakage_mw:.4g} mW",
        highlight=False,
    )
    table = Table(box=None)
    for column in ("level", "instances", "capacity", "width", "keeps", "pJ read/write/update", "bandwidth B/cycle"):
        table.add_column(column)
    table.add_column("fanout")
    for level, instances in zip(accelerator.levels, accelerator.instances, strict=False):
        bandwidths = {
            "read": level.read_bandwidth_bytes_per_cycle,
            "write": level.write_bandwidth_bytes_per_cycle,
            "shared": level.shared_bandwidth_bytes_per_cycle,
        }
        fanout = " ".join(
            f"{axis.name}:{axis.size} ({'any' if axis.dims is None else ' '.join(sorted(axis.dims))})"
            for axis in level.fanout
        )
        table.add_row(
            level.name,
            str(instances),
            "unbounded" if level.capacity_bytes is None else f"{level.capacity_bytes:g} B",
            f"{level.width_bits} bit",
            " ".join(sorted(level.keeps)),
            f"{level.read_energy_pj:.4g}/{level.fill_energy_pj:.4g}/{level.update_energy_pj:.4g}",
            " ".join(f"{key} {value:g}" for key, value in bandwidths.items() if value is not None) or "unlimited",
            fanout,
        )
    compute = accelerator.compute
    console.print(table)
    console.print(
        f"MAC: {compute.weight_bits} x {compute.input_bits} bit into {compute.accumulator_bits}, "
        f"{compute.energy_pj:.4g} pJ; addition {compute.add_energy_pj:.4g} pJ; wires "
        f"{accelerator.wire_energy_pj_per_bit_mm:.4g} pJ per bit and mm",
        highlight=False,
    )
    console.print(f"dataflow: {accelerator.dataflow.name}", markup=False, highlight=False)
    for note in accelerator.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    for level in accelerator.levels:
        if level.source:
            console.print(f"{level.name}: {level.source}", markup=False, highlight=False)
    if compute.source:
        console.print(f"MAC: {compute.source}", markup=False, highlight=False)


@app.command()
def schema(
    what: Annotated[str, typer.Argument(help="accelerator, experiment or mappings")] = "accelerator",
) -> None:
    """Print the JSON schema of a kind of file, for editors."""
    from accelerators.spatial import datasheet, mapping_file
    from codesign.experiments import sheet

    schemas = {"accelerator": datasheet.schema, "experiment": sheet.schema, "mappings": mapping_file.schema}
    if what not in schemas:
        raise _RefusedError(f"there are schemas of {', '.join(schemas)} (got {what!r})")
    print(json.dumps(schemas[what](), indent=1))


def _console() -> Console:
    # Piped output keeps its columns: no wrapping at a guess of 80.
    return Console(width=None if sys.stdout.isatty() else 160)


def _network(
    name: str, batch: int | None, options: list[str] | None, dimensions: list[str] | None, allow_unknown: bool
) -> Any:
    from codesign import networks

    settings: dict[str, Any] = _numbers("--set", options)
    if batch is not None:
        settings["batch"] = batch
    if dimensions:
        settings["dimensions"] = _numbers("--dim", dimensions)
    if allow_unknown:
        settings["allow_unknown"] = True
    return networks.load(name, **settings)


def _numbers(option: str, pairs: Iterable[str] | None) -> dict[str, int]:
    numbers = {}
    for pair in pairs or ():
        name, separator, value = pair.partition("=")
        if not separator or not value.isdecimal():
            raise _RefusedError(f"{option} takes NAME=NUMBER (got {pair!r})")
        if len(value) > _MOST_DIGITS:
            raise _RefusedError(f"{option} {name}: must have at most {_MOST_DIGITS} digits (got {len(value)})")
        numbers[name] = int(value)
    return numbers


def _accelerators(names: Sequence[str]) -> list[SpatialAccelerator]:
    from accelerators import catalog
    from accelerators.documents import DocumentError

    loaded: list[SpatialAccelerator] = []
    problems: list[str] = []
    for name in names:
        try:
            loaded.append(catalog.load(name))
        except DocumentError as error:
            problems += error.problems
    if problems:
        raise DocumentError(problems)
    labels = [accelerator.name for accelerator in loaded]
    for label in labels:
        if labels.count(label) > 1:
            raise _RefusedError(f"candidates must have different names (got {label} twice)")
    return loaded


def _objective(name: str) -> Any:
    from mappers import OBJECTIVES

    if name not in OBJECTIVES:
        raise _RefusedError(f"--objective must be one of {', '.join(OBJECTIVES)} (got {name!r})")
    return name


class _progress:  # noqa: N801 - used like a function
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


def _writable_file(path: Path) -> None:
    """Refuse a file that cannot be written before the work is done."""
    if path.is_dir():
        raise _RefusedError(f"{path}: cannot be written: it is a folder")
    if path.exists() and not path.is_file():
        raise _RefusedError(f"{path}: cannot be written: it is no regular file")
    part = path.with_name(f".{path.name}.part")
    try:
        part.touch()
        part.unlink()
    except OSError as error:
        raise _RefusedError(f"{path}: cannot be written: {error.strerror}") from None


def _writable_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _RefusedError(f"{path}: cannot be written: {error.strerror}") from None


def _write(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise _RefusedError(f"{path}: cannot be written: it is no regular file")
    try:
        write_whole(path, content)
    except OSError as error:
        raise _RefusedError(f"{path}: cannot be written: {error.strerror}") from None


def _datasheet_path(name: str, file: Path) -> str | None:
    """How a file names the datasheet of an accelerator that is not in the catalog: relative to itself."""
    from accelerators import catalog

    return None if name in catalog.names() else os.path.relpath(name, file.parent)


def _write_folder(result: Evaluation, folder: Path, sources: dict[str, str]) -> None:
    """summary.csv, layers.csv, results.json, and the mappings per accelerator."""
    from codesign import mappings

    _write(folder / "summary.csv", result.to_csv(layers=False))
    _write(folder / "layers.csv", result.to_csv())
    _write(folder / "results.json", result.to_json())
    for network_cost in result.results:
        document = mappings.of_network(network_cost)
        if document is not None:
            file = folder / f"mappings_{network_cost.hardware}.yaml"
            path = _datasheet_path(sources[network_cost.hardware], file)
            _write(file, mappings.dump(replace(document, datasheet=path)))


if __name__ == "__main__":
    main()
