"""Draw random mappings from a mapspace and change one mapping into a neighbour.

A slot is a place for a factor of a dimension: slot ``l`` holds the temporal factors of level l, slot
``L + l * AXES + a`` the factors along axis a of its fanout. A prime factor of a dimension sits in exactly one slot, so
moving primes between slots keeps every factorisation perfect.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accelerators.jit import kernel
from accelerators.spatial.kernels.arrays import AXES

_TRIES = 16


class MapspaceArrays(NamedTuple):
    """A mapspace: S slots, D dimensions, L levels, T tensors, at most F prime factors per dimension."""

    primes: NDArray[np.int64]  # (D, F); 0 fills up
    prime_counts: NDArray[np.int64]  # (D,)
    allowed: NDArray[np.bool_]  # (S, D)
    min_factors: NDArray[np.int64]  # (S, D)
    max_factors: NDArray[np.int64]  # (S, D)
    axis_sizes: NDArray[np.int64]  # (S,); 0 for temporal slots
    order_rank: NDArray[np.int64]  # (L, D); loops with a lower rank are outside those with a higher one
    keep: NDArray[np.bool_]  # (L, T)
    free_keep: NDArray[np.bool_]  # (L, T); True where a mapping may choose


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
def _get(mappings, i, slot, d):
    levels = mappings.temporal.shape[1]
    if slot < levels:
        return mappings.temporal[i, slot, d]
    slot -= levels
    return mappings.spatial[i, slot // AXES, slot % AXES, d]


@kernel
def _multiply(mappings, i, slot, d, numerator, denominator):
    levels = mappings.temporal.shape[1]
    if slot < levels:
        mappings.temporal[i, slot, d] = mappings.temporal[i, slot, d] * numerator // denominator
    else:
        slot -= levels
        axis = mappings.spatial[i, slot // AXES, slot % AXES]
        axis[d] = axis[d] * numerator // denominator


@kernel
def _fits(space, mappings, i, slot, d, prime):
    """Whether the slot may take one more prime of the dimension."""
    if not space.allowed[slot, d] or _get(mappings, i, slot, d) * prime > space.max_factors[slot, d]:
        return False
    size = space.axis_sizes[slot]
    if size == 0:
        return True
    used = prime
    for other in range(mappings.temporal.shape[2]):
        used *= _get(mappings, i, slot, other)
    return used <= size


@kernel
def _sort_by_rank(space, mappings, i):
    """Bring the loops of every level into the order of their ranks; equal ranks stay as they are."""
    levels, dims = mappings.temporal.shape[1:]
    for level in range(levels):
        order = mappings.order[i, level]
        for k in range(1, dims):
            d = order[k]
            j = k
            while j > 0 and space.order_rank[level, order[j - 1]] > space.order_rank[level, d]:
                order[j] = order[j - 1]
                j -= 1
            order[j] = d


@kernel
def _shuffle_orders(space, mappings, i, state):
    """Random loop orders that respect the ranks."""
    levels, dims = mappings.temporal.shape[1:]
    for level in range(levels):
        order = mappings.order[i, level]
        for k in range(dims - 1, 0, -1):
            j = below(state, k + 1)
            order[k], order[j] = order[j], order[k]
    _sort_by_rank(space, mappings, i)


@kernel
def _clear(space, mappings, i):
    levels, dims = mappings.temporal.shape[1:]
    for level in range(levels):
        for d in range(dims):
            mappings.temporal[i, level, d] = 1
            mappings.order[i, level, d] = d
            for axis in range(AXES):
                mappings.spatial[i, level, axis, d] = 1
        for t in range(mappings.keep.shape[2]):
            mappings.keep[i, level, t] = space.keep[level, t]


@kernel
def _place_minima(space, mappings, i, left):
    """Give every slot its least factor; ``left`` (D, F) loses the primes that this takes."""
    for d in range(mappings.temporal.shape[2]):
        for slot in range(space.allowed.shape[0]):
            # The largest primes first, so that a least factor of 6 out of 2*2*3 becomes 6 and not 12.
            for f in range(space.prime_counts[d] - 1, -1, -1):
                now = _get(mappings, i, slot, d)
                prime = left[d, f]
                if now < space.min_factors[slot, d] and prime > 1 and _fits(space, mappings, i, slot, d, prime):
                    _multiply(mappings, i, slot, d, prime, 1)
                    left[d, f] = 1


@kernel
def outermost(space, mappings, i):
    """The mapping with every loop as far out as it may be: the smallest tiles."""
    _clear(space, mappings, i)
    left = space.primes.copy()
    _place_minima(space, mappings, i, left)
    slots = space.allowed.shape[0]
    for d in range(mappings.temporal.shape[2]):
        for f in range(space.prime_counts[d]):
            for slot in range(slots):
                if left[d, f] > 1 and _fits(space, mappings, i, slot, d, left[d, f]):
                    _multiply(mappings, i, slot, d, left[d, f], 1)
                    left[d, f] = 1
    _sort_by_rank(space, mappings, i)


@kernel
def draw(space, mappings, i, state):
    """Overwrite mapping ``i`` with a random one; primes that fit nowhere make it invalid (its factors fall short)."""
    _clear(space, mappings, i)
    levels, dims = mappings.temporal.shape[1:]
    slots = space.allowed.shape[0]
    left = space.primes.copy()
    _place_minima(space, mappings, i, left)
    spatial_bias = uniform(state)
    # Dimensions in a random order, so that none always gets the axes first.
    shift = below(state, dims) if dims > 0 else 0
    for turn in range(dims):
        d = (turn + shift) % dims
        for f in range(space.prime_counts[d]):
            prime = left[d, f]
            if prime <= 1:
                continue
            placed = False
            if uniform(state) < spatial_bias:
                for _ in range(4):
                    slot = levels + below(state, slots - levels)
                    if _fits(space, mappings, i, slot, d, prime):
                        _multiply(mappings, i, slot, d, prime, 1)
                        placed = True
                        break
            for _ in range(_TRIES):
                if placed:
                    break
                slot = below(state, levels)
                if _fits(space, mappings, i, slot, d, prime):
                    _multiply(mappings, i, slot, d, prime, 1)
                    placed = True
            for slot in range(slots):
                if placed:
                    break
                if _fits(space, mappings, i, slot, d, prime):
                    _multiply(mappings, i, slot, d, prime, 1)
                    placed = True
    for level in range(levels):
        for t in range(mappings.keep.shape[2]):
            if space.free_keep[level, t]:
                mappings.keep[i, level, t] = below(state, 2) == 1
    _shuffle_orders(space, mappings, i, state)


@kernel
def _move_prime(space, mappings, i, state):
    """Move one prime of one dimension to another slot; False if none was found."""
    dims = mappings.temporal.shape[2]
    slots = space.allowed.shape[0]
    for _ in range(_TRIES):
        d = below(state, dims)
        source = below(state, slots)
        factor = _get(mappings, i, source, d)
        if factor == 1:
            continue
        prime = space.primes[d, below(state, space.prime_counts[d])]
        if factor % prime != 0 or factor // prime < space.min_factors[source, d]:
            continue
        target = below(state, slots)
        if target == source or not _fits(space, mappings, i, target, d, prime):
            continue
        _multiply(mappings, i, source, d, 1, prime)
        _multiply(mappings, i, target, d, prime, 1)
        return True
    return False


@kernel
def _exchange_primes(space, mappings, i, state):
    """Move a prime of one dimension from slot a to b and one of another dimension from b to a."""
    dims = mappings.temporal.shape[2]
    slots = space.allowed.shape[0]
    if dims < 2:
        return False
    for _ in range(_TRIES):
        d = below(state, dims)
        e = (d + 1 + below(state, dims - 1)) % dims
        a = below(state, slots)
        b = below(state, slots)
        of_d, of_e = _get(mappings, i, a, d), _get(mappings, i, b, e)
        if a == b or of_d == 1 or of_e == 1:
            continue
        p = space.primes[d, below(state, space.prime_counts[d])]
        q = space.primes[e, below(state, space.prime_counts[e])]
        if of_d % p or of_e % q or of_d // p < space.min_factors[a, d] or of_e // q < space.min_factors[b, e]:
            continue
        _multiply(mappings, i, a, d, 1, p)
        _multiply(mappings, i, b, e, 1, q)
        if _fits(space, mappings, i, b, d, p):
            _multiply(mappings, i, b, d, p, 1)
            if _fits(space, mappings, i, a, e, q):
                _multiply(mappings, i, a, e, q, 1)
                return True
            _multiply(mappings, i, b, d, 1, p)
        _multiply(mappings, i, a, d, p, 1)
        _multiply(mappings, i, b, e, q, 1)
    return False


@kernel
def _move_loop(space, mappings, i, state):
    """Move one loop of a level to another place in the order, within its rank."""
    levels, dims = mappings.temporal.shape[1:]
    if dims < 2:
        return
    level = below(state, levels)
    order = mappings.order[i, level]
    source = below(state, dims)
    target = below(state, dims)
    d = order[source]
    rank = space.order_rank[level, d]
    step = 1 if target > source else -1
    k = source
    while k != target and space.order_rank[level, order[k + step]] == rank:
        order[k] = order[k + step]
        k += step
    order[k] = d


@kernel
def _flip_keep(space, mappings, i, state):
    levels, tensors = mappings.keep.shape[1:]
    for _ in range(_TRIES):
        level, t = below(state, levels), below(state, tensors)
        if space.free_keep[level, t]:
            mappings.keep[i, level, t] = not mappings.keep[i, level, t]
            return


@kernel
def step(space, mappings, i, state):
    """Change mapping ``i`` into a random neighbour: one to three small moves."""
    for _ in range(1 + below(state, 3)):
        kind = below(state, 10)
        if kind < 5:
            _move_prime(space, mappings, i, state)
        elif kind < 7:
            _exchange_primes(space, mappings, i, state)
        elif kind < 9:
            _move_loop(space, mappings, i, state)
        else:
            _flip_keep(space, mappings, i, state)


@kernel
def copy(source, i, target, k):
    """Copy mapping ``i`` of one batch to place ``k`` of another."""
    target.temporal[k] = source.temporal[i]
    target.order[k] = source.order[i]
    target.spatial[k] = source.spatial[i]
    target.keep[k] = source.keep[i]


@kernel
def draw_batch(space, mappings, state):
    """Overwrite a whole batch with random mappings."""
    for i in range(mappings.temporal.shape[0]):
        draw(space, mappings, i, state)
