"""The cost model a second time, as a specification in code: every iteration is walked, every child is visited.

Nothing here is a formula for what a loop order does. A buffer is an object that remembers its last tile and its last
move; tiles are sets of points; what several children want at the same step is compared as sets. So it is slow, and
short enough to be read against the definitions. Level 0 is the outermost; the children of the last level are the MACs.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product
from typing import Any

from accelerators.operators import Operator, Tensor
from accelerators.spatial.architecture import Level, SpatialAccelerator
from accelerators.spatial.mapping import Mapping

Vector = tuple[int, ...]


# --- loops and tiles --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Loop:
    """One loop; iteration i adds ``i * step`` to the index of ``dim``. ``axis`` None: in time."""

    level: int
    axis: str | None
    dim: str
    bound: int
    step: int


def nest(accelerator: SpatialAccelerator, mapping: Mapping) -> list[Loop]:
    """All loops, outermost first; per level the temporal ones, then the spatial ones (the first axis inside)."""
    loops: list[tuple[int, str | None, str, int]] = []
    for index, (level, block) in enumerate(zip(accelerator.levels, mapping.blocks, strict=True)):
        loops += [(index, None, dim, bound) for dim, bound in block.temporal]
        for axis in reversed(level.fanout):
            for name, spatial in block.spatial:
                if name == axis.name:
                    loops += [(index, name, dim, bound) for dim, bound in spatial]
    steps: dict[str, int] = defaultdict(lambda: 1)
    found = []
    for index, axis_name, dim, bound in reversed(loops):
        found.append(Loop(index, axis_name, dim, bound, steps[dim]))
        steps[dim] *= bound
    return found[::-1]


def tile_of(loops: list[Loop], level: int, with_fanout_above: bool = False) -> dict[str, int]:
    """Extent per dimension of what one instance of a level works on; optionally of all children of its parent."""
    extents: dict[str, int] = defaultdict(lambda: 1)
    for loop in loops:
        if loop.level >= level or (with_fanout_above and loop.level == level - 1 and loop.axis is not None):
            extents[loop.dim] *= loop.bound
    return extents


def box_shape(tensor: Tensor, tile: dict[str, int]) -> Vector:
    return tuple(1 + sum(c * (tile[dim] - 1) for dim, c in rank) for rank in tensor.ranks)


def points(low: Vector, shape: Vector) -> frozenset[Vector]:
    return frozenset(product(*(range(start, start + size) for start, size in zip(low, shape, strict=True))))


def origins(loops: list[Loop]) -> Iterator[dict[str, int]]:
    """Index of every dimension at every iteration, in program order."""
    for iteration in product(*(range(loop.bound) for loop in loops)):
        origin: dict[str, int] = defaultdict(int)
        for loop, i in zip(loops, iteration, strict=True):
            origin[loop.dim] += i * loop.step
        yield origin


# --- what moves -------------------------------------------------------------------------------------------------------


@dataclass
class Buffer:
    """A child's memory of one tensor: its last tile, and the move that it would slide on with."""

    last: Vector | None = None
    stride: Vector | None = None

    def receive(self, low: Vector, shape: Vector) -> frozenset[Vector]:
        """The points that must newly arrive for the tile at ``low``."""
        last, self.last = self.last, low
        if last is None:
            return points(low, shape)
        move = tuple(new - old for new, old in zip(low, last, strict=True))
        if not any(move):
            return frozenset()
        if self.stride in (None, move):
            self.stride = move
            return points(low, shape) - points(last, shape)
        self.stride = None
        return points(low, shape)


@dataclass
class Traffic:
    """Words that one parent exchanges with its children for one tensor, by the number of children that share them."""

    histogram: dict[int, Fraction]
    fanout: int
    hops: float

    @property
    def accesses(self) -> Fraction:
        return sum(self.histogram.values(), Fraction(0))

    @property
    def delivered(self) -> Fraction:
        return sum((m * words for m, words in self.histogram.items()), Fraction(0))


