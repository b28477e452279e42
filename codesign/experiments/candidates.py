"""One candidate: networks on one accelerator, as plain data that a ledger stores and a process sends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from accelerators.costs import Infeasible
from accelerators.operators import Operator
from accelerators.spatial.architecture import SpatialAccelerator
from codesign.evaluation import layer_costs
from codesign.networks import Network
from codesign.search.space import Budget
from mappers import MAPPERS, MapResult, map_operator

#: Plain data: texts, numbers, lists and mappings.
Record = dict[str, Any]
#: What a search may minimise: networks' geometric means, and the area.
OBJECTIVES = ("edp", "energy", "latency", "area")


def evaluate_candidate(
    accelerator: SpatialAccelerator,
    networks: Sequence[Network],
    *,
    mapper: str | None = None,
    fuse: bool = False,
    budget: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Record:
    """Map every distinct operator once and sum up the networks.

    ``budget`` are the fields of a :class:`~codesign.search.space.Budget`, ``settings`` go to
    :func:`mappers.map_operator`. The record has ``status`` ("ok", or "infeasible" with ``code`` and
    ``reason``); ``networks`` with energy, latency and EDP of each; ``layers`` with cost and mapping of every distinct
    operator; ``objectives``; and ``gap``, how far a mapping may be above its optimum at most.
    """
    limits = Budget(**(budget or {}))
    excess = limits.excess(accelerator)
    if excess is not None:
        return _infeasible(excess, excess.message)
    chosen = None if mapper is None else MAPPERS[mapper]
    mapped: dict[Operator, MapResult] = {}
    for network in networks:
        for operator in network.unique():
            if operator.passes or operator in mapped:
                continue
            result = map_operator(accelerator, operator, mapper=chosen, **settings)
            if isinstance(result, Infeasible):
                first = network.unique()[operator][0]
                return _infeasible(result, f"{network.name}: {first}: {result.message}")
            mapped[operator] = result
    gaps = {operator: result.certificate.gap if result.certificate else None for operator, result in mapped.items()}
    priced = {operator: (result.cost, gaps[operator]) for operator, result in mapped.items()}
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
        if limits.power_mw is not None and energy_pj * 1e-9 > limits.power_mw * latency_s:
            power = energy_pj * 1e-9 / latency_s
            reason = Infeasible("budget", f"{power:g} mW, the budget is {limits.power_mw:g}", {"quantity": "power_mw"})
            return _infeasible(reason, f"{network.name}: {reason.message}")
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
        "objectives": {
            "edp": _mean(totals, "edp_js"),
            "energy": _mean(totals, "energy_pj"),
            "latency": _mean(totals, "latency_s"),
            "area": accelerator.area_mm2,
        },
        "layers": [_layer(operator, result, gaps[operator]) for operator, result in mapped.items()],
    }


def _mean(totals: Mapping[str, Record], key: str) -> float:
    """Geometric mean over the networks."""
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
