"""Accuracy of networks with few bits: another estimator's, less what the bits are estimated to cost."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codesign.nas.accuracy._base import Estimate, Estimator
from codesign.nas.quantisation import Bits, BitsOutOfRangeError, Penalty, accuracy_penalty
from codesign.nas.spaces import Codes, Quantised
from codesign.networks import NetworkError


class QuantisedAccuracy(Estimator):
    """``estimator`` speaks of the networks of ``space.space`` with full precision; see
    :func:`~codesign.nas.quantisation.accuracy_penalty` for what is taken off, and for ``fine_tuned``.

    An accuracy is predicted then, also where the table was measured. Uncertainties are added as independent ones; that
    of a measured accuracy counts as nothing. The penalty was measured on small networks for an easy task, so it is a
    guide to which bits are harmless.

    Raises NetworkError for an estimator of another space, for a score (it has no unit to take points off), and for bits
    of the space that were not measured.
    """

    kind = "predicted"

    def __init__(self, space: Quantised, estimator: Estimator, *, fine_tuned: bool = False):
        self.name = f"{estimator.name}, quantised"
        if estimator.space.genes != space.space.genes or estimator.space.name != space.space.name:
            raise NetworkError(
                f"{self.name}: must estimate networks of {space.space.name} (got {estimator.space.name})"
            )
        if estimator.kind == "proxied":
            raise NetworkError(
                f"{self.name}: must estimate an accuracy in per cent, from which few bits take points "
                f"(got {estimator.name}, a score without unit)"
            )
        self.space: Quantised = space
        self.estimator = estimator
        self.fine_tuned = fine_tuned
        try:
            for weights in space.weights:
                for activations in (*space.activations, space.ends):
                    accuracy_penalty([Bits(weights, activations)], depthwise=False, fine_tuned=fine_tuned)
        except BitsOutOfRangeError as error:
            _, _, text = str(error).partition(".")
            raise NetworkError(f"{self.name}: {text}") from None

    def covers(self, codes: Codes) -> NDArray[np.bool_]:
        """(n,) of which networks the estimator can speak."""
        return self.estimator.covers(codes[:, : len(self.space.space.genes)])

    def _estimates(self, codes: Codes) -> list[Estimate]:
        whole = self.estimator.estimates(codes[:, : len(self.space.space.genes)])
        return [self._quantised(found, self.penalty(code)) for found, code in zip(whole, codes, strict=True)]

    def penalty(self, code: ArrayLike) -> Penalty:
        """What the bits of a network cost."""
        return _penalty(*self.space.bits(code), self.fine_tuned)

    def _quantised(self, whole: Estimate, penalty: Penalty) -> Estimate:
        if whole.accuracy is None:
            return Estimate(None, self.kind, None, whole.notes)
        trained = "after fine-tuning" if self.fine_tuned else "rounded after training"
        notes = (*whole.notes, f"{penalty.points:.2f} points less for few bits, {trained}: {_SOURCE}")
        known = 0.0 if whole.kind == "measured" else whole.uncertainty
        return Estimate(
            max(0.0, whole.accuracy - penalty.points),
            self.kind,
            None if known is None else math.hypot(known, penalty.std_points),
            notes,
        )


_SOURCE = "penalty measured on small networks"


@lru_cache(maxsize=65536)
def _penalty(bits: tuple[Bits, ...], depthwise: bool, fine_tuned: bool) -> Penalty:
    return accuracy_penalty(bits, depthwise=depthwise, fine_tuned=fine_tuned)
