"""The optimal mapper against a look at every mapping; what never worsens an optimum; what certificates claim."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_problems import NOTHING, Case, cases, constraints, every_cost, features

from accelerators.costs import Infeasible, InfeasibleError
from accelerators.operators import Operator, Tensor, conv2d, matmul
from accelerators.spatial.architecture import Axis, Compute, Level, SpatialAccelerator
from accelerators.spatial.constraints import Constraints, LevelConstraint, violations
from accelerators.spatial.kernels.arrays import VALID, MappingArrays
from accelerators.spatial.problem import Problem
from mappers import OBJECTIVES, Certificate, MapResult, Mapspace, Objective, Optimal, map_operator
from mappers.mapspace import paddings
from mappers.testing import small_array

PROPERTY = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
#: How close the optimal mapper claims to be: its bounds are sums of floats.
CLOSE = 1e-12
EVERYTHING = {
    *(f"{n} levels" for n in (1, 2, 3, 4)),
    *(f"{n} fanouts" for n in (0, 1, 2)),
    *("conv2d", "depthwise", "grouped", "matmul", "batched_matmul", "einsum", "strides", "widths"),
    *("MAC fanout", "bandwidth", "no bandwidth", "network", "adders", "leakage", "constraints", "ramps"),
}


def least(energy_pj: NDArray[np.float64], cycles: NDArray[np.int64], objective: Objective) -> float:
    """The optimum over (energy, cycles) of all mappings; infinite if there are none."""
    values = {"edp": energy_pj * cycles, "energy": energy_pj, "latency": cycles.astype(np.float64)}[objective]
    return float(values.min(initial=math.inf))


def value_of(result: MapResult | Infeasible, objective: Objective) -> float:
    if isinstance(result, Infeasible):
        return math.inf
    energy, cycles = np.array([result.cost.energy_pj]), np.array([result.cost.latency_cycles])
    return least(energy, cycles, objective)


def finish(mapper: Optimal) -> MappingArrays | None:
    """Run a mapper to its end; its last proposal."""
    last = None
    while not mapper.finished:
        batch = mapper.ask()
        last = batch if len(batch.order) else last
    return last


def optimum(space: Mapspace, objective: Objective) -> float:
    mapper = Optimal(space, objective)
    finish(mapper)
    assert mapper.certificate.proven
    return mapper.certificate.value


# --- the referee ------------------------------------------------------------------------------------------------------


def assert_optimal(case: Case) -> bool:
    """The optimal mapper finds the least of all mappings, or that there are none; whether there are some."""
    space = case.space
    energies, cycles = every_cost(space)
    for objective in OBJECTIVES:
        best = least(energies, cycles, objective)
        mapper = Optimal(space, objective)
        proposal = finish(mapper)
        certificate = mapper.certificate
        assert certificate.proven
        assert certificate.lower_bound == certificate.value
        assert certificate.gap == 0
        if not len(energies):
            assert proposal is None, f"{objective}\n{case}"
            assert certificate.value == math.inf
            continue
        assert proposal is not None, f"{objective}\n{case}"
        result = space.evaluate(proposal)
        assert result.status[0] == VALID
        found = least(result.energy_pj, result.latency_cycles, objective)
        assert math.isclose(found, best, rel_tol=1e-9), f"{objective}: {found} instead of {best}\n{case}"
        assert math.isclose(certificate.value, found, rel_tol=CLOSE)
        if objective == "latency":
            fastest = float(energies[cycles == cycles.min()].min())
            assert math.isclose(result.energy_pj[0], fastest, rel_tol=1e-9), f"{fastest} pJ at least\n{case}"
        mapping = space.problem.unpack(proposal)
        roles = {t.name: t.role for t in case.operator.tensors}
        assert list(violations(case.constraints, mapping, roles)) == []
    return len(energies) > 0


def assert_met(seen: Counter[str], wanted: set[str], least_often: int) -> None:
    """The problems had all that they should have."""
    assert {name: seen[name] for name in sorted(wanted) if seen[name] < least_often} == {}


@pytest.mark.parametrize("bypass", [False, True])
def test_optimal_is_the_least_of_all_mappings(bypass: bool) -> None:
    seen: Counter[str] = Counter()

    @settings(PROPERTY, max_examples=250)
    @given(cases(bypass))
    def compare(case: Case) -> None:
        seen["valid" if assert_optimal(case) else "none"] += 1
        seen.update(features(case))

    compare()
    assert seen["valid"] >= 200
    assert seen["none"] >= 5
    assert_met(seen, EVERYTHING | ({"bypass"} if bypass else {"no bypass"}), 10)


def test_outputs_that_are_complete_before_they_reach_their_keeper_are_narrow_on_the_way() -> None:
    """Clusters without a place for outputs: what their fanout adds up leaves them at the output's width."""
    outer = Level("DRAM", fanout=(Axis("x", 2),))
    cluster = Level("L1", frozenset({"weights", "inputs"}), fanout=(Axis("y", 4),))
    registers = Level("RF", capacity_bytes=8, area_mm2=1.0)
    accelerator = SpatialAccelerator(
        "clusters",
        (outer, cluster, registers),
        Compute(1.0, output_bits=16, accumulator_bits=32),
        clock_hz=1e9,
        wire_energy_pj_per_bit_mm=1.0,
    )
    assert assert_optimal(Case(accelerator, matmul(K=4, C=2, P=4), NOTHING, bypass=False))


