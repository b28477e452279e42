"""Mappings as text and objects, and the constraints that a dataflow puts on them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelerators.spatial.constraints import Constraints, LevelConstraint, SpatialConstraint, violations
from accelerators.spatial.mapping import Block, Mapping, MappingError

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,3}", fullmatch=True)
LOOPS = st.lists(st.tuples(NAMES, st.integers(1, 4000)), max_size=4, unique_by=lambda loop: loop[0]).map(tuple)
BLOCKS = st.builds(
    Block,
    st.from_regex(r"[A-Za-z0-9_.:=-]{1,6}", fullmatch=True),
    st.lists(NAMES, max_size=4, unique=True).map(tuple),
    LOOPS,
    st.lists(st.tuples(NAMES, LOOPS), max_size=3, unique_by=lambda axis: axis[0]).map(tuple),
)
TEXT = """\
DRAM [weights inputs outputs] K=4 P=7
GLB [inputs outputs] C=8 x: K=16 y: C=4 R=3
RF [weights outputs] K=2
"""


@settings(max_examples=200, derandomize=True)
@given(st.lists(BLOCKS, max_size=4))
def test_text_and_back(blocks: list[Block]) -> None:
    mapping = Mapping(tuple(blocks))
    assert Mapping.parse(str(mapping)) == mapping


def test_parse_reads_the_grammar() -> None:
    mapping = Mapping.parse("\n" + TEXT + "\n  \n")
    assert str(mapping) == TEXT.strip()
    assert mapping.block("GLB") == Block(
        "GLB", ("inputs", "outputs"), (("C", 8),), (("x", (("K", 16),)), ("y", (("C", 4), ("R", 3))))
    )
    assert mapping.factors("K") == [4, 16, 2]
    assert mapping.factors("S") == []
    with pytest.raises(KeyError):
        mapping.block("L2")


def test_nest_reads_like_code() -> None:
    lines = Mapping.parse("DRAM [weights] K=4\nRF [] x: C=2").nest().splitlines()
    assert lines == [
        "DRAM: weights",
        "for k in 4:",
        "  RF: (nothing)",
        "  parallel for c in 2:  # along x",
        "    multiply-accumulate",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("DRAM K=4", r"line 1: expected LEVEL \[TENSORS\] LOOPS \(got 'DRAM K=4'\)"),
        ("[weights] K=4", r"line 1: expected LEVEL \[TENSORS\] LOOPS"),
        ("DRAM []\n\nRF [weights K=4", r"line 3: expected LEVEL \[TENSORS\] LOOPS"),
        ("DRAM []\nRF [weights] K:4", r"line 2: expected DIM=FACTOR or AXIS: \(got 'K:4'\)"),
        ("DRAM [] K=two", r"line 1: expected DIM=FACTOR or AXIS: \(got 'K=two'\)"),
        ("DRAM [] K=-2", r"line 1: expected DIM=FACTOR or AXIS: \(got 'K=-2'\)"),
        ("DRAM [] K = 4", r"line 1: expected DIM=FACTOR or AXIS: \(got 'K'\)"),
        ("DRAM [] K=0", r"line 1: DRAM.temporal: factor of K must be >= 1 \(got 0\)"),
        ("DRAM []\nRF [] K=2 P=3 K=4", r"line 2: RF.temporal: one loop per dimension \(got K twice\)"),
        ("RF [] x: K=2 K=4", r"line 1: RF.x: one loop per dimension \(got K twice\)"),
        ("RF [] x: K=2 y: C=2 x: K=2", r"line 1: RF.*\bx\b"),
        ("RF [] x: K=2 y: C=2 x: P=2", r"line 1: RF.*\bx\b"),
    ],
)
def test_errors_name_line_and_rule(text: str, message: str) -> None:
    with pytest.raises(MappingError, match=message):
        Mapping.parse(text)


def test_blocks_check_themselves() -> None:
    with pytest.raises(MappingError, match=r"RF.temporal: factor of K must be >= 1 \(got -1\)"):
        Block("RF", temporal=(("K", -1),))
    with pytest.raises(MappingError, match=r"RF.y: one loop per dimension"):
        Block("RF", spatial=(("y", (("K", 2), ("K", 3))),))
    assert Block("RF", temporal={"K": 2, "C": 1}) == Block("RF", temporal=(("K", 2),))  # type: ignore[arg-type]
    assert Block("RF", spatial=(("x", (("K", 1),)),)) == Block("RF")


# --- constraints ------------------------------------------------------------------------------------------------------

ROLES = {"weights": "weights", "inputs": "inputs", "outputs": "outputs"}


def broken(level: str, rule: LevelConstraint) -> list[str]:
    """What is wrong with the mapping above, by rule."""
    return list(violations(Constraints(levels={level: rule}), Mapping.parse(TEXT), ROLES))


def on_axis(axis: str, rule: SpatialConstraint) -> list[str]:
    return broken("GLB", LevelConstraint(axes={axis: rule}))


def test_no_constraints_no_violations() -> None:
    assert not list(violations(Constraints(), Mapping.parse(TEXT), ROLES))


@pytest.mark.parametrize(
    ("level", "rule", "expected"),
    [
        ("DRAM", LevelConstraint(dims=frozenset("K")), ["DRAM.dims: a loop over P is not allowed (got P=7)"]),
        ("DRAM", LevelConstraint(dims=frozenset("KP")), []),
        ("DRAM", LevelConstraint(factors={"K": 2}), ["DRAM.factors: K must be 2 (got 4)"]),
        ("DRAM", LevelConstraint(factors={"C": 1, "K": 4}), []),
        ("DRAM", LevelConstraint(min_factors={"K": 8}), ["DRAM.min_factors: K must be at least 8 (got 4)"]),
        ("DRAM", LevelConstraint(min_factors={"P": 8}), []),  # all of P is there
        ("DRAM", LevelConstraint(min_factors={"C": 2}), ["DRAM.min_factors: C must be at least 2 (got 1)"]),
        ("DRAM", LevelConstraint(max_factors={"P": 6}), ["DRAM.max_factors: P must be at most 6 (got 7)"]),
        ("DRAM", LevelConstraint(min_factors={"P": 7}, max_factors={"P": 7}), []),
        ("DRAM", LevelConstraint(innermost=("K",)), ["DRAM.innermost: the inner loops must be K (got K P)"]),
        ("DRAM", LevelConstraint(innermost=("K", "P")), []),
        ("DRAM", LevelConstraint(innermost=("P", "C")), []),
        ("DRAM", LevelConstraint(outermost=("P",)), ["DRAM.outermost: the outer loops must be P (got K P)"]),
        ("DRAM", LevelConstraint(outermost=("R", "K")), []),
        ("RF", LevelConstraint(keep=frozenset({"inputs", "weights"})), ["RF.keep: inputs must be kept"]),
        ("RF", LevelConstraint(bypass=frozenset({"inputs", "weights"})), ["RF.bypass: weights must not be kept"]),
        (
            "RF",
            LevelConstraint(dims=frozenset("C"), max_factors={"K": 1}),
            ["RF.dims: a loop over K is not allowed (got K=2)", "RF.max_factors: K must be at most 1 (got 2)"],
        ),
    ],
)
def test_constraints_on_a_level(level: str, rule: LevelConstraint, expected: list[str]) -> None:
    assert broken(level, rule) == expected


@pytest.mark.parametrize(
    ("axis", "rule", "expected"),
    [
        ("y", SpatialConstraint(dims=frozenset("C")), ["GLB.y.dims: R may not be unrolled (got R=3)"]),
        ("x", SpatialConstraint(dims=frozenset("K")), []),
        ("x", SpatialConstraint(factors={"K": 8}), ["GLB.x.factors: K must be 8 (got 16)"]),
        ("x", SpatialConstraint(factors={"C": 2}), ["GLB.x.factors: C must be 2 (got 1)"]),
        ("x", SpatialConstraint(max_factors={"K": 15}), ["GLB.x.max_factors: K must be at most 15 (got 16)"]),
        ("x", SpatialConstraint(max_factors={"K": 16}), []),
    ],
)
def test_constraints_on_an_axis(axis: str, rule: SpatialConstraint, expected: list[str]) -> None:
    assert on_axis(axis, rule) == expected


def test_a_wanted_factor_on_an_unused_axis_is_missed() -> None:
    assert on_axis("z", SpatialConstraint(factors={"K": 2})) == ["GLB.z.factors: K must be 2 (got 1)"]


def test_roles_stand_for_all_their_tensors() -> None:
    """Two tensors share a role: keeping one of them keeps the role."""
    nest = Mapping.parse("GLB [first] K=2")
    roles = {"first": "inputs", "second": "inputs", "out": "outputs"}
    rules = {"GLB": LevelConstraint(keep=frozenset({"inputs", "weights"}))}
    assert not list(violations(Constraints(levels=rules), nest, roles))
