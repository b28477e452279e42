"""Run an experiment to its end, or on from where it stopped."""

from __future__ import annotations

import contextlib
import difflib
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerators import catalog
from accelerators.documents import read
from codesign import devices
from codesign.devices import Device
from codesign.experiments.candidates import Record
from codesign.experiments.experiment import Baseline, Experiment
from codesign.experiments.ledger import EXPERIMENT, Ledger, LedgerError
from codesign.experiments.search import Generation, Job, NothingValidError, Search
from codesign.experiments.sheet import WorkersSheet
from codesign.experiments.workers import Pool, WorkersError, libraries, pool_for
from codesign.files import write_whole

#: What the baseline goes by among the candidates of a point.
BASELINE = "baseline"
_POLL_S = 0.25


@dataclass(frozen=True)
class Progress:
    """How far a run is: ``generation`` of ``generations`` at ``point`` of ``points``, best scores so far, counts."""

    point: int
    points: int
    generation: int
    generations: int
    best: tuple[float, ...]
    evaluated: int
    known: int
    in_flight: int


#: Called now and then while a run goes on.
Report = Callable[[Progress], None]


def environment() -> Record:
    """What a result may depend on besides the experiment: versions of Python and of the libraries that compute."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "command": " ".join(sys.argv[:1]),
        "libraries": libraries(),
    }


def start(experiment: Experiment, folder: Path, report: Report | None = None) -> None:
    """Run an experiment in a folder that has none yet; raises :class:`LedgerError` and what workers raise."""
    meta = {
        "name": experiment.name,
        "digest": experiment.digest,
        "experiment": experiment.text,
        "source": str(experiment.source),
        "environment": environment(),
        "points": [point.label for point in experiment.points],
        "files": experiment.files,
    }
    # Workers first: without them there shall be no folder either.
    with _workers(experiment, folder) as pool, Ledger(folder, create=meta) as ledger:
        _keep(folder, experiment.text)
        _run(experiment, ledger, pool, report)


def resume(folder: Path, report: Report | None = None, workers: int | None = None) -> str | None:
    """Run on from where a run stopped; returns what had to be repaired, if anything.

    Raises :class:`LedgerError` if the experiment's file, or its copy in the folder, has changed since in any way that
    may change a result (workers may), and :class:`~accelerators.documents.DocumentError` for files that it needs.
    """
    with Ledger(folder) as ledger:
        meta = ledger.meta
        source = Path(meta["source"])
        experiment = Experiment.parse(meta["experiment"], source)
        for file in (folder / EXPERIMENT, source):
            if file.exists():
                now = Experiment.load(file, source)
                _refuse_changes(folder, file, meta["experiment"], now, experiment)
                experiment = replace(experiment, workers=now.workers)
        if not (folder / EXPERIMENT).exists():
            _keep(folder, meta["experiment"])
        if experiment.digest != meta["digest"]:
            changed = [path for path, found in experiment.files.items() if meta["files"].get(path) != found]
            what = ", ".join(changed) or "the way in which experiments are read"
            raise LedgerError(f"{folder}: {what} has changed since the run was started; run it in another folder")
        experiment = with_workers(experiment, workers)
        with _workers(experiment, folder) as pool:
            _run(experiment, ledger, pool, report)
        return ledger.repaired


def _keep(folder: Path, text: str) -> None:
    """Copy the experiment into a run's folder, as a whole or not at all."""
    try:
        write_whole(folder / EXPERIMENT, text)
    except OSError as error:
        raise LedgerError(
            f"{error.filename}: cannot be written: {error.strerror}\nGo on with: codesign resume {folder}"
        ) from None


def with_workers(experiment: Experiment, workers: int | None) -> Experiment:
    """The experiment with another number of processes on this machine (None: as it says)."""
    return experiment if workers is None else replace(experiment, workers=WorkersSheet(processes=workers))


def _refuse_changes(folder: Path, file: Path, before: str, now: Experiment, then: Experiment) -> None:
    if now.digest == then.digest:
        return
    lines = difflib.unified_diff(
        before.splitlines(), now.text.splitlines(), "when started", str(file), n=0, lineterm=""
    )
    raise LedgerError(
        f"{file} has changed since the run in {folder} was started; run it in another folder, or undo this:\n"
        + "\n".join(lines)
    )


@dataclass
class _Active:
    """A point that is being searched: jobs of its generation that are open, and records of those that are done."""

    index: int
    search: Search
    open: set[str]
    records: dict[str, Record]


