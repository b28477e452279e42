"""The protocol of accuracy estimators: how good a network of a space is, how that is known, and how sure it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codesign.nas.spaces import Codes, Space

#: Where an accuracy comes from: a table of trained networks, a predictor that learned from some, a score that needs no
#: training and only ranks, or a training done now.
Kind = Literal["measured", "predicted", "proxied", "trained"]


@dataclass(frozen=True)
class Estimate:
    """An accuracy in per cent; of kind "proxied" a score without unit, the higher the better, comparable with its like.

    ``uncertainty`` is a standard deviation in the same unit, None where it is not known. ``accuracy`` is None where
    there is no answer (a dead network's score); ``notes`` say why, and what else to know: ties, regions that a
    predictor was not trained in.
    """

    accuracy: float | None
    kind: Kind
    uncertainty: float | None = None
    notes: tuple[str, ...] = ()


class Estimator(ABC):
    """Estimates networks of ``space``."""

    #: What it goes by in results.
    name: str
    kind: Kind
    space: Space

    def estimates(self, codes: ArrayLike) -> list[Estimate]:
        """An estimate for each network (n, genes).

        Raises NetworkError for what is no network of the space, and
        :class:`~codesign.predictors.OutOfRangeError` for networks that it cannot speak of (see :meth:`covers`).
        """
        return self._estimates(self.space.check_all(codes))

    def estimate(self, code: ArrayLike) -> Estimate:
        """The estimate for one network; raises like :meth:`estimates`."""
        return self.estimates(np.asarray(code)[None])[0]

    def accuracies(self, codes: ArrayLike) -> NDArray[np.float64]:
        """(n,) just the accuracies, minus infinity where there is no answer; raises like :meth:`estimates`."""
        found = self.estimates(codes)
        return np.array([-np.inf if e.accuracy is None else e.accuracy for e in found], np.float64)

    def listed(self) -> Codes | None:
        """The networks (n, genes) that it can speak of, where these are few; None for all, or for a rule."""
        return None

    def covers(self, codes: Codes) -> NDArray[np.bool_]:
        """(n,) which networks it can speak of: a search may keep to them (``admits``)."""
        return np.ones(len(codes), np.bool_)

    @abstractmethod
    def _estimates(self, codes: Codes) -> list[Estimate]:
        """What :meth:`estimates` leaves to the kind of estimator; codes are canonical."""
