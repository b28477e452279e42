"""What to search: hardware spaces and the ask/tell optimisers that search them."""

from codesign.search._base import Optimiser
from codesign.search.budget import Budget
from codesign.search.cma_es import CmaEs
from codesign.search.genetic import Genetic
from codesign.search.nsga2 import Nsga2
from codesign.search.random import Random
from codesign.search.space import Design, HardwareSpace

#: The optimisers by the names that they go by in experiments.
OPTIMISERS: dict[str, type[Optimiser]] = {optimiser.name: optimiser for optimiser in (CmaEs, Nsga2, Genetic, Random)}

__all__ = [
    "OPTIMISERS",
    "Budget",
    "CmaEs",
    "Design",
    "Genetic",
    "HardwareSpace",
    "Nsga2",
    "Optimiser",
    "Random",
]
