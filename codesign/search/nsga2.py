"""NSGA-II: several objectives at once (Deb, Pratap, Agarwal, Meyarivan, IEEE Trans. Evol. Comp. 6(2), 2002)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from codesign.search.genetic import Genetic
from codesign.search.pareto import crowded_ranks


class Nsga2(Genetic):
    """Fitness is the rank of a point's front, and within a front how much room it has."""

    name = "nsga2"
    several_objectives = True

    def _fitness_of(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        return crowded_ranks(scores)
