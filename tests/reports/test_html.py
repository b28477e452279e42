"""The report of a run: what it says, that it needs nothing else, and that what others wrote stays text."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from accelerators import catalog
from accelerators.costs import Cost
from accelerators.documents import parse
from accelerators.spatial import mapping_file
from accelerators.spatial.model import evaluate as evaluate_mapping
from codesign import evaluate
from codesign.experiments import run
from codesign.experiments.candidates import Record
from codesign.experiments.experiment import Experiment
from codesign.experiments.export import datasheet_yaml
from codesign.experiments.ledger import Ledger, LedgerError
from codesign.experiments.workers import Done, Pool, evaluate_task
from codesign.reports import _figures as figures
from codesign.reports import _words as words
from codesign.reports._run import Candidate, Point, Run
from codesign.reports.drawing import draw, size_text
from codesign.reports.html import write_report
from codesign.search.pareto import front

_SINGLE = """
name: single
seed: 1
networks: ds_cnn
hardware: {space: naas, budget: {like: eyeriss}}
search: {population: 4, generations: 2}
"""
_SEVERAL = """
name: several
networks: [ds_cnn, squeezenet1_0]
fuse: true
hardware: {space: naas, budget: {like: eyeriss}}
objective: [energy, latency, area]
search: {optimiser: nsga2, population: 6, generations: 2}
"""
_SWEEP = """
name: sweep
networks: ds_cnn
hardware: {space: naas, budget: {like: eyeriss}}
search: {optimiser: random, population: 2, generations: 1}
sweep: {over: {hardware.budget.macs: [64, 128], hardware.budget.on_chip: [64 kB, 128 kB]}}
"""
_GIVEN = """
name: given
networks: ds_cnn
hardware: {accelerators: [eyeriss, nvdla_256]}
baseline: eyeriss
"""
_NOTHING = """
name: nothing
networks: ds_cnn
hardware: {space: naas, budget: {like: eyeriss, power: 0.001}}
search: {population: 3, generations: 1}
"""
_BAD = "<img src=x onerror=\"document.title='pwned'\"></script><script>document.title='pwned'</script>&amp;%{x}"


class _StoppedError(Exception):
    pass


class _Here(Pool):
    """Evaluates in this process, and stops the run after so many tasks."""

    size = 1

    def __init__(self, most: int | None = None):
        self.tasks: list[tuple[Any, Record]] = []
        self.left = math.inf if most is None else most

    def submit(self, key: Any, task: Record) -> None:
        self.tasks.append((key, task))

    def next(self, timeout_s: float) -> Done | None:
        if not self.left:
            raise _StoppedError
        self.left -= 1
        key, task = self.tasks.pop(0)
        return Done(key, evaluate_task(task), 1)

    def close(self) -> None:
        pass


def _run(text: str, folder: Path, most: int | None = None) -> Path:
    """The folder of a run, which ends after ``most`` designs."""
    experiment = folder.with_suffix(".yaml")
    experiment.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "pool_for", lambda *_: _Here(most))
        try:
            run.start(Experiment.load(experiment), folder)
        except _StoppedError:
            assert most is not None
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A finished run, with its report."""
    made: dict[str, Path] = {}

    def finished(text: str) -> Path:
        if text not in made:
            made[text] = _run(text, tmp_path_factory.mktemp("runs") / "run")
            write_report(made[text])
        return made[text]

    return finished


def _copy(folder: Path, to: Path, change: Callable[[Record], None] | None = None, **meta: Any) -> Path:
    """A run with other meta data, and candidates changed by ``change``."""
    with Ledger(folder, write=False) as old, Ledger(to, create={**_without_version(old.meta), **meta}) as new:
        for digest in old.objectives(0):
            record = old.candidate(0, digest)
            if change:
                change(record)
            keys = ("status", "code", "reason", "gap", "layers")
            result = {key: record[key] for key in keys} | {"networks": {n["network"]: n for n in record["networks"]}}
            goals = {"edp": "edp_js", "energy": "energy_pj", "latency": "latency_s", "area": "area_mm2"}
            result["objectives"] = {goal: record[column] for goal, column in goals.items()}
            new.add_candidate(0, digest, record["choices"], record["datasheet"], result, 1.0, 1)
        for number, generation in old.generations(0).items():
            rejected = {**generation["rejected"], **({_BAD: 3} if change else {})}
            new.add_generation(0, number, generation["candidates"], rejected, generation["state"])
    return to


