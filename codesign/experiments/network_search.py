"""The innermost search of a co-search: which network of a space runs best on a design, at an accuracy asked for.

Accuracy does not depend on the design, so it is known before anything is mapped: networks below the level are never
priced, nor are those that a lower bound shows to be worse than what a strategy keeps. Every design gets the same random
numbers, so that it is the design that makes the difference. With several levels of accuracy one search with two
objectives serves them all, all networks are priced, and each level gets the best network that it saw.
"""

from __future__ import annotations

import functools
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accelerators.catalog import Hardware
from accelerators.operators import Operator
from codesign.devices import Device
from codesign.experiments.sheet import NasSheet
from codesign.experiments.specifications import Stamps, space_of, stamps
from codesign.nas import accuracy
from codesign.nas.accuracy import Estimator
from codesign.nas.costs import COLUMNS, NetworkCosts, Works
from codesign.nas.search import search
from codesign.nas.spaces import Code, Codes, Space
from codesign.nas.strategies import STRATEGIES, OfaEvolution, Strategy
from codesign.search.pareto import front
from mappers import MapResult

#: What a nested search minimises, and where it is among the costs of networks.
GOALS = {"edp": COLUMNS.index("edp_js"), "energy": COLUMNS.index("energy_pj"), "latency": COLUMNS.index("latency_s")}
#: Networks drawn to find some that are accurate enough before evolution has to.
_DRAWN = 2_000
#: Spaces of up to so many networks are looked at as a whole.
_LISTED = 20_000
#: Networks that evolution asks for to find accurate ones, at once and in all, of quick estimators and of slow ones.
_POPULATION, _ASKED, _ASKED_SLOW = 100, 4_000, 200
#: Networks of a front that are kept.
_MOST_KEPT = 100


def nas_specification(sheet: NasSheet, folder: Path, seed: int, goal: str) -> dict[str, Any]:
    """Plain data for a search; files are relative to a folder."""
    several = len(sheet.at_least) > 1
    return {
        "space": _beside(folder, sheet.space),
        # A space of a space has a file as well.
        "options": {key: _beside(folder, value) if key == "space" else value for key, value in sheet.options.items()},
        "accuracy": {
            "name": sheet.accuracy.name,
            "options": {
                key: str(folder / value) if key == "file" and isinstance(value, str) else value
                for key, value in sheet.accuracy.options.items()
            },
        },
        "at_least": sorted(set(sheet.at_least)),
        "mode": sheet.mode,
        "strategy": sheet.strategy or ("nsga2" if several else "ofa_evolution"),
        "population": sheet.population,
        "queries": sheet.queries,
        "batch": sheet.batch,
        "seed": seed,
        "goal": goal,
    }


def _beside(folder: Path, space: Any) -> Any:
    """The file of a space, relative to a folder; names of spaces as they are."""
    if isinstance(space, str) and space.lower().endswith((".yaml", ".yml")):
        return str(folder / space)
    return space


@dataclass(frozen=True)
class Judged:
    """What a search on one design found.

    ``chosen`` has the best network of every level of accuracy; ``front`` rows of accuracy, energy in pJ, latency in
    seconds (None: not known) and code, of networks that no other one beats that was priced, in accuracy and goal;
    ``count`` networks were judged.
    """

    chosen: tuple[Code, ...]
    front: tuple[tuple[float, float | None, float | None, Code], ...]
    count: int
    mapped: Mapping[Operator, MapResult]


class TooInaccurateError(ValueError):
    """No network of a space is as accurate as asked for; the message has the best that was found."""


