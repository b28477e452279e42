"""The genetic mapper passes the conformance suite."""

from __future__ import annotations

from mappers.genetic import Genetic
from mappers.testing import MapperConformance


class TestGenetic(MapperConformance):
    mapper = Genetic
