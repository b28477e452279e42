"""The arms of the published experiments: what fixed tiles mean, and that baselines are not made worse than they are."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from accelerators.operators import Operator, conv2d, depthwise, matmul
from accelerators.spatial.constraints import Constraints
from accelerators.spatial.kernels.arrays import VALID
from benchmarks.papers import _sweep, naas
from benchmarks.papers._arms import Arm, accelerator_of, datasheet, network, search, streamed, totals
from benchmarks.papers._fixed import ALL, PUBLISHED, FixedDataflow
from mappers import Mapspace, Optimal
from mappers.search import search as evaluate

LAYERS = (
    conv2d(K=24, C=16, P=14, Q=14, R=3, S=3),
    depthwise(G=20, P=7, Q=7, R=3, S=3, stride=2),
    conv2d(K=30, C=7, P=5, Q=9, R=1, S=1),
    matmul(P=1, K=100, C=64),
)


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("operator", LAYERS, ids=str)
def test_a_description_maps_every_layer_whole(name: str, operator: Operator) -> None:
    accelerator = accelerator_of(datasheet(name, dram=False))
    dataflow = FixedDataflow(accelerator)
    problem, batch = dataflow.mapping(dataflow.start(PUBLISHED[name]), operator)
    assert (batch.factors[0].prod(axis=0) == problem.operator_arrays.bounds).all()
    assert all(problem.padded.bound(dim) >= bound for dim, bound in operator.bounds)
    assert all(sorted(order) == list(range(len(problem.dims))) for order in batch.order[0].tolist())
    assert problem.evaluate_batch(batch).status[0] == VALID
    cost = dataflow.cost(dataflow.start(PUBLISHED[name]), operator)
    assert cost is not None
    optimal = Optimal(Mapspace(problem, Constraints()))
    evaluate(optimal, 1)
    assert optimal.certificate.proven
    assert math.prod(cost) >= optimal.certificate.value * (1 - 1e-12)


def test_axes_serve_their_dimensions_in_turn() -> None:
    dataflow = FixedDataflow(accelerator_of(datasheet("nvdla_256", dram=False)))
    start = dataflow.start(PUBLISHED["nvdla_256"])
    for operator, dim, lanes in (
        (LAYERS[0], "K", 8),
        (LAYERS[1], "G", 8),
        (conv2d(K=3, C=8, P=4, Q=4, R=1, S=1), "K", 3),
    ):
        problem, batch = dataflow.mapping(start, operator)
        slot = next(slot for name, slot, _, _ in dataflow.slots if name == "accumulator.x")
        assert batch.factors[0, slot, problem.dims.index(dim)] == lanes


def test_the_walk_never_ends_worse_and_keeps_what_is_published() -> None:
    dataflow = FixedDataflow(accelerator_of(datasheet("eyeriss", dram=False)))
    said = PUBLISHED["eyeriss"]
    start = dataflow.start(said)

    def score(description: object) -> float:
        costs = [dataflow.cost(description, operator) for operator in LAYERS]  # type: ignore[arg-type]
        return math.inf if None in costs else sum(math.prod(cost) for cost in costs if cost)

    best, value = dataflow.best(score, start, 0, 60, said.open)
    assert value == score(best) <= score(start)
    assert best.orders == start.orders
    fixed = [slot for slot, _ in start.factors if slot not in said.open]
    assert all(dict(best.factors)[slot] == dict(start.factors)[slot] for slot in fixed)
    assert dataflow.best(score, start, 0, 60, said.open) == (best, value)
    free, lower = dataflow.best(score, best, 0, 60)
    assert lower <= value
    assert str(free).startswith("outermost loops ")
    assert dict(dict(start.factors)["ifmap_spad"])["S"] == ALL


def test_totals_add_up() -> None:
    accelerator = accelerator_of(datasheet("eyeriss", dram=True))
    result = totals(accelerator, Arm(("ds_cnn",), "optimal"))
    assert result is not None
    assert sum(result.bound_by.values()) == result.cycles[0]
    assert sum(result.spent_on.values()) == pytest.approx(result.energy_pj[0])
    assert result.edp == pytest.approx(result.energy_pj[0] * result.cycles[0])
    energy_pj, cycles = streamed(accelerator, network("ds_cnn"))
    assert 0 < cycles < result.cycles[0]
    assert 0 < energy_pj < result.energy_pj[0]


def test_without_a_limit_dram_never_is_what_bounds() -> None:
    result = totals(accelerator_of(datasheet("eyeriss", dram=False)), Arm(("ds_cnn",), "optimal"))
    assert result is not None
    assert result.bound_by["DRAM"] == 0


def test_bounds_on_cycles_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (("_SHAPES", 1), ("_ARRAYS", 1), ("_DESIGNS", 1), ("_SCRATCHPADS", (64,))):
        monkeypatch.setattr(_sweep, name, value)
    data = datasheet("shidiannao", dram=True)
    with ThreadPoolExecutor(1) as pool:
        swept = _sweep.sweep(data, ("ds_cnn",), pool)
        hardware = naas.resources("shidiannao", True, naas.Settings(1, (2, 1), pool, tmp_path))
        found = search(hardware, Arm(("ds_cnn",), "optimal"), 0, (2, 1), pool)
    array = tuple(
        (next(iter(axis.dims or ())), axis.size) for level in swept.accelerator.levels for axis in level.fanout
    )
    best = totals(swept.accelerator, Arm(("ds_cnn",), "optimal"))
    assert best is not None
    assert best.cycles[0] >= _sweep._CycleBounds(swept.accelerator, ("ds_cnn",)).of(array)
    other = totals(found.accelerator, Arm(("ds_cnn",), "optimal"))
    assert other is not None
    assert best.edp <= other.edp
    assert np.isfinite(best.edp)


def test_a_figure_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naas, "_DESCRIPTIONS_TRIED", 20)
    monkeypatch.setitem(naas.FIGURE_5, "eyeriss", naas.Claim(("ds_cnn",), 1.0, 1.0))
    monkeypatch.setattr(naas, "worker_pool", ThreadPoolExecutor)
    monkeypatch.setattr(naas, "kill", lambda pool: pool.shutdown())
    arguments = ["--figure", "5", "--only", "eyeriss", "--seeds", "1", "--population", "4", "--generations", "2"]
    naas.main(arguments)
    out = capsys.readouterr().out
    assert "eyeriss, published, fixed: speedup " in out
    assert "best fixed" in out