class NothingRunsError(ValueError):
    """No network that was judged can run on a design; ``code`` and message say why."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


class NetworkSearch:
    """A space, its estimator, and what was learnt about accuracies so far; to be kept for all designs."""

    def __init__(self, specification: Mapping[str, Any]):
        """Raises NetworkError, ValueError and DocumentError for a space or an estimator that cannot be had."""
        self.specification = specification
        self.space: Space = space_of(specification["space"], specification["options"])
        settings = specification["accuracy"]
        self.estimator: Estimator = accuracy.load(settings["name"], self.space, **settings["options"])
        self.levels: tuple[float, ...] = tuple(specification["at_least"]) or (-math.inf,)
        self._known: dict[bytes, float] = {}
        self._works: dict[bool, Works] = {}

    @classmethod
    def of(cls, specification: Mapping[str, Any]) -> NetworkSearch:
        """The search of a specification, once per process as long as its files stay as they are."""
        return _search_of(json.dumps(specification, sort_keys=True), stamps(specification))

    def accuracies(self, codes: Codes) -> NDArray[np.float64]:
        """(n,) accuracies, minus infinity where there is no answer; each network is asked for once."""
        keys = [code.tobytes() for code in codes]
        new = {key: code for key, code in zip(keys, codes, strict=True) if key not in self._known}
        if new:
            asked = np.array(list(new.values()))
            covered = self.estimator.covers(asked)
            found = np.full(len(asked), -math.inf)
            if covered.any():
                found[covered] = self.estimator.accuracies(asked[covered])
            self._known.update(zip(new, found.tolist(), strict=True))
        return np.array([self._known[key] for key in keys])

    def admits(self, codes: Codes) -> NDArray[np.bool_]:
        """(n,) which networks are accurate enough for the lowest level."""
        accuracies = self.accuracies(codes)
        return np.isfinite(accuracies) & (accuracies >= self.levels[0])

    @functools.cached_property
    def start(self) -> Codes:
        """Networks that are accurate enough for the lowest level, at least one per level; the same in every process.

        Raises :class:`TooInaccurateError` if none can be found for a level.
        """
        wanted = int(self.specification["population"])
        if not math.isfinite(self.levels[0]) and not self._quick:
            # Whatever is accurate enough without being asked is not worth asking for.
            return self.space.sample(np.random.default_rng(self.specification["seed"]), wanted)
        listed = self.estimator.listed()
        if listed is not None and len(listed):
            return self._first(self._shuffled(listed), wanted)
        if self.space.size <= _LISTED and self._quick:
            return self._first(self._shuffled(np.array(list(self.space.codes()), np.int64)), wanted)
        drawn = self.space.sample(np.random.default_rng(self.specification["seed"]), _DRAWN if self._quick else wanted)
        codes = self._shuffled(np.unique(drawn, axis=0))
        if int((self.accuracies(codes) >= self.levels[-1]).sum()) < wanted and math.isfinite(self.levels[0]):
            codes = np.concatenate([codes, self._evolved(wanted)])
        return self._first(codes, wanted)

    def _shuffled(self, codes: Codes) -> Codes:
        return np.random.default_rng(self.specification["seed"]).permutation(codes)

    @property
    def _quick(self) -> bool:
        return self.estimator.kind in ("measured", "predicted")

    def _evolved(self, wanted: int) -> Codes:
        """Accurate networks that evolution finds, until there are as many as wanted."""
        strategy = OfaEvolution(
            self.space,
            population=_POPULATION if self._quick else 20,
            seed=np.random.SeedSequence(self.specification["seed"], spawn_key=(1,)),
        )
        seen: list[Codes] = []
        enough = asked = 0
        while asked < (_ASKED if self._quick else _ASKED_SLOW) and enough < wanted:
            codes = strategy.ask()
            accuracies = self.accuracies(codes)
            strategy.tell(codes, np.where(np.isfinite(accuracies), -accuracies, math.inf)[:, None])
            asked += len(codes)
            seen.append(codes)
            enough = int((self.accuracies(np.unique(np.concatenate(seen), axis=0)) >= self.levels[-1]).sum())
        return np.unique(np.concatenate(seen), axis=0)

    def _first(self, codes: Codes, wanted: int) -> Codes:
        """The first of the networks that are accurate enough, some for the highest level among them."""
        accuracies = self.accuracies(codes)
        if not (accuracies >= self.levels[-1]).any() or not np.isfinite(accuracies).any():
            best = accuracies.max(initial=-math.inf)
            reached = f"the best that was found is {best:.6g}" if math.isfinite(best) else "no network has an accuracy"
            level = f"reaches {self.levels[-1]:g} by" if math.isfinite(self.levels[-1]) else "is known to"
            raise TooInaccurateError(f"no network of {self.space.name} {level} {self.estimator.name}: {reached}")
        top = codes[accuracies >= self.levels[-1]][: max(1, wanted // max(1, len(self.levels)))]
        rest = codes[(accuracies >= self.levels[0]) & np.isfinite(accuracies)][:wanted]
        both = np.concatenate([top, rest])
        _, places = np.unique(both, axis=0, return_index=True)
        return both[np.sort(places)][:wanted]

    def works(self, fuse: bool) -> Works:
        """What networks of the space are made of."""
        if fuse not in self._works:
            self._works[fuse] = Works(self.space, fuse=fuse, batch=self.specification["batch"])
        return self._works[fuse]

    def strategy(self) -> Strategy:
        """A new strategy, the same for every design."""
        found = STRATEGIES[self.specification["strategy"]](
            self.space,
            population=self.specification["population"],
            seed=np.random.SeedSequence(self.specification["seed"], spawn_key=(2,)),
            admits=self.admits,
        )
        found.begin_with(self.start)
        return found

    def run(
        self,
        hardware: Hardware | Device,
        *,
        fuse: bool = False,
        power_mw: float | None = None,
        progress: Callable[[int, int], None] | None = None,
        **settings: Any,
    ) -> Judged:
        """Search networks for a design; ``settings`` go to :class:`~codesign.nas.costs.NetworkCosts`.

        ``progress`` is called with the networks that were judged so far and those that shall be.

        Raises :class:`NothingRunsError` if no network runs on it, or none for one of the levels.
        """
        costs = NetworkCosts(self.works(fuse), hardware, **settings)
        column = GOALS[self.specification["goal"]]
        several = len(self.levels) > 1
        done: list[int] = []

        def score(codes: Codes) -> NDArray[np.float64]:
            found = costs.costs(codes)
            if progress is not None:
                done.append(len(codes))
                progress(sum(done), self.specification["queries"])
            if np.isnan(found[:, column]).any():
                goal = self.specification["goal"]
                raise NothingRunsError("device", f"{hardware.name} does not say the {goal} of a network")
            values = found[:, column]
            if power_mw is not None:
                # What is not known keeps no limit.
                values = np.where(found[:, 0] * 1e-9 <= power_mw * found[:, 1], values, math.inf)
            if not several:
                return values[:, None]
            return np.stack([values, np.where(np.isfinite(values), -self.accuracies(codes), math.inf)], axis=1)

        floors = None if several or power_mw is not None else lambda codes: costs.floors(codes)[:, [column]]
        history = search(self.strategy(), score, self.specification["queries"], floors=floors)
        accuracies = self.accuracies(history.codes)
        values = np.where(history.floored, math.inf, history.scores[:, 0])
        chosen: list[Code] = []
        for level in self.levels:
            able = np.nonzero((accuracies >= level) & np.isfinite(values))[0]
            if not len(able):
                raise NothingRunsError(*_why(costs, level, power_mw))
            # Of equals the most accurate one.
            best = able[np.lexsort((-accuracies[able], values[able]))[0]]
            chosen.append(tuple(history.codes[best].tolist()))
        return Judged(tuple(chosen), self._front(history.codes, values, costs), len(history.codes), costs.mapped)

    def _front(
        self, codes: Codes, values: NDArray[np.float64], costs: NetworkCosts
    ) -> tuple[tuple[float, float | None, float | None, Code], ...]:
        accuracies = self.accuracies(codes)
        kept = front(np.stack([values, -accuracies], axis=1))
        kept = kept[np.argsort(values[kept], kind="stable")]
        # Some all along the front.
        kept = kept[np.unique(np.linspace(0, len(kept) - 1, min(_MOST_KEPT, len(kept))).round().astype(np.int64))]
        found = costs.costs(codes[kept])
        return tuple(
            (float(accuracies[i]), _known(energy), _known(latency), tuple(codes[i].tolist()))
            for i, (energy, latency, _) in zip(kept, found, strict=True)
        )


def _why(costs: NetworkCosts, level: float, power_mw: float | None) -> tuple[str, str]:
    """The most common reason for which networks do not run."""
    reasons = Counter(costs.reasons.values())
    at = "" if level == -math.inf else f" that reaches {level:g}"
    if not reasons:
        return "budget", f"every network{at} is above the budget of {power_mw:g} mW"
    ((reason, _),) = reasons.most_common(1)
    return "networks", f"no network{at} runs: {reason}"


@functools.lru_cache(maxsize=16)
def _search_of(text: str, _: Stamps) -> NetworkSearch:
    return NetworkSearch(json.loads(text))


def front_of(rows: Sequence[Sequence[Any]], goal: str) -> list[int]:
    """Positions of the rows (accuracy, energy in pJ, latency in s, ..) that no other one beats, by the goal's value."""
    if not rows:
        return []
    values = np.array([goal_value(row[1], row[2], goal) for row in rows])
    kept = front(np.stack([values, -np.array([row[0] for row in rows])], axis=1))
    return [int(i) for i in kept[np.argsort(values[kept], kind="stable")]]


def goal_value(energy_pj: float | None, latency_s: float | None, goal: str) -> float:
    """Energy in pJ, latency in s or EDP in Js; NaN where it is not known."""
    energy, latency = (math.nan if value is None else value for value in (energy_pj, latency_s))
    return {"energy": energy, "latency": latency, "edp": energy * 1e-12 * latency}[goal]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
