"""Gates, values, converters and arrays by themselves: closed forms, and what must grow with what."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from itertools import product as pairs

import numpy as np
import pytest
from designs import CHARGE, adders, analog
from hypothesis import given, settings
from hypothesis import strategies as st

from accelerators.crossbar import area, arrays
from accelerators.crossbar.arrays import Usage, digital
from accelerators.crossbar.converters import Converter, Fixed, Integrating, Readout, SramAimc, Survey
from accelerators.crossbar.crossbar import SelectLine, Tree
from accelerators.crossbar.gates import FLIP_FLOP, FULL_ADDER, HALF_ADDER, adder_tree, gates, ripple_gates
from accelerators.crossbar.values import Values, input_means, probabilities, weight_level

# ------------------------------------------------------------------------------------------------------------- gates


def test_the_gate_is_the_published_one() -> None:
    gate = gates(28, 0.9)
    assert gate.area_um2 == 0.614
    assert gate.delay_s == pytest.approx(47.8e-12)
    assert gate.energy_pj == pytest.approx(0.7e-3 * 0.81)
    # 22 nm chips are scaled linearly in area and capacitance, not in delay.
    small = gates(22, 0.9)
    assert small.area_um2 == pytest.approx(0.614 * 22 / 28)
    assert small.energy_pj == pytest.approx(gate.energy_pj * 22 / 28)
    assert small.delay_s == gate.delay_s


def test_a_tree_of_four_numbers_of_two_bits_by_hand() -> None:
    # Two adders of two bits (a full adder and a half adder each), then one of three bits.
    tree = adder_tree(4, 2, 0.0)
    assert tree.area == pytest.approx(2 * (FULL_ADDER[0] + HALF_ADDER[0]) + 2 * FULL_ADDER[0] + HALF_ADDER[0])
    assert (tree.depth, tree.width, tree.switched) == (2, 4, 0)


@given(st.integers(1, 200), st.integers(1, 10))
def test_a_tree_has_an_adder_less_than_operands_and_room_for_the_sum(operands: int, bits: int) -> None:
    tree = adder_tree(operands, bits, 0.25)
    if bits == 1 and operands > 1:
        half = operands - 1
        assert tree.area >= half * HALF_ADDER[0]
    assert operands * (2**bits - 1) < 2**tree.width
    assert tree.depth == math.ceil(math.log2(operands))


@given(st.integers(2, 64), st.floats(0.01, 0.5))
def test_bits_of_sums_change_more_often(operands: int, toggle: float) -> None:
    tree = adder_tree(operands, 1, toggle)
    assert toggle <= tree.toggle <= 0.5 + 1e-12


def test_carries_ripple_once_through_a_row_of_adders() -> None:
    # Brute force: arrival of every bit of the sums, adder by adder; bit i of a level waits for its operands and carry.
    for depth, bits in pairs((1, 2, 3, 5), (1, 4, 8)):
        arrival = np.zeros(bits)
        for _ in range(depth):
            width = len(arrival) + 1
            ready = np.append(arrival, arrival[-1])
            carry = 0.0
            out = np.zeros(width)
            for i in range(width):
                out[i] = max(ready[i] + 4.8, carry + 2.4)
                carry = max(ready[i] + 4.4, carry + 2.0)
            arrival = out
        final = depth + bits
        # The closed form takes the carry out of the last bit; it is never earlier than the slowest sum less an XOR.
        assert ripple_gates(depth, final) >= arrival.max() - 2.4


# ------------------------------------------------------------------------------------------------------------ values


def test_means_of_uniform_values() -> None:
    means = input_means(Values("uniform", "uniform"), 4, 4, False)
    levels = np.arange(16) / 15
    assert means.level == pytest.approx(levels.mean())
    assert means.square == pytest.approx((levels**2).mean())
    assert means.nonzero == pytest.approx(15 / 16)
    assert means.toggle == pytest.approx(0.5)
    assert weight_level(Values("uniform", "uniform"), 8, 1, False) == pytest.approx(0.5)


def test_half_of_rectified_inputs_are_zero() -> None:
    known = probabilities("rectified_normal", 8, False)
    assert known[0] == pytest.approx(0.5)
    assert known.sum() == pytest.approx(1)


@given(st.lists(st.floats(0, 1), min_size=16, max_size=16).filter(lambda v: sum(v) > 0.1), st.sampled_from([1, 2, 4]))
def test_histograms_give_the_means_of_a_count(frequencies: list[float], per_cycle: int) -> None:
    means = input_means(Values(tuple(frequencies), "uniform"), 4, per_cycle, False)
    parts = 4 // per_cycle
    level = sum(
        weight * ((code >> (per_cycle * part)) & (2**per_cycle - 1)) / (2**per_cycle - 1)
        for code, weight in enumerate(frequencies)
        for part in range(parts)
    )
    assert means.level == pytest.approx(level / parts / sum(frequencies))


def test_a_pair_has_one_cell_at_its_lowest_level() -> None:
    # Of two-bit weights -2..1 the magnitude saturates at one: three of four are one.
    assert weight_level(Values("uniform", "uniform"), 2, 1, True) == pytest.approx(3 / 4 / 2)


def test_histograms_of_the_wrong_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one frequency per code, 16 for 4 bit \(got 3\)"):
        probabilities((1.0, 1.0, 1.0), 4, False)


# -------------------------------------------------------------------------------------------------------- converters


def readout(bits: int, **more: float) -> Readout:
    return replace(Readout(bits, 8, 1, 256, 28.0, 0.9), **more)


def test_the_survey_at_the_figures_of_its_fit() -> None:
    for bits, energy in ((8, 0.047), (4, 0.00019)):
        each = Survey(1e8).conversions(readout(bits))[0]
        assert each.energy_pj == pytest.approx(energy, rel=0.03)
    assert Survey(1e8, factor=3.5, floor_pj_per_bit=0.1).conversions(readout(8))[0].energy_pj == pytest.approx(0.8)


def test_the_fit_to_sram_macros_at_eight_bits() -> None:
    (each, *_) = SramAimc().conversions(readout(8))
    assert each.energy_pj == pytest.approx(0.70, abs=0.005)
    assert each.time_s == pytest.approx(8 * (0.00653 * 256 + 0.64) * 1e-9)
    assert SramAimc().area_mm2(readout(8)) == pytest.approx(2.09e-3, rel=0.005)
    assert SramAimc().area_mm2(readout(1)) == 0
    half = SramAimc(by_density=True).conversions(readout(8, density=0.5))[0]
    assert half.energy_pj == pytest.approx(each.energy_pj / 2)


def test_models_differ_by_more_than_ten_times() -> None:
    bound, fit = Survey(1e8).conversions(readout(8))[0], SramAimc().conversions(readout(8))[0]
    assert fit.energy_pj > 10 * bound.energy_pj


def test_an_integrating_neuron_by_hand() -> None:
    neuron = Integrating((1.2, 3e-7), (0.25, 2.7e-7), (0.3, 3e-7), 0.1, 1270.0, 8, 3)
    # Seven bits in phases of four and three: 15 + 7 integrations, 10 + 6 steps.
    phases = neuron.conversions(readout(10, input_bits=7))
    assert [each.input_bits for each in phases] == [4, 3]
    assert sum(each.time_s for each in phases) == pytest.approx((2 * 0.3 + 22 * 0.27 + 16 * 0.3) * 1e-6)
    energy = 7 * 1.2 + 22 * 0.25 + 16 * (0.3 + 0.1 * 4)
    assert sum(each.energy_pj for each in phases) == pytest.approx(energy)
    assert len(neuron.conversions(readout(4, input_bits=3))) == 1


CONVERTERS: list[Converter] = [
    Survey(1e9, floor_pj_per_bit=0.01),
    SramAimc(),
    SramAimc(by_density=True),
    Fixed(1.5, 1e-9, 1200.0, 8),
    Integrating((1.2, 3e-7), (0.25, 2.7e-7), (0.3, 3e-7), 0.1, 1270.0, 8, 3),
]


@pytest.mark.parametrize("converter", CONVERTERS, ids=lambda converter: type(converter).__name__)
def test_energy_grows_with_the_bits_and_cycles_add_up(converter: Converter) -> None:
    energies = []
    for bits in range(1, 13):
        phases = converter.conversions(readout(bits))
        assert sum(each.input_bits for each in phases) == 8
        assert all(each.time_s > 0 for each in phases)
        assert converter.area_mm2(readout(bits)) >= 0
        energies.append(sum(each.energy_pj for each in phases))
        chip = analog(converter=converter, adc_bits=bits, input_bits=8)
        assert sum(arrays.product(chip, area.full(chip)).energy_pj.values()) > energies[-1]
    assert all(a < b for a, b in pairwise(energies))
    assert converter.text


# ------------------------------------------------------------------------------------------------------------ arrays


def test_a_product_by_hand() -> None:
    chip = analog(accumulates=False)
    found = arrays.product(chip, Usage(16, 16, 256))
    # One bit each, half of inputs and of weights being one: mean V^2 and mean conductance over 256 cells for 10 ns.
    assert found.energy_pj["cells"] == pytest.approx(256 * 0.5 * 0.04 * (1 + 19 * 0.5) * 10e-9 * 1e6)
    assert found.energy_pj["ADC"] == pytest.approx(16 * 2.0)
    register = 4 * 47.8e-12
    settle = found.interval_s - register - 10e-9
    assert 0 < settle < 1e-9
    assert found.bottleneck == "reading"


def test_converters_take_columns_in_turn() -> None:
    shared = analog(columns_per_adc=8)
    assert shared.adcs == 2
    whole = arrays.product(shared, Usage(16, 16, 256))
    register = 4 * 47.8e-12
    assert whole.interval_s == pytest.approx(8 * 5e-9 + register)
    assert whole.bottleneck == "ADC"
    # Four columns lie on two converters: two turns.
    part = arrays.product(shared, Usage(16, 4, 64))
    assert part.interval_s < whole.interval_s
    waiting = arrays.product(replace(shared, sample_and_hold=False), Usage(16, 16, 256))
    assert waiting.interval_s == pytest.approx(whole.interval_s + 10e-9, rel=0.02)
    assert waiting.energy_pj["ADC"] == whole.energy_pj["ADC"]


def test_rows_that_cannot_be_read_at_once_take_turns() -> None:
    chip = analog()
    parts = replace(chip, active_rows=4)
    whole, turns = (arrays.product(each, Usage(16, 16, 256)) for each in (chip, parts))
    assert turns.interval_s == pytest.approx(4 * whole.interval_s)
    assert turns.energy_pj["ADC"] == pytest.approx(4 * whole.energy_pj["ADC"])
    assert turns.energy_pj["cells"] == pytest.approx(whole.energy_pj["cells"])


def test_pulse_widths_count_linearly_voltages_squared() -> None:
    chip = analog(input_bits=4, bits_per_cycle=4)
    by_width = replace(chip, coding="pulse_width")
    levels = np.arange(16)
    volts, widths = (arrays.product(each, area.full(each)).energy_pj["cells"] for each in (chip, by_width))
    assert widths / volts == pytest.approx(levels.mean() / ((levels / 15) ** 2).mean())


def test_blank_cells_conduct() -> None:
    chip = analog()
    full, diagonal = (arrays.product(chip, Usage(16, 16, n)).energy_pj["cells"] for n in (256, 16))
    assert diagonal < full
    assert diagonal == pytest.approx(full * (16 * 10.5 + 240 * 1.0) / (256 * 10.5))


def test_lines_that_select_switch_in_every_cycle() -> None:
    chip = analog(input_bits=4)
    line = replace(chip, cell=replace(chip.cell, select=SelectLine(2.0, 48.0, 1.8)))
    plain, more = (arrays.product(each, area.full(each)).energy_pj["lines"] for each in (chip, line))
    assert more - plain == pytest.approx(4 * 16 * (16 * 2.0 + 48.0) * 1.8**2 * 1e-3)


def test_lossless_bits() -> None:
    chip = analog(weight_bits=8, input_bits=8)
    assert chip.lossless_bits(128) == 8  # 0..128
    assert chip.lossless_bits(127) == 7
    assert replace(chip, flipped_columns=True).lossless_bits(128) == 7
    assert replace(chip, signed="pair_columns").lossless_bits(127) == 8
    assert replace(chip, cell_bits=2, bits_per_cycle=2).lossless_bits(128) == math.ceil(math.log2(128 * 9 + 1))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 16), st.integers(1, 16), st.sampled_from([1, 2, 4, 8]), st.sampled_from(["offset", "pair_rows"]))
def test_using_less_of_an_array_never_takes_more(rows: int, columns: int, turns: int, signed: str) -> None:
    chip = analog(weight_bits=2, columns_per_adc=turns, signed=signed)
    limit = area.full(chip)
    used = Usage(min(rows, limit.rows), min(columns, limit.columns), 0)
    used = replace(used, weights=used.rows * used.columns)
    part, whole = arrays.product(chip, used), arrays.product(chip, limit)
    assert part.interval_s <= whole.interval_s * (1 + 1e-12)
    for name, energy in part.energy_pj.items():
        assert 0 <= energy <= whole.energy_pj[name] * (1 + 1e-12)


@pytest.mark.parametrize("tree", [Tree(), Tree(by_columns=True), Tree(accumulate_first=True), Tree(pipelined=True)])
def test_digital_arrays(tree: Tree) -> None:
    chip = adders(tree=tree)
    full = area.full(chip)
    assert full == Usage(16, 2, 32)
    found = arrays.product(chip, full)
    assert found.interval_s == pytest.approx(8 * digital.period_s(chip))
    half = arrays.product(chip, Usage(16, 1, 16))
    assert sum(half.energy_pj.values()) == pytest.approx(sum(found.energy_pj.values()) / 2)
    assert all(mm2 > 0 for mm2 in arrays.area_mm2(chip).values())
    clocked = replace(chip, clock_hz=1e8)
    assert arrays.product(clocked, full).interval_s == pytest.approx(80e-9)
    if tree.pipelined:
        assert digital.period_s(chip) < digital.period_s(adders())


def test_booth_digits_halve_the_cycles() -> None:
    booth = adders(tree=Tree(booth=True), bits_per_cycle=2)
    assert booth.reads == 4
    assert not booth.problems
    plain = adders(bits_per_cycle=2)
    # One tree over nine bits instead of two over eight.
    assert arrays.area_mm2(booth)["adder trees"] < arrays.area_mm2(plain)["adder trees"]


def test_the_adders_of_an_array_by_hand() -> None:
    chip = adders()
    gate = gates(28, 0.9)
    tree = adder_tree(16, 8, 0.25)
    parts = arrays.area_mm2(chip)
    assert parts["adder trees"] == pytest.approx(2 * tree.area * gate.area_um2 * 1e-6)
    assert parts["multipliers"] == pytest.approx(16 * 16 * gate.area_um2 * 1e-6)
    assert chip.result_bits == 8 + 8 + 4
    accumulators = 2 * 20 * (FULL_ADDER[0] + FLIP_FLOP[0])
    assert parts["accumulators"] == pytest.approx(accumulators * gate.area_um2 * 1e-6)


def test_charge_cells_take_more_the_more_their_values_change() -> None:
    quiet = analog(cell=CHARGE, values=Values(toggle_rate=0.1, weight_density=0.5))
    busy = replace(quiet, values=Values(toggle_rate=0.5, weight_density=0.5))
    energies = [arrays.product(each, area.full(each)).energy_pj["cells"] for each in (quiet, busy)]
    assert energies[0] < energies[1]
