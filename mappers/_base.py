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
from accelerators.spatial.kernels.arrays import MappingArrays
from accelerators.spatial.problem import BatchResult
from mappers.mapspace import Mapspace

Objective = Literal["edp", "energy", "latency"]
OBJECTIVES: tuple[Objective, ...] = ("edp", "energy", "latency")


class SpaceTooLargeError(ValueError):
    """A mapspace that a mapper cannot take in: its tables would not fit into memory, or it would never end."""


def scores(result: BatchResult, objective: Objective) -> NDArray[np.float64]:
    """What a mapper minimises, (n,); infinite for mappings that are not valid.

    EDP is in pJ x cycles. Ties in latency are broken by energy and the other way round, by a term too small to matter
    otherwise.
    """
    value = np.full(result.status.shape, np.inf)
    valid = result.status == arrays.VALID
    energy, cycles = result.energy_pj[valid], result.latency_cycles[valid].astype(np.float64)
    if objective == "edp":
        value[valid] = energy * cycles
    elif objective == "energy":
        value[valid] = energy * (1 + 1e-12 * cycles / (1 + cycles))
    else:
        value[valid] = cycles * (1 + 1e-12 * energy / (1 + energy))
    return value


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
