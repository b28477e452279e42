"""Branch and bound over the tiles of one unrolling: from the innermost level outwards, cheapest first.

A state after choosing the tiles of the levels from c inwards holds, per metric, what is settled, and per tensor what is
open: words that still can arrive less often because all loops between their level and c leave the tensor alone. The
next tile out decides which loops lie in between; open tensors that one of them concerns are settled there. What the
levels further out cost at least is known for every tile (``least_outside``), so each partial choice has a lower bound,
and those that cannot beat the best mapping are dropped. Complete choices of tiles are combined with the undominated
orders that may still beat it, and evaluated by the model itself.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accelerators.jit import kernel
from accelerators.spatial.kernels.arrays import AXES, VALID, MappingArrays
from accelerators.spatial.kernels.evaluation import evaluate_batch
from mappers.kernels.bounds import boundary_weights, groups_at, least_cost, level_bounds, slide_ratios, window_widths
from mappers.kernels.chains import bound_chains
from mappers.kernels.lattice import least_of_multiples
from mappers.kernels.loop_orders import generate_orders

#: Bounds are compared with this part of the best score: what they drop could be better by rounding only.
SAFETY = 1.0 - 1e-12

EDP = 0
WEIGHTED = 1


class Workspace(NamedTuple):
    """Scratch of :func:`explore`; n nodes, C levels + 1."""

    candidates: NDArray[np.int64]  # (C, n)
    candidate_bounds: NDArray[np.float64]  # (C, n)
    settled: NDArray[np.float64]  # (C, M)
    open_values: NDArray[np.float64]  # (C, T, M)
    open_ratios: NDArray[np.float64]  # (C, W) least part that remains if the open tensor slides as far as it can
    open_widths: NDArray[np.float64]  # (C, W) largest open tile
    slides: NDArray[np.float64]  # (C, W) least part that remains of what is settled by sliding at a level
    closing: NDArray[np.float64]  # (C, M) what was settled at a level
    closes: NDArray[np.bool_]  # (C, T)
    ramp: NDArray[np.float64]  # (C,)
    node: NDArray[np.int64]  # (C,)
    orders: NDArray[np.int64]  # (C, P) orders worth trying at a level
    batch: MappingArrays  # mappings to evaluate
    status: NDArray[np.int64]
    facts: NDArray[np.int64]
    energy_pj: NDArray[np.float64]
    cycles: NDArray[np.int64]


class Best(NamedTuple):
    """The best mapping so far."""

    score: NDArray[np.float64]  # (1,) inf until there is one
    energy_pj: NDArray[np.float64]  # (1,)
    cycles: NDArray[np.int64]  # (1,)
    mapping: MappingArrays  # one row
    found: NDArray[np.int64]  # (1,) how often it was improved


@kernel
def score_of(kind, energy_weight, cycles_weight, energy_pj, cycles):
    """EDP in pJ x cycles, or a weighted sum of energy and cycles."""
    if kind == EDP:
        return max(0.0, energy_pj) * cycles
    return energy_weight * energy_pj + cycles_weight * cycles


@kernel
def explore(
    operator,
    hardware,
    counts,
    energy,
    lattice,
    irrelevant,
    order_rank,
    min_factors,
    max_factors,
    level_limited,
    last_order,
    keep,
    unrolled,
    axis_factors,
    shifts,
    parent_of_output,
    weights,
    done_weights,
    slopes,
    constants,
    forced,
    least_here,
    least_outside,
    pool,
    work,
    best,
    kind,
    energy_weight,
    cycles_weight,
    max_cycles,
    node_limit,
    tally,
):
    """Search all tiles and orders of one unrolling for mappings better than ``best``.

    ``order_rank`` (L, D), ``min_factors`` and ``max_factors`` (L, D) are the mapspace's, ``level_limited`` (L,) says
    where factors are limited at all, ``last_order`` (D,) is an order that the innermost level allows (it moves nothing
    there).
    ``shifts`` (L,) are the nodes of the unrolled factors, ``axis_factors`` (L * AXES, D) how they are spread over the
    axes, ``forced`` (L,) tiles that are chosen already (those of the inner levels; -1 elsewhere), ``least_here`` and
    ``least_outside`` (L, M+1, n) the tables of :func:`~mappers.kernels.bounds.level_bounds`
    with and without their suffix minimum. ``tally`` (4,) counts tiles bounded, tile choices completed, mappings
    evaluated and valid ones. Returns False if ``node_limit`` tiles were bounded before the end.
    """
    bounds = operator.bounds
    is_reduction = operator.is_reduction
    coefficients, ranks = operator.coefficients, operator.ranks
    rank_sizes, rank_dims = operator.rank_sizes, operator.rank_dims
    extents, sizes, flows = lattice.extents, lattice.sizes, lattice.flows
    strides, exponents = lattice.strides, lattice.exponents
    window_of, window_ratios = lattice.window_of, lattice.window_ratios
    candidates, candidate_bounds = work.candidates, work.candidate_bounds
    settled, open_values, open_ratios = work.settled, work.open_values, work.open_ratios
    open_widths, slides = work.open_widths, work.slides
    closing, closes, ramps, nodes_at = work.closing, work.closes, work.ramp, work.node
    kept_orders = work.orders
    batch_factors, batch_order, batch_keep = work.batch.factors, work.batch.order, work.batch.keep
    status, facts, energies, cycles = work.status, work.facts, work.energy_pj, work.cycles
    ramp_cycles = hardware.ramp_cycles
    leakage = hardware.scalars[2]
    levels, dims = unrolled.shape
    tensors = irrelevant.shape[0]
    output = tensors - 1
    rows = constants.size
    windows = window_ratios.shape[1]
    node_count = extents.shape[0]
    whole = node_count - 1

    above = np.ones((levels + 1, dims), np.int64)  # product of the fanouts outside a level
    for level in range(levels):
        for d in range(dims):
            above[level + 1, d] = above[level, d] * unrolled[level, d]
    base = 1.0
    for d in range(dims):
        base *= bounds[d] // above[levels, d]
    between = np.ones((levels, dims), np.int64)
    for level in range(levels):
        for inner in range(parent_of_output[level] + 1, level):
            for d in range(dims):
                between[level, d] *= unrolled[inner, d]

    bounded = tally[0]
    stop_at = bounded + node_limit
    # The state outside the MACs: only constants, nothing open, a tile of one.
    nodes_at[levels] = 0
    ramps[levels] = ramp_cycles[0]
    for m in range(rows):
        settled[levels, m] = constants[m]
    open_values[levels] = 0.0
    open_ratios[levels] = 1.0
    open_widths[levels] = 1.0
    widths = np.ones(windows)

    position = np.zeros(levels + 1, np.int64)
    count = np.zeros(levels + 1, np.int64)
    factor = np.ones(dims)
    below = np.ones((levels, dims))  # extents below the loops of a level: the inner tile times the fanout
    remaining = np.ones(dims)
    least = np.empty(rows)
    scratch = np.empty(tensors)
    any_rank = np.zeros(dims, np.int64)
    closing_values = np.zeros((tensors, rows))
    start_exponent = np.zeros(strides.size, np.int64)
    exponent = np.zeros(strides.size, np.int64)
    choice = np.zeros(levels, np.int64)
    choices = np.zeros(levels, np.int64)
    concerned = np.zeros(tensors, np.bool_)
    batch_size = status.size

    level = levels - 1
    expanding = True
    while level < levels:
        if expanding:
            # List the tiles of ``level`` that contain the inner tile and its fanout, and bound each.
            inner = nodes_at[level + 1]
            first = inner + shifts[level]
            fits = True
            for d in range(dims):
                if (bounds[d] // extents[inner, d]) % unrolled[level, d] != 0:
                    fits = False
                below[level, d] = sizes[inner, d] * unrolled[level, d]
            count[level] = 0
            position[level] = 0
            if not fits:
                expanding = False
                continue
            if forced[level] >= 0:
                candidates[level, 0] = forced[level]
                candidate_bounds[level, 0] = -np.inf
                count[level] = 1
                expanding = False
                continue
            for b in range(strides.size):
                start_exponent[b] = first // strides[b] % (exponents[b] + 1)
                exponent[b] = start_exponent[b]
            threshold = best.score[0] * SAFETY
        node = first
        while True:
            if not expanding:
                # Take the next listed tile, or go back inwards.
                if position[level] >= count[level]:
                    break
                node = candidates[level, position[level]]
                position[level] += 1
                threshold = best.score[0] * SAFETY
                if candidate_bounds[level, position[level] - 1] >= threshold:
                    position[level] = count[level]
                    break
            good = True
            any_multiple = True
            if expanding:
                bounded += 1
                # Bounds of this level and those outside, apart from what is still open inside: of all multiples of the
                # tile first, then of the tile itself.
                cost = settled[level + 1, 0] + least_outside[level, 0, node]
                if cost == np.inf:
                    any_multiple = False
                else:
                    slowest = base
                    for m in range(1, rows):
                        slowest = max(slowest, settled[level + 1, m] + least_outside[level, m, node])
                    slowest += ramps[level + 1] + least_outside[level, rows, node]
                    bound = score_of(kind, energy_weight, cycles_weight, cost + leakage * slowest, slowest)
                    any_multiple = bound < threshold and slowest <= max_cycles
                good = any_multiple and least_here[level, 0, node] < np.inf
                if good:
                    cost = settled[level + 1, 0] + least_here[level, 0, node]
                    slowest = base
                    for m in range(1, rows):
                        slowest = max(slowest, settled[level + 1, m] + least_here[level, m, node])
                    slowest += ramps[level + 1] + least_here[level, rows, node]
                    bound = score_of(kind, energy_weight, cycles_weight, cost + leakage * slowest, slowest)
                    good = bound < threshold and slowest <= max_cycles
            if good:
                # Loops of this level, and what they settle.
                inner = nodes_at[level + 1]
                tiles = 1.0
                done = True
                for d in range(dims):
                    factor[d] = sizes[node, d] / below[level, d]
                    if is_reduction[d] and extents[node, d] * between[level, d] != bounds[d]:
                        done = False
                if level_limited[level]:
                    for d in range(dims):
                        if factor[d] < min_factors[level, d] or factor[d] > max_factors[level, d]:
                            good = False
                if level == 1 and level_limited[0]:
                    for d in range(dims):
                        outermost = bounds[d] // (extents[node, d] * unrolled[0, d])
                        if outermost < min_factors[0, d] or outermost > max_factors[0, d]:
                            good = False
            if good:
                any_closes = False
                for t in range(tensors):
                    shuts = False
                    inert = 1.0
                    is_open = False
                    for m in range(rows):
                        if open_values[level + 1, t, m] > 0.0:
                            is_open = True
                    if is_open:
                        for d in range(dims):
                            if factor[d] > 1.0:
                                if irrelevant[t, d]:
                                    inert *= factor[d]
                                else:
                                    shuts = True
                    closes[level, t] = shuts
                    any_closes |= shuts
                    for m in range(rows):
                        value = open_values[level + 1, t, m]
                        closing_values[t, m] = value if shuts else 0.0
                        open_values[level, t, m] = 0.0 if shuts else value / inert
                    for d in range(dims):
                        window = window_of[t, d]
                        if window >= 0:
                            carried = is_open and not shuts
                            open_ratios[level, window] = open_ratios[level + 1, window] if carried else 1.0
                            open_widths[level, window] = open_widths[level + 1, window] if carried else 1.0
                # What this level receives itself.
                if windows > 0:
                    window_widths(coefficients, window_of, extents, node, widths)
                for d in range(dims):
                    remaining[d] = bounds[d] / (sizes[node, d] * above[level, d])
                    tiles *= remaining[d]
                for t in range(tensors):
                    receives = False
                    groups = 0.0
                    if slopes[0, level, t] != 0.0:
                        groups = groups_at(
                            coefficients, ranks, rank_sizes, rank_dims, t, unrolled, level - 1, extents, node
                        )
                    for m in range(rows):
                        if t == output and done:
                            weight = done_weights[m, level]
                        else:
                            weight = weights[m, level, t] + slopes[m, level, t] * groups
                        if weight > 0.0:
                            open_values[level, t, m] += weight * flows[node, t]
                            receives = True
                    if receives:
                        for d in range(dims):
                            window = window_of[t, d]
                            if window >= 0:
                                ratio = window_ratios[node, window]
                                open_ratios[level, window] = min(open_ratios[level, window], ratio)
                                open_widths[level, window] = max(open_widths[level, window], widths[window])
                far = node + shifts[level - 1]
                ramps[level] = ramps[level + 1] + ramp_cycles[level] * tiles
                # First as if tiles slid as far as they can, then, if that is not enough, as far as the loops known so
                # far let them.
                for refined in range(2):
                    if refined:
                        if windows == 0:
                            break
                        if any_closes:
                            slide_ratios(
                                factor,
                                extents,
                                inner,
                                unrolled[level],
                                coefficients,
                                irrelevant,
                                window_of,
                                open_widths[level + 1],
                                open_ratios[level + 1],
                                False,
                                slides[level],
                            )
                        if level == 1:
                            slide_ratios(
                                remaining,
                                extents,
                                node,
                                unrolled[0],
                                coefficients,
                                irrelevant,
                                window_of,
                                open_widths[1],
                                open_ratios[1],
                                True,
                                slides[0],
                            )
                    if any_closes:
                        least_cost(
                            closing_values,
                            factor,
                            irrelevant,
                            window_of,
                            slides[level] if refined else open_ratios[level + 1],
                            order_rank[level],
                            scratch,
                            closing[level],
                        )
                    elif not refined:
                        closing[level] = 0.0
                    if not refined or level == 1:
                        least_cost(
                            open_values[level],
                            remaining,
                            irrelevant,
                            window_of,
                            slides[0] if refined else open_ratios[level],
                            order_rank[0] if level == 1 else any_rank,
                            scratch,
                            least,
                        )
                    slowest = base
                    cost = 0.0
                    for m in range(rows):
                        settled[level, m] = settled[level + 1, m] + closing[level, m]
                        total = settled[level, m] + least[m]
                        if level > 1 and forced[level - 1] < 0:
                            total += least_outside[level - 1, m, far]
                        if m == 0:
                            cost = total
                        else:
                            slowest = max(slowest, total)
                    slowest += ramps[level]
                    if level > 1 and forced[level - 1] < 0:
                        slowest += least_outside[level - 1, rows, far]
                    bound = score_of(kind, energy_weight, cycles_weight, cost + leakage * slowest, slowest)
                    if bound >= threshold or slowest > max_cycles:
                        good = False
                        break
                if expanding and good:
                    candidates[level, count[level]] = node
                    candidate_bounds[level, count[level]] = bound
                    count[level] += 1
            if expanding:
                # The next multiple; if no multiple of this one is worth a look, leave out all that only multiply it by
                # the bases up to the one that was multiplied last.
                b = 0
                if not any_multiple:
                    while b < strides.size and exponent[b] == start_exponent[b]:
                        b += 1
                    if b < strides.size:
                        node -= strides[b] * (exponent[b] - start_exponent[b])
                        exponent[b] = start_exponent[b]
                        b += 1
                while b < strides.size:
                    if exponent[b] < exponents[b]:
                        exponent[b] += 1
                        node += strides[b]
                        break
                    node -= strides[b] * (exponent[b] - start_exponent[b])
                    exponent[b] = start_exponent[b]
                    b += 1
                if b == strides.size:
                    n = count[level]
                    if n > 1:
                        ranking = np.argsort(candidate_bounds[level, :n])
                        candidates[level, :n] = candidates[level, :n][ranking]
                        candidate_bounds[level, :n] = candidate_bounds[level, :n][ranking]
                    expanding = False
                continue
            if not good:
                continue
            # A tile was taken.
            nodes_at[level] = node
            if bounded >= stop_at:
                tally[0] = bounded
                return False
            if level > 1:
                level -= 1
                expanding = True
                break

            # All tiles are chosen: which orders can still beat the best?
            tally[1] += 1
            if pool.used[0] + levels * kept_orders.shape[1] > pool.orders.shape[0]:
                # Start over with an empty pool, before any of its orders is in use here.
                pool.used[0] = 0
                pool.first[:] = -1
            nodes_at[0] = whole
            for d in range(dims):
                remaining[d] = bounds[d] // (extents[node, d] * unrolled[0, d])
            for t in range(tensors):
                shuts = False
                for m in range(rows):
                    closing_values[t, m] = open_values[1, t, m]
                for d in range(dims):
                    if remaining[d] > 1.0 and not irrelevant[t, d]:
                        shuts = True
                closes[0, t] = shuts
            # (Tensors that stay open to the end are reused by all loops; the bound counts them already.)
            for outer in range(levels - 1):
                mask = 0
                for d in range(dims):
                    if extents[nodes_at[outer], d] // (extents[nodes_at[outer + 1], d] * unrolled[outer, d]) > 1:
                        mask |= 1 << d
                if pool.first[outer, mask] < 0 and not generate_orders(
                    pool, outer, mask, order_rank, irrelevant, window_of
                ):
                    raise RuntimeError("a level has more undominated loop orders than the pool takes")
                # An order matters to tensors that it settles, and to those that may slide on from an inner level.
                for t in range(tensors):
                    concerned[t] = closes[outer, t]
                    if not closes[outer, t]:
                        for d in range(dims):
                            if window_of[t, d] >= 0 and mask >> d & 1:
                                concerned[t] = True
                choices[outer] = 0
                begin = pool.first[outer, mask]
                for k in range(begin, begin + pool.number[outer, mask]):
                    slowest = base
                    cost = 0.0
                    for m in range(rows):
                        here = -closing[outer, m] if outer > 0 else -least[m]
                        for t in range(tensors):
                            value = open_values[outer + 1, t, m]
                            if value <= 0.0:
                                continue
                            if closes[outer, t]:
                                reuse = 1.0
                                for d in range(dims):
                                    if pool.runs[k, t] >> d & 1:
                                        a = nodes_at[outer]
                                        i = nodes_at[outer + 1]
                                        reuse *= extents[a, d] // (extents[i, d] * unrolled[outer, d])
                                first_slide = pool.slides[k, t, 0]
                                ratio = 1.0
                                if first_slide >= 0:
                                    ratio = slides[outer, window_of[t, first_slide]]
                                here += value * ratio / reuse
                            elif outer == 0:
                                inert = 1.0
                                for d in range(dims):
                                    inert *= remaining[d]
                                here += value / inert
                        total = settled[1, m] + least[m] + here
                        if m == 0:
                            cost = total
                        else:
                            slowest = max(slowest, total)
                    slowest += ramps[1]
                    bound = score_of(kind, energy_weight, cycles_weight, cost + leakage * slowest, slowest)
                    if bound >= best.score[0] * SAFETY:
                        continue
                    # Orders that do the same for the concerned tensors are one.
                    new = True
                    for j in range(choices[outer]):
                        other = kept_orders[outer, j]
                        same = True
                        for t in range(tensors):
                            if concerned[t] and same:
                                if closes[outer, t] and pool.runs[k, t] != pool.runs[other, t]:
                                    same = False
                                for step in range(dims):
                                    if pool.slides[k, t, step] != pool.slides[other, t, step]:
                                        same = False
                                        break
                                    if pool.slides[k, t, step] < 0:
                                        break
                                    if pool.insides[k, t, step] != pool.insides[other, t, step]:
                                        same = False
                                        break
                        if same:
                            new = False
                            break
                    if new:
                        kept_orders[outer, choices[outer]] = k
                        choices[outer] += 1
                choice[outer] = 0
                if choices[outer] == 0:
                    break
            complete = True
            for outer in range(levels - 1):
                complete &= choices[outer] > 0
            filled = 0
            while complete:
                for slot in range(levels):
                    for d in range(dims):
                        i = nodes_at[slot + 1]
                        batch_factors[filled, slot, d] = extents[nodes_at[slot], d] // (
                            extents[i, d] * unrolled[slot, d]
                        )
                        batch_order[filled, slot, d] = last_order[d]
                    for t in range(tensors):
                        batch_keep[filled, slot, t] = keep[slot, t]
                    if slot < levels - 1:
                        for d in range(dims):
                            batch_order[filled, slot, d] = pool.orders[kept_orders[slot, choice[slot]], d]
                for slot in range(levels * AXES):
                    for d in range(dims):
                        batch_factors[filled, levels + slot, d] = axis_factors[slot, d]
                filled += 1
                outer = 0
                while outer < levels - 1:
                    choice[outer] += 1
                    if choice[outer] < choices[outer]:
                        break
                    choice[outer] = 0
                    outer += 1
                last = outer == levels - 1
                if filled == batch_size or last:
                    some = MappingArrays(batch_factors[:filled], batch_order[:filled], batch_keep[:filled])
                    evaluate_batch(
                        operator,
                        hardware,
                        some,
                        counts,
                        energy,
                        status[:filled],
                        facts[:filled],
                        energies[:filled],
                        cycles[:filled],
                    )
                    tally[2] += filled
                    for i in range(filled):
                        if status[i] == VALID:
                            tally[3] += 1
                            score = score_of(kind, energy_weight, cycles_weight, energies[i], np.float64(cycles[i]))
                            if score < best.score[0] and cycles[i] <= max_cycles:
                                best.score[0] = score
                                best.energy_pj[0] = energies[i]
                                best.cycles[0] = cycles[i]
                                best.found[0] += 1
                                best.mapping.factors[0] = batch_factors[i]
                                best.mapping.order[0] = batch_order[i]
                                best.mapping.keep[0] = batch_keep[i]
                    filled = 0
                if last:
                    break
        if not expanding and position[level] >= count[level]:
            level += 1
    tally[0] = bounded
    return True


@kernel
def unrolling_bounds(
    operator,
    hardware,
    metrics,
    extents,
    touched,
    irrelevant,
    plain_output,
    output_words,
    keep,
    fanout_levels,
    nodes,
    half_extents,
    outer_level,
    least_outside,
    kind,
    energy_weight,
    cycles_weight,
    max_cycles,
    min_macs,
    weights,
    done_weights,
    slopes,
    constants,
    instances,
    used,
    result,
):
    """Lower bound on the score of every unrolling.

    ``nodes`` (x, F) are the factors unrolled at ``fanout_levels`` (F,), ``half_extents`` (x, F) half the extents that
    they use. Levels out to ``outer_level`` cost at least what ``least_outside`` (L, M+1, n) says for tiles that contain
    all unrolled factors; the others receive every word that is touched, once per instance that uses it. ``result`` (x,)
    is inf for unrollings that are not allowed.
    """
    bounds = operator.bounds
    levels, tensors = keep.shape
    dims = bounds.size
    rows = constants.size
    leakage = hardware.scalars[2]
    unrolled = np.ones((levels, dims), np.int64)
    half_extent = np.zeros(levels)
    for x in range(nodes.shape[0]):
        total_node = 0
        for f in range(fanout_levels.size):
            node = nodes[x, f]
            total_node += node
            half_extent[fanout_levels[f]] = half_extents[x, f]
            for d in range(dims):
                unrolled[fanout_levels[f], d] = extents[node, d]
        boundary_weights(
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
        )
        result[x] = np.inf
        if instances[levels] < min_macs:
            continue
        base = 1.0
        for d in range(dims):
            base *= bounds[d]
        base /= instances[levels]
        slowest = base
        cost = 0.0
        for m in range(rows):
            total = constants[m]
            if outer_level > 0:
                total += least_outside[outer_level, m, total_node]
            for t in range(tensors):
                copies = 1.0
                for level in range(1, levels):
                    for d in range(dims):
                        if irrelevant[t, d]:
                            copies *= unrolled[level - 1, d]
                    if level > outer_level:
                        weight = weights[m, level, t]
                        if t == tensors - 1:
                            weight = min(weight, done_weights[m, level])
                        total += (weight + slopes[m, level, t]) * touched[t] * copies
            if m == 0:
                cost = total
            else:
                slowest = max(slowest, total)
        if outer_level > 0:
            slowest += least_outside[outer_level, rows, total_node]
        if slowest <= max_cycles and cost < np.inf:
            result[x] = score_of(kind, energy_weight, cycles_weight, cost + leakage * slowest, slowest)


@kernel
def explore_unrollings(
    operator,
    hardware,
    counts,
    energy,
    metrics,
    lattice,
    irrelevant,
    order_rank,
    min_factors,
    max_factors,
    level_limited,
    last_order,
    plain_output,
    output_words,
    keep,
    parent_of_output,
    fitting,
    fitting_counts,
    fanout_levels,
    nodes,
    axis_nodes,
    half_extents,
    outer_level,
    inside_level,
    crossing,
    chains,
    tops,
    chain_bounds,
    tops_fit,
    lower_bounds,
    ranking,
    first,
    last,
    weights,
    done_weights,
    slopes,
    constants,
    instances,
    used,
    least_here,
    least_outside,
    pool,
    work,
    best,
    kind,
    energy_weight,
    cycles_weight,
    max_cycles,
    node_limit,
    unfinished,
    tally,
):
    """Explore the unrollings ``ranking[first:last]``, the most promising ones first.

    Returns the position of the first one that was not looked at: ``last``, or before it the first whose lower bound
    says that it and all after it cannot beat the best. Those that took more than ``node_limit`` nodes are marked in
    ``unfinished`` (x,). ``fitting`` (L, n) lists the tiles that fit each level.
    ``tops`` are the chains of the levels from ``inside_level`` inwards (all unrollings of one call share the fanout of
    the MACs), ``chain_bounds`` and ``tops_fit`` scratch for them.
    """
    levels = keep.shape[0]
    dims = operator.bounds.size
    rows = constants.size
    extents = lattice.extents
    unrolled = np.ones((levels, dims), np.int64)
    half_extent = np.zeros(levels)
    shifts = np.zeros(levels, np.int64)
    above = np.ones(dims, np.int64)
    axis_factors = np.ones((levels * AXES, dims), np.int64)
    any_rank = np.zeros(dims, np.int64)
    inside_above = np.ones(dims, np.int64)
    scales = np.ones(rows)
    forced = np.full(levels, -1, np.int64)
    chosen = np.zeros(tops.size, np.int64)
    ramped = 1 if hardware.ramp_cycles.any() else 0
    for position in range(first, last):
        x = ranking[position]
        if lower_bounds[x] >= best.score[0] * SAFETY:
            return position
        for f in range(fanout_levels.size):
            level = fanout_levels[f]
            shifts[level] = nodes[x, f]
            half_extent[level] = half_extents[x, f]
            for d in range(dims):
                unrolled[level, d] = extents[nodes[x, f], d]
                for a in range(AXES):
                    axis_factors[level * AXES + a, d] = extents[axis_nodes[x, f, a], d]
        boundary_weights(
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
        )
        above[:] = 1
        for level in range(1, levels):
            for d in range(dims):
                above[d] *= unrolled[level - 1, d]
            if level == inside_level:
                inside_above[:] = above
            if level <= outer_level or level >= inside_level:
                continue
            level_bounds(
                operator,
                extents,
                lattice.sizes,
                lattice.flows,
                lattice.window_of,
                lattice.window_ratios,
                irrelevant,
                fitting[level, : fitting_counts[level]],
                level,
                parent_of_output[level],
                unrolled,
                above,
                weights,
                done_weights,
                slopes,
                order_rank[0] if level == 1 else any_rank,
                hardware.ramp_cycles,
                shifts[level - 1],
                least_outside[level - 1],
                least_here[level],
            )
            for m in range(rows + ramped):
                least_outside[level, m] = least_here[level, m]
                least_of_multiples(lattice.strides, lattice.exponents, least_outside[level, m])
        for m in range(rows):
            scales[m] = 1.0
            if m > 0:
                scales[m] = 1.0 / instances[metrics.level[m - 1]]
        shift = shifts[inside_level - 1]
        bound_chains(
            operator,
            lattice,
            irrelevant,
            chains,
            tops,
            inside_level,
            crossing,
            unrolled,
            inside_above,
            weights,
            done_weights,
            slopes,
            constants,
            scales,
            order_rank[0] if inside_level == 1 else any_rank,
            shift,
            least_outside[inside_level - 1],
            tops_fit,
            chain_bounds,
        )
        base = 1.0
        for d in range(dims):
            base *= operator.bounds[d]
        base /= instances[levels]
        found = 0
        threshold = best.score[0] * SAFETY
        for i in range(tops.size):
            if not tops_fit[i]:
                continue
            slowest = base
            for m in range(1, rows):
                slowest = max(slowest, chain_bounds[i, m])
            slowest += chain_bounds[i, rows] + hardware.ramp_cycles[0]
            bound = score_of(
                kind, energy_weight, cycles_weight, chain_bounds[i, 0] + hardware.scalars[2] * slowest, slowest
            )
            if bound < threshold and slowest <= max_cycles:
                # (Overwrites rows that have been read.)
                chain_bounds[found, 0] = bound
                chosen[found] = tops[i]
                found += 1
        tally[0] += tops.size
        ranked = np.argsort(chain_bounds[:found, 0])
        stop_at = tally[0] + node_limit
        finished = True
        for i in ranked:
            if chain_bounds[i, 0] >= best.score[0] * SAFETY:
                break
            if tally[0] >= stop_at:
                # All chains left have at least this bound.
                lower_bounds[x] = max(lower_bounds[x], chain_bounds[i, 0])
                finished = False
                break
            chain = chosen[i]
            for level in range(inside_level, levels):
                forced[level] = chains.node[chain]
                chain = chains.inner[chain]
            finished = explore(
                operator,
                hardware,
                counts,
                energy,
                lattice,
                irrelevant,
                order_rank,
                min_factors,
                max_factors,
                level_limited,
                last_order,
                keep,
                unrolled,
                axis_factors,
                shifts,
                parent_of_output,
                weights,
                done_weights,
                slopes,
                constants,
                forced,
                least_here,
                least_outside,
                pool,
                work,
                best,
                kind,
                energy_weight,
                cycles_weight,
                max_cycles,
                stop_at - tally[0],
                tally,
            )
            if not finished:
                lower_bounds[x] = max(lower_bounds[x], chain_bounds[i, 0])
                break
        unfinished[x] = not finished
    return last
