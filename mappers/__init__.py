"""How a layer runs on a spatial accelerator: the space of mappings and the ways to search it."""

from mappers._base import OBJECTIVES, Mapper, Objective
from mappers.local_search import LocalSearch
from mappers.mapspace import Mapspace
from mappers.search import DEFAULT_EVALUATIONS, MapResult, map_operator

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
