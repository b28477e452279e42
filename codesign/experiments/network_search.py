"""The innermost search of a co-search: which network of a space runs best on a design, at an accuracy asked for.

Accuracy does not depend on the design, so it is known before anything is mapped: networks below the level are never
priced, nor are those that a lower bound shows to be worse than what a strategy keeps. Every design gets the same random
numbers, so that it is the design that makes the difference. With several levels of accuracy one search with two
objectives serves them all, all networks are priced, and each level gets the best network that it saw.

On given hardware more may be asked for: the most accurate network within a limit of the cost or several
(``at_most``), the one with the greatest reward (``reward``), or, with nothing said, the whole front. A limit is kept as
Once-for-all's evolution does, by rejection: what exceeds it has an infinite score. Some networks within it are found
beforehand, by a search for the cheapest.
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
from accelerators.units import quantity
from codesign.devices import Device
from codesign.experiments.sheet import NasSheet, RewardSheet, StrategySheet
from codesign.experiments.specifications import Stamps, space_of, stamps
from codesign.nas import accuracy, strategies
from codesign.nas.accuracy import Estimator
from codesign.nas.costs import COLUMNS, NetworkCosts, Works
from codesign.nas.objectives import Constrained, MnasNetReward, Weighted, pareto
from codesign.nas.search import search
from codesign.nas.spaces import Code, Codes, Space
from codesign.nas.strategies import NoneAdmittedError, OfaEvolution, Strategy
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
#: Networks per generation of a search for some within a limit.
_CHEAP = 20
#: Networks of a front that are kept.
_MOST_KEPT = 100


#: Units of limits, and how goals are shown: the unit, and how many of it are one of ``goal_value``.
_UNITS = {"edp": "energy-delay product in Js", "energy": "network's energy in pJ", "latency": "time in seconds"}
_SHOWN = {"edp": ("mJ ms", 1e6), "energy": ("mJ", 1e-9), "latency": ("ms", 1e3)}


def limit_of(value: object, goal: str) -> float:
    """A cost as experiments write it, as :func:`goal_value` gives it; ValueError for what is none above 0."""
    found, _ = quantity(value, _UNITS[goal])
    if not found > 0:
        raise ValueError(f"must be > 0 (got {value!r})")
    return found


def shown(value: float, goal: str) -> str:
    """A goal's value with a unit."""
    unit, factor = _SHOWN[goal]
    return f"{value * factor:.4g} {unit}"


def nas_specification(sheet: NasSheet, folder: Path, seed: int, goal: str) -> dict[str, Any]:
    """Plain data for a search; files are relative to a folder."""
    strategy = sheet.strategy or StrategySheet(name="nsga2" if has_two_objectives(sheet) else "ofa_evolution")
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
        "at_most": sorted({limit_of(limit, goal) for limit in sheet.at_most}),
        "reward": None if sheet.reward is None else _reward(sheet.reward, goal),
        "mode": sheet.mode,
        "strategy": strategy.model_dump(),
        "population": sheet.population,
        "queries": sheet.queries,
        "batch": sheet.batch,
        "seed": seed,
        "goal": goal,
    }


def has_two_objectives(sheet: NasSheet) -> bool:
    """Whether a search minimises cost and maximises accuracy: for several levels or limits, or for the whole front."""
    whole = sheet.mode == "nested" and not (sheet.at_least or sheet.at_most or sheet.reward)
    return whole or len(sheet.at_least) > 1 or len(sheet.at_most) > 1


def _reward(sheet: RewardSheet, goal: str) -> dict[str, Any]:
    """A reward with costs as numbers."""
    found = sheet.model_dump(exclude_none=True)
    return {**found, **{key: limit_of(found[key], goal) for key in ("target", "per") if key in found}}


def _beside(folder: Path, space: Any) -> Any:
    """The file of a space, relative to a folder; names of spaces as they are."""
    if isinstance(space, str) and space.lower().endswith((".yaml", ".yml")):
        return str(folder / space)
    return space


