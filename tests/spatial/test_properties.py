"""Statements that hold for every operator, accelerator and mapping, whatever the numbers are."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from strategies import Case, accelerators, broken_cases, cases, mappings, operators

from accelerators.costs import Cost, Infeasible
from accelerators.operators import Operator
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.spatial.kernels.arrays import VALID
from accelerators.spatial.mapping import Block, Mapping
from accelerators.spatial.model import Problem, evaluate

PROPERTY = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
COUNTS = ("tile_words", "partition_words", "reads", "fills", "updates", "injected_words", "multicast", "hops")


def cost_of(case: Case, **changes: Any) -> Cost:
    case = replace(case, **changes)
    (cost,) = evaluate(case.accelerator, case.operator, [case.mapping])
    assert isinstance(cost, Cost), f"{cost}\n{case}"
    return cost


def counts_of(cost: Cost) -> dict[tuple[str, str], tuple[Any, ...]]:
    """All counts by level and tensor, without anything that depends on an energy."""
    return {
        (level.level, t.tensor): (level.instances, level.fanout, *(getattr(t, name) for name in COUNTS))
        for level in cost.details.levels
        for t in level.tensors
    }


def assert_same_cost(one: Cost, other: Cost) -> None:
    assert counts_of(one) == counts_of(other)
    assert one.latency_cycles == other.latency_cycles
    assert one.energy_pj == pytest.approx(other.energy_pj, rel=1e-12)


def rebuild(mapping: Mapping, change: Any) -> Mapping:
    return Mapping(tuple(change(block) for block in mapping.blocks))


@PROPERTY
@given(cases())
def test_macs_are_conserved(case: Case) -> None:
    cost = cost_of(case)
    assert cost.details.used_macs * cost.details.compute_cycles == case.operator.iterations
    assert cost.macs == case.operator.macs
    assert 0 < cost.utilisation <= 1


@PROPERTY
@given(cases())
def test_latency_respects_every_roof(case: Case) -> None:
    cost = cost_of(case)
    assert cost.latency_cycles * case.accelerator.macs >= case.operator.macs
    problem = Problem(case.accelerator, case.operator)
    for level, counts in zip(case.accelerator.levels, cost.details.levels, strict=True):
        # The narrowest that the words can be: partial sums only add to it.
        bits = [problem.bits(tensor) for tensor in case.operator.tensors]
        read = sum(t.reads * b for t, b in zip(counts.tensors, bits, strict=True))
        written = sum((t.fills + t.updates) * b for t, b in zip(counts.tensors, bits, strict=True))
        for moved, bandwidth in (
            (read, level.read_bandwidth_bytes_per_cycle),
            (written, level.write_bandwidth_bytes_per_cycle),
            (read + written, level.shared_bandwidth_bytes_per_cycle),
        ):
            assert bandwidth is None or cost.latency_cycles * bandwidth * 8 >= moved


@PROPERTY
@given(cases())
def test_traffic_is_at_least_compulsory(case: Case) -> None:
    cost = cost_of(case)
    for tensor in case.operator.tensors:
        home = next(level for level in cost.details.levels if level.tensor(tensor.name).kept)
        counts = home.tensor(tensor.name)
        words = counts.updates if tensor.role == "outputs" else counts.reads
        assert words * home.instances >= case.operator.touched_words(tensor)
        assert counts.fills == 0


@PROPERTY
@given(cases())
def test_counts_are_never_negative(case: Case) -> None:
    cost = cost_of(case)
    for level in cost.details.levels:
        for t in level.tensors:
            assert min(t.reads, t.fills, t.updates, t.injected_words, t.energy_pj, t.network_energy_pj) >= 0
            assert t.kept or t.reads == t.fills == t.updates == t.energy_pj == 0
    assert min(cost.energy_breakdown_pj.values()) >= 0
    assert math.fsum(cost.energy_breakdown_pj.values()) == pytest.approx(cost.energy_pj)


@PROPERTY
@given(cases(), st.data())
def test_energy_grows_with_each_unit_energy(case: Case, data: st.DataObject) -> None:
    accelerator = case.accelerator
    index = data.draw(st.integers(0, len(accelerator.levels) - 1))
    levels = list(accelerator.levels)
    for name in ("read_energy_pj", "fill_energy_pj", "update_energy_pj", "leakage_mw"):
        dearer = replace(levels[index], **{name: getattr(levels[index], name) + 1.0})
        changed = replace(accelerator, levels=(*levels[:index], dearer, *levels[index + 1 :]))
        assert cost_of(case, accelerator=changed).energy_pj >= cost_of(case).energy_pj
    for name in ("energy_pj", "add_energy_pj", "leakage_mw", "adder_leakage_mw"):
        compute = replace(accelerator.compute, **{name: getattr(accelerator.compute, name) + 1.0})
        assert cost_of(case, accelerator=replace(accelerator, compute=compute)).energy_pj >= cost_of(case).energy_pj
    wires = replace(accelerator, wire_energy_pj_per_bit_mm=accelerator.wire_energy_pj_per_bit_mm + 1.0)
    assert cost_of(case, accelerator=wires).energy_pj >= cost_of(case).energy_pj


@PROPERTY
@given(cases(), st.data())
def test_order_inside_the_innermost_level_is_free(case: Case, data: st.DataObject) -> None:
    """MACs remember nothing, and outer levels only see the innermost tile."""
    *outer, inner = case.mapping.blocks
    shuffled = replace(inner, temporal=tuple(data.draw(st.permutations(inner.temporal))))
    assert_same_cost(cost_of(case), cost_of(case, mapping=Mapping((*outer, shuffled))))


@PROPERTY
@given(cases(), st.data())
def test_loops_that_a_tensor_does_not_see_may_change_places(case: Case, data: st.DataObject) -> None:
    pairs = [
        (index, place) for index, block in enumerate(case.mapping.blocks) for place in range(len(block.temporal) - 1)
    ]
    assume(pairs)
    index, place = data.draw(st.sampled_from(pairs))
    block = case.mapping.blocks[index]
    loops = list(block.temporal)
    loops[place], loops[place + 1] = loops[place + 1], loops[place]
    blocks = list(case.mapping.blocks)
    blocks[index] = replace(block, temporal=tuple(loops))
    before, after = counts_of(cost_of(case)), counts_of(cost_of(case, mapping=Mapping(tuple(blocks))))
    blind = [t.name for t in case.operator.tensors if not t.dims & {loops[place][0], loops[place + 1][0]}]
    for (level, tensor), counts in before.items():
        if tensor in blind:
            assert after[level, tensor] == counts


@PROPERTY
@given(cases())
def test_loops_of_bound_one_do_not_exist(case: Case) -> None:
    names = [dim for dim, _ in case.operator.bounds]

    def pad(block: Block) -> Block:
        absent = [(dim, 1) for dim in names if dim not in dict(block.temporal)]
        return Block(block.level, block.keep, (*absent, *block.temporal), (*block.spatial, ("unused", (("K", 1),))))

    assert rebuild(case.mapping, pad) == case.mapping


@PROPERTY
@given(cases())
def test_more_capacity_and_bandwidth_change_no_count(case: Case) -> None:
    def more(value: float | None) -> float | None:
        return None if value is None else 2 * value

    levels = tuple(
        replace(
            level,
            capacity_bytes=more(level.capacity_bytes),
            read_bandwidth_bytes_per_cycle=more(level.read_bandwidth_bytes_per_cycle),
            write_bandwidth_bytes_per_cycle=more(level.write_bandwidth_bytes_per_cycle),
            shared_bandwidth_bytes_per_cycle=more(level.shared_bandwidth_bytes_per_cycle),
        )
        for level in case.accelerator.levels
    )
    before, after = cost_of(case), cost_of(case, accelerator=replace(case.accelerator, levels=levels))
    assert counts_of(before) == counts_of(after)
    assert after.latency_cycles <= before.latency_cycles
    assert after.energy_pj <= before.energy_pj * (1 + 1e-12)


@PROPERTY
@given(cases(), st.data())
def test_names_and_orders_mean_nothing(case: Case, data: st.DataObject) -> None:
    operator = case.operator
    old = [dim for dim, _ in operator.bounds]
    name = dict(zip(old, data.draw(st.permutations([f"d{i}" for i in range(len(old))])), strict=True))

    def shuffled(items: Any) -> tuple[Any, ...]:
        return tuple(data.draw(st.permutations(list(items))))

    def renamed(loops: Any) -> tuple[tuple[str, int], ...]:
        return tuple((name[dim], factor) for dim, factor in loops)

    tensors = [replace(t, ranks=shuffled(shuffled(renamed(rank)) for rank in t.ranks)) for t in operator.tensors]
    other = Operator("other", shuffled(renamed(operator.bounds)), (*shuffled(tensors[:-1]), tensors[-1]))
    mapping = rebuild(
        case.mapping,
        lambda b: Block(
            b.level, b.keep, renamed(b.temporal), tuple((axis, renamed(loops)) for axis, loops in b.spatial)
        ),
    )
    levels = tuple(
        replace(
            level,
            fanout=tuple(
                replace(a, dims=None if a.dims is None else frozenset(name[dim] for dim in a.dims))
                for a in level.fanout
            ),
            # Adders belong to the axes that may unroll C, R or S; other names would change what the chip contains.
        )
        for level in case.accelerator.levels
    )
    compute = replace(case.accelerator.compute, adder_area_mm2=0.0, adder_leakage_mw=0.0)
    plain = replace(case.accelerator, compute=compute)
    assert_same_cost(
        cost_of(case, accelerator=plain),
        cost_of(case, operator=other, mapping=mapping, accelerator=replace(plain, levels=levels)),
    )


@st.composite
def searches(draw: st.DrawFn) -> tuple[Operator, SpatialAccelerator, list[Mapping]]:
    """Several mappings of one operator on one accelerator, some of which do not fit."""
    operator = draw(operators(64))
    accelerator = draw(accelerators(operator.dims))
    capacities = st.sampled_from([None, None, 4.0, 40.0, 400.0])
    levels = tuple(replace(level, capacity_bytes=draw(capacities)) for level in accelerator.levels)
    accelerator = replace(accelerator, levels=levels)
    return operator, accelerator, draw(st.lists(mappings(operator, accelerator), min_size=2, max_size=5))


@PROPERTY
@given(searches())
def test_a_batch_is_its_members(search: tuple[Operator, SpatialAccelerator, list[Mapping]]) -> None:
    operator, accelerator, nests = search
    problem = Problem(accelerator, operator)
    packed = problem.pack(nests)
    batch = problem.evaluate_batch(packed)
    assert [str(problem.unpack(packed, i)) for i in range(len(nests))] == [str(canonical(problem, m)) for m in nests]
    together = evaluate(accelerator, operator, nests)
    for i, mapping in enumerate(nests):
        (alone,) = evaluate(accelerator, operator, [mapping])
        assert alone == together[i]
        if isinstance(alone, Cost):
            assert batch.status[i] == VALID
            assert batch.energy_pj[i] == alone.energy_pj
            assert batch.latency_cycles[i] == alone.latency_cycles
        else:
            assert problem.explain(batch.status[i], batch.facts[i]) == alone


def canonical(problem: Problem, mapping: Mapping) -> Mapping:
    """The mapping as arrays remember it: names in the operator's order inside a list of tensors or along an axis."""
    names = [tensor.name for tensor in problem.operator.tensors]

    def sort(block: Block) -> Block:
        along = tuple(
            (axis, tuple(sorted(loops, key=lambda x: problem.dims.index(x[0])))) for axis, loops in block.spatial
        )
        return replace(block, keep=tuple(sorted(block.keep, key=names.index)), spatial=along)

    return rebuild(mapping, sort)


