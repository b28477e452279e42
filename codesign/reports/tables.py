"""Tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from accelerators.costs import Cost
from codesign.costs import MeasuredCost

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from codesign.costs import Evaluation, NetworkCost
    from codesign.experiments.summary import PointSummary


#: Relative difference below which figures are called the same.
_SAME = 0.005
_SMALL = ((1e-9, "n"), (1e-12, "p"))


def si(value: float) -> str:
    """A number with an SI prefix, ready for its unit: 4.09 G, 25.6 M, 1.2 m."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "u"), *_SMALL):
        if abs(value) >= factor:
            return f"{value / factor:.4g} {prefix}"
    return f"{value / 1e-15:.4g} f" if value else "0 "


def capacity(held_bytes: float) -> str:
    """Bytes as datasheets have them: 11 GB, 1.5 MB, 16 kB of 1024 bytes."""
    for factor, prefix in ((2**30, "G"), (2**20, "M"), (2**10, "k")):
        if held_bytes >= factor:
            return f"{held_bytes / factor:.4g} {prefix}B"
    return f"{held_bytes:.4g} B"


def times(number: float, base: float, sign: str = "x") -> str:
    """How many times lower or higher than another one a number is, both of them > 0."""
    ratio = base / number
    if abs(ratio - 1) < _SAME:
        return "the same"
    return f"{ratio:.3g}{sign} lower" if ratio > 1 else f"{1 / ratio:.3g}{sign} higher"


def percent(value: float | None) -> str:
    """A share as a percentage; nothing for None."""
    return "" if value is None else f"{value:.1%}"


def summary_table(result: Evaluation) -> Table:
    """One row per candidate."""
    table = Table(box=None)
    table.add_column("accelerator")
    for column in ("energy mJ", "latency ms", "EDP mJ ms", "utilisation", "pJ/MAC", "runs/s", "area mm2"):
        table.add_column(column, justify="right")
    table.add_column("bottleneck")
    for cost in result.results:
        if cost.problems:
            many = len(cost.refused)
            said = "1 layer cannot run" if many == 1 else f"{many} layers cannot run"
            if isinstance(cost, MeasuredCost):
                missing = len(cost.problems)
                said = "1 entry is missing" if missing == 1 else f"{missing} entries are missing"
                said = said if cost.layers else "has no figure"
            table.add_row(cost.hardware, *["-"] * 6, _area(cost.area_mm2), said)
            continue
        energy, latency, edp = cost.energy_pj, cost.latency_s, cost.edp_js
        table.add_row(
            cost.hardware,
            "" if energy is None else f"{energy * 1e-9:.4g}",
            "" if latency is None else f"{latency * 1e3:.4g}",
            "" if edp is None else f"{edp * 1e6:.4g}",
            percent(cost.utilisation),
            f"{energy / cost.macs:.3g}" if energy is not None and cost.macs else "",
            "" if cost.runs_per_s is None else f"{cost.runs_per_s:.4g}",
            _area(cost.area_mm2),
            cost.bottleneck or "",
        )
    return table


def _area(area_mm2: float | None) -> str:
    return "" if area_mm2 is None else f"{area_mm2:.4g}"


def layer_table(network_cost: NetworkCost) -> Table:
    """One row per layer of a network on one candidate."""
    # Encodings have brackets, which mean nothing here.
    title = Text(f"{network_cost.network} on {network_cost.hardware}")
    table = Table(box=None, title=title, title_justify="left")
    for column in ("layer", "operator"):
        table.add_column(column)
    for column in ("energy uJ", "latency us", "EDP uJ ms", "utilisation", "gap"):
        table.add_column(column, justify="right")
    table.add_column("bottleneck")
    for layer in network_cost.layers:
        cost = layer.cost
        if isinstance(cost, Cost) and layer.timed:
            figures = ("", f"{cost.latency_s * 1e6:.4g}", "", "", "", "fused" if layer.fused else "")
        elif isinstance(cost, Cost):
            figures = (
                f"{cost.energy_pj * 1e-6:.4g}",
                f"{cost.latency_s * 1e6:.4g}",
                f"{cost.edp_js * 1e9:.4g}",
                percent(cost.utilisation) if cost.macs else "",
                "" if layer.gap is None else f"{layer.gap:.2%}",
                "fused" if layer.fused else "dropped" if layer.dropped else cost.bottleneck,
            )
        else:
            figures = ("-", "-", "-", "-", "", str(cost))
        table.add_row(layer.name, str(layer.operator), *figures)
    return table


