"""The mapper protocol.

A mapper proposes batches of mappings and is told what they cost::

    mapper = LocalSearch(space, objective, seed)
    while (mapper.complete or evaluations < budget) and not mapper.finished:
        batch = mapper.ask()
        mapper.tell(batch, space.evaluate(batch), evaluations / budget)

The driver (:mod:`mappers.search`) counts evaluations and keeps the best mapping. Budgets are evaluations,
never seconds: the same seed gives the same result on every machine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from accelerators.spatial.kernels import arrays
from accelerators.spatial.kernels.arrays import MappingArrays, select
from accelerators.spatial.problem import BatchResult
from mappers.mapspace import Mapspace

Objective = Literal["edp", "energy", "latency"]
OBJECTIVES: tuple[Objective, ...] = ("edp", "energy", "latency")


class SpaceTooLargeError(ValueError):
    """A mapspace that a mapper cannot take in: its tables would not fit into memory, or it would never end."""


def scores(result: BatchResult, objective: Objective) -> NDArray[np.float64]:
    """What a mapper minimises, (n,): pJ x cycles, pJ or cycles; infinite for mappings that are not valid."""
    value = np.full(result.status.shape, np.inf)
    valid = result.status == arrays.VALID
    energy, cycles = result.energy_pj[valid], result.latency_cycles[valid].astype(np.float64)
    value[valid] = energy * cycles if objective == "edp" else energy if objective == "energy" else cycles
    return value


class Best:
    """The best mapping that was offered; of equal latency that of less energy, and the other way round.

    ``key`` is its score and what breaks ties, ``batch`` the mapping as a batch of one.
    """

    def __init__(self, objective: Objective):
        self.objective = objective
        self.key: tuple[float, float] = (np.inf, np.inf)
        self.batch: MappingArrays | None = None

    @property
    def score(self) -> float:
        """Its score (:func:`scores`); infinite if there is none."""
        return self.key[0]

    def offer(self, batch: MappingArrays, result: BatchResult) -> bool:
        """Take the best of a batch if it is better; whether it was."""
        values = scores(result, self.objective)
        if not len(values) or values.min() > self.key[0] or values.min() == np.inf:
            return False
        ties = result.energy_pj if self.objective == "latency" else result.latency_cycles
        least = np.nonzero(values == values.min())[0]
        i = int(least[np.argmin(ties[least])])
        key = (float(values[i]), float(ties[i]))
        if key >= self.key:
            return False
        self.key, self.batch = key, select(batch, [i])
        return True


class Mapper(ABC):
    """Proposes mappings of one mapspace; subclasses say how.

    Two mappers with the same space, objective and seed make the same proposals if they are told the same.
    """

    #: Name on the command line.
    name: str
    #: Nothing is left to propose: all of the space has been tried or ruled out.
    finished: bool = False
    #: Runs until it has finished, whatever the budget.
    complete: bool = False

    def __init__(self, space: Mapspace, objective: Objective, seed: int):
        self.space = space
        self.objective = objective
        self.seed = seed

    @abstractmethod
    def ask(self) -> MappingArrays:
        """The next batch; the arrays stay untouched until :meth:`tell` is called."""

    @abstractmethod
    def tell(self, batch: MappingArrays, result: BatchResult, progress: float) -> None:
        """What the batch cost; ``progress`` in 0..1 is the part of the budget that is spent."""
