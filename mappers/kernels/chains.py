"""Chains of tiles for the levels below the last fanout between levels, without those that others dominate.

What happens inside a processing element does not depend on the unrolling: a chain is one tile per level, and all that
the levels further out see of it is its outermost tile and, per tensor, the words that cross into the element. They are
settled if a loop inside the element concerns the tensor, and open (still to be divided by reuse further out) if
none does. At equal outermost tiles a chain is dominated by one that is settled nowhere where it is open, and
nowhere costs more. Settled words are bounds where a tile may slide (``low``: as far as it can, ``high``: not at all),
so that the one must be dearer at best than the other at worst.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accelerators.jit import kernel
from mappers.kernels.bounds import groups_at, least_cost

#: What partial sums are to finished outputs; see ``grow_chains``.
SAME = 0
WIDER = 1
OTHER = 2

#: How growing chains ended.
COMPLETE = 0
FULL = 1
GIVEN_UP = 2


class Chains(NamedTuple):
    """A pool of P chains."""

    node: NDArray[np.int64]  # (P,) tile of the chain's outermost level
    inner: NDArray[np.int64]  # (P,) the chain without its outermost tile, -1 for none
    following: NDArray[np.int64]  # (P,) next chain of the same level and node, -1 for none
    is_open: NDArray[np.bool_]  # (P, T)
    low: NDArray[np.float64]  # (P, T) settled words that cross into the element, at least
    high: NDArray[np.float64]  # (P, T) at most
    inside_low: NDArray[np.float64]  # (P, M) settled cost between levels inside the element, at least
    inside_high: NDArray[np.float64]  # (P, M)
    riding: NDArray[np.float64]  # (P, T, M) cost inside the element per open word
    ramp: NDArray[np.float64]  # (P,) ramp cycles of the levels inside, per tile of one iteration
    done: NDArray[np.bool_]  # (P,) outputs leave the element complete
    sure: NDArray[np.bool_]  # (P,) the tiles fit even if all outputs are partial sums
    finished: NDArray[np.int64]  # (P,) levels inside whose tiles hold all of the reductions
    used: NDArray[np.int64]  # (1,) chains in the pool


def new_chains(size: int, tensors: int, rows: int) -> Chains:
    """An empty pool."""
    return Chains(
        node=np.zeros(size, np.int64),
        inner=np.zeros(size, np.int64),
        following=np.zeros(size, np.int64),
        is_open=np.zeros((size, tensors), np.bool_),
        low=np.zeros((size, tensors)),
        high=np.zeros((size, tensors)),
        inside_low=np.zeros((size, rows)),
        inside_high=np.zeros((size, rows)),
        riding=np.zeros((size, tensors, rows)),
        ramp=np.zeros(size),
        done=np.zeros(size, np.bool_),
        sure=np.zeros(size, np.bool_),
        finished=np.zeros(size, np.int64),
        used=np.zeros(1, np.int64),
    )


@kernel
def grow_chains(
    operator,
    lattice,
    irrelevant,
    order_rank,
    min_factors,
    max_factors,
    keep,
    crossing,
    inside_weights,
    ramp_cycles,
    level,
    innermost,
    start_nodes,
    heads_inside,
    fits,
    hopeless,
    surely_fits,
    partial_sums,
    chains,
    heads,
    allowance,
):
    """Extend all chains of ``level + 1`` by a tile of ``level``; returns COMPLETE, FULL (the pool is) or GIVEN_UP.

    ``allowance`` (1,) is how many tiles and pairs of chains may be looked at; what is used is taken off. Below 0 it
    gives up.

    ``start_nodes`` (s,) are the nodes with chains, ``heads_inside`` (n,) the first chain of each (unused at the
    ``innermost`` level, which starts from the factors of the MACs' fanout). ``crossing`` (T,) is the outermost level of
    the element that keeps a tensor. ``inside_weights`` (M, L, T) prices the words of the others.
    ``hopeless`` (n,) marks tiles without a multiple that fits, ``surely_fits`` those that fit with partial sums.
    ``partial_sums`` says what they are to finished outputs: SAME (as wide), WIDER (only the last of all updates of an
    element stores a finished output: levels that hold all reductions save a part that weights do not show), or OTHER
    (weights are no upper bounds, so no chain dominates another). Writes ``heads`` (n,), -1 where no chain ends.
    """
    bounds, is_reduction = operator.bounds, operator.is_reduction
    extents, sizes, flows = lattice.extents, lattice.sizes, lattice.flows
    strides, exponents = lattice.strides, lattice.exponents
    window_of, window_ratios = lattice.window_of, lattice.window_ratios
    chain_node, chain_inner, following = chains.node, chains.inner, chains.following
    is_open, low, high = chains.is_open, chains.low, chains.high
    inside_low, inside_high, riding = chains.inside_low, chains.inside_high, chains.riding
    ramp, done, sure, finished = chains.ramp, chains.done, chains.sure, chains.finished
    tensors, dims = irrelevant.shape
    rows = inside_low.shape[1]
    output = tensors - 1
    size = chain_node.size
    used = chains.used[0]
    start = np.zeros(strides.size, np.int64)
    exponent = np.zeros(strides.size, np.int64)
    factor = np.ones(dims)
    closes = np.zeros(tensors, np.bool_)
    heads[:] = -1
    left = allowance[0]
    for s in range(start_nodes.size):
        inner_node = start_nodes[s]
        node = inner_node
        for b in range(strides.size):
            start[b] = inner_node // strides[b] % (exponents[b] + 1)
            exponent[b] = start[b]
        b = 0
        while b < strides.size or strides.size == 0:
            left -= 1
            if left < 0:
                return GIVEN_UP
            within = fits[node]
            ranked = False
            top = -1
            if within:
                for d in range(dims):
                    factor[d] = sizes[node, d] / sizes[inner_node, d]
                    if factor[d] < min_factors[level, d] or factor[d] > max_factors[level, d]:
                        within = False
                    if factor[d] > 1.0 and (top < 0 or order_rank[level, d] > order_rank[level, top]):
                        top = d
                    ranked |= order_rank[level, d] != 0
            if within:
                complete = True
                for d in range(dims):
                    if is_reduction[d] and extents[node, d] != bounds[d]:
                        complete = False
                chain = -1
                if not innermost:
                    chain = heads_inside[inner_node]
                while True:
                    any_closes = False
                    for t in range(tensors):
                        closes[t] = False
                        if chain >= 0 and is_open[chain, t]:
                            for d in range(dims):
                                if factor[d] > 1.0 and not irrelevant[t, d]:
                                    closes[t] = True
                        any_closes |= closes[t]
                    # One variant per dimension that may be the innermost loop, if it matters.
                    for first in range(-1, dims):
                        if any_closes != (first >= 0):
                            continue
                        if first >= 0 and (factor[first] <= 1.0 or order_rank[level, first] != order_rank[level, top]):
                            continue
                        if used >= size:
                            return FULL
                        if left < 0:
                            return GIVEN_UP
                        new = used
                        chain_node[new] = node
                        chain_inner[new] = chain
                        sure[new] = surely_fits[node] and (chain < 0 or sure[chain])
                        iterations = 1.0
                        for d in range(dims):
                            iterations *= sizes[node, d]
                        finished[new] = (finished[chain] if chain >= 0 else 0) + (1 if complete else 0)
                        ramp[new] = (ramp[chain] if chain >= 0 else 0.0) + ramp_cycles[level] / iterations
                        done[new] = chain >= 0 and done[chain]
                        if crossing[output] == level:
                            done[new] = complete
                        for m in range(rows):
                            inside_low[new, m] = inside_low[chain, m] if chain >= 0 else 0.0
                            inside_high[new, m] = inside_high[chain, m] if chain >= 0 else 0.0
                        resting = 0
                        for t in range(tensors):
                            if first >= 0 and closes[t] and irrelevant[t, first]:
                                resting += 1
                        for t in range(tensors):
                            if chain >= 0:
                                is_open[new, t] = is_open[chain, t] and not closes[t]
                                low[new, t] = low[chain, t]
                                high[new, t] = high[chain, t]
                                for m in range(rows):
                                    riding[new, t, m] = 0.0 if closes[t] else riding[chain, t, m]
                            else:
                                is_open[new, t] = False
                                low[new, t] = 0.0
                                high[new, t] = 0.0
                                for m in range(rows):
                                    riding[new, t, m] = 0.0
                            if closes[t]:
                                least = 1.0
                                most = 1.0
                                if irrelevant[t, first]:
                                    slide = 1.0
                                    for d in range(dims):
                                        if irrelevant[t, d]:
                                            least /= factor[d]
                                        elif window_of[t, d] >= 0 and factor[d] > 1.0:
                                            slide = min(slide, window_ratios[inner_node, window_of[t, d]])
                                    least *= slide
                                    # Alone, a tensor rests for all loops that do not concern it.
                                    if ranked or resting > 1:
                                        most = 1.0 / factor[first]
                                    else:
                                        for d in range(dims):
                                            if irrelevant[t, d]:
                                                most /= factor[d]
                                elif window_of[t, first] >= 0:
                                    least = window_ratios[inner_node, window_of[t, first]]
                                value = flows[inner_node, t]
                                if crossing[t] > level:
                                    low[new, t] = value * least
                                    high[new, t] = value * most
                                for m in range(rows):
                                    inside_low[new, m] += riding[chain, t, m] * value * least
                                    inside_high[new, m] += riding[chain, t, m] * value * most
                            if keep[level, t]:
                                is_open[new, t] = True
                                if crossing[t] != level:
                                    for m in range(rows):
                                        riding[new, t, m] += inside_weights[m, level, t]
                        # Keep it unless another one dominates it; drop those that it dominates.
                        keeps = True
                        previous = -1
                        other = heads[node]
                        while other >= 0:
                            left -= 1
                            for turn in range(2):
                                a = other if turn == 0 else new
                                c = new if turn == 0 else other
                                better = sure[a] and (done[a] or not done[c]) and ramp[a] <= ramp[c]
                                better &= partial_sums != OTHER
                                better &= partial_sums == SAME or finished[a] >= finished[c]
                                for t in range(tensors):
                                    if is_open[a, t]:
                                        if is_open[c, t]:
                                            for m in range(rows):
                                                better &= riding[a, t, m] <= riding[c, t, m]
                                        elif crossing[t] >= level:
                                            better &= flows[node, t] <= low[c, t]
                                    else:
                                        better &= not is_open[c, t] and high[a, t] <= low[c, t]
                                for m in range(rows):
                                    cost = inside_high[a, m]
                                    for t in range(tensors):
                                        if is_open[a, t] and not is_open[c, t]:
                                            cost += riding[a, t, m] * flows[node, t]
                                    better &= cost <= inside_low[c, m]
                                if better:
                                    break
                            if better and turn == 0:
                                keeps = False
                                break
                            if better:
                                if previous < 0:
                                    heads[node] = following[other]
                                else:
                                    following[previous] = following[other]
                            else:
                                previous = other
                            other = following[other]
                        if keeps:
                            following[new] = heads[node]
                            heads[node] = new
                            used += 1
                    if chain < 0:
                        break
                    chain = following[chain]
                    if chain < 0:
                        break
            if strides.size == 0:
                break
            b = 0
            if hopeless[node]:
                while b < strides.size and exponent[b] == start[b]:
                    b += 1
                if b < strides.size:
                    node -= strides[b] * (exponent[b] - start[b])
                    exponent[b] = start[b]
                    b += 1
            while b < strides.size:
                if exponent[b] < exponents[b]:
                    exponent[b] += 1
                    node += strides[b]
                    break
                node -= strides[b] * (exponent[b] - start[b])
                exponent[b] = start[b]
                b += 1
    chains.used[0] = used
    allowance[0] = left
    return COMPLETE


@kernel
def bound_chains(
    operator,
    lattice,
    irrelevant,
    chains,
    tops,
    level,
    crossing,
    unrolled,
    above,
    weights,
    done_weights,
    slopes,
    constants,
    scales,
    rank,
    shift,
    outer,
    tops_fit,
    result,
):
    """Lower bounds (chain, M+1) of all metrics and, last, the ramp cycles, for the chains ``tops`` of one unrolling.

    ``above`` (D,) are the factors of all fanouts outside, ``scales`` (M,) what a metric of the inside must be
    multiplied with (instances share a bandwidth). ``tops_fit`` is False for tiles that the fanouts do not divide.
    """
    bounds = operator.bounds
    coefficients, ranks = operator.coefficients, operator.ranks
    rank_sizes, rank_dims = operator.rank_sizes, operator.rank_dims
    extents, sizes, flows = lattice.extents, lattice.sizes, lattice.flows
    window_of, window_ratios = lattice.window_of, lattice.window_ratios
    node_of, is_open, low = chains.node, chains.is_open, chains.low
    inside_low, riding, ramp, done = chains.inside_low, chains.riding, chains.ramp, chains.done
    tensors, dims = irrelevant.shape
    rows = constants.size
    output = tensors - 1
    remaining = np.ones(dims)
    scratch = np.empty(tensors)
    least = np.empty(rows)
    values = np.zeros((tensors, rows))
    last_node = -1
    good = False
    iterations = 1.0
    for d in range(dims):
        iterations *= bounds[d] / above[d]
    for i in range(tops.size):
        chain = tops[i]
        node = node_of[chain]
        if node != last_node:
            last_node = node
            good = True
            for d in range(dims):
                left = bounds[d] / (sizes[node, d] * above[d])
                if left != np.floor(left):
                    good = False
                    break
                remaining[d] = left
            if good:
                good = outer[0, node + shift] < np.inf
        tops_fit[i] = good
        if not good:
            continue
        for t in range(tensors):
            keeper = crossing[t]
            groups = 0.0
            if keeper >= 0 and slopes[0, keeper, t] != 0.0:
                groups = groups_at(coefficients, ranks, rank_sizes, rank_dims, t, unrolled, level - 1, extents, node)
            for m in range(rows):
                values[t, m] = 0.0
                if keeper < 0:
                    continue
                if t == output and done[chain]:
                    weight = done_weights[m, keeper]
                else:
                    weight = weights[m, keeper, t] + slopes[m, keeper, t] * groups
                if is_open[chain, t]:
                    values[t, m] = (weight + riding[chain, t, m] * scales[m]) * flows[node, t]
                else:
                    values[t, m] = weight * low[chain, t]
        for m in range(rows):
            result[i, m] = constants[m] + inside_low[chain, m] * scales[m] + outer[m, node + shift]
        result[i, rows] = ramp[chain] * iterations + outer[rows, node + shift]
        for t in range(tensors):
            if not is_open[chain, t]:
                for m in range(rows):
                    result[i, m] += values[t, m]
                    values[t, m] = 0.0
        least_cost(values, remaining, irrelevant, window_of, window_ratios[node], rank, scratch, least)
        for m in range(rows):
            result[i, m] += least[m]
