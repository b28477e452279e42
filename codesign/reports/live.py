"""What a run is doing, while it does it: on a terminal a live view, otherwise nothing."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from codesign.experiments.run import Progress as RunProgress


class LiveView:
    """A line on standard error: point and generation, best so far, evaluations per second, time left."""

    def __enter__(self) -> LiveView:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._bar.start()
        self._task: TaskID | None = None
        self._start = time.monotonic()
        return self

    def update(self, progress: RunProgress) -> None:
        """Show how far a run is."""
        total = progress.points * progress.generations
        if self._task is None:
            self._task = self._bar.add_task("", total=total, figures="")
        rate = progress.evaluated / max(1e-9, time.monotonic() - self._start)
        best = ", ".join(f"{value:.4g}" for value in progress.best)
        point = f"point {progress.point + 1}/{progress.points}, " if progress.points > 1 else ""
        self._bar.update(
            self._task,
            description=f"{point}generation {progress.generation}/{progress.generations}",
            completed=progress.point * progress.generations + progress.generation,
            figures=f"best {best or '-'}  {progress.evaluated} evaluated ({rate:.1f}/s)",
        )

    def __exit__(self, *details: Any) -> None:
        self._bar.stop()
