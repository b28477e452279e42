"""What NAAS is compared with in its last table: NASAIC's design of two parts, rebuilt as far as that is possible.

NASAIC is Yang et al., DAC 2020. Its design is recalled from the paper, not checked; memories, word widths and process
of the parts are not known here, nor are the network's genes. :data:`ASSUMED` says what is taken instead.
"""

from __future__ import annotations

import copy
import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from accelerators.costs import Cost
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.spatial.streaming import stream
from benchmarks.papers._arms import (
    Style,
    Totals,
    accelerator_of,
    datasheet,
    described,
    explore,
    pricing,
    totals_of,
)
from benchmarks.papers._fixed import PUBLISHED
from benchmarks.papers._resources import Settings
from codesign.networks import Builder, Network

#: The paper: latency, energy and EDP of NASAIC over those of NAAS.
LATENCY, ENERGY, EDP = 3.75, 0.5, 1.88
ASSUMED = (
    "recalled, not checked: an NVDLA-like part of 576 PEs and 56 GB/s, a ShiDianNao-like one of 1,792 PEs and 8 GB/s, "
    "64 GB/s in all; a network like ResNet-9 on CIFAR-10",
    "assumed: parts are the datasheets of NVDLA-256 (18 kernels x 32 channels) and ShiDianNao (32 rows x 56 columns), "
    "both in NVDLA's process, clock and int8; buffers as there, accumulators and words between PEs grow with the lanes",
    "assumed: 56 bytes per cycle from NVDLA's buffer, 8 from each of ShiDianNao's three (at least what the original "
    "has); 64 in all for the searched design; DRAM without limit (paper), NVDLA-256's for both (strict)",
    "assumed: layers run one after the other, each on the part that gives the network the least EDP (best of all "
    "ways); the part that waits costs nothing",
    "assumed: ResNet-9 as known from DAWNBench, 6.6 M parameters",
)
_NOC_BYTES_PER_CYCLE = 64
_NVDLA, _SHIDIANNAO = "nvdla_256", "shidiannao"
_KERNELS, _CHANNELS, _COLUMNS, _ROWS = 18, 32, 56, 32


@functools.cache
def resnet9() -> Network:
    """ResNet-9 for CIFAR-10: eight convolutions, two of them with shortcuts around pairs, and a classifier."""
    b = Builder("resnet9")

    def conv(x: Any, name: str, channels: int) -> Any:
        return b.conv(x, name, K=channels, kernel=3, padding=1, bn=True, activation="relu")

    x = conv(b.input(3, 32, 32), "prep", 64)
    for name, channels in (("layer1", 128), ("layer2", 256), ("layer3", 512)):
        x = b.pool(conv(x, name, channels), f"{name}.pool", kernel=2, stride=2, kind="max")
        if name != "layer2":
            x = b.add(f"{name}.add", conv(conv(x, f"{name}.res1", channels), f"{name}.res2", channels), x)
    b.linear(b.flatten(b.pool(x, "pool", kernel=4, stride=4, kind="max")), "classifier", K=10)
    return b.network


