"""Networks scored by a function: a zero-shot score, or a training."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from codesign.nas.accuracy._base import Estimate, Estimator
from codesign.nas.spaces import Code, Codes, Space
from codesign.networks import Network

#: Gives a network's score, the higher the better; raises :class:`NoScoreError` where there is none.
Score = Callable[[Network], float]


class NoScoreError(Exception):
    """A network for which a score has no value; the message says why."""


class Scored(Estimator):
    """Asks ``score`` for every network, once for equal ones.

    ``kind`` "proxied" is a score that ranks networks without training; "trained" is the accuracy in per cent of a
    network that ``score`` trains. Scores that are no numbers (a dead network's is often NaN or minus infinity) are no
    answer, with a note; ``unanswered`` has these notes by code. Raises ValueError for a trained accuracy outside of
    0..100.
    """

    def __init__(
        self, space: Space, score: Score, *, kind: Literal["proxied", "trained"] = "proxied", name: str = "score"
    ):
        self.space, self.kind, self.name = space, kind, name
        self._score = score
        self._known: dict[bytes, Estimate] = {}

    def _estimates(self, codes: Codes) -> list[Estimate]:
        for code in codes:
            if code.tobytes() not in self._known:
                self._known[code.tobytes()] = self._ask(code)
        return [self._known[code.tobytes()] for code in codes]

    @property
    def unanswered(self) -> dict[Code, str]:
        """Why there is no score, of the networks that were asked for so far and have none."""
        return {
            tuple(np.frombuffer(key, np.int64).tolist()): estimate.notes[0]
            for key, estimate in self._known.items()
            if estimate.accuracy is None
        }

    def _ask(self, code: np.ndarray) -> Estimate:
        try:
            value = float(self._score(self.space.network(code)))
        except NoScoreError as error:
            return Estimate(None, self.kind, None, (f"{self.name} has no value here: {error}",))
        if not math.isfinite(value):
            return Estimate(None, self.kind, None, (f"{self.name} is {value} here: the network is dead or overflows",))
        if self.kind == "trained" and not 0 <= value <= 100:
            raise ValueError(f"{self.name}: an accuracy must be from 0 to 100 per cent (got {value:g})")
        return Estimate(value, self.kind)
