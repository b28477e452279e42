"""Copies of the slowest layers on spare arrays, for the shortest interval between images of a pipeline."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Demand:
    """What a layer needs per image: products, the time of one of them, and the arrays of a copy."""

    products: int
    product_s: float
    arrays: int

    def time_s(self, copies: int) -> float:
        """Time of all products, divided among copies; a product is not divided."""
        return math.ceil(self.products / copies) * self.product_s


def replicate(layers: Sequence[Demand], budget: int) -> list[int]:
    """Copies per layer that minimise the time of the slowest layer within a budget of arrays.

    The slowest layer gets another copy, again and again, until none fits. That is optimal: as long as the interval is
    above the least one, the slowest layer has fewer copies than it has in an optimal assignment, so no layer ever gets
    more than it has there. Copies that gain nothing (five for eight products) are taken back.

    Raises ValueError if one copy of each does not fit.
    """
    left = budget - sum(layer.arrays for layer in layers)
    if left < 0:
        raise ValueError(f"one copy of every layer takes {budget - left} arrays (got {budget})")
    copies = [1] * len(layers)
    slowest = [(-layer.time_s(1), index) for index, layer in enumerate(layers)]
    heapq.heapify(slowest)
    while slowest:
        index = slowest[0][1]
        layer = layers[index]
        if layer.arrays > left or copies[index] >= layer.products:
            break
        left -= layer.arrays
        copies[index] += 1
        heapq.heapreplace(slowest, (-layer.time_s(copies[index]), index))
    return [
        math.ceil(layer.products / math.ceil(layer.products / count))
        for layer, count in zip(layers, copies, strict=True)
    ]


def interval_bound_s(layers: Sequence[Demand], budget: int) -> float:
    """No assignment has a shorter interval: the work of all layers, in arrays x time, spread over all arrays; and no
    layer is faster than one product.
    """
    if not layers:
        return 0.0
    spread = sum(layer.products * layer.product_s * layer.arrays for layer in layers) / budget
    return max(spread, *(layer.product_s for layer in layers))
