"""Mapping files: what is written is read again, and what is wrong is named with its place."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import cases

from accelerators.documents import DocumentError
from accelerators.operators import Operator, Tensor, conv2d, matmul, softmax
from accelerators.spatial import mapping_file
from accelerators.spatial.mapping import Block, Mapping
from accelerators.spatial.mapping_file import Costs, LayerMapping, MappingDocument, dump, parse, read, save

TEXT = """\
version: 1
accelerator: tiny
layers:
  - name: conv1
    operator:
      kind: conv2d
      bounds: {K: 16, C: 8, P: 7, R: 3}
      tensors:
        - {name: weights, role: weights, ranks: [{K: 1}, {C: 1}, {R: 1}]}
        - {name: inputs, role: inputs, ranks: [{C: 1}, {P: 2, R: 1}]}
        - {name: outputs, role: outputs, ranks: [{K: 1}, {P: 1}], bits: 8}
    padded: {P: 8}
    mapping: |
      DRAM [weights inputs outputs] P=4
      GLB [inputs outputs] P=2 R=3 x: K=16 y: C=8
    costs: {energy_pj: 8630.5, latency_cycles: 48, objective: edp, certificate: proven optimal}
"""
OPERATOR = Operator(
    "conv2d",
    (("K", 16), ("C", 8), ("P", 7), ("R", 3)),
    (
        Tensor("weights", "weights", ((("K", 1),), (("C", 1),), (("R", 1),))),
        Tensor("inputs", "inputs", ((("C", 1),), (("P", 2), ("R", 1)))),
        Tensor("outputs", "outputs", ((("K", 1),), (("P", 1),)), bits=8),
    ),
)
NEST = Mapping.parse("DRAM [weights inputs outputs] P=4\nGLB [inputs outputs] P=2 R=3 x: K=16 y: C=8")
LAYER = LayerMapping("conv1", OPERATOR, NEST, {"P": 8}, Costs(8630.5, 48, "edp", "proven optimal"))
DOCUMENT = MappingDocument("tiny", (LAYER,))

WORDS = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "), max_size=12)


@st.composite
def layers(draw: st.DrawFn) -> LayerMapping:
    """A valid mapping of any loop nest; the operator may be smaller than what the mapping runs."""
    case = draw(cases())
    smaller = {dim: draw(st.integers(1, bound)) for dim, bound in case.operator.bounds if draw(st.booleans())}
    padded = {dim: case.operator.bound(dim) for dim in smaller}
    costs = st.builds(
        Costs,
        st.none() | st.floats(0, 1e300),
        st.none() | st.integers(0, 2**62),
        st.none() | WORDS,
        st.none() | WORDS,
    )
    operator = replace(case.operator.with_bounds(smaller), kind=draw(WORDS))
    return LayerMapping(draw(WORDS), operator, case.mapping, padded, draw(st.none() | costs))


@st.composite
def mapping_documents(draw: st.DrawFn) -> MappingDocument:
    found = draw(st.lists(layers(), min_size=1, max_size=3, unique_by=lambda layer: layer.name))
    return MappingDocument(draw(WORDS), tuple(found))


@settings(max_examples=100, deadline=None)
@given(mapping_documents())
def test_what_is_written_is_read_again(document: MappingDocument) -> None:
    assert parse(dump(document)) == document


def test_the_text_reads_like_the_example() -> None:
    assert dump(DOCUMENT) == TEXT
    assert parse(TEXT) == DOCUMENT
    example = mapping_file.__doc__.split("::\n\n")[1].split("\n\nA rank")[0]  # type: ignore[union-attr]
    assert parse("\n".join(line[4:] for line in example.splitlines()) + "\n") == DOCUMENT


def test_files_hold_any_number_of_layers(tmp_path) -> None:
    document = MappingDocument("tiny", tuple(replace(LAYER, name=f"layer {i}") for i in range(60)))
    path = tmp_path / "network.yaml"
    save(document, path)
    assert read(path) == document
    assert read(str(path)).layer("layer 7") == replace(LAYER, name="layer 7")
    with pytest.raises(KeyError):
        document.layer("layer 60")


def test_optional_parts_may_be_left_out() -> None:
    text = TEXT[: TEXT.index("    costs")].replace("P: 7", "P: 8").replace("    padded: {P: 8}\n", "")
    assert parse(text).layers == (LayerMapping("conv1", OPERATOR.with_bounds({"P": 8}), NEST),)


def test_numbers_of_numpy_are_written_as_numbers() -> None:
    np = pytest.importorskip("numpy")
    layer = replace(LAYER, costs=Costs(np.float64(2.5), np.int64(3)), bounds={"P": np.int64(8)})
    text = dump(MappingDocument("tiny", (layer,)))
    assert "costs: {energy_pj: 2.5, latency_cycles: 3}" in text
    assert "padded: {P: 8}" in text


def errors(text: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        parse(text, "file.yaml")
    return list(caught.value.problems)


def changed(*changes: tuple[str, str]) -> str:
    text = TEXT
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("version: 1", "version: 2", "1:10: version: must be one of 1 (got 2)"),
        ("accelerator: tiny\n", "", "1:1: accelerator: is required"),
        ("padded:", "pad:", "12:5: layers[0].pad: unknown key: did you mean padded?"),
        ("role: weights", "role: kernel", "9:33: layers[0].operator.tensors[0].role: must be one of"),
        ("{K: 16, C: 8", "{K: 0, C: 8", "7:19: layers[0].operator.bounds.K: must be >= 1 (got 0)"),
        ("P: 2,", "P: 2.5,", "10:60: layers[0].operator.tensors[1].ranks[1].P: must be an integer (got 2.5)"),
        ("bits: 8", "bits: 0", "11:73: layers[0].operator.tensors[2].bits: must be >= 1 (got 0)"),
        ("energy_pj: 8630.5", "energy_pj: .inf", "16:24: layers[0].costs.energy_pj: must be finite"),
        ("energy_pj: 8630.5", "energy_pj: -1", "16:24: layers[0].costs.energy_pj: must be >= 0 (got -1)"),
        ("{C: 1}, {P", "{D: 1}, {P", "6:7: layers[0].operator: conv2d: tensor inputs uses a dimension without a bound"),
        ("role: outputs", "role: inputs", "6:7: layers[0].operator: conv2d: exactly one tensor, the last, must have"),
        ("{P: 8}", "{P: 6}", "12:17: layers[0].padded.P: P must be padded to at least its bound, 7 (got 6)"),
        ("{P: 8}", "{P: 8, Q: 2}", "12:23: layers[0].padded.Q: no dimension 'Q' to pad"),
        ("P=2 R", "P=3 R", "13:14: layers[0].mapping: factors of P must multiply to 8 (got 12)"),
        (" R=3", "", "13:14: layers[0].mapping: factors of R must multiply to 3 (got 1)"),
        ("[weights inputs outputs]", "[inputs outputs]", "13:14: layers[0].mapping: some level must keep weights"),
        ("P=2 R", "P=2 S", "15:32: layers[0].mapping: line 2: no dimension 'S' (dimensions: K, C, P, R)"),
        ("K=16", "KK=16", "15:39: layers[0].mapping: line 2: no dimension 'KK'"),
        ("M [weights", "M [weight", "14:13: layers[0].mapping: line 1: no tensor 'weight': did you mean weights?"),
        ("B [inputs outputs", "B [outputs outputs", "15:12: layers[0].mapping: line 2: each tensor once (got outputs"),
        ("GLB", "DRAM", "15:7: layers[0].mapping: line 2: each level once (got DRAM twice)"),
        ("R=3 x", "R*3 x", "15:32: layers[0].mapping: line 2: expected DIM=FACTOR or AXIS: (got 'R*3')"),
        ("P=4", "P=0", "14:7: layers[0].mapping: line 1: DRAM.temporal: factor of P must be >= 1 (got 0)"),
        ("GLB [inputs outputs]", "GLB", "15:7: layers[0].mapping: line 2: expected LEVEL [TENSORS] LOOPS"),
    ],
)
def test_errors_have_place_rule_and_value(old: str, new: str, problem: str) -> None:
    found = errors(changed((old, new)))
    assert found[0].startswith(f"file.yaml:{problem}"), found


def test_all_problems_come_at_once() -> None:
    text = changed(("{P: 8}", "{P: 6}"), ("R=3 x: K", "T=3 x: KK"), ("P=4", "Z=4"))
    second = text[text.index("  - name") :]
    places = [problem.split(": layers")[0] for problem in errors(text + second)]
    first = ["file.yaml:12:17", "file.yaml:14:37", "file.yaml:15:32", "file.yaml:15:39"]
    assert places == [
        *first,
        "file.yaml:25:17",
        "file.yaml:27:37",
        "file.yaml:28:32",
        "file.yaml:28:39",
        "file.yaml:17:11",
    ]
    assert "name: must differ from the other layers' names (got 'conv1')" in errors(text + second)[-1]


def test_mistakes_in_several_lines_are_all_found() -> None:
    found = errors(changed(("P=4", "P4"), ("R=3", "R3")))
    assert [problem.split(": layers[0].mapping: ")[1] for problem in found] == [
        "line 1: expected DIM=FACTOR or AXIS: (got 'P4')",
        "line 2: expected DIM=FACTOR or AXIS: (got 'R3')",
    ]


@pytest.mark.parametrize("style", [">", '"'])
def test_nests_in_other_styles_are_read_with_the_place_of_the_whole(style: str) -> None:
    lines = str(NEST).replace("P=4", "Z=4").splitlines()
    folded = ">\n      " + "\n\n      ".join(lines)
    nest = folded if style == ">" else '"' + "\\n".join(lines) + '"'
    start, end = TEXT.index("|\n"), TEXT.index("    costs")
    text = TEXT[:start] + nest + "\n" + TEXT[end:]
    (problem,) = errors(text)
    assert problem.startswith("file.yaml:13:14: layers[0].mapping: line 1: no dimension 'Z'")
    assert parse(text.replace("Z=4", "P=4")) == DOCUMENT


def test_an_empty_nest_and_an_empty_file_are_refused() -> None:
    start, end = TEXT.index("|\n"), TEXT.index("    costs")
    (problem,) = errors(TEXT[:start] + "''\n" + TEXT[end:])
    assert problem == "file.yaml:13:14: layers[0].mapping: must have a line per storage level"
    assert errors("version: 1\naccelerator: tiny\nlayers: []\n") == [
        "file.yaml:3:9: layers: must have at least 1 entries (got 0)"
    ]
    assert errors("") == ["file.yaml:1:1: the document is empty"]


def test_files_that_cannot_be_read(tmp_path) -> None:
    with pytest.raises(DocumentError, match=r"none.yaml: cannot be read"):
        read(tmp_path / "none.yaml")
    path = tmp_path / "wrong.yaml"
    path.write_text(TEXT.replace("P=4", "Z=4"))
    with pytest.raises(DocumentError, match=r"wrong.yaml:14:37: layers\[0\].mapping: line 1: no dimension 'Z'"):
        read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bounds": {}}, "conv1: factors of P must multiply to 7 (got 8)"),
        ({"bounds": {"P": 8, "Q": 3}}, "conv1: no dimension 'Q' to pad"),
        ({"mapping": Mapping(())}, "conv1: must have a line per storage level"),
        ({"operator": softmax(rows=2, length=2)}, "streams its tensors and has no loop nest"),
        (
            {"mapping": Mapping((replace(NEST.blocks[0], level="my DRAM"), NEST.blocks[1]))},
            "must survive the text form",
        ),
    ],
)
def test_layers_that_do_not_fit_cannot_be_made(change: dict, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        replace(LAYER, **change)
    assert message in str(caught.value)


def test_documents_that_could_not_be_read_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="at least one layer"):
        MappingDocument("tiny", ())
    with pytest.raises(ValueError, match=r"layers must differ in name \(got conv1, conv1\)"):
        MappingDocument("tiny", (LAYER, LAYER))
    for value in (math.nan, math.inf, -1.0):
        with pytest.raises(ValueError, match="energy_pj must be finite and >= 0"):
            Costs(energy_pj=value)
    for text in ("two\nlines", "bell\x07"):
        with pytest.raises(ValueError, match="must be printable"):
            dump(replace(DOCUMENT, accelerator=text))
        with pytest.raises(ValueError, match="must be printable"):
            dump(replace(DOCUMENT, layers=(replace(LAYER, name=text),)))


def test_dimensions_of_bound_one_need_no_loop() -> None:
    whole = ("weights", "inputs", "outputs")
    fc = LayerMapping("fc", matmul(P=4, K=6, C=8), Mapping((Block("L", whole, (("P", 4), ("K", 6), ("C", 8))),)))
    one = LayerMapping("one", conv2d(K=1, C=1, P=1, Q=1, R=1, S=1), Mapping((Block("L", whole),)))
    document = MappingDocument("single", (fc, one))
    assert parse(dump(document)) == document


def test_the_schema_knows_the_keys() -> None:
    assert set(mapping_file.schema()["properties"]) == {"version", "accelerator", "datasheet", "layers"}
