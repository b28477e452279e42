"""Closed forms: small mappings whose counts and costs fit on a line of arithmetic."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from accelerators.costs import Cost, Infeasible, InfeasibleError
from accelerators.operators import Operator, Tensor, conv2d, elementwise, matmul
from accelerators.spatial.architecture import Axis, Compute, Level, SpatialAccelerator
from accelerators.spatial.mapping import Mapping, MappingError
from accelerators.spatial.model import LevelCounts, Problem, evaluate

ALL = "[weights inputs outputs]"
CONV = conv2d(K=1, C=1, P=16, Q=1, R=3, S=1)
MAC = Compute(energy_pj=1.0)


def memory(name: str, energy_pj: float = 0.0, **more: Any) -> Level:
    return Level(name, read_energy_pj=energy_pj, fill_energy_pj=energy_pj, update_energy_pj=energy_pj, **more)


DRAM, BUFFER = memory("DRAM", 200.0), memory("BUF", 6.0)
SIMPLE = SpatialAccelerator("simple", (DRAM, BUFFER), MAC, clock_hz=1e9)
ARRAY = SpatialAccelerator(
    "array", (DRAM, memory("GLB", 6.0, fanout=(Axis("x", 4),)), memory("RF", 1.0)), MAC, clock_hz=1e9
)


def cost(accelerator: SpatialAccelerator, operator: Operator, *lines: str) -> Cost:
    (found,) = evaluate(accelerator, operator, [Mapping.parse("\n".join(lines))])
    assert isinstance(found, Cost), found
    return found


def level(found: Cost, name: str) -> LevelCounts:
    return next(counts for counts in found.details.levels if counts.level == name)


def rfu(found: Cost, name: str, tensor: str) -> tuple[int, int, int]:
    """Reads, fills and updates."""
    counts = level(found, name).tensor(tensor)
    return counts.reads, counts.fills, counts.updates


# --- the worked examples: a convolution of 16 outputs and 3 taps ------------------------------------------------------


@pytest.mark.parametrize("lines", [(f"DRAM {ALL}", f"BUF {ALL} P=16 R=3"), (f"DRAM {ALL} P=16", f"BUF {ALL} R=3")])
def test_compulsory_traffic(lines: tuple[str, str]) -> None:
    found = cost(SIMPLE, CONV, *lines)
    assert [rfu(found, "DRAM", t) for t in ("weights", "inputs", "outputs")] == [(3, 0, 0), (18, 0, 0), (0, 0, 16)]
    assert [rfu(found, "BUF", t) for t in ("weights", "inputs", "outputs")] == [(48, 3, 0), (48, 18, 0), (32, 0, 48)]
    assert found.energy_pj == 200 * (3 + 18 + 16) + 6 * (48 + 3 + 48 + 18 + 32 + 48) + 48 == 8630
    assert found.latency_cycles == 48
    assert found.utilisation == 1.0
    assert found.bottleneck == "compute"


def test_neighbours_share_weights_but_not_halos() -> None:
    found = cost(ARRAY, CONV, f"DRAM {ALL}", f"GLB {ALL} P=4 x: P=4", f"RF {ALL} R=3")
    glb = level(found, "GLB")
    assert glb.tensor("inputs").tile_words == 18
    assert rfu(found, "GLB", "inputs")[0] == 4 * 4 * 3
    assert glb.tensor("inputs").multicast == {1: 48}
    assert glb.tensor("weights").multicast == {4: 3}
    assert rfu(found, "GLB", "weights")[0] == 3
    assert rfu(found, "RF", "weights") == (12, 3, 0)
    assert rfu(found, "GLB", "outputs")[2] == 16
    assert level(found, "RF").tensor("outputs").partition_words == 4
    assert rfu(found, "RF", "outputs") == (8, 0, 12)


def test_outer_reduction_spills_partial_sums() -> None:
    found = cost(SIMPLE, CONV, f"DRAM {ALL} R=3 P=16", f"BUF {ALL}")
    assert rfu(found, "DRAM", "outputs") == (32, 0, 48)
    assert rfu(found, "BUF", "outputs") == (32, 32, 48)
    assert rfu(found, "DRAM", "inputs")[0] == 48


def test_each_output_fetches_its_window_anew() -> None:
    found = cost(SIMPLE, CONV, f"DRAM {ALL} P=16 R=3", f"BUF {ALL}")
    assert rfu(found, "DRAM", "inputs")[0] == 48
    assert rfu(found, "DRAM", "weights")[0] == 48


def test_reduction_in_the_array() -> None:
    found = cost(ARRAY, CONV, f"DRAM {ALL}", f"GLB {ALL} P=16 x: R=3", f"RF {ALL}")
    outputs = level(found, "GLB").tensor("outputs")
    assert outputs.multicast == {3: 16}
    assert outputs.updates == 16
    assert level(found, "RF").tensor("outputs").partition_words == 16
    assert rfu(found, "RF", "outputs") == (0, 0, 16)
    assert rfu(found, "GLB", "inputs")[0] == 48


def test_bandwidth_throttles() -> None:
    """4608 words read and 2304 written in 1152 cycles through a port of two words of 16 bits."""
    levels = (DRAM, memory("BUF", fanout=(Axis("x", 2), Axis("y", 2)), read_bandwidth_bytes_per_cycle=4.0))
    lines = ("DRAM [inputs]", "BUF [weights outputs] P=1152 x: K=2 y: C=2")
    found = cost(replace(SIMPLE, levels=levels), matmul(P=1152, K=2, C=2), *lines)
    assert found.details.compute_cycles == 1152
    assert rfu(found, "BUF", "weights") == (4608, 0, 0)
    assert rfu(found, "BUF", "outputs") == (0, 0, 2304)
    assert found.latency_cycles == level(found, "BUF").latency_cycles == 2304
    assert found.bottleneck == "BUF bandwidth"
    assert found.utilisation == 0.5


def test_a_diagonal_mixes_multicasts() -> None:
    """Outputs p = 0..2 over taps r = 0..1: inputs p + r are wanted by one, two, two and one MACs."""
    levels = (DRAM, memory("BUF", fanout=(Axis("x", 3), Axis("y", 2))))
    lines = (f"DRAM {ALL}", f"BUF {ALL} x: P=3 y: R=2")
    found = cost(replace(SIMPLE, levels=levels), conv2d(K=1, C=1, P=3, Q=1, R=2, S=1), *lines)
    assert level(found, "BUF").tensor("inputs").multicast == {1: 2, 2: 2}
    assert rfu(found, "BUF", "inputs")[0] == 4


def test_hops_of_one_row_per_word() -> None:
    """On a 4 x 4 array a broadcast runs along 4 columns, and up and down 1.5 rows in each."""
    levels = (DRAM, memory("BUF", fanout=(Axis("x", 4), Axis("y", 4))))
    found = cost(replace(SIMPLE, levels=levels), matmul(P=16, K=1, C=1), f"DRAM {ALL}", f"BUF {ALL} x: P=4 y: P=4")
    assert level(found, "BUF").tensor("weights").hops == 3 + 4 * (1.5 + 1.5)


# --- widths -----------------------------------------------------------------------------------------------------------

NARROW = Compute(energy_pj=0.0, weight_bits=4, input_bits=8, output_bits=8, accumulator_bits=32)


def test_words_share_an_access_or_need_several() -> None:
    """Through 16 bits: 4 words of 4 bits at once, 2 of 8; a partial sum of 32 bits takes two accesses."""
    levels = (memory("DRAM", 1.0, width_bits=16), memory("BUF", 0.0))
    found = cost(
        replace(SIMPLE, levels=levels, compute=NARROW),
        matmul(P=3, K=3, C=2),
        f"DRAM {ALL} C=2 P=3 K=3",
        f"BUF {ALL}",
    )
    dram = level(found, "DRAM")
    assert (dram.tensor("weights").reads, dram.tensor("weights").energy_pj) == (18, math.ceil(18 / 4))
    assert (dram.tensor("inputs").reads, dram.tensor("inputs").energy_pj) == (6, 3)
    # 18 updates, of which the last 9 are outputs; the first 9 are read once more as partial sums.
    assert (dram.tensor("outputs").reads, dram.tensor("outputs").updates) == (9, 18)
    assert dram.tensor("outputs").energy_pj == 2 * 9 + 2 * 9 + math.ceil(9 / 2)


def test_partial_sums_need_the_accumulators_width() -> None:
    """3 outputs of 32 bits, 6 inputs of 8 and 2 weights of 4 while C is not done; 3 of 8 bits when it is inside."""
    operator = matmul(P=3, K=1, C=2)
    whole = 3 * 32 + 6 * 8 + 2 * 4
    levels = (memory("DRAM", capacity_bytes=(whole - 1) / 8), memory("BUF"))
    accelerator = replace(SIMPLE, levels=levels, compute=NARROW)
    (refused,) = evaluate(accelerator, operator, [Mapping.parse(f"DRAM {ALL} P=3 C=2\nBUF {ALL}")])
    assert isinstance(refused, Infeasible)
    assert refused.code == "capacity"
    assert refused.facts == {"level": "DRAM", "bits_short": 1, "words_short": 1}
    assert cost(accelerator, operator, f"DRAM {ALL} P=3", f"BUF {ALL} C=2").details.compute_cycles == 6


def test_partial_sums_are_wide_where_they_are_accumulated() -> None:
    """A level that bypasses the outputs accumulates nothing: its loop over C does so in the level above.

    Of the two updates of the one output, the first stores a partial sum of 32 bits (two accesses), the second the
    output of 8; in between the partial sum is read.
    """
    levels = (memory("DRAM", 1.0, width_bits=16), memory("BUF", 0.0))
    accelerator = replace(SIMPLE, levels=levels, compute=NARROW)
    found = cost(accelerator, matmul(P=1, K=1, C=2), "DRAM [outputs]", "BUF [weights inputs] C=2")
    assert rfu(found, "DRAM", "outputs") == (1, 0, 2)
    assert level(found, "DRAM").tensor("outputs").energy_pj == 2 + 2 + 1


def test_bandwidth_counts_bits() -> None:
    levels = (memory("DRAM", shared_bandwidth_bytes_per_cycle=0.5), memory("BUF"))
    found = cost(
        replace(SIMPLE, levels=levels, compute=NARROW), matmul(P=3, K=1, C=2), f"DRAM {ALL} P=3", f"BUF {ALL} C=2"
    )
    assert level(found, "DRAM").latency_cycles == math.ceil((2 * 4 + 6 * 8 + 3 * 8) / 4)


# --- networks, adders, leakage, ramp, area ----------------------------------------------------------------------------

SQUARE = SpatialAccelerator(
    "square",
    (
        memory("GLB", fanout=(Axis("x", 2, frozenset("K")), Axis("y", 2)), area_mm2=1.0, leakage_mw=5.0),
        memory("RF", area_mm2=0.2, leakage_mw=0.25),
    ),
    Compute(
        energy_pj=0.0,
        accumulator_bits=24,
        add_energy_pj=0.7,
        area_mm2=0.05,
        adder_area_mm2=0.01,
        leakage_mw=0.125,
        adder_leakage_mw=0.01,
    ),
    clock_hz=1e9,
    wire_energy_pj_per_bit_mm=0.05,
)
SQUARE_LINES = (f"GLB {ALL} x: K=2 y: C=2", f"RF {ALL}")


def test_network_of_a_square() -> None:
    """Children of 0.25 mm2 have a pitch of half a millimetre; two extents of 2 give half = 2."""
    found = cost(SQUARE, matmul(P=1, K=2, C=2), *SQUARE_LINES)
    glb = level(found, "GLB")
    per_bit = 0.05 * 0.5
    assert glb.tensor("weights").network_energy_pj == pytest.approx(4 * 16 * per_bit * (2 + 1 - 1))
    assert glb.tensor("inputs").network_energy_pj == pytest.approx(2 * 16 * per_bit * (2 + 2 - 1))
    # Two partial sums are added on the way, so they travel at the accumulator's width.
    assert glb.tensor("outputs").network_energy_pj == pytest.approx(2 * 24 * per_bit * (2 + 2 - 1))
    assert found.energy_breakdown_pj["network"] == pytest.approx(per_bit * (128 + 96 + 144))
    assert found.energy_breakdown_pj["adders"] == pytest.approx(2 * 0.7)


def test_finished_outputs_travel_narrow() -> None:
    found = cost(SQUARE, matmul(P=1, K=2, C=2), f"GLB {ALL} x: K=2", f"RF {ALL} C=2")
    assert level(found, "GLB").tensor("outputs").network_energy_pj == pytest.approx(2 * 16 * 0.025 * 1.5)
    assert found.energy_breakdown_pj["adders"] == 0


def test_one_child_without_axes_has_no_network() -> None:
    found = cost(replace(SIMPLE, wire_energy_pj_per_bit_mm=1.0), CONV, f"DRAM {ALL}", f"BUF {ALL} P=16 R=3")
    assert found.energy_breakdown_pj["network"] == 0


def test_nothing_crosses_the_networks_above_the_outermost_home() -> None:
    """Each child is the home of its own weights: the level above never holds a word of them."""
    found = cost(SQUARE, matmul(P=1, K=2, C=2), "GLB [inputs outputs] x: K=2 y: C=2", "RF [weights]")
    glb = level(found, "GLB")
    assert glb.tensor("weights").injected_words == 0
    assert glb.tensor("weights").network_energy_pj == 0
    assert found.energy_breakdown_pj["network"] == pytest.approx(0.025 * (96 + 144))


def test_everything_leaks_all_the_time() -> None:
    """One GLB, 4 RFs and MACs, 2 adders (only the y axis reduces): busy or not, for 4 ns."""
    found = cost(SQUARE, matmul(P=2, K=1, C=2), f"GLB {ALL} P=2 C=2", f"RF {ALL}")
    milliwatts = 5.0 + 4 * 0.25 + 4 * 0.125 + 2 * 0.01
    assert pytest.approx(milliwatts) == SQUARE.leakage_mw
    assert found.latency_cycles == 4
    assert found.energy_breakdown_pj["leakage"] == pytest.approx(milliwatts * 4)


def test_area_sums() -> None:
    own = 1.0 + 2 * 0.01 + 4 * (0.2 + 0.05)
    assert pytest.approx(own) == SQUARE.area_mm2
    assert replace(SQUARE, area_factor=1.5).area_mm2 == pytest.approx(1.5 * own)
    assert pytest.approx((0.25, 0.05)) == SQUARE.child_area_mm2
    assert SQUARE.instances == (1, 4, 4)
    assert SQUARE.macs == 4


@pytest.mark.parametrize(("ramp", "cycles"), [({"BUF": 10.0}, 48 + 4 * 10), ({"DRAM": 10.0}, 58), ({"BUF": 0.3}, 50)])
def test_ramp_is_paid_per_tile(ramp: dict[str, float], cycles: int) -> None:
    """The four outer iterations each fill and drain BUF's pipeline."""
    found = cost(replace(SIMPLE, ramp_cycles=ramp), CONV, f"DRAM {ALL} P=4", f"BUF {ALL} P=4 R=3")
    assert found.latency_cycles == cycles


