"""Many layers, or one layer on many hardware candidates, in one call.

Same work is done once: operators compare by value, so layers of one shape share a result. Every job has its own seed
and budget, so the results do not depend on how many workers there are or which of them does what.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from accelerators.costs import Infeasible
from accelerators.operators import Operator
from accelerators.spatial.architecture import SpatialAccelerator
from mappers.processes import kill, worker_pool
from mappers.search import MapResult, map_operator

#: An operator to map on an accelerator.
Job = tuple[SpatialAccelerator, Operator]
#: Called with the index of a finished job and its result.
Report = Callable[[int, MapResult | Infeasible], None]

_CHUNKS_PER_WORKER = 8


class WorkerDiedError(RuntimeError):
    """A worker process ended without an answer (killed, or out of memory)."""


def map_batch(
    jobs: Sequence[Job], *, workers: int = 1, report: Report | None = None, **settings: Any
) -> list[MapResult | Infeasible]:
    """Map every job; ``settings`` go to :func:`~mappers.search.map_operator`. Results are in the order of the jobs.

    With several ``workers`` the jobs are spread over processes; ``report`` is called in this one, in the order in which
    jobs finish, once for each job. A mapper given in ``settings`` must be importable then.

    Raises ValueError for fewer than one worker, :class:`WorkerDiedError` if a process dies, and what
    :func:`~mappers.search.map_operator` raises.
    """
    if workers < 1:
        raise ValueError(f"workers must be >= 1 (got {workers})")
    # Jobs that are the same, under the index of the first of them. (Accelerators hold dicts and do not hash.)
    hardware: list[SpatialAccelerator] = []
    places: dict[tuple[int, Operator], list[int]] = {}
    for i, (accelerator, operator) in enumerate(jobs):
        which = next((k for k, known in enumerate(hardware) if known is accelerator or known == accelerator), None)
        if which is None:
            which = len(hardware)
            hardware.append(accelerator)
        places.setdefault((which, operator), []).append(i)
    distinct = list(places)
    results: list[MapResult | Infeasible | None] = [None] * len(jobs)
    for k, result in _run([(hardware[which], operator) for which, operator in distinct], workers, settings):
        for i in places[distinct[k]]:
            results[i] = result
            if report:
                report(i, result)
    assert all(result is not None for result in results)
    return results  # type: ignore[return-value]


def _run(jobs: list[Job], workers: int, settings: dict[str, Any]) -> Iterator[tuple[int, MapResult | Infeasible]]:
    if workers == 1 or len(jobs) < 2:
        for k, (accelerator, operator) in enumerate(jobs):
            yield k, map_operator(accelerator, operator, **settings)
        return
    size = math.ceil(len(jobs) / (workers * _CHUNKS_PER_WORKER))
    pool = worker_pool(min(workers, len(jobs)))
    try:
        # Every chunk takes jobs from all over the list: neighbours tend to be equally hard.
        step = math.ceil(len(jobs) / size)
        chunks = {pool.submit(_map_chunk, jobs[start::step], settings): start for start in range(step)}
        for future in as_completed(chunks):
            for k, result in enumerate(future.result()):
                yield chunks[future] + k * step, result
    except BrokenProcessPool:
        raise WorkerDiedError(
            "a worker process died: out of memory (fewer workers need less), or started from a script without "
            "if __name__ == '__main__':"
        ) from None
    finally:
        kill(pool)


def _map_chunk(jobs: list[Job], settings: dict[str, Any]) -> list[MapResult | Infeasible]:
    return [map_operator(accelerator, operator, **settings) for accelerator, operator in jobs]
