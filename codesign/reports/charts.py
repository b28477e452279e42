"""Charts as image files: rooflines, and what was predicted against what was measured."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accelerators.catalog import Hardware
from accelerators.costs import Cost
from accelerators.operators import ROLES, Role
from accelerators.processors.processor import Processor
from accelerators.processors.roofline import operations
from accelerators.spatial.architecture import SpatialAccelerator
from codesign.costs import NetworkCost
from codesign.devices import Device
from codesign.reports.comparison import image_format

#: (name, unit, predicted, its standard deviation, measured): arrays of shape (n,).
Series = tuple[str, str, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

_MOST_ACROSS = 4
#: Of an axis over many decades.
_MOST_TICKS = 8
_CAPTION = (
    "A dot is a layer: its operations over the bytes that it must move at least (every word of its tensors once), and "
    "how many it does per second. Its area grows with its share of the latency."
)


def predicted_against_measured(series: Sequence[Series], path: Path) -> None:
    """One panel per device: measured across, predicted up, with bars of two standard deviations.

    Raises ValueError for a file that is no .png, .svg or .pdf, and if the library for plots is missing.
    """
    image_format(path)
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    across = min(_MOST_ACROSS, len(series))
    down = math.ceil(len(series) / across)
    figure = Figure(figsize=(4 * across, 3.6 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for panel in panels[len(series) :]:
        panel.set_visible(False)
    for panel, (name, unit, predicted, std, measured) in zip(panels, series, strict=False):
        panel.errorbar(measured, predicted, yerr=2 * std, fmt="o", ms=3, lw=0.6, alpha=0.5, color="#3f7fc4")
        ends = [min(measured.min(), predicted.min()), max(measured.max(), predicted.max())]
        panel.plot(ends, ends, color="#8b929c", lw=1)
        panel.set_title(name, fontsize=9)
        panel.set_xlabel(f"measured ({unit})")
        panel.set_ylabel(f"predicted ({unit})")
        panel.grid(alpha=0.3)
    # Text stays text, so that it can be searched.
    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(path)


class _Roofs(NamedTuple):
    """Operations per second, (name, bytes per second) of memories, bits of a word by the role of its tensor."""

    peak: float
    memories: list[tuple[str, float]]
    bits: Mapping[Role, int]


def _roofs(hardware: Hardware | Device) -> _Roofs | None:
    """What limits hardware; None where that is not known."""
    if isinstance(hardware, Processor):
        memories = [("RAM", hardware.ram_bandwidth_bytes_per_s)]
        memories += [(cache.name, cache.bandwidth_bytes_per_s) for cache in hardware.caches]
        return _Roofs(hardware.type.peak_ops_per_s, memories, dict.fromkeys(ROLES, hardware.type.bits))
    if isinstance(hardware, SpatialAccelerator):
        outer = hardware.levels[0]
        rate = outer.shared_bandwidth_bytes_per_cycle or outer.read_bandwidth_bytes_per_cycle
        memories = [] if rate is None else [(outer.name, rate * hardware.clock_hz)]
        bits = {role: hardware.compute.bits(role) for role in ROLES}
        return _Roofs(2 * hardware.macs * hardware.clock_hz, memories, bits)
    return None


def roofline_chart(costs: Sequence[tuple[NetworkCost, Hardware | Device]], path: Path) -> list[str]:
    """One panel per piece of hardware: roofs of arithmetic and memories, and a dot per layer that computes.

    A dot is at the operations per byte that the layer must move at least (every word of its tensors once), and as high
    as it gets on this hardware; its area grows with its share of the latency. All panels have the same ranges. Returns
    the names of hardware that has no roofline: crossbars, and devices that were measured.

    Raises ValueError for a file that is no .png, .svg or .pdf, if the library for plots is missing, and where no
    hardware has roofs.
    """
    image_format(path)
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    drawn = [(cost, hardware, roofs) for cost, hardware in costs if (roofs := _roofs(hardware)) is not None]
    if not drawn:
        raise ValueError(f"{path}: no hardware with known peaks and bandwidths to draw rooflines of")
    across = min(_MOST_ACROSS, len(drawn))
    down = math.ceil(len(drawn) / across)
    figure = Figure(figsize=(5 * across, 4.2 * down + 0.6), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
    for panel in panels[len(drawn) :]:
        panel.set_visible(False)
    dots = [_dots(cost, roofs) for cost, _, roofs in drawn]
    ridges = [roofs.peak / rate for *_, roofs in drawn for _, rate in roofs.memories]
    low, high = _decades([dot[0] for each in dots for dot in each] + ridges + [1.0])
    bottom, top = _decades([dot[1] for each in dots for dot in each] + [roofs.peak for *_, roofs in drawn])
    x = np.geomspace(low, high, 200)
    for axes, (_, hardware, (peak, memories, _)), of_panel in zip(panels, drawn, dots, strict=False):
        for name, rate in memories:
            axes.plot(x, np.minimum(peak, rate * x), lw=1.2, label=name)
        if not memories:
            axes.axhline(peak, lw=1.2)
        if of_panel:
            right, up, shares = zip(*of_panel, strict=True)
            axes.scatter(right, up, s=[8 + 400 * share for share in shares], alpha=0.5, color="#d07a2d")
        axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(bottom, top))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(numticks=_MOST_TICKS))
            axis.set_minor_formatter(NullFormatter())
        axes.set_title(hardware.name, fontsize=10, parse_math=False)
        axes.grid(alpha=0.3)
        if memories:
            axes.legend()
    for axes in panels[::across]:
        axes.set_ylabel("operations per second")
    for axes in panels[max(0, len(drawn) - across) : len(drawn)]:
        axes.set_xlabel("operations per byte")
        axes.tick_params(labelbottom=True)
    network = textwrap.shorten(drawn[0][0].network, 50 * across, placeholder=" ..")
    figure.suptitle(network, fontsize=11, parse_math=False)
    caption = "\n".join(textwrap.wrap(_CAPTION, 75 * across))
    figure.supxlabel(caption, fontsize=8)
    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(path)
    return [hardware.name for _, hardware in costs if _roofs(hardware) is None]


def _dots(cost: NetworkCost, roofs: _Roofs) -> list[tuple[float, float, float]]:
    """Operations per byte, operations per second and share of the latency, of every layer that computes."""
    found = []
    total_s = cost.latency_s or math.inf
    for layer in cost.layers:
        work = operations(layer.operator)
        if not work or not isinstance(layer.cost, Cost) or layer.cost.latency_s <= 0:
            continue
        operator = layer.operator
        moved = sum(operator.touched_words(tensor) * roofs.bits[tensor.role] / 8 for tensor in operator.tensors)
        found.append((work / moved, work / layer.cost.latency_s, layer.cost.latency_s / total_s))
    return found


def _decades(values: Sequence[float]) -> tuple[float, float]:
    """The powers of ten around some numbers."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values) * 1.2))
    return 10.0**low, 10.0**high
