"""What a search of a thousand networks costs on one accelerator, and where the time goes.

    python -m benchmarks.nas.inner_search [--space NAME] [--accuracy PERCENT] [--designs N] [--networks N]

The accelerators are random designs of NAAS's space within Eyeriss's budget, the strategy is Once-for-all's evolution
under a least predicted accuracy, and the optimal mapper prices every distinct operator once. Networks whose floor is
above the EDP of all parents are not priced ("by floor"), unless with --all; what is found is the same. All designs
share what is known of the networks' parts. CPU seconds are those of this process; "graphs" is what counting the
operators of all networks took, "each built" what building a graph for every one of them takes instead.

The target is that of a co-search of 200 accelerators in 15 minutes on two cores: 9 CPU seconds for each.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from accelerators import catalog
from accelerators.documents import Document
from accelerators.spatial.architecture import SpatialAccelerator
from benchmarks._common import BadInputError, report
from codesign.nas import accuracy, costs, spaces, strategies
from codesign.nas.search import search
from codesign.nas.spaces import Codes
from codesign.networks import NetworkError
from codesign.search.naas import naas_design
from codesign.search.space import Budget, Design, HardwareSpace

_TARGET_S = 9.0
_BUILT = 100


def designs(count: int) -> list[SpatialAccelerator]:
    """Random designs of NAAS's space within Eyeriss's budget."""
    like = catalog.load_spatial("eyeriss")
    budget = Budget.like(like)
    template = Document("naas", naas_design(catalog.document("eyeriss").data, like, budget))
    space = HardwareSpace(template, (), budget=budget)
    random = np.random.default_rng(0)
    found: list[SpatialAccelerator] = []
    while len(found) < count:
        design = space.build(space.decode(random.random(space.size)))
        if isinstance(design, Design):
            found.append(design.accelerator)
    return found


def _edp(costs_of: Callable[[Codes], Any]) -> Callable[[Codes], Any]:
    """The EDP alone, as a score."""
    return lambda codes: costs_of(codes)[:, 2:]


class _Clock:
    """CPU seconds spent inside of functions, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            start = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - start

        return timed


def main(arguments: list[str] | None = None) -> int:
    """Measure; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.nas.inner_search",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--space", default="naas_resnet50", help="a space that Once-for-all's predictors know")
    parser.add_argument("--accuracy", type=float, default=79.5, help="least predicted accuracy in per cent (79.5)")
    parser.add_argument("--designs", type=int, default=4, help="accelerators (4)")
    parser.add_argument("--networks", type=int, default=1000, help="networks judged on each (1000)")
    parser.add_argument("--all", action="store_true", help="price all networks, those worse than all parents as well")
    options = parser.parse_args(arguments)
    if min(options.designs, options.networks) < 1:
        raise BadInputError("--designs and --networks must be at least 1")
    try:
        space = spaces.load(options.space)
        estimator = accuracy.load("ofa", space)
    except NetworkError as error:
        raise BadInputError(str(error)) from None

    def accurate(codes: Codes) -> np.ndarray:
        found = np.zeros(len(codes), np.bool_)
        known = estimator.covers(codes)
        if known.any():
            found[known] = estimator.accuracies(codes[known]) >= options.accuracy
        return found

    works = costs.Works(space)
    rows, totals = [], []
    codes = np.zeros((0, 0), np.int64)
    accelerators = designs(options.designs)
    # Fills the kernel cache.
    costs.NetworkCosts(costs.Works(space), accelerators[0]).costs(space.sample(np.random.default_rng(0), 1))
    mapper = costs.map_operator
    for i, accelerator in enumerate(accelerators):
        clock = _Clock()
        costs.map_operator = clock.wrap("mapping", mapper)
        works.of = clock.wrap("graphs", costs.Works.of.__get__(works))  # type: ignore[method-assign]
        prices = costs.NetworkCosts(works, accelerator)
        strategy = strategies.load("ofa_evolution", space, seed=i, admits=clock.wrap("accuracy", accurate))
        start = time.process_time()
        try:
            found = search(
                strategy, _edp(prices.costs), options.networks, floors=None if options.all else _edp(prices.floors)
            )
        except NetworkError as error:
            raise BadInputError(str(error)) from None
        finally:
            costs.map_operator = mapper
        totals.append(time.process_time() - start)
        codes = found.codes
        parts = [clock.seconds.get(name, 0.0) for name in ("mapping", "graphs", "accuracy")]
        rows.append(
            (
                str(i),
                str(accelerator.macs),
                str(len(found.codes)),
                str(int(found.floored.sum())),
                str(len(prices.mapped)),
                f"{totals[-1]:.2f}",
                *(f"{seconds:.2f}" for seconds in parts),
                f"{totals[-1] - sum(parts):.2f}",
                f"{1e3 * parts[0] / max(1, len(prices.mapped)):.1f}",
            )
        )
    start = time.process_time()
    for code in codes[:_BUILT]:
        list(space.network(code).unique())
    built = (time.process_time() - start) / len(codes[:_BUILT]) * options.networks
    graphs = float(rows[-1][7])
    mean = statistics.mean(totals)
    missed = [] if mean <= _TARGET_S else [f"{mean:.1f} CPU seconds for each accelerator (target {_TARGET_S:g})"]
    header = (
        "design",
        "MACs",
        "networks",
        "by floor",
        "mapped",
        "CPU-s",
        "mapping",
        "graphs",
        "accuracy",
        "rest",
        "ms a mapping",
    )
    figures = (
        f"inner search on {space.name}: {mean:.1f} CPU seconds for {options.networks} networks "
        f"({min(totals):.1f} to {max(totals):.1f}); graphs {graphs:.2f} s on the last design, each built {built:.2f} s"
    )
    return report(header, rows, missed, figures, passed=not missed)


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
