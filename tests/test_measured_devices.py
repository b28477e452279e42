"""Devices known by measurements: tables and predictors beside datasheets, and tables made on this machine."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from accelerators.costs import Cost
from accelerators.documents import DocumentError
from accelerators.processors import lookup
from accelerators.processors.lookup import Entry, LatencyTable
from codesign import devices, evaluate, profiling
from codesign.devices import LearnedDevice, TableDevice, operator_key
from codesign.nas import spaces
from codesign.nas.lookup_keys import parts, style_of
from codesign.nas.spaces import nas_bench_201, ofa_mobilenet_v3
from codesign.networks import Network, NetworkError, load
from codesign.predictors import Predictor
from codesign.reports.tables import layer_table, summary_table


def text_of(table: Table) -> str:
    console = Console(width=200, file=io.StringIO())
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


QUICK = profiling.Settings(warm_ups=1, repeats=4, threads=1)


def table_of(network: Network, ms: float = 0.5) -> LatencyTable:
    entries = {operator_key(layer): Entry(ms, 0.1 * ms, 10) for layer in network}
    return LatencyTable("t", entries, {"name": "my_board", "error": "5 % median error"})


def ofa(resolution: int = 160) -> Network:
    return ofa_mobilenet_v3.network([3] * 20, [4] * 20, [2] * 5, resolution=resolution)


def test_a_table_stands_beside_datasheets(tmp_path: Path) -> None:
    network = load("ds_cnn")
    path = tmp_path / "t.json"
    path.write_text(table_of(network).to_json())
    result = evaluate(network, [path, "raspberry_pi_4", "eyeriss"])
    cost = result["my_board"]
    layers = len(list(network))
    assert cost.latency_s == pytest.approx(layers * 0.5e-3)
    assert (cost.energy_pj, cost.edp_js, cost.latency_cycles, cost.utilisation, cost.area_mm2) == (None,) * 5
    assert cost.quality is not None
    assert f"sum of {layers} entries" in cost.quality
    assert "5 % median error" in cost.quality
    assert sum(record["latency_s"] for record in result.layer_records() if record["hardware"] == "my_board") == (
        pytest.approx(cost.latency_s)
    )
    assert "my_board" in text_of(summary_table(result))
    assert "500" in text_of(layer_table(cost))
    record = json.loads(result.to_json())[0]
    assert record["energy_pj"] is None
    assert "energy_pj" not in record["layers"][0]


def test_missing_entries_name_their_keys_unless_interpolated() -> None:
    network = load("ds_cnn")
    table = table_of(network)
    gone = operator_key(next(iter(network)))
    short = LatencyTable("t", {key: entry for key, entry in table.entries.items() if key != gone})
    (cost,) = evaluate(network, TableDevice("d", {"": short})).results
    assert cost.problems == [f"t: no entry for {gone}"]
    assert cost.latency_s is None
    alone = LatencyTable("t", {key: entry for key, entry in short.entries.items() if not key.startswith("conv2d")})
    (cost,) = evaluate(network, TableDevice("d", {"": alone}, interpolate=True)).results
    assert f"t: no entry for {gone}, and nothing of its kind to scale from" in cost.problems
    # The same operator at another size stands in for it, in proportion to its bounds.
    other = gone.replace("K64", "K32")
    assert other != gone
    near = LatencyTable("t", {**short.entries, other: Entry(0.25, 0.01, 3)})
    (cost,) = evaluate(network, TableDevice("d", {"": near}, interpolate=True)).results
    assert cost.latency_s == pytest.approx(len(list(network)) * 0.5e-3)
    assert cost.quality is not None
    assert f"1 entry is interpolated: {gone} from {other}" in cost.quality
    first = cost.layers[0].cost
    assert isinstance(first, Cost)
    assert first.bottleneck == f"interpolated from {other}"


@pytest.mark.parametrize("style", ["ofa", "nsganet", "proxyless"])
def test_tables_of_blocks_price_networks_of_inverted_residuals(style: str) -> None:
    network = ofa()
    if style == "proxyless":
        nets = {"stem": 32, "final_expand": None, "feature_mix": 128, "blocks": [
            {"cin": 32, "cout": 16, "k": 3, "s": 1, "e": 1, "mid": None, "act": "relu6", "se": False},
            {"cin": 16, "cout": 24, "k": 5, "s": 2, "e": 3, "mid": None, "act": "relu6", "se": False}]}  # fmt: skip
        network = ofa_mobilenet_v3.specialized(nets, resolution=64)
    found = parts(network, style)  # type: ignore[arg-type]
    owned = [name for _, names in found for name in names]
    assert len(owned) == len(set(owned))
    missing = {layer.name for layer in network} - set(owned)
    assert missing <= {"global_avg_pool"}
    table = LatencyTable("t", {key: Entry(2.0, 0.1, 5) for key, _ in found})
    assert style_of(table.entries) == style
    size = str(network.description["image_size"]) if network.description else ""
    (cost,) = evaluate(network, TableDevice("d", {size: table})).results
    assert cost.latency_s == pytest.approx(2e-3 * len(found))
    (none,) = evaluate(network, TableDevice("d", {"999": table})).results
    assert none.problems == [f"no table for images of {size} (there are tables for 999)"]
    (none,) = evaluate(load("ds_cnn"), TableDevice("d", {"": table})).results
    assert "has no keys in a table of blocks" in none.problems[0]


def test_the_published_form_is_its_own_inverse() -> None:
    network = ofa()
    assert network.description is not None
    again = ofa_mobilenet_v3.specialized(network.description)
    assert [layer.operator for layer in again] == [layer.operator for layer in network]


def test_predictors_stand_beside_datasheets(tmp_path: Path) -> None:
    sizes = (96, 112, 128, 144, 160, 192, 224)
    networks = [load("mobilenet_v2", resolution=size) for size in sizes]
    measured = [network.macs * 1e-7 for network in networks]
    Predictor("ms").fit(networks, measured).save(tmp_path / "phone.npz")
    (cost,) = evaluate(load("mobilenet_v2", resolution=176), tmp_path / "phone.npz").results
    expected = load("mobilenet_v2", resolution=176).macs * 1e-10
    assert cost.latency_s == pytest.approx(expected, rel=0.02)
    assert cost.hardware == "phone"
    assert cost.quality is not None
    assert "standard deviation" in cost.quality
    (cost,) = evaluate(load("resnet18"), tmp_path / "phone.npz").results
    assert cost.latency_s is None
    assert "must be from" in cost.problems[0] or "no network that was measured" in cost.problems[0]
    device = devices.load(tmp_path / "phone.npz", extrapolate=True)
    assert isinstance(device, LearnedDevice)
    (cost,) = evaluate(load("mobilenet_v2", resolution=256), device).results
    assert cost.quality is not None
    assert "extrapolated" in cost.quality
    Predictor("mJ").fit(networks, measured).save(tmp_path / "energy.npz")
    (cost,) = evaluate(load("mobilenet_v2", resolution=176), tmp_path / "energy.npz").results
    assert cost.latency_s is None
    assert cost.energy_pj == pytest.approx(expected * 1e12, rel=0.02)
    assert not cost.problems


def test_bad_files(tmp_path: Path) -> None:
    (tmp_path / "p.npz").write_bytes(b"x")
    with pytest.raises(DocumentError, match="is no predictor"):
        devices.load(tmp_path / "p.npz")
    for content, expected in (
        ({"kind": "latency_table"}, "entries: must be a mapping"),
        ({"kind": "latency_table", "entries": {}}, "entries: must be a mapping"),
        ({"kind": "latency_table", "entries": {"a": {"mean": -1}}}, r"entries.a: mean must be a finite number >= 0"),
        ({"kind": "latency_table", "entries": {"a": {"mean": 0}}}, r"entries.a: mean must be > 0"),
        ({"kind": "latency_table", "unit": "s", "entries": {"a": {"mean": 1}}}, r"unit: must be ms \(got 's'\)"),
        ({"kind": "latency_table", "name": "[b]", "entries": {"a": {"mean": 1}}}, r"name: must be letters, digits"),
        ({"kind": "latency_table", "error": None, "entries": {"a": {"mean": 1}}}, r"error: must be text in one line"),
        ({"a": {"mean": 10**400}}, r"mean must be a finite number >= 0, at most 1e\+12 \(got an integer of 1329 bits"),
        ({"a": {"mean": 1, "std": 1e300}}, r"std must be a finite number >= 0, at most 1e\+12"),
    ):
        (tmp_path / "t.json").write_text(json.dumps(content))
        with pytest.raises(DocumentError, match=expected):
            devices.load(tmp_path / "t.json")


# --------------------------------------------------------------------------------------------------- this machine


def test_a_profile_has_every_operator_of_its_networks() -> None:
    network = load("ds_cnn")
    done: list[tuple[int, int]] = []
    table = profiling.profile([network], QUICK, progress=lambda *step: done.append(step))
    assert set(table.entries) == {operator_key(layer) for layer in network}
    assert all(entry.mean_ms > 0 and entry.count and entry.count >= 4 for entry in table.entries.values())
    assert done[-1] == (2, 2)
    assert "1 threads" in table.about["device"]
    assert "median" in table.about["error"]


def test_a_profile_of_blocks_is_a_table_in_a_published_style(tmp_path: Path) -> None:
    network = ofa(128)
    table = profiling.profile([network], QUICK, style="ofa")
    assert set(table.entries) == {key for key, _ in parts(network, "ofa")}
    (tmp_path / "t.json").write_text(table.to_json())
    (again,) = lookup.read(tmp_path / "t.json").values()
    assert again.entries == table.entries
    with pytest.raises(NetworkError, match="no keys in a table of blocks"):
        profiling.profile([load("ds_cnn")], QUICK, style="ofa")


def test_networks_cover_the_operators_of_a_space() -> None:
    space = spaces.load("nas_bench_201")
    found = profiling.cover(space)
    assert len(found) == 10
    known = {operator_key(layer) for network in found for layer in network}
    random = np.random.default_rng(99)
    for code in space.sample(random, 20):
        assert {operator_key(layer) for layer in space.network(code)} <= known
    assert len(profiling.cover(spaces.load("ofa_mobilenet_v3"), most=12)) == 12


def test_means_without_the_extremes() -> None:
    times = np.array([1.0] * 8 + [100.0, 0.001])
    assert profiling.trimmed(times) == (1.0, 0.0)
    assert profiling.trimmed(np.array([1.0, 2.0, 3.0]))[0] == 2.0
    with pytest.raises(ValueError, match="repeats must be >= 3"):
        profiling.Settings(repeats=2)


@pytest.mark.parametrize(
    ("known", "wanted", "ratio"),
    [
        ("pool(K1280 R7 S7)", "pool(K1280 R6 S6)", 36 / 49),
        ("conv2d(K16 C3 P32 Q32 R3 S3)+bn", "conv2d(N4 K16 C3 P32 Q32 R3 S3)+bn", 4.0),
        ("depthwise(G144 P28 Q28 R3 S3 stride2)", "depthwise(G144 P28 Q28 R5 S5 stride2)", 25 / 9),
        ("relu(N100)", "relu(N50)", 0.5),
        ("conv2d(K16 C3)", "matmul(K16 C3)", None),
        ("conv2d(K16 C3 stride2)", "conv2d(K16 C3)", None),
        ("Conv-input:xx-output:x", "Conv-input:xx-output:4", None),
    ],
)
def test_the_nearest_operator_is_scaled(known: str, wanted: str, ratio: float | None) -> None:
    found = lookup.nearest({known: Entry(2.0, 0.1)}, wanted)
    assert (found and found[0].mean_ms) == (ratio and pytest.approx(2 * ratio))
    assert found is None or found[1] == known


def test_another_kernel_is_taken_last() -> None:
    entries = {"conv2d(K16 C16 R5 S5)": Entry(9.0), "conv2d(K128 C128 R3 S3)": Entry(64.0)}
    found = lookup.nearest(entries, "conv2d(K16 C16 R3 S3)")
    assert found is not None
    assert found[0].mean_ms == pytest.approx(1.0)
    assert found[1] == "conv2d(K128 C128 R3 S3)"


def test_dropped_operators_do_no_work() -> None:
    cell = "|none~0|+|none~0|none~1|+|none~0|none~1|nor_conv_1x1~2|"
    (cost,) = evaluate(nas_bench_201.network(cell), "raspberry_pi_4").results
    assert cost.utilisation is not None
    assert 0 <= cost.utilisation <= 1


def test_tables_are_known_by_what_is_in_them(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    for content, is_table in (
        ("conv2d(K16 C3 P32 Q32 R3 S3): {mean: 1.0}\n", True),
        ("# operators\n'224':\n  Conv-input:224x224x3-output:112x112x24: {mean: 1.0}\n", True),
        ('kind: "latency_table"\nentries: {a: {mean: 1.0}}\n', True),
        ("# kind: latency_table\nname: x\nkind: processor\n", False),
    ):
        path.write_text(content)
        if is_table:
            assert isinstance(devices.load(path), TableDevice)
        else:
            with pytest.raises(DocumentError, match="clock: is required"):
                devices.load(path)
    path.write_text("kind: latency_table\nentries: 3\n")
    with pytest.raises(DocumentError, match=r"t.yaml:2:10: entries: must be a mapping"):
        devices.load(path)


def test_processors_run_any_number_type_of_their_datasheet() -> None:
    fast, slow = evaluate("resnet18", ["titan_rtx:fp16", "titan_rtx"], batch=8).results
    assert (fast.hardware, slow.hardware) == ("titan_rtx:fp16", "titan_rtx")
    assert fast.latency_s is not None
    assert slow.latency_s is not None
    assert fast.latency_s < slow.latency_s
    assert str(fast.quality).startswith("roofline, fp16")
    with pytest.raises(DocumentError, match=r"titan_rtx: has no peak for 'int8' \(its datasheet has fp32, fp16\)"):
        devices.load("titan_rtx:int8")
    with pytest.raises(DocumentError, match="eyeriss is none"):
        devices.load("eyeriss:int8")


def test_a_machine_without_enough_memory_is_said() -> None:
    network = load("resnet18", batch=10**9)
    with pytest.raises(NetworkError, match=r"resnet18: this machine has no memory for \S+ GiB at once"):
        profiling.profile([network], profiling.Settings(0, 3))


# ------------------------------------------------------------------------------------------------- the command line


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "codesign", *arguments], capture_output=True, text=True, check=False)


def refused(*arguments: str) -> str:
    done = run(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_what_commands_refuse(tmp_path: Path) -> None:
    table = tmp_path / "t.json"
    table.write_text(table_of(load("ds_cnn")).to_json())
    on = ("evaluate", "ds_cnn", "--on", str(table))
    assert "there are none" in refused(*on, "--chart", str(tmp_path / "c.svg"))
    assert "would be written over what is read" in refused(*on, "--json", str(table))
    twice = str(tmp_path / "o.x")
    assert "or written twice" in refused(*on, "--json", twice, "--csv", twice)
    (tmp_path / "empty.npz").touch()
    assert "is no predictor" in refused("evaluate", "ds_cnn", "--on", str(tmp_path / "empty.npz"))
    assert "--name must be letters" in refused("profile", "ds_cnn", "--name", "[/b]", "--out", twice + ".json")
    assert "must be this-cpu" in refused("profile", "ds_cnn", "--device", "gpu", "--out", twice + ".json")
    assert "takes networks, or --space" in refused("profile", "--out", twice + ".json")
    measured = tmp_path / "m.csv"
    for content, expected in (
        ("network,latency\nds_cnn,1\n", "m.csv:1: columns must be network and one of latency_ms, energy_mj"),
        ("network,latency_ms\nds_cnn,1\nresnet81,2\n", "m.csv:3: "),
        ("network,latency_ms\nds_cnn,one\n", "m.csv:2: latency_ms must be a number > 0 (got 'one')"),
        ("network,latency_ms\nds_cnn\n", "m.csv:2: must have 2 values (got 1)"),
        ("network,latency_ms\nds_cnn,1\n", "must have at least 5 measurements (got 1)"),
        ("network,latency_ms\n" + "".join(f"ds_cnn,{i}\n" for i in range(1, 7)), "must differ"),
        ("network,latency_ms\nfbnet:[[[,1\n", "m.csv:2: fbnet: must be JSON"),
    ):
        measured.write_text(content)
        assert expected in refused("learn", str(measured), "--out", str(tmp_path / "p.npz"))
    assert not (tmp_path / "p.npz").exists()
    assert "resnet18: classes must be an integer >= 1 (got 0)" in refused(
        "evaluate", "resnet18", "--on", "raspberry_pi_4", "--set", "classes=0"
    )
    cell = "nas_bench_201:|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    assert "at most 62 bits" in refused("evaluate", cell, "--on", "raspberry_pi_4", "--batch", "9" * 18)
    assert "--dim is for .onnx files" in refused("evaluate", cell, "--on", "raspberry_pi_4", "--dim", "N=3")


def test_what_measured_devices_do_not_have_is_said(tmp_path: Path) -> None:
    network = load("ds_cnn")
    entries = table_of(network).entries
    (tmp_path / "t.json").write_text(LatencyTable("t", dict(list(entries.items())[1:])).to_json())
    done = run("evaluate", "ds_cnn", "--on", str(tmp_path / "t.json"), "galaxy_s7")
    assert done.returncode == 1
    assert done.stdout.count("no entry for") == done.stdout.count("--interpolate takes missing entries") == 1
    assert "--interpolate" not in run("evaluate", "ds_cnn", "--on", str(tmp_path / "t.json"), "--interpolate").stdout
    sizes = (96, 112, 128, 144, 160, 192, 224)
    networks = [load("mobilenet_v2", resolution=size) for size in sizes]
    Predictor("ms").fit(networks, [net.macs * 1e-7 for net in networks]).save(tmp_path / "phone.npz")
    done = run("evaluate", "mobilenet_v2", "--on", str(tmp_path / "phone.npz"), "--layers")
    assert "phone has no table of layers: a predictor knows networks as a whole" in done.stdout
    assert "gap" not in done.stdout


def test_a_chart_says_what_it_shows_and_what_it_leaves_out(tmp_path: Path) -> None:
    chart = tmp_path / "c.svg"
    done = run("evaluate", "ds_cnn", "--on", "galaxy_s7", "gtx_1080ti", "sram_digital", "--chart", str(chart))
    assert done.returncode == 0, done.stderr
    assert f"rooflines in {chart}" in done.stdout.replace("\n", "")
    assert "without a roofline, and not in it: sram_digital" in done.stdout
    drawn = chart.read_text()
    assert all(
        text in drawn for text in (">galaxy_s7<", ">gtx_1080ti<", ">ds_cnn<", "A dot is a layer", "share of the")
    )
    assert "sram_digital" not in drawn
    # Both panels have the same ticks.
    ticks = re.findall(r'id="xtick_\d+"', drawn)
    assert ticks and len(set(ticks)) == len(ticks)
    assert len(ticks) % 2 == 0


def test_spaces_are_listed() -> None:
    out = run("list", "spaces").stdout
    assert "15,625" in out
    assert "variant=cifar100" in out
    assert "`" not in out


def test_measurements_that_cannot_be_are_left_out_and_named(tmp_path: Path) -> None:
    sizes = [96, 112, 128, 144, 160, 176, 192, 208]
    networks = [load("mobilenet_v2", resolution=size) for size in sizes]
    values = [size**2 / 1e3 for size in sizes]
    clean = Predictor("ms").fit(networks, values)
    values[3] *= 1e9
    found = Predictor("ms").fit(networks, values)
    assert found.outliers == (3,)
    assert found.predict(networks[3]).mean == pytest.approx(clean.predict(networks[3]).mean, rel=0.1)
    measured = tmp_path / "m.csv"
    rows = [f"nas_bench_201:|{a}~0|+|{b}~0|nor_conv_1x1~1|+|skip_connect~0|none~1|{a}~2|,{t}\n" for a, b, t in (
        ("nor_conv_3x3", "nor_conv_3x3", 30), ("nor_conv_3x3", "none", 21), ("nor_conv_1x1", "none", 9),
        ("nor_conv_1x1", "nor_conv_3x3", 18), ("avg_pool_3x3", "nor_conv_3x3", 15), ("none", "nor_conv_1x1", "6e9"),
    )]  # fmt: skip
    measured.write_text("network,latency_ms\n\n" + "".join(rows))
    done = run("learn", str(measured), "--out", str(tmp_path / "p.npz"))
    assert done.returncode == 0, done.stderr
    assert "m.csv:8: 6e+09 ms, which the others find impossible" in done.stdout
