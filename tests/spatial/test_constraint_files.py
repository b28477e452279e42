"""Constraint files: how they are read, what they mean on an accelerator, and the dataflows that the program ships."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from accelerators import catalog
from accelerators.costs import Cost, Infeasible
from accelerators.documents import DocumentError
from accelerators.operators import Operator, batched_matmul, conv2d, depthwise, matmul
from accelerators.spatial import constraint_files
from accelerators.spatial.architecture import Axis, Compute, Level, SpatialAccelerator
from accelerators.spatial.constraints import Constraints, LevelConstraint, SpatialConstraint, violations
from accelerators.spatial.kernels.arrays import VALID
from accelerators.spatial.mapping import Block, Mapping
from accelerators.spatial.model import Analysis, evaluate, evaluate_packed
from accelerators.spatial.problem import Problem
from mappers import LocalSearch, Mapspace, map_operator


def chain(*levels: Level) -> SpatialAccelerator:
    return SpatialAccelerator("mine", levels, Compute(1.0), clock_hz=1e9)


def level(
    name: str, keeps: str = "weights inputs outputs", *axes: Axis, size: float | None = None, pj: float = 1.0
) -> Level:
    return Level(
        name,
        frozenset(keeps.split()),
        capacity_bytes=size,
        read_energy_pj=pj,
        fill_energy_pj=pj,
        update_energy_pj=pj,
        fanout=axes,
    )


#: Two fanouts; the inner one is the array, with three levels inside.
DEEP = chain(
    level("DRAM"),
    level("L2", "weights inputs outputs", Axis("cores", 4)),
    level("L1", "inputs outputs", Axis("x", 4, frozenset("KG")), Axis("y", 2)),
    level("A", "inputs"),
    level("B", "weights"),
    level("C", "outputs"),
)
FLAT = chain(level("DRAM"), level("L1", "weights inputs outputs", Axis("x", 8)))
SCALAR = chain(level("DRAM"), level("L1"))
#: Registers for everything and wires for every dimension: each dataflow has a place here.
FREE = chain(
    level("DRAM", pj=200),
    level("L1", "weights inputs outputs", Axis("x", 8), Axis("y", 8), size=32768, pj=6),
    level("RF", size=256, pj=1),
)

EXAMPLE = """\
name: mine
description: every part of the format
source: "none"
needs: {keep: [weights], unroll: [K]}
min_utilisation: 0.5
levels:
  DRAM: {outermost: [K], max_factors: {P: 4}}
  "@array":
    innermost: [N, P, Q]
    axes: {"*": {unroll: [K, C]}, y: {factors: {C: 2}}}
  "@inside": {temporal: [N, P, Q]}
  B: {keep: [weights], min_factors: {P: 2}}
