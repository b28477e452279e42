"""Draw random mappings from a mapspace and change a mapping into a neighbour.

A prime factor of a dimension sits in exactly one slot (a level's temporal loops, or an axis of its fanout), so moving
primes between slots keeps every factorisation perfect. Functions take plain arrays: a struct of arrays as an argument
costs more than the move.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accelerators.jit import kernel

_TRIES = 16


class MapspaceArrays(NamedTuple):
    """A mapspace: S slots, D dimensions, L levels, T tensors, at most F prime factors per dimension."""

    primes: NDArray[np.int64]  # (D, F); 0 fills up
    prime_counts: NDArray[np.int64]  # (D,)
    min_factors: NDArray[np.int64]  # (S, D)
    max_factors: NDArray[np.int64]  # (S, D); 1 where the dimension is not allowed
    start_factors: NDArray[np.int64]  # (S, D); the smallest factors that meet min_factors and divide the bounds
    start_primes: NDArray[np.int64]  # (D, F); what start_factors leave of primes, 1 where it is used up
    axis_sizes: NDArray[np.int64]  # (S,); 0 for temporal slots
    usable: NDArray[np.int64]  # (U,) the slots that any dimension may use; temporal ones first
    order_rank: NDArray[np.int64]  # (L, D); loops with a lower rank are outside those with a higher one
    keep: NDArray[np.bool_]  # (L, T)
    free_keep: NDArray[np.int64]  # (B, 2) pairs of level and tensor where a mapping may choose


@kernel
def _next(state):
    """SplitMix64 (Steele, Lea and Flood 2014): the stream is a function of ``state`` alone."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@kernel
def below(state, n):
    """A random integer in 0..n-1."""
    return np.int64((_next(state) >> np.uint64(32)) * np.uint64(n) >> np.uint64(32))


