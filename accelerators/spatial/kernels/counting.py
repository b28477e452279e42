"""Count the words that one mapping moves, in closed form: no loop is walked.

The semantics are those of a full walk without link transfers: an instance remembers one tile per tensor and the step
of its last move, so it slides along one direction and fetches everything again otherwise; a parent serves children
with identical needs by one access. The remembered-step automaton collapses to a price per loop (nothing, the whole
tile, or the tile without its overlap), see :func:`_arrivals`.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from accelerators.jit import kernel
from accelerators.spatial.kernels.arrays import AXIS, CAPACITY, FACTORS, FANOUT, KEEP, NO_HOME, VALID


@kernel
def _gcd(a, b):
    while b:
        a, b = b, a % b
    return a


@kernel
def _rank_extent(operator, tensor, rank, extents):
    """Extent of a tile's bounding box along one rank."""
    extent = 1
    for k in range(operator.rank_sizes[tensor, rank]):
        d = operator.rank_dims[tensor, rank, k]
        extent += operator.coefficients[tensor, d] * (extents[d] - 1)
    return extent


@kernel
def tile_words(operator, tensor, extents):
    """Words in the bounding box of a tile with the given extent per dimension."""
    words = 1
    for rank in range(operator.ranks[tensor]):
        words *= _rank_extent(operator, tensor, rank, extents)
    return words


@kernel
def _offsets(operator, tensor, rank, bounds, steps):
    """Offset of every child of a fanout along one rank, duplicates included."""
    offsets = np.zeros(1, np.int64)
    for k in range(operator.rank_sizes[tensor, rank]):
        d = operator.rank_dims[tensor, rank, k]
        step = operator.coefficients[tensor, d] * steps[d]
        grown = np.empty(offsets.size * bounds[d], np.int64)
        for i in range(bounds[d]):
            grown[i * offsets.size : (i + 1) * offsets.size] = offsets + i * step
        offsets = grown
    return offsets


