"""Export to Timeloop: an independent reader with Timeloop's semantics gets back what went in.

The reader below is written from Timeloop's own parsers: permutations are innermost loop first, the first ``split``
loops of a spatial directive run along X, meshes count all instances, tensors that are not bypassed are kept. The tree
is translated first as Timeloop's front end does it.
"""

from __future__ import annotations

import gzip
import json
import re
import runpy
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from accelerators import catalog
from accelerators.costs import Cost, InfeasibleError
from accelerators.operators import Operator, Rank, Tensor, batched_matmul, conv2d, depthwise, matmul, softmax
from accelerators.spatial.architecture import Axis, Compute, Level, SpatialAccelerator
from accelerators.spatial.constraints import Constraints
from accelerators.spatial.kernels.arrays import VALID
from accelerators.spatial.mapping import Block, Mapping, MappingError
from accelerators.spatial.model import evaluate
from accelerators.spatial.problem import Problem
from accelerators.spatial.timeloop import export, write
from benchmarks.validation import timeloop as cases
from mappers import Mapspace

Files = dict[str, str]

# ----------------------------------------------------------------------------------------------------------- reader


def load(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def read_problem(files: Files) -> Operator:
    """The operator; the role of a tensor that is only read is not known."""
    problem = load(files["problem.yaml"])["problem"]
    assert problem["version"] == 0.4
    shape, instance = problem["shape"], problem["instance"]
    assert all(len(dim) == 1 and dim.isalpha() for dim in shape["dimensions"])
    coefficients = {c["name"]: instance.get(c["name"], c["default"]) for c in shape.get("coefficients", [])}
    tensors = []
    for space in shape["data_spaces"]:
        ranks: list[Rank] = []
        for rank in space["projection"]:
            assert all(len(term) in (1, 2) for term in rank)
            ranks.append(tuple((term[0], coefficients[term[1]] if len(term) == 2 else 1) for term in rank))
        role = "outputs" if space.get("read_write", False) else "inputs"
        tensors.append(Tensor(space["name"], role, tuple(ranks)))  # type: ignore[arg-type]
    return Operator(shape["name"], tuple((dim, instance[dim]) for dim in shape["dimensions"]), tuple(tensors))


Parts = list[dict[str, Any]]
Energies = dict[str, dict[str, float]]


def read_energies(files: Files) -> Energies:
    return {
        table["name"].split(".")[-1]: {action["name"]: action["energy"] for action in table["actions"]}
        for table in load(files["ERT.yaml"])["ERT"]["tables"]
    }


def read_flat(files: Files) -> tuple[Parts, Parts]:
    """Components with their names apart from their ranges, and directives."""
    node = load(files["timeloop_model/architecture.yaml"])["architecture"]
    assert node["version"] == 0.4
    components: Parts = []
    while "subtree" in node:
        (node,) = node["subtree"]
        components += node.get("local", [])
    for component in components:
        name, first, last = re.fullmatch(r"(\w+)\[(\d+)\.\.(\d+)\]", component["name"]).groups()  # type: ignore[union-attr]
        attributes = component["attributes"]
        assert int(last) - int(first) + 1 == attributes["meshX"] * attributes["meshY"]
        component["name"] = name
    return components, load(files["timeloop_model/mapping.yaml"])["mapping"]


def read_tree(files: Files, energies: Energies) -> tuple[Parts, Parts]:
    """The tree as the front end translates it; what becomes of containers must keep nothing and cost nothing."""
    architecture = YAML(pure=True).load(files["architecture.yaml"])["architecture"]
    assert str(architecture["version"]) == "0.4"
    mesh = {"meshX": 1, "meshY": 1}
    components: Parts = []
    above: dict[str, str] = {}
    for node in architecture["nodes"]:
        if node.tag.value == "!Container":
            above[node["name"]] = components[-1]["name"]
            mesh = {axis: size * node["spatial"].get(axis, 1) for axis, size in mesh.items()}
        else:
            assert node.tag.value == "!Component"
            assert not mesh.keys() & node["attributes"]
            components.append({"name": node["name"], "class": node["class"], "attributes": node["attributes"] | mesh})
    levels = [component["name"] for component in components] + [f"inter_{name}_spatial" for name in above]
    assert len({*levels, *above}) == len(levels) + len(above)
    assert energies.keys() == set(levels)
    assert all(set(energies[f"inter_{name}_spatial"].values()) == {0.0} for name in above)
    directives = []
    for directive in load(files["mapping.yaml"])["mapping"]:
        if directive["type"] == "dataspace":
            directive["type"] = "bypass"
        else:
            assert all(re.fullmatch(r"[A-Za-z]=\d+", factor) for factor in directive["factors"])
            directive |= {"factors": ",".join(directive["factors"]), "permutation": "".join(directive["permutation"])}
        if directive["type"] == "spatial":
            directive["target"] = above.pop(directive["target"])
        directives.append(directive)
    assert not above
    return components, directives


def read_architecture(found: Parts, energies: Energies) -> tuple[SpatialAccelerator, Parts]:
    """The accelerator with words of one byte in every level, and the attributes of its levels."""
    names = [component["name"] for component in found]
    *storages, mac = found
    assert mac["class"] == "intmac"
    levels = []
    for name, storage, child in zip(names, storages, found[1:], strict=False):
        own, inner = storage["attributes"], child["attributes"]
        assert inner["meshX"] % own["meshX"] == inner["meshY"] % own["meshY"] == 0
        assert own["width"] == own["datawidth"] * own["block_size"]
        # A level without a size must be a DRAM, and a DRAM must not be clustered.
        assert ("entries" in own) == (storage["class"] == "SRAM")
        assert own["cluster_size"] == 1
        actions = energies[name]
        levels.append(
            Level(
                name,
                capacity_bytes=own.get("entries"),
                width_bits=8 * own["block_size"],
                read_energy_pj=actions["read"],
                fill_energy_pj=actions["write"],
                update_energy_pj=actions["update"],
                read_bandwidth_bytes_per_cycle=own.get("read_bandwidth"),
                write_bandwidth_bytes_per_cycle=own.get("write_bandwidth"),
                shared_bandwidth_bytes_per_cycle=own.get("shared_bandwidth"),
                multiple_buffering=own.get("multiple_buffering", 1),
                fanout=(Axis("X", inner["meshX"] // own["meshX"]), Axis("Y", inner["meshY"] // own["meshY"])),
            )
        )
    compute = Compute(energies[names[-1]]["compute"], 8, 8, 8, 8)
    return SpatialAccelerator("read", tuple(levels), compute, 1e9), [storage["attributes"] for storage in storages]


def read_mapping(directives: Parts, accelerator: SpatialAccelerator, operator: Operator) -> Mapping:
    """The mapping, with the axes X and Y."""
    tensors = [tensor.name for tensor in operator.tensors]
    blocks = []
    seen = 0
    for level in accelerator.levels:
        temporal: list[tuple[str, int]] = []
        along: dict[str, list[tuple[str, int]]] = {"X": [], "Y": []}
        keep = set(tensors)
        for directive in (d for d in directives if d["target"] == level.name):
            seen += 1
            if directive["type"] == "bypass":
                assert not set(directive.get("keep", [])) & set(directive.get("bypass", []))
                keep -= set(directive.get("bypass", []))
                continue
            factors = {m[1]: int(m[2]) for m in re.finditer(r"([A-Za-z]+)\s*=*\s*([0-9]+)", directive["factors"])}
            order = list(directive["permutation"])
            assert sorted(order) == sorted(factors) == sorted(operator.dims)
            inner_first = [(dim, factors[dim]) for dim in order]
            if directive["type"] == "temporal":
                temporal = inner_first[::-1]
            else:
                assert directive["type"] == "spatial"
                # Without a fanout Timeloop knows no spatial loops of a level.
                assert level.children > 1
                along = {"X": inner_first[: directive["split"]][::-1], "Y": inner_first[directive["split"] :][::-1]}
        kept = tuple(name for name in tensors if name in keep)
        blocks.append(Block(level.name, kept, tuple(temporal), tuple((a, tuple(v)) for a, v in along.items())))
    assert seen == len(directives)
    return Mapping(tuple(blocks))


def read_all(files: Files) -> tuple[SpatialAccelerator, Operator, Mapping, Parts]:
    """What both forms say, which must be the same, with the attributes of the levels."""
    operator, energies = read_problem(files), read_energies(files)
    found = []
    for components, directives in (read_flat(files), read_tree(files, energies)):
        accelerator, attributes = read_architecture(components, energies)
        found.append((accelerator, operator, read_mapping(directives, accelerator, operator), attributes))
    flat, tree = found
    assert flat == tree
    return tree


def read(files: Files) -> tuple[SpatialAccelerator, Operator, Mapping]:
    accelerator, operator, mapping, _ = read_all(files)
    return accelerator, operator, mapping


def with_axes(mapping: Mapping, accelerator: SpatialAccelerator) -> Mapping:
    """X and Y renamed to the axes of an accelerator."""
    blocks = []
    for block, level in zip(mapping.blocks, accelerator.levels, strict=True):
        names = dict(zip("XY", (axis.name for axis in level.fanout), strict=False))
        blocks.append(replace(block, spatial=tuple((names[axis], loops) for axis, loops in block.spatial)))
    return Mapping(tuple(blocks))


def in_line(block: Block, level: Level) -> bool:
    """Whether the fanout has no two axes of its own in Timeloop."""
    dims = [dim for _, loops in block.spatial for dim, _ in loops]
    return len(level.fanout) > 2 or len(set(dims)) < len(dims)


def normal(mapping: Mapping, accelerator: SpatialAccelerator) -> Mapping:
    """The mapping with tensors in the operator's order (a set) and, where children stand in line, one product."""
    blocks = []
    for block, level in zip(mapping.blocks, accelerator.levels, strict=True):
        if in_line(block, level):
            product: dict[str, int] = {}
            for _, loops in block.spatial:
                for dim, factor in loops:
                    product[dim] = product.get(dim, 1) * factor
            block = replace(block, spatial=((level.fanout[0].name, tuple(sorted(product.items()))),))
        blocks.append(block)
    return Mapping(tuple(blocks))


# ------------------------------------------------------------------------------------------------------- round trip

HARDWARE = ("eyeriss", "gemmini_16x16", "simba_chiplet", "shidiannao", "nvdla_64", "edge_tpu", "tpu_v1", "mesh", "cube")
SMALL = st.sampled_from([1, 2, 3, 4, 6, 8, 12])
PIXELS = st.sampled_from([1, 2, 4, 7, 8])
KERNEL = st.sampled_from([1, 2, 3])
STRIDES = st.tuples(st.integers(1, 3), st.integers(1, 2))
OPERATORS = st.one_of(
    st.builds(
        lambda k, c, p, q, r, s, stride, dilation: conv2d(
            K=k, C=c, P=p, Q=q, R=r, S=s, stride=stride, dilation=dilation
        ),
        *(SMALL, SMALL, PIXELS, PIXELS, KERNEL, KERNEL, STRIDES, STRIDES),
    ),
    st.builds(
        lambda g, p, r, stride: depthwise(G=g, P=p, Q=p, R=r, S=r, stride=stride), SMALL, PIXELS, KERNEL, STRIDES
    ),
    st.builds(lambda p, k, c: matmul(P=p, K=k, C=c), SMALL, SMALL, SMALL),
    st.builds(lambda g, p, k, c: batched_matmul(G=g, P=p, K=k, C=c), SMALL, SMALL, SMALL, SMALL),
)


ALL = "[weights inputs outputs]"
FULLY_CONNECTED = matmul(P=4, K=6, C=8)


def mapping_of(*lines: str) -> Mapping:
    return Mapping.parse("\n".join(lines))


def chain(*levels: Level) -> SpatialAccelerator:
    """An accelerator with an unbounded DRAM outside the levels."""
    return SpatialAccelerator("mine", (Level("DRAM"), *levels), Compute(1.0), 1e9)


@cache
def hardware(name: str, unbounded: bool) -> SpatialAccelerator:
    """A catalog accelerator, or one whose axes take any dimension; large memories let large tiles be tried."""
    if name in ("mesh", "cube"):
        axes = (Axis("x", 4), Axis("y", 6), Axis("z", 3))[: 2 if name == "mesh" else 3]
        accelerator = chain(
            Level("GLB", capacity_bytes=2e3, width_bits=32, fanout=axes), Level("RF", capacity_bytes=50.0)
        )
    else:
        accelerator = catalog.load(name)
    if unbounded:
        levels = tuple(replace(level, capacity_bytes=2.0**26) for level in accelerator.levels)
        accelerator = replace(accelerator, levels=levels)
    return accelerator


@st.composite
def mapped(draw: st.DrawFn) -> tuple[SpatialAccelerator, Operator, Mapping]:
    accelerator = hardware(draw(st.sampled_from(HARDWARE)), draw(st.booleans()))
    operator = draw(OPERATORS)
    if draw(st.booleans()):
        operator = operator.with_bits(weights=8, inputs=8, outputs=draw(st.sampled_from([4, 8])))
    problem = Problem(accelerator, operator)
    space = Mapspace(problem, Constraints() if draw(st.booleans()) else None, bypass=draw(st.booleans()))
    batch = space.sample(100, draw(st.integers(0, 2**32)))
    valid = (problem.evaluate_batch(batch).status == VALID).nonzero()[0]
    assume(len(valid))
    return accelerator, operator, problem.unpack(batch, int(valid[0]))


# No shrinking: a failing example reads well as it is, and shrinking one takes up to five minutes.
@settings(max_examples=100, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(mapped())
def test_the_reader_gets_the_original(case: tuple[SpatialAccelerator, Operator, Mapping]) -> None:
    accelerator, operator, mapping = case
    files = export(*case)
    found, read_operator, read_nest, attributes = read_all(files)

    assert read_operator.bounds == operator.bounds
    assert [(t.name, t.ranks) for t in read_operator.tensors] == [(t.name, t.ranks) for t in operator.tensors]
    assert read_operator.output.name == operator.output.name
    renamed = with_axes(read_nest, accelerator)
    for ours, theirs, level in zip(mapping.blocks, renamed.blocks, accelerator.levels, strict=True):
        assert (theirs.level, theirs.keep, theirs.temporal) == (ours.level, ours.keep, ours.temporal)
        if in_line(ours, level):
            theirs = replace(theirs, spatial=tuple((a, tuple(sorted(loops))) for a, loops in theirs.spatial))
        assert theirs == normal(Mapping((ours,)), SpatialAccelerator("", (level,), accelerator.compute, 1)).blocks[0]
    assert found.instances == accelerator.instances

    (cost,), (again,) = evaluate(accelerator, operator, [mapping]), evaluate(found, read_operator, [read_nest])
    assert isinstance(cost, Cost)
    assert isinstance(again, Cost)
    one_width = True
    for level, own, ours, theirs in zip(
        accelerator.levels, attributes, cost.details.levels, again.details.levels, strict=True
    ):
        # Words, tiles and what moves are the same whatever the widths.
        assert ours.instances == theirs.instances
        for a, b in zip(ours.tensors, theirs.tensors, strict=True):
            for count in ("kept", "tile_words", "partition_words", "reads", "fills", "updates", "multicast"):
                assert getattr(a, count) == getattr(b, count), count
        bits = own["datawidth"]
        if level.capacity_bytes is not None:
            assert own["entries"] == 8 * level.capacity_bytes // bits
        assert own["block_size"] == max(1, level.width_bits // bits)
        same = f"# {level.name} " not in files["architecture.yaml"]
        one_width &= same
        if same:
            assert again.energy_breakdown_pj[level.name] == pytest.approx(cost.energy_breakdown_pj[level.name])
            assert theirs.latency_cycles == pytest.approx(ours.latency_cycles, abs=1)
        else:
            # Wider words count as narrow ones: never more accesses, but for finished outputs narrower than sums.
            assert "different widths" in files["architecture.yaml"] or "finished" in files["architecture.yaml"]
    assert again.energy_breakdown_pj["MAC"] == pytest.approx(cost.energy_breakdown_pj["MAC"])
    if one_width:
        expected = int(re.search(r"codesign expects (\d+) cycles", files["README.txt"])[1])  # type: ignore[index]
        assert again.latency_cycles == pytest.approx(expected, abs=1)


SHIPPED = [
    case
    for case in json.loads(gzip.decompress(cases.DEFAULT.read_bytes()))["cases"]
    if case["outputs"]["valid"] and cases.mapping_of(case["mapping"])
]


def test_exports_of_the_shipped_cases_have_the_figures_that_timeloop_printed() -> None:
    """The files say what Timeloop was asked: its own printed figures come out of them (every other case, for time)."""
    for case in SHIPPED[::2]:
        mapping = cases.mapping_of(case["mapping"])
        assert mapping is not None
        accelerator, operator, nest = read(
            export(cases.accelerator_of(case["arch"]), cases.operator_of(case["problem"]), mapping)
        )
        (cost,) = evaluate(accelerator, operator, [nest])
        assert isinstance(cost, Cost), case["id"]
        expected = case["outputs"]
        assert cost.latency_cycles == pytest.approx(expected["cycles"], abs=1), case["id"]
        assert cost.energy_pj == pytest.approx(expected["energy_pj_total"], rel=1e-9), case["id"]
        for level in cost.details.levels:
            for tensor in level.tensors:
                figures = expected["levels"][level.level]["tensors"].get(tensor.tensor)
                if tensor.kept:
                    assert tensor.reads == figures["reads_per_instance"], case["id"]
                    assert tensor.fills == figures["fills_per_instance"], case["id"]
                    assert tensor.updates == figures["updates_per_instance"], case["id"]


#: Reads, fills and updates per instance that Timeloop printed for exercise 04 of timeloop-accelergy-exercises (folder
#: workspace/tutorial_exercises/01_accelergy_timeloop_2020_ispass/timeloop, files ref-output/{kp,cp}/*.stats.txt), a
#: tree with a container of 16; by level and tensor.
EXERCISE = {
    "K=16": {
        "MainMemory": {"weights": (3072, 0, 0), "inputs": (576, 0, 0), "outputs": (0, 0, 512)},
        "GlobalBuffer": {"weights": (192, 192, 0), "inputs": (1152, 576, 0), "outputs": (992, 0, 1024)},
        "RegisterFile": {"weights": (3072, 192, 0), "inputs": (3072, 1152, 0), "outputs": (3040, 992, 3072)},
    },
    "C=16": {
        "MainMemory": {"weights": (3072, 0, 0), "inputs": (576, 0, 0), "outputs": (0, 0, 512)},
        "GlobalBuffer": {"weights": (192, 192, 0), "inputs": (1152, 36, 0), "outputs": (512, 0, 1024)},
        "RegisterFile": {"weights": (3072, 192, 0), "inputs": (3072, 1152, 0), "outputs": (2560, 512, 3072)},
    },
}


@pytest.mark.parametrize(("spatial", "nest"), [("K=16", "C=32 K=2 R=3"), ("C=16", "C=2 K=32 R=3")])
def test_the_level_that_a_container_becomes_changes_no_count(spatial: str, nest: str) -> None:
    accelerator = SpatialAccelerator(
        "exercise",
        (
            Level("MainMemory", width_bits=256, fanout=(Axis("x", 16),)),
            Level("GlobalBuffer", capacity_bytes=2.0**18, width_bits=64),
            Level("RegisterFile", capacity_bytes=64.0, width_bits=8),
        ),
        Compute(1.0, 8, 8, 8, 8),
        1e9,
    )
    ranks = {"weights": "C K R", "inputs": "C R+P", "outputs": "K P"}
    tensors = tuple(
        Tensor(role, role, tuple(tuple((dim, 1) for dim in rank.split("+")) for rank in text.split()))  # type: ignore[arg-type]
        for role, text in ranks.items()
    )
    operator = Operator("conv1d", (("C", 32), ("K", 32), ("R", 3), ("P", 16)), tensors)
    mapping = mapping_of(f"MainMemory {ALL} x: {spatial}", f"GlobalBuffer {ALL} {nest}", f"RegisterFile {ALL} P=16")
    found, read_operator, read_nest = read(export(accelerator, operator, mapping))
    (cost,) = evaluate(found, read_operator, [read_nest])
    assert isinstance(cost, Cost)
    assert cost.latency_cycles == 3072
    counts = {
        level.level: {tensor.tensor: (tensor.reads, tensor.fills, tensor.updates) for tensor in level.tensors}
        for level in cost.details.levels
    }
    assert counts == EXERCISE[spatial]


# ------------------------------------------------------------------------------------------------- what differs there


def local_of(files: Files) -> Any:
    """Components in the form that the programs read."""
    return load(files["timeloop_model/architecture.yaml"])["architecture"]["subtree"][0]["local"]


def test_a_small_example_reads_as_intended() -> None:
    accelerator = chain(
        Level(
            "GLB",
            frozenset({"inputs", "outputs"}),
            capacity_bytes=1024.0,
            width_bits=64,
            read_energy_pj=6.0,
            fill_energy_pj=5.0,
            update_energy_pj=7.0,
            shared_bandwidth_bytes_per_cycle=16.0,
            multiple_buffering=2,
            fanout=(Axis("col", 3, frozenset({"K"})), Axis("row", 4, frozenset({"C"}))),
        )
    )
    files = export(
        accelerator, FULLY_CONNECTED, mapping_of(f"DRAM {ALL} K=2 P=2", "GLB [inputs] P=2 C=2 col: K=3 row: C=4")
    )
    assert list(files) == [
        "architecture.yaml",
        "problem.yaml",
        "mapping.yaml",
        "ERT.yaml",
        "run.py",
        "timeloop_model/architecture.yaml",
        "timeloop_model/mapping.yaml",
        "README.txt",
    ]
    nodes = YAML(pure=True).load(files["architecture.yaml"])["architecture"]["nodes"]
    assert [(node.tag.value, node["name"], node.get("class")) for node in nodes] == [
        ("!Component", "DRAM", "DRAM"),
        ("!Component", "GLB", "SRAM"),
        ("!Container", "GLB_children", None),
        ("!Component", "MAC", "intmac"),
    ]
    assert nodes[1]["attributes"] == {
        "datawidth": 16,
        "block_size": 4,
        "cluster_size": 1,
        "width": 64,
        "entries": 512,
        "multiple_buffering": 2,
        "shared_bandwidth": 8,
    }
    assert nodes[2]["spatial"] == {"meshX": 3, "meshY": 4}
    local = local_of(files)
    assert [(part["name"], part["class"]) for part in local] == [
        ("DRAM[1..1]", "DRAM"),
        ("GLB[1..1]", "SRAM"),
        ("MAC[1..12]", "intmac"),
    ]
    assert local[1]["attributes"] == {**nodes[1]["attributes"], "meshX": 1, "meshY": 1}
    assert local[2]["attributes"] == {"datawidth": 16, "meshX": 3, "meshY": 4}
    assert load(files["problem.yaml"])["problem"]["instance"] == {"N": 1, "K": 6, "C": 8, "P": 4}
    assert load(files["mapping.yaml"])["mapping"][2:] == [
        {"target": "GLB", "type": "temporal", "factors": ["N=1", "K=1", "C=2", "P=2"], "permutation": [*"CPNK"]},
        {
            "target": "GLB_children",
            "type": "spatial",
            "factors": ["N=1", "K=3", "C=4", "P=1"],
            "permutation": [*"KCNP"],
            "split": 1,
        },
        {"target": "GLB", "type": "dataspace", "keep": ["inputs"], "bypass": ["weights", "outputs"]},
    ]
    assert load(files["timeloop_model/mapping.yaml"])["mapping"] == [
        {"target": "DRAM", "type": "temporal", "factors": "N=1 K=2 C=1 P=2", "permutation": "PKNC"},
        {"target": "DRAM", "type": "bypass", "keep": ["weights", "inputs", "outputs"]},
        {"target": "GLB", "type": "temporal", "factors": "N=1 K=1 C=2 P=2", "permutation": "CPNK"},
        {"target": "GLB", "type": "spatial", "factors": "N=1 K=3 C=4 P=1", "permutation": "KCNP", "split": 1},
        {"target": "GLB", "type": "bypass", "keep": ["inputs"], "bypass": ["weights", "outputs"]},
    ]
    tables = load(files["ERT.yaml"])["ERT"]["tables"]
    assert tables[1] == {
        "name": "system.GLB",
        "actions": [
            {"name": "read", "energy": 6.0},
            {"name": "write", "energy": 5.0},
            {"name": "update", "energy": 7.0},
        ],
    }
    assert "Nothing was left out." in files["README.txt"]


def test_all_that_is_left_out_is_named() -> None:
    accelerator = catalog.load("gemmini_16x16")
    operator = matmul(P=8, K=16, C=32)
    nest = mapping_of(
        f"DRAM {ALL} C=2",
        "scratchpad [weights inputs]",
        "accumulator [outputs] x: K=16 y: C=16",
        "weight_register [weights] P=8",
    )
    files = export(accelerator, operator, nest)
    (cost,) = evaluate(accelerator, operator, [nest])
    assert isinstance(cost, Cost)
    readme = " ".join(files["README.txt"].split())
    for part in ("Networks cost", "Adders in the array cost", "Leakage of", "Fill and drain of tiles take"):
        assert part in readme
    assert f"Networks cost {cost.energy_breakdown_pj['network']:.6g} pJ" in files["ERT.yaml"]
    architecture = " ".join(files["architecture.yaml"].replace("# ", "").split())
    assert (
        "DRAM keeps words of different widths (weights 8, inputs 8, outputs 32 bit). Here all have 8 bit"
        in architecture
    )
    assert "Fill and drain of tiles take 22 cycles" in architecture


def test_finished_outputs_narrower_than_the_sums_are_noted() -> None:
    accelerator = replace(
        chain(Level("GLB", fanout=(Axis("x", 8),))), compute=Compute(1.0, output_bits=8, accumulator_bits=16)
    )

    def architecture(*lines: str) -> str:
        text = export(accelerator, FULLY_CONNECTED, mapping_of(*lines))["architecture.yaml"]
        return " ".join(text.replace("# ", "").split())

    # Summed up by the adders of the array: what arrives at the buffer is finished.
    whole = architecture("DRAM [weights inputs] P=4", "GLB [outputs] K=6 x: C=8")
    assert "partial sums" not in whole
    assert "name: GLB class: DRAM attributes: {datawidth: 8" in whole
    parts = architecture("DRAM [weights inputs] P=4", "GLB [outputs] K=6 C=2 x: C=4")
    assert "GLB holds partial sums of 16 bit and gets finished outputs of 8 bit. Here all have 16 bit" in parts


def test_a_dimension_on_two_axes_puts_the_children_in_line() -> None:
    accelerator = chain(Level("GLB", fanout=(Axis("x", 4), Axis("y", 3))))
    nest = mapping_of(f"DRAM {ALL}", f"GLB {ALL} P=4 C=4 x: K=2 C=2 y: K=3")
    files = export(accelerator, FULLY_CONNECTED, nest)
    for name, target in (("mapping.yaml", "GLB_children"), ("timeloop_model/mapping.yaml", "GLB")):
        spatial = load(files[name])["mapping"][3]
        assert (spatial["target"], spatial["split"]) == (target, 2)
    assert read_problem(files).bounds == FULLY_CONNECTED.bounds
    assert read(files)[2].blocks[1].spatial == (("X", (("K", 6), ("C", 2))),)
    attributes = local_of(files)[-1]["attributes"]
    assert (attributes["meshX"], attributes["meshY"]) == (12, 1)
    text = " ".join(files["mapping.yaml"].replace("# ", "").split())
    assert "GLB unrolls along x of 4 with K=2 C=2, y of 3 with K=3." in text


def test_three_axes_stand_in_line() -> None:
    accelerator = chain(Level("GLB", fanout=(Axis("x", 2), Axis("y", 3), Axis("z", 4))), Level("RF"))
    nest = mapping_of(f"DRAM {ALL}", f"GLB {ALL} C=2 x: P=2 y: K=3 z: C=4", f"RF {ALL} K=2 P=2")
    files = export(accelerator, FULLY_CONNECTED, nest)
    found, operator, again = read(files)
    assert found.instances == accelerator.instances
    (cost,), (other,) = evaluate(accelerator, FULLY_CONNECTED, [nest]), evaluate(found, operator, [again])
    assert isinstance(cost, Cost)
    assert isinstance(other, Cost)
    assert [[t.multicast for t in level.tensors] for level in cost.details.levels] == [
        [t.multicast for t in level.tensors] for level in other.details.levels
    ]
    assert "z of 4 with C=4" in " ".join(files["mapping.yaml"].replace("# ", "").split())


def test_padded_bounds_are_the_bounds_of_the_problem() -> None:
    files = export(chain(), FULLY_CONNECTED, mapping_of(f"DRAM {ALL} P=4 K=8 C=8"), {"K": 8})
    assert load(files["problem.yaml"])["problem"]["instance"]["K"] == 8
    assert "# Bounds are padded as the mapping runs them: K from 6 to 8." in files["problem.yaml"]


def test_dimensions_get_names_of_one_letter() -> None:
    ranks = (("row", 1),), (("Rest", 1),), (("col", 2), ("R", 1))
    operator = Operator(
        "odd",
        (("row", 2), ("Rest", 3), ("col", 5), ("R", 7)),
        (Tensor("a", "inputs", ranks), Tensor("o", "outputs", ranks)),
    )
    files = export(chain(), operator, mapping_of("DRAM [a o] row=2 Rest=3 col=5 R=7"))
    assert load(files["problem.yaml"])["problem"]["instance"] == {"O": 2, "E": 3, "C": 5, "R": 7}
    assert "# Dimensions have names of one letter in Timeloop: O is row, E is Rest, C is col." in files["problem.yaml"]
    found = read_problem(files)
    assert found.tensors[0].ranks == ((("O", 1),), (("E", 1),), (("C", 2), ("R", 1)))
    assert load(files["mapping.yaml"])["mapping"][0]["permutation"] == [*"RCEO"]
    assert load(files["timeloop_model/mapping.yaml"])["mapping"][0]["permutation"] == "RCEO"


def test_more_dimensions_than_letters_are_refused() -> None:
    dims = [f"d{i}" for i in range(53)]
    rank = tuple((dim, 1) for dim in dims)
    operator = Operator("wide", tuple((dim, 1) for dim in dims), (Tensor("o", "outputs", (rank,)),))
    with pytest.raises(ValueError, match=r"at most 52 dimensions \(got 53\)"):
        export(chain(), operator, mapping_of("DRAM [o]"))


def test_a_word_wider_than_an_access_costs_several() -> None:
    accelerator = chain(Level("RF", capacity_bytes=1e3, width_bits=6, read_energy_pj=1.0, fill_energy_pj=2.0))
    nest = mapping_of(f"DRAM {ALL} P=4", f"RF {ALL} K=6 C=8")
    files = export(accelerator, FULLY_CONNECTED, nest)
    attributes = local_of(files)[1]["attributes"]
    assert (attributes["datawidth"], attributes["block_size"], attributes["entries"]) == (16, 1, 500)
    actions = load(files["ERT.yaml"])["ERT"]["tables"][1]["actions"]
    assert [action["energy"] for action in actions] == [3.0, 6.0, 0.0]


def test_a_capacity_beyond_the_format_is_unbounded() -> None:
    accelerator = chain(Level("HBM", capacity_bytes=2.0**34))
    files = export(accelerator, FULLY_CONNECTED, mapping_of(f"DRAM {ALL}", f"HBM {ALL} P=4 K=6 C=8"))
    assert "entries" not in local_of(files)[1]["attributes"]
    assert "HBM has 8589934592 words" in files["architecture.yaml"]


@pytest.mark.parametrize(
    ("name", "macs", "container"),
    [
        ("MAC", "MAC_", "MAC_children"),
        ("A_children", "MAC", "A_children_children"),
        ("inter_A_children_spatial", "MAC", "inter_A_children_spatial_children"),
    ],
)
def test_a_level_may_be_called_like_the_macs_or_a_container(name: str, macs: str, container: str) -> None:
    two = (Axis("x", 2),)
    accelerator = chain(Level("A", fanout=two), Level(name, capacity_bytes=1e3, fanout=two))
    files = export(
        accelerator, FULLY_CONNECTED, mapping_of(f"DRAM {ALL} P=4", f"A {ALL} x: K=2", f"{name} {ALL} K=3 C=4 x: C=2")
    )
    read(files)
    first = "A_children" if name == "MAC" else "A_children_"
    nodes = YAML(pure=True).load(files["architecture.yaml"])["architecture"]["nodes"]
    assert [node["name"] for node in nodes] == ["DRAM", "A", first, name, container, macs]


def test_what_cannot_run_or_be_named_is_refused() -> None:
    whole = mapping_of(f"DRAM {ALL} P=4 K=6 C=8")
    with pytest.raises(MappingError, match="levels must be DRAM GLB"):
        export(chain(Level("GLB")), FULLY_CONNECTED, whole)
    with pytest.raises(InfeasibleError, match="factors of K must multiply to 6"):
        export(chain(), FULLY_CONNECTED, mapping_of(f"DRAM {ALL} P=4 K=3 C=8"))
    with pytest.raises(InfeasibleError, match="do not fit into RF"):
        nest = mapping_of(f"DRAM {ALL}", f"RF {ALL} P=4 K=6 C=8")
        export(chain(Level("RF", capacity_bytes=2.0)), FULLY_CONNECTED, nest)
    with pytest.raises(ValueError, match="no loop nest"):
        export(chain(), softmax(rows=2, length=2), mapping_of("DRAM [inputs outputs] N=2 K=2"))
    scalar = Operator("dot", (("C", 4),), (Tensor("a b", "inputs", ((("C", 1),),)), Tensor("o", "outputs", ())))
    with pytest.raises(ValueError, match=r"not for Timeloop: level names .* \(got 'wire'\); tensor names .* rank with"):
        nest = Mapping((Block("DRAM", ("a b", "o"), (("C", 4),)), Block("wire")))
        export(chain(Level("wire")), scalar, nest)


def test_files_are_written(tmp_path: Path) -> None:
    nest = mapping_of(f"DRAM {ALL} P=4 K=6 C=8")
    folder = tmp_path / "new" / "layer"
    paths = write(folder, chain(), FULLY_CONNECTED, nest)
    files = export(chain(), FULLY_CONNECTED, nest)
    assert {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in paths} == files


@pytest.mark.parametrize("home", ["pytimeloop.timeloopfe.v4", "timeloopfe.v4"])
@pytest.mark.parametrize("code", [0, 1])
def test_run_hands_the_files_to_the_front_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: str, code: int
) -> None:
    write(tmp_path, chain(), FULLY_CONNECTED, mapping_of(f"DRAM {ALL} P=4 K=6 C=8"))
    asked: dict[str, Any] = {}

    def call_model(inputs: tuple[str, ...], output_dir: str, **options: Any) -> SimpleNamespace:
        asked.update(options, inputs=inputs)
        Path(output_dir).mkdir()
        (Path(output_dir) / "timeloop-model.stats.txt").write_text("Levels\nSummary Stats\nCycles: 192\n")
        return SimpleNamespace(wait=lambda: code)

    front_end = ModuleType(home)
    vars(front_end).update(call_model=call_model, Specification=SimpleNamespace(from_yaml_files=lambda *inputs: inputs))
    package, _, parent = home.removesuffix(".v4").rpartition(".")
    outer = ModuleType(parent)
    vars(outer)["v4"] = front_end
    modules = {home: front_end, home.removesuffix(".v4"): outer}
    if package:
        modules[package] = ModuleType(package)
        vars(modules[package])[parent] = outer
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    if code:
        with pytest.raises(SystemExit, match="timeloop-model failed"):
            runpy.run_path(str(tmp_path / "run.py"))
        return
    runpy.run_path(str(tmp_path / "run.py"))
    assert [Path(name).name for name in asked["inputs"]] == ["architecture.yaml", "problem.yaml", "mapping.yaml"]
    assert all(Path(name).exists() for name in (*asked["inputs"], *asked["extra_input_files"]))
    assert asked["return_proc"] is True
    assert all(
        f"{name}={value} " in (tmp_path / "README.txt").read_text() for name, value in asked["environment"].items()
    )
    assert "Cycles: 192" in capsys.readouterr().out
