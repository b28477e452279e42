"""No mapping is below the floor: against optimal mappings on accelerators of the catalog and on tiny ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from accelerators import catalog
from accelerators.costs import Infeasible
from accelerators.operators import conv2d, depthwise, matmul
from accelerators.spatial.architecture import Axis, SpatialAccelerator
from mappers import map_operator
from mappers.floors import floor
from mappers.testing import small_array

OPERATORS = [
    conv2d(K=16, C=8, P=7, Q=7, R=3, S=3),
    conv2d(K=8, C=24, P=10, Q=5, R=1, S=1, stride=2),
    depthwise(G=24, P=14, Q=14, R=5, S=5, stride=2),
    matmul(P=3, K=35, C=22),
    matmul(P=1, K=1, C=1),
    conv2d(K=12, C=6, P=6, Q=6, R=3, S=3).with_bits(weights=4, inputs=8, outputs=8),
]


@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("name", catalog.names("spatial"))
def test_no_mapping_is_below(name: str, pad: bool) -> None:
    accelerator = catalog.load_spatial(name)
    for operator in OPERATORS[:3] if pad else OPERATORS:
        energy_pj, latency_s = floor(accelerator, operator, pad=pad)
        assert energy_pj > 0
        for objective in ("energy", "latency"):
            found = map_operator(accelerator, operator, objective=objective, pad=pad, node_limit=20_000)  # type: ignore[arg-type]
            if not isinstance(found, Infeasible):
                assert found.cost.energy_pj >= energy_pj * (1 - 1e-12)
                assert found.cost.latency_s >= latency_s * (1 - 1e-12)


def test_cycles_of_an_axis_that_does_not_divide() -> None:
    """7 columns on an axis of 4: one at a time; padded, all four lanes may work."""
    array = small_array(register_bytes=64)
    outer, *inner = array.levels
    one = replace(array, levels=(replace(outer, fanout=(Axis("x", 4, frozenset({"K"})),)), *(
        replace(level, fanout=()) for level in inner)))  # fmt: skip
    assert isinstance(one, SpatialAccelerator)
    operator = matmul(P=3, K=7, C=5)
    assert floor(one, operator)[1] * one.clock_hz == pytest.approx(3 * 7 * 5)
    assert floor(one, operator, pad=True)[1] * one.clock_hz == pytest.approx(27)
    assert floor(one, matmul(P=3, K=8, C=5))[1] * one.clock_hz == pytest.approx(3 * 2 * 5)
