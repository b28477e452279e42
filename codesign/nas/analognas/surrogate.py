"""What a network will do on a crossbar, from its 22 numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codesign.nas.analognas.ranking import Loss, Ranker
from codesign.nas.spaces.analog_resnet import Architecture


class Labels(NamedTuple):
    """Of n networks, (n,) each: accuracy a day after programming (mean and standard deviation over programmings, in
    0..1), and accuracy variation over a month (AVM, in points)."""

    accuracy: NDArray[np.float64]
    std: NDArray[np.float64]
    avm: NDArray[np.float64]


#: Accuracies are learnt as log-odds, deviations as logarithms: what is predicted beyond the table stays possible.
_LEAST_PART = 1e-4


class Surrogate:
    """A ranker for each of the three labels. The least standard deviation it predicts is the least that it has seen."""

    def __init__(self, loss: Loss = "hinge", seed: int = 0):
        self._rankers = [Ranker(loss, seed=int(s)) for s in np.random.SeedSequence(seed).generate_state(3)]

    def fit(self, features: ArrayLike, labels: Labels) -> Surrogate:
        """Learn from encodings (n, 22).

        Raises ValueError for labels that do not fit, that are all the same, or that cannot be: accuracies outside 0..1,
        deviations below 0.
        """
        accuracy, std, avm = (np.asarray(values, np.float64) for values in labels)
        if not ((accuracy >= 0) & (accuracy <= 1) & (std >= 0)).all():
            raise ValueError("accuracies must be in 0..1, and their deviations >= 0")
        self._least_std = float(std[std > 0].min()) if (std > 0).any() else 1e-6
        inside = np.clip(accuracy, _LEAST_PART, 1 - _LEAST_PART)
        targets = np.log(inside / (1 - inside)), np.log(np.maximum(std, self._least_std)), avm
        for ranker, values in zip(self._rankers, targets, strict=True):
            ranker.fit(features, values)
        return self

    def predict(self, architectures: Sequence[Architecture]) -> Labels:
        """Labels of architectures."""
        return self.predict_features([architecture.encode() for architecture in architectures])

    def predict_features(self, features: ArrayLike) -> Labels:
        """Labels of encodings (n, 22)."""
        odds, std, avm = (ranker.predict(features) for ranker in self._rankers)
        return Labels(1 / (1 + np.exp(-odds)), np.maximum(np.exp(std), self._least_std), avm)
