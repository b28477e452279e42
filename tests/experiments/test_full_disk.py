"""Whenever the disk fills, a run says so and stops; with room again it goes on to what an undisturbed one finds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runs import EXPERIMENT, codesign, found

from codesign.experiments import run, workers
from codesign.experiments.experiment import Experiment
from codesign.experiments.ledger import LedgerError

_SMALL = EXPERIMENT.replace("population: 5, generations: 4", "population: 3, generations: 2")
_DISK_KB = 12 * 1024


class InlinePool(workers.Pool):
    """Evaluates in this process."""

    size = 1

    def __init__(self) -> None:
        self._tasks: list[tuple[Any, dict[str, Any]]] = []

    def submit(self, key: Any, task: dict[str, Any]) -> None:
        self._tasks.append((key, task))

    def next(self, timeout_s: float) -> workers.Done:
        key, task = self._tasks.pop(0)
        return workers.Done(key, workers.evaluate_task(task), 1)

    def close(self) -> None:
        pass


class Disk:
    """A small file system; ``leave`` fills it but for some kB, ``free`` makes room again."""

    def __init__(self, folder: Path):
        self.folder = folder

    def leave(self, kilobytes: int) -> None:
        with (self.folder / "ballast").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, (_DISK_KB - kilobytes) * 1024)

    def free(self) -> None:
        (self.folder / "ballast").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_KB}k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"no mount: {error}")
    if mounted.returncode:
        pytest.skip(f"mounting is not permitted: {mounted.stderr.strip()}")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(_SMALL)
    return path


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    folder = tmp_path_factory.mktemp("expected")
    (folder / "small.yaml").write_text(_SMALL)
    run.start(Experiment.load(folder / "small.yaml"), folder / "run")
    return found(folder / "run")


@pytest.mark.parametrize("left", [0, 4, 8, 12, 40, 56, 60, 64, 68, 72, 76, 80, 84, 88, 96, 112, 144, 180, 220, 260])
def test_any_write_may_fail(
    disk: Disk, small: Path, expected: tuple[object, ...], left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "pool_for", lambda *arguments: InlinePool())
    folder = disk.folder / "run"
    experiment = Experiment.load(small)
    disk.leave(left)
    with pytest.raises(LedgerError) as caught:
        run.start(experiment, folder)
    first, *rest = str(caught.value).splitlines()
    file, _, why = first.partition(": ")
    assert Path(file).parent in (folder, disk.folder)
    assert why in ("cannot be used: No space left on device", "cannot be written: No space left on device")
    begun = any("codesign resume" in line for line in rest)
    # Trying again is no use, and does no harm.
    with pytest.raises(LedgerError, match=r"No space left on device|stopped before it began|there is no run"):
        run.resume(folder)
    disk.free()
    if begun:
        assert run.resume(folder) is None
    else:
        with pytest.raises(LedgerError, match=r"stopped before it began|there is no run"):
            run.resume(folder)
        run.start(experiment, folder)
    assert found(folder) == expected
    assert (folder / "experiment.yaml").read_text() == _SMALL
    # The journal has a beginning, so that the database can be lost.
    (folder / "ledger.sqlite").unlink()
    repaired = run.resume(folder)
    assert repaired is not None
    assert "rebuilt from the journal" in repaired
    assert found(folder) == expected


@pytest.mark.parametrize("left", [0, 96, 2000])
def test_commands_end_with_one_message(disk: Disk, small: Path, expected: tuple[object, ...], left: int) -> None:
    folder = disk.folder / "run"
    disk.leave(left)
    done = codesign("run", small, "--out", folder)
    assert done.returncode == 2
    assert done.stderr.count("No space left on device") == 1
    assert all(line.startswith("error: ") for line in done.stderr.splitlines())
    assert str(folder) in done.stderr
    disk.free()
    command = (
        ("resume", folder) if "codesign resume" in done.stderr or left == 2000 else ("run", small, "--out", folder)
    )
    done = codesign(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert found(folder) == expected
    assert (folder / "report.html").read_text().rstrip().endswith("</html>")
    assert {file.name for file in (folder / "best").iterdir()} == {"accelerator.yaml", "mappings.yaml"}


def test_an_export_that_does_not_fit_leaves_the_last_one(disk: Disk, small: Path, tmp_path: Path) -> None:
    run.start(Experiment.load(small), tmp_path / "run")
    table = disk.folder / "table.csv"
    table.write_text("of yesterday")
    disk.leave(4)
    done = codesign("export", tmp_path / "run", "--layers", "--out", table)
    assert (done.returncode, done.stderr) == (2, f"error: {table}: cannot be written: No space left on device\n")
    assert table.read_text() == "of yesterday"
    disk.free()
    assert codesign("export", tmp_path / "run", "--layers", "--out", table).returncode == 0
    assert not list(disk.folder.glob(".table.csv*.part"))