@PROPERTY
@given(cases(), st.data())
def test_padding_is_the_larger_operator(case: Case, data: st.DataObject) -> None:
    bounds = {dim: data.draw(st.integers(1, bound)) for dim, bound in case.operator.bounds}
    real = case.operator.with_bounds(bounds)
    (padded,) = evaluate(case.accelerator, real, [case.mapping], bounds=dict(case.operator.bounds))
    full = cost_of(case)
    assert isinstance(padded, Cost)
    assert_same_cost(padded, full)
    assert padded.macs == math.prod(bounds.values())
    assert padded.padded_macs == full.padded_macs == full.macs
    assert padded.utilisation == pytest.approx(full.utilisation * padded.macs / full.macs)
    assert padded.energy_breakdown_pj == full.energy_breakdown_pj


@PROPERTY
@given(broken_cases())
def test_refusals_have_a_reason_and_no_numbers(case: Case) -> None:
    problem = Problem(case.accelerator, case.operator)
    batch = problem.evaluate_batch(problem.pack([case.mapping]))
    (found,) = evaluate(case.accelerator, case.operator, [case.mapping])
    if isinstance(found, Infeasible):
        assert found.message
        assert found.facts
        assert batch.status[0] != VALID
        assert batch.energy_pj[0] == math.inf
        assert batch.latency_cycles[0] == -1
    else:
        assert batch.status[0] == VALID
        assert math.isfinite(batch.energy_pj[0])
        assert batch.latency_cycles[0] >= 1