def parts(dram: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Datasheets of the NVDLA-like and of the ShiDianNao-like part."""
    nvdla, shidiannao = (copy.deepcopy(datasheet(name, dram)) for name in (_NVDLA, _SHIDIANNAO))
    nvdla["name"], shidiannao["name"] = "nvdla_576", "shidiannao_1792"
    _, buffer, accumulator, _ = nvdla["levels"]
    buffer["read_bandwidth"] = "56 B/cycle"
    axes = accumulator["fanout"]
    kernels = axes["x"]["size"]
    axes["x"]["size"], axes["y"]["size"] = _KERNELS, _CHANNELS
    # 32 positions of every kernel, as in the original; two memories side by side, of 9 partial sums a word.
    built = accelerator_of(datasheet(_NVDLA, dram)).levels[2]
    assert built.capacity_bytes is not None
    accumulator["capacity"] = f"{built.capacity_bytes * _KERNELS / kernels:.0f} B"
    accumulator["width"] = f"{built.width_bits * _KERNELS // kernels // 2} bit"
    shidiannao |= {key: nvdla[key] for key in ("node", "clock")}
    # The accumulator is as wide as a PE's register.
    shidiannao["compute"] = {**nvdla["compute"], "accumulator": shidiannao["compute"]["accumulator"]}
    shidiannao["levels"][0] = nvdla["levels"][0]
    for level in shidiannao["levels"][1:4]:
        for key in ("bandwidth", "read_bandwidth"):
            if key in level:
                level[key] = "8 B/cycle"
    fifos = shidiannao["levels"][4]
    axes = fifos["fanout"]
    lanes = axes["x"]["size"] * axes["y"]["size"]
    axes["x"]["size"], axes["y"]["size"] = _COLUMNS, _ROWS
    built = accelerator_of(datasheet(_SHIDIANNAO, dram)).levels[4]
    assert built.capacity_bytes is not None
    # As many words for every lane, as deep.
    fifos["capacity"] = f"{built.capacity_bytes * _COLUMNS * _ROWS / lanes:.0f} B"
    fifos["width"] = f"{built.width_bits * _COLUMNS * _ROWS // lanes} bit"
    return nvdla, shidiannao


@dataclass(frozen=True)
class Bill:
    """Energy in pJ and latency in s of a network, and the layers with MACs that each part runs."""

    energy_pj: float
    latency_s: float
    layers: tuple[int, ...] = ()

    @property
    def edp_js(self) -> float:
        """Energy-delay product in joule-seconds."""
        return self.energy_pj * 1e-12 * self.latency_s


def assigned(costs: Sequence[Sequence[tuple[float, float] | None]]) -> tuple[Bill, tuple[int, ...]]:
    """The assignment of layers to parts of least EDP: the bill, and every layer's part.

    ``costs`` has energy in pJ and latency in s of every layer on every part, or None where it cannot run. Exact: of all
    ways to run the first layers, those are kept that no other beats in both. Raises ValueError for a layer that runs
    nowhere.
    """
    ways: list[tuple[float, float, tuple[int, ...]]] = [(0.0, 0.0, ())]
    for i, layer in enumerate(costs):
        longer = sorted(
            (energy + cost[0], latency + cost[1], (*chosen, part))
            for energy, latency, chosen in ways
            for part, cost in enumerate(layer)
            if cost is not None
        )
        if not longer:
            raise ValueError(f"layer {i} runs on no part")
        ways = []
        for way in longer:
            if not ways or way[1] < ways[-1][1]:
                ways.append(way)
    energy, latency, chosen = min(ways, key=lambda way: way[0] * way[1])
    return Bill(energy, latency), chosen


def heterogeneous(accelerators: Sequence[SpatialAccelerator], styles: Sequence[Style], graph: Network) -> Bill:
    """A network on several parts, each with its way of mapping, one layer after the other."""
    prices = [pricing(part, style, pad=True) for part, style in zip(accelerators, styles, strict=True)]
    known: dict[Any, list[tuple[float, float] | None]] = {}
    layers = list(graph)
    for layer in layers:
        operator = layer.operator
        if operator not in known:
            found = [
                stream(part, operator) if operator.passes else price(operator)
                for part, price in zip(accelerators, prices, strict=True)
            ]
            known[operator] = [(c.energy_pj, c.latency_s) if isinstance(c, Cost) else None for c in found]
    bill, chosen = assigned([known[layer.operator] for layer in layers])
    worked = [part for layer, part in zip(layers, chosen, strict=True) if not layer.operator.passes]
    return Bill(bill.energy_pj, bill.latency_s, tuple(worked.count(i) for i in range(len(accelerators))))


def baseline(dram: bool, tries: int) -> dict[str, Bill]:
    """ResNet-9 on the two parts: as the protocol maps it first, then in other ways."""
    accelerators = [accelerator_of(data) for data in parts(dram)]
    graph = resnet9()
    styles: dict[str, list[Style]] = {}
    if not dram:
        pairs = [
            described(accelerator, PUBLISHED[name], [graph], tries)
            for accelerator, name in zip(accelerators, (_NVDLA, _SHIDIANNAO), strict=True)
        ]
        styles = {"published, fixed": [p for p, _ in pairs], "best fixed": [best for _, best in pairs]}
    styles["optimal tiles"] = ["optimal", "optimal"]
    return {name: heterogeneous(accelerators, style, graph) for name, style in styles.items()}


def resources(dram: bool, settings: Settings) -> dict[str, Any]:
    """The ``hardware`` section of one accelerator with the MACs and bytes of both parts."""
    data = parts(dram)
    file = settings.folder / f"{data[0]['name']}_{'with' if dram else 'without'}_dram_bandwidth.yaml"
    file.write_text(json.dumps(data[0]), encoding="utf-8")
    built = [accelerator_of(part) for part in data]
    budget = {
        "like": str(file),
        "macs": sum(part.macs for part in built),
        "on_chip": f"{math.floor(sum(part.on_chip_bytes for part in built))} B",
        "noc_bandwidth": f"{_NOC_BYTES_PER_CYCLE} B/cycle",
    }
    return {"space": "naas", "budget": budget}


def judged(data: dict[str, Any], pad: bool = False) -> Totals | None:
    """ResNet-9 on the accelerator of a datasheet, or None if it cannot run."""
    return totals_of(accelerator_of(data), [resnet9()], "optimal", pad)


def searched(dram: bool, settings: Settings) -> list[Totals]:
    """One accelerator for ResNet-9 within the resources of both parts, per seed, best first."""
    found = []
    for seed in range(settings.seeds):
        sheet = {
            "seed": seed,
            # Every experiment has a network; what is judged is ours.
            "networks": ["resnet18"],
            "hardware": resources(dram, settings),
            "search": {"population": settings.effort[0], "generations": settings.effort[1]},
        }
        best, _ = explore(sheet, settings.pool, judged, _edp)[0]
        result = judged(best.datasheet, pad=True)
        assert result is not None
        found.append(result)
    return sorted(found, key=lambda result: result.edp)


def _edp(result: Totals | None) -> float:
    return math.inf if result is None else result.edp


def gains(bill: Bill, designs: Sequence[Totals]) -> list[tuple[float, float]]:
    """How many times faster each design is than the parts, and how many times less energy it takes."""
    return [(bill.latency_s / latency_s(each), bill.energy_pj / each.energy) for each in designs]


def latency_s(result: Totals) -> float:
    """In the parts' clock, which the searched design has as well."""
    return result.latency / accelerator_of(parts(False)[0]).clock_hz
