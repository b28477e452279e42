"""The command line: evaluate, map, list, show, schema."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from codesign.reports.tables import counts_table, layer_table, si, summary_table

if TYPE_CHECKING:
    from accelerators.spatial.architecture import SpatialAccelerator
    from codesign.evaluation import Evaluation

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
#: Options that take several values: ``--on a b`` is read as ``--on a --on b``.
_SEVERAL = ("--on",)

Network = Annotated[str, typer.Argument(help="name from `codesign list networks`, or an .onnx file")]
Seed = Annotated[int, typer.Option(help="seed of the mapper", min=0)]
Goal = Annotated[str, typer.Option("--objective", help="what mappings minimise: edp, energy or latency")]
Evaluations = Annotated[
    int | None, typer.Option(help="mappings tried per distinct layer (40,000)", min=1, max=100_000_000)
]
Pad = Annotated[bool, typer.Option("--pad", help="let mappings pad bounds that the array does not divide")]
Bypass = Annotated[bool, typer.Option("--bypass", help="let mappings skip levels")]
Batch = Annotated[int | None, typer.Option(help="batch size", min=1)]
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
    """Entry point: runs a command, and turns every refusal into one message and exit code 2."""
    from accelerators.costs import InfeasibleError
    from accelerators.documents import DocumentError
    from codesign.networks import NetworkError

    try:
        app(_repeat_options(sys.argv[1:]))
    except (_RefusedError, DocumentError, NetworkError, InfeasibleError) as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
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
    out: Annotated[Path | None, typer.Option(help="result folder: tables, JSON, loop nests")] = None,
    objective: Goal = "edp",
    evaluations: Evaluations = None,
    seed: Seed = 0,
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
    for path in (json_file, csv_file):
        if path:
            _writable_file(path)
    if out:
        _writable_folder(out)
    from codesign.evaluation import evaluate as run
    from mappers import DEFAULT_EVALUATIONS

    with _progress() as report:
        result = run(
            graph,
            candidates,
            objective=_objective(objective),
            evaluations=evaluations or DEFAULT_EVALUATIONS,
            seed=seed,
            fuse=fuse,
            pad=pad,
            bypass=bypass,
            progress=report,
        )
    console = _console()
    for warning in graph.warnings:
        console.print(f"note: {warning}", markup=False)
    console.print(f"{graph.name}: {si(graph.macs)}MACs, {si(graph.parameters)}parameters", highlight=False)
    console.print(summary_table(result))
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
        _write_folder(result, out)
        console.print(f"results in {out}", highlight=False)
    if any(network_cost.problems for network_cost in result.results):
        raise typer.Exit(1)


@app.command("map")
def map_layer(
    layer: Annotated[str, typer.Argument(metavar="NETWORK:LAYER", help="e.g. resnet50:layer3.0.conv2")],
    on: Annotated[list[str], typer.Option("--on", help="accelerators: names from the catalog or .yaml files")],
    objective: Goal = "edp",
    evaluations: Evaluations = None,
    seed: Seed = 0,
    pad: Pad = False,
    bypass: Bypass = False,
    batch: Batch = None,
    options: SetOption = None,
    dimensions: Dimension = None,
    allow_unknown: AllowUnknown = False,
) -> None:
    """Show the loop nest that a layer gets on an accelerator, with reads, writes and energy per level."""
    # Names of ONNX nodes may contain colons; the first one after the file name parts the two.
    file, ending, rest = layer.partition(".onnx:")
    name, separator, layer_name = (f"{file}.onnx", ":", rest) if ending else layer.partition(":")
    if not separator:
        raise _RefusedError(f"give the layer as NETWORK:LAYER (got {layer!r})")
    graph = _network(name, batch, options, dimensions, allow_unknown)
    found = graph.layer(layer_name)
    if found.operator.passes:
        raise _RefusedError(f"{layer_name} is {found.operator}: it streams its tensors and has no loop nest to map")
    candidates = _accelerators(on)
    from accelerators.costs import Infeasible
    from mappers import DEFAULT_EVALUATIONS, map_operator

    console = _console()
    for accelerator in candidates:
        result = map_operator(
            accelerator,
            found.operator,
            objective=_objective(objective),
            evaluations=evaluations or DEFAULT_EVALUATIONS,
            seed=seed,
            pad=pad,
            bypass=bypass,
        )
        if isinstance(result, Infeasible):
            raise _RefusedError(f"{accelerator.name} cannot run {layer_name}: {result}")
        console.rule(f"{layer} on {accelerator.name}")
        console.print(f"{found.operator}, {si(found.operator.macs)}MACs", highlight=False)
        if result.bounds:
            padded = ", ".join(f"{dim} to {n}" for dim, n in result.bounds.items())
            console.print(f"padded: {padded} ({si(result.cost.padded_macs)}MACs)", highlight=False)
        console.print()
        console.print(result.cost.details.mapping.nest(), markup=False, highlight=False)
        console.print()
        console.print(counts_table(result.cost))
        console.print(
            f"energy {si(result.cost.energy_pj * 1e-12)}J  latency {result.cost.latency_cycles} cycles = "
            f"{si(result.cost.latency_s)}s  EDP {result.cost.edp_js:.4g} Js  "
            f"utilisation {result.cost.utilisation:.1%}  bottleneck {result.cost.bottleneck}\n"
            f"{result.mapper}: {result.evaluations} mappings tried, {result.valid} valid, "
            f"{accelerator.dataflow.name} dataflow",
            highlight=False,
            markup=False,
        )


@app.command("list")
def list_things(
    what: Annotated[str, typer.Argument(help="accelerators or networks")],
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
    else:
        from accelerators.suggestions import did_you_mean

        known = ("accelerators", "networks")
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
def schema() -> None:
    """Print the JSON schema of accelerator datasheets, for editors."""
    from accelerators.spatial.datasheet import schema as datasheet_schema

    print(json.dumps(datasheet_schema(), indent=1))


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


def _write(path: Path, text: str) -> None:
    """Write a whole file or nothing: a run that is killed leaves the file of an earlier one as it was."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise _RefusedError(f"{path}: cannot be written: {error.strerror}") from None


def _write_folder(result: Evaluation, folder: Path) -> None:
    """summary.csv, layers.csv, results.json, and the loop nests per accelerator."""
    _write(folder / "summary.csv", result.to_csv(layers=False))
    _write(folder / "layers.csv", result.to_csv())
    _write(folder / "results.json", result.to_json())
    for network_cost in result.results:
        nests = []
        for layer in network_cost.layers:
            details = getattr(layer.cost, "details", None)
            if details is not None:
                nests.append(f"{layer.name}: {layer.operator}\n{details.mapping.nest()}\n")
        _write(folder / f"mappings_{network_cost.hardware}.txt", "\n".join(nests))


if __name__ == "__main__":
    main()
