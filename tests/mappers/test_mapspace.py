"""The space of mappings: sampling, constraints, padding."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from accelerators.costs import Infeasible, InfeasibleError
from accelerators.operators import Operator, conv2d, matmul
from accelerators.spatial.architecture import Axis, Compute, Level, SpatialAccelerator
from accelerators.spatial.constraints import Constraints, LevelConstraint, SpatialConstraint
from accelerators.spatial.kernels.arrays import FACTORS, VALID
from accelerators.spatial.problem import Problem
from mappers import Mapspace, map_operator
from mappers.mapspace import paddings, prime_factors
from mappers.testing import small_array


@given(st.integers(1, 100_000))
def test_prime_factors_multiply_back(number: int) -> None:
    factors = prime_factors(number)
    assert int(np.prod(factors, initial=1)) == number
    assert all(prime_factors(prime) == (prime,) for prime in factors)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([6, 7, 8, 12]), st.integers(1, 9))
def test_samples_are_perfect_factorisations_inside_the_array(seed: int, k: int, c: int) -> None:
    problem = Problem(small_array(buffer_bytes=1e9, register_bytes=1e9), conv2d(K=k, C=c, P=5, Q=4, R=3, S=1))
    batch = Mapspace(problem).sample(50, seed)
    assert (problem.evaluate_batch(batch).status == VALID).all()


def test_streams_differ_by_seed_and_repeat() -> None:
    problem = Problem(small_array(), conv2d(K=8, C=8, P=8, Q=8, R=3, S=3))
    space = Mapspace(problem)
    first, again, other = (space.sample(20, seed).factors for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_impossible_constraints_name_themselves() -> None:
    problem = Problem(small_array(), conv2d(K=7, C=2, P=4, Q=1, R=3, S=1))
    rules = Constraints("mine", {"RF": LevelConstraint(factors={"K": 2})})
    with pytest.raises(InfeasibleError, match=r"constraint: mine: RF asks for a factor of 2 of K, which has 7"):
        Mapspace(problem, rules)
    with pytest.raises(InfeasibleError, match="no level L7"):
        Mapspace(problem, Constraints("mine", {"L7": LevelConstraint()}))
    with pytest.raises(InfeasibleError, match="no axis q at GLB"):
        Mapspace(problem, Constraints("mine", {"GLB": LevelConstraint(axes={"q": SpatialConstraint()})}))


def test_constraints_without_a_place_for_a_dimension() -> None:
    nowhere = {name: LevelConstraint(dims=frozenset({"C", "P", "R"})) for name in ("DRAM", "GLB", "RF")}
    result = map_operator(
        small_array(), conv2d(K=7, C=2, P=4, Q=1, R=3, S=1), constraints=Constraints("mine", nowhere), evaluations=3000
    )
    assert isinstance(result, Infeasible)
    assert result.code == "constraint"
    assert result.facts["dimension"] == "K"


def test_a_factor_too_large_for_an_axis_is_refused_by_the_kernel() -> None:
    problem = Problem(small_array(), conv2d(K=8, C=2, P=4, Q=1, R=3, S=1))
    batch = Mapspace(problem).smallest_tiles()
    batch.factors[0, 0, problem.dims.index("K")] = 2
    assert problem.evaluate_batch(batch).status[0] == FACTORS


def _vector_unit() -> SpatialAccelerator:
    levels = (
        Level("DRAM", read_energy_pj=10, fill_energy_pj=10, update_energy_pj=10),
        Level("RF", capacity_bytes=64, fanout=(Axis("x", 8, frozenset({"P", "K"})),)),
    )
    return SpatialAccelerator("vector", levels, Compute(1.0), clock_hz=1e9)


def test_padding_seven_onto_eight_lanes_pays_off_and_is_reported() -> None:
    operator = matmul(P=7, K=7, C=64)
    plain = map_operator(_vector_unit(), operator, objective="latency", evaluations=5000)
    padded = map_operator(_vector_unit(), operator, objective="latency", evaluations=5000, pad=True)
    prime = map_operator(_vector_unit(), matmul(P=13, K=1, C=64), objective="latency", evaluations=5000, pad=True)
    assert not isinstance(plain, Infeasible)
    assert not isinstance(padded, Infeasible)
    assert not isinstance(prime, Infeasible)
    assert plain.cost.latency_cycles == 7 * 64
    assert padded.cost.latency_cycles <= plain.cost.latency_cycles
    assert prime.bounds in ({"P": 14}, {"P": 16})
    assert prime.cost.latency_cycles == 2 * 64
    assert prime.cost.macs == 13 * 64
    assert prime.cost.padded_macs == prime.bounds["P"] * 64
    assert prime.cost.utilisation == pytest.approx(13 / 16)


def test_paddings_are_larger_bounds() -> None:
    problem = Problem(_vector_unit(), matmul(P=1000, K=7, C=3))
    found = list(paddings(problem))
    assert found
    for bounds in found:
        assert all(n > problem.operator.bound(dim) for dim, n in bounds.items())
        assert "C" not in bounds


@pytest.mark.parametrize("bounds", [{"K": 4}, {"Z": 9}])
def test_bounds_that_do_not_pad(bounds: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be padded to at least"):
        Problem(small_array(), conv2d(K=8, C=2, P=4, Q=1, R=3, S=1), bounds)


# --- size -------------------------------------------------------------------------------------------------------------


def _flat(*axes: Axis, levels: int = 3) -> SpatialAccelerator:
    """Levels L0, L1, .. with the axes below the last but one."""
    chain = tuple(Level(f"L{i}", fanout=axes if i == levels - 2 else ()) for i in range(levels))
    return SpatialAccelerator("flat", chain, Compute(1.0), clock_hz=1e9)


def _count(space: Mapspace) -> tuple[int, int]:
    """(size, distinct) by trying all factorisations and all orders, from the definition of the constraints alone."""
    accelerator, operator, rules = space.problem.accelerator, space.problem.operator, space.constraints
    dims = [dim for dim, bound in operator.bounds if bound > 1]
    none = Axis("", 1)
    places = [(level, axis) for level in accelerator.levels for axis in (none, *level.fanout)]
    ways = []
    for dim in dims:
        bound = operator.bound(dim)
        allowed = []
        for level, axis in places:
            rule: LevelConstraint | SpatialConstraint = rules.level(level.name)
            hardware: frozenset[str] | None = None
            if axis is not none:
                assert isinstance(rule, LevelConstraint)
                rule, hardware = rule.axes.get(axis.name, SpatialConstraint()), axis.dims
            factors = [n for n in range(1, bound + 1) if bound % n == 0]
            if (rule.dims is not None and dim not in rule.dims) or (hardware is not None and dim not in hardware):
                factors = [1]
            if dim in rule.factors:
                factors = [n for n in factors if n == min(bound, rule.factors[dim])]
            least, most = min(bound, rule.min_factors.get(dim, 1)), rule.max_factors.get(dim, bound)
            allowed.append([n for n in factors if least <= n <= most])
        ways.append([split for split in itertools.product(*allowed) if math.prod(split) == bound])
    size = distinct = 0
    for splits in itertools.product(*ways):
        if any(math.prod(s[i] for s in splits) > axis.size for i, (_, axis) in enumerate(places) if axis is not none):
            continue
        orders = different = 1
        for i, (level, axis) in enumerate(places):
            if axis is none:
                rule = rules.level(level.name)
                good = []
                for order in itertools.permutations(dims):
                    outer = [dim for dim in rule.outermost if dim in dims]
                    inner = [dim for dim in rule.innermost if dim in dims]
                    if list(order[: len(outer)]) == outer and list(order[len(order) - len(inner) :]) == inner:
                        good.append(order)
                orders *= len(good)
                loops = [dim for dim, split in zip(dims, splits, strict=True) if split[i] > 1]
                if level is not accelerator.levels[-1]:
                    different *= len({tuple(dim for dim in order if dim in loops) for order in good})
        size += orders
        distinct += different
    choices = 0
    if space.bypass:
        for level in accelerator.levels[1:]:
            rule = rules.level(level.name)
            choices += sum(role in level.keeps and role not in rule.keep | rule.bypass for role in level.keeps)
    return size * 2**choices, distinct * 2**choices


_SIZE_RULES = Constraints(
    "rules",
    {
        "L0": LevelConstraint(outermost=("K", "C"), max_factors={"P": 2}),
        "L1": LevelConstraint(
            innermost=("C", "P"),
            factors={"K": 2},
            keep=frozenset({"inputs"}),
            axes={"x": SpatialConstraint(frozenset({"C", "K", "P"}), max_factors={"C": 2}, min_factors={"P": 2})},
        ),
        "L2": LevelConstraint(dims=frozenset({"R", "S", "C", "Q", "G"}), bypass=frozenset({"outputs"})),
    },
)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 6),
    st.sampled_from([None, frozenset({"C", "K"}), frozenset({"R", "P"})]),
    st.sampled_from(
        [
            conv2d(K=4, C=2, P=4, Q=1, R=3, S=1),
            conv2d(K=6, C=1, P=2, Q=1, R=3, S=1),
            matmul(P=4, K=12, C=6),
            matmul(P=12, K=4, C=1),
            matmul(P=1, K=1, C=1),
        ]
    ),
    st.booleans(),
    st.booleans(),
)
def test_size_counts_every_mapping(
    x: int, y: int, dims: frozenset[str] | None, operator: Operator, free: bool, bypass: bool
) -> None:
    problem = Problem(_flat(Axis("x", x), Axis("y", y, dims)), operator)
    try:
        space = Mapspace(problem, Constraints() if free else _SIZE_RULES, bypass)
    except InfeasibleError:
        assume(False)
    assert (space.size(), space.distinct()) == _count(space)


def test_size_of_a_resnet_layer() -> None:
    operator = conv2d(K=64, C=64, P=56, Q=56, R=3, S=3)

    def ways(*exponents: int, places: int = 5) -> int:
        return math.prod(math.comb(n + places - 1, places - 1) for n in exponents)

    # Without a limit on the axes every prime of every dimension may go to any of three levels and two axes. The figure
    # of 2e16 that is quoted for this layer counts that way, and the orders at the two outer levels only.
    unlimited = Mapspace(Problem(_flat(Axis("x", 2**40), Axis("y", 2**40)), operator)).size()
    assert unlimited == ways(6) ** 2 * ways(3, 1) ** 2 * ways(1) ** 2 * math.factorial(6) ** 3
    assert unlimited / math.factorial(6) == pytest.approx(2e16, rel=0.15)
    # 16 x 16 PEs leave an eighth of the factorisations.
    assert Mapspace(Problem(_flat(Axis("x", 16), Axis("y", 16)), operator)).size() == pytest.approx(1.48e18, rel=0.01)


def test_size_has_no_largest_number() -> None:
    operator = conv2d(N=256, G=2, K=4096, C=4096, P=64, Q=64, R=4, S=4)
    space = Mapspace(Problem(_flat(Axis("x", 256), Axis("y", 256), levels=6), operator), bypass=True)
    assert space.size() > 2**150
    assert space.size() % (math.factorial(8) ** 6 * 2**15) == 0


def test_size_counts_what_does_not_fit() -> None:
    """Capacities and the least utilisation are left to the evaluation."""
    operator = matmul(P=4, K=6, C=4)
    roomy, tight = (Mapspace(Problem(small_array(buffer_bytes=n), operator)) for n in (1e9, 8))
    idle = Mapspace(roomy.problem, Constraints(min_utilisation=1.0))
    assert roomy.size() == tight.size() == idle.size()
