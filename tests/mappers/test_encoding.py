"""Vectors and mappings: every vector is a mapping within the constraints, and a mapping has its vector."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from accelerators import catalog
from accelerators.costs import InfeasibleError
from accelerators.operators import Operator, conv2d, depthwise, matmul
from accelerators.spatial.architecture import Axis, Compute, Level, SpatialAccelerator
from accelerators.spatial.constraints import Constraints, LevelConstraint, SpatialConstraint, violations
from accelerators.spatial.kernels.arrays import FACTORS, MappingArrays, select
from accelerators.spatial.problem import Problem
from mappers import Mapspace
from mappers.encoding import Encoding, ImportanceEncoding, IndexEncoding
from mappers.mapspace import divisors_of, prime_factors
from mappers.testing import small_array

ENCODINGS: tuple[type[Encoding], ...] = (ImportanceEncoding, IndexEncoding)
OPERATORS = (
    conv2d(K=12, C=10, P=7, Q=8, R=3, S=3, stride=2),
    conv2d(K=64, C=1, P=1, Q=6, R=1, S=1),
    depthwise(G=12, P=9, Q=4, R=3, S=3),
    matmul(P=8, K=6, C=30),
    matmul(P=1, K=1, C=1),
)
RULES = Constraints(
    "rules",
    {
        "L0": LevelConstraint(outermost=("K", "C"), max_factors={"P": 2, "Q": 4}),
        "L1": LevelConstraint(
            innermost=("C", "P"),
            min_factors={"K": 2},
            keep=frozenset({"inputs"}),
            axes={"L1.0": SpatialConstraint(dims=frozenset({"C", "K", "P"}), max_factors={"C": 2})},
        ),
        "L2": LevelConstraint(dims=frozenset({"R", "S", "C", "Q", "G"})),
    },
)


def array(axes_per_level: tuple[tuple[int, ...], ...]) -> SpatialAccelerator:
    """Levels of unlimited size L0, L1, .. with axes ``L1.0``, .. of the given sizes."""
    levels = tuple(
        Level(f"L{i}", fanout=tuple(Axis(f"L{i}.{a}", size) for a, size in enumerate(sizes)))
        for i, sizes in enumerate(axes_per_level)
    )
    return SpatialAccelerator("any", levels, Compute(1.0), clock_hz=1e9)


def space_of(
    axes_per_level: tuple[tuple[int, ...], ...], operator: Operator, constrained: bool, bypass: bool
) -> Mapspace:
    try:
        return Mapspace(Problem(array(axes_per_level), operator), RULES if constrained else None, bypass)
    except InfeasibleError:
        assume(False)
        raise


ARRAYS = st.lists(st.lists(st.integers(1, 9), max_size=3).map(tuple), min_size=3, max_size=5).map(
    lambda levels: ((), levels[1] or (4,), *levels[2:], ())
)


def same(a: MappingArrays, b: MappingArrays) -> bool:
    """Equal but for the places of loops with a factor of 1."""
    if not ((a.factors == b.factors).all() and (a.keep == b.keep).all()):
        return False
    levels = a.order.shape[1]
    for i, level in np.ndindex(a.order.shape[:2]):
        loops = a.factors[i, :levels][level] > 1
        if [d for d in a.order[i, level] if loops[d]] != [d for d in b.order[i, level] if loops[d]]:
            return False
    return True


@pytest.mark.parametrize("make", ENCODINGS)
@settings(max_examples=60, deadline=None)
@given(ARRAYS, st.sampled_from(OPERATORS), st.booleans(), st.booleans(), st.integers(0, 2**32))
def test_a_decoded_mapping_comes_back(
    make: type[Encoding],
    axes: tuple[tuple[int, ...], ...],
    operator: Operator,
    constrained: bool,
    bypass: bool,
    seed: int,
) -> None:
    encoding = make(space_of(axes, operator, constrained, bypass))
    vectors = np.random.default_rng(seed).random((20, encoding.size))
    mappings = encoding.decode(vectors)
    again = encoding.encode(mappings)
    assert again.shape == vectors.shape
    assert same(encoding.decode(again), mappings)


@settings(max_examples=60, deadline=None)
@given(ARRAYS, st.sampled_from(OPERATORS), st.booleans(), st.booleans(), st.integers(0, 2**32))
def test_importance_reaches_every_mapping(
    axes: tuple[tuple[int, ...], ...], operator: Operator, constrained: bool, bypass: bool, seed: int
) -> None:
    space = space_of(axes, operator, constrained, bypass)
    encoding = ImportanceEncoding(space)
    drawn = space.sample(50, seed)
    whole = space.problem.evaluate_batch(drawn).status != FACTORS
    drawn = select(drawn, whole)
    assert same(encoding.decode(encoding.encode(drawn)), drawn)


@pytest.mark.parametrize("make", ENCODINGS)
@settings(max_examples=60, deadline=None)
@given(ARRAYS, st.sampled_from(OPERATORS), st.booleans(), st.booleans(), st.integers(0, 2**32))
def test_decoded_mappings_keep_the_rules_of_the_mapspace(
    make: type[Encoding],
    axes: tuple[tuple[int, ...], ...],
    operator: Operator,
    constrained: bool,
    bypass: bool,
    seed: int,
) -> None:
    space = space_of(axes, operator, constrained, bypass)
    encoding = make(space)
    batch = encoding.decode(np.random.default_rng(seed).random((20, encoding.size)))
    rules = space.arrays
    slots = range(len(rules.axis_sizes))
    levels = batch.order.shape[1]
    bounds = space.problem.operator_arrays.bounds
    assert (batch.factors >= rules.min_factors).all()
    assert (batch.factors <= rules.max_factors).all()
    assert all((batch.factors[:, s].prod(axis=1) <= rules.axis_sizes[s]).all() for s in slots if rules.axis_sizes[s])
    assert (np.sort(batch.order, axis=2) == np.arange(len(bounds))).all()
    for level in range(levels):
        assert (np.diff(rules.order_rank[level][batch.order[:, level]], axis=1) >= 0).all()
    choice = np.zeros(rules.keep.shape, bool)
    choice[tuple(rules.free_keep.T)] = True
    assert (batch.keep == rules.keep)[:, ~choice].all()
    # Factors fall short only by primes that no slot takes.
    for i, d in zip(*np.nonzero(batch.factors.prod(axis=1) != bounds), strict=True):
        for prime in prime_factors(int(bounds[d] // batch.factors[i, :, d].prod())):
            too_much = batch.factors[i, :, d] * prime > rules.max_factors[:, d]
            too_wide = (rules.axis_sizes > 0) & (batch.factors[i].prod(axis=1) * prime > rules.axis_sizes)
            assert (too_much | too_wide).all()


@pytest.mark.parametrize("make", ENCODINGS)
@pytest.mark.parametrize("name", ["eyeriss", "nvdla_256", "shidiannao", "simba_chiplet"])
def test_native_dataflows(make: type[Encoding], name: str) -> None:
    accelerator = catalog.load(name)
    for operator in OPERATORS[:4]:
        space = Mapspace(Problem(accelerator, operator), bypass=True)
        encoding = make(space)
        batch = encoding.decode(np.random.default_rng(1).random((30, encoding.size)))
        roles = {t.name: t.role for t in operator.tensors}
        for i in range(30):
            assert list(violations(space.constraints, space.problem.unpack(batch, i), roles)) == []
        assert (space.problem.evaluate_batch(batch).status != FACTORS).all()
        assert same(encoding.decode(encoding.encode(batch)), batch)


@pytest.mark.parametrize("make", ENCODINGS)
def test_a_prime_that_only_an_axis_may_take(make: type[Encoding]) -> None:
    nowhere = {f"L{i}": LevelConstraint(dims=frozenset({"C", "P"})) for i in range(3)}
    space = Mapspace(Problem(array(((), (4, 8), ())), matmul(P=8, K=15, C=6)), Constraints("mine", nowhere))
    encoding = make(space)
    batch = encoding.decode(np.random.default_rng(0).random((200, encoding.size)))
    whole = (batch.factors.prod(axis=1) == space.problem.operator_arrays.bounds).all(axis=1)
    assert whole.any()
    assert not whole.all()
    assert same(encoding.decode(encoding.encode(batch)), batch)


@pytest.mark.parametrize("make", ENCODINGS)
def test_one_vector_decodes_for_every_layer(make: type[Encoding]) -> None:
    accelerator = small_array(buffer_bytes=1e9, register_bytes=1e9)
    layers = (
        conv2d(K=64, C=3, P=112, Q=112, R=7, S=7),
        conv2d(K=256, C=64, P=56, Q=56, R=1, S=1),
        conv2d(K=16, C=8, P=1, Q=1, R=3, S=3),
    )
    encodings = [make(Mapspace(Problem(accelerator, layer))) for layer in layers]
    assert len({encoding.size for encoding in encodings}) == 1
    vectors = np.random.default_rng(3).random((50, encodings[0].size))
    for encoding in encodings:
        assert (encoding.space.evaluate(encoding.decode(vectors)).status == 0).all()


def test_ratios_and_importance_mean_the_same_for_every_layer() -> None:
    accelerator = array(((), (16,), ()))
    for bound in (16, 256, 4096):
        encoding = ImportanceEncoding(Mapspace(Problem(accelerator, matmul(P=bound, K=bound, C=bound))))
        K, C, P = (encoding.dims.index(dim) for dim in "KCP")
        vector = np.zeros((1, encoding.size))
        width = len(encoding.dims)
        order, tile, axis = vector[:, : 3 * width], vector[:, 3 * width : 6 * width], vector[:, 6 * width :]
        order[0, [K, C, P]] = 0.2, 0.9, 0.5
        tile[0, [width + P, 2 * width + P]] = 0.5, 0.25
        axis[0, [K, C]] = 0.8, 0.4
        mapping = encoding.space.problem.unpack(encoding.decode(vector))
        assert [dim for dim, factor in mapping.blocks[0].temporal if factor > 1] == (
            ["C", "P"] if bound == 16 else ["C", "P", "K"]
        )
        assert dict(mapping.blocks[1].spatial)["L1.0"] == (("K", 16),)
        assert [dict(block.temporal)["P"] for block in mapping.blocks] == [bound**0.5, bound**0.25, bound**0.25]


def test_two_dimensions_share_an_axis() -> None:
    encoding = ImportanceEncoding(Mapspace(Problem(array(((), (16,), ())), matmul(P=8, K=12, C=2))))
    K, C = encoding.dims.index("K"), encoding.dims.index("C")
    vector = np.zeros((1, encoding.size))
    vector[0, [6 * len(encoding.dims) + K, 6 * len(encoding.dims) + C]] = 0.375, 0.3
    spatial = dict(encoding.space.problem.unpack(encoding.decode(vector)).blocks[1].spatial)
    assert set(spatial["L1.0"]) == {("K", 6), ("C", 2)}


@pytest.mark.parametrize("make", ENCODINGS)
def test_only_numbers_that_matter_change_the_cost(make: type[Encoding]) -> None:
    space = Mapspace(Problem(small_array(), OPERATORS[0]), bypass=True)
    encoding = make(space)
    random = np.random.default_rng(5)
    vectors = random.random((300, encoding.size))
    before = space.evaluate(encoding.decode(vectors))
    others = np.where(encoding.matters, vectors, random.random(vectors.shape))
    after = space.evaluate(encoding.decode(others))
    assert (before.status == after.status).all()
    assert (before.energy_pj == after.energy_pj).all()
    assert (before.latency_cycles == after.latency_cycles).all()


@pytest.mark.parametrize("make", ENCODINGS)
def test_what_is_no_vector_is_refused(make: type[Encoding]) -> None:
    encoding = make(Mapspace(Problem(small_array(), OPERATORS[0])))
    with pytest.raises(ValueError, match=r"shape \(n, \d+\) \(got \(2, 3\)\)"):
        encoding.decode(np.zeros((2, 3)))
    for bad in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match=r"must lie in 0\.\.1"):
            encoding.decode(np.full((1, encoding.size), bad))
    assert encoding.decode(np.zeros((0, encoding.size))).factors.shape[0] == 0


@given(st.integers(1, 5000))
def test_divisors(number: int) -> None:
    assert list(divisors_of(number)) == [n for n in range(1, number + 1) if number % n == 0]
