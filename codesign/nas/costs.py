"""What networks of a space cost on one piece of hardware, each distinct operator priced once.

Networks of a space are made of the same blocks: after some hundred networks a new one brings a few new operators, or
none. So a search that tries a thousand networks on an accelerator maps a few thousand operators, not a hundred
thousand.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accelerators.catalog import Hardware
from accelerators.costs import Cost, Infeasible
from accelerators.operators import Operator
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.spatial.streaming import stream
from codesign.devices import Device
from codesign.evaluation import evaluate
from codesign.nas.spaces import Code, Space
from codesign.networks import Network
from mappers import MapResult, map_operator
from mappers.floors import floor

#: Columns of what :meth:`NetworkCosts.costs` gives.
COLUMNS = ("energy_pj", "latency_s", "edp_js")

#: An operator, and the words that it reads besides where it runs with its producer (None: by itself).
_Work = tuple[Operator, int | None]
#: Numbers of operators, and how often each runs.
_Counts = tuple[tuple[int, int], ...]


@dataclass
class Works:
    """What networks of a space are made of; to be shared by the costs on many accelerators.

    Operators have numbers, positions in ``works``, and parts of networks (:meth:`~codesign.nas.spaces.Space.parts`)
    have numbers, positions in ``parts``. Where a space does not know its parts, each network is one.
    """

    space: Space
    fuse: bool = False
    batch: int = 1
    works: list[_Work] = field(default_factory=list)
    parts: list[_Counts] = field(default_factory=list)
    _numbers: dict[_Work, int] = field(default_factory=dict)
    _parts: dict[Hashable, int] = field(default_factory=dict)

    def of(self, code: Code) -> list[int]:
        """Numbers of a network's parts, in order."""
        parts = self.space.parts(code)
        if parts is None:
            parts = {"": code}
        try:
            return [self._parts[part] for part in parts.values()]
        except KeyError:
            self._build(code, parts)
            return [self._parts[part] for part in parts.values()]

    def _build(self, code: Code, parts: Mapping[str, Hashable]) -> None:
        """Learn the parts of a network that are new."""
        network = self.space.network(code, batch=self.batch)
        fused = network.fusable() if self.fuse else {}
        counts: dict[str, Counter[int]] = {name: Counter() for name in parts}
        for layer in network:
            work = layer.operator, fused[layer.name].reads if layer.name in fused else None
            number = self._numbers.setdefault(work, len(self.works))
            if number == len(self.works):
                self.works.append(work)
            counts[_beginning(layer.name, counts)][number] += 1
        for name, part in parts.items():
            if part not in self._parts:
                self._parts[part] = len(self.parts)
                self.parts.append(tuple(counts[name].items()))


def _beginning(name: str, parts: Collection[str]) -> str:
    """The part that a layer belongs to: "" or the layer's name as far as a dot."""
    found = name
    while found not in parts:
        if not found:
            raise ValueError(f"layer {name} must belong to a part of the network (got {', '.join(parts)})")
        found = found.rpartition(".")[0]
    return found


