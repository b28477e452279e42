"""What networks cost on hardware: per layer, in all, and as records for tables and files."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import Any

from accelerators.costs import Cost, Infeasible
from accelerators.operators import Operator

Record = dict[str, Any]
#: Layers that a message names.
_SHOWN = 2


@dataclass(frozen=True)
class LayerCost:
    """One layer on one piece of hardware; ``cost`` is a reason where the hardware cannot run it.

    ``fused`` layers run inside another one, ``dropped`` ones not at all. ``gap`` is how far its mapping may be above
    the optimum of the objective, if the mapper knows. Of ``timed`` layers nothing but the latency is known.
    """

    name: str
    operator: Operator
    cost: Cost | Infeasible
    fused: bool = False
    gap: float | None = None
    dropped: bool = False
    timed: bool = False

    def record(self) -> Record:
        """The layer as a flat record."""
        record: Record = {"layer": self.name, "kind": self.operator.kind, "operator": str(self.operator)}
        if isinstance(self.cost, Infeasible):
            return {**record, "status": self.cost.code, "reason": self.cost.message}
        if self.timed:
            status = "fused" if self.fused else "ok"
            return {**record, "status": status, "macs": self.operator.macs, "latency_s": self.cost.latency_s}
        return {
            **record,
            "status": "fused" if self.fused else "dropped" if self.dropped else "ok",
            "macs": self.cost.macs,
            "padded_macs": self.cost.padded_macs,
            "energy_pj": self.cost.energy_pj,
            "latency_cycles": self.cost.latency_cycles,
            "latency_s": self.cost.latency_s,
            "edp_js": self.cost.edp_js,
            "utilisation": self.cost.utilisation,
            "bottleneck": self.cost.bottleneck,
            "gap": self.gap,
            **{f"energy_{part}_pj": pj for part, pj in self.cost.energy_breakdown_pj.items()},
        }


@dataclass(frozen=True)
class NetworkCost:
    """A network on one piece of hardware: sums over the layers, which run one after another.

    Figures are None if a layer cannot run; ``problems`` says which and why. The area is None where it is not known, as
    of processors. ``quality`` says what is known about the mappings, or how else the figures were made (None: nothing).
    ``interval_s`` is the time between runs that follow each other where these overlap (None: they do not).
    """

    network: str
    hardware: str
    area_mm2: float | None
    mac_units: float
    layers: tuple[LayerCost, ...]
    quality: str | None = None
    interval_s: float | None = None

    @property
    def problems(self) -> list[str]:
        """One line per reason for which the hardware cannot run a layer, with the layers that it is the reason for."""
        layers: dict[str, list[str]] = {}
        for layer in self.refused:
            layers.setdefault(str(layer.cost), []).append(layer.name)
        return [f"{_listed(names)}: {reason}" for reason, names in layers.items()]

    @property
    def refused(self) -> list[LayerCost]:
        """Layers that the hardware cannot run."""
        return [layer for layer in self.layers if isinstance(layer.cost, Infeasible)]

    def _costs(self) -> list[Cost] | None:
        costs = [layer.cost for layer in self.layers if isinstance(layer.cost, Cost)]
        return costs if len(costs) == len(self.layers) else None

    @property
    def energy_pj(self) -> float | None:
        """Sum of the layers' energy."""
        costs = self._costs()
        return None if costs is None else sum(cost.energy_pj for cost in costs)

    @property
    def latency_cycles(self) -> int | None:
        """Sum of the layers' cycles."""
        costs = self._costs()
        return None if costs is None else sum(cost.latency_cycles for cost in costs)

    @property
    def latency_s(self) -> float | None:
        """Sum of the layers' latency."""
        costs = self._costs()
        return None if costs is None else sum(cost.latency_s for cost in costs)

    @property
    def runs_per_s(self) -> float | None:
        """Runs per second, one after another or overlapping as the hardware does."""
        period = self.latency_s if self.interval_s is None or self.latency_s is None else self.interval_s
        return 1 / period if period else None

    @property
    def edp_js(self) -> float | None:
        """(sum of energy) x (sum of latency), in joule-seconds."""
        energy, latency = self.energy_pj, self.latency_s
        return None if energy is None or latency is None else energy * 1e-12 * latency

    @property
    def macs(self) -> int:
        """MACs of the layers that are executed."""
        return sum(layer.operator.macs for layer in self.layers if not layer.dropped)

    @property
    def utilisation(self) -> float | None:
        """MACs over MAC units x cycles, data-movement-bound layers included."""
        cycles = self.latency_cycles
        return None if not cycles else self.macs / (self.mac_units * cycles)

    @property
    def bottleneck(self) -> str | None:
        """What limits the layers that take most of the time, and its share of the latency."""
        costs, total = self._costs(), self.latency_s
        if costs is None or not total:
            return None
        shares: dict[str, float] = {}
        for cost in costs:
            shares[cost.bottleneck] = shares.get(cost.bottleneck, 0.0) + cost.latency_s / total
        name = max(shares, key=lambda key: shares[key])
        return f"{name} ({shares[name]:.0%})"

    @property
    def energy_breakdown_pj(self) -> dict[str, float]:
        """Energy by where it is spent, over the layers that run."""
        parts: dict[str, float] = {}
        for layer in self.layers:
            if isinstance(layer.cost, Cost):
                for part, pj in layer.cost.energy_breakdown_pj.items():
                    parts[part] = parts.get(part, 0.0) + pj
        return parts

    def record(self) -> Record:
        """The totals as a flat record."""
        return {
            "network": self.network,
            "hardware": self.hardware,
            "status": "infeasible" if self.problems else "ok",
            "macs": self.macs,
            "energy_pj": self.energy_pj,
            "latency_cycles": self.latency_cycles,
            "latency_s": self.latency_s,
            "runs_per_s": self.runs_per_s,
            "edp_js": self.edp_js,
            "utilisation": self.utilisation,
            "bottleneck": self.bottleneck,
            "area_mm2": self.area_mm2,
            "mappings": self.quality,
            "reason": "; ".join(self.problems) or None,
        }


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


