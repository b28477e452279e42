"""Random networks, the yardstick for every other strategy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from codesign.nas.spaces import Codes
from codesign.nas.strategies._base import Strategy


class Random(Strategy):
    """Genes drawn evenly and independently of each other."""

    name = "random"
    several_objectives = True

    def ask(self) -> Codes:
        """The next networks."""
        return self._sampled(self.population)

    def _learn(self, codes: Codes, scores: NDArray[np.float64]) -> None:
        """Nothing to learn."""

    def _state(self) -> dict[str, Any]:
        return {}
