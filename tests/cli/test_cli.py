"""The command line as a user calls it: results, files, and refusals without tracebacks."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from calls import TINY, codesign, refused

from codesign.networks import NetworkError


def test_evaluate_prints_a_table_and_writes_files(tiny: Path, tmp_path: Path) -> None:
    other = tmp_path / "wide.yaml"
    other.write_text(TINY.replace("name: tiny", "name: wide").replace("16 B/cycle", "64 B/cycle"))
    json_file, csv_file, folder = tmp_path / "out.json", tmp_path / "out.csv", tmp_path / "runs" / "one"
    done = codesign(
        "evaluate", "ds_cnn", "--on", tiny, other, "--evaluations", 3000, "--layers",
        "--json", json_file, "--csv", csv_file, "--out", folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "tiny" in done.stdout
    assert "wide" in done.stdout
    results = json.loads(json_file.read_text())
    assert [r["hardware"] for r in results] == ["tiny", "wide"]
    for result in results:
        assert result["energy_pj"] == pytest.approx(sum(layer["energy_pj"] for layer in result["layers"]))
        assert result["energy_pj"] == pytest.approx(sum(result["energy_breakdown_pj"].values()))
        assert result["latency_s"] == pytest.approx(sum(layer["latency_s"] for layer in result["layers"]))
        assert result["edp_js"] == pytest.approx(result["energy_pj"] * 1e-12 * result["latency_s"])
        assert result["macs"] == 2_656_768
    with csv_file.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(result["layers"]) for result in results)
    assert {path.name for path in folder.iterdir()} == {
        "summary.csv", "layers.csv", "results.json", "mappings_tiny.yaml", "mappings_wide.yaml",
    }  # fmt: skip


def test_same_call_same_result(tiny: Path, tmp_path: Path) -> None:
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file in files:
        assert codesign("evaluate", "ds_cnn", "--on", tiny, "--evaluations", 3000, "--json", file).returncode == 0
    assert files[0].read_text() == files[1].read_text()


def test_map_prints_the_nest_and_the_counts(tiny: Path) -> None:
    done = codesign("map", "resnet50:layer3.0.conv2", "--on", tiny, "--evaluations", 3000)
    assert done.returncode == 0, done.stderr
    for text in ("DRAM: weights inputs outputs", "parallel for", "multiply-accumulate", "reads", "EDP"):
        assert text in done.stdout


def test_list_and_show(tiny: Path) -> None:
    assert "resnet50" in codesign("list", "networks").stdout
    assert codesign("list", "accelerators").returncode == 0
    shown = codesign("show", tiny).stdout
    assert "'64 kB' read as 65536 bytes" in shown
    assert json.loads(codesign("schema").stdout)["title"] == "SpatialSheet"


def test_the_lectures_devices_can_be_read_off_the_list() -> None:
    rows = {line.split()[0]: line for line in codesign("list", "accelerators").stdout.splitlines() if line.strip()}
    for name, *figures in (
        ("gtx_1080ti", "10 TOP/s", "11 GB", "250 W"),
        ("raspberry_pi_3", "50 GOP/s", "1 GB", "1.5 W"),
        ("micro_bit", "16 MOP/s", "16 kB", "1 mW"),
        ("arduino_uno", "4 MOP/s", "2 kB", "1 mW"),
    ):
        assert all(f" {figure} " in rows[name] for figure in figures), rows[name]
        assert " 0 kB" not in rows[name]


def test_a_processor_is_shown_with_all_that_its_figures_depend_on() -> None:
    shown = codesign("show", "gtx_1080ti").stdout
    for text in (
        "28 of 28 cores",
        "convolution 1, depthwise 0.05",
        "32 x 32, 64 x 64",
        "RAM   484 GB/s           11 GB",
    ):
        assert text in shown
    assert "departs from its runtime: efficiency.convolution 1 (else 0.35)" in shown
    shown = codesign("show", "raspberry_pi_4").stdout
    assert "1 of 4 cores" in shown
    assert "departs" not in shown


def test_python_in_four_lines(tiny: Path) -> None:
    from codesign import evaluate

    result = evaluate("ds_cnn", on=[tiny], evaluations=3000)
    record = result.records()[0]
    assert record["status"] == "ok"
    assert result["tiny"].edp_js == record["edp_js"]


def test_networks_of_a_space_go_by_what_they_were_given_as(tmp_path: Path) -> None:
    from codesign import evaluate
    from codesign.nas.spaces import nas_bench_201

    cells = [f"|{op}~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|" for op in ("nor_conv_3x3", "none")]
    names = [f"nas_bench_201:{cell}" for cell in cells]
    results = [evaluate(name, on="galaxy_s7", batch=2, data_set="cifar100").results[0] for name in names]
    assert [cost.network for cost in results] == [cost.record()["network"] for cost in results] == names
    assert results[0].macs == nas_bench_201.network(cells[0], batch=2, classes=100).macs
    with pytest.raises(NetworkError, match="nas_bench_201: cell must have 3 nodes"):
        evaluate("nas_bench_201:|none~0|", on="galaxy_s7")
    with pytest.raises(NetworkError, match="unknown option 'colour'"):
        evaluate(names[0], on="galaxy_s7", colour=3)
    # Brackets of JSON are no markup.
    name = 'fbnet:{"blocks": [' + ", ".join(['"k3_e1"'] * 22) + "]}"
    file = tmp_path / "layers.csv"
    done = codesign("evaluate", name, "--on", "galaxy_s7", "--layers", "--csv", file)
    assert done.returncode == 0, done.stderr
    assert f"{name}: " in done.stdout
    with file.open() as rows:
        assert {row["network"] for row in csv.DictReader(rows)} == {name}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"on": []}, "at least one candidate"),
        ({"on": ["eyeriss", "eyeriss"]}, "different names"),
        ({"on": "eyeriss", "objective": "speed"}, "objective must be one of"),
        ({"on": "eyeriss", "evaluations": 0}, "evaluations must be >= 1"),
        ({"on": "eyeriss", "colour": 3}, "unknown option colour"),
    ],
)
def test_wrong_arguments_from_python(settings: dict[str, object], message: str) -> None:
    from codesign import evaluate

    with pytest.raises(ValueError, match=message):
        evaluate("ds_cnn", **settings)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("64 kB", "0", "tiny.yaml:10:15: levels[1].capacity: must be > 0 (got 0)"),
        ("64 kB", "-5", "tiny.yaml:10:15: levels[1].capacity: must be > 0 (got -5)"),
        ("64 kB", "64 MHz", "levels[1].capacity: must be a capacity in bytes with a unit of B, "),
        ("64 kB", "many", "levels[1].capacity: must be a capacity in bytes, as a number or text with a unit"),
        ("64 kB", ".inf", "levels[1].capacity: must be finite"),
        ("clock: 500 MHz", "clok: 500 MHz", "tiny.yaml:4:1: clok: unknown key: did you mean clock?"),
        ("clock: 500 MHz\n", "", "clock: is required"),
        ("clock: 500 MHz", "clock: 2.4", "clock: must have a unit of Hz, kHz, MHz, GHz, or be >= 1000 (got 2.4)"),
        ("clock: 500 MHz", "clock: '2.4'", "or be >= 1000 (got '2.4')"),
        ("clock: 500 MHz", "clock: 2.4 Hz", "clock: must be >= 1000 (got '2.4 Hz')"),
        ("size: 16, unroll: [C", "size: 0, unroll: [C", "levels[1].fanout.y.size: must be >= 1 (got 0)"),
        ("[C, P]", "[c]", "must be a dimension: N, G, K"),
        ("name: GLB", "name: RF", "levels[2].name: must differ from the other levels' names (got 'RF')"),
        ("node: 45 nm\n", "", "so node is required"),
        ("node: 45 nm", "node: 3 nm", "must be"),
        ("32 B", "32 B, keeps: [weights, input]", "levels[2].keeps[1]: must be one of"),
        ("type: LPDDR4", "type: LPDDR9", "levels[0].type: kind: must be"),
        (
            "kind: spatial",
            "kind: quantum",
            "tiny.yaml:2:7: kind: must be one of spatial, processor, crossbar (got 'quantum')",
        ),
        ("kind: spatial", "name: again", "tiny.yaml:2:1: name: duplicate key (first in line 1)"),
        ("int8", "int99", "compute.type: must be int1 to int64"),
        ("levels:", "levels: []\nother:", "levels: must have at least 1 entries (got 0)"),
        ("{name: DRAM", "[name: DRAM", "not valid YAML"),
        ("500 MHz", "!!python/object:os.system x", "tags are not allowed"),
        ("8 GB/s", "0 GB/s", "levels[0].bandwidth: must be > 0 (got '0 GB/s')"),
        ("levels:", "area_factor: .nan\nlevels:", "area_factor: must be"),
    ],
)
def test_bad_datasheets_name_place_rule_and_value(tiny: Path, old: str, new: str, expected: str) -> None:
    assert old in TINY
    tiny.write_text(TINY.replace(old, new, 1))
    assert expected in refused("evaluate", "ds_cnn", "--on", tiny)


def test_all_errors_at_once(tiny: Path) -> None:
    text = TINY.replace("64 kB", "-5").replace("[C, P]", "[c]").replace("clock", "clok")
    tiny.write_text(text)
    message = refused("show", tiny)
    assert message.count("error:") == 4
    for part in ("capacity", "unroll", "clok", "clock: is required"):
        assert part in message


def test_no_level_may_keep_a_tensor(tiny: Path) -> None:
    text = TINY.replace("memory: dram", "memory: dram, keeps: [weights, inputs]")
    text = text.replace("    width: 64 bit", "    width: 64 bit\n    keeps: [weights]").replace(
        "32 B", "32 B, keeps: [inputs]"
    )
    tiny.write_text(text)
    assert "levels: no level may keep outputs" in refused("show", tiny)


def test_a_layer_that_cannot_fit_names_the_level_and_the_words(tiny: Path) -> None:
    tiny.write_text(TINY.replace("capacity: 32 B", "capacity: 5 B"))
    done = codesign("evaluate", "ds_cnn", "--on", tiny, "--evaluations", 3000)
    assert done.returncode == 1
    assert "tiles do not fit into RF: 1 words" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("evaluate", "resnet5", "--on", "TINY"), "unknown network 'resnet5': did you mean resnet50"),
        (
            ("evaluate", "nas_bench_201", "--on", "TINY"),
            "it is a space, and one of its networks is nas_bench_201:ENCOD",
        ),
        (("evaluate", '{"ks": [3]}', "--on", "TINY"), "must have its space before it, SPACE:ENCODING (got"),
        (("score", '{"ks": [3]}'), "must have its space before it, SPACE:ENCODING (got"),
        (("evaluate", "resnet50", "--on", "eyeris"), "unknown accelerator 'eyeris'"),
        (("evaluate", "resnet50", "--on", "nowhere.yaml"), "nowhere.yaml: cannot be read"),
        (("evaluate", "nowhere.onnx", "--on", "TINY"), "nowhere.onnx"),
        (("evaluate", "resnet50", "--on", "TINY", "TINY"), "different names (got tiny twice)"),
        (("evaluate", "resnet50", "--on", "TINY", "--objective", "speed"), "must be one of edp, energy, latency"),
        (("evaluate", "resnet50", "--on", "TINY", "--json", "/proc/nothing/x.json"), "cannot be written"),
        (("evaluate", "resnet50", "--on", "TINY", "--out", "/proc/nothing"), "cannot be written"),
        (("evaluate", "resnet50", "--on", "TINY", "--set", "sequence"), "NAME=NUMBER"),
        (("evaluate", "resnet50", "--on", "TINY", "--set", "sequence=3"), "unknown option sequence"),
        (("map", "resnet50", "--on", "TINY"), "NETWORK:LAYER"),
        (("map", "resnet50:layer3.0.conv9", "--on", "TINY"), "did you mean"),
        (("map", "resnet50:maxpool", "--on", "TINY"), "has no loop nest"),
        (("list", "network"), "did you mean networks"),
    ],
)
def test_refusals(tiny: Path, arguments: tuple[str, ...], expected: str) -> None:
    assert expected in refused(*(tiny if a == "TINY" else a for a in arguments))


def test_truncated_and_dynamic_onnx(tiny: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    shape = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["batch", 8]) for n in ("x", "y")]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", shape[:1], shape[1:]))
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert "batch" in refused("evaluate", path, "--on", tiny)
    assert codesign("evaluate", path, "--on", tiny, "--batch", 4).returncode == 0
    path.write_bytes(model.SerializeToString()[:-9])
    assert "model.onnx" in refused("evaluate", path, "--on", tiny)


@pytest.mark.parametrize("text", ["", "- 1", "[" * 100_000, "a: &a [1]\nb: " + "[*a, " * 3 + "*a" + "]" * 3, "\x00"])
def test_hostile_documents(tiny: Path, text: str) -> None:
    tiny.write_text(text)
    assert "error: " in refused("show", tiny)


def test_alias_bomb(tiny: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    tiny.write_text("\n".join(lines))
    assert "at most 100000 values" in refused("show", tiny)
