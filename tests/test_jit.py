"""Where compiled kernels are kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from accelerators import jit

_PROGRAM = """
from accelerators.operators import matmul
from accelerators.spatial.architecture import Compute, Level, SpatialAccelerator
from accelerators.spatial.problem import Problem
from accelerators.spatial.kernels.arrays import new_mappings
acc = SpatialAccelerator("a", (Level("DRAM"),), Compute(1.0), clock_hz=1e9)
problem = Problem(acc, matmul(P=1, K=1, C=1))
batch = new_mappings(1, *problem.shape)
batch.keep[:] = True
print(problem.evaluate_batch(batch).energy_pj[0])
"""


def _run(cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CODESIGN_CACHE_DIR": str(cache)}
    return subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, env=environment)


def test_the_first_run_says_that_it_compiles_and_the_second_does_not(tmp_path: Path) -> None:
    first, second = _run(tmp_path), _run(tmp_path)
    assert first.stdout == second.stdout == "1.0\n"
    assert "compiling the kernels (first run only" in first.stderr
    assert second.stderr == ""


def test_an_unusable_folder_compiles_every_time(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    done = _run(blocked)
    assert done.stdout == "1.0\n"
    assert "cannot be written, so every run compiles" in done.stderr


def test_the_folder_is_named_by_all_kernel_sources(monkeypatch, tmp_path: Path) -> None:
    package = tmp_path / "accelerators" / "spatial" / "kernels"
    package.mkdir(parents=True)
    monkeypatch.setattr(jit, "__file__", str(tmp_path / "accelerators" / "jit.py"))
    names = set()
    for text in ("a = 1", "a = 2"):
        (package / "one.py").write_text(text)
        names.add(jit.cache_folder.__wrapped__().name)
    (package / "two.py").write_text("")
    names.add(jit.cache_folder.__wrapped__().name)
    assert len(names) == 3


def test_damaged_files_are_compiled_again(tmp_path: Path) -> None:
    _run(tmp_path)
    for ending in ("nbc", "nbi"):
        damaged = list(tmp_path.glob(f"**/*.{ending}"))
        assert damaged
        for path in damaged:
            path.write_bytes(b"\x27damaged")
        assert _run(tmp_path).stdout == "1.0\n"
    assert _run(tmp_path).stderr == ""