def _without_version(meta: Record) -> Record:
    return {key: value for key, value in meta.items() if key != "version"}


def _hostile(folder: Path, to: Path) -> Path:
    """A run in which every text that can be is an attack."""

    def change(record: Record) -> None:
        record["choices"] = {_BAD: _BAD, "list": [[[_BAD], 3]], "more": [_BAD]}
        if record["digest"] != "baseline":
            record["networks"][0]["network"] = _BAD
            for layer in record["layers"]:
                # Other costs as well, so that the report takes the ledger's word.
                layer |= {"operator": _BAD, "bottleneck": _BAD, "energy_pj": 1.0}
        record["reason"] = _BAD
        record["datasheet"]["description"] = _BAD

    text = _SINGLE + f"# {_BAD}\n"
    return _copy(
        folder, to, change, name=_BAD, experiment=text, environment={"python": _BAD, "libraries": {_BAD: _BAD}}
    )


class _Page(HTMLParser):
    """A page's elements, its text outside of scripts and styles, and the figures."""

    def __init__(self, path: Path):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.inside = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        self.figures = json.loads(self.scripts[0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside = tag
        if tag in ("script", "style"):
            (self.scripts if tag == "script" else self.styles).append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside in ("script", "style"):
            (self.scripts if self.inside == "script" else self.styles)[-1] += data
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def anchors(self) -> set[str]:
        return {str(attrs["id"]) for _, attrs in self.elements if "id" in attrs}


def _winner(folder: Path) -> tuple[Run, Record]:
    """The run and the record of its best design."""
    with Ledger(folder, write=False) as ledger:
        found = Run.of(ledger)
        assert found.best is not None
        return found, ledger.candidate(found.best.candidate.point, found.best.candidate.digest)


# ------------------------------------------------------------------------------------------------------- what it says


def test_one_objective(runs: Callable[[str], Path]) -> None:
    folder = runs(_SINGLE)
    page = _Page(folder / "report.html")
    with Ledger(folder, write=False) as ledger:
        scores = {d: r["objectives"] for d, r in ledger.objectives(0).items()}
    base = scores.pop("baseline")
    best = min(scores, key=lambda digest: scores[digest]["edp"])
    assert f"{best} is the design with the least EDP" in page.text
    for goal in ("edp", "energy", "latency", "area"):
        assert words.value(goal, scores[best][goal]) in page.text
        assert words.ratio(goal, scores[best][goal], base[goal]) in page.text
        assert f"baseline eyeriss: {words.value(goal, base[goal])}" in page.text
    sections = ("result", "convergence", "design", "layers", "roofline-section", "nests", "settings")
    assert set(sections) <= page.anchors
    assert not {"front", "sweep"} & page.anchors
    assert {a["href"] for tag, a in page.elements if tag == "a" and str(a["href"]).startswith("#")} <= {
        f"#{anchor}" for anchor in page.anchors
    }
    assert "8 designs were evaluated; 8 of them work." in page.text
    assert "not finished" not in page.text
    assert _SINGLE.strip() in "".join(page.texts)
    assert "ruamel.yaml" in page.text
    assert "multiply-accumulate" in page.text
    assert len([tag for tag, attrs in page.elements if tag == "svg"]) == 2


def test_layers_add_up_to_the_ledger(runs: Callable[[str], Path]) -> None:
    found, record = _winner(runs(_SINGLE))
    page = _Page(runs(_SINGLE) / "report.html")
    energies = [f for f in page.figures.values() if f["layout"].get("barmode") == "stack"]
    (latencies,) = (f for f in page.figures.values() if f["layout"].get("barmode") == "group")
    assert len(energies) == 1
    joules = sum(sum(trace["y"]) for trace in energies[0]["data"] if trace["yaxis"] == "y")
    assert joules == pytest.approx(record["energy_pj"] * 1e-12)
    assert sum(latencies["data"][0]["y"]) == pytest.approx(record["latency_s"])
    assert sum(latencies["data"][1]["y"]) == pytest.approx(found.baseline.candidate.values["latency"])  # type: ignore[union-attr]
    assert found.best is not None
    assert not found.best.problems


@pytest.mark.parametrize("text", [_SINGLE, _SEVERAL, _GIVEN])
def test_the_roof_is_not_beaten_and_traffic_is_no_less_than_compulsory(runs: Callable[[str], Path], text: str) -> None:
    found, _ = _winner(runs(text))
    for design in (found.best, found.baseline):
        if design is None:
            continue
        accelerator, ridge = design.accelerator, figures._ridge(design.accelerator)
        assert ridge is not None
        marks = figures._operating_points(design)
        assert len(marks) == len(design.shapes)
        for mark in marks:
            roof = accelerator.macs * accelerator.clock_hz * min(1.0, mark.intensity / ridge)
            assert mark.rate <= roof * (1 + 1e-9)
            operator = mark.row.key
            bits = sum(operator.touched_words(t) * accelerator.compute.bits(t.role) for t in operator.tensors)
            assert mark.row.traffic_bytes >= bits / 8 * (1 - 1e-9)
            if mark.row.bottleneck == f"{accelerator.levels[0].name} bandwidth":
                # Such a layer is on the roof, up to the cycle that is not full.
                cycle = accelerator.clock_hz * mark.row.latency_s
                assert mark.rate == pytest.approx(roof, rel=1.5 / cycle)


def test_several_objectives(runs: Callable[[str], Path]) -> None:
    folder = runs(_SEVERAL)
    page = _Page(folder / "report.html")
    found, record = _winner(folder)
    assert found.winner is not None
    winner = found.winner
    assert record["edp_js"] == min(c.values["edp"] for c in winner.front)
    assert "front" in page.anchors
    panels = [f for f in page.figures.values() if any(t.get("name") == "front" for t in f["data"])]
    assert len(panels) == 3
    for panel in panels:
        (trace,) = (t for t in panel["data"] if t["name"] == "front")
        assert len(trace["x"]) == len(winner.front)
        for candidate, hover in zip(winner.front, trace["text"], strict=True):
            assert candidate.digest in hover
            assert "scratchpad.capacity" in hover
    assert f"The front: {len(winner.front)} of {len(winner.front)} designs" in page.text
    convergence = page.figures["plot-1"]["layout"]
    assert convergence["grid"]["rows"] == 3


def test_sweep(runs: Callable[[str], Path]) -> None:
    page = _Page(runs(_SWEEP) / "report.html")
    found, record = _winner(runs(_SWEEP))
    bests = [point.best for point in found.points]
    assert all(bests)
    assert record["edp_js"] == min(best.values["edp"] for best in bests if best)
    assert found.winner is not None
    assert f"It belongs to the point {found.winner.name}, which is the best of all points." in page.text
    assert re.fullmatch(r"macs \d+, on_chip \d+ kB", found.winner.name)
    (figure,) = (f for f in page.figures.values() if "budget.macs" in json.dumps(f["layout"]))
    lines = [t for t in figure["data"] if t["name"].startswith("on_chip")]
    assert [t["name"] for t in lines] == ["on_chip 64 kB", "on_chip 128 kB"]
    assert [t["x"] for t in lines] == [[64, 128]] * 2
    for best in bests:
        assert best is not None
        assert best.digest in page.text


def test_given_accelerators(runs: Callable[[str], Path]) -> None:
    page = _Page(runs(_GIVEN) / "report.html")
    assert "Comparison" in page.text
    assert "nvdla_256 is the design with the least EDP" in page.text
    bars = [f["data"][0] for f in page.figures.values() if f["data"][0].get("orientation") == "h"]
    assert [bar["y"] for bar in bars] == [["nvdla_256", "eyeriss"]] * 4
    assert catalog.load(runs(_GIVEN) / "best" / "accelerator.yaml") == catalog.load("nvdla_256")


# ------------------------------------------------------------------------------------------------------- best/ as files


@pytest.mark.parametrize("text", [_SINGLE, _SEVERAL])
def test_the_winner_as_files_costs_what_the_ledger_says(runs: Callable[[str], Path], text: str) -> None:
    folder = runs(text) / "best"
    _, record = _winner(runs(text))
    accelerator = catalog.load(folder / "accelerator.yaml")
    totals = {entry["network"]: entry for entry in record["networks"]}
    for name, entry in totals.items():
        result = evaluate(name, accelerator, fuse=text == _SEVERAL).results[0]
        # Mapping for the least EDP, as the search did; what the file says, nothing else.
        assert result.edp_js == pytest.approx(entry["edp_js"])
    document = mapping_file.read(folder / "mappings.yaml")
    assert document.accelerator == accelerator.name
    found = [evaluate_mapping(accelerator, m.operator, [m.mapping], dict(m.bounds))[0] for m in document.layers]
    costs = [cost for cost in found if isinstance(cost, Cost)]
    assert len(costs) == len(found) > 5
    saved = {(layer["mapping"], layer["latency_cycles"], layer["energy_pj"]) for layer in record["layers"]}
    assert {(str(c.details.mapping), c.latency_cycles, c.energy_pj) for c in costs} == saved


@pytest.mark.parametrize("name", catalog.names("spatial"))
def test_datasheets_survive_as_yaml(name: str) -> None:
    data = dict(catalog.document(name).data)
    text = datasheet_yaml({**data, "description": "no: 'yes' \"1e5\"\n # [x] {y} é\t "})
    again = parse(text).data
    assert text.startswith("name: ")
    assert {**again, "description": data["description"]} == data
    assert again["description"] == "no: 'yes' \"1e5\"\n # [x] {y} é\t "


# ---------------------------------------------------------------------------------------------- one file, and only text


@pytest.mark.parametrize("text", [_SINGLE, _SEVERAL, _SWEEP, _GIVEN, _NOTHING])
def test_nothing_is_loaded(runs: Callable[[str], Path], text: str) -> None:
    page = _Page(runs(text) / "report.html")
    links = [str(attrs[key]) for _, attrs in page.elements for key in ("src", "href") if key in attrs]
    assert all(link.startswith(("#", "best/")) for link in links)
    assert not {"link", "iframe", "object", "embed", "img", "base"} & {tag for tag, _ in page.elements}
    assert not re.search(r"url\(|@import", "".join(page.styles))
    policies = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies
    assert str(policies[0]).startswith("default-src 'none';")
    assert sum("* plotly.js v" in script for script in page.scripts) == 1
    places = {anchor for anchor in page.anchors if anchor.startswith("plot-")}
    assert places == set(page.figures)


@pytest.mark.parametrize("text", [_SINGLE, _SEVERAL, _SWEEP, _GIVEN])
def test_plotly_knows_all_that_figures_say(runs: Callable[[str], Path], text: str) -> None:
    objects = pytest.importorskip("plotly.graph_objects")
    for figure in _Page(runs(text) / "report.html").figures.values():
        objects.Figure(figure)


def test_what_others_wrote_stays_text(runs: Callable[[str], Path], tmp_path: Path) -> None:
    folder = _hostile(runs(_SINGLE), tmp_path / "hostile")
    write_report(folder)
    page = _Page(folder / "report.html")
    plain = _Page(runs(_SINGLE) / "report.html")
    assert page.text.count(" ".join(_BAD.split())) > 10
    assert [tag for tag, _ in page.elements if tag in ("script", "img")] == ["script"] * 3
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in plain.elements} | {"ul", "li"}
    assert "<" not in page.scripts[0]
    # Plotly reads tags in texts, names and titles: there they must be entities.
    for text in _strings(page.figures):
        assert re.fullmatch(r"[^<]*(<(br|extra)>(</extra>)?[^<]*)*", text), text
    assert "document.title" in json.dumps(page.figures)
    assert catalog.load(folder / "best" / "accelerator.yaml").description == _BAD


def test_layers_of_a_file(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    weights = onnx.numpy_helper.from_array(np.zeros((8, 4, 3, 3), np.float32), "weights")
    name = "<b>layer</b>" + "x" * 60
    node = onnx.helper.make_node("Conv", ["image", "weights"], ["result"], name=name)
    image, result = (
        onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, shape)
        for tensor, shape in (("image", [1, 4, 10, 10]), ("result", [1, 8, 8, 8]))
    )
    graph = onnx.helper.make_graph([node], "small", [image], [result], [weights])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "small.onnx")
    page = _Page(write_report(_run(_SINGLE.replace("ds_cnn", "small.onnx"), tmp_path / "run")))
    assert name in page.text
    assert "b" not in {tag for tag, _ in page.elements}
    assert "roofline-section" in page.anchors
    (axis,) = {json.dumps(f["layout"]["xaxis"]) for f in page.figures.values() if "barmode" in f["layout"]}
    assert json.loads(axis)["categoryarray"] == ["…" + "x" * 27]
    (layer,) = mapping_file.read(tmp_path / "run" / "best" / "mappings.yaml").layers
    assert layer.name == name


