"""The loop of a network search: ask, score what is new, tell."""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codesign.nas.spaces import Codes
from codesign.nas.strategies import NoneAdmittedError, Strategy

#: Scores (n, objectives) of codes (n, genes), the smaller the better; infinite for what cannot work.
Evaluate = Callable[[Codes], NDArray[np.float64]]

#: Proposals in a row that bring nothing new, before a search ends early.
_MOST_REPEATS = 2_000


@dataclass(frozen=True)
class History:
    """Different networks in the order in which they were scored: codes (n, genes), scores (n, objectives).

    ``proposals`` also counts networks that were proposed again, which cost nothing. ``floored`` (n,) says which scores
    are floors only (see :func:`search`).
    """

    codes: Codes
    scores: NDArray[np.float64]
    proposals: int
    floored: NDArray[np.bool_]

    @property
    def best(self) -> int:
        """Position of the network with the least first score."""
        return int(self.scores[:, 0].argmin())

    @property
    def infeasible(self) -> int:
        """How many networks cannot work: beyond a limit, or without an accuracy (the score of a dead network)."""
        return int((~np.isfinite(self.scores).all(axis=1)).sum())


def search(strategy: Strategy, evaluate: Evaluate, queries: int, *, floors: Evaluate | None = None) -> History:
    """Run a strategy until ``queries`` different networks are scored, or it proposes nothing new any more.

    ``floors`` gives numbers that the scores are not below, more quickly than ``evaluate``; they may rise while other
    networks are evaluated. Where a strategy looks at the best networks only (``survivors``), one whose floor is above
    the worst of these is not evaluated: the floor is its score. All else goes as without floors.

    Raises ValueError for scores that are no numbers (see :meth:`~codesign.nas.strategies.Strategy.tell`), and what
    ``evaluate`` raises.
    """
    if queries < 1:
        raise ValueError(f"queries must be >= 1 (got {queries})")
    known: dict[bytes, NDArray[np.float64]] = {}
    order: list[NDArray[np.int64]] = []
    floored: set[bytes] = set()
    best: list[float] = []
    proposals = repeats = 0
    while len(known) < queries and repeats < _MOST_REPEATS:
        try:
            codes = strategy.ask()
        except NoneAdmittedError:
            if not known:
                raise
            # It has seen all that it can find.
            break
        keys = [code.tobytes() for code in codes]
        fresh = [i for i, key in enumerate(keys) if key not in known and key not in keys[:i]][: queries - len(known)]
        if fresh:
            if floors is None or strategy.survivors is None:
                scores = np.asarray(evaluate(codes[fresh]), np.float64)
            else:
                scores, left_out = _bounded(codes[fresh], evaluate, floors, best, strategy.survivors)
                floored.update(keys[fresh[i]] for i in left_out)
            known.update(zip((keys[i] for i in fresh), scores, strict=True))
            order += [codes[i] for i in fresh]
        proposals += len(codes)
        repeats = 0 if fresh else repeats + len(codes)
        told = [i for i, key in enumerate(keys) if key in known]
        strategy.tell(codes[told], np.array([known[keys[i]] for i in told]))
    return History(
        np.array(order),
        np.array([known[code.tobytes()] for code in order]),
        proposals,
        np.array([code.tobytes() in floored for code in order], np.bool_),
    )


def _bounded(
    codes: Codes, evaluate: Evaluate, floors: Evaluate, best: list[float], survivors: int
) -> tuple[NDArray[np.float64], list[int]]:
    """Scores (n, 1), those of the last rows named only floors; ``best`` are the least scores so far, and is kept."""
    scores = np.asarray(floors(codes), np.float64)
    waiting = [(float(score), i) for i, score in enumerate(scores[:, 0])]
    heapq.heapify(waiting)
    while waiting:
        _, i = heapq.heappop(waiting)
        scores[i] = np.asarray(floors(codes[i : i + 1]), np.float64)[0]
        if waiting and scores[i, 0] > waiting[0][0]:
            heapq.heappush(waiting, (float(scores[i, 0]), i))
            continue
        if len(best) >= survivors and scores[i, 0] > best[survivors - 1]:
            return scores, [i, *(k for _, k in waiting)]
        scores[i] = np.asarray(evaluate(codes[i : i + 1]), np.float64)[0]
        bisect.insort(best, float(scores[i, 0]))
    return scores, []