"""


def read(levels: str, head: str = "") -> constraint_files.ConstraintRules:
    return constraint_files.from_text(f"name: mine\n{head}levels:\n{levels}", "mine.yaml")


# --- the format -------------------------------------------------------------------------------------------------------


def test_every_part_of_the_format() -> None:
    inside = LevelConstraint(dims=frozenset("NPQ"))
    assert constraint_files.from_text(EXAMPLE).resolve(DEEP) == Constraints(
        "mine",
        {
            "DRAM": LevelConstraint(outermost=("K",), max_factors={"P": 4}),
            "L1": LevelConstraint(
                innermost=("N", "P", "Q"),
                axes={
                    "x": SpatialConstraint(frozenset("KC")),
                    "y": SpatialConstraint(frozenset("KC"), factors={"C": 2}),
                },
            ),
            "A": inside,
            "B": LevelConstraint(dims=frozenset("NPQ"), keep=frozenset({"weights"}), min_factors={"P": 2}),
            "C": inside,
        },
        0.5,
    )


@pytest.mark.parametrize(
    ("accelerator", "expected"),
    [
        (DEEP, {"@outermost": "DRAM", "@array": "L1", "@pe": "A", "@innermost": "C", "@inside": "A B C"}),
        (FLAT, {"@outermost": "DRAM", "@array": "L1", "@innermost": "L1", "@inside": ""}),
        (SCALAR, {"@outermost": "DRAM", "@innermost": "L1", "@inside": ""}),
        # Two fanouts of one size: the array is the one next to the MACs.
        (catalog.load("tpu_v1"), {"@array": "accumulators", "@pe": "weight_register"}),
        (catalog.load("simba_chiplet"), {"@array": "accumulation_buffer"}),
    ],
    ids=["deep", "flat", "scalar", "tpu_v1", "simba_chiplet"],
)
def test_what_selectors_mean(accelerator: SpatialAccelerator, expected: dict[str, str]) -> None:
    for selector, names in expected.items():
        assert " ".join(read(f'  "{selector}": {{temporal: [K]}}').resolve(accelerator).levels) == names


def test_the_more_specific_rule_wins_whatever_comes_first() -> None:
    order = ["@inside", "@outermost", "@innermost", "@array", "@pe", "C"]
    text = {
        key: f'  "{key}": {{max_factors: {{K: {i + 1}}}, min_factors: {{}}, innermost: [{"NGKCPQ"[i]}]}}'
        for i, key in enumerate(order)
    }
    for keys in (order, order[::-1]):
        found = read("\n".join(text[key] for key in keys)).resolve(DEEP).levels
        factors = {name: rule.max_factors["K"] for name, rule in found.items()}
        assert factors == {"DRAM": 2, "L1": 4, "A": 5, "B": 1, "C": 6}
    one = chain(level("only", "weights inputs outputs", Axis("x", 2)))
    found = read("\n".join(text[key] for key in order if key not in ("@pe", "C"))).resolve(one).levels
    assert found["only"].max_factors == {"K": 4}


def test_rules_are_merged_field_by_field() -> None:
    rules = read(
        """\
  "@array": {temporal: [K, C], innermost: [K], axes: {"*": {unroll: [K], max_factors: {K: 2}}}}
  L1: {temporal: [P], axes: {y: {max_factors: {C: 2}}}}