def _strings(data: Any) -> list[str]:
    if isinstance(data, str):
        return [data]
    values = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return [text for value in values for text in _strings(value)]


# -------------------------------------------------------------------------------------------- runs that did not go well


def test_a_run_that_has_just_begun(runs: Callable[[str], Path], tmp_path: Path) -> None:
    with Ledger(runs(_SINGLE), write=False) as ledger:
        meta = {key: value for key, value in ledger.meta.items() if key != "version"}
    with Ledger(tmp_path / "old", create=meta):
        pass
    page = _Page(write_report(tmp_path / "old"))
    assert "No design has been evaluated yet." in page.text


def test_a_run_in_which_nothing_works(runs: Callable[[str], Path]) -> None:
    folder = runs(_NOTHING)
    page = _Page(folder / "report.html")
    assert "None of the 3 designs that were evaluated works" in page.text
    # The budget is for designs.
    assert "baseline" not in page.text
    assert "infeasible" in page.text
    assert "mW, the budget is 0.001" in page.text
    assert not {"result", "design", "convergence"} & page.anchors
    assert not (folder / "best").exists()


@pytest.mark.parametrize("most", [0, 1, 3, 6])
def test_a_run_that_was_stopped(tmp_path: Path, most: int) -> None:
    folder = _run(_SINGLE, tmp_path / "stopped", most)
    page = _Page(write_report(folder))
    assert f"This run is not finished: {int(most > 5)} of 2 generations are." in page.text
    if most < 2:
        assert "No design has been evaluated yet." in page.text
        assert "result" not in page.anchors
        assert ("The baseline has not been evaluated yet." in page.text) == (most == 0)
    else:
        assert f"{most - 1} designs were evaluated" in page.text
        assert {"result", "convergence", "design"} <= page.anchors
        (cloud,) = (t for t in page.figures["plot-1"]["data"] if t["mode"] == "markers")
        assert len(cloud["x"]) == most - 1
        assert catalog.load(folder / "best" / "accelerator.yaml").macs > 0