def walk_fanout(accelerator: SpatialAccelerator, tensor: Tensor, loops: list[Loop], parent: int) -> Traffic:
    """Walk the tiles of all children of one parent."""
    in_time = [loop for loop in loops if loop.axis is None and loop.level <= parent]
    in_space = [loop for loop in loops if loop.axis is not None and loop.level == parent]
    is_mac = parent == len(accelerator.levels) - 1
    shape = box_shape(tensor, tile_of(loops, parent + 1))
    children = list(origins(in_space))
    buffers = [Buffer() for _ in children]
    histogram: Counter[int] = Counter()
    distance = 0.0
    for now in origins(in_time):
        groups: dict[frozenset[Vector], list[int]] = defaultdict(list)
        for number, here in enumerate(children):
            low = tuple(sum(c * (now[dim] + here[dim]) for dim, c in rank) for rank in tensor.ranks)
            # A MAC remembers nothing: it asks for its operand at every step.
            delta = points(low, shape) if is_mac else buffers[number].receive(low, shape)
            if delta:
                groups[delta].append(number)
        for delta, members in groups.items():
            histogram[len(members)] += len(delta)
            distance += len(delta) * hops(accelerator.levels[parent], len(children), members)
    words = sum(histogram.values())
    return Traffic({m: Fraction(n) for m, n in histogram.items()}, len(children), distance / words)


