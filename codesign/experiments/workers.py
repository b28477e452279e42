"""Who evaluates candidates: processes on this machine, or a Dask cluster.

A task is plain data, its result as well; both pools take the same ones and give the same results. A worker that dies
is replaced, and its task tried once more; if that worker dies too, the task's result is the reason.
"""

from __future__ import annotations

import functools
import json
import time
from abc import ABC, abstractmethod
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any

from accelerators import catalog
from accelerators.documents import Document
from codesign.experiments.candidates import Record, evaluate_candidate
from codesign.experiments.sheet import load_network
from codesign.networks import Network
from mappers.processes import worker_pool

_TRIES = 2


@functools.cache
def _network_of(specification: str) -> Network:
    return load_network(json.loads(specification))


def evaluate_task(task: Record) -> Record:
    """Evaluate a candidate: ``datasheet``, ``networks`` (specifications) and ``settings`` as plain data."""
    start = time.perf_counter()
    accelerator = catalog.from_document(Document("candidate", task["datasheet"]))
    graphs = [_network_of(json.dumps(specification, sort_keys=True)) for specification in task["networks"]]
    result = evaluate_candidate(accelerator, graphs, **task["settings"])
    return {**result, "seconds": time.perf_counter() - start}


@dataclass
class Done:
    """A finished task: its key, the result, and how many workers it took."""

    key: Any
    result: Record
    attempts: int


class Pool(ABC):
    """Takes tasks and gives results in any order."""

    #: Tasks that it works on at once.
    size: int

    @abstractmethod
    def submit(self, key: Any, task: Record) -> None:
        """Start a task; there may be more of them than workers."""

    @abstractmethod
    def next(self, timeout_s: float) -> Done | None:
        """A finished task, or None if none has finished in time; errors of a task are raised."""

    @abstractmethod
    def close(self) -> None:
        """End all workers, whatever they are doing."""


def _died(why: str) -> Record:
    return {"status": "died", "code": "worker", "reason": why, "seconds": 0.0}


@dataclass
class _Slot:
    """One worker and what it is doing."""

    executor: ProcessPoolExecutor
    key: Any = None
    task: Record = field(default_factory=dict)
    attempts: int = 0
    future: Future[Record] | None = None


class LocalPool(Pool):
    """Processes on this machine, each for itself: when one dies, the others go on."""

    def __init__(self, processes: int):
        self.size = processes
        self._slots = [_Slot(worker_pool(1)) for _ in range(processes)]
        self._waiting: list[tuple[Any, Record]] = []

    def submit(self, key: Any, task: Record) -> None:
        """See :class:`Pool`."""
        self._waiting.append((key, task))
        self._fill()

    def _fill(self) -> None:
        for slot in self._slots:
            if slot.future is None and self._waiting:
                slot.key, slot.task = self._waiting.pop(0)
                slot.attempts = 0
                self._start(slot)

    def _start(self, slot: _Slot) -> None:
        slot.attempts += 1
        try:
            slot.future = slot.executor.submit(evaluate_task, slot.task)
        except BrokenProcessPool:
            # It died between two tasks.
            slot.executor.shutdown(wait=False)
            slot.executor = worker_pool(1)
            slot.future = slot.executor.submit(evaluate_task, slot.task)

    def next(self, timeout_s: float) -> Done | None:
        """See :class:`Pool`."""
        busy = {slot.future: slot for slot in self._slots if slot.future is not None}
        finished, _ = wait(busy, timeout_s, FIRST_COMPLETED)
        for future in finished:
            slot = busy[future]
            try:
                done = Done(slot.key, future.result(), slot.attempts)
            except BrokenProcessPool:
                slot.executor.shutdown(wait=False)
                slot.executor = worker_pool(1)
                if slot.attempts < _TRIES:
                    self._start(slot)
                    continue
                done = Done(slot.key, _died(f"its worker process died {slot.attempts} times"), slot.attempts)
            slot.future = None
            self._fill()
            return done
        return None

    def close(self) -> None:
        """See :class:`Pool`."""
        for slot in self._slots:
            for process in list((slot.executor._processes or {}).values()):
                process.kill()
            slot.executor.shutdown(wait=True, cancel_futures=True)


class DaskPool(Pool):
    """Workers of a Dask cluster, given by the scheduler's address or its file."""

    def __init__(self, address: str):
        """Raises ValueError if the library is missing or the scheduler does not answer."""
        try:
            from distributed import Client, as_completed
        except ImportError:
            raise ValueError("workers.dask needs Dask: pip install 'codesign[dask]'") from None
        try:
            if address.endswith(".json"):
                self._client = Client(scheduler_file=address, timeout="10s")
            else:
                self._client = Client(address, timeout="10s")
        except (OSError, TimeoutError, ValueError) as error:
            raise ValueError(f"workers.dask: no scheduler answers at {address} ({type(error).__name__})") from None
        self._done = as_completed()
        self._keys: dict[str, tuple[Any, Record, int]] = {}

    @property
    def size(self) -> int:  # type: ignore[override]
        """Threads of all workers; a cluster may grow and shrink."""
        return max(1, sum(worker["nthreads"] for worker in self._client.scheduler_info()["workers"].values()))

    def submit(self, key: Any, task: Record) -> None:
        """See :class:`Pool`."""
        self._submit(key, task, 1)

    def _submit(self, key: Any, task: Record, attempt: int) -> None:
        future = self._client.submit(evaluate_task, task, pure=False, retries=0)
        self._keys[future.key] = (key, task, attempt)
        self._done.add(future)

    def next(self, timeout_s: float) -> Done | None:
        """See :class:`Pool`; Dask itself retries tasks whose workers die, as often as its settings say."""
        from distributed import KilledWorker

        self._done.timeout = timeout_s
        try:
            future = next(self._done)
        except (StopIteration, TimeoutError):
            return None
        key, _, attempts = self._keys.pop(future.key)
        try:
            return Done(key, future.result(), attempts)
        except KilledWorker:
            return Done(key, _died("its Dask workers died"), _TRIES)

    def close(self) -> None:
        """See :class:`Pool`."""
        self._client.close(timeout=5)


def pool_for(processes: int, dask: str | None) -> Pool:
    """The workers that an experiment asks for; raises ValueError if they cannot be had."""
    return LocalPool(processes) if dask is None else DaskPool(dask)
