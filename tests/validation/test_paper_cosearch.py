"""NAAS's figure 10 and the comparison with NASAIC: what is found is the best, and ratios are the right way up."""

from __future__ import annotations

import csv
import itertools
import math
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.papers import _cosearch, _nasaic, _top1, naas
from benchmarks.papers._arms import Arm, Style, Totals, accelerator_of, datasheet, totals, totals_of
from benchmarks.papers._fixed import PUBLISHED, FixedDataflow
from benchmarks.papers._resources import Settings, resources, sizing_space
from benchmarks.papers._top1 import Level, Networks
from codesign.experiments.network_search import nas_specification
from codesign.experiments.sheet import NasSheet
from codesign.nas import spaces
from codesign.nas.accuracy.ofa import OfaResNet50Predictor

SPACE = """\
name: tiny
resolution: 32
stem: {channels: 8}
stages:
  - {name: a, block: mbconv, width: [8, 16], depth: [1, 2], kernel: [3, 5]}
  - {name: b, block: conv, width: [16, 32], stride: 2}
head: {channels: 32}
"""
LEVELS = (30.0, 50.0)


def fixed(name: str = "eyeriss") -> Style:
    """A description with the tiles that are published, and none besides."""
    return FixedDataflow(accelerator_of(datasheet(name, dram=False))).start(PUBLISHED[name])


@pytest.fixture
def networks(tmp_path: Path) -> Networks:
    """A space of some networks with accuracies that follow their number of MACs, but not strictly."""
    (tmp_path / "tiny.yaml").write_text(SPACE)
    space = spaces.load(tmp_path / "tiny.yaml")
    codes = list(space.codes())
    order = np.argsort([space.network(code).macs for code in codes], kind="stable")
    with (tmp_path / "accuracy.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("network", "accuracy"))
        for rank, i in enumerate(order):
            writer.writerow((space.text(codes[i]), 20 + 60 * rank / len(codes) + 7 * (i % 3)))
    accuracy = {"name": "table", "options": {"file": str(tmp_path / "accuracy.csv")}}
    levels = tuple(Level(level, 0.0, f"{level:g}") for level in LEVELS)
    return Networks(str(tmp_path / "tiny.yaml"), levels, accuracy, "")


def specification(networks: Networks, folder: Path) -> dict[str, object]:
    sheet = {"space": networks.space, "accuracy": networks.accuracy, "at_least": list(LEVELS), "population": 8}
    return nas_specification(NasSheet.model_validate({**sheet, "queries": 1000}), folder, 0, "edp")


def enumerated(networks: Networks, data: dict[str, object], style: Style) -> list[tuple[float, float, tuple[int, ...]]]:
    """Accuracy, EDP in pJ x cycles and code of every network on a design."""
    space = spaces.load(networks.space)
    with Path(networks.accuracy["options"]["file"]).open() as file:
        accuracies = {text: float(accuracy) for text, accuracy in list(csv.reader(file))[1:]}
    found = []
    for code in space.codes():
        result = totals_of(accelerator_of(data), [space.network(code)], style)
        assert result is not None
        found.append((accuracies[space.text(code)], result.edp, code))
    return found


@pytest.mark.parametrize("style", ["optimal", fixed()], ids=["optimal", "fixed"])
def test_a_search_of_all_networks_is_their_enumeration(networks: Networks, tmp_path: Path, style: Style) -> None:
    data = datasheet("eyeriss", dram=True)
    front = _cosearch.fronts(data, specification(networks, tmp_path), style)
    everything = enumerated(networks, data, style)
    clock_hz = accelerator_of(data).clock_hz
    best = [min(edp for accuracy, edp, _ in everything if accuracy >= level) for level in LEVELS]
    for level, edp in zip(LEVELS, best, strict=True):
        assert _cosearch.edp_at(front, level) == pytest.approx(edp * 1e-12 / clock_hz, rel=1e-9)
    assert best[0] < best[1]
    mean = _cosearch.geometric_mean(front, LEVELS)
    assert mean == pytest.approx(math.sqrt(best[0] * best[1]) * 1e-12 / clock_hz, rel=1e-9)
    assert _cosearch.geometric_mean(front, (*LEVELS, 101.0)) == math.inf


@pytest.mark.parametrize("arm", ["C", "D"])
def test_a_co_search_has_the_best_network_of_every_level(networks: Networks, tmp_path: Path, arm: str) -> None:
    style = fixed() if arm == "C" else "optimal"
    data = datasheet("eyeriss", dram=False)
    with ThreadPoolExecutor(1) as pool:
        settings = Settings(1, (2, 1), pool, tmp_path, queries=200)
        hardware = sizing_space("eyeriss", settings) if arm == "C" else resources("eyeriss", False, settings)
        found = _cosearch.co_search(hardware, networks, style, 0, settings, [data])
    known = enumerated(networks, data, style)
    for level, best in zip(LEVELS, found, strict=True):
        there = enumerated(networks, best.datasheet, style)
        accuracy, edp, code = min((each for each in there if each[0] >= level), key=lambda each: each[1])
        assert (best.accuracy, best.code) == (pytest.approx(accuracy), code)
        # The last evaluation may pad.
        assert best.totals.edp == pytest.approx(edp, rel=1e-9) if arm == "C" else best.totals.edp <= edp * 1.001
        assert edp <= min(edp for accuracy, edp, _ in known if accuracy >= level) * (1 + 1e-9)
        assert best.gmacs == spaces.load(networks.space).network(code).macs / 1e9


def test_nothing_is_found_where_nothing_runs(networks: Networks, tmp_path: Path) -> None:
    data = datasheet("eyeriss", dram=False)
    data["levels"] = [
        {**level, "capacity": "2 B"} if level["name"] == "ifmap_spad" else level for level in data["levels"]
    ]
    assert _cosearch.fronts(data, specification(networks, tmp_path), fixed()) == ()
    assert _cosearch.geometric_mean((), LEVELS) == math.inf


def test_baselines_get_the_least_edp_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_cosearch, "NETWORK", "ds_cnn")
    with ThreadPoolExecutor(1) as pool:
        found = _cosearch.baselines(False, 10, Settings(2, (2, 1), pool, tmp_path, 0))
        strict = _cosearch.baselines(True, 10, Settings(1, (2, 1), pool, tmp_path, 0))
    assert list(found.mapped) == ["published, fixed", "best fixed", "optimal tiles"]
    edps = [result.edp for result in found.mapped.values()]
    assert edps == sorted(edps, reverse=True)
    assert found.judged.edp == edps[0]
    assert len(found.hardware) == 2
    for data, result in found.hardware:
        assert result == totals(accelerator_of(data), Arm(("ds_cnn",), "optimal", pad=True))
    assert list(found.styles) == ["published, fixed", "best fixed"]
    assert list(strict.mapped) == ["optimal tiles"]
    assert strict.styles == {"optimal tiles": "optimal"}


