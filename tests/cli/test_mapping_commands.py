"""``map``, ``cost`` and the mapping options of ``evaluate`` as a user calls them."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from calls import TINY, codesign, refused

from accelerators.spatial.mapping_file import dump, parse

LAYER = "conv2d(K=16,C=8,P=8,Q=8,R=3,S=3)"


def edp_js(text: str) -> list[float]:
    """EDP of every mapping that a command printed."""
    return [float(found) for found in re.findall(r"EDP (\S+) Js", text)]


def ran(*arguments: object) -> str:
    """Standard output of a call that must succeed."""
    done = codesign(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_the_default_prints_nest_counts_and_certificate(tiny: Path) -> None:
    out = ran("map", LAYER, "--on", tiny)
    for text in ("DRAM: weights inputs outputs", "parallel for", "multiply-accumulate", "reads", "optimal mapper"):
        assert text in out
    assert re.search(r"optimal: \d\S+, nothing in the space is lower\n\d+ unrollings x 1 choices", out)


@pytest.mark.parametrize("objective", ["edp", "energy", "latency"])
def test_no_mapper_is_below_the_optimal_one(tiny: Path, objective: str) -> None:
    def score(mapper: str) -> float:
        out = ran("map", LAYER, "--on", tiny, "--mapper", mapper, "--objective", objective, "--evaluations", 4000)
        assert f"{mapper} mapper" in out
        energy = re.search(r"^energy (\S+) \wJ", out, re.MULTILINE)
        cycles = re.search(r"latency (\d+) cycles", out)
        assert energy
        assert cycles
        return {"edp": edp_js(out)[0], "energy": float(energy[1]), "latency": float(cycles[1])}[objective]

    best = score("optimal")
    for mapper in ("local_search", "genetic", "cma_es", "random"):
        assert score(mapper) >= best * (1 - 1e-3), mapper


def test_exhaustive_agrees_with_optimal(tiny: Path) -> None:
    layer = "matmul(P=4,K=6,C=8)"
    assert edp_js(ran("map", layer, "--on", tiny, "--mapper", "exhaustive")) == edp_js(ran("map", layer, "--on", tiny))


def test_too_large_for_exhaustive_search_is_refused(tiny: Path) -> None:
    text = refused("map", "resnet50:layer3.0.conv2", "--on", tiny, "--mapper", "exhaustive")
    assert re.search(r"would try \S+ mappings, more than the limit of 50000000", text)


def test_out_of_time_states_the_gap() -> None:
    # Two fanouts and four levels of one tensor each: no proof in a hundredth of a second.
    out = ran("map", "unet:down4.conv1", "--on", "simba_chiplet", "--objective", "energy", "--time-limit", 0.01)
    found = re.search(r"open: (\S+) is at most (\S+)% above the optimum \(>= (\S+)\)", out)
    assert found, out
    value, gap, bound = map(float, found.groups())
    assert value == pytest.approx(bound * (1 + gap / 100), rel=1e-4)


def test_constraints_take_the_place_of_the_dataflow(tiny: Path, tmp_path: Path) -> None:
    free = ran("map", LAYER, "--on", tiny)
    out = ran("map", LAYER, "--on", tiny, "--constraints", "weight_stationary")
    assert "weight_stationary dataflow" in out
    assert edp_js(out)[0] >= edp_js(free)[0]
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: mine\nlevels:\n  GLB: {axes: {x: {unroll: [K], min_factors: {K: 8}}}, bypass: [weights]}\n")
    out = ran("map", LAYER, "--on", tiny, "--constraints", mine)
    assert "mine dataflow" in out
    assert re.search(r"GLB +weights +\d+ +bypass", out)
    mine.write_text("name: mine\nlevels:\n  GBL: {keep: [weights]}\n")
    assert "mine.yaml:3:3: levels.GBL: tiny has no such level: did you mean GLB?" in refused(
        "map", LAYER, "--on", tiny, "--constraints", mine
    )


def test_impossible_constraints_are_named(tiny: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: mine\nlevels:\n  RF: {factors: {P: 8, Q: 8, C: 8}}\n")
    done = codesign("map", LAYER, "--on", tiny, "--constraints", mine)
    assert done.returncode == 1
    assert "mine: RF.factors leaves no valid mapping" in done.stdout


def test_padding_and_bypass(tiny: Path) -> None:
    layer = "conv2d(K=17,C=17,P=28,Q=28,R=3,S=3)"
    plain = ran("map", layer, "--on", tiny)
    padded = ran("map", layer, "--on", tiny, "--pad")
    assert "padded: " in padded
    assert edp_js(padded)[0] < edp_js(plain)[0]
    assert edp_js(ran("map", layer, "--on", tiny, "--bypass"))[0] <= edp_js(plain)[0]


def test_saved_mappings_cost_what_they_cost(tiny: Path, tmp_path: Path) -> None:
    saved = tmp_path / "mapping.yaml"
    out = ran("map", "conv2d(K=17,C=17,P=28,Q=28,R=3,S=3)", "--on", tiny, "--pad", "--save", saved)
    document = parse(saved.read_text())
    assert dump(document) == saved.read_text()
    assert document.layers[0].bounds
    again = ran("cost", saved)
    assert ran("cost", saved, "--on", tiny) == again
    nest = re.search(r"^DRAM: .*?multiply-accumulate$", out, re.MULTILINE | re.DOTALL)
    assert nest
    assert nest[0] in again
    assert edp_js(again) == edp_js(out)
    lines = saved.read_text().splitlines(keepends=True)
    saved.write_text("".join(line for line in lines if not line.startswith("datasheet:")))
    assert "'tiny' is not in the catalog: give its datasheet with --on" in refused("cost", saved)
    other = codesign("cost", saved, "--on", "eyeriss")
    assert other.returncode == 1
    assert "mapping: levels must be DRAM global_buffer" in other.stdout
    assert "no layer 'x'" in refused("cost", saved, "--on", tiny, "--layer", "x")
    saved.write_text(saved.read_text().replace("DRAM [", "DRAM ]"))
    assert "mapping.yaml:" in refused("cost", saved, "--on", tiny)


def test_mappings_of_a_network_are_saved_too(tiny: Path, tmp_path: Path) -> None:
    ran("evaluate", "ds_cnn", "--on", tiny, "--out", tmp_path / "out")
    saved = tmp_path / "out" / "mappings_tiny.yaml"
    layers = json.loads((tmp_path / "out" / "results.json").read_text())[0]["layers"]
    mapped = [layer for layer in layers if "mapping" in layer]
    assert len(mapped) > 5
    *printed, total = edp_js(ran("cost", saved, "--on", tiny))
    energy = math.fsum(layer["energy_pj"] for layer in mapped) * 1e-12
    assert total == pytest.approx(energy * math.fsum(layer["latency_s"] for layer in mapped), rel=1e-3)
    assert printed == pytest.approx([layer["edp_js"] for layer in mapped], rel=1e-3)
    assert edp_js(ran("cost", saved, "--on", tiny, "--layer", mapped[2]["layer"])) == [printed[2]]


def test_timeloop_files(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "timeloop"
    ran("map", LAYER, "--on", tiny, "--timeloop", folder)
    names = {path.name for path in folder.rglob("*.yaml")}
    assert {"architecture.yaml", "problem.yaml", "mapping.yaml"} <= names


def test_compare(tiny: Path, tmp_path: Path) -> None:
    plot = tmp_path / "quality.png"
    out = ran("map", LAYER, "--on", tiny, "--compare", "--time-limit", 0.05, "--plot", plot)
    for mapper in ("optimal", "local_search", "genetic", "cma_es", "random"):
        assert re.search(rf"^ {mapper} +[\d,]+ ", out, re.MULTILINE), mapper
    assert re.search(r"^ optimal .* \+0.00% *$", out, re.MULTILINE)
    assert re.search(r"space: \S+ mappings", out)
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_one_evaluation_whatever_the_workers(tiny: Path, tmp_path: Path) -> None:
    results = []
    for workers in (1, 3):
        file = tmp_path / f"{workers}.json"
        ran("evaluate", "ds_cnn", "--on", tiny, "nvdla_256", "--workers", workers, "--json", file)
        results.append(file.read_text())
    assert results[0] == results[1]


def test_the_network_optimum_is_not_above_the_layers_own(tiny: Path, tmp_path: Path) -> None:
    edps = []
    for options in ([], ["--together"]):
        file = tmp_path / "out.json"
        out = ran("evaluate", "ds_cnn", "--on", tiny, *options, "--json", file)
        edps.append(json.loads(file.read_text())[0]["edp_js"])
    assert "network optimum proven" in out
    assert edps[1] <= edps[0]


def test_lists() -> None:
    out = ran("list", "mappers")
    assert [line.split()[0] for line in out.splitlines()[1:]] == [
        "optimal", "local_search", "genetic", "cma_es", "random", "exhaustive",
    ]  # fmt: skip
    assert "row_stationary" in ran("list", "dataflows")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("map", "conv2d(K=0)", "--on", "eyeriss"), "K"),
        (("map", "conv3d(K=2)", "--on", "eyeriss"), "did you mean conv2d"),
        (("map", LAYER, "--on", "eyeriss", "--mapper", "optimul"), "must be one of optimal, local_search"),
        (("map", LAYER, "--on", "eyeriss", "--plot", "x.png"), "add --compare"),
        (("map", LAYER, "--on", "eyeriss", "--compare", "--plot", "x.txt"), "a plot is a .png, .svg or .pdf file"),
        (("map", LAYER, "--on", "eyeriss", "--compare", "--save", "x.yaml"), "keeps no mapping"),
        (("map", LAYER, "--on", "eyeriss", "nvdla_256", "--save", "x.yaml"), "take one accelerator"),
        (("map", LAYER, "--on", "eyeriss", "--save", "/proc/none/x.yaml"), "cannot be written"),
        (("map", LAYER, "--on", "eyeriss", "--timeloop", "/proc/none"), "cannot be written"),
        (("map", LAYER, "--on", "eyeriss", "--time-limit", "0"), "time-limit"),
        (("map", LAYER, "--on", "eyeriss", "--constraints", "nowhere"), "nowhere"),
        (("map", LAYER, "--on", "eyeriss", "--constraints", "row_stationery"), "did you mean row_stationary"),
        (("evaluate", "ds_cnn", "--on", "eyeriss", "--together", "--objective", "energy"), "leave out --objective"),
        (("cost", "nowhere.yaml"), "nowhere.yaml: cannot be read"),
    ],
)
def test_refusals(arguments: tuple[str, ...], expected: str) -> None:
    assert expected in refused(*arguments)


def test_equally_fast_mappings_go_to_the_least_energy_with_bypass_too(tiny: Path) -> None:
    layer = "matmul(P=1,K=48,C=64)"
    energies = []
    for mapper in ([], ["--mapper", "optimal"]):
        out = ran("map", layer, "--on", tiny, "--objective", "latency", "--bypass", *mapper)
        found = re.search(r"^energy (\S+ \wJ)  latency (\d+) cycles", out, re.MULTILINE)
        assert found
        energies.append(found.groups())
    assert energies[0] == energies[1]


def test_compare_without_any_valid_mapping_says_why(tiny: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("levels:\n  RF: {factors: {P: 8, Q: 8, C: 8}}\n")
    done = codesign("map", LAYER, "--on", tiny, "--constraints", mine, "--compare", "--time-limit", 0.05)
    assert done.returncode == 1
    assert "RF.factors leaves no valid mapping" in done.stdout


def test_one_accelerator_that_cannot_run_a_layer_does_not_hide_the_others(tmp_path: Path, tiny: Path) -> None:
    small = tmp_path / "small.yaml"
    small.write_text(TINY.replace("capacity: 32 B", "capacity: 1 B").replace("name: tiny", "name: small"))
    done = codesign("map", LAYER, "--on", small, tiny)
    assert done.returncode == 1
    assert "small cannot run" in done.stdout
    assert re.search("on tiny.*EDP", done.stdout, re.DOTALL)


def test_a_full_disk_under_the_output_is_said() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "codesign", "list", "networks"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr == "error: standard output: No space left on device\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("map", f"matmul(P={'9' * 400},K=2,C=2)", "--on", "eyeriss"), "P must have at most 18 digits (got 400)"),
        (("evaluate", "bert_base", "--on", "eyeriss", "--set", "sequence=" + "9" * 5000), "at most 18 digits"),
        (("evaluate", "resnet18", "--on", "eyeriss", "--batch", 10**18), "resnet18: relu: bound of N"),
    ],
)
def test_numbers_too_large_to_count_with(arguments: tuple[str, ...], expected: str) -> None:
    assert expected in refused(*arguments)


def test_devices_are_no_files(tmp_path: Path) -> None:
    assert "must be at most 1000000 bytes" in refused("cost", "/dev/zero")
    assert "it is no regular file" in refused("map", LAYER, "--on", "eyeriss", "--save", "/dev/null")
    link, target = tmp_path / "link.yaml", tmp_path / "target.yaml"
    link.symlink_to(target)
    target.touch()
    ran("map", LAYER, "--on", "eyeriss", "--save", link)
    assert link.is_symlink()
    assert "accelerator: eyeriss" in target.read_text()
