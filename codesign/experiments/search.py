"""The search at one point of an experiment: which candidates, generation by generation. No files, no processes.

Everything here follows from the experiment's seed and from what candidates score. So a search is resumed by running it
again with the scores that are known, and what it then proposes is what it would have proposed.

A part of every generation does not come from the optimiser: it varies one or two choices of the best designs so far,
and the optimiser is told of them as of its own. The budget and the layers' divisors put the best designs on edges,
which a distribution over numbers seldom hits.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codesign.experiments.candidates import Record, scores
from codesign.experiments.experiment import Point
from codesign.experiments.joint import JointDesign, JointSpace
from codesign.nas.spaces import Code
from codesign.search import OPTIMISERS, Design
from codesign.search.pareto import front
from codesign.search.space import HardwareSpace, digest

#: Part of a generation that varies the best designs so far, and how many are the best.
_REFINE, _ELITE = 0.5, 4
#: Times that a variation is drawn before the optimiser gets its place.
_MOST_DRAWS = 30
#: Times that the optimiser may be asked for one generation before it is taken as it is.
_MOST_ROUNDS = 100


class NothingValidError(RuntimeError):
    """An optimiser that proposes nothing but designs that cannot be."""


@dataclass(frozen=True)
class Job:
    """A design to evaluate, with a network of its own (``code``) where both are searched together."""

    digest: str
    choices: dict[str, Any]
    datasheet: dict[str, Any]
    code: Code | None = None


@dataclass(frozen=True)
class Generation:
    """One generation: digests in the order of the proposals, rejected designs by reason, the state after it."""

    number: int
    candidates: tuple[str, ...]
    rejected: dict[str, int]
    state: Record


class Search:
    """Proposes designs and learns from their records; see the module."""

    def __init__(self, point: Point):
        self.point = point
        self.generation = 0
        self._scores: dict[str, list[float]] = {}
        self._proposed: list[str] = []
        self._vectors: NDArray[np.float64] = np.zeros((0, 0))
        self._rejected: Counter[str] = Counter()
        self._optimiser = None
        # What designs chose, by digest: of this generation, and of the best so far.
        self._new: dict[str, dict[str, Any]] = {}
        self._elite: dict[str, dict[str, Any]] = {}
        self._refined = 0
        if point.space is not None:
            settings = point.sheet.search
            part = settings.refine
            if part is None:
                part = 0.0 if settings.optimiser == "random" else _REFINE
            # The optimiser always has a place.
            self._refined = min(round(part * settings.population), settings.population - 1)
            self._random = np.random.default_rng(np.random.SeedSequence(point.sheet.seed, spawn_key=(1,)))
            self._optimiser = OPTIMISERS[settings.optimiser](
                point.space.size,
                population=settings.population,
                # A stream of its own; further ones may join without changing it.
                seed=np.random.SeedSequence(point.sheet.seed, spawn_key=(0,)),
            )

    @property
    def generations(self) -> int:
        """How many there will be."""
        return 1 if self._optimiser is None else self.point.sheet.search.generations

    @property
    def finished(self) -> bool:
        """Whether all generations are done."""
        return self.generation >= self.generations

    def propose(self) -> list[Job]:
        """The designs of the next generation that have not been scored, each once.

        Raises :class:`NothingValidError` if the optimiser does not find any valid design.
        """
        if self._optimiser is None:
            # Given designs may be alike in everything but their names.
            given = self.point.fixed.items()
            jobs = [Job(digest({"given": data}), {"accelerator": name}, data) for name, data in given]
            self._proposed = [job.digest for job in jobs]
            return jobs
        space = self.point.space
        assert space is not None
        wanted = self._optimiser.population
        self._rejected = Counter()
        variations = self._variations(space)
        designs = [design for design, _ in variations]
        vectors = [vector for _, vector in variations]
        for _ in range(_MOST_ROUNDS):
            for vector in self._optimiser.ask():
                built = space.build(space.decode(vector))
                if isinstance(built, Design):
                    vectors.append(vector)
                    designs.append(built)
                else:
                    self._rejected[str(built.facts.get("quantity") or built.message)] += 1
                if len(designs) == wanted:
                    break
            if len(designs) == wanted:
                break
        if not designs:
            most = ", ".join(f"{reason} ({count})" for reason, count in self._rejected.most_common(3))
            raise NothingValidError(f"no valid design among {sum(self._rejected.values())} proposals: {most}")
        self._vectors = np.array(vectors)
        self._new = {design.digest: design.values for design in designs}
        self._proposed = [design.digest for design in designs]
        new = {design.digest: design for design in designs if design.digest not in self._scores}
        return [
            Job(key, design.choices, design.datasheet, design.code if isinstance(design, JointDesign) else None)
            for key, design in new.items()
        ]

    def _variations(self, space: HardwareSpace | JointSpace) -> list[tuple[Design, NDArray[np.float64]]]:
        """New designs near the best ones, each near one of them, and the numbers that stand for them."""
        found: dict[str, tuple[Design, NDArray[np.float64]]] = {}
        elite = list(self._elite.values())
        for _ in range(self._refined if elite else 0):
            for _ in range(_MOST_DRAWS):
                try:
                    values = space.neighbour(elite[int(self._random.integers(len(elite)))], self._random)
                    # What has numbers can be told to the optimiser.
                    vector = space.encode(values)
                except ValueError:
                    continue
                built = space.build(values)
                if isinstance(built, Design) and built.digest not in found and built.digest not in self._scores:
                    found[built.digest] = built, vector
                    break
        return list(found.values())

    def _keep_best(self) -> None:
        """Those of the designs so far that are worth varying: the best ones, or the front of several objectives."""
        fine = [key for key in {**self._elite, **self._new} if math.isfinite(sum(self._scores[key]))]
        if not fine:
            return
        scores = np.array([self._scores[key] for key in fine])
        places = np.argsort(scores[:, 0], kind="stable")[:_ELITE] if scores.shape[1] == 1 else front(scores)
        self._elite = {fine[i]: {**self._elite, **self._new}[fine[i]] for i in places}

    def absorb(self, records: Mapping[str, Record]) -> Generation:
        """Learn what the proposed designs scored; ``records`` has those of all jobs, by digest."""
        goals = self.point.sheet.objective
        for key in self._proposed:
            if key not in self._scores:
                self._scores[key] = scores(records[key], goals)
        state: Record = {}
        if self._optimiser is not None:
            self._optimiser.tell(self._vectors, np.array([self._scores[key] for key in self._proposed]))
            state = self._optimiser.state()
            self._keep_best()
        done = Generation(self.generation, tuple(self._proposed), dict(self._rejected), state)
        self.generation += 1
        return done

    @property
    def scores(self) -> dict[str, list[float]]:
        """What every design scored, by digest, in the order of the first proposal."""
        return self._scores
