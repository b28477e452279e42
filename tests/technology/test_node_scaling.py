"""Node factors of logic, wires, off-chip memories."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelerators.technology import TechnologyError, dram, dram_kinds, scale, wire
from accelerators.technology.wires import CELLS

NODES = (180, 130, 90, 65, 45, 32, 20, 16, 14, 10, 7)
FACTORS = {
    "energy": (30.6, 7.32, 3.73, 1.95, 1, 0.531, 0.233, 0.161, 0.112, 0.082, 0.056),
    "delay": (6.32, 2.56, 1.89, 1.53, 1, 0.669, 0.757, 0.512, 0.361, 0.307, 0.259),
    "area": (19, 6.4, 2.8, 1.5, 1, 0.46, 0.21, 0.19, 0.17, 0.1, 0.059),
}
nodes = st.floats(7, 180)


@pytest.mark.parametrize("quantity", FACTORS)
def test_factors_relative_to_45_nm(quantity):
    for node, factor in zip(NODES, FACTORS[quantity], strict=True):
        assert scale(quantity, 45, node) == pytest.approx(factor, rel=1e-2)


@given(st.sampled_from(sorted(FACTORS)), nodes, nodes, nodes)
def test_factors_chain(quantity, a, b, c):
    assert scale(quantity, a, b) * scale(quantity, b, c) == pytest.approx(scale(quantity, a, c))
    assert scale(quantity, a, a) == 1


@given(st.sampled_from(["energy", "area"]), nodes, nodes)
def test_newer_nodes_are_cheaper(quantity, one, other):
    new, old = sorted((one, other))
    assert scale(quantity, old, new) <= 1


def test_between_nodes_log_log():
    share = math.log(28 / 20) / math.log(32 / 20)
    expected = scale("energy", 45, 20) ** (1 - share) * scale("energy", 45, 32) ** share
    assert scale("energy", 45, 28) == pytest.approx(expected)


@pytest.mark.parametrize(
    "arguments", [("leakage", 45, 28), ("energy", 45, 5), ("energy", 250, 45), ("area", 45, math.nan)]
)
def test_scale_errors(arguments):
    with pytest.raises(TechnologyError, match=r"must be .* \(got"):
        scale(*arguments)


@pytest.mark.parametrize(
    ("node", "full_charges"),
    [
        (22, (0.156, 0.104, 0.187)),
        (32, (0.197, 0.100, 0.293)),
        (45, (0.249, 0.143, 0.376)),
        (65, (0.330, 0.215, 0.498)),
        (90, (0.420, 0.317, 0.625)),
    ],
)
def test_wire_is_a_quarter_of_a_full_charge(node, full_charges):
    for cell, full in zip(CELLS, full_charges, strict=True):
        assert wire(node, cell).energy_pj_per_bit_mm == pytest.approx(full / 4, rel=6e-3)


def test_wire_outside_the_table_goes_with_the_supply_squared():
    assert wire(180).energy_pj_per_bit_mm / wire(90).energy_pj_per_bit_mm == pytest.approx((1.8 / 1.2) ** 2)
    assert wire(7).energy_pj_per_bit_mm / wire(22).energy_pj_per_bit_mm == pytest.approx((0.7 / 0.9) ** 2)
    assert "supply" in wire(7).source
    assert "between 22 and 32 nm" in wire(28).source


@given(st.floats(7, 180), st.sampled_from(CELLS))
def test_wires_are_positive_and_finite(node, cell):
    assert 0.005 < wire(node, cell).energy_pj_per_bit_mm < 0.5


def test_wire_errors():
    with pytest.raises(TechnologyError, match="node_nm"):
        wire(5)
    with pytest.raises(TechnologyError, match="itrs-hp, itrs-lop, itrs-lstp"):
        wire(45, "hp")


def test_every_kind_of_dram_has_one_value_and_a_source():
    assert dram() == dram("LPDDR4")
    assert dram().energy_pj_per_bit == 8
    for kind in dram_kinds():
        cost = dram(kind)
        assert 1 < cost.energy_pj_per_bit < 100
        assert cost.source
        assert all(pj != cost.energy_pj_per_bit and source for pj, source in cost.alternatives)
    assert 70 in [pj for pj, _ in dram("DDR3").alternatives]


@pytest.mark.parametrize("kind", ["DDR9", "lpddr4", "", None])
def test_unknown_dram(kind):
    with pytest.raises(TechnologyError, match=r"kind: must be one of LPDDR4, .*HBM2.*got"):
        dram(kind)
