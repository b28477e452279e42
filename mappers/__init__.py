"""How a layer runs on a spatial accelerator: the space of mappings and the ways to search it."""

from mappers._base import MapResult, Mapper, map_operator
from mappers.mapspace import Mapspace

__all__ = ["MapResult", "Mapper", "Mapspace", "map_operator"]
