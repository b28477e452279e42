"""Networks searched together with hardware and mappings, within the resources of Eyeriss (NAAS's figure 10).

Four arms: (A) Eyeriss runs ResNet-50; (B) accelerator and mappings are searched for ResNet-50; (C) Eyeriss' sizes are
searched, and networks for every set of sizes; (D) accelerator, mappings and networks. In the paper protocol A and C
use the published dataflow with fixed tiles, and no arm has a limit of DRAM bandwidth; in the strict one every layer of
every arm has its proven-best tiles within the native dataflow, and DRAM is the design's own.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.papers._arms import (
    Arm,
    Style,
    Totals,
    accelerator_of,
    datasheet,
    described,
    explore,
    network,
    pricing,
    search,
    totals,
    totals_of,
)
from benchmarks.papers._fixed import PUBLISHED
from benchmarks.papers._resources import Settings, resources, sizing_space
from benchmarks.papers._top1 import Networks
from codesign.experiments.network_search import NetworkSearch, NothingRunsError, nas_specification
from codesign.experiments.sheet import NasSheet
from codesign.nas.spaces import Code

DESIGN, NETWORK = "eyeriss", "resnet50"
#: The paper: EDP of C over B, and of A over D at 2.7 points of top-1 more than ResNet-50.
MAPPING, ALL = 3.01, 4.88
#: On the best designs networks are searched again with so many times the queries.
FINAL = 5

#: Networks of a design that no other beats: accuracy, energy in pJ, latency in s, code.
Front = tuple[tuple[float, float, float, Code], ...]


@dataclass(frozen=True)
class Found:
    """The best design and network at a level of accuracy, and what they cost."""

    accuracy: float
    code: Code
    gmacs: float
    datasheet: dict[str, Any]
    totals: Totals


@dataclass(frozen=True)
class Baselines:
    """ResNet-50 on Eyeriss (A), mapped as the protocol says and in other ways for comparison, and B, a design per seed.

    ``styles`` are those ways of mapping that arm C may have.
    """

    styles: dict[str, Style]
    mapped: dict[str, Totals]
    hardware: tuple[tuple[dict[str, Any], Totals], ...]

    @property
    def judged(self) -> Totals:
        """Arm A."""
        return next(iter(self.mapped.values()))


def baselines(dram: bool, tries: int, settings: Settings) -> Baselines:
    """Arms A and B; a design of B for every seed."""
    accelerator = accelerator_of(datasheet(DESIGN, dram))
    arms: dict[str, Arm] = {}
    if not dram:
        published, best = described(accelerator, PUBLISHED[DESIGN], [network(NETWORK)], tries)
        arms = {"published, fixed": Arm((NETWORK,), published), "best fixed": Arm((NETWORK,), best)}
    arms["optimal tiles"] = Arm((NETWORK,), "optimal", pad=True)
    mapped = {}
    for name, arm in arms.items():
        result = totals(accelerator, arm)
        assert result is not None
        mapped[name] = result
    hardware = []
    for seed in range(settings.seeds):
        design = search(
            resources(DESIGN, dram, settings), Arm((NETWORK,), "optimal"), seed, settings.effort, settings.pool
        )
        result = totals(design.accelerator, arms["optimal tiles"])
        assert result is not None
        hardware.append((design.datasheet, result))
    # C's mapping is fixed in the paper protocol.
    styles = {name: arm.style for name, arm in arms.items() if dram or arm.style != "optimal"}
    return Baselines(styles, mapped, tuple(hardware))


def sized(networks: Networks, style: Style, dram: bool, seed: int, settings: Settings) -> list[Found]:
    """Arm C: Eyeriss' sizes and networks, at every level of accuracy. Whoever sizes Eyeriss has Eyeriss."""
    hardware = sizing_space(DESIGN, settings, dram=dram)
    return co_search(hardware, networks, style, seed, settings, [datasheet(DESIGN, dram)])


def searched(networks: Networks, known: dict[str, Any], dram: bool, seed: int, settings: Settings) -> list[Found]:
    """Arm D: everything, at every level of accuracy; the seed's design of arm B, ``known``, is tried too."""
    return co_search(resources(DESIGN, dram, settings), networks, "optimal", seed, settings, [known])


