"""Who evaluates candidates: processes on this machine, or a Dask cluster.

A task is plain data, its result as well; both pools take the same ones and give the same results. A worker that dies
is replaced, and its task tried once more; if that worker dies too, the task's result is the reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import platform
import queue
import time
import uuid
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from codesign.experiments.candidates import Record
from codesign.experiments.sheet import is_address
from codesign.experiments.task import evaluate_task
from mappers.processes import kill, worker_pool

_TRIES = 2
_CONNECT_S, _CLOSE_S = 10, 5


class WorkersError(Exception):
    """Workers that cannot be had, or that were lost; the message says why."""


@functools.cache
def libraries() -> dict[str, str]:
    """Versions of the libraries that a result may depend on, those that are there."""
    found = {}
    for name in ("codesign", "numpy", "numba", "cma", "networkx", "ruamel.yaml", "pydantic"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


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
            kill(slot.executor)


class DaskPool(Pool):
    """Workers of a Dask cluster, given by the scheduler's address or its file.

    A thread of a worker works on one task. How many workers a task may kill before it is given up is up to the
    scheduler (``distributed.scheduler.allowed-failures``, 3 of them by default, so the fourth death is the last): on a
    cluster workers also die because others need the machine. Losing the scheduler is a :class:`WorkersError`.
    """

    def __init__(self, address: str):
        """Raises :class:`WorkersError` if the library is missing or the scheduler does not answer in ten seconds."""
        try:
            from distributed import Client
        except ImportError:
            raise WorkersError("workers.dask needs Dask: pip install 'codesign[dask]'") from None
        # What happens to the connection is told once, by the errors raised here.
        for name in ("distributed", "distributed.client", "distributed.core", "distributed.comm", "distributed.utils"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._address = address
        scheduler = _scheduler_of(address)
        try:
            # In a thread, because a notebook has a loop of its own.
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, _greet(scheduler)).result()
            self._client = Client(scheduler, timeout=_CONNECT_S, set_as_default=False, name="codesign")
        except Exception as error:
            # Certificates, names and versions that are no good fail in many ways.
            why = (str(error) or f"no answer in {_CONNECT_S} s").splitlines()[0]
            raise WorkersError(f"workers.dask: no Dask scheduler at {address}: {why}") from None
        self._waiting: deque[tuple[Any, Record]] = deque()
        self._running: dict[Any, tuple[Any, Any]] = {}
        self._finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._size, self._next_look = 1, 0.0

    @property
    def size(self) -> int:  # type: ignore[override]
        """Threads of all workers, asked for anew every second: a cluster may grow and shrink, and be empty for now."""
        now = time.monotonic()
        if now >= self._next_look:
            self._check()
            try:
                self._size = max(1, sum(self._client.nthreads().values()))
            except Exception as error:
                raise self._lost() from error
            self._next_look = now + 1.0
        return self._size

    def _check(self) -> None:
        # Dask would connect anew, but to a scheduler that has forgotten all tasks.
        if self._client.status != "running":
            raise self._lost()

    def _lost(self) -> WorkersError:
        return WorkersError(f"workers.dask: the connection to the Dask scheduler at {self._address} was lost")

    def submit(self, key: Any, task: Record) -> None:
        """See :class:`Pool`."""
        self._waiting.append((key, task))
        self._fill()

    def _fill(self) -> None:
        # No more than there are threads: Dask blames a death on all tasks that the worker had, waiting ones included.
        while self._waiting and len(self._running) < self.size:
            key, task = self._waiting.popleft()
            # Several runs may use one cluster.
            name = f"codesign-{uuid.uuid4().hex}"
            future = self._client.submit(_sendable(), task, libraries(), key=name)
            self._running[name] = (key, future)
            future.add_done_callback(self._finished.put)

    def next(self, timeout_s: float) -> Done | None:
        """See :class:`Pool`."""
        from concurrent.futures import CancelledError as Cancelled

        from distributed import KilledWorker

        self._fill()
        try:
            future = self._finished.get(timeout=timeout_s)
        except queue.Empty:
            self._check()
            return None
        key, _ = self._running[future.key]
        try:
            done = Done(key, future.result(timeout=_CONNECT_S), 1)
        except KilledWorker as error:
            deaths = error.allowed_failures + 1
            done = Done(key, _died(f"its Dask worker died {deaths} times"), deaths)
        except ImportError as error:
            raise WorkersError(
                f"workers.dask: a worker of the cluster at {self._address} cannot evaluate candidates ({error}): "
                "it needs the codesign and the libraries that this process has"
            ) from None
        except TimeoutError:
            # The worker that had the result is gone; Dask computes it again.
            self._finished.put(future)
            return None
        except (Cancelled, asyncio.CancelledError, OSError) as error:
            raise self._lost() from error
        del self._running[future.key]
        self._fill()
        return done

    def close(self) -> None:
        """Take back all tasks and leave the cluster; a task that runs goes on to its end, and is forgotten."""
        with contextlib.suppress(Exception):
            if self._running and self._client.status == "running":
                self._client.cancel([future for _, future in self._running.values()], force=True)
        with contextlib.suppress(Exception):
            self._client.close(timeout=_CLOSE_S)


async def _greet(address: str) -> None:
    """Ask a scheduler who it is: a client would wait for ever for the answer of anything else that listens there."""
    import distributed
    from distributed.security import Security

    async with distributed.rpc(address, connection_args=Security().get_connection_args("client")) as scheduler:
        kind = (await asyncio.wait_for(scheduler.identity(), _CONNECT_S))["type"]
        if kind != "Scheduler":
            raise ValueError(f"it is a {kind}")
        version = (await asyncio.wait_for(scheduler.versions(), _CONNECT_S))["packages"]["distributed"]
    if version != distributed.__version__:
        raise ValueError(f"it has distributed {version}, and this process {distributed.__version__}")


def _scheduler_of(address: str) -> str:
    """The address of a scheduler; Dask itself would wait for a missing file for ever."""
    if not address.endswith(".json"):
        return address
    try:
        found = json.loads(Path(address).read_text(encoding="utf-8"))
        if not is_address(found["address"]):
            raise ValueError
        return str(found["address"])
    except OSError as error:
        raise WorkersError(f"workers.dask: the scheduler file {address} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise WorkersError(
            f"workers.dask: {address} is no file of a Dask scheduler (it has no address such as tcp://10.0.0.1:8786)"
        ) from None


def _sendable() -> Callable[[Record, dict[str, str]], Record]:
    """A function that Dask sends as it is, and not by name: a worker that does not find a name breaks down over it."""

    def evaluate(task: Record, expected: dict[str, str]) -> Record:
        import platform

        try:
            from codesign.experiments.workers import evaluate_remotely
        except ImportError as error:
            raise ImportError(f"{error} on {platform.node()}") from None
        return evaluate_remotely(task, expected)

    return evaluate


def evaluate_remotely(task: Record, expected: dict[str, str]) -> Record:
    """Evaluate a candidate in a Dask worker; raises ImportError if its libraries are not those of the run."""
    found = libraries()
    differing = [
        f"{name} {found.get(name, 'missing')} instead of {wanted}"
        for name, wanted in expected.items()
        if found.get(name) != wanted
    ]
    if differing:
        raise ImportError(f"{', '.join(differing)} on {platform.node()}")
    return evaluate_task(task)


def pool_for(processes: int, dask: str | None) -> Pool:
    """The workers that an experiment asks for; raises :class:`WorkersError` if they cannot be had."""
    return LocalPool(processes) if dask is None else DaskPool(dask)
