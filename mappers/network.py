"""The optimum of a whole network: which mapping of every layer minimises (sum of energies) x (sum of latencies).

Layers run one after another, so the network's EDP is the product of two sums, and the mappings that minimise each
layer's own EDP do not minimise it. The product is quasi-concave: its minimum over all combinations lies on an
extreme point of the convex hull of the sums, and every such point consists of layers that minimise
``energy + price * latency`` for one common price. Each certified solve at a price gives a point, and a line that no
combination lies below. The lines cut off a region of the (latency, energy) plane; the least product on its corners is a
lower bound on the network's EDP. The corner that attains it is cut off by another price, until the bound meets
the best point.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from accelerators.costs import Cost, Infeasible, InfeasibleError
from accelerators.operators import Operator
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.spatial.constraints import Constraints
from accelerators.spatial.kernels.arrays import MappingArrays, select
from accelerators.spatial.mapping import Mapping
from accelerators.spatial.model import evaluate_packed
from accelerators.spatial.problem import Problem
from mappers.kernels.branch_and_bound import EDP, WEIGHTED
from mappers.mapspace import Mapspace, mapspaces
from mappers.optimal import BranchAndBound
from mappers.search import DEFAULT_NODE_LIMIT, why_none

#: The optimum is proven if the bound is this close: sums of floats are not exact.
TOLERANCE = 1e-10
_MOST_PRICES = 200


@dataclass(frozen=True)
class NetworkLayer:
    """The mapping of one layer in a network's optimum."""

    operator: Operator
    count: int
    mapping: Mapping
    bounds: dict[str, int]
    cost: Cost


@dataclass(frozen=True)
class NetworkOptimum:
    """The best choice of mappings for a network.

    ``edp`` and ``lower_bound`` are in pJ x cycles, ``separate_edp`` is what the layers' own EDP optima give together.
    ``prices`` are the prices of a cycle (pJ) at which all layers were solved, ``tiles`` counts the work.
    """

    layers: tuple[NetworkLayer, ...]
    energy_pj: float
    latency_cycles: int
    lower_bound: float
    separate_edp: float
    prices: tuple[float, ...]
    tiles: int

    @property
    def edp(self) -> float:
        """Energy-delay product in pJ x cycles."""
        return self.energy_pj * self.latency_cycles

    @property
    def gap(self) -> float:
        """How far the choice may be above the optimum; 0 if it is proven."""
        if self.proven:
            return 0.0
        return self.edp / self.lower_bound - 1 if self.lower_bound > 0 else math.inf

    @property
    def proven(self) -> bool:
        """Whether no other choice of mappings is better (by more than one part in 10^10)."""
        return self.lower_bound >= self.edp * (1 - TOLERANCE)


@dataclass
class _Point:
    """A mapping of a layer."""

    energy_pj: float
    cycles: int
    problem: Problem
    batch: MappingArrays


@dataclass
class _Layer:
    """The searches of one layer, one per version of its bounds, and the mappings found so far."""

    operator: Operator
    count: int
    spaces: list[Mapspace]
    node_limit: int | None
    points: list[_Point] = field(default_factory=list)
    searches: list[BranchAndBound | None] = field(default_factory=list)
    tiles: int = 0

    def solve(self, kind: int, energy_weight: float, cycles_weight: float) -> tuple[_Point | None, float]:
        """The best mapping for a goal, and a lower bound on its score."""

        def score(point: _Point) -> float:
            if kind == EDP:
                return point.energy_pj * point.cycles
            return energy_weight * point.energy_pj + cycles_weight * point.cycles

        best = min(self.points, key=score, default=None)
        bound = math.inf
        self.searches = self.searches or [None] * len(self.spaces)
        for i, space in enumerate(self.spaces):
            search = BranchAndBound(
                space,
                kind,
                energy_weight,
                cycles_weight,
                upper_bound=math.inf if best is None else score(best),
                like=self.searches[i],
            )
            self.searches[i] = search
            search.run(self.node_limit)
            self.tiles += int(search.tally[0])
            if search.best.found[0]:
                best = _Point(
                    float(search.best.energy_pj[0]),
                    int(search.best.cycles[0]),
                    space.problem,
                    select(search.best.mapping, [0]),
                )
                self.points.append(best)
            bound = min(bound, search.lower_bound)
        return best, bound

    def least(self, energy_weight: float, cycles_weight: float) -> float:
        """A quick lower bound on the energy or the latency."""
        found = []
        for i, space in enumerate(self.spaces):
            search = BranchAndBound(space, WEIGHTED, energy_weight, cycles_weight, like=self.searches[i])
            if len(space.problem.accelerator.levels) == 1:
                # All there is to try; bounds are for more levels.
                search.run()
                found.append(search.lower_bound)
            else:
                found.append(search.root_bound)
        return min(found)