def hops(level: Level, used: int, members: list[int]) -> float:
    """Network distance of one word to some children, which are numbered row by row on the grid of the fanout.

    It enters at the left edge, half-way up, runs to the furthest column and up and down in every column it serves.
    """
    if used == 1:
        return 0.0
    width, height = level.fanout[0].size, math.prod(axis.size for axis in level.fanout[1:])
    centre = (height - 1) / 2
    rows_by_column: dict[int, list[int]] = defaultdict(list)
    for number in members:
        rows_by_column[number % width].append(number // width)
    ways = [max(0, centre - min(rows)) + max(0, max(rows) - centre) for rows in rows_by_column.values()]
    return max(rows_by_column) + sum(ways)


# --- counts -----------------------------------------------------------------------------------------------------------


@dataclass
class Words:
    """What one instance of one level does for one tensor, and what its fanout carries."""

    tile: int
    partition: int
    kept: bool
    reads: int = 0
    fills: int = 0
    updates: int = 0
    histogram: dict[int, int] = field(default_factory=dict)
    hops: float = 0.0
    energy_pj: float = 0.0
    network_pj: float = 0.0

    @property
    def injected(self) -> int:
        return sum(self.histogram.values())


def count(accelerator: SpatialAccelerator, operator: Operator, mapping: Mapping, tensor: Tensor) -> list[Words]:
    """Words of one tensor at every level, per instance."""
    loops = nest(accelerator, mapping)
    levels = range(len(accelerator.levels))
    is_output = tensor is operator.output
    traffic = [walk_fanout(accelerator, tensor, loops, level) for level in levels]
    # What arrives at a level is settled before anything is bypassed: all children of a parent get the same amount.
    share = [Fraction(0)] + [parent.delivered / parent.fanout for parent in traffic[:-1]]
    keep = [tensor.name in block.keep for block in mapping.blocks]
    for child in reversed(levels[1:]):
        if not keep[child]:
            above = traffic[child - 1]
            growth = traffic[child].accesses * above.fanout / above.delivered
            above.histogram = {m: words * growth for m, words in above.histogram.items()}
    result = []
    home = keep.index(True)
    partition = math.prod(box_shape(tensor, tile_of(loops, 0)))
    for level in levels:
        tile = math.prod(box_shape(tensor, tile_of(loops, level)))
        if level > 0:
            partition = partition * tile // math.prod(box_shape(tensor, tile_of(loops, level, with_fanout_above=True)))
        words = Words(tile, partition if is_output else tile, keep[level], hops=traffic[level].hops)
        if level >= home:
            assert all(n.denominator == 1 for n in traffic[level].histogram.values()), "children are served unequally"
            words.histogram = {m: int(n) for m, n in traffic[level].histogram.items()}
        if keep[level]:
            # The first partial sum of an element finds nothing to be added to, so nothing is read or sent for it.
            unread = partition if is_output else 0
            words.reads = max(0, words.injected - unread)
            words.fills = max(0, int(share[level]) - unread) if level > home else 0
            words.updates = words.injected if is_output else 0
        result.append(words)
    return result


# --- widths -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Widths:
    """Bits of one tensor's words at one level.

    Of its tile, of what is read and filled, of updates ({bits: words}), and on the network below.
    """

    tile: int
    moved: int
    updates: dict[int, int]
    network: int


def widths(
    accelerator: SpatialAccelerator, operator: Operator, mapping: Mapping, tensor: Tensor, level: int, words: Words
) -> Widths:
    """Partial sums are as wide as the accumulator until the last accumulation."""
    bits = tensor.bits if tensor.bits is not None else accelerator.compute.bits(tensor.role)
    if tensor is not operator.output:
        return Widths(bits, bits, {}, bits)
    partial = max(bits, accelerator.compute.accumulator_bits)
    reducing = [loop for loop in nest(accelerator, mapping) if loop.dim in operator.reduction_dims]
    outside = any(loop.level < level for loop in reducing)
    # Loops of levels that do not keep the output accumulate in the next keeper further out.
    keepers = [index for index, block in enumerate(mapping.blocks) if index > level and tensor.name in block.keep]
    inner = keepers[0] if keepers else len(mapping.blocks)
    here_in_time = any(level <= loop.level < inner and loop.axis is None for loop in reducing)
    here_in_space = any(loop.level == level and loop.axis is not None for loop in reducing)
    # Whatever is read or filled goes on being accumulated, so it is a partial sum.
    if outside or here_in_time:
        final = 0 if outside else min(words.partition, words.updates)
        updates = Counter({partial: words.updates - final})
        updates[bits] += final
        return Widths(partial, partial, updates, partial)
    return Widths(bits, partial, {bits: words.updates}, partial if here_in_space else bits)


# --- validity ---------------------------------------------------------------------------------------------------------


def violations(
    accelerator: SpatialAccelerator, operator: Operator, mapping: Mapping
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything that forbids the mapping, as code and facts."""
    loops = nest(accelerator, mapping)
    for dim, bound in operator.bounds:
        found = math.prod(loop.bound for loop in loops if loop.dim == dim)
        if found != bound:
            yield "factors", {"dimension": dim, "product": found, "bound": bound}
    for index, level in enumerate(accelerator.levels):
        for axis in level.fanout:
            along = [loop for loop in loops if loop.level == index and loop.axis == axis.name]
            used = math.prod(loop.bound for loop in along)
            if used > axis.size:
                yield "fanout", {"level": level.name, "axis": axis.name, "size": axis.size, "factor": used}
            for loop in along:
                if axis.dims is not None and loop.dim not in axis.dims:
                    yield "axis", {"level": level.name, "axis": axis.name, "dimension": loop.dim}
    for level, block in zip(accelerator.levels, mapping.blocks, strict=True):
        for name in block.keep:
            if operator.tensor(name).role not in level.keeps:
                yield "keep", {"level": level.name, "tensor": name}
    for tensor in operator.tensors:
        if not any(tensor.name in block.keep for block in mapping.blocks):
            yield "no_home", {"tensor": tensor.name}
    for index, level in enumerate(accelerator.levels):
        short = needed_bits(accelerator, operator, mapping, index) - available_bits(level)
        if short > 0:
            facts = {"level": level.name, "bits_short": int(short)}
            yield "capacity", {**facts, "words_short": math.ceil(Fraction(int(short), widest(accelerator, operator)))}


def available_bits(level: Level) -> float:
    if level.capacity_bytes is None:
        return math.inf
    return math.floor(Fraction(8) * Fraction(level.capacity_bytes)) // level.multiple_buffering


def needed_bits(accelerator: SpatialAccelerator, operator: Operator, mapping: Mapping, level: int) -> int:
    """Bits of all tiles that a level keeps."""
    loops = nest(accelerator, mapping)
    total = 0
    for tensor in operator.tensors:
        if tensor.name in mapping.blocks[level].keep:
            tile = math.prod(box_shape(tensor, tile_of(loops, level)))
            words = Words(tile, tile, True)
            total += tile * widths(accelerator, operator, mapping, tensor, level, words).tile
    return total


def widest(accelerator: SpatialAccelerator, operator: Operator) -> int:
    """Bits of the widest word that the operator needs anywhere."""
    compute = accelerator.compute
    native = [t.bits if t.bits is not None else compute.bits(t.role) for t in operator.tensors]
    return max(*native, compute.accumulator_bits)


# --- cost -------------------------------------------------------------------------------------------------------------


@dataclass
class LevelWalk:
    """One level: its used instances and children, and its words by tensor; cycles are those of its bandwidth."""

    instances: int
    fanout: int
    cycles: int
    tensors: dict[str, Words]


@dataclass
class Walk:
    """The whole result."""

    levels: list[LevelWalk]
    base_cycles: int
    used_macs: int
    latency_cycles: int
    energy_pj: dict[str, float]

    @property
    def total_pj(self) -> float:
        return math.fsum(self.energy_pj.values())


def accesses(words: int, bits: int, width: int) -> int:
    """Accesses of a memory ``width`` bits wide: narrow words share one, wide words need several."""
    return math.ceil(Fraction(words, max(1, width // bits))) * math.ceil(Fraction(bits, width))


def walk(accelerator: SpatialAccelerator, operator: Operator, mapping: Mapping) -> Walk:
    """Counts, cycles and energies of a valid mapping."""
    loops = nest(accelerator, mapping)
    base = math.prod(loop.bound for loop in loops if loop.axis is None)
    counts = {tensor.name: count(accelerator, operator, mapping, tensor) for tensor in operator.tensors}
    energy: dict[str, float] = {}
    network_pj = adders_pj = 0.0
    levels = []
    for index, level in enumerate(accelerator.levels):
        instances = math.prod(loop.bound for loop in loops if loop.axis is not None and loop.level < index)
        here = [loop for loop in loops if loop.axis is not None and loop.level == index]
        read_bits = written_bits = 0
        for tensor in operator.tensors:
            words = counts[tensor.name][index]
            width = widths(accelerator, operator, mapping, tensor, index, words)
            read_bits += words.reads * width.moved
            written_bits += words.fills * width.moved + sum(bits * n for bits, n in width.updates.items())
            words.energy_pj = instances * (
                accesses(words.reads, width.moved, level.width_bits) * level.read_energy_pj
                + accesses(words.fills, width.moved, level.width_bits) * level.fill_energy_pj
                + sum(accesses(n, b, level.width_bits) for b, n in width.updates.items()) * level.update_energy_pj
            )
            if level.fanout:
                half = sum(math.prod(loop.bound for loop in here if loop.axis == a.name) for a in level.fanout) / 2
                pitch_mm = math.sqrt(accelerator.child_area_mm2[index])
                for m, injected in words.histogram.items():
                    length = pitch_mm * (half + m - 1)
                    wire = accelerator.wire_energy_pj_per_bit_mm
                    words.network_pj += instances * injected * width.network * wire * length
            network_pj += words.network_pj
            if tensor is operator.output:
                additions = sum((m - 1) * injected for m, injected in words.histogram.items())
                adders_pj += instances * additions * accelerator.compute.add_energy_pj
        cycles = [Fraction(base)]
        for bits, bytes_per_cycle in (
            (read_bits, level.read_bandwidth_bytes_per_cycle),
            (written_bits, level.write_bandwidth_bytes_per_cycle),
            (read_bits + written_bits, level.shared_bandwidth_bytes_per_cycle),
        ):
            if bytes_per_cycle is not None:
                cycles.append(bits / (8 * Fraction(bytes_per_cycle)))
        by_tensor = {name: levels_of_tensor[index] for name, levels_of_tensor in counts.items()}
        energy[level.name] = math.fsum(words.energy_pj for words in by_tensor.values())
        fanout = math.prod(loop.bound for loop in here)
        levels.append(LevelWalk(instances, fanout, math.ceil(max(cycles)), by_tensor))
    ramp = Fraction(0)
    for index, level in enumerate(accelerator.levels):
        tiles = math.prod(loop.bound for loop in loops if loop.axis is None and loop.level < index)
        ramp += tiles * Fraction(accelerator.ramp_cycles.get(level.name, 0.0))
    latency = math.ceil(max(level.cycles for level in levels) + ramp)
    used_macs = math.prod(loop.bound for loop in loops if loop.axis is not None)
    energy["network"] = network_pj
    energy["adders"] = adders_pj
    energy["MAC"] = operator.iterations * accelerator.compute.energy_pj
    energy["leakage"] = leakage_pj(accelerator, latency)
    return Walk(levels, base, used_macs, latency, energy)


def leakage_pj(accelerator: SpatialAccelerator, cycles: int) -> float:
    """Leakage of everything on the chip, used or not."""
    instances = 1
    milliwatts = 0.0
    for level in accelerator.levels:
        milliwatts += instances * (level.leakage_mw + level.adders * accelerator.compute.adder_leakage_mw)
        instances *= math.prod(axis.size for axis in level.fanout)
    milliwatts += instances * accelerator.compute.leakage_mw
    return milliwatts * 1e-3 * (cycles / accelerator.clock_hz) * 1e12
