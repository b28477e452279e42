"""How a layer runs on a spatial accelerator: the space of mappings and the ways to search it."""

from mappers._base import DEFAULT_EVALUATIONS, OBJECTIVES, Mapper, MapResult, Objective, map_operator
from mappers.local_search import LocalSearch
from mappers.mapspace import Mapspace

__all__ = [
    "DEFAULT_EVALUATIONS",
    "OBJECTIVES",
    "LocalSearch",
    "MapResult",
    "Mapper",
    "Mapspace",
    "Objective",
    "map_operator",
]