@dataclass(frozen=True)
class MeasuredCost(NetworkCost):
    """A network on a device that is known by measurements: its latency, or its energy, and no more.

    ``reason`` says why there is no figure.
    """

    measured_latency_s: float | None = None
    measured_energy_pj: float | None = None
    reason: str | None = None

    @property
    def problems(self) -> list[str]:
        """Why there is no figure: what is missing, each once."""
        missing = [layer.cost.message for layer in self.layers if isinstance(layer.cost, Infeasible)]
        return [*dict.fromkeys(missing), *([self.reason] if self.reason else [])]

    @property
    def energy_pj(self) -> float | None:
        """Measured or predicted energy."""
        return self.measured_energy_pj

    @property
    def latency_s(self) -> float | None:
        """Measured or predicted latency."""
        return self.measured_latency_s

    @property
    def latency_cycles(self) -> int | None:
        """Not known."""
        return None

    @property
    def bottleneck(self) -> str | None:
        """Not known."""
        return None


@dataclass(frozen=True)
class Evaluation:
    """The network on every candidate; records turn into a table (``pandas.DataFrame(evaluation.records())``)."""

    results: tuple[NetworkCost, ...]

    def records(self) -> list[Record]:
        """One flat record per candidate."""
        return [result.record() for result in self.results]

    def layer_records(self) -> list[Record]:
        """One flat record per candidate and layer."""
        return [
            {"network": result.network, "hardware": result.hardware, **layer.record()}
            for result in self.results
            for layer in result.layers
        ]

    def __getitem__(self, hardware: str) -> NetworkCost:
        for result in self.results:
            if result.hardware == hardware:
                return result
        raise KeyError(hardware)

    def to_json(self) -> str:
        """Totals, breakdowns, layers and mappings as JSON."""
        return json.dumps(
            [
                {
                    **result.record(),
                    "energy_breakdown_pj": result.energy_breakdown_pj,
                    "layers": [{**layer.record(), **_mapping_record(layer)} for layer in result.layers],
                }
                for result in self.results
            ],
            indent=1,
        )

    def to_csv(self, layers: bool = True) -> str:
        """The layers (or the totals) as CSV."""
        records = self.layer_records() if layers else self.records()
        columns = list(dict.fromkeys(key for record in records for key in record))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        return text.getvalue()


def _mapping_record(layer: LayerCost) -> Record:
    details = layer.cost.details if isinstance(layer.cost, Cost) else None
    if details is None:
        return {}
    padded = {dim: bound for dim, bound in details.operator.bounds if bound != layer.operator.bound(dim)}
    return {"mapping": str(details.mapping), **({"padded_bounds": padded} if padded else {})}
