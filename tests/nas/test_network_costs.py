"""Costs of networks of a space: what the evaluation of each gives, with every operator priced once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from accelerators import catalog
from accelerators.costs import Cost, Infeasible
from accelerators.operators import Operator
from accelerators.processors.lookup import Entry, LatencyTable
from accelerators.spatial.architecture import SpatialAccelerator
from codesign.devices import TableDevice, operator_key
from codesign.evaluation import evaluate
from codesign.nas import costs, spaces, strategies
from codesign.nas.costs import NetworkCosts, Works
from codesign.nas.search import History, search
from codesign.networks import NetworkError

SPACE = spaces.load("nas_bench_201")
CODES = SPACE.sample(np.random.default_rng(4), 6)


@pytest.mark.parametrize("hardware", ["eyeriss", "raspberry_pi_4", "pcm_256"])
@pytest.mark.parametrize("fuse", [False, True])
def test_they_are_those_of_the_evaluation(hardware: str, fuse: bool) -> None:
    found = NetworkCosts(Works(SPACE, fuse), catalog.load(hardware)).costs(CODES)
    for code, row in zip(CODES, found, strict=True):
        (cost,) = evaluate(SPACE.network(code), hardware, fuse=fuse).results
        assert row == pytest.approx([cost.energy_pj, cost.latency_s, cost.edp_js], rel=1e-12)


def test_operators_are_mapped_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    mapper = costs.map_operator

    def counting(accelerator, operator, **settings):  # type: ignore[no-untyped-def]
        asked.append(operator)
        return mapper(accelerator, operator, **settings)

    monkeypatch.setattr(costs, "map_operator", counting)
    works = Works(SPACE)
    prices = NetworkCosts(works, catalog.load("eyeriss"))
    first = prices.costs(CODES)
    assert len(asked) == len(set(asked)) == len(prices.mapped)
    assert (prices.costs(CODES[::-1]) == first[::-1]).all()
    assert len(asked) == len(prices.mapped)
    # Another accelerator knows the networks, and nothing of the prices.
    known = len(works.works)
    NetworkCosts(works, catalog.load("nvdla_256")).costs(CODES)
    assert len(works.works) == known
    assert len(asked) == 2 * len(prices.mapped)


def test_what_cannot_run_is_infinite_and_says_why() -> None:
    small = catalog.load("arduino_uno")
    prices = NetworkCosts(Works(SPACE), small)
    assert np.isinf(prices.costs(CODES[:2])).all()
    reason = prices.reasons[tuple(CODES[0].tolist())]
    assert "weights" in reason or "bytes" in reason
    with pytest.raises(NetworkError, match="a code must have 6 integers"):
        prices.costs([[1, 2, 3]])


def test_what_a_device_does_not_say_is_no_number() -> None:
    keys = {operator_key(layer) for code in CODES for layer in SPACE.network(code)}
    device = TableDevice("d", {"": LatencyTable("t", {key: Entry(1.0) for key in keys})})
    found = NetworkCosts(Works(SPACE), device).costs(CODES)
    layers = [len(list(SPACE.network(code))) for code in CODES]
    assert found[:, 1] == pytest.approx(np.array(layers) * 1e-3)
    assert np.isnan(found[:, [0, 2]]).all()
    assert replace(device, interpolate=True) != device


def test_floors_are_below_and_become_exact() -> None:
    prices = NetworkCosts(Works(SPACE), catalog.load("eyeriss"))
    before = prices.floors(CODES)
    assert not prices.mapped
    found = prices.costs(CODES)
    assert (before <= found * (1 + 1e-12)).all()
    assert (before > 0.05 * found)[:, 1].any()
    assert prices.floors(CODES) == pytest.approx(found, rel=1e-12)
    assert (NetworkCosts(Works(SPACE), catalog.load("eyeriss"), bypass=True).floors(CODES) <= before).all()
    board = NetworkCosts(Works(SPACE), catalog.load("raspberry_pi_4"))
    assert (board.floors(CODES) == board.costs(CODES)).all()


def test_a_search_with_floors_finds_the_same(seed: int = 0) -> None:
    """Network by network, with fewer of them evaluated; what was left out really is worse than the survivors."""
    space = spaces.load("ofa_mobilenet_v3", sizes=(96, 160, 192))
    works = Works(space)

    def run(floored: bool) -> tuple[History, NetworkCosts]:
        prices = NetworkCosts(works, catalog.load("nvdla_256"))
        strategy = strategies.load("ofa_evolution", space, population=8, seed=seed)
        floors = (lambda codes: prices.floors(codes)[:, 2:]) if floored else None
        return search(strategy, lambda codes: prices.costs(codes)[:, 2:], 24, floors=floors), prices

    (plain, every), (bounded, fewer) = run(False), run(True)
    assert (plain.codes == bounded.codes).all()
    assert not plain.floored.any()
    assert 0 < bounded.floored.sum() < 24
    judged = ~bounded.floored
    assert bounded.scores[judged] == pytest.approx(plain.scores[judged], rel=1e-12)
    assert (bounded.scores[bounded.floored] <= plain.scores[bounded.floored] * (1 + 1e-12)).all()
    assert plain.best == bounded.best
    assert len(fewer.mapped) < len(every.mapped)
    # A strategy to which all scores matter evaluates all.
    prices = NetworkCosts(works, catalog.load("nvdla_256"))
    other = strategies.load("regularised_evolution", space, population=4, seed=seed)
    found = search(other, lambda c: prices.costs(c)[:, 2:], 5, floors=lambda c: prices.floors(c)[:, 2:])
    assert not found.floored.any()


def test_another_price_may_stand_for_the_best_mapping() -> None:
    accelerator = catalog.load("eyeriss")
    assert isinstance(accelerator, SpatialAccelerator)
    works = Works(SPACE)
    usual = NetworkCosts(works, accelerator)
    expected = usual.costs(CODES)

    def slower(operator: Operator) -> Cost | Infeasible:
        cost = usual.mapped[operator].cost
        return replace(cost, latency_s=cost.latency_s + 1.0)

    prices = NetworkCosts(works, accelerator, cost_of=slower)
    floors = prices.floors(CODES)
    found = prices.costs(CODES)
    layers = [sum(not layer.operator.passes for layer in SPACE.network(code)) for code in CODES]
    assert found[:, 0] == pytest.approx(expected[:, 0], rel=1e-12)
    assert found[:, 1] == pytest.approx(expected[:, 1] + layers, rel=1e-12)
    assert (floors <= found).all()
    assert not prices.mapped
    refusing = NetworkCosts(works, accelerator, cost_of=lambda operator: Infeasible("tiles", "they do not fit"))
    assert np.isinf(refusing.costs(CODES)).all()
    assert "they do not fit" in refusing.reasons[tuple(CODES[0].tolist())]
