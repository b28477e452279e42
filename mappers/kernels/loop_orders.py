"""The loop orders of one level that can be best: all others cost at least as much as one of these.

What an order does shows in its innermost loops only. Per tensor: the run of irrelevant loops inside its innermost
relevant loop (the tile rests), and, if that loop belongs to a rank with several dimensions, the loops that follow it
outward within this rank (the tile slides, also for tiles that started to slide at an inner level). An order is
dominated by another one whose runs contain its runs and whose slides begin with its slides, with no more loops inside
of any of the sliding ones: every word that arrives less, arrives less for both reasons (an irrelevant loop outside a
sliding loop multiplies what the slide saves, one inside the run divides what arrives).
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accelerators.jit import kernel


class OrderPool(NamedTuple):
    """Orders found so far, for every level and every set (bit mask) of dimensions with a loop at the level."""

    first: NDArray[np.int64]  # (L, 2**D) index of the first order; -1 where they have not been generated
    number: NDArray[np.int64]  # (L, 2**D)
    used: NDArray[np.int64]  # (1,) orders in the pool
    orders: NDArray[np.int64]  # (P, D) outermost first
    runs: NDArray[np.int64]  # (P, T) bit mask of the irrelevant loops inside the innermost relevant one
    slides: NDArray[np.int64]  # (P, T, D) loops of the slide, innermost first: dimension, -1 at the end
    insides: NDArray[np.int64]  # (P, T, D) bit mask of the loops inside of each of them


def new_pool(levels: int, dims: int, tensors: int, size: int) -> OrderPool:
    """An empty pool."""
    return OrderPool(
        first=np.full((levels, 1 << dims), -1, np.int64),
        number=np.zeros((levels, 1 << dims), np.int64),
        used=np.zeros(1, np.int64),
        orders=np.zeros((size, dims), np.int64),
        runs=np.zeros((size, tensors), np.int64),
        slides=np.zeros((size, tensors, max(1, dims)), np.int64),
        insides=np.zeros((size, tensors, max(1, dims)), np.int64),
    )


@kernel
def _dominates(runs, slides, insides, a, b):
    tensors, length = slides.shape[1], slides.shape[2]
    for t in range(tensors):
        if runs[a, t] & runs[b, t] != runs[b, t]:
            return False
        for j in range(length):
            if slides[b, t, j] < 0:
                break
            if slides[a, t, j] != slides[b, t, j] or insides[a, t, j] & ~insides[b, t, j] != 0:
                return False
    return True


@kernel
def generate_orders(pool, level, mask, order_rank, irrelevant, window_of):
    """Add the undominated orders of the loops in ``mask`` at ``level`` to the pool.

    ``irrelevant`` (T, D); ``window_of`` (T, D) is -1 for dimensions that are alone in their rank. Returns False if the
    pool is full.
    """
    orders, runs, slides, insides = pool.orders, pool.runs, pool.slides, pool.insides
    tensors, dims = irrelevant.shape
    start = pool.used[0]
    count = start
    chosen = np.zeros(dims + 1, np.int64)
    tried = np.full(dims + 2, -1, np.int64)
    depth = 0
    while depth >= 0:
        # What the loops chosen so far, innermost first, settle.
        inside = 0
        for k in range(depth):
            inside |= 1 << chosen[k]
        settled = True
        if tried[depth] < 0:
            if count >= orders.shape[0]:
                return False
            for t in range(tensors):
                run = 0
                length = 0
                window = -2
                passed = 0
                for k in range(depth):
                    d = chosen[k]
                    if irrelevant[t, d]:
                        if window == -2:
                            run |= 1 << d
                    elif window == -2 or (window >= 0 and window_of[t, d] == window):
                        if window == -2:
                            window = window_of[t, d]
                        if window >= 0:
                            slides[count, t, length] = d
                            insides[count, t, length] = passed
                            length += 1
                    else:
                        window = -1
                    passed |= 1 << d
                runs[count, t] = run
                if length < slides.shape[2]:
                    slides[count, t, length] = -1
                if window != -1:
                    settled = False
            if settled or inside == mask:
                # The loops left over move nothing: outside, in any order that their ranks allow.
                for k in range(depth):
                    orders[count, dims - 1 - k] = chosen[k]
                place = dims - 1 - depth
                rest = mask & ~inside
                while rest:
                    pick = -1
                    for d in range(dims):
                        if rest >> d & 1 and (pick < 0 or order_rank[level, d] > order_rank[level, pick]):
                            pick = d
                    orders[count, place] = pick
                    place -= 1
                    rest &= ~(1 << pick)
                for d in range(dims):
                    if not mask >> d & 1:
                        orders[count, place] = d
                        place -= 1
                keep = True
                i = start
                while i < count and keep:
                    keep = not _dominates(runs, slides, insides, i, count)
                    i += 1
                if keep:
                    kept = start
                    for i in range(start, count):
                        if not _dominates(runs, slides, insides, count, i):
                            if kept != i:
                                orders[kept] = orders[i]
                                runs[kept] = runs[i]
                                slides[kept] = slides[i]
                                insides[kept] = insides[i]
                            kept += 1
                    if kept != count:
                        orders[kept] = orders[count]
                        runs[kept] = runs[count]
                        slides[kept] = slides[count]
                        insides[kept] = insides[count]
                    count = kept + 1
                tried[depth] = -1
                depth -= 1
                continue
        # The next loop outward: the first untried one of the highest rank that is left.
        top = -(1 << 60)
        for d in range(dims):
            if mask >> d & 1 and not inside >> d & 1:
                top = max(top, order_rank[level, d])
        d = tried[depth] + 1
        while d < dims and not (mask >> d & 1 and not inside >> d & 1 and order_rank[level, d] == top):
            d += 1
        if d >= dims:
            tried[depth] = -1
            depth -= 1
            continue
        tried[depth] = d
        chosen[depth] = d
        depth += 1
        tried[depth] = -1
    pool.first[level, mask] = start
    pool.number[level, mask] = count - start
    pool.used[0] = count
    return True
