"""The roofline of an operator on a processor: arithmetic, traffic of every memory, and the start of the operator.

An operator takes the longest of its arithmetic and of its traffic through each memory, and its start on top (or
beside, where the runtime goes on while the device works). Arithmetic runs at the peak as far as the shape fills lanes
and cores. Traffic is that of the best tiles for every cache: neither everything from DRAM nor everything once.
Williams, Waterman, Patterson: Roofline, CACM 52(4), 2009; for several memories Ilic, Pratas, Sousa, IEEE CAL 2014.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from accelerators.costs import Cost
from accelerators.operators import Operator
from accelerators.processors.processor import CLASSES, Class, Processor

_MOVEMENT = frozenset({"embedding", "gather", "pad", "permute", "resize", "unknown"})
#: Operations per element and class, where the operator has no MACs: exponentials count as several.
_OPERATIONS = {"normalization": 2.0, "softmax": 8.0, "elementwise": 1.0, "movement": 0.0}


@dataclass(frozen=True)
class Step:
    """What a runtime starts at once: an operator of a layer with what is merged into it.

    ``extra_words`` are operands of the merged operators that are not the operator's own; ``resident_bytes`` is what the
    whole network keeps in memory between two runs (its weights), ``channels`` those of a batch normalisation.
    """

    layer: str
    operator: Operator
    extra_words: int = 0
    resident_bytes: float = 0.0
    channels: int = 0


def class_of(operator: Operator) -> Class:
    """What an operator is to a runtime."""
    if operator.macs:
        if operator.kind == "depthwise":
            return "depthwise"
        return "matmul" if "matmul" in operator.kind else "convolution"
    if operator.kind in CLASSES:
        return operator.kind
    return "movement" if operator.kind in _MOVEMENT else "elementwise"


def operations(operator: Operator) -> float:
    """Arithmetic operations; a multiply-accumulate is two."""
    if operator.macs:
        return 2.0 * operator.macs
    if operator.kind == "pool":
        return float(operator.iterations)
    elements = max(operator.words(tensor) for tensor in operator.tensors)
    operands = max(1, len(operator.tensors) - 2)
    return elements * _OPERATIONS[class_of(operator)] * operands


def fill(processor: Processor, operator: Operator) -> float:
    """Part of lanes and cores that the shape of an operator with MACs fills, with the best of the tiles."""
    channels, pixels, groups = operator.bound("K"), _pixels(operator), operator.bound("G")
    if operator.kind == "depthwise":
        # Vectors run along the groups, which have a channel each.
        channels, groups = channels * groups, 1
    best = 0.0
    for across, along in processor.tiles:
        if not processor.runtime.divides_pixels:
            along = pixels // operator.bound("N")
        blocks = math.ceil(channels / across) * groups * math.ceil(pixels / along)
        waves = math.ceil(blocks / processor.cores_used)
        used = channels * groups * pixels / (across * along) / (waves * processor.cores)
        best = max(best, used)
    return min(1.0, best)


def _pixels(operator: Operator) -> int:
    return math.prod(operator.bound(dim) for dim in ("N", "P", "Q"))


def compute_s(processor: Processor, operator: Operator) -> float:
    """Seconds of arithmetic."""
    kind = class_of(operator)
    work = operations(operator)
    if not work:
        return 0.0
    runtime = processor.runtime
    if operator.macs:
        reached = fill(processor, operator)
    else:
        elements = max(operator.words(tensor) for tensor in operator.tensors)
        reached = min(processor.cores_used, math.ceil(elements / runtime.grain)) / processor.cores
    if kind in runtime.scalar:
        return work * runtime.scalar_cycles / (processor.clock_hz * processor.cores * reached)
    efficiency = runtime.efficiency.get(kind, 1.0)
    return work / (processor.type.peak_ops_per_s * reached * efficiency)


@functools.lru_cache(maxsize=65536)
def traffic_words(operator: Operator, capacity_words: float) -> tuple[float, ...]:
    """Words of every tensor that pass into a cache of some words, with the tiles for which they are fewest.

    For operators with MACs the loops over kernels, channels, images and rows are tiled, all else is inside a tile;
    loops between tiles keep one of the tensors in place. Operators without MACs read their inputs in every pass.
    """
    words = [float(operator.touched_words(tensor)) for tensor in operator.tensors]
    if sum(words) <= capacity_words or not operator.macs:
        passes = [1] * len(words) if sum(words) <= capacity_words else [max(1, operator.passes)] * len(words)
        passes[-1] = 1
        return tuple(w * n for w, n in zip(words, passes, strict=True))
    dims = [dim for dim in operator.dims if dim not in ("R", "S", "Q")]
    choices = [_tile_sizes(operator.bound(dim), 8 if dim in ("K", "C", "P") else 2) for dim in dims]
    tiles = np.array(list(itertools.product(*choices)), np.float64)
    trips = np.ceil(np.array([operator.bound(dim) for dim in dims], np.float64) / tiles)
    extents = []
    for tensor in operator.tensors:
        size = np.ones(len(tiles))
        for rank in tensor.ranks:
            reach = np.ones(len(tiles))
            for dim, step in rank:
                tile = tiles[:, dims.index(dim)] if dim in dims else float(operator.bound(dim))
                reach = reach + step * (tile - 1)
            size = size * reach
        extents.append(size)
    fits = np.sum(extents, axis=0) <= capacity_words
    if not fits.any():
        fits = np.sum(extents, axis=0) == np.min(np.sum(extents, axis=0))
    every = trips.prod(axis=1)
    best: tuple[float, ...] | None = None
    for kept in range(len(operator.tensors)):
        moved = []
        for i, tensor in enumerate(operator.tensors):
            used = [k for k, dim in enumerate(dims) if dim in tensor.dims]
            times = trips[:, used].prod(axis=1) if i == kept else every
            amount = extents[i] * times
            if i == len(operator.tensors) - 1:
                # Partial sums that do not stay come back to be added to.
                amount = amount + extents[i] * (times - trips[:, used].prod(axis=1))
            moved.append(np.maximum(amount, words[i]))
        total = np.where(fits, np.sum(moved, axis=0), np.inf)
        at = int(np.argmin(total))
        found = tuple(float(amount[at]) for amount in moved)
        if best is None or sum(found) < sum(best):
            best = found
    assert best is not None
    return best


def _tile_sizes(bound: int, most: int) -> list[int]:
    """The bound itself, one, and powers of two between them, at most so many in all."""
    steps = np.unique(np.geomspace(1, bound, most).round().astype(int)).tolist()
    between = {2 ** round(math.log2(size)) for size in steps}
    return sorted({1, bound, *(size for size in between if size < bound)})


def memory_s(processor: Processor, step: Step) -> dict[str, float]:
    """Seconds that each memory takes, by its name, DRAM (``RAM``) first.

    A tensor comes from the innermost memory that could still hold it: activations from where the operator before left
    them, weights from where all weights of the network have room.
    """
    operator = step.operator
    word_bytes = processor.type.bits / 8
    # Caches give every core a part of their bandwidth.
    part = processor.cores_used / processor.cores
    rates = [("RAM", processor.ram_bandwidth_bytes_per_s)]
    rates += [(cache.name, cache.bandwidth_bytes_per_s * part) for cache in processor.caches]
    step_bytes = (sum(map(operator.words, operator.tensors)) + step.extra_words) * word_bytes
    taken: dict[str, float] = {}
    for i, (name, bandwidth) in enumerate(rates):
        next_cache = processor.caches[i] if i < len(processor.caches) else None
        if next_cache is None:
            # Registers take everything once, and the windows of a pooling as often as they overlap.
            inner, passing = 0.0, traffic_words(operator, math.inf)
            if class_of(operator) == "pool":
                passing = (float(operator.iterations), *passing[1:])
        else:
            inner = next_cache.capacity_bytes if next_cache.keeps else 0.0
            passing = traffic_words(operator, next_cache.capacity_bytes / word_bytes)
        moved = 0.0
        for tensor, words in zip(operator.tensors, passing, strict=True):
            held = step.resident_bytes + step_bytes if _is_weight(operator, tensor.name) else step_bytes
            # Held further in: does not pass here.
            if held > inner:
                moved += words
        if step_bytes > inner:
            moved += step.extra_words
        taken[name] = moved * word_bytes / bandwidth
    return taken


def _is_weight(operator: Operator, name: str) -> bool:
    return operator.kind != "batched_matmul" and operator.tensor(name).role == "weights"


def dispatch_s(processor: Processor, step: Step) -> float:
    """Seconds that the host takes to start an operator: a sum of several tensors is as many operators less one."""
    runtime, operator = processor.runtime, step.operator
    kind = class_of(operator)
    count = max(1, len(operator.tensors) - 2) if kind == "elementwise" and not runtime.fuses_elementwise else 1
    views = runtime.channel_dispatches * step.channels
    return runtime.dispatch_s * (runtime.dispatches.get(kind, 1.0) * count + views)


def run(processor: Processor, steps: Sequence[Step]) -> list[Cost]:
    """The cost of every step of a network, one after another.

    With an asynchronous runtime a step takes the longer of its start and its work. That starts hide no work of *other*
    steps is what measurements say: FBNet's latencies on three GPUs are sums over blocks (R2 of 0.95 to 1.00 in batches
    of 32 and 64), in which late blocks cost their starts and early ones their work.
    """
    costs = []
    # Networks repeat their blocks.
    known: dict[tuple[Operator, int, float, int], tuple[float, float, str]] = {}
    for step in steps:
        key = (step.operator, step.extra_words, step.resident_bytes, step.channels)
        if key not in known:
            parts = {"compute": compute_s(processor, step.operator)}
            parts |= {f"{name} bandwidth": seconds for name, seconds in memory_s(processor, step).items()}
            longest = max(parts, key=lambda name: parts[name])
            known[key] = dispatch_s(processor, step), parts[longest], longest
        start_s, busy_s, limit = known[key]
        latency_s = max(start_s, busy_s) if processor.runtime.asynchronous else start_s + busy_s
        idle_pj = processor.idle_w * latency_s * 1e12
        active_pj = (processor.load_w - processor.idle_w) * busy_s * 1e12
        peak_macs_per_s = processor.type.peak_ops_per_s / 2
        macs = step.operator.macs
        costs.append(
            Cost(
                energy_pj=idle_pj + active_pj,
                latency_cycles=math.ceil(latency_s * processor.clock_hz),
                latency_s=latency_s,
                macs=macs,
                padded_macs=macs,
                utilisation=macs / (peak_macs_per_s * latency_s) if latency_s else 0.0,
                bottleneck=limit if busy_s > start_s else "start of operators",
                energy_breakdown_pj={"idle power": idle_pj, "load power": active_pj},
            )
        )
    return costs