def test_sums_that_are_complete_early_take_fewer_accesses() -> None:
    """Two memories in an element: an inner one that sees the whole reduction stores the last sum as a narrow output."""
    levels = (Level("GLB", fanout=(Axis("x", 4),)), Level("L1"), Level("L2", update_energy_pj=1.0))
    accelerator = SpatialAccelerator("sums", levels, Compute(0.0, accumulator_bits=32), clock_hz=1e9)
    for operator in (conv2d(K=1, C=1, P=1, Q=1, R=2, S=1), matmul(P=4, K=4, C=4)):
        assert assert_optimal(Case(accelerator, operator, NOTHING, bypass=False))


def test_sums_of_windows_that_are_complete_early_take_less_bandwidth() -> None:
    """As above, with outputs of which one element belongs to several tiles; the level in between keeps nothing."""
    operator = Operator(
        "einsum",
        (("a", 2), ("b", 2), ("c", 2), ("d", 9)),
        (
            Tensor("t0", "inputs", ((("a", 2),), (("d", 1),))),
            Tensor("t1", "inputs", ((("a", 3), ("b", 1), ("d", 2)),)),
            Tensor("t2", "outputs", ((("b", 2), ("d", 1)),)),
        ),
    )
    outer = Level("L0", shared_bandwidth_bytes_per_cycle=1.0, fanout=(Axis("x", 4), Axis("y", 3)))
    inner = Level("L2", write_bandwidth_bytes_per_cycle=0.5)
    accelerator = SpatialAccelerator(
        "sums", (outer, Level("L1", frozenset({"weights"})), inner), Compute(0.0, accumulator_bits=32), clock_hz=1e9
    )
    assert assert_optimal(Case(accelerator, operator, NOTHING, bypass=False))


def padded_spaces(case: Case) -> Iterator[Mapspace]:
    """The spaces of a case and of its padded versions that the constraints allow."""
    problem = Problem(case.accelerator, case.operator)
    for bounds in ({}, *paddings(problem)):
        try:
            yield Mapspace(Problem(case.accelerator, case.operator, bounds), case.constraints, case.bypass)
        except InfeasibleError:
            continue


def padded_size(case: Case) -> int:
    return sum(space.distinct() for space in padded_spaces(case))


