"""The package ``cma`` as mappers and searches use it: without global random numbers, within the unit cube."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray


class _Normal:
    """Standard normal samples for ``cma``, which else takes them from numpy's global generator; can be pickled."""

    def __init__(self, generator: np.random.Generator):
        self.generator = generator

    def __call__(self, *shape: int) -> NDArray[np.float64]:
        return self.generator.standard_normal(shape)


def new_strategy(
    start: NDArray[np.float64], sigma: float, population: int, generator: np.random.Generator, *, diagonal: bool = False
) -> Any:
    """A ``cma.CMAEvolutionStrategy`` that draws from ``generator`` and prints nothing; ``diagonal`` learns no
    correlations."""
    with warnings.catch_warnings():
        # Here, because it takes half a second.
        warnings.filterwarnings("ignore", message="Could not import matplotlib", category=UserWarning)
        import cma

    # Asking twice before telling is what replaces samples that mean nothing.
    warnings.simplefilter("ignore", cma.evolution_strategy.InjectionWarning)
    return cma.CMAEvolutionStrategy(
        start,
        sigma,
        {
            "seed": np.nan,
            "randn": _Normal(generator),
            "popsize": population,
            "CMA_diagonal": diagonal,
            "verbose": -9,
            "verb_log": 0,
        },
    )


def reflected(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Samples of all of R^n folded into the unit cube."""
    folded = samples % 2.0
    return np.asarray(np.minimum(folded, 2.0 - folded))
