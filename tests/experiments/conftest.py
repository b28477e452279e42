"""A small experiment, and what its undisturbed run finds."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs import EXPERIMENT, found

from codesign.experiments import run
from codesign.experiments.experiment import Experiment


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text(EXPERIMENT)
    return path


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    run.start(Experiment.load(folder / "experiment.yaml"), folder / "run")
    return found(folder / "run")
