"""Tables of a run: complete, the same as CSV and as Parquet, whatever the run is doing and whatever its texts are."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from runs import EXPERIMENT, codesign

from accelerators.spatial import mapping_file
from codesign.cli import RefusedError, experiments
from codesign.experiments import export, run
from codesign.experiments.experiment import Experiment
from codesign.experiments.ledger import Ledger, LedgerError

Rows = list[dict[str, Any]]

_SWEEP = """\
name: sweep
networks: [{network: ds_cnn, options: {batch: 1}}]
hardware: {accelerators: [eyeriss, nvdla_64], budget: {power: 100}}
fuse: true
sweep: {over: {'networks[0].options.batch': [1, 2]}}
"""


def read_csv(text: bytes) -> Rows:
    """Rows as text; None where a field is empty and not quoted."""
    csv.field_size_limit(2**30)
    rows = list(csv.DictReader(io.StringIO(text.decode(), newline=""), strict=True))
    return [dict(row) for row in rows]


def same(table: export.Table) -> Rows:
    """The rows of a table's Parquet file, after its CSV file has been compared with it value by value."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    content = table.to_csv()
    plain, typed = read_csv(content), parquet.read_table(pyarrow.BufferReader(table.to_parquet())).to_pylist()
    assert len(plain) == len(typed) == len(table)
    for ours, theirs in zip(plain, typed, strict=True):
        assert list(ours) == list(theirs)
        for name, value in theirs.items():
            text = ours[name]
            if value is None or value == "":
                assert text == ""
            elif isinstance(value, float):
                assert float(text) == value or math.isnan(value), name
            else:
                assert text == str(value), name
    return list(typed)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched")
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    run.start(Experiment.load(folder / "experiment.yaml"), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("swept")
    (folder / "sweep.yaml").write_text(_SWEEP)
    run.start(Experiment.load(folder / "sweep.yaml"), folder / "run")
    return folder / "run"


def test_candidates_of_a_search(searched: Path, tmp_path: Path) -> None:
    rows = same(export.candidates(searched))
    baseline, *designs = rows
    assert (baseline["digest"], baseline["accelerator"], baseline["generation"]) == ("baseline", "eyeriss", None)
    assert [row["generation"] for row in designs] == sorted(row["generation"] for row in designs)
    with Ledger(searched, write=False) as ledger:
        generations, known = ledger.generations(0), ledger.objectives(0)
        for row in designs:
            assert row["digest"] in generations[row["generation"]]["candidates"]
            objectives = known[row["digest"]]["objectives"]
            assert [row[name] for name in ("edp_js", "energy_pj", "latency_s", "area_mm2")] == list(objectives.values())
            assert row["network.ds_cnn.energy_pj"] == pytest.approx(row["energy_pj"], rel=1e-12)
            record = ledger.candidate(0, row["digest"])
            sheet, (buffer, scratchpad) = record["datasheet"], record["datasheet"]["levels"][1:3]
            assert sheet["name"].startswith("small_")
            assert f"{row['choice.global_buffer.capacity_B']:g} B" == buffer["capacity"]
            assert f"{row['choice.scratchpad.capacity_B']:g} B" == scratchpad["capacity"]
            array = {axis: {"unroll": dims, "size": size} for axis, (dims, size) in axes(row)}
            assert array == buffer["fanout"]
    assert len(rows) == len(known)
    # But for who did it and how long that took, it does not depend on the workers.
    file = searched.parent / "experiment.yaml"
    run.start(run.with_workers(Experiment.load(file), 1), tmp_path / "one")
    changing = dict.fromkeys(("seconds", "attempts"))
    assert [row | changing for row in same(export.candidates(tmp_path / "one"))] == [row | changing for row in rows]


def axes(row: dict[str, Any]) -> zip[tuple[str, list[Any]]]:
    return zip("xyz", json.loads(row["choice.global_buffer.array"]), strict=False)


def test_layers_sum_up_to_the_networks(swept: Path) -> None:
    totals = {(row["point"], row["digest"]): row for row in same(export.candidates(swept))}
    assert {row["status"] for row in totals.values()} == {"ok", "infeasible"}
    rows = same(export.layers(swept))
    sums: dict[tuple[int, str], dict[str, float]] = {}
    for row in rows:
        entry = sums.setdefault(
            (row["point"], row["digest"]), dict.fromkeys(("energy_pj", "latency_cycles", "macs"), 0)
        )
        for name in entry:
            entry[name] += row[name]
        parts = [row[name] for name in row if name.startswith("energy_") and name != "energy_pj"]
        assert math.fsum(part for part in parts if part is not None) == pytest.approx(row["energy_pj"])
    assert set(sums) == {key for key, row in totals.items() if row["status"] == "ok"}
    for key, entry in sums.items():
        assert entry == {name: totals[key][f"network.ds_cnn.{name}"] for name in entry}
        assert totals[key]["label"] == f"networks[0].options.batch={totals[key]['sweep.networks[0].options.batch']}"
    assert {row["status"] for row in rows} == {"ok", "fused"}
    infeasible = next(row for row in totals.values() if row["status"] == "infeasible")
    assert infeasible["reason"].endswith("the budget is 100")
    assert infeasible["edp_js"] is None


def test_layers_need_the_networks_of_the_run(searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = export.load_network
    monkeypatch.setattr(export, "load_network", lambda each: load({**each, "options": {"batch": 2}}))
    with pytest.raises(LedgerError, match="the networks have other layers now than in the run"):
        export.layers(searched)
    monkeypatch.undo()
    monkeypatch.setattr(export, "network_specification", lambda *_: {"network": "gone.onnx", "options": {}})
    with pytest.raises(LedgerError, match=r"a network cannot be loaded, so its layers are not known: gone.onnx"):
        export.layers(searched)


def test_it_reads_runs_that_go_on_or_were_killed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT.replace("generations: 4", "generations: 1000"))
    command = [sys.executable, "-m", "codesign", "run", str(tmp_path / "experiment.yaml"), "--out", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline, rows = time.monotonic() + 60, 0
    while rows < 8 and time.monotonic() < deadline:
        time.sleep(0.1)
        if (folder / "journal.jsonl").exists():
            rows = len(export.candidates(folder))
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = codesign("export", folder)
    assert (done.returncode, done.stderr) == (0, "")
    table = read_csv((folder / "candidates.csv").read_bytes())
    assert len(table) >= 8
    assert done.stdout == f"{len(table)} rows in {folder / 'candidates.csv'}\n"
    assert codesign("export", folder, "--layers").returncode == 0
    layers = read_csv((folder / "layers.csv").read_bytes())
    assert {row["digest"] for row in layers} == {row["digest"] for row in table}
    # It writes nothing but the table.
    with Ledger(folder):
        assert len(export.candidates(folder)) == len(table)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A run in which nothing is finished."""
    meta = {"name": "small", "digest": "", "environment": {}, "files": {}, "experiment": EXPERIMENT}
    meta |= {"source": str(tmp_path / "e.yaml"), "points": [{"seed": 1}, {"seed": 2}]}
    Ledger(tmp_path / "run", create=meta).close()
    return tmp_path / "run"


def test_a_run_without_candidates_gives_the_header(empty: Path) -> None:
    assert same(export.candidates(empty)) == []
    assert same(export.layers(empty)) == []
    assert export.candidates(empty).to_csv().startswith(b"point,label,generation,digest,accelerator,status,")


def test_texts_and_numbers_come_out_as_they_are(empty: Path) -> None:
    texts = ["a,b", 'say "so"', "two\nlines", "\r", " padded ", "Größe µ 芯片 🎛", "", "x" * 200_000, "=1+1", "\0"]
    with Ledger(empty) as ledger:
        for i, text in enumerate(texts):
            choices = {
                text: i,
                "name": text,
                "half": "\ud800",
                "mixed": [None, 0, 1.5, True, "0 B", [1, [2]], {}][i % 7],
            }
            choices |= {
                "zero": [0, None][i % 2],
                "flag": [True, None, False][i % 3],
                "rate": [0.0, math.nan, math.inf][i % 3],
            }
            choices |= {"size": [f"{i} kB", None][i % 2], "units": [f"{i} kB", f"{i} B"][i % 2]}
            objectives = {"edp": 0.0, "energy": 5e-324, "latency": math.inf, "area": None}
            result = {"status": "ok", "reason": text, "code": None, "objectives": objectives, "gap": None}
            ledger.add_candidate(i % 2, f"{i:02}", choices, {}, result, 0.0, 1)
    table = export.candidates(empty)
    rows = sorted(same(table), key=lambda row: row["digest"])
    assert [row["reason"] for row in rows] == texts
    for i, row in enumerate(rows):
        assert row["choice.name"] == texts[i]
        assert row[f"choice.{texts[i]}"] == i
        assert row["choice.half"] == "?"
        assert row["choice.mixed"] == [None, "0", "1.5", "true", "0 B", "[1, [2]]", "{}"][i % 7]
        assert row["choice.zero"] == [0, None][i % 2]
        assert row["choice.flag"] == [True, None, False][i % 3]
        assert str(row["choice.rate"]) == ["0.0", "nan", "inf"][i % 3]
        assert row["choice.size_kB"] == [i, None][i % 2]
        assert row["choice.units"] == [f"{i} kB", f"{i} B"][i % 2]
        assert [row[name] for name in ("edp_js", "energy_pj", "latency_s", "area_mm2")] == [0.0, 5e-324, math.inf, None]
        assert (row["label"], row["sweep.seed"]) == (f"seed={i % 2 + 1}", i % 2 + 1)
    # Nothing and an empty text differ.
    line = next(line for line in table.to_csv().decode().split("\n") if ",06," in line)
    assert line.startswith('0,seed=1,,06,,ok,,"",0.0,5e-324,inf,,,0.0,1,')


def test_what_cannot_be_exported(searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(*arguments: object) -> str:
        done = codesign("export", *arguments)
        assert done.returncode == 2
        assert done.stdout == ""
        return done.stderr

    assert refusal(tmp_path / "nowhere") == f"error: {tmp_path / 'nowhere'}: there is no run in this folder\n"
    assert refusal(tmp_path) == f"error: {tmp_path}: there is no run in this folder\n"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "file") == f"error: {tmp_path / 'file'}: there is no run in this folder\n"
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "ledger.sqlite").write_bytes(os.urandom(4096))
    assert "is damaged (file is not a database)" in refusal(tmp_path / "strange")
    before = (searched / "ledger.sqlite").read_bytes()
    for name in ("ledger.sqlite", "journal.jsonl", "experiment.yaml"):
        assert "cannot be written: it belongs to a run" in refusal(searched, "--out", searched / name)
    assert (searched / "ledger.sqlite").read_bytes() == before
    assert "cannot be written: No such file" in refusal(searched, "--out", tmp_path / "missing" / "table.csv")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RefusedError, match=r"Parquet needs pyarrow: pip install 'codesign\[parquet\]'"):
        experiments.export(searched, tmp_path / "table.parquet")
    assert not (tmp_path / "table.parquet").exists()


def test_any_design_comes_out_as_files(searched: Path, tmp_path: Path) -> None:
    rows = [row for row in same(export.candidates(searched)) if row["status"] == "ok" and row["generation"] is not None]
    digest = rows[-1]["digest"]
    out = tmp_path / "design"
    done = codesign("export", searched, "--design", digest[:8], "--out", out)
    assert done.returncode == 0, done.stderr
    evaluated = codesign("evaluate", "ds_cnn", "--on", out / "accelerator.yaml", "--json", tmp_path / "e.json")
    assert evaluated.returncode == 0, evaluated.stderr
    (record,) = json.loads((tmp_path / "e.json").read_text())
    assert record["area_mm2"] == rows[-1]["area_mm2"]
    document = mapping_file.read(out / "mappings.yaml")
    layers = [row for row in same(export.layers(searched)) if row["digest"] == digest]
    assert {str(layer.operator) for layer in document.layers} <= {row["operator"] for row in layers}
    assert codesign("cost", out / "mappings.yaml").returncode == 0
    refused = codesign("export", searched, "--design", "zzz")
    assert refused.returncode == 2
    assert "no candidates are called 'zzz'" in refused.stderr
    assert "takes a digest" in codesign("export", searched, "--design", "../x").stderr
    (tmp_path / "file").write_text("")
    assert "cannot be written" in codesign("export", searched, "--design", digest, "--out", tmp_path / "file").stderr


def test_designs_of_a_sweep_are_written_point_by_point(swept: Path) -> None:
    rows = same(export.candidates(swept))
    failed = [row for row in rows if row["status"] != "ok"]
    (fine, other) = [row for row in rows if row["status"] == "ok" and row["accelerator"] == "nvdla_64"]
    assert fine["digest"] == other["digest"]
    done = codesign("export", swept, "--design", fine["digest"])
    folder = swept / "designs" / fine["digest"]
    assert done.stdout.split("\n")[:2] == [f"files in {folder / f'point_{point}'}" for point in (0, 1)]
    for batch, point in ((1, 0), (2, 1)):
        layers = mapping_file.read(folder / f"point_{point}" / "mappings.yaml").layers
        assert {dict(layer.operator.bounds).get("N", 1) for layer in layers} == {batch}
    # What does not work has nothing but a datasheet.
    assert {row["accelerator"] for row in failed} == {"eyeriss"}
    assert codesign("export", swept, "--design", failed[0]["digest"]).returncode == 0
    written = [file.name for file in (swept / "designs" / failed[0]["digest"]).rglob("*") if file.is_file()]
    assert written == ["accelerator.yaml"] * len(failed)
