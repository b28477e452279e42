"""The properties of the cost model (MACs conserved, rooflines, compulsory traffic) over the whole zoo and catalog."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from accelerators import catalog
from accelerators.costs import Cost
from accelerators.operators import Operator
from accelerators.spatial.architecture import Level, SpatialAccelerator
from accelerators.spatial.model import Analysis
from accelerators.spatial.model import evaluate as evaluate_mappings
from codesign import evaluate
from codesign.costs import NetworkCost
from codesign.networks import ZOO

_EVALUATIONS = 2500


@cache
def _on(network: str, accelerator: str) -> NetworkCost:
    return evaluate(network, accelerator, evaluations=_EVALUATIONS).results[0]


def _energy_per_bit(level: Level) -> float:
    return min(level.read_energy_pj, level.update_energy_pj) / level.width_bits


def _check_bandwidths(hardware: SpatialAccelerator, operator: Operator, cost: Cost) -> None:
    """No level moves more than its bandwidth allows, counting every word at the narrower of its widths."""
    for level, counts in zip(hardware.levels, cost.details.levels, strict=True):
        reads = writes = 0
        for tensor in operator.tensors:
            moved = counts.tensor(tensor.name)
            bits = min(hardware.compute.bits(tensor.role), hardware.compute.accumulator_bits)
            reads += moved.reads * bits
            writes += (moved.fills + moved.updates) * bits
        for traffic, bandwidth in (
            (reads, level.read_bandwidth_bytes_per_cycle),
            (writes, level.write_bandwidth_bytes_per_cycle),
            (reads + writes, level.shared_bandwidth_bytes_per_cycle),
        ):
            assert bandwidth is None or cost.latency_cycles * bandwidth * 8 >= traffic * (1 - 1e-12)


def _check_roomier_hardware(hardware: SpatialAccelerator, operator: Operator, cost: Cost) -> None:
    """At unchanged energies, more capacity and bandwidth leave every mapping valid and none worse; so no optimum."""

    def doubled(value: float | None) -> float | None:
        return None if value is None else 2 * value

    roomier = replace(
        hardware,
        levels=tuple(
            replace(
                level,
                capacity_bytes=doubled(level.capacity_bytes),
                read_bandwidth_bytes_per_cycle=doubled(level.read_bandwidth_bytes_per_cycle),
                write_bandwidth_bytes_per_cycle=doubled(level.write_bandwidth_bytes_per_cycle),
                shared_bandwidth_bytes_per_cycle=doubled(level.shared_bandwidth_bytes_per_cycle),
            )
            for level in hardware.levels
        ),
    )
    again = evaluate_mappings(roomier, operator, [cost.details.mapping])[0]
    assert isinstance(again, Cost)
    assert again.latency_cycles <= cost.latency_cycles
    assert again.energy_pj <= cost.energy_pj * (1 + 1e-12)


@pytest.mark.parametrize("accelerator", catalog.names("spatial"))
@pytest.mark.parametrize("network", ZOO)
def test_properties(network: str, accelerator: str) -> None:
    result = _on(network, accelerator)
    hardware = catalog.load(accelerator)
    assert result.problems == []
    seen: set[Operator] = set()
    for layer in result.layers:
        cost, operator = layer.cost, layer.operator
        assert isinstance(cost, Cost)
        if operator in seen:
            continue
        seen.add(operator)
        assert cost.energy_pj > 0
        assert cost.energy_pj == pytest.approx(sum(cost.energy_breakdown_pj.values()), rel=1e-12)
        assert min(cost.energy_breakdown_pj.values()) >= 0
        if operator.passes:
            continue
        analysis: Analysis = cost.details
        # MACs are conserved, and no result beats the roofline of the array.
        assert analysis.used_macs * analysis.compute_cycles == operator.macs == cost.macs == cost.padded_macs
        assert cost.latency_cycles * hardware.macs >= operator.macs
        assert 0 < cost.utilisation <= 1
        # No result beats the compulsory traffic: every word that is touched crosses the outermost keeper once.
        compulsory_pj = operator.macs * hardware.compute.energy_pj
        for tensor in operator.tensors:
            level, counts = next(
                (level, counts)
                for level, counts in zip(hardware.levels, analysis.levels, strict=True)
                if counts.tensor(tensor.name).kept
            )
            moved = counts.tensor(tensor.name)
            words = moved.updates if tensor.role == "outputs" else moved.reads
            assert words * counts.instances >= operator.touched_words(tensor)
            compulsory_pj += (
                operator.touched_words(tensor) * hardware.compute.bits(tensor.role) * _energy_per_bit(level)
            )
            bandwidth = level.shared_bandwidth_bytes_per_cycle
            if bandwidth is not None:
                least = operator.touched_words(tensor) * hardware.compute.bits(tensor.role) / 8
                assert cost.latency_cycles * counts.instances * bandwidth >= least
        assert cost.energy_pj >= compulsory_pj * (1 - 1e-12)
        _check_bandwidths(hardware, operator, cost)
        _check_roomier_hardware(hardware, operator, cost)
    assert result.macs == ZOO[network].build().macs
    assert result.utilisation is not None
    assert 0 < result.utilisation <= 1