class _Runner:
    def __init__(self, experiment: Experiment, ledger: Ledger, pool: Pool, report: Report | None):
        self.experiment = experiment
        self.ledger = ledger
        self.pool = pool
        self.report = report
        self.active: dict[int, _Active] = {}
        self.in_flight = 0
        self.evaluated = self.known = 0

    def run(self) -> None:
        waiting = list(range(len(self.experiment.points)))
        while waiting or self.active:
            while waiting and self.in_flight < 2 * self.pool.size:
                self.begin(waiting.pop(0))
            if self.in_flight:
                done = self.pool.next(_POLL_S)
                if done is not None:
                    self.in_flight -= 1
                    index, job = done.key
                    self.finish(index, job, done.result, done.attempts)
                self.tell_progress()

    def begin(self, index: int) -> None:
        """Start with a point: what the ledger knows of it is not evaluated again."""
        point = self.experiment.points[index]
        active = _Active(index, Search(point), set(), dict(self.ledger.objectives(index)))
        self.active[index] = active
        if point.baseline is not None and BASELINE not in active.records:
            self.submit(active, _baseline_job(point.baseline.hardware))
        self.propose(active)

    def propose(self, active: _Active) -> None:
        """Ask for generations until one of them has something to evaluate."""
        known = self.ledger.generations(active.index)
        while not active.search.finished:
            for job in active.search.propose():
                if job.digest in active.records:
                    self.known += 1
                else:
                    self.submit(active, job)
            if active.open - {BASELINE}:
                return
            self.absorb(active, known)
        if not active.open:
            del self.active[active.index]

    def submit(self, active: _Active, job: Job) -> None:
        point = self.experiment.points[active.index]
        active.open.add(job.digest)
        self.in_flight += 1
        settings = point.settings
        task: Record = {"datasheet": job.datasheet, "networks": list(point.networks), "settings": settings}
        if point.sheet.accuracy is not None:
            task["accuracy"] = {**point.sheet.accuracy.model_dump(), "seed": point.sheet.seed}
        if point.nas is not None:
            task["nas"] = point.nas
            if job.code is not None:
                task["code"] = list(job.code)
        if job.digest == BASELINE:
            # A budget is for designs; what they are compared with need not keep it.
            settings["budget"] = None
            _own_network(task, point.baseline)
        self.pool.submit((active.index, job), task)

    def finish(self, index: int, job: Job, result: Record, attempts: int) -> None:
        active = self.active[index]
        seconds = result.pop("seconds")
        self.ledger.add_candidate(index, job.digest, job.choices, job.datasheet, result, seconds, attempts)
        active.records[job.digest] = result
        active.open.discard(job.digest)
        self.evaluated += 1
        if not active.open - {BASELINE}:
            if not active.search.finished:
                self.absorb(active, self.ledger.generations(index))
            self.propose(active)

    def absorb(self, active: _Active, known: dict[int, Record]) -> None:
        """End a generation; one that the ledger knows must come out the same."""
        generation = active.search.absorb(active.records)
        before = known.get(generation.number)
        if before is None:
            self.ledger.add_generation(
                active.index, generation.number, list(generation.candidates), generation.rejected, generation.state
            )
        elif _differs(before, generation):
            raise LedgerError(
                f"{self.ledger.folder}: generation {generation.number} does not come out as it did before: "
                "Python, a library or the program has changed since; run the experiment anew in another folder"
            )

    def tell_progress(self) -> None:
        if not self.report or not self.active:
            return
        active = next(iter(self.active.values()))
        scores = active.search.scores.values()
        best = tuple(min(each) for each in zip(*scores, strict=True)) if scores else ()
        self.report(
            Progress(
                active.index,
                len(self.experiment.points),
                active.search.generation,
                active.search.generations,
                best,
                self.evaluated,
                self.known,
                self.in_flight,
            )
        )


def _differs(before: Record, now: Generation) -> bool:
    return bool(
        before["candidates"] != list(now.candidates)
        or before["rejected"] != now.rejected
        or before["state"] != now.state
    )


def _baseline_job(name: str) -> Job:
    hardware = devices.load(name)
    if isinstance(hardware, Device):
        return Job(BASELINE, {"accelerator": name}, {"name": hardware.name, "device": name})
    data: Any = (catalog.document(name) if name in catalog.names() else read(name)).data
    return Job(BASELINE, {"accelerator": name}, dict(data))


def _own_network(task: Record, baseline: Baseline | None) -> None:
    """Let the baseline run its own network, where it has one, and not one that is searched."""
    if baseline is not None and baseline.network is not None:
        task["networks"] = [baseline.network]
        task["stated_accuracy"] = baseline.accuracy
        del task["nas"]


@contextlib.contextmanager
def _workers(experiment: Experiment, folder: Path) -> Iterator[Pool]:
    """The workers that an experiment asks for, ended on the way out; without them there is nothing to go on with."""
    try:
        pool = pool_for(experiment.workers.processes, experiment.workers.dask)
    except WorkersError as error:
        raise LedgerError(str(error)) from None
    with contextlib.closing(pool):
        try:
            yield pool
        except WorkersError as error:
            raise LedgerError(
                f"{error}\nnothing that was finished is lost. Go on with: codesign resume {folder}"
            ) from None


def _run(experiment: Experiment, ledger: Ledger, pool: Pool, report: Report | None) -> None:
    try:
        _Runner(experiment, ledger, pool, report).run()
    except NothingValidError as error:
        raise LedgerError(f"{ledger.folder}: {error}") from None
