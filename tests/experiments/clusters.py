"""Dask clusters of real processes on this machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Run by a worker when it starts: candidates take longer, so that there is time to disturb them.
SLOW = """\
import time
from codesign.experiments import workers

def dask_setup(worker):
    evaluate = workers.evaluate_task

    def slowly(task):
        time.sleep(0.3)
        return evaluate(task)

    workers.evaluate_task = slowly
"""

#: Candidates with fewer than 150 MACs end the process, after they have left a mark in the folder MARKS.
DEADLY = """\
import os, uuid
from accelerators import catalog
from accelerators.documents import Document
from codesign.experiments import workers

def dask_setup(worker):
    evaluate = workers.evaluate_task

    def deadly(task):
        if catalog.from_document(Document("it", task["datasheet"])).macs < 150:
            open(os.path.join(os.environ["MARKS"], uuid.uuid4().hex), "w").close()
            os._exit(1)
        return evaluate(task)

    workers.evaluate_task = deadly
"""

#: Run by a worker when it starts: it says that it has other libraries.
OTHER = """\
from codesign.experiments import workers

def dask_setup(worker):
    workers.libraries = lambda: {"numpy": "1.0", "codesign": "0"}
"""

#: Imported by every Python that has it on its path: one without codesign.
WITHOUT = """\
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == "codesign":
            raise ModuleNotFoundError("No module named 'codesign'")

sys.meta_path.insert(0, Hidden())
"""


class Cluster:
    """A scheduler, and workers that come and go; all of them end with the context."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.file = folder / "scheduler.json"
        self.processes: list[subprocess.Popen[Any]] = []

    def run(self, experiment: Path, folder: Path) -> subprocess.Popen[str]:
        """Begin with an experiment."""
        command = [sys.executable, "-m", "codesign", "run", str(experiment), "--out", str(folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.processes.append(process)
        return process

    def start(self, module: str, *arguments: object, **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.{module}", *map(str, arguments)]
        with (self.folder / f"{module}-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "DASK_DISTRIBUTED__DIAGNOSTICS__NVML": "false", **environment},
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def scheduler(self, **environment: str) -> subprocess.Popen[bytes]:
        arguments = ("--host", "127.0.0.1", "--port", 0, "--dashboard-address", "127.0.0.1:0", "--no-dashboard")
        process = self.start("dask_scheduler", *arguments, "--scheduler-file", self.file, **environment)
        until(self.file.exists)
        return process

    def worker(self, *options: object, preload: str = "", **environment: str) -> subprocess.Popen[bytes]:
        """One process, unless options ask for a nanny."""
        if preload:
            (self.folder / "preload.py").write_text(preload)
            options = ("--preload", self.folder / "preload.py", *options)
        nanny = () if "--nanny" in options else ("--no-nanny",)
        arguments = ("--nthreads", 1, "--no-dashboard", "--host", "127.0.0.1", *nanny, *options)
        local = ("--local-directory", self.folder / "scratch")
        return self.start("dask_worker", "--scheduler-file", self.file, *local, *arguments, **environment)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *details: Any) -> None:
        # Workers first, and gently: a nanny takes its worker with it.
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def until(true: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if found := true():
                return found
        time.sleep(0.05)
    raise TimeoutError(f"not in {seconds} s")