def co_search(
    hardware: dict[str, Any],
    networks: Networks,
    style: Style,
    seed: int,
    settings: Settings,
    also: Sequence[dict[str, Any]] = (),
) -> list[Found]:
    """The best design and network at every level of accuracy that a nested search finds in a ``hardware`` section.

    Designs are scored by the geometric mean over the levels of the best EDP there; every level then has the best pair
    seen, and networks are searched once more, for longer, on the designs of these pairs and on the datasheets ``also``.
    """
    sheet = {
        "space": networks.space,
        "options": dict(networks.options),
        "accuracy": dict(networks.accuracy),
        "at_least": [level.at_least for level in networks.levels],
        "population": max(2, min(50, settings.queries // 3)),
        "queries": settings.queries,
    }
    nas = nas_specification(NasSheet.model_validate(sheet), settings.folder, seed, "edp")
    levels = nas["at_least"]
    explored = explore(
        {
            "seed": seed,
            "nas": {**sheet, "space": nas["space"]},
            "hardware": hardware,
            "search": {"population": settings.effort[0], "generations": settings.effort[1]},
        },
        settings.pool,
        functools.partial(fronts, nas=nas, style=style),
        functools.partial(geometric_mean, levels=levels),
    )
    pairs = [(design.datasheet, front) for design, front in explored if front]
    winners = [min(pairs, key=lambda pair: edp_at(pair[1], level))[0] for level in levels] if pairs else []
    designs = list({str(data): data for data in (*winners, *also)}.values())
    longer = functools.partial(fronts, nas={**nas, "queries": FINAL * settings.queries}, style=style)
    pairs += [pair for pair in zip(designs, settings.pool.map(longer, designs), strict=True) if pair[1]]
    best = []
    for level in networks.levels:
        data, front = min(pairs, key=lambda pair: edp_at(pair[1], level.at_least))
        accuracy, _, _, code = _at(front, level.at_least)
        best.append((data, accuracy, code))
    price = functools.partial(priced, nas=nas, style=style)
    costs = settings.pool.map(price, [data for data, _, _ in best], [code for _, _, code in best])
    found = []
    for (data, accuracy, code), (gmacs, result) in zip(best, costs, strict=True):
        found.append(Found(accuracy, code, gmacs, data, result))
    return found


def fronts(data: dict[str, Any], nas: dict[str, Any], style: Style) -> Front:
    """What a search of networks finds on the accelerator of a datasheet; nothing if none runs at some level."""
    accelerator = accelerator_of(data)
    try:
        judged = NetworkSearch.of(nas).run(accelerator, cost_of=pricing(accelerator, style))
    except NothingRunsError:
        return ()
    front = []
    for accuracy, energy_pj, latency_s, code in judged.front:
        # Accelerators say both of all that runs.
        assert energy_pj is not None
        assert latency_s is not None
        front.append((accuracy, energy_pj, latency_s, code))
    return tuple(front)


def priced(data: dict[str, Any], code: Code, nas: dict[str, Any], style: Style) -> tuple[float, Totals]:
    """10^9 MACs of a network, and what it costs on the accelerator of a datasheet; best tiles may pad."""
    graph = NetworkSearch.of(nas).space.network(code)
    result = totals_of(accelerator_of(data), [graph], style, pad=True)
    assert result is not None
    return graph.macs / 1e9, result


def edp_at(front: Front, level: float) -> float:
    """The least EDP in J s of a network that is accurate enough; infinite if there is none."""
    return min(
        (energy * 1e-12 * latency for accuracy, energy, latency, _ in front if accuracy >= level), default=math.inf
    )


def _at(front: Front, level: float) -> tuple[float, float, float, Code]:
    return min((row for row in front if row[0] >= level), key=lambda row: row[1] * row[2])


def geometric_mean(front: Front, levels: Sequence[float]) -> float:
    """Over the levels, of the least EDP at each."""
    found = [edp_at(front, level) for level in levels]
    return math.exp(math.fsum(map(math.log, found)) / len(found)) if math.isfinite(sum(found)) else math.inf
