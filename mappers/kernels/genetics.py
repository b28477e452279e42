"""Operators of the genetic mapper: children of two mappings, and mutations larger than a neighbour's step."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from accelerators.jit import kernel
from mappers.kernels.moves import _TRIES, _exchange_primes, _fits, _move_loop, _move_prime, below, uniform


@kernel
def _tournament(values, size, state):
    """The best of ``size`` random parents."""
    best = below(state, values.shape[0])
    for _ in range(size - 1):
        other = below(state, values.shape[0])
        if values[other] < values[best]:
            best = other
    return best


@kernel
def _inherit_dimension(axis_sizes, usable, parents, mate, factors, i, d):
    """All factors of a dimension come from the mate, unless they do not fit on an axis beside the others."""
    for slot in usable:
        if axis_sizes[slot] > 0 and parents[mate, slot, d] > factors[i, slot, d]:
            used = parents[mate, slot, d]
            for other in range(factors.shape[2]):
                if other != d:
                    used *= factors[i, slot, other]
            if used > axis_sizes[slot]:
                return
    for slot in usable:
        factors[i, slot, d] = parents[mate, slot, d]


@kernel
def _scatter(space_primes, prime_counts, min_factors, max_factors, axis_sizes, usable, factors, i, state):
    """Tiles: about half of the primes of one dimension move to random slots."""
    d = below(state, factors.shape[2])
    for f in range(prime_counts[d]):
        prime = space_primes[d, f]
        for _ in range(_TRIES):
            source = usable[below(state, usable.shape[0])]
            if factors[i, source, d] % prime == 0 and factors[i, source, d] // prime >= min_factors[source, d]:
                target = usable[below(state, usable.shape[0])]
                if target != source and _fits(max_factors, axis_sizes, factors, i, target, d, prime):
                    factors[i, source, d] //= prime
                    factors[i, target, d] *= prime
                break


@kernel
def _unroll(space_primes, prime_counts, min_factors, max_factors, axis_sizes, usable, temporal, factors, i, state):
    """Parallelism: one dimension leaves an axis, another one takes the children that are free then."""
    axes = usable.shape[0] - temporal
    if axes == 0 or temporal == 0:
        return
    dims = factors.shape[2]
    slot = usable[temporal + below(state, axes)]
    leaving = below(state, dims)
    for _ in range(_TRIES):
        if factors[i, slot, leaving] > min_factors[slot, leaving]:
            break
        leaving = below(state, dims)
    for f in range(prime_counts[leaving]):
        prime = space_primes[leaving, f]
        if factors[i, slot, leaving] % prime == 0 and factors[i, slot, leaving] // prime >= min_factors[slot, leaving]:
            for _ in range(_TRIES):
                target = usable[below(state, temporal)]
                if _fits(max_factors, axis_sizes, factors, i, target, leaving, prime):
                    factors[i, slot, leaving] //= prime
                    factors[i, target, leaving] *= prime
                    break
    entering = below(state, dims)
    for _ in range(_TRIES):
        if max_factors[slot, entering] > factors[i, slot, entering] and entering != leaving:
            break
        entering = below(state, dims)
    for f in range(prime_counts[entering] - 1, -1, -1):
        prime = space_primes[entering, f]
        if not _fits(max_factors, axis_sizes, factors, i, slot, entering, prime):
            continue
        first = below(state, temporal)
        for k in range(temporal):
            source = usable[(first + k) % temporal]
            factor = factors[i, source, entering]
            if factor % prime == 0 and factor // prime >= min_factors[source, entering]:
                factors[i, source, entering] = factor // prime
                factors[i, slot, entering] *= prime
                break


@kernel
def breed(space, parents, values, children, tournament, crossover_rate, state):
    """Overwrite the children: crossover of tournament winners at the given rate, else mutation, at times both."""
    primes, prime_counts, usable = space.primes, space.prime_counts, space.usable
    min_factors, max_factors, axis_sizes = space.min_factors, space.max_factors, space.axis_sizes
    order_rank, free_keep = space.order_rank, space.free_keep
    from_factors, from_order, from_keep = parents.factors, parents.order, parents.keep
    factors, order, keep = children.factors, children.order, children.keep
    n, levels, dims = order.shape
    choices = free_keep.shape[0]
    temporal = 0
    while temporal < usable.shape[0] and usable[temporal] < levels:
        temporal += 1
    for i in range(n):
        parent = _tournament(values, tournament, state)
        factors[i] = from_factors[parent]
        order[i] = from_order[parent]
        keep[i] = from_keep[parent]
        moves = 1 + below(state, 3)
        if uniform(state) < crossover_rate:
            mate = _tournament(values, tournament, state)
            moves = below(state, 3)
            per_dimension = below(state, 3) > 0
            if per_dimension and dims > 0:
                for _ in range(1 + below(state, 1 + dims // 2)):
                    _inherit_dimension(axis_sizes, usable, from_factors, mate, factors, i, below(state, dims))
            if not per_dimension or below(state, 2) == 0:
                level = below(state, levels)
                order[i, level] = from_order[mate, level]
                keep[i, level] = from_keep[mate, level]
        for _ in range(moves):
            kind = below(state, 12 + 2 * (choices > 0))
            if kind >= 12:
                choice = below(state, choices)
                level, t = free_keep[choice, 0], free_keep[choice, 1]
                keep[i, level, t] = not keep[i, level, t]
            elif dims == 0:
                break
            elif kind < 5:
                _move_prime(primes, prime_counts, min_factors, max_factors, axis_sizes, usable, factors, i, state)
            elif kind < 6:
                _scatter(primes, prime_counts, min_factors, max_factors, axis_sizes, usable, factors, i, state)
            elif kind < 7:
                _unroll(primes, prime_counts, min_factors, max_factors, axis_sizes, usable, temporal, factors, i, state)
            elif kind < 9 and dims > 1:
                _exchange_primes(primes, prime_counts, min_factors, max_factors, axis_sizes, usable, factors, i, state)
            else:
                _move_loop(order_rank, order, i, state)