def test_optimal_with_padding_is_the_least_of_all_padded_versions() -> None:
    seen: Counter[str] = Counter()

    @settings(PROPERTY, max_examples=120)
    @given(cases(limit=30_000, free=True, size=padded_size))
    def compare(case: Case) -> None:
        costs = [every_cost(space) for space in padded_spaces(case)]
        energies, cycles = (np.concatenate(each) for each in zip(*costs, strict=True))
        for objective in OBJECTIVES:
            best = least(energies, cycles, objective)
            result = map_operator(
                case.accelerator,
                case.operator,
                mapper=Optimal,
                objective=objective,
                constraints=case.constraints,
                bypass=case.bypass,
                node_limit=None,
                pad=True,
            )
            assert math.isclose(value_of(result, objective), best, rel_tol=1e-9), f"{objective}: {best}\n{case}"
            if isinstance(result, Infeasible):
                continue
            assert result.certificate is not None
            assert result.certificate.proven
            assert math.isclose(result.certificate.value, best, rel_tol=1e-9)
            assert result.certificate.paddings == len(costs) - 1
            seen["padded"] += bool(result.bounds)
            seen["valid"] += 1

    compare()
    assert seen["valid"] >= 3 * 100
    assert seen["padded"] >= 20


def test_the_fastest_mapping_with_least_energy_is_what_callers_get() -> None:
    """Ties in latency go to the lower energy, also where energies are large numbers."""
    accelerator, operator = small_array(), matmul(P=4, K=6, C=4)
    energies, cycles = every_cost(Mapspace(Problem(accelerator, operator)))
    result = map_operator(accelerator, operator, objective="latency")
    assert isinstance(result, MapResult)
    assert result.cost.latency_cycles == cycles.min()
    assert result.cost.energy_pj == pytest.approx(energies[cycles == cycles.min()].min(), rel=1e-9)


def test_rounded_bounds_on_the_latency_do_not_rule_out_the_fastest() -> None:
    """Quotients of bits and bandwidths are rounded, also to more than the whole number that they should be."""
    array = (Axis("x", 3), Axis("y", 3, frozenset({"K", "C", "N", "P"})))
    levels = (
        Level("L0", width_bits=8, read_energy_pj=2.0, update_energy_pj=0.1, read_bandwidth_bytes_per_cycle=4.0),
        Level("L1", width_bits=64, update_energy_pj=2.5, shared_bandwidth_bytes_per_cycle=3.0, fanout=array),
        Level("L2", width_bits=24, read_energy_pj=1.0, fill_energy_pj=1.0, update_energy_pj=1.0),
    )
    compute = Compute(1.0, weight_bits=17, output_bits=18, accumulator_bits=31, add_energy_pj=0.05)
    accelerator = SpatialAccelerator("rounded", levels, compute, 1e9, ramp_cycles={"L2": 1.0})
    operator = matmul(N=4, P=1, K=4, C=3).with_bits(weights=8, inputs=12, outputs=12)
    assert assert_optimal(Case(accelerator, operator, NOTHING, bypass=False))


# --- what never worsens an optimum ------------------------------------------------------------------------------------


def with_level(accelerator: SpatialAccelerator, index: int, level: Level) -> SpatialAccelerator:
    levels = list(accelerator.levels)
    levels[index] = level
    return replace(accelerator, levels=tuple(levels))


