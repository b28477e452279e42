"""Fronts: which points no other one beats, how crowded they are, how much they dominate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def dominated_by(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n, n) whether point j is at least as good as point i in every objective and better in one; points (n, m)."""
    no_worse = (points[None, :, :] <= points[:, None, :]).all(axis=2)
    better = (points[None, :, :] < points[:, None, :]).any(axis=2)
    return np.asarray(no_worse & better)


def front(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the points (n, m) with finite objectives that no other one dominates, in their order."""
    good = np.isfinite(points).all(axis=1)
    return np.nonzero(good & ~dominated_by(points).any(axis=1))[0]


def best(points: NDArray[np.float64], edp: NDArray[np.float64]) -> int:
    """Which of the points (n, m), n >= 1, stands for all of them.

    The least one; with several objectives, of those that no other dominates the one of least ``edp`` (n,). Of equals
    the one with the least first objective, and so on, then the first.
    """
    by = points[:, 0] if points.shape[1] == 1 else edp
    for i in np.lexsort((*points.T[::-1], by)).tolist():
        if not ((points <= points[i]).all(axis=1) & (points < points[i]).any(axis=1)).any():
            return int(i)
    raise ValueError("of finitely many points one is not dominated")


def ranks(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n,) 0 for the front, 1 for the front of the rest, and so on (Deb et al., NSGA-II, 2002)."""
    dominated = dominated_by(points)
    found = np.full(len(points), -1, np.int64)
    rank = 0
    while (found < 0).any():
        open_ = found < 0
        here = open_ & ~(dominated & open_[None, :]).any(axis=1)
        found[here] = rank
        rank += 1
    return found


def crowding(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) sum over the objectives of the distance between both neighbours, relative to the range; infinite at ends."""
    count, objectives = points.shape
    distance = np.zeros(count)
    for m in range(objectives):
        order = np.argsort(points[:, m], kind="stable")
        values = points[order, m]
        distance[order[[0, -1]]] = np.inf
        if count > 2 and np.isfinite(values[-1]) and values[-1] > values[0]:
            distance[order[1:-1]] += (values[2:] - values[:-2]) / (values[-1] - values[0])
    return distance


def crowded_ranks(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) smaller is fitter: the rank, plus a part below one that is less the more room a point has in its front."""
    rank = ranks(points)
    order = np.zeros(len(points))
    for k in range(int(rank.max()) + 1):
        members = np.nonzero(rank == k)[0]
        room = crowding(points[members])
        # The roomiest first; places within a front part it from the next one.
        order[members[np.argsort(-room, kind="stable")]] = np.arange(len(members)) / (len(members) + 1)
    return rank + order


def hypervolume(points: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Volume that points (n, m) dominate within the box that ends at a reference (m,); any number of objectives.

    By slicing along the last objective; exact, and fast enough for fronts of some hundred points in three objectives.
    """
    points = points[(points < reference).all(axis=1)]
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(reference[0] - points[:, 0].min())
    points = points[np.argsort(points[:, -1], kind="stable")]
    ends = np.append(points[1:, -1], reference[-1])
    return sum(
        (end - point[-1]) * hypervolume(points[: i + 1, :-1], reference[:-1])
        for i, (point, end) in enumerate(zip(points, ends, strict=True))
        if end > point[-1]
    )
