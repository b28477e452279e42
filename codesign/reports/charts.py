"""Charts as image files: rooflines, and what was predicted against what was measured."""

from __future__ import annotations

import math
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


def roofline_chart(costs: Sequence[tuple[NetworkCost, Hardware | Device]], path: Path) -> None:
    """One panel per piece of hardware: roofs of arithmetic and memories, and a dot per layer that computes.

    A dot is at the operations per byte that the layer must move at least (every word of its tensors once), and as high
    as it gets on this hardware; its area grows with its share of the latency.

    Raises ValueError for a file that is no .png, .svg or .pdf, if the library for plots is missing, and where no
    hardware has roofs.
    """
    image_format(path)
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    drawn = [(cost, hardware, roofs) for cost, hardware in costs if (roofs := _roofs(hardware)) is not None]
    if not drawn:
        raise ValueError(f"{path}: no hardware with known peaks and bandwidths to draw rooflines of")
    figure = Figure(figsize=(6 * len(drawn), 4.5), layout="constrained")
    for axes, (cost, hardware, (peak, memories, bits)) in zip(
        figure.subplots(1, len(drawn), squeeze=False).ravel(), drawn, strict=True
    ):
        dots = []
        total_s = cost.latency_s or math.inf
        for layer in cost.layers:
            if not isinstance(layer.cost, Cost) or layer.cost.latency_s <= 0:
                continue
            operator = layer.operator
            work = operations(operator)
            moved = sum(operator.touched_words(tensor) * bits[tensor.role] / 8 for tensor in operator.tensors)
            if work:
                dots.append((work / moved, work / layer.cost.latency_s, layer.cost.latency_s / total_s))
        low = min([dot[0] for dot in dots] + [peak / rate for _, rate in memories] + [1.0]) / 2
        high = max([dot[0] for dot in dots] + [peak / rate for _, rate in memories] + [1.0]) * 2
        x = np.geomspace(low, high, 200)
        for name, rate in memories:
            axes.plot(x, np.minimum(peak, rate * x), lw=1.2, label=name)
        if not memories:
            axes.axhline(peak, lw=1.2)
        if dots:
            across, up, shares = zip(*dots, strict=True)
            axes.scatter(across, up, s=[8 + 400 * share for share in shares], alpha=0.5, color="#d07a2d")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("operations per byte")
        axes.set_ylabel("operations per second")
        axes.set_title(f"{cost.network} on {hardware.name}", fontsize=10)
        axes.grid(alpha=0.3)
        if memories:
            axes.legend()
    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(path)
