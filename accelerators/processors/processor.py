"""What a processor is: arithmetic, memories, power, and the runtime that starts its operators."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from accelerators.technology.compute import FLOAT_SIGNIFICANDS

#: What operators are to a runtime. Everything with MACs is a convolution, a depthwise one, or a matrix product.
Class = Literal["convolution", "depthwise", "matmul", "normalization", "elementwise", "pool", "softmax", "movement"]
CLASSES: tuple[Class, ...] = typing.get_args(Class)


@dataclass(frozen=True)
class Arithmetic:
    """One number type: its width, the peak of the whole processor, and the operations that a core does side by side.

    A multiply-accumulate is two operations.
    """

    type: str
    bits: int
    peak_ops_per_s: float
    lanes: int


@dataclass(frozen=True)
class Cache:
    """A cache level, all cores' parts together; ``keeps`` is whether an operator finds there what the last one left."""

    name: str
    capacity_bytes: float
    bandwidth_bytes_per_s: float
    keeps: bool = True


@dataclass(frozen=True)
class Runtime:
    """The software that runs networks on a processor.

    ``dispatch_s`` is what the host takes to start the simplest operator, ``dispatches`` how many times that it is for a
    class (1 if absent), and ``channel_dispatches`` how many times for every channel of a batch normalisation that is
    started by itself, where its kernel makes a view of each. An ``asynchronous`` runtime starts an operator while the
    device works on it. ``efficiency`` is the part of the peak that a class reaches with all lanes and cores filled.
    ``scalar`` classes use no vectors: ``scalar_cycles`` per operation. ``grain`` is the number of elements per core
    below which an elementwise operator or a pooling gets no further core, ``threads`` the cores that are used at most;
    without ``divides_pixels`` cores share the channels and images of a convolution only. ``folds_batch_norm`` and
    ``fuses_elementwise`` say what is merged into the operator before it, ``drops_unreachable`` and
    ``folds_zero_inputs`` what becomes of dead operators, and ``merges_duplicates`` whether operators that compute the
    same are run once. ``changed`` are the figures in which a datasheet departs from the runtime that it names, each as
    ``(place, what the runtime has, what the datasheet has)``; they say nothing that the figures do not.
    """

    name: str
    dispatch_s: float = 0.0
    dispatches: Mapping[Class, float] = field(default_factory=dict)
    channel_dispatches: float = 0.0
    asynchronous: bool = False
    efficiency: Mapping[Class, float] = field(default_factory=dict)
    scalar: frozenset[Class] = frozenset()
    scalar_cycles: float = 1.0
    grain: int = 1
    threads: int | None = None
    divides_pixels: bool = True
    folds_batch_norm: bool = True
    fuses_elementwise: bool = True
    drops_unreachable: bool = True
    folds_zero_inputs: bool = True
    merges_duplicates: bool = False
    source: str = ""
    changed: tuple[tuple[str, Any, Any], ...] = ()


@dataclass(frozen=True)
class Processor:
    """A processor with its runtime.

    ``arithmetic`` has the number types, the default one first; ``caches`` the levels from the outermost inwards.
    ``tiles`` are the (channels, pixels) of an output that a core computes at once; the best one for a shape is taken.
    ``ram_bytes`` must hold what a network needs at any moment, ``flash_bytes`` (where there is one) its weights.
    """

    name: str
    clock_hz: float
    cores: int
    arithmetic: tuple[Arithmetic, ...]
    caches: tuple[Cache, ...]
    ram_bytes: float
    ram_bandwidth_bytes_per_s: float
    runtime: Runtime
    tiles: tuple[tuple[int, int], ...]
    idle_w: float
    load_w: float
    flash_bytes: float | None = None
    description: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()

    def running(self, number_type: str) -> Processor:
        """This processor with networks in another of its number types; raises ValueError for one it does not have."""
        chosen = next((each for each in self.arithmetic if each.type == number_type), None)
        if chosen is None:
            known = ", ".join(each.type for each in self.arithmetic)
            raise ValueError(f"has no peak for {number_type!r} (its datasheet has {known})")
        # Tiles that were not given are as wide as a vector.
        tiles = ((chosen.lanes, 1),) if self.tiles == ((self.type.lanes, 1),) else self.tiles
        others = tuple(each for each in self.arithmetic if each is not chosen)
        return replace(self, arithmetic=(chosen, *others), tiles=tiles)

    @property
    def type(self) -> Arithmetic:
        """The number type that networks run in."""
        return self.arithmetic[0]

    @property
    def cores_used(self) -> int:
        """Cores that the runtime has threads for."""
        return min(self.cores, self.runtime.threads or self.cores)

    def holding(self, bits: int) -> Processor | None:
        """The same one with the fastest of its types that hold integers of so many bits as the one that networks run
        in; None if it has no such type. A float holds as many bits as its significand has."""
        held = {kind: FLOAT_SIGNIFICANDS.get(kind.type, kind.bits) for kind in self.arithmetic}
        fit = [kind for kind in self.arithmetic if held[kind] >= bits]
        if not fit:
            return None
        return self.running(min(fit, key=lambda kind: (-kind.peak_ops_per_s, kind.bits)).type)
