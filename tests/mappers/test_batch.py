"""Many jobs in one call: the same results as one by one, each shape once, whatever the workers and the order."""

from __future__ import annotations

import itertools
import os
import random
from dataclasses import replace
from typing import Any

import pytest

from accelerators.costs import Infeasible
from accelerators.operators import Operator, conv2d, depthwise, matmul, softmax
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.spatial.constraints import Constraints, LevelConstraint
from accelerators.spatial.kernels.arrays import MappingArrays
from mappers import LocalSearch, MapResult, Mapspace, Objective, Random, WorkerDiedError, map_batch, map_operator
from mappers.batch import Job
from mappers.testing import OPERATORS, small_array

#: Words of 4 bytes for three tensors leave nothing for a second operand.
TOO_SMALL = replace(small_array(register_bytes=4), name="too small")
LARGER = replace(small_array(buffer_bytes=4000, register_bytes=64), name="larger")


def jobs() -> list[Job]:
    """Several layers on several accelerators, some of them twice, one of them too small."""
    hardware = (small_array(), TOO_SMALL, LARGER)
    layers = (*OPERATORS, conv2d(K=2, C=4, P=2, Q=2, R=1, S=1), OPERATORS[0], matmul(P=7, K=5, C=3))
    return [(accelerator, operator) for accelerator in hardware for operator in layers]


def one_by_one(work: list[Job], **settings: Any) -> list[MapResult | Infeasible]:
    return [map_operator(accelerator, operator, **settings) for accelerator, operator in work]


class Calls:
    """Stands in for :func:`mappers.map_operator` and remembers what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, Operator]] = []
        monkeypatch.setattr("mappers.batch.map_operator", self)

    def __call__(self, accelerator: SpatialAccelerator, operator: Operator, **settings: Any) -> MapResult | Infeasible:
        self.asked.append((accelerator.name, operator))
        return map_operator(accelerator, operator, **settings)


# --- the same results -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"objective": "energy", "bypass": True},
        {"mapper": LocalSearch, "evaluations": 2000, "seed": 5},
        {"mapper": Random, "evaluations": 500, "seed": 9, "objective": "latency", "pad": True},
    ],
    ids=lambda settings: " ".join(settings) or "defaults",
)
def test_the_results_are_those_of_one_job_after_another(settings: dict[str, Any]) -> None:
    assert map_batch(jobs(), **settings) == one_by_one(jobs(), **settings)


@pytest.mark.parametrize(
    "settings",
    [{}, {"mapper": Random, "evaluations": 500, "seed": 9}],
    ids=["optimal", "random"],
)
def test_workers_change_nothing(settings: dict[str, Any]) -> None:
    assert map_batch(jobs(), workers=2, **settings) == map_batch(jobs(), workers=1, **settings)


def test_the_order_of_jobs_changes_nothing_but_the_order_of_results() -> None:
    work = jobs()
    settings: dict[str, Any] = {"mapper": Random, "evaluations": 300, "seed": 3}
    expected = map_batch(work, **settings)
    for seed in range(5):
        order = list(range(len(work)))
        random.Random(seed).shuffle(order)
        shuffled = map_batch([work[i] for i in order], **settings)
        assert shuffled == [expected[i] for i in order]


def test_the_order_of_jobs_changes_nothing_among_workers() -> None:
    work = jobs()
    assert map_batch(work[::-1], workers=2) == map_batch(work)[::-1]


def test_more_workers_than_jobs_and_no_jobs() -> None:
    work = jobs()[:2]
    assert map_batch(work, workers=5) == one_by_one(work)
    assert map_batch([], workers=1) == map_batch([], workers=2) == []


# --- the same work once -----------------------------------------------------------------------------------------------


def test_equal_shapes_are_costed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal by value: the same layer of a network that was built twice, on an accelerator that was read twice."""
    calls = Calls(monkeypatch)
    work = [*jobs(), *jobs()]
    results = map_batch(work)
    distinct = {(accelerator.name, operator) for accelerator, operator in work}
    assert len(distinct) == 15 < len(work) == 36
    assert sorted(map(str, calls.asked)) == sorted(map(str, distinct))
    for (job, result), (other_job, other) in itertools.combinations(zip(work, results, strict=True), 2):
        assert (result is other) == (job == other_job)


