"""``init``, ``run``, ``resume``, ``report``, ``export`` and ``compare``: experiments and their runs."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codesign.cli._app import RefusedError, app, console_of, write

if TYPE_CHECKING:
    from codesign.experiments.summary import PointSummary


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="file to write")] = Path("experiment.yaml"),
) -> None:
    """Write a commented experiment to start from."""
    if file.exists():
        raise RefusedError(f"{file}: exists already")
    write(file, resources.files("codesign.experiments").joinpath("template.yaml").read_text(encoding="utf-8"))
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
    from codesign.experiments.experiment import Experiment

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


@contextlib.contextmanager
def _interrupts() -> Iterator[Callable[[], None]]:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt; the function does so again, if a library has caught that."""
    stopped = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopped
        stopped = True
        raise KeyboardInterrupt

    def check() -> None:
        if stopped:
            raise KeyboardInterrupt

    # A batch system ends jobs with SIGTERM. Who starts one in the background may have it ignore the other.
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    if before[signal.SIGINT] is signal.SIG_IGN:
        del before[signal.SIGINT]
    for number in before:
        signal.signal(number, stop)
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run_experiment(folder: Path, go: Callable[[Any], str | None]) -> None:
    """Run with a live view, and print what was found; Ctrl-C ends with how to go on."""
    from codesign.experiments.ledger import LedgerError
    from codesign.reports.live import LiveView

    console = console_of()
    try:
        with _interrupts() as check, LiveView() as view:

            def update(progress: Any) -> None:
                check()
                view.update(progress)

            repaired = go(update)
    except KeyboardInterrupt:
        raise RefusedError(
            f"stopped; nothing that was finished is lost. Go on with: codesign resume {folder}"
        ) from None
    except LedgerError as error:
        raise RefusedError(str(error)) from None
    if repaired:
        console.print(f"note: {repaired}", markup=False)
    found = _print_runs([folder])
    report(folder)
    if all(summary.best is None for summary in found):
        raise typer.Exit(1)


@app.command()
def report(folder: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a run")]) -> None:
    """Write a run's report, one HTML file, and its best design and mappings as YAML."""
    from codesign.experiments.ledger import LedgerError
    from codesign.reports.html import BEST, write_report

    try:
        path = write_report(folder, lambda sentence: console_of().print(sentence, highlight=False, markup=False))
    except (LedgerError, ValueError) as error:
        raise RefusedError(str(error)) from None
    except OSError as error:
        raise RefusedError(f"{folder}: the report cannot be written: {error.strerror}") from None
    best = folder / BEST
    found = f"best design in {best}" if best.exists() else "no design works"
    console_of().print(f"report in {path}, {found}", highlight=False, markup=False)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a run; it may be going on")],
    out: Annotated[
        Path | None, typer.Option(help="file to write: .parquet, or anything else for CSV (RUN/candidates.csv)")
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="every layer of every network on every candidate (RUN/layers.csv)")
    ] = False,
    fronts: Annotated[
        bool, typer.Option("--fronts", help="the networks of every candidate's front of accuracy (RUN/fronts.csv)")
    ] = False,
    design: Annotated[
        str | None,
        typer.Option(help="a candidate's digest: datasheet, mappings and networks as files (RUN/designs/DESIGN)"),
    ] = None,
) -> None:
    """Write all candidates of a run as one table, or one of them as files."""
    from codesign.experiments import export as tables
    from codesign.experiments.ledger import FILES, LedgerError

    if layers + fronts + (design is not None) > 1:
        raise RefusedError("--layers, --fronts and --design write different things: give one of them")
    if design is not None:
        _export_design(folder, design, out)
        return
    what = "layers" if layers else "fronts" if fronts else "candidates"
    file = out or folder / f"{what}.csv"
    if file.name in FILES and any((file.parent / name).exists() for name in FILES):
        raise RefusedError(f"{file}: cannot be written: it belongs to a run")
    try:
        table = getattr(tables, what)(folder)
        content = table.to_parquet() if file.suffix.lower() == ".parquet" else table.to_csv()
    except ImportError:
        raise RefusedError("Parquet needs pyarrow: pip install 'codesign[parquet]'") from None
    except LedgerError as error:
        raise RefusedError(str(error)) from None
    write(file, content)
    console_of().print(f"{len(table)} rows in {file}", highlight=False, markup=False)


def _export_design(run: Path, digest: str, folder: Path | None) -> None:
    from codesign.experiments.ledger import LedgerError
    from codesign.reports.designs import export_design

    if not digest.isalnum():
        raise RefusedError(f"--design takes a digest (got {digest!r})")
    try:
        folders, problems = export_design(run, digest, folder)
    except LedgerError as error:
        raise RefusedError(str(error)) from None
    except OSError as error:
        raise RefusedError(f"{error.filename or folder or run}: cannot be written: {error.strerror or error}") from None
    console = console_of()
    for problem in problems:
        console.print(problem, highlight=False, markup=False)
    for own in folders:
        console.print(f"files in {own}", highlight=False, markup=False)


@app.command("compare")
def compare_runs(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN...", help="folders of runs")],
) -> None:
    """The best designs of several runs side by side."""
    _print_runs(folders)


def _print_runs(folders: Sequence[Path]) -> list[PointSummary]:
    from codesign.experiments.ledger import LedgerError
    from codesign.experiments.summary import summaries
    from codesign.reports.tables import runs_table

    console = console_of()
    found = []
    problems = []
    for folder in folders:
        try:
            found += [(folder, summary) for summary in summaries(folder)]
        except LedgerError as error:
            problems.append(str(error))
    if problems and not found:
        raise RefusedError("\n".join(problems))
    for problem in problems:
        console.print(f"warning: left out: {problem}", markup=False, highlight=False, soft_wrap=True)
    console.print(runs_table(found, console.width))
    return [summary for _, summary in found]
