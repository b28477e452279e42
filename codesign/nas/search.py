"""The loop of a network search: ask, score what is new, tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codesign.nas.spaces import Codes
from codesign.nas.strategies import Strategy

#: Scores (n, objectives) of codes (n, genes), the smaller the better; infinite for what cannot work.
Evaluate = Callable[[Codes], NDArray[np.float64]]

#: Proposals in a row that bring nothing new, before a search ends early.
_MOST_REPEATS = 2_000


@dataclass(frozen=True)
class History:
    """Different networks in the order in which they were scored: codes (n, genes), scores (n, objectives).

    ``proposals`` also counts networks that were proposed again, which cost nothing.
    """

    codes: Codes
    scores: NDArray[np.float64]
    proposals: int

    @property
    def best(self) -> int:
        """Position of the network with the least first score."""
        return int(self.scores[:, 0].argmin())

    @property
    def infeasible(self) -> int:
        """How many networks cannot work: beyond a limit, or without an accuracy (the score of a dead network)."""
        return int((~np.isfinite(self.scores).all(axis=1)).sum())


def search(strategy: Strategy, evaluate: Evaluate, queries: int) -> History:
    """Run a strategy until ``queries`` different networks are scored, or it proposes nothing new any more.

    Raises ValueError for scores that are no numbers (see :meth:`~codesign.nas.strategies.Strategy.tell`), and what
    ``evaluate`` raises.
    """
    if queries < 1:
        raise ValueError(f"queries must be >= 1 (got {queries})")
    known: dict[bytes, NDArray[np.float64]] = {}
    order: list[NDArray[np.int64]] = []
    proposals = repeats = 0
    while len(known) < queries and repeats < _MOST_REPEATS:
        codes = strategy.ask()
        keys = [code.tobytes() for code in codes]
        fresh = [i for i, key in enumerate(keys) if key not in known and key not in keys[:i]][: queries - len(known)]
        if fresh:
            scores = np.asarray(evaluate(codes[fresh]), np.float64)
            known.update(zip((keys[i] for i in fresh), scores, strict=True))
            order += [codes[i] for i in fresh]
        proposals += len(codes)
        repeats = 0 if fresh else repeats + len(codes)
        told = [i for i, key in enumerate(keys) if key in known]
        strategy.tell(codes[told], np.array([known[keys[i]] for i in told]))
    return History(np.array(order), np.array([known[code.tobytes()] for code in order]), proposals)