def test_what_differs_is_costed_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Word widths of a layer, and anything of an accelerator, its name set aside."""
    calls = Calls(monkeypatch)
    layer = OPERATORS[2]
    cheaper = replace(
        small_array(), levels=(replace(small_array().levels[0], read_energy_pj=100), *small_array().levels[1:])
    )
    ruled = replace(small_array(), dataflow=Constraints("native", {"RF": LevelConstraint(dims=frozenset("C"))}))
    work = [
        (small_array(), layer),
        (small_array(), layer.with_bits(weights=8)),
        (small_array(), layer.with_bounds({"P": 5})),
        (cheaper, layer),
        (ruled, layer),
    ]
    results = map_batch(work)
    assert len(calls.asked) == len(work)
    assert results == one_by_one(work)
    assert results[0] != results[3]
    assert results[0] != results[4]


def test_many_layers_on_one_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    shapes = [depthwise(G=g, P=4, Q=1, R=3, S=1) for g in (2, 3, 4)]
    layers = [shapes[i % 3] for i in range(50)]
    results = map_batch([(small_array(), layer) for layer in layers])
    assert [operator for _, operator in calls.asked] == shapes
    expected = one_by_one([(small_array(), shape) for shape in shapes])
    assert results == [expected[i % 3] for i in range(50)]


def test_one_layer_on_many_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    sizes = [100, 400, 200, 100, 400]
    candidates = [replace(small_array(buffer_bytes=size), name=f"{size}") for size in sizes]
    results = map_batch([(candidate, OPERATORS[0]) for candidate in candidates])
    assert [name for name, _ in calls.asked] == ["100", "400", "200"]
    assert results == one_by_one([(candidate, OPERATORS[0]) for candidate in candidates])


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_is_reported_once_with_its_result(workers: int) -> None:
    work = jobs()
    reported: list[tuple[int, MapResult | Infeasible]] = []

    def report(job: int, result: MapResult | Infeasible) -> None:
        assert os.getpid() == here
        reported.append((job, result))

    here = os.getpid()
    results = map_batch(work, workers=workers, report=report)
    assert sorted(job for job, _ in reported) == list(range(len(work)))
    assert all(result is results[job] for job, result in reported)


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_without_a_mapping_says_why_and_stops_no_other(workers: int) -> None:
    wide = matmul(P=2, K=2, C=2).with_bits(inputs=32)
    work = [(TOO_SMALL, OPERATORS[0]), (small_array(), OPERATORS[0]), (small_array(), wide), (LARGER, OPERATORS[1])]
    too_small, first, too_wide, second = map_batch(work, workers=workers)
    assert isinstance(too_small, Infeasible)
    assert (too_small.code, too_small.facts["level"], too_small.facts["words_short"]) == ("capacity", "RF", 1)
    assert isinstance(too_wide, Infeasible)
    assert (too_wide.code, too_wide.facts["tensor"], too_wide.facts["limit"]) == ("precision", "inputs", 16)
    assert [first, second] == one_by_one([work[1], work[3]])
    assert isinstance(first, MapResult)
    assert isinstance(second, MapResult)


class Dies(Random):
    """Ends the process that it runs in, like the system does when memory is short."""

    def __init__(self, space: Mapspace, objective: Objective = "edp", seed: int = 0) -> None:
        super().__init__(space, objective, seed)
        if space.problem.operator.bound("P") == 7:
            os._exit(1)


class Fails(Random):
    """Raises an error of its own."""

    def ask(self) -> MappingArrays:
        raise ArithmeticError(f"cannot map {self.space.problem.operator}")


def test_a_worker_that_dies_is_an_error_not_a_wait() -> None:
    assert any(operator.bound("P") == 7 for _, operator in jobs())
    with pytest.raises(WorkerDiedError, match="a worker process died"):
        map_batch(jobs(), workers=2, mapper=Dies, evaluations=100)


def test_workers_come_back_after_one_has_died() -> None:
    with pytest.raises(WorkerDiedError):
        map_batch(jobs(), workers=2, mapper=Dies, evaluations=100)
    work = [job for job in jobs() if job[1].bound("P") != 7]
    settings: dict[str, Any] = {"mapper": Dies, "evaluations": 100}
    assert map_batch(work, workers=2, **settings) == map_batch(work, **settings)


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_of_a_mapper_come_through(workers: int) -> None:
    with pytest.raises(ArithmeticError, match=r"cannot map \w+\("):
        map_batch(jobs(), workers=workers, mapper=Fails)


@pytest.mark.parametrize("workers", [1, 2])
def test_settings_and_operators_without_sense_are_refused(workers: int) -> None:
    with pytest.raises(ValueError, match=r"objective must be one of edp, energy, latency \(got 'speed'\)"):
        map_batch(jobs(), workers=workers, objective="speed")
    with pytest.raises(ValueError, match="streams its tensors and has no loop nest to map"):
        map_batch([*jobs(), (small_array(), softmax(rows=2, length=4))], workers=workers)


@pytest.mark.parametrize("workers", [0, -1])
def test_fewer_than_one_worker_is_refused(workers: int) -> None:
    with pytest.raises(ValueError, match=rf"workers must be >= 1 \(got {workers}\)"):
        map_batch(jobs(), workers=workers)
