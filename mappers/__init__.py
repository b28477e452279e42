"""How a layer runs on a spatial accelerator: the space of mappings and the ways to search it."""

from mappers._base import OBJECTIVES, Mapper, Objective, SpaceTooLargeError
from mappers.batch import WorkerDiedError, map_batch
from mappers.cma_es import CmaEs
from mappers.exhaustive import Exhaustive
from mappers.genetic import Genetic
from mappers.local_search import LocalSearch
from mappers.mapspace import Mapspace
from mappers.network import NetworkOptimum, map_network
from mappers.optimal import Certificate, Optimal
from mappers.random import Random
from mappers.search import DEFAULT_EVALUATIONS, DEFAULT_NODE_LIMIT, MapperFactory, MapResult, map_operator

#: The mappers by the names that they go by on the command line.
MAPPERS: dict[str, type[Mapper]] = {
    mapper.name: mapper for mapper in (Optimal, LocalSearch, Genetic, CmaEs, Random, Exhaustive)
}

__all__ = [
    "DEFAULT_EVALUATIONS",
    "DEFAULT_NODE_LIMIT",
    "MAPPERS",
    "OBJECTIVES",
    "Certificate",
    "CmaEs",
    "Exhaustive",
    "Genetic",
    "LocalSearch",
    "MapResult",
    "Mapper",
    "MapperFactory",
    "Mapspace",
    "NetworkOptimum",
    "Objective",
    "Optimal",
    "Random",
    "SpaceTooLargeError",
    "WorkerDiedError",
    "map_batch",
    "map_network",
    "map_operator",
]