def test_a_sweep_that_was_stopped(tmp_path: Path) -> None:
    page = _Page(write_report(_run(_SWEEP, tmp_path / "stopped", 4)))
    assert "This run is not finished: 1 of 4 points are" in page.text
    assert "not begun (not finished)" in page.text


def test_without_a_baseline(tmp_path: Path) -> None:
    page = _Page(write_report(_run(_GIVEN.replace("baseline: eyeriss\n", ""), tmp_path / "run")))
    assert "There is no baseline." in page.text
    assert "lower" not in page.text
    assert len([tag for tag, _ in page.elements if tag == "svg"]) == 1


def test_networks_that_are_not_at_hand(runs: Callable[[str], Path], tmp_path: Path) -> None:
    text = _SINGLE.replace("ds_cnn", "gone.onnx")
    folder = _copy(runs(_SINGLE), tmp_path / "copy", experiment=text)
    page = _Page(write_report(folder))
    assert "the network gone.onnx cannot be loaded, so layers have no names" in page.text
    assert {"result", "design", "layers", "nests"} <= page.anchors
    assert "roofline-section" not in page.anchors
    assert (folder / "best" / "accelerator.yaml").is_file()
    assert not (folder / "best" / "mappings.yaml").exists()


def test_an_experiment_that_cannot_be_read(runs: Callable[[str], Path], tmp_path: Path) -> None:
    for number, text in enumerate(("name: [", "name: other\nquantum: true\n")):
        page = _Page(write_report(_copy(runs(_SINGLE), tmp_path / str(number), experiment=text)))
        assert "result" in page.anchors
        assert "experiment:" in page.text


