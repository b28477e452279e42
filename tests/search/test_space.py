"""Hardware spaces: what vectors stand for, what is near, what a budget allows, what is pinned."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelerators import catalog
from accelerators.costs import Infeasible
from accelerators.documents import Document, DocumentError, parse
from codesign.search.budget import Budget
from codesign.search.naas import naas_design
from codesign.search.parameters import ENCODINGS, Choice, Connectivity, EncodingName, Range
from codesign.search.space import Design, HardwareSpace

TEMPLATE = """\
node: 45 nm
clock: 500 MHz
compute: {type: {choose: [int8, int16]}, accumulator: int32}
levels:
  - {name: DRAM, memory: dram, type: LPDDR4, bandwidth: 8 GB/s}
  - name: buffer
    memory: sram
    capacity: {from: 4 kB, to: 16 kB, step: 4 kB}
    width: 64 bit
    fanout: {search: {pes: {from: 8, to: 16, step: 8}, axes: [1, 2], unroll: [K, C, [P, G]]}}
  - {name: cache, memory: sram, capacity: 1 kB, width: 64 bit, present: {choose: [true, false]}}
  - {name: registers, memory: registers, capacity: 16 B, width: 8 bit}
"""
EYERISS = catalog.load("eyeriss")


def small(budget: Budget | None = None, encoding: EncodingName = "importance", **pins: Any) -> HardwareSpace:
    return HardwareSpace(parse(TEMPLATE), (), budget=budget, encoding=encoding, pins=pins)


def naas(name: str, encoding: EncodingName = "importance", **pins: Any) -> HardwareSpace:
    like = catalog.load(name)
    budget = Budget.like(like)
    design = naas_design(dict(catalog.document(name).data), like, budget)
    return HardwareSpace(Document(name, design), (), budget=budget, encoding=encoding, pins=pins)


SPACES = {(name, encoding): naas(name, encoding) for name in ("eyeriss", "edge_tpu") for encoding in ENCODINGS}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(SPACES)), st.integers(0, 2**32))
def test_values_go_through_numbers_and_back(which: tuple[str, EncodingName], seed: int) -> None:
    space = SPACES[which]
    random = np.random.default_rng(seed)
    values = space.decode(random.random(space.size))
    again = space.decode(space.encode(values))
    assert json.dumps(again) == json.dumps(values)
    # What is far from every border stays the same when the numbers are disturbed a little.
    near = np.clip(space.encode(values) + random.uniform(-1e-9, 1e-9, space.size), 0, 1)
    assert json.dumps(space.decode(near)) == json.dumps(values)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(SPACES)), st.integers(0, 2**32))
def test_neighbours_can_be_built_and_told(which: tuple[str, EncodingName], seed: int) -> None:
    space = SPACES[which]
    random = np.random.default_rng(seed)
    values = space.decode(random.random(space.size))
    good = 0
    for _ in range(60):
        near = space.neighbour(values, random)
        assert set(near) == set(values)
        assert sum(near[name] != values[name] for name in values) <= 2
        try:
            again = space.decode(space.encode(near))
        except ValueError:
            continue
        assert json.dumps(again) == json.dumps(near)
        good += near != values
    assert good >= 15


def test_neighbours_lead_from_any_array_to_any_other() -> None:
    array = Connectivity("array", Range("pes", 8, 16, 8), (1, 2), 2, (("K",), ("C",), ("P", "G")))
    random = np.random.default_rng(0)
    everything = set(array.values())
    reached, frontier = set(), [next(iter(everything))]
    while frontier:
        value = frontier.pop()
        if value in reached:
            continue
        reached.add(value)
        frontier += {near for near in (array.neighbour(value, random) for _ in range(400)) if near in everything}
    assert reached == everything


def test_neighbours_of_ranges_and_choices_stay_inside() -> None:
    random = np.random.default_rng(0)
    size = Range("size", 16, 4096, 16, log=True, unit="B")
    found = {size.neighbour("64 B", random) for _ in range(300)}
    assert found >= {"16 B", "32 B", "48 B", "80 B", "96 B", "112 B", "128 B"}
    assert all(16 <= int(text.split()[0]) <= 4096 for text in found)
    assert {size.neighbour("16 B", random) for _ in range(100)} <= set(size.values())
    assert {Choice("c", (1, 2, 3)).neighbour(2, random) for _ in range(50)} == {1, 2, 3} - {2} | {1, 3}
    assert Choice("one", ("a",)).neighbour("a", random) == "a"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_design_is_listed_once_and_reached(encoding: EncodingName) -> None:
    space = small(encoding=encoding)
    designs = [json.dumps(values) for values in space.designs()]
    assert len(designs) == len(set(designs)) == space.cardinality
    random = np.random.default_rng(0)
    drawn = {json.dumps(space.decode(random.random(space.size))) for _ in range(4000)}
    assert drawn <= set(designs)
    assert len(drawn) > 0.9 * len(designs)


def test_levels_may_be_left_out() -> None:
    space = small(**{"cache.present": False})
    design = space.build(space.decode(np.full(space.size, 0.5)))
    assert isinstance(design, Design)
    assert [level.name for level in design.accelerator.levels] == ["DRAM", "buffer", "registers"]


def test_budgets_hold() -> None:
    free, tight = small(), small(Budget(macs=8, on_chip_bytes=10_000))
    kinds = set()
    for values in free.designs():
        within, any_ = tight.build(values), free.build(values)
        assert isinstance(any_, Design)
        if isinstance(within, Design):
            assert within.accelerator.macs <= 8
            assert within.accelerator.on_chip_bytes <= 10_000
            kinds.add("fits")
        else:
            assert isinstance(within, Infeasible)
            assert any_.accelerator.macs > 8 or any_.accelerator.on_chip_bytes > 10_000
            kinds.add(within.facts["quantity"])
    assert kinds == {"fits", "macs", "on_chip_bytes"}


def test_an_accelerator_is_within_its_own_resources() -> None:
    for name in catalog.names("spatial"):
        accelerator = catalog.load(name)
        assert Budget.like(accelerator).excess(accelerator) is None


def test_pins() -> None:
    space = small(**{"buffer.capacity": "8 kB", "buffer.array": {"axes": [1], "unroll": ["C"]}})
    for values in space.designs():
        design = space.build(values)
        assert isinstance(design, Design)
        buffer = design.accelerator.levels[1]
        assert buffer.capacity_bytes == 8 * 1024
        assert [axis.dims for axis in buffer.fanout] == [frozenset({"C"})]
    with pytest.raises(DocumentError, match=r"no parameter 'buffer\.capacty': did you mean buffer\.capacity"):
        small(**{"buffer.capacty": "8 kB"})


def test_the_naas_space_is_that_of_the_paper() -> None:
    space = naas("eyeriss")
    array = space.parameters["global_buffer.array"]
    assert isinstance(array, Connectivity)
    assert (array.axes, array.size_step, array.pes.step) == ((1, 2, 3), 2, 8)
    assert {dim for (dim,) in array.unroll} == set("KCPQRSG")
    for name in ("global_buffer.capacity", "scratchpad.capacity"):
        size = space.parameters[name]
        assert isinstance(size, Range)
        assert (size.step, size.unit) == (16, "B")
    random = np.random.default_rng(0)
    built = [space.build(space.decode(random.random(space.size))) for _ in range(200)]
    designs = [design for design in built if isinstance(design, Design)]
    assert len(designs) > 50
    for design in designs:
        assert design.accelerator.macs <= EYERISS.macs
        assert design.accelerator.on_chip_bytes <= EYERISS.on_chip_bytes
        assert math.isclose(design.accelerator.clock_hz, EYERISS.clock_hz)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (("{from: 4 kB, to: 16 kB, step: 4 kB}", "{from: 4 kB, to: 2 kB, step: 4 kB}"), "to must be >= from"),
        (("step: 4 kB}", "step: 0 kB}"), "step must be > 0"),
        (("step: 4 kB}", "step: 4 bit, scale: cubic}"), "scale must be linear or log"),
        (("[int8, int16]", "[]"), "must have at least one option"),
        (("[int8, int16]", "[int8, int8]"), "options must differ"),
        (("[int8, int16]", json.dumps(list(range(1001)))), r"at most 1000 options \(got 1001\)"),
        (("axes: [1, 2]", "axes: [1, 4]"), "axes must be different numbers from 1 to 3"),
        (("pes: {from: 8, to: 16, step: 8}", "pes: {from: 2, to: 16, step: 8}"), "pes must be from at least 4"),
    ],
)
def test_wrong_spaces_are_refused_with_their_place(change: tuple[str, str], rule: str) -> None:
    with pytest.raises(DocumentError, match=rf"^<text>:\d+:\d+: .*{rule}"):
        HardwareSpace(parse(TEMPLATE.replace(*change)), ())


def test_arrays_are_pinned_as_results_list_them() -> None:
    space = small(**{"buffer.array": [[["K"], 4], [["P", "G"], 2]], "compute.type": "int8"})
    assert set(space.parameters) == {"buffer.capacity", "cache.present"}
    design = space.build(space.decode(np.full(space.size, 0.5)))
    assert isinstance(design, Design)
    assert [(axis.size, axis.dims) for axis in design.accelerator.levels[1].fanout] == [(4, {"K"}), (2, {"P", "G"})]


@pytest.mark.parametrize(
    ("pin", "value", "expected"),
    [
        ("buffer.array", [[["K"], 4], [["K"], 2]], "buffer.array cannot be K:4 x K:2"),
        ("buffer.array", [1, 2], "buffer.array must be like"),
        ("buffer.array", [[["K"], 3]], "buffer.array cannot be K:3"),
        ("compute.type", "int9", "compute.type must be one of int8, int16 (got 'int9')"),
    ],
)
def test_pins_are_values_that_the_parameter_can_have(pin: str, value: Any, expected: str) -> None:
    with pytest.raises(DocumentError) as caught:
        small(**{pin: value})
    assert expected in str(caught.value)


def test_no_design_has_fewer_pes_than_the_least() -> None:
    template = TEMPLATE.replace("{from: 8, to: 16, step: 8}", "{from: 12, to: 16, step: 4}")
    space = HardwareSpace(parse(template), ())
    random = np.random.default_rng(0)
    built = [space.build(space.decode(random.random(space.size))) for _ in range(300)]
    assert {design.accelerator.macs for design in built if isinstance(design, Design)} == {12, 16}
    short = [found for found in built if isinstance(found, Infeasible)]
    assert short
    assert all(found.facts["quantity"] == "buffer.array" for found in short)
    assert all(math.prod(size for _, size in values["buffer.array"]) >= 12 for values in space.designs())


def test_designs_are_known_by_their_datasheets() -> None:
    space, other = small(), HardwareSpace(parse(TEMPLATE.replace("45 nm", "65 nm")), ())
    values = next(iter(space.designs()))
    first, second = space.build(values), other.build(values)
    assert isinstance(first, Design)
    assert isinstance(second, Design)
    assert first.digest != second.digest
    assert first.accelerator.name == f"candidate_{first.digest}"
