"""NSGA-II: several objectives at once (Deb, Pratap, Agarwal, Meyarivan, IEEE Trans. Evol. Comp. 6(2), 2002)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from codesign.search.genetic import Genetic
from codesign.search.pareto import crowding, ranks


class Nsga2(Genetic):
    """Fitness is the rank of a point's front, and within a front how much room it has."""

    name = "nsga2"
    several_objectives = True

    def _fitness_of(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        rank = ranks(scores)
        order = np.zeros(len(scores))
        for k in range(int(rank.max()) + 1):
            members = np.nonzero(rank == k)[0]
            room = crowding(scores[members])
            # The roomiest first; places within a front part it from the next one.
            order[members[np.argsort(-room, kind="stable")]] = np.arange(len(members)) / (len(members) + 1)
        return rank + order
