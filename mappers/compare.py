"""How good mappers are after how much time: their best score as a trace over CPU seconds and evaluations."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from accelerators.spatial.kernels.arrays import MappingArrays
from mappers._base import Best, Mapper, Objective, SpaceTooLargeError
from mappers.mapspace import Mapspace
from mappers.optimal import Certificate, Optimal
from mappers.search import search

#: Evaluations that call every kernel of a mapper once.
_WARM_UP = 20_000
#: Tiles that the optimal mapper may look at for the reference; minutes at most.
_REFERENCE_NODES = 200_000_000


@dataclass(frozen=True)
class Step:
    """An improvement: the best score after so many CPU seconds and evaluations."""

    cpu_s: float
    evaluations: int
    score: float


@dataclass(frozen=True)
class Trace:
    """A mapper's run: every improvement, what it cost in all, and the best mapping as a batch of one (or none)."""

    mapper: str
    seed: int
    steps: tuple[Step, ...]
    cpu_s: float
    evaluations: int
    best: MappingArrays | None

    def at(self, cpu_s: float) -> float:
        """The best score after ``cpu_s`` seconds; infinite if there was no mapping yet."""
        return min((step.score for step in self.steps if step.cpu_s <= cpu_s), default=np.inf)


def trace(
    make: Callable[[], Mapper],
    *,
    cpu_s: float,
    evaluations: int = 2**62,
    good_enough: float = -np.inf,
    report: Callable[[float], None] | None = None,
) -> Trace:
    """Run a mapper for ``cpu_s`` seconds of CPU time of this process, or ``evaluations`` if these end first.

    A score of ``good_enough`` ends the run as well.
    Making the mapper counts. ``report`` is told the part of the budget that is spent, from time to time. The mapper's
    schedule follows the clock, so a trace, unlike a search, depends on the machine.
    """
    start = time.process_time()
    mapper = make()
    best = Best(mapper.objective)
    steps: list[Step] = []
    done = 0
    while True:
        elapsed = time.process_time() - start
        if mapper.finished or elapsed >= cpu_s or done >= evaluations or best.score <= good_enough:
            break
        batch = mapper.ask()
        result = mapper.space.evaluate(batch)
        done += len(result.status)
        elapsed = time.process_time() - start
        spent = min(1.0, max(elapsed / cpu_s, done / evaluations))
        if best.offer(batch, result):
            steps.append(Step(elapsed, done, best.score))
        mapper.tell(batch, result, spent)
        if report:
            report(spent)
    return Trace(mapper.name, mapper.seed, tuple(steps), time.process_time() - start, done, best.batch)


@dataclass(frozen=True)
class Comparison:
    """Several mappers on one space, measured against the ``certificate`` (None if the space is too large for one)."""

    objective: Objective
    size: int
    budget_s: float
    traces: tuple[Trace, ...]
    certificate: Certificate | None

    @property
    def reference(self) -> float:
        """The proven optimum or its lower bound; the best score of all where neither is known."""
        if self.certificate is not None and self.certificate.lower_bound > 0:
            return self.certificate.lower_bound
        return min((trace.at(np.inf) for trace in self.traces), default=np.inf)

    def excess(self, trace: Trace, cpu_s: float) -> float:
        """How far a mapper is above the reference after so many seconds, relative to it."""
        return trace.at(cpu_s) / self.reference - 1


def compare(
    space: Mapspace,
    objective: Objective,
    mappers: Mapping[str, Callable[[Mapspace, Objective, int], Mapper]],
    *,
    cpu_s: float,
    seed: int = 0,
    report: Callable[[str, float], None] | None = None,
) -> Comparison:
    """Run each mapper for ``cpu_s`` CPU seconds, one after another, and prove what the best possible is."""
    traces = []
    for name, make in mappers.items():
        # A few rounds before the clock starts, for the kernels.
        search(make(space, objective, seed), _WARM_UP)
        traces.append(
            trace(
                lambda make=make: make(space, objective, seed),  # type: ignore[misc]
                cpu_s=cpu_s,
                report=None if report is None else lambda spent, name=name: report(name, spent),  # type: ignore[misc]
            )
        )
        if report:
            report(name, 1.0)
    try:
        best = min((t.at(np.inf) for t in traces), default=np.inf)
        proof = Optimal(space, objective, seed, node_limit=_REFERENCE_NODES, upper_bound=best * (1 + 1e-9))
        search(proof, 1)
        certificate = proof.certificate
    except SpaceTooLargeError:
        certificate = None
    return Comparison(objective, space.size(), cpu_s, tuple(traces), certificate)