def map_network(
    accelerator: SpatialAccelerator,
    layers: Sequence[tuple[Operator, int]],
    *,
    fixed_energy_pj: float = 0.0,
    fixed_cycles: int = 0,
    node_limit: int | None = DEFAULT_NODE_LIMIT,
    constraints: Constraints | None = None,
    bypass: bool = False,
    pad: bool = False,
) -> NetworkOptimum | Infeasible:
    """Choose a mapping for every layer such that the network's EDP is least, and prove it.

    ``layers`` are operators and how often each runs; ``fixed_energy_pj`` and ``fixed_cycles`` belong to whatever else
    runs between them. ``node_limit`` bounds the tiles per layer and price; where it is reached, the result has a gap.

    The result is a reason if a layer has no valid mapping. Raises ValueError for no layers and for counts below 1.
    """
    if not layers or any(count < 1 for _, count in layers):
        raise ValueError(f"layers must be operators with counts >= 1 (got {[(str(o), c) for o, c in layers]})")
    if not (0 <= fixed_energy_pj < math.inf and fixed_cycles >= 0):
        raise ValueError(f"fixed energy and cycles must be >= 0 (got {fixed_energy_pj}, {fixed_cycles})")
    work: list[_Layer] = []
    for operator, count in layers:
        try:
            spaces = mapspaces(accelerator, operator, constraints, bypass=bypass, pad=pad)
        except InfeasibleError as error:
            return _of_layer(error.reason, operator)
        work.append(_Layer(operator, count, spaces, node_limit))
        point, bound = work[-1].solve(EDP, 0.0, 0.0)
        if point is None:
            return _of_layer(why_none(spaces[0], proven=bound == math.inf), operator)

    def total(points: Sequence[_Point]) -> tuple[float, int]:
        energy = fixed_energy_pj + sum(layer.count * p.energy_pj for layer, p in zip(work, points, strict=True))
        cycles = fixed_cycles + sum(layer.count * p.cycles for layer, p in zip(work, points, strict=True))
        return energy, cycles

    separate = [layer.points[-1] for layer in work]
    best, (energy, cycles) = separate, total(separate)
    separate_edp = energy * cycles
    least_energy = fixed_energy_pj + sum(layer.count * layer.least(1.0, 0.0) for layer in work)
    least_cycles = fixed_cycles + sum(layer.count * layer.least(0.0, 1.0) for layer in work)
    # What is known at each price: the sum of energy + price x cycles is at least .., and the sums that attain it.
    lines: dict[float, float] = {}
    sums: dict[float, tuple[float, float]] = {}
    price = energy / cycles
    while True:
        chosen, bound = [], fixed_energy_pj + price * fixed_cycles
        for layer in work:
            point, least = layer.solve(WEIGHTED, 1.0, price)
            assert point is not None
            chosen.append(point)
            bound += layer.count * least
        lines[price] = bound
        sums[price] = total(chosen)
        if sums[price][0] * sums[price][1] < energy * cycles:
            best, (energy, cycles) = chosen, total(chosen)
        lower_bound, low, high = _least_corner(lines, least_energy, least_cycles)
        next_price = _next_price(low, high, sums)
        if lower_bound >= energy * cycles * (1 - TOLERANCE) or next_price in lines or len(lines) >= _MOST_PRICES:
            break
        price = next_price
    result = []
    for layer, point in zip(work, best, strict=True):
        cost = evaluate_packed(point.problem, point.batch)
        assert isinstance(cost, Cost)
        padded = {dim: point.problem.padded.bound(dim) for dim in point.problem.dims}
        result.append(
            NetworkLayer(
                layer.operator,
                layer.count,
                point.problem.unpack(point.batch),
                {dim: n for dim, n in padded.items() if n != layer.operator.bound(dim)},
                cost,
            )
        )
    return NetworkOptimum(
        tuple(result),
        energy,
        cycles,
        min(lower_bound, energy * cycles),
        separate_edp,
        tuple(lines),
        sum(layer.tiles for layer in work),
    )


def _of_layer(reason: Infeasible, operator: Operator) -> Infeasible:
    return replace(reason, message=f"{operator}: {reason.message}")


def _least_corner(
    lines: dict[float, float], least_energy: float, least_cycles: float
) -> tuple[float, float | None, float | None]:
    """The least product over the corners of the region above all lines, and the prices of the lines that meet there.

    Without the one line the corner lies on the least energy (price None, first), without the other on the least
    latency (None, last).
    """
    best: tuple[float, float | None, float | None] = (math.inf, None, None)

    def consider(cycles: float, energy: float, low: float | None, high: float | None) -> None:
        nonlocal best
        slack = 1e-13 * energy
        inside = cycles >= least_cycles * (1 - 1e-13) and energy >= least_energy - slack
        if inside and all(energy + p * cycles >= bound - 1e-13 * bound for p, bound in lines.items()):
            best = min(best, (energy * cycles, low, high), key=lambda corner: corner[0])

    for price, bound in lines.items():
        if price > 0:
            consider((bound - least_energy) / price, least_energy, None, price)
        consider(least_cycles, bound - price * least_cycles, price, None)
    for (low, one), (high, other) in itertools.combinations(sorted(lines.items()), 2):
        cycles = (other - one) / (high - low)
        consider(cycles, one - low * cycles, low, high)
    consider(least_cycles, least_energy, None, None)
    return best


def _next_price(low: float | None, high: float | None, sums: dict[float, tuple[float, float]]) -> float:
    """A price whose line cuts off the corner between two lines."""
    if low is None or high is None:
        # Nothing on one side: towards energy alone, or towards latency alone.
        return (max(sums) if low is None and high is None else low or 0.0) * 8 if high is None else high / 8
    (energy, cycles), (other_energy, other_cycles) = sums[low], sums[high]
    if cycles > other_cycles:
        chord = (other_energy - energy) / (cycles - other_cycles)
        if low < chord < high:
            return chord
    return math.sqrt(low * high)
