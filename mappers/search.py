"""Run a mapper on an operator: the driver around ask and tell, padding, and why there is no mapping."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from accelerators.costs import Cost, Infeasible, InfeasibleError
from accelerators.operators import Operator
from accelerators.spatial import constraint_files
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.spatial.constraints import Constraints, LevelConstraint
from accelerators.spatial.kernels import arrays
from accelerators.spatial.kernels.arrays import MappingArrays
from accelerators.spatial.mapping import Mapping
from accelerators.spatial.model import evaluate_packed
from accelerators.spatial.problem import Problem
from accelerators.suggestions import did_you_mean
from mappers._base import OBJECTIVES, Best, Mapper, Objective, SpaceTooLargeError
from mappers.local_search import LocalSearch
from mappers.mapspace import Mapspace, mapspaces
from mappers.optimal import Certificate, Optimal, most_macs

#: Evaluations per operator of the mappers that sample: about a twentieth of a second.
DEFAULT_EVALUATIONS = 40_000
#: Tiles per operator that the default mapper looks at before it settles for a gap: a part of a second. Most layers take
#: a hundredth of it.
DEFAULT_NODE_LIMIT = 1_000_000
#: Tiles to look at when the question is only whether there is a mapping at all.
_FEASIBILITY_NODES = 200_000
#: What a search gets when the time is over: a first bound and a first mapping.
_LEAST_TIME_S = 1e-3

#: Makes a mapper for a space, an objective and a seed.
MapperFactory = Callable[[Mapspace, Objective, int], Mapper]


@dataclass(frozen=True)
class MapResult:
    """The best mapping that a mapper found.

    ``bounds`` are the padded ones. ``certificate`` says how good the mapping is, if the mapper knows.
    """

    mapping: Mapping
    cost: Cost
    bounds: dict[str, int]
    objective: Objective
    mapper: str
    evaluations: int
    valid: int
    certificate: Certificate | None = None


def search(mapper: Mapper, evaluations: int, time_limit_s: float | None = None) -> tuple[Best, int, int]:
    """Run a mapper; returns (the best mapping, evaluations, valid ones).

    It ends when the mapper has finished or the budget of evaluations is spent; a complete mapper has no budget. With
    ``time_limit_s`` it also ends after that time, and its result then depends on the machine.
    """
    start = time.monotonic()
    best = Best(mapper.objective)
    done = valid = 0
    while (mapper.complete or done < evaluations) and not mapper.finished:
        batch = mapper.ask()
        result = mapper.space.evaluate(batch)
        done += len(result.status)
        valid += int((result.status == arrays.VALID).sum())
        best.offer(batch, result)
        spent = done / evaluations
        if time_limit_s is not None:
            spent = max(spent, (time.monotonic() - start) / time_limit_s)
            if spent >= 1:
                break
        mapper.tell(batch, result, min(1.0, spent))
    return best, done, valid


@dataclass
class _Found:
    """The best of several searches, each on a space of its own (the operator with different bounds)."""

    key: tuple[float, float] = (math.inf, math.inf)
    batch: MappingArrays | None = None
    problem: Problem | None = None
    mapper: str = ""
    evaluations: int = 0
    valid: int = 0

    def search(self, mapper: Mapper, evaluations: int, time_limit_s: float | None = None) -> None:
        best, done, valid = search(mapper, evaluations, time_limit_s)
        self.mapper = self.mapper or mapper.name
        self._take(best, mapper.space, mapper.name, done, valid)

    def try_smallest_tiles(self, space: Mapspace, objective: Objective) -> None:
        """What there is before any search, and should one come to nothing within its limits."""
        best = Best(objective)
        batch = space.smallest_tiles()
        valid = best.offer(batch, space.evaluate(batch))
        self._take(best, space, self.mapper, 1, int(valid))

    def _take(self, best: Best, space: Mapspace, mapper: str, done: int, valid: int) -> None:
        self.evaluations += done
        self.valid += valid
        if best.key < self.key:
            self.key, self.batch, self.problem, self.mapper = best.key, best.batch, space.problem, mapper


def map_operator(
    accelerator: SpatialAccelerator,
    operator: Operator,
    *,
    mapper: MapperFactory | str | None = None,
    objective: Objective = "edp",
    evaluations: int = DEFAULT_EVALUATIONS,
    node_limit: int | None = DEFAULT_NODE_LIMIT,
    time_limit_s: float | None = None,
    seed: int = 0,
    constraints: Constraints | str | Path | None = None,
    bypass: bool = False,
    pad: bool = False,
) -> MapResult | Infeasible:
    """Find the best mapping of an operator, or a good one.

    ``mapper`` is a class or its name, ``constraints`` an object, the name of a classic dataflow or a file.
    ``mapper`` None is the optimal one, within ``node_limit`` tiles; where that is not enough, local search has a try as
    well, and the certificate states the gap. Other mappers try ``evaluations`` mappings. ``time_limit_s`` is for
    people: searches count nodes, so that their results do not depend on the machine.

    With ``pad``, bounds that the array does not divide may be padded; ghost work is charged. The result is a reason if
    there is no valid mapping, or none was found. Raises ValueError for an unknown objective or mapper, for limits below
    one and for wrong constraints, and :class:`SpaceTooLargeError` for spaces that the mapper asked for cannot take in.
    """
    mapper = mapper_of(mapper)
    if isinstance(constraints, str | Path):
        constraints = constraint_files.load(constraints).resolve(accelerator)
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)} (got {objective!r})")
    if not evaluations >= 1:
        raise ValueError(f"evaluations must be >= 1 (got {evaluations})")
    if node_limit is not None and not node_limit >= 1:
        raise ValueError(f"node_limit must be >= 1 (got {node_limit})")
    if seed < 0:
        raise ValueError(f"seed must be >= 0 (got {seed})")
    if time_limit_s is not None and not time_limit_s > 0:
        raise ValueError(f"time_limit_s must be > 0 (got {time_limit_s})")
    try:
        spaces = mapspaces(accelerator, operator, constraints, bypass=bypass, pad=pad)
    except InfeasibleError as error:
        return error.reason
    found = _Found()
    certificates: list[Certificate | None] = []
    start = time.monotonic()
    if bypass and mapper is None:
        # What can be had without is the least that the larger space must give, and found sooner.
        with contextlib.suppress(InfeasibleError, SpaceTooLargeError):
            kept = Mapspace(spaces[0].problem, constraints)
            found.search(Optimal(kept, objective, seed, node_limit=node_limit, time_limit_s=time_limit_s), evaluations)
    for space in spaces:
        left_s = None if time_limit_s is None else max(_LEAST_TIME_S, time_limit_s - (time.monotonic() - start))
        share = evaluations if space is spaces[0] else max(1, evaluations // 4)
        if mapper is not None and mapper is not Optimal:
            found.search(mapper(space, objective, seed), share, left_s)
            continue
        try:
            optimal = Optimal(
                space,
                objective,
                seed,
                node_limit=node_limit,
                time_limit_s=left_s,
                # Latencies are whole numbers: as fast and for less energy is still of interest.
                upper_bound=found.key[0] + (0.5 if objective == "latency" else 0.0),
            )
            found.search(optimal, share)
            certificates.append(optimal.certificate)
        except SpaceTooLargeError:
            if mapper is Optimal:
                raise
            certificates.append(None)
        if mapper is None and not (certificates[-1] and certificates[-1].proven):
            found.search(LocalSearch(space, objective, seed), share)
    if found.batch is None:
        for space in spaces:
            found.try_smallest_tiles(space, objective)
    if found.batch is None or found.problem is None:
        return why_none(spaces[0], all(c is not None and c.proven for c in certificates) and bool(certificates))
    cost = evaluate_packed(found.problem, found.batch)
    assert isinstance(cost, Cost)
    bounds = {dim: found.problem.padded.bound(dim) for dim in found.problem.dims}
    return MapResult(
        found.problem.unpack(found.batch),
        cost,
        {dim: n for dim, n in bounds.items() if n != operator.bound(dim)},
        objective,
        found.mapper,
        found.evaluations,
        found.valid,
        _combined([c for c in certificates if c is not None], _value(cost, objective))
        if certificates and None not in certificates
        else None,
    )


def mapper_of(mapper: MapperFactory | str | None) -> MapperFactory | None:
    """The mapper that a name means; raises ValueError for an unknown one."""
    if not isinstance(mapper, str):
        return mapper
    from mappers import MAPPERS

    if mapper not in MAPPERS:
        raise ValueError(f"mapper must be one of {', '.join(MAPPERS)} (got {mapper!r}){did_you_mean(mapper, MAPPERS)}")
    return MAPPERS[mapper]


def _value(cost: Cost, objective: Objective) -> float:
    return {
        "edp": cost.energy_pj * cost.latency_cycles,
        "energy": cost.energy_pj,
        "latency": float(cost.latency_cycles),
    }[objective]


def _combined(certificates: list[Certificate], value: float) -> Certificate:
    """One certificate for the union of several spaces, of which the best mapping has ``value``."""
    return replace(
        certificates[0],
        value=value,
        # A space that proved to hold nothing better than another one's mapping is closed by that mapping.
        lower_bound=min([value, *(c.lower_bound for c in certificates if not c.proven)]),
        root_bound=min(c.root_bound for c in certificates),
        paddings=len(certificates) - 1,
        unrollings=sum(c.unrollings for c in certificates),
        explored=sum(c.explored for c in certificates),
        tiles=sum(c.tiles for c in certificates),
        leaves=sum(c.leaves for c in certificates),
        evaluations=sum(c.evaluations for c in certificates),
    )


def why_none(space: Mapspace, proven: bool = True) -> Infeasible:
    """The most telling reason why no mapping of a space is valid.

    If some part of the constraints, left out, would let the operator run, it is that part; otherwise what the smallest
    tiles violate. Where the search that found none was not ``proven`` to look everywhere, it says no more than that.
    """
    reason = _smallest_violates(space)
    if not proven and reason.code == "constraint" and "macs" in reason.facts and reason.facts["macs"] >= space.min_macs:
        text = f"no mapping that uses {space.min_macs} MAC units was found; there may be one beyond the search's limits"
        return Infeasible("search", text, reason.facts)
    for place, relaxed in _relaxations(space.constraints):
        try:
            without = Mapspace(space.problem, relaxed, space.bypass)
            optimal = Optimal(without, node_limit=_FEASIBILITY_NODES)
            if not len(optimal.ask().order):
                continue
        except (InfeasibleError, SpaceTooLargeError):
            continue
        name = f"{space.constraints.name}: {place}"
        return Infeasible(
            "constraint",
            f"{name} leaves no valid mapping ({reason.message})",
            {**reason.facts, "name": name, "cause": reason.code},
        )
    return reason


def _relaxations(constraints: Constraints) -> Iterator[tuple[str, Constraints]]:
    """The constraints without one of their parts each, and which part."""
    if constraints.min_utilisation > 0:
        yield f"min_utilisation {constraints.min_utilisation:g}", replace(constraints, min_utilisation=0.0)
    empty = LevelConstraint()
    for name, rule in constraints.levels.items():
        for field in ("factors", "min_factors", "max_factors", "dims", "keep", "bypass", "innermost", "outermost"):
            if getattr(rule, field) != getattr(empty, field):
                without = replace(rule, **{field: getattr(empty, field)})
                yield f"{name}.{field}", replace(constraints, levels={**constraints.levels, name: without})
        for axis in rule.axes:
            axes = {other: limits for other, limits in rule.axes.items() if other != axis}
            yield f"{name}.{axis}", replace(constraints, levels={**constraints.levels, name: replace(rule, axes=axes)})
    if constraints.levels:
        yield "all of its rules together", Constraints(constraints.name)


def _smallest_violates(space: Mapspace) -> Infeasible:
    """What is wrong with the mapping that has all loops as far out as the constraints allow."""
    problem = space.problem
    result = space.evaluate(space.smallest_tiles())
    status = int(result.status[0])
    if status in (arrays.VALID, arrays.UTILISATION):
        most = most_macs(space)
        text = f"the allowed unrollings use at most {most} of {problem.accelerator.macs} MAC units"
        if most >= space.min_macs:
            text = f"no mapping that uses {space.min_macs} of {problem.accelerator.macs} MAC units fits"
        return Infeasible("constraint", text, {"name": space.constraints.name, "macs": most, "least": space.min_macs})
    reason = problem.explain(status, result.facts[0])
    if reason.code == "capacity":
        message = f"even the smallest tiles do not fit: {reason.message}"
        return Infeasible("capacity", message, reason.facts)
    if reason.code == "factors":
        dim = reason.facts["dimension"]
        message = f"{space.constraints.name}: no level or axis is allowed to take all of {dim} ({reason.message})"
        return Infeasible("constraint", message, {"name": space.constraints.name, "dimension": dim})
    return reason
