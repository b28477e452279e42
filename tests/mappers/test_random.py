"""The random mapper passes the conformance suite."""

from __future__ import annotations

from mappers.random import Random
from mappers.testing import MapperConformance


class TestRandom(MapperConformance):
    mapper = Random