def made_up(edp: float) -> Totals:
    return Totals(1, [1e9 * edp], [1], [0.5])


def printed(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    def pool(workers: int) -> Executor:
        return ThreadPoolExecutor(workers)

    monkeypatch.setattr(naas, "worker_pool", pool)
    monkeypatch.setattr(naas, "kill", lambda pool: pool.shutdown())
    code = naas.main(arguments)
    return code, capsys.readouterr().out


@pytest.mark.parametrize(("protocol", "missed"), [("paper", 1), ("strict", 0)])
def test_figure_10_prints_how_many_times_lower(
    protocol: str, missed: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    levels = (Level(80.0, 0.0, "+0", 4.0), Level(82.7, 2.7, "+2.7", 4.0))
    monkeypatch.setitem(naas.SPACES, "ofa_resnet50", lambda: Networks("ofa_resnet50", levels, {}, "an offset"))
    hardware: tuple[tuple[dict[str, Any], Totals], ...] = (({}, made_up(2.0)), ({}, made_up(2.5)))
    mapped = {"fixed": made_up(12.0), "better": made_up(1.0)}
    styles: dict[str, Style] = {"fixed": "optimal", "better": "other"}
    monkeypatch.setattr(_cosearch, "baselines", lambda *_: _cosearch.Baselines(styles, mapped, hardware))

    def arm(low: float, high: float) -> list[_cosearch.Found]:
        found = [_cosearch.Found(level.at_least + 0.1, (), 1.0, {}, made_up(1.0)) for level in levels]
        return [
            _cosearch.Found(f.accuracy, (), 1.0, {}, made_up(edp)) for f, edp in zip(found, (low, high), strict=True)
        ]

    sized = {"optimal": arm(6.0, 7.0), "other": arm(3.0, 4.0)}
    monkeypatch.setattr(_cosearch, "sized", lambda networks, style, *_: sized[style])
    monkeypatch.setattr(_cosearch, "searched", lambda *_: arm(1.5, 2.4))
    arguments = ["--figure", "10", "--space", "ofa_resnet50", "--seeds", "2", "--protocol", protocol]
    code, out = printed(arguments, monkeypatch, capsys)
    assert code == missed
    assert "ofa_resnet50, +0: EDP of C over B: fixed 2.70 (2.40-3.00), better 1.35 (1.20-1.50); paper 3.01" in out
    assert "ofa_resnet50, +0: EDP of A over D: fixed 8.00 (8.00-8.00), better 0.67" in out
    assert "ofa_resnet50, +2.7: EDP of A over D: fixed 5.00 (5.00-5.00), better 0.42 (0.42-0.42); paper 4.88" in out
    assert "EDP of A over B: fixed 5.40 (4.80-6.00)" in out
    assert out.count("\nmissed: ") == missed
    assert "an offset" in out
    rows = [line.split() for line in out.splitlines() if line.startswith(" ofa_resnet50")]
    assert [row[:5] for row in rows if row[1] == "D"] == [
        ["ofa_resnet50", "D", "+0", "76.1", "80.10"],
        ["ofa_resnet50", "D", "+2.7", "78.8", "82.80"],
    ]


def test_top1_is_read_off_published_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_top1, "CALIBRATION_QUERIES", 180)
    found = _top1.resnet50()
    predictor = OfaResNet50Predictor()
    *levels, classical = found.levels
    assert [level.gain for level in levels] == list(_top1.GAINS)
    best = _top1.best_predictions(_top1.OFA_RESNET50, 180)
    # More MACs are never worse, and more queries neither.
    assert list(best) == sorted(best)
    assert max(best) <= 100 * predictor.plateau
    offset = sum(p - top1 for p, (_, top1) in zip(best, _top1.OFA_RESNET50, strict=True)) / len(best)
    for level in levels:
        assert level.offset == pytest.approx(offset)
        assert level.at_least == pytest.approx(76.1 + level.gain + offset)
        assert level.at_least < 100 * predictor.plateau
    assert classical.at_least == pytest.approx(100 * predictor.plateau, abs=1e-5)
    assert classical.at_least < 100 * predictor.plateau
    assert classical.at_least - classical.offset == pytest.approx(76.1, abs=1e-5)
    # The largest network of all has no higher prediction than ResNet-50's genes.
    code = predictor.space.parse(_top1.CLASSICAL)
    assert predictor.space.network(code).macs == pytest.approx(4.1e9, rel=0.04)
    mobile = _top1.mobilenet_v3()
    assert [level.at_least for level in mobile.levels] == pytest.approx([76.1, 77.1, 78.1, 78.8])


def test_layers_go_where_the_network_costs_least() -> None:
    random = np.random.default_rng(0)
    for _ in range(40):
        count = int(random.integers(1, 8))
        costs = [[(float(a), float(b)) for a, b in random.integers(1, 20, (2, 2))] for _ in range(count)]
        ways: list[list[tuple[float, float] | None]] = [list(layer) for layer in costs]
        if count > 1:
            ways[1][0] = None
        bill, chosen = _nasaic.assigned(ways)
        totals_ = [
            (sum(c[0] for c in picked if c), sum(c[1] for c in picked if c))
            for picked in itertools.product(*ways)
            if None not in picked
        ]
        assert bill.edp_js == pytest.approx(min(energy * latency for energy, latency in totals_) * 1e-12)
        picked = [layer[part] for layer, part in zip(ways, chosen, strict=True)]
        assert bill.energy_pj == sum(cost[0] for cost in picked if cost)
    with pytest.raises(ValueError, match="layer 1 runs on no part"):
        _nasaic.assigned([[(1.0, 1.0), None], [None, None]])


def test_two_parts_have_the_sizes_that_are_stated_and_are_better_than_one() -> None:
    accelerators = [accelerator_of(data) for data in _nasaic.parts(dram=False)]
    assert [part.macs for part in accelerators] == [576, 1792]
    assert len({(part.clock_hz, part.compute.weight_bits) for part in accelerators}) == 1
    graph = _nasaic.resnet9()
    assert graph.parameters == 6_573_130
    styles = [
        FixedDataflow(a).start(PUBLISHED[name])
        for a, name in zip(accelerators, ("nvdla_256", "shidiannao"), strict=True)
    ]
    bill = _nasaic.heterogeneous(accelerators, styles, graph)
    for part, style in zip(accelerators, styles, strict=True):
        alone = totals_of(part, [graph], style)
        assert alone is not None
        assert bill.edp_js <= alone.edp * 1e-12 / part.clock_hz * (1 + 1e-12)
    assert sum(bill.layers) == 9


def test_one_accelerator_gets_what_both_parts_have(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        hardware = _nasaic.resources(True, Settings(1, (2, 1), pool, tmp_path))
    parts = [accelerator_of(data) for data in _nasaic.parts(dram=True)]
    assert hardware["budget"]["macs"] == 2368
    assert hardware["budget"]["on_chip"] == f"{math.floor(sum(part.on_chip_bytes for part in parts))} B"
    assert hardware["budget"]["noc_bandwidth"] == "64 B/cycle"


def test_the_comparison_prints_how_many_times_lower(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock_hz = accelerator_of(_nasaic.parts(False)[0]).clock_hz
    bills = {"fixed": _nasaic.Bill(1e9, 4e-3, (3, 6)), "better": _nasaic.Bill(1e9, 1e-3, (9, 0))}
    designs = [Totals(1, [2e9], [round(1e-3 * clock_hz)], [0.5])]
    monkeypatch.setattr(_nasaic, "baseline", lambda *_: bills)
    monkeypatch.setattr(_nasaic, "searched", lambda *_: designs)
    code, out = printed(["--figure", "nasaic"], monkeypatch, capsys)
    assert code == 0
    assert (
        "fixed: EDP 2.00 (2.00-2.00) times lower, latency 4.00 (4.00-4.00), energy 0.50 (0.50-0.50); paper 1.88" in out
    )
    assert "better: EDP 0.50 (0.50-0.50) times lower" in out
    assert "recalled, not checked" in out
    assert printed(["--figure", "nasaic", "--protocol", "strict"], monkeypatch, capsys)[0] == 0
