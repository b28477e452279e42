"""Vectors of reals become mappings.

Every factor that a vector asks for is snapped to a divisor of what is left of its dimension, so that factorisations are
perfect. Divisors are handled as positions in the ascending list of the bound's divisors, with tables for the divisors
of a divisor and for quotients: the inner loops divide nothing.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accelerators.jit import kernel
from mappers.kernels.moves import _fits, _sort_by_rank


class EncodingArrays(NamedTuple):
    """Where the numbers of a vector are, and tables of divisors; X fanout axes, at most V divisors per dimension."""

    order: NDArray[np.int64]  # (L, D) or (L, 1); column of the number(s) for a level's order
    tile: NDArray[np.int64]  # (L, D); column of the tile's extent
    axis: NDArray[np.int64]  # (X, D) or (X, 1); column of the number(s) for an axis
    keep: NDArray[np.int64]  # (B,); columns of the bypass choices
    axis_slots: NDArray[np.int64]  # (X,); slot of an axis
    divisors: NDArray[np.int64]  # (D, V); ascending
    log_divisors: NDArray[np.float64]  # (D, V)
    last: NDArray[np.int64]  # (D,); position of the bound itself
    parts: NDArray[np.int64]  # (D, V, V); positions of the divisors of a divisor, ascending
    part_counts: NDArray[np.int64]  # (D, V)
    quotients: NDArray[np.int64]  # (D, V, V); position of one divisor over another, -1 if that is not whole
    start_left: NDArray[np.int64]  # (D,); position of what the least factors leave of the bound
    log_sizes: NDArray[np.float64]  # (X,); logarithm of the axis' size
    choices: NDArray[np.int64]  # (X, J, 2); dimensions that an axis may unroll, first and second, -1 for none
    choice_counts: NDArray[np.int64]  # (X,)


@kernel
def _nearest(parts, part_counts, divisors, log_divisors, d, left, target, most):
    """Position of the divisor of ``left`` nearest to a logarithm among those that are at most ``most``."""
    best = 0
    for k in range(1, part_counts[d, left]):
        j = parts[d, left, k]
        if divisors[d, j] > most:
            break
        if log_divisors[d, j] - target >= target - log_divisors[d, best]:
            break
        best = j
    return best


@kernel
def _largest(parts, part_counts, divisors, d, left, most):
    """Position of the largest divisor of ``left`` that is at most ``most``."""
    for k in range(part_counts[d, left] - 1, 0, -1):
        j = parts[d, left, k]
        if divisors[d, j] <= most:
            return j
    return 0


@kernel
def _begin(start_factors, start_keep, start_left, factors, keep, left, i):
    """The least factors everywhere, and what levels keep."""
    for d in range(factors.shape[2]):
        left[d] = start_left[d]
        for slot in range(factors.shape[1]):
            factors[i, slot, d] = start_factors[slot, d]
    for level in range(keep.shape[1]):
        for t in range(keep.shape[2]):
            keep[i, level, t] = start_keep[level, t]


@kernel
def _lanes(factors, axis_sizes, slot, i):
    """How many times more children an axis has than are used."""
    used = 1
    for d in range(factors.shape[2]):
        used *= factors[i, slot, d]
    return axis_sizes[slot] // used


@kernel
def _finish(
    primes, prime_counts, max_factors, axis_sizes, usable, divisors, quotients, parts, part_counts, factors, left, i
):
    """What is left goes to the outermost level; where that may not take it, prime by prime to any slot that may."""
    for d in range(factors.shape[2]):
        if left[d] == 0:
            continue
        j = _largest(parts, part_counts, divisors, d, left[d], max_factors[0, d] // factors[i, 0, d])
        factors[i, 0, d] *= divisors[d, j]
        left[d] = quotients[d, left[d], j]
        rest = divisors[d, left[d]]
        if rest == 1:
            continue
        for f in range(prime_counts[d]):
            prime = primes[d, f]
            if rest % prime != 0:
                continue
            for slot in usable:
                if _fits(max_factors, axis_sizes, factors, i, slot, d, prime):
                    factors[i, slot, d] *= prime
                    rest //= prime
                    break


@kernel
def decode_importance(space, encoding, vectors, mappings):
    """Overwrite a batch with what the n vectors mean; see ``ImportanceEncoding``."""
    factors, order, keep = mappings.factors, mappings.order, mappings.keep
    n, levels, dims = order.shape
    primes, prime_counts, usable = space.primes, space.prime_counts, space.usable
    start_factors, max_factors, axis_sizes = space.start_factors, space.max_factors, space.axis_sizes
    order_rank, start_keep, free_keep = space.order_rank, space.keep, space.free_keep
    order_columns, tile_columns, axis_columns = encoding.order, encoding.tile, encoding.axis
    keep_columns, axis_slots, log_sizes = encoding.keep, encoding.axis_slots, encoding.log_sizes
    divisors, log_divisors, last = encoding.divisors, encoding.log_divisors, encoding.last
    parts, part_counts, quotients = encoding.parts, encoding.part_counts, encoding.quotients
    start_left = encoding.start_left
    left = np.empty(dims, np.int64)
    importance = np.empty(dims)
    ranked = np.empty(dims, np.int64)
    log_inside = np.empty(dims)
    axes_per_level = (factors.shape[1] - levels) // levels
    for i in range(n):
        _begin(start_factors, start_keep, start_left, factors, keep, left, i)

        for x in range(axis_slots.shape[0]):
            slot = axis_slots[x]
            count = 0
            for d in range(dims):
                if max_factors[slot, d] > factors[i, slot, d] and left[d] > 0:
                    value = vectors[i, axis_columns[x, d]]
                    k = count
                    while k > 0 and importance[k - 1] < value:
                        importance[k] = importance[k - 1]
                        ranked[k] = ranked[k - 1]
                        k -= 1
                    importance[k] = value
                    ranked[k] = d
                    count += 1
            lanes = _lanes(factors, axis_sizes, slot, i)
            for k in range(count):
                if lanes < 2:
                    break
                d = ranked[k]
                target = min(1.0, 2.0 * importance[k]) * log_sizes[x]
                most = lanes
                if factors[i, slot, d] > 1:
                    target -= np.log(factors[i, slot, d])
                    most = min(lanes, max_factors[slot, d] // factors[i, slot, d])
                else:
                    most = min(lanes, max_factors[slot, d])
                j = _nearest(parts, part_counts, divisors, log_divisors, d, left[d], target, most)
                if j > 0:
                    factors[i, slot, d] *= divisors[d, j]
                    left[d] = quotients[d, left[d], j]
                    lanes //= divisors[d, j]

        for d in range(dims):
            log_inside[d] = 0.0
        for level in range(levels - 1, 0, -1):
            for a in range(axes_per_level):
                slot = levels + level * axes_per_level + a
                if axis_sizes[slot] > 1:
                    for d in range(dims):
                        if factors[i, slot, d] > 1:
                            log_inside[d] += np.log(factors[i, slot, d])
            for d in range(dims):
                if max_factors[level, d] == 1:
                    continue
                factor = factors[i, level, d]
                if factor > 1:
                    log_inside[d] += np.log(factor)
                if left[d] == 0 or max_factors[level, d] == factor:
                    continue
                target = vectors[i, tile_columns[level, d]] * log_divisors[d, last[d]] - log_inside[d]
                if target > 0.0:
                    j = _nearest(
                        parts, part_counts, divisors, log_divisors, d, left[d], target, max_factors[level, d] // factor
                    )
                    factors[i, level, d] = factor * divisors[d, j]
                    left[d] = quotients[d, left[d], j]
                    log_inside[d] += log_divisors[d, j]
        _finish(
            primes,
            prime_counts,
            max_factors,
            axis_sizes,
            usable,
            divisors,
            quotients,
            parts,
            part_counts,
            factors,
            left,
            i,
        )

        for choice in range(keep_columns.shape[0]):
            keep[i, free_keep[choice, 0], free_keep[choice, 1]] = vectors[i, keep_columns[choice]] >= 0.5
        for level in range(levels):
            for d in range(dims):
                value = vectors[i, order_columns[level, d]]
                rank = order_rank[level, d]
                k = d
                while k > 0:
                    other = order[i, level, k - 1]
                    if order_rank[level, other] < rank or (
                        order_rank[level, other] == rank and importance[k - 1] >= value
                    ):
                        break
                    order[i, level, k] = other
                    importance[k] = importance[k - 1]
                    k -= 1
                order[i, level, k] = d
                importance[k] = value


@kernel
def _permutation(number, dims, rest, order, i, level):
    """Number in 0..dims!-1 to a permutation, by its Lehmer code; ``rest`` is scratch (D,)."""
    weight = 1
    for k in range(2, dims + 1):
        weight *= k
    for d in range(dims):
        rest[d] = d
    for k in range(dims):
        weight //= dims - k
        digit = number // weight
        number -= digit * weight
        order[i, level, k] = rest[digit]
        for m in range(digit, dims - k - 1):
            rest[m] = rest[m + 1]


@kernel
def decode_index(space, encoding, vectors, mappings):
    """Overwrite a batch with what the n vectors mean; see ``IndexEncoding``."""
    factors, order, keep = mappings.factors, mappings.order, mappings.keep
    n, levels, dims = order.shape
    primes, prime_counts, usable = space.primes, space.prime_counts, space.usable
    start_factors, max_factors, axis_sizes = space.start_factors, space.max_factors, space.axis_sizes
    order_rank, start_keep, free_keep = space.order_rank, space.keep, space.free_keep
    order_columns, tile_columns, axis_columns = encoding.order, encoding.tile, encoding.axis
    keep_columns, axis_slots = encoding.keep, encoding.axis_slots
    divisors, parts, part_counts = encoding.divisors, encoding.parts, encoding.part_counts
    quotients, start_left = encoding.quotients, encoding.start_left
    choices, choice_counts = encoding.choices, encoding.choice_counts
    left = np.empty(dims, np.int64)
    rest = np.empty(dims, np.int64)
    permutations = 1
    for k in range(2, dims + 1):
        permutations *= k
    for i in range(n):
        _begin(start_factors, start_keep, start_left, factors, keep, left, i)
        for x in range(axis_slots.shape[0]):
            slot = axis_slots[x]
            count = choice_counts[x]
            choice = min(count - 1, np.int64(vectors[i, axis_columns[x, 0]] * count))
            lanes = _lanes(factors, axis_sizes, slot, i)
            for k in range(2):
                d = choices[x, choice, k]
                if d < 0 or lanes < 2:
                    break
                most = min(lanes, max_factors[slot, d] // factors[i, slot, d])
                j = _largest(parts, part_counts, divisors, d, left[d], most)
                factors[i, slot, d] *= divisors[d, j]
                left[d] = quotients[d, left[d], j]
                lanes //= divisors[d, j]
        for level in range(levels - 1, 0, -1):
            for d in range(dims):
                most = max_factors[level, d] // factors[i, level, d]
                if left[d] == 0 or most < 2:
                    continue
                count = 1
                while count < part_counts[d, left[d]] and divisors[d, parts[d, left[d], count]] <= most:
                    count += 1
                k = min(count - 1, np.int64(vectors[i, tile_columns[level, d]] * count))
                j = parts[d, left[d], k]
                factors[i, level, d] *= divisors[d, j]
                left[d] = quotients[d, left[d], j]
        _finish(
            primes,
            prime_counts,
            max_factors,
            axis_sizes,
            usable,
            divisors,
            quotients,
            parts,
            part_counts,
            factors,
            left,
            i,
        )
        for choice in range(keep_columns.shape[0]):
            keep[i, free_keep[choice, 0], free_keep[choice, 1]] = vectors[i, keep_columns[choice]] >= 0.5
        for level in range(levels):
            number = min(permutations - 1, np.int64(vectors[i, order_columns[level, 0]] * permutations))
            _permutation(number, dims, rest, order, i, level)
        _sort_by_rank(order_rank, order, i)