def test_costs_that_have_changed_are_noted(runs: Callable[[str], Path], tmp_path: Path) -> None:
    def change(record: Record) -> None:
        record["networks"][0]["energy_pj"] *= 2

    page = _Page(write_report(_copy(runs(_SINGLE), tmp_path / "copy", change)))
    assert "the program or its tables have changed" in page.text


def test_operators_may_be_written_differently(runs: Callable[[str], Path], tmp_path: Path) -> None:
    def rewrite(record: Record) -> None:
        for layer in record["layers"]:
            layer["operator"] = f"old {layer['operator']}"

    def replace(record: Record) -> None:
        rewrite(record)
        record["layers"][0]["energy_pj"] *= 2

    page = _Page(write_report(_copy(runs(_SINGLE), tmp_path / "old", rewrite)))
    assert "roofline-section" in page.anchors
    page = _Page(write_report(_copy(runs(_SINGLE), tmp_path / "other", replace)))
    assert "the networks have other layers now than in the run" in page.text
    assert "roofline-section" not in page.anchors
    assert "old conv2d" in page.text


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no run"):
        write_report(tmp_path)


@pytest.mark.parametrize("library", ["jinja2", "plotly.offline"])
def test_missing_libraries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ValueError, match=re.escape("pip install 'codesign[report]'")):
        write_report(tmp_path)