"""
    )
    assert rules.resolve(DEEP).levels == {
        "L1": LevelConstraint(
            dims=frozenset("P"),
            innermost=("K",),
            axes={
                "x": SpatialConstraint(frozenset("K"), max_factors={"K": 2}),
                "y": SpatialConstraint(frozenset("K"), max_factors={"C": 2}),
            },
        )
    }


def test_an_axis_without_the_wires_stays_idle() -> None:
    axes = read('  "@array": {axes: {"*": {unroll: [C]}}}').resolve(DEEP).levels["L1"].axes
    assert {name: axis.dims for name, axis in axes.items()} == {"x": frozenset(), "y": frozenset("C")}


def test_one_file_for_many_accelerators_is_read_once() -> None:
    rules = read('  "@outermost": {outermost: [K]}')
    assert rules.name == "mine"
    assert rules.resolve(DEEP) == rules.resolve(FLAT) == rules.resolve(SCALAR)


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("levels", "problems"),
    [
        (
            '  "@aray": {inermost: [K]}',
            [r"mine.yaml:3:13: levels.@aray.inermost: unknown key: did you mean innermost"],
        ),
        ('  "@aray": {}', [r"mine.yaml:3:3: levels.@aray: unknown selector: did you mean @array\? \(known: @pe, @arr"]),
        (
            "  L1: {factors: {K: 0}, innermost: [k], keep: [weight]}",
            [
                r"mine.yaml:3:37: levels.L1.innermost\[0\]: must be a dimension: .* \(got 'k'\)",
                r"mine.yaml:3:21: levels.L1.factors.K: must be >= 1 \(got 0\)",
                r"mine.yaml:3:48: levels.L1.keep\[0\]: must be one of 'weights', .* \(got 'weight'\)",
            ],
        ),
        (
            "  L1: {factors: {K: 2}, min_factors: {K: 2, C: 4}, max_factors: {C: 3}}",
            [
                r"3:21: levels.L1.factors.K: give either a factor or bounds of it",
                r"3:48: levels.L1.min_factors.C: must be <= max_factors, 3 \(got 4\)",
            ],
        ),
        (
            "  L1: {temporal: [K], factors: {C: 2, K: 2}, innermost: [K, K], outermost: [K], keep: [inputs], "
            "bypass: [inputs]}",
            [
                r"levels.L1.factors.C: C must be in temporal, K \(got a factor of 2\)",
                r"levels.L1.innermost\[1\]: entries must differ \(got K twice\)",
                r"levels.L1.outermost\[0\]: a loop cannot be innermost and outermost \(got K\)",
                r"levels.L1.keep\[0\]: a tensor cannot be kept and bypassed \(got inputs\)",
            ],
        ),
        (
            "  L1: {axes: {x: {unroll: [K], min_factors: {P: 2}}}}",
            [r"levels.L1.axes.x.min_factors.P: P must be in unroll, K \(got a factor of 2\)"],
        ),
        (
            "  @array: {}",
            [r"3:3: not valid YAML: found character '@' .* \(selectors and the axis \* must be in quotes\)"],
        ),
        ("  L1: {axes: {*: {}}}", [r"3:15: not valid YAML: .*quotes"]),
        ("  L1:\n    axes:\n      *: {}", [r"5:7: not valid YAML: .*quotes"]),
    ],
)
def test_a_file_that_is_wrong_whatever_the_accelerator(levels: str, problems: list[str]) -> None:
    with pytest.raises(DocumentError) as caught:
        read(levels)
    same(caught.value, problems)


def same(error: DocumentError, expected: list[str]) -> None:
    assert len(error.problems) == len(expected), str(error)
    for problem, pattern in zip(error.problems, expected, strict=True):
        assert re.search(pattern, problem), problem


@pytest.mark.parametrize(
    ("accelerator", "levels", "problems"),
    [
        (
            DEEP,
            "  AB: {}\n  DRAM: {axes: {z: {}}, keep: [inputs]}\n  L1: {axes: {X: {}}, keep: [weights, inputs]}",
            [
                r"mine.yaml:3:3: levels.AB: mine has no such level: did you mean B, A\? \(levels: DRAM, L2, L1, A, ",
                r"mine.yaml:4:17: levels.DRAM.axes.z: DRAM has no axis 'z' \(axes: none\)",
                r"mine.yaml:5:15: levels.L1.axes.X: L1 has no axis 'X': did you mean x\? \(axes: x, y\)",
                r"mine.yaml:5:30: levels.L1.keep\[0\]: L1 cannot keep weights \(it may keep inputs, outputs\)",
            ],
        ),
        (
            DEEP,
            "  L1: {axes: {x: {unroll: [P, Q]}, y: {unroll: [P]}}}\n  DRAM: {bypass: [inputs]}",
            [
                r"3:27: levels.L1.axes.x.unroll: axis x of L1 may unroll only G, K \(got P, Q\)",
                r"4:19: levels.DRAM.bypass\[0\]: inputs live in DRAM, the outermost level that keeps them",
            ],
        ),
        (
            DEEP,
            "  L1: {axes: {x: {factors: {C: 2, K: 2}}}}",
            [r"3:32: .*axes.x.factors.C: axis x .* may unroll only G, K"],
        ),
        # A rule of a selector fails where the selector's rule stands, once for every level.
        (
            DEEP,
            '  "@inside": {keep: [weights]}',
            [
                r"3:22: levels.@inside.keep\[0\]: A cannot keep weights \(it may keep inputs\)",
                r"3:22: levels.@inside.keep\[0\]: C cannot keep weights \(it may keep outputs\)",
            ],
        ),
        (
            DEEP,
            '  "@array": {axes: {"*": {factors: {P: 2}}}}',
            [r"levels.@array.axes.\*.factors.P: axis x of L1 may unroll only G, K"],
        ),
        # Rules that are right one by one and contradict each other at one level.
        (
            DEEP,
            '  "@pe": {innermost: [K], temporal: [K]}\n  A: {outermost: [K], factors: {C: 2}}',
            [r"4:36: levels.A.factors.C: C must be in temporal, K", r"4:19: levels.A.outermost\[0\]: a loop cannot be"],
        ),
        (
            catalog.load("eyeriss"),
            "  global_bufer: {axes: {z: {}}}",
            [
                r"3:3: levels.global_bufer: eyeriss has no such level: did you mean global_buffer\? "
                r"\(levels: DRAM, global_buffer, ifmap_spad, weight_spad, psum_spad\)"
            ],
        ),
        (FLAT, '  "@pe": {}', [r"3:3: levels.@pe: mine has no such level: its MACs follow L1 \(levels: DRAM, L1\)"]),
        (
            SCALAR,
            '  "@array": {}\n  "@pe": {}',
            [
                r"3:3: levels.@array: mine has no array: no level has a fanout \(levels: DRAM, L1\)",
                r"4:3: levels.@pe: mine has no array: no level has a fanout",
            ],
        ),
    ],
)
def test_a_file_that_does_not_fit_the_accelerator(
    accelerator: SpatialAccelerator, levels: str, problems: list[str]
) -> None:
    with pytest.raises(DocumentError) as caught:
        read(levels).resolve(accelerator)
    same(caught.value, problems)


def test_needs_name_what_there_is() -> None:
    rules = read('  "@outermost": {}', "needs: {keep: [weights, outputs], unroll: [R, K]}\n")
    rules.resolve(DEEP)
    with pytest.raises(DocumentError) as caught:
        rules.resolve(catalog.load("gemmini_16x16"))
    same(
        caught.value,
        [
            r"2:25: needs.keep\[1\]: needs a level .* gemmini_16x16 that keeps outputs \(weight_register keeps w",
            r"2:44: needs.unroll\[0\]: needs an axis .* gemmini_16x16 that unrolls R \(x unrolls K; y unrolls C\)",
        ],
    )
    for accelerator in (FLAT, SCALAR):
        with pytest.raises(DocumentError, match=r"inside the array of mine that keeps weights \(there is none\)"):
            rules.resolve(accelerator)


def test_files_and_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(EXAMPLE)
    assert constraint_files.load(path).resolve(DEEP) == constraint_files.from_text(EXAMPLE).resolve(DEEP)
    path.write_text("name: mine\nlevels: {@array: {}}")
    with pytest.raises(DocumentError, match=r"mine.yaml:2:10: not valid YAML: .* must be in quotes"):
        constraint_files.load(str(path))
    with pytest.raises(DocumentError, match=r"unknown constraints 'weigt_stationary': did you mean weight_stationary"):
        constraint_files.load("weigt_stationary")
    with pytest.raises(DocumentError, match="cannot be read"):
        constraint_files.load(tmp_path / "none.yaml")


# --- the dataflows that come with the program -------------------------------------------------------------------------

OPERATORS = (
    conv2d(K=16, C=12, P=14, Q=14, R=3, S=3),
    conv2d(K=8, C=3, P=12, Q=12, R=7, S=7, stride=2),
    depthwise(G=16, P=14, Q=14, R=3, S=3),
    matmul(P=8, K=24, C=36),
    batched_matmul(G=4, P=16, K=16, C=8),
    conv2d(K=1, C=1, P=1, Q=1, R=1, S=1),
)
#: Dataflow: (what stays, the dimensions that it does not have, the accelerators of the catalog that it suits).
STATIONARY = {
    "weight_stationary": ("weights", "NPQ", set(catalog.names("spatial")) - {"shidiannao"}),
    "output_stationary": ("outputs", "CRS", {"eyeriss", "shidiannao"}),
    "input_stationary": ("inputs", "K", {"eyeriss"}),
}
SUITS = {**{name: suits for name, (_, _, suits) in STATIONARY.items()}, "row_stationary": {"eyeriss"}}


def test_names() -> None:
    assert set(constraint_files.names()) == set(SUITS)
    for name in constraint_files.names():
        rules = constraint_files.load(name)
        assert rules.name == name
        assert rules.sheet.source
        assert rules.sheet.description


@pytest.mark.parametrize("name", catalog.names("spatial"))
@pytest.mark.parametrize("dataflow", SUITS)
def test_a_dataflow_suits_an_accelerator_or_says_why_not(dataflow: str, name: str) -> None:
    rules = constraint_files.load(dataflow)
    if name in SUITS[dataflow]:
        assert rules.resolve(catalog.load(name)).name == dataflow
    else:
        with pytest.raises(
            DocumentError, match=rf"{dataflow}.yaml:\d+:\d+: needs.keep.*: needs a level .* of {name} that"
        ):
            rules.resolve(catalog.load(name))


def mapped(accelerator: SpatialAccelerator, operator: Operator, rules: Constraints) -> Analysis:
    result = map_operator(accelerator, operator, mapper=LocalSearch, constraints=rules, evaluations=2500)
    assert not isinstance(result, Infeasible), result
    roles = {tensor.name: tensor.role for tensor in operator.tensors}
    assert list(violations(rules, result.mapping, roles)) == []
    return result.cost.details


def some(space: Mapspace, number: int = 12) -> Iterator[Analysis]:
    """The first valid ones of many random mappings."""
    drawn = space.sample(4000, 5)
    for i in np.nonzero(space.evaluate(drawn).status == VALID)[0][:number]:
        cost = evaluate_packed(space.problem, drawn, int(i))
        assert isinstance(cost, Cost)
        yield cost.details


def array_of(accelerator: SpatialAccelerator) -> int:
    return max(range(len(accelerator.levels)), key=lambda i: (accelerator.levels[i].children, i))


def traffic(analysis: Analysis, role: str, array: int) -> tuple[int, int, int]:
    """What the PEs receive of a tensor (fills of its innermost level inside), and what serves them: reads, updates."""
    tensor = next(t.name for t in analysis.operator.tensors if t.role == role)
    keepers = [i for i, v in enumerate(analysis.levels) if v.tensor(tensor).kept]
    inside = [i for i in keepers if i > array]
    assert inside, "the tensor has no place in the PEs"
    serving = analysis.levels[max(i for i in keepers if i < inside[-1])]
    counts = serving.tensor(tensor)
    return analysis.levels[inside[-1]].tensor(tensor).fills, counts.reads, counts.updates


def without_loops(
    accelerator: SpatialAccelerator, analysis: Analysis, dims: str, array: int
) -> tuple[Analysis, dict[str, int]]:
    """The mapping without the array level's loops over some dimensions, on the operator that is smaller by them."""
    blocks = list(analysis.mapping.blocks)
    removed = {dim: factor for dim, factor in blocks[array].temporal if dim in dims}
    rest = tuple(loop for loop in blocks[array].temporal if loop[0] not in removed)
    blocks[array] = Block(blocks[array].level, blocks[array].keep, rest, blocks[array].spatial)
    operator = analysis.operator
    smaller = operator.with_bounds({dim: operator.bound(dim) // factor for dim, factor in removed.items()})
    cost = evaluate(accelerator, smaller, [Mapping(tuple(blocks))])[0]
    assert isinstance(cost, Cost)
    return cost.details, removed


@pytest.mark.parametrize(
    ("dataflow", "name"), [(d, n) for d, (_, _, suits) in STATIONARY.items() for n in sorted(suits | {"free"})]
)
def test_what_is_stationary_moves_no_more_for_the_loops_that_it_stays_for(dataflow: str, name: str) -> None:
    """Without the array's loops over the dimensions that a tensor does not have, as many of its words move.

    For the best mapping found and for random ones: it is a property of the space, not of what is good in it.
    """
    accelerator = FREE if name == "free" else catalog.load(name)
    role, dims, _ = STATIONARY[dataflow]
    rules = constraint_files.load(dataflow).resolve(accelerator)
    array = array_of(accelerator)
    stayed: Counter[str] = Counter()
    for operator in OPERATORS:
        for analysis in (mapped(accelerator, operator, rules), *some(Mapspace(Problem(accelerator, operator), rules))):
            smaller, removed = without_loops(accelerator, analysis, dims, array)
            assert traffic(smaller, role, array) == traffic(analysis, role, array)
            inside = {dim for block in analysis.mapping.blocks[array + 1 :] for dim, _ in block.temporal}
            assert inside <= set(dims) | (set("RS") if role == "inputs" else set())
            for _, loops in analysis.mapping.blocks[array].spatial:
                assert not {dim for dim, _ in loops} & set(dims)
            others = {dim for dim, _ in analysis.mapping.blocks[array].temporal} - set(removed)
            stayed[operator.kind] += bool(removed and others)
    # Depthwise layers have no sum over channels and one kernel per channel, so that their inputs stay for nothing.
    kinds = {"conv2d", "matmul", "batched_matmul"} | ({"depthwise"} if role != "inputs" else set())
    assert {kind for kind, number in stayed.items() if number} >= kinds


def test_the_order_is_what_makes_it_stationary() -> None:
    """Were the loops over P and Q outside those of the weights, the weights would come again for each of them."""
    rules = constraint_files.load("weight_stationary").resolve(FREE)
    array = array_of(FREE)
    text = (
        "DRAM [weights inputs outputs] K=2\nL1 [weights inputs outputs] {} x: K=8 y: C=4\nRF [weights inputs outputs]"
    )
    operator = matmul(P=8, K=16, C=12)
    roles = {tensor.name: tensor.role for tensor in operator.tensors}
    moved = []
    for order in ("C=3 P=8", "P=8 C=3"):
        mapping = Mapping.parse(text.format(order))
        cost = evaluate(FREE, operator, [mapping])[0]
        assert isinstance(cost, Cost)
        moved.append(traffic(cost.details, "weights", array))
        assert bool(list(violations(rules, mapping, roles))) == (order == "P=8 C=3")
    # One weight after another: each PE receives the 3 of every tile once, or 8 times.
    assert moved == [(2 * 3, 2 * 3 * 32, 0), (8 * 2 * 3, 8 * 2 * 3 * 32, 0)]


@pytest.mark.parametrize("operator", OPERATORS, ids=str)
def test_row_stationary_is_the_native_dataflow_of_eyeriss(operator: Operator) -> None:
    accelerator = catalog.load("eyeriss")
    problem = Problem(accelerator, operator)
    ours = Mapspace(problem, constraint_files.load("row_stationary").resolve(accelerator)).arrays
    theirs = Mapspace(problem).arrays
    assert all((mine == native).all() for mine, native in zip(ours, theirs, strict=True))


def test_row_stationary_leaves_rows_of_kernels_to_the_array() -> None:
    rules = constraint_files.load("row_stationary").resolve(FREE)
    rows = 0
    for analysis in some(Mapspace(Problem(FREE, OPERATORS[0]), rules), 100):
        _, array, pe = analysis.mapping.blocks
        assert {dim for dim, _ in pe.temporal} <= set("CSK")
        loops = [dim for dim, _ in array.temporal]
        assert not {"R", "S"} & set(loops)
        assert "Q" not in loops[:-1]
        rows += "R" in {dim for _, axis in array.spatial for dim, _ in axis}
    assert rows


@pytest.mark.parametrize("operator", OPERATORS, ids=str)
@pytest.mark.parametrize("dataflow", SUITS)
def test_every_layer_runs_in_every_dataflow(dataflow: str, operator: Operator) -> None:
    mapped(FREE, operator, constraint_files.load(dataflow).resolve(FREE))


def test_stationary_dataflows_differ() -> None:
    spaces = {
        name: Mapspace(Problem(FREE, OPERATORS[0]), constraint_files.load(name).resolve(FREE)).size() for name in SUITS
    }
    free = Mapspace(Problem(FREE, OPERATORS[0])).size()
    assert len(set(spaces.values())) == len(spaces)
    assert max(spaces.values()) < free / 100
