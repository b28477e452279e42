"""A predictor that learns from networks of a space that somebody trained: (network, accuracy) pairs.

Up to :data:`MOST_EXACT` pairs, the Gaussian process of :mod:`codesign.predictors`, which calibrates its uncertainty by
leaving pairs out; beyond, extremely randomised trees (Geurts, Ernst, Wehenkel 2006), whose spread is scaled to the
errors on the pairs that each tree did not see.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codesign.nas.accuracy._base import Estimate, Estimator
from codesign.nas.spaces import Codes, Space
from codesign.predictors import OutOfRangeError
from codesign.predictors.predictor import LEAST_MEASUREMENTS
from codesign.predictors.process import Process

#: Pairs for which the Gaussian process is affordable.
MOST_EXACT = 500
_TREES = 200


class LearnedAccuracy(Estimator):
    """Learns with :meth:`fit`; refuses networks with options that no training network has, unless ``extrapolate``.

    Needs scikit-learn (``pip install 'codesign[predict]'``).
    """

    kind = "predicted"
    name = "learned"

    def __init__(self, space: Space, *, extrapolate: bool = False, seed: int = 0):
        self.space = space
        self.extrapolate = extrapolate
        self.seed = seed
        self._model: Process | _Trees | None = None

    def fit(self, codes: ArrayLike, accuracies: ArrayLike) -> LearnedAccuracy:
        """Learn from networks (n, genes) and their accuracies (n,) in per cent.

        Raises ValueError for fewer than five pairs, accuracies that are no numbers in 0..100 or all the same, and other
        shapes; NetworkError for what is no network of the space.
        """
        found, values = self.space.check_all(codes), np.asarray(accuracies, np.float64)
        if values.shape != (len(found),):
            raise ValueError(f"accuracies must have shape ({len(found)},) (got {values.shape})")
        if len(values) < LEAST_MEASUREMENTS:
            raise ValueError(f"must have at least {LEAST_MEASUREMENTS} networks (got {len(values)})")
        bad = np.nonzero(~((values >= 0) & (values <= 100)))[0]
        if len(bad):
            raise ValueError(f"accuracies[{bad[0]}] must be a number from 0 to 100 per cent (got {values[bad[0]]:g})")
        if np.ptp(values) == 0:
            raise ValueError(f"accuracies must differ (got {len(values)} times {values[0]:g})")
        features = self.space.features(found)
        self._model = Process(features, values) if len(values) <= MOST_EXACT else _Trees(features, values, self.seed)
        active = self.space.active(found)
        self._seen = [
            np.isin(np.arange(options), found[active[:, i], i]) for i, options in enumerate(self.space.counts.tolist())
        ]
        return self

    def covers(self, codes: Codes) -> NDArray[np.bool_]:
        """(n,) whose options all occur in networks that it learned from."""
        return np.asarray(~self._unseen(codes).any(axis=1))

    def _unseen(self, codes: Codes) -> NDArray[np.bool_]:
        if self._model is None:
            raise ValueError(f"{self.name}: has learned nothing yet, call fit")
        active = self.space.active(codes)
        return np.stack([active[:, i] & ~seen[codes[:, i]] for i, seen in enumerate(self._seen)], axis=1)

    def _estimates(self, codes: Codes) -> list[Estimate]:
        unseen = self._unseen(codes)
        assert self._model is not None
        if unseen.any() and not self.extrapolate:
            row, i = np.argwhere(unseen)[0]
            gene = self.space.genes[i]
            raise OutOfRangeError(
                f"{self.name}: {gene.name}: no network that it learned from has {gene.options[codes[row, i]]}"
            )
        means, stds = self._model.predict(self.space.features(codes))
        return [
            Estimate(
                float(np.clip(mean, 0.0, 100.0)),
                self.kind,
                float(std),
                ("extrapolated: options that no training network has",) if outside else (),
            )
            for mean, std, outside in zip(means, stds, map(np.any, unseen), strict=True)
        ]


class _Trees:
    """Extremely randomised trees on features (n, f) and values (n,)."""

    def __init__(self, x: NDArray[np.float64], y: NDArray[np.float64], seed: int):
        try:
            from sklearn.ensemble import ExtraTreesRegressor
        except ImportError:
            raise ImportError("predictors need scikit-learn: pip install 'codesign[predict]'") from None
        self._model: Any = ExtraTreesRegressor(
            _TREES, min_samples_leaf=2, max_features=0.5, bootstrap=True, oob_score=True, random_state=seed
        )
        self._model.fit(x, y)
        errors = self._model.oob_prediction_ - y
        self._factor = 1.0
        self._factor = float(np.sqrt(np.mean(errors**2)) / np.sqrt(np.mean(self.predict(x)[1] ** 2)))

    def predict(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        each = np.stack([tree.predict(x) for tree in self._model.estimators_])
        return each.mean(axis=0), np.maximum(each.std(axis=0), 1e-6) * self._factor
