"""What has brought runs down, or has made them say something wrong."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from runs import EXPERIMENT, codesign, found

from accelerators.documents import DocumentError
from codesign.experiments import run
from codesign.experiments.experiment import Experiment
from codesign.experiments.ledger import Ledger, LedgerError
from codesign.experiments.search import Search
from codesign.experiments.summary import summaries
from codesign.experiments.workers import evaluate_task


def parsed(text: str) -> Experiment:
    return Experiment.parse(text, Path("experiment.yaml").resolve())


@pytest.mark.parametrize(("population", "refine"), [(2, 0.9), (2, 0.75), (3, 0.9), (4, 0.9)])
def test_a_generation_has_as_many_designs_as_it_shall(population: int, refine: float) -> None:
    text = EXPERIMENT.replace("population: 5", f"population: {population}, refine: {refine}")
    searching = Search(parsed(text).points[0])
    for _ in range(4):
        jobs = searching.propose()
        records = {job.digest: {"status": "ok", "objectives": {"edp": float(i)}} for i, job in enumerate(jobs)}
        assert len(searching.absorb(records).candidates) == population


def test_the_best_design_is_that_of_the_objective(tmp_path: Path) -> None:
    path = tmp_path / "area.yaml"
    path.write_text(EXPERIMENT + "objective: area\n")
    run.start(Experiment.load(path), tmp_path / "run")
    (summary,) = summaries(tmp_path / "run")
    assert summary.best is not None
    with Ledger(tmp_path / "run", write=False) as ledger:
        areas = {key: each["objectives"]["area"] for key, each in ledger.objectives(0).items() if key != "baseline"}
    assert areas[summary.best[0]] == min(areas.values())
    assert codesign("report", tmp_path / "run").returncode == 0
    assert summary.best[0] in (tmp_path / "run" / "best" / "accelerator.yaml").read_text().splitlines()[0]


@pytest.mark.parametrize("key", ["baseline: mine.yaml", "like"])
def test_files_that_are_named_may_not_change(tmp_path: Path, key: str) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(_datasheet())
    text = EXPERIMENT.replace("like: eyeriss", "like: mine.yaml") if key == "like" else EXPERIMENT + f"{key}\n"
    (tmp_path / "e.yaml").write_text(text)
    run.start(Experiment.load(tmp_path / "e.yaml"), tmp_path / "run")
    mine.write_text(_datasheet().replace("size: 8", "size: 16", 1))
    with pytest.raises(LedgerError, match=r"mine.yaml has changed since the run was started"):
        run.resume(tmp_path / "run")


def _datasheet() -> str:
    return """\
name: mine
node: 65 nm
clock: 200 MHz
compute: {type: int16}
levels:
  - {name: DRAM, memory: dram, bandwidth: 480 MB/s}
  - {name: buffer, memory: sram, capacity: 64 kB, width: 64 bit, bandwidth: 16 B/cycle,
     fanout: {x: {size: 8, unroll: [K]}, y: {size: 8, unroll: [C]}}}
  - {name: pad, memory: sram, capacity: 256 B, width: 16 bit}