@st.composite
def better(draw: st.DrawFn, accelerator: SpatialAccelerator) -> dict[str, SpatialAccelerator]:
    """The accelerator with one thing improved, by what it is; as many things as it has to improve."""
    found = {}
    levels = list(enumerate(accelerator.levels))
    rates = [f"{kind}_bandwidth_bytes_per_cycle" for kind in ("read", "write", "shared")]
    energies = ["read_energy_pj", "fill_energy_pj", "update_energy_pj"]
    bounded = [(i, level) for i, level in levels if level.capacity_bytes is not None]
    if bounded:
        i, level = draw(st.sampled_from(bounded))
        factor = draw(st.sampled_from([1.25, 2.0, 7.0, math.inf]))
        assert level.capacity_bytes is not None
        capacity = None if factor == math.inf else factor * level.capacity_bytes
        found["capacity"] = with_level(accelerator, i, replace(level, capacity_bytes=capacity))
    limits = [(i, level) for i, level in levels if any(getattr(level, name) is not None for name in rates)]
    if limits:
        i, level = draw(st.sampled_from(limits))
        factor = draw(st.sampled_from([4.0, 1.5, math.inf]))
        limited = {name: getattr(level, name) for name in rates if getattr(level, name) is not None}
        changes: dict[str, Any] = {n: None if factor == math.inf else factor * rate for n, rate in limited.items()}
        found["bandwidth"] = with_level(accelerator, i, replace(level, **changes))
    factor = draw(st.sampled_from([0.5, 0.0, 0.9]))
    for name in energies:
        costly = [(i, level) for i, level in levels if getattr(level, name) > 0]
        if costly:
            i, level = draw(st.sampled_from(costly))
            changes = {name: factor * getattr(level, name)}
            found[name] = with_level(accelerator, i, replace(level, **changes))
    leaking = [(i, level) for i, level in levels if level.leakage_mw > 0]
    if leaking:
        i, level = draw(st.sampled_from(leaking))
        found["leakage"] = with_level(accelerator, i, replace(level, leakage_mw=factor * level.leakage_mw))
    compute = accelerator.compute
    if accelerator.wire_energy_pj_per_bit_mm > 0 and accelerator.area_mm2 > 0:
        found["network"] = replace(
            accelerator, wire_energy_pj_per_bit_mm=factor * accelerator.wire_energy_pj_per_bit_mm
        )
    if compute.add_energy_pj > 0:
        cheaper_adds = replace(compute, add_energy_pj=factor * compute.add_energy_pj)
        found["adders"] = replace(accelerator, compute=cheaper_adds)
    if compute.energy_pj > 0:
        found["MAC"] = replace(accelerator, compute=replace(compute, energy_pj=factor * compute.energy_pj))
    return found


def test_better_hardware_never_worsens_the_optimum() -> None:
    """At fixed energy per access: more room, more bandwidth, or anything that costs less."""
    improved: Counter[str] = Counter()

    @settings(PROPERTY, max_examples=60)
    @given(cases(limit=100_000), st.data())
    def compare(case: Case, data: st.DataObject) -> None:
        before = {objective: optimum(case.space, objective) for objective in OBJECTIVES}
        for what, accelerator in data.draw(better(case.accelerator)).items():
            space = replace(case, accelerator=accelerator).space
            for objective in OBJECTIVES:
                after = optimum(space, objective)
                assert after <= before[objective] * (1 + CLOSE), f"{what}, {objective}: {accelerator}\n{case}"
                improved[what] += after < before[objective] * (1 - 1e-6)

    compare()
    # Not for want of anything that matters.
    everything = {"capacity", "bandwidth", "read_energy_pj", "fill_energy_pj", "update_energy_pj"}
    assert_met(improved, everything | {"leakage", "network", "adders", "MAC"}, 5)


# --- certificates -----------------------------------------------------------------------------------------------------


def assert_holds(certificate: Certificate, best: float) -> None:
    """What a certificate says is true of a space whose optimum is ``best``."""
    assert certificate.lower_bound <= best * (1 + CLOSE)
    assert best <= certificate.value * (1 + CLOSE)
    assert certificate.root_bound <= best * (1 + CLOSE)
    assert certificate.proven == (certificate.value <= certificate.lower_bound) == (certificate.gap == 0)
    if certificate.proven:
        assert math.isclose(certificate.value, best, rel_tol=CLOSE)
        assert certificate.summary.startswith("optimal: ")
    elif certificate.lower_bound > 0:
        assert certificate.gap == certificate.value / certificate.lower_bound - 1
        assert certificate.summary.startswith("open: ")
        assert f"at most {certificate.gap:.3%} above" in certificate.summary


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_node_limit_leaves_a_true_bound_and_a_stated_gap(objective: Objective) -> None:
    seen: Counter[str] = Counter()

    @settings(PROPERTY, max_examples=40)
    @given(cases(limit=200_000))
    def compare(case: Case) -> None:
        best = optimum(case.space, objective)
        for node_limit in (1, 10, 60, 300):
            mapper = Optimal(case.space, objective, node_limit=node_limit)
            proposal = finish(mapper)
            assert_holds(mapper.certificate, best)
            assert (proposal is None) == (mapper.certificate.value == math.inf)
            seen["proven" if mapper.certificate.proven else "open"] += 1
            seen["found, but open"] += proposal is not None and not mapper.certificate.proven

    compare()
    assert_met(seen, {"proven", "open"}, 10)
    assert_met(seen, {"found, but open"}, 3)


