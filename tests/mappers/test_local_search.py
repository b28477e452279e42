"""The default mapper passes the conformance suite."""

from __future__ import annotations

from mappers import LocalSearch
from mappers.testing import MapperConformance


class TestLocalSearch(MapperConformance):
    mapper = LocalSearch
