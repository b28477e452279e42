"""The optimal mapper passes the conformance suite."""

from __future__ import annotations

from mappers import Optimal
from mappers.testing import MapperConformance


class TestOptimal(MapperConformance):
    mapper = Optimal
