"""Flip-flops, and the choice between them and SRAM."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelerators.technology import TechnologyError, memory, registers, scale, sram


def test_the_law_at_its_home_node():
    cost = registers(64, 16, 40)
    assert cost.read_energy_pj == pytest.approx(16 * 0.009 * (1 + 0.25 * 5), rel=1e-4)
    assert cost.read_energy_pj == pytest.approx(0.32, abs=0.005)
    assert cost.write_energy_pj == pytest.approx(16 * 0.009, rel=1e-4)
    assert cost.area_mm2 == pytest.approx(512 * 5.98 * 1.3e-6, rel=1e-3)
    assert cost.leakage_mw == pytest.approx(512 * 0.074e-3, rel=2e-3)
    assert cost.access_ns is None
    assert cost.source.startswith("flip-flop law")


def test_one_word_and_fractions_of_a_byte():
    assert registers(1.5, 12, 40).read_energy_pj == registers(1.5, 12, 40).write_energy_pj
    assert registers(0.125, 1, 40).read_energy_pj == pytest.approx(0.009, rel=1e-3)


def test_scaled_with_the_node():
    here, there = registers(32, 16, 40), registers(32, 16, 16)
    assert there.read_energy_pj / here.read_energy_pj == pytest.approx(scale("energy", 40, 16))
    assert there.leakage_mw / here.leakage_mw == pytest.approx(scale("area", 40, 16))
    assert "Stillmaker" in there.source
    assert "4-8x" in registers(32, 16, 7).source


def test_continuous_with_sram_at_the_floor():
    # The published comparison: 0.32 pJ at 40 nm against CACTI's 0.15 (lop), 0.30 (hp), 0.33 (lstp) at 45 nm.
    law = registers(64, 16, 40).read_energy_pj
    for cell, cacti in (("itrs-lop", 0.15), ("itrs-hp", 0.30), ("itrs-lstp", 0.33)):
        assert sram(64, 16, 45, cell).read_energy_pj == pytest.approx(cacti, abs=0.005)
    assert 0.9 < law / sram(64, 16, 45, "itrs-hp").read_energy_pj < 1.12
    assert 0.9 < law / sram(64, 16, 45, "itrs-lstp").read_energy_pj < 1.12


@pytest.mark.parametrize("node", [22, 28, 32, 45, 65, 90])
@pytest.mark.parametrize("width", [8, 16, 32, 64, 128, 256, 512])
@pytest.mark.parametrize("cell", ["itrs-hp", "itrs-lstp"])
def test_step_at_the_floor_is_bounded(node, width, cell):
    floor = max(64, 4 * width)
    law, table = registers(floor, width, node), sram(floor, width, node, cell)
    assert 0.4 < law.read_energy_pj / table.read_energy_pj < 1.9
    assert 0.15 < law.write_energy_pj / table.write_energy_pj < 0.61
    assert 3 < law.area_mm2 / table.area_mm2 < 17


def test_memory_chooses_and_names_it():
    assert memory(64, 16, 45) == sram(64, 16, 45)
    assert memory(63, 16, 45) == registers(63, 16, 45)
    assert memory(128, 64, 45) == registers(128, 64, 45)
    assert memory(4096, 2048, 45) == registers(4096, 2048, 45)
    assert memory(2**20, 64, 28, "itrs-hp", banks=4) == sram(2**20, 64, 28, "itrs-hp", 4)
    assert "SRAM table" in memory(64, 16, 45).source
    assert "flip-flop law" in memory(32, 16, 45).source


@given(st.integers(1, 4096), st.floats(1, 256), st.floats(7, 180))
def test_registers_are_positive_and_finite(width, depth, node):
    cost = registers(depth * width / 8 if depth < 256 else 32 * width, width, node)
    for value in (cost.read_energy_pj, cost.write_energy_pj, cost.leakage_mw, cost.area_mm2):
        assert math.isfinite(value)
        assert value > 0
    assert cost.read_energy_pj >= cost.write_energy_pj


@given(st.integers(1, 512), st.floats(1, 128), st.floats(1, 2), st.floats(7, 180))
def test_deeper_costs_more_to_read_and_the_same_to_write(width, depth, growth, node):
    small, large = registers(depth * width / 8, width, node), registers(depth * growth * width / 8, width, node)
    assert large.read_energy_pj >= small.read_energy_pj * (1 - 1e-12)
    assert large.write_energy_pj == small.write_energy_pj
    assert large.area_mm2 >= small.area_mm2


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (registers, (1, 16, 45), r"capacity_bytes: must be between 2 and 512 bytes \(1 to 256 words of 16 bit"),
        (registers, (513, 16, 45), "deeper storage is SRAM"),
        (registers, (64, 0, 45), "width_bits: must be at least 1 bit"),
        (registers, (64, 16, 3), "node_nm"),
        (memory, (60, 1, 45), "capacity_bytes: must be between 0.125 and 32 bytes"),
        (memory, (4096, 4, 45), "width_bits: must be between 8 and 512 bit for SRAM"),
        (memory, (2**20, 1024, 45), "width_bits"),
        (memory, (32, 16, 45, "sram"), "cell"),
        (memory, (64, 16, 45, "itrs-hp", 2), "flip-flops have no banks"),
        (memory, (math.inf, 16, 45), "bytes for a bank of SRAM"),
        (memory, (-1, 16, 45), "capacity_bytes"),
    ],
)
def test_errors_say_what_is_covered(function, arguments, message):
    with pytest.raises(TechnologyError, match=message):
        function(*arguments)
