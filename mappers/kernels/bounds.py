"""Lower bounds on what tiles cost.

Total words that level c receives of a tensor, over all its instances, are ``flow(tile of c) / reuse``: the flow depends
on the tile alone, not on anything further out or in, and reuse comes from the innermost loops above c only. So energy
and the bits that a bandwidth limits are sums over (level, tensor) of a weight, which depends on the unrolling, times
those words, plus a constant. Rows of ``weights`` and entries of bounds are metrics: 0 is energy, the others cycles that
one limited bandwidth needs.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accelerators.jit import kernel

READ = 0
WRITE = 1
SHARED = 2


class Metrics(NamedTuple):
    """The limited bandwidths: metric m > 0 is entry m - 1 of each array."""

    level: NDArray[np.int64]
    kind: NDArray[np.int64]  # READ, WRITE, SHARED
    bits_per_cycle: NDArray[np.float64]


@kernel
def groups_at(coefficients, ranks, rank_sizes, rank_dims, t, unrolled, level, extents, node):
    """Distinct children of a fanout whose child tile is a node; ranks with three unrolled dimensions count least."""
    distinct = 1
    for rank in range(ranks[t]):
        several = 0
        total = 0
        first_bound = second_bound = 1
        first_step = second_step = 0
        for k in range(rank_sizes[t, rank]):
            d = rank_dims[t, rank, k]
            if unrolled[level, d] > 1:
                several += 1
                total += unrolled[level, d]
                step = coefficients[t, d] * extents[node, d]
                if several == 1:
                    first_bound, first_step = unrolled[level, d], step
                else:
                    second_bound, second_step = unrolled[level, d], step
        if several == 1:
            distinct *= first_bound
        elif several == 2:
            a, b = first_step, second_step
            while b:
                a, b = b, a % b
            links = max(0, first_bound - second_step // a) * max(0, second_bound - first_step // a)
            distinct *= first_bound * second_bound - links
        elif several > 2:
            distinct *= total - several + 1
    return distinct


@kernel
def boundary_weights(
    operator,
    hardware,
    metrics,
    extents,
    plain_output,
    output_words,
    keep,
    unrolled,
    half_extent,
    weights,
    done_weights,
    slopes,
    constants,
    instances,
    used,
):
    """Weights of words received for one unrolling and one choice of what levels keep.

    ``unrolled`` (L, D) and ``half_extent`` (L,) describe the fanouts, ``keep`` (L, T) what levels keep. Fills
    ``weights`` (M, L, T) per word that a level receives, ``done_weights`` (M, L) the same for outputs whose reductions
    are complete inside, ``slopes`` (M, L, T) the part to be multiplied by the groups at the fanout just above where
    these depend on the tile (two unrolled dimensions of one rank), ``constants`` (M,), ``instances`` (L+1,) and
    ``used`` (L,) children per fanout.
    """
    levels, tensors = keep.shape
    dims = unrolled.shape[1]
    output = tensors - 1
    bits = operator.bits
    coefficients, ranks = operator.coefficients, operator.ranks
    rank_sizes, rank_dims = operator.rank_sizes, operator.rank_dims
    bounds, is_reduction = operator.bounds, operator.is_reduction
    wpa = hardware.words_per_access
    read_pj, fill_pj, update_pj = hardware.read_pj, hardware.fill_pj, hardware.update_pj
    network = hardware.network_pj_per_bit
    mac_pj, add_pj = hardware.scalars[0], hardware.scalars[1]
    rows = weights.shape[0]
    weights[:] = 0.0
    done_weights[:] = 0.0
    slopes[:] = 0.0
    constants[:] = 0.0
    iterations = 1.0
    for d in range(dims):
        iterations *= bounds[d]
    instances[0] = 1
    for level in range(levels):
        product = 1
        for d in range(dims):
            product *= unrolled[level, d]
        used[level] = product
        instances[level + 1] = instances[level] * product
    constants[0] = iterations * mac_pj
    acc = tensors
    for t in range(tensors):
        inner = levels
        for parent in range(levels - 1, -1, -1):
            if not keep[parent, t]:
                continue
            child = inner
            inner = parent
            # Share of the child's words that arrives at the next level out, and what the networks between cost.
            share = 1.0
            wires = 0.0
            done_wires = 0.0
            adders = 0.0
            slope_share = 0.0
            slope_wires = 0.0
            # Partial sums may be complete from where a fanout further in has added them up.
            partial_bits = np.float64(bits[acc])
            for level in range(child - 1, parent - 1, -1):
                before = share
                groups = 1.0
                varies = False
                if used[level] > 1 and level == levels - 1:
                    groups = groups_at(coefficients, ranks, rank_sizes, rank_dims, t, unrolled, level, extents, 0)
                elif used[level] > 1:
                    for rank in range(ranks[t]):
                        several = 0
                        total = 0
                        for k in range(rank_sizes[t, rank]):
                            d = rank_dims[t, rank, k]
                            if unrolled[level, d] > 1:
                                several += 1
                                total += unrolled[level, d]
                        if several == 1:
                            groups *= total
                        elif several > 1:
                            groups *= total - several + 1
                            varies = True
                share = before * groups / used[level]
                wire = network[level]
                if varies and level == child - 1 and level == parent and child < levels and t < output:
                    slope_share = 1.0 / used[level]
                    slope_wires = wire * bits[t] * (half_extent[level] - 1.0) / used[level]
                    wires += wire * bits[t] * before
                    share = 0.0
                else:
                    words = share * (half_extent[level] - 1.0) + before
                    if t < output:
                        wires += wire * bits[t] * words
                    else:
                        wires += wire * partial_bits * words
                        done_wires += wire * bits[output] * words
                        adders += (before - share) * add_pj
                        for d in range(dims):
                            if is_reduction[d] and unrolled[level, d] > 1:
                                partial_bits = min(partial_bits, np.float64(bits[output]))
            if t < output:
                reading = read_pj[parent, t] / wpa[parent, t]
                if child < levels:
                    weights[0, child, t] = wires + share * reading + fill_pj[child, t] / wpa[child, t]
                    slopes[0, child, t] = slope_wires + slope_share * reading
                else:
                    constants[0] += iterations * (wires + share * reading)
                for m in range(1, rows):
                    level = metrics.level[m - 1]
                    kind = metrics.kind[m - 1]
                    per_bit = 1.0 / (metrics.bits_per_cycle[m - 1] * instances[level])
                    if level == parent and kind != WRITE:
                        if child < levels:
                            weights[m, child, t] += share * bits[t] * per_bit
                            slopes[m, child, t] += slope_share * bits[t] * per_bit
                        else:
                            constants[m] += iterations * share * bits[t] * per_bit
                    if level == child and kind != READ:
                        weights[m, child, t] += bits[t] * per_bit
                continue
            # Outputs: the parent reads and updates, the child is filled; the first time around there is nothing to
            # read and send. Each element is stored once at its final width.
            reading = read_pj[parent, acc] / wpa[parent, acc]
            update = update_pj[parent, acc] / wpa[parent, acc]
            final = update_pj[parent, output] / wpa[parent, output]
            parent_part = output_words
            child_part = output_words
            summed_inside = True
            for d in range(dims):
                below = 1
                for level in range(levels):
                    if is_reduction[d] or not plain_output:
                        if level < parent:
                            parent_part *= unrolled[level, d]
                        if level < child:
                            child_part *= unrolled[level, d]
                    if level > parent:
                        below *= unrolled[level, d]
                if is_reduction[d] and below != bounds[d]:
                    summed_inside = False
            cheaper = 0.0
            if plain_output:
                cheaper = max(0.0, update - final)
            if not plain_output or final > update:
                update = min(update, final)
            words = share * (reading + update)
            constants[0] -= parent_part * (reading + cheaper)
            if child < levels:
                filling = fill_pj[child, acc] / wpa[child, acc]
                weights[0, child, t] = wires + adders + words + filling
                done_weights[0, child] = min(wires, done_wires) + adders + words + filling
                constants[0] -= child_part * filling
            elif summed_inside:
                constants[0] += iterations * (min(wires, done_wires) + adders + words)
            else:
                constants[0] += iterations * (wires + adders + words)
            update_bits = np.float64(bits[acc])
            spared_bits = 0.0
            if plain_output:
                spared_bits = np.float64(max(0, bits[acc] - bits[output]))
            else:
                update_bits = np.float64(min(bits[acc], bits[output]))
            for m in range(1, rows):
                level = metrics.level[m - 1]
                kind = metrics.kind[m - 1]
                per_bit = 1.0 / (metrics.bits_per_cycle[m - 1] * instances[level])
                if level == parent:
                    moved = 0.0
                    if kind != WRITE:
                        moved += bits[acc]
                        constants[m] -= parent_part * bits[acc] * per_bit
                    if kind != READ:
                        moved += update_bits
                        constants[m] -= parent_part * spared_bits * per_bit
                    if child < levels:
                        weights[m, child, t] += share * moved * per_bit
                        done_weights[m, child] += share * moved * per_bit
                    else:
                        constants[m] += iterations * share * moved * per_bit
                if level == child and kind != READ:
                    weights[m, child, t] += bits[acc] * per_bit
                    done_weights[m, child] += bits[acc] * per_bit
                    constants[m] -= child_part * bits[acc] * per_bit
        # The outermost keeper is the tensor's home: nothing comes to it from further out, and its weight stays 0.


@kernel
def least_cost(values, remaining, irrelevant, window_of, ratios, rank, scratch, result):
    """Least that open tensors can cost, whatever loops with bounds ``remaining`` (D,) are ordered around them.

    ``values`` (T, M) without reuse; the loop that is innermost decides who gains: tensors that it does not concern
    rest, tensors that have it in a window slide. Only dimensions of the highest ``rank`` (D,) may be innermost.
    ``scratch`` (T,) takes the part of each tensor that remains if it rests.
    """
    tensors, dims = irrelevant.shape
    rows = result.size
    top = -1
    for d in range(dims):
        if remaining[d] > 1.0 and (top < 0 or rank[d] > rank[top]):
            top = d
    for m in range(rows):
        result[m] = np.inf
    if top < 0:
        for m in range(rows):
            total = 0.0
            for t in range(tensors):
                total += values[t, m]
            result[m] = total
        return
    for t in range(tensors):
        inert = 1.0
        best = 1.0
        for d in range(dims):
            if irrelevant[t, d]:
                inert *= remaining[d]
            elif window_of[t, d] >= 0 and remaining[d] > 1.0:
                best = min(best, ratios[window_of[t, d]])
        scratch[t] = best / inert
    for d in range(dims):
        if remaining[d] <= 1.0 or rank[d] != rank[top]:
            continue
        for m in range(rows):
            total = 0.0
            for t in range(tensors):
                if irrelevant[t, d]:
                    total += values[t, m] * scratch[t]
                elif window_of[t, d] >= 0:
                    total += values[t, m] * ratios[window_of[t, d]]
                else:
                    total += values[t, m]
            if total < result[m]:
                result[m] = total


@kernel
def window_widths(coefficients, window_of, extents, node, widths):
    """Extents of a tile along every window."""
    for w in range(widths.size):
        widths[w] = 1.0
    for t in range(window_of.shape[0]):
        for d in range(window_of.shape[1]):
            if window_of[t, d] >= 0:
                widths[window_of[t, d]] += coefficients[t, d] * (extents[node, d] - 1)


@kernel
def slide_ratios(
    factor, extents, inner, unrolled, coefficients, irrelevant, window_of, widths, ratios, outermost, result
):
    """Least part of a flow that remains if a tensor slides at a level, with loops ``factor`` (D,) around ``inner``.

    ``ratios`` (W,) hold whatever the loops further out do. If a loop at this level moves the tensor in another rank, or
    there is nothing further out, a slide stays within the level: with tiles of ``widths`` (W,) it needs at least the
    union of their positions. ``unrolled`` (D,) is the fanout between; writes ``result`` (W,).
    """
    tensors, dims = irrelevant.shape
    for w in range(ratios.size):
        result[w] = ratios[w]
    for t in range(tensors):
        for d in range(dims):
            w = window_of[t, d]
            if w < 0 or factor[d] <= 1:
                continue
            stays = outermost
            partner = -1
            for other in range(dims):
                if factor[other] > 1 and other != d and not irrelevant[t, other]:
                    if window_of[t, other] != w:
                        stays = True
                    elif partner < 0:
                        partner = other
                    else:
                        partner = dims
            if not stays or (0 <= partner < d):
                continue
            width = widths[w]
            step = coefficients[t, d] * extents[inner, d] * unrolled[d]
            union = width + (factor[d] - 1) * min(step, width)
            steps = factor[d] * 1.0
            if partner == dims:
                # Three loops in one rank: at least what the longest of them needs.
                for other in range(dims):
                    if window_of[t, other] == w and factor[other] > 1 and other != d:
                        far = coefficients[t, other] * extents[inner, other] * unrolled[other]
                        union = max(union, width + (factor[other] - 1) * min(far, width))
                        steps *= factor[other]
            elif partner >= 0:
                far = coefficients[t, partner] * extents[inner, partner] * unrolled[partner]
                near, count, many = step, factor[d], factor[partner]
                if far < near:
                    near, far = far, near
                    count, many = many, count
                alone = width + (many - 1) * min(far, width)
                union = width + (count - 1) * min(near, width)
                if near <= width:
                    union += (many - 1) * min(far, union)
                else:
                    union = max(union, alone)
                steps *= factor[partner]
            result[w] = max(result[w], min(1.0, union / (width * steps)))


@kernel
def level_bounds(
    operator,
    extents,
    sizes,
    flows,
    window_of,
    window_ratios,
    irrelevant,
    candidates,
    level,
    parent_of_output,
    unrolled,
    above,
    weights,
    done_weights,
    slopes,
    rank,
    ramp_cycles,
    shift,
    outer,
    table,
):
    """Least cost of the levels 1..``level``, for every tile of ``level`` among ``candidates`` (node indices).

    ``above`` (D,) are the spatial factors of all fanouts outside, ``shift`` the node of the fanout just above, ``rank``
    (D,) the ranks of the loops just above (see :func:`least_cost`),
    ``outer`` (M+1, n) the least of all multiples for the next level out (rows: metrics, then ramp cycles). Writes
    ``table`` (M+1, n), inf for other nodes; its last row stays 0 if no level has a ramp.
    """
    bounds, is_reduction = operator.bounds, operator.is_reduction
    coefficients, ranks = operator.coefficients, operator.ranks
    rank_sizes, rank_dims = operator.rank_sizes, operator.rank_dims
    tensors, dims = irrelevant.shape
    rows = weights.shape[0]
    output = tensors - 1
    ramped = ramp_cycles.any()
    table[: rows + ramped] = np.inf
    values = np.zeros((tensors, rows))
    remaining = np.ones(dims)
    least = np.empty(rows)
    scratch = np.empty(tensors)
    windows = window_ratios.shape[1]
    ratios = np.ones(windows)
    widths = np.ones(windows)
    between = np.ones(dims, np.int64)
    for d in range(dims):
        for inner in range(parent_of_output + 1, level):
            between[d] *= unrolled[inner, d]
    for i in range(candidates.size):
        node = candidates[i]
        good = True
        tiles = 1.0
        done = True
        for d in range(dims):
            left = bounds[d] / (sizes[node, d] * above[d])
            if left != np.floor(left):
                good = False
                break
            remaining[d] = left
            tiles *= left
            if is_reduction[d] and extents[node, d] * between[d] != bounds[d]:
                done = False
        if not good:
            continue
        for w in range(windows):
            ratios[w] = window_ratios[node, w]
        if level == 1 and windows > 0:
            window_widths(coefficients, window_of, extents, node, widths)
            slide_ratios(
                remaining,
                extents,
                node,
                unrolled[0],
                coefficients,
                irrelevant,
                window_of,
                widths,
                window_ratios[node],
                True,
                ratios,
            )
        for t in range(tensors):
            groups = 0.0
            if slopes[0, level, t] != 0.0:
                groups = groups_at(coefficients, ranks, rank_sizes, rank_dims, t, unrolled, level - 1, extents, node)
            for m in range(rows):
                if t == output and done:
                    weight = done_weights[m, level]
                else:
                    weight = weights[m, level, t] + slopes[m, level, t] * groups
                values[t, m] = weight * flows[node, t]
        least_cost(values, remaining, irrelevant, window_of, ratios, rank, scratch, least)
        far = node + shift
        for m in range(rows):
            table[m, node] = least[m] + outer[m, far]
        if ramped:
            table[rows, node] = ramp_cycles[level] * tiles + outer[rows, far]


@kernel
def fitting_nodes(operator, capacity_bits, level, keep, extents, volumes, least, most, surely, fits):
    """Mark the tiles that can fit a level: what it keeps within its capacity, extents within ``least`` and ``most``.

    Outputs count at their own width where a tile holds all of the reductions, which is a necessary condition, unless
    ``surely``: then at the width of partial sums, which is a sufficient one.
    """
    bounds, is_reduction, bits = operator.bounds, operator.is_reduction, operator.bits
    nodes, dims = extents.shape
    tensors = volumes.shape[1]
    output = tensors - 1
    for node in range(nodes):
        done = not surely
        good = True
        for d in range(dims):
            if is_reduction[d] and extents[node, d] != bounds[d]:
                done = False
            if extents[node, d] < least[d] or extents[node, d] > most[d]:
                good = False
        if good and capacity_bits >= 0:
            needed = 0
            for t in range(tensors):
                if keep[level, t]:
                    needed += volumes[node, t] * bits[tensors if t == output and not done else t]
            good = needed <= capacity_bits
        fits[node] = good
