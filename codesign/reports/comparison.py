"""Mappers compared: quality against time, as a table and as a plot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.table import Table

from mappers.compare import Comparison

#: Parts of the budget at which the table states the quality.
_PARTS = (0.01, 0.1, 1.0)
_FORMATS = ("png", "svg", "pdf")


def image_format(path: Path) -> str:
    """The format that a file name asks for.

    Raises ValueError for one that cannot be drawn, and if the library for plots is missing.
    """
    ending = path.suffix.lower().removeprefix(".")
    if ending not in _FORMATS:
        raise ValueError(f"{path}: a plot is a .png, .svg or .pdf file")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ValueError("plots need matplotlib: pip install 'codesign[plot]'") from None
    return ending


def comparison_table(comparison: Comparison) -> Table:
    """One row per mapper: how far it is above the optimum after parts of its time."""
    table = Table(box=None)
    table.add_column("mapper")
    for column in ("evaluations", "CPU s", comparison.objective):
        table.add_column(column, justify="right")
    for part in _PARTS:
        table.add_column(f"after {comparison.budget_s * part:g} s", justify="right")
    for trace in comparison.traces:
        excesses = [comparison.excess(trace, comparison.budget_s * part) for part in _PARTS[:-1]]
        excesses.append(comparison.excess(trace, np.inf))
        table.add_row(
            trace.mapper,
            f"{trace.evaluations:,}",
            f"{trace.cpu_s:.3g}",
            f"{trace.at(np.inf):.6g}",
            *("-" if not np.isfinite(excess) else f"+{max(0.0, excess):.2%}" for excess in excesses),
        )
    return table


def comparison_plot(comparison: Comparison, path: Path, title: str) -> None:
    """Write a plot of the best score over the optimum against CPU time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for trace in comparison.traces:
        times = [step.cpu_s for step in trace.steps]
        values = [100 * max(0.0, step.score / comparison.reference - 1) for step in trace.steps]
        if times:
            (line,) = axes.step([*times, comparison.budget_s], [*values, values[-1]], where="post", label=trace.mapper)
            # Where its last step was: a line on the axis itself is hard to see.
            axes.plot(times[-1], values[-1], "o", color=line.get_color(), clip_on=False)
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=0.1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("CPU time (s)")
    known = comparison.certificate is not None and comparison.certificate.proven
    axes.set_ylabel(f"{comparison.objective} above {'the optimum' if known else 'the lower bound'} (%)")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)
