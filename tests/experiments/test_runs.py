"""Runs that are killed, damaged or disturbed find what an undisturbed one finds."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from runs import EXPERIMENT, codesign, found

from codesign.cli import RefusedError, experiments
from codesign.experiments import run
from codesign.experiments.experiment import Experiment
from codesign.experiments.ledger import Ledger, LedgerError
from codesign.experiments.summary import PointSummary, summaries
from codesign.reports.tables import runs_table


def test_workers_change_nothing(experiment: Path, tmp_path: Path, undisturbed: tuple[object, ...]) -> None:
    run.start(run.with_workers(Experiment.load(experiment), 1), tmp_path / "one")
    assert found(tmp_path / "one") == undisturbed


def test_killed_at_any_moment_it_goes_on_to_the_same_result(
    experiment: Path, tmp_path: Path, undisturbed: tuple[object, ...]
) -> None:
    folder, moments = tmp_path / "run", random.Random(1)
    finished = 0
    for attempt in range(10):
        command = ["resume", folder] if (folder / "ledger.sqlite").exists() else ["run", experiment, "--out", folder]
        process = subprocess.Popen(
            [sys.executable, "-m", "codesign", *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(moments.uniform(0.8, 2.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (folder / "ledger.sqlite").exists():
            with Ledger(folder, write=False) as ledger:
                kept = len(ledger.objectives(0))
            assert kept >= finished, attempt
            finished = kept
    done = codesign("resume", folder) if folder.exists() else codesign("run", experiment, "--out", folder)
    assert done.returncode == 0, done.stderr
    assert found(folder) == undisturbed


def test_a_worker_that_dies_is_replaced(experiment: Path, tmp_path: Path, undisturbed: tuple[object, ...]) -> None:
    folder = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-m", "codesign", "run", str(experiment), "--out", str(folder)])
    killed = 0
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        for worker in _workers(process.pid)[:1] if killed < 2 else []:
            time.sleep(0.2 * killed)
            try:
                os.kill(worker, signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                pass
        time.sleep(0.1)
    assert process.wait(timeout=60) == 0
    assert killed >= 1
    assert found(folder) == undisturbed


def _workers(parent: int) -> list[int]:
    """Processes of a pool that a process has started."""
    listed = subprocess.run(["ps", "-wweo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    return [int(pid) for pid, ppid, args in rows if int(ppid) == parent and "spawn_main" in args]


def test_a_truncated_ledger_is_rebuilt(experiment: Path, tmp_path: Path, undisturbed: tuple[object, ...]) -> None:
    folder = tmp_path / "run"
    run.start(Experiment.load(experiment), folder)
    ledger = folder / "ledger.sqlite"
    ledger.write_bytes(ledger.read_bytes()[:20_000])
    with pytest.raises(LedgerError, match=r"is damaged .* rebuilds it from the journal"):
        Ledger(folder, write=False)
    repaired = run.resume(folder)
    assert repaired is not None
    assert "rebuilt from the journal" in repaired
    assert found(folder) == undisturbed
    assert (folder / "damaged-ledger.sqlite").exists()
    # The last line of the journal was being written when it was killed, and the database is gone.
    journal = folder / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-100])
    for file in folder.glob("ledger.sqlite*"):
        file.unlink()
    run.resume(folder)
    assert found(folder) == undisturbed


def test_one_folder_takes_one_run_at_a_time(experiment: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run.start(Experiment.load(experiment), folder)
    with pytest.raises(LedgerError, match="there is a run in this folder already"):
        run.start(Experiment.load(experiment), folder)
    with Ledger(folder), pytest.raises(LedgerError, match="another process is running"):
        run.resume(folder)
    with pytest.raises(LedgerError, match="there is no run"):
        run.resume(tmp_path)


@pytest.mark.parametrize("which", ["experiment.yaml", "run/experiment.yaml"])
def test_a_changed_experiment_is_refused_with_the_difference(experiment: Path, tmp_path: Path, which: str) -> None:
    run.start(Experiment.load(experiment), tmp_path / "run")
    (tmp_path / which).write_text(EXPERIMENT.replace("processes: 2", "processes: 1"))
    run.resume(tmp_path / "run")
    (tmp_path / which).write_text(EXPERIMENT.replace("seed: 5", "seed: 6"))
    done = codesign("resume", tmp_path / "run")
    assert done.returncode == 2
    assert "-seed: 5" in done.stderr
    assert "+seed: 6" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_library_that_catches_everything_does_not_keep_a_run_going(number: signal.Signals, tmp_path: Path) -> None:
    before = signal.getsignal(number)
    handled: list[int] = []

    def go(report: Callable[[object], None]) -> None:
        try:
            signal.raise_signal(number)
        except BaseException:
            handled.append(number)
        report(None)

    with pytest.raises(RefusedError, match="nothing that was finished is lost"):
        experiments._run_experiment(tmp_path, go)
    assert handled == [number]
    assert signal.getsignal(number) is before


def test_a_sweep_over_given_designs(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "name: sweep\nnetworks: [{network: ds_cnn, options: {batch: 1}}]\n"
        "hardware: {accelerators: [eyeriss, nvdla_64]}\n"
        "sweep: {over: {'networks[0].options.batch': [1, 2, 4]}}\n"
    )
    done = codesign("run", path, "--out", tmp_path / "run", "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("batch=") == 3
    # Given designs go by their names.
    assert all(f"{each.given} ({each.best[0]})" in done.stdout for each in summaries(tmp_path / "run") if each.best)
    table = codesign("compare", tmp_path / "run")
    assert table.returncode == 0
    assert table.stdout.splitlines() == done.stdout.splitlines()[: len(table.stdout.splitlines())]
    # As with a pattern of the shell, which gives everything that is there.
    several = codesign("compare", tmp_path / "run", path)
    assert several.returncode == 0
    assert f"warning: left out: {path}: there is no run in this folder" in several.stdout
    assert several.stdout.count("batch=") == 3
    assert codesign("compare", path, tmp_path).returncode == 2
    (tmp_path / "run" / "report.html").unlink()
    assert codesign("report", tmp_path / "run").returncode == 0
    assert (tmp_path / "run" / "report.html").exists()
    with Ledger(tmp_path / "run", write=False) as ledger:
        energies = [{k: r["objectives"]["energy"] for k, r in ledger.objectives(point).items()} for point in range(3)]
    assert all(len(each) == 2 for each in energies)
    for key in energies[0]:
        assert energies[0][key] < energies[1][key] < energies[2][key]


def test_several_objectives_give_a_front(tmp_path: Path) -> None:
    path = tmp_path / "front.yaml"
    text = EXPERIMENT.replace("cma_es", "nsga2") + "objective: [energy, latency, area]\n"
    path.write_text(text)
    run.start(Experiment.load(path), tmp_path / "run")
    with Ledger(tmp_path / "run", write=False) as ledger:
        assert len(ledger.generations(0)) == 4
    path.write_text(EXPERIMENT + "objective: [energy, latency]\n")
    assert "cma_es takes one objective; for several: nsga2, random" in codesign("run", path).stderr


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("seed: 5", "seed: -1", "experiment.yaml:2:7: seed: must be >= 0 (got -1)"),
        ("ds_cnn", "ds_cn", "experiment.yaml:3:11: networks[0]: unknown network 'ds_cn': did you mean ds_cnn?"),
        ("like: eyeriss", "like: eyeris", "hardware.budget.like: unknown accelerator 'eyeris': did you mean eyeriss?"),
        ("like: eyeriss", "like: eyeriss, macs: 4", "the naas space needs at least 8 macs"),
        ("cma_es", "cmaes", "search.optimiser: must be one of cma_es, nsga2, genetic, random: did you mean cma_es?"),
        ("space: naas, ", "", "hardware: give one of accelerators, space and design (got none)"),
        (
            "eyeriss}}",
            "eyeriss}, pin: {global_bufer.banks: 4}}",
            "pin: no parameter 'global_bufer.banks': did you mean",
        ),
        ("name: small", "name: ../../etc/x", "name: must match"),
        ("seed: 5", "seed: !!python/object:os.system 5", "tags are not allowed"),
        ("seed: 5", "seed: 5\nsweep: {over: {sed.x: [1]}}", "no 'sed' in the file"),
        ("seed: 5", "seed: 5\nsweep: {over: {seed: [1, -2]}}", "seed: must be >= 0 (got -2) (at seed=-2)"),
    ],
)
def test_bad_experiments(experiment: Path, old: str, new: str, expected: str) -> None:
    experiment.write_text(EXPERIMENT.replace(old, new))
    done = codesign("run", experiment)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_the_template_is_a_valid_experiment(tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    assert codesign("init", path).returncode == 0
    assert Experiment.load(path).points[0].space is not None
    lines = path.read_text().splitlines()
    start, end = (next(i for i, line in enumerate(lines) if line.startswith(s)) for s in ("# nas:", "objective:"))
    networks = next(i for i, line in enumerate(lines) if line.startswith("networks:"))
    nas = [line.removeprefix("# ") for line in lines[start:end]]
    path.write_text("\n".join([*lines[:networks], *nas, *lines[end:]]))
    assert Experiment.load(path).points[0].nas is not None
    path.unlink()
    assert codesign("init", path).returncode == 0
    assert "exists already" in codesign("init", path).stderr


FIXED = """\
name: fixed
networks: ds_cnn
hardware:
  design:
    node: 45 nm
    clock: 500 MHz
    compute: {type: int8}
    levels:
      - {name: DRAM, memory: dram, bandwidth: 8 GB/s}
      - {name: buffer, memory: sram, capacity: 64 kB, width: 64 bit, fanout: {x: {size: 8}, y: {size: 8}}}
      - {name: registers, memory: registers, capacity: 16 B, width: 8 bit}