def runs_table(runs: Sequence[tuple[Path, PointSummary]], width: int) -> Table:
    """The points of every run: its best design, and how many times lower or higher than the baseline's its figures are.

    One row per point; one column per point where rows would be wider than ``width`` characters.
    """
    names = ["run", "point", "networks", "generations", "rejected", "designs", "infeasible", "EDP mJ ms", "energy mJ"]
    names += ["latency ms", "area mm2", "accuracy", "compared with", "EDP against it", "energy against it"]
    names += ["latency against it", "accuracy against it", "design"]
    words = {"run", "point", "networks", "compared with", "design"}
    rows = [_run_row(folder, summary) for folder, summary in runs]
    # What is the same everywhere, and empty, says nothing.
    shown = [i for i in range(len(names)) if any(row[i] for row in rows)]
    table = Table(box=None, show_header=False)
    needed = sum(2 + max(len(names[i]), *(len(row[i]) for row in rows)) for i in shown) if rows else 0
    if needed > width:
        table.add_column(style="bold", no_wrap=True)
        for _ in rows:
            table.add_column(overflow="fold")
        for i in shown:
            table.add_row(names[i], *(row[i] for row in rows))
        return table
    table = Table(box=None)
    for i in shown:
        table.add_column(names[i], justify="left" if names[i] in words else "right", overflow="fold")
    for row in rows:
        table.add_row(*(row[i] for i in shown))
    return table


def _run_row(folder: Path, summary: PointSummary) -> tuple[str, ...]:
    label = " ".join(f"{path.rpartition('.')[2]}={value}" for path, value in summary.label.items())
    counts = (str(n) for n in (summary.generations, summary.rejected, summary.evaluated, summary.infeasible))
    row = (folder.name, label, ", ".join(summary.networks), *counts)
    compared = summary.compared_with or ""
    if not summary.best:
        return (*row, "-", "-", "-", "-", "", compared, *["-" if compared else ""] * 3, "", "")
    key, found = summary.best
    base = summary.baseline or {}

    def figure(goal: str, factor: float = 1.0) -> str:
        value = found.get(goal)
        return "" if value is None else f"{value * factor:.4g}"

    def against(goal: str) -> str:
        ours, theirs = found.get(goal), base.get(goal)
        return times(ours, theirs) if ours and theirs else ""

    more = [values.get("accuracy") for values in (found, base)]
    return (
        *row,
        figure("edp", 1e6),
        figure("energy", 1e-9),
        figure("latency", 1e3),
        figure("area"),
        figure("accuracy"),
        compared,
        *map(against, ("edp", "energy", "latency")),
        "" if more[0] is None or more[1] is None else f"{more[0] - more[1]:+.3g}",
        f"{summary.given} ({key})" if summary.given else key,
    )


def counts_table(cost: Cost) -> Table:
    """Words (over all instances) and energy per level and tensor of one mapping."""
    table = Table(box=None)
    for column in ("level", "tensor"):
        table.add_column(column)
    for column in ("instances", "tile", "reads", "fills", "updates", "energy uJ", "network uJ"):
        table.add_column(column, justify="right")
    for level in cost.details.levels:
        for tensor in level.tensors:
            network = f"{tensor.network_energy_pj * 1e-6:.4g}" if tensor.network_energy_pj else ""
            if not tensor.kept and not network:
                continue
            figures = (
                (
                    str(level.instances),
                    f"{tensor.tile_words:,}",
                    f"{tensor.reads * level.instances:,}",
                    f"{tensor.fills * level.instances:,}",
                    f"{tensor.updates * level.instances:,}",
                    f"{tensor.energy_pj * 1e-6:.4g}",
                )
                if tensor.kept
                else (str(level.instances), "bypass", "", "", "", "")
            )
            table.add_row(level.level, tensor.tensor, *figures, network)
    for part in ("MAC", "adders", "leakage"):
        table.add_row(part, *[""] * 6, f"{cost.energy_breakdown_pj[part] * 1e-6:.4g}", "")
    return table
