"""The lattice of tile sizes: every vector of divisors of the bounds is a node.

A node's index is a mixed-radix number over the exponents of the bounds' prime factors, so the indices of a product
of two tiles add up, and "all multiples of a tile" is a box of exponents.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accelerators.jit import kernel


class LatticeArrays(NamedTuple):
    """n nodes, B prime bases (one per dimension and prime), W windows (ranks of a tensor with several dimensions)."""

    strides: NDArray[np.int64]  # (B,)
    exponents: NDArray[np.int64]  # (B,) largest exponent
    extents: NDArray[np.int64]  # (n, D)
    sizes: NDArray[np.float64]  # (n, D) the extents again: quotients of floats are exact here, and much faster
    volumes: NDArray[np.int64]  # (n, T) words of the tile's bounding box
    flows: NDArray[np.float64]  # (n, T) words that all tiles of the operator have together: volume x number of tiles
    window_of: NDArray[np.int64]  # (T, D); index of the window that a dimension belongs to, -1 for none
    window_ratios: NDArray[np.float64]  # (n, W) least part of a flow that remains if the tile slides along a window


@kernel
def least_prime_factor(number, start):
    """The least factor of ``number`` that is at least ``start``, given that there is none below 2 < ``start``."""
    divisor = start
    while divisor * divisor <= number:
        if number % divisor == 0:
            return divisor
        divisor += 1 if divisor == 2 else 2
    return number


@kernel
def fill_nodes(bounds, bases, base_dims, coefficients, ranks, rank_sizes, rank_dims, touched, lattice):
    """Fill the node arrays of a lattice; ``touched`` (W,) are the coordinates that a window's loops really touch."""
    strides, exponents = lattice.strides, lattice.exponents
    extents, sizes, volumes, flows = lattice.extents, lattice.sizes, lattice.volumes, lattice.flows
    window_of, ratios = lattice.window_of, lattice.window_ratios
    nodes, dims = extents.shape
    tensors = volumes.shape[1]
    counter = np.zeros(strides.size, np.int64)
    extent = np.ones(dims, np.int64)
    for node in range(nodes):
        tiles = 1.0
        for d in range(dims):
            extents[node, d] = extent[d]
            sizes[node, d] = extent[d]
            tiles *= bounds[d] // extent[d]
        for t in range(tensors):
            words = 1
            for rank in range(ranks[t]):
                width = 1
                steps = 1
                for k in range(rank_sizes[t, rank]):
                    d = rank_dims[t, rank, k]
                    width += coefficients[t, d] * (extent[d] - 1)
                    steps *= bounds[d] // extent[d]
                window = window_of[t, rank_dims[t, rank, 0]]
                if window >= 0:
                    ratios[node, window] = min(1.0, touched[window] / (np.float64(width) * steps))
                words *= width
            volumes[node, t] = words
            flows[node, t] = words * tiles
        for b in range(strides.size):
            d = base_dims[b]
            if counter[b] < exponents[b]:
                counter[b] += 1
                extent[d] *= bases[b]
                break
            while counter[b] > 0:
                counter[b] -= 1
                extent[d] //= bases[b]


@kernel
def least_of_multiples(strides, exponents, table):
    """Replace every entry of ``table`` (n,) by the least one among all multiples of its node."""
    nodes = table.size
    for b in range(strides.size):
        stride = strides[b]
        block = stride * (exponents[b] + 1)
        for start in range(0, nodes, block):
            for first in range(start + (exponents[b] - 1) * stride, start - 1, -stride):
                for node in range(first, first + stride):
                    if table[node + stride] < table[node]:
                        table[node] = table[node + stride]


@kernel
def unroll_axis(bounds, extents, least, most, size, allowed_nodes):
    """Mark in ``allowed_nodes`` (n,) the factors that one axis may take: within their limits, product <= size."""
    nodes, dims = extents.shape
    for node in range(nodes):
        product = 1
        good = True
        for d in range(dims):
            factor = extents[node, d]
            product *= factor
            if product > size or factor < least[d] or factor > most[d]:
                good = False
                break
        allowed_nodes[node] = good


@kernel
def combine_axes(bounds, extents, first, first_used, second, second_size, best_used, best_first, best_second):
    """All products of a node of ``first`` and one of ``second``; each keeps the pair that uses the shortest axes.

    ``first_used`` is the sum of the used extents of the axes so far. Results are dense (n,) arrays; ``best_used`` is 0
    where no pair gives the node.
    """
    dims = extents.shape[1]
    for i in range(first.size):
        for j in range(second.size):
            a, b = first[i], second[j]
            good = True
            for d in range(dims):
                if (bounds[d] // extents[a, d]) % extents[b, d] != 0:
                    good = False
                    break
            if good:
                node = a + b
                used = first_used[i] + second_size[j]
                if best_used[node] == 0 or used < best_used[node]:
                    best_used[node] = used
                    best_first[node] = i
                    best_second[node] = b
