"""Bits of a network's tensors reach the hardware: traffic, energy, latency, area, and what cannot run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from accelerators import catalog
from accelerators.processors.processor import Arithmetic, Processor
from accelerators.spatial.architecture import SpatialAccelerator
from codesign.evaluation import evaluate
from codesign.nas.costs import NetworkCosts, Works
from codesign.nas.spaces import NasBench201, OfaMobileNetV3, Quantised

SPACE = Quantised(NasBench201("imagenet16"), weights=(2, 4, 8), activations=(2, 4, 8), per="network")
SHEET = """\
name: edge
node: 28 nm
clock: 500 MHz
compute: {{type: {type}, accumulator: int32{more}}}
levels:
  - {{name: DRAM, memory: dram, width: 64, bandwidth: 1 B/cycle}}
  - name: glb
    memory: sram
    capacity: 64 KiB
    width: 64
    fanout: {{x: {{size: 8, unroll: [K]}}, y: {{size: 8, unroll: [C]}}}}
  - {{name: rf, memory: registers, capacity: 32 B, width: 8}}
"""


def design(kind: str = "int8", more: str = "") -> SpatialAccelerator:
    found = catalog.from_text(SHEET.format(type=kind, more=more))
    assert isinstance(found, SpatialAccelerator)
    return found


def code(weights: int, activations: int) -> list[int]:
    return [3, 1, 0, 0, 2, 3, SPACE.weights.index(weights), SPACE.activations.index(activations)]


@pytest.mark.parametrize("fuse", [False, True])
def test_fewer_bits_take_less(fuse: bool) -> None:
    """Energy and latency fall with weights' and with activations' bits; on fixed MACs, but for their own energy."""
    bits = [(8, 8), (4, 8), (8, 4), (4, 4), (2, 2)]
    codes = [code(*pair) for pair in bits]
    scalable = ", scalable: {types: [int2, int4], energy_factor: 1, area_factor: 1}"
    fixed, gated = (NetworkCosts(Works(SPACE, fuse), design(more=m)).costs(codes) for m in ("", scalable))
    for found in (fixed, gated):
        for less, more in ((1, 0), (2, 0), (3, 1), (3, 2), (4, 3)):
            assert (found[less] < found[more]).all()
    assert gated[0] == pytest.approx(fixed[0])
    assert (gated[1:, 0] < fixed[1:, 0]).all()
    assert gated[:, 1] == pytest.approx(fixed[:, 1], rel=0.05)
    for row, one in zip(fixed, codes, strict=True):
        (cost,) = evaluate(SPACE.network(one), design(), fuse=fuse).results
        assert row[0] == pytest.approx(cost.energy_pj)


def test_the_type_is_a_choice_of_the_hardware() -> None:
    """Wider MACs take more area and energy; narrower ones cannot run what has more bits, the image included."""
    eight, sixteen = design("int8"), design("int16")
    assert eight.area_mm2 < sixteen.area_mm2
    found = [NetworkCosts(Works(SPACE), hardware).costs([code(4, 4)])[0, 0] for hardware in (eight, sixteen)]
    assert found[0] < found[1]
    narrow = NetworkCosts(Works(SPACE), design("int4"))
    assert np.isinf(narrow.costs([code(4, 4)])).all()
    assert narrow.reasons[tuple(code(4, 4))].endswith("inputs has 8 bits, edge computes 4")
    ends = Quantised(NasBench201("imagenet16"), weights=(4, 8), activations=(4,), per="network", ends=4)
    prices = NetworkCosts(Works(ends), design("int4"))
    found_there = prices.costs([[*code(4, 4)[:6], 0, 0], [*code(4, 4)[:6], 1, 0]])
    assert np.isfinite(found_there[0]).all()
    assert np.isinf(found_there[1]).all()
    assert prices.reasons[(*code(4, 4)[:6], 1, 0)].endswith("weights has 8 bits, edge computes 4")


def test_processors_run_the_fastest_type_that_holds_the_bits() -> None:
    pi = catalog.load("raspberry_pi_4")
    assert isinstance(pi, Processor)
    types = tuple(Arithmetic(f"{kind}", bits, ops, 4) for kind, bits, ops in
                  (("fp32", 32, 1e10), ("int8", 8, 8e10), ("int16", 16, 4e10)))  # fmt: skip
    mine = replace(pi, arithmetic=types)
    assert [mine.holding(bits).type.type for bits in (2, 8, 9, 16, 17, 24)] == [  # type: ignore[union-attr]
        "int8", "int8", "int16", "int16", "fp32", "fp32",
    ]  # fmt: skip
    assert mine.holding(25) is None
    wide, narrow = (
        evaluate(graph, mine).results[0] for graph in (SPACE.space.network([3] * 6), SPACE.network([3] * 6 + [2, 2]))
    )
    assert wide.quality is not None and "fp32" in wide.quality
    assert narrow.quality is not None and "int8" in narrow.quality
    assert narrow.latency_s < wide.latency_s  # type: ignore[operator]
    (refused,) = evaluate(
        SPACE.network([3] * 6 + [2, 2]), replace(pi, arithmetic=(Arithmetic("int4", 4, 1e10, 4),))
    ).results
    assert "tensors have up to 8 bits" in refused.problems[0]


def test_crossbars_gain_nothing_and_refuse_more() -> None:
    """Cells, drivers and converters are made for their bits."""
    crossbar = catalog.load("pcm_256")
    plain, few, many = (
        evaluate(graph, crossbar).results[0]
        for graph in (
            SPACE.space.network([3] * 6),
            SPACE.network([3] * 6 + [0, 0]),
            Quantised(NasBench201("imagenet16"), weights=(32,), activations=(8,), per="network").network(
                [3] * 6 + [0, 0]
            ),
        )
    )
    assert few.energy_pj == plain.energy_pj
    assert few.latency_s == plain.latency_s
    assert "weights has 32 bits" in many.problems[0]


def test_a_search_space_of_quantised_networks_is_priced_by_parts() -> None:
    """Few networks are built for many codes."""
    space = Quantised(OfaMobileNetV3(sizes=(160,)), weights=(4, 8), activations=(4, 8), per="stage")
    works = Works(space)
    for row in space.sample(np.random.default_rng(0), 300):
        works.of(tuple(row.tolist()))
    before = len(works.parts)
    for row in space.sample(np.random.default_rng(1), 100):
        works.of(tuple(row.tolist()))
    assert len(works.parts) < 1.25 * before
