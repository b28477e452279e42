"""Ways to search a space of networks, behind one ask/tell protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codesign.nas import _options
from codesign.nas.spaces import Space
from codesign.nas.strategies._base import Admits, NoneAdmittedError, Strategy
from codesign.nas.strategies.evolution import Nsga2, OfaEvolution, RegularisedEvolution
from codesign.nas.strategies.random import Random
from codesign.nas.strategies.reinforce import Reinforce
from codesign.nas.strategies.surrogate import Costs, Surrogate
from codesign.search._base import Seed

#: The strategies by the names that they go by in experiments.
STRATEGIES: dict[str, type[Strategy]] = {
    strategy.name: strategy for strategy in (Surrogate, Nsga2, RegularisedEvolution, OfaEvolution, Reinforce, Random)
}


def require_options(name: str, options: Mapping[str, Any]) -> None:
    """Raise NetworkError for an unknown strategy, and for what is no option of it: the arguments of :func:`load` are
    none."""
    kind = STRATEGIES[_options.known("strategy", "strategy", name, STRATEGIES)]
    # What a file can hold is no function.
    functions = () if callable(options.get("costs")) else ("costs",)
    _options.belong(name, kind, options, but=("space", "population", "seed", "admits", *functions))


def load(
    name: str,
    space: Space,
    /,
    *,
    population: int | None = None,
    seed: Seed = 0,
    admits: Admits | None = None,
    **options: Any,
) -> Strategy:
    """The strategy with this name; ``population`` None is its own, ``options`` are those of its class (``rate`` of
    "reinforce", ``costs`` of "surrogate").

    Raises NetworkError, naming the strategy and the option, for an unknown name and for an unknown or wrong option.
    """
    require_options(name, options)
    if population is not None:
        options["population"] = _options.whole(f"{name}: population", population, 2)
    if "rate" in options:
        options["rate"] = _options.number(f"{name}: rate", options["rate"])
    return STRATEGIES[name](space, seed=seed, admits=admits, **options)


__all__ = [
    "STRATEGIES",
    "Admits",
    "Costs",
    "NoneAdmittedError",
    "Nsga2",
    "OfaEvolution",
    "Random",
    "RegularisedEvolution",
    "Reinforce",
    "Strategy",
    "Surrogate",
    "load",
    "require_options",
]
