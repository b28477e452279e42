"""The model against the walker: the same numbers from two programs that share nothing but the definitions."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from strategies import Case, broken_cases, cases, einsums
from walker import violations, walk

from accelerators.costs import Cost, Infeasible
from accelerators.spatial.model import evaluate

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
#: The everyday runs draw the same examples every time; the slow ones draw new ones.
EVERY_DAY = settings(deadline=None, derandomize=True, suppress_health_check=QUIET)
LONG = settings(max_examples=2500, deadline=None, suppress_health_check=QUIET)


def check_against_walker(case: Case) -> None:
    expected = walk(case.accelerator, case.operator, case.mapping)
    (cost,) = evaluate(case.accelerator, case.operator, [case.mapping])
    assert isinstance(cost, Cost), f"{cost}\n{case}"
    found = cost.details
    assert found.compute_cycles == expected.base_cycles
    assert found.used_macs == expected.used_macs
    for level, walked in zip(found.levels, expected.levels, strict=True):
        assert level.instances == walked.instances, level.level
        assert level.fanout == walked.fanout, level.level
        for counts in level.tensors:
            words = walked.tensors[counts.tensor]
            place = f"{counts.tensor} at {level.level} of\n{case}"
            assert counts.kept == words.kept, place
            assert counts.tile_words == words.tile, place
            assert counts.partition_words == words.partition, place
            assert (counts.reads, counts.fills, counts.updates) == (words.reads, words.fills, words.updates), place
            assert counts.injected_words == words.injected, place
            assert {m: n for m, n in counts.multicast.items() if n} == words.histogram, place
            assert counts.hops == pytest.approx(words.hops, rel=1e-9), place
            assert counts.energy_pj == pytest.approx(words.energy_pj, rel=1e-9), place
            assert counts.network_energy_pj == pytest.approx(words.network_pj, rel=1e-9), place
        assert level.latency_cycles == walked.cycles, f"{level.level} of\n{case}"
    assert cost.latency_cycles == expected.latency_cycles, str(case)
    assert cost.energy_breakdown_pj.keys() == expected.energy_pj.keys()
    for part, energy in expected.energy_pj.items():
        assert cost.energy_breakdown_pj[part] == pytest.approx(energy, rel=1e-9), f"{part} of\n{case}"
    assert cost.energy_pj == pytest.approx(expected.total_pj, rel=1e-9)
    assert cost.latency_s == pytest.approx(expected.latency_cycles / case.accelerator.clock_hz)
    assert cost.macs == cost.padded_macs == case.operator.iterations


def check_refusal(case: Case) -> None:
    reasons = list(violations(case.accelerator, case.operator, case.mapping))
    (found,) = evaluate(case.accelerator, case.operator, [case.mapping])
    if not reasons:
        assert isinstance(found, Cost), f"{found}\n{case}"
        return
    assert isinstance(found, Infeasible), f"not refused for {reasons}\n{case}"
    # Factors that do not fit the operator make tiles meaningless, so they are named before anything else.
    if any(code == "factors" for code, _ in reasons):
        assert found.code == "factors"
    assert (found.code, dict(found.facts)) in reasons, str(case)
    assert all(str(fact) in found.message for fact in found.facts.values() if fact != found.facts.get("level"))


@settings(EVERY_DAY, max_examples=400)
@given(cases())
def test_model_equals_walker(case: Case) -> None:
    check_against_walker(case)


@settings(EVERY_DAY, max_examples=100)
@given(cases(einsums(128, windowed_outputs=True)))
def test_model_equals_walker_on_outputs_that_overlap_or_have_gaps(case: Case) -> None:
    check_against_walker(case)


@settings(EVERY_DAY, max_examples=300)
@given(broken_cases())
def test_refusals_name_a_reason_that_the_walker_finds(case: Case) -> None:
    check_refusal(case)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
def test_model_equals_walker_on_many(part: int) -> None:
    @settings(LONG)
    @given(cases())
    def run(case: Case) -> None:
        check_against_walker(case)

    run()


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_refusals_on_many(part: int) -> None:
    @settings(LONG)
    @given(broken_cases())
    def run(case: Case) -> None:
        check_refusal(case)

    run()