@pytest.mark.parametrize("objective", ["edp", "energy"])
def test_a_node_limit_states_the_gap_of_what_callers_get(objective: Objective) -> None:
    """Local search has a try as well, and the certificate is about its mapping then."""
    accelerator, operator = small_array(), conv2d(K=12, C=6, P=6, Q=4, R=3, S=3, stride=2)
    best = optimum(Mapspace(Problem(accelerator, operator)), objective)
    for node_limit, is_open in ((1, True), (100, True), (None, False)):
        result = map_operator(accelerator, operator, objective=objective, node_limit=node_limit)
        assert isinstance(result, MapResult)
        assert result.certificate is not None
        assert result.certificate.value == value_of(result, objective)
        assert_holds(result.certificate, best)
        assert result.certificate.proven != is_open


@settings(PROPERTY, max_examples=40)
@given(cases(limit=200_000), st.sampled_from(OBJECTIVES))
def test_certificates_hold_all_the_way(case: Case, objective: Objective) -> None:
    best = optimum(case.space, objective)
    mapper = Optimal(case.space, objective)
    value = math.inf
    while not mapper.finished:
        mapper.ask()
        assert_holds(mapper.certificate, best)
        assert mapper.certificate.value <= value
        value = mapper.certificate.value


def with_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that passes by being looked at: a second each time."""
    ticks = itertools.count()
    monkeypatch.setattr("mappers.optimal.time", SimpleNamespace(monotonic=lambda: float(next(ticks))))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_time_that_runs_out_leaves_a_true_bound(objective: Objective, monkeypatch: pytest.MonkeyPatch) -> None:
    with_clock(monkeypatch)
    seen: Counter[str] = Counter()

    @settings(PROPERTY, max_examples=40)
    @given(cases(limit=200_000))
    def compare(case: Case) -> None:
        best = optimum(case.space, objective)
        for seconds in (0.5, 1.5, 3.5):
            mapper = Optimal(case.space, objective, time_limit_s=seconds)
            finish(mapper)
            assert_holds(mapper.certificate, best)
            seen["proven" if mapper.certificate.proven else "open"] += 1
            if seconds == 0.5 and best < math.inf:
                assert not mapper.certificate.proven
                assert mapper.certificate.gap == math.inf

    compare()
    assert_met(seen, {"proven", "open"}, 10)


def test_time_that_runs_out_proves_nothing_about_a_single_level(monkeypatch: pytest.MonkeyPatch) -> None:
    with_clock(monkeypatch)
    memory = Level("DRAM", read_energy_pj=10, fill_energy_pj=10, update_energy_pj=10, fanout=(Axis("x", 6),))
    space = Mapspace(Problem(SpatialAccelerator("one", (memory,), Compute(1.0), clock_hz=1e9), matmul(P=2, K=6, C=4)))
    best = optimum(space, "edp")
    assert best < math.inf
    mapper = Optimal(space, time_limit_s=0.5)
    finish(mapper)
    assert_holds(mapper.certificate, best)


@settings(PROPERTY, max_examples=40)
@given(cases(limit=200_000), st.sampled_from(OBJECTIVES))
def test_nothing_is_proposed_that_is_not_below_the_upper_bound(case: Case, objective: Objective) -> None:
    best = optimum(case.space, objective)
    if not 0 < best < math.inf:
        return
    for factor in (1.0, 0.5):
        mapper = Optimal(case.space, objective, upper_bound=factor * best)
        assert finish(mapper) is None
        assert mapper.certificate.proven
    mapper = Optimal(case.space, objective, upper_bound=best * (1 + 1e-6))
    assert finish(mapper) is not None
    assert math.isclose(mapper.certificate.value, best, rel_tol=CLOSE)


# --- larger and smaller spaces ----------------------------------------------------------------------------------------


@settings(PROPERTY, max_examples=60)
@given(cases(bypass=False, limit=20_000))
def test_free_bypass_is_never_worse_than_fixed_keeps(case: Case) -> None:
    if 0 in {i for i, level in enumerate(case.accelerator.levels) if case.constraints.level(level.name).bypass}:
        return  # No mapping may choose to leave the outermost level out, so that the rule is more than a restriction.
    for objective in OBJECTIVES:
        fixed, free = optimum(case.space, objective), optimum(replace(case, bypass=True).space, objective)
        assert free <= fixed * (1 + CLOSE), f"{objective}\n{case}"


@settings(PROPERTY, max_examples=60)
@given(cases(limit=20_000, free=True), st.data())
def test_constraints_never_improve_the_optimum(case: Case, data: st.DataObject) -> None:
    """A rule about what a level keeps restricts only those mappings that may choose."""
    rules = data.draw(constraints(case.operator, case.accelerator, keeps=case.bypass))
    outermost = case.accelerator.levels[0].name
    if outermost in rules.levels:
        chosen = replace(rules.levels[outermost], keep=frozenset(), bypass=frozenset())
        rules = replace(rules, levels={**rules.levels, outermost: chosen})
    try:
        restricted = replace(case, constraints=rules).space
    except InfeasibleError:
        return
    for objective in OBJECTIVES:
        free, ruled = optimum(case.space, objective), optimum(restricted, objective)
        assert ruled >= free * (1 - CLOSE), f"{objective}: {rules}\n{case}"


@settings(PROPERTY, max_examples=60)
@given(cases(limit=30_000, size=padded_size), st.sampled_from(OBJECTIVES))
def test_padding_is_never_worse_than_none(case: Case, objective: Objective) -> None:
    plain, padded = (
        value_of(
            map_operator(
                case.accelerator,
                case.operator,
                mapper=Optimal,
                objective=objective,
                constraints=case.constraints,
                bypass=case.bypass,
                pad=pad,
            ),
            objective,
        )
        for pad in (False, True)
    )
    assert padded <= plain * (1 + CLOSE)


def test_padded_versions_that_break_a_constraint_are_left_out() -> None:
    """Seven lanes would like K to be 7, but two steps of K are asked for."""
    memory = Level("DRAM", read_energy_pj=10, fill_energy_pj=10, update_energy_pj=10)
    registers = Level("RF", capacity_bytes=64, fanout=(Axis("x", 7),))
    accelerator = SpatialAccelerator("lanes", (memory, registers), Compute(1.0), clock_hz=1e9)
    rules = Constraints("mine", {"DRAM": LevelConstraint(factors={"K": 2})})
    operator = matmul(P=2, K=6, C=4)
    plain = map_operator(accelerator, operator, constraints=rules)
    padded = map_operator(accelerator, operator, constraints=rules, pad=True)
    assert value_of(padded, "edp") <= value_of(plain, "edp") < math.inf


def test_a_rule_that_a_level_cannot_follow_is_not_broken_in_silence() -> None:
    """The buffer has no place for weights, and is asked to keep them."""
    levels = (Level("DRAM"), Level("L1", frozenset({"inputs"})), Level("RF"))
    accelerator = SpatialAccelerator("three", levels, Compute(1.0), clock_hz=1e9)
    rules = Constraints("mine", {"L1": LevelConstraint(keep=frozenset({"weights"}))})
    operator = matmul(P=2, K=2, C=2)
    result = map_operator(accelerator, operator, constraints=rules)
    if isinstance(result, Infeasible):
        assert result.code == "constraint"
    else:
        assert list(violations(rules, result.mapping, {t.name: t.role for t in operator.tensors})) == []
