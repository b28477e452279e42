"""The evolution of AnalogNAS, random search, and the search that was published with the paper.

The paper's figure: a population is drawn; the surrogate predicts; networks with too large an AVM are refused; the best
are selected and mutated; parents and children are united and the best of them go on. The published code replaces each
member by a fresh random network instead, selects nothing, checks no parameters, and returns the last network that it
made; :func:`shipped_search` does so, to compare with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from codesign.nas.analognas.surrogate import Labels
from codesign.nas.spaces.analog_resnet import AnalogResNet, Architecture

#: How often what is mutated: width (OC0, WF, B), depth (R, M, kind), something else (KS0, or a main block as a whole).
_MIX = {"width": 0.4, "depth": 0.4, "other": 0.2}
_TRIES = 50
Objective = Literal["accuracy/std", "accuracy"]


class Predictor(Protocol):
    """What the search needs of a surrogate."""

    def predict(self, architectures: Sequence[Architecture]) -> Labels:
        """Labels of architectures."""


@dataclass(frozen=True)
class Limits:
    """AVM in points and trained values must be below; the latter are counted by ``size``."""

    avm: float
    parameters: int
    size: Callable[[Architecture], int]

    def __post_init__(self) -> None:
        if math.isnan(self.avm) or self.parameters < 1:
            raise ValueError(f"limits must be numbers, parameters >= 1 (got {self.avm} and {self.parameters})")

    def violation(self, architectures: Sequence[Architecture], labels: Labels) -> NDArray[np.float64]:
        """How far beyond, (n,), 0 for networks that may be chosen: parameters in parts of the limit, AVM in points."""
        sizes = np.array([self.size(architecture) for architecture in architectures], np.float64)
        beyond = np.maximum(0.0, (sizes - self.parameters + 1) / self.parameters) * (sizes >= self.parameters)
        return beyond + np.where(labels.avm < self.avm, 0.0, np.maximum(labels.avm - self.avm, 1e-12))


class Found(NamedTuple):
    """The network that a search ends with, what is predicted of it, and how many networks it looked at."""

    architecture: Architecture
    accuracy: float
    std: float
    avm: float
    parameters: int
    feasible: bool
    evaluations: int


class Evolution:
    """Ask and tell: ``ask`` proposes networks, ``tell`` says how good they are and how far beyond the limits.

    Networks within the limits come before others, the better ones first; others by how far they are beyond (Deb 2000).
    """

    def __init__(self, space: AnalogResNet, *, population: int = 50, seed: int = 0):
        if population < 2:
            raise ValueError(f"population must be >= 2 (got {population})")
        self.space, self.population = space, population
        self.random = np.random.default_rng(seed)
        #: The best so far, best first, with (violation, -objective).
        self.members: list[tuple[tuple[float, float], Architecture]] = []

    def ask(self) -> list[Architecture]:
        """First random networks, then mutated ones of the better half."""
        if not self.members:
            return [self.space.draw(self.random) for _ in range(self.population)]
        parents = [architecture for _, architecture in self.members[: max(1, self.population // 2)]]
        known = {architecture for _, architecture in self.members}
        children: dict[Architecture, None] = {}
        for _ in range(_TRIES * self.population):
            if len(children) == self.population:
                break
            child = self.mutated(parents[int(self.random.integers(len(parents)))])
            if child not in known:
                children[child] = None
        # A space that is used up has no new ones.
        return list(children) or parents

    def tell(
        self, architectures: Sequence[Architecture], objective: NDArray[np.float64], violation: NDArray[np.float64]
    ) -> None:
        """Unite networks with those before, and keep the best; ValueError for what is no number."""
        if np.isnan(objective).any() or np.isnan(violation).any():
            raise ValueError("objectives and violations must be numbers (got NaN)")
        merged = {architecture: rank for rank, architecture in self.members}
        for architecture, value, beyond in zip(architectures, objective, violation, strict=True):
            merged[architecture] = (float(beyond), -float(value))
        ranked = sorted(((rank, architecture) for architecture, rank in merged.items()), key=lambda member: member[0])
        self.members = ranked[: self.population]

    def mutated(self, architecture: Architecture) -> Architecture:
        """The architecture with one choice changed, within the space."""
        kind = self.random.choice(list(_MIX), p=list(_MIX.values()))
        index = int(self.random.integers(len(architecture.blocks)))
        block = architecture.blocks[index]
        if kind == "width":
            what = self.random.integers(3)
            if what == 0:
                return replace(architecture, channels=self._other(self.space.channels, architecture.channels))
            if what == 1:
                block = replace(block, widening=self._other(self.space.widenings, block.widening))
            else:
                block = replace(block, branches=self._other(self.space.branches, block.branches))
        elif kind == "depth":
            what = self.random.integers(3)
            if what == 0:
                return self._with_blocks(architecture)
            if what == 1:
                block = replace(block, depth=self._other(self.space.depths, block.depth))
            else:
                block = replace(block, kind=self._other(self.space.kinds, block.kind))
        elif len(self.space.kernels) > 1 and self.random.integers(2):
            return replace(architecture, kernel=self._other(self.space.kernels, architecture.kernel))
        else:
            block = self.space.draw_block(self.random)
        return replace(architecture, blocks=(*architecture.blocks[:index], block, *architecture.blocks[index + 1 :]))

    def _with_blocks(self, architecture: Architecture) -> Architecture:
        """With another number of main blocks: the last ones go, or new ones come behind."""
        number = self._other(self.space.main_blocks, len(architecture.blocks))
        kept = architecture.blocks[:number]
        new = tuple(self.space.draw_block(self.random) for _ in range(number - len(kept)))
        return replace(architecture, blocks=kept + new)

    def _other(self, choices: Sequence[Any], now: Any) -> Any:
        """Another one of the choices; the same if there is no other."""
        others = [choice for choice in choices if choice != now]
        return others[int(self.random.integers(len(others)))] if others else now


def evolve(
    surrogate: Predictor,
    space: AnalogResNet,
    limits: Limits,
    *,
    objective: Objective = "accuracy/std",
    population: int = 50,
    generations: int = 40,
    seed: int = 0,
) -> Found:
    """The network with the largest predicted accuracy over its standard deviation, or accuracy, within the limits.

    If no network within the limits was met, the one that is least beyond them is returned, and is not ``feasible``.
    """
    if generations < 1:
        raise ValueError(f"generations must be >= 1 (got {generations})")
    evolution = Evolution(space, population=population, seed=seed)
    evaluations = 0
    for _ in range(generations):
        asked = evolution.ask()
        labels = surrogate.predict(asked)
        evolution.tell(asked, _objective(labels, objective), limits.violation(asked, labels))
        evaluations += len(asked)
    return _found(surrogate, limits, evolution.members[0][1], evaluations)


def search_at_random(
    surrogate: Predictor,
    space: AnalogResNet,
    limits: Limits,
    *,
    objective: Objective = "accuracy/std",
    evaluations: int = 2000,
    seed: int = 0,
) -> Found:
    """The best of so many networks drawn at random, judged as by :func:`evolve`."""
    random = np.random.default_rng(seed)
    drawn = [space.draw(random) for _ in range(evaluations)]
    labels = surrogate.predict(drawn)
    order = np.lexsort((-_objective(labels, objective), limits.violation(drawn, labels)))
    return _found(surrogate, limits, drawn[int(order[0])], evaluations)


def shipped_search(
    surrogate: Predictor,
    space: AnalogResNet,
    limits: Limits,
    *,
    population: int = 50,
    generations: int = 40,
    seed: int = 0,
) -> Found:
    """What the published code does: the first network has an AVM within its limit, and the last one is returned."""
    random = np.random.default_rng(seed)
    first = space.draw(random)
    evaluations = 1
    while surrogate.predict([first]).avm[0] >= limits.avm and evaluations < population * generations:
        first = space.draw(random)
        evaluations += 1
    members = [first] * population
    accepted = {"width": 0.8, "depth": 0.8, "other": 0.6}
    for _ in range(generations):
        for index in range(population):
            kind = random.choice(list(_MIX), p=list(_MIX.values()))
            if random.random() < accepted[kind]:
                members[index] = space.draw(random)
            evaluations += 1
    return _found(surrogate, limits, members[-1], evaluations)


def _objective(labels: Labels, objective: Objective) -> NDArray[np.float64]:
    if objective not in ("accuracy/std", "accuracy"):
        raise ValueError(f"objective must be accuracy/std or accuracy (got {objective!r})")
    return labels.accuracy if objective == "accuracy" else labels.accuracy / labels.std


def _found(surrogate: Predictor, limits: Limits, architecture: Architecture, evaluations: int) -> Found:
    labels = surrogate.predict([architecture])
    feasible = bool(limits.violation([architecture], labels)[0] == 0)
    accuracy, std, avm = (float(values[0]) for values in labels)
    return Found(architecture, accuracy, std, avm, limits.size(architecture), feasible, evaluations)
