"""Precision-scalable MACs: what narrower operands take, what they do not change, and datasheets that contradict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from accelerators import catalog, technology
from accelerators.costs import Cost, Infeasible
from accelerators.documents import DocumentError
from accelerators.operators import Operator, elementwise, matmul
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.spatial.streaming import stream
from mappers import map_operator

SHEET = """\
name: scalable
node: 45 nm
clock: 200 MHz
compute: {{type: {type}, accumulator: int32{more}}}
levels:
  - {{name: DRAM, memory: dram, width: 64, bandwidth: 8 B/cycle}}
  - {{name: glb, memory: sram, capacity: 16 KiB, width: 64, fanout: {{x: {{size: 8, unroll: [K]}}}}}}
"""
SCALABLE = ", scalable: {types: [int2, int4], energy_factor: 1.25, area_factor: 1.5}"
LAYER = matmul(P=8, K=16, C=16)


def design(more: str = SCALABLE, kind: str = "int8") -> SpatialAccelerator:
    found = catalog.from_text(SHEET.format(type=kind, more=more))
    assert isinstance(found, SpatialAccelerator)
    return found


def mapped(accelerator: SpatialAccelerator, operator: Operator) -> Cost:
    found = map_operator(accelerator, operator)
    assert not isinstance(found, Infeasible)
    return found.cost


@pytest.mark.parametrize(
    ("weights", "inputs", "mode"),
    [
        (8, 8, ("int8", "int8")),
        (8, 5, ("int8", "int8")),
        (4, 8, ("int4", "int8")),
        (3, 3, ("int4", "int4")),
        (2, 8, ("int2", "int8")),
        (1, 1, ("int2", "int2")),
    ],
)
def test_a_mac_takes_what_its_mode_takes(weights: int, inputs: int, mode: tuple[str, str]) -> None:
    """The energy of a unit of the mode's widths, times what being scalable costs at all widths."""
    cost = mapped(design(), LAYER.with_bits(weights=weights, inputs=inputs, outputs=8))
    expected = 1.25 * technology.mac(*mode, "int32", 45.0).energy_pj
    assert cost.energy_breakdown_pj["MAC"] == pytest.approx(LAYER.macs * expected)


def test_a_fixed_unit_gains_nothing_but_traffic() -> None:
    wide, narrow = (mapped(design(""), LAYER.with_bits(weights=b, inputs=8, outputs=8)) for b in (8, 4))
    assert wide.energy_breakdown_pj["MAC"] == narrow.energy_breakdown_pj["MAC"]
    assert narrow.energy_breakdown_pj["DRAM"] < wide.energy_breakdown_pj["DRAM"]


def test_what_being_scalable_costs() -> None:
    plain, scalable = design(""), design()
    assert scalable.compute.energy_pj == pytest.approx(1.25 * plain.compute.energy_pj)
    assert scalable.compute.area_mm2 == pytest.approx(1.5 * plain.compute.area_mm2)
    assert scalable.compute.leakage_mw == pytest.approx(1.5 * plain.compute.leakage_mw)
    assert scalable.compute.add_energy_pj == plain.compute.add_energy_pj
    # A MAC per cycle in every mode: only bandwidth makes few bits faster.
    lone = replace(plain, levels=(replace(plain.levels[0], shared_bandwidth_bytes_per_cycle=None), *plain.levels[1:]))
    found = {mapped(lone, LAYER.with_bits(weights=b, inputs=b, outputs=b)).latency_cycles for b in (2, 4, 8)}
    assert found == {LAYER.macs // 8}
    slow, fast = (mapped(plain, LAYER.with_bits(weights=b, inputs=b, outputs=b)).latency_cycles for b in (8, 2))
    assert fast <= slow


def test_stated_energies_are_shared_out_by_the_same_law() -> None:
    found = design(", energy: 2 pJ, area: 0.01, leakage: 0 mW, scalable: {types: [int4]}").compute
    law = [technology.mac(*[kind] * 2, "int32", 45.0).energy_pj for kind in ("int4", "int8")]
    assert found.mac_energy_pj(8, 8) == 2.0
    assert found.mac_energy_pj(4, 4) == pytest.approx(2.0 * law[0] / law[1])
    assert [(mode.weight_bits, mode.input_bits) for mode in found.modes] == [(8, 8), (8, 4), (4, 8), (4, 4)]


def test_elementwise_operations_are_as_wide_as_their_widest_tensor() -> None:
    accelerator = design()
    for bits in (2, 4, 8):
        cost = stream(accelerator, elementwise(64).with_bits(inputs=bits, outputs=bits))
        assert isinstance(cost, Cost)
        assert cost.energy_breakdown_pj["MAC"] == 64 * accelerator.compute.mac_energy_pj(bits, bits)
    mixed = stream(accelerator, elementwise(64).with_bits(inputs=2, outputs=8))
    assert isinstance(mixed, Cost)
    assert mixed.energy_breakdown_pj["MAC"] == 64 * accelerator.compute.energy_pj


def test_more_bits_than_the_unit_has_are_infeasible() -> None:
    """Whatever it scales down to."""
    for accelerator in (
        design("", "int4"),
        design(", scalable: {types: [int2], energy_factor: 1, area_factor: 1}", "int4"),
    ):
        found = map_operator(accelerator, LAYER.with_bits(weights=4, inputs=8, outputs=8))
        assert isinstance(found, Infeasible)
        assert (found.code, found.message) == ("precision", "inputs has 8 bits, scalable computes 4")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (", scalable: {types: [int4]}", "compute.scalable.energy_factor: is required, as energy is 'from technology'"),
        (", scalable: {types: [int4]}", "compute.scalable.area_factor: is required, as area is 'from technology'"),
        (", energy: 1 pJ" + SCALABLE, "compute.scalable.energy_factor: belongs to an energy 'from technology'"),
        (SCALABLE.replace("int4", "int8"), "must be an integer narrower than the unit's 8 bits (got int8)"),
        (SCALABLE.replace("int4", "fp8_e4m3"), "must be an integer narrower than the unit's 8 bits (got fp8_e4m3)"),
        (SCALABLE.replace("int4", "int2"), "entries must differ (got int2 twice)"),
        (SCALABLE.replace("1.25", "0.5"), "compute.scalable.energy_factor: must be"),
        (", scalable: {types: [], energy_factor: 1, area_factor: 1}", "compute.scalable.types: must"),
    ],
)
def test_contradictions_are_named(more: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        design(more)
    assert message in str(caught.value)
