"""Uniform random sampling, the yardstick for every other optimiser."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from codesign.search._base import Optimiser


class Random(Optimiser):
    """Independent uniform vectors."""

    name = "random"
    several_objectives = True

    def ask(self) -> NDArray[np.float64]:
        """The next vectors."""
        return self.random.random((self.population, self.size))

    def _learn(self, vectors: NDArray[np.float64], scores: NDArray[np.float64]) -> None:
        """Nothing to learn."""

    def _state(self) -> dict[str, Any]:
        return {}
