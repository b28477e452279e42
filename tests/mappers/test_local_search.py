"""The default mapper passes the conformance suite."""

from __future__ import annotations

from mappers import LocalSearch
from tests.mappers.conformance import MapperConformance


class TestLocalSearch(MapperConformance):
    mapper = LocalSearch
