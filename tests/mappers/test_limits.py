"""What the optimal mapper does where a space is too much for it: it says so, and nothing it says is wrong."""

from __future__ import annotations

import math

import pytest

from accelerators import catalog
from accelerators.costs import Infeasible
from accelerators.operators import conv2d, distinct_sums
from accelerators.spatial.constraints import Constraints, LevelConstraint
from accelerators.spatial.kernels.arrays import MappingArrays
from accelerators.spatial.problem import BatchResult, Problem
from mappers import Mapper, Mapspace, Optimal, SpaceTooLargeError, map_network, map_operator, optimal
from mappers.mapspace import divisors_of, prime_factors
from mappers.optimal import Certificate
from mappers.search import MapResult, search

EYERISS = catalog.load("eyeriss")
LAYER = conv2d(K=16, C=12, P=14, Q=14, R=3, S=3)


class Lazy(Mapper):
    """Ends without a proposal, as any mapper may whose limits are over."""

    name = "lazy"
    complete = True

    def ask(self) -> MappingArrays:
        self.finished = True
        return self.space.empty_batch(0)

    def tell(self, batch: MappingArrays, result: BatchResult, progress: float) -> None:
        pass


def mapped(**settings: object) -> tuple[MapResult, Certificate]:
    found = map_operator(EYERISS, LAYER, **settings)  # type: ignore[arg-type]
    assert isinstance(found, MapResult)
    assert found.certificate is not None
    return found, found.certificate


@pytest.mark.parametrize("allowance", [0, 50, 500])
def test_too_many_chains_leave_a_gap_and_no_wrong_claim(monkeypatch: pytest.MonkeyPatch, allowance: int) -> None:
    _, proof = mapped()
    assert proof.proven
    monkeypatch.setattr(optimal, "_CHAIN_ALLOWANCE", allowance)
    found, certificate = mapped()
    assert not certificate.proven
    assert certificate.lower_bound <= proof.value <= certificate.value
    assert certificate.value == found.cost.energy_pj * found.cost.latency_cycles
    together = map_network(EYERISS, [(LAYER, 2)])
    assert not isinstance(together, Infeasible) or together.code == "search"


@pytest.mark.parametrize(("name", "limit"), [("_MOST_PAIRS", 10), ("_MOST_TABLE_BYTES", 1e3), ("MAX_NODES", 10)])
def test_tables_that_would_be_too_large_are_not_built(monkeypatch: pytest.MonkeyPatch, name: str, limit: int) -> None:
    monkeypatch.setattr(optimal, name, limit)
    with pytest.raises(SpaceTooLargeError, match="optimal mapper"):
        map_operator(EYERISS, LAYER, mapper="optimal", bypass=True)
    found = map_operator(EYERISS, LAYER, bypass=True)
    assert isinstance(found, MapResult)
    assert found.certificate is None


def test_no_time_is_enough_for_a_mapping() -> None:
    found, certificate = mapped(mapper="optimal", time_limit_s=1e-9)
    assert certificate.lower_bound <= certificate.value == found.cost.energy_pj * found.cost.latency_cycles


def test_what_was_not_found_within_the_limits_is_not_called_impossible() -> None:
    busy = Constraints("busy", min_utilisation=0.9)
    assert isinstance(map_operator(EYERISS, LAYER, constraints=busy), MapResult)
    reason = map_operator(EYERISS, LAYER, constraints=busy, mapper=Lazy)
    assert isinstance(reason, Infeasible)
    assert reason.code == "search"
    assert "there may be one" in reason.message


def test_wide_windows_are_counted_and_not_listed() -> None:
    wide = conv2d(K=1, C=1, P=1_000_003, Q=1, R=1_000_003, S=1)
    mapper = Optimal(Mapspace(Problem(EYERISS, wide)))
    search(mapper, 1)
    assert mapper.certificate.proven
    assert distinct_sums((("P", 1), ("R", 1)), {"P": 1_000_003, "R": 1_000_003}) == 2_000_005


def test_large_primes_are_factored() -> None:
    prime = 1_000_000_000_000_037
    assert prime_factors(prime) == (prime,)
    assert divisors_of(prime) == (1, prime)
    assert divisors_of(2**20 * 3) == tuple(sorted(2**i * 3**j for i in range(21) for j in range(2)))


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"evaluations": math.nan}, "evaluations must be >= 1"),
        ({"node_limit": 0}, "node_limit must be >= 1"),
        ({"seed": -1}, "seed must be >= 0"),
        ({"time_limit_s": math.nan}, "time_limit_s must be > 0"),
    ],
)
def test_settings_are_checked(settings: dict[str, float], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        map_operator(EYERISS, LAYER, **settings)  # type: ignore[arg-type]


def test_constraints_are_checked() -> None:
    with pytest.raises(ValueError, match=r"factors: K must be in 1\.\.2\^62 \(got 0\)"):
        LevelConstraint(factors={"K": 0})
    with pytest.raises(ValueError, match=r"min_utilisation must be in 0\.\.1 \(got nan\)"):
        Constraints(min_utilisation=math.nan)
