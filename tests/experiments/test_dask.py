"""Runs on Dask clusters find what runs with processes find, whatever happens to the cluster."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import DEADLY, OTHER, SLOW, WITHOUT, Cluster, until
from runs import EXPERIMENT, codesign, found

from accelerators.documents import DocumentError
from codesign.experiments import run, workers
from codesign.experiments.experiment import Experiment
from codesign.experiments.ledger import Ledger, LedgerError

distributed = pytest.importorskip("distributed")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "cluster").mkdir()
    with Cluster(tmp_path / "cluster") as started:
        yield started


@pytest.fixture
def on_dask(tmp_path: Path) -> Path:
    """The small experiment with the scheduler's file as workers, relative to the experiment."""
    path = tmp_path / "experiment.yaml"
    path.write_text(EXPERIMENT.replace("processes: 2", "dask: cluster/scheduler.json"))
    return path


def finished(folder: Path) -> int:
    """Candidates in a ledger that is being written."""
    try:
        with Ledger(folder, write=False) as ledger:
            return len(ledger.objectives(0))
    except LedgerError:
        return 0


def tasks_on(cluster: Cluster) -> int:
    """Tasks that the scheduler knows of."""
    with distributed.Client(scheduler_file=str(cluster.file), set_as_default=False) as client:
        return int(client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))


def test_two_runs_on_one_cluster_find_what_processes_find(
    cluster: Cluster, on_dask: Path, tmp_path: Path, undisturbed: tuple[object, ...]
) -> None:
    cluster.scheduler()
    cluster.worker()
    cluster.worker("--nthreads", 2)
    address = workers._scheduler_of(str(cluster.file))
    (tmp_path / "other.yaml").write_text(EXPERIMENT.replace("processes: 2", f"dask: '{address}'"))
    processes = [cluster.run(on_dask, tmp_path / "one"), cluster.run(tmp_path / "other.yaml", tmp_path / "two")]
    for process, folder in zip(processes, ("one", "two"), strict=True):
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
        assert found(tmp_path / folder) == undisturbed
    assert tasks_on(cluster) == 0


def test_killed_workers_are_made_up_for(
    cluster: Cluster, on_dask: Path, tmp_path: Path, undisturbed: tuple[object, ...]
) -> None:
    cluster.scheduler()
    process = cluster.run(on_dask, tmp_path / "run")
    first = cluster.worker(preload=SLOW)
    until(lambda: finished(tmp_path / "run") >= 2)
    # In the middle of a candidate, and without another worker at hand.
    first.send_signal(signal.SIGKILL)
    second, third = cluster.worker(preload=SLOW), cluster.worker(preload=SLOW)
    until(lambda: finished(tmp_path / "run") >= 6)
    second.send_signal(signal.SIGKILL)
    until(lambda: finished(tmp_path / "run") >= 10)
    cluster.worker()
    # The cluster may shrink as well.
    third.terminate()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert found(tmp_path / "run") == undisturbed