@dataclass(frozen=True)
class Judged:
    """What a search on one design found.

    ``chosen`` has the best network of every level of accuracy, or of every limit (None: none keeps it), or of the
    reward, and nothing if the whole front is wanted; ``front`` rows of accuracy, energy in pJ, latency in seconds
    (None: not known) and code, of networks that no other one beats that was priced, in accuracy and goal; ``count``
    networks were judged; ``least`` is the least value of the goal among them.
    """

    chosen: tuple[Code | None, ...]
    front: tuple[tuple[float, float | None, float | None, Code], ...]
    count: int
    mapped: Mapping[Operator, MapResult]
    least: float


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
        self.limits: tuple[float, ...] = tuple(specification["at_most"])
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

        def lost(codes: Codes) -> NDArray[np.float64]:
            accuracies = self.accuracies(codes)
            return np.where(np.isfinite(accuracies), -accuracies, math.inf)

        return _descend(strategy, lost, -self.levels[-1], wanted, _ASKED if self._quick else _ASKED_SLOW)

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

    def strategy(self, start: Codes | None = None) -> Strategy:
        """A new strategy, the same for every design, which begins with some networks (None: :attr:`start`)."""
        settings = self.specification["strategy"]
        found = strategies.load(
            settings["name"],
            self.space,
            population=self.specification["population"],
            seed=np.random.SeedSequence(self.specification["seed"], spawn_key=(2,)),
            admits=self.admits,
            **settings["options"],
        )
        found.begin_with(self.start if start is None else start)
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

        Raises :class:`NothingRunsError` if no network runs on it, none for one of the levels, or none within a limit.
        """
        costs = NetworkCosts(self.works(fuse), hardware, **settings)
        goal, queries = self.specification["goal"], self.specification["queries"]
        column = GOALS[goal]
        judged: set[bytes] = set()

        def price(codes: Codes) -> NDArray[np.float64]:
            """(n,) the goal, infinite for what does not run or keep the budget."""
            found = costs.costs(codes)
            judged.update(code.tobytes() for code in codes)
            if progress is not None:
                progress(min(len(judged), queries), queries)
            if np.isnan(found[:, column]).any():
                raise NothingRunsError("device", f"{hardware.name} does not say the {goal} of a network")
            if power_mw is None:
                return found[:, column]
            if np.isnan(found[:, :2]).any():
                raise NothingRunsError("device", f"{hardware.name} does not say the power of a network")
            return np.where(found[:, 0] * 1e-9 <= power_mw * found[:, 1], found[:, column], math.inf)

        start, cheap = None, np.zeros((0, len(self.space.genes)), np.int64)
        if self.limits:
            cheap = self._cheap(price)
            values = price(cheap)
            if not (values <= self.limits[-1]).any():
                raise NothingRunsError(*self._beyond(costs, values, power_mw))
            # The most accurate ones within the limits first.
            within = np.where(values <= self.limits[-1], self.accuracies(cheap), -math.inf)
            start = cheap[np.lexsort((values, -within))][: self.specification["population"]]
            queries = max(1, queries - len(cheap) + len(start))
        alone = not self._two and not self.limits and self._reward is None and power_mw is None
        floors = (lambda codes: costs.floors(codes)[:, [column]]) if alone else None
        history = search(self.strategy(start), lambda found: self._scores(found, price(found)), queries, floors=floors)
        values = np.full(len(history.codes), math.inf)
        values[~history.floored] = price(history.codes[~history.floored])
        codes = history.codes
        if len(cheap):
            codes, places = np.unique(np.concatenate([codes, cheap]), axis=0, return_index=True)
            values = np.concatenate([values, price(cheap)])[places]
        chosen = self._chosen(codes, values, costs, power_mw)
        rows = self._front(codes, values, costs, [i for i in chosen if i is not None])
        networks = tuple(None if i is None else tuple(codes[i].tolist()) for i in chosen)
        return Judged(networks, rows, len(codes), costs.mapped, float(values.min()))

    @property
    def _two(self) -> bool:
        """Whether accuracy is an objective beside the cost."""
        whole = self.specification["mode"] == "nested" and self._reward is None
        whole = whole and not self.specification["at_least"] and not self.limits
        return whole or len(self.levels) > 1 or len(self.limits) > 1

    @functools.cached_property
    def _reward(self) -> Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]] | None:
        settings = self.specification["reward"]
        if settings is None:
            return None
        if settings["kind"] == "weighted":
            return Weighted((settings["points"] / settings["per"],))
        return MnasNetReward(settings["target"], settings["within"], settings["beyond"])

    def _scores(self, codes: Codes, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, objectives) what a strategy is told; of two objectives the accuracy is the first."""
        works, prices = np.isfinite(values), values[:, None]
        if self._reward is not None:
            found = self._reward(self.accuracies(codes), np.where(works[:, None], prices, 1.0))
        elif self.limits:
            works &= values <= self.limits[-1]
            found = (pareto if self._two else Constrained(self.limits))(self.accuracies(codes), prices)
        else:
            found = pareto(self.accuracies(codes), prices) if self._two else prices
        return np.where(works[:, None], found, math.inf)

    def _cheap(self, price: Callable[[Codes], NDArray[np.float64]]) -> Codes:
        """Networks that were priced to find some within the least limit: random ones, then what becomes of them."""
        population, queries = self.specification["population"], self.specification["queries"]
        strategy = OfaEvolution(
            self.space,
            population=max(2, min(population, _CHEAP, queries // 2)),
            seed=np.random.SeedSequence(self.specification["seed"], spawn_key=(3,)),
            admits=self.admits,
        )
        strategy.begin_with(self.start)
        return _descend(strategy, price, self.limits[0], max(1, strategy.population // 4), queries // 2)

    def _chosen(
        self, codes: Codes, values: NDArray[np.float64], costs: NetworkCosts, power_mw: float | None
    ) -> list[int | None]:
        """Positions of the best networks: by level of accuracy, by limit, or by reward."""
        accuracies = self.accuracies(codes)
        works = np.isfinite(values) & np.isfinite(accuracies)
        if self.limits:
            return [_first(works & (values <= limit), -accuracies, values) for limit in self.limits]
        # Of equals the most accurate one.
        order = (values, -accuracies) if self._reward is None else (self._scores(codes, values)[:, 0], values)
        found = [_first(works & (accuracies >= level), *order) for level in self.levels]
        if None in found:
            raise NothingRunsError(*_why(costs, self.levels[found.index(None)], power_mw))
        whole = self._two and not self.specification["at_least"]
        return [] if whole else list(found)

    def _beyond(self, costs: NetworkCosts, values: NDArray[np.float64], power_mw: float | None) -> tuple[str, str]:
        """Why no network keeps a limit."""
        least = float(values.min())
        if not math.isfinite(least):
            return _why(costs, -math.inf, power_mw)
        return "limit", self.unreached(self.limits[-1], least)

    def unreached(self, limit: float, least: float) -> str:
        """Says that no network keeps a limit, and the least value that was found."""
        goal = self.specification["goal"]
        return f"no network within {shown(limit, goal)}: the least that was found is {shown(least, goal)}"

    def _front(
        self, codes: Codes, values: NDArray[np.float64], costs: NetworkCosts, chosen: Sequence[int]
    ) -> tuple[tuple[float, float | None, float | None, Code], ...]:
        accuracies = self.accuracies(codes)
        if self.limits:
            values = np.where(values <= self.limits[-1], values, math.inf)
        kept = front(np.stack([values, -accuracies], axis=1))
        kept = kept[np.argsort(values[kept], kind="stable")]
        # Some all along the front, and what was chosen.
        some = np.linspace(0, len(kept) - 1, min(_MOST_KEPT, len(kept))).round().astype(np.int64)
        kept = kept[np.union1d(some, np.nonzero(np.isin(kept, chosen))[0])]
        found = costs.costs(codes[kept])
        return tuple(
            (float(accuracies[i]), _known(energy), _known(latency), tuple(codes[i].tolist()))
            for i, (energy, latency, _) in zip(kept, found, strict=True)
        )


def _descend(
    strategy: Strategy, score: Callable[[Codes], NDArray[np.float64]], least: float, wanted: int, most: int
) -> Codes:
    """Networks that a strategy asks for, in order of their genes, until so many score no more than ``least`` or about
    ``most`` have been asked for."""
    seen, asked = np.zeros((0, len(strategy.space.genes)), np.int64), 0
    while asked < most and (not asked or (score(seen) <= least).sum() < wanted):
        try:
            codes = strategy.ask()
        except NoneAdmittedError:
            if not asked:
                raise
            break
        strategy.tell(codes, score(codes)[:, None])
        asked += len(codes)
        seen = np.unique(np.concatenate([seen, codes]), axis=0)
    return seen


def _first(able: NDArray[np.bool_], by: NDArray[np.float64], then: NDArray[np.float64]) -> int | None:
    """Position of the least one of those that are able, if any."""
    found = np.nonzero(able)[0]
    return int(found[np.lexsort((then[found], by[found]))[0]]) if len(found) else None


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
