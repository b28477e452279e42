"""Ways to search a space of networks, behind one ask/tell protocol."""

from codesign.nas.strategies._base import Admits, Strategy
from codesign.nas.strategies.evolution import Nsga2, OfaEvolution, RegularisedEvolution
from codesign.nas.strategies.random import Random
from codesign.nas.strategies.reinforce import Reinforce
from codesign.nas.strategies.surrogate import Costs, Surrogate

#: The strategies by the names that they go by in experiments.
STRATEGIES: dict[str, type[Strategy]] = {
    strategy.name: strategy for strategy in (Surrogate, Nsga2, RegularisedEvolution, OfaEvolution, Reinforce, Random)
}

__all__ = [
    "STRATEGIES",
    "Admits",
    "Costs",
    "Nsga2",
    "OfaEvolution",
    "Random",
    "RegularisedEvolution",
    "Reinforce",
    "Strategy",
    "Surrogate",
]