def test_a_candidate_that_kills_its_workers_is_given_up(cluster: Cluster, on_dask: Path, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    cluster.scheduler(DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="1")
    cluster.worker("--nanny", preload=DEADLY, MARKS=str(marks))
    on_dask.write_text(
        "name: deadly\nnetworks: ds_cnn\nhardware: {accelerators: [eyeriss, nvdla_64, nvdla_256]}\n"
        "workers: {dask: cluster/scheduler.json}\n"
    )
    done = codesign("run", on_dask, "--out", tmp_path / "run")
    assert (done.returncode, done.stderr) == (0, "")
    with Ledger(tmp_path / "run", write=False) as ledger:
        names, rows = ledger.rows("candidates")
        records = [dict(zip(names, row, strict=True)) for row in rows]
    fates = {record["choices"]: (record["status"], record["reason"], record["attempts"]) for record in records}
    assert fates == {
        '{"accelerator": "eyeriss"}': ("ok", None, 1),
        '{"accelerator": "nvdla_64"}': ("died", "its Dask worker died 2 times", 2),
        '{"accelerator": "nvdla_256"}': ("ok", None, 1),
    }
    assert len(list(marks.iterdir())) == 2


def test_a_lost_scheduler_ends_the_run_and_loses_nothing(
    cluster: Cluster, on_dask: Path, tmp_path: Path, undisturbed: tuple[object, ...]
) -> None:
    folder = tmp_path / "run"
    scheduler = cluster.scheduler()
    cluster.worker(preload=SLOW)
    process = cluster.run(on_dask, folder)
    until(lambda: finished(folder) >= 3)
    scheduler.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - killed < 10
    assert process.returncode == 2
    assert [line.removeprefix("error: ") for line in errors.splitlines()] == [
        f"workers.dask: the connection to the Dask scheduler at {cluster.file} was lost",
        f"nothing that was finished is lost. Go on with: codesign resume {folder}",
    ]
    assert 3 <= finished(folder) < 20
    assert codesign("resume", folder, "--workers", 1).returncode == 0
    assert found(folder) == undisturbed


def test_ctrl_c_takes_the_tasks_back(cluster: Cluster, on_dask: Path, tmp_path: Path) -> None:
    cluster.scheduler()
    cluster.worker(preload=SLOW)
    process = cluster.run(on_dask, tmp_path / "run")
    until(lambda: finished(tmp_path / "run") >= 2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 2
    assert errors.splitlines() == [
        f"error: stopped; nothing that was finished is lost. Go on with: codesign resume {tmp_path / 'run'}"
    ]
    until(lambda: tasks_on(cluster) == 0, 5)


def test_other_software_on_the_cluster_is_refused(
    cluster: Cluster, on_dask: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(WITHOUT)
    # The scheduler needs no codesign.
    path = f"{hidden}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    cluster.scheduler(PYTHONPATH=path)
    worker = cluster.worker(PYTHONPATH=path)
    with pytest.raises(LedgerError, match=rf"\(No module named 'codesign' on {os.uname().nodename}\): it needs the "):
        run.start(Experiment.load(on_dask), tmp_path / "run")
    # It lives; another one takes over.
    assert worker.poll() is None
    worker.kill()
    cluster.worker(preload=OTHER)
    with pytest.raises(LedgerError, match=rf"\(codesign 0 instead of .*, numpy 1.0 .*, .* on {os.uname().nodename}\)"):
        run.resume(tmp_path / "run")
    assert tasks_on(cluster) == 0
    monkeypatch.setattr(distributed, "__version__", "2020.1.0")
    with pytest.raises(
        LedgerError, match=r"no Dask scheduler at .*: it has distributed 20.*, and this process 2020.1.0"
    ):
        run.resume(tmp_path / "run")


def test_no_scheduler(on_dask: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_CONNECT_S", 1)
    file = tmp_path / "cluster" / "scheduler.json"
    file.parent.mkdir()

    def refusal() -> str:
        with pytest.raises(LedgerError) as caught:
            run.start(Experiment.load(on_dask), tmp_path / "run")
        assert not (tmp_path / "run").exists()
        return str(caught.value)

    assert refusal() == f"workers.dask: the scheduler file {file} cannot be read: No such file or directory"
    for text in ("[", "{}", '{"address": 5}', '{"address": "here"}'):
        file.write_text(text)
        assert refusal().startswith(f"workers.dask: {file} is no file of a Dask scheduler")
    # Something listens, but says nothing; then it is gone.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        file.write_text(f'{{"address": "tcp://127.0.0.1:{silent.getsockname()[1]}"}}')
        assert refusal() == f"workers.dask: no Dask scheduler at {file}: no answer in 1 s"
    assert refusal() == f"workers.dask: no Dask scheduler at {file}: no answer in 1 s"
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert refusal() == "workers.dask needs Dask: pip install 'codesign[dask]'"


@pytest.mark.parametrize("address", ["here", "127.0.0.1", "tcp://[::1", "ucx://host:1", "tcp://host:99999", "a b:1"])
def test_addresses_are_checked_when_the_experiment_is_read(experiment: Path, address: str) -> None:
    experiment.write_text(EXPERIMENT.replace("processes: 2", f"dask: '{address}'"))
    with pytest.raises(DocumentError) as caught:
        Experiment.load(experiment)
    rule = "must be a scheduler's address such as tcp://10.0.0.1:8786, or its .json file"
    assert str(caught.value) == f"{experiment}:6:17: workers.dask: {rule} (got {address!r})"
