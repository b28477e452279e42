"""Count what mappings move and price it, in closed form: no loop is walked.

The semantics are those of a full walk without link transfers: an instance remembers one tile per tensor and the step
of its last move, so it slides along one direction and fetches everything again otherwise; a parent serves children
with identical needs by one access. Counts come first, cost is counts x unit costs.

One function holds the whole evaluation, because handing a struct of thirty arrays to a callee costs more than counting
a mapping does; its sections follow the order of the definitions.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from accelerators.jit import kernel
from accelerators.spatial.kernels.arrays import AXES, AXIS, CAPACITY, FACTORS, FANOUT, KEEP, NO_HOME, VALID


@kernel
def _gcd(a, b):
    while b:
        a, b = b, a % b
    return a


@kernel
def _offsets(coefficients, rank_sizes, rank_dims, tensor, rank, bounds, steps):
    """Offset of every child of a fanout along one rank, duplicates included."""
    offsets = np.zeros(1, np.int64)
    for k in range(rank_sizes[tensor, rank]):
        d = rank_dims[tensor, rank, k]
        step = coefficients[tensor, d] * steps[d]
        grown = np.empty(offsets.size * bounds[d], np.int64)
        for i in range(bounds[d]):
            grown[i * offsets.size : (i + 1) * offsets.size] = offsets + i * step
        offsets = grown
    return offsets


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
        offsets = np.sort(
            _offsets(
                operator.coefficients,
                operator.rank_sizes,
                operator.rank_dims,
                tensor,
                rank,
                counts.unrolled[level],
                counts.extents[level + 1],
            )
        )
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
def _accesses(words, words_per_access):
    return words if words_per_access == 1 else (words + words_per_access - 1) // words_per_access


@kernel
def _cycles_at(bits, bits_per_cycle):
    """Least whole number of cycles that moves the bits; exact where the quotient of floats is one too high."""
    if bits <= 0 or bits_per_cycle == np.inf:
        return 0
    cycles = np.int64(np.ceil(bits / bits_per_cycle))
    if (cycles - 1) * bits_per_cycle >= bits:
        cycles -= 1
    return cycles


@kernel
def evaluate_batch(operator, hardware, mappings, counts, energy, status, facts, energy_pj, cycles):
    """Evaluate the n mappings of a batch exactly.

    Results go to ``status`` (n,), ``facts`` (n, 2), ``energy_pj`` (n,) (inf if not valid) and ``cycles`` (n,) (-1 if
    not valid). ``counts`` and ``energy`` are scratch and hold the figures of the last mapping afterwards.
    """
    factors, order, keep = mappings.factors, mappings.order, mappings.keep
    n, levels, dims = order.shape
    tensors = keep.shape[2]
    output = tensors - 1
    bounds, is_reduction, bits = operator.bounds, operator.is_reduction, operator.bits
    coefficients, rank_of = operator.coefficients, operator.rank_of
    ranks, rank_sizes, rank_dims = operator.ranks, operator.rank_sizes, operator.rank_dims
    capacity_bits, may_keep = hardware.capacity_bits, hardware.may_keep
    axis_sizes, axis_allows, axis_count = hardware.axis_sizes, hardware.axis_allows, hardware.axis_count
    words_per_access = hardware.words_per_access
    read_pj, fill_pj, update_pj = hardware.read_pj, hardware.fill_pj, hardware.update_pj
    read_bits_per_cycle = hardware.read_bits_per_cycle
    write_bits_per_cycle = hardware.write_bits_per_cycle
    shared_bits_per_cycle = hardware.shared_bits_per_cycle
    network_pj_per_bit, ramp_cycles = hardware.network_pj_per_bit, hardware.ramp_cycles
    mac_pj, add_pj, leakage_pj_per_cycle = hardware.scalars[0], hardware.scalars[1], hardware.scalars[2]
    extents, unrolled, fanout = counts.extents, counts.unrolled, counts.fanout
    half_extent, instances = counts.half_extent, counts.instances
    tile, partition, arrivals, groups = counts.tile, counts.partition, counts.arrivals, counts.groups
    injected, delivered = counts.injected, counts.delivered
    reads, fills, updates, final_updates = counts.reads, counts.fills, counts.updates, counts.final_updates
    complete, tiles_run, level_cycles = counts.complete, counts.tiles_run, counts.level_cycles
    summed = counts.summed
    loop_dim, loop_bound, loop_step = counts.loop_dim, counts.loop_bound, counts.loop_step
    loop_runs, loops_above = counts.loop_runs, counts.loops_above
    level_pj, network_pj, other_pj = energy.levels, energy.networks, energy.other

    for i in range(n):
        status[i] = VALID
        facts[i, 0] = 0
        facts[i, 1] = 0
        energy_pj[i] = np.inf
        cycles[i] = -1

        # Extents of the tiles (blocks of this level and inwards), and the used children of every fanout.
        for d in range(dims):
            extents[levels, d] = 1
        for level in range(levels - 1, -1, -1):
            children = 1
            used = 0
            for d in range(dims):
                unrolled[level, d] = 1
            for axis in range(axis_count[level]):
                product = 1
                for d in range(dims):
                    factor = factors[i, levels + level * AXES + axis, d]
                    if factor > 1:
                        if not axis_allows[level, axis, d] and status[i] == VALID:
                            status[i] = AXIS
                            facts[i, 0] = level * AXES + axis
                            facts[i, 1] = d
                        product *= factor
                        unrolled[level, d] *= factor
                if product > axis_sizes[level, axis] and status[i] == VALID:
                    status[i] = FANOUT
                    facts[i, 0] = level * AXES + axis
                    facts[i, 1] = product
                used += product
                children *= product
            fanout[level] = children
            half_extent[level] = 0.5 * used
            for d in range(dims):
                extents[level, d] = extents[level + 1, d] * unrolled[level, d] * factors[i, level, d]
        for d in range(dims):
            # Wrong factors explain whatever else is wrong, so they come first. A factor on an axis that the level does
            # not have is missed here too.
            if extents[0, d] != bounds[d]:
                status[i] = FACTORS
                facts[i, 0] = d
                facts[i, 1] = extents[0, d]
        if status[i] != VALID:
            continue

        # Homes.
        for t in range(tensors):
            home = False
            for level in range(levels):
                if keep[i, level, t]:
                    home = True
                    if not may_keep[level, t]:
                        status[i] = KEEP
                        facts[i, 0] = level
                        facts[i, 1] = t
            if not home:
                status[i] = NO_HOME
                facts[i, 0] = t
                facts[i, 1] = 0
        if status[i] != VALID:
            continue

        # Tiles and capacity, innermost first: small memories overflow first, and most tries of a search end here.
        # Outputs are finished when all of a reduction lies in what the next inner keeper accumulates and in the fanouts
        # on the way up: `summed` follows that per dimension.
        for d in range(dims):
            summed[d] = 1
        for level in range(levels - 1, -1, -1):
            complete[level, 0] = True
            complete[level, 1] = True
            complete[level, 2] = True
            for d in range(dims):
                if is_reduction[d]:
                    complete[level, 0] &= summed[d] == bounds[d]
                    summed[d] *= unrolled[level, d]
                    complete[level, 1] &= summed[d] == bounds[d]
                    complete[level, 2] &= extents[level, d] == bounds[d]
                    if keep[i, level, output]:
                        summed[d] = extents[level, d]
            needed = 0
            for t in range(tensors):
                words = 1
                for rank in range(ranks[t]):
                    extent = 1
                    for k in range(rank_sizes[t, rank]):
                        d = rank_dims[t, rank, k]
                        extent += coefficients[t, d] * (extents[level, d] - 1)
                    words *= extent
                tile[level, t] = words
                if keep[i, level, t]:
                    needed += words * bits[tensors if t == output and not complete[level, 1] else t]
            if capacity_bits[level] >= 0 and needed > capacity_bits[level]:
                status[i] = CAPACITY
                facts[i, 0] = level
                facts[i, 1] = needed - capacity_bits[level]
                break
        if status[i] != VALID:
            continue

        # The temporal loops with a bound above 1, outermost first: steps, and iterations down to and with the loop.
        loops = 0
        runs = 1
        instances[0] = 1
        for level in range(levels):
            loops_above[level] = loops
            tiles_run[level] = runs
            instances[level + 1] = instances[level] * fanout[level]
            for k in range(dims):
                d = order[i, level, k]
                bound = factors[i, level, d]
                if bound > 1:
                    runs *= bound
                    loop_dim[loops] = d
                    loop_bound[loops] = bound
                    loop_step[loops] = extents[level + 1, d] * unrolled[level, d]
                    loop_runs[loops] = runs
                    loops += 1
        loops_above[levels] = loops
        base = runs
        counts.base_cycles[0] = base

        # An instance accumulates its share of the outputs; unrolling a reduction gives every child the same share.
        partition[0] = tile[0, output]
        for level in range(1, levels):
            partition[level] = partition[level - 1]
            if fanout[level - 1] > 1:
                union = 1
                for rank in range(ranks[output]):
                    extent = 1
                    for k in range(rank_sizes[output, rank]):
                        d = rank_dims[output, rank, k]
                        extent += coefficients[output, d] * (extents[level, d] * unrolled[level - 1, d] - 1)
                    union *= extent
                if union != tile[level, output]:
                    # Divided by the common factor first, so that the product stays inside 64 bits.
                    divisor = _gcd(union, tile[level, output])
                    part = partition[level - 1] * (tile[level, output] // divisor)
                    partition[level] = part // (union // divisor)

        reductions = 0
        for t in range(tensors):
            # Words that one instance receives over the whole run if it keeps the tensor. With m the innermost relevant
            # loop outside its tile of V words, every event is an advance of one loop with all inner ones wrapping. An
            # advance of m slides by sigma and brings V without its overlap O. An advance of an outer loop j moves by
            # M_j and brings nothing if M_j = 0, V - O if M_j = sigma, and V otherwise, so with runs_m the product of
            # all bounds down to m:
            #   arrivals = V * runs_m - O * (events of m, and of the j with M_j = sigma) - V * (events with M_j = 0)
            loop = 0
            innermost = -1
            for level in range(1, levels):
                while loop < loops_above[level]:
                    if coefficients[t, loop_dim[loop]] > 0:
                        innermost = loop
                    loop += 1
                words = tile[level, t]
                if innermost < 0:
                    arrivals[level, t] = words
                    continue
                runs = loop_runs[innermost]
                arrivals[level, t] = words * runs
                dim = loop_dim[innermost]
                rank = rank_of[t, dim]
                if rank_sizes[t, rank] == 1:
                    # The only dimension of its rank steps by at least the tile's extent: nothing overlaps.
                    continue
                step = coefficients[t, dim] * loop_step[innermost]
                bound = loop_bound[innermost]
                width = 1
                for k in range(rank_sizes[t, rank]):
                    d = rank_dims[t, rank, k]
                    width += coefficients[t, d] * (extents[level, d] - 1)
                overlap = words // width * (width - step) if width > step else 0
                sliding = runs // bound * (bound - 1)
                resting = 0
                travelled = (bound - 1) * step
                for j in range(innermost - 1, -1, -1):
                    d = loop_dim[j]
                    if coefficients[t, d] == 0:
                        continue
                    if rank_of[t, d] != rank:
                        # From here on every move has a component in another rank: neither 0 nor sigma.
                        break
                    bound = loop_bound[j]
                    move = coefficients[t, d] * loop_step[j]
                    if move == travelled:
                        resting += loop_runs[j] // bound * (bound - 1)
                    elif move - travelled == step:
                        sliding += loop_runs[j] // bound * (bound - 1)
                    travelled += (bound - 1) * move
                arrivals[level, t] -= overlap * sliding + words * resting

            # Every child asks for what it keeps or, if it keeps nothing, for what its own children ask for. Children
            # with different offsets have different tiles. Two unrolled dimensions in a rank: an offset is shared by a
            # chain (x, y), (x + b, y - a), .. with a, b the coprime steps, so the offsets are pairs minus links.
            demand = base
            for level in range(levels - 1, -1, -1):
                distinct = 1
                if fanout[level] > 1:
                    for rank in range(ranks[t]):
                        several = 0
                        first_bound = second_bound = 1
                        first_step = second_step = 0
                        for k in range(rank_sizes[t, rank]):
                            d = rank_dims[t, rank, k]
                            if unrolled[level, d] > 1:
                                several += 1
                                step = coefficients[t, d] * extents[level + 1, d]
                                if several == 1:
                                    first_bound, first_step = unrolled[level, d], step
                                else:
                                    second_bound, second_step = unrolled[level, d], step
                        if several <= 1:
                            distinct *= first_bound
                        elif several == 2:
                            divisor = _gcd(first_step, second_step)
                            links = max(0, first_bound - second_step // divisor)
                            links *= max(0, second_bound - first_step // divisor)
                            distinct *= first_bound * second_bound - links
                        else:
                            children_at = _offsets(
                                coefficients, rank_sizes, rank_dims, t, rank, unrolled[level], extents[level + 1]
                            )
                            distinct *= np.unique(children_at).size
                groups[level, t] = distinct
                injected[level, t] = distinct * demand
                delivered[level, t] = fanout[level] * demand
                demand *= distinct
                reads[level, t] = 0
                fills[level, t] = 0
                updates[level, t] = 0
                if keep[i, level, t]:
                    if t == output:
                        # The first update of each element finds nothing to read and needs nothing to be sent.
                        # (A box with gaps has more words than are ever updated.)
                        updates[level, t] = demand
                        reads[level, t] = max(0, demand - partition[level])
                        fills[level, t] = max(0, arrivals[level, t] - partition[level])
                    else:
                        reads[level, t] = demand
                        fills[level, t] = arrivals[level, t]
                    demand = arrivals[level, t]
            for level in range(levels):
                if keep[i, level, t]:
                    # The outermost keeper is where the tensor lives: nothing is sent to it from further out.
                    fills[level, t] = 0
                    break
                injected[level, t] = 0
                delivered[level, t] = 0

        # Latency: compute, or the level whose bandwidth is short, plus the ramp of every tile. Partial sums have the
        # accumulator's width until the last accumulation; the update that stores a finished output has the output's.
        slowest = base
        ramp = 0.0
        for level in range(levels):
            if complete[level, 1]:
                final_updates[level] = updates[level, output]
            elif complete[level, 2]:
                final_updates[level] = min(updates[level, output], partition[level])
            else:
                final_updates[level] = 0
            level_cycles[level] = 0
            ramp += ramp_cycles[level] * tiles_run[level]
            if (
                read_bits_per_cycle[level] < np.inf
                or write_bits_per_cycle[level] < np.inf
                or shared_bits_per_cycle[level] < np.inf
            ):
                read_bits = reads[level, output] * bits[tensors]
                write_bits = (fills[level, output] + updates[level, output] - final_updates[level]) * bits[tensors]
                write_bits += final_updates[level] * bits[output]
                for t in range(output):
                    read_bits += reads[level, t] * bits[t]
                    write_bits += fills[level, t] * bits[t]
                level_cycles[level] = max(
                    _cycles_at(read_bits, read_bits_per_cycle[level]),
                    _cycles_at(write_bits, write_bits_per_cycle[level]),
                    _cycles_at(read_bits + write_bits, shared_bits_per_cycle[level]),
                )
                slowest = max(slowest, level_cycles[level])
        cycles[i] = slowest + np.int64(np.ceil(ramp))

        # Energy.
        total = 0.0
        for level in range(levels):
            instances_used = instances[level]
            for t in range(tensors):
                words = words_per_access[level, t]
                if t < output:
                    pj = _accesses(reads[level, t], words) * read_pj[level, t]
                    pj += _accesses(fills[level, t], words) * fill_pj[level, t]
                    network_bits = bits[t]
                else:
                    partial = words_per_access[level, tensors]
                    pj = _accesses(reads[level, t], partial) * read_pj[level, tensors]
                    pj += _accesses(fills[level, t], partial) * fill_pj[level, tensors]
                    if bits[output] == bits[tensors]:
                        pj += _accesses(updates[level, t], words) * update_pj[level, t]
                    else:
                        pj += _accesses(final_updates[level], words) * update_pj[level, t]
                        pj += _accesses(updates[level, t] - final_updates[level], partial) * update_pj[level, tensors]
                    reductions += instances_used * (delivered[level, t] - injected[level, t])
                    network_bits = bits[output] if complete[level, 0] else bits[tensors]
                # The sum over m of A[m] * (half + m - 1), as sum A[m] = injected and sum m * A[m] = delivered.
                hops = injected[level, t] * (half_extent[level] - 1.0) + delivered[level, t]
                wires = instances_used * hops * network_bits * network_pj_per_bit[level]
                level_pj[level, t] = instances_used * pj
                network_pj[level, t] = wires
                total += level_pj[level, t] + wires
        other_pj[0] = base * instances[levels] * mac_pj
        other_pj[1] = reductions * add_pj
        other_pj[2] = cycles[i] * leakage_pj_per_cycle
        energy_pj[i] = total + other_pj[0] + other_pj[1] + other_pj[2]