@kernel
def _distinct_children(operator, tensor, bounds, steps):
    """Number of children of a fanout with different tiles: the distinct offsets, multiplied over the ranks.

    Two unrolled dimensions in a rank: an offset is shared by a chain (i, j), (i + b, j - a), .. with a, b the coprime
    steps, so the number of offsets is the number of pairs minus the number of links. More: by enumeration.
    """
    distinct = 1
    for rank in range(operator.ranks[tensor]):
        unrolled = 0
        m = n = 1
        first = second = 0
        for k in range(operator.rank_sizes[tensor, rank]):
            d = operator.rank_dims[tensor, rank, k]
            if bounds[d] > 1:
                unrolled += 1
                if unrolled == 1:
                    m, first = bounds[d], operator.coefficients[tensor, d] * steps[d]
                else:
                    n, second = bounds[d], operator.coefficients[tensor, d] * steps[d]
        if unrolled <= 1:
            distinct *= m
        elif unrolled == 2:
            divisor = _gcd(first, second)
            distinct *= m * n - max(0, m - second // divisor) * max(0, n - first // divisor)
        else:
            distinct *= np.unique(_offsets(operator, tensor, rank, bounds, steps)).size
    return distinct


@kernel
def multicast_histogram(operator, counts, level, tensor):
    """How many groups of children share their data, by group size, at the fanout below ``level``.

    Returns (sizes, groups): ``groups[i]`` distinct tiles are each used by ``sizes[i]`` children. Ranks share no
    dimension, so sizes multiply over the ranks and with the unrolled dimensions that the tensor does not depend on.
    """
    sizes = np.ones(1, np.int64)
    groups = np.ones(1, np.int64)
    for d in range(operator.bounds.size):
        if operator.coefficients[tensor, d] == 0:
            sizes = sizes * counts.unrolled[level, d]
    for rank in range(operator.ranks[tensor]):
        offsets = np.sort(_offsets(operator, tensor, rank, counts.unrolled[level], counts.extents[level + 1]))
        by_size = np.zeros(offsets.size + 1, np.int64)
        start = 0
        for i in range(1, offsets.size + 1):
            if i == offsets.size or offsets[i] != offsets[start]:
                by_size[i - start] += 1
                start = i
        shared = np.nonzero(by_size)[0]
        sizes_before, groups_before = sizes, groups
        sizes = np.empty(sizes_before.size * shared.size, np.int64)
        groups = np.empty_like(sizes)
        for i in range(sizes_before.size):
            for k in range(shared.size):
                sizes[i * shared.size + k] = sizes_before[i] * shared[k]
                groups[i * shared.size + k] = groups_before[i] * by_size[shared[k]]
    return sizes, groups


@kernel
def _arrivals(operator, counts, tensor, level, innermost):
    """Words that one instance of ``level`` receives over the whole run if it keeps the tensor.

    ``innermost`` is the index m of the innermost relevant loop outside the instance's tile of V words. Every event is
    an advance of one loop with all inner ones wrapping. An advance of m slides by sigma and brings the tile without
    its overlap O. An advance of an outer loop j moves by M_j and brings nothing if M_j = 0, the tile without O if
    M_j = sigma, and the whole tile otherwise. With runs_m the product of all bounds down to m,

        arrivals = V * runs_m - O * (events of m and of the j with M_j = sigma) - V * (events of the j with M_j = 0)
    """
    words = counts.tile[level, tensor]
    if innermost < 0:
        return words
    runs = counts.loop_runs[innermost]
    dim = counts.loop_dim[innermost]
    rank = operator.rank_of[tensor, dim]
    if operator.rank_sizes[tensor, rank] == 1:
        # The only dimension of its rank steps by at least the tile's extent: nothing overlaps.
        return words * runs
    step = operator.coefficients[tensor, dim] * counts.loop_step[innermost]
    bound = counts.loop_bound[innermost]
    width = _rank_extent(operator, tensor, rank, counts.extents[level])
    overlap = words // width * (width - step) if width > step else 0
    sliding = runs // bound * (bound - 1)
    resting = 0
    travelled = (bound - 1) * step
    for j in range(innermost - 1, -1, -1):
        d = counts.loop_dim[j]
        if operator.coefficients[tensor, d] == 0:
            continue
        if operator.rank_of[tensor, d] != rank:
            # From here on every move has a component in another rank, so it is neither 0 nor sigma.
            break
        bound = counts.loop_bound[j]
        move = operator.coefficients[tensor, d] * counts.loop_step[j]
        if move == travelled:
            resting += counts.loop_runs[j] // bound * (bound - 1)
        elif move - travelled == step:
            sliding += counts.loop_runs[j] // bound * (bound - 1)
        travelled += (bound - 1) * move
    return words * runs - overlap * sliding - words * resting


@kernel
def _place(operator, hardware, mappings, i, counts):
    """Extents, used children, homes, tiles and capacity; returns the status code."""
    levels, dims = mappings.temporal.shape[1:]
    tensors = mappings.keep.shape[2]
    axes = hardware.axis_sizes.shape[1]
    extents, unrolled = counts.extents, counts.unrolled
    for d in range(dims):
        extents[levels, d] = 1
    for level in range(levels - 1, -1, -1):
        for d in range(dims):
            unrolled[level, d] = 1
        fanout = 1
        used = 0
        for axis in range(axes):
            product = 1
            for d in range(dims):
                factor = mappings.spatial[i, level, axis, d]
                if factor > 1:
                    if not hardware.axis_allows[level, axis, d]:
                        counts.facts[0] = level * axes + axis
                        counts.facts[1] = d
                        return AXIS
                    product *= factor
                    unrolled[level, d] *= factor
            if product > hardware.axis_sizes[level, axis]:
                counts.facts[0] = level * axes + axis
                counts.facts[1] = product
                return FANOUT
            if axis < hardware.axis_count[level]:
                used += product
            fanout *= product
        counts.fanout[level] = fanout
        counts.half_extent[level] = 0.5 * used
        for d in range(dims):
            extents[level, d] = extents[level + 1, d] * unrolled[level, d] * mappings.temporal[i, level, d]
    for d in range(dims):
        if extents[0, d] != operator.bounds[d]:
            counts.facts[0] = d
            counts.facts[1] = extents[0, d]
            return FACTORS

    for t in range(tensors):
        home = False
        for level in range(levels):
            if mappings.keep[i, level, t]:
                home = True
                if not hardware.may_keep[level, t]:
                    counts.facts[0] = level
                    counts.facts[1] = t
                    return KEEP
        if not home:
            counts.facts[0] = t
            counts.facts[1] = 0
            return NO_HOME

    # Innermost first: small memories overflow first, and most mappings that a search tries end here.
    for level in range(levels - 1, -1, -1):
        finished_below = True
        finished_on_arrival = True
        for d in range(dims):
            if operator.is_reduction[d]:
                finished_below &= extents[level + 1, d] == operator.bounds[d]
                finished_on_arrival &= extents[level + 1, d] * unrolled[level, d] == operator.bounds[d]
        counts.complete[level, 0] = finished_on_arrival
        counts.complete[level, 1] = finished_below
        needed = 0
        for t in range(tensors):
            words = tile_words(operator, t, extents[level])
            counts.tile[level, t] = words
            if mappings.keep[i, level, t]:
                row = tensors if t == tensors - 1 and not finished_on_arrival else t
                needed += words * operator.bits[row]
        capacity = hardware.capacity_bits[level]
        if capacity >= 0 and needed > capacity:
            counts.facts[0] = level
            counts.facts[1] = needed - capacity
            return CAPACITY
    return VALID


@kernel
def _list_loops(mappings, i, counts):
    """The temporal loops with a bound above 1, outermost first, with their steps and cumulative products."""
    levels, dims = mappings.temporal.shape[1:]
    loops = 0
    runs = 1
    counts.instances[0] = 1
    for level in range(levels):
        counts.loops_above[level] = loops
        counts.tiles_run[level] = runs
        counts.instances[level + 1] = counts.instances[level] * counts.fanout[level]
        for k in range(dims):
            d = mappings.order[i, level, k]
            bound = mappings.temporal[i, level, d]
            if bound > 1:
                runs *= bound
                counts.loop_dim[loops] = d
                counts.loop_bound[loops] = bound
                counts.loop_step[loops] = counts.extents[level + 1, d] * counts.unrolled[level, d]
                counts.loop_runs[loops] = runs
                loops += 1
    counts.loops_above[levels] = loops
    counts.base_cycles[0] = runs


@kernel
def count(operator, hardware, mappings, i, counts):
    """Count mapping ``i`` of a batch into ``counts``; returns its status code (``counts.facts`` explains it)."""
    status = _place(operator, hardware, mappings, i, counts)
    if status != VALID:
        return status
    _list_loops(mappings, i, counts)
    levels = mappings.temporal.shape[1]
    tensors = mappings.keep.shape[2]
    output = tensors - 1

    # An instance accumulates its share of the outputs; unrolling a reduction gives every child the same share.
    counts.partition[0] = counts.tile[0, output]
    for level in range(1, levels):
        union = 1
        for rank in range(operator.ranks[output]):
            extent = 1
            for k in range(operator.rank_sizes[output, rank]):
                d = operator.rank_dims[output, rank, k]
                extent += operator.coefficients[output, d] * (
                    counts.extents[level, d] * counts.unrolled[level - 1, d] - 1
                )
            union *= extent
        if union == counts.tile[level, output]:
            counts.partition[level] = counts.partition[level - 1]
        else:
            # Divided by the common factor first, so that the product stays inside 64 bits.
            divisor = _gcd(union, counts.tile[level, output])
            counts.partition[level] = counts.partition[level - 1] * (counts.tile[level, output] // divisor) // (
                union // divisor
            )

    for t in range(tensors):
        loop = 0
        innermost = -1
        counts.arrivals[0, t] = 0
        for level in range(1, levels):
            while loop < counts.loops_above[level]:
                if operator.coefficients[t, counts.loop_dim[loop]] > 0:
                    innermost = loop
                loop += 1
            counts.arrivals[level, t] = _arrivals(operator, counts, t, level, innermost)

        # Every child asks for what it keeps, or, if it keeps nothing, for what its own children ask for.
        demand = counts.base_cycles[0]
        for level in range(levels - 1, -1, -1):
            if counts.fanout[level] == 1:
                groups = 1
            else:
                groups = _distinct_children(operator, t, counts.unrolled[level], counts.extents[level + 1])
            counts.groups[level, t] = groups
            counts.injected[level, t] = groups * demand
            counts.delivered[level, t] = counts.fanout[level] * demand
            demand = groups * demand
            if mappings.keep[i, level, t]:
                if t == output:
                    counts.updates[level, t] = demand
                    counts.reads[level, t] = demand - counts.partition[level]
                    counts.fills[level, t] = counts.arrivals[level, t] - counts.partition[level]
                else:
                    counts.updates[level, t] = 0
                    counts.reads[level, t] = demand
                    counts.fills[level, t] = counts.arrivals[level, t]
                demand = counts.arrivals[level, t]
            else:
                counts.reads[level, t] = 0
                counts.fills[level, t] = 0
                counts.updates[level, t] = 0
        for level in range(levels):
            if mappings.keep[i, level, t]:
                # Nothing is sent to the outermost keeper: it is where the tensor lives.
                counts.fills[level, t] = 0
                break

    for level in range(levels):
        updates = counts.updates[level, output]
        if counts.complete[level, 0]:
            counts.final_updates[level] = updates
        elif level == 0 or counts.complete[level - 1, 1]:
            counts.final_updates[level] = min(updates, counts.partition[level])
        else:
            counts.final_updates[level] = 0
    return VALID
