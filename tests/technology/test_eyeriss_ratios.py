"""Eyeriss (65 nm): published energy ratios to a 16-bit MAC are RF 1, array 2, buffer 6, DRAM 200."""

import pytest

from accelerators.technology import dram, mac, sram, wire

MAC_PJ = mac("int16", "int16", "int32", 65).energy_pj


def test_mac():
    assert pytest.approx(1.73, abs=0.005) == MAC_PJ


@pytest.mark.parametrize(("cell", "ratio"), [("itrs-hp", 0.61), ("itrs-lstp", 0.77), ("itrs-lop", 0.38)])
def test_register_file_of_half_a_kilobyte(cell, ratio):
    assert sram(512, 16, 65, cell, monotone=False).read_energy_pj / MAC_PJ == pytest.approx(ratio, abs=0.01)


@pytest.mark.parametrize(("cell", "cacti_pj"), [("itrs-hp", 12.42), ("itrs-lstp", 13.57)])
def test_buffer_of_108_kilobytes(cell, cacti_pj):
    # Per 16-bit word of a 64-bit port. The reference is a CACTI run at this very size, off our grid.
    word_pj = sram(110592, 64, 65, cell).read_energy_pj / 4
    assert word_pj == pytest.approx(cacti_pj, rel=0.10)
    assert word_pj / MAC_PJ / 6 == pytest.approx(1.25, abs=0.1)


@pytest.mark.parametrize(("cell", "ratio"), [("itrs-hp", 15.03), ("itrs-lstp", 20.84)])
def test_a_narrow_port_on_one_macro_does_not_reproduce_it(cell, ratio):
    assert sram(110592, 16, 65, cell).read_energy_pj / MAC_PJ == pytest.approx(ratio, rel=0.25)


@pytest.mark.parametrize(("cell", "ratio"), [("itrs-hp", 0.76), ("itrs-lop", 0.50), ("itrs-lstp", 1.15)])
def test_wire_of_one_millimetre(cell, ratio):
    assert 16 * wire(65, cell).energy_pj_per_bit_mm / MAC_PJ == pytest.approx(ratio, abs=0.01)


@pytest.mark.parametrize(("kind", "ratio"), [("LPDDR4", 74), ("DDR3", 188), ("LPDDR", 370)])
def test_dram(kind, ratio):
    assert 16 * dram(kind).energy_pj_per_bit / MAC_PJ == pytest.approx(ratio, abs=1)


def test_order_within_the_stated_factor():
    # With a 64-bit buffer port and 20 pJ/bit DRAM the tables reproduce the published ratios within 0.6x to 1.3x.
    for cell in ("itrs-hp", "itrs-lstp"):
        found = (
            sram(512, 16, 65, cell).read_energy_pj / MAC_PJ / 1,
            sram(110592, 64, 65, cell).read_energy_pj / 4 / MAC_PJ / 6,
            16 * dram("DDR3").energy_pj_per_bit / MAC_PJ / 200,
        )
        assert all(0.6 < ratio < 1.4 for ratio in found)