class NetworkCosts:
    """Costs of networks of a space on one piece of hardware; ``settings`` go to :func:`mappers.map_operator`.

    On a spatial accelerator ``cost_of``, if given, prices operators with MACs, in place of their best mapping.
    ``mapped`` has the mappings that were found, ``reasons`` why networks cannot run, by code.
    """

    def __init__(
        self,
        works: Works,
        hardware: Hardware | Device,
        *,
        cost_of: Callable[[Operator], Cost | Infeasible] | None = None,
        **settings: Any,
    ):
        self.works = works
        self.hardware = hardware
        self.cost_of = cost_of
        self.settings = settings
        self.mapped: dict[Operator, MapResult] = {}
        self.reasons: dict[Code, str] = {}
        # By numbers of operators and of parts: energy and latency, or why there is none.
        self._priced: dict[int, tuple[float, float] | Infeasible] = {}
        self._parts: dict[int, tuple[float, float] | str] = {}
        self._floors: dict[int, tuple[float, float] | Infeasible] = {}
        self._whole: dict[Code, tuple[float, float]] = {}

    def costs(self, codes: ArrayLike) -> NDArray[np.float64]:
        """(n, 3) energy in pJ, latency in seconds, EDP in joule-seconds; infinite for networks that cannot run.

        NaN stands for what hardware does not say: the energy of a device with a latency table. Raises NetworkError for
        what is no network of the space.
        """
        found = []
        for row in self.works.space.check_all(codes):
            code = tuple(row.tolist())
            if code not in self._whole:
                self._whole[code] = self._spatial(code) if self._is_spatial else self._other(code)
            energy_pj, latency_s = self._whole[code]
            found.append((energy_pj, latency_s, energy_pj * 1e-12 * latency_s))
        return np.array(found).reshape(-1, len(COLUMNS))

    def floors(self, codes: ArrayLike) -> NDArray[np.float64]:
        """(n, 3) what :meth:`costs` is not below: found without mapping anything, and exact where all is priced.

        On other than spatial accelerators these are the costs; with bypass or constraints unpriced operators count
        nothing.
        """
        if not self._is_spatial:
            return self.costs(codes)
        found = []
        for row in self.works.space.check_all(codes):
            code = tuple(row.tolist())
            energy_pj = latency_s = 0.0
            for part in self.works.of(code):
                price = self._parts.get(part) or self._floor(part)
                energy_pj, latency_s = (
                    (math.inf, math.inf) if isinstance(price, str) else (energy_pj + price[0], latency_s + price[1])
                )
            found.append((energy_pj, latency_s, energy_pj * 1e-12 * latency_s))
        return np.array(found).reshape(-1, len(COLUMNS))

    def _floor(self, part: int) -> tuple[float, float]:
        energy_pj = latency_s = 0.0
        for number, times in self.works.parts[part]:
            price = self._priced.get(number) or self._floors.get(number)
            if price is None:
                price = self._floors[number] = self._least(*self.works.works[number])
            if isinstance(price, Infeasible):
                return math.inf, math.inf
            energy_pj += times * price[0]
            latency_s += times * price[1]
        return energy_pj, latency_s

    def _least(self, operator: Operator, reads: int | None) -> tuple[float, float] | Infeasible:
        assert isinstance(self.hardware, SpatialAccelerator)
        if operator.passes:
            return self._price(operator, reads)
        if self.settings.get("bypass") or self.settings.get("constraints") is not None:
            return 0.0, 0.0
        # Whoever prices may pad.
        return floor(self.hardware, operator, pad=bool(self.settings.get("pad")) or self.cost_of is not None)

    @property
    def _is_spatial(self) -> bool:
        return isinstance(self.hardware, SpatialAccelerator)

    def _spatial(self, code: Code) -> tuple[float, float]:
        energy_pj = latency_s = 0.0
        for part in self.works.of(code):
            price = self._parts.get(part)
            if price is None:
                price = self._parts[part] = self._sum(self.works.parts[part])
            if isinstance(price, str):
                self.reasons[code] = price
                return math.inf, math.inf
            energy_pj += price[0]
            latency_s += price[1]
        return energy_pj, latency_s

    def _sum(self, counts: _Counts) -> tuple[float, float] | str:
        energy_pj = latency_s = 0.0
        for number, times in counts:
            if number not in self._priced:
                self._priced[number] = self._price(*self.works.works[number])
            price = self._priced[number]
            if isinstance(price, Infeasible):
                return f"{self.works.works[number][0]}: {price.message}"
            energy_pj += times * price[0]
            latency_s += times * price[1]
        return energy_pj, latency_s

    def _price(self, operator: Operator, reads: int | None) -> tuple[float, float] | Infeasible:
        assert isinstance(self.hardware, SpatialAccelerator)
        if operator.passes:
            cost = stream(self.hardware, operator) if reads is None else stream(self.hardware, operator, reads)
        elif self.cost_of is not None:
            cost = self.cost_of(operator)
        else:
            result = map_operator(self.hardware, operator, **self.settings)
            if isinstance(result, Infeasible):
                return result
            self.mapped[operator] = result
            cost = result.cost
        return cost if isinstance(cost, Infeasible) else (cost.energy_pj, cost.latency_s)

    def _other(self, code: Code) -> tuple[float, float]:
        network: Network = self.works.space.network(code, batch=self.works.batch)
        (cost,) = evaluate(network, self.hardware, fuse=self.works.fuse).results
        if cost.problems:
            self.reasons[code] = cost.problems[0]
            return math.inf, math.inf
        energy_pj = math.nan if cost.energy_pj is None else cost.energy_pj
        return energy_pj, math.nan if cost.latency_s is None else cost.latency_s
