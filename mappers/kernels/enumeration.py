"""Write out every mapping of a mapspace, batch by batch.

An odometer of three wheels. The slowest counts the factorisations: one row per dimension from a table of all ways to
split its bound over the slots. Inside it turn the bypass choices, and inside those the loop orders of the levels.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accelerators.jit import kernel


class Odometer(NamedTuple):
    """What there is to enumerate, and where the enumeration stands: the mapping that comes next.

    S slots, D dimensions, L levels, T tensors, B free bypass choices, W rows in the table of splits.
    """

    splits: NDArray[np.int64]  # (W, S) factors of one dimension; the rows of a dimension follow each other
    first_split: NDArray[np.int64]  # (D+1,) first row of every dimension, and W
    axis_sizes: NDArray[np.int64]  # (S,); 0 for temporal slots
    order_rank: NDArray[np.int64]  # (L, D)
    keep: NDArray[np.bool_]  # (L, T)
    free_keep: NDArray[np.int64]  # (B, 2) pairs of level and tensor
    row: NDArray[np.int64]  # (D,) the row of every dimension; one before its first where it has not been entered
    products: NDArray[np.int64]  # (D+1, S) product of the factors of the dimensions before this one
    factors: NDArray[np.int64]  # (S, D)
    order: NDArray[np.int64]  # (L, D)
    ordered: NDArray[np.int64]  # (L, 2) begin and end of the loops whose order is free
    choice: NDArray[np.int64]  # (1,) the bypass choices as bits


def new_odometer(
    splits: list[NDArray[np.int64]],
    axis_sizes: NDArray[np.int64],
    order_rank: NDArray[np.int64],
    keep: NDArray[np.bool_],
    free_keep: NDArray[np.int64],
) -> Odometer:
    """An odometer before its first mapping; ``splits`` has a table (ways, S) for every dimension."""
    slots, (levels, dims) = len(axis_sizes), order_rank.shape
    first = np.cumsum([0, *map(len, splits)])
    return Odometer(
        splits=np.concatenate([np.zeros((0, slots), np.int64), *splits]),
        first_split=first,
        axis_sizes=axis_sizes,
        order_rank=order_rank,
        keep=keep,
        free_keep=free_keep,
        row=first[:-1] - 1,
        products=np.ones((dims + 1, slots), np.int64),
        factors=np.ones((slots, dims), np.int64),
        order=np.zeros((levels, dims), np.int64),
        ordered=np.zeros((levels, 2), np.int64),
        choice=np.zeros(1, np.int64),
    )


@kernel
def _next_factorisation(splits, first_split, axis_sizes, row, products, factors):
    """Turn to the next factorisation whose factors fit the axes; False if there is none."""
    slots, dims = factors.shape
    # The last dimension turns fastest. Before the first factorisation every dimension stands before its first row.
    d = dims - 1
    while d > 0 and row[d - 1] < first_split[d - 1]:
        d -= 1
    while d >= 0:
        row[d] += 1
        if row[d] == first_split[d + 1]:
            row[d] = first_split[d] - 1
            d -= 1
            continue
        fits = True
        for slot in range(slots):
            product = products[d, slot] * splits[row[d], slot]
            products[d + 1, slot] = product
            if axis_sizes[slot] > 0 and product > axis_sizes[slot]:
                fits = False
                break
        if fits:
            for slot in range(slots):
                factors[slot, d] = splits[row[d], slot]
            if d == dims - 1:
                return True
            d += 1
    return False


@kernel
def _first_orders(factors, order_rank, order, ordered):
    """The first order of every level: by rank, then loops with a factor of 1, then by dimension.

    Only loops of rank 0 can change places: every other dimension has a rank of its own. Of those, a loop with a factor
    of 1 shows nowhere, and nor does the order at the innermost level: what a level receives depends on the loops of
    the levels outside, and a MAC holds nothing from one cycle to the next. Such loops keep one place.
    """
    levels, dims = order.shape
    for level in range(levels):
        for d in range(dims):
            order[level, d] = d
        for k in range(1, dims):
            d = order[level, k]
            rank, active = order_rank[level, d], factors[level, d] > 1
            j = k
            while j > 0:
                other = order[level, j - 1]
                before = order_rank[level, other]
                if before < rank or (before == rank and (active or factors[level, other] == 1)):
                    break
                order[level, j] = other
                j -= 1
            order[level, j] = d
        begin = 0
        while begin < dims and (
            order_rank[level, order[level, begin]] < 0
            or (order_rank[level, order[level, begin]] == 0 and factors[level, order[level, begin]] == 1)
        ):
            begin += 1
        end = begin
        while level < levels - 1 and end < dims and order_rank[level, order[level, end]] == 0:
            end += 1
        ordered[level, 0] = begin
        ordered[level, 1] = end


@kernel
def _next_order(order, level, begin, end):
    """Turn one level to the lexicographically next order; back to the first one, and False, after the last."""
    i = end - 2
    while i >= begin and order[level, i] > order[level, i + 1]:
        i -= 1
    if i >= begin:
        j = end - 1
        while order[level, j] < order[level, i]:
            j -= 1
        order[level, i], order[level, j] = order[level, j], order[level, i]
    left, right = i + 1 if i >= begin else begin, end - 1
    while left < right:
        order[level, left], order[level, right] = order[level, right], order[level, left]
        left += 1
        right -= 1
    return i >= begin


@kernel
def start(odometer):
    """Set the odometer to the first mapping; False if there is none."""
    factors, order = odometer.factors, odometer.order
    if factors.shape[1] > 0 and not _next_factorisation(
        odometer.splits, odometer.first_split, odometer.axis_sizes, odometer.row, odometer.products, factors
    ):
        return False
    _first_orders(factors, odometer.order_rank, order, odometer.ordered)
    return True


@kernel
def enumerate_batch(odometer, mappings):
    """Overwrite a batch with the next mappings: (how many, whether more follow)."""
    into_factors, into_order, into_keep = mappings.factors, mappings.order, mappings.keep
    splits, first_split, axis_sizes = odometer.splits, odometer.first_split, odometer.axis_sizes
    order_rank, keep, free_keep = odometer.order_rank, odometer.keep, odometer.free_keep
    row, products, choice = odometer.row, odometer.products, odometer.choice
    factors, order, ordered = odometer.factors, odometer.order, odometer.ordered
    slots, dims = factors.shape
    levels, tensors = keep.shape
    for n in range(into_order.shape[0]):
        for slot in range(slots):
            for d in range(dims):
                into_factors[n, slot, d] = factors[slot, d]
        for level in range(levels):
            for d in range(dims):
                into_order[n, level, d] = order[level, d]
            for t in range(tensors):
                into_keep[n, level, t] = keep[level, t]
        for free in range(free_keep.shape[0]):
            into_keep[n, free_keep[free, 0], free_keep[free, 1]] = (choice[0] >> free) & 1 == 1
        # The orders turn fastest, then the bypass choices, then the factorisations.
        level = levels - 1
        while level >= 0 and not _next_order(order, level, ordered[level, 0], ordered[level, 1]):
            level -= 1
        if level >= 0:
            continue
        choice[0] += 1
        if choice[0] < 1 << free_keep.shape[0]:
            continue
        choice[0] = 0
        if dims == 0 or not _next_factorisation(splits, first_split, axis_sizes, row, products, factors):
            return n + 1, False
        _first_orders(factors, order_rank, order, ordered)
    return into_order.shape[0], True
