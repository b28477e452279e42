"""How a layer runs on a spatial accelerator: the space of mappings and the ways to search it."""

from mappers._base import OBJECTIVES, Mapper, Objective
from mappers.local_search import LocalSearch
from mappers.mapspace import Mapspace
from mappers.optimal import Certificate, Optimal, SpaceTooLargeError
from mappers.search import DEFAULT_EVALUATIONS, DEFAULT_NODE_LIMIT, MapResult, map_operator

__all__ = [
    "DEFAULT_EVALUATIONS",
    "DEFAULT_NODE_LIMIT",
    "OBJECTIVES",
    "Certificate",
    "LocalSearch",
    "MapResult",
    "Mapper",
    "Mapspace",
    "Objective",
    "Optimal",
    "SpaceTooLargeError",
    "map_operator",
]
