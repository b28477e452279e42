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


class Surrogate:
    """A ranker for each of the three labels. The least standard deviation it predicts is the least that it has seen."""

    def __init__(self, loss: Loss = "hinge", seed: int = 0):
        self._rankers = [Ranker(loss, seed=int(s)) for s in np.random.SeedSequence(seed).generate_state(3)]

    def fit(self, features: ArrayLike, labels: Labels) -> Surrogate:
        """Learn from encodings (n, 22); raises ValueError for labels that do not fit, or that are all the same."""
        for ranker, values in zip(self._rankers, labels, strict=True):
            ranker.fit(features, values)
        seen = np.asarray(labels.std)
        self._least_std = float(seen[seen > 0].min()) if (seen > 0).any() else 1e-6
        return self

    def predict(self, architectures: Sequence[Architecture]) -> Labels:
        """Labels of architectures."""
        return self.predict_features([architecture.encode() for architecture in architectures])

    def predict_features(self, features: ArrayLike) -> Labels:
        """Labels of encodings (n, 22)."""
        accuracy, std, avm = (ranker.predict(features) for ranker in self._rankers)
        return Labels(accuracy, np.maximum(std, self._least_std), avm)
