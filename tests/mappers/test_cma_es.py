"""The CMA-ES mapper passes the conformance suite."""

from __future__ import annotations

from mappers.cma_es import CmaEs
from mappers.testing import MapperConformance


class TestCmaEs(MapperConformance):
    mapper = CmaEs