@kernel
def uniform(state):
    """A random float in [0, 1)."""
    return np.float64(_next(state) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@kernel
def _fits(max_factors, axis_sizes, factors, i, slot, d, prime):
    """Whether the slot may take one more prime of the dimension."""
    if factors[i, slot, d] * prime > max_factors[slot, d]:
        return False
    size = axis_sizes[slot]
    if size == 0:
        return True
    used = prime
    for other in range(factors.shape[2]):
        used *= factors[i, slot, other]
    return used <= size


@kernel
def _sort_by_rank(order_rank, order, i):
    """Bring the loops of every level into the order of their ranks; equal ranks stay as they are."""
    for level in range(order.shape[1]):
        for k in range(1, order.shape[2]):
            d = order[i, level, k]
            j = k
            while j > 0 and order_rank[level, order[i, level, j - 1]] > order_rank[level, d]:
                order[i, level, j] = order[i, level, j - 1]
                j -= 1
            order[i, level, j] = d


@kernel
def _start(space, mappings, i, left):
    """The least factors everywhere; the primes that remain to be placed go to ``left`` (D, F)."""
    factors, order, keep = mappings.factors, mappings.order, mappings.keep
    start_factors, start_primes = space.start_factors, space.start_primes
    slots, dims = start_factors.shape
    for d in range(dims):
        for slot in range(slots):
            factors[i, slot, d] = start_factors[slot, d]
        for f in range(left.shape[1]):
            left[d, f] = start_primes[d, f]
    for level in range(order.shape[1]):
        for d in range(dims):
            order[i, level, d] = d
        for t in range(keep.shape[2]):
            keep[i, level, t] = space.keep[level, t]


@kernel
def outermost(space, mappings, i):
    """The mapping with every loop as far out as it may be: the smallest tiles."""
    factors = mappings.factors
    left = space.primes.copy()
    _start(space, mappings, i, left)
    for d in range(factors.shape[2]):
        for f in range(space.prime_counts[d]):
            for slot in space.usable:
                prime = left[d, f]
                if prime > 1 and _fits(space.max_factors, space.axis_sizes, factors, i, slot, d, prime):
                    factors[i, slot, d] *= prime
                    left[d, f] = 1
    _sort_by_rank(space.order_rank, mappings.order, i)


@kernel
def draw_batch(space, mappings, state):
    """Overwrite a batch with random mappings; primes that fit nowhere make one invalid (its factors fall short)."""
    factors, order, keep = mappings.factors, mappings.order, mappings.keep
    n, levels, dims = order.shape
    max_factors, axis_sizes, order_rank = space.max_factors, space.axis_sizes, space.order_rank
    prime_counts, usable, free_keep = space.prime_counts, space.usable, space.free_keep
    temporal = 0
    while temporal < usable.shape[0] and usable[temporal] < levels:
        temporal += 1
    axes = usable.shape[0] - temporal
    left = space.primes.copy()
    for i in range(n):
        _start(space, mappings, i, left)
        spatial_bias = uniform(state)
        # Dimensions from a random one on, so that none always gets the axes first.
        shift = below(state, dims) if dims > 0 else 0
        for turn in range(dims):
            d = (turn + shift) % dims
            for f in range(prime_counts[d]):
                prime = left[d, f]
                if prime <= 1:
                    continue
                placed = False
                if axes > 0 and uniform(state) < spatial_bias:
                    for _ in range(4):
                        slot = usable[temporal + below(state, axes)]
                        if _fits(max_factors, axis_sizes, factors, i, slot, d, prime):
                            factors[i, slot, d] *= prime
                            placed = True
                            break
                for _ in range(_TRIES):
                    if placed or temporal == 0:
                        break
                    slot = usable[below(state, temporal)]
                    if _fits(max_factors, axis_sizes, factors, i, slot, d, prime):
                        factors[i, slot, d] *= prime
                        placed = True
                for slot in usable:
                    if placed:
                        break
                    if _fits(max_factors, axis_sizes, factors, i, slot, d, prime):
                        factors[i, slot, d] *= prime
                        placed = True
        for choice in range(free_keep.shape[0]):
            keep[i, free_keep[choice, 0], free_keep[choice, 1]] = below(state, 2) == 1
        for level in range(levels):
            for k in range(dims - 1, 0, -1):
                j = below(state, k + 1)
                order[i, level, k], order[i, level, j] = order[i, level, j], order[i, level, k]
        _sort_by_rank(order_rank, order, i)


@kernel
def _move_prime(space_primes, prime_counts, min_factors, max_factors, axis_sizes, usable, factors, i, state):
    """Move one prime of one dimension to another slot, if a few tries find one."""
    for _ in range(_TRIES):
        d = below(state, factors.shape[2])
        source = usable[below(state, usable.shape[0])]
        factor = factors[i, source, d]
        if factor == 1:
            continue
        prime = space_primes[d, below(state, prime_counts[d])]
        if factor % prime != 0 or factor // prime < min_factors[source, d]:
            continue
        target = usable[below(state, usable.shape[0])]
        if target != source and _fits(max_factors, axis_sizes, factors, i, target, d, prime):
            factors[i, source, d] //= prime
            factors[i, target, d] *= prime
            return


@kernel
def _exchange_primes(space_primes, prime_counts, min_factors, max_factors, axis_sizes, usable, factors, i, state):
    """Move a prime of one dimension from slot a to b and one of another dimension from b to a."""
    dims = factors.shape[2]
    for _ in range(_TRIES):
        d = below(state, dims)
        e = (d + 1 + below(state, dims - 1)) % dims
        a = usable[below(state, usable.shape[0])]
        b = usable[below(state, usable.shape[0])]
        of_d, of_e = factors[i, a, d], factors[i, b, e]
        if a == b or of_d == 1 or of_e == 1:
            continue
        p = space_primes[d, below(state, prime_counts[d])]
        q = space_primes[e, below(state, prime_counts[e])]
        if of_d % p or of_e % q or of_d // p < min_factors[a, d] or of_e // q < min_factors[b, e]:
            continue
        factors[i, a, d] //= p
        factors[i, b, e] //= q
        if _fits(max_factors, axis_sizes, factors, i, b, d, p):
            factors[i, b, d] *= p
            if _fits(max_factors, axis_sizes, factors, i, a, e, q):
                factors[i, a, e] *= q
                return
            factors[i, b, d] //= p
        factors[i, a, d] *= p
        factors[i, b, e] *= q


@kernel
def _move_loop(order_rank, order, i, state):
    """Move one loop of a level to another place in the order, within its rank."""
    levels, dims = order_rank.shape
    level = below(state, levels)
    source = below(state, dims)
    target = below(state, dims)
    d = order[i, level, source]
    step = 1 if target > source else -1
    k = source
    while k != target and order_rank[level, order[i, level, k + step]] == order_rank[level, d]:
        order[i, level, k] = order[i, level, k + step]
        k += step
    order[i, level, k] = d


@kernel
def propose(space, walks, candidates, state):
    """Candidate ``i`` becomes a random neighbour of walk ``i``: one to three small moves away."""
    primes, prime_counts, usable = space.primes, space.prime_counts, space.usable
    min_factors, max_factors, axis_sizes = space.min_factors, space.max_factors, space.axis_sizes
    order_rank, free_keep = space.order_rank, space.free_keep
    factors, order, keep = candidates.factors, candidates.order, candidates.keep
    n, _, dims = order.shape
    factors[:] = walks.factors
    order[:] = walks.order
    keep[:] = walks.keep
    choices = free_keep.shape[0]
    for i in range(n):
        for _ in range(1 + below(state, 3)):
            kind = below(state, 9 + (choices > 0))
            if kind == 9:
                choice = below(state, choices)
                level, t = free_keep[choice, 0], free_keep[choice, 1]
                keep[i, level, t] = not keep[i, level, t]
            elif dims == 0:
                break
            elif kind < 5 or dims == 1:
                _move_prime(primes, prime_counts, min_factors, max_factors, axis_sizes, usable, factors, i, state)
            elif kind < 7:
                _exchange_primes(primes, prime_counts, min_factors, max_factors, axis_sizes, usable, factors, i, state)
            else:
                _move_loop(order_rank, order, i, state)
