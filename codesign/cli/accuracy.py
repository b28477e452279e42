"""``accuracy``: trained networks on crossbars, some time after programming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codesign.cli._app import RefusedError, app, console_of, hardware_of, require_writable_file, write

if TYPE_CHECKING:
    from accelerators.crossbar.crossbar import Crossbar
    from codesign.analog.trained import TrainedNetwork

#: Columns of the table, up to the time that was asked for.
_TIMES_S = {"1 s": 1.0, "1 h": 3600.0, "1 day": 86_400.0, "1 month": 2_592_000.0}


@app.command()
def accuracy(
    network: Annotated[str, typer.Argument(help="a trained network: digits_resnet8, an .npz file or a folder")],
    on: Annotated[list[str], typer.Option("--on", help="crossbars: names from the catalog, datasheets")],
    after: Annotated[str, typer.Option(help="time since programming, such as '1 month' (30 days)")] = "1 month",
    programmings: Annotated[int, typer.Option(help="times that weights are written anew", min=1, max=10_000)] = 5,
    images: Annotated[int | None, typer.Option(help="classify the first so many images", min=1)] = None,
    seed: Annotated[int, typer.Option(help="seed of all noise", min=0)] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="write everything as JSON")] = None,
) -> None:
    """Accuracy of a trained network on crossbars as their cells drift, and what a classification costs there."""
    from accelerators.crossbar.crossbar import Crossbar

    last_s = _age(after)
    times = {**{name: time for name, time in _TIMES_S.items() if time < last_s}, after: last_s}
    crossbars = []
    for found in hardware_of(on):
        if not isinstance(found, Crossbar):
            raise RefusedError(f"{found.name}: must be a crossbar (got a {type(found).__name__.lower()})")
        crossbars.append(found)
    if json_file:
        if json_file.resolve() in [Path(name).resolve() for name in [*on, network] if Path(name).is_file()]:
            raise RefusedError(f"{json_file}: would be written over what is read")
        require_writable_file(json_file)
    try:
        from codesign.analog import trained
    except ImportError as error:
        raise RefusedError(str(error)) from None
    loaded = trained.load(network)
    try:
        records = [_record(loaded, crossbar, times, programmings, seed, images) for crossbar in crossbars]
    except ValueError as error:
        # A module that no crossbar takes.
        raise RefusedError(f"{network}: {error}") from None
    _print(loaded, records, list(times), programmings, images)
    if json_file:
        head = {
            "network": loaded.name,
            "images": len(loaded.labels[:images]),
            "digital_accuracy": loaded.digital_accuracy,
            "programmings": programmings,
            "seed": seed,
        }
        write(json_file, json.dumps({**head, "results": records}, indent=2) + "\n")
    if any(record["reason"] for record in records):
        raise typer.Exit(1)


def _age(text: str) -> float:
    from accelerators.units import quantity

    try:
        seconds, _ = quantity(text, "time since programming in seconds")
    except ValueError as error:
        raise RefusedError(f"--after: {error}") from None
    if seconds < 0:
        raise RefusedError(f"--after must be >= 0 s (got {text!r})")
    return seconds


def _record(
    trained: TrainedNetwork,
    crossbar: Crossbar,
    times: dict[str, float],
    programmings: int,
    seed: int,
    images: int | None,
) -> dict[str, Any]:
    from accelerators.crossbar.devices import name_of
    from codesign.analog import accuracies_after
    from codesign.evaluation import on_crossbar

    device = crossbar.cell.device
    record: dict[str, Any] = {"hardware": crossbar.name, "device": "exact" if device is None else name_of(device)}
    cost = on_crossbar(trained.network, crossbar, {})
    record |= {"energy_pj": cost.energy_pj, "latency_s": cost.latency_s, "edp_js": cost.edp_js}
    record |= {"area_mm2": cost.area_mm2, "accuracy": [], "reason": "; ".join(cost.problems)}
    if cost.problems:
        return record
    found = accuracies_after(
        trained, crossbar, list(times.values()), programmings=programmings, seed=seed, images=images
    )
    for (name, time), each in zip(times.items(), found, strict=True):
        record["accuracy"].append(
            {"after": name, "time_s": time, "mean": each.mean, "std": each.std, "notes": list(each.notes)}
        )
    return record


def _print(
    trained: TrainedNetwork, records: list[dict[str, Any]], times: list[str], programmings: int, images: int | None
) -> None:
    from rich.table import Table

    console = console_of()
    count = len(trained.labels[:images])
    console.print(
        f"{trained.name}: {trained.digital_accuracy:.2f} % of {len(trained.labels)} images digitally; per cent of "
        f"{count} images after programming, mean and standard deviation of {programmings} programmings",
        highlight=False,
    )
    table = Table(box=None)
    table.add_column("crossbar")
    table.add_column("cells")
    for column in (*times, "energy uJ", "latency us", "EDP uJ us", "area mm2"):
        table.add_column(column, justify="right")
    for record in records:
        if record["reason"]:
            table.add_row(record["hardware"], record["device"], *["-"] * (len(times) + 4))
            continue
        cells = []
        for each in record["accuracy"]:
            spread = f" +- {each['std']:.1f}" if programmings > 1 and record["device"] != "exact" else ""
            cells.append(f"{each['mean']:.1f}{spread}")
        energy_uj, latency_us = record["energy_pj"] * 1e-6, record["latency_s"] * 1e6
        costs = [f"{energy_uj:.4g}", f"{latency_us:.4g}", f"{energy_uj * latency_us:.4g}", f"{record['area_mm2']:.4g}"]
        table.add_row(record["hardware"], record["device"], *cells, *costs)
    console.print(table)
    for record in records:
        notes = list(dict.fromkeys(note for each in record["accuracy"] for note in each["notes"]))
        text = f"cannot run {record['reason']}" if record["reason"] else "; ".join(notes)
        console.print(f"{record['hardware']}: {text}", markup=False, highlight=False)
