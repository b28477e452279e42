"""Run a mapper on an operator: the driver around ask and tell, padding, and why there is no mapping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from accelerators.costs import Cost, Infeasible, InfeasibleError
from accelerators.operators import Operator
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.spatial.constraints import Constraints
from accelerators.spatial.kernels import arrays
from accelerators.spatial.kernels.arrays import MappingArrays, select
from accelerators.spatial.mapping import Mapping
from accelerators.spatial.model import evaluate_packed
from accelerators.spatial.problem import Problem
from mappers._base import OBJECTIVES, Mapper, Objective, scores
from mappers.local_search import LocalSearch
from mappers.mapspace import Mapspace, paddings

#: Evaluations per operator of the default mapper: about a twentieth of a second.
DEFAULT_EVALUATIONS = 40_000


@dataclass(frozen=True)
class MapResult:
    """The best mapping that a mapper found."""

    mapping: Mapping
    cost: Cost
    bounds: dict[str, int]
    objective: Objective
    mapper: str
    evaluations: int
    valid: int


def search(mapper: Mapper, evaluations: int) -> tuple[MappingArrays | None, float, int, int]:
    """Run a mapper; returns (the best mapping as a batch of one, its score, evaluations, valid ones)."""
    best: MappingArrays | None = None
    best_score = np.inf
    done = valid = 0
    while done < evaluations and not mapper.finished:
        batch = mapper.ask()
        result = mapper.space.evaluate(batch)
        done += len(result.status)
        valid += int((result.status == arrays.VALID).sum())
        values = scores(result, mapper.objective)
        if len(values) and values.min() < best_score:
            i = int(np.argmin(values))
            best_score = float(values[i])
            best = select(batch, [i])
        mapper.tell(batch, result, min(1.0, done / evaluations))
    return best, best_score, done, valid


def map_operator(
    accelerator: SpatialAccelerator,
    operator: Operator,
    *,
    mapper: Callable[[Mapspace, Objective, int], Mapper] | None = None,
    objective: Objective = "edp",
    evaluations: int = DEFAULT_EVALUATIONS,
    seed: int = 0,
    constraints: Constraints | None = None,
    bypass: bool = False,
    pad: bool = False,
) -> MapResult | Infeasible:
    """Find a good mapping of an operator.

    With ``pad``, bounds that the array does not divide may be padded; ghost work is charged. The result is a reason if
    no valid mapping was found. Raises ValueError for an unknown objective and fewer than one evaluation.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)} (got {objective!r})")
    if evaluations < 1:
        raise ValueError(f"evaluations must be >= 1 (got {evaluations})")
    make = mapper or LocalSearch
    try:
        problems = [Problem(accelerator, operator)]
        if pad:
            problems += [Problem(accelerator, operator, bounds) for bounds in paddings(problems[0])]
        spaces = [Mapspace(problem, constraints, bypass) for problem in problems]
    except InfeasibleError as error:
        return error.reason
    best: tuple[float, MappingArrays, Problem] | None = None
    done = valid = 0
    for space in spaces:
        search_of = make(space, objective, seed)
        found, score, tried, good = search(search_of, evaluations if space is spaces[0] else evaluations // 4)
        done, valid = done + tried, valid + good
        if found is not None and (best is None or score < best[0]):
            best = score, found, space.problem
    if best is None:
        return _why_none(spaces[0], seed)
    _, batch, problem = best
    cost = evaluate_packed(problem, batch)
    assert isinstance(cost, Cost)
    bounds = {dim: problem.padded.bound(dim) for dim in problem.dims}
    padded = {dim: n for dim, n in bounds.items() if n != operator.bound(dim)}
    return MapResult(problem.unpack(batch), cost, padded, objective, search_of.name, done, valid)


def _why_none(space: Mapspace, seed: int) -> Infeasible:
    """The most telling reason why no mapping of a space is valid."""
    problem = space.problem
    smallest = space.smallest_tiles()
    result = problem.evaluate_batch(smallest)
    reason = problem.explain(int(result.status[0]), result.facts[0])
    if reason.code == "capacity":
        message = f"even the smallest tiles do not fit: {reason.message}"
        return Infeasible("capacity", message, reason.facts)
    if reason.code == "factors":
        dim = reason.facts["dimension"]
        message = f"{space.constraints.name}: no level or axis is allowed to take all of {dim} ({reason.message})"
        return Infeasible("constraint", message, {"name": space.constraints.name, "dimension": dim})
    return reason
