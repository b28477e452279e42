"""One candidate: networks on one piece of hardware, as plain data that a ledger stores and a process sends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from accelerators.catalog import Hardware
from accelerators.costs import Infeasible
from accelerators.operators import Operator
from accelerators.spatial.architecture import SpatialAccelerator
from codesign.devices import Device
from codesign.evaluation import evaluate, layer_costs
from codesign.networks import Network
from codesign.search.budget import Budget
from mappers import MAPPERS, MapResult, map_operator

#: Plain data: texts, numbers, lists and mappings.
Record = dict[str, Any]
#: What a search may look for: the networks' geometric means, the area, and the mean accuracy, of which more is better.
OBJECTIVES = ("edp", "energy", "latency", "area", "accuracy")
_TOTALS = ("energy_pj", "latency_s", "latency_cycles", "edp_js", "macs", "utilisation")


def scores(record: Mapping[str, Any], goals: Sequence[str]) -> list[float]:
    """What an optimiser is told of a candidate, the smaller the better; infinite unless it works and says all goals."""
    known = record["objectives"] if record["status"] == "ok" else {}
    if any(known.get(goal) is None for goal in goals):
        return [math.inf] * len(goals)
    return minimised(known, goals)


def minimised(objectives: Mapping[str, float], goals: Sequence[str]) -> list[float]:
    """Figures of which less is better."""
    return [-objectives[goal] if goal == "accuracy" else objectives[goal] for goal in goals]


def evaluate_candidate(
    hardware: Hardware | Device,
    networks: Sequence[Network],
    *,
    mapper: str | None = None,
    fuse: bool = False,
    budget: Mapping[str, Any] | None = None,
    mapped: Mapping[Operator, MapResult] | None = None,
    **settings: Any,
) -> Record:
    """Map every distinct operator once and sum up the networks.

    ``budget`` are the fields of a :class:`~codesign.search.budget.Budget`, ``settings`` go to
    :func:`mappers.map_operator`, ``mapped`` are mappings that are known already. The record has ``status`` ("ok", or
    "infeasible" with ``code`` and ``reason``); ``networks`` with energy, latency and EDP of each; ``layers`` with cost
    and mapping of every distinct operator, where hardware maps them; ``objectives``; and ``gap``, how far a mapping may
    be above its optimum at most.
    """
    limits = Budget(**(budget or {}))
    excess = None if isinstance(hardware, Device) else limits.excess(hardware)
    if excess is not None:
        return _infeasible(excess, excess.message)
    if isinstance(hardware, SpatialAccelerator):
        known = dict(mapped or {})
        record = _on_spatial(hardware, networks, None if mapper is None else MAPPERS[mapper], fuse, known, settings)
    else:
        record = _on_other(hardware, networks, fuse)
    if record["status"] != "ok":
        return record
    totals = record["networks"]
    for name, total in totals.items():
        if limits.power_mw is None:
            continue
        if total["energy_pj"] is None or total["latency_s"] is None:
            return _infeasible(Infeasible("budget", "unknown"), f"{name}: its power is not known")
        power_mw = total["energy_pj"] * 1e-9 / total["latency_s"]
        if power_mw > limits.power_mw:
            text = f"{power_mw:g} mW, the budget is {limits.power_mw:g}"
            return _infeasible(Infeasible("budget", text), f"{name}: {text}")
    record["objectives"] = {
        "edp": _mean(totals, "edp_js"),
        "energy": _mean(totals, "energy_pj"),
        "latency": _mean(totals, "latency_s"),
        "area": record["area_mm2"],
    }
    return record


def add_accuracy(record: Record, accuracies: Mapping[str, Record]) -> None:
    """Note how accurate the networks are, by name: ``accuracy``, ``kind``, ``uncertainty`` (None: not known)."""
    if record["status"] == "ok":
        for name, found in accuracies.items():
            record["networks"][name].update(found)
        record["objectives"]["accuracy"] = math.fsum(a["accuracy"] for a in accuracies.values()) / len(accuracies)


def _on_spatial(
    accelerator: SpatialAccelerator,
    networks: Sequence[Network],
    mapper: Any,
    fuse: bool,
    mapped: dict[Operator, MapResult],
    settings: Mapping[str, Any],
) -> Record:
    used: dict[Operator, MapResult] = {}
    for network in networks:
        for operator in network.unique():
            if operator.passes or operator in used:
                continue
            result = mapped.get(operator) or map_operator(accelerator, operator, mapper=mapper, **settings)
            if isinstance(result, Infeasible):
                first = network.unique()[operator][0]
                return _infeasible(result, f"{network.name}: {first}: {result.message}")
            used[operator] = result
    gaps = {operator: result.certificate.gap if result.certificate else None for operator, result in used.items()}
    priced = {operator: (result.cost, gaps[operator]) for operator, result in used.items()}
    totals: Record = {}
    for network in networks:
        energy_pj, latency_s, cycles = 0.0, 0.0, 0
        for layer in layer_costs(accelerator, network, network.fusable() if fuse else {}, priced):
            cost = layer.cost
            if isinstance(cost, Infeasible):
                return _infeasible(cost, f"{network.name}: {layer.name}: {cost.message}")
            energy_pj += cost.energy_pj
            latency_s += cost.latency_s
            cycles += cost.latency_cycles
        totals[network.name] = {
            "energy_pj": energy_pj,
            "latency_s": latency_s,
            "latency_cycles": cycles,
            "edp_js": energy_pj * 1e-12 * latency_s,
            "macs": network.macs,
            "utilisation": network.macs / (accelerator.macs * cycles) if cycles else 0.0,
        }
    return {
        "status": "ok",
        "networks": totals,
        "area_mm2": accelerator.area_mm2,
        "gap": None if None in gaps.values() else max((gap for gap in gaps.values() if gap is not None), default=0.0),
        "layers": [_layer(operator, result, gaps[operator]) for operator, result in used.items()],
    }


def _on_other(hardware: Hardware | Device, networks: Sequence[Network], fuse: bool) -> Record:
    """Hardware that does not map: what its layers cost is computed again when somebody asks."""
    totals: Record = {}
    area_mm2 = None
    for network in networks:
        (cost,) = evaluate(network, hardware, fuse=fuse).results
        if cost.problems:
            return {"status": "infeasible", "code": "layers", "reason": f"{network.name}: {cost.problems[0]}"}
        area_mm2 = cost.area_mm2
        totals[network.name] = {key: getattr(cost, key) for key in _TOTALS}
    return {"status": "ok", "networks": totals, "area_mm2": area_mm2, "gap": None, "layers": []}


def _mean(totals: Mapping[str, Record], key: str) -> float | None:
    """Geometric mean over the networks; None if a figure is not known."""
    if any(total[key] is None for total in totals.values()):
        return None
    return math.exp(math.fsum(math.log(total[key]) for total in totals.values()) / len(totals))


def _infeasible(reason: Infeasible, text: str) -> Record:
    return {"status": "infeasible", "code": reason.code, "reason": text}


def _layer(operator: Operator, result: MapResult, gap: float | None) -> Record:
    cost = result.cost
    return {
        "operator": str(operator),
        "energy_pj": cost.energy_pj,
        "latency_cycles": cost.latency_cycles,
        "utilisation": cost.utilisation,
        "bottleneck": cost.bottleneck,
        "energy_breakdown_pj": dict(cost.energy_breakdown_pj),
        "mapping": str(result.mapping),
        "bounds": dict(result.bounds),
        "gap": gap,
    }
