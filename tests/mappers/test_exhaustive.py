"""The exhaustive mapper visits every mapping once, passes the conformance suite, and refuses spaces without an end."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from accelerators.costs import Infeasible
from accelerators.operators import Operator, conv2d, depthwise, matmul
from accelerators.spatial.architecture import Axis, Compute, Level, SpatialAccelerator
from accelerators.spatial.constraints import Constraints, LevelConstraint, SpatialConstraint, violations
from accelerators.spatial.kernels.arrays import VALID, select
from accelerators.spatial.mapping import Block, Mapping
from accelerators.spatial.problem import Problem
from mappers import Mapspace, map_operator
from mappers._base import scores
from mappers.exhaustive import Exhaustive
from mappers.search import search
from mappers.testing import MapperConformance, small_array


class TestExhaustive(MapperConformance):
    mapper = Exhaustive


def tiny(*, bypassing: bool = False) -> SpatialAccelerator:
    """Three levels, two axes of which one is picky; with ``bypassing`` a level in between that keeps weights only."""

    def level(name: str, pj: float, keeps: str = "weights inputs outputs", fanout: tuple[Axis, ...] = ()) -> Level:
        return Level(
            name,
            frozenset(keeps.split()),
            read_energy_pj=pj,
            fill_energy_pj=1.1 * pj,
            update_energy_pj=1.3 * pj,
            fanout=fanout,
        )

    axes = (Axis("x", 4), Axis("y", 3, frozenset({"C", "R"})))
    middle = (level("L2", 3, "weights"),) if bypassing else ()
    levels = (level("DRAM", 100), level("L1", 7, fanout=axes), *middle, level("RF", 1))
    return SpatialAccelerator("tiny", levels, Compute(1.0), clock_hz=1e9, wire_energy_pj_per_bit_mm=0.1)


def rules(operator: Operator) -> Constraints:
    """Constraints of every sort."""
    return Constraints(
        "rules",
        {
            "DRAM": LevelConstraint(outermost=("K", "C"), max_factors={"P": 2}),
            "L1": LevelConstraint(
                innermost=("P",),
                min_factors={"K": 2} if operator.bound("K") > 1 else {},
                keep=frozenset({"inputs"}),
                axes={"x": SpatialConstraint(frozenset({"K", "P"}))},
            ),
            "RF": LevelConstraint(dims=frozenset({"R", "C", "G"}), bypass=frozenset({"outputs"})),
        },
    )


OPERATORS = (
    matmul(P=2, K=4, C=3),
    matmul(P=1, K=6, C=1),
    matmul(P=1, K=1, C=1),
    conv2d(K=2, C=1, P=2, Q=1, R=3, S=1, stride=2),
    depthwise(G=4, P=2, Q=1, R=2, S=1),
)


def every_mapping(
    accelerator: SpatialAccelerator, operator: Operator, constraints: Constraints, bypass: bool
) -> Iterator[Mapping]:
    """Every mapping that the accelerator and the constraints allow, told from their definitions alone."""
    dims = [dim for dim, bound in operator.bounds if bound > 1]
    places = [(level.name, axis.name) for level in accelerator.levels for axis in (Axis("", 1), *level.fanout)]
    ways = []
    for dim in dims:
        divisors = [n for n in range(1, operator.bound(dim) + 1) if operator.bound(dim) % n == 0]
        tries = itertools.product(divisors, repeat=len(places))
        ways.append([split for split in tries if math.prod(split) == operator.bound(dim)])
    keeps = []
    for index, level in enumerate(accelerator.levels):
        may = [tensor.name for tensor in operator.tensors if tensor.role in level.keeps]
        choices = [c for n in range(len(may) + 1) for c in itertools.combinations(may, n)]
        rule = constraints.level(level.name)
        if index == 0 or not bypass:
            choices = [tuple(name for name in may if operator.tensor(name).role not in rule.bypass)]
        keeps.append(choices)
    roles = {tensor.name: tensor.role for tensor in operator.tensors}
    for splits in itertools.product(*ways):
        factors = {
            (*place, dim): split[i] for dim, split in zip(dims, splits, strict=True) for i, place in enumerate(places)
        }
        spatial = {}
        fits = True
        for level in accelerator.levels:
            axes = {axis.name: {dim: factors[level.name, axis.name, dim] for dim in dims} for axis in level.fanout}
            for axis in level.fanout:
                used = {dim for dim, factor in axes[axis.name].items() if factor > 1}
                fits &= math.prod(axes[axis.name].values()) <= axis.size and (axis.dims is None or used <= axis.dims)
            spatial[level.name] = tuple((axis, tuple(loops.items())) for axis, loops in axes.items())
        if not fits:
            continue
        orders = []
        for level in accelerator.levels:
            loops = [(dim, factors[level.name, "", dim]) for dim in dims if factors[level.name, "", dim] > 1]
            orders.append(list(itertools.permutations(loops)))
        for order in itertools.product(*orders):
            for keep in itertools.product(*keeps):
                mapping = Mapping(
                    tuple(
                        Block(level.name, keep[i], order[i], spatial[level.name])
                        for i, level in enumerate(accelerator.levels)
                    )
                )
                if not any(violations(constraints, mapping, roles)):
                    yield mapping


def seen_by(mapping: Mapping) -> str:
    """A mapping as text, whatever the order at its innermost level."""
    last = mapping.blocks[-1]
    return str(
        Mapping((*mapping.blocks[:-1], Block(last.level, last.keep, tuple(sorted(last.temporal)), last.spatial)))
    )


@pytest.mark.parametrize("bypass", [False, True])
@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("bypassing", [False, True])
@pytest.mark.parametrize("operator", OPERATORS, ids=str)
def test_every_mapping_once(operator: Operator, bypassing: bool, free: bool, bypass: bool) -> None:
    accelerator = tiny(bypassing=bypassing)
    constraints = Constraints() if free else rules(operator)
    space = Mapspace(Problem(accelerator, operator), constraints, bypass)
    if space.distinct() > 10_000:
        pytest.skip("too many for a loop in Python")
    mapper = Exhaustive(space)
    visited: Counter[str] = Counter()
    while not mapper.finished:
        batch = mapper.ask()
        visited.update(seen_by(space.problem.unpack(batch, i)) for i in range(len(batch.order)))
        mapper.tell(batch, space.evaluate(batch), 0.0)
    assert max(visited.values()) == 1
    assert len(visited) == mapper.mappings == space.distinct()
    assert set(visited) == set(map(seen_by, every_mapping(accelerator, operator, constraints, bypass)))


def test_what_is_visited_once_cannot_matter() -> None:
    """Orders of loops with a factor of 1, and at the innermost level, change no count."""
    problem = Problem(tiny(), conv2d(K=4, C=6, P=6, Q=4, R=3, S=1, stride=2))
    space = Mapspace(problem, bypass=True)
    batch = space.sample(500, 3)
    before = space.evaluate(batch)
    random = np.random.default_rng(4)
    levels, dims, _ = problem.shape
    for i, level in itertools.product(range(500), range(levels)):
        if level == levels - 1:
            batch.order[i, level] = random.permutation(dims)
        else:
            order = batch.order[i, level]
            active = list(order[batch.factors[i, level][order] > 1])
            idle = random.permutation(order[batch.factors[i, level][order] == 1])
            for d in idle:
                active.insert(random.integers(len(active) + 1), d)
            batch.order[i, level] = active
    after = space.evaluate(batch)
    assert (before.status == VALID).any()
    for first, second in zip(vars(before).values(), vars(after).values(), strict=True):
        assert (first == second).all()


def test_its_order_is_among_the_allowed_ones() -> None:
    space = Mapspace(Problem(tiny(), OPERATORS[0]), rules(OPERATORS[0]), bypass=True)
    mapper = Exhaustive(space)
    while not mapper.finished:
        batch = mapper.ask()
        for level, ranks in enumerate(space.arrays.order_rank):
            assert (np.diff(ranks[batch.order[:, level]], axis=1) >= 0).all()
        mapper.tell(batch, space.evaluate(batch), 0.0)


def test_no_empty_batch_follows_a_full_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mappers.exhaustive._BATCH", 340)
    space = Mapspace(Problem(tiny(), matmul(P=1, K=2**7, C=1)), Constraints(), bypass=True)
    mapper = Exhaustive(space)
    sizes = []
    while not mapper.finished:
        batch = mapper.ask()
        sizes.append(len(batch.order))
        mapper.tell(batch, space.evaluate(batch), 0.0)
    assert sizes == [340] * 16
    assert mapper.mappings == space.distinct() == 340 * 16


def test_the_budget_does_not_cut_it() -> None:
    space = Mapspace(Problem(small_array(), matmul(P=4, K=6, C=4)))
    whole = search(Exhaustive(space), 10**9)
    cut = search(Exhaustive(space), 1)
    assert cut[1:] == whole[1:]
    assert cut[0].key == whole[0].key
    assert cut[1] == space.distinct()


def test_the_optimum_with_bypass_is_the_best_of_all_keep_choices() -> None:
    operator = matmul(P=2, K=4, C=3)
    problem = Problem(tiny(), operator)
    mappings = list(every_mapping(tiny(), operator, Constraints(), bypass=True))
    assert len(mappings) > 10_000
    packed = problem.pack(mappings)
    for objective in ("edp", "energy", "latency"):
        found, _, valid = search(Exhaustive(Mapspace(problem, Constraints(), bypass=True), objective), 1)
        best, score = found.batch, found.score
        values = scores(problem.evaluate_batch(packed), objective)
        assert score == values.min()
        assert valid > 0
        assert best is not None
        assert scores(problem.evaluate_batch(select(best, [0])), objective)[0] == score


def test_too_large_spaces_are_refused_with_their_size() -> None:
    space = Mapspace(Problem(small_array(), matmul(P=4, K=6, C=4)))
    assert Exhaustive(space, limit=space.distinct()).mappings == space.distinct()
    message = r"exhaustive search of matmul\(K6 C4 P4\) on small would try 4430 mappings, more than the limit of 4429"
    with pytest.raises(ValueError, match=message):
        Exhaustive(space, limit=4429)
    large = Mapspace(Problem(small_array(), conv2d(K=64, C=64, P=56, Q=56, R=3, S=3)))
    with pytest.raises(ValueError, match=r"would try 8\.96e\+10 mappings, more than the limit of 50000000: constrain"):
        Exhaustive(large)


def test_an_empty_space_ends_at_once() -> None:
    nowhere = {name: LevelConstraint(dims=frozenset({"C", "P", "R"})) for name in ("DRAM", "GLB", "RF")}
    operator = matmul(P=4, K=7, C=4)
    assert Exhaustive(Mapspace(Problem(small_array(), operator), Constraints("mine", nowhere))).finished
    result = map_operator(small_array(), operator, mapper=Exhaustive, constraints=Constraints("mine", nowhere))
    assert isinstance(result, Infeasible)