# -------------------------------------------------------------------------------------------------- drawings and words


@pytest.mark.parametrize("name", catalog.names("spatial"))
def test_drawings(name: str) -> None:
    accelerator = catalog.load(name)
    root = ElementTree.fromstring(draw(accelerator))
    texts = ["".join(element.itertext()) for element in root.iter("text")]
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for level in accelerator.levels:
        assert level.name in texts
        assert any(text.startswith(size_text(level.capacity_bytes)) for text in texts)
        for axis in level.fanout:
            if axis.size > 1:
                assert any(text.startswith(f"{axis.name}: {axis.size}, unrolls ") for text in texts)
    assert len(list(root.iter("circle"))) == sum(len(level.keeps) for level in accelerator.levels) + 3
    for element in root.iter("rect"):
        x, y, w, h = (float(element.attrib[key]) for key in ("x", "y", "width", "height"))
        assert w > 0
        assert h > 0
        assert 0 <= x <= x + w <= width
        assert 0 <= y <= y + h <= height


def test_figures_in_words() -> None:
    assert words.value("energy", 1.5e9) == "1.5 mJ"
    assert words.value("edp", 2e-9) == "2 nJ·s"
    assert words.value("latency", 12e-6) == "12 µs"
    assert words.value("area", 0.25) == "0.25 mm²"
    assert words.ratio("edp", 1, 2.5) == "2.5\N{MULTIPLICATION SIGN} lower"
    assert words.ratio("energy", 3, 1) == "3\N{MULTIPLICATION SIGN} higher"
    assert words.ratio("edp", 1, 1.001) == "the same"
    assert words.ratio("edp", 0, 1) == words.ratio("edp", None, 1) == ""
    assert words.ratio("accuracy", 78.5, 76) == "+2.5 points"
    assert words.said([[["K"], 8], [["P", "Q"], 4]]) == "K:8 \N{MULTIPLICATION SIGN} P Q:4"
    assert words.pattern("GLB2: 1.5e+3 bits, 12 short") == words.pattern("GLB2: 7 bits, 1 short")
    assert words.pattern("GLB2: 7 bits") != words.pattern("GLB1: 7 bits")
    assert [size_text(n) for n in (None, 12, 1536, 2**20)] == ["unbounded", "12 B", "1.5 kB", "1 MB"]


def test_fronts_of_many_designs() -> None:
    values = np.random.default_rng(0).random((1200, 2))
    tried = tuple(
        Candidate(0, str(i), {}, "ok", "", {"edp": 1.0, "energy": e, "latency": t, "area": 1.0}, None, 0.0)
        for i, (e, t) in enumerate(values.tolist())
    )

    class Two(Point):
        goals = ("energy", "latency")

    point = Two(0, {}, None, (tried,), (), {}, None)
    assert {int(c.digest) for c in point.front} == set(front(values).tolist())


# ------------------------------------------------------------------------------------------------------------ a browser


@pytest.mark.chromium
def test_in_a_browser(runs: Callable[[str], Path], tmp_path: Path) -> None:
    """Every figure is drawn, without a word on the console, and no text is run."""
    chromium = shutil.which("chromium")
    if chromium is None:
        if os.environ.get("CODESIGN_REQUIRE_CHROMIUM"):
            pytest.fail("chromium is not installed")
        pytest.skip("chromium is not installed")
    hostile = _hostile(runs(_SINGLE), tmp_path / "hostile")
    write_report(hostile)
    for folder in (runs(_SEVERAL), runs(_SWEEP), runs(_GIVEN), hostile):
        path = folder / "report.html"
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,2000"]
        command += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=10000"]
        done = subprocess.run([*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
        count = len(_Page(path).figures)
        assert done.stdout.count('class="plot-container plotly"') == count
        assert done.stdout.count('class="main-svg"') >= 2 * count
        assert "<title>pwned" not in done.stdout
        assert "<img" not in done.stdout
