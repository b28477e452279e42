"""What every mapper must do; a mapper passes by subclassing :class:`MapperConformance`."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest

from accelerators.costs import Cost, Infeasible
from accelerators.operators import Operator, conv2d, depthwise, matmul
from accelerators.spatial.architecture import Axis, Compute, Level, SpatialAccelerator
from accelerators.spatial.constraints import Constraints, LevelConstraint, violations
from accelerators.spatial.model import evaluate
from accelerators.spatial.problem import Problem
from mappers import OBJECTIVES, Mapper, Mapspace, Objective, map_operator
from mappers._base import scores


def small_array(buffer_bytes: float = 400, register_bytes: float = 24) -> SpatialAccelerator:
    """DRAM, a buffer, 4x2 PEs with registers."""

    def level(name: str, pj: float, capacity: float | None, fanout: tuple[Axis, ...] = ()) -> Level:
        return Level(
            name, capacity_bytes=capacity, read_energy_pj=pj, fill_energy_pj=pj, update_energy_pj=pj, fanout=fanout
        )

    array = (Axis("x", 4), Axis("y", 2, frozenset({"C", "R"})))
    levels = (level("DRAM", 200, None), level("GLB", 6, buffer_bytes, array), level("RF", 1, register_bytes))
    return SpatialAccelerator("small", levels, Compute(1.0), clock_hz=1e9, wire_energy_pj_per_bit_mm=0.0)


OPERATORS = (
    conv2d(K=4, C=2, P=4, Q=1, R=3, S=1),
    depthwise(G=4, P=4, Q=1, R=3, S=1, stride=2),
    matmul(P=4, K=6, C=4),
)


def enumerate_best(accelerator: SpatialAccelerator, operator: Operator, objective: Objective) -> float:
    """The true optimum of a small problem, by trying every factorisation, order and unrolling."""
    problem = Problem(accelerator, operator)
    dims = len(problem.dims)
    space = Mapspace(problem)
    slots = list(space.arrays.usable)
    choices = []
    for d in range(dims):
        bound = int(problem.operator_arrays.bounds[d])
        divisors = [n for n in range(1, bound + 1) if bound % n == 0]
        choices.append([split for split in itertools.product(divisors, repeat=len(slots)) if np.prod(split) == bound])
    orders = list(itertools.permutations(range(dims)))
    # Orders at the innermost level move nothing: one of them stands for all.
    pairs = [(a, b) for a in orders for b in orders]
    best = np.inf
    for splits in itertools.product(*choices):
        batch = space.empty_batch(len(pairs))
        for d, split in enumerate(splits):
            batch.factors[:, slots, d] = split
        batch.order[:, 0] = [a for a, _ in pairs]
        batch.order[:, 1] = [b for _, b in pairs]
        batch.keep[:] = space.arrays.keep
        best = min(best, float(scores(space.evaluate(batch), objective).min()))
    return best


class MapperConformance:
    """Subclass and set ``mapper``."""

    mapper: ClassVar[type[Mapper]]

    @pytest.mark.parametrize("objective", OBJECTIVES)
    @pytest.mark.parametrize("operator", OPERATORS, ids=str)
    def test_reaches_the_optimum_of_small_problems_and_never_less(
        self, operator: Operator, objective: Objective
    ) -> None:
        accelerator = small_array()
        result = map_operator(
            accelerator, operator, mapper=self.mapper, objective=objective, evaluations=30_000, seed=3
        )
        assert not isinstance(result, Infeasible)
        value = {
            "edp": result.cost.energy_pj * result.cost.latency_cycles,
            "energy": result.cost.energy_pj,
            "latency": result.cost.latency_cycles,
        }[objective]
        assert value == pytest.approx(enumerate_best(accelerator, operator, objective), rel=1e-9)

    def test_same_seed_same_result(self) -> None:
        first, second = (map_operator(small_array(), OPERATORS[0], mapper=self.mapper, seed=7) for _ in range(2))
        assert first == second

    def test_same_seed_same_result_in_another_process(self) -> None:
        here = map_operator(small_array(), OPERATORS[1], mapper=self.mapper, seed=11, evaluations=3000)
        assert not isinstance(here, Infeasible)
        program = (
            "from mappers.testing import *\n"
            f"from {self.mapper.__module__} import {self.mapper.__name__} as M\n"
            "r = map_operator(small_array(), OPERATORS[1], mapper=M, seed=11, evaluations=3000)\n"
            "print(repr(str(r.mapping)), r.cost.energy_pj)"
        )
        there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert there.stdout.strip() == f"{str(here.mapping)!r} {here.cost.energy_pj}"

    @pytest.mark.parametrize("operator", OPERATORS, ids=str)
    def test_result_is_what_the_model_says(self, operator: Operator) -> None:
        accelerator = small_array()
        result = map_operator(accelerator, operator, mapper=self.mapper, evaluations=3000)
        assert not isinstance(result, Infeasible)
        again = evaluate(accelerator, operator, [result.mapping])[0]
        assert isinstance(again, Cost)
        assert (again.energy_pj, again.latency_cycles) == (result.cost.energy_pj, result.cost.latency_cycles)

    def test_stays_inside_constraints(self) -> None:
        rules = Constraints(
            "test",
            {
                "DRAM": LevelConstraint(outermost=("K", "C"), max_factors={"P": 2}),
                "GLB": LevelConstraint(innermost=("C", "P"), min_factors={"K": 2}),
                "RF": LevelConstraint(dims=frozenset({"R"})),
            },
        )
        operator = OPERATORS[0]
        for seed in range(5):
            result = map_operator(
                small_array(), operator, mapper=self.mapper, constraints=rules, seed=seed, evaluations=3000
            )
            assert not isinstance(result, Infeasible)
            roles = {t.name: t.role for t in operator.tensors}
            assert list(violations(rules, result.mapping, roles)) == []

    def test_no_room_is_a_reason_with_level_and_words(self) -> None:
        # One word of each tensor needs 3 x 2 bytes; partial sums are as wide as outputs here.
        result = map_operator(small_array(register_bytes=4), OPERATORS[0], mapper=self.mapper, evaluations=3000)
        assert isinstance(result, Infeasible)
        assert result.code == "capacity"
        assert (result.facts["level"], result.facts["words_short"]) == ("RF", 1)

    def test_bypass_never_hurts_much(self) -> None:
        kept = map_operator(small_array(), OPERATORS[2], mapper=self.mapper, evaluations=30_000)
        free = map_operator(small_array(), OPERATORS[2], mapper=self.mapper, evaluations=60_000, bypass=True)
        assert not isinstance(kept, Infeasible)
        assert not isinstance(free, Infeasible)
        assert free.cost.edp_js <= kept.cost.edp_js * 1.001

    def test_an_operator_of_one_iteration(self) -> None:
        result = map_operator(small_array(), matmul(P=1, K=1, C=1), mapper=self.mapper, evaluations=3000)
        assert not isinstance(result, Infeasible)
        assert result.cost.latency_cycles == 1
