"""The optimum of a network against all combinations of all mappings of its layers."""

from __future__ import annotations

import math
import random as randoms
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_problems import NOTHING, Case, accelerators, constraints, every_cost, operators, shrunk

from accelerators.costs import Infeasible, InfeasibleError
from accelerators.operators import Operator, conv2d, matmul
from accelerators.spatial.architecture import Axis, Compute, Level, SpatialAccelerator
from accelerators.spatial.constraints import Constraints, LevelConstraint
from accelerators.spatial.model import evaluate
from accelerators.spatial.problem import Problem
from mappers import Mapspace, NetworkOptimum, Optimal, map_network, map_operator
from mappers.mapspace import paddings
from mappers.testing import small_array

#: Without shrinking: networks are small as they are, and a search that fails may take seconds each time.
PROPERTY = settings(
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
#: How close the optimum of a network claims to be.
CLOSE = 1e-10


@dataclass(frozen=True)
class Network:
    """Layers with how often each runs, on one accelerator, and what runs besides."""

    accelerator: SpatialAccelerator
    layers: tuple[tuple[Operator, int], ...]
    fixed_energy_pj: float = 0.0
    fixed_cycles: int = 0
    constraints: Constraints = NOTHING
    bypass: bool = False

    def case(self, operator: Operator) -> Case:
        return Case(self.accelerator, operator, self.constraints, self.bypass)

    def best(self, *, node_limit: int | None = None, pad: bool = False) -> NetworkOptimum | Infeasible:
        return map_network(
            self.accelerator,
            self.layers,
            fixed_energy_pj=self.fixed_energy_pj,
            fixed_cycles=self.fixed_cycles,
            node_limit=node_limit,
            constraints=self.constraints,
            bypass=self.bypass,
            pad=pad,
        )

    def __str__(self) -> str:
        layers = " + ".join(f"{count} x {operator}" for operator, count in self.layers)
        fixed = f"{self.fixed_energy_pj} pJ, {self.fixed_cycles} cycles besides"
        return f"{layers}, {fixed}, bypass={self.bypass}\n{self.accelerator}\n{self.constraints}"


#: Energy and cycles of mappings none of which is beaten in both, (2, n), by ascending cycles.
Front = NDArray[np.float64]


def front(points: Front) -> Front:
    points = points[:, np.lexsort((points[0], points[1]))]
    least_before = np.minimum.accumulate(np.concatenate([[math.inf], points[0]]))[:-1]
    return points[:, points[0] < least_before]


def sums(one: Front, other: Front) -> Front:
    """What any choice from both costs together."""
    return front((one[:, :, None] + other[:, None, :]).reshape(2, -1))


def layer_front(case: Case, pad: bool = False) -> Front:
    problem = Problem(case.accelerator, case.operator)
    found = np.empty((2, 0))
    for bounds in ({}, *paddings(problem)) if pad else ({},):
        try:
            space = Mapspace(Problem(case.accelerator, case.operator, bounds), case.constraints, case.bypass)
        except InfeasibleError:
            continue
        found = np.concatenate([found, np.array(every_cost(space))], axis=1)
    return front(found)


def least_edp(network: Network, pad: bool = False) -> float:
    """Over all choices of one mapping for every run of every layer; infinite if a layer has none."""
    total = np.array([[network.fixed_energy_pj], [float(network.fixed_cycles)]])
    for operator, count in network.layers:
        mine = layer_front(network.case(operator), pad)
        for _ in range(count):
            total = sums(total, mine)
    return float((total[0] * total[1]).min(initial=math.inf))


@st.composite
def networks(draw: st.DrawFn, most_mappings: int = 3000, fixed: bool = True, leaking: bool = False) -> Network:
    """Two or three layers on one accelerator, each with at most ``most_mappings``.

    Most accelerators have networks and adders that make fast mappings dear: where one mapping of a layer is the
    fastest and needs the least energy, there is nothing to choose.
    """
    first = draw(operators())
    accelerator = draw(accelerators(first, least_fanouts=1))
    if draw(st.integers(0, 2)):
        adding = draw(st.sampled_from([60.0, 20.0, 200.0, 6.0]))
        compute = replace(accelerator.compute, add_energy_pj=adding, area_mm2=0.1, leakage_mw=0.0)
        wire = draw(st.sampled_from([5.0, 1.0, 20.0, 0.2]))
        accelerator = replace(accelerator, compute=compute, wire_energy_pj_per_bit_mm=wire)
    if leaking:
        levels = (replace(accelerator.levels[0], leakage_mw=5.0), *accelerator.levels[1:])
        accelerator = replace(accelerator, levels=levels)
    layers = [first, *(draw(operators()) for _ in range(draw(st.integers(1, 2))))]
    bypass = draw(st.booleans())
    rules = NOTHING
    if draw(st.integers(0, 3)) == 0:
        rules = draw(constraints(first, accelerator))
    small = [shrunk(Case(accelerator, operator, NOTHING, bypass), most_mappings).operator for operator in layers]
    network = Network(accelerator, tuple((operator, draw(st.integers(1, 3))) for operator in small), bypass=bypass)
    if fixed and draw(st.booleans()):
        energy, cycles = draw(st.sampled_from([(1e4, 0), (0.0, 200), (100.0, 7), (1e6, 0), (0.0, 5000)]))
        network = replace(network, fixed_energy_pj=energy, fixed_cycles=cycles)
    try:
        for operator, _ in network.layers:
            replace(network, constraints=rules).case(operator).space  # noqa: B018
    except InfeasibleError:
        return network
    return replace(network, constraints=rules)


def assert_consistent(network: Network, found: NetworkOptimum) -> None:
    """The layers are the network's, their costs the model's, and the totals their sums."""
    assert [(layer.operator, layer.count) for layer in found.layers] == list(network.layers)
    energy, cycles = network.fixed_energy_pj, network.fixed_cycles
    for layer in found.layers:
        (cost,) = evaluate(network.accelerator, layer.operator, [layer.mapping], layer.bounds)
        assert cost == layer.cost
        energy += layer.count * layer.cost.energy_pj
        cycles += layer.count * layer.cost.latency_cycles
    assert math.isclose(found.energy_pj, energy, rel_tol=1e-12)
    assert found.latency_cycles == cycles
    assert found.edp == found.energy_pj * found.latency_cycles
    assert found.proven == (found.gap == 0)


def separately(network: Network) -> float:
    """(Sum of energies) x (sum of cycles) of the mappings that minimise the layers' own EDP."""
    energy, cycles = network.fixed_energy_pj, network.fixed_cycles
    for operator, count in network.layers:
        result = map_operator(
            network.accelerator,
            operator,
            mapper=Optimal,
            node_limit=None,
            constraints=network.constraints,
            bypass=network.bypass,
        )
        assert not isinstance(result, Infeasible)
        energy += count * result.cost.energy_pj
        cycles += count * result.cost.latency_cycles
    return energy * cycles


def test_it_is_the_least_of_all_combinations_of_mappings() -> None:
    """Repeated layers may choose another mapping in each run here: nothing is gained by that."""
    seen: Counter[str] = Counter()

    @settings(PROPERTY, max_examples=150)
    @given(networks())
    def compare(network: Network) -> None:
        best, found = least_edp(network), network.best()
        if isinstance(found, Infeasible):
            assert best == math.inf, f"{found}\n{network}"
            return
        assert math.isclose(found.edp, best, rel_tol=1e-9), f"{found.edp} instead of {best}\n{network}"
        assert found.proven, f"gap {found.gap}\n{network}"
        assert found.lower_bound <= best * (1 + CLOSE)
        assert_consistent(network, found)
        own = separately(network)
        assert found.edp <= own * (1 + CLOSE)
        assert found.edp <= found.separate_edp * (1 + CLOSE)
        seen["compared"] += 1
        seen["three layers"] += len(network.layers) == 3
        seen["repeated"] += max(count for _, count in network.layers) > 1
        seen["gain"] += found.edp < own * (1 - 1e-6)
        seen["bypass"] += network.bypass
        seen["constraints"] += network.constraints != NOTHING
        seen["fixed"] += network.fixed_cycles > 0
        seen["leakage"] += network.accelerator.leakage_mw > 0

    compare()
    assert seen["compared"] >= 100
    wanted = ("three layers", "repeated", "gain", "bypass", "constraints", "fixed", "leakage")
    assert {what: seen[what] for what in wanted if seen[what] < 5} == {}


def test_it_is_the_least_of_all_padded_versions_too() -> None:
    seen: Counter[str] = Counter()

    @settings(PROPERTY, max_examples=40)
    @given(networks(most_mappings=400))
    def compare(network: Network) -> None:
        network = replace(network, constraints=NOTHING)
        best, plain, found = least_edp(network, pad=True), network.best(), network.best(pad=True)
        if isinstance(found, Infeasible):
            assert best == math.inf, f"{found}\n{network}"
            return
        assert math.isclose(found.edp, best, rel_tol=1e-9), f"{found.edp} instead of {best}\n{network}"
        assert found.proven
        assert_consistent(network, found)
        assert isinstance(plain, NetworkOptimum)
        assert found.edp <= plain.edp * (1 + CLOSE)
        seen["padded"] += any(layer.bounds for layer in found.layers)

    compare()
    assert seen["padded"] >= 3


def test_padded_versions_that_break_a_constraint_are_left_out() -> None:
    registers = Level("RF", capacity_bytes=64, fanout=(Axis("x", 7),))
    accelerator = SpatialAccelerator("lanes", (Level("DRAM", read_energy_pj=10), registers), Compute(1.0), clock_hz=1e9)
    rules = Constraints("mine", {"DRAM": LevelConstraint(factors={"K": 2})})
    network = Network(accelerator, ((matmul(P=2, K=6, C=4), 1),), constraints=rules)
    plain, padded = network.best(), network.best(pad=True)
    assert isinstance(plain, NetworkOptimum)
    assert isinstance(padded, NetworkOptimum)
    assert padded.edp <= plain.edp


@pytest.mark.parametrize("counts", [(1, 1), (3, 1), (1, 5)])
def test_a_single_level_is_no_special_case(counts: tuple[int, int]) -> None:
    """Its mappings are unrollings: fast and dear, or slow and cheap."""
    memory = Level("DRAM", read_energy_pj=2, update_energy_pj=2, fanout=(Axis("x", 6),), area_mm2=1.0)
    compute = Compute(1.0, add_energy_pj=60.0, area_mm2=0.1)
    accelerator = SpatialAccelerator("one", (memory,), compute, clock_hz=1e9, wire_energy_pj_per_bit_mm=1.0)
    layers = (matmul(P=2, K=6, C=4), matmul(P=3, K=1, C=20))
    network = Network(accelerator, tuple(zip(layers, counts, strict=True)))
    found = network.best()
    assert isinstance(found, NetworkOptimum)
    assert found.proven
    assert found.edp == pytest.approx(least_edp(network), rel=1e-9)


@settings(PROPERTY, max_examples=20)
@given(networks(), st.randoms(use_true_random=False))
def test_repeats_may_be_written_out_and_layers_come_in_any_order(network: Network, random: randoms.Random) -> None:
    found = network.best()
    written_out = [(operator, 1) for operator, count in network.layers for _ in range(count)]
    random.shuffle(written_out)
    again = replace(network, layers=tuple(written_out)).best()
    if isinstance(found, Infeasible) or isinstance(again, Infeasible):
        assert isinstance(found, Infeasible)
        assert isinstance(again, Infeasible)
        return
    assert math.isclose(found.edp, again.edp, rel_tol=CLOSE)


@settings(PROPERTY, max_examples=25)
@given(networks(), st.sampled_from([1, 5, 30, 200]))
def test_a_node_limit_leaves_a_true_bound(network: Network, node_limit: int) -> None:
    found, best = network.best(node_limit=node_limit), least_edp(network)
    if isinstance(found, Infeasible):
        return  # Nothing was found within the limit.
    assert_consistent(network, found)
    assert found.lower_bound <= best * (1 + CLOSE)
    assert best <= found.edp * (1 + CLOSE)
    if not found.proven:
        assert found.gap == found.edp / found.lower_bound - 1


# --- leakage ----------------------------------------------------------------------------------------------------------


@settings(PROPERTY, max_examples=25)
@given(networks(fixed=False, leaking=True))
def test_leakage_is_paid_for_every_run_of_every_layer_and_hurries_them(network: Network) -> None:
    found = network.best()
    leakier = replace(network.accelerator.levels[0], leakage_mw=200.0)
    hurried = replace(
        network, accelerator=replace(network.accelerator, levels=(leakier, *network.accelerator.levels[1:]))
    ).best()
    if isinstance(found, Infeasible) or isinstance(hurried, Infeasible):
        assert isinstance(found, Infeasible)
        assert isinstance(hurried, Infeasible)
        return
    accelerator = network.accelerator
    leaked = sum(layer.count * layer.cost.energy_breakdown_pj["leakage"] for layer in found.layers)
    seconds = found.latency_cycles / accelerator.clock_hz
    assert leaked == pytest.approx(accelerator.leakage_mw * 1e-3 * seconds * 1e12, rel=1e-12)
    # (E + a T) T <= (E' + a T') T' and (E' + b T') T' <= (E + b T) T with a < b give T' <= T.
    assert hurried.latency_cycles <= found.latency_cycles


# --- layers without a mapping -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [0, 1])
def test_a_layer_without_a_mapping_is_a_reason(position: int) -> None:
    """Words of 64 bits leave no room for an output beside an operand in six bytes; those of 16 do."""
    accelerator = replace(small_array(register_bytes=6), compute=Compute(1.0, weight_bits=64))
    layers = [matmul(P=4, K=6, C=4).with_bits(weights=16), matmul(P=2, K=2, C=2)]
    fine = map_network(accelerator, [(layers[0], 1)])
    assert isinstance(fine, NetworkOptimum)
    work = [(layers[1 - position], 1), (layers[position], 1)]
    found = map_network(accelerator, work)
    assert isinstance(found, Infeasible)
    assert found.code == "capacity"
    assert found.facts["level"] == "RF"
    alone = map_operator(accelerator, layers[1])
    assert isinstance(alone, Infeasible)
    assert found == replace(alone, message=f"{layers[1]}: {alone.message}")


def test_the_reason_names_the_layer() -> None:
    accelerator = replace(small_array(register_bytes=6), compute=Compute(1.0, weight_bits=64))
    fits, does_not = matmul(P=4, K=6, C=4).with_bits(weights=16), conv2d(K=4, C=2, P=4, Q=1, R=3, S=1)
    found = map_network(accelerator, [(fits, 1), (does_not, 2), (fits, 1)])
    assert isinstance(found, Infeasible)
    assert str(does_not) in f"{found.message} {found.facts}"


def test_layers_that_no_mac_can_take_are_a_reason() -> None:
    found = map_network(small_array(), [(matmul(P=2, K=2, C=2).with_bits(weights=32), 1)])
    assert isinstance(found, Infeasible)
    assert found.code == "precision"


@pytest.mark.parametrize("layers", [[], [(matmul(P=2, K=2, C=2), 0)], [(matmul(P=2, K=2, C=2), -1)]])
def test_networks_without_layers_and_counts_below_one_are_refused(layers: Sequence[tuple[Operator, int]]) -> None:
    with pytest.raises(ValueError, match="layers must be operators with counts >= 1"):
        map_network(small_array(), layers)