sweep: {over: {'hardware.design.levels[1].capacity': {from: 16 kB, to: 64 kB, points: 3, scale: log}}}
"""


def test_a_sweep_over_a_value_of_a_given_design(tmp_path: Path) -> None:
    path = tmp_path / "fixed.yaml"
    path.write_text(FIXED)
    experiment = Experiment.load(path)
    run.start(experiment, tmp_path / "run")
    with Ledger(tmp_path / "run", write=False) as ledger:
        records = [ledger.objectives(point) for point in range(3)]
        assert [len(ledger.generations(point)) for point in range(3)] == [1, 1, 1]
    assert len({key for each in records for key in each}) == 3
    areas = [next(iter(each.values()))["objectives"]["area"] for each in records]
    assert areas == sorted(set(areas))
    assert codesign("report", tmp_path / "run").returncode == 0
    path.write_text(FIXED.replace("clock: 500 MHz", "clock: 0 MHz"))
    assert "fixed.yaml:6:12: clock: must be > 0 (got '0 MHz')" in codesign("run", path).stderr


def test_a_power_budget_is_for_designs_and_not_for_the_baseline(experiment: Path, tmp_path: Path) -> None:
    experiment.write_text(EXPERIMENT.replace("like: eyeriss", "like: eyeriss, power: 1 uW"))
    run.start(Experiment.load(experiment), tmp_path / "run")
    (summary,) = summaries(tmp_path / "run")
    assert summary.infeasible == summary.evaluated > 0
    assert summary.baseline is not None
    assert summary.compared_with == "eyeriss"
    assert summary.networks == ("ds_cnn",)


def test_the_best_mappings_name_the_best_accelerator(experiment: Path, tmp_path: Path) -> None:
    assert codesign("run", experiment, "--out", tmp_path / "run").returncode == 0
    done = codesign("cost", tmp_path / "run" / "best" / "mappings.yaml")
    assert done.returncode == 0, done.stderr
    assert "mappings, each once" in done.stdout


def test_tables_of_runs_say_which_way_figures_differ() -> None:
    base = {"edp": 3.0, "energy": 2.0, "latency": 1.0}
    best = ("abc", {"edp": 4.71, "energy": 1.0, "latency": 1.0})
    summary = PointSummary(0, {}, ("ds_cnn",), "eyeriss", 1, 0, 2, 0, best, base)
    console = Console(width=60, file=io.StringIO())
    console.print(runs_table([(Path("run"), summary)], 60))
    assert isinstance(console.file, io.StringIO)
    rows = {line[:19].strip(): line[19:].strip() for line in console.file.getvalue().splitlines()}
    assert rows["EDP against it"] == "1.57x higher"
    assert rows["energy against it"] == "2x lower"
    assert rows["latency against it"] == "the same"


def test_tables_of_runs_fit_any_terminal(experiment: Path, tmp_path: Path) -> None:
    run.start(Experiment.load(experiment), tmp_path / "run")
    found = [(tmp_path / "run", summary) for summary in summaries(tmp_path / "run")]
    for width in (60, 400):
        console = Console(width=width, file=io.StringIO())
        console.print(runs_table(found, width))
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert "\u2026" not in text
        assert found[0][1].best[0] in text