def test_seconds_and_energy_delay() -> None:
    found = cost(replace(SIMPLE, clock_hz=2e8), CONV, f"DRAM {ALL}", f"BUF {ALL} P=16 R=3")
    assert found.latency_s == pytest.approx(48 / 2e8)
    assert found.edp_js == pytest.approx(8630e-12 * 48 / 2e8)


# --- what cannot run --------------------------------------------------------------------------------------------------


def test_problems_that_no_mapping_solves() -> None:
    homeless = replace(SIMPLE, levels=(replace(DRAM, keeps=frozenset({"weights", "inputs"})),))
    with pytest.raises(InfeasibleError, match="no_home") as caught:
        Problem(homeless, CONV)
    assert caught.value.reason.facts == {"tensor": "outputs"}
    with pytest.raises(InfeasibleError, match="precision") as caught:
        Problem(SIMPLE, CONV.with_bits(weights=17))
    assert caught.value.reason.facts == {"tensor": "weights", "bits": 17, "limit": 16}
    with pytest.raises(InfeasibleError, match="overflow"):
        Problem(SIMPLE, matmul(P=2**20, K=2**20, C=2**20))
    with pytest.raises(ValueError, match="streams its tensors"):
        Problem(SIMPLE, elementwise(4))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("DRAM [weights inputs outputs]", "levels must be DRAM BUF"),
        (f"DRAM {ALL}\nBUF [bias] P=16 R=3", r"BUF: tensors are .* \(got bias\)"),
        (f"DRAM {ALL}\nBUF {ALL} P=16 x: R=3", r"BUF: axes are \(none\) \(got x\)"),
        (f"DRAM {ALL}\nBUF {ALL} P=16 R=3 Z=2", r"BUF: dimensions are .* \(got Z\)"),
        (f"DRAM {ALL}\nBUF {ALL} P=16 R=3 K=2", r"BUF: K has bound 1 \(got factor 2\)"),
    ],
)
def test_mappings_of_something_else(text: str, message: str) -> None:
    with pytest.raises(MappingError, match=message):
        evaluate(SIMPLE, CONV, [Mapping.parse(text)])


def test_output_with_gaps_has_no_negative_traffic() -> None:
    """Outputs 0 and 2 in a box of 3 words: two updates, nothing to read back."""
    tensors = (Tensor("inputs", "inputs", ((("d", 1),),)), Tensor("outputs", "outputs", ((("d", 2),),)))
    found = cost(SIMPLE, Operator("gaps", (("d", 2),), tensors), "DRAM [outputs] d=2", "BUF [inputs]")
    assert rfu(found, "DRAM", "outputs") == (0, 0, 2)
