"""Cost: the one result that every kind of hardware returns, and the reasons why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Infeasible:
    """Why a design cannot run an operator: a code, the facts behind it, and one sentence.

    Codes: ``factors`` (dimension, product, bound), ``fanout`` (level, axis, size, factor), ``axis`` (level, axis,
    dimension), ``keep`` (level, tensor), ``no_home`` (tensor), ``capacity`` (level, bits_short, words_short),
    ``precision`` (tensor, bits, limit), ``constraint`` (name), ``budget`` (quantity, excess), ``overflow`` (what),
    ``mapping`` (a mapping that was made for other levels or axes), ``operator`` (kind), ``design`` (rules).
    """

    code: str
    message: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class InfeasibleError(ValueError):
    """Raised where a caller asked for a cost and there is none; ``reason`` says why."""

    def __init__(self, reason: Infeasible):
        super().__init__(str(reason))
        self.reason = reason


@dataclass(frozen=True)
class Cost:
    """What one operator, run once, costs on one piece of hardware.

    ``energy_breakdown_pj`` sums to ``energy_pj``. ``macs`` are the operator's own, ``padded_macs`` those that the
    hardware performs (more where bounds were padded). ``utilisation`` is real MACs over MAC units x cycles.
    ``bottleneck`` names what sets the latency: "compute" or a level's bandwidth. ``details`` holds the kind's own
    result (for a spatial accelerator the mapping and its counts).
    """

    energy_pj: float
    latency_cycles: int
    latency_s: float
    macs: int
    padded_macs: int
    utilisation: float
    bottleneck: str
    energy_breakdown_pj: Mapping[str, float]
    details: Any = None

    @property
    def edp_js(self) -> float:
        """Energy-delay product in joule-seconds."""
        return self.energy_pj * 1e-12 * self.latency_s
