"""The space of mappings: sampling, constraints, padding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelerators.costs import Infeasible, InfeasibleError
from accelerators.operators import conv2d, matmul
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
    assert all(prime_factors(prime) == [prime] for prime in factors)


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