"""


def test_a_candidate_that_raises_is_marked_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text(EXPERIMENT + "mapper: {name: exhaustive}\n")
    run.start(Experiment.load(tmp_path / "e.yaml"), tmp_path / "run")
    (summary,) = summaries(tmp_path / "run")
    assert summary.generations == 4
    with Ledger(tmp_path / "run", write=False) as ledger:
        baseline = ledger.objectives(0)["baseline"]
    assert (baseline["status"], baseline["code"]) == ("failed", "SpaceTooLargeError")
    assert "mappings" in baseline["reason"]

    def short_of_memory(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("codesign.experiments.task.evaluate_candidate", short_of_memory)
    task = {"datasheet": {"name": "mine", **_plain(_datasheet())}, "networks": [], "settings": {}}
    assert {**evaluate_task(task), "seconds": 0} == {
        "status": "failed",
        "code": "MemoryError",
        "reason": "MemoryError",
        "seconds": 0,
    }


def _plain(text: str) -> dict[str, Any]:
    from accelerators.documents import parse

    return dict(parse(text).data)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("like: eyeriss}", "like: eyeriss}, pin: {global_buffer.array: 5}", "global_buffer.array must be an array"),
        ("like: eyeriss}", "like: eyeriss}, pin: {global_buffer.array: ''}", "global_buffer.array must be an array"),
        ("like: eyeriss}", "like: eyeriss}, pin: {global_buffer.array: []}", "global_buffer.array cannot be"),
        ("like: eyeriss}", "like: eyeriss}, pin: {global_buffer.array: [[1]]}", "global_buffer.array must be like"),
        ("networks: ds_cnn", "networks: {network: ds_cnn, options: {name_or_path: x}}", "unknown option name_or_path"),
        ("space: naas,", "design: {choose: [1, 2]},", "a design must be a datasheet"),
        ("space: naas,", "design: {from: 1, to: 2},", "a design must be a datasheet"),
        ("seed: 5", "sweep: {over: {seed: {from: 0, to: '1e999', points: 3}}}", "must be finite (got '1e999')"),
        ("seed: 5", "seed: 1\nsweep: {over: {seed: [1, 1]}}", "values must differ (got 1 twice)"),
        ("seed: 5", "seed: 1\nsweep: {over: {seed: [1], seed.: [2]}}", "cannot vary beside seed"),
        (
            "seed: 5",
            "sweep: {over: {hardware.budget.macs: [16], hardware.budget: [{like: eyeriss}]}}",
            "cannot vary beside hardware.budget.macs",
        ),
        ("like: eyeriss", "like: eyeriss, area: 0.01", "no design is valid"),
        ("like: eyeriss", "like: eyeriss, area: 0.01", "mm2, the budget is 0.01"),
    ],
)
def test_wrong_experiments_get_place_rule_and_value(old: str, new: str, expected: str) -> None:
    assert old in EXPERIMENT
    with pytest.raises(DocumentError) as caught:
        parsed(EXPERIMENT.replace(old, new))
    assert expected in str(caught.value)
    assert all("experiment.yaml:" in line for line in caught.value.problems)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("clock: 200 MHz", "clock: {from: 0, to: 1e308, step: 1e-308}", "clock: must have at most 1e+12 steps"),
        ("clock: 200 MHz", "clock: {from: -1e308, to: 1e308, step: 1}", "clock: must have at most 1e+12 steps"),
        ("clock: 200 MHz", "clock: {from: 1, to: '1e999'}", "clock: must be finite (got '1e999')"),
        (
            "fanout: {x: {size: 8, unroll: [K]}, y",
            "fanout: {search: {pes: {from: 8, to: '1e999'}}}, x: {y",
            "must be finite",
        ),
        ("fanout: {x: {size: 8, unroll: [K]}, y", "fanout: {search: {unroll: [[K, [C]], P, Q]}}, x: {y", "entries of"),
    ],
)
def test_absurd_ranges(old: str, new: str, expected: str) -> None:
    assert old in _datasheet()
    data = json.dumps(_plain(_datasheet().replace(old, new)))
    with pytest.raises(DocumentError) as caught:
        parsed(EXPERIMENT.replace("space: naas,", f"design: {data},"))
    assert expected in str(caught.value)


def test_fine_grids_can_be_varied() -> None:
    sheet = _datasheet().replace("clock: 200 MHz", "clock: {from: 100.1 MHz, to: 1000 MHz, step: 0.001 Hz}")
    text = EXPERIMENT.replace("space: naas,", f"design: {json.dumps(_plain(sheet))},")
    searching = Search(parsed(text).points[0])
    for _ in range(6):
        jobs = searching.propose()
        searching.absorb({job.digest: {"status": "ok", "objectives": {"edp": float(len(job.digest))}} for job in jobs})


def test_levels_that_may_be_left_out_are_so_every_time() -> None:
    sheet = _plain(_datasheet())
    extra = {"name": "extra", "memory": "sram", "capacity": "1 kB", "width": "64 bit"}
    sheet["levels"].insert(2, {"choose": [{**extra, "present": False}, {**extra, "present": True}]})
    text = EXPERIMENT.replace("space: naas,", f"design: {json.dumps(sheet)},")
    space = parsed(text).points[0].space
    assert space is not None
    (name,) = space.parameters
    for _ in range(2):
        counts = [len(space.build(values).accelerator.levels) for values in space.designs()]  # type: ignore[union-attr]
        assert counts == [3, 4]
    assert all("present" in values[name] for values in space.designs())


def test_spaces_of_too_many_numbers() -> None:
    sheet = _plain(_datasheet())
    sheet["levels"][1]["capacity"] = {"choose": list(range(1000, 2000))}
    sheet["levels"][2]["capacity"] = {"choose": list(range(100, 1000))}
    sheet["clock"] = {"choose": [f"{i} MHz" for i in range(100, 400)]}
    with pytest.raises(DocumentError, match="a design must be at most 2000 numbers"):
        parsed(EXPERIMENT.replace("space: naas,", f"design: {json.dumps(sheet)},"))


def test_given_designs_are_held_to_the_budget(tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text("name: a\nnetworks: ds_cnn\nhardware: {accelerators: [eyeriss, nvdla_64], budget: {macs: 100}}\n")
    done = codesign("run", path, "--out", tmp_path / "run")
    assert done.returncode == 0
    with Ledger(tmp_path / "run", write=False) as ledger:
        reasons = sorted(str(record["reason"]) for record in ledger.objectives(0).values())
    assert reasons == ["168 MACs, the budget is 100", "None"]
    path.write_text(path.read_text().replace("macs: 100", "macs: 1"))
    done = codesign("run", path, "--out", tmp_path / "none")
    assert done.returncode == 1
    assert "no design works" in done.stdout
    assert not (tmp_path / "none" / "best").exists()


def test_files_of_others_are_not_overwritten(experiment: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    mine = tmp_path / "folder" / "experiment.yaml"
    mine.write_text("name: other\n")
    with pytest.raises(LedgerError, match=r"experiment.yaml: would be overwritten by this run"):
        run.start(Experiment.load(experiment), tmp_path / "folder")
    mine.unlink()
    (tmp_path / "folder" / "journal.jsonl").write_text("dear diary\n")
    with pytest.raises(LedgerError, match=r"journal.jsonl: would be overwritten by this run"):
        run.start(Experiment.load(experiment), tmp_path / "folder")
    assert [path.name for path in (tmp_path / "folder").iterdir() if path.name != ".lock"] == ["journal.jsonl"]
    for name in ("one", "two"):
        run.start(Experiment.load(experiment), tmp_path / name)
    before = (tmp_path / "two" / "ledger.sqlite").read_bytes()
    done = codesign("export", tmp_path / "one", "--out", tmp_path / "two" / "ledger.sqlite")
    assert "cannot be written: it belongs to a run" in done.stderr
    assert (tmp_path / "two" / "ledger.sqlite").read_bytes() == before


def test_an_experiment_from_a_pipe_is_kept(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = subprocess.Popen([sys.executable, "-c", f"open({str(tmp_path / 'pipe')!r}, 'w').write({EXPERIMENT!r})"])
    experiment = Experiment.load(tmp_path / "pipe")
    assert writer.wait() == 0
    assert experiment.text == EXPERIMENT


def test_database_and_journal_mend_each_other(
    experiment: Path, tmp_path: Path, undisturbed: tuple[object, ...]
) -> None:
    folder = tmp_path / "run"
    run.start(Experiment.load(experiment), folder)
    lines = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    with sqlite3.connect(folder / "ledger.sqlite") as db:
        for table, key in (("candidates", "id"), ("networks", "candidate"), ("layers", "candidate")):
            db.execute(f"DELETE FROM {table} WHERE {key} % 2")
        db.execute("DELETE FROM generations WHERE generation = 2")
    (folder / "journal.jsonl").write_bytes(b"".join(lines[:1] + lines[4:]) + b'["candidate", {"point": 0}]\n[1, 2]\n')
    repaired = run.resume(folder)
    assert repaired is not None
    assert "took it from the journal" in repaired
    (folder / "journal.jsonl").unlink()
    assert run.resume(folder) is None
    (folder / "ledger.sqlite").write_bytes(b"x" * 5000)
    assert "rebuilt from the journal" in str(run.resume(folder))
    kept = found(folder)
    assert kept[0] == undisturbed[0]
    assert kept[1] == undisturbed[1]


def test_ledgers_of_other_versions_are_refused(experiment: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run.start(Experiment.load(experiment), folder)
    with sqlite3.connect(folder / "ledger.sqlite") as db:
        db.execute("UPDATE meta SET value = '999' WHERE key = 'version'")
    for command in ("report", "compare", "export", "resume"):
        done = codesign(command, folder)
        assert done.returncode == 2
        assert "was written by another version of the program: version 2 is read here (got 999)" in done.stderr
    with sqlite3.connect(folder / "ledger.sqlite") as db:
        db.execute("UPDATE meta SET value = '2' WHERE key = 'version'")
        db.execute("ALTER TABLE candidates RENAME COLUMN gap TO gaps")
    assert "is damaged (its tables are not those of a ledger)" in codesign("compare", folder).stderr
    assert "rebuilt from the journal" in str(run.resume(folder))
    # One with other tables is refused as well, and nothing of it is touched.
    with sqlite3.connect(folder / "ledger.sqlite") as db:
        db.execute("UPDATE meta SET value = '1' WHERE key = 'version'")
        db.execute("ALTER TABLE candidates DROP COLUMN judged")
    journal = (folder / "journal.jsonl").read_text().replace('"version": 2', '"version": 1')
    (folder / "journal.jsonl").write_text(journal)
    for command in ("report", "resume"):
        assert "version 2 is read here (got 1)" in codesign(command, folder).stderr
    (folder / "ledger.sqlite").write_bytes(b"x")
    assert "version 2 is read here (got 1)" in codesign("resume", folder).stderr
    assert (folder / "ledger.sqlite").read_bytes() == b"x"


def test_sigterm_says_how_to_go_on(experiment: Path, tmp_path: Path) -> None:
    experiment.write_text(EXPERIMENT.replace("generations: 4", "generations: 4000"))
    command = [sys.executable, "-m", "codesign", "run", str(experiment), "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(_candidates(tmp_path / "run")) < 2:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Go on with: codesign resume" in said


def _candidates(folder: Path) -> list[Any]:
    try:
        with Ledger(folder, write=False) as ledger:
            return list(ledger.objectives(0))
    except (LedgerError, sqlite3.Error):
        return []
